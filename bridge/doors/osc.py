"""The OSC door: datagrams in, session changes and requests to the desk; the core's events out.

It promises: who is not paired (bridge/pairing.py) gets nothing and costs nothing: of what it sends, only a PIN is
decoded; no packet stops or slows the loop (bridge/doors/osc_guard.py measures it first); every message to
``/stembridge`` is answered to its sender by an ack or an error, nothing else is sent back; what REAPER streams is never
answered; time tags are kept by the loop's timer, never by sleeping, and only so far ahead and so many.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from bridge.desk import Desk
from bridge.doors.osc_guard import TimedMessage, decode
from bridge.doors.osc_handlers import Call, QueuedHandler, handler_for, queued_handler_for
from bridge.doors.osc_limits import Allowance, Lines, OncePer
from bridge.doors.osc_messages import reply_datagram
from bridge.doors.osc_schedule import Schedule
from bridge.doors.osc_sockets import Sockets, Way
from bridge.doors.osc_subscriptions import Outbox, Sender, Subscribers
from bridge.pairing import Pairing
from protocol.address_space import OUTGOING, PREFIX, parse
from protocol.address_types import Command
from protocol.errors import BadPacket, StembridgeError, TooLate, UnknownAddress
from protocol.reaper_osc import fold_native, is_native

log = logging.getLogger("stembridge.osc")

MAX_AHEAD_S = 60.0
MAX_SCHEDULED = 256
COMPLAINTS_PER_S = 50
"""How many bad packets of one sender are answered: all of a person's mistakes, not a flood's."""
LOG_INTERVAL_S, STRANGERS_LOG_INTERVAL_S = 1.0, 60.0
_PATIENCE_S = 5.0

_PAIR = f"{PREFIX}/pair"
_KNOCK, _LONGEST_KNOCK = _PAIR.encode() + b"\0", 64
"""How a PIN from elsewhere begins, and its most bytes: whatever else comes from there is dropped undecoded."""


class Internal(StembridgeError):
    """Something went wrong on our side."""

    code = "internal"


class OscDoor:
    """One UDP `port`; `address` is where it listens first.

    `on_native` is called after each message of REAPER's own surface.
    `clock` is the daemon's (monotonic, seconds), `wall` the system's time, that of time tags. `pairing` says who is
    served; None: this machine alone.
    """

    def __init__(
        self,
        desk: Desk,
        host: str,
        port: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        pairing: Pairing | None = None,
    ) -> None:
        self._desk, self._host, self.port = desk, host, port
        self._clock, self._wall = clock, wall
        self._pairing = pairing or Pairing(None)
        self._sockets = Sockets(self.receive)
        self._refused: set[str] = set()
        self._stop_listening: Callable[[], None] = lambda: None
        self._timers: set[asyncio.TimerHandle] = set()
        self._schedule = Schedule(wall, lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))
        self._is_closing = False
        self.address = host
        self.on_native: Callable[[], None] = lambda: None
        self._lines = Lines()
        self._may_complain = Allowance(COMPLAINTS_PER_S, clock)
        self._may_log = OncePer(LOG_INTERVAL_S, clock)
        self._may_log_strangers = OncePer(STRANGERS_LOG_INTERVAL_S, clock)
        self._subscribers = Subscribers(clock)
        self._outbox = Outbox(
            self._send, self._subscribers, clock, lambda: desk.session.describe(clock()), self._call_later
        )

    async def start(self) -> int:
        """Listen; the port (that which was found, if 0 was asked for). Raises `OSError` if the port is in use."""
        self.address, self.port = await self._sockets.open(self._host, self.port)
        self._stop_listening = self._desk.listen(self._outbox.take)
        log.info("listening on %s port %d", self._host, self.port)
        return self.port

    async def listen_on(self, hosts: Sequence[str]) -> None:
        """Listen on the same port at these addresses too, and no longer at earlier ones.

        One that cannot be opened is logged once, and tried again with the next call.
        """
        for host in self._sockets.hosts:
            if host not in (self.address, *hosts):
                self._sockets.close(host)
        for host in hosts:
            if host in self._sockets.hosts or self._is_closing:
                continue
            try:
                await self._sockets.open(host, self.port)
                log.info("listening on %s port %d too", host, self.port)
                self._refused.discard(host)
            except OSError as error:
                if host not in self._refused:
                    log.warning("OSC does not listen on %s port %d: it cannot be opened (%s).", host, self.port, error)
                self._refused.add(host)

    async def close(self) -> None:
        """Take nothing new, let what is being journalled be answered, close the port."""
        self._is_closing = True
        self._schedule.close()
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self._lines.close(_PATIENCE_S)
        self._stop_listening()
        self._sockets.close()

    # --- in -----------------------------------------------------------------------------------------------------------
    def receive(self, datagram: bytes, sender: Sender, way: Way) -> None:
        """Take one datagram that came by `way`. Raises nothing."""
        if self._is_closing or not (self._pairing.serves(sender[0]) or self._pairs(datagram, sender)):
            return
        self._sockets.remember(sender, way)
        try:
            messages = decode(datagram)
        except BadPacket as error:
            self._complain(sender, error, "")
            return
        for message in messages:
            self._when_due(message, sender)

    def _pairs(self, datagram: bytes, stranger: Sender) -> bool:
        """Is this the right PIN? Nothing else from someone who is not paired is as much as decoded."""
        is_knock = len(datagram) <= _LONGEST_KNOCK and datagram.startswith(_KNOCK)
        if is_knock and self._pairing.may_try(stranger[0]):
            with suppress(BadPacket):
                (message,) = decode(datagram)
                if len(message.args) == 1 and self._pairing.pair(stranger[0], message.args[0]):
                    return True
        if self._may_log_strangers(""):
            what = "a PIN that is not right" if is_knock else "a message"
            log.warning("dropped %s from %s, which is not paired: see `stembridge pair`.", what, stranger[0])
        return False

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
            self._reply_at(sender),
            pairing=self._pairing,
            reply_at=self._reply_at,
        )
        queued = queued_handler_for(command)
        if queued is not None:
            self._lines.put(sender[:2], partial(self._run, queued, call))
        else:
            handler_for(command)(call)

    def _reply_at(self, sender: Sender) -> Callable[..., None]:
        return lambda name, *values: self._send(sender, name, values)

    async def _run(self, handler: QueuedHandler, call: Call) -> None:
        with self._outbox.held(call.sender):
            try:
                await handler(call)
            except Exception as error:
                self._fail(call.sender, call.command.path, error, call.command.job_id)

    # --- out ----------------------------------------------------------------------------------------------------------
    def send_datagram(self, datagram: bytes, to: Sender) -> None:
        """Send from the port that this door listens on; whoever answers is heard here. Nothing if it is closed."""
        self._sockets.send(datagram, to)

    def _send(self, sender: Sender, name: str, values: Sequence[object]) -> None:
        if not self._pairing.still_serves(sender[0]):  # unpaired since it asked
            return
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


def _is_ours(path: str) -> bool:
    return path.startswith(f"{PREFIX}/")
