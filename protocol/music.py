"""Musical time: seconds <-> beats <-> bars <-> samples, for any tempo map, to the sample over ten hours.

Conventions
-----------
* Times are seconds of project time, as doubles. Time 0 is beat 0 and the start of bar 1.
* A *beat* is a quarter note, as in every DAW's BPM. A *count* is one unit of the time signature's denominator.
* Tempo is never rounded. A linear point changes the BPM linearly *in time* up to the next point (REAPER's "gradual"
  shape), so beats are a quadratic in time, and the inverse is solved in its numerically stable form.
* A point that changes the time signature, or says so, begins a new bar there; the bar before it may be cut short.
* Before the first point its tempo and signature hold, back to minus infinity.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from protocol.errors import BadArgument

MIN_BPM, MAX_BPM = 1.0, 1000.0
MIN_RATE, MAX_RATE = 1000, 768_000
_BAR_EPSILON = 1e-6
"""Quarter notes: how far from a bar line a position still counts as on it."""

_NEAR_S = 0.0005
"""Seconds: how far from a bar line an edge still carries the bar's name."""


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise BadArgument(f"{name} must be a finite number, not {value!r}.")
    return float(value)


@dataclass(frozen=True)
class TimeSignature:
    """Counts per bar and the note value of one count: ``TimeSignature(6, 8)``."""

    numerator: int = 4
    denominator: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.numerator <= 64:
            raise BadArgument(f"The time signature's numerator must be 1 to 64, not {self.numerator}.")
        if self.denominator not in (1, 2, 4, 8, 16, 32, 64):
            raise BadArgument(
                f"The time signature's denominator must be a power of two up to 64, not {self.denominator}."
            )

    @property
    def beats_per_bar(self) -> float:
        """Length of one bar in quarter notes."""
        return self.numerator * 4 / self.denominator

    @property
    def beats_per_count(self) -> float:
        """Length of one count in quarter notes."""
        return 4 / self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


@dataclass(frozen=True)
class TempoPoint:
    """From `time_s` on: this tempo and signature; `linear` ramps the BPM in time up to the next point.

    `new_bar`: a bar begins here although the signature stays as it was.
    """

    time_s: float
    bpm: float
    signature: TimeSignature = TimeSignature()
    linear: bool = False
    new_bar: bool = False

    def __post_init__(self) -> None:
        _finite("A tempo point's time", self.time_s)
        if not MIN_BPM <= _finite("The tempo", self.bpm) <= MAX_BPM:
            raise BadArgument(f"The tempo must be {MIN_BPM:g} to {MAX_BPM:g} BPM, not {self.bpm:g}.")


@dataclass(frozen=True)
class GridLine:
    """One count of the bar grid: its time, its bar (bar 1 begins at 0 s) and its count in the bar (from 1)."""

    time_s: float
    bar: int
    count: int

    @property
    def is_bar_line(self) -> bool:
        return self.count == 1


@dataclass(frozen=True)
class _Segment:
    """A stretch between two tempo points, with the beat at which it starts."""

    time_s: float
    beat: float
    bpm: float
    slope: float  # BPM per second
    length_s: float

    def beats_after(self, dt: float) -> float:
        return (self.bpm + 0.5 * self.slope * dt) * dt / 60.0

    def seconds_after(self, beats: float) -> float:
        # slope/2 dt² + bpm dt - 60 beats = 0, in the form that does not cancel.
        root = math.sqrt(max(0.0, self.bpm * self.bpm + 2.0 * self.slope * 60.0 * beats))
        return 120.0 * beats / (self.bpm + root)


@dataclass(frozen=True)
class _BarAnchor:
    """A bar line from which bars are counted with one signature."""

    beat: float
    bar: int
    signature: TimeSignature


