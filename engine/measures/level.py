"""Loudness and peak."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyloudnorm

if TYPE_CHECKING:
    from engine.api import Audio


_BLOCK_S = 0.4
_SHORTEST_S = 0.02
_MOST_CHANNELS = 5


def loudness_lufs(audio: Audio, rate: int) -> float | None:
    """Integrated loudness after ITU-R BS.1770-4 in LUFS, of audio ``(channels, frames)``; None for silence.

    What is shorter than the standard's gating block of 400 ms is measured as one block of its own length (its
    K-weighted power, ungated); under 20 ms there is no loudness. Of more than five channels the first five count.
    """
    duration_s = audio.shape[1] / rate
    if duration_s < _SHORTEST_S:
        return None
    block_s = min(_BLOCK_S, (audio.shape[1] - 1) / rate)
    meter = pyloudnorm.Meter(rate, block_size=block_s)
    value = float(meter.integrated_loudness(audio[:_MOST_CHANNELS].T.astype(np.float64)))
    return value if math.isfinite(value) else None


def peak_dbfs(audio: Audio) -> float | None:
    """The sample peak in dBFS; None for digital silence."""
    peak = float(np.abs(audio).max(initial=0.0))
    return 20.0 * math.log10(peak) if peak > 0 else None
