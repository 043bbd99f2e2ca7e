"""The task API on a real core, queue, journal and disk, with a small engine in a thread; and ways for it to die."""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bridge.api.database import Database
from bridge.api.media import MediaStore
from bridge.api.models import Models
from bridge.api.outbox import Outbox
from bridge.api.service import ApiService, Ticket
from bridge.api.values import Answer, Item, Media
from bridge.core import Core
from bridge.delivery import deliver, delivered
from bridge.queue import JobQueue
from bridge.store import Store
from bridge.supervisor import OnProgress, RunnerState
from bridge.web_guard import web_url
from engine.api import Capabilities
from engine.audio import probe
from engine.render import render
from protocol.api_task import AudioInference
from protocol.errors import Cancelled, EngineMissing, StembridgeError
from protocol.job import Job, RenderedTake
from protocol.task import Task
from protocol.vocabulary import Verb
from tests.support.audio import NoiseEngine

BASE = "http://127.0.0.1:9242"
DEADLINE_S = 30.0
XL_BASE = "runware:ace-step@v1.5-xl-base"


def new_uuid() -> str:
    return str(uuids.uuid4())


def asked(uuid: str | None = None, **fields: Any) -> AudioInference:
    """A task as the door hands it over; half a second of music unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "taskType": "audioInference",
        "taskUUID": uuid or new_uuid(),
        "model": XL_BASE,
        "positivePrompt": "warm tape",
        "outputFormat": "WAV",
        "duration": 0.5,
        **fields,
    }
    return AudioInference(Task.model_validate(values), values)


class Noisy:
    """Runs jobs with `NoiseEngine` in a thread. A test may hold jobs back, and say which ones fail, by their ids."""

    def __init__(self, spool: Path, cache: Path) -> None:
        self.state = RunnerState.READY
        self.engine = NoiseEngine(frozenset(Verb))
        self.order: list[str] = []
        self.failures: dict[str, StembridgeError] = {}
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.begun = asyncio.Event()
        self._spool, self._cache = spool, cache
        self._unwanted: set[str] = set()
        self._thread = ThreadPoolExecutor(1)

    async def prepare(self) -> None:
        """Always ready."""

    async def run(self, job: Job, on_progress: OnProgress) -> list[RenderedTake]:
        self.order.append(job.id)
        self.begun.set()
        await self.may_go.wait()
        if job.id in self._unwanted:
            raise Cancelled("The job was cancelled.")
        if job.id in self.failures:
            raise self.failures[job.id]
        loop = asyncio.get_running_loop()
        folder = self._spool / job.id

        def work() -> list[RenderedTake]:
            told = partial(loop.call_soon_threadsafe, on_progress)
            return render(job.request, self.engine, folder, self._cache, told, lambda: False)

        return await loop.run_in_executor(self._thread, work)

    def cancel(self, job_id: str) -> None:
        self._unwanted.add(job_id)
        self.may_go.set()

    async def stop(self) -> None:
        """Wait for what is at work, so that it writes nothing into the next daemon's folders."""
        await asyncio.to_thread(self._thread.shutdown)


class Web:
    """Other servers: files by URL; what is not there refuses."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.may_go = asyncio.Event()
        self.may_go.set()

    def check(self, url: str) -> None:
        web_url(url)

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        self.asked.append(url)
        await self.may_go.wait()
        if url not in self.files:
            raise NotThere(f"{url} answered 404: check the address.")
        for start in range(0, len(self.files[url]), 65536):
            yield self.files[url][start : start + 65536]


class NotThere(StembridgeError):
    """As the guarded client says it."""

    code = "web_failed"


@dataclass
class Told:
    """The outbox's real table, with a client that keeps what it should send."""

    posts: list[tuple[str, bytes]] = field(default_factory=list)
    puts: list[tuple[str, bytes, str]] = field(default_factory=list)

    async def post(self, url: str, body: bytes, _headers: Mapping[str, str]) -> int:
        self.posts.append((url, bytes(body)))
        return 200

    async def put(self, url: str, file: Path, mime: str) -> int:
        self.puts.append((url, await asyncio.to_thread(file.read_bytes), mime))
        return 200


