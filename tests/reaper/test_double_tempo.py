"""The double's tempo map: hand-worked numbers, round trips, and agreement with the daemon's own map."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.music import TempoMap, TempoPoint, TimeSignature
from tests.support.reascript import api_tempo
from tests.support.reascript.errors import NotModelled
from tests.support.reascript.model import Project, TempoMarker
from tests.support.reascript.projects import BAR_9_S, RAMP_END_S, tempo_markers
from tests.support.reascript.tempo import TempoRules

HOST: Any = None


def project(*markers: TempoMarker, bpm: float = 120.0, signature: tuple[int, int] = (4, 4)) -> Project:
    return Project(tempo=list(markers), bpm=bpm, numerator=signature[0], denominator=signature[1])


# --- numbers that can be worked out by hand ---------------------------------------------------------------------------
def test_without_markers_the_projects_own_tempo_and_signature_hold_also_before_time_0() -> None:
    song = project(bpm=90.0, signature=(3, 4))
    assert api_tempo.time_signature_at(HOST, song, 5.0) == (3, 4, 90.0)
    assert api_tempo.time_to_qn(HOST, song, 4.0) == pytest.approx(6.0)
    assert api_tempo.time_to_qn(HOST, song, -2.0) == pytest.approx(-3.0)
    assert api_tempo.qn_to_time(HOST, song, -3.0) == pytest.approx(-2.0)
    assert api_tempo.time_to_beats(HOST, song, 4.5) == pytest.approx((0.75, 2, 3, 6.75, 4))
    assert api_tempo.count_markers(HOST, song) == 0
    assert api_tempo.next_change_time(HOST, song, 0.0) == -1
    assert api_tempo.find_marker(HOST, song, 9.0) == -1


def test_a_change_at_bar_9_counts_from_there_with_the_new_tempo() -> None:
    song = Project(tempo=tempo_markers("change"))
    assert api_tempo.time_signature_at(HOST, song, BAR_9_S) == (4, 4, 97.5)
    assert api_tempo.time_to_qn(HOST, song, BAR_9_S) == 32.0
    assert api_tempo.time_to_qn(HOST, song, BAR_9_S + 60 / 97.5) == pytest.approx(33.0, abs=1e-12)
    assert api_tempo.time_to_beats(HOST, song, BAR_9_S)[:2] == (0.0, 8)
    assert api_tempo.measure_info(HOST, song, 8) == (BAR_9_S, 32.0, 36.0, 4, 4, 97.5)
    assert api_tempo.next_change_time(HOST, song, 0.0) == BAR_9_S
    assert api_tempo.next_change_time(HOST, song, BAR_9_S) == -1
    assert api_tempo.marker(HOST, song, 1) == (True, BAR_9_S, 8, 0.0, 97.5, 0, 0, False)
    assert api_tempo.marker(HOST, song, 2)[0] is False
    assert [api_tempo.find_marker(HOST, song, at) for at in (0.0, 15.9, BAR_9_S)] == [0, 0, 1]


def test_a_ramp_is_linear_in_time() -> None:
    song = Project(tempo=tempo_markers("ramp"))
    middle = (BAR_9_S + RAMP_END_S) / 2
    assert api_tempo.time_signature_at(HOST, song, middle)[2] == pytest.approx(108.75)
    assert api_tempo.time_to_qn(HOST, song, RAMP_END_S) == pytest.approx(48.0, abs=1e-9)
    mean_of_first_half = (120 + 108.75) / 2
    assert api_tempo.time_to_qn(HOST, song, middle) == pytest.approx(32 + mean_of_first_half * (middle - 16) / 60)
    assert api_tempo.time_to_beats(HOST, song, RAMP_END_S)[1] == 12
    assert api_tempo.time_signature_at(HOST, song, RAMP_END_S + 5)[2] == 97.5


def test_beats_are_counts_of_the_denominator_and_the_divided_tempo_doubles_in_eighths() -> None:
    song = Project(tempo=tempo_markers("meter"))
    assert api_tempo.divided_bpm_at(HOST, song, BAR_9_S - 1) == 120
    assert api_tempo.divided_bpm_at(HOST, song, BAR_9_S) == 240
    assert api_tempo.time_signature_at(HOST, song, BAR_9_S) == (6, 8, 120.0)
    beats, measure, per_measure, full, denominator = api_tempo.time_to_beats(HOST, song, BAR_9_S + 1.75)
    assert beats == pytest.approx(1.0)
    assert (measure, per_measure, denominator) == (9, 6, 8)
    assert full == pytest.approx(32 + 7)
    assert api_tempo.measure_info(HOST, song, 9)[:3] == pytest.approx((BAR_9_S + 1.5, 35.0, 38.0))


def test_a_signature_in_the_middle_of_a_measure_cuts_it_and_makes_plain_quarter_notes_ambiguous() -> None:
    song = project(TempoMarker(0.0, 120.0, 4, 4), TempoMarker(3.0, 120.0, 4, 4))
    assert api_tempo.time_to_beats(HOST, song, 2.5)[:2] == (1.0, 1)
    assert api_tempo.time_to_beats(HOST, song, 3.0)[:2] == (0.0, 2)
    assert api_tempo.measure_info(HOST, song, 1)[1:3] == (4.0, 6.0)
    assert api_tempo.time_to_qn(HOST, song, 2.5) == 5.0
    assert api_tempo.time_to_qn_abs(HOST, song, 4.0) == 8.0
    with pytest.raises(NotModelled, match="_abs"):
        api_tempo.time_to_qn(HOST, song, 4.0)
    with pytest.raises(NotModelled, match="_abs"):
        api_tempo.qn_to_time(HOST, song, 8.0)


def test_a_first_marker_after_time_0_leaves_the_projects_own_tempo_before_it() -> None:
    song = project(TempoMarker(4.0, 60.0, 3, 4), bpm=120.0)
    assert api_tempo.time_signature_at(HOST, song, 3.9) == (4, 4, 120.0)
    assert api_tempo.time_signature_at(HOST, song, 4.0) == (3, 4, 60.0)
    assert api_tempo.time_to_beats(HOST, song, 7.0)[:2] == (0.0, 3)


def test_the_ruler_offset_is_the_projects() -> None:
    song = Project(time_offset=3.5)
    assert api_tempo.time_offset(HOST, song, False) == 3.5
    with pytest.raises(NotModelled):
        api_tempo.time_offset(HOST, song, True)


# --- for all maps -----------------------------------------------------------------------------------------------------
BPM = st.floats(20.0, 400.0)
SIGNATURES = st.sampled_from([(4, 4), (3, 4), (6, 8), (7, 8), (5, 4), (2, 2), (12, 8)])


@st.composite
def maps(draw: st.DrawFn, cuts: bool = True) -> Project:
    """Up to six markers; without `cuts` every signature stands on a bar line, as REAPER's own dialog puts it."""
    first = draw(SIGNATURES)
    song = project(TempoMarker(0.0, draw(BPM), *first, draw(st.booleans())))
    for _ in range(draw(st.integers(0, 5))):
        time_s = song.tempo[-1].time + draw(st.floats(0.05, 30.0))
        signature = (0, 0)
        if draw(st.booleans()):
            rules = TempoRules(song)
            if not cuts and not song.tempo[-1].linear:
                time_s = rules.time_in_measure(rules.position_at(time_s)[1] + 1, 0.0)
            if cuts or not song.tempo[-1].linear:
                signature = draw(SIGNATURES.filter(lambda one: one != _last_signature(song)))
        song.tempo.append(TempoMarker(time_s, draw(BPM), *signature, draw(st.booleans())))
    return song


