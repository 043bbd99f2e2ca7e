"""How well an estimated stem matches the true one, in decibels.

`sdr` counts every difference as distortion, level and filtering included (the SDR of the Music Demixing Challenge,
Mitsufuji et al., 2021, without its epsilon). `si_sdr` forgives a wrong level (Le Roux et al., "SDR: half-baked or well
done?", ICASSP 2019). mir_eval's `bss_eval_sources` also forgives a filter of 512 taps; it is too slow for tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sdr(truth: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """Both ``(channels, frames)``; all channels count as one signal. Infinite where they are equal."""
    s, e = truth.astype(np.float64), estimate.astype(np.float64)
    return _db(np.sum(s**2), np.sum((s - e) ** 2))


def si_sdr(truth: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """The same with the truth scaled so as to match the estimate best."""
    s, e = truth.astype(np.float64), estimate.astype(np.float64)
    target = s * (np.sum(s * e) / np.sum(s**2))
    return _db(np.sum(target**2), np.sum((target - e) ** 2))


def _db(signal: float, noise: float) -> float:
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(signal) - 10.0 * np.log10(noise))
