"""The transport: the playhead from streamed positions and from MIDI clock."""

from __future__ import annotations

import random

import pytest

from bridge.transport import JUMP_S, Transport
from protocol.midi_clock import ClockReading, ClockState
from protocol.music import TempoMap
from protocol.session import Session
from protocol.transport import FRESH_S

OSC, MIDI = "osc:127.0.0.1:9000", "midi:Clock"


class Told:
    """A session that is told things, and a transport that hears of it, as in the daemon."""

    def __init__(self, clock: ClockReading | None = None) -> None:
        self.session = Session().told("tempo", 120.0, OSC, 0.0)
        self.clock = clock
        self.transport = Transport(lambda: self.session, lambda _: (MIDI, self.clock) if self.clock else None)

    def tell(self, name: str, value: object, at: float) -> None:
        before, self.session = self.session, self.session.told(name, value, OSC, at)
        if before.changed_fields(self.session):
            self.transport.heard()


def test_nothing_told_is_no_playhead() -> None:
    assert Told().transport.head(1.0) is None


def test_a_position_told_once_runs_on_with_the_clock_on_the_wall() -> None:
    told = Told()
    told.tell("position_s", 8.0, 0.0)
    told.tell("playing", True, 2.0)
    head = told.transport.head(5.0)
    assert head is not None
    assert (head.playing, head.beat, head.bpm) == (True, pytest.approx(22.0), 120.0)


def test_it_stands_where_it_was_stopped() -> None:
    told = Told()
    told.tell("position_s", 8.0, 0.0)
    assert told.transport.head(5.0).beat == pytest.approx(16.0)  # type: ignore[union-attr]


def test_positions_that_come_unevenly_are_averaged_and_are_no_locate() -> None:
    told, chance = Told(), random.Random(5)
    told.tell("position_s", 0.0, 0.0)
    told.tell("playing", True, 0.0)
    epochs, errors = set(), []
    for step in range(1, 300):
        sent = step / 30
        told.tell("position_s", sent, sent + chance.uniform(0.0, 0.02))
        head = told.transport.head(sent + 0.03)
        assert head is not None
        epochs.add(head.epoch)
        errors.append(head.beat / 2.0 - (sent + 0.03))
    assert len(epochs) == 1
    steady = errors[100:]
    assert max(steady) - min(steady) < 0.004  # of 20 ms jitter
    assert abs(sum(steady) / len(steady) + 0.01) < 0.003  # late by the mean delay


def test_a_locate_is_a_new_epoch_at_once() -> None:
    told = Told()
    told.tell("position_s", 0.0, 0.0)
    told.tell("playing", True, 0.0)
    told.tell("position_s", 1.0, 1.0)
    before = told.transport.head(1.0)
    told.tell("position_s", 1.1 + 2 * JUMP_S, 1.1)
    after = told.transport.head(1.1)
    assert before is not None
    assert after is not None
    assert after.epoch != before.epoch
    assert after.beat == pytest.approx(2.0 * (1.1 + 2 * JUMP_S))


def test_going_back_to_the_place_that_was_told_before_is_a_locate() -> None:
    told = Told()
    told.tell("position_s", 8.0, 0.0)
    told.tell("playing", True, 0.0)
    told.tell("position_s", 8.0, 10.0)
    head = told.transport.head(11.0)
    assert head is not None
    assert head.beat == pytest.approx(18.0)


def test_the_tempo_map_turns_seconds_into_beats_and_tempo() -> None:
    told = Told()
    told.tell("tempo", TempoMap.from_flat((0.0, 60.0, 4, 4, 0, 10.0, 120.0, 4, 4, 0)), 0.0)
    told.tell("position_s", 9.0, 0.0)
    told.tell("playing", True, 0.0)
    head = told.transport.head(3.0)
    assert head is not None
    assert (head.beat, head.bpm) == (pytest.approx(14.0), 120.0)


def test_midi_clock_counts_where_no_position_streams() -> None:
    clock = ClockReading(ClockState.RUNNING, 97.5, 0.01, 40.0, 100.0, 1.0, True, 3)
    told = Told(clock)
    told.tell("position_s", 1.0, 100.0 - FRESH_S - 1.0)
    head = told.transport.head(100.6)
    assert head is not None
    assert (head.source, head.bpm) == (MIDI, 97.5)
    assert head.beat == pytest.approx(40.0 + 0.6 * 97.5 / 60.0)
    told.tell("position_s", 7.0, 100.5)
    streamed = told.transport.head(100.6)
    assert streamed is not None
    assert streamed.source == OSC


def test_a_clock_that_knows_no_place_is_no_playhead() -> None:
    clock = ClockReading(ClockState.RUNNING, 97.5, 0.01, 40.0, 100.0, 1.0, False, 3)
    assert Told(clock).transport.head(100.6) is None


def test_a_clock_that_was_lost_gives_way_to_what_was_told() -> None:
    told = Told(ClockReading(ClockState.LOST, 97.5, 0.01, 40.0, 100.0, 1.0, True, 3))
    told.tell("position_s", 1.0, 0.0)
    head = told.transport.head(100.6)
    assert head is not None
    assert (head.source, head.beat) == (OSC, 2.0)


def test_from_the_clock_to_a_stream_is_another_epoch_whatever_their_counts() -> None:
    for epoch in range(4):
        told = Told(ClockReading(ClockState.RUNNING, 97.5, 0.01, 40.0, 100.0, 1.0, True, epoch))
        by_clock = told.transport.head(100.0)
        told.tell("playing", True, 100.0)
        told.tell("position_s", 1.0, 100.0)
        streamed = told.transport.head(100.0)
        assert by_clock is not None
        assert streamed is not None
        assert by_clock.epoch != streamed.epoch


def test_another_source_is_believed_from_its_first_position_on() -> None:
    told = Told()
    told.tell("position_s", 0.0, 0.0)
    told.tell("playing", True, 0.0)
    for step in range(1, 40):
        told.tell("position_s", step / 10, step / 10)
    told.session = told.session.told("position_s", 4.1, "reaper", 4.0)
    told.transport.heard()
    head = told.transport.head(4.0)
    assert head is not None
    assert head.beat == pytest.approx(2 * 4.1)
