"""The OSC door: datagrams in, session changes and requests to the desk; the core's events out.

It promises: no packet stops or slows the loop (bridge/doors/osc_guard.py measures it first); every message to
``/stembridge`` is answered to its sender by an ack or an error, nothing else is sent back; what REAPER streams is never
answered; time tags are kept by the loop's timer, never by sleeping, and only so far ahead and so many.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from bridge.desk import Desk
from bridge.doors.osc_guard import TimedMessage, decode
from bridge.doors.osc_handlers import Call, QueuedHandler, handler_for, queued_handler_for
from bridge.doors.osc_limits import Allowance, Lines, OncePer
from bridge.doors.osc_messages import reply_datagram
from bridge.doors.osc_schedule import Schedule
from bridge.doors.osc_subscriptions import Outbox, Sender, Subscribers
from protocol.address_space import OUTGOING, PREFIX, parse
from protocol.address_types import Command
from protocol.errors import BadPacket, StembridgeError, TooLate, UnknownAddress
from protocol.reaper_osc import fold_native, is_native

log = logging.getLogger("stembridge.osc")

MAX_AHEAD_S = 60.0
MAX_SCHEDULED = 256
COMPLAINTS_PER_S = 50
"""How many bad packets of one sender are answered: all of a person's mistakes, not a flood's."""
LOG_INTERVAL_S = 1.0
RECEIVE_BUFFER = 4 * 2**20
_PATIENCE_S = 5.0


class Internal(StembridgeError):
    """Something went wrong on our side."""

    code = "internal"


class OscDoor:
    """One UDP port; `address` is where it listens; `on_native` is called after each message of REAPER's own surface.

    `clock` is the daemon's (monotonic, seconds), `wall` the system's time, that of time tags.
    """

    def __init__(
        self,
        desk: Desk,
        host: str,
        port: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._desk, self._host, self._port = desk, host, port
        self._clock, self._wall = clock, wall
        self._transport: asyncio.DatagramTransport | None = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._timers: set[asyncio.TimerHandle] = set()
        self._schedule = Schedule(wall, lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))
        self._is_closing = False
        self.address = host
        self.on_native: Callable[[], None] = lambda: None
        self._lines = Lines()
        self._may_complain = Allowance(COMPLAINTS_PER_S, clock)
        self._may_log = OncePer(LOG_INTERVAL_S, clock)
        self._subscribers = Subscribers(clock)
        self._outbox = Outbox(
            self._send, self._subscribers, clock, lambda: desk.session.describe(clock()), self._call_later
        )

    async def start(self) -> int:
        """Listen; the port (that which was found, if 0 was asked for). Raises `OSError` if the port is in use."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        bound = _bound_socket(found[0][0], found[0][4])
        transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self), sock=bound)
        self._transport = transport
        self._stop_listening = self._desk.listen(self._outbox.take)
        self.address, port = str(bound.getsockname()[0]), int(bound.getsockname()[1])
        log.info("listening on %s port %d", self._host, port)
        return port

    async def close(self) -> None:
        """Take nothing new, let what is being journalled be answered, close the port."""
        self._is_closing = True
        self._schedule.close()
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self._lines.close(_PATIENCE_S)
        self._stop_listening()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # --- in -----------------------------------------------------------------------------------------------------------
    def receive(self, datagram: bytes, sender: Sender) -> None:
        """Take one datagram. Raises nothing."""
        if self._is_closing:
            return
        try:
            messages = decode(datagram)
        except BadPacket as error:
            self._complain(sender, error, "")
            return
        for message in messages:
            self._when_due(message, sender)

    def _when_due(self, message: TimedMessage, sender: Sender) -> None:
        ahead_s = 0.0 if message.due is None else message.due - self._wall()
        if ahead_s <= 0:
            self._take(message, sender)
        elif ahead_s > MAX_AHEAD_S:
            sentence = f"The time tag lies {ahead_s:.0f} s ahead; at most {MAX_AHEAD_S:.0f} s are kept. Send it later."
            self._refuse_time(sender, message, sentence)
        elif len(self._schedule) >= MAX_SCHEDULED:
            self._refuse_time(sender, message, f"{MAX_SCHEDULED} messages wait for their time already. Send it later.")
        else:
            assert message.due is not None
            self._schedule.put(message.due, partial(self._take, message, sender))

    def _call_later(self, seconds: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(handle)
            call()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)

    def _refuse_time(self, sender: Sender, message: TimedMessage, sentence: str) -> None:
        if _is_ours(message.address):
            self._fail(sender, message.address, TooLate(sentence))

    def _take(self, message: TimedMessage, sender: Sender) -> None:
        """Act on one message now: ours is answered, REAPER's is heard, anything else is complained about."""
        path = message.address
        try:
            if path in OUTGOING or path.startswith("#"):
                return  # an answer astray: answering it could go on for ever
            if _is_ours(path):
                self._dispatch(parse(path, message.args), sender)
            elif is_native(path):
                self._desk.tell(fold_native(self._desk.session, path, message.args, self._clock()))
                self.on_native()
            else:
                hint = f"Addresses begin with {PREFIX}/; docs/osc.md lists them."
                self._complain(sender, UnknownAddress(f"There is no address {path[:60]!r}. {hint}"), path)
        except Exception as error:
            self._fail(sender, path, error)

    def _dispatch(self, command: Command, sender: Sender) -> None:
        call = Call(
            self._desk,
            self._subscribers,
            command,
            sender,
            self._desk.session,
            self._clock(),
            lambda name, *values: self._send(sender, name, values),
        )
        queued = queued_handler_for(command)
        if queued is not None:
            self._lines.put(sender[:2], partial(self._run, queued, call))
        else:
            handler_for(command)(call)

    async def _run(self, handler: QueuedHandler, call: Call) -> None:
        with self._outbox.held(call.sender):
            try:
                await handler(call)
            except Exception as error:
                self._fail(call.sender, call.command.path, error, _job_id(call.command))

    # --- out ----------------------------------------------------------------------------------------------------------
    def send_datagram(self, datagram: bytes, to: Sender) -> None:
        """Send from the port that this door listens on; whoever answers is heard here. Nothing if it is closed."""
        if self._transport is None or self._transport.is_closing():
            return
        with suppress(OSError):  # the client is gone, or its address cannot be reached from here
            self._transport.sendto(datagram, to)

    def _send(self, sender: Sender, name: str, values: Sequence[object]) -> None:
        full = self._subscribers.wants_full_types(sender)
        self.send_datagram(reply_datagram(name, values, full), sender)

    def _fail(self, sender: Sender, path: str, error: Exception, job_id: str | None = None) -> None:
        """Answer an error; one that is not meant for users is logged with its traceback and answered as internal."""
        if not isinstance(error, StembridgeError):
            if self._may_log(path):
                log.error("could not take %s", path, exc_info=error)
            error = Internal(f"Something went wrong inside Stembridge ({type(error).__name__}); its log says more.")
        if _is_ours(path):
            known_id = () if job_id is None else (job_id,)
            self._send(sender, "error", (error.code, error.sentence, path[:255], *known_id))

    def _complain(self, sender: Sender, error: StembridgeError, path: str) -> None:
        """Answer and log what is not for us, as far as the sender's allowance goes."""
        if self._may_complain(sender[:2]):
            self._send(sender, "error", (error.code, error.sentence, path[:255]))
        if self._may_log("packet"):
            log.warning("refused a packet from %s port %s: %s", sender[0], sender[1], error)


