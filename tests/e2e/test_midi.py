"""MIDI over real ports: the door in a JACK server of its own, by JACK-Client and by RtMidi.

RtMidi speaks to JACK here because a machine without a sound card has no ALSA sequencer; all else is as on every system.
Its wheel brings a libjack of its own, so that these tests are run in a process apart from those of JACK-Client.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bridge.doors.midi import MidiDoor, PortState
from bridge.doors.midi_jack import JackPort, sender_names
from bridge.midi_config import MidiConfig
from protocol.midi_clock import ClockReading, ClockState
from tests.support import jack
from tests.support.midi import until

pytestmark = [pytest.mark.e2e]

BPM = 97.5


@pytest.fixture
def jack_client():
    """JACK-Client, if it and JACK's library are installed."""
    pytest.importorskip("jack", exc_type=ImportError)
    return sys.modules["jack"]


def joined(jack_client, name: str):
    """A new client; a busy jackd refuses one now and then."""
    for _ in range(20):
        try:
            return jack_client.Client(name, no_start_server=True)
        except jack_client.JackOpenError:
            time.sleep(0.1)
    return jack_client.Client(name, no_start_server=True)


async def looked(door: MidiDoor, fits: Callable[[PortState], bool]) -> PortState:
    """The door's only port once it is as wished; the door is made to look more often than it does by itself."""
    async with asyncio.timeout(20):
        while not fits(door.describe()[0]):
            await door.look()
            await asyncio.sleep(0.05)
    return door.describe()[0]


@contextmanager
def daw(jack_client, name: str = "daw") -> Iterator[None]:
    """A JACK client that plays: Start, then a tick at exactly every 24th of a beat, to the sample."""
    client = joined(jack_client, name)
    out = client.midi_outports.register("MIDI Clock out")
    step, due, messages = 60.0 / BPM / 24 * client.samplerate, 0.0, [b"\xfa"]

    def process(frames: int) -> None:
        nonlocal due
        out.clear_buffer()
        while messages:
            out.write_midi_event(0, messages.pop())
        while due < frames:
            out.write_midi_event(int(due), b"\xf8")
            due += step
        due -= frames

    client.set_process_callback(process)
    client.activate()
    try:
        yield
    finally:
        client.close()


def sure(door: MidiDoor) -> tuple[str, ClockReading] | None:
    """The best clock once its tempo is known well."""
    found = door.reading(door._clock())
    return found if found and found[1].state is ClockState.RUNNING and found[1].bpm_error < 0.2 else None


def test_ticks_carry_jack_s_own_stamps_however_long_the_period(jack_client):
    heard: list[float] = []
    (wish,) = MidiConfig(port="jack:daw").wishes
    with jack.server("midi-stamps", period=1024, sync=True), daw(jack_client):
        enough = threading.Event()

        def deliver(_port: str, message: bytes, at: float) -> None:
            if message == b"\xf8":
                heard.append(at)
            if len(heard) >= 80:
                enough.set()

        port = JackPort(wish, deliver, time.monotonic)
        for _ in range(40):
            port.look()
            if enough.wait(0.5):
                break
        port.close()
    errors = [abs(later - earlier - 60.0 / BPM / 24) for earlier, later in itertools.pairwise(heard)]
    # A busy machine delays periods, which last 21 ms; stamps rounded to them would be right to 1 ms once in twenty.
    assert statistics.quantiles(errors, n=5)[0] < 0.001


@pytest.mark.slow
async def test_a_sender_in_jack_is_found_followed_and_found_again(jack_client):
    with jack.server("midi-jack", period=1024, sync=True):
        door = MidiDoor(MidiConfig(port="jack:daw*"))
        await door.start()
        try:
            await looked(door, lambda port: "no MIDI output of JACK is called 'daw*'" in port.problem)
            with daw(jack_client):
                await looked(door, lambda port: port.name == "jack:daw:MIDI Clock out")
                source, reading = await until(lambda: sure(door), 20.0)
                assert source == "midi:jack:daw:MIDI Clock out"
                assert reading.bpm == pytest.approx(BPM, abs=5.0)  # on a busy machine the dummy driver itself is late
                assert "daw:MIDI Clock out" in sender_names()
            await until(lambda: door.reading(door._clock())[1].state is ClockState.LOST)
            await looked(door, lambda port: not port.name)
            with daw(jack_client):  # it was started again
                await looked(door, lambda port: port.name == "jack:daw:MIDI Clock out")
                await until(lambda: sure(door), 20.0)
        finally:
            await door.stop()


@pytest.mark.slow
async def test_a_jack_server_that_dies_is_joined_again_when_it_is_back(jack_client):
    door = MidiDoor(MidiConfig(port="jack"))
    try:
        with jack.server("midi-dies") as server:
            await door.start()
            await looked(door, lambda port: port.name.endswith(":MIDI in"))
            server.process.kill()
            server.process.wait()
            await looked(door, lambda port: "no JACK server" in port.problem)
    finally:
        with jack.server("midi-dies"):  # also takes back its place among JACK's eight servers
            await looked(door, lambda port: port.name.endswith(":MIDI in"))
            await door.stop()


RTMIDI = """
import asyncio, sys
import rtmidi
from bridge.doors.midi import MidiDoor, PortState
from bridge.midi_config import MidiConfig
from tests.support.midi import until

def sender(name):
    out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name)
    out.open_virtual_port("out")
    return out

def end(out):
    out.close_port()
    out.delete()

async def main():
    actions = []
    learn = [{"on": "note 60", "port": "pedal", "do": "repaint"}, {"on": "cc 1", "value": "set/strength"}]
    config = MidiConfig.model_validate({"port": "pedal, virtual:Clock", "learn": learn})
    door = MidiDoor(config, on_action=actions.append, api=rtmidi.API_UNIX_JACK)
    await door.start()
    pedal, clock = door.describe()
    assert "no MIDI input is called 'pedal'" in pedal.problem, pedal
    assert clock.name == "virtual:Clock", clock
    for _ in range(2):  # it is plugged in, pulled out and plugged in again
        out = sender("Big Pedal")
        await door.look()
        (pedal, _) = door.describe()
        assert pedal.name == "Big Pedal:out" and not pedal.problem, pedal
        for attempt in range(5):  # JACK may lose what is sent just after two ports were connected
            actions.clear()
            door._learner._heard.clear()
            for message in ([0xF0, 1, 2, 0xF7], [0xB0, 1, 127], [0x90, 60, 1], [0xFA], *[[0xF8]] * 3):
                out.send_message(message)
            try:
                await until(lambda: len(actions) == 2 and door.reading(0.0), 4.0)
                break
            except TimeoutError:
                assert attempt < 4, (actions, door.describe())
        assert [action.address for action in actions] == ["/stembridge/set/strength", "/stembridge/repaint"], actions
        assert actions[0].args == (1.0,) and actions[0].source == "midi:Big Pedal:out", actions
        await until(lambda: door.reading(0.0)[1].state == "running")
        end(out)
        await door.look()
        (pedal, _) = door.describe()
        assert pedal.name == "" and pedal.problem, pedal
    await door.stop()

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_port_is_opened_by_its_name_heard_and_opened_again_when_it_is_plugged_in_again():
    pytest.importorskip("rtmidi")
    with jack.server("midi-rtmidi", sync=True) as server:
        done = subprocess.run(
            [sys.executable, "-c", RTMIDI], env={**server.env, "PYTHONPATH": "."}, capture_output=True, timeout=60
        )
    assert done.returncode == 0, done.stderr.decode()
