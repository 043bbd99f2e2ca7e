"""The DAW's numbers are law: seconds, beats, bars and samples convert into each other exactly."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import BadArgument
from protocol.music import GridLine, Region, TempoMap, TempoPoint, TimeSignature, checked_rate, merge

TEN_HOURS_S = 36_000.0
RATES = [8_000, 44_100, 48_000, 88_200, 96_000, 192_000]

bpms = st.floats(20.0, 400.0)
signatures = st.builds(TimeSignature, st.integers(1, 15), st.sampled_from([2, 4, 8, 16]))


@st.composite
def tempo_maps(draw: st.DrawFn) -> TempoMap:
    """Arbitrary maps: steps, ramps and meter changes, starting before, at or after 0 s, spread over ten hours."""
    count = draw(st.integers(1, 12))
    start = draw(st.sampled_from([0.0, -7.25, 3.5]))
    gaps = draw(st.lists(st.floats(0.05, TEN_HOURS_S / 12), min_size=count - 1, max_size=count - 1))
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap)
    return TempoMap(
        tuple(TempoPoint(t, draw(bpms), draw(signatures), draw(st.booleans()), draw(st.booleans())) for t in times)
    )


@given(tempo_maps(), st.floats(-100.0, TEN_HOURS_S), st.sampled_from(RATES))
def test_seconds_to_beats_and_back_lands_on_the_same_sample_over_ten_hours(
    tempo_map: TempoMap, time_s: float, rate: int
) -> None:
    back = tempo_map.time_at(tempo_map.beat_at(time_s))
    assert abs(back - time_s) * rate < 0.01
    assert round(round(time_s * rate) / rate * rate) == round(time_s * rate)


@given(tempo_maps(), st.integers(0, int(TEN_HOURS_S) * 48_000))
def test_a_sample_survives_the_trip_through_beats(tempo_map: TempoMap, frame: int) -> None:
    assert round(tempo_map.time_at(tempo_map.beat_at(frame / 48_000)) * 48_000) == frame


@given(tempo_maps(), st.floats(-10.0, 40_000.0), st.floats(1e-3, 1000.0))
def test_beats_rise_with_time(tempo_map: TempoMap, time_s: float, later_s: float) -> None:
    assert tempo_map.beat_at(time_s + later_s) > tempo_map.beat_at(time_s)


@given(tempo_maps(), st.integers(-50, 2000))
def test_bar_starts_and_bar_positions_agree(tempo_map: TempoMap, bar: int) -> None:
    bar_at, into = tempo_map.bar_at(tempo_map.bar_start(bar))
    assert bar_at == bar
    assert into == pytest.approx(0.0, abs=1e-6)


@given(tempo_maps(), st.floats(-20.0, 5000.0), st.floats(0.5, 30.0))
def test_the_grid_is_in_order_and_counts_through_every_bar(tempo_map: TempoMap, start_s: float, span_s: float) -> None:
    lines = list(tempo_map.grid(start_s, start_s + span_s))
    for before, after in pairwise(lines):
        assert before.time_s < after.time_s
        assert (after.bar, after.count) in {(before.bar, before.count + 1), (before.bar + 1, 1)}
    for line in lines:
        assert start_s - 1e-3 <= line.time_s < start_s + span_s + 1e-3
        if line.is_bar_line:
            assert tempo_map.bar_start(line.bar) == pytest.approx(line.time_s, abs=1e-6)


@given(bpms, st.integers(0, 20_000))
def test_a_constant_tempo_equals_rational_arithmetic(bpm: float, beat: int) -> None:
    exact = Fraction(beat) * 60 / Fraction(bpm)
    assert TempoMap.constant(bpm).time_at(beat) == pytest.approx(float(exact), rel=1e-14)


def test_fractional_tempo_is_not_rounded() -> None:
    bars_16 = TempoMap.constant(127.5).bar_start(17)
    assert bars_16 == pytest.approx(64 * 60 / 127.5, abs=1e-12)
    assert abs(bars_16 - 64 * 60 / 128) > 0.117


@given(st.floats(20, 400), st.floats(20, 400), st.floats(0.1, 600))
def test_a_linear_ramp_passes_the_mean_tempo(bpm_a: float, bpm_b: float, length_s: float) -> None:
    ramp = TempoMap.from_flat([0.0, bpm_a, 4, 4, 1, length_s, bpm_b, 4, 4, 0])
    assert ramp.beat_at(length_s) == pytest.approx((bpm_a + bpm_b) / 2 * length_s / 60, rel=1e-12)
    assert ramp.bpm_at(length_s / 2) == pytest.approx((bpm_a + bpm_b) / 2, rel=1e-12)


def test_a_meter_change_begins_a_new_bar_and_may_cut_the_one_before() -> None:
    tempo_map = TempoMap.from_flat([0, 120, 4, 4, 0, 5.0, 120, 3, 4, 0])  # 5 s = 10 beats = 2.5 bars of four
    assert tempo_map.bar_start(3) == pytest.approx(4.0)
    assert tempo_map.bar_start(4) == pytest.approx(5.0)
    assert tempo_map.bar_start(5) == pytest.approx(6.5)
    assert [(g.bar, g.count) for g in tempo_map.grid(4.0, 6.5)] == [(3, 1), (3, 2), (4, 1), (4, 2), (4, 3)]


def test_a_point_may_begin_a_bar_without_a_change_of_meter() -> None:
    plain = TempoMap.constant(120)
    again = TempoMap((*plain.points, TempoPoint(5.0, 120, new_bar=True)))
    assert [again.bar_start(bar) for bar in (3, 4, 5)] == pytest.approx([4.0, 5.0, 7.0])
    assert [(g.bar, g.count) for g in again.grid(4.5, 6.0)] == [(3, 2), (4, 1), (4, 2)]
    assert again.with_signature(TimeSignature(3, 4)).bar_start(5) == pytest.approx(5.0)
    on_a_line = TempoMap((*plain.points, TempoPoint(6.0, 120, new_bar=True)))
    assert [on_a_line.bar_start(bar) for bar in range(1, 9)] == [plain.bar_start(bar) for bar in range(1, 9)]


@given(st.floats(30, 300), st.integers(1, 64), st.sampled_from([44_100, 48_000, 96_000]), st.integers(1, 200))
def test_bars_from_a_bar_line_end_on_a_bar_line_even_if_rounded_to_a_sample(
    bpm: float, bars: int, rate: int, bar: int
) -> None:
    tempo_map = TempoMap.constant(bpm)
    on_a_sample = round(tempo_map.bar_start(bar) * rate) / rate
    assert tempo_map.bars_from(on_a_sample, bars) == tempo_map.bar_start(bar + bars)
    assert tempo_map.bars_from(on_a_sample, -bars) == tempo_map.bar_start(bar - bars)


@given(st.floats(30, 300), st.floats(0.125, 64), st.floats(0, 500))
def test_bars_off_the_grid_have_their_length(bpm: float, bars: float, time_s: float) -> None:
    length = TempoMap.constant(bpm).bars_from(time_s, bars) - time_s
    assert length == pytest.approx(bars * 4 * 60 / bpm, abs=0.0011)


def test_six_eight_counts_eighths_and_its_bar_is_three_quarters() -> None:
    tempo_map = TempoMap.constant(90, TimeSignature(6, 8))
    assert tempo_map.bar_start(2) == pytest.approx(3 * 60 / 90)
    assert [g.count for g in tempo_map.grid(0, tempo_map.bar_start(2))] == [1, 2, 3, 4, 5, 6]


def test_the_first_tempo_holds_before_its_point() -> None:
    tempo_map = TempoMap((TempoPoint(2.0, 60.0), TempoPoint(4.0, 120.0)))
    assert tempo_map.beat_at(0.0) == 0.0
    assert tempo_map.beat_at(-3.0) == pytest.approx(-3.0)
    assert tempo_map.beat_at(5.0) == pytest.approx(6.0)
    assert tempo_map.bar_start(0) == pytest.approx(-4.0)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0, 120, 4, 4],
        [0, 0, 4, 4, 0],
        [0, math.nan, 4, 4, 0],
        [0, math.inf, 4, 4, 0],
        [math.nan, 120, 4, 4, 0],
        [0, 120, 4, 3, 0],
        [0, 120, 0, 4, 0],
        [0, 120, 4.5, 4, 0],
        [0, 120, 4, 4, 2],
        [1, 120, 4, 4, 0, 1, 121, 4, 4, 0],
        [2, 120, 4, 4, 0, 1, 121, 4, 4, 0],
    ],
)
def test_an_impossible_tempo_map_is_refused_in_words(values: list[float]) -> None:
    with pytest.raises(BadArgument):
        TempoMap.from_flat(values)


# --- regions ----------------------------------------------------------------------------------------------------------
@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9), st.sampled_from(RATES))
@example(35_999 * 192_000, 1, 192_000)
def test_a_region_given_in_samples_comes_back_in_the_same_samples(start: int, length: int, rate: int) -> None:
    assert Region.from_frames(start, start + length, rate).frames(rate) == (start, start + length)


@given(st.floats(0, TEN_HOURS_S), st.floats(0.01, 600), st.sampled_from(RATES))
def test_a_region_has_the_length_the_contract_says(start_s: float, length_s: float, rate: int) -> None:
    region = Region(start_s, start_s + length_s)
    start, end = region.frames(rate)
    assert end - start == round(region.end_s * rate) - round(region.start_s * rate)


@given(tempo_maps(), st.integers(-3, 500), st.integers(1, 64))
def test_a_region_of_bars_begins_and_ends_on_bar_lines(tempo_map: TempoMap, first: int, count: int) -> None:
    region = Region.from_bars(tempo_map, first, count)
    assert region.start_s == tempo_map.bar_start(first)
    assert region.end_s == tempo_map.bar_start(first + count)


def test_regions_are_named_as_people_name_them() -> None:
    tempo_map = TempoMap.constant(120)
    assert Region(32.0, 40.0).label(tempo_map) == "bars-17-20"
    assert Region(32.0, 34.0).label(tempo_map) == "bar-17"
    assert Region(32.0 - 1e-5, 34.0 + 1e-5).label(tempo_map) == "bar-17"  # as a sample position may give it
    assert Region(-2.0, 0.0).label(tempo_map) == "bar-0"
    assert Region(32.5, 40.129).label(tempo_map) == "32.50s-40.13s"


@pytest.mark.parametrize(("start_s", "end_s"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_an_empty_or_endless_region_is_refused(start_s: float, end_s: float) -> None:
    with pytest.raises(BadArgument):
        Region(start_s, end_s)


def test_overlapping_regions_are_refused_and_others_are_put_in_order() -> None:
    a, b = Region(4, 6), Region(0, 4)
    assert merge([a, b]) == (b, a)
    with pytest.raises(BadArgument, match="overlap"):
        merge([a, Region(5, 7)])


@pytest.mark.parametrize("rate", [0, -48_000, 999, 10**7])
def test_an_impossible_sample_rate_is_refused(rate: int) -> None:
    with pytest.raises(BadArgument):
        checked_rate(rate)


def test_a_grid_line_knows_if_it_begins_a_bar() -> None:
    assert GridLine(0.0, 1, 1).is_bar_line
    assert not GridLine(0.5, 1, 2).is_bar_line
