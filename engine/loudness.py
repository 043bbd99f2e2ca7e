"""How loud audio is, and by how much a take must be turned up or down to sit in its surroundings.

Loudness is ITU-R BS.1770-4 (K-weighted, gated), by pyloudnorm. Where that cannot be measured, in spans under 400 ms or
with more than five channels, plain RMS takes its place in a comparison, for both of its sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.floating[Any]]
    """``(channels, frames)``"""

MAX_GAIN_DB = 9.0
"""A take further off than this has a character of its own; more gain would only raise its noise."""

SILENT_DB = -70.0
"""The absolute gate of BS.1770: what lies below is no programme."""

_BLOCK_S = 0.4
_SHORTEST_S = 0.02
_MAX_K_CHANNELS = 5
_MIN_K_RATE = 8000


def peak(audio: Signal) -> float:
    """The greatest sample magnitude, 0.0 for no audio."""
    return float(np.abs(audio).max(initial=0.0))


def level_db(audio: Signal, rate: int, *, weighted: bool = True) -> float:
    """LUFS (or dB RMS over all channels, if not `weighted`) of ``(channels, frames)``; minus infinity for silence."""
    if weighted:
        return float(_meter(rate).integrated_loudness(audio.T.astype(np.float64)))
    power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
    return 10.0 * math.log10(power) if power > 0.0 else -math.inf


def can_be_weighted(audio: Signal, rate: int) -> bool:
    """True if BS.1770 loudness is defined for this audio."""
    return audio.shape[1] >= _BLOCK_S * rate + 1 and audio.shape[0] <= _MAX_K_CHANNELS and rate >= _MIN_K_RATE


def match_gain_db(take: Signal, references: Sequence[Signal], rate: int) -> float:
    """The gain in dB, within ±`MAX_GAIN_DB`, that brings `take` to the mean power of the references that sound.

    0.0 if the take or all references are silent. Not limited by any peak.
    """
    weighted = all(can_be_weighted(audio, rate) for audio in (take, *references))
    levels = [level_db(audio, rate, weighted=weighted) for audio in references]
    sounding = [level for level in levels if level > SILENT_DB]
    own = level_db(take, rate, weighted=weighted)
    if not sounding or own <= SILENT_DB:
        return 0.0
    target = 10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in sounding) / len(sounding))
    return float(np.clip(target - own, -MAX_GAIN_DB, MAX_GAIN_DB))


def loudness_lufs(audio: Signal, rate: int) -> float | None:
    """Integrated loudness in LUFS as a measure to be told, of audio ``(channels, frames)``; None for silence.

    What is shorter than the standard's gating block of 400 ms is measured as one block of its own length (its
    K-weighted power, ungated); under 20 ms there is no loudness. Of more than five channels the first five count.
    """
    if audio.shape[1] < _SHORTEST_S * rate:
        return None
    block_s = min(_BLOCK_S, (audio.shape[1] - 1) / rate)
    value = float(_meter(rate, block_s).integrated_loudness(audio[:_MAX_K_CHANNELS].T.astype(np.float64)))
    return value if math.isfinite(value) else None


def peak_dbfs(audio: Signal) -> float | None:
    """The sample peak in dBFS; None for digital silence."""
    value = peak(audio)
    return 20.0 * math.log10(value) if value > 0 else None


@lru_cache(maxsize=8)
def _meter(rate: int, block_s: float = _BLOCK_S) -> Any:
    import pyloudnorm

    return pyloudnorm.Meter(rate, block_size=block_s)
