"""OSCQuery: what a controller can ask of us by HTTP, and a WebSocket on which values come and messages go.

It promises: what it says comes from the address table (protocol/osc_query.py); a message that comes on a socket goes
through the same guard, table and handlers as a datagram (bridge/doors/osc.py), and is answered on that socket; values
are told at most `FLUSHES_PER_S` times a second, the last one always. Who may connect at all the HTTP door judges;
`serves` is asked again while a connection lasts, since a controller can be unpaired.

Source: https://github.com/Vidvox/OSCQueryProposal
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, assert_never

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.desk import Desk
from bridge.doors.osc import COMPLAINTS_PER_S, MAX_AHEAD_S, MAX_SCHEDULED, Internal
from bridge.doors.osc_guard import MAX_DATAGRAM, TimedMessage, decode
from bridge.doors.osc_handlers import Call, QueuedHandler, handler_for, queued_handler_for
from bridge.doors.osc_limits import Allowance, Lines, OncePer
from bridge.doors.osc_schedule import Schedule
from bridge.doors.osc_subscriptions import Subscribers, messages_for
from bridge.doors.oscquery_client import Client
from protocol import osc_query
from protocol.address_space import OUTGOING, PREFIX, parse
from protocol.address_types import Command
from protocol.errors import BadArgument, BadPacket, StembridgeError, TooLate
from protocol.events import (
    Event,
    JobChanged,
    JobProgressed,
    LiveChanged,
    LivePlaced,
    RequestRefused,
    SessionChanged,
    TakeDelivered,
)
from protocol.live_messages import Message, placed_message, status_messages

log = logging.getLogger("stembridge.oscquery")

MAX_CLIENTS = 32
FLUSHES_PER_S = 20
HEARTBEAT_S = 20.0
_PATIENCE_S, _GOODBYE_S = 5.0, 1.0
_EXTENSIONS = (*osc_query.OPTIONAL_ATTRIBUTES, "LISTEN", "PATH_CHANGED")
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound
_SESSION_STATE = f"{PREFIX}/session/state"
_SUBSCRIPTION = (f"{PREFIX}/subscribe", f"{PREFIX}/unsubscribe")


class OscQuery:
    """`osc_address` tells where the OSC door listens, `name` is what controllers show.

    `clock` is the daemon's (monotonic, seconds), `wall` the system's time, that of time tags.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        osc_address: Callable[[], tuple[str, int]],
        name: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        serves: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._desk, self._osc_address, self._name = desk, osc_address, name
        self._clock, self._wall, self._serves = clock, wall, serves
        self._clients: set[Client] = set()
        self._heard: dict[str, Sequence[Any]] = {}
        self._changed: set[str] = set()
        self._shapes: dict[str, str] = {}
        self._flush_timer: asyncio.TimerHandle | None = None
        self._next_flush_at = 0.0
        self._lines = Lines()
        self._schedule = Schedule(wall, lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))
        self._may_complain = Allowance(COMPLAINTS_PER_S, clock)
        self._may_log = OncePer(1.0, clock)
        self._stop_listening: Callable[[], None] = desk.listen(self._take_event)

    async def close(self) -> None:
        """Let what is being journalled be answered, then close every socket."""
        stop, self._stop_listening = self._stop_listening, lambda: None
        stop()
        self._schedule.close()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        await self._lines.close(_PATIENCE_S)
        going = (client.close(WSCloseCode.GOING_AWAY, "Stembridge ends.") for client in tuple(self._clients))
        await asyncio.gather(*going)

    # --- HTTP ---------------------------------------------------------------------------------------------------------
    async def get(self, request: web.Request) -> web.Response:
        """A node with all below it, or the attributes that the query names; ``HOST_INFO`` on any path."""
        asked = [part.partition("=")[0] for part in request.query_string.split("&") if part]
        if "HOST_INFO" in asked:
            return _json(self._host_info(request))
        node = osc_query.find(request.path)
        if node is None:
            return web.Response(status=404, text=f"There is no address {request.path[:200]}; GET / lists them all.\n")
        unknown = [name for name in asked if name not in osc_query.ATTRIBUTES]
        if unknown:
            known = ", ".join((*osc_query.ATTRIBUTES, "HOST_INFO"))
            return web.Response(status=400, text=f"There is no attribute {unknown[0][:60]!r}; there are {known}.\n")
        if "VALUE" in asked and not node.access & 1:
            return web.Response(status=204)
        shown = osc_query.tree(self._value_of, node)
        return _json({name: shown[name] for name in asked if name in shown} if asked else shown)

    def _value_of(self, path: str) -> osc_query.Values | None:
        return self._heard.get(path) if path in OUTGOING else osc_query.value_in(self._desk.session, path)

    def _host_info(self, request: web.Request) -> dict[str, Any]:
        reached = request.transport.get_extra_info("sockname") if request.transport is not None else None
        here, http_port = (str(reached[0]), int(reached[1])) if reached else ("127.0.0.1", 0)
        osc_ip, osc_port = self._osc_address()
        return {
            "NAME": self._name,
            "EXTENSIONS": dict.fromkeys(_EXTENSIONS, True),
            "OSC_IP": reachable(osc_ip, here),
            "OSC_PORT": osc_port,
            "OSC_TRANSPORT": "UDP",
            "WS_IP": here,
            "WS_PORT": http_port,
        }

    # --- the WebSocket ------------------------------------------------------------------------------------------------
    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes."""
        if len(self._clients) >= MAX_CLIENTS:
            return web.Response(status=503, text=f"{MAX_CLIENTS} OSCQuery clients are connected already.\n")
        socket = web.WebSocketResponse(
            max_msg_size=MAX_DATAGRAM, heartbeat=HEARTBEAT_S, timeout=_GOODBYE_S, compress=False
        )
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        client = Client(socket, request.transport, (str(peer[0]), int(peer[1])) if peer else ("", 0))
        if not self._clients:
            self._shapes = self._shapes_now()
        self._clients.add(client)
        try:
            await socket.prepare(request)
            client.start()
            async for message in socket:
                if not self._serves(client.sender[0]):
                    client.cut()
                elif message.type is WSMsgType.TEXT:
                    self._obey(client, message.data)
                elif message.type is WSMsgType.BINARY:
                    self._receive(client, message.data)
                await asyncio.sleep(0)  # thousands may have come at once, and the loop has others to serve
        finally:
            self._clients.discard(client)
            await client.close(WSCloseCode.OK, "")
        return socket

    def _obey(self, client: Client, text: str) -> None:
        """LISTEN and IGNORE; the protocol has no answer to anything else."""
        try:
            told = json.loads(text)
            command, path = told["COMMAND"], told["DATA"]
        except (ValueError, TypeError, KeyError, RecursionError):
            command, path = None, None
        node = osc_query.find(path) if isinstance(path, str) else None
        if command == "LISTEN" and node is not None and node.row is not None:
            values = self._value_of(node.path) if node.access == 3 else None
            client.listening[node.path] = values
            if values is not None:  # it may have changed since the client asked for the tree
                client.tell(node.path, values)
        elif command == "IGNORE" and node is not None:
            client.listening.pop(node.path, None)
        elif self._may_log("command"):
            log.warning("%s sent what OSCQuery does not know: %.100s", client.name, text)

    # --- OSC in -------------------------------------------------------------------------------------------------------
    def _receive(self, client: Client, packet: bytes) -> None:
        try:
            messages = decode(packet)
        except BadPacket as error:
            if self._may_complain(client.name):
                self._fail(client, "", error)
            return
        for message in messages:
            ahead_s = 0.0 if message.due is None else message.due - self._wall()
            if message.due is None or ahead_s <= 0:
                self._take(client, message)
            elif ahead_s > MAX_AHEAD_S or len(self._schedule) >= MAX_SCHEDULED:
                sentence = f"A time tag may lie {MAX_AHEAD_S:.0f} s ahead, and {MAX_SCHEDULED} messages may wait."
                self._fail(client, message.address, TooLate(f"{sentence} Send it later."))
            else:
                self._schedule.put(message.due, partial(self._take, client, message))

    def _take(self, client: Client, message: TimedMessage) -> None:
        if message.address in OUTGOING or message.address.startswith("#"):
            return  # an answer astray
        try:
            command = parse(message.address, message.args)
            if command.path in _SUBSCRIPTION:
                raise BadArgument(f"{command.path} is for UDP. On a WebSocket send LISTEN with an address.")
            self._dispatch(client, command)
        except Exception as error:
            self._fail(client, message.address, error)

    def _dispatch(self, client: Client, command: Command) -> None:
        session, now = self._desk.session, self._clock()
        nobody = Subscribers(self._clock)
        call = Call(self._desk, nobody, command, client.sender, session, now, client.answer, client.name)
        queued = queued_handler_for(command)
        if queued is not None:
            self._lines.put(client.name, partial(self._run, client, queued, call))
        else:
            handler_for(command)(call)

    async def _run(self, client: Client, handler: QueuedHandler, call: Call) -> None:
        with client.held():
            try:
                await handler(call)
            except Exception as error:
                self._fail(client, call.command.path, error, call.command.job_id)

    def _fail(self, client: Client, path: str, error: Exception, job_id: str | None = None) -> None:
        if not isinstance(error, StembridgeError):
            if self._may_log(path):
                log.error("could not take %s", path, exc_info=error)
            error = Internal(f"Something went wrong inside Stembridge ({type(error).__name__}); its log says more.")
        client.answer("error", error.code, error.sentence, path[:255], *(() if job_id is None else (job_id,)))

    # --- events out ---------------------------------------------------------------------------------------------------
    def _take_event(self, event: Event) -> None:
        if isinstance(event, SessionChanged):
            if self._clients:
                self._changed.update(event.fields)
                self._flush_soon()
            return
        messages, reply_to = _told(event)
        for name, values in messages:
            self._heard[f"{PREFIX}/{name}"] = values
            waiting = [client.event(name, values, client.name in reply_to) for client in self._clients]
            if any(waiting):
                self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_timer is None:
            wait_s = max(0.0, self._next_flush_at - self._clock())
            self._flush_timer = asyncio.get_running_loop().call_later(wait_s, self._flush)

    def _flush(self) -> None:
        """Tell what changed since the last time."""
        self._flush_timer = None
        self._next_flush_at = self._clock() + 1.0 / FLUSHES_PER_S
        changed, self._changed = self._changed, set()
        for client in tuple(self._clients):
            if not self._serves(client.sender[0]):
                client.cut()
        if changed:
            self._tell_shapes()
            self._tell_values()
            self._tell_state(changed)
        for client in self._clients:
            client.flush()

    def _shapes_now(self) -> dict[str, str]:
        return {path: osc_query.type_tags(path, self._value_of(path)) for path in osc_query.REPEATED}

    def _tell_shapes(self) -> None:
        before, self._shapes = self._shapes, self._shapes_now()
        for path in (path for path, tags in self._shapes.items() if tags != before[path]):
            for client in self._clients:
                client.command("PATH_CHANGED", path)

    def _tell_values(self) -> None:
        wanted = {path for client in self._clients for path in client.listening if path not in OUTGOING}
        now = {path: self._value_of(path) for path in wanted}
        for client in self._clients:
            for path, before in client.listening.items():
                values = now.get(path)
                if values is not None and values != before:
                    client.tell(path, values)
                    client.listening[path] = values

    def _tell_state(self, changed: Iterable[str]) -> None:
        listeners = [client for client in self._clients if _SESSION_STATE in client.listening]
        for row in self._desk.session.describe(self._clock()) if listeners else ():
            for client in listeners if row[0] in changed else ():
                client.tell(_SESSION_STATE, row)


def reachable(osc_ip: str, here: str) -> str:
    """Where a client that reached us at `here` reaches an OSC door that listens on `osc_ip`.

    A daemon that serves the network listens on the loopback and on every address on which its HTTP door does.
    """
    is_remote = not ipaddress.ip_address(here.partition("%")[0]).is_loopback
    is_local_door = ipaddress.ip_address(osc_ip.partition("%")[0]).is_loopback
    return here if osc_ip in _ANYWHERE or (is_remote and is_local_door) else osc_ip


def _told(event: Event) -> tuple[Sequence[Message], Sequence[str]]:
    """The messages that say what happened, and the clients that asked for it."""
    match event:
        case JobChanged() | JobProgressed() | TakeDelivered():
            return messages_for(event), event.job.reply_to
        case LiveChanged():
            return status_messages(event.status), event.reply_to
        case LivePlaced():
            return [placed_message(event.placed)], event.reply_to
        case RequestRefused():
            return [("error", (event.code, event.sentence, event.address))], ()
        case SessionChanged():
            return [], ()
        case _:
            assert_never(event)


def _json(shown: dict[str, Any]) -> web.Response:
    text = json.dumps(shown, allow_nan=False)
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})
