"""Onset times to about a millisecond: where a sound begins, not which analysis frame it fell into.

Grid lock is a matter of 2-3 ms, so the usual onset envelope (a value every 10-20 ms, late by its window) is too coarse.
Here the signal is split by one FFT into a few bands whose energy is taken in whole milliseconds without any phase
shift, and an onset is where, in these bands, the energy that follows stands highest above the energy before. (An old
way to pick arrivals in seismology: Wong, Han, Bancroft, Stewart, "Automatic time-picking of first arrivals", CREWES
2009.) Both sides are weighted exponentially, most next to the moment itself, so that the ratio has its tip where a
sound begins, be it a step or a tick far shorter than the weighting. All bands find onsets; the bass, which is too
narrow a band to be quick, has no say in their exact time where there is anything else.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import find_peaks, lfilter

Floats = NDArray[np.float64]

_BANDS_HZ = ((40.0, 250.0), (250.0, 1000.0), (1000.0, 4000.0), (4000.0, 12000.0))
_AFTER_MS, _BEFORE_MS = 6.0, 14.0
"""Time constants of the weighting."""
_REFINE_MS = 12
_MARGIN_MS = 40
_FLOOR = 3e-4
"""Energy added on both sides of the ratio, relative to the band's loudest: what is 35 dB below hardly rises."""
_THRESHOLD = 0.55
"""Mean rise over the bands (natural logarithm of energy, above what noise does by chance) that makes an onset."""
_APART_MS = 45


def band_energy(mono: NDArray[np.float32], rate: int) -> Floats:
    """Energy of `mono` ``(frames,)`` per band and whole millisecond, ``(bands, milliseconds)``.

    Each band is cut out of one FFT with smooth edges and brought down to a complex envelope, whose squared magnitude
    is the energy with neither latency nor ripple at twice the frequency.
    """
    seconds = mono.size // rate + 1  # whole seconds, so that a millisecond is a whole number of envelope samples
    spectrum = scipy.fft.rfft(mono, seconds * rate)
    milliseconds = seconds * 1000
    energy = np.zeros((len(_BANDS_HZ), milliseconds))
    for row, (low, high) in enumerate(_BANDS_HZ):
        first, last = round(low * seconds), min(round(high * seconds), spectrum.size - 1)
        if last - first < 2:
            continue  # above what this rate can hold
        per_ms = math.ceil((last - first) / milliseconds)
        band = spectrum[first:last] * np.sin(np.pi * (np.arange(last - first) + 0.5) / (last - first)).astype(
            np.float32
        )
        envelope = scipy.fft.ifft(band, milliseconds * per_ms)
        energy[row] = np.square(np.abs(envelope)).reshape(milliseconds, per_ms).sum(axis=1) * per_ms
    return energy[:, : max(1, mono.size * 1000 // rate)]


def onset_times(mono: NDArray[np.float32], rate: int) -> Floats:
    """Onset times in seconds from the start of `mono`, rising.

    None is found in the first and last `_MARGIN_MS` milliseconds: give the signal a margin.
    """
    energy = band_energy(mono, rate)
    if energy.shape[1] <= 3 * _MARGIN_MS:
        return np.zeros(0)
    rises, used = _rises(energy)
    every = rises.sum(axis=0) / max(1, used)
    peaks, _ = find_peaks(every, height=_THRESHOLD, distance=_APART_MS, prominence=_THRESHOLD / 2)
    quick = rises[1:].sum(axis=0) / max(1, used)
    times = [_exact_ms(quick, every, int(peak)) for peak in peaks]
    return np.array(times) / 1000.0


def _rises(energy: Floats) -> tuple[Floats, int]:
    """How much the energy of each band rises at the start of each millisecond, and how many bands are in use."""
    loud = energy.max(axis=1)
    used = np.flatnonzero(loud > 1e-9 * max(float(loud.max()), 1e-12))
    rises = np.zeros_like(energy)
    for row in used:
        low, high = _BANDS_HZ[row]
        quiet = _FLOOR * loud[row]
        after = _decaying(energy[row, ::-1], _AFTER_MS)[::-1] + quiet
        before = _decaying(energy[row], _BEFORE_MS) + quiet
        # The energy of noise in a window has a relative spread of 1/sqrt(bandwidth x length), an exponential being
        # as long as two time constants; allow for two sigma of both sides together.
        chance = 2.0 * math.sqrt(sum(1000.0 / ((high - low) * 2.0 * side) for side in (_AFTER_MS, _BEFORE_MS)))
        rises[row, 1:] = np.maximum(0.0, np.log(after[1:] / before[:-1]) - chance)
    rises[:, :_MARGIN_MS] = rises[:, -_MARGIN_MS:] = 0.0
    return rises, used.size


def _exact_ms(quick: Floats, every: Floats, peak: int) -> float:
    """The time of the onset found at `peak`: where the bands above the bass culminate, if they rise at all."""
    near = quick[peak - _REFINE_MS : peak + _REFINE_MS + 1]
    rise, at = (quick, peak - _REFINE_MS + int(near.argmax())) if near.max() > _THRESHOLD / 4 else (every, peak)
    left, top, right = rise[at - 1 : at + 2]
    bend = left - 2.0 * top + right
    within = 0.5 * float(left - right) / float(bend) if bend < 0.0 and top >= max(left, right) else 0.0
    return at + 0.5 + within  # half: a rise is somewhere in its millisecond


def _decaying(energy: Floats, constant_ms: float) -> Floats:
    """The mean of the energy up to and including each millisecond, weighted by an exponential."""
    keep = math.exp(-1.0 / constant_ms)
    return np.asarray(lfilter([1.0 - keep], [1.0, -keep], energy))
