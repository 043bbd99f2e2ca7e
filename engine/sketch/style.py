"""What a prompt says to a band: style words read into a `Style`, and nothing invented where it is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.sketch.score import Instrument


class Feel(StrEnum):
    STRAIGHT = "straight"
    SWING = "swing"


class Beat(StrEnum):
    """The drum pattern's family."""

    BACKBEAT = "backbeat"
    FOUR_ON_THE_FLOOR = "four on the floor"
    HALF_TIME = "half-time"
    DOUBLE_TIME = "double-time"
    BREAKBEAT = "breakbeat"
    BOSSA = "bossa nova"
    TRAIN = "train beat"
    ONE_DROP = "one drop"
    SWING_RIDE = "swing ride"
    WALTZ = "waltz"
    MARCH = "march"
    BALLAD = "ballad"


@dataclass(frozen=True)
class Style:
    """What the words said; None and empty where they said nothing, which leaves it to the song and the seed.

    `instruments` are those that were named, in order of mention; `without` those that the prompt or the negative
    prompt rules out. `density` and `intensity` go from -1 (sparse, soft) to 1 (busy, hard). `words` lists the words
    that were understood, for the recipe.
    """

    beat: Beat | None = None
    feel: Feel | None = None
    instruments: tuple[Instrument, ...] = ()
    without: frozenset[Instrument] = frozenset()
    density: float = 0.0
    intensity: float = 0.0
    legato: bool | None = None
    bpm: float | None = None
    minor: bool | None = None
    words: tuple[str, ...] = field(default=())
