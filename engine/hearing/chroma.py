"""Which notes sound in each beat of a full mix: what chords, keys and sections are told from.

A mean chroma of a mix with drums is grey: noise fills it, and every note counts again with its overtones. Here the beat
is known, so each beat gets spectra of its own; only their peaks count, each with its exact pitch; and the notes are the
non-negative combination of harmonic series that explains these peaks best (after Mauch and Dixon, "Approximate note
transcription for the improved identification of difficult chords", ISMIR 2010).

Promises: concert pitch may lie anywhere within a quarter tone of A = 440 Hz; noise has (almost) no weight; nothing but
a beat's own span of the signal, reaching over by `_REACH_S`, enters its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray
from scipy.ndimage import median_filter

Floats = NDArray[np.float64]
Mono = NDArray[np.float32]

REACH_S = 0.03
"""Seconds by which a beat's spectra reach over its lines: what sounds on the line belongs to both."""

_RATE = 11_025
_FFT = 16_384
_WINDOW_S = 0.6
_LOW_HZ, _HIGH_HZ = 38.0, 2600.0
_PROMINENCE = 3.5
"""A peak's magnitude over the local median: noise seldom gets there, notes do."""
_RANGE_DB = 46.0
"""Peaks this far below the loudest of the beat (or 12 dB more below the song's) are left out."""
_LOWEST, _HIGHEST = 28, 100
"""MIDI notes that are told apart: E1 to E7."""
_BASS_TOP = 59
"""Notes up to here (B3, 247 Hz) may be a bass."""
_PARTIALS, _ROLL_OFF = 10, 0.62
_UPDATES = 60
_BLOCK = 64


@dataclass(frozen=True)
class BeatChroma:
    """Per beat: `chroma` ``(k, 12)`` of all notes and `bass` ``(k, 12)`` of the lowest, each row of sum 1 (or 0 where
    there is no note), and `weight` ``(k,)``: how much of the sound is tone, 0 (noise, silence) to 1.

    `tuning` is the offset of the semitones from A = 440 Hz, in semitones, -0.5 to 0.5.
    """

    chroma: Floats
    bass: Floats
    weight: Floats
    tuning: float = 0.0


def beat_chroma(mono: Mono, rate: int, lines_s: Floats, step: Callable[[], None] = lambda: None) -> BeatChroma:
    """The notes of ``mono (n,)`` between the lines ``lines_s (k + 1,)``, seconds from the start of `mono`, rising.

    Beats (partly) outside the signal are silent there. `step` is called every few seconds of music and may raise.
    """
    return beat_notes(hear_peaks(mono, rate, lines_s, step), np.arange(len(lines_s) - 1), len(lines_s) - 1)


@dataclass(frozen=True)
class Peaks:
    """The spectral peaks of a signal cut into cells: for each peak its cell, pitch (MIDI note numbers, fractional) and
    magnitude; for each cell how much of it is tone, 0 to 1. Nothing but the cell itself (and `REACH_S`) tells on it."""

    cell: NDArray[np.int64]
    pitch: Floats
    magnitude: Floats
    tonal: Floats


def beat_notes(peaks: Peaks, beat: NDArray[np.int64], beats: int) -> BeatChroma:
    """The notes of `beats` beats out of the cells that belong to them: ``beat (cells,)``, -1 for those that belong to
    none, of which nothing enters the result."""
    mine = beat[peaks.cell]
    loudest = float(peaks.magnitude[mine >= 0].max(initial=0.0))
    kept = (mine >= 0) & (peaks.magnitude > loudest * 10 ** (-(_RANGE_DB + 12.0) / 20))
    found = _Peaks(mine[kept], peaks.pitch[kept], peaks.magnitude[kept])
    tuned = _tuning(found)
    notes = _explained(_spectrogram(found, tuned, beats))
    used = beat >= 0
    tonal = np.bincount(beat[used], peaks.tonal[used], minlength=beats)
    weight = tonal / np.maximum(np.bincount(beat[used], minlength=beats), 1)
    return BeatChroma(_folded(notes, _treble_weight()), _bass(notes), weight, tuned)


