"""The instruments of the demo song: small, deterministic and band-limited.

Pitched voices are sums of partials below the Nyquist frequency, so nothing aliases; every note starts and ends at zero,
so nothing clicks. All functions give float32 mono ``(frames,)`` at `rate` Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

Mono = NDArray[np.float32]

_HIGHEST_SHARE = 0.45
"""Partials above this share of the sample rate are left out."""


def frequency(midi: float) -> float:
    """Hz of a MIDI note number (69 is A4, 440 Hz)."""
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))


def partials(phase: NDArray[np.float64], amplitudes: Sequence[float]) -> NDArray[np.float64]:
    """``sum of amplitudes[n-1] * sin(n * phase)``, by the Chebyshev recurrence (one sine and one cosine in all)."""
    twice_cos, before, here = 2.0 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    total = amplitudes[0] * here
    for amplitude in amplitudes[1:]:
        before, here = here, twice_cos * here - before
        total += amplitude * here
    return total


def _audible(amplitudes: Sequence[float], hz: float, rate: int) -> Sequence[float]:
    return amplitudes[: max(1, int(_HIGHEST_SHARE * rate / hz))]


def _envelope(frames: int, rate: int, attack_s: float, release_s: float) -> NDArray[np.float64]:
    """Raised-cosine rise and fall around 1."""
    attack, release = min(frames // 2, round(attack_s * rate)), min(frames // 2, round(release_s * rate))
    shape = np.ones(frames)
    shape[:attack] = 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / max(1, attack))
    shape[frames - release :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / max(1, release))
    return shape


def _finished(sound: NDArray[np.float64], rate: int, attack_s: float, release_s: float) -> Mono:
    return np.asarray(sound * _envelope(len(sound), rate, attack_s, release_s), dtype=np.float32)


@lru_cache(maxsize=256)
def pad(midi: int, frames: int, rate: int) -> Mono:
    """A warm sustained tone: two detuned sets of partials that fall off at 12 dB per octave and more."""
    time = np.arange(frames) / rate
    sound = np.zeros(frames)
    for cents in (-5.0, 6.0):
        hz = frequency(midi + cents / 100.0)
        amplitudes = [1.0 / n**1.3 / (1.0 + (n * hz / 1800.0) ** 2) for n in range(1, 25)]
        sound += partials(2.0 * np.pi * hz * time + cents, _audible(amplitudes, hz, rate))
    return _finished(0.4 * sound, rate, attack_s=0.12, release_s=0.25)


@lru_cache(maxsize=256)
def electric_piano(midi: int, frames: int, rate: int) -> Mono:
    """A struck tine: partials that die the faster the higher they are."""
    time, hz = np.arange(frames) / rate, frequency(midi)
    sound = np.zeros(frames)
    for ratio, level, decay_s in ((1, 1.0, 1.6), (2, 0.35, 0.9), (3, 0.18, 0.5), (4, 0.08, 0.35), (7, 0.10, 0.07)):
        if ratio * hz < _HIGHEST_SHARE * rate:
            sound += level * np.exp(-time / decay_s) * np.sin(2.0 * np.pi * ratio * hz * time)
    return _finished(0.6 * sound, rate, attack_s=0.003, release_s=0.06)


@lru_cache(maxsize=256)
def bass(midi: int, frames: int, rate: int) -> Mono:
    """A round plucked bass with a short bright start."""
    time, hz = np.arange(frames) / rate, frequency(midi)
    phase = 2.0 * np.pi * hz * time
    body = partials(phase, [1.0, 0.45, 0.2, 0.1, 0.05])
    pluck = partials(phase, _audible([0.0, 0.3, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1], hz, rate))
    return _finished(0.7 * (body * np.exp(-time / 0.9) + pluck * np.exp(-time / 0.05)), rate, 0.003, 0.04)


@lru_cache(maxsize=256)
def lead(midi: int, frames: int, rate: int) -> Mono:
    """A soft singing tone with a vibrato that comes in late."""
    time, hz = np.arange(frames) / rate, frequency(midi)
    depth = 0.05 * np.clip((time - 0.25) / 0.3, 0.0, 1.0)  # vibrato rate 5.4 Hz, phase deviation in radians times hz
    phase = 2.0 * np.pi * hz * time + depth * hz / 55.0 * np.sin(2.0 * np.pi * 5.4 * time)
    amplitudes = [1.0 / n**1.6 / (1.0 + (n * hz / 3500.0) ** 2) for n in range(1, 20)]
    return _finished(0.5 * partials(phase, _audible(amplitudes, hz, rate)), rate, attack_s=0.02, release_s=0.08)


@lru_cache(maxsize=4)
def kick(rate: int) -> Mono:
    """A sine that falls from 150 to 48 Hz, with a short knock on top."""
    time = np.arange(round(0.32 * rate)) / rate
    phase = 2.0 * np.pi * (48.0 * time + 102.0 * 0.035 * (1.0 - np.exp(-time / 0.035)))
    knock = 0.25 * np.exp(-time / 0.006) * np.sin(2.0 * np.pi * 900.0 * time)
    return _finished(np.exp(-time / 0.12) * np.sin(phase) + knock, rate, attack_s=0.0008, release_s=0.05)


@lru_cache(maxsize=4)
def snare(rate: int) -> Mono:
    """A drum head at 190 Hz under a band of noise."""
    time = np.arange(round(0.28 * rate)) / rate
    head = 0.6 * np.exp(-time / 0.06) * (np.sin(2 * np.pi * 190 * time) + 0.5 * np.sin(2 * np.pi * 331 * time))
    wires = _noise(len(time), rate, seed=11, low_hz=1400.0, high_hz=9000.0) * np.exp(-time / 0.075)
    return _finished(head + 0.8 * wires, rate, attack_s=0.0008, release_s=0.05)


@lru_cache(maxsize=16)
def hat(rate: int, variant: int, decay_s: float) -> Mono:
    """High noise; `variant` changes the noise so that a row of them does not sound like a machine."""
    time = np.arange(round(min(6.0 * decay_s, 2.0) * rate)) / rate
    noise = _noise(len(time), rate, seed=100 + variant, low_hz=6500.0, high_hz=16000.0)
    return _finished(0.7 * noise * np.exp(-time / decay_s), rate, attack_s=0.0008, release_s=0.01)


def _noise(frames: int, rate: int, seed: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """White noise in a band, of unit RMS."""
    white = np.random.default_rng(seed).standard_normal(frames)
    high = min(high_hz, _HIGHEST_SHARE * rate)
    band = np.asarray(sosfilt(butter(2, (low_hz, high), "bandpass", fs=rate, output="sos"), white))
    return np.asarray(band / np.sqrt(np.mean(band**2)))


def room(rate: int) -> NDArray[np.float32]:
    """Impulse response ``(2, frames)`` of a small damped room: decaying noise, unlike in both ears, of unit energy."""
    time = np.arange(round(0.7 * rate)) / rate
    tails = [_noise(len(time), rate, seed, low_hz=250.0, high_hz=5500.0) for seed in (21, 22)]
    rise = 1.0 - np.exp(-time / 0.004)
    response = np.stack(tails) * rise * np.exp(-time / 0.16)
    response = np.pad(response, ((0, 0), (round(0.012 * rate), 0)))
    return np.asarray(response / np.sqrt(np.sum(response**2, axis=1, keepdims=True)), dtype=np.float32)
