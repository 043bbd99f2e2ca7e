"""Loudness after BS.1770, and likeness."""

from __future__ import annotations

import numpy as np
import pytest

from engine.loudness import loudness_lufs, peak_dbfs
from engine.measures.novelty import fingerprint, similarity
from tests.support.songs import render_song

RATE = 48_000


def sine(seconds: float, amplitude: float = 1.0, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.tile(amplitude * np.sin(2 * np.pi * 997 * t), (channels, 1)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.39999, 0.4, 3.0])
def test_a_full_scale_sine_reads_minus_three_lufs_at_any_length(seconds: float) -> None:
    # BS.1770-4: a 0 dBFS sine of 997 Hz in one channel is -3.01 LKFS.
    assert loudness_lufs(sine(seconds), RATE) == pytest.approx(-3.01, abs=0.35 if seconds < 0.1 else 0.1)


@pytest.mark.parametrize("db", [-3.0, -6.0, -9.0])
def test_gain_moves_loudness_and_peak_by_as_much(db: float) -> None:
    quiet, loud = sine(2, 10 ** (db / 20), 2), sine(2, 1.0, 2)
    assert loudness_lufs(quiet, RATE) == pytest.approx(loudness_lufs(loud, RATE) + db, abs=0.01)  # type: ignore[operator]
    assert peak_dbfs(quiet) == pytest.approx(db, abs=0.01)


def test_silence_and_scraps_have_no_loudness() -> None:
    assert loudness_lufs(np.zeros((2, RATE), np.float32), RATE) is None
    assert loudness_lufs(sine(0.01), RATE) is None
    assert peak_dbfs(np.zeros((2, 0), np.float32)) is None


def test_more_channels_than_the_standard_knows_are_measured_by_the_first_five() -> None:
    assert loudness_lufs(sine(1, 0.5, 8), RATE) == pytest.approx(loudness_lufs(sine(1, 0.5, 5), RATE))


def test_a_copy_is_a_copy_at_any_gain_and_another_bar_is_less_like_it() -> None:
    song = render_song(("Am", "F", "C", "G"))
    bars = [song.audio.mean(axis=0)[slice(*song.frames_of_bars(bar, 1))] for bar in (1, 2)]
    first, second, quiet = (fingerprint(bar, song.rate) for bar in (*bars, bars[0] * np.float32(0.5)))
    assert similarity(first, quiet) == pytest.approx(1.0, abs=0.01)
    assert similarity(first, second) < 0.7  # type: ignore[operator]


def test_a_copy_a_few_milliseconds_off_is_still_a_copy() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    late, other = np.roll(noise, round(0.006 * RATE)), np.random.default_rng(1).standard_normal(2 * RATE)
    assert similarity(fingerprint(noise, RATE), fingerprint(late, RATE)) > 0.95  # type: ignore[operator]
    assert similarity(fingerprint(noise, RATE), fingerprint(other.astype(np.float32), RATE)) < 0.1  # type: ignore[operator]


def test_what_is_missing_silent_or_a_scrap_is_like_nothing() -> None:
    still = fingerprint(np.zeros(RATE, np.float32), RATE)
    assert similarity(still, still) is None
    assert similarity(None, still) is None
    assert fingerprint(np.zeros(5, np.float32), RATE).size == 0