def _last_signature(song: Project) -> tuple[int, int]:
    return next((m.numerator, m.denominator) for m in reversed(song.tempo) if m.numerator)


TIMES = st.floats(-20.0, 250.0)


@given(song=maps(), time_s=TIMES)
def test_time_to_quarter_notes_and_back_is_the_same_time(song: Project, time_s: float) -> None:
    qn = api_tempo.time_to_qn_abs(HOST, song, time_s)
    assert api_tempo.qn_to_time_abs(HOST, song, qn) == pytest.approx(time_s, abs=1e-9)


@given(song=maps(), time_s=st.floats(0.0, 250.0))
def test_time_to_beats_and_back_is_the_same_time_in_both_ways_of_counting(song: Project, time_s: float) -> None:
    beats, measure, per_measure, full, _ = api_tempo.time_to_beats(HOST, song, time_s)
    assert -1e-9 <= beats < per_measure + 1e-6
    assert api_tempo.beats_to_time(HOST, song, beats, measure) == pytest.approx(time_s, abs=1e-8)
    assert api_tempo.beats_to_time(HOST, song, full) == pytest.approx(time_s, abs=1e-8)


@given(song=maps(), number=st.integers(0, 60))
def test_measures_follow_each_other_without_a_gap(song: Project, number: int) -> None:
    time_s, start, end, *_ = api_tempo.measure_info(HOST, song, number)
    assert start < end
    assert api_tempo.measure_info(HOST, song, number + 1)[1] == pytest.approx(end, abs=1e-9)
    assert api_tempo.time_to_beats(HOST, song, time_s + 1e-7)[1] == number


