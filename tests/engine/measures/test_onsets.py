"""Onset times are exact to a millisecond or two, whatever begins there."""

from __future__ import annotations

import numpy as np
import pytest

from engine.measures.onsets import band_energy, onset_times

RATES = (22_050, 44_100, 48_000)


def _decay(rate: int, per_s: float) -> np.ndarray:
    return np.exp(-np.arange(round(0.35 * rate)) / rate * per_s)


def _sound(kind: str, rate: int, rng: np.random.Generator) -> np.ndarray:
    """0.35 s that end as they should, without a tick of their own."""
    fade = np.minimum(1.0, np.arange(round(0.35 * rate))[::-1] / (0.1 * rate))
    return fade * _voice(kind, rate, rng)


def _voice(kind: str, rate: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(0.35 * rate)) / rate
    if kind == "tick":
        return np.where(t < 0.002, 0.5, 0.0) * rng.standard_normal(t.size)
    if kind == "noise burst":
        return 0.3 * _decay(rate, 30) * rng.standard_normal(t.size)
    if kind == "kick":
        return 0.9 * _decay(rate, 14) * np.sin(2 * np.pi * (45 * t + 6 * (1 - np.exp(-30 * t))))
    return 0.3 * _decay(rate, 12) * sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 8))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["tick", "noise burst", "kick", "pluck"])
def test_every_onset_is_found_where_it_is(kind: str, rate: int) -> None:
    rng = np.random.default_rng(3)
    times = np.arange(0.5, 9.5, 0.4) + rng.uniform(0, 0.01, 23)
    signal = 1e-4 * rng.standard_normal(10 * rate)
    for time_s in times:
        start = round(time_s * rate)
        sound = _sound(kind, rate, rng)
        signal[start : start + sound.size] += sound[: signal.size - start]
    found = onset_times(signal.astype(np.float32), rate)
    assert found.size == times.size
    off_ms = (found - times) * 1000.0
    assert abs(np.median(off_ms)) < 3.0
    assert np.max(np.abs(off_ms - np.median(off_ms))) < 2.0


@pytest.mark.parametrize("brown", [0.0, 0.9, 0.99])
def test_stationary_noise_has_no_onsets(brown: float) -> None:
    from scipy.signal import lfilter

    noise = lfilter([1.0], [1.0, -brown], np.random.default_rng(0).standard_normal(20 * 48_000)).astype(np.float32)
    assert onset_times(noise, 48_000).size <= 2


def test_band_energy_counts_whole_milliseconds_and_keeps_their_power() -> None:
    rate = 44_100
    t = np.arange(3 * rate) / rate
    tone = np.sin(2 * np.pi * 2_000 * t).astype(np.float32)
    energy = band_energy(tone, rate)
    assert energy.shape[1] == 3000
    steady = energy[2, 500:2500]
    assert steady.std() < 0.02 * steady.mean()
    assert np.all(energy[[0, 1, 3], 500:2500].mean(axis=1) < 1e-3 * steady.mean())


def test_silence_and_scraps_have_no_onsets() -> None:
    assert onset_times(np.zeros(48_000, np.float32), 48_000).size == 0
    assert onset_times(np.ones(100, np.float32), 48_000).size == 0
    assert onset_times(np.zeros(0, np.float32), 48_000).size == 0
