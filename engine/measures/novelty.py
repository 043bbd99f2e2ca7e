"""Is a take something new, or a copy of what was there before? Reported, never scored: a loop may well repeat.

Spectra and envelopes cannot tell: two bars of one drum pattern agree at 0.98 under different chords. The waveform can.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from engine.measures.mel import Mono

Fingerprint = NDArray[np.float32]

_RATE = 8000
_LAG_S = 0.01


def fingerprint(signal: Mono, rate: int) -> Fingerprint:
    """The waveform ``(frames,)`` at 8 kHz, differentiated so that not only the bass counts."""
    if signal.size < rate * _LAG_S * 4:
        return np.zeros(0, np.float32)
    return np.diff(np.asarray(soxr.resample(signal, rate, _RATE), dtype=np.float32))


def similarity(a: Fingerprint | None, b: Fingerprint | None) -> float | None:
    """The largest normalised correlation of two fingerprints within 10 ms of lag: 1 for a copy at any gain.

    None where one of them is missing, silent or too short to tell.
    """
    if a is None or b is None:
        return None
    frames, lag = min(a.size, b.size), round(_LAG_S * _RATE)
    if frames < 4 * lag:
        return None
    scale = float(np.sqrt(np.square(a[:frames]).sum() * np.square(b[:frames]).sum()))
    if scale < 1e-9:
        return None
    size = scipy.fft.next_fast_len(frames + lag, real=True)
    product = scipy.fft.rfft(a[:frames], size) * np.conj(scipy.fft.rfft(b[:frames], size))
    correlation = scipy.fft.irfft(product, size)
    return float(max(correlation[: lag + 1].max(), correlation[-lag:].max())) / scale
