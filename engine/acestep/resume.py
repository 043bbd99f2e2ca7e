"""Where the states of cancelled jobs lie, so that the same request goes on from its last step.

Promises: a state is found only under the key of everything that determines the audio; what is read back is what was
written, bit for bit, or nothing (a damaged file is removed); no failure of the disk ever stops a job; nothing but files
named by this module is removed.

A file is the SHA-256 of the rest, then `SamplerState.to_bytes` (safetensors has no checksum of its own).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.acestep.sampler import SamplerState
from engine.audio_cache import whole_file
from protocol.errors import DiskFull

log = logging.getLogger("stembridge.acestep")

COUNT = 16
SIZE_BYTES = 512 * 1024**2
AGE_S = 7 * 24 * 3600.0

_DIGEST = hashlib.sha256().digest_size
_KEY = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(r"[0-9a-f]{64}\.state")
_TEMPORARY = re.compile(r"[0-9a-f]{64}\.state\..+\.tmp")
_ABANDONED_S = 24 * 3600.0


def key_of(mapping: Mapping[str, object]) -> str:
    """The key (SHA-256, hex) of a JSON object, the same in whatever order it was written.

    Put into it everything that determines the audio, device and dtype too. Raises `TypeError` or `ValueError` for what
    JSON cannot say.
    """
    text = json.dumps(mapping, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Resume:
    """The states in one folder, which may be shared by processes."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def save(self, key: str, state: SamplerState) -> None:
        """Keep the state under its key, whole or not at all; a disk that refuses is a line in the log."""
        data = state.to_bytes()
        try:
            with whole_file(self._path(key)) as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
        except (OSError, DiskFull) as error:
            log.warning("The cancelled job cannot be resumed later: %s", error)

    def load(self, key: str) -> SamplerState | None:
        """The state under that key, on the CPU, or None."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s); the job starts from the beginning.", path, error)
            return None
        digest, data = content[:_DIGEST], content[_DIGEST:]
        try:
            if hashlib.sha256(data).digest() != digest:
                raise ValueError("its checksum is wrong")
            return SamplerState.from_bytes(data)
        except ValueError as error:
            log.warning("%s is damaged (%s); the job starts from the beginning.", path, error)
            self.drop(key)
            return None

    def drop(self, key: str) -> None:
        """Forget the state under that key, if there is one."""
        _remove(self._path(key))

    def prune(self, count: int = COUNT, size_bytes: int = SIZE_BYTES, age_s: float = AGE_S) -> None:
        """Keep the youngest: at most so many, of so many bytes together, none older than `age_s` seconds."""
        now = self._clock()
        found = []
        with contextlib.suppress(OSError):  # the folder appears with the first state
            for path in self._folder.iterdir():
                with contextlib.suppress(OSError):  # another process may remove it first
                    status = path.stat()
                    if _OURS.fullmatch(path.name):
                        found.append((status.st_mtime, path, status.st_size))
                    elif _TEMPORARY.fullmatch(path.name) and now - status.st_mtime > _ABANDONED_S:
                        _remove(path)
        total = 0
        for kept, (modified, path, size) in enumerate(sorted(found, reverse=True)):
            total += size
            if kept >= count or total > size_bytes or now - modified > age_s:
                _remove(path)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key is the hex of a SHA-256, not {key!r}")
        return self._folder / f"{key}.state"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # in use, on Windows: it goes another time
        path.unlink(missing_ok=True)
