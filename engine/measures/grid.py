"""Grid lock: how far the onsets lie from the lines of the tempo map, and how closely they keep together.

Offsets are read modulo the grid: a take that is late by a whole sixteenth lies on the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from protocol.music import TempoMap

Floats = NDArray[np.float64]

MIN_ONSETS = 4
NEAR_MS = 20.0
"""Onsets this close to their line count as on it."""
_BELL_MS = 15.0
SIXTEENTHS, TRIPLETS = 4, 3
"""Lines per quarter note."""


@dataclass(frozen=True)
class GridLock:
    """Onsets against a grid; times in milliseconds, positive is late."""

    onsets: int
    median_ms: float
    spread_ms: float
    """Median absolute deviation from the median."""
    near: float
    """Share of the onsets within `NEAR_MS` of a line."""
    together: float
    """Steadiness, however late they are: 1 if all onsets share one offset (a bell of `_BELL_MS` about their median)."""
    chance: float
    """What `together` would be for onsets strewn at random."""
    spacing_ms: float


def grid_lines(tempo_map: TempoMap, start_s: float, end_s: float, per_quarter: int) -> Floats:
    """Times in seconds of all lines of the grid from the count before `start_s` to the count after `end_s`.

    Each count of the signature is divided evenly in beats, so that ramps are followed inside a count too.
    """
    margin_s = 8 * 60.0 / min(tempo_map.bpm_at(start_s), tempo_map.bpm_at(end_s))
    counts = [line.time_s for line in tempo_map.grid(start_s - margin_s, end_s + margin_s)]
    beats = [tempo_map.beat_at(time_s) for time_s in counts]
    lines: list[float] = []
    for (first, following), time_s in zip(pairwise(beats), counts, strict=False):
        parts = max(1, round((following - first) * per_quarter))
        lines.append(time_s)
        lines += [tempo_map.time_at(first + (following - first) * part / parts) for part in range(1, parts)]
    return np.array(lines)


def grid_lock(onsets_s: Floats | Sequence[float], lines_s: Floats) -> GridLock | None:
    """`GridLock` of onset times against the lines, both in seconds of project time; None for too few onsets.

    The median is a circular one (offsets wrap at half the spacing): onsets that straddle the middle between two lines
    are far from both, not on average on the grid.
    """
    times = np.asarray(onsets_s, dtype=np.float64)
    if times.size < MIN_ONSETS or lines_s.size < 2:
        return None
    after = np.clip(np.searchsorted(lines_s, times), 1, lines_s.size - 1)
    left, right = lines_s[after - 1], lines_s[after]
    phase = (times - left) / (right - left)
    spacing_ms = float(np.median(right - left)) * 1000.0
    centre = float(np.angle(np.mean(np.exp(2j * np.pi * phase)))) / (2 * np.pi)
    apart = wrapped(phase - centre, 1.0)
    median = centre + float(np.median(apart))
    own_ms = np.abs(wrapped(phase - median, 1.0)) * spacing_ms
    line_ms = np.abs(wrapped(phase, 1.0)) * spacing_ms
    return GridLock(
        onsets=int(times.size),
        median_ms=float(wrapped(median, 1.0)) * spacing_ms,
        spread_ms=float(np.median(own_ms)),
        near=float(np.mean(line_ms <= NEAR_MS)),
        together=float(np.mean(_bell(own_ms))),
        chance=float(np.mean(_bell(np.linspace(0.0, spacing_ms / 2, 200)))),
        spacing_ms=spacing_ms,
    )


def _bell(off_ms: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * np.square(off_ms / _BELL_MS)))


def wrapped(value: Floats | float, period: float) -> Floats:
    """`value` modulo `period`, into ``[-period/2, period/2)``."""
    return np.asarray((np.asarray(value) + period / 2) % period - period / 2)
