"""Clicks, changes and the places to compare them with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.measures.mel import mono, silence_power
from engine.measures.seam import change_db, click_db, percentile_of, same_places
from protocol.music import TempoMap, TimeSignature

RATE = 48_000


def tone(hertz: float = 220.0, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * t))[None].astype(np.float32)


def test_a_click_is_louder_the_bigger_the_step() -> None:
    values = []
    for step in (0.0, 0.003, 0.01, 0.03, 0.1, 0.3):
        broken = tone().copy()
        broken[:, RATE // 2 :] += step
        values.append(click_db(broken, RATE // 2, RATE))
    assert values == sorted(values)
    assert values[0] < 3.0
    assert values[2] > 15.0
    assert values[-1] > 45.0


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_click_at_an_arbitrary_place(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((2, RATE)).astype(np.float32) * 0.2
    assert click_db(noise, RATE // 2, RATE) < 6.0


def test_a_click_in_one_channel_is_enough() -> None:
    both = np.concatenate([tone(), tone(330)])
    both[1, RATE // 2 :] += 0.1
    assert click_db(both, RATE // 2, RATE) > 30.0


def test_silence_does_not_click() -> None:
    assert click_db(np.zeros((1, RATE), np.float32), RATE // 2, RATE) < 0.0


def test_change_is_small_inside_a_tone_and_large_where_another_begins() -> None:
    signal = np.concatenate([tone(), tone(700)], axis=1)[0]
    silence = silence_power(signal, RATE)
    inside, between = change_db(signal, np.array([RATE // 2, RATE]), RATE, silence, end=False)
    assert inside < 1.0
    assert between > 5.0


@pytest.mark.parametrize(("end", "offset_s"), [(False, 0.05), (True, -0.05)])
def test_change_is_looked_for_inside_the_region(end: bool, offset_s: float) -> None:
    signal = np.concatenate([tone(), tone(700)], axis=1)[0]
    silence = silence_power(signal, RATE)
    edge = RATE * (1 - offset_s)
    right = change_db(signal, np.array([edge]), RATE, silence, end=end)[0]
    at_it = change_db(signal, np.array([RATE]), RATE, silence, end=end)[0]
    assert right == pytest.approx(at_it, rel=0.3)


def test_the_same_place_is_a_bar_further_and_keeps_its_fraction() -> None:
    tempo_map = TempoMap.constant(120, TimeSignature(3, 4))
    assert same_places(tempo_map, 6.2, (0.0, 12.0), every_count=False) == pytest.approx(
        [0.2, 1.7, 3.2, 4.7, 7.7, 9.2, 10.7]
    )
    counts = same_places(tempo_map, 6.2, (5.0, 8.0), every_count=True)
    assert counts == pytest.approx([5.2, 5.7, 6.7, 7.2, 7.7])


def test_bars_of_another_signature_are_no_comparison() -> None:
    tempo_map = TempoMap.from_flat([0, 120, 4, 4, 0, 8, 120, 3, 4, 0])
    assert same_places(tempo_map, 4.0, (0.0, 20.0), every_count=False) == pytest.approx([0.0, 2.0, 6.0])


@given(
    st.floats(0, 200),
    st.sampled_from([TempoMap.constant(97.53), TempoMap.from_flat([0, 90, 4, 4, 1, 99, 140, 4, 4, 0])]),
)
def test_same_places_lie_in_the_span_and_never_on_the_edge_itself(edge_s: float, tempo_map: TempoMap) -> None:
    span = (max(0.0, edge_s - 24), edge_s + 24)
    times = same_places(tempo_map, edge_s, span, every_count=False)
    assert times
    assert all(span[0] <= time_s < span[1] and abs(time_s - edge_s) > 1e-3 for time_s in times)


def test_percentile_counts_equals_half() -> None:
    among = np.array([1.0, 2.0, 2.0, 3.0])
    assert [percentile_of(value, among) for value in (0.0, 2.0, 9.0)] == [0.0, 50.0, 100.0]


def test_a_mix_whose_channels_cancel_is_heard_in_its_first_channel() -> None:
    assert np.array_equal(mono(np.concatenate([tone(), -tone()])), tone()[0])
