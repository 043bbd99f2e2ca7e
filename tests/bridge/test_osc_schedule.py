"""Time tags are kept in order: messages of one bundle share a time, and must still act in the order of the bundle."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.osc_limits import Allowance
from bridge.doors.osc_schedule import Schedule


class Clock:
    """A wall clock and the loop's timer, both moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def wall(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Clock.Handle:
        entry = (self.now + seconds, call)
        self.timers.append(entry)
        return Clock.Handle(self, entry)

    class Handle:
        def __init__(self, clock: Clock, entry: tuple[float, Callable[[], None]]) -> None:
            self.clock, self.entry = clock, entry

        def cancel(self) -> None:
            if self.entry in self.clock.timers:
                self.clock.timers.remove(self.entry)

    def advance_to(self, now: float) -> None:
        self.now = now
        while due := [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers.remove(due[0])
            due[0][1]()


@given(st.lists(st.sampled_from([1000.5, 1000.5, 1001.0, 1002.0]), max_size=30))
def test_messages_act_in_the_order_of_their_times_and_then_of_their_arrival(dues: list[float]) -> None:
    clock, acted = Clock(), []
    schedule = Schedule(clock.wall, clock.call_later)
    for number, due in enumerate(dues):
        schedule.put(due, lambda entry=(due, number): acted.append(entry))
    assert len(clock.timers) <= 1
    for now in (1000.4, 1000.6, 1001.5, 1003.0):
        clock.advance_to(now)
        assert {due for due, _ in acted} == {due for due in dues if due <= now}
    assert acted == sorted((due, number) for number, due in enumerate(dues))
    assert len(schedule) == 0
    assert clock.timers == []


def test_a_wall_clock_that_is_set_back_holds_nothing_up() -> None:
    clock, acted = Clock(), []
    schedule = Schedule(clock.wall, clock.call_later)
    schedule.put(1001.0, lambda: acted.append(1))
    (timer,) = clock.timers
    clock.timers.clear()
    clock.now = 500.0
    timer[1]()  # after a second, whatever the wall says
    assert acted == [1]


def test_closing_forgets_what_waits() -> None:
    clock, acted = Clock(), []
    schedule = Schedule(clock.wall, clock.call_later)
    schedule.put(1001.0, lambda: acted.append(1))
    schedule.close()
    clock.advance_to(1002.0)
    assert acted == []


def test_an_allowance_lets_a_burst_through_then_a_steady_rate_for_each_key() -> None:
    now = [0.0]
    may = Allowance(10, lambda: now[0])
    assert [may("a") for _ in range(12)] == [True] * 10 + [False] * 2
    assert may("b")
    now[0] = 0.35
    assert [may("a") for _ in range(5)] == [True] * 3 + [False] * 2
    now[0] = 100.0
    assert sum(may("a") for _ in range(50)) == 10
