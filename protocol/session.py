"""What a DAW has told us so far: an immutable value, folded from messages. Pure arithmetic, no clock, no I/O.

How things that were told combine
---------------------------------
* Tempo is one thing, either constant or a map: whichever was told last counts. A map carries its own time signatures
  and so replaces the one told before it; a signature told after a map holds throughout the map. A constant tempo told
  after a map keeps the signature with which the map began, since a change of tempo is no change of meter.
* Regions are kept as they were told (seconds, samples or bars) and become seconds only when used, since the tempo or
  the sample rate may be told later.
* What our own addresses tell is exact. REAPER's native surface tells 32-bit floats; `protocol.reaper_osc` decides what
  such a float adds to the session.
* A setting, a key or a region can be taken back: the field is then known to be empty, and says who emptied it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from protocol.errors import BadArgument, MissingContext
from protocol.job import ProjectRef, SourceRef
from protocol.key import Key
from protocol.music import Region, TempoMap, TimeSignature, checked_rate, merge

T_co = TypeVar("T_co", covariant=True)

DEFAULT_BPM = 120.0
"""Stands in while no tempo is known; `Session.tempo_map` says so beside it."""

MAX_BARS = 100_000
MAX_FRAMES = 2**53
"""Sample positions beyond this are not whole numbers in a double."""

SETTING = "set/"
"""Settings are shown as ``set/prompt``, like the address that tells them."""

Loop = tuple[float | None, float | None]


@dataclass(frozen=True)
class Known(Generic[T_co]):
    """A value, who told it (``reaper``, ``osc:127.0.0.1:9000``, ...) and when, in seconds of the daemon's clock."""

    value: T_co
    source: str
    at: float

    @cached_property
    def text(self) -> str:
        """The value as a person, or a script that parses it, would write it; numbers in full precision."""
        return _text(self.value)


