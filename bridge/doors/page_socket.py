"""The page's end of the address table: a WebSocket that speaks JSON where the OSC door speaks datagrams.

A frame is ``{"address": "/stembridge/...", "args": [...]}`` both ways. What comes in goes through the same table and
the same handlers; a ``ref`` comes back with what answers it. What goes out are answers and all events, thinned as OSC
thins them. A page that does not read is let go, so that it costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.desk import Desk
from bridge.doors.osc_handlers import Call, handler_for, queued_handler_for
from bridge.doors.osc_limits import Lines
from bridge.doors.osc_subscriptions import Outbox, Sender, Subscribers
from bridge.pairing import Pairing
from protocol.address_space import PREFIX, parse
from protocol.errors import BadArgument, Busy, StembridgeError
from protocol.live_messages import status_messages

log = logging.getLogger("stembridge.page")

MAX_FRAME_BYTES = 64 * 1024
MAX_UNREAD = 512
"""Frames that wait for a page before it is let go."""
HEARTBEAT_S = 20.0
_PATIENCE_S = 2.0


class _Connection:
    """One open page."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.unread: asyncio.Queue[str] = asyncio.Queue(MAX_UNREAD)
        self.is_lost = False

    def put(self, frame: str) -> None:
        try:
            self.unread.put_nowait(frame)
        except asyncio.QueueFull:
            self.is_lost = True

    async def write_on(self) -> None:
        """Send what is put, until the page is gone or too far behind."""
        while not self.is_lost:
            await self.socket.send_str(await self.unread.get())
        await self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")


class PageSockets:
    """All open pages of one daemon. `start` listening to the desk once there is one; `close` says goodbye."""

    def __init__(self, desk: Desk, pairing: Pairing, clock: Callable[[], float]) -> None:
        self._desk, self._pairing, self._clock = desk, pairing, clock
        self._open: dict[Sender, _Connection] = {}
        self._numbers = count(1)
        self._lines = Lines()
        self._timers: set[asyncio.TimerHandle] = set()
        self._subscribers = Subscribers(clock)
        self._outbox = Outbox(
            self._send, self._subscribers, clock, lambda: desk.session.describe(clock()), self._call_later
        )
        self._stop_listening = desk.listen(self._outbox.take)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One page, from its greeting to its end."""
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        # A negative port is no OSC client's: the sender's address is the page's, for handlers that ask where from.
        sender: Sender = (request.remote or "", -next(self._numbers))
        try:
            self._subscribers.add(sender, True, math.inf)
        except Busy as error:
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=error.sentence.encode()[:120])
            return socket
        connection = self._open[sender] = _Connection(socket)
        writer = asyncio.create_task(connection.write_on(), name="page socket")
        writer.add_done_callback(_swallow)
        try:
            self._greet(sender)
            async for message in socket:
                if message.type is not WSMsgType.TEXT or connection.is_lost:
                    break
                self._receive(sender, message.data)
                await asyncio.sleep(0)  # messages that came in one piece must not hold up the loop
        finally:
            self._subscribers.remove(sender)
            self._open.pop(sender, None)
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Hear no more events and close every page's socket."""
        self._stop_listening()
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self._lines.close(_PATIENCE_S)
        closing = [
            connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the daemon stops")
            for connection in self._open.values()
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    # --- in -----------------------------------------------------------------------------------------------------------
    def _receive(self, sender: Sender, text: str) -> None:
        reply: Callable[..., None] = partial(self._answer, sender, None)
        path = ""
        try:
            path, args, ref = _frame(text)
            reply = partial(self._answer, sender, ref)
            command = parse(path, args)
            if command.path in _NOT_HERE:
                raise BadArgument(f"{path} is for OSC: this socket hears all events as long as it is open.")
            call = Call(
                self._desk,
                self._subscribers,
                command,
                sender,
                self._desk.session,
                self._clock(),
                reply,
                f"page:{-sender[1]}",
                pairing=self._pairing,
            )
            queued = queued_handler_for(command)
            if queued is None:
                handler_for(command)(call)
            else:
                self._lines.put(sender, partial(self._run, queued, call))
        except Exception as error:
            _refuse(reply, error, path)

    async def _run(self, handler: Callable[[Call], Any], call: Call) -> None:
        with self._outbox.held(call.sender):
            try:
                await handler(call)
            except Exception as error:
                _refuse(call.reply, error, call.command.path)

    # --- out ----------------------------------------------------------------------------------------------------------
    def _greet(self, sender: Sender) -> None:
        """What was said before the page came."""
        for row in self._desk.session.describe(self._clock()):
            self._send(sender, "session/state", row)
        status = self._desk.live.status
        for name, values in status_messages(status) if status is not None else ():
            self._send(sender, name, values)

    def _send(self, sender: Sender, name: str, values: Sequence[object]) -> None:
        self._answer(sender, None, name, *values)

    def _answer(self, sender: Sender, ref: object, name: str, *values: object) -> None:
        connection = self._open.get(sender)
        if connection is None:
            return  # an OSC client that asked for this job hears it by OSC
        frame: dict[str, object] = {"address": f"{PREFIX}/{name}", "args": [_plain(value) for value in values]}
        if ref is not None:
            frame["ref"] = ref
        connection.put(json.dumps(frame, allow_nan=False))

    def _call_later(self, seconds: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(handle)
            call()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)


_NOT_HERE = (f"{PREFIX}/subscribe", f"{PREFIX}/unsubscribe")


def _frame(text: str) -> tuple[str, list[object], object]:
    """Address, arguments and reference of a frame; raises `BadArgument`."""
    try:
        frame = json.loads(text)
        path, args, ref = frame["address"], frame.get("args", []), frame.get("ref")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadArgument('A frame is JSON: {"address": "/stembridge/...", "args": [...]}.') from None
    is_plain = isinstance(args, list) and all(isinstance(arg, str | int | float | None) for arg in args)
    if not isinstance(path, str) or not is_plain or not isinstance(ref, str | int | None):
        raise BadArgument("A frame's address is text, its args a list of text and numbers, its ref text or a number.")
    return path, args, ref


def _refuse(reply: Callable[..., None], error: Exception, path: str) -> None:
    if isinstance(error, StembridgeError):
        reply("error", error.code, error.sentence, path[:255])
    else:
        log.error("the page asked for %s, which failed inside Stembridge", path[:255], exc_info=error)
        reply("error", "internal", "Something went wrong inside Stembridge; its log says more.", path[:255])


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int) or value is None else str(value)


def _swallow(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("a page is gone: %s", error)  # a connection that broke while something was being sent
