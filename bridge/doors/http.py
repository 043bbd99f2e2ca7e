"""The HTTP door: the task API, OSCQuery and the page on one port, in the daemon's own loop.

It listens on this machine only, and elsewhere where the configuration says so; there only paired addresses are served,
and everybody else gets no byte (`bridge.doors.http_gate`). Every request passes the guard (`bridge.doors.http_guard`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

from bridge.doors.http_gate import Gate
from bridge.doors.http_guard import Guard, HttpRefused
from bridge.doors.http_requests import MediaFiles, TaskRequests
from bridge.doors.http_socket import TaskSockets
from bridge.doors.http_tasks import Service, TaskRunner
from bridge.web_config import HttpConfig
from protocol.api_errors import ApiError

log = logging.getLogger("stembridge.http")

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KEEPALIVE_S = 75.0
_LINGER_S = 1.0
"""What is still sent after a refusal is read so long, or the client would not get to read the refusal."""
_LET_GO_S = 2.0
"""Answers that are on their way when the door closes get so long."""


class Pairing(Protocol):
    """What the door needs of `bridge.pairing.Pairing`."""

    def serves(self, ip: str) -> bool: ...

    def still_serves(self, ip: str) -> bool: ...

    def pair(self, ip: str, pin: object, /) -> bool: ...

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]: ...


class Queries(Protocol):
    """What the door needs of `bridge.doors.oscquery.OscQuery`."""

    async def get(self, request: web.Request) -> web.StreamResponse: ...

    async def socket(self, request: web.Request) -> web.StreamResponse: ...

    async def close(self) -> None: ...


class Pages(Protocol):
    """What the door needs of `bridge.doors.page.Page`."""

    def routes(self) -> Sequence[web.AbstractRouteDef]: ...

    async def index(self, request: web.Request) -> web.StreamResponse: ...

    async def close(self) -> None: ...


class HttpDoor:
    """`start` it, `listen_on` other addresses when they come and go, `close` it."""

    def __init__(
        self,
        config: HttpConfig,
        service: Service,
        media: MediaFiles,
        *,
        pairing: Pairing,
        oscquery: Queries,
        page: Pages,
        clock: Callable[[], float],
    ) -> None:
        self._oscquery, self._page, self._pairing = oscquery, page, pairing
        self._names = frozenset(_own_names())
        self._guard = Guard(config, pairing.serves, lambda: self._names, clock)
        self._runner = TaskRunner(service, self._guard)
        max_bytes = int(config.max_body_mb * 1e6)
        self._sockets = TaskSockets(self._runner, self._guard, max_bytes, clock)
        self.requests = requests = TaskRequests(self._runner, media, self._guard, max_bytes)
        self._app = web.Application(middlewares=[self._guard.middleware])
        self._app.on_response_prepare.append(self._guard.dress)
        self._app.add_routes(
            [
                web.post("/v1", requests.post),
                web.get("/v1", self._task_socket, allow_head=False),
                web.get("/v1/media/{name}", requests.media),
                web.post("/v1/media", requests.upload),
                web.get("/v1/openapi.json", requests.openapi),
                web.get("/v1/schema/audioInference.json", requests.task_schema),
                web.get("/pair/{pin}", self._pair),
                web.get("/", self._root),
                web.get("/stembridge{rest:(/.*)?}", oscquery.get),
                *page.routes(),
            ]
        )
        # Compressed requests are refused, so nothing may be unpacked before that is looked at.
        self._runner_of_app = web.AppRunner(
            self._app,
            handle_signals=False,
            access_log=None,
            auto_decompress=False,
            logger=_wire_log(),
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=_LINGER_S,
            shutdown_timeout=_LET_GO_S,
        )
        self._gate: Gate | None = None
        self._servers: dict[str, asyncio.Server] = {}
        self._refused: set[str] = set()
        self._stop_listening: Callable[[], None] = lambda: None
        self.port = 0

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen on the first of `hosts`, which must be possible, and on the others; the port (0: a free one).

        Raises `OSError` if the port is taken; `close` it then too.
        """
        await self._runner_of_app.setup()
        assert self._runner_of_app.server is not None
        self._gate = Gate(self._runner_of_app.server, self._pairing.serves, self._pairing.pair)
        self._stop_listening = self._pairing.listen(partial(self._gate.drop_unserved, self._pairing.still_serves))
        await self._open(hosts[0], port)
        self.port = int(self._servers[hosts[0]].sockets[0].getsockname()[1])
        await self.listen_on(hosts)
        return self.port

    async def listen_on(self, hosts: Iterable[str]) -> None:
        """Listen on these addresses from now on, all at the one port.

        One that cannot be opened is logged once, and tried again with the next call.
        """
        wanted = tuple(dict.fromkeys(hosts))
        for host in set(self._servers).difference(wanted):
            self._servers.pop(host).close()
        for host in wanted:
            if host in self._servers:
                continue
            try:
                await self._open(host, self.port)
                self._refused.discard(host)
            except OSError as error:
                level = logging.INFO if host == "::1" else logging.WARNING  # many systems have no IPv6
                if host not in self._refused:
                    log.log(level, "HTTP port %d on %s cannot be opened (%s).", self.port, host, error)
                self._refused.add(host)

    async def _open(self, host: str, port: int) -> None:
        assert self._gate is not None
        # With SO_REUSEADDR two programs could listen on one port on Windows; asyncio sets it elsewhere only.
        self._servers[host] = await asyncio.get_running_loop().create_server(self._gate.protocol, host, port)

    async def close(self) -> None:
        """Let held requests go with an answer that says how to go on, close all sockets and stop listening."""
        self._stop_listening()
        self._stop_listening = lambda: None
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        if self._gate is not None:
            self._gate.drop_strangers()
        self._runner.stopping.set()
        for closing in (self._sockets.close, self._oscquery.close, self._page.close):
            await closing()
        await self._runner_of_app.cleanup()

    # --- requests that more than one part answers ---------------------------------------------------------------------
    async def _root(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket is OSCQuery's; a browser gets the page; everything else asks OSCQuery for the tree."""
        if _wants_socket(request):
            return await self._oscquery.socket(request)
        if not request.query_string and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            return await self._page.index(request)
        return await self._oscquery.get(request)

    async def _task_socket(self, request: web.Request) -> web.StreamResponse:
        if _wants_socket(request):
            return await self._sockets.serve(request)
        message = "Send tasks to /v1 by POST, or open a WebSocket here; GET /v1/openapi.json describes them."
        raise HttpRefused(ApiError("methodNotAllowed", message, status=405))

    async def _pair(self, _request: web.Request) -> web.StreamResponse:
        """Whoever gets here is served: the gate has looked at the PIN of all others."""
        return web.Response(status=303, headers={hdrs.LOCATION: "/", hdrs.CACHE_CONTROL: "no-store"})


def _wire_log() -> logging.Logger:
    """Where aiohttp tells of faults; not of every client that speaks no HTTP, which is answered 400."""
    wire = logging.getLogger("stembridge.http.wire")
    wire.addFilter(_is_a_fault)
    return wire


def _is_a_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _wants_socket(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def _own_names() -> Iterable[Any]:
    """The names that this machine goes by on its network; `Guard` adds the addresses."""
    with suppress(OSError):
        name = socket.gethostname().lower().rstrip(".")
        label = name.partition(".")[0]
        yield from (name, label, f"{label}.local")
