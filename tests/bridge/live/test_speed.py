"""bridge/live/speed.py: predictions that deadlines can be built on."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.speed import DEVIATIONS, FORGET_AFTER, GUESSES, OVERHEAD_MUSIC_S, WINDOW, Speed

MUSIC_S = 8.0
SECONDS = st.floats(0.01, 1000.0)


def measured(*times: float, quality: int = 0) -> Speed:
    speed = Speed()
    for took_s in times:
        speed.measured(quality, MUSIC_S, took_s)
    return speed


def test_before_anything_is_measured_the_guesses_hold_and_lower_steps_are_faster():
    speed = Speed()
    assert speed.predicted_s(0, MUSIC_S) == pytest.approx(GUESSES[0] * (MUSIC_S + OVERHEAD_MUSIC_S))
    steps = [speed.predicted_s(quality, MUSIC_S) for quality in range(6)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 6


@given(st.lists(SECONDS, min_size=WINDOW, max_size=40))
def test_it_is_cautious_within_the_range_of_what_was_measured(times: list[float]):
    speed = measured(*times)
    recent = times[-WINDOW:]
    typical, predicted = speed.typical_s(0, MUSIC_S), speed.predicted_s(0, MUSIC_S)
    assert min(recent) - 1e-9 <= typical <= max(recent) + 1e-9
    assert typical < predicted <= typical + DEVIATIONS * max(max(recent) - min(recent), 0.05 * typical) + 1e-9


def test_few_phrases_take_longer_than_predicted():
    generator = random.Random(4)
    speed, late = Speed(), 0
    for _ in range(500):
        took_s = generator.gauss(4.0, 0.6)
        late += took_s > speed.predicted_s(0, MUSIC_S)
        speed.measured(0, MUSIC_S, took_s)
    assert late < 500 * 0.1
    assert speed.predicted_s(0, MUSIC_S) < 4.0 + 4 * 0.6


def test_one_measurement_is_trusted_less_than_many_equal_ones():
    assert measured(4.0).predicted_s(0, MUSIC_S) > measured(*[4.0] * 8).predicted_s(0, MUSIC_S) * 1.5


def test_a_single_hiccup_says_nothing():
    steady, once = measured(*[4.0] * 6), measured(*[4.0] * 3, 60.0, *[4.0] * 2)
    assert once.typical_s(0, MUSIC_S) == pytest.approx(steady.typical_s(0, MUSIC_S))
    assert once.predicted_s(0, MUSIC_S) < 1.1 * steady.predicted_s(0, MUSIC_S)


def test_a_machine_that_became_slow_is_believed_after_a_few_phrases():
    speed = measured(*[2.0] * WINDOW, *[8.0] * 3)
    assert speed.predicted_s(0, MUSIC_S) > 8.0
    assert measured(*[2.0] * WINDOW, *[8.0] * WINDOW).typical_s(0, MUSIC_S) == pytest.approx(8.0)


@given(SECONDS, st.floats(0.2, 120.0), st.floats(0.2, 120.0))
def test_longer_music_takes_longer_but_not_less_than_its_share_of_what_any_phrase_costs(
    took_s: float, one_s: float, other_s: float
):
    speed = Speed()
    speed.measured(0, MUSIC_S, took_s)
    short, long = sorted((one_s, other_s))
    assert speed.predicted_s(0, short) <= speed.predicted_s(0, long)
    assert speed.predicted_s(0, long) * short <= speed.predicted_s(0, short) * long * (1 + 1e-9)


def test_a_step_that_was_not_measured_is_taken_from_its_neighbour():
    speed = measured(*[10.0] * 8)
    assert speed.typical_s(1, MUSIC_S) == pytest.approx(10.0 * GUESSES[1] / GUESSES[0])
    speed.measured(2, MUSIC_S, 1.0)
    assert speed.typical_s(3, MUSIC_S) == pytest.approx(0.5)


def test_a_step_out_of_use_is_forgotten_with_its_largest_cost_first():
    speed = measured(2.0, 2.0, 30.0, 30.0, 30.0)
    slow = speed.typical_s(0, MUSIC_S)
    for _ in range(FORGET_AFTER * 3):
        speed.measured(1, MUSIC_S, 1.0)
    assert slow > 15.0
    assert speed.typical_s(0, MUSIC_S) == pytest.approx(2.0)


def test_a_step_that_disappoints_again_and_again_is_tried_ever_more_rarely():
    speed, tried = Speed(), []
    for phrase in range(400):
        if speed.typical_s(0, MUSIC_S) < MUSIC_S:
            tried.append(phrase)
            speed.measured(0, MUSIC_S, 30.0)
        else:
            speed.measured(1, MUSIC_S, 2.0)
    gaps = [after - before for before, after in pairwise(tried[1:])]
    assert len(tried) >= 5
    assert all(after >= 1.9 * before for before, after in pairwise(gaps))


@pytest.mark.parametrize("took_s", [float("nan"), float("inf"), -1.0])
def test_what_cannot_be_a_measurement_is_not_one(took_s: float):
    assert measured(took_s).predicted_s(0, MUSIC_S) == Speed().predicted_s(0, MUSIC_S)
