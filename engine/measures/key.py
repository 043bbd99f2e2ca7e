"""Key agreement: do a take's notes lie in the key, and in tune, beat by beat?

A mean chroma says nothing (white noise correlates with any song's at 0.99). Here only *peaks* of the spectrum count,
each with its exact pitch; per beat, what lies in the scale is set against what chance would put there. Notes strewn
over all twelve pitch classes read 0, and so does the mean over the twelve transpositions of any take: the measure is
a contrast by construction. Being out of tune with the song counts as much as being out of the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from engine.measures.mel import Mono
from protocol.key import Key

Floats = NDArray[np.float64]

_LOW_HZ, _HIGH_HZ = 60.0, 2500.0
_WINDOW_S = 0.171
_PROMINENCE = 3.0
"""A peak's magnitude over the local median (9.5 dB): one bin in a hundred of white noise gets there, notes do."""
_RANGE_DB = 50.0
"""Peaks this far below the loudest of the signal are left out."""
_IN_SCALE_BY_CHANCE = 7 / 12
_FOREIGN_PARTIALS = (5, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20)
_SAME = 0.13
"""Semitones: a fifth partial lies 0.14 below the third that a scale has, so that the two are told apart."""
_ROW = 1000.0
_ALL_NOTES, _TOP = 84.0, 100.0
"""MIDI notes between which a peak turns from a note into an overtone."""

# Krumhansl and Kessler's probe-tone profiles (Krumhansl, Cognitive Foundations of Musical Pitch, 1990, table 2.1).
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@dataclass(frozen=True)
class Pitches:
    """Peaks of a signal's spectra: when (s from its start), which pitch (semitones, MIDI numbering) and how strong."""

    time_s: Floats
    pitch: Floats
    weight: Floats
    tonal: float
    """Share of the energy between 60 and 2500 Hz that is in the peaks, 0 to 1."""

    def shifted(self, seconds: float) -> Pitches:
        return Pitches(self.time_s + seconds, self.pitch, self.weight, self.tonal)


@dataclass(frozen=True)
class KeyAgreement:
    """How well a signal keeps to a key; see the module."""

    agreement: float
    """1: all in the scale and in tune; 0: as by chance; below 0: in another key."""
    in_tune: float
    """1 if every peak lies on the tuning's semitones, 0.5 for random pitches."""
    tuning_cents: float
    """Offset of the signal's own semitones from the tuning it is held against, -50 to 50."""
    fits_transposed: int
    """Semitones by which the signal would have to go up (-5 to 6) to fit the key best; 0 if it fits as it is."""
    beats: int


def pitches(signal: Mono, rate: int) -> Pitches:
    """The spectral peaks of `signal` ``(frames,)``, interpolated between bins (a parabola on log magnitudes)."""
    window = int(2 ** round(np.log2(rate * _WINDOW_S)))
    empty = np.zeros(0)
    if signal.size < window:
        return Pitches(empty, empty, empty, 0.0)
    starts = np.arange(0, signal.size - window + 1, window // 2)
    frames = signal[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    bin_hz = rate / window
    low, high = max(2, int(_LOW_HZ / bin_hz)), min(int(_HIGH_HZ / bin_hz), window // 2 - 2)
    magnitude = np.abs(scipy.fft.rfft(frames, axis=1)[:, low - 1 : high + 2])
    loudest = float(magnitude.max(initial=0.0))
    if loudest <= 1e-9:
        return Pitches(empty, empty, empty, 0.0)
    middle = magnitude[:, 1:-1]
    # The median over 25 bins, from every other one: exact enough for a threshold, and several times as quick.
    around = np.repeat(median_filter(magnitude[:, ::2], size=(1, 13), mode="nearest"), 2, axis=1)
    around = around[:, 1 : middle.shape[1] + 1]
    is_peak = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:]) & (middle > _PROMINENCE * around)
    is_peak &= middle > loudest * 10 ** (-_RANGE_DB / 20)
    row, column = np.nonzero(is_peak)
    left, top, right = (np.log(magnitude[row, column + k] + 1e-12).astype(np.float64) for k in range(3))
    vertex = 0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-9)
    hertz = (low + column + np.clip(vertex, -0.5, 0.5)) * bin_hz
    pitch = 69.0 + 12.0 * np.log2(hertz / 440.0)
    own = ~_overtones(row, pitch)
    peak_energy = sum(float(np.square(magnitude[row, column + k]).sum()) for k in range(3))
    return Pitches(
        time_s=(starts[row[own]] + window / 2) / rate,
        pitch=pitch[own],
        weight=np.sqrt(middle[row[own], column[own]].astype(np.float64)) * _note_share(pitch[own]),
        tonal=min(1.0, peak_energy / float(np.square(magnitude).sum())),
    )


