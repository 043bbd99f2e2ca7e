"""MIDI clock in the session: what it may tell, and what goes before it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clock_session import STEP_BPM, ClockFold
from protocol.midi_clock import ClockReading, ClockState
from protocol.music import TempoMap
from protocol.session import Session
from protocol.transport import FRESH_S, NEWS_BPM, Playhead, position_now

MIDI, OSC = "midi:Clock", "osc:127.0.0.1:9000"


def reading(
    bpm: float | None = 97.5,
    *,
    at: float = 10.0,
    beat: float = 8.0,
    state: ClockState = ClockState.RUNNING,
    confidence: float = 1.0,
    located: bool = True,
) -> ClockReading:
    return ClockReading(state, bpm, 0.004, beat, at, confidence, located, 1)


def bpm_of(session: Session) -> float:
    assert session.tempo is not None
    assert isinstance(session.tempo.value, float)
    return session.tempo.value


def test_a_clock_alone_tells_tempo_position_and_play_state_and_says_so() -> None:
    session = ClockFold().fold(Session(), MIDI, reading(), 10.0)
    rows = {name: (value, source) for name, value, source, _ in session.describe(10.0)}
    assert rows["tempo"] == ("97.5", MIDI)
    assert rows["playing"] == ("1", MIDI)
    assert rows["clock"] == ("running 97.50 ±0.00 BPM", MIDI)
    assert float(rows["position"][0]) == pytest.approx(8.0 * 60.0 / 97.5)


def test_a_told_tempo_goes_before_a_clock_that_agrees_because_it_is_exact() -> None:
    told = Session().told("tempo", 97.5, OSC, 1.0)
    session = ClockFold().fold(told, MIDI, reading(97.5 + NEWS_BPM * 0.9), 10.0)
    assert (bpm_of(session), session.tempo and session.tempo.source) == (97.5, OSC)
    assert session.clock is not None  # what the clock says is seen beside it


def test_a_clock_that_moves_after_a_tempo_was_told_says_that_the_told_one_is_out_of_date() -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(97.5), 10.0)
    session = session.told("tempo", 120.0, OSC, 11.0)  # against the clock, and on purpose
    session = fold.fold(session, MIDI, reading(97.5), 12.0)
    assert bpm_of(session) == 120.0
    session = fold.fold(session, MIDI, reading(103.0), 13.0)
    assert (bpm_of(session), session.tempo and session.tempo.source) == (103.0, MIDI)


def test_a_clock_that_came_later_counts_if_it_says_something_else() -> None:
    told = Session().told("tempo", 120.0, OSC, 1.0)
    assert bpm_of(ClockFold().fold(told, MIDI, reading(97.5), 10.0)) == 97.5


def test_a_tempo_map_goes_before_any_clock() -> None:
    tempo_map = TempoMap.from_flat((0.0, 120.0, 4, 4, 1, 30.0, 90.0, 4, 4, 0))
    told = Session().told("tempo", tempo_map, OSC, 1.0)
    session = ClockFold().fold(told, MIDI, reading(60.0), 10.0)
    assert session.tempo == told.tempo


def test_a_streamed_position_goes_before_the_clock_while_it_is_fresh() -> None:
    told = Session().told("playing", True, OSC, 9.0).told("position_s", 33.0, OSC, 9.5)
    fresh = ClockFold().fold(told, MIDI, reading(), 10.0)
    assert fresh.position_s == told.position_s
    stale = ClockFold().fold(told, MIDI, reading(), 9.6 + FRESH_S)
    assert stale.position_s is not None
    assert stale.position_s.source == MIDI


def test_a_clock_that_is_not_sure_or_not_located_tells_nothing_that_sounds() -> None:
    unsure = ClockFold().fold(Session(), MIDI, reading(confidence=0.2), 10.0)
    assert unsure.tempo is None
    adrift = ClockFold().fold(Session(), MIDI, reading(located=False), 10.0)
    assert adrift.position_s is None
    assert adrift.tempo is not None


@pytest.mark.parametrize("state", [ClockState.STOPPED, ClockState.LOST])
def test_a_clock_that_stopped_or_vanished_does_not_play(state: ClockState) -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(), 10.0)
    session = fold.fold(session, MIDI, reading(state=state), 11.0)
    assert session.playing is not None
    assert session.playing.value is False


@given(st.lists(st.floats(-STEP_BPM, STEP_BPM), min_size=1, max_size=50))
def test_an_estimate_that_trembles_does_not_move_the_tempo_but_keeps_it_young(wobbles: list[float]) -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(97.5), 0.0)
    for index, wobble in enumerate(wobbles):
        now = 0.1 * (index + 1)
        later = fold.fold(session, MIDI, reading(97.5 + wobble * 0.99), now)
        assert bpm_of(later) == 97.5
        assert now - later.tempo.at <= 1.1  # type: ignore[union-attr]
        session = later


def test_play_told_again_does_not_move_the_position() -> None:
    session = Session().told("tempo", 120.0, OSC, 0.0).told("position_s", 5.0, OSC, 0.0)
    session = session.told("playing", True, OSC, 1.0).told("playing", True, OSC, 4.0)
    head = position_now(session, 6.0)
    assert head is not None
    assert head.beat == pytest.approx(2.0 * (5.0 + 5.0))


def test_a_clock_that_comes_to_the_told_tempo_is_no_news() -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(97.5), 10.0).told("tempo", 120.0, OSC, 11.0)
    session = fold.fold(session, MIDI, reading(97.5), 12.0)
    session = fold.fold(session, MIDI, reading(120.1), 13.0)
    assert (bpm_of(session), session.tempo and session.tempo.source) == (120.0, OSC)


def test_what_an_unsure_clock_said_when_a_tempo_was_told_is_not_held_against_it() -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(97.5), 10.0)
    session = fold.fold(session, MIDI, reading(90.0, confidence=0.2), 10.5).told("tempo", 120.0, OSC, 11.0)
    session = fold.fold(session, MIDI, reading(97.5), 12.0)
    assert bpm_of(session) == 120.0


def test_an_estimate_moves_the_tempo_when_it_is_off_by_more_than_its_error_and_not_before() -> None:
    fold = ClockFold()
    session = fold.fold(Session(), MIDI, reading(97.5), 10.0)
    vague = replace(reading(98.0), bpm_error=0.2)
    assert bpm_of(fold.fold(session, MIDI, vague, 10.2)) == 97.5
    assert bpm_of(fold.fold(session, MIDI, reading(98.0), 10.2)) == 98.0


def test_a_clock_that_has_heard_start_and_no_tick_yet_plays() -> None:
    session = ClockFold().fold(Session(), MIDI, reading(state=ClockState.STARTING), 10.0)
    assert session.playing is not None
    assert session.playing.value is True


def test_a_position_is_as_old_as_the_moment_that_it_was_read_for() -> None:
    session = ClockFold().fold(Session(), MIDI, reading(at=9.9), 10.0)
    assert session.position_s is not None
    assert session.position_s.at == 9.9


def test_beside_a_streamed_position_the_clock_tells_the_tempo() -> None:
    told = Session().told("playing", True, OSC, 9.0).told("position_s", 33.0, OSC, 9.5)
    assert bpm_of(ClockFold().fold(told, MIDI, reading(97.5), 10.0)) == 97.5


def test_a_playhead_that_stands_is_where_it_was() -> None:
    assert Playhead(1.0, 8.0, 120.0, False, OSC).beat_at(9.0) == 8.0
    assert Playhead(1.0, 8.0, 120.0, True, OSC).moved_to(2.0).beat == 10.0
