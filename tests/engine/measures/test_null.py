"""The null test finds what it is for: anything that changes outside the region."""

from __future__ import annotations

import numpy as np
import pytest

from engine.measures.null import null_test
from engine.window import make_window
from tests.support.audio import ArraySource, noise

RATE = 48_000
SOURCE = ArraySource(noise(3 * RATE), RATE)
REGION = (RATE, 2 * RATE)
WINDOW = make_window(SOURCE, REGION, RATE // 2, RATE // 2)


def _take() -> np.ndarray:
    take = noise(RATE, seed=1)
    take[:, 0], take[:, -1] = SOURCE.audio[:, RATE], SOURCE.audio[:, 2 * RATE - 1]
    return take


def test_an_exact_take_changes_nothing_outside_and_everything_inside():
    told = null_test(_take(), REGION, WINDOW)
    assert (told["outside_peak"], told["first"], told["last"]) == (0.0, True, True)
    assert told["inside_db"] == pytest.approx(3.0, abs=0.2)  # two unlike noises of one level


def test_a_take_that_is_one_sample_too_long_is_found_out():
    assert null_test(np.pad(_take(), ((0, 0), (0, 1))), REGION, WINDOW)["outside_peak"] > 0.0


def test_an_edge_that_is_off_by_one_bit_is_found_out():
    take = _take()
    take[0, 0] = np.nextafter(take[0, 0], np.float32(1.0))
    assert null_test(take, REGION, WINDOW)["first"] is False


def test_the_original_itself_leaves_nothing():
    told = null_test(SOURCE.audio[:, RATE : 2 * RATE], REGION, WINDOW)
    assert (told["outside_peak"], told["inside_db"]) == (0.0, None)


@pytest.mark.parametrize("region", [(3 * RATE, 4 * RATE), (-RATE, 0)])
def test_beyond_the_source_there_is_nothing_to_change(region: tuple[int, int]):
    told = null_test(noise(RATE), region, make_window(SOURCE, region, RATE // 2, RATE // 2))
    assert told == {"outside_peak": 0.0, "first": None, "last": None, "inside_db": None}
