"""The task API over a WebSocket: authentication, results as they come, connections that come back."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import WSMsgType

from bridge.api.values import Answer
from bridge.doors import http_socket
from protocol.api_errors import ApiError
from tests.support.http_door import Bench, inference, opened
from tests.support.mailbox import until
from tests.support.turns import counted_turns

PING = {"taskType": "ping", "ping": True}


class Socket:
    """A client's end."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, *tasks: Any) -> None:
        await self.socket.send_str(json.dumps(list(tasks)))

    async def hear(self) -> dict[str, Any]:
        return json.loads(await self.socket.receive_str(timeout=5))

    async def authenticate(self, session: str | None = None, key: str = "any") -> str:
        more = {"connectionSessionUUID": session} if session else {}
        await self.send({"taskType": "authentication", "apiKey": key, **more})
        item = (await self.hear())["data"][0]
        assert item["taskType"] == "authentication"
        return item["connectionSessionUUID"]

    async def is_closed(self) -> bool:
        message = await self.socket.receive(timeout=5)
        return message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as bench:
        yield bench


async def connect(bench: Bench) -> Socket:
    return Socket(await bench.session.ws_connect(f"{bench.url}/v1", max_msg_size=0))


# --- authentication ---------------------------------------------------------------------------------------------------
async def test_nothing_is_done_before_the_authentication(bench: Bench) -> None:
    socket = await connect(bench)
    task = inference()
    await socket.send(PING, task)
    errors = (await socket.hear())["errors"]
    assert [error["code"] for error in errors] == ["missingAuthentication"] * 2
    assert errors[1]["taskUUID"] == task["taskUUID"]
    assert not bench.tasks.accepted
    await socket.authenticate()
    await socket.send(PING)
    assert await socket.hear() == {"data": [{"taskType": "ping", "pong": True}]}


async def test_a_wrong_key_is_told_and_ends_the_connection(tmp_path: Path) -> None:
    async with opened(tmp_path, api_key="sesam") as bench:
        socket = await connect(bench)
        await socket.send({"taskType": "authentication", "apiKey": "nope"}, inference())
        assert (await socket.hear())["errors"][0]["code"] == "invalidApiKey"
        while not await socket.is_closed():
            pass
        assert not bench.tasks.accepted
        socket = await connect(bench)
        await socket.authenticate(key="sesam")


