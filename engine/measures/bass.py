"""The bass note of each beat, to a few cents, and whether two basses clash.

Two notes below 200 Hz a semitone, a whole tone or a tritone apart (or their inversions, in any octave) beat or growl,
and so do two that mean the same pitch and miss it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from engine.measures.mel import Mono

Floats = NDArray[np.float64]

CLASHING = (1, 2, 6, 10, 11)
"""Semitones modulo the octave."""
DETUNED = 0.25
"""Semitones between two notes' distance and the nearest whole one from which they are out of tune with each other."""
_LOW_HZ, _HIGH_HZ = 35.0, 200.0
_RATE = 1000
_SIZE = 4096
_HARMONICS = (1.0, 0.7, 0.5)
_PROMINENCE = 5.0
"""A note's peak over the median of the spectrum around: what a kick leaves behind is broader."""
_STRONG_DB = -20.0
_SHORTEST_S = 0.1
_FADING_DB = -17.0
"""From the first half of a beat to the second: a kick falls by more, a plucked string by less."""


@dataclass(frozen=True)
class BassNotes:
    """Per beat: the `pitch` (semitones, MIDI numbering; NaN where there is none), its `level` (amplitude), and whether
    it is `held` through the beat's second half, as a drum never is."""

    pitch: Floats
    level: Floats
    held: NDArray[np.bool_]


def bass_notes(signal: Mono, rate: int, lines_s: Floats) -> BassNotes:
    """The strongest bass note between each two neighbours of `lines_s` (seconds from the signal's start).

    A window that fades in and out over each beat leaves a kick on the beat little say. Beats under 0.1 s have none.
    """
    low = np.asarray(soxr.resample(signal, rate, _RATE), dtype=np.float64) if signal.size else np.zeros(0)
    edges = np.clip(np.round(np.asarray(lines_s) * _RATE).astype(int), 0, low.size)
    pitch, level, held = np.full(len(edges) - 1, np.nan), np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, dtype=bool)
    for index, (start, stop) in enumerate(pairwise(edges)):
        stop = min(stop, start + _SIZE)
        if stop - start >= _SHORTEST_S * _RATE:
            pitch[index], level[index] = _note(low[start:stop])
            held[index] = np.isfinite(pitch[index]) and _is_held(low[start:stop], pitch[index])
    return BassNotes(pitch, level, held)


def _note(beat: Floats) -> tuple[float, float]:
    window = np.hanning(beat.size)
    spectrum = np.abs(scipy.fft.rfft(beat * window, _SIZE)) * 2.0 / window.sum()
    bin_hz = _RATE / _SIZE
    first, last = int(_LOW_HZ / bin_hz), int(_HIGH_HZ / bin_hz)
    middle = spectrum[first:last]
    peaks = np.flatnonzero((middle > spectrum[first - 1 : last - 1]) & (middle >= spectrum[first + 1 : last + 1]))
    peaks = peaks[middle[peaks] > max(1e-6, _PROMINENCE * float(np.median(middle)))] + first
    if not peaks.size:
        return np.nan, 0.0
    # A note is where its harmonics are: the strongest peak alone may be the second of them.
    salience = np.zeros(peaks.size)
    for harmonic, share in enumerate(_HARMONICS, start=1):
        near = np.clip(np.arange(-2, 3)[:, None] + harmonic * peaks, 0, spectrum.size - 1)
        salience += share * spectrum[near].max(axis=0)
    peak = int(peaks[salience.argmax()])
    left, top, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    vertex = 0.5 * (left - right) / min(left - 2 * top + right, -1e-9)
    return 69.0 + 12.0 * np.log2((peak + vertex) * bin_hz / 440.0), float(spectrum[peak])


def _is_held(beat: Floats, pitch: float) -> bool:
    half = beat.size // 2
    hertz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    wave = np.exp(-2j * np.pi * hertz / _RATE * np.arange(half)) * np.hanning(half)
    first, second = (abs(np.dot(part, wave)) for part in (beat[:half], beat[half : 2 * half]))
    return bool(second > first * 10 ** (_FADING_DB / 20))


def strong(notes: BassNotes, loudest: float) -> NDArray[np.bool_]:
    """Which notes stand no more than 20 dB below `loudest` (amplitude)."""
    return np.isfinite(notes.pitch) & (notes.level > max(1e-6, loudest * 10 ** (_STRONG_DB / 20)))


def clashes(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Where the pitches `a` and `b` (semitones) clash; False where either is NaN."""
    apart = np.nan_to_num(np.abs(a - b))
    whole = np.round(apart)
    return np.asarray(np.isin(whole % 12, CLASHING) | (np.abs(apart - whole) >= DETUNED))