@dataclass(frozen=True)
class FramesRegion:
    """A region in samples at the project's rate. Raises `BadArgument` if it is empty or out of range."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not -MAX_FRAMES <= self.start < self.end <= MAX_FRAMES:
            raise BadArgument(f"The region must end after it starts: samples {self.start} to {self.end} do not.")


@dataclass(frozen=True)
class BarsRegion:
    """`count` whole bars from bar `first`; bar 1 begins at 0 s. Raises `BadArgument` if there is no such region."""

    first: int
    count: int

    def __post_init__(self) -> None:
        if not -MAX_BARS <= self.first <= MAX_BARS:
            raise BadArgument(f"A region's first bar must be {-MAX_BARS} to {MAX_BARS}, not {self.first}.")
        if not 1 <= self.count <= MAX_BARS:
            raise BadArgument(f"A region of bars must have 1 to {MAX_BARS} bars, not {self.count}.")


RegionSpec = Region | FramesRegion | BarsRegion

_SHOWN_AS = {"regions": "region", "position_s": "position"}
"""Fields whose public name, that of the address which tells them, is not their name here."""


@dataclass(frozen=True)
class Session:
    """All that is known. A field is None until it was told; `told` gives the session with one thing more known."""

    project: Known[ProjectRef] | None = None
    source: Known[SourceRef] | None = None
    tempo: Known[float | TempoMap] | None = None
    timesig: Known[TimeSignature] | None = None
    key: Known[Key | None] | None = None
    regions: Known[tuple[RegionSpec, ...]] | None = None
    position_s: Known[float] | None = None
    playing: Known[bool] | None = None
    clock: Known[str] | None = None
    """What MIDI clock says, in words, whether or not it counts (see protocol/clock_session.py)."""
    told_settings: Mapping[str, Known[object]] = field(default_factory=lambda: MappingProxyType({}))
    """By name; a value of None: taken back. `settings` is what counts."""
    native_loop: Loop = (None, None)
    """REAPER's loop points as last heard, each alone: a half-told loop waits here for its other end."""
    before_half_loop: Known[tuple[RegionSpec, ...]] | None = None
    """The region of which an edge stands in for the end of REAPER's loop that was not heard yet."""

    # --- the fold -----------------------------------------------------------------------------------------------------
    def told(self, name: str, value: Any, source: str, at: float) -> Session:
        """The session after `source` told `value` for the field `name` (one of the fields above) at time `at`.

        Raises `BadArgument` for constant tempos that are none; other values are checked by their own types.
        """
        if name not in _FIELDS:
            raise KeyError(name)
        if name == "playing" and self.playing is not None and self.playing.value == value:
            at = self.playing.at  # told again: it says since when, positions are counted on from there
        news: dict[str, Any] = {name: Known(value, source, at)}
        if name == "tempo" and isinstance(value, TempoMap):
            news["timesig"] = None
        elif name == "tempo":
            TempoMap.constant(value)  # refuses what is no tempo
            if self.timesig is None and self.tempo and isinstance(before := self.tempo.value, TempoMap):
                news["timesig"] = Known(before.points[0].signature, self.tempo.source, self.tempo.at)
        elif name == "timesig" and self.tempo and isinstance(before := self.tempo.value, TempoMap):
            news["tempo"] = replace(self.tempo, value=before.with_signature(value))
        if name == "regions":
            news["before_half_loop"] = None
        return replace(self, **news)

    def told_setting(self, name: str, value: object, source: str, at: float) -> Session:
        """The session after a task setting was told; None or an empty string takes it back."""
        known: Known[object] = Known(None if value == "" else value, source, at)
        return replace(self, told_settings=MappingProxyType({**self.told_settings, name: known}))

    # --- what follows from it -----------------------------------------------------------------------------------------
    @property
    def settings(self) -> dict[str, object]:
        """The task settings in force, by name."""
        return {name: known.value for name, known in self.told_settings.items() if known.value is not None}

    @property
    def rate(self) -> int | None:
        """The project's sample rate in Hz, if the DAW told it."""
        return self.project.value.sample_rate if self.project else None

    def tempo_map(self) -> tuple[TempoMap, bool]:
        """The tempo map in force, and whether its tempo was told (else it is `DEFAULT_BPM` under the signature)."""
        signature = self.timesig.value if self.timesig else None
        if self.tempo is None:
            return TempoMap.constant(DEFAULT_BPM, signature), False
        if isinstance(self.tempo.value, TempoMap):
            return self.tempo.value, True
        return TempoMap.constant(self.tempo.value, signature), True

    def resolve_regions(self, rate: int | None) -> tuple[Region, ...]:
        """The regions in seconds and in order of time; `rate` is that of the project, in Hz, where it is known.

        Raises `MissingContext` naming the message that is missing, `BadArgument` if regions overlap.
        """
        told = self.regions.value if self.regions else ()
        return merge(self._resolved(spec, rate) for spec in told)

    def _resolved(self, spec: RegionSpec, rate: int | None) -> Region:
        if isinstance(spec, Region):
            return spec
        if isinstance(spec, FramesRegion):
            if rate is None:
                raise MissingContext(
                    "A region in samples needs the project's sample rate: "
                    "tell it with /stembridge/project FOLDER SAMPLE_RATE first."
                )
            return Region.from_frames(spec.start, spec.end, checked_rate(rate))
        tempo_map, known = self.tempo_map()
        if not known:
            raise MissingContext("A region in bars needs a tempo: tell the tempo with /stembridge/tempo BPM first.")
        return Region.from_bars(tempo_map, spec.first, spec.count)

    # --- for people ---------------------------------------------------------------------------------------------------
    def describe(self, now: float) -> list[tuple[str, str, str, float]]:
        """One row per field that was ever told: public name, value as text, who told it, age in seconds.

        Public names are those of the addresses: ``tempo``, ``region``, ``set/prompt``, ...
        """
        return [
            (name, known.text, known.source, max(0.0, now - known.at))
            for name, known in self._known().items()
            if known is not None
        ]

    def changed_fields(self, later: Session) -> tuple[str, ...]:
        """Public names of the fields whose values differ in `later`; the same thing told again is no change."""
        before, after = self._known(), later._known()
        return tuple(name for name in {**before, **after} if _value(before.get(name)) != _value(after.get(name)))

    def _known(self) -> dict[str, Known[object] | None]:
        known = {_SHOWN_AS.get(name, name): getattr(self, name) for name in _FIELDS}
        return known | {SETTING + name: value for name, value in self.told_settings.items()}


_NOT_TOLD = ("told_settings", "native_loop", "before_half_loop")
_FIELDS = tuple(f.name for f in fields(Session) if f.name not in _NOT_TOLD)


def _value(known: Known[object] | None) -> object:
    # A set of regions or a setting that was taken back equals one that was never told.
    return None if known is None or known.value == () else known.value


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case ProjectRef():
            return value.folder if value.sample_rate is None else f"{value.folder} ({value.sample_rate} Hz)"
        case SourceRef():
            return f"{value.file} (from {value.start_s!r} s)"
        case TempoMap():
            return ", ".join(
                f"{p.time_s!r} {p.bpm!r} {p.signature.numerator} {p.signature.denominator} {int(p.linear)}"
                for p in value.points
            )
        case Region():
            return f"{value.start_s!r} {value.end_s!r}"
        case FramesRegion():
            return f"samples {value.start} {value.end}"
        case BarsRegion():
            return f"bars {value.first} {value.count}"
        case tuple():
            return ", ".join(_text(item) for item in value)
        case bool():
            return str(int(value))
        case Mapping():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
