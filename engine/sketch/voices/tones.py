"""What every voice is made of: decaying modes, evolving partials, wavetables, ensembles, noise and envelopes.

Promises: nothing above `HIGHEST_SHARE` of the sample rate is made, so that nothing aliases; the same bits for the same
arguments; sounds begin with their first sample. Arrays are float32 unless said otherwise, times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.signal import butter, sosfilt

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex128]

HIGHEST_SHARE = 0.45
"""Partials above this share of the sample rate are left out."""
_BLOCK = 256
_TABLE = 8192
_NOTHING = 1e-9
_NOISE = 1 << 18


def frequency(pitch: float) -> float:
    """Hz of a MIDI pitch (69 is A4, 440 Hz)."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def mixed_bits(*numbers: int) -> int:
    """A number that depends on all of `numbers` and looks random, by splitmix64 (Steele et al., 2014)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state


def chance(*numbers: int) -> np.random.Generator:
    """A generator that belongs to `numbers` and to nothing else."""
    return np.random.Generator(np.random.PCG64(mixed_bits(*numbers)))


# --- tone ------------------------------------------------------------------------------------------------------------
def modes(
    hz: ArrayLike, level: ArrayLike, decay_s: ArrayLike, frames: int, rate: float, phase: ArrayLike = 0.0
) -> Floats:
    """The sum of ``level * exp(-t / decay_s) * sin(2 pi hz t + phase)`` over all modes, ``(frames,)``.

    A power of a complex number splits into coarse and fine steps, which makes the whole sum one matrix product.
    """
    hz, level, decay_s, phase = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (hz, level, decay_s, phase)))
    kept = (hz > 0.0) & (hz < HIGHEST_SHARE * rate)
    if not kept.any() or frames <= 0:
        return np.zeros(max(0, frames), np.float32)
    step = (2j * np.pi * hz[kept] - 1.0 / decay_s[kept]) / rate
    # From the first sample on it sounds, so time starts one sample in.
    start = level[kept] * np.exp(1j * phase[kept] + step)
    coarse = start * np.exp(np.arange(-(-frames // _BLOCK))[:, None] * (_BLOCK * step))
    fine = np.exp(np.arange(_BLOCK)[:, None] * step)
    return _imaginary(coarse, fine).reshape(-1)[:frames]


def _imaginary(coarse: Complexes, fine: Complexes) -> Floats:
    """The imaginary part of ``coarse @ fine.T``."""
    coarse[np.abs(coarse) < _NOTHING] = 0.0  # what has died would become denormal, and slow
    left = np.concatenate([coarse.imag, coarse.real], axis=1).astype(np.float32)
    right = np.concatenate([fine.real, fine.imag], axis=1).astype(np.float32)
    return np.asarray(left @ right.T)


def partial_count(hz: float, rate: float, most: int) -> int:
    """How many harmonics of `hz` may sound, at least one."""
    return max(1, min(most, int(HIGHEST_SHARE * rate / hz)))


def harmonics(hz: float, rate: float, most: int) -> Doubles:
    """The numbers of the harmonics of `hz` that may sound: 1, 2, 3, ..."""
    return np.arange(1.0, partial_count(hz, rate, most) + 1.0)


def evolving(hz: ArrayLike, level: Doubles, frames: int, rate: float, phase: ArrayLike = 0.0) -> Floats:
    """Steady partials `hz` ``(partials,)`` whose levels ``(steps, partials)`` move in straight lines, ``(frames,)``.

    A step is ``1 / STEPS_PER_S``; the last level holds.
    """
    hz, phase = np.broadcast_arrays(np.asarray(hz, np.float64), np.asarray(phase, np.float64))
    kept = np.asarray(hz < HIGHEST_SHARE * rate)
    hop = step_frames(rate)
    steps = -(-frames // hop)
    level = level[np.minimum(np.arange(steps + 1), len(level) - 1)][:, kept]
    turn: Complexes = 2j * np.pi * hz[kept] / rate
    spin = np.exp(1j * phase[kept] + turn + np.arange(steps)[:, None] * (hop * turn))
    fine = np.exp(np.arange(hop)[:, None] * turn)
    sound = _imaginary(np.asarray(spin * level[:-1]), fine)
    sound += _imaginary(np.asarray(spin * np.diff(level, axis=0)), fine) * (np.arange(hop, dtype=np.float32) / hop)
    return sound.reshape(-1)[:frames]


STEPS_PER_S = 250


def step_frames(rate: float) -> int:
    """Frames between two levels of `evolving`."""
    return max(1, round(rate / STEPS_PER_S))


def step_times(frames: int, rate: float) -> Doubles:
    """The times of the levels that `evolving` wants for so many frames, ``(steps,)``."""
    hop = step_frames(rate)
    return np.asarray(np.arange(-(-frames // hop) + 1) * hop / rate, np.float64)


def times(frames: int, rate: float) -> Doubles:
    """Seconds of each sample, the first one sample in: nothing that starts at zero starts late."""
    return np.asarray((np.arange(frames) + 1.0) / rate)


def wavetables(levels: Sequence[Sequence[float]], hz: float, rate: float) -> Floats:
    """One period for each list of harmonic levels (first the fundamental), ``(lists, _TABLE + 1)``.

    Harmonics of `hz` (the highest that will be played) beyond the limit are left out.
    """
    spectrum = np.zeros((len(levels), _TABLE // 2 + 1), np.complex128)
    for row, harmonics in enumerate(levels):
        count = partial_count(hz, rate, min(len(harmonics), _TABLE // 16))
        spectrum[row, 1 : count + 1] = np.asarray(harmonics[:count]) * (-0.5j * _TABLE)
    table = scipy.fft.irfft(spectrum, axis=1)
    return np.concatenate([table, table[:, :1]], axis=1).astype(np.float32)


def read_tables(tables: Floats, cycles: Doubles, gains: Sequence[ArrayLike]) -> Floats:
    """``sum of gains[k] * tables[k]`` read at `cycles` (phase, 1 is a period), ``(frames,)``."""
    position = (cycles - np.floor(cycles)) * _TABLE
    index = position.astype(np.int32)
    part = (position - index).astype(np.float32)
    sound = np.zeros(len(cycles), np.float32)
    for table, gain in zip(tables, gains, strict=True):
        here = table[index]
        sound += (here + part * (table[1:][index] - here)) * np.asarray(gain, np.float32)
    return sound


def ensemble(
    hz: float, levels: Doubles, rate: float, *, spread_cents: float, seconds: float, key: int
) -> tuple[Floats, Floats]:
    """A whole section on one note, in both ears: an endless loop, ``(left, right)``, of unit power together.

    Every harmonic is spread over a narrow band with its own phases, as many players make it, by one inverse FFT
    (after P. Nasca's PADsynth, 2005). Half of its power is a steady line, without which low notes would fade.
    """
    periods, size = _whole_periods(hz, rate, seconds)
    spectrum = np.zeros((2, size // 2 + 1), np.complex128)
    random = chance(key, 77)
    for number in range(1, partial_count(hz, rate, len(levels)) + 1):
        centre = number * periods
        width = max(0.6, centre * (2.0 ** (spread_cents / 1200.0) - 1.0))
        reach = int(4.0 * width) + 1
        away = np.arange(-reach, reach + 1)
        shape = np.exp(-0.5 * (away / width) ** 2)
        shape /= math.sqrt(float(np.sum(shape**2)))
        turn = np.exp(2j * np.pi * random.random((2, away.size)))
        # Half of it is common to both ears: wide, and still there in mono.
        turn[1] = 0.6 * turn[0] + 0.8 * turn[1]
        band = shape * turn
        band[:, reach] += np.exp(2j * np.pi * random.random())
        inside = (centre + away > 0) & (centre + away < size // 2)
        spectrum[:, (centre + away)[inside]] += levels[number - 1] * band[:, inside]
    loop = scipy.fft.irfft(spectrum, size, axis=1)
    loop /= math.sqrt(float(np.mean(loop**2)))
    return loop[0].astype(np.float32), loop[1].astype(np.float32)


def _whole_periods(hz: float, rate: float, seconds: float) -> tuple[int, int]:
    """A number of periods of `hz` and the frames that hold them almost exactly, about `seconds`, quick to transform."""
    about = round(hz * seconds)
    counts = np.arange(max(1, about - 40), about + 41)
    exact = counts * rate / hz
    quick = np.array([scipy.fft.next_fast_len(int(frames), real=True) for frames in exact])
    best = int(np.argmin(np.abs(quick / exact - 1.0)))
    return int(counts[best]), int(quick[best])


# --- noise -----------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def _noise_table() -> Floats:
    return chance(2026).standard_normal(_NOISE, dtype=np.float32)


def noise(frames: int, *key: int) -> Floats:
    """White noise of unit RMS, another stretch of it for every key."""
    at = mixed_bits(*key) % _NOISE
    return np.take(_noise_table(), np.arange(at, at + frames), mode="wrap")


def band_noise(frames: int, rate: float, low_hz: float, high_hz: float, *key: int) -> Floats:
    """Noise between two frequencies, of roughly unit RMS at any rate that holds the band."""
    top = min(high_hz, HIGHEST_SHARE * rate)
    if low_hz >= 0.8 * top:
        return np.zeros(frames, np.float32)
    made = sosfilt(_band(round(low_hz, 1), round(top, 1), float(rate)), noise(frames, *key))
    return np.asarray(made * math.sqrt(0.5 * rate / (high_hz - low_hz)), np.float32)


@lru_cache(maxsize=256)
def _band(low_hz: float, high_hz: float, rate: float) -> Doubles:
    return np.asarray(butter(2, (low_hz, high_hz), "bandpass", fs=rate, output="sos"))


def low_passed(sound: NDArray[np.floating], hz: float, rate: float, order: int = 2) -> Floats:
    """Butterworth low pass; nothing happens if `hz` is beyond what the rate holds."""
    return _filtered(sound, "lowpass", hz, rate, order)


def high_passed(sound: NDArray[np.floating], hz: float, rate: float, order: int = 2) -> Floats:
    """Butterworth high pass; silence if `hz` is beyond what the rate holds."""
    return _filtered(sound, "highpass", hz, rate, order)


def _filtered(sound: NDArray[np.floating], kind: str, hz: float, rate: float, order: int) -> Floats:
    if hz >= HIGHEST_SHARE * rate:
        return np.asarray(sound if kind == "lowpass" else np.zeros_like(sound), np.float32)
    return np.asarray(sosfilt(_pass(kind, round(hz, 1), float(rate), order), sound), np.float32)


@lru_cache(maxsize=256)
def _pass(kind: str, hz: float, rate: float, order: int) -> Doubles:
    return np.asarray(butter(order, hz, kind, fs=rate, output="sos"))


# --- shapes ----------------------------------------------------------------------------------------------------------
def decay(frames: int, rate: float, seconds: float) -> Floats:
    """``exp(-t / seconds)``."""
    return np.asarray(np.exp(np.arange(frames, dtype=np.float32) * np.float32(-1.0 / (seconds * rate))), np.float32)


def rise(frames: int, rate: float, seconds: float) -> Floats:
    """A raised-cosine rise from just above 0 to 1, then 1."""
    count = max(1, round(seconds * rate))
    shape = np.ones(frames, np.float32)
    shape[:count] = (0.5 - 0.5 * np.cos(np.pi * np.arange(1, count + 1) / count))[:frames]
    return shape


def fall(frames: int) -> Floats:
    """A raised-cosine fall from 1 to just above 0 over all frames."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.arange(1, frames + 1) / (frames + 1)), np.float32)
