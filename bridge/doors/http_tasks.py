"""The task API's requests: arrays of tasks in, their answers merged in the order of the array.

The tasks of an array run side by side, and one that is refused says so without touching the others. A request that is
held open (`deliveryMethod` sync) may lose its connection, or the daemon may be stopped: what was accepted goes on, and
`getResponse` with its taskUUID answers. Nothing here takes long on the loop: see `bridge.doors.http_json`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

from aiohttp import hdrs, web

from bridge.api.values import Answer, Item
from bridge.doors.http_gate import peer_ip
from bridge.doors.http_guard import Guard, HttpRefused, wrong_key
from bridge.doors.http_json import QUICK_BYTES, NotJson, loads
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import (
    ApiTask,
    AudioInference,
    Authentication,
    GetResponse,
    GetTaskDetails,
    MediaStorage,
    Ping,
    from_error,
    parse_task,
    tasks_of,
)
from protocol.errors import StembridgeError
from protocol.task import DeliveryMethod

log = logging.getLogger("stembridge.http")

_QUICK_TASKS = 4
"""More tasks than this are checked in a thread; one takes well under a millisecond."""

OnResult = Callable[[Answer], None]


class Ticket(Protocol):
    """An accepted generation task."""

    @property
    def ack(self) -> Item: ...

    async def answer(self) -> Answer: ...


class Service(Protocol):
    """What the door needs of `bridge.api.service.ApiService`."""

    async def accept(
        self, task: AudioInference, /, *, client: str, base_url: str, on_result: OnResult | None = None
    ) -> Ticket: ...

    async def response(self, task_uuid: str, base_url: str, /) -> Answer: ...

    async def details(self, task_uuid: str, /) -> Answer: ...

    async def upload(self, task: MediaStorage, base_url: str, /) -> Answer: ...

    async def delete(self, task: MediaStorage, /) -> Answer: ...


@dataclass(frozen=True)
class Caller:
    """Who asks, and the address that URLs in its answers start with."""

    client: str
    base_url: str


def caller_of(request: web.BaseRequest) -> Caller:
    return Caller(f"http:{peer_ip(request.transport)}", f"http://{request.headers[hdrs.HOST]}")


class TaskRunner:
    """Performs tasks, whichever way they came. `stopping` is set when held requests have to be let go."""

    def __init__(self, service: Service, guard: Guard) -> None:
        self._service, self._guard = service, guard
        self.stopping = asyncio.Event()

    async def read(self, raw: bytes | bytearray | str) -> list[object]:
        """The tasks in a message; raises `HttpRefused`."""
        try:
            if len(raw) > QUICK_BYTES:
                return tasks_of(await asyncio.to_thread(_loaded, raw))
            return tasks_of(_loaded(raw))
        except NotJson as error:
            raise HttpRefused(ApiError("invalidJson", str(error))) from None
        except ApiRefused as refused:
            raise HttpRefused(refused.errors[0]) from None

    async def parse(self, tasks: Sequence[object], size: int) -> list[ApiTask | ApiRefused]:
        """What each task says, or everything that is wrong with it."""
        if size > QUICK_BYTES or len(tasks) > _QUICK_TASKS:
            return await asyncio.to_thread(lambda: [_parsed(task) for task in tasks])
        return [_parsed(task) for task in tasks]

    async def perform(
        self, parsed: ApiTask | ApiRefused, data: object, caller: Caller, on_result: OnResult | None = None
    ) -> Answer:
        """One task's answer. With `on_result`, results are told there as they come, and a generation task is answered
        with its acknowledgment if it is async, else with nothing."""
        try:
            if isinstance(parsed, ApiRefused):
                return Answer(errors=parsed.errors)
            return await self._perform(parsed, caller, on_result)
        except ApiRefused as refused:
            return Answer(errors=tuple(about(error, data) for error in refused.errors))
        except StembridgeError as error:
            return Answer(errors=(about(from_error(error), data),))
        except Exception:
            log.exception("a task failed")
            message = "Stembridge failed on this task; its log says more (`stembridge doctor` tells where)."
            return Answer(errors=(about(ApiError("internalServerError", message, status=500), data),))

    async def _perform(self, task: ApiTask, caller: Caller, on_result: OnResult | None) -> Answer:
        match task:
            case AudioInference():
                return await self._generate(task, caller, on_result)
            case GetResponse(task_uuid):
                return await self._service.response(task_uuid, caller.base_url)
            case GetTaskDetails(task_uuid):
                return await self._service.details(task_uuid)
            case MediaStorage(operation="delete"):
                return await self._service.delete(task)
            case MediaStorage():
                return await self._service.upload(task, caller.base_url)
            case Ping(task_uuid):
                return Answer(({"taskType": "ping", "pong": True} | ({"taskUUID": task_uuid} if task_uuid else {}),))
            case Authentication():
                return self.authenticated(task)

    def authenticated(self, task: Authentication) -> Answer:
        """What an authentication is answered."""
        if not self._guard.knows_key(task.api_key):
            return Answer(errors=(wrong_key().of("authentication", None),))
        return Answer(({"taskType": "authentication", "connectionSessionUUID": task.session_uuid or str(uuid4())},))

    async def _generate(self, task: AudioInference, caller: Caller, on_result: OnResult | None) -> Answer:
        ticket = await self._service.accept(task, client=caller.client, base_url=caller.base_url, on_result=on_result)
        if task.task.delivery_method is DeliveryMethod.ASYNC:
            return Answer((ticket.ack,))
        if on_result is not None:
            return Answer()
        answer = asyncio.ensure_future(ticket.answer())
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((answer, stopping), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
            stopping.cancel()
        message = "Stembridge is being stopped. The task is kept: ask for it with getResponse when it runs again."
        raise ApiRefused(ApiError("serviceUnavailable", message, status=503))


def _loaded(raw: bytes | bytearray | str) -> object:
    return loads(raw.encode() if isinstance(raw, str) else raw)


def _parsed(data: object) -> ApiTask | ApiRefused:
    try:
        return parse_task(data)
    except ApiRefused as refused:
        return refused


def about(error: ApiError, data: object) -> ApiError:
    """The error with the task's own words for itself, where it has none yet."""
    told: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    return replace(
        error,
        task_type=error.task_type or _text(told.get("taskType")),
        task_uuid=error.task_uuid or _text(told.get("taskUUID")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def merged(answers: Sequence[Answer]) -> Answer:
    """All answers as one, in their order."""
    return Answer(
        tuple(item for answer in answers for item in answer.data),
        tuple(error for answer in answers for error in answer.errors),
    )
