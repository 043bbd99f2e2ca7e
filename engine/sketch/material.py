"""The song cut into slots, each described by one vector: what the path may use, and how alike two moments are.

The scale of every part of the vector is taken from the song: two random slots at the same place in the bar lie at a
root mean square distance of 1. So a distance reads the same in a string quartet and in a club track: 0 is a repeat,
1 is "any other bar of this song".

Promise: slots that touch the region are not usable, and nothing of the region's content enters a vector or a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.api import Source
from engine.sketch.analysis import Doubles, Features, Pooler
from engine.sketch.grid import Grid, Ints
from engine.sketch.harmony_path import Harmony, harmony, sections
from engine.sketch.joints import Meetings, meetings

UNKNOWN = 1.0
"""The distance to a moment of which nothing may be known: that of any other bar of the song."""

_HARMONY, _TIMBRE, _LEVEL, _ACCENTS = 0.42, 0.22, 0.14, 0.22
_FLOORS = {"chroma": 0.15, "timbre": 8.0, "level": 1.0, "flux": 0.6}
"""The least root mean square deviation a part is scaled by, so that a part that never changes is not blown up."""

_FLUX_LEAD_S = 0.025
"""An attack on the line shows in the flux a little before it: half a window."""
_QUIET_DB = 30.0
_SHY_S = 0.1
"""The reach of the long analysis window."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """Vectors of spans of the song: ``vectors (spans, d)``, `level_db` and whether enough of the span is `known`."""

    vectors: Doubles
    level_db: Doubles
    known: Bools

    def distance(self, mine: Ints, other: Moments, theirs: Ints) -> Doubles:
        """Distances ``(len(mine), len(theirs))``; `UNKNOWN` where either is not known."""
        a, b = self.vectors[mine], other.vectors[theirs]
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T
        known = self.known[mine][:, None] & other.known[theirs][None, :]
        return np.where(known, np.sqrt(np.maximum(squared, 0.0)), UNKNOWN)

    def pairwise(self, mine: Ints, other: Moments, theirs: Ints) -> Doubles:
        """Distances of corresponding members of two index arrays of one shape; `UNKNOWN` as above, and for -1."""
        gap = np.linalg.norm(self.vectors[mine] - other.vectors[theirs], axis=-1)
        known = self.known[mine] & other.known[theirs] & (mine >= 0) & (theirs >= 0)
        return np.where(known, gap, UNKNOWN)


@dataclass(frozen=True)
class Material:
    """What the path is chosen from.

    `slots` describes every slot of the grid. `before` describes what precedes each slot at the phase at which the
    region starts in its first slot, `after` what follows each slot at the phase at which the region ends in its last
    one; on the grid these are simply the neighbouring slots. `first` and `last` are the slots in which the region
    begins and ends.
    """

    grid: Grid
    region: tuple[int, int]
    usable: Bools
    quiet: Bools
    slots: Moments
    before: Moments
    after: Moments
    first: int
    last: int
    lines: Meetings
    """At the start of every slot; `entry` and `leave` at the phases of the region's start and end in it."""
    entry: Meetings
    leave: Meetings
    harmony: Harmony | None
    section: Ints
    """The section that each slot belongs to, -1 where it is not known."""

    @property
    def meets(self) -> tuple[bool, bool]:
        """Whether there is music before and after the region to be met."""
        return bool(self.before.known[self.first]), bool(self.after.known[self.last])

    @property
    def targets(self) -> Ints:
        return np.arange(self.first, self.last + 1)


def material(source: Source, grid: Grid, features: Features, region: tuple[int, int]) -> Material:
    """Describe the song for one region. `region` is in source frames and may lie outside the source."""
    edge = grid.slack_s * source.rate
    first = int(np.searchsorted(grid.lines, region[0] + edge, side="right")) - 1
    last = max(first, int(np.searchsorted(grid.lines, region[1] - edge, side="left")) - 1)
    starts, stops = grid.lines[:-1], grid.lines[1:]
    into_first, into_last = region[0] - starts[first], region[1] - stops[last]
    early, late = starts + min(into_first, 0.0) + 1, stops + max(into_last, 0.0) - 1  # 1: lines are not whole frames
    usable = (early >= features.start) & (late <= features.stop) & ((late <= region[0]) | (early >= region[1]))
    pooler = features.pooler(region)
    scales = _scales(pooler, grid, usable, source.rate)
    previous, following = np.roll(grid.lengths, 1), np.roll(grid.lengths, -1)
    slots = _moments(pooler, starts, stops, scales, source.rate)
    # What touches the region's edges cannot be measured without looking in: leave as much out everywhere.
    shy = np.minimum(_SHY_S * source.rate, grid.lengths / 3)
    before = _moments(pooler, starts - previous + into_first, starts + into_first - shy, scales, source.rate)
    after = _moments(pooler, stops + into_last + shy, stops + following + into_last, scales, source.rate)
    level = slots.level_db[usable]
    quiet = slots.level_db < (np.median(level) if level.size else 0.0) - _QUIET_DB
    lines = meetings(features, grid, region, starts)
    entry = meetings(features, grid, region, starts + into_first, shy_before=True)
    leave = meetings(features, grid, region, stops + into_last, shy_after=True)
    return Material(
        *(grid, region, usable, quiet, slots, before, after, first, last, lines, entry, leave),
        harmony=harmony(features, grid, region),
        section=sections(slots.vectors, slots.known & usable, grid),
    )


def _parts(pooler: Pooler, starts: Doubles, stops: Doubles, rate: int) -> tuple[dict[str, Doubles], Doubles, Bools]:
    middle = (starts + stops) / 2
    whole, head, tail = pooler(starts, stops), pooler(starts, middle), pooler(middle, stops)
    quarters = [starts + (stops - starts) * k / 4 - _FLUX_LEAD_S * rate for k in range(5)]
    accents = [pooler(low, high) for low, high in pairwise(quarters)]
    known = np.minimum(whole.known > 0.4, np.min([accent.known for accent in accents], axis=0) > 0.75)
    parts = {
        "chroma": np.concatenate([head.chroma, tail.chroma], axis=1),
        "timbre": np.concatenate([head.timbre, tail.timbre], axis=1),
        "level": np.stack([head.level_db, tail.level_db], axis=1),
        "flux": np.concatenate([accent.flux for accent in accents], axis=1),
    }
    return parts, whole.level_db, known


def _scales(pooler: Pooler, grid: Grid, usable: Bools, rate: int) -> dict[str, float]:
    """For each part the factor that brings same-place slots of this song to their share of the distance."""
    parts, _, _ = _parts(pooler, grid.lines[:-1], grid.lines[1:], rate)
    weights = {"chroma": _HARMONY, "timbre": _TIMBRE, "level": _LEVEL, "flux": _ACCENTS}
    scales = {}
    for name, values in parts.items():
        squares, count = 0.0, 0
        for place in np.unique(grid.place[usable]):
            mine = values[usable & (grid.place == place)]
            squares += float(((mine - mine.mean(axis=0)) ** 2).sum())
            count += len(mine)
        deviation = max(np.sqrt(squares / max(count, 1)), _FLOORS[name])
        scales[name] = float(np.sqrt(weights[name] / 2.0) / deviation)
    return scales


def _moments(pooler: Pooler, starts: Doubles, stops: Doubles, scales: dict[str, float], rate: int) -> Moments:
    parts, level_db, known = _parts(pooler, starts, stops, rate)
    vectors = np.concatenate([values * scales[name] for name, values in parts.items()], axis=1)
    return Moments(vectors, level_db, known)
