"""engine/window.py: which frames, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Source
from engine.window import check_region, context_frames, make_window, require_signal
from protocol.errors import MissingContext, RegionOutside, SourceSilent
from protocol.music import Region, TempoMap, TimeSignature
from protocol.vocabulary import Verb
from tests.support.audio import ArraySource, noise

RATE = 48_000
INSIDE = (Verb.REPAINT, Verb.EXTRACT, Verb.LEGO, Verb.COMPLETE, Verb.COVER)


@pytest.fixture
def song() -> ArraySource:
    return ArraySource(noise(10 * RATE), RATE, Path("Lied ß.wav"))


def refused(verb: Verb, region: tuple[int, int], source: Source, **more: float) -> str:
    with pytest.raises(RegionOutside) as caught:
        check_region(verb, region, source, **more)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("verb", INSIDE)
def test_the_first_and_the_last_sample_may_be_part_of_the_region_and_none_beyond(verb: Verb, song: ArraySource) -> None:
    check_region(verb, (0, song.frames), song)
    refused(verb, (-1, RATE), song)
    refused(verb, (RATE, song.frames + 1), song)
    check_region(verb, (RATE, song.frames + 1), song, slack_frames=1)
    refused(verb, (RATE, song.frames + 2), song, slack_frames=1)


def test_region_outside_the_file_is_refused_with_both_spans_in_project_seconds(song: ArraySource) -> None:
    sentence = refused(Verb.REPAINT, (9 * RATE, 12 * RATE), song, start_s=100.0)
    assert "109.000 s to 112.000 s" in sentence
    assert "Lied ß.wav, which spans 100.000 s to 110.000 s" in sentence
    assert "extend" in sentence


def test_extend_begins_inside_the_source_or_at_its_end(song: ArraySource) -> None:
    for first in (1, 5 * RATE, song.frames):
        check_region(Verb.EXTEND, (first, song.frames + 8 * RATE), song)
    for first in (-1, 0, song.frames + 1):
        assert "exactly at its end" in refused(Verb.EXTEND, (first, song.frames + 8 * RATE), song)


def test_prepend_ends_inside_the_source_or_at_its_beginning(song: ArraySource) -> None:
    for after in (0, 5 * RATE, song.frames - 1):
        check_region(Verb.PREPEND, (-8 * RATE, after), song)
    for after in (-1, song.frames, song.frames + 1):
        assert "exactly at its beginning" in refused(Verb.PREPEND, (-8 * RATE, after), song)


@pytest.mark.parametrize("verb", list(Verb))
def test_less_than_ten_milliseconds_is_no_region(verb: Verb, song: ArraySource) -> None:
    assert "10 ms" in refused(verb, (RATE, RATE + 479), song)
    check_region(verb, {Verb.EXTEND: (RATE, RATE + 480)}.get(verb, (RATE, RATE + 480)), song)


@given(st.integers(-3000, 3000), st.integers(1, 3000), st.integers(0, 2000), st.integers(0, 2000))
def test_a_window_holds_the_source_where_it_exists_and_zeros_elsewhere(
    first: int, length: int, before: int, after: int
) -> None:
    source = ArraySource(noise(1000, 1, level=1.0), 1000)
    window = make_window(source, (first, first + length), before, after)
    assert window.start == first - before
    assert window.stop == first + length + after
    begin, end = window.exists
    assert 0 <= begin <= end <= 1000
    inside = window.audio[:, max(0, begin - window.start) : max(0, end - window.start)]
    if begin < end:
        assert window.start <= begin
        assert end <= window.stop
        assert np.array_equal(inside, source.audio[:, begin:end])
        assert np.count_nonzero(window.audio) == np.count_nonzero(inside)
    else:
        assert not window.audio.any()


def test_a_window_reads_no_more_of_a_long_song_than_it_needs(song: ArraySource) -> None:
    make_window(song, (4 * RATE, 5 * RATE), RATE, 2 * RATE)
    assert song.reads == [(3 * RATE, 7 * RATE)]


def test_silent_surroundings_are_refused_with_their_spans_named(song: ArraySource) -> None:
    song.audio[:, : 4 * RATE] = 0.0
    song.audio[:, 5 * RATE :] = 0.00005  # an offset is no signal
    window = make_window(song, (4 * RATE, 5 * RATE), RATE, 2 * RATE)
    with pytest.raises(SourceSilent, match=r"103\.000 s to 104\.000 s and 105\.000 s to 107\.000 s"):
        require_signal(Verb.REPAINT, window, start_s=100.0)
    require_signal(Verb.EXTRACT, window)


def test_one_side_that_sounds_is_enough(song: ArraySource) -> None:
    song.audio[:, : 4 * RATE] = 0.0
    require_signal(Verb.REPAINT, make_window(song, (4 * RATE, 5 * RATE), RATE, RATE))


def test_silence_is_below_minus_80_dbfs() -> None:
    for level, silent in ((0.99e-4, True), (1.01e-4, False)):
        wave = np.tile(np.array([level, -level], dtype=np.float32), (1, RATE))
        window = make_window(ArraySource(wave, RATE), (RATE // 2, RATE), RATE // 2, RATE // 2)
        if silent:
            with pytest.raises(SourceSilent):
                require_signal(Verb.REPAINT, window)
        else:
            require_signal(Verb.REPAINT, window)


def test_a_region_that_is_the_whole_file_is_judged_by_itself(song: ArraySource) -> None:
    require_signal(Verb.REPAINT, make_window(song, (0, song.frames), RATE, RATE))
    song.audio[:] = 0.0
    with pytest.raises(SourceSilent):
        require_signal(Verb.REPAINT, make_window(song, (0, song.frames), RATE, RATE))


def test_a_window_with_nothing_of_the_source_has_nothing_to_work_from(song: ArraySource) -> None:
    with pytest.raises(MissingContext):
        require_signal(Verb.REPAINT, make_window(song, (20 * RATE, 21 * RATE), RATE, RATE))


def test_context_is_ten_seconds_or_whole_bars_of_the_tempo_map() -> None:
    tempo_map = TempoMap.constant(120.0)
    assert context_frames(tempo_map, Region(32.0, 40.0), RATE) == (10 * RATE, 10 * RATE)
    assert context_frames(tempo_map, Region(32.0, 40.0), RATE, 4) == (8 * RATE, 8 * RATE)
    assert context_frames(tempo_map, Region(32.5, 39.0), RATE, 4) == (round(8.5 * RATE), 9 * RATE)
    assert context_frames(tempo_map, Region(32.0, 40.0), RATE, 1.5) == (3 * RATE, 3 * RATE)
    assert context_frames(tempo_map, Region(32.0, 40.0), RATE, 0) == (RATE, RATE)
    waltz = TempoMap.constant(90.0, TimeSignature(3, 4))
    assert context_frames(waltz, Region(20.0, 22.0), RATE, 3) == (6 * RATE, 6 * RATE)
