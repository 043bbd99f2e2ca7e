"""When each frame of an audio stream sounds, on the monotonic clock. Pure.

A callback comes late by chance, in bursts on some systems, and its stated times jitter. Frames do not: a delay locked
loop of second order (F. Adriaensen, "Using a DLL to filter time", LAC 2005) draws the line through the stated times.
"""

from __future__ import annotations

import math

_SETTLED_HZ, _START_S = 0.05, 0.3
_LOST_S, _LOST_MEAN_S = 0.1, 0.015
_MOST_OFF = 0.01


class StreamTime:
    """Follows the stated times of a stream of nominally `rate` frames a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.jumps = 0
        self._heard = False
        self._at = self._mean = self._age = 0.0
        self._slope = 1.0

    def next(self, frames: int, stated: float) -> float:
        """The time of the first frame of the next block, of `frames`; `stated` is what the system says it is.

        A lasting difference is a jump (frames were lost), which is followed at once and counted.
        """
        if not self._heard:
            self._heard = True
            self._set(stated)
        length = frames / self._rate
        error = stated - self._at
        self._mean += (error - self._mean) * (1.0 - math.exp(-length / 0.25))
        if abs(error) > _LOST_S or abs(self._mean) > _LOST_MEAN_S:
            self.jumps += 1
            self._set(stated)
            error = 0.0
        bandwidth = max(_SETTLED_HZ, 0.35 / (self._age + _START_S))
        omega = min(2.0 * math.pi * bandwidth * length, 0.5)
        at = self._at + math.sqrt(2.0) * omega * error
        slope = self._slope + omega * omega * error / length
        self._slope = min(max(slope, 1.0 - _MOST_OFF), 1.0 + _MOST_OFF)
        self._at = at + length * self._slope
        self._age += length
        return at

    def _set(self, at: float) -> None:
        self._at, self._slope, self._mean, self._age = at, 1.0, 0.0, 0.0
