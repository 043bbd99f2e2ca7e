"""The MIDI door over TCP, with mido as the program that sends: clocks are followed, pedals act, nothing ends it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge.doors import midi
from bridge.doors.midi import MidiDoor
from bridge.doors.midi_learn import Action
from bridge.midi_config import MidiConfig
from protocol.midi_clock import ClockReading, ClockState
from tests.support.midi import Sender, until

PEDAL = {"on": "cc 64", "do": "repaint"}
PADS = [{"on": f"note {number}", "send": ["/stembridge/set/seed", number]} for number in range(128)]
TICK_S = 60.0 / 100.0 / 24


class Ticker:
    """A clock that goes on by one tick of 100 BPM each time that it is looked at with a message of the driver."""

    def __init__(self) -> None:
        self.now = 100.0
        self._thread = threading.get_ident()

    def __call__(self) -> float:
        if threading.get_ident() != self._thread:
            self.now += TICK_S
        return self.now


@dataclass
class Studio:
    """A started door and what it told."""

    door: MidiDoor
    clocks: list[tuple[str, ClockReading]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.door.describe()[0].name.rsplit(":")[-1])

    @property
    def states(self) -> list[ClockState]:
        return [state for state, _ in itertools.groupby(reading.state for _, reading in self.clocks)]


@asynccontextmanager
async def studio(
    *learn: dict[str, Any], port: str = "tcp:127.0.0.1:0", **options: Callable[..., Any]
) -> AsyncIterator[Studio]:
    config = MidiConfig.model_validate({"port": port, "learn": learn})
    clocks: list[tuple[str, ClockReading]] = []
    actions: list[Action] = []
    wanted = {"on_clock": lambda *told: clocks.append(told), "on_action": actions.append, **options}
    door = MidiDoor(config, **wanted)  # type: ignore[arg-type]
    await door.start()
    try:
        yield Studio(door, clocks, actions)
    finally:
        await door.stop()


async def test_a_clock_is_followed_from_its_start_to_its_stop():
    async with studio(clock=Ticker()) as here:
        with Sender(here.port) as daw:
            daw.send("start")
            await until(lambda: here.states == [ClockState.STARTING])
            for _ in range(49):  # two beats, and the tick that ends them; one at a time, each stamped on arrival
                heard_at = here.door._clock.now
                daw.send("clock")
                await until(lambda at=heard_at: here.door._clock.now > at)
            (source, reading) = await until(lambda: here.door.reading(here.door._clock.now))
            await until(lambda: here.states[-1] is ClockState.RUNNING)  # nothing above lets the loop run for certain
            daw.send("stop")
            await until(lambda: here.states[-1] is ClockState.STOPPED)
    assert source == f"midi:{here.clocks[0][0].removeprefix('midi:')}"
    assert source.startswith("midi:tcp:127.0.0.1:")
    assert reading.state is ClockState.RUNNING
    assert reading.bpm == pytest.approx(100.0, abs=0.01)
    assert reading.beat == pytest.approx(2.0, abs=0.01)
    assert here.states == [ClockState.STARTING, ClockState.RUNNING, ClockState.STOPPED]


async def test_a_clock_that_ceases_is_told_lost_though_nothing_more_comes():
    async with studio() as here:
        with Sender(here.port) as daw:
            for kind in ("start", "clock", "clock"):
                daw.send(kind)
            await until(lambda: here.states and here.states[-1] is ClockState.LOST)
            assert here.states[-2:] == [ClockState.RUNNING, ClockState.LOST]


async def test_a_running_clock_is_told_at_most_ten_times_a_second():
    async with studio() as here:
        with Sender(here.port) as daw:
            daw.send("start")
            await until(lambda: here.clocks)
            daw.raw(b"\xf8")
            for _ in range(100):
                await asyncio.sleep(0.005)
                daw.raw(b"\xf8")
            told = [reading.at for _, reading in here.clocks if reading.state is ClockState.RUNNING]
    assert len(told) >= 2
    assert all(later - earlier >= midi.REPORT_S for earlier, later in itertools.pairwise(told))


async def test_song_position_moves_the_beat():
    async with studio() as here:
        with Sender(here.port) as daw:
            daw.send("songpos", pos=16)
            daw.send("continue")
            (_, reading) = await until(lambda: here.clocks and here.clocks[-1])
    assert reading.beat == 4.0


async def test_pads_act_on_the_loop_in_the_order_in_which_they_were_struck():
    struck = [(7 * index) % 128 for index in range(100)]
    loop_thread, threads = threading.get_ident(), set()
    async with studio(*PADS) as here:
        with Sender(here.port) as pads:
            here.door._on_action = lambda action: (here.actions.append(action), threads.add(threading.get_ident()))
            for number in struck:
                pads.send("note_on", note=number, velocity=1)
                pads.send("note_off", note=number)
            await until(lambda: len(here.actions) == len(struck))
    assert [action.args[0] for action in here.actions] == struck
    assert threads == {loop_thread}


async def test_an_action_that_fails_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture):
    done: list[Action] = []

    def fails_first(action: Action) -> None:
        done.append(action)
        if len(done) == 1:
            raise RuntimeError("no such thing")

    async with studio(*PADS, on_action=fails_first) as here:
        with Sender(here.port) as pads:
            pads.send("note_on", note=1)
            pads.send("note_on", note=2)
            await until(lambda: len(done) == 2)
    assert "no such thing" in caplog.text


async def test_garbage_and_floods_end_nothing(caplog: pytest.LogCaptureFixture):
    async with studio(PEDAL) as here:
        with Sender(here.port) as noise:
            noise.raw(bytes(range(256)) * 40 + b"\xf0" + bytes(200_000) + b"\xff\xfd\xf4\x90")
        with Sender(here.port) as pedal:
            pedal.send("control_change", control=64, value=127)
            await until(lambda: here.actions and here.actions[-1].address == "/stembridge/repaint")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_two_programs_on_one_tcp_port_have_a_clock_each_and_a_fifth_is_turned_away():
    async with studio() as here:
        senders = [Sender(here.port) for _ in range(4)]
        for sender in senders:
            sender.send("start")
        await until(lambda: len({source for source, _ in here.clocks}) == 4)
        fifth = Sender(here.port)
        assert await asyncio.to_thread(fifth._out._rfile.read, 1) == b""
        assert len(here.door.describe()) == 4
        for sender in (*senders, fifth):
            sender.close()


async def test_the_running_clock_counts_before_one_that_stands():
    async with studio() as here:
        with Sender(here.port) as stands, Sender(here.port) as runs:
            stands.send("clock")
            stands.send("stop")
            await until(lambda: here.door.reading(0.0))
            runs.send("start")
            await until(lambda: len({source for source, _ in here.clocks}) == 2)
            source, reading = here.door.reading(here.clocks[-1][1].at)
    assert reading.state is ClockState.STARTING
    assert source.endswith("(2)")


async def test_readings_may_be_asked_for_from_another_thread_while_ticks_come():
    async with studio() as here:
        with Sender(here.port) as daw:
            daw.send("start")
            await until(lambda: here.door.reading(0.0))

            def look() -> list[float]:
                return [here.door.reading(index * 1e-4)[1].beat for index in range(20_000)]

            looking = asyncio.create_task(asyncio.to_thread(look))
            while not looking.done():
                daw.raw(b"\xf8")
                await asyncio.sleep(0.001)
            assert len(await looking) == 20_000


async def test_a_port_that_is_taken_is_warned_of_once_and_opened_when_it_is_free(caplog: pytest.LogCaptureFixture):
    async with studio() as first:
        port = f"tcp:127.0.0.1:{first.port}"
        async with studio(port=port) as second:
            await second.door.look()
            (state,) = second.door.describe()
            assert state.name == ""
            assert "in use" in state.problem
            await first.door.stop()
            await second.door.look()
            assert second.door.describe()[0].name == port
    assert sum("in use" in message for message in caplog.messages) == 1


async def test_describe_tells_what_was_heard_and_when():
    async with studio(clock=Ticker()) as here:
        assert [(state.wish, state.heard_s, state.reading) for state in here.door.describe()] == [
            ("tcp:127.0.0.1:0", None, None)
        ]
        with Sender(here.port) as daw:
            daw.send("start")
            await until(lambda: here.clocks)
            here.door._clock.now += 3.0
            (state,) = here.door.describe()
    assert state.heard_s == pytest.approx(3.0)
    assert state.reading is not None
    assert state.problem == ""


async def test_after_stop_nothing_is_called():
    async with studio(PEDAL) as here:
        sender = Sender(here.port)
        sender.send("start")
        await until(lambda: here.clocks)
        await here.door.stop()
        here.clocks.clear()
        await asyncio.sleep(0.2)
        assert here.clocks == []
        sender.close()


async def test_a_machine_without_the_port_is_told_once_on_the_log_and_never_on_stderr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    async with studio(port="No such port anywhere, jack:no such port anywhere") as here:
        for _ in range(3):
            await here.door.look()
        assert [bool(state.problem) for state in here.door.describe()] == [True, True]
        assert here.door.reading(0.0) is None
    assert len([message for message in caplog.messages if "It is looked for" in message]) == 2
    assert capfd.readouterr().err == ""


def test_with_midi_off_no_midi_library_is_imported_and_no_thread_runs():
    script = """
import asyncio, sys, threading
from bridge.doors.midi import MidiDoor
from bridge.midi_config import MidiConfig
async def main():
    door = MidiDoor(MidiConfig())
    await door.start()
    assert door.describe() == [] and door.reading(0.0) is None
    assert threading.active_count() == 1
    await door.stop()
asyncio.run(main())
assert not {"mido", "rtmidi", "jack"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_actions_that_wait_for_a_busy_loop_are_bounded():
    door = MidiDoor(MidiConfig.model_validate({"port": "virtual", "learn": PADS}))
    for index in range(3 * midi.MAX_WAITING):
        door._deliver("pads", bytes((0x90, index % 128, 1)), float(index))
    assert len(door._waiting) == midi.MAX_WAITING
