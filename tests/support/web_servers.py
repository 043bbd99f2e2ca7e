"""Web servers on the loopback for the tests of what asks other servers: honest ones, and ones that lie."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.web_client import SafeClient
from bridge.web_guard import WebFailed, WebRefused
from bridge.web_lookup import Lookup

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LOOPBACK = ("127.0.0.0/8",)
WAV = b"RIFF" + bytes(range(256)) * 1000
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Served:
    """A running server and what came to it."""

    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: list[web.Request] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


@asynccontextmanager
async def served(
    handler: Handler, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    """A real aiohttp server that answers everything with `handler`; bodies are read before it is called."""
    seen = Served(host)

    async def noted(request: web.Request) -> web.StreamResponse:
        await request.read()
        seen.requests.append(request)
        return await handler(request)

    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{rest:.*}", noted)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        seen.port = runner.addresses[0][1]
        yield seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(talk: Talk, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Served]:
    """A server that says what it likes once the head of a request came; `closed` is set when the client hung up."""
    seen = Served(host)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            seen.asked.set()
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            seen.closed.set()
            tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(answer, host, port)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def says(*pieces: bytes) -> Talk:
    """Writes that and hangs up."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return talk


def says_for_ever(head: bytes, piece: bytes) -> Talk:
    """Writes the head once and the piece until the client hangs up."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # a drain that need not wait lets nobody else run

    return talk


def falls_silent(head: bytes = b"") -> Talk:
    """Writes the head and then nothing, until the client hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await reader.read()

    return talk


async def answer_wav(_: web.Request) -> web.Response:
    """A file."""
    return web.Response(body=WAV)


def answer_redirect(to: str, status: int = 302) -> Handler:
    """Sends everybody elsewhere."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": to})

    return answer


# --- clients ----------------------------------------------------------------------------------------------------------
def names(**table: list[list[str]]) -> Lookup:
    """A resolver that knows only these names (``_`` for a dot); each lookup takes the next answer of its list."""
    answers = {name.replace("_", "."): iter(list_) for name, list_ in table.items()}

    def lookup(host: str) -> list[str]:
        if host not in answers:
            raise OSError(f"no {host}")
        return next(answers[host])

    return lookup


async def fetched(client: SafeClient, url: str) -> bytes:
    """All of it."""
    async with aclosing(client.fetch(url)) as pieces:
        return b"".join([piece async for piece in pieces])


async def received(client: SafeClient, url: str) -> tuple[bytes, WebFailed | WebRefused | None]:
    """What arrived before the error, and the error."""
    pieces = b""
    try:
        async with aclosing(client.fetch(url)) as iterator:
            async for piece in iterator:
                pieces += piece
    except (WebRefused, WebFailed) as error:
        return pieces, error
    return pieces, None


@asynccontextmanager
async def clients() -> AsyncIterator[Callable[..., SafeClient]]:
    """Makes clients that reach the loopback and know the usual names unless told otherwise; all are closed at last."""
    made: list[SafeClient] = []

    def make(*arguments: Any, **named: Any) -> SafeClient:
        named.setdefault("lookup", names())
        made.append(SafeClient(*(arguments or (LOOPBACK,)), **named))
        return made[-1]

    yield make
    for one in made:
        await one.close()
