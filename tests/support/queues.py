"""A queue with the real journal on the disk, and with an engine that does what a test says, or the real process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bridge.queue import JobQueue
from bridge.store import Store
from bridge.supervisor import EngineSupervisor, OnProgress, RunnerState, SupervisorSettings
from engine.registry import EngineSpec
from protocol.errors import (
    Cancelled,
)
from protocol.events import Event, JobChanged
from protocol.job import Job, Recipe, RenderedTake, Take
from protocol.vocabulary import JobState
from tests.support.engines import take as rendered_take

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
QUEUED, RUNNING, DONE, FAILED, CANCELLED = JobState


@dataclass(frozen=True)
class Delivery:
    takes: tuple[Take, ...]
    manifest: Path


def delivery(one: Job, rendered: list[RenderedTake] | tuple[RenderedTake, ...]) -> Delivery:
    """What the project side would give back, without a project; ranks are against the order of the numbers."""
    takes = tuple(
        Take(
            number=number,
            file=f"take-{number}.wav",
            start_s=1.0,
            start_frame=48_000,
            frames=made.frames,
            sample_rate=made.sample_rate,
            seed=made.seed,
            score=made.score,
            rank=len(rendered) + 1 - number,
            recipe=Recipe(request=one.request, seed=made.seed, sample_rate=48_000, engine="test", engine_version="1"),
        )
        for number, made in enumerate(rendered, 1)
    )
    return Delivery(takes, Path(one.request.project.folder) / one.id / "manifest.json")


class Scripted:
    """A runner whose engine is the test: each job waits until the test says what becomes of it."""

    def __init__(self) -> None:
        self.state = RunnerState.READY
        self.order: list[str] = []
        self.outcomes: dict[str, asyncio.Future[list[RenderedTake]]] = {}
        self.begun = asyncio.Condition()
        self.on_progress: OnProgress = lambda progress: None

    async def prepare(self) -> None:
        """Always ready."""

    async def run(self, one: Job, on_progress: OnProgress) -> list[RenderedTake]:
        self.order.append(one.id)
        self.on_progress = on_progress
        outcome = self.outcomes[one.id] = asyncio.get_running_loop().create_future()
        async with self.begun:
            self.begun.notify_all()
        return await outcome

    def cancel(self, job_id: str) -> None:
        self.fail(job_id, Cancelled("cancelled at a step"))

    async def stop(self) -> None:
        """Nothing to give back."""

    def finish(self, job_id: str, folder: Path, takes: int = 1) -> None:
        spool = folder / "spool" / job_id
        spool.mkdir(parents=True, exist_ok=True)
        self.outcomes[job_id].set_result([rendered_take(spool / f"{n}.wav", n) for n in range(1, takes + 1)])

    def fail(self, job_id: str, error: BaseException) -> None:
        self.outcomes[job_id].set_exception(error)


@dataclass
class Bench:
    """A queue, its journal and all it told."""

    queue: JobQueue
    store: Store
    runner: Scripted
    folder: Path
    events: list[Event] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self._notify = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self.heard:
            self.heard.notify_all()

    def states(self, job_id: str) -> list[JobState]:
        return [event.job.state for event in self.events if isinstance(event, JobChanged) and event.job.id == job_id]

    async def until(self, job_id: str, state: JobState, count: int = 1) -> Job:
        """Wait until a job has entered a state so many times."""
        async with asyncio.timeout(DEADLINE_S), self.heard:
            await self.heard.wait_for(lambda: self.states(job_id).count(state) >= count)
        return [event.job for event in self.events if isinstance(event, JobChanged) and event.job.id == job_id][-1]

    async def begun(self, job_id: str) -> None:
        async with asyncio.timeout(DEADLINE_S), self.runner.begun:
            await self.runner.begun.wait_for(
                lambda: job_id in self.runner.outcomes and not self.runner.outcomes[job_id].done()
            )


@asynccontextmanager
async def running(
    folder: Path,
    *,
    runner: object = None,
    deliver: Callable[..., Delivery] = delivery,
    start: bool = True,
    **options: object,
) -> AsyncIterator[Bench]:
    """A started queue on the journal in `folder`; what is in the journal stays for the next one."""
    times = iter(range(10_000, 10**9))
    with Store(folder / "jobs.sqlite3") as store:
        bench = Bench(None, store, runner or Scripted(), folder)
        bench.queue = JobQueue(
            store,
            bench.runner,
            deliver,
            lambda event: bench.emit(event),
            spool_dir=folder / "spool",
            now=lambda: float(next(times)),
            **options,
        )
        if start:
            await bench.queue.start()
        try:
            yield bench
        finally:
            async with asyncio.timeout(DEADLINE_S):
                await bench.queue.stop()
                await bench.runner.stop()


def supervisor(folder: Path, engine: str, **settings: float) -> EngineSupervisor:
    return EngineSupervisor(
        EngineSpec(engine.lower(), f"tests.support.engines:{engine}"),
        cache_dir=folder / "cache",
        spool_dir=folder / "spool",
        log_file=folder / "logs" / "engine.log",
        settings=SupervisorSettings(**settings),
        environment={"PYTHONPATH": str(ROOT)},
    )


@dataclass
class Gate:
    """A `deliver` that waits in the middle of writing until it may go on."""

    writing: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def deliver(self, one: Job, rendered: list[RenderedTake]) -> Delivery:
        self.writing.set()
        assert self.go_on.wait(DEADLINE_S)
        return delivery(one, rendered)
