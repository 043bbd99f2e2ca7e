"""The OSC door towards the network: who is answered, and by which socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import pytest

from bridge.doors.osc import OscDoor
from bridge.doors.osc_client import ACK, ERROR
from bridge.doors.osc_guard import decode
from bridge.doors.osc_messages import request_datagram
from bridge.pairing import TRIES_PER_ADDRESS, Pairing
from protocol.events import JobChanged
from tests.bridge.test_osc_guard import KILLERS
from tests.support.osc import MemoryDesk, bundle, job_named, message
from tests.support.pairing import CONTROLLER, HERE, OTHER, Elsewhere, aliases


# --- who is answered there --------------------------------------------------------------------------------------------
class Host:
    """A program somewhere: an unconnected socket, which hears from whom an answer comes."""

    def __init__(self, ip: str, door_port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ip, 0))
        self.socket.setblocking(False)
        self._door_port = door_port

    def send(self, address: str, *args: object, to: str = HERE) -> None:
        self.socket.sendto(request_datagram(address, args), (to, self._door_port))

    async def hear(self) -> tuple[str, str, tuple[object, ...]]:
        """Who answered, and what."""
        loop = asyncio.get_running_loop()
        datagram, sender = await asyncio.wait_for(loop.sock_recvfrom(self.socket, 65536), 5)
        (heard,) = decode(datagram)
        return sender[0], heard.address, heard.args

    async def ask(self, address: str, *args: object, to: str = HERE) -> tuple[str, str, tuple[object, ...]]:
        self.send(address, *args, to=to)
        return await self.hear()

    def heard_nothing(self) -> bool:
        with suppress(BlockingIOError):
            self.socket.recv(65536)
            return False
        return True


@pytest.fixture
def pairing() -> Pairing:
    return Elsewhere(None)


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
async def door(desk: MemoryDesk, pairing: Pairing) -> AsyncIterator[OscDoor]:
    door = OscDoor(desk, HERE, 0, pairing=pairing)
    await door.start()
    yield door
    await door.close()


NewHost = Callable[[str], Host]


@pytest.fixture
def host(door: OscDoor) -> Iterator[NewHost]:
    opened: list[Host] = []

    def new(ip: str) -> Host:
        opened.append(Host(ip, door.port))
        return opened[-1]

    yield new
    for one in opened:
        one.socket.close()


@aliases
async def test_who_has_not_paired_hears_nothing_whatever_it_sends(
    host: NewHost, desk: MemoryDesk, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, here = host(CONTROLLER), host(HERE)
    for address in ("ping", "tempo", "subscribe", "lan", "unpair", "pairs", "no/such/address"):
        stranger.send(f"/stembridge/{address}", 120)
    stranger.send("/stembridge/pair")
    stranger.send("/stembridge/pair", "123456", "123456")
    stranger.send("/tempo/raw", 97.0)
    for packet in (*KILLERS.values(), b"/stembridge/pair\0\0\0\0,s\0\0no end", b"", b"/stembridge/pair\0"):
        if len(packet) < 65_000:
            stranger.socket.sendto(packet, (HERE, stranger._door_port))
    stranger.socket.sendto(bundle(message("/stembridge/tempo", 99)), (HERE, stranger._door_port))
    assert (await here.ask("/stembridge/ping"))[1] == "/stembridge/pong"
    desk.emit(JobChanged(job_named("a")))
    assert stranger.heard_nothing()
    assert desk.session.describe(0.0) == []
    assert len([text for text in caplog.messages if CONTROLLER in text]) == 1


@aliases
@pytest.mark.parametrize("as_number", [False, True])
async def test_the_right_pin_is_acknowledged_and_everything_is_answered_from_then_on(
    as_number: bool, host: NewHost, pairing: Pairing
) -> None:
    controller, other = host(CONTROLLER), host(OTHER)
    controller.send("/stembridge/pair", "000000")
    pin: object = int(pairing.pin) if as_number else pairing.pin
    assert await controller.ask("/stembridge/pair", pin) == (HERE, ACK, ("/stembridge/pair",))
    assert (await controller.ask("/stembridge/ping"))[1] == "/stembridge/pong"
    assert await controller.ask("/stembridge/pair", "an old PIN") == (HERE, ACK, ("/stembridge/pair",))
    assert (await host(CONTROLLER).ask("/stembridge/tempo", 99))[1] == ACK  # another program on the same tablet
    other.send("/stembridge/ping")
    assert (await controller.ask("/stembridge/ping"))[1] == "/stembridge/pong"
    assert other.heard_nothing()


@aliases
async def test_a_pin_inside_a_bundle_is_not_looked_at(host: NewHost, pairing: Pairing) -> None:
    stranger = host(CONTROLLER)
    stranger.socket.sendto(bundle(message("/stembridge/pair", pairing.pin)), (HERE, stranger._door_port))
    assert (await host(HERE).ask("/stembridge/ping"))[1] == "/stembridge/pong"
    assert pairing.paired() == []


@aliases
async def test_trying_pins_out_ends_after_a_few(host: NewHost, pairing: Pairing) -> None:
    stranger, here = host(CONTROLLER), host(HERE)
    for _ in range(TRIES_PER_ADDRESS):
        stranger.send("/stembridge/pair", "000000")
    stranger.send("/stembridge/pair", pairing.pin)
    assert (await here.ask("/stembridge/ping"))[1] == "/stembridge/pong"
    assert stranger.heard_nothing()


@aliases
async def test_who_is_unpaired_hears_no_more_events_and_no_more_answers(
    host: NewHost, pairing: Pairing, desk: MemoryDesk
) -> None:
    controller, here = host(CONTROLLER), host(HERE)
    await controller.ask("/stembridge/pair", pairing.pin)
    await controller.ask("/stembridge/subscribe")
    assert (await here.ask("/stembridge/unpair", CONTROLLER))[1:] == (ACK, ("/stembridge/unpair",))
    desk.emit(JobChanged(job_named("a")))
    controller.send("/stembridge/ping")
    assert (await here.ask("/stembridge/ping"))[1] == "/stembridge/pong"
    assert controller.heard_nothing()


@aliases
async def test_a_controller_may_unpair_itself_but_nobody_else_and_does_not_see_the_pin(
    host: NewHost, pairing: Pairing
) -> None:
    controller, other = host(CONTROLLER), host(OTHER)
    for one in (controller, other):
        await one.ask("/stembridge/pair", pairing.pin)
    for words in (("unpair", OTHER), ("unpair", "all"), ("unpair", HERE), ("lan",), ("lan", 1)):
        _, address, args = await controller.ask(f"/stembridge/{words[0]}", *words[1:])
        assert (address, args[0]) == (ERROR, "bad_argument")
        assert pairing.pin not in str(args)
    assert [row.address for row in pairing.paired()] == [OTHER, CONTROLLER]
    assert (await controller.ask("/stembridge/unpair"))[1] == ACK
    assert (await other.ask("/stembridge/unpair", OTHER))[1] == ACK
    assert pairing.paired() == []


@aliases
async def test_this_machine_sees_the_pin_and_who_is_paired_and_makes_another_pin(
    host: NewHost, pairing: Pairing
) -> None:
    controller, here = host(CONTROLLER), host(HERE)
    before = pairing.pin
    await controller.ask("/stembridge/pair", before)
    assert (await here.ask("/stembridge/lan"))[1:] == ("/stembridge/lan/state", (0, before, "", 0, 0))
    assert (await here.hear())[2][0] == CONTROLLER
    assert (await here.hear())[1:] == (ACK, ("/stembridge/lan",))
    _, _, state = await here.ask("/stembridge/lan", 1)
    assert state[1] == pairing.pin != before
    assert pairing.serves(CONTROLLER)


@pytest.mark.parametrize("words", [("unpair",), ("unpair", "192.0.2.9"), ("lan", 2)])
async def test_what_makes_no_sense_here_is_refused(words: tuple[object, ...], host: NewHost) -> None:
    _, address, args = await host(HERE).ask(f"/stembridge/{words[0]}", *words[1:])
    assert address == ERROR
    assert args[0] in ("bad_argument", "not_paired")


# --- by which socket --------------------------------------------------------------------------------------------------
@aliases
async def test_an_answer_leaves_from_the_address_that_was_asked(
    door: OscDoor, host: NewHost, pairing: Pairing, desk: MemoryDesk
) -> None:
    await door.listen_on(["127.0.0.2"])
    here, controller = host(HERE), host(CONTROLLER)
    assert (await controller.ask("/stembridge/pair", pairing.pin, to="127.0.0.2"))[0] == "127.0.0.2"
    assert (await here.ask("/stembridge/ping"))[0] == HERE
    assert (await here.ask("/stembridge/subscribe", to="127.0.0.2"))[0] == "127.0.0.2"
    desk.emit(JobChanged(job_named("a")))
    assert (await here.hear())[0] == "127.0.0.2"
    assert (await here.ask("/stembridge/ping"))[0] == HERE
    desk.emit(JobChanged(job_named("b")))
    assert (await here.hear())[0] == HERE


@aliases
async def test_a_client_of_an_earlier_daemon_is_reached_before_it_says_anything(
    door: OscDoor, host: NewHost, desk: MemoryDesk
) -> None:
    await door.listen_on(["127.0.0.2"])
    here = host(HERE)
    job = job_named("a")
    desk.emit(JobChanged(job.model_copy(update={"reply_to": (f"osc:{HERE}:{here.socket.getsockname()[1]}",)})))
    assert (await here.hear())[1] == "/stembridge/job/state"


@aliases
async def test_a_subscriber_is_reached_though_the_address_at_which_it_asked_has_gone(
    door: OscDoor, host: NewHost, desk: MemoryDesk
) -> None:
    await door.listen_on(["127.0.0.2", "127.0.0.3"])
    here = host(HERE)
    await here.ask("/stembridge/subscribe", to="127.0.0.3")
    await door.listen_on(["127.0.0.2"])
    desk.emit(JobChanged(job_named("a")))
    assert (await here.hear())[1] == "/stembridge/job/state"


@aliases
async def test_addresses_that_go_are_let_go_and_one_in_use_is_a_warning(
    door: OscDoor, host: NewHost, caplog: pytest.LogCaptureFixture
) -> None:
    here = host(HERE)
    await door.listen_on(["127.0.0.2", "127.0.0.3"])
    assert (await here.ask("/stembridge/ping", to="127.0.0.3"))[0] == "127.0.0.3"
    await door.listen_on(["127.0.0.2"])
    assert (await here.ask("/stembridge/ping"))[0] == HERE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.3", door.port))
        for _ in range(2):
            await door.listen_on(["127.0.0.2", "127.0.0.3"])
        (warning,) = caplog.messages
        assert "127.0.0.3" in warning
    assert (await here.ask("/stembridge/ping", to="127.0.0.2"))[0] == "127.0.0.2"
    await door.listen_on(["127.0.0.2", "127.0.0.3"])  # the next look
    assert (await here.ask("/stembridge/ping", to="127.0.0.3"))[0] == "127.0.0.3"
    await door.listen_on([])
    assert (await here.ask("/stembridge/ping"))[0] == HERE