class _Receiver(asyncio.DatagramProtocol):
    """What asyncio calls; hands everything to the door."""

    def __init__(self, door: OscDoor) -> None:
        self._door = door

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._door.receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        # A client that is gone: Linux reports ECONNREFUSED, Windows ConnectionResetError.
        log.debug("a message could not be delivered: %s", exc)


def _is_ours(path: str) -> bool:
    return path.startswith(f"{PREFIX}/")


def _job_id(command: Command) -> str | None:
    """The id that a request was about, so that its error can name it."""
    if "id" in command.options:
        return cast(str, command.options["id"])
    names_one = bool(command.address.args) and command.address.args[0].name == "id"
    return cast(str, command.values[0]) if names_one else None


def _keep_reading_on_windows(bound: socket.socket) -> None:
    """Switch off SIO_UDP_CONNRESET: with it, one client that is gone ends asyncio's reading on Windows for good.

    Python's own `ioctl` refuses that code. See CPython gh-91227 and gh-127057. Not run on Windows yet.
    """
    import ctypes

    off, returned = ctypes.c_ulong(0), ctypes.c_ulong(0)
    ctypes.windll.ws2_32.WSAIoctl(  # type: ignore[attr-defined, unused-ignore]
        bound.fileno(), 0x9800000C, ctypes.byref(off), ctypes.sizeof(off), None, 0, ctypes.byref(returned), None, None
    )


def _bound_socket(family: int, address: Any) -> socket.socket:
    """A UDP socket that shares its port with nobody, so that two daemons on one port are an error."""
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if sys.platform == "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            _keep_reading_on_windows(bound)
        with suppress(OSError):  # room for a burst, as far as the system allows
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        bound.bind(address)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
