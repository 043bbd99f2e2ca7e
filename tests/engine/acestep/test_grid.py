"""Latent windows: every region covered, nothing invented in the context, exact at every rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.grid import (
    BUCKET,
    LIMIT_FRAMES,
    MIN_WINDOW_S,
    STEMS_WINDOW_S,
    LatentWindow,
    aligned,
    bucketed,
    groups,
    latent_span,
    plan,
    project_position,
    project_span,
)
from protocol.errors import EngineCannot

RATES = st.one_of(
    st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000]),
    st.integers(8000, 192_000),
)
KINDS = ("inside", "extend", "prepend")


@dataclass(frozen=True)
class Case:
    regions: tuple[tuple[int, int], ...]
    rate: int
    source: int
    context: tuple[int, int]

    def plan(self) -> LatentWindow:
        return plan(self.regions, self.rate, self.source, self.context)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rate = draw(RATES)
    source = draw(st.integers(max(1, rate // 10), 600 * rate))
    kind = draw(st.sampled_from(KINDS))
    longest = draw(st.sampled_from([1, 10, 90])) * rate
    if kind == "inside":
        first = draw(st.integers(0, source - 1))
        after = draw(st.integers(first + 1, min(source, first + longest)))
        cut = draw(st.integers(first, after - 1))
        regions = ((first, after),) if cut == first else ((first, cut), (cut, after))
    elif kind == "extend":
        first = draw(st.integers(max(1, source - longest), source))
        regions = ((first, source + draw(st.integers(1, longest))),)
    else:
        after = draw(st.integers(0, min(source - 1, longest)))
        regions = ((-draw(st.integers(1, longest)), after),)
    context = (draw(st.integers(0, 40 * rate)), draw(st.integers(0, 40 * rate)))
    return Case(regions, rate, source, context)


def mask_of(window: LatentWindow) -> np.ndarray:
    mask = np.zeros(window.frames, bool)
    for first, last in window.masked():
        mask[first:last] = True
    return mask


# --- positions --------------------------------------------------------------------------------------------------------
@given(RATES, st.integers(-(10**8), 10**8), st.integers(1, 10**7))
def test_a_latent_span_holds_its_region_and_not_a_frame_more(rate: int, first: int, frames: int) -> None:
    k0, k1 = latent_span((first, first + frames), rate)
    assert project_position(k0, rate) <= first < project_position(k0 + 1, rate)
    assert project_position(k1 - 1, rate) < first + frames <= project_position(k1, rate)
    p0, p1 = project_span((k0, k1), rate)
    assert p0 <= first
    assert first + frames <= p1


@given(RATES, st.integers(-(10**5), 10**5), st.integers(0, 1000), st.integers(0, 1000))
def test_latent_spans_that_meet_meet_in_project_frames(rate: int, first: int, one: int, two: int) -> None:
    a, b = project_span((first, first + one), rate), project_span((first + one, first + one + two), rate)
    assert a[1] == b[0]


@given(RATES, st.integers(-(10**5), 10**5))
def test_aligned_latents_begin_on_whole_project_frames(rate: int, latent: int) -> None:
    found = aligned(latent, rate)
    assert latent - 25 < found <= latent
    assert project_position(found, rate).denominator == 1
    assert not any(project_position(k, rate).denominator == 1 for k in range(found + 1, latent + 1))


# --- one window -------------------------------------------------------------------------------------------------------
@given(cases())
def test_the_window_is_even_and_a_multiple_of_the_bucket_and_within_the_models_limits(case: Case) -> None:
    window = case.plan()
    assert window.start % 2 == 0
    assert window.frames % BUCKET == 0
    assert MIN_WINDOW_S * 25 <= window.frames <= LIMIT_FRAMES
    assert window.duration_s == window.frames / 25


@given(cases())
def test_every_region_is_covered_outward_and_masked(case: Case) -> None:
    window = case.plan()
    mask = mask_of(window)
    assert len(window.regions) == len(case.regions)
    for region, (first, last) in zip(case.regions, window.regions, strict=True):
        assert 0 <= first < last <= window.frames
        assert (window.start + first, window.start + last) == latent_span(region, case.rate)
        assert mask[first:last].all()


@given(cases())
def test_the_index_is_the_source_where_there_is_source_and_copies_are_exactly_periodic(case: Case) -> None:
    window = case.plan()
    index, frames = window.index(), np.arange(window.start, window.start + window.frames)
    real = (frames >= 0) & (frames < window.source_frames)
    assert window.source_frames == math.ceil(Fraction(case.source * 25, case.rate))
    np.testing.assert_array_equal(index[real], frames[real])
    copies = ~real & (index >= 0)
    if window.loop is None:
        assert not copies.any()
        return
    period = window.loop[1]
    assert window.loop[0] == 0
    assert period == 1 or abs(period - Fraction(case.source * 25, case.rate)) <= Fraction(1, 2)
    np.testing.assert_array_equal(index[copies], frames[copies] % period)


@given(cases())
def test_what_is_not_invented_is_source_and_never_the_region_or_a_copy_of_it(case: Case) -> None:
    window = case.plan()
    index = window.index()
    kept = ~mask_of(window)
    assert (index[kept] >= 0).all(), "no silence is given to the model as if it were music"
    for region in case.regions:
        first, last = latent_span(region, case.rate)
        assert not ((index[kept] >= first) & (index[kept] < last)).any()


@given(cases())
def test_beyond_the_source_lie_only_regions_copies_of_short_material_and_rounding(case: Case) -> None:
    window = case.plan()
    silent = window.index() < 0
    for first, last in window.regions:
        silent[first:last] = False
    assert np.count_nonzero(silent) < max(BUCKET, window.frames // 5) + 2


@given(cases())
def test_a_source_is_looped_only_if_region_and_context_do_not_find_room_in_it(case: Case) -> None:
    window = case.plan()
    first = min(latent_span(region, case.rate)[0] for region in case.regions)
    last = max(latent_span(region, case.rate)[1] for region in case.regions)
    room = max(last, window.source_frames) - min(first, 0)
    if window.loop is not None:
        assert room < window.frames
    elif room >= window.frames + 4:
        inside = window.index() >= 0
        for a, b in window.regions:
            inside[a:b] = True
        # A region may begin or end on an odd frame.
        assert np.count_nonzero(~inside) <= 2


@given(cases())
def test_the_context_asked_for_is_there_where_the_source_has_it(case: Case) -> None:
    window = case.plan()
    first = min(region[0] for region in window.regions)
    last = max(region[1] for region in window.regions)
    before, after = (math.ceil(Fraction(frames * 25, case.rate)) for frames in case.context)
    if window.start + first <= 0:
        before = 0
    if window.start + last >= window.source_frames:
        after = 0
    exists_before = max(0, window.start + first)
    exists_after = max(0, window.source_frames - window.start - last)
    assert first >= min(before, exists_before)
    assert window.frames - last >= min(after, exists_after)


@given(cases())
def test_an_extension_ends_with_its_window_and_a_prelude_begins_with_it(case: Case) -> None:
    window = case.plan()
    first = min(region[0] for region in window.regions)
    last = max(region[1] for region in window.regions)
    if window.start + last > window.source_frames and window.start + first >= 0:
        assert window.frames - last <= 1
    if window.start + first < 0:
        assert first <= 1


@given(cases())
def test_nothing_but_the_arguments_counts(case: Case) -> None:
    assert case.plan() == case.plan()


@given(RATES, st.integers(1, 20))
def test_in_the_middle_the_window_moves_with_the_region_however_long_the_song(rate: int, patches: int) -> None:
    near = plan([(300 * rate, 308 * rate)], rate, 600 * rate, (10 * rate,) * 2)
    moved = ((300 + 2 * patches) * rate, (308 + 2 * patches) * rate)
    far = plan([moved], rate, 660 * rate, (10 * rate,) * 2)
    assert (far.start - near.start, far.frames, far.regions) == (50 * patches, near.frames, near.regions)


def test_eight_seconds_in_a_long_song_cost_eight_seconds_and_context() -> None:
    window = plan([(100 * 48_000, 108 * 48_000)], 48_000, 240 * 48_000, (480_000, 480_000))
    assert (window.start, window.frames, window.regions, window.loop) == (90 * 25, 28 * 25, ((250, 450),), None)
    assert window.masked() == ((250, 450),)


def test_at_the_songs_end_the_window_grows_into_the_song() -> None:
    window = plan([(235 * 44_100, 240 * 44_100)], 44_100, 240 * 44_100, (88_200, 88_200))
    assert (window.start, window.frames, window.regions) == (230 * 25, 250, ((125, 250),))


def test_short_material_is_looped_around_the_region() -> None:
    """4 s, of which the second is repainted, with 10 s of context on both sides."""
    window = plan([(48_000, 96_000)], 48_000, 4 * 48_000, (480_000, 480_000))
    assert window.loop == (0, 100)
    assert window.frames == 600
    copies = {(k - window.start, k - window.start + 25) for k in range(-475, 600, 100)}
    assert {span for span in window.masked() if span[0] > 0 and span[1] < 600} <= copies
    index = window.index()
    assert (index == np.arange(window.start, window.start + 600) % 100).all()


def test_an_extension_of_short_material_hears_copies_before_and_silence_never() -> None:
    window = plan([(4 * 48_000, 8 * 48_000)], 48_000, 4 * 48_000, (480_000, 480_000))
    assert window.start + window.frames == 200
    assert window.frames == 350
    assert window.masked() == ((250, 350),)
    np.testing.assert_array_equal(window.index()[:250], np.arange(-150, 100) % 100)
    assert (window.index()[250:] == -1).all()


def test_a_prelude_to_short_material_hears_copies_after() -> None:
    window = plan([(-3 * 48_000, 0)], 48_000, 4 * 48_000, (480_000, 480_000))
    assert (window.start, window.frames) == (-76, 350)
    assert window.masked() == ((0, 76),)
    np.testing.assert_array_equal(window.index()[76:], np.arange(274) % 100)


def test_a_source_that_only_misses_the_bucket_is_not_looped() -> None:
    """A cover of a whole song ends with the song, and is not led back to its beginning."""
    window = plan([(0, 61 * 48_000)], 48_000, 61 * 48_000, (0, 0))
    assert (window.start, window.frames, window.loop) == (0, 1600, None)
    assert window.index()[-1] == -1


def test_a_region_that_is_the_whole_song_has_no_context_beyond_it() -> None:
    """What lies beyond would be a loop: the outro before the intro."""
    window = plan([(0, 240 * 48_000)], 48_000, 240 * 48_000, (480_000, 480_000))
    assert (window.start, window.frames, window.loop) == (0, 6400, None)


def test_windows_for_stems_are_at_least_a_minute_of_short_material_looped() -> None:
    window = plan([(0, 8 * 48_000)], 48_000, 8 * 48_000, (480_000, 480_000), least_s=STEMS_WINDOW_S)
    assert (window.frames, window.loop) == (1600, (0, 200))
    assert (window.index() >= 0).all()


@given(st.integers(2, LIMIT_FRAMES))
def test_shapes_are_few_and_cost_at_most_a_fifth(frames: int) -> None:
    assert frames <= bucketed(frames) < max(frames + BUCKET, 1.2 * frames)
    assert len({bucketed(each) for each in range(250, LIMIT_FRAMES + 1)}) < 40


def test_without_a_source_the_window_is_the_region_rounded_up_and_all_of_it_is_made() -> None:
    window = plan([(7 * 48_000, 40 * 48_000)], 48_000, 0, (480_000, 480_000))
    assert (window.start, window.frames) == (174, 900)
    assert window.masked() == ((0, 900),)
    short = plan([(0, 4800)], 48_000, 0, (0, 0))
    assert short.frames == 250


def test_several_regions_are_masked_in_one_window() -> None:
    regions = [(50 * 48_000, 52 * 48_000), (58 * 48_000, 60 * 48_000)]
    window = plan(regions, 48_000, 240 * 48_000, (480_000, 480_000))
    assert window.frames == 800
    assert window.masked() == window.regions
    assert [b - a for a, b in window.regions] == [50, 50]


def test_more_than_ten_minutes_are_refused_naming_the_limit() -> None:
    rate = 48_000
    assert plan([(0, 600 * rate)], rate, 0, (0, 0)).frames == LIMIT_FRAMES
    with pytest.raises(EngineCannot, match=r"at most 600 s .* 601.0 s"):
        plan([(0, 601 * rate)], rate, 0, (0, 0))


def test_context_gives_way_to_the_limit() -> None:
    rate = 48_000
    window = plan([(300 * rate, 890 * rate)], rate, 1200 * rate, (30 * rate, 10 * rate))
    assert window.frames == LIMIT_FRAMES
    assert window.regions == ((188, 188 + 590 * 25),)


# --- several windows --------------------------------------------------------------------------------------------------
SECONDS = st.integers(0, 400)


@given(st.lists(st.tuples(SECONDS, st.integers(1, 70)), min_size=1, max_size=8), st.integers(0, 20), st.integers(0, 20))
def test_every_region_is_in_one_group_and_groups_stay_short(
    spans: list[tuple[int, int]], before: int, after: int
) -> None:
    regions = sorted((first, first + length) for first, length in spans)
    grouped = groups(regions, 1, [(before, after)] * len(regions))
    assert [index for group in grouped for index in group] == list(range(len(regions)))
    for group in grouped:
        windows = [(regions[index][0] - before, regions[index][1] + after) for index in group]
        assert len(group) == 1 or max(w[1] for w in windows) - windows[0][0] <= 60
        reach = windows[0][1]
        for first, stop in windows[1:]:
            assert first <= reach
            reach = max(reach, stop)


def test_neighbours_share_a_pass_and_strangers_do_not() -> None:
    regions = [(100, 108), (120, 124), (150, 158), (179, 180)]
    assert groups(regions, 1, [(10, 10)] * 4) == [[0, 1], [2], [3]]
    assert groups(regions, 1, [(11, 10)] * 4) == [[0, 1], [2, 3]], "windows that touch"
    assert groups(regions, 1, [(10, 10), (10, 10), (10, 10), (40, 10)]) == [[0, 1], [2, 3]], "each has its own context"
    assert groups([(0, 30), (35, 60)], 1, [(10, 10)] * 2) == [[0], [1]], "together more than 60 s"
    assert groups([(0, 200)], 1, [(10, 10)]) == [[0]]
    for group in ([0, 1], [2, 3]):
        alone = groups([regions[index] for index in group], 1, [(11, 10)] * 2)
        assert alone == [[0, 1]], "and stay together when only they are asked for"
