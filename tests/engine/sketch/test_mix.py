"""Levels: a stem sits where the song leaves it, and no sample of a mix is above the ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.loudness import loudness_lufs
from engine.sketch.engine import PLAYED
from engine.sketch.mix import CEILING, NOMINAL_LUFS, UNDER_SONG_LU, limited, mixed, stem_gain_db
from protocol.vocabulary import TrackClass

RATE = 24_000


def tone(hz: float, seconds: float, level: float) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, wave]).astype(np.float32)


@given(
    seed=st.integers(0, 50),
    loudness=st.floats(0.1, 8.0),
    bursts=st.lists(st.integers(0, RATE - 1), max_size=6),
)
def test_no_sample_passes_the_limiter_and_what_is_below_stays_to_the_bit(
    seed: int, loudness: float, bursts: list[int]
) -> None:
    audio = np.random.default_rng(seed).uniform(-0.1, 0.1, (2, RATE)).astype(np.float32)
    for burst in bursts:
        audio[:, burst] = loudness
    out = limited(audio, RATE)
    assert float(np.abs(out).max()) <= CEILING + 1e-6
    far = np.ones(RATE, bool)
    for burst in np.flatnonzero(np.abs(audio).max(axis=0) > CEILING):
        far[max(0, burst - 200) : burst + 201] = False
    assert np.array_equal(out[:, far], audio[:, far])


def test_the_limiter_bends_gain_smoothly_so_that_it_does_not_click() -> None:
    audio = tone(200.0, 0.5, 0.5)
    audio[:, 5000:5100] *= 4.0
    gain = limited(audio, RATE)[0][np.abs(audio[0]) > 0.1] / audio[0][np.abs(audio[0]) > 0.1]
    assert float(np.abs(np.diff(gain)).max()) < 0.05


def test_every_track_that_can_be_played_has_its_place_in_the_balance() -> None:
    assert set(UNDER_SONG_LU) == PLAYED
    assert all(value < 0 for value in UNDER_SONG_LU.values())


def test_a_stem_follows_the_songs_loudness_decibel_for_decibel() -> None:
    at = {lufs: stem_gain_db(TrackClass.BASS, lufs) for lufs in (-14.0, -20.0)}
    assert at[-14.0] - at[-20.0] == pytest.approx(6.0)
    assert NOMINAL_LUFS + at[-14.0] == pytest.approx(-14.0 + UNDER_SONG_LU[TrackClass.BASS])
    assert stem_gain_db(TrackClass.BASS, -90.0) == stem_gain_db(TrackClass.BASS, -45.0)
    assert -20.0 < stem_gain_db(TrackClass.BASS, None) < 10.0


def test_a_mix_has_the_loudness_that_was_asked_for() -> None:
    parts = [(TrackClass.BASS, tone(110.0, 3.0, 0.1)), (TrackClass.KEYBOARD, tone(440.0, 3.0, 0.1))]
    mix = mixed(parts, RATE, -20.0)
    lufs = loudness_lufs(mix, RATE)
    assert lufs is not None
    assert lufs == pytest.approx(-20.0, abs=0.1)


def test_silence_stays_silence() -> None:
    silent = np.zeros((2, RATE), np.float32)
    assert not mixed([(TrackClass.BASS, silent)], RATE, -16.0).any()
