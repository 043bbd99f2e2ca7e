"""Transport messages, Song Position, silence, odd time stamps: the clock says where the sender is and never raises."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.midi_clock import ClockReading, ClockState, MidiClock

TICK_S = 60 / 24 / 120  # 120 BPM
UNIT = {"sixteenths": 6, "clocks": 1}


class Sender:
    """A sender at 120 BPM without jitter, and the clock that hears it."""

    def __init__(self, unit: str = "sixteenths") -> None:
        self.clock, self.now, self.unit = MidiClock(), 50.0, UNIT[unit]

    def ticks(self, count: int) -> ClockReading:
        for _ in range(count):
            self.now += TICK_S
            self.clock.tick(self.now)
        return self.reading()

    def reading(self) -> ClockReading:
        return self.clock.reading(self.now)

    def start(self) -> None:
        self.clock.start(self.now)

    def stop(self) -> None:
        self.clock.stop(self.now)

    def continue_(self) -> None:
        self.clock.continue_(self.now)

    def points_at(self, beat: float) -> None:
        self.clock.song_position(round(beat * 24 / self.unit), self.now)

    def silent(self, seconds: float) -> ClockReading:
        self.now += seconds
        return self.reading()


def test_nothing_heard_says_nothing() -> None:
    reading = MidiClock().reading(1.0)
    assert (reading.state, reading.bpm, reading.beat) == (ClockState.STOPPED, None, 0.0)
    assert (reading.confidence, reading.located) == (0.0, False)


def test_the_first_tick_after_start_is_beat_0() -> None:
    sender = Sender()
    sender.start()
    assert (sender.reading().state, sender.reading().beat) == (ClockState.STARTING, 0.0)
    reading = sender.ticks(1)
    assert (reading.state, reading.beat, reading.located) == (ClockState.RUNNING, 0.0, True)
    assert sender.ticks(48).beat == pytest.approx(2.0, abs=1e-6)


def test_the_beat_runs_on_between_ticks() -> None:
    sender = Sender()
    sender.start()
    sender.ticks(97)
    assert sender.clock.reading(sender.now + 0.0125).beat == pytest.approx(4.025, abs=1e-6)
    assert sender.clock.reading(sender.now - 0.5).beat == pytest.approx(3.0, abs=1e-6)


def test_ticks_while_stopped_give_the_tempo_and_move_nothing() -> None:
    sender = Sender()
    sender.start()
    sender.ticks(25)
    sender.stop()
    reading = sender.ticks(200)
    assert reading.state is ClockState.STOPPED
    assert reading.beat == pytest.approx(1.0, abs=1e-6)
    assert reading.bpm == pytest.approx(120.0, abs=1e-6)


def test_the_tempo_is_known_at_start_if_ticks_ran_before() -> None:
    sender = Sender()
    sender.stop()
    sender.ticks(96)
    sender.start()
    assert sender.reading().bpm == pytest.approx(120.0, abs=1e-6)
    assert sender.ticks(1).confidence > 0.99


def test_ticks_before_any_message_play_without_a_place() -> None:
    reading = Sender().ticks(49)
    assert (reading.state, reading.located) == (ClockState.RUNNING, False)
    assert reading.beat == pytest.approx(2.0, abs=1e-6)


def test_continue_goes_on_with_the_next_tick_in_the_same_epoch() -> None:
    sender = Sender()
    sender.start()
    epoch = sender.ticks(25).epoch
    sender.stop()
    sender.silent(20.0)
    sender.continue_()
    assert sender.reading().beat == pytest.approx(25 / 24)
    reading = sender.ticks(1)
    assert reading.beat == pytest.approx(25 / 24, abs=1e-6)
    assert (reading.state, reading.located, reading.epoch) == (ClockState.RUNNING, True, epoch)


def test_continue_while_playing_changes_nothing() -> None:
    sender = Sender()
    sender.start()
    before = sender.ticks(50)
    sender.continue_()
    assert sender.reading() == before


def test_every_start_is_a_new_epoch_at_beat_0() -> None:
    sender = Sender()
    sender.start()
    first = sender.ticks(30)
    sender.start()
    again = sender.ticks(1)
    assert again.beat == 0.0
    assert again.epoch == first.epoch + 1


MESSAGES: dict[str, Callable[[Sender], object]] = {
    "start": Sender.start,
    "stop": Sender.stop,
    "continue": Sender.continue_,
    "tick": lambda sender: sender.ticks(1),
    "beat": lambda sender: sender.ticks(24),
    "place": lambda sender: sender.points_at(16.0),
    "silence": lambda sender: sender.silent(3.0),
}


@given(st.lists(st.sampled_from(sorted(MESSAGES)), max_size=30))
def test_messages_in_every_order_leave_a_true_state(messages: list[str]) -> None:
    sender = Sender()
    epoch = 0
    for message in messages:
        MESSAGES[message](sender)
        reading = sender.reading()
        assert reading.epoch >= epoch
        epoch = reading.epoch
    sender.start()
    assert sender.reading().state is ClockState.STARTING
    reading = sender.ticks(25)
    assert (reading.state, reading.located) == (ClockState.RUNNING, True)
    assert reading.beat == pytest.approx(1.0, abs=1e-3)
    sender.stop()
    assert sender.ticks(30).beat == pytest.approx(1.0, abs=1e-3)


# --- song position ----------------------------------------------------------------------------------------------------
def test_a_pointer_while_stopped_places_the_next_tick_but_is_a_hint() -> None:
    sender = Sender()
    sender.points_at(32.0)
    sender.continue_()
    reading = sender.ticks(25)
    assert reading.beat == pytest.approx(33.0, abs=1e-6)
    assert not reading.located


@pytest.mark.parametrize("unit", UNIT)
def test_the_unit_of_pointers_is_learnt_by_playing_between_them(unit: str) -> None:
    sender = Sender(unit)
    sender.start()
    for beats in (4, 4):  # twice: stopped after four beats, and told where
        sender.ticks(24 * beats)
        sender.stop()
        sender.points_at(round(sender.reading().beat))
        sender.continue_()
    sender.ticks(24)
    sender.stop()
    sender.points_at(100.0)
    sender.continue_()
    reading = sender.ticks(1)
    assert reading.beat == pytest.approx(100.0, abs=1e-6)
    assert reading.located


def test_a_sender_that_counts_clocks_is_right_from_its_first_pointer_after_playing() -> None:
    sender = Sender("clocks")
    sender.start()
    sender.ticks(96)
    sender.stop()
    sender.points_at(4.0)
    sender.continue_()
    reading = sender.ticks(1)
    assert reading.beat == pytest.approx(4.0, abs=1e-6)
    assert reading.located


def test_a_locate_that_looks_like_clocks_once_does_not_turn_a_proven_sender() -> None:
    sender = Sender()
    sender.start()
    for _ in range(2):
        sender.ticks(48)
        sender.stop()
        sender.points_at(round(sender.reading().beat))
        sender.continue_()
    sender.ticks(24)  # at beat 5; 4 + 6 = 10 beats read as clocks is where it stands
    sender.stop()
    sender.points_at(10.0)
    sender.continue_()
    assert sender.ticks(1).beat == pytest.approx(10.0, abs=1e-6)


def test_a_pointer_while_playing_that_agrees_changes_nothing() -> None:
    sender = Sender()
    sender.start()
    before = sender.ticks(97)
    sender.points_at(4.0)
    assert sender.reading() == before


def test_a_pointer_while_playing_elsewhere_is_a_locate_and_the_tempo_stays_known() -> None:
    sender = Sender()
    sender.start()
    before = sender.ticks(97)
    sender.points_at(20.0)
    there = sender.reading()
    assert there.bpm == pytest.approx(120.0, abs=1e-6)
    assert (there.beat, there.epoch, there.located) == (20.0, before.epoch + 1, False)
    reading = sender.ticks(25)
    assert reading.state is ClockState.RUNNING
    assert reading.beat == pytest.approx(21.0, abs=1e-6)


def test_a_pointer_that_wrapped_round_past_14_bits_agrees_with_the_place_counted() -> None:
    sender = Sender()
    sender.start()
    sender.ticks(24)
    sender.stop()
    sender.points_at(1.0)
    sender.points_at(4090.0)
    sender.continue_()
    sender.ticks(24 * 10)
    sender.stop()
    sender.clock.song_position(4100 * 4 - (1 << 14), sender.now)
    sender.continue_()
    reading = sender.ticks(1)
    assert reading.beat == pytest.approx(4100.0, abs=1e-6)
    assert reading.located


# --- silence and strange time stamps ----------------------------------------------------------------------------------
def test_ticks_that_cease_are_a_lost_clock_and_the_beat_stands() -> None:
    sender = Sender()
    sender.start()
    sender.ticks(97)
    assert sender.silent(0.45).state is ClockState.RUNNING
    lost = sender.silent(0.2)
    assert (lost.state, lost.confidence) == (ClockState.LOST, 0.0)
    assert lost.bpm == pytest.approx(120.0, abs=1e-6)
    assert sender.silent(9.0).beat == lost.beat == pytest.approx(5.0, abs=1e-6)


def test_a_lost_clock_that_comes_back_has_played_on() -> None:
    sender = Sender()
    sender.start()
    before = sender.ticks(97)
    sender.silent(191 * TICK_S)
    reading = sender.ticks(25)
    assert reading.beat == pytest.approx(4.0 + 216 / 24, abs=1e-3)
    assert (reading.state, reading.located) == (ClockState.RUNNING, False)
    assert reading.epoch == before.epoch + 1


def test_a_slow_clock_is_not_lost_between_its_ticks() -> None:
    clock, now = MidiClock(), 0.0
    clock.start(now)
    for _ in range(20):
        now += 0.25  # 10 BPM
        clock.tick(now)
    reading = clock.reading(now + 0.7)
    assert reading.state is ClockState.RUNNING
    assert reading.bpm == pytest.approx(10.0, abs=1e-6)


def test_time_stamps_of_another_time_base_are_followed_and_the_count_goes_on() -> None:
    sender = Sender()
    sender.start()
    sender.ticks(97)
    sender.now -= 40.0
    reading = sender.ticks(24)
    assert reading.state is ClockState.RUNNING
    assert reading.beat == pytest.approx(5.0, abs=1e-3)
    assert reading.bpm == pytest.approx(120.0, abs=1e-3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tick", "tick", "tick", "start", "stop", "continue", "place"]),
            st.sampled_from([0.0, 1e-9, TICK_S, TICK_S, 2 * TICK_S, 0.3, 0.7, 100.0, -0.01, -30.0]),
            st.integers(0, 16383),
        ),
        max_size=120,
    )
)
def test_no_time_stamps_make_it_raise_or_say_nonsense(heard: list[tuple[str, float, int]]) -> None:
    clock, now = MidiClock(), 0.0
    for what, later_s, pointer in heard:
        now += later_s
        if what == "place":
            clock.song_position(pointer, now)
        else:
            {"tick": clock.tick, "start": clock.start, "stop": clock.stop, "continue": clock.continue_}[what](now)
        for at in (now - 1.0, now, now + 1.0):
            reading = clock.reading(at)
            assert 0.0 <= reading.confidence <= 1.0
            assert reading.bpm is None or 5.0 <= reading.bpm <= 1000.0 + 1e-6
            assert reading.bpm_error >= 0.0


def test_readings_from_another_thread_are_whole() -> None:
    """Start at beat 0, locates to beat 1000: whatever is read, epoch and beat belong together."""
    clock, done, torn = MidiClock(), threading.Event(), []
    clock.start(0.0)
    latest = [0.0]

    def read() -> None:
        while not done.is_set():
            reading = clock.reading(latest[0])
            far = reading.beat > 500.0
            if far != (reading.epoch % 2 == 0):
                torn.append(reading)

    reader = threading.Thread(target=read)
    reader.start()
    now = 0.0
    for turn in range(300):
        for _ in range(20):
            now += TICK_S
            clock.tick(now)
            latest[0] = now
        if turn % 2:
            clock.start(now)
        else:
            clock.song_position(4000, now)
    done.set()
    reader.join()
    assert not torn