def _overtones(row: NDArray[np.intp], pitch: Floats) -> NDArray[np.bool_]:
    """Which peaks are overtones that no scale has: a bright instrument in tune is full of flat sevenths.

    `row` (rising) is the spectrum that a peak belongs to; within one, peaks come by rising pitch.
    """
    place = row * _ROW + pitch
    overtone = np.zeros(pitch.size, dtype=bool)
    for partial in _FOREIGN_PARTIALS:
        wanted = place - 12.0 * np.log2(partial)
        first = np.searchsorted(place, wanted - _SAME)
        overtone |= place[np.minimum(first, pitch.size - 1)] <= wanted + _SAME
    return overtone


def _note_share(pitch: Floats) -> Floats:
    """How much a peak is likely to be a note of its own: all up to C6, little at the top of the range."""
    return np.asarray(np.clip((_TOP - pitch) / (_TOP - _ALL_NOTES), 0.0, 1.0))


def tuning(found: Pitches) -> float:
    """How far the signal's semitones lie from A = 440 Hz equal temperament, in semitones, -0.5 to 0.5."""
    if not found.weight.size:
        return 0.0
    return float(np.angle(np.sum(found.weight * np.exp(2j * np.pi * found.pitch)))) / (2 * np.pi)


def estimate_key(found: Pitches, tuned: float) -> Key:
    """The most likely key by Krumhansl and Schmuckler's correlation with the 24 key profiles."""
    classes = np.round(found.pitch - tuned).astype(int) % 12
    chroma = np.bincount(classes, found.weight, minlength=12)
    fits = {
        (float(np.corrcoef(np.roll(_PROFILES[mode], tonic), chroma)[0, 1]), mode, tonic)
        for mode in ("major", "minor")
        for tonic in range(12)
    }
    _, mode, tonic = max(fits)
    return Key.from_pitch_class(tonic, "major" if mode == "major" else "minor")


def key_agreement(found: Pitches, key: Key, tuned: float, beats_s: Floats) -> KeyAgreement | None:
    """How well `found` keeps to `key` in the tuning `tuned` (semitones); None if it has no pitched beat.

    `beats_s` are the beats' times in the same seconds as ``found.time_s``; what lies outside belongs to the nearest.
    """
    if not found.weight.size:
        return None
    beat = np.searchsorted(beats_s, found.time_s, side="right")
    note = np.round(found.pitch - tuned)
    close = 1.0 - 2.0 * np.abs(found.pitch - tuned - note)  # 1 on the semitone, 0 half way to the next
    beats = int(beat.max()) + 1
    cell = beat * 12 + note.astype(int) % 12
    chroma = np.bincount(cell, found.weight * close, minlength=beats * 12).reshape(beats, 12)
    strength = np.bincount(beat, found.weight, minlength=beats)
    used = strength > 1e-3 * strength.max()
    chroma, strength = chroma[used], strength[used]
    in_tune = chroma.sum(axis=1) / strength
    shares = chroma / np.maximum(chroma.sum(axis=1, keepdims=True), 1e-12)

    def contrast(semitones: int) -> float:
        scale = [(pitch - semitones) % 12 for pitch in key.scale]
        per_beat = (shares[:, scale].sum(axis=1) - _IN_SCALE_BY_CHANCE) / (1 - _IN_SCALE_BY_CHANCE)
        return float(np.average(per_beat * in_tune, weights=strength))

    transposed = max(range(12), key=lambda semitones: (contrast(semitones), -semitones))
    return KeyAgreement(
        agreement=contrast(0),
        in_tune=float(np.average(in_tune, weights=strength)),
        tuning_cents=100.0 * float((tuning(found) - tuned + 0.5) % 1.0 - 0.5),
        fits_transposed=transposed if transposed <= 6 else transposed - 12,
        beats=int(used.sum()),
    )
