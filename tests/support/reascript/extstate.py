"""Extended state: names without case, values of one line; what is persistent is there after a restart.

"No newlines" is all that REAPER says; here a value ends before its first one, so that a script which relies on newlines
fails.
"""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path


class ExtState:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._values: dict[tuple[str, str], str] = {}
        self._persistent: set[tuple[str, str]] = set()
        stored = _parser()
        stored.read(file, encoding="utf-8")
        for section in stored.sections():
            for key, value in stored.items(section):
                self._values[section.lower(), key.lower()] = value[1:-1]
                self._persistent.add((section.lower(), key.lower()))

    def get(self, section: str, key: str) -> str:
        """An empty string where nothing is stored."""
        return self._values.get((section.lower(), key.lower()), "")

    def has(self, section: str, key: str) -> bool:
        return (section.lower(), key.lower()) in self._values

    def set(self, section: str, key: str, value: str, persist: bool = False) -> None:
        name = (section.lower(), key.lower())
        self._values[name] = one_line(value)
        if persist:
            self._persistent.add(name)
        if name in self._persistent:
            self._write()

    def delete(self, section: str, key: str, persist: bool) -> None:
        name = (section.lower(), key.lower())
        self._values.pop(name, None)
        if persist and name in self._persistent:
            self._persistent.discard(name)
            self._write()

    def _write(self) -> None:
        stored = _parser()
        for section, key in sorted(self._persistent & self._values.keys()):
            if not stored.has_section(section):
                stored.add_section(section)
            stored.set(section, key, f'"{self._values[section, key]}"')
        with self._file.open("w", encoding="utf-8", errors="surrogateescape") as file:
            stored.write(file)


def one_line(value: str) -> str:
    return value.replace("\r", "\n").partition("\n")[0]


def _parser() -> RawConfigParser:
    return RawConfigParser(delimiters=("=",), comment_prefixes=(), strict=False)
