"""When a frame sounds: the line through the times that an audio system states."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.live.stream_time import StreamTime

RATE, BLOCK = 48_000, 256


def smoothed(stated: np.ndarray) -> np.ndarray:
    times = StreamTime(RATE)
    return np.array([times.next(BLOCK, at) for at in stated])


@pytest.mark.parametrize("drift", [0.0, 150e-6])
def test_jitter_is_smoothed_away(drift):
    true = np.arange(20_000) * BLOCK / RATE * (1 + drift)
    late = np.random.default_rng(1).exponential(0.001, true.shape)
    errors = smoothed(true + late)[5000:] - true[5000:] - 0.001
    assert np.abs(errors).max() < 0.0003


def test_times_that_come_in_bursts_are_spread_evenly():
    true = np.arange(8000) * BLOCK / RATE
    bursts = true[np.arange(8000) // 4 * 4]
    steps = np.diff(smoothed(bursts)[4000:])
    assert np.abs(steps - BLOCK / RATE).max() < 0.0002


@pytest.mark.parametrize("lost_s", [0.5, 0.03])
def test_lost_frames_are_followed_at_once_and_counted(lost_s):
    times = StreamTime(RATE)
    blocks = np.arange(2000) * BLOCK / RATE
    for at in blocks:
        times.next(BLOCK, at)
    for at in blocks[:200]:
        heard = times.next(BLOCK, blocks[-1] + BLOCK / RATE + at + lost_s)
    assert times.jumps == 1
    assert heard == pytest.approx(blocks[-1] + 200 * BLOCK / RATE + lost_s, abs=0.001)
