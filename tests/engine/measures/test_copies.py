"""An excerpt of the song is found wherever it is pasted, at any gain and any fraction of a sample; music is not one."""

from __future__ import annotations

import numpy as np
import pytest

from engine.measures.novelty import Copy, Fingerprint, fingerprint, longest_copy
from tests.support.songs import render_song

RATE = 44_100
SONG = render_song(("Am", "F", "C", "G", "Am", "Dm", "F", "G") * 2, rate=RATE).audio.mean(axis=0)
HEARD = fingerprint(SONG, RATE)
REST = render_song(("Am", "F", "C", "G") * 2, rate=RATE, seed=9).audio.mean(axis=0)[: 8 * RATE]


def copied(take: np.ndarray, song: tuple[Fingerprint, ...] = (HEARD,)) -> Copy:
    found = longest_copy(fingerprint(take.astype(np.float32), RATE), song)
    assert found is not None
    return found


def excerpt(start_s: float, seconds: float) -> np.ndarray:
    start = round(start_s * RATE)
    return SONG[start : start + round(seconds * RATE)]


def test_the_same_chords_played_again_are_no_copy() -> None:
    assert copied(REST).share < 0.1


@pytest.mark.parametrize("seconds", [1.0, 2.0, 4.0, 6.0, 8.0])
def test_the_length_of_an_excerpt_is_told(seconds: float) -> None:
    take = np.concatenate([excerpt(11.2347, seconds), REST[round(seconds * RATE) :]])
    found = copied(take)
    assert found.length_s == pytest.approx(seconds, abs=0.25)
    assert found.share == pytest.approx(seconds / 8, abs=0.05)


@pytest.mark.parametrize("gain", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5])
def test_gain_and_the_fraction_of_a_sample_do_not_hide_it(gain: float, frames: int) -> None:
    start = round(9.0 * RATE) + frames
    assert copied(gain * SONG[start : start + 4 * RATE]).share > 0.9


def test_a_loop_counts_whole_and_several_excerpts_count_singly() -> None:
    loop = np.tile(excerpt(5.3, 1.3), 6)
    assert copied(loop).length_s == pytest.approx(1.3, abs=0.15)
    assert copied(loop).share > 0.9
    pieces = np.concatenate([excerpt(start_s, 2.0) for start_s in (20.1, 3.2, 12.4, 26.3)])
    assert copied(pieces).share == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("seconds", [0.47, 0.65, 0.9])
def test_a_single_beat_pasted_again_and_again_counts_whole(seconds: float) -> None:
    beat = excerpt(5.3, seconds)
    assert copied(np.tile(beat, round(10 / seconds))).share > 0.75


def test_a_copy_under_something_quieter_is_still_a_copy() -> None:
    assert copied(excerpt(6.0, 4.0) + 0.2 * REST[: 4 * RATE]).share > 0.8


def test_it_is_found_in_the_second_stretch_and_not_in_the_absence_of_it() -> None:
    halves = fingerprint(SONG[: 16 * RATE], RATE), fingerprint(SONG[16 * RATE :], RATE)
    take = excerpt(20.0, 4.0)
    assert copied(take, halves).share > 0.9
    assert copied(take, halves[:1]).share < 0.2


def test_silence_and_scraps_are_nothing_to_compare() -> None:
    still = np.zeros(2 * RATE, np.float32)
    assert longest_copy(fingerprint(still, RATE), (HEARD,)) is None
    assert longest_copy(fingerprint(excerpt(3.0, 0.2), RATE), (HEARD,)) is None
    assert longest_copy(fingerprint(excerpt(3.0, 2.0), RATE), ()) is None
