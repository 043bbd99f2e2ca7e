"""Where the groove of a song hits, and how it swings: attacks read off a known grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STRAIGHT, TRIPLET = 0.5, 2.0 / 3.0
_NEAR_S = 0.028
"""An attack this close to a grid position belongs to it."""
_SWINGS = np.arange(0.46, 0.7001, 0.01)
_WIDTH = 0.025
"""Beats: how exactly an off-beat eighth is placed."""
_CLEAR = 1.5
"""How much stronger the off-beats must be late than straight to be called swung."""


def accents(flux: Floats, times_s: Floats, at_s: Floats) -> Floats:
    """How strongly something begins at each of ``at_s (n,)``, ``(n, bands)`` from 0 to 1 (the song's strong hits).

    `flux` ``(frames, bands)`` is the rise of level in each band, `times_s` ``(frames,)`` the moments it belongs to.
    """
    if len(flux) < 2 or not len(at_s):
        return np.zeros((len(at_s), flux.shape[1]))
    step = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    reach = max(1, round(_NEAR_S / step))
    centre = np.clip(np.round((at_s - times_s[0]) / step).astype(np.int64), 0, len(flux) - 1)
    frames = np.clip(centre[:, None] + np.arange(-reach, reach + 1), 0, len(flux) - 1)
    found = flux[frames].max(axis=1)
    found[(at_s < times_s[0] - _NEAR_S) | (at_s > times_s[-1] + _NEAR_S)] = 0.0
    # What never stops flickering is no accent: count from the median of all frames.
    floor = np.median(flux, axis=0)
    loud = np.percentile(found, 95, axis=0)
    return np.asarray(np.clip((found - floor) / np.maximum(loud - floor, 1.0), 0.0, 1.0))


def swing(onsets: Floats, beats: Floats) -> float:
    """Where the second eighth of a beat falls: 0.5 straight to 0.667 a triplet shuffle.

    `onsets` ``(frames,)`` is the strength of attacks at ``beats (frames,)``, quarter notes from a beat on.
    """
    phase = beats % 1.0
    weight = onsets - np.median(onsets) if len(onsets) else onsets
    weight = np.maximum(weight, 0.0)
    strengths = np.array([(weight * np.exp(-0.5 * ((phase - at) / _WIDTH) ** 2)).sum() for at in _SWINGS])
    straight = float(strengths[np.abs(_SWINGS - STRAIGHT) < 0.021].max(initial=0.0))
    best = int(strengths.argmax())
    if _SWINGS[best] < STRAIGHT + 0.07 or strengths[best] < _CLEAR * straight or strengths[best] <= 0.0:
        return STRAIGHT
    return float(min(_SWINGS[best], TRIPLET))
