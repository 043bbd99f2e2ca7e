"""The scripts in REAPER's action list: command ids and `_RS...` names, kept in reaper-kb.ini.

A name is 40 hexadecimal digits that nobody can compute from the path (here they are salted; a script must ask
ReverseNamedCommandLookup). It stays the same when REAPER is started again.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

FIRST_COMMAND = 53000

LINE = re.compile(r'SCR 4 0 (RS[0-9a-f]{40}) "Custom: .*" (?:"(.*)"|(\S+))')


class Commands:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._paths: dict[int, Path] = {}
        self._kept: set[int] = set()
        if file.exists():
            for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                if match := LINE.fullmatch(line):
                    self._kept.add(self._new(Path(match[2] or match[3])))

    def add(self, path: Path, *, commit: bool) -> int:
        """The command id of the script, new or known; 0 if there is no such file."""
        path = Path(os.path.normpath(path))
        known = next((command for command, other in self._paths.items() if other == path), 0)
        if not known and not path.is_file():
            return 0
        command = known or self._new(path)
        if commit and not self._kept.issuperset(self._paths):
            self._kept.update(self._paths)  # also what was added before without a commit
            self._write()
        return command

    def remove(self, path: Path) -> int:
        """1 if it was there."""
        path = Path(os.path.normpath(path))
        command = next((command for command, other in self._paths.items() if other == path), 0)
        if not command:
            return 0
        del self._paths[command]
        self._kept.discard(command)
        self._write()
        return 1

    def path(self, command: int) -> Path | None:
        return self._paths.get(command)

    def name(self, command: int) -> str | None:
        """Without the leading underscore; None for REAPER's own actions."""
        path = self._paths.get(command)
        if path is None:
            return None
        return "RS" + hashlib.sha1(b"salt" + os.fsencode(path), usedforsecurity=False).hexdigest()

    def lookup(self, name: str) -> int:
        """The id of `_RS...`, of a number as text, or 0."""
        if name.isdigit():
            return int(name)
        return next((command for command in self._paths if f"_{self.name(command)}" == name), 0)

    def _new(self, path: Path) -> int:
        command = max(self._paths, default=FIRST_COMMAND) + 1
        self._paths[command] = path
        return command

    def _write(self) -> None:
        lines = [
            f'SCR 4 0 {self.name(c)} "Custom: {self._paths[c].name}" "{self._paths[c]}"\n' for c in sorted(self._kept)
        ]
        self._file.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
