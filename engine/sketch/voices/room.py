"""A small room, so that an instrument stands somewhere: early reflections and a short diffuse tail, in stereo.

The response begins after the direct sound and ends within `LENGTH_S`; it is convolved block by block, so memory does
not grow with the part.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from engine.sketch.voices.tones import Floats, band_noise, high_passed, low_passed

LENGTH_S = 0.55
_LOW_CUT_HZ = 250.0
"""A room that answers to kick and bass makes them boomy, and moves low drums to one side."""
_TAIL_FROM_S = 0.016
_BANDS = ((150.0, 700.0, 0.085, 0.8), (700.0, 2800.0, 0.078, 1.0), (2800.0, 9000.0, 0.05, 0.7))
"""Of the tail: from Hz, to Hz, time constant in seconds (T60 is 6.9 of them), level per Hz."""
_REFLECTIONS = (
    (0.0071, 0.62, 0.38),
    (0.0103, -0.33, 0.55),
    (0.0139, 0.47, -0.30),
    (0.0184, 0.28, 0.42),
    (0.0231, -0.36, 0.22),
    (0.0297, 0.20, -0.31),
    (0.0368, 0.17, 0.19),
)
"""Seconds, level left, level right."""


@lru_cache(maxsize=8)
def response(rate: float) -> Floats:
    """The room's impulse response ``(2, frames)``, of unit energy in each ear; zero for the first 7 ms."""
    frames = round(LENGTH_S * rate)
    first = np.zeros((2, frames))
    for time_s, left, right in _REFLECTIONS:
        first[:, round(time_s * rate)] += (left, right)
    made = low_passed(first, 6500.0, rate, order=1).astype(np.float64) * 3.0
    late = np.maximum(0.0, np.arange(frames) / rate - _TAIL_FROM_S)
    swell = np.minimum(1.0, late / 0.012)
    for ear in range(2):
        for number, (low, high, constant_s, level) in enumerate(_BANDS):
            band = band_noise(frames, rate, low, high, 500, number, ear)
            density = level * np.sqrt((high - low) / rate)
            made[ear] += 0.17 * density * band * np.exp(-late / constant_s) * swell
    made = high_passed(made, _LOW_CUT_HZ, rate).astype(np.float64)
    end = round(0.05 * rate)
    made[:, -end:] *= np.linspace(1.0, 0.0, end)
    return np.asarray(made / np.sqrt(np.sum(made**2, axis=1, keepdims=True)), np.float32)


class Room:
    """Adds its sound to blocks that follow one another; ``block_frames`` is the longest block it takes."""

    def __init__(self, rate: float, block_frames: int) -> None:
        self._response = response(rate)
        self._size = int(scipy.fft.next_fast_len(block_frames + self._response.shape[1], real=True))
        self._spectrum = _spectrum(rate, self._size)
        self._rest = np.zeros((2, self._response.shape[1]), np.float32)

    def __call__(self, send: Floats) -> Floats:
        """The room's answer ``(2, frames)`` to the next block of `send` ``(frames,)``, what still rings included."""
        frames = len(send)
        answer = np.zeros((2, frames + self._rest.shape[1]), np.float32)
        if np.any(send):
            spectrum = scipy.fft.rfft(send, self._size) * self._spectrum
            answer[:] = scipy.fft.irfft(spectrum, self._size, axis=1)[:, : answer.shape[1]]
        answer[:, : self._rest.shape[1]] += self._rest
        self._rest = answer[:, frames:].copy()
        return answer[:, :frames]


@lru_cache(maxsize=8)
def _spectrum(rate: float, size: int) -> NDArray[np.complex64]:
    return np.asarray(scipy.fft.rfft(response(rate), size, axis=1), np.complex64)
