"""REAPER's view of folders: it reads a folder once and answers from that until a script asks it to look again.

How long REAPER keeps its reading is not documented; here it keeps it until the flush (index -1), so that a script which
polls a folder without flushing fails. Names come in an order that nobody should rely on.
"""

from __future__ import annotations

import os


class FileCache:
    def __init__(self) -> None:
        self._read: dict[tuple[str, bool], list[str]] = {}

    def name(self, folder: str, index: int, *, folders: bool) -> str | None:
        """The `index`th file (or folder) in `folder`; None behind the last, or where there is no such folder."""
        key = (os.path.normpath(folder), folders)
        if index < 0:
            self._read.pop(key, None)
            return None
        if key not in self._read:
            self._read[key] = _names(folder, folders)
        names = self._read[key]
        return names[index] if index < len(names) else None


def _names(folder: str, folders: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name for entry in entries if entry.is_dir() == folders), reverse=True)
    except OSError:
        return []
