"""Key agreement falls with every wrong note and every cent, and noise has none."""

from __future__ import annotations

import numpy as np
import pytest

from engine.measures.key import estimate_key, key_agreement, pitches, tuning
from protocol.key import Key

RATE = 22_050
A_MINOR = ((9, 0, 4), (5, 9, 0), (0, 4, 7), (7, 11, 2))


def chords(semitones: float = 0.0, bars: int = 8) -> np.ndarray:
    """One second per chord of `A_MINOR`, raised by `semitones`, four partials a voice."""
    t = np.arange(RATE) / RATE
    out = []
    for bar in range(bars):
        notes = [48 + pitch + semitones for pitch in A_MINOR[bar % 4]] + [60 + A_MINOR[bar % 4][0] + semitones]
        tones = [np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * t) / k for note in notes for k in (1, 2, 3, 4)]
        out.append(np.sum(tones, axis=0) * np.exp(-2 * t))
    return (0.05 * np.concatenate(out)).astype(np.float32)


def agreement(signal: np.ndarray, key: str = "A minor", tuned: float = 0.0) -> float:
    found = key_agreement(pitches(signal, RATE), Key.parse(key), tuned, np.arange(0.5, 8, 0.5))
    return found.agreement if found else 0.0


def test_a_song_agrees_with_its_own_key_and_its_relative() -> None:
    assert agreement(chords()) > 0.8
    assert agreement(chords(), "C major") == pytest.approx(agreement(chords()))


def test_agreement_falls_with_every_cent_out_of_tune() -> None:
    values = [agreement(chords(cents / 100)) for cents in (0, 10, 20, 40, 60, 80, 100)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[2] > 0.25
    assert values[-1] < 0.0


def test_agreement_falls_with_the_distance_on_the_circle_of_fifths() -> None:
    values = [agreement(chords(), key) for key in ("A minor", "E minor", "B minor", "F# minor", "C# minor", "G# minor")]
    assert values == sorted(values, reverse=True)


def test_the_mean_over_all_transpositions_is_nothing() -> None:
    keys = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
    assert np.mean([agreement(chords(), f"{key} major") for key in keys]) == pytest.approx(0.0, abs=1e-9)


def test_the_transposition_that_would_fit_is_named() -> None:
    found = key_agreement(pitches(chords(2.0), RATE), Key.parse("A minor"), 0.0, np.arange(0.5, 8, 0.5))
    assert found is not None
    assert found.fits_transposed == -2


def test_tuning_is_read_to_two_cents() -> None:
    assert tuning(pitches(chords(0.17), RATE)) == pytest.approx(0.17, abs=0.02)
    assert tuning(pitches(chords(-0.31), RATE)) == pytest.approx(-0.31, abs=0.02)


def test_a_song_tuned_a_quarter_tone_off_is_in_tune_with_itself() -> None:
    assert agreement(chords(0.4), tuned=0.4) == pytest.approx(agreement(chords()), abs=0.05)


@pytest.mark.parametrize("semitones", [0, 3, 6, 10])
def test_the_key_is_estimated_up_to_its_relative(semitones: int) -> None:
    found = pitches(chords(semitones), RATE)
    minor = Key.from_pitch_class(9 + semitones, "minor")
    assert set(estimate_key(found, tuning(found)).scale) == set(minor.scale)


def test_white_noise_agrees_with_nothing_and_is_not_tonal() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(8 * RATE)).astype(np.float32)
    found = pitches(noise, RATE)
    assert found.tonal < 0.06
    assert pitches(chords(), RATE).tonal > 0.7
    assert abs(agreement(noise)) < 0.2


def test_silence_and_scraps_have_no_pitch() -> None:
    for signal in (np.zeros(RATE, np.float32), np.ones(50, np.float32)):
        assert pitches(signal, RATE).weight.size == 0
        assert key_agreement(pitches(signal, RATE), Key.parse("C"), 0.0, np.arange(3.0)) is None