@dataclass
class ApiBench:
    """One daemon's worth of parts on `folder`."""

    folder: Path
    queue: JobQueue
    core: Core
    runner: Noisy
    database: Database
    media: MediaStore
    outbox: Outbox
    service: ApiService
    web: Web
    told: Told

    async def accept(self, task: AudioInference, on_result: Callable[[Answer], None] | None = None) -> Ticket:
        async with asyncio.timeout(DEADLINE_S):
            return await self.service.accept(task, client="http:127.0.0.1", base_url=BASE, on_result=on_result)

    async def answer(self, task: AudioInference) -> Answer:
        """The answer of a task once all of it has ended."""
        ticket = await self.accept(task)
        async with asyncio.timeout(DEADLINE_S):
            return await ticket.answer()

    async def ended(self, uuid: str) -> list[Item]:
        """What `response` says of a task once nothing of it is processing any more."""
        task = self.service._running.get(uuid)
        if task is not None:
            async with asyncio.timeout(DEADLINE_S):
                await task.ended.wait()
        return await self.response(uuid)

    async def response(self, uuid: str) -> list[Item]:
        return list((await self.service.response(uuid, BASE)).data)

    async def upload(self, file: Path) -> str:
        """The UUID of a file that was uploaded."""

        async def chunks() -> AsyncIterator[bytes]:
            yield await asyncio.to_thread(file.read_bytes)

        return (await self.media.put_stream(chunks())).uuid

    async def result(self, item: Item) -> Media:
        """The file of a result."""
        media = await self.media.get(item["audioUUID"])
        assert media is not None
        return media

    def jobs(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        return [job.id for job in reversed(self.queue._store.newest(100))]


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    configured: str = "noise",
    capabilities: Callable[[str], Capabilities] | None = None,
    now: Callable[[], float] = lambda: 1_790_000_000.0,
    keep_s: float | None = 86_400.0,
    max_open: int = 64,
    hold: bool = False,
) -> AsyncIterator[ApiBench]:
    """A started API on what an earlier one left in `folder`. With `hold`, no job goes on before ``runner.may_go``."""
    spool = folder / "spool"
    runner, web, told = Noisy(spool, folder / "cache"), Web(), Told()
    if hold:
        runner.may_go.clear()

    def offer(name: str) -> Capabilities:
        if name != "noise":
            raise EngineMissing(f"The engine {name!r} needs its weights.")
        return runner.engine.capabilities()

    with Store(folder / "journal.sqlite3") as journal:
        core: Core
        queue = JobQueue(
            *(journal, runner, deliver, lambda event: core.emit(event)),
            spool_dir=spool,
            delivered=delivered,
            max_open=max_open,
        )
        core = Core(queue=queue, engine_name="noise", capabilities=capabilities or offer, probe=probe)
        database = Database(folder / "api" / "api.sqlite3")
        media = MediaStore(folder / "api" / "media", database, max_bytes=50_000_000, now=now, keep_s=keep_s)
        outbox = Outbox(database, told, now=now)  # type: ignore[arg-type]
        service = ApiService(
            *(core, database, media, outbox, web, Models(configured, core)),  # type: ignore[arg-type]
            folder=folder / "api" / "work",
            keep_s=keep_s,
            clock=asyncio.get_running_loop().time,
            now=now,
        )
        bench = ApiBench(folder, queue, core, runner, database, media, outbox, service, web, told)
        others = asyncio.all_tasks()
        await queue.start()
        await outbox.start()
        await service.start()
        try:
            yield bench
            async with asyncio.timeout(DEADLINE_S):
                await service.stop()
                await outbox.stop()
                await queue.stop()
        finally:  # as kill -9 would, if a test has raised `Killed`: nothing gets to say goodbye
            left = asyncio.all_tasks() - others
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await runner.stop()
            database.close()


class Killed(Exception):
    """The daemon dies here."""


class Reached:
    """How often the place has been reached where the daemon is to die."""

    def __init__(self) -> None:
        self._arrivals: asyncio.Queue[None] = asyncio.Queue()

    def arrive(self) -> None:
        self._arrivals.put_nowait(None)

    async def wait(self, times: int = 1) -> None:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(times):
                await self._arrivals.get()


@asynccontextmanager
async def killed_at(folder: Path, step: str, **options: Any) -> AsyncIterator[tuple[ApiBench, Reached]]:
    """An API that never gets beyond `step` (``part.method``, ``#n``: the n-th call after the first); inside, wait until
    it is there. Leaving the block kills it.
    """
    with suppress(Killed):
        async with serving(folder, **options) as bench:
            reached = Reached()
            _stop_before(bench, step, reached)
            yield bench, reached
            raise Killed


def _stop_before(bench: ApiBench, step: str, reached: Reached) -> None:
    part, _, method = step.partition(".")
    owner: Any = {
        "desk": bench.core,
        "media": bench.media,
        "outbox": bench.outbox,
        "store": bench.service._store,
        "running": bench.service._running,
    }[part]
    count = 0
    name, _, after = method.partition("#")
    real = getattr(owner, name)

    async def instead(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > int(after or 0):
            reached.arrive()
            await asyncio.Event().wait()
        return await real(*args, **kwargs)

    setattr(owner, name, instead)
