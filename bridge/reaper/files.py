"""Small file work of the installer: whole files or none, fingerprints, names that are free."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bridge.atomic import free_names, temporary_file, write_synced


def write_whole(path: Path, content: bytes) -> None:
    """Put a whole file at `path`, in place of the one that is there; its folder must exist. Raises `OSError`."""
    with temporary_file(path.parent) as part:
        write_synced(part, lambda file: file.write(content))
        part.replace(path)


def fingerprint(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def fingerprint_of(path: Path) -> str | None:
    """That of a file; None if there is none. Raises `OSError` for one that cannot be read."""
    try:
        return fingerprint(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def put_aside(path: Path) -> Path:
    """Rename the user's file to ``NAME.yours`` (``NAME-2.yours``, ...), never over another; its new path."""
    for name in free_names(f"{path.name}.yours"):
        aside = path.with_name(name)
        if not os.path.lexists(aside):
            return path.rename(aside)
    raise FileExistsError(path)
