"""The sums behind the voices, against what they claim to be, written out sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sketch.voices import keys, tones
from engine.sketch.voices.voice import Stroke

RATE = 16_000


@given(
    st.lists(st.tuples(st.floats(20.0, 9_000.0), st.floats(-1.0, 1.0), st.floats(0.002, 3.0)), min_size=1, max_size=6),
    st.integers(1, 3_000),
)
def test_modes_are_decaying_sines_below_the_limit(partials: list[tuple[float, float, float]], frames: int) -> None:
    hz, level, decay_s = (np.array(column) for column in zip(*partials, strict=True))
    time = ((np.arange(frames) + 1.0) / RATE)[:, None]
    level = np.where(hz < tones.HIGHEST_SHARE * RATE, level, 0.0)
    expected = (level * np.exp(-time / decay_s) * np.sin(2.0 * np.pi * hz * time + 0.3)).sum(axis=1)
    # Time starts one sample in for the decay as well as for the phase.
    assert np.allclose(tones.modes(hz, level, decay_s, frames, RATE, 0.3), expected, atol=1e-5)


def test_evolving_partials_follow_straight_lines_between_their_levels() -> None:
    frames, hop = 1_500, tones.step_frames(RATE)
    hz = np.array([300.0, 450.0, 7_900.0])  # the last one is above the limit
    level = np.random.default_rng(1).random((30, 3))
    time = np.arange(frames)
    lines = np.stack([np.interp(time / hop, np.arange(30), column) for column in level.T])
    waves = np.sin(2.0 * np.pi * hz[:, None] * (time + 1.0) / RATE)
    assert np.allclose(tones.evolving(hz, level, frames, RATE), (lines * waves)[:2].sum(axis=0), atol=1e-5)


def test_wavetables_hold_only_harmonics_below_the_limit() -> None:
    cycles = 1_000.0 * np.arange(2_000) / RATE
    tables = tones.wavetables([[1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4], [0.3]], 1_000.0, RATE)
    sound = tones.read_tables(tables, cycles, (1.0, 2.0))
    expected = 1.6 * np.sin(2.0 * np.pi * cycles) + 0.5 * np.sin(4.0 * np.pi * cycles)
    assert np.allclose(sound, expected, atol=1e-5)


@pytest.mark.parametrize(("ratio", "index"), [(1.0, 0.4), (1.0, 1.6), (14.0, 0.4)])
def test_frequency_modulation_by_modes_is_frequency_modulation(ratio: float, index: float) -> None:
    stroke = Stroke(57, 90, 0, 48_000, 96_000)
    time = tones.times(48_000, 96_000)
    phase = 2.0 * np.pi * 220.0 * time
    expected = np.exp(-time / 1.5) * np.sin(phase + index * np.exp(-time / 0.6) * np.sin(ratio * phase))
    assert np.allclose(keys._modulated(220.0, ratio, index, 1.5, 0.6, stroke), expected, atol=3e-3)


def test_a_section_is_one_endless_loop_of_unit_power() -> None:
    left, right = tones.ensemble(220.0, 1.0 / np.arange(1.0, 20.0), RATE, spread_cents=6.0, seconds=1.0, key=1)
    assert np.mean(left**2 + right**2) == pytest.approx(2.0, rel=1e-3)
    for loop in (left, right):  # the seam is no greater than any other step
        assert abs(loop[0] - loop[-1]) <= np.abs(np.diff(loop)).max()
    assert 0.2 < np.corrcoef(left, right)[0, 1] < 0.95


def test_noise_is_the_same_for_the_same_key_and_different_for_others() -> None:
    assert np.array_equal(tones.noise(1_000, 1, 2), tones.noise(1_000, 1, 2))
    assert abs(np.corrcoef(tones.noise(5_000, 1, 2), tones.noise(5_000, 2, 1))[0, 1]) < 0.1
    long = tones.noise(400_000, 7)
    assert long.std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("rate", [22_050, 48_000, 192_000])
def test_a_band_of_noise_is_as_loud_at_every_rate_that_holds_it(rate: int) -> None:
    assert tones.band_noise(rate, rate, 1_000.0, 5_000.0, 3).std() == pytest.approx(1.0, abs=0.25)


def test_a_band_that_the_rate_cannot_hold_is_silent() -> None:
    assert not tones.band_noise(1_000, 8_000, 5_000.0, 9_000.0, 3).any()
