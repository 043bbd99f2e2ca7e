"""What is remembered about source files, so that a second job on a song does not read all of it again.

Promises: a hash is given back only for the very file it was taken from (path, size, modification time); two
processes may share the folder; nothing but files that this module named is ever removed; a damaged cache costs time,
never a job.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from protocol.errors import DiskFull, SourceChanged, SourceError, SourceMissing, SourceUnreadable

log = logging.getLogger("stembridge.audio")

Step = Callable[[float], None]
"""Called with the fraction done while a long file is read; may raise `Cancelled`."""

DECODED_LIMIT_BYTES = 4 * 1024**3
"""What decoded copies may take together: about three hours of stereo at 48 kHz."""

_HASH_BLOCK = 1 << 20
_TOO_FRESH_S = 2.0
"""FAT counts modification times in steps of 2 s: a younger file might change again without our seeing it."""

_NAME = r"[0-9a-f]{64}_[\w-]+\.(f32|npz|latents)"
_OURS = re.compile(_NAME)
_TEMPORARY = re.compile(_NAME + r"\..+\.tmp")
_ABANDONED_S = 24 * 3600.0


# --- identity ---------------------------------------------------------------------------------------------------------
Stamp = tuple[int, int]
"""Size in bytes and modification time in ns: what tells whether a file is still the one that was opened."""


def stamp_of(path: Path) -> Stamp:
    """The file's stamp. Raises `SourceMissing` or `SourceUnreadable`."""
    try:
        status = path.stat()
    except OSError as error:
        raise unopenable(path, error) from error
    return status.st_size, status.st_mtime_ns


def unopenable(path: Path, error: OSError) -> SourceError:
    """What the system's refusal to open a source means to a musician."""
    if isinstance(error, FileNotFoundError):
        return SourceMissing(
            f"The source file {path} does not exist. Send /stembridge/source again with the file's present place."
        )
    reason = error.strerror or str(error)
    return SourceUnreadable(
        f"The source file {path} cannot be opened ({reason}). Check its drive and whether you may read it."
    )


def content_hash(
    path: Path, cache_dir: Path, *, step: Step | None = None, clock: Callable[[], float] = time.time
) -> str:
    """SHA-256 (hex) of the file's bytes, remembered in `cache_dir` by resolved path, size and modification time.

    Raises `SourceMissing`, `SourceUnreadable`, or `SourceChanged` if the file is written while it is read.
    """
    path = Path(path).resolve()
    stamp = stamp_of(path)
    known = _recall(cache_dir, path, stamp)
    if known is not None:
        return known
    digest = _sha256(path, stamp[0], step)
    if stamp_of(path) != stamp:
        raise SourceChanged(f"{path.name} is being written to right now. Try again when the DAW has finished with it.")
    if clock() - stamp[1] / 1e9 > _TOO_FRESH_S:
        _remember(cache_dir, path, stamp, digest)
    return digest


def _sha256(path: Path, size: int, step: Step | None) -> str:
    digest = hashlib.sha256()
    done = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
                done += len(block)
                if step is not None:
                    step(min(1.0, done / max(size, 1)))
    except OSError as error:
        raise unopenable(path, error) from error
    return digest.hexdigest()


@contextlib.contextmanager
def _hashes(cache_dir: Path) -> Iterator[sqlite3.Connection]:
    cache_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(cache_dir / "hashes.sqlite3", timeout=5.0)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS hashes"
            " (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL)"
        )
        yield database


def _recall(cache_dir: Path, path: Path, stamp: Stamp) -> str | None:
    try:
        with _hashes(cache_dir) as database:
            row = database.execute(
                "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ?", (str(path), *stamp)
            ).fetchone()
    except (sqlite3.Error, OSError, UnicodeError) as error:
        log.warning("the cache of hashes in %s cannot be read (%s); the source is read again", cache_dir, error)
        return None
    return None if row is None else str(row[0])


def _remember(cache_dir: Path, path: Path, stamp: Stamp, digest: str) -> None:
    try:
        with _hashes(cache_dir) as database:
            database.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", (str(path), *stamp, digest))
    except (sqlite3.Error, OSError, UnicodeError) as error:
        log.warning("the cache of hashes in %s cannot be written (%s)", cache_dir, error)


# --- decoded copies ---------------------------------------------------------------------------------------------------
def decoded_path(cache_dir: Path, sha256: str, rate: int, channels: int) -> Path:
    """Where the decoded copy of that content at that rate lies: raw float32, interleaved, nothing else."""
    return cache_dir / "decoded" / f"{sha256}_{rate}_{channels}.f32"


def touch(path: Path) -> None:
    """Mark a decoded copy as used just now."""
    with contextlib.suppress(OSError):
        os.utime(path)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under `target` whole or not at all. Raises `DiskFull`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
        _put_in_place(temporary, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"The disk that holds {target.parent} is full. Free some room and ask again.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _put_in_place(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except PermissionError:
        # Windows refuses to replace a file that another process has mapped; its content is ours, by its name.
        if not (_OURS.fullmatch(target.name) and target.is_file()):
            raise


def prune(cache_dir: Path, keep: Path, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
    """Remove the least recently used derived files until all take at most `limit_bytes`; `keep` always stays.

    They lie in ``cache_dir/decoded``: decoded copies, and what engines derive from sources under such names.
    """
    entries = []
    with contextlib.suppress(OSError):
        for path in (cache_dir / "decoded").iterdir():
            with contextlib.suppress(OSError):  # another process may remove it first
                status = path.stat()
                if _OURS.fullmatch(path.name):
                    entries.append((status.st_mtime, status.st_size, path))
                elif _TEMPORARY.fullmatch(path.name) and clock() - status.st_mtime > _ABANDONED_S:
                    path.unlink()
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit_bytes:
            return
        if path != keep:
            with contextlib.suppress(OSError):  # in use, on Windows: it goes another time
                path.unlink()
                total -= size
