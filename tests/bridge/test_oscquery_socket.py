"""OSCQuery's WebSocket on a real server: OSC that comes in is answered as on UDP, and no client harms another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from bridge.doors.osc_messages import datagram
from bridge.doors.oscquery import MAX_CLIENTS
from bridge.doors.oscquery_client import MAX_QUEUED
from protocol.address_space import INCOMING
from protocol.events import JobChanged, JobProgressed
from protocol.job import Progress
from protocol.osc_query import type_tags, typed
from protocol.vocabulary import JobState
from tests.bridge.test_osc_guard import KILLERS
from tests.support.osc import bundle, job_named, message
from tests.support.oscquery import Connect, Served, connecting, heard, listen, serving, until_pong
from tests.support.turns import counted_turns


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@pytest.fixture
async def connect(served: Served) -> AsyncIterator[Connect]:
    async with connecting(served) as connect:
        yield connect


@pytest.fixture
async def socket(connect: Connect) -> ClientWebSocketResponse:
    return await connect()


# --- OSC in -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", INCOMING)
async def test_every_address_is_answered_on_the_socket_even_with_nonsense(
    socket: ClientWebSocketResponse, path: str
) -> None:
    await socket.send_bytes(message(path, "nonsense", "nonsense", "nonsense"))
    answer = await heard(socket)
    if path.endswith("ping"):
        assert answer[0] == "pong"
    else:
        assert answer[0] == "error"
        assert (answer[1], answer[3]) == ("bad_argument", path)


async def test_a_verb_is_acknowledged_before_its_events_and_they_come_unasked(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    await socket.send_bytes(message("/stembridge/repaint", "id", "mine", "seed", 7))
    assert await heard(socket) == ("ack", "mine", "repaint", "sketch", 0)
    assert await heard(socket) == ("job/state", "mine", "queued", "repaint")
    assert served.desk.requests[0][1] == {"seed": 7}
    assert served.desk.requests[0][3].startswith("oscquery:127.0.0.1:")


async def test_what_happens_while_a_request_waits_is_told_after_its_answer_in_order(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    await listen(socket, "job/state", "job/progress")
    served.desk.gate.clear()
    await socket.send_bytes(message("/stembridge/repaint", "id", "mine"))
    await until_pong(socket)
    other = job_named("other", state=JobState.RUNNING)
    served.desk.emit(JobProgressed(other, Progress(fraction=0.5, seconds_left=1.0)))
    served.desk.emit(JobChanged(job_named("other", state=JobState.DONE)))
    served.desk.gate.set()
    assert [(await heard(socket))[:3] for _ in range(4)] == [
        ("ack", "mine", "repaint"),
        ("job/progress", "other", 0.5),
        ("job/state", "other", "done"),
        ("job/state", "mine", "queued"),
    ]


async def test_the_button_of_an_impulse_is_a_verb_without_options(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    assert (await served.get("/stembridge/generate?TYPE"))["TYPE"] == "I"
    await socket.send_bytes(b"/stembridge/generate\0\0\0\0,I\0\0")
    assert (await heard(socket))[:3] == ("ack", "job-1", "generate")


async def test_a_failed_request_names_its_job(socket: ClientWebSocketResponse) -> None:
    await socket.send_bytes(message("/stembridge/retry", "nothing"))
    assert (await heard(socket))[1:] == ("unknown_job", "There is no job nothing.", "/stembridge/retry", "nothing")


async def test_subscriptions_are_for_datagrams_and_the_refusal_says_so(socket: ClientWebSocketResponse) -> None:
    await socket.send_bytes(message("/stembridge/subscribe"))
    assert "LISTEN" in (await heard(socket))[2]


async def test_a_time_tag_is_kept_and_one_too_far_ahead_is_refused(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    now = served.wall.now
    await socket.send_bytes(bundle(message("/stembridge/tempo", 90.0), at=now + 3600))
    assert (await heard(socket))[1] == "bad_timetag"
    await socket.send_bytes(bundle(message("/stembridge/tempo", 91.0), at=now + 0.05))
    assert await heard(socket) == ("ack", "/stembridge/tempo")
    assert served.desk.session.tempo is not None
    assert served.desk.session.tempo.value == 91.0


@pytest.mark.parametrize("packet", KILLERS.values(), ids=KILLERS.keys())
async def test_no_packet_stops_the_daemon(socket: ClientWebSocketResponse, packet: bytes) -> None:
    await socket.send_bytes(packet[:40_000])
    await until_pong(socket)


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "null", "{}", '{"COMMAND":"LISTEN"}', '{"COMMAND":"LISTEN","DATA":7}', "[" * 40_000]
)
async def test_no_text_stops_the_daemon(socket: ClientWebSocketResponse, text: str) -> None:
    await socket.send_str(text)
    assert await until_pong(socket) == []


async def test_a_mistake_of_ours_is_answered_and_logged(
    served: Served, socket: ClientWebSocketResponse, caplog: pytest.LogCaptureFixture
) -> None:
    served.desk.breaks = True
    await socket.send_bytes(message("/stembridge/tempo", 90.0))
    assert (await heard(socket))[:2] == ("error", "internal")
    assert "a mistake in the program" in caplog.text


# --- many, slow, unpaired, going --------------------------------------------------------------------------------------
async def test_one_client_too_many_is_told_so(served: Served, connect: Connect) -> None:
    first = await connect()
    for _ in range(MAX_CLIENTS - 1):
        await connect()
    assert (await served.status("/?HOST_INFO"))[0] == 200
    async with served.session.get(served.url, headers={"Upgrade": "websocket"}) as response:
        assert response.status == 503
    await first.close()
    await until_pong(await connect())


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_go_on(
    served: Served, socket: ClientWebSocketResponse, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    listening = b'{"COMMAND":"LISTEN","DATA":"/stembridge/job/state"}'
    writer.write(b"\x81" + bytes([0x80 | len(listening)]) + bytes(4) + listening)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await writer.drain()
    for number in range(200 * MAX_QUEUED):
        served.desk.emit(JobChanged(job_named(f"{number}-{'x' * 2000}")))
        if "does not read" in caplog.text:
            break
        if number % 64 == 0:
            await asyncio.sleep(0)
    assert "does not read what it listens to" in caplog.text
    assert await until_pong(socket) == []
    writer.transport.abort()


async def test_who_was_unpaired_hears_nothing_more(served: Served, socket: ClientWebSocketResponse) -> None:
    await listen(socket, "position")
    served.unpaired.add("127.0.0.1")
    served.desk.tell(served.desk.session.told("position_s", 1.0, "daw", 0.0))
    assert (await asyncio.wait_for(socket.receive(), 5)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_closing_lets_a_journalled_request_be_answered_first(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    served.desk.gate.clear()
    await socket.send_bytes(message("/stembridge/repaint"))
    await until_pong(socket)
    closing = asyncio.ensure_future(served.door.close())
    served.desk.gate.set()
    assert (await heard(socket))[0] == "ack"
    assert (await asyncio.wait_for(socket.receive(), 5)).type is WSMsgType.CLOSE
    await closing
    assert served.desk.listeners == []


def test_datagrams_of_values_carry_the_types_that_the_tree_declares() -> None:
    values = ("a", 1, "f.wav", 1.5, 48000, 48000, 99.0)
    packet = datagram("/stembridge/job/take", typed("/stembridge/job/take", values))
    assert f",{type_tags('/stembridge/job/take')}".encode() in packet


async def test_a_flood_of_messages_leaves_everyone_else_a_turn_between_them(socket: ClientWebSocketResponse) -> None:
    """Thousands come in one piece; the OSC door is on the same loop."""
    for _ in range(1000):
        await socket.send_str("{}")
    async with counted_turns() as turns:
        await until_pong(socket)
        assert turns.count > 1000
