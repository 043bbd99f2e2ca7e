"""How long the next phrase will take, at each step of quality: what a deadline is checked against. Pure.

Every measurement is turned into a *unit cost*: seconds of making per second of music, where a phrase counts as
`OVERHEAD_MUSIC_S` longer than it is (starting, reading, splicing and writing cost the same for any length). Of each
step the last `WINDOW` unit costs are kept.

* `typical_s`: their mean without the largest. One hiccup (a model that was loaded, a disk that slept) says nothing.
* `predicted_s`: the same plus `DEVIATIONS` standard deviations, and more while few were measured; one phrase in ten or
  fewer takes longer. Deadlines go by this one.

A step that was not measured is taken from the nearest one that was, in the proportion of the `GUESSES`; before anything
was measured the guesses themselves hold. A step that is out of use is forgotten, its largest cost first, so that a
quality which was too slow for a while is tried again; each time it was forgotten altogether, the next time takes twice
as long.
"""

from __future__ import annotations

import math
from collections import deque

OVERHEAD_MUSIC_S = 2.0
"""Seconds of music by which a phrase counts as longer than it is."""

GUESSES = (0.8, 0.4, 0.2)
"""Unit costs by step of quality, best first, before anything is known; further steps halve on."""

WINDOW = 12
FORGET_AFTER = 8
"""Measurements of other steps after which a step that is out of use loses its largest one."""

DEVIATIONS = 2.5
"""Of what is left without the largest, which is less than the spread of all."""

_FIRST_SPREAD = 0.4
"""Standard deviation that is assumed beside n measurements, as a share of the mean: this / n."""

_LEAST_SPREAD = 0.05


class _Step:
    """What is known of one step of quality."""

    def __init__(self) -> None:
        self.costs: deque[float] = deque(maxlen=WINDOW)
        self.mean = self.cautious = 0.0
        self._idle = 0
        self._patience = FORGET_AFTER

    def add(self, cost: float) -> None:
        self.costs.append(cost)
        self._idle = 0
        self._reckon()

    def other_measured(self) -> None:
        if not self.costs:
            return
        self._idle += 1
        if self._idle >= self._patience:
            self._idle = 0
            self.costs.remove(max(self.costs))
            if self.costs:
                self._reckon()
            else:
                self._patience *= 2

    def _reckon(self) -> None:
        count = len(self.costs)
        usual = sorted(self.costs)[:-1] if count > 2 else list(self.costs)
        self.mean = sum(usual) / len(usual)
        deviation = math.sqrt(sum((cost - self.mean) ** 2 for cost in usual) / len(usual))
        self.cautious = self.mean + DEVIATIONS * max(deviation, self.mean * max(_LEAST_SPREAD, _FIRST_SPREAD / count))


class Speed:
    """Measured and predicted making times of one engine. Quality 0 is the best; there may be any number of steps."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}

    def measured(self, quality: int, music_s: float, took_s: float) -> None:
        """A phrase of `music_s` seconds was there `took_s` seconds after it was asked for."""
        if not (math.isfinite(took_s) and took_s >= 0 and music_s > 0):
            return
        self._steps.setdefault(quality, _Step()).add(took_s / (music_s + OVERHEAD_MUSIC_S))
        for other, step in self._steps.items():
            if other != quality:
                step.other_measured()

    def predicted_s(self, quality: int, music_s: float) -> float:
        """Seconds that a phrase of `music_s` seconds is expected to take, cautiously: few take longer."""
        known, factor = self._nearest(quality)
        cost = known.cautious * factor if known else _guess(quality)
        return cost * (music_s + OVERHEAD_MUSIC_S)

    def typical_s(self, quality: int, music_s: float) -> float:
        """Seconds that such a phrase takes on the whole: what says whether a quality can be kept up for long."""
        known, factor = self._nearest(quality)
        cost = known.mean * factor if known else _guess(quality)
        return cost * (music_s + OVERHEAD_MUSIC_S)

    def _nearest(self, quality: int) -> tuple[_Step | None, float]:
        """The measured step that is nearest to `quality`, and by how much to multiply its costs."""
        known = [number for number, step in self._steps.items() if step.costs]
        if not known:
            return None, 1.0
        nearest = min(known, key=lambda number: (abs(number - quality), number))
        return self._steps[nearest], _guess(quality) / _guess(nearest)


def _guess(quality: int) -> float:
    last = len(GUESSES) - 1
    return GUESSES[quality] if quality <= last else GUESSES[last] * 0.5 ** (quality - last)
