"""OSCQuery on a real HTTP server over a desk in memory, and a client's side of its WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

from bridge.doors.osc_guard import decode
from bridge.doors.oscquery import OscQuery
from tests.support.osc import MemoryDesk, message


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    """A door on a real server, and everything that a test may want to change."""

    door: OscQuery
    desk: MemoryDesk
    wall: Clock
    session: ClientSession
    url: str
    unpaired: set[str]

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "application/json"
            return await response.json()

    async def status(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(self.url + path) as response:
            return response.status, await response.read()


async def _root(request: web.Request, door: OscQuery) -> web.StreamResponse:
    return await (door.socket if request.headers.get("Upgrade") else door.get)(request)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """The door on a real server on the loopback, at any free port."""
    desk, wall, unpaired = MemoryDesk(), Clock(1_800_000_000.0), set[str]()
    door = OscQuery(
        desk,
        osc_address=lambda: ("127.0.0.1", 9240),
        name="Stembridge on stage",
        clock=Clock(),
        wall=wall,
        serves=lambda ip: ip not in unpaired,
    )
    app = web.Application()
    app.router.add_get("/", partial(_root, door=door))
    app.router.add_get("/{path:.*}", door.get)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with ClientSession() as session:
        yield Served(door, desk, wall, session, f"http://{host}:{port}", unpaired)
        desk.gate.set()
        await door.close()
    await runner.cleanup()


async def heard(socket: ClientWebSocketResponse) -> tuple[Any, ...]:
    """The next message: an OSC address (without our prefix) and its arguments, or a command and its data."""
    message = await asyncio.wait_for(socket.receive(), 5)
    if message.type is WSMsgType.TEXT:
        told = json.loads(message.data)
        return told["COMMAND"], told["DATA"]
    assert message.type is WSMsgType.BINARY, message
    (osc,) = decode(message.data)
    return (osc.address.removeprefix("/stembridge/"), *osc.args)


async def until_pong(socket: ClientWebSocketResponse) -> list[tuple[Any, ...]]:
    """All that comes before a ping is answered."""
    await socket.send_bytes(message("/stembridge/ping", "mark"))
    said = []
    while (next_one := await heard(socket))[0] != "pong":
        said.append(next_one)
    return said


async def listen(socket: ClientWebSocketResponse, *paths: str, command: str = "LISTEN") -> list[tuple[Any, ...]]:
    for path in paths:
        await socket.send_json({"COMMAND": command, "DATA": f"/stembridge/{path}"})
    return await until_pong(socket)


Connect = Callable[[], Awaitable[ClientWebSocketResponse]]


@asynccontextmanager
async def connecting(served: Served) -> AsyncIterator[Connect]:
    """Opens sockets, and closes them at last."""
    sockets: list[ClientWebSocketResponse] = []

    async def connect() -> ClientWebSocketResponse:
        sockets.append(await served.session.ws_connect(served.url))
        return sockets[-1]

    yield connect
    for socket in sockets:
        await socket.close()
