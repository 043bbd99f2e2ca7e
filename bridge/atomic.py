"""Files that appear whole or not at all, and never in the place of another.

A file is written under a temporary name in its final folder, forced to the disk, and only then given its final name;
the last step fails if that name is taken, whoever took it. A process that is killed at any moment leaves at most
temporary files, which `remove_leftovers` recognises by their name.

Raises `OSError` throughout; `in_words` turns one into the sentence that the user sees.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from protocol.errors import DiskFull, ProjectError, ProjectGone, ProjectReadOnly

log = logging.getLogger("stembridge.project")

_TEMPORARY = re.compile(r"\.stembridge-[0-9a-f]{16}\.part")
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
"""What `link` answers where hard links do not exist: FAT, exFAT, some network shares."""
_SYNC_NOT_OFFERED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ESTALE}
_WINDOWS_MAX_PATH = 260
_WIN_DISK_FULL, _WIN_HANDLE_DISK_FULL, _WIN_NAME_TOO_LONG = 112, 39, 206
_MAX_NAMES = 10_000

_renaming = threading.Lock()


# --- writing ----------------------------------------------------------------------------------------------------------
@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """A name in `folder` that nobody has; the file at it, if any is left, is removed at the end."""
    path = folder / f".stembridge-{secrets.token_hex(8)}.part"
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def write_synced(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Create `path`, which must not exist, let `fill` write it, and return when its bytes are on the disk."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        fill(file)
        file.flush()
        _sync(file.fileno())


def publish(temporary: Path, final: Path) -> None:
    """Give a whole file its final name in the same folder; `FileExistsError` if anything has that name already.

    `os.replace`, and `os.rename` outside Windows, would silently overwrite. `os.link` refuses to, in one step of the
    file system, so the second name is made by a link and the temporary one is removed afterwards (by
    `temporary_file`). Windows' own rename refuses as well.
    """
    if os.name == "nt":
        temporary.rename(final)
        return
    try:
        os.link(temporary, final)
    except FileExistsError:
        # Over NFS the answer to a link that was made can be lost, and the repeated call then finds its own work.
        if not _same_file(temporary, final):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_if_free(temporary, final)


def _rename_if_free(temporary: Path, final: Path) -> None:
    """For file systems without hard links: look, then rename, one at a time within this process.

    Another program could take the very same name between the two calls; that gap of microseconds is the price there.
    The other known way, claiming the name with an empty file first, would let a kill leave an empty stem behind.
    """
    with _renaming:
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
        temporary.rename(final)


def free_names(name: str) -> Iterator[str]:
    """``take.wav``, ``take-2.wav``, ``take-3.wav``, ...; ends after ten thousand."""
    stem, dot, suffix = name.rpartition(".")
    yield name
    for number in range(2, _MAX_NAMES):
        yield f"{stem}-{number}{dot}{suffix}"


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system offers that (Windows does not)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno not in _SYNC_NOT_OFFERED:  # some network and FUSE file systems
            raise
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # fsync stops at the drive's cache there; this goes on, where the file system offers it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)


# --- taking back ------------------------------------------------------------------------------------------------------
def identity(path: Path) -> tuple[int, int]:
    """What tells this very file from another that took its name later."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def remove_if_same(path: Path, made: tuple[int, int]) -> None:
    """Remove a file that we made, unless another has its name by now; runs after a failure, so it only logs its own."""
    try:
        if identity(path) == made:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("could not take back %s: %s", path, error)


def remove_empty_folder(folder: Path) -> None:
    """Remove a folder that we made if nothing is in it; runs after a failure, so it raises no `OSError`."""
    with suppress(OSError):
        folder.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`; nothing that another program could have named."""
    for entry in list(os.scandir(folder)):
        if _TEMPORARY.fullmatch(entry.name) and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            log.info("removing a leftover of an interrupted delivery: %s", entry.path)
            with suppress(FileNotFoundError):
                Path(entry.path).unlink()


def _same_file(a: Path, b: Path) -> bool:
    try:
        return identity(a) == identity(b)
    except OSError:
        return False


# --- errors -----------------------------------------------------------------------------------------------------------
def in_words(error: OSError, folder: Path) -> ProjectError:
    """The error a musician can act on, for an `OSError` met while writing into `folder`."""
    windows = getattr(error, "winerror", None)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or windows in (_WIN_DISK_FULL, _WIN_HANDLE_DISK_FULL):
        return DiskFull(f"There is no room for the stems in {folder}: free some space there, then retry the job.")
    if error.errno == errno.EFBIG:
        return DiskFull(
            f"The disk or the system does not allow files as large as these stems in {folder}: use a shorter region, "
            "24-bit stems or another disk, then retry the job."
        )
    if error.errno == errno.EROFS or isinstance(error, PermissionError):
        return ProjectReadOnly(
            f"The folder {folder} does not allow writing ({error.strerror}): change its permissions, or save the "
            "project somewhere else and open it there, then retry the job."
        )
    if _name_too_long(error, windows):
        return ProjectError(
            f"The path of the stems in {folder} is too long for this system: move the project to a folder with a "
            "shorter path or use a shorter job id, then retry."
        )
    if error.errno in _GONE:
        return ProjectGone(
            f"The folder {folder} is no longer there: put it back or reconnect its disk, or open the project where it "
            "is now, then retry the job."
        )
    reason = error.strerror or str(error)
    return ProjectError(f"The stems could not be written to {folder} ({reason}): check that disk, then retry the job.")


def _name_too_long(error: OSError, windows: int | None) -> bool:
    if error.errno == errno.ENAMETOOLONG or windows == _WIN_NAME_TOO_LONG:
        return True
    # Without long-path support Windows answers "not found" for a path of 260 characters.
    return windows is not None and error.errno == errno.ENOENT and len(str(error.filename or "")) >= _WINDOWS_MAX_PATH
