"""Hiss between the notes is told from what the song itself does, and from loudness."""

from __future__ import annotations

import numpy as np
import pytest

from engine.measures.noise import SongFloor, noise, song_floor
from engine.measures.scoring import score, subscores
from engine.report import measure
from protocol.vocabulary import Verb
from tests.support.corpus import song
from tests.support.judged import falling

RATE = 22_050
NAMES = ("ballad-92", "waltz-144", "shuffle-108")


def hiss(frames: int, level: float) -> np.ndarray:
    return (level * np.random.default_rng(3).standard_normal(frames)).astype(np.float32)


def floor(*signals: np.ndarray) -> SongFloor:
    found = song_floor(signals, RATE)
    assert found is not None
    return found


def over_db(take: np.ndarray, beside: SongFloor) -> float:
    found = noise(take, RATE, beside)
    assert found is not None
    return found.over_db


@pytest.mark.parametrize("name", NAMES)
def test_the_more_it_hisses_the_higher_its_floor_and_no_other_bar_of_the_song_does(name: str) -> None:
    heard = song(name, RATE)
    mix = heard.mix.mean(axis=0)
    first, after = heard.frames_of_bars(9, 4)
    own, beside = mix[first:after], floor(mix[:first], mix[after:])
    level = float(np.sqrt(np.square(own).mean()))
    hissing = [own + hiss(own.size, level * 10 ** (db / 20)) for db in (0, -10, -20, -30)]
    floors = [over_db(take, beside) for take in hissing]
    assert falling(floors)
    assert floors[2] > 8.0, "20 dB below the music is heard"
    for bar in (1, 5, 13, 17):
        start = heard.frames_of_bars(bar, 4)[0]
        assert over_db(mix[start : start + own.size], beside) < 3.0


def test_a_gain_is_no_noise() -> None:
    mix = song("ballad-92", RATE).mix.mean(axis=0)
    beside = floor(mix)
    for gain in (0.1, 0.5, 2.0, 8.0):
        assert over_db(gain * mix[: 8 * RATE], beside) < 1.0


def test_noise_is_no_fault_where_the_song_is_made_of_it() -> None:
    sea = hiss(10 * RATE, 0.1)
    assert over_db(hiss(4 * RATE, 0.1), floor(sea)) < 1.0


def test_silence_and_scraps_are_nothing_to_compare() -> None:
    assert song_floor([np.zeros(RATE, np.float32), np.zeros(10, np.float32)], RATE) is None
    assert noise(np.zeros(100, np.float32), RATE, floor(hiss(RATE, 0.1))) is None
    assert noise(np.zeros(RATE, np.float32), RATE, floor(hiss(RATE, 0.1))) is None, "silence is no merit"


@pytest.mark.parametrize("name", NAMES)
def test_hiss_costs_a_take_more_than_it_gains_by_hiding_what_it_copies(name: str) -> None:
    heard = song(name, RATE)
    request = heard.request(Verb.REPAINT, 9, 4)
    own = heard.mix[:, slice(*request.region)]
    noisy = np.random.default_rng(1).standard_normal(own.shape) * np.sqrt(np.square(own).mean())
    measured = [
        measure(
            (own + noisy * 10 ** (db / 20)).astype(np.float32),
            region=request.region,
            rate=RATE,
            request=request,
            spliced_gain_db=0.0,
        )
        for db in (-60, -10, 0)
    ]
    parts = [subscores(one)["noise"] for one in measured]
    assert parts[0] == pytest.approx(1.0, abs=0.05)
    assert max(parts[1:]) < 0.2
    assert falling([score(one) for one in measured])
