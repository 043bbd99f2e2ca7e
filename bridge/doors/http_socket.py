"""The task API over a WebSocket: the same tasks, and results pushed as they come.

The first message authenticates and names a session. What a connection missed waits for five minutes for one that comes
back with that session's UUID; later, `getResponse` answers all the same. Results and problems travel in messages of
their own, as clients sort a message by either. Who does not read what it is sent is let go: nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.api.values import Answer
from bridge.doors.http_gate import peer_ip
from bridge.doors.http_guard import Guard, HttpRefused
from bridge.doors.http_json import QUICK_BYTES, chars, dump_pieces
from bridge.doors.http_tasks import TaskRunner, about, caller_of, merged
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import ApiTask, Authentication

log = logging.getLogger("stembridge.http")

MAX_SOCKETS = 64
MAX_MESSAGE_BYTES = 32 << 20
"""Larger audio goes by POST: a message of a WebSocket is taken in one piece, which holds up the loop."""
RESUME_S = 300.0
"""A session is kept so long for a connection that comes back."""
MAX_SESSIONS = 256
MAX_UNSENT, MAX_UNSENT_CHARS = 256, 64 << 20
MAX_AT_WORK = 16
"""Messages of one connection whose tasks are being accepted; a generation task that runs is not at work here."""
HEARTBEAT_S = 30.0
_AUTHENTICATE_S = 15.0
_UNREAD_S = 30.0
_GOODBYE_S = 1.0


@dataclass(eq=False)
class _Session:
    """What is to be told to one client, whether it is connected or not. `uuid` is empty before it has authenticated."""

    uuid: str
    socket: web.WebSocketResponse | None = None
    left: float = 0.0
    """When its connection ended, by the clock; counts while `socket` is None."""
    unsent: deque[Answer] = field(default_factory=deque)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, answer: Answer) -> None:
        """Tell it, now or when it is back; of too much that waits, the oldest goes: `getResponse` tells it again."""
        if answer.data:
            self.unsent.append(Answer(data=answer.data))
        if answer.errors:
            self.unsent.append(Answer(errors=answer.errors))
        while len(self.unsent) > 1 and (
            len(self.unsent) > MAX_UNSENT or sum(chars(answer.data) for answer in self.unsent) > MAX_UNSENT_CHARS
        ):
            self.unsent.popleft()
        self.more.set()


class TaskSockets:
    """All open WebSockets of the task API, and the sessions of those that may come back."""

    def __init__(self, runner: TaskRunner, guard: Guard, max_bytes: int, clock: Callable[[], float]) -> None:
        self.runner, self.guard, self._clock = runner, guard, clock
        self._max_bytes = min(max_bytes, MAX_MESSAGE_BYTES)
        self._open: set[web.WebSocketResponse] = set()
        self._sessions: dict[str, _Session] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from its handshake to its end."""
        if len(self._open) >= MAX_SOCKETS:
            message = f"{MAX_SOCKETS} WebSockets are open already. Close one, or use POST /v1."
            raise HttpRefused(ApiError("serviceUnavailable", message, status=503))
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=self._max_bytes, compress=False)
        self._open.add(socket)
        try:
            await socket.prepare(request)
            await _Connection(self, request, socket).run()
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to all, and let what they asked for be journalled."""
        going = [socket.close(code=WSCloseCode.GOING_AWAY, message=b"stopping") for socket in self._open]
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await asyncio.gather(*going, *self._at_work, return_exceptions=True)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run what outlives the connection that it came on."""
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return task

    # --- sessions -----------------------------------------------------------------------------------------------------
    def join(self, uuid: str | None, socket: web.WebSocketResponse) -> _Session:
        """The session of that UUID if it is kept still, else a new one; `socket` is its connection from now on."""
        self._forget()
        session = self._sessions.get(uuid or "") or _Session(str(uuid4()))
        self._sessions[session.uuid] = session
        if session.socket is not None:  # the client knows better than we that it is gone
            self.spawn(_close(session.socket))
        session.socket = socket
        return session

    def leave(self, session: _Session, socket: web.WebSocketResponse) -> None:
        """That connection has ended."""
        if session.socket is socket:
            session.socket, session.left = None, self._clock()
            # Even if nobody else ever comes; a little later, as some systems' clocks are coarse.
            asyncio.get_running_loop().call_later(RESUME_S * 1.01, self._forget)

    def _forget(self) -> None:
        since = self._clock() - RESUME_S
        away = [session for session in self._sessions.values() if session.socket is None]
        for session in sorted(away, key=lambda session: session.left):
            if session.left < since or len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[session.uuid]


async def _close(socket: web.WebSocketResponse) -> None:
    await socket.close(code=WSCloseCode.GOING_AWAY, message=b"its session goes on elsewhere")


