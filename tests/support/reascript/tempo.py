"""REAPER's tempo map, written from REAPER's rules and from nothing else: a second opinion on the daemon's own.

Rules: BPM counts quarter notes (QN). A point holds its tempo up to the next one, or ramps linearly in time to the next
one's BPM. A point that sets a time signature starts a new measure there, even in the middle of one (a *cut* measure).
What the project's own tempo and signature say holds before the first point. Measures are counted from 0, beats are
counts of the signature's denominator, time 0 is QN 0 and the start of measure 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from tests.support.reascript.model import Project, TempoMarker

T = TypeVar("T")

_ON_LINE = 1e-9
"""QN: float noise that must not push a position into the measure before."""


@dataclass(frozen=True)
class Stretch:
    """From one point to the next: starts at `start_s` and `qn` with `bpm`, which changes by `slope` per second."""

    start_s: float
    qn: float
    bpm: float
    slope: float

    def bpm_after(self, seconds: float) -> float:
        return self.bpm + self.slope * max(0.0, seconds)

    def qn_after(self, seconds: float) -> float:
        """The mean of both ends' tempos times the time between."""
        return (self.bpm + self.bpm_after(seconds)) / 2 / 60 * seconds

    def seconds_after(self, qn: float) -> float:
        """Newton's method: the function is quadratic, so that each step comes nearer from one side."""
        seconds = qn * 60 / self.bpm
        for _ in range(100):
            step = (self.qn_after(seconds) - qn) * 60 / self.bpm_after(seconds)
            seconds -= step
            if abs(step) <= 1e-15 * max(1.0, abs(seconds)):
                break
        return seconds


@dataclass(frozen=True)
class Meter:
    """From `measure` on, which starts at `qn` after `beats` counts: this signature."""

    qn: float
    measure: int
    beats: float
    numerator: int
    denominator: int
    cuts: bool = False
    """The measure before was cut short."""

    @property
    def measure_qn(self) -> float:
        return self.numerator * 4 / self.denominator

    @property
    def beat_qn(self) -> float:
        return 4 / self.denominator


class TempoRules:
    """What a project's tempo markers mean. All functions take and give seconds of project time, QN, beats, measures."""

    def __init__(self, project: Project) -> None:
        self.markers = sorted(project.tempo, key=lambda marker: marker.time)
        points = self.markers
        if not points or points[0].time > 0:
            own = TempoMarker(0.0, project.bpm, project.numerator, project.denominator)
            points = [own, *points]
        self.stretches = _stretches(points)
        self.meters = self._meters(points, project)

    def _meters(self, points: list[TempoMarker], project: Project) -> list[Meter]:
        meters = [Meter(0.0, 0, 0.0, project.numerator, project.denominator)]
        for point in points:
            if not point.numerator:
                continue
            if point.time <= 0:
                meters[0] = Meter(0.0, 0, 0.0, point.numerator, point.denominator)
                continue
            last, qn = meters[-1], self.qn_at(point.time)
            measures = (qn - last.qn) / last.measure_qn
            whole = round(measures)
            cuts = abs(measures - whole) > 1e-6
            number = last.measure + (int(measures) + 1 if cuts else whole)
            beats = last.beats + (qn - last.qn) / last.beat_qn
            meters.append(Meter(qn, number, beats, point.numerator, point.denominator, cuts))
        return meters

    # --- tempo ------------------------------------------------------------------------------------------------------
    def qn_at(self, time_s: float) -> float:
        stretch = _last(self.stretches, [s.start_s <= time_s for s in self.stretches])
        return stretch.qn + stretch.qn_after(time_s - stretch.start_s)

    def time_at(self, qn: float) -> float:
        stretch = _last(self.stretches, [s.qn <= qn for s in self.stretches])
        if qn < stretch.qn:  # before time 0: the first tempo holds
            return stretch.start_s + (qn - stretch.qn) * 60 / stretch.bpm
        return stretch.start_s + stretch.seconds_after(qn - stretch.qn)

    def bpm_at(self, time_s: float) -> float:
        stretch = _last(self.stretches, [s.start_s <= time_s for s in self.stretches])
        return stretch.bpm_after(time_s - stretch.start_s)

    def next_change(self, time_s: float) -> float:
        """The time of the next point after `time_s`, or -1."""
        return next((marker.time for marker in self.markers if marker.time > time_s), -1.0)

    def has_cut_measure_before(self, qn: float) -> bool:
        return any(meter.cuts and meter.qn <= qn + _ON_LINE for meter in self.meters)

    # --- measures -----------------------------------------------------------------------------------------------------
    def meter_at(self, time_s: float) -> Meter:
        qn = self.qn_at(time_s)
        return _last(self.meters, [meter.qn <= qn + _ON_LINE for meter in self.meters])

    def position_at(self, time_s: float) -> tuple[float, int, float, Meter]:
        """Beats since the measure's start, the measure, beats since time 0, and the signature."""
        meter, qn = self.meter_at(time_s), self.qn_at(time_s)
        measures = int((qn - meter.qn + _ON_LINE) // meter.measure_qn)
        beats = max(0.0, (qn - meter.qn - measures * meter.measure_qn) / meter.beat_qn)
        return beats, meter.measure + measures, meter.beats + (qn - meter.qn) / meter.beat_qn, meter

    def measure(self, number: int) -> tuple[float, float, Meter]:
        """The QN at which measure `number` starts and ends, and its signature."""
        index = max((i for i, meter in enumerate(self.meters) if meter.measure <= number), default=0)
        meter = self.meters[index]
        start = meter.qn + (number - meter.measure) * meter.measure_qn
        end = start + meter.measure_qn
        if index + 1 < len(self.meters):
            end = min(end, self.meters[index + 1].qn)
        return start, end, meter

    def time_of_beats(self, beats: float) -> float:
        """The time of a count since time 0."""
        meter = _last(self.meters, [meter.beats <= beats for meter in self.meters])
        return self.time_at(meter.qn + (beats - meter.beats) * meter.beat_qn)

    def time_in_measure(self, number: int, beats: float) -> float:
        start, _, meter = self.measure(number)
        return self.time_at(start + beats * meter.beat_qn)


def _stretches(points: list[TempoMarker]) -> list[Stretch]:
    stretches: list[Stretch] = []
    for index, point in enumerate(points):
        qn = 0.0
        if stretches:
            qn = stretches[-1].qn + stretches[-1].qn_after(point.time - stretches[-1].start_s)
        slope = 0.0
        if point.linear and index + 1 < len(points):
            following = points[index + 1]
            slope = (following.bpm - point.bpm) / (following.time - point.time)
        stretches.append(Stretch(point.time, qn, point.bpm, slope))
    return stretches


def _last(values: list[T], holds: Iterable[bool]) -> T:
    """The last value for which it holds, else the first."""
    found = values[0]
    for value, is_so in zip(values, holds, strict=True):
        if is_so:
            found = value
    return found
