"""Attacks in a few hundredths of a second of audio: what a crossfade must neither cut, nor double, nor swallow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.sketch.analysis import Doubles, Float

_AFTER_MS, _BEFORE_MS = 4, 10
_RISE_DB = 7.0
"""What noise does not do by chance in windows of this length."""
_FLOOR_DB = -40.0
_APART_MS = 12

EARLY_S = 0.03
"""An attack this little before a line is the line's own, played early."""
_ONE_EVENT_MS = 40.0
"""Two attacks closer than this in two excerpts are the same count of the music."""
_CUT_MS = 15.0
"""What begins less than this before a crossfade has only begun to sound."""


def attacks_ms(mono: Float, rate: int) -> Doubles:
    """Where in `mono` ``(frames,)`` the energy, high frequencies first, rises steeply: in milliseconds, rising.

    Nothing is found in the first `_BEFORE_MS` and the last `_AFTER_MS` milliseconds.
    """
    count = int(len(mono) * 1000 / rate)
    if count < _BEFORE_MS + _AFTER_MS + 1:
        return np.zeros(0)
    edges = np.round(np.arange(count + 1) * rate / 1000).astype(np.int64)
    sums = np.concatenate([[0.0], np.cumsum(np.square(np.diff(mono, prepend=mono[:1]), dtype=np.float64))])
    total = np.concatenate([[0.0], np.cumsum(sums[edges[1:]] - sums[edges[:-1]])])
    at = np.arange(_BEFORE_MS, count - _AFTER_MS + 1)
    before = (total[at] - total[at - _BEFORE_MS]) / _BEFORE_MS
    after = (total[at + _AFTER_MS] - total[at]) / _AFTER_MS
    floor = max(float(after.max()), 1e-12) * 10 ** (_FLOOR_DB / 10)
    rise = 10.0 * np.log10((after + floor) / (before + floor))
    found: list[int] = []
    for k in np.argsort(-rise, kind="stable"):
        if rise[k] < _RISE_DB:
            break
        if all(abs(at[k] - other) >= _APART_MS for other in found):
            found.append(int(at[k]))
    return np.sort(np.array(found, dtype=np.float64))


@dataclass(frozen=True)
class Around:
    """Attacks of the two signals of a join, in milliseconds from the line (before it: negative)."""

    old: Doubles
    new: Doubles

    @property
    def limit_ms(self) -> float:
        """Until when the join must be over: the line, or an attack that either signal has a little before it."""
        early = [*self.old[(self.old < 0) & (self.old > -EARLY_S * 1000)]]
        early += [*self.new[(self.new < 0) & (self.new > -EARLY_S * 1000)]]
        return min(early, default=0.0)

    def damage(self, begins_ms: Doubles, length_ms: float) -> Doubles:
        """How many attacks each of the crossfades from ``begins_ms (n,)`` on, `length_ms` long, would cut, double or
        swallow: ``(n,)``."""
        ends = begins_ms + length_ms
        cut = _within(self.old, begins_ms - _CUT_MS, ends) + _within(self.new, begins_ms, ends)
        return np.asarray(cut + self._doubled_or_lost(begins_ms, ends))

    def _doubled_or_lost(self, begins: Doubles, ends: Doubles) -> NDArray[np.float64]:
        middles = (begins + ends) / 2
        count = np.zeros(len(begins))
        for old in self.old:
            for new in self.new[np.abs(self.new - old) < _ONE_EVENT_MS]:
                count += (middles > old) & (middles < new)  # heard in both
                count += (middles < old) & (middles > new)  # heard in neither
        return count


def _within(times: Doubles, lows: Doubles, highs: Doubles) -> NDArray[np.float64]:
    return np.asarray(((times[None, :] > lows[:, None]) & (times[None, :] < highs[:, None])).sum(axis=1), np.float64)


def around(old: NDArray[np.float32], new: NDArray[np.float32], lead: int, rate: int) -> Around:
    """The attacks of two mono signals: the line is at frame `lead` of both."""
    line_ms = lead * 1000 / rate
    return Around(attacks_ms(old, rate) - line_ms, attacks_ms(new, rate) - line_ms)
