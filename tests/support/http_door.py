"""An HTTP door on the loopback for tests: the real server, in front of a task API that does what the test says."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

from bridge.api.values import Answer, Item, Media
from bridge.doors.http import HttpDoor
from bridge.pairing import Pairing
from bridge.web_config import HttpConfig
from protocol.air import MODEL
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import AudioInference, MediaStorage

HOST = "127.0.0.1"


def inference(**changes: Any) -> dict[str, Any]:
    """A generation task as a client sends it."""
    task = {"taskType": "audioInference", "taskUUID": str(uuid4()), "model": MODEL, "positivePrompt": "a slow waltz"}
    return {**task, **changes}


class Tasks:
    """A task API that accepts everything once; `finish` ends a task."""

    def __init__(self) -> None:
        self.accepted: dict[str, AudioInference] = {}
        self.came: dict[str, asyncio.Event] = {}
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._listeners: dict[str, Callable[[Answer], None] | None] = {}

    async def accept(
        self,
        asked: AudioInference,
        *,
        client: str,
        base_url: str,
        on_result: Callable[[Answer], None] | None = None,
    ) -> Any:
        uuid = asked.task.task_uuid
        if uuid in self.accepted:
            raise ApiRefused(ApiError("conflictTaskUUID", "Used before.", "taskUUID", "string", status=409))
        self.accepted[uuid] = asked
        self._answers[uuid], self._listeners[uuid] = asyncio.get_running_loop().create_future(), on_result
        self.came.setdefault(uuid, asyncio.Event()).set()
        return _Ticket(uuid, {"taskType": "audioInference", "taskUUID": uuid}, self._answers[uuid])

    async def wait_for(self, uuid: str) -> None:
        await asyncio.wait_for(self.came.setdefault(uuid, asyncio.Event()).wait(), 5)

    def finish(self, uuid: str, **more: Any) -> Item:
        item = {"taskType": "audioInference", "taskUUID": uuid, "status": "success", "seed": 7, **more}
        self.end(uuid, Answer((item,)))
        return item

    def end(self, uuid: str, answer: Answer) -> None:
        self._answers[uuid].set_result(answer)
        listener = self._listeners[uuid]
        if listener is not None:
            listener(answer)

    async def response(self, task_uuid: str, base_url: str) -> Answer:
        if task_uuid not in self.accepted:
            raise ApiRefused(ApiError("taskFailedOrNotFound", "Not known.", "taskUUID", "string", status=404))
        future = self._answers[task_uuid]
        return future.result() if future.done() else Answer(({"taskUUID": task_uuid, "status": "processing"},))

    async def details(self, task_uuid: str) -> Answer:
        raise RuntimeError("a fault of ours")

    async def upload(self, task: MediaStorage, base_url: str) -> Answer:
        return Answer(({"taskUUID": task.task_uuid, "chars": task.media.encoded_chars},))

    async def delete(self, task: MediaStorage) -> Answer:
        return Answer(({"taskUUID": task.task_uuid, "deleted": task.media.text},))


@dataclass
class _Ticket:
    task_uuid: str
    ack: Item
    future: asyncio.Future[Answer]

    async def answer(self) -> Answer:
        return await asyncio.shield(self.future)


class MediaFolder:
    """Files by the UUID in their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def get(self, uuid: str) -> Media | None:
        for file in self.folder.glob(f"{uuid}.*"):
            return Media(uuid, file, "audio/wav", file.stat().st_size, "result", 0.0)
        return None

    async def put_stream(self, chunks: AsyncIterator[bytes]) -> Media:
        uuid = str(uuid4())
        content = b"".join([chunk async for chunk in chunks])
        (self.folder / f"{uuid}.wav").write_bytes(content)
        media = await self.get(uuid)
        assert media is not None
        return media


class Named:
    """What the door only passes on to, answering with its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def routes(self) -> list[web.AbstractRouteDef]:
        return [web.get(f"/{self.name}/file", self.get)]

    async def get(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.name)

    index = get

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(self.name)
        await socket.close()
        return socket

    async def close(self) -> None:
        return None


@dataclass
class Bench:
    """A running door and a client of it."""

    door: HttpDoor
    tasks: Tasks
    pairing: Pairing
    media: MediaFolder
    session: aiohttp.ClientSession
    clock: list[float] = field(default_factory=lambda: [0.0])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.door.port}"

    async def post(self, body: Any, **options: Any) -> tuple[int, dict[str, Any]]:
        """The status and the JSON that a request of the task API is answered."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        async with self.session.post(f"{self.url}/v1", data=data, headers=headers, **options) as response:
            return response.status, await response.json()

    async def raw(self, sent: bytes) -> bytes:
        """All that comes back for these bytes, until the other end closes."""
        reader, writer = await asyncio.open_connection(HOST, self.door.port)
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def opened(
    folder: Path, *, pairing: Pairing | None = None, on_port: int = 0, **config: Any
) -> AsyncIterator[Bench]:
    """A door for the length of an ``async with``."""
    tasks, media = Tasks(), MediaFolder(folder)
    pairing = pairing or Pairing(None)
    clock = [0.0]
    door = HttpDoor(
        HttpConfig(**config),
        tasks,
        media,
        pairing=pairing,
        oscquery=Named("tree"),
        page=Named("page"),
        clock=lambda: clock[0],
    )
    try:
        await door.start([HOST], on_port)
        async with aiohttp.ClientSession() as session:
            yield Bench(door, tasks, pairing, media, session, clock)
    finally:
        await door.close()
