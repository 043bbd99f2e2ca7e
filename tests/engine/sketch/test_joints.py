"""How much the sound changes at a join, measured by what the song does itself at that place in the bar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.sketch.analysis import Features, analyse
from engine.sketch.grid import Grid, grid_for
from engine.sketch.joints import USUAL_PERCENTILE, Meetings, meetings
from tests.support.songs import Song, render_song, sketch_request


def heard(song: Song, region: tuple[int, int]) -> tuple[Features, Grid]:
    request = sketch_request(song, region)
    source = request.source
    assert source is not None
    features = analyse(source, (0, source.frames), None, lambda _: None, lambda: False)
    return features, grid_for(request, features, region, lambda: False)


@pytest.fixture(scope="module")
def song() -> Song:
    return render_song()


@pytest.fixture(scope="module")
def lines(song: Song) -> tuple[Meetings, Grid]:
    region = song.frames_of_bars(9, 4)
    features, grid = heard(song, region)
    return meetings(features, grid, region, grid.starts), grid


def test_the_songs_own_joins_are_usual(lines: tuple[Meetings, Grid]) -> None:
    meeting, grid = lines
    inside = np.flatnonzero(meeting.heard_before & meeting.heard_after)
    own = np.array([meeting.beyond_db(inside[k : k + 1], inside[k : k + 1])[0, 0] for k in range(len(inside))])
    assert (own == 0.0).mean() >= USUAL_PERCENTILE / 100 - 0.03
    downbeats = inside[grid.place[inside] == 0]
    assert len(downbeats) > 8


def test_a_join_into_silence_is_beyond_what_is_usual() -> None:
    song = render_song(drums=False)
    audio = song.audio.copy()
    audio[:, slice(*song.frames_of_bars(14, 1))] *= 1e-4
    region = song.frames_of_bars(9, 2)
    features, grid = heard(replace(song, audio=audio), region)
    meeting = meetings(features, grid, region, grid.starts)
    sounding, silent = (np.flatnonzero((grid.bar == number) & (grid.place == 1)) for number in (5, 14))
    assert meeting.beyond_db(sounding, silent)[0, 0] > 5.0
    assert meeting.beyond_db(sounding, sounding)[0, 0] < 1.0


def test_nothing_of_the_region_is_heard_and_the_edges_next_to_it_still_are(song: Song) -> None:
    region = song.frames_of_bars(9, 4)
    changed = song.audio.copy()
    changed[:, slice(*region)] = np.random.default_rng(0).uniform(-1.0, 1.0, changed[:, slice(*region)].shape)
    other = replace(song, audio=changed)
    for shy in ({}, {"shy_before": True}, {"shy_after": True}):
        a, b = (
            meetings(features, grid, region, grid.starts, **shy)
            for features, grid in (heard(made, region) for made in (song, other))
        )
        assert np.array_equal(a.heard_before, b.heard_before)
        assert np.array_equal(a.up_to[a.heard_before], b.up_to[a.heard_before])
        assert np.array_equal(a.onward[a.heard_after], b.onward[a.heard_after])
        assert np.array_equal(a.usual_db, b.usual_db)
        assert not np.array_equal(a.onward, b.onward), "the region did not change at all"
    features, grid = heard(song, region)
    first = np.flatnonzero((grid.bar == 9) & (grid.place == 0))[0]
    end = np.flatnonzero((grid.bar == 13) & (grid.place == 0))[0]
    assert meetings(features, grid, region, grid.starts, shy_before=True).heard_before[first]
    assert meetings(features, grid, region, grid.starts, shy_after=True).heard_after[end]


def test_what_is_not_known_costs_what_the_others_do(lines: tuple[Meetings, Grid]) -> None:
    meeting, _ = lines
    known = np.flatnonzero(meeting.heard_before & meeting.heard_after)[:10]
    unknown = np.flatnonzero(~meeting.heard_after)[:1]
    both = meeting.beyond_db(known, np.concatenate([known, unknown]))
    assert both[:, -1] == pytest.approx(both[:, :-1].mean())
    assert meeting.beyond_db(known, unknown).max() == 0.0