async def test_authentication_and_tasks_may_come_in_one_message(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.send({"taskType": "authentication"}, PING)
    assert (await socket.hear())["data"][0]["taskType"] == "authentication"
    assert (await socket.hear())["data"] == [{"taskType": "ping", "pong": True}]


# --- results ----------------------------------------------------------------------------------------------------------
async def test_results_are_pushed_as_they_come_acknowledged_or_not(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.authenticate()
    held, told = inference(), inference(deliveryMethod="async")
    await socket.send(held, told)
    assert await socket.hear() == {"data": [{"taskType": "audioInference", "taskUUID": told["taskUUID"]}]}
    for task in (told, held):
        item = bench.tasks.finish(task["taskUUID"])
        assert await socket.hear() == {"data": [item]}


async def test_a_held_task_does_not_hold_up_what_comes_after_it(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.authenticate()
    await socket.send(inference())
    await socket.send(PING)
    assert await socket.hear() == {"data": [{"taskType": "ping", "pong": True}]}


async def test_problems_travel_in_messages_of_their_own_and_name_their_task(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.authenticate()
    bad = inference(steps=0)
    await socket.send(bad, PING)
    assert await socket.hear() == {"data": [{"taskType": "ping", "pong": True}]}
    heard = await socket.hear()
    assert set(heard) == {"errors"}
    assert heard["errors"][0]["taskUUID"] == bad["taskUUID"]
    failing = inference()
    await socket.send(failing)
    await bench.tasks.wait_for(failing["taskUUID"])
    bench.tasks.end(failing["taskUUID"], Answer(errors=(ApiError("inferenceError", "It failed.", status=422),)))
    assert (await socket.hear())["errors"][0]["code"] == "inferenceError"


async def test_what_is_no_json_is_told_and_the_connection_stays(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.authenticate()
    for text in ("{", "7", "[]", '[{"taskType": NaN}]'):
        await socket.socket.send_str(text)
        assert (await socket.hear())["errors"][0]["code"] in ("invalidJson", "invalidRequest")
    await socket.send(PING)
    assert "data" in await socket.hear()


async def test_megabytes_go_in_and_out(bench: Bench) -> None:
    socket = await connect(bench)
    await socket.authenticate()
    audio = base64.b64encode(bytes(range(256)) * 8000).decode()
    upload = {"taskType": "mediaStorage", "taskUUID": str(uuid4()), "operation": "upload", "media": audio}
    await socket.send(upload)
    assert (await socket.hear())["data"][0]["chars"] == len(audio)
    task = inference(outputType="base64Data")
    await socket.send(task)
    await bench.tasks.wait_for(task["taskUUID"])
    bench.tasks.finish(task["taskUUID"], audioBase64Data=audio)
    assert (await socket.hear())["data"][0]["audioBase64Data"] == audio


# --- connections that come back ---------------------------------------------------------------------------------------
async def test_what_a_connection_missed_waits_for_it(bench: Bench) -> None:
    socket = await connect(bench)
    session = await socket.authenticate()
    task = inference()
    await socket.send(task)
    await bench.tasks.wait_for(task["taskUUID"])
    await socket.socket.close()
    item = bench.tasks.finish(task["taskUUID"])
    stranger = await connect(bench)
    assert await stranger.authenticate(str(uuid4())) != session
    back = await connect(bench)
    assert await back.authenticate(session) == session
    assert await back.hear() == {"data": [item]}


async def test_a_session_is_kept_for_five_minutes(bench: Bench) -> None:
    socket = await connect(bench)
    session = await socket.authenticate()
    await socket.socket.close()
    bench.clock[0] += http_socket.RESUME_S - 1
    socket = await connect(bench)
    assert await socket.authenticate(session) == session
    await socket.socket.close()
    bench.clock[0] += http_socket.RESUME_S + 1
    assert await (await connect(bench)).authenticate(session) != session


async def test_a_session_that_is_not_come_back_for_is_let_go_though_nobody_else_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_socket, "RESUME_S", 0.02)
    sockets = bench.door._sockets
    monkeypatch.setattr(sockets, "_clock", time.monotonic)
    socket = await connect(bench)
    await socket.authenticate()
    assert sockets._sessions
    await socket.socket.close()
    await until(lambda: not sockets._sessions)


async def test_a_client_that_comes_back_takes_its_session_from_a_dead_connection(bench: Bench) -> None:
    first = await connect(bench)
    session = await first.authenticate()
    task = inference()
    await first.send(task)
    await bench.tasks.wait_for(task["taskUUID"])
    second = await connect(bench)
    assert await second.authenticate(session) == session
    item = bench.tasks.finish(task["taskUUID"])
    assert await second.hear() == {"data": [item]}
    assert await first.is_closed()
    await second.send(PING)
    assert "data" in await second.hear()


# --- limits -----------------------------------------------------------------------------------------------------------
async def test_only_so_many_sockets_are_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_socket, "MAX_SOCKETS", 2)
    sockets = [await connect(bench) for _ in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await connect(bench)
    await sockets[0].socket.close()
    await (await connect(bench)).authenticate()


async def test_a_message_that_is_too_large_or_no_text_ends_the_connection(bench: Bench) -> None:
    for send in (lambda s: s.send_str("x" * (http_socket.MAX_MESSAGE_BYTES + 1)), lambda s: s.send_bytes(b"[]")):
        socket = await connect(bench)
        await socket.authenticate()
        with suppress(ConnectionError):  # it is closed before all of the message is taken
            await send(socket.socket)
        assert await socket.is_closed()


async def test_who_asks_too_often_is_told_which_task_has_to_wait(tmp_path: Path) -> None:
    async with opened(tmp_path, requests_per_s=5) as bench:
        socket = await connect(bench)
        await socket.authenticate()
        tasks = [inference(deliveryMethod="async") for _ in range(5)]
        for task in tasks:
            await socket.send(task)
        errors = [heard["errors"][0] for heard in [await socket.hear() for _ in tasks] if "errors" in heard]
        assert [error["code"] for error in errors] == ["rateLimitExceeded"] * 2  # the handshake and the key count too
        assert all(error["taskUUID"] in {task["taskUUID"] for task in tasks} for error in errors)


async def test_who_does_not_read_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_socket, "_UNREAD_S", 0.2)
    socket = await connect(bench)
    await socket.authenticate()
    connection = socket.socket._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.pause_reading()
    audio = "A" * 10_000_000
    for _ in range(3):
        task = inference()
        await socket.send(task)
        await bench.tasks.wait_for(task["taskUUID"])
        bench.tasks.finish(task["taskUUID"], audioBase64Data=audio)
    await until(lambda: not bench.door._sockets._open)


async def test_what_is_dropped_while_it_is_sent_takes_nothing_else_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_socket, "MAX_UNSENT", 2)
    socket = await connect(bench)
    await socket.authenticate()
    (session,) = bench.door._sockets._sessions.values()
    big, *others = (Answer(({"audioBase64Data": "A" * size},)) for size in (24 << 20, 1, 2))
    session.push(big)
    (open_socket,) = bench.door._sockets._open
    await until(lambda: open_socket._req.transport.get_write_buffer_size() > 1 << 20)  # half of it is on its way
    for answer in others:
        session.push(answer)
    assert big not in session.unsent
    heard = [len((await socket.hear())["data"][0]["audioBase64Data"]) for _ in range(3)]
    assert heard == [24 << 20, 1, 2]


async def test_closing_the_door_says_goodbye(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        socket = await connect(bench)
        await socket.authenticate()
        closing = asyncio.create_task(bench.door.close())
        message = await socket.socket.receive(timeout=5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
        await closing


async def test_a_flood_of_messages_leaves_everyone_else_a_turn_between_them(bench: Bench) -> None:
    """Thousands come in one piece; the OSC door is on the same loop."""
    socket = await connect(bench)
    for _ in range(500):
        await socket.socket.send_str("[]")
    async with counted_turns() as turns:
        await socket.send({**PING, "taskUUID": "mark"})
        while (await socket.hear())["errors"][0].get("taskUUID") != "mark":
            pass
        assert turns.count > 500
