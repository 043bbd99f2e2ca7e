"""A tempo map made of estimated beats, so that everything after the ears works on one kind of grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.sketch.analysis import Doubles
from engine.sketch.grid import Pulse
from protocol.music import MAX_BPM, MIN_BPM, TempoMap, TempoPoint, TimeSignature

_ON_ZERO_S = 0.004
"""A first bar line this close to project time 0 lies on it."""


def estimated_tempo_map(pulse: Pulse, time_of: Callable[[float], float]) -> TempoMap:
    """The map whose bar lines fall on the pulse's downbeats; `time_of` gives project seconds of a source frame.

    Steady music gets one tempo, other music a tempo per bar. Project time 0 must begin a bar, so what lies between it
    and the first bar line after it becomes a short bar of its own, in sixteenths.
    """
    signature = TimeSignature(3 * pulse.per_bar, 8) if pulse.compound else TimeSignature(pulse.per_bar, 4)
    times = np.array([time_of(frame) for frame in pulse.lines])
    bars = _bar_lines(times[pulse.index % pulse.per_bar == 0])
    tempos = np.clip(60.0 * signature.beats_per_bar / np.diff(bars), MIN_BPM, MAX_BPM)
    bars = bars[:-1]
    if pulse.steady:
        bars, tempos = bars[:1], np.full(1, np.median(tempos))
    points = [TempoPoint(float(time_s), float(bpm), signature) for time_s, bpm in zip(bars, tempos, strict=True)]
    if bars[0] > 0.0:
        points.insert(0, _pickup(float(bars[0]), float(tempos[0])))
    return TempoMap(tuple(points))


def _bar_lines(lines_s: Doubles) -> Doubles:
    """The bar lines from the first at or after project time 0 on; carried on backwards if they begin later."""
    length = float(np.median(np.diff(lines_s)[:8]))
    before = int(np.ceil(max(lines_s[0], 0.0) / length))
    lines_s = np.concatenate([lines_s[0] - length * np.arange(before, 0, -1), lines_s])
    lines_s = lines_s[lines_s > -_ON_ZERO_S]
    if lines_s[0] < _ON_ZERO_S:
        lines_s[0] = 0.0
    return lines_s


def _pickup(length_s: float, bpm: float) -> TempoPoint:
    for part in (16, 64):
        counts = max(1, round(length_s * bpm / 60.0 * part / 4))
        tempo = counts * (4 / part) * 60.0 / length_s
        if tempo <= MAX_BPM:
            return TempoPoint(0.0, tempo, TimeSignature(counts, part))
    return TempoPoint(0.0, MAX_BPM, TimeSignature(1, 64))
