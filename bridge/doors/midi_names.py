"""Which port is meant by part of a name, or by a glob."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass


@dataclass(frozen=True)
class NamePattern:
    """Part of a name, or a glob with ``*`` and ``?``; case does not matter."""

    text: str

    @property
    def is_glob(self) -> bool:
        return "*" in self.text or "?" in self.text

    def fits(self, name: str) -> bool:
        wanted, name = self.text.casefold(), name.casefold()
        return fnmatch.fnmatchcase(name, wanted.replace("[", "[[]")) if self.is_glob else wanted in name

    def choose(self, names: list[str]) -> list[str]:
        """A glob chooses all that fit; part of a name the one that is called so, else the first that fits."""
        fitting = [name for name in names if self.fits(name)]
        if self.is_glob:
            return fitting
        exact = [name for name in fitting if name.casefold() == self.text.casefold()]
        return (exact or fitting)[:1]