@dataclass(frozen=True)
class _Peaks:
    beat: NDArray[np.int64]
    pitch: Floats
    magnitude: Floats


def hear_peaks(mono: Mono, rate: int, lines_s: Floats, step: Callable[[], None] = lambda: None) -> Peaks:
    """The peaks of ``mono (n,)`` in the cells between ``lines_s (k + 1,)``; as `beat_chroma` takes them."""
    if rate != _RATE:
        mono = soxr.resample(mono, rate, _RATE, quality="MQ") if mono.size else mono
    return _peaks(np.asarray(mono, np.float32), np.asarray(lines_s, np.float64), step)


def _peaks(mono: Mono, lines_s: Floats, step: Callable[[], None]) -> Peaks:
    owner, first, length = _windows(lines_s)
    low, high = (int(hz * _FFT / _RATE) for hz in (_LOW_HZ, _HIGH_HZ))
    columns: list[tuple[NDArray[Any], ...]] = []
    energy, tone = np.zeros(len(lines_s) - 1), np.zeros(len(lines_s) - 1)
    padded = np.pad(mono, (_FFT, 2 * _FFT))
    for block in range(0, len(owner), _BLOCK):
        step()
        rows = slice(block, block + _BLOCK)
        frames = np.zeros((len(owner[rows]), _FFT), np.float32)
        for index, (start, size) in enumerate(zip(first[rows], length[rows], strict=True)):
            begin = min(max(start + _FFT, 0), len(padded) - size)
            frames[index, :size] = padded[begin : begin + size] * _hann(size)
        magnitude = np.abs(scipy.fft.rfft(frames, axis=1)[:, low - 1 : high + 2])
        row, column, height = _prominent(magnitude)
        left, top, right = (np.log(magnitude[row, column + k] + 1e-12).astype(np.float64) for k in (-1, 0, 1))
        vertex = np.clip(0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-9), -0.5, 0.5)
        hertz = (low - 1 + column + vertex) * (_RATE / _FFT)
        beat = owner[rows][row]
        columns.append((beat, 69.0 + 12.0 * np.log2(hertz / 440.0), height))
        np.add.at(energy, owner[rows], np.square(magnitude, dtype=np.float64).sum(axis=1))
        # A Hann window's main lobe holds 1.5 bins' worth of the peak's energy, by the padding more of the FFT's.
        np.add.at(tone, beat, 1.5 * np.square(height) * _FFT / length[rows][row])
    if not columns:
        return Peaks(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), tone)
    beat, pitch, height = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    tonal = np.minimum(tone / np.maximum(energy, 1e-12), 1.0) * (energy > 1e-9)
    return Peaks(beat.astype(np.int64), pitch, height, tonal)