@given(song=maps(), time_s=TIMES)
def test_the_daemons_tempo_map_agrees_on_quarter_notes_tempo_bar_and_beat(song: Project, time_s: float) -> None:
    """Two implementations, written apart; the daemon's one is given what the scripts send."""
    ours = daemon_map(song)
    num, den, bpm = api_tempo.time_signature_at(HOST, song, time_s)
    qn = api_tempo.time_to_qn_abs(HOST, song, time_s)
    assert ours.beat_at(time_s) == pytest.approx(qn, abs=1e-8)
    assert ours.time_at(qn) == pytest.approx(api_tempo.qn_to_time_abs(HOST, song, qn), abs=1e-8)
    assert ours.bpm_at(time_s) == pytest.approx(bpm, abs=1e-8)
    if time_s < 0 or any(abs(marker.time - time_s) < 1e-6 for marker in song.tempo):
        return
    assert (ours.signature_at(time_s).numerator, ours.signature_at(time_s).denominator) == (num, den)
    beats, measure, per_measure, _, _ = api_tempo.time_to_beats(HOST, song, time_s)
    bar, into = ours.bar_at(time_s)
    beat = into / (4 / den)
    if min(beats, per_measure - beats) > 1e-3:
        assert bar - 1 == measure
        assert beat == pytest.approx(beats, abs=1e-6)


@given(song=maps(cuts=False), time_s=st.floats(0.0, 250.0))
def test_where_signatures_stand_on_bar_lines_both_kinds_of_quarter_notes_are_the_same(
    song: Project, time_s: float
) -> None:
    assert api_tempo.time_to_qn(HOST, song, time_s) == api_tempo.time_to_qn_abs(HOST, song, time_s)


def daemon_map(song: Project) -> TempoMap:
    points, signature = [], TimeSignature()
    for marker in song.tempo:
        if marker.numerator:
            signature = TimeSignature(marker.numerator, marker.denominator)
        points.append(TempoPoint(marker.time, marker.bpm, signature, marker.linear))
    return TempoMap(tuple(points))


def test_an_almost_flat_ramp_loses_no_precision() -> None:
    song = project(TempoMarker(0.0, 120.0, 4, 4, True), TempoMarker(1000.0, 120.0 + 1e-9))
    for time_s in (1.0, 333.3, 999.0):
        qn = api_tempo.time_to_qn_abs(HOST, song, time_s)
        assert math.isclose(api_tempo.qn_to_time_abs(HOST, song, qn), time_s, abs_tol=1e-11)