class _Connection:
    """One WebSocket. What it is told goes out on a task of its own, so that a slow reader is heard all the same."""

    def __init__(self, sockets: TaskSockets, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._sockets, self._request, self._socket = sockets, request, socket
        self._runner, self._guard = sockets.runner, sockets.guard
        self._caller = caller_of(request)
        self._session = _Session("", socket)
        self._working = 0
        self._is_refused = False

    async def run(self) -> None:
        writer = asyncio.create_task(self._write())
        patience = asyncio.get_running_loop().call_later(_AUTHENTICATE_S, self._lose_patience)
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.TEXT:
                    await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"tasks are JSON text")
                    break
                await self._hear(message.data)
                await asyncio.sleep(0)  # thousands may have come at once, and the loop has others to serve
        finally:
            patience.cancel()
            writer.cancel()
            self._sockets.leave(self._session, self._socket)
            await asyncio.gather(writer, return_exceptions=True)

    def _lose_patience(self) -> None:
        if not self._session.uuid:
            self._abort()

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    # --- in -----------------------------------------------------------------------------------------------------------
    async def _hear(self, text: str) -> None:
        try:
            refusal = self._too_much()
            if refusal is not None and len(text) > QUICK_BYTES:  # not worth reading whose it was
                raise HttpRefused(refusal)
            tasks = await self._runner.read(text)
        except HttpRefused as refused:
            self._session.push(Answer(errors=(refused.error,)))
            return
        parsed = await self._runner.parse(tasks, len(text))
        for task in parsed:
            if isinstance(task, Authentication):
                self._authenticate(task)
        if not self._session.uuid:
            message = 'Authenticate first: send [{"taskType": "authentication", "apiKey": "..."}].'
            refusal = ApiError("missingAuthentication", message, status=401)
        asked = [pair for pair in zip(parsed, tasks, strict=True) if not isinstance(pair[0], Authentication)]
        if refusal is not None:
            self._session.push(Answer(errors=tuple(about(refusal, data) for _, data in asked)))
        elif asked:
            self._working += 1
            self._sockets.spawn(self._perform(asked)).add_done_callback(self._done)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._working -= 1

    def _too_much(self) -> ApiError | None:
        """Why this client has to wait, if so."""
        if self._working >= MAX_AT_WORK:
            message = f"{MAX_AT_WORK} messages of this connection are at work: wait for an answer."
            return ApiError("rateLimitExceeded", message, status=429)
        try:
            self._guard.count(peer_ip(self._request.transport))
        except HttpRefused as refused:
            return refused.error
        return None

    def _authenticate(self, task: Authentication) -> None:
        answer = self._runner.authenticated(task)
        if answer.errors:
            self._is_refused = True
            self._session.push(answer)
            return
        before = self._session
        if not before.uuid:
            self._session = self._sockets.join(task.session_uuid, self._socket)
            self._session.unsent.extendleft(reversed(before.unsent))
            before.more.set()  # the writer waits there
        self._session.unsent.appendleft(Answer(({**answer.data[0], "connectionSessionUUID": self._session.uuid},)))
        self._session.more.set()

    async def _perform(self, asked: Sequence[tuple[ApiTask | ApiRefused, object]]) -> None:
        session = self._session
        performed = (self._runner.perform(task, data, self._caller, session.push) for task, data in asked)
        session.push(merged(await asyncio.gather(*performed)))

    # --- out ----------------------------------------------------------------------------------------------------------
    async def _write(self) -> None:
        try:
            while self._session.socket is self._socket:
                session = self._session
                await session.more.wait()
                if not self._tells(session):
                    continue  # another connection of the session woke up too: what there is, is its to send
                session.more.clear()
                while session.unsent and self._tells(session):
                    await self._send(session)
                if self._is_refused:
                    await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"invalid API key")
        except ConnectionError:  # gone; its reader hears of it too
            return
        except TimeoutError:
            log.info("%s does not read what it asked for: its WebSocket is closed", self._caller.client)
            self._abort()

    def _tells(self, session: _Session) -> bool:
        return session is self._session and session.socket is self._socket

    async def _send(self, session: _Session) -> None:
        """Send what is first, and forget it when it is sent."""
        answer = session.unsent[0]
        if chars(answer.data) > QUICK_BYTES:
            raw = await asyncio.to_thread(_encoded, answer)
        else:
            raw = _encoded(answer)
        async with asyncio.timeout(_UNREAD_S):
            await self._socket.send_frame(raw, WSMsgType.TEXT)
        if session.unsent and session.unsent[0] is answer:
            session.unsent.popleft()


def _encoded(answer: Answer) -> bytes:
    return b"".join(dump_pieces(answer.as_json())[1])