def _windows(lines_s: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Which beat each window belongs to, its first sample and length: long beats are heard through several."""
    owner, first, length = [], [], []
    for beat, (start, stop) in enumerate(zip(lines_s[:-1] - REACH_S, lines_s[1:] + REACH_S, strict=True)):
        parts = max(1, round((stop - start) / _WINDOW_S * 1.5) - 1) if stop - start > _WINDOW_S else 1
        size_s = min(stop - start, _WINDOW_S) if parts > 1 else min(stop - start, 1.3)
        for part in np.linspace(0.0, 1.0, parts) if parts > 1 else (0.0,):
            owner.append(beat)
            first.append(round((start + part * (stop - start - size_s)) * _RATE))
            length.append(max(64, round(size_s * _RATE)))
    return np.array(owner, np.int64), np.array(first, np.int64), np.array(length, np.int64)


@lru_cache(maxsize=32)
def _hann(size: int) -> Mono:
    shape = np.hanning(size + 2)[1:-1]
    return np.asarray(shape * (2.0 / shape.sum()), dtype=np.float32)


def _prominent(magnitude: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    middle = magnitude[:, 1:-1]
    loudest = magnitude.max(axis=1, keepdims=True)
    # The median over a third of a kilohertz, from every sixteenth bin: exact enough for a threshold.
    around = np.repeat(median_filter(magnitude[:, ::16], size=(1, 31), mode="nearest"), 16, axis=1)
    around = around[:, 1 : middle.shape[1] + 1]
    is_peak = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:]) & (middle > _PROMINENCE * around)
    is_peak &= (middle > loudest * 10 ** (-_RANGE_DB / 20)) & (middle > 1e-6)
    row, column = np.nonzero(is_peak)
    return row, column + 1, middle[row, column].astype(np.float64)


def _tuning(found: _Peaks) -> float:
    clear = found.pitch > 48  # below, a semitone is narrower than the window can tell
    if not clear.any():
        return 0.0
    turns = np.exp(2j * np.pi * found.pitch[clear])
    return float(np.angle(np.sum(np.sqrt(found.magnitude[clear]) * turns))) / (2 * np.pi)


def _spectrogram(found: _Peaks, tuned: float, beats: int) -> Floats:
    """``(beats, notes)``: what sounds at each semitone, peaks between two semitones counting little."""
    count = _HIGHEST - _LOWEST + 1
    note = np.round(found.pitch - tuned)
    close = np.cos(np.pi * np.clip(found.pitch - tuned - note, -0.5, 0.5)) ** 2
    inside = (note >= _LOWEST) & (note <= _HIGHEST)
    cell = found.beat[inside] * count + (note[inside] - _LOWEST).astype(np.int64)
    levels = np.bincount(cell, (found.magnitude * close)[inside] ** 2, minlength=beats * count)
    return np.sqrt(levels.reshape(beats, count))


@lru_cache(maxsize=1)
def _harmonics() -> Floats:
    """``(notes, semitones)``: the peaks that one note brings with it."""
    count = _HIGHEST - _LOWEST + 1
    series = np.zeros((count, count))
    for note in range(count):
        for partial in range(1, _PARTIALS + 1):
            at = note + round(12 * np.log2(partial))
            if at < count:
                series[note, at] += _ROLL_OFF ** (partial - 1)
    return series


def _explained(levels: Floats) -> Floats:
    """Notes ``(beats, notes)`` whose harmonic series add up to `levels`, by multiplicative updates (Lee and Seung,
    "Algorithms for non-negative matrix factorization", NIPS 2000; the series are given)."""
    series = _harmonics()
    notes = levels.copy()
    target, gram = levels @ series.T, series @ series.T
    for _ in range(_UPDATES):
        notes *= target / np.maximum(notes @ gram, 1e-12)
    return notes


def _treble_weight() -> Floats:
    midi = np.arange(_LOWEST, _HIGHEST + 1)
    return np.asarray(np.clip((midi - 40) / 12.0, 0.15, 1.0) * np.clip((96 - midi) / 14.0, 0.0, 1.0))


def _folded(notes: Floats, weight: Floats) -> Floats:
    # The root of the magnitude: a chord's soft notes name it as much as its loud ones.
    eased = np.sqrt(notes) * weight
    chroma = np.zeros((len(notes), 12))
    for index, midi in enumerate(range(_LOWEST, _HIGHEST + 1)):
        chroma[:, midi % 12] += eased[:, index]
    total = chroma.sum(axis=1, keepdims=True)
    return np.where(total > 1e-6, chroma / np.maximum(total, 1e-6), 0.0)


def _bass(notes: Floats) -> Floats:
    midi = np.arange(_LOWEST, _HIGHEST + 1)
    low = notes * (midi <= _BASS_TOP) * np.clip((64 - midi) / 24.0, 0.0, 1.0)
    chroma = np.zeros((len(notes), 12))
    for index, pitch in enumerate(midi):
        chroma[:, pitch % 12] += low[:, index]
    total = chroma.sum(axis=1, keepdims=True)
    return np.where(total > 1e-6, chroma / np.maximum(total, 1e-6), 0.0)
