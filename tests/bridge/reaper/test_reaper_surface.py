"""REAPER in "local port" mode, played by a UDP socket: the daemon is found by it, asks for everything, and rings."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from pythonosc.osc_message import OscMessage

from bridge.doors.osc import OscDoor
from bridge.doors.osc_client import AsyncOscClient
from bridge.doors.reaper_surface import LOOK_S, REFRESH_S, SILENT_S, ReaperSurface
from tests.support.osc import MemoryDesk, bundle, single

REFRESH = ("/action", [41743])


class Time:
    """A clock that stands until it is moved, with its timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        self.timers.append((self.now + seconds, call))
        return None

    def go(self, seconds: float) -> None:
        until = self.now + seconds
        while due := sorted((timer for timer in self.timers if timer[0] <= until), key=lambda timer: timer[0]):
            self.timers.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = until


class Reaper:
    """REAPER's side: one socket on which it listens and from which it answers whoever spoke last."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.port = int(self.socket.getsockname()[1])

    async def hear(self) -> tuple[str, list[object]]:
        data, self.last_sender = await asyncio.to_thread(self.socket.recvfrom, 2048)
        message = OscMessage(data)
        return message.address, message.params

    def say(self, *messages: bytes) -> None:
        self.socket.sendto(bundle(*messages), self.last_sender)


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    played = Reaper()
    yield played
    played.socket.close()


@pytest.fixture
async def door() -> AsyncIterator[tuple[OscDoor, int]]:
    door = OscDoor(MemoryDesk(), "127.0.0.1", 0)
    port = await door.start()
    yield door, port
    await door.close()


@pytest.fixture
def time() -> Time:
    return Time()


class Sent:
    """Keeps what a surface alone, without a door, sends."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[object]]] = []
        self.addresses: set[tuple[str, int]] = set()

    def __call__(self, datagram: bytes, to: tuple[str, int]) -> None:
        message = OscMessage(datagram)
        self.messages.append((message.address, message.params))
        self.addresses.add(to)


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def surface(sent: Sent, time: Time) -> ReaperSurface:
    return ReaperSurface(sent, 9241, time, time.call_later)


# --- on the wire ------------------------------------------------------------------------------------------------------
async def test_reaper_streams_to_the_daemon_because_it_was_spoken_to(
    reaper: Reaper, door: tuple[OscDoor, int], time: Time
) -> None:
    surface = ReaperSurface(door[0].send_datagram, reaper.port, time, time.call_later)
    door[0].on_native = surface.native_heard
    surface.start()
    assert await reaper.hear() == REFRESH
    assert reaper.last_sender == ("127.0.0.1", door[1])
    assert surface.last_heard is None
    reaper.say(single("/tempo/raw", 120.37), single("/time", 3.5))
    client = await AsyncOscClient.open(door[1])
    async with asyncio.timeout(5):
        while surface.last_heard is None:
            await client.ask("/stembridge/ping")
    client.close()
    assert surface.last_heard == time.now
    session = door[0]._desk.session
    assert session.tempo is not None
    assert session.tempo.value == 120.37


async def test_the_doorbell_names_the_script_as_a_text(reaper: Reaper, door: tuple[OscDoor, int], time: Time) -> None:
    surface = ReaperSurface(door[0].send_datagram, reaper.port, time, time.call_later)
    assert surface.ring("_RS1f2e3d4c5b6a")
    assert await reaper.hear() == ("/action/str", ["_RS1f2e3d4c5b6a"])


async def test_a_port_where_nobody_listens_does_not_disturb_the_door(door: tuple[OscDoor, int], time: Time) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    surface = ReaperSurface(door[0].send_datagram, port, time, time.call_later)
    surface.start()
    client = await AsyncOscClient.open(door[1])
    for _ in range(20):
        time.go(LOOK_S)
        assert (await client.ask("/stembridge/ping"))[-1].address == "/stembridge/pong"
    client.close()


async def test_our_own_messages_are_no_sign_of_reaper(door: tuple[OscDoor, int]) -> None:
    heard: list[bool] = []
    door[0].on_native = lambda: heard.append(True)
    client = await AsyncOscClient.open(door[1])
    await client.ask("/stembridge/tempo", 120.0)
    await client.ask("/nonsense")
    assert heard == []
    client.send("/track/1/volume/str", "-3.0dB")
    await client.ask("/stembridge/ping")
    assert heard == [True]
    client.close()


# --- when it asks -----------------------------------------------------------------------------------------------------
def test_while_nothing_is_heard_it_goes_on_asking(surface: ReaperSurface, sent: Sent, time: Time) -> None:
    surface.start()
    time.go(10 * LOOK_S)
    assert sent.messages == [REFRESH] * 11
    assert sent.addresses == {("127.0.0.1", 9241)}


def test_reaper_that_speaks_is_not_disturbed_and_one_that_fell_silent_is_asked(
    surface: ReaperSurface, sent: Sent, time: Time
) -> None:
    surface.start()
    for _ in range(20):
        time.go(LOOK_S)
        surface.native_heard()
    asked = len(sent.messages)
    assert asked <= 2
    time.go(SILENT_S - LOOK_S)
    assert len(sent.messages) == asked
    time.go(2 * LOOK_S)
    assert len(sent.messages) > asked


def test_requests_in_a_burst_ask_once(surface: ReaperSurface, sent: Sent, time: Time) -> None:
    for _ in range(5):
        surface.refresh()
    assert sent.messages == [REFRESH]
    time.go(REFRESH_S)
    surface.refresh()
    assert sent.messages == [REFRESH] * 2


def test_stopped_it_is_silent_and_started_again_it_asks_in_one_rhythm(
    surface: ReaperSurface, sent: Sent, time: Time
) -> None:
    surface.start()
    surface.stop()
    time.go(100)
    assert len(sent.messages) == 1
    surface.start()
    surface.stop()
    surface.start()
    time.go(3 * LOOK_S)
    assert len(sent.messages) == 1 + 1 + 3
    assert len(time.timers) == 1


@pytest.mark.parametrize(
    "action", ["", "40044", "_SWS_ABOUT", "_RS", "_RS1;2", "_RS12 ", "_RSä", "_RS" + "1" * 200, "_RS1\n"]
)
def test_nothing_but_a_loaded_script_can_be_rung(surface: ReaperSurface, sent: Sent, action: str) -> None:
    assert not surface.ring(action)
    assert sent.messages == []


def test_no_way_to_reaper_from_this_socket_is_no_error(time: Time) -> None:
    def unreachable(datagram: bytes, to: tuple[str, int]) -> None:
        raise OSError("no route")

    ReaperSurface(unreachable, 9241, time, time.call_later).start()