@dataclass(frozen=True)
class TempoMap:
    """An immutable tempo map; ``TempoMap.constant(97.5)`` is the simplest.

    Raises `BadArgument` if it has no point, or if times do not rise.
    """

    points: tuple[TempoPoint, ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise BadArgument("A tempo map needs at least one point.")
        for before, after in pairwise(self.points):
            if not before.time_s < after.time_s:
                raise BadArgument(
                    f"The tempo map's times must rise: {after.time_s:g} s comes after {before.time_s:g} s."
                )

    @classmethod
    def constant(cls, bpm: float, signature: TimeSignature | None = None) -> TempoMap:
        """One tempo and one signature for all time."""
        return cls((TempoPoint(0.0, float(bpm), signature or TimeSignature()),))

    @classmethod
    def from_flat(cls, values: Sequence[float]) -> TempoMap:
        """From the OSC form: ``(time_s, bpm, numerator, denominator, shape)`` repeated; shape 0 step, 1 linear."""
        if not values or len(values) % 5:
            raise BadArgument("A tempo map is given as time, bpm, numerator, denominator, shape for each point.")
        points = []
        for time_s, bpm, numerator, denominator, shape in zip(*[iter(values)] * 5, strict=True):
            if shape not in (0, 1):
                raise BadArgument(f"A tempo point's shape is 0 (step) or 1 (linear), not {shape!r}.")
            if numerator != int(numerator) or denominator != int(denominator):
                raise BadArgument(f"A time signature is made of whole numbers, not {numerator:g}/{denominator:g}.")
            signature = TimeSignature(int(numerator), int(denominator))
            points.append(TempoPoint(float(time_s), float(bpm), signature, bool(shape)))
        return cls(tuple(points))

    def with_signature(self, signature: TimeSignature) -> TempoMap:
        """The same tempos under one signature throughout."""
        return TempoMap(tuple(replace(point, signature=signature) for point in self.points))

    # --- seconds <-> beats ------------------------------------------------------------------------------------------
    @cached_property
    def _segments(self) -> tuple[_Segment, ...]:
        segments: list[_Segment] = []
        beat = 0.0
        for index, point in enumerate(self.points):
            following = self.points[index + 1] if index + 1 < len(self.points) else None
            length = following.time_s - point.time_s if following else math.inf
            slope = (following.bpm - point.bpm) / length if following and point.linear else 0.0
            segments.append(_Segment(point.time_s, beat, point.bpm, slope, length))
            if following:
                beat += segments[-1].beats_after(length)
        origin = _beat_at(segments, 0.0)
        return tuple(_Segment(s.time_s, s.beat - origin, s.bpm, s.slope, s.length_s) for s in segments)

    @cached_property
    def _segment_times(self) -> list[float]:
        return [segment.time_s for segment in self._segments]

    @cached_property
    def _segment_beats(self) -> list[float]:
        return [segment.beat for segment in self._segments]

    def beat_at(self, time_s: float) -> float:
        """Quarter notes from time 0 to `time_s` (negative before 0)."""
        return _beat_at(self._segments, time_s, self._segment_times)

    def time_at(self, beat: float) -> float:
        """Seconds at which `beat` (quarter notes from time 0) falls: the inverse of `beat_at`."""
        segments = self._segments
        index = max(0, bisect_right(self._segment_beats, beat) - 1)
        segment = segments[index]
        beats = beat - segment.beat
        if beats < 0:  # before the first point: its tempo holds
            return segment.time_s + beats * 60.0 / segment.bpm
        return segment.time_s + segment.seconds_after(beats)

    def bpm_at(self, time_s: float) -> float:
        """The tempo at `time_s`, inside ramps too."""
        index = bisect_right(self._segment_times, time_s) - 1
        if index < 0:
            return self._segments[0].bpm
        segment = self._segments[index]
        return segment.bpm + segment.slope * (time_s - segment.time_s)

    def signature_at(self, time_s: float) -> TimeSignature:
        """The time signature in force at `time_s`."""
        return self.points[max(0, bisect_right(self._segment_times, time_s) - 1)].signature

    # --- bars ---------------------------------------------------------------------------------------------------------
    @cached_property
    def _anchors(self) -> tuple[_BarAnchor, ...]:
        anchors = [_BarAnchor(0.0, 1, self.signature_at(0.0))]
        for point, segment in zip(self.points, self._segments, strict=True):
            last = anchors[-1]
            if point.time_s <= 0 or (point.signature == last.signature and not point.new_bar):
                continue
            bars = math.ceil((segment.beat - last.beat) / last.signature.beats_per_bar - _BAR_EPSILON)
            anchors.append(_BarAnchor(segment.beat, last.bar + max(1, bars), point.signature))
        return tuple(anchors)

    @cached_property
    def _anchor_beats(self) -> list[float]:
        return [anchor.beat for anchor in self._anchors]

    def _anchor_for_beat(self, beat: float) -> int:
        return max(0, bisect_right(self._anchor_beats, beat + _BAR_EPSILON) - 1)

    def bar_start(self, bar: int) -> float:
        """Seconds at which `bar` begins; bar 1 begins at 0 s, bars 0, -1, ... lie before it."""
        index = max(0, bisect_right([a.bar for a in self._anchors], bar) - 1)
        anchor = self._anchors[index]
        return self.time_at(anchor.beat + (bar - anchor.bar) * anchor.signature.beats_per_bar)

    def bar_at(self, time_s: float) -> tuple[int, float]:
        """The bar that contains `time_s` and how many quarter notes into it that is."""
        beat = self.beat_at(time_s)
        anchor = self._anchors[self._anchor_for_beat(beat)]
        length = anchor.signature.beats_per_bar
        bars = math.floor((beat - anchor.beat) / length + _BAR_EPSILON)
        return anchor.bar + bars, max(0.0, beat - anchor.beat - bars * length)

    def bars_from(self, time_s: float, bars: float) -> float:
        """The time `bars` bars after (negative: before) `time_s`, at the same place in its bar, meter changes counted.

        From a bar line, also one that is off by the rounding to a sample, whole bars lead exactly to a bar line.
        """
        bar, _ = self.bar_at(time_s + _NEAR_S)
        is_on_line = abs(self.bar_start(bar) - time_s) <= _NEAR_S
        into = 0.0 if is_on_line else self.bar_at(time_s)[1]
        whole = math.floor(bars)
        start_s = self.bar_start(bar + whole)
        if bars == whole and is_on_line:
            return start_s
        part = (bars - whole) * self.signature_at(start_s + _NEAR_S).beats_per_bar
        return self.time_at(self.beat_at(start_s) + into + part)

    def grid(self, start_s: float, end_s: float) -> Iterator[GridLine]:
        """All counts with ``start_s <= time < end_s``, in order; within a microbeat of an edge counts as on it."""
        first, end = self.beat_at(start_s) - _BAR_EPSILON, self.beat_at(end_s) - _BAR_EPSILON
        for index in range(self._anchor_for_beat(first), len(self._anchors)):
            anchor = self._anchors[index]
            stop = self._anchors[index + 1].beat - _BAR_EPSILON if index + 1 < len(self._anchors) else math.inf
            unit, per_bar = anchor.signature.beats_per_count, anchor.signature.numerator
            step = math.ceil((first - anchor.beat) / unit)
            if index > 0:
                step = max(step, 0)
            while (beat := anchor.beat + step * unit) < min(end, stop):
                bar, count = divmod(step, per_bar)
                yield GridLine(self.time_at(beat), anchor.bar + bar, count + 1)
                step += 1
            if stop >= end:
                return


def _beat_at(segments: Sequence[_Segment], time_s: float, times: list[float] | None = None) -> float:
    times = times if times is not None else [segment.time_s for segment in segments]
    index = bisect_right(times, time_s) - 1
    if index < 0:
        return segments[0].beat + (time_s - segments[0].time_s) * segments[0].bpm / 60.0
    return segments[index].beat + segments[index].beats_after(time_s - segments[index].time_s)


@dataclass(frozen=True)
class Region:
    """A span of project time, ``start_s < end_s``, as doubles; `frames` turns it into samples exactly once.

    Raises `BadArgument` for an empty, reversed or non-finite span.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        _finite("The region's start", self.start_s)
        _finite("The region's end", self.end_s)
        if not self.start_s < self.end_s:
            raise BadArgument(f"The region must end after it starts: {self.start_s:g} s to {self.end_s:g} s does not.")

    @classmethod
    def from_frames(cls, start: int, end: int, rate: int) -> Region:
        """From sample positions at `rate`; `frames(rate)` gives them back exactly."""
        return cls(start / checked_rate(rate), end / rate)

    @classmethod
    def from_bars(cls, tempo_map: TempoMap, first_bar: int, count: int) -> Region:
        """`count` whole bars from the start of `first_bar`."""
        if count < 1:
            raise BadArgument(f"A region of bars needs at least one bar, not {count}.")
        return cls(tempo_map.bar_start(first_bar), tempo_map.bar_start(first_bar + count))

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def frames(self, rate: int) -> tuple[int, int]:
        """First frame and the frame after the last, at `rate`: ``round(start*rate), round(end*rate)``."""
        return round(self.start_s * rate), round(self.end_s * rate)

    def overlaps(self, other: Region) -> bool:
        return self.start_s < other.end_s and other.start_s < self.end_s

    def label(self, tempo_map: TempoMap) -> str:
        """How a person names it: ``bars-17-20`` (20 included), ``bar-3``, or ``32.50s-40.13s`` off the grid."""
        first, after = _bar_line_near(tempo_map, self.start_s), _bar_line_near(tempo_map, self.end_s)
        if first is not None and after is not None and after > first:
            return f"bar-{first}" if after == first + 1 else f"bars-{first}-{after - 1}"
        return f"{self.start_s:.2f}s-{self.end_s:.2f}s"


def _bar_line_near(tempo_map: TempoMap, time_s: float) -> int | None:
    """The bar that begins at `time_s`, give or take what a sample or a rounded number may be off by; else None."""
    bar, _ = tempo_map.bar_at(time_s + _NEAR_S)
    return bar if abs(tempo_map.bar_start(bar) - time_s) <= _NEAR_S else None


def checked_rate(rate: int) -> int:
    """`rate` itself if it is a sample rate in Hz that audio can have, else `BadArgument`."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadArgument(f"The sample rate must be {MIN_RATE} to {MAX_RATE} Hz, not {rate}.")
    return rate


def merge(regions: Iterable[Region]) -> tuple[Region, ...]:
    """The regions in order of time; raises `BadArgument` if two overlap."""
    ordered = tuple(sorted(regions, key=lambda region: region.start_s))
    for before, after in pairwise(ordered):
        if before.overlaps(after):
            raise BadArgument(f"Regions must not overlap: {before.end_s:g} s and {after.start_s:g} s do.")
    return ordered
