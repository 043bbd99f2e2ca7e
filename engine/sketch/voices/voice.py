"""What an instrument is to `perform`: one function that plays a stroke, and how its strokes are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.sketch.voices.tones import Floats


@dataclass(frozen=True)
class Stroke:
    """One note to play. `velocity` 1 to 127 is meant for the timbre: the level by velocity is the performer's.

    `variant` tells repeated notes apart. `frames` are wanted; a sound that has died earlier may be shorter.
    """

    pitch: int
    velocity: int
    variant: int
    frames: int
    rate: float

    @property
    def force(self) -> float:
        """0 (softest) to 1 (hardest)."""
        return self.velocity / 127.0


Play = Callable[[Stroke], Floats]
"""Gives ``(frames,)`` or ``(2, frames)``; the first sample sounds."""

Bus = Callable[[Floats], Floats]
"""Takes the part block by block, ``(2, frames)`` in and out; keeps its own state between blocks."""


@dataclass(frozen=True)
class Voice:
    """How an instrument plays.

    Without `rings_s` a note lasts as written and then is released; with it (drums), as long as the drum rings, unless
    the next note of the same choke group stops it. With `exact` a stroke is given the note's length and shapes it
    itself.
    """

    play: Play
    gain_db: float
    release_s: float = 0.05
    send_db: float = -14.0
    """Into the room."""
    pan: Callable[[int], float] = lambda pitch: 0.0  # noqa: ARG005
    variants: int = 1
    monophonic: bool = False
    """A new note ends the one before; otherwise only a note of the same pitch does."""
    is_tongued: bool = False
    """A note that leads into the next is let go just before it, as winds do, so that the next has an attack."""
    breath_s: float | None = None
    """No note is held longer; it is taken up again."""
    exact: bool = False
    rings_s: Callable[[int], float] | None = None
    choked_by: Callable[[int], frozenset[int]] = lambda pitch: frozenset()  # noqa: ARG005
    bus: Callable[[float], Bus] | None = None
    """Makes the effect through which the whole part goes, for a rate."""
