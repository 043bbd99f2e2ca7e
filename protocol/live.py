"""Live extension as values: what was asked, where it stands, what was placed. Pure; shared by schedule, doors, scripts.

A *phrase* is `phrase_bars` bars of new music. A *slot* is a place for one on the bar lines of the tempo map. Normally
phrase n lies in slot n; when a phrase is late its slot holds a *loop* of the phrase before, and the phrase goes into
the next slot: it continues the end of what was looped, so the joint stays musical.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from protocol.errors import BadArgument

MAX_PHRASE_BARS, MAX_LEAD_BARS = 64, 256


class LiveState(StrEnum):
    """The life of a live run."""

    WAITING = "waiting"
    """The transport stands, or nothing has said where it is."""
    RUNNING = "running"
    ENDED = "ended"


class Filling(StrEnum):
    """What a slot holds."""

    PHRASE = "phrase"
    LOOP = "loop"


class LiveOut(StrEnum):
    """Where a run's music goes. Phrases are files in the project in any case: they are jobs like all others."""

    FILES = "files"
    AUDIO = "audio"
    BOTH = "both"

    @property
    def plays(self) -> bool:
        return self is not LiveOut.FILES


@dataclass(frozen=True)
class LiveSettings:
    """What a run keeps to. Raises `BadArgument` for what cannot be.

    `lead_bars`: so many bars of continuation are kept ready past the playhead. `context_bars`: so much of what was
    played before is heard for each phrase. `handoff_s`: a phrase must be there so long before it is due.
    `qualities`: the steps of quality, best first, as task settings that are laid over the run's own.
    """

    phrase_bars: int = 4
    lead_bars: int = 4
    context_bars: int = 8
    handoff_s: float = 0.25
    qualities: tuple[tuple[tuple[str, object], ...], ...] = field(
        default=((), (("quality", "draft"),), (("quality", "draft"), ("steps", 8)))
    )

    def __post_init__(self) -> None:
        for name, value, most in (
            ("phrase_bars", self.phrase_bars, MAX_PHRASE_BARS),
            ("lead_bars", self.lead_bars, MAX_LEAD_BARS),
            ("context_bars", self.context_bars, MAX_LEAD_BARS),
        ):
            if not 1 <= value <= most:
                raise BadArgument(f"{name} must be 1 to {most} bars, not {value}.")


@dataclass(frozen=True)
class Slot:
    """A place for one phrase: beats from project time 0, on bar lines. `number` counts slots of a run from 1."""

    number: int
    start_beat: float
    end_beat: float
    bar: int
    """The bar that begins at `start_beat`."""

    @property
    def beats(self) -> float:
        return self.end_beat - self.start_beat


@dataclass(frozen=True)
class LiveCounts:
    """What happened so far in a run."""

    phrases: int = 0
    """Phrases that were made and placed."""
    loops: int = 0
    """Slots that had to be filled with a loop."""
    lowered: int = 0
    """Phrases that were asked for at less than the best quality."""
    failed: int = 0
    """Phrases whose jobs failed."""
    xruns: int = 0
    """Blocks that the audio system lost."""
    underruns: int = 0
    """Blocks in which the transport ran and there was nothing to play."""

    def with_(self, **counts: int) -> LiveCounts:
        return replace(self, **counts)


@dataclass(frozen=True)
class LiveStatus:
    """Where a run stands. `lead_bars`: bars that are ready past the playhead; `quality`: index of the step in use.

    `lead_s` is the same in seconds, `margin_s` by how much the phrase in the making is predicted to make its deadline
    (NaN: nothing is being made), `phase_s` how far the audio out is from the clock (NaN: no audio out).
    """

    run: str
    state: LiveState
    bar: int
    lead_bars: float
    lead_s: float
    margin_s: float
    quality: int
    phase_s: float
    counts: LiveCounts
    plays: bool = False
    """True if an audio out belongs to the run."""
    sentence: str = ""
    """What a person should know: why it waits, why it ended."""


@dataclass(frozen=True)
class PlacedPhrase:
    """What a slot was filled with: the file (of the phrase that sounds or is looped), and its exact place."""

    run: str
    slot: Slot
    filling: Filling
    job: str
    file: str
    start_s: float
    frames: int
    sample_rate: int
