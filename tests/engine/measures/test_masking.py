"""Masking follows level and frequency as the ear does; basses clash where they beat."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.measures.bass import bass_notes, clashes, strong
from engine.measures.masking import Losses, band_power, losses, own_losses, quiet_power

RATE = 22_050
SECONDS = np.arange(2 * RATE) / RATE


def tone(hertz: float, db: float = 0.0) -> np.ndarray:
    return (0.1 * 10 ** (db / 20) * np.sin(2 * np.pi * hertz * SECONDS)).astype(np.float32)


def noise(db: float = 0.0, seed: int = 0) -> np.ndarray:
    return (0.1 * 10 ** (db / 20) * np.random.default_rng(seed).standard_normal(SECONDS.size)).astype(np.float32)


def lost(stem: np.ndarray, song: np.ndarray) -> Losses:
    under = band_power(song, RATE)
    found = losses(band_power(stem, RATE), under, quiet_power(under))
    assert found is not None
    return found


def note(midi: float, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    hertz = 440.0 * 2 ** ((midi - 69) / 12)
    return (np.exp(-4 * t) * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in (1, 2, 3, 4))).astype(np.float32)


# --- masking ----------------------------------------------------------------------------------------------------------
def test_a_tone_far_from_the_song_is_not_hidden_and_one_in_its_midst_is() -> None:
    song = tone(1000.0)
    near, far = lost(tone(1050.0, -20), song), lost(tone(6000.0, -20), song)
    assert near.hidden > 0.8
    assert far.hidden < 0.2


def test_the_louder_the_less_hidden_and_the_more_it_covers() -> None:
    found = [lost(noise(db, 1), noise()) for db in range(-40, 41, 10)]
    assert all(after.hidden < before.hidden for before, after in pairwise(found))
    assert all(after.covers > before.covers for before, after in pairwise(found))
    assert found[0].hidden > 0.95
    assert found[-1].covers > 0.95


def test_two_equals_lose_as_much_to_each_other() -> None:
    found = lost(noise(0, 1), noise(0, 2))
    assert found.hidden == pytest.approx(found.covers, abs=0.03)


def test_a_silent_stem_is_hidden_and_a_silent_song_masks_nothing() -> None:
    silence = np.zeros_like(noise())
    assert lost(silence, noise()) == Losses(1.0, 0.0)
    assert losses(band_power(noise(), RATE), band_power(silence, RATE), 1e-12) is None
    assert own_losses(band_power(silence, RATE), RATE) is None


def test_what_sounds_at_another_time_is_not_masked() -> None:
    gate = np.arange(SECONDS.size) % RATE < RATE // 2
    apart, together = lost(noise(0, 1) * ~gate, noise() * gate), lost(noise(0, 1) * gate, noise() * gate)
    assert apart.hidden < 0.3 < together.hidden


def test_a_songs_layers_tell_what_it_does_to_itself() -> None:
    clicks = noise(10) * (np.arange(SECONDS.size) % (RATE // 4) < RATE // 50)
    found = own_losses(band_power(sum(tone(hertz) for hertz in (220, 330, 440)) + clicks, RATE), RATE)
    assert found is not None
    assert 0.0 < found.covers < found.hidden < 1.0


@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
def test_bands_hold_a_tones_power_at_any_rate(rate: int) -> None:
    t = np.arange(2 * rate) / rate
    power = band_power(np.sin(2 * np.pi * 1000 * t).astype(np.float32), rate)
    number = 21.4 * np.log10(1 + 0.00437 * 1000.0) - 21.4 * np.log10(1 + 0.00437 * 40.0)
    assert abs(int(power.mean(axis=0).argmax()) - int(number)) <= 1


# --- bass -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("midi", [28, 33, 38, 43, 50])
@pytest.mark.parametrize("cents", [0, 30])
def test_a_bass_note_is_read_to_a_few_cents_under_a_kick(midi: int, cents: int) -> None:
    t = np.arange(round(0.5 * RATE)) / RATE
    kick = 2 * np.exp(-t * 14) * np.sin(2 * np.pi * (45 * t + 6 * (1 - np.exp(-30 * t))))
    found = bass_notes((note(midi + cents / 100) + kick).astype(np.float32), RATE, np.array([0.0, 0.5]))
    assert found.pitch[0] == pytest.approx(midi + cents / 100, abs=0.12)


def test_each_beat_has_its_own_note_and_silence_none() -> None:
    line = np.concatenate([note(33), note(40), np.zeros(RATE // 2, np.float32), note(36)])
    found = bass_notes(line, RATE, np.arange(5) / 2)
    assert found.pitch[[0, 1, 3]] == pytest.approx([33, 40, 36], abs=0.1)
    assert np.isnan(found.pitch[2])
    assert strong(found, float(found.level.max())).tolist() == [True, True, False, True]


@pytest.mark.parametrize("seconds", [0.45, 0.5, 0.7])
def test_a_kick_fades_before_the_beat_is_over_and_a_plucked_string_does_not(seconds: float) -> None:
    t = np.arange(round(seconds * RATE)) / RATE
    kick = (np.exp(-t * 14) * np.sin(2 * np.pi * (49 * t + 6 * (1 - np.exp(-30 * t))))).astype(np.float32)
    lines = np.array([0.0, seconds])
    assert not bass_notes(kick, RATE, lines).held[0]
    assert bass_notes(note(33, seconds), RATE, lines).held[0]


def test_noise_and_scraps_have_no_bass_note() -> None:
    assert not strong(bass_notes(noise(), RATE, np.arange(5) / 2), 1.0).any()
    assert np.isnan(bass_notes(note(33), RATE, np.array([0.0, 0.05])).pitch[0])
    assert np.isnan(bass_notes(np.zeros(0, np.float32), RATE, np.array([0.0, 0.5])).pitch[0])


@given(st.integers(24, 50), st.integers(-24, 24), st.floats(-0.2, 0.2))
def test_minor_and_major_seconds_sevenths_and_the_tritone_clash_in_any_octave(
    low: int, interval: int, off: float
) -> None:
    expected = interval % 12 in (1, 2, 6, 10, 11) or -interval % 12 in (1, 2, 6, 10, 11)
    assert bool(clashes(np.array([float(low)]), np.array([low + interval + off]))[0]) is expected


@given(st.integers(24, 50), st.floats(0.26, 0.74))
def test_notes_that_mean_one_pitch_and_miss_it_clash(low: int, off: float) -> None:
    assert clashes(np.array([float(low)]), np.array([low + off]))[0]


def test_where_there_is_no_note_nothing_clashes() -> None:
    assert not clashes(np.array([np.nan, 40.0]), np.array([40.0, np.nan])).any()
