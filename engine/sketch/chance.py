"""Chance that is the same on every machine: a stream of its own for each thing that is drawn."""

from __future__ import annotations

import hashlib

from numpy.random import PCG64, Generator


def chance_for(seed: int, what: str) -> Generator:
    """The stream of a job's `seed` for `what` is drawn with it."""
    digest = hashlib.sha256(f"{seed}:{what}".encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))
