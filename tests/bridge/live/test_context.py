"""What a phrase hears: music without rests that nobody played, at a level that does not run away."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.live.context import DRIFT_DB, MOST_PULL_DB, heard, held, level
from bridge.live.material import Filled, Material
from protocol.live import Filling, Slot
from protocol.music import TempoMap

RATE, BPM = 8_000, 120.0
BEAT = RATE // 2
MAP = TempoMap.constant(BPM)


def sound(beats: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (1, round(beats * BEAT))).astype(np.float32)


def material(phrase: int, audio: np.ndarray, follows: int = -1) -> Material:
    return Material(phrase, audio, audio.shape[1] / BEAT, RATE, audio[:, :0], "", "", follows)


def before(beat: float, leading: list[Filled], source: np.ndarray, base: np.ndarray, join: float) -> tuple:
    """Eight bars of 4/4 before `beat`; the source begins at beat 0."""
    span = (0.0, source.shape[1] / BEAT, source)
    return heard(beat, 8, leading, span, material(0, base), join, MAP, 1)


def test_nothing_is_heard_from_before_the_source_began() -> None:
    source = sound(8.0, 1)
    audio, first = before(8.0, [], source, source, 8.0)
    assert first == 0
    assert np.array_equal(audio, source)


@pytest.mark.parametrize("beats", [2.0, 3.0, 4.5, 9.0])
def test_up_to_the_join_the_end_of_a_source_that_is_too_short_is_repeated(beats: float) -> None:
    source = sound(beats, 1)
    base = source[:, : 4 * BEAT]
    audio, first = before(16.0, [], source, base, 16.0)
    assert (first, audio.shape[1]) == (0, 16 * BEAT)
    assert np.array_equal(audio[:, : source.shape[1]], source)
    assert np.array_equal(audio[:, -base.shape[1] :], base)
    per_beat = np.abs(audio).reshape(-1, BEAT // 2).max(axis=1)
    assert per_beat.min() > 0.0


def test_what_was_played_after_the_join_is_heard_as_it_was_and_the_source_before_it() -> None:
    source, phrase = sound(16.0, 1), sound(4.0, 2)
    filled = Filled(Slot(1, 16.0, 20.0, 5), Filling.PHRASE, material(1, phrase, 0))
    audio, first = before(20.0, [filled], source, source[:, -4 * BEAT :], 16.0)
    assert first == 0
    assert np.array_equal(audio, np.concatenate([source, phrase], axis=1))


def test_a_join_long_after_the_end_hears_bars_of_the_source_only_in_loops() -> None:
    source = sound(8.0, 1)
    base = source[:, -4 * BEAT :]
    audio, _ = before(400.0, [], source, base, 400.0)
    assert np.array_equal(audio, np.tile(base, (1, 8)))


def test_a_level_near_the_sources_is_left_alone() -> None:
    audio = sound(8.0, 1)
    assert held(audio, level(audio) + 0.9 * DRIFT_DB) is audio
    assert held(np.zeros_like(audio), -20.0) is not None
    assert held(audio, -np.inf) is audio


@pytest.mark.parametrize("bias_db", [0.08, -0.08, 0.2])
def test_small_errors_of_level_that_add_up_are_held(bias_db: float) -> None:
    """Every phrase comes out at the level that it hears, and a little beside."""
    played = sound(16.0, 1)
    source_db = level(played)
    for number in range(500):
        goal_db = level(held(played[:, -16 * BEAT :], source_db)) + bias_db
        phrase = sound(4.0, number + 2)
        phrase *= 10.0 ** ((goal_db - level(phrase)) / 20.0)
        played = np.concatenate([played[:, -16 * BEAT :], phrase], axis=1)
    assert abs(level(played) - source_db) < DRIFT_DB + 2.0


def test_no_phrase_is_far_from_what_was_played_just_before_it() -> None:
    audio = sound(8.0, 1)
    for off_db in (-40.0, -10.0, 10.0, 40.0):
        assert abs(level(held(audio, level(audio) + off_db)) - level(audio)) <= MOST_PULL_DB + 1e-6
