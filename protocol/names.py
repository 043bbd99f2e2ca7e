"""What a mistyped name most likely means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 64


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known dotted name that a wrong one most likely means, by its last part or by the whole; None if none is."""
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_folded(candidate), candidate)
        folded.setdefault(_folded(candidate.rpartition(".")[2]), candidate)
    if len(name) > _LONGEST:
        return None
    for wanted in (_folded(name), _folded(name.rpartition(".")[2])):
        if close := difflib.get_close_matches(wanted, folded, n=1, cutoff=0.7):
            return folded[close[0]]
    return None


def _folded(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
