"""Offsets from the lines of any tempo map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.measures.grid import NEAR_MS, SIXTEENTHS, TRIPLETS, grid_lines, grid_lock, wrapped
from protocol.music import TempoMap, TimeSignature

RAMP = TempoMap.from_flat([0, 90, 4, 4, 1, 20, 140, 4, 4, 0])


@pytest.mark.parametrize(
    "tempo_map",
    [
        TempoMap.constant(97.53),
        TempoMap.constant(140, TimeSignature(3, 4)),
        RAMP,
        TempoMap.constant(80, TimeSignature(6, 8)),
    ],
)
@pytest.mark.parametrize("per_quarter", [SIXTEENTHS, TRIPLETS])
def test_lines_divide_the_quarter_evenly_in_beats(tempo_map: TempoMap, per_quarter: int) -> None:
    if per_quarter == TRIPLETS and tempo_map.signature_at(0).denominator == 8:
        pytest.skip("an eighth is not divided into one and a half")
    beats = np.array([tempo_map.beat_at(time_s) for time_s in grid_lines(tempo_map, 4.0, 12.0, per_quarter)])
    assert tempo_map.time_at(beats[0]) < 4.0
    assert tempo_map.time_at(beats[-1]) > 12.0
    assert np.allclose(np.diff(beats), 1.0 / per_quarter, atol=1e-9)


def test_a_new_signature_starts_its_own_lines() -> None:
    tempo_map = TempoMap.from_flat([0, 120, 4, 4, 0, 4.1, 120, 3, 4, 0])
    lines = grid_lines(tempo_map, 3.0, 6.0, SIXTEENTHS)
    assert np.min(np.abs(lines - 4.1)) < 1e-9
    assert np.min(np.abs(lines - 4.225)) < 1e-9


@given(late_ms=st.floats(-45, 45), jitter_ms=st.floats(0, 4), bpm=st.floats(60, 150), seed=st.integers(0, 2**16))
def test_a_constant_delay_is_read_as_such(late_ms: float, jitter_ms: float, bpm: float, seed: int) -> None:
    lines = grid_lines(TempoMap.constant(bpm), 0.0, 20.0, SIXTEENTHS)
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.choice(lines[10:-10], 24, replace=False)) + late_ms / 1000.0
    lock = grid_lock(onsets + rng.uniform(-jitter_ms, jitter_ms, 24) / 1000.0, lines)
    assert lock is not None
    assert lock.median_ms == pytest.approx(late_ms, abs=jitter_ms + 1e-6)
    assert lock.spread_ms <= 2 * jitter_ms + 1e-6
    assert lock.together > 0.8
    assert lock.near == 1.0 or abs(late_ms) + jitter_ms > NEAR_MS


def test_onsets_half_way_between_lines_are_not_on_the_grid_on_average() -> None:
    lines = grid_lines(TempoMap.constant(120), 0.0, 20.0, SIXTEENTHS)
    straddling = lines[10:50] + np.where(np.arange(40) % 2, 0.058, 0.067)
    lock = grid_lock(np.sort(straddling), lines)
    assert lock is not None
    assert abs(lock.median_ms) > 50.0
    assert lock.near == 0.0


def test_strewn_onsets_are_together_only_as_often_as_chance_has_it() -> None:
    lines = grid_lines(TempoMap.constant(120), 0.0, 200.0, SIXTEENTHS)
    lock = grid_lock(np.sort(np.random.default_rng(1).uniform(5, 195, 2000)), lines)
    assert lock is not None
    assert lock.near == pytest.approx(2 * NEAR_MS / lock.spacing_ms, abs=0.05)
    assert lock.together < lock.chance + 0.08


def test_three_onsets_are_too_few() -> None:
    assert grid_lock([1.0, 2.0, 3.0], grid_lines(TempoMap.constant(120), 0.0, 4.0, SIXTEENTHS)) is None


@given(st.floats(-1e6, 1e6), st.floats(0.01, 100))
def test_wrapping_stays_within_half_a_period(value: float, period: float) -> None:
    assert abs(float(wrapped(value, period))) <= period / 2 * (1 + 1e-9)
