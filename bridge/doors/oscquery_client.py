"""One OSCQuery client on its WebSocket: what it listens to, what waits for it, and the line out to it.

It promises: sending never waits, and never fails; a client that does not read what it asked for is cut off when
`MAX_QUEUED` messages wait for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

from bridge.doors.osc_messages import datagram, reply_datagram
from protocol.address_space import OUTGOING, PREFIX
from protocol.address_types import Tail
from protocol.osc_query import Values, typed

log = logging.getLogger("stembridge.oscquery")

MAX_QUEUED = 1024
"""Of messages: two hundred jobs and a whole session are told at once."""

STEADY = ("job/progress", "live/state", "live/audio")
"""Told so often that only the last one counts."""


class Client:
    """`sender` is where it connects from; `name` stands for it in sessions and journals."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, sender: tuple[str, int]):
        self.socket, self.sender = socket, sender
        self.name = f"oscquery:{sender[0]}:{sender[1]}"
        self.listening: dict[str, Values | None] = {}
        """By path, the values that were told last."""
        self._transport = transport
        self._queue: asyncio.Queue[bytes | str] = asyncio.Queue(MAX_QUEUED)
        self._steady: dict[str, Sequence[Any]] = {}
        self._held: list[tuple[str, Sequence[Any]]] | None = None
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._writer = asyncio.get_running_loop().create_task(self._write())

    async def close(self, code: int, sentence: str) -> None:
        """Send nothing more, say why, close."""
        if self._writer is not None:
            self._writer.cancel()
            with suppress(asyncio.CancelledError):
                await self._writer
        with suppress(ConnectionError, RuntimeError):
            await self.socket.close(code=code, message=sentence.encode()[:120])

    def cut(self) -> None:
        """End the connection now; its handler hears of it."""
        if self._transport is not None:
            self._transport.abort()

    # --- out ----------------------------------------------------------------------------------------------------------
    def answer(self, name: str, *values: object) -> None:
        """The outgoing message `name` of the address table."""
        if OUTGOING[f"{PREFIX}/{name}"].tail is Tail.ANYTHING:
            self._put(reply_datagram(name, values))  # a pong's tail has no declared types
        else:
            self.tell(f"{PREFIX}/{name}", values)

    def tell(self, path: str, values: Values) -> None:
        """The message that says what is at `path`."""
        self._put(datagram(path, typed(path, values)))

    def command(self, command: str, data: object) -> None:
        """A command of the OSCQuery protocol."""
        self._put(json.dumps({"COMMAND": command, "DATA": data}))

    def event(self, name: str, values: Sequence[Any], asked_for_it: bool) -> bool:
        """Something happened: told if the client listens, or asked for it. True if it waits for `flush`."""
        if not asked_for_it and f"{PREFIX}/{name}" not in self.listening:
            return False
        if self._held is not None:
            self._held.append((name, values))
            return False
        if name in STEADY:
            self._steady[name] = values
            return True
        self.flush()  # no progress after the end
        self.answer(name, *values)
        return False

    def flush(self) -> None:
        """Tell the last of what comes steadily."""
        steady, self._steady = self._steady, {}
        for name, values in steady.items():
            self.answer(name, *values)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, events wait: a request is acknowledged before its job's events are told."""
        self._held = []
        try:
            yield
        finally:
            waiting, self._held = self._held, None
            for name, values in waiting:
                self.answer(name, *values)

    def _put(self, item: bytes | str) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            log.warning("%s does not read what it listens to; it was cut off", self.name)
            self.cut()

    async def _write(self) -> None:
        with suppress(ConnectionError, RuntimeError):  # it is gone
            while True:
                item = await self._queue.get()
                await (self.socket.send_str(item) if isinstance(item, str) else self.socket.send_bytes(item))
