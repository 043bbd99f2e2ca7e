"""Read a signal at any speed near 1: windowed-sinc interpolation in a bank of phases. Pure.

`TAPS` taps under a Kaiser window, `PHASES` phases with linear interpolation between them (J. O. Smith, "Digital Audio
Resampling", CCRMA: the error of linear interpolation falls with the square of the number of phases). A whole place
reads the frame itself, bit for bit. Speeds above 1 fold what lies above the new Nyquist frequency; within the few
per cent of a tempo that is being followed that is above hearing.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

TAPS, PHASES = 32, 1024
BEHIND = TAPS // 2 - 1
"""Frames before a place that its value needs; `TAPS - BEHIND - 1` after it."""
_BETA = 9.0


def _bank() -> NDArray[np.float32]:
    """(PHASES + 1, TAPS): row p reads the place p / PHASES after tap `BEHIND`; every row lets 0 Hz through as it is."""
    at = np.arange(TAPS)[None, :] - BEHIND - (np.arange(PHASES + 1) / PHASES)[:, None]
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1.0 - (at / (TAPS / 2)) ** 2))) / np.i0(_BETA)
    rows = np.sinc(at) * window
    return cast(NDArray[np.float32], (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))


_ROWS = _bank()
_STEPS = np.diff(_ROWS, axis=0)


def interpolate(frames: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """The values of `frames` (channels, n) at `places` (m,), counted from frame 0 -> (channels, m).

    Every place needs `BEHIND` frames before it and `TAPS - BEHIND - 1` after it.
    """
    whole = np.floor(places)
    phase = (places - whole) * PHASES
    row = phase.astype(np.intp)
    row[row == PHASES] = PHASES - 1
    weights = _ROWS[row] + _STEPS[row] * (phase - row).astype(np.float32)[:, None]
    first = whole.astype(np.intp) - BEHIND
    spans = sliding_window_view(frames, TAPS, axis=1)[:, first]
    return cast(NDArray[np.float32], np.einsum("cmt,mt->cm", spans, weights))
