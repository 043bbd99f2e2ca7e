"""The tempo map that the daemon gets is REAPER's own: both count the same quarter notes and bars at every time."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.music import TempoMap, TempoPoint, TimeSignature
from tests.support.lua_modules import ask
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project, TempoMarker
from tests.support.reascript.projects import Tempo, tempo_markers

PROJECT = "local proj = reaper.EnumProjects(-1) "


def tempo_map(reaper: Reaper, until_s: float) -> list[dict[str, Any]]:
    (found,) = ask(reaper, f"{PROJECT} return app.json.array(app.tempo.map(proj, {until_s}))")
    return list(found)


def checks(reaper: Reaper, start_s: float, end_s: float) -> dict[str, Any]:
    (found,) = ask(reaper, f"{PROJECT} return app.tempo.checks(proj, {start_s!r}, {end_s!r})")
    return dict(found)


def label(reaper: Reaper, start_s: float, end_s: float) -> str:
    (found,) = ask(reaper, f"{PROJECT} return app.tempo.bars_label(proj, {start_s!r}, {end_s!r})")
    return str(found)


def as_the_daemon_reads_it(points: list[dict[str, Any]]) -> TempoMap:
    return TempoMap(
        tuple(
            TempoPoint(p["time"], p["bpm"], TimeSignature(p["num"], p["den"]), p["linear"], p.get("new_bar", False))
            for p in points
        )
    )


@pytest.mark.parametrize("kind", ["steady", "change", "ramp", "meter"])
def test_reaper_and_daemon_count_the_same_quarter_notes_and_bars(reaper: Reaper, kind: Tempo) -> None:
    reaper.open(Project(tempo=tempo_markers(kind)))
    theirs = as_the_daemon_reads_it(tempo_map(reaper, 40.0))
    for start_s, end_s in ((0.0, 7.25), (15.999, 16.0), (16.0, 20.7), (17.3, 31.1)):
        found = checks(reaper, start_s, end_s)
        assert found["start_qn"] == pytest.approx(theirs.beat_at(start_s), abs=1e-9)
        assert found["end_qn"] == pytest.approx(theirs.beat_at(end_s), abs=1e-9)
        bar, quarter_notes = theirs.bar_at(start_s)
        count = theirs.signature_at(start_s).beats_per_count
        assert (found["start_bar"], found["start_beat"] * count) == (bar, pytest.approx(quarter_notes, abs=1e-3))


def test_a_signature_set_again_begins_a_bar_for_both(reaper: Reaper) -> None:
    markers = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(3.0, 120.0, 4, 4), TempoMarker(6.0, 90.0)]
    reaper.open(Project(bpm=120.0, tempo=markers))
    points = tempo_map(reaper, 20.0)
    assert [point.get("new_bar") for point in points] == [None, True, None]
    for start_s in (2.5, 3.0, 5.0, 8.0):
        found = checks(reaper, start_s, 20.0)
        bar, counts = as_the_daemon_reads_it(points).bar_at(start_s)
        assert (found["start_bar"], found["start_beat"]) == (bar, pytest.approx(counts, abs=1e-9))


def test_tempos_travel_as_the_doubles_they_are(reaper: Reaper) -> None:
    bpm, time_s = 97.53000000000001, 15.999999999999998
    reaper.open(Project(bpm=bpm, tempo=[TempoMarker(0.0, bpm, 4, 4), TempoMarker(time_s, 1 / 3 * 250)]))
    found = tempo_map(reaper, 20.0)
    assert [(point["time"], point["bpm"]) for point in found] == [(0.0, bpm), (time_s, 1 / 3 * 250)]


def test_a_project_without_markers_has_its_tempo_and_meter(reaper: Reaper) -> None:
    reaper.open(Project(bpm=89.5, numerator=7, denominator=8))
    assert tempo_map(reaper, 20.0) == [{"time": 0.0, "bpm": 89.5, "num": 7, "den": 8, "linear": False}]


def test_before_the_first_marker_the_projects_own_tempo_holds(reaper: Reaper) -> None:
    reaper.open(Project(bpm=100.0, numerator=3, tempo=[TempoMarker(6.0, 140.0, linear=True), TempoMarker(9.0, 90.0)]))
    assert tempo_map(reaper, 20.0) == [
        {"time": 0.0, "bpm": 100.0, "num": 3, "den": 4, "linear": False},
        {"time": 6.0, "bpm": 140.0, "num": 3, "den": 4, "linear": True},
        {"time": 9.0, "bpm": 90.0, "num": 3, "den": 4, "linear": False},
    ]


def test_a_marker_without_a_meter_keeps_that_of_the_one_before(reaper: Reaper) -> None:
    markers = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(4.0, 120.0, 7, 8), TempoMarker(8.0, 121.0)]
    reaper.open(Project(tempo=markers))
    assert [(point["num"], point["den"]) for point in tempo_map(reaper, 20.0)] == [(4, 4), (7, 8), (7, 8)]


def test_the_map_ends_with_the_first_marker_beyond_since_a_ramp_may_lead_there(reaper: Reaper) -> None:
    markers = [TempoMarker(time, 120.0 + time, linear=True) for time in (0.0, 4.0, 8.0, 12.0, 16.0)]
    reaper.open(Project(tempo=markers))
    assert [point["time"] for point in tempo_map(reaper, 9.0)] == [0.0, 4.0, 8.0, 12.0]
    assert [point["time"] for point in tempo_map(reaper, 8.0)] == [0.0, 4.0, 8.0, 12.0]


def test_a_position_rounded_to_the_sample_just_before_a_bar_line_is_on_it(reaper: Reaper) -> None:
    reaper.open(Project(bpm=97.53))
    bar_s = 4 * 60 / 97.53
    for bar in (2, 9, 57):
        start_s = int((bar - 1) * bar_s * 44100) / 44100
        found = checks(reaper, start_s, start_s + 4)
        assert (found["start_bar"], found["start_beat"]) == (bar, 0.0)


@pytest.mark.parametrize(
    ("start_s", "end_s", "words"),
    [
        (16.0, 24.0, "bars 9-12"),
        (16.0 - 1e-5, 24.0 + 1e-5, "bars 9-12"),
        (16.0, 18.0, "bar 9"),
        (0.0, 2.0, "bar 1"),
        (17.0, 22.0, "bars 9.3-12.1"),
        (16.0, 16.75, "bars 9.1-9.2"),
        (17.5, 24.0, "bars 9.4-13.1"),
    ],
)
def test_a_selection_is_named_by_its_bars(reaper: Reaper, start_s: float, end_s: float, words: str) -> None:
    reaper.open(Project())
    assert label(reaper, start_s, end_s) == words
