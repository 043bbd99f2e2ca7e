"""The queue with the real journal on the disk; with the real engine process where that is what can break."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bridge.queue import JobQueue
from bridge.store import JournalError, Store
from bridge.supervisor import EngineSupervisor, OnProgress, RunnerState, SupervisorSettings
from engine.registry import EngineSpec
from protocol.errors import (
    Busy,
    Cancelled,
    DiskFull,
    EngineCrashed,
    EngineStalled,
    JobConflict,
    NoMaterial,
    OutOfMemory,
    UnknownJob,
)
from protocol.events import Event, JobChanged, JobProgressed, TakeDelivered
from protocol.job import Job, Progress, Recipe, RenderedTake, Take
from protocol.vocabulary import JobState
from tests.support.engines import take as rendered_take
from tests.support.jobs import job

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


# --- the way of a job -------------------------------------------------------------------------------------------------
async def test_a_job_goes_from_queued_over_running_to_done_with_its_takes_in_rank_order(tmp_path):
    async with running(tmp_path) as bench:
        submitted = await bench.queue.submit(job("a"))
        assert (submitted.job.state, submitted.position, submitted.is_new) == (QUEUED, 1, True)
        await bench.begun("a")
        bench.runner.finish("a", tmp_path, takes=3)
        done = await bench.until("a", DONE)
        assert [type(event).__name__ for event in bench.events] == (
            ["JobChanged"] * 2 + ["TakeDelivered"] * 3 + ["JobChanged"]
        )
        assert [event.take.rank for event in bench.events if isinstance(event, TakeDelivered)] == [1, 2, 3]
        assert bench.states("a") == [QUEUED, RUNNING, DONE]
        assert (done.attempts, done.created, done.started, done.ended) == (1, 1000.0, 10_000.0, 10_001.0)
        assert done.manifest == str(Path("song") / "a" / "manifest.json")
        assert await bench.queue.get("a") == done
    with Store(tmp_path / "jobs.sqlite3") as store:
        assert store.get("a") == done


async def test_a_job_is_in_the_journal_before_submit_returns_and_its_attempt_while_it_runs(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        with Store(tmp_path / "jobs.sqlite3") as other:
            assert other.get("a") is not None
        await bench.begun("a")
        await bench.queue.newest(1)  # waits its turn behind what is being written
        with Store(tmp_path / "jobs.sqlite3") as other:
            assert (other.get("a").state, other.get("a").attempts) == (RUNNING, 1)


async def test_no_event_of_a_job_comes_before_its_submission_has_been_answered(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        assert bench.events == []  # the door sends its acknowledgement here
        await bench.until("a", QUEUED)


async def test_progress_is_told_with_an_estimate_of_the_time_left(tmp_path):
    clock = iter([100.0, 104.0, 105.0])
    async with running(tmp_path, clock=lambda: next(clock)) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        for fraction, left_s in ((0.2, -1.0), (0.6, -1.0), (0.8, 9.0)):
            bench.runner.on_progress(Progress(fraction=fraction, seconds_left=left_s, stage="x"))
        bench.runner.finish("a", tmp_path)
        await bench.until("a", DONE)
        steps = [event for event in bench.events if isinstance(event, JobProgressed)]
        assert [step.progress.seconds_left for step in steps] == pytest.approx([-1.0, 4.0, 9.0])
        assert all(step.job.state is RUNNING for step in steps)


async def test_jobs_run_one_at_a_time_oldest_first_and_live_ones_overtake(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("first", created=1.0))
        await bench.begun("first")
        places = [
            (await bench.queue.submit(one)).position
            for one in (job("second", created=2.0), job("third", created=3.0), job("live", created=4.0, priority=10))
        ]
        assert places == [1, 2, 1]
        assert [one.id for one in bench.queue.open_jobs()] == ["first", "live", "second", "third"]
        for name in ("first", "live", "second", "third"):
            await bench.begun(name)
            assert [one.state for one in bench.queue.open_jobs()].count(RUNNING) == 1
            bench.runner.finish(name, tmp_path)
        await bench.until("third", DONE)
        assert bench.runner.order == ["first", "live", "second", "third"]


async def test_the_spool_is_empty_after_a_job_however_it_ended(tmp_path):
    async with running(tmp_path) as bench:
        for name, end in (
            ("a", lambda: bench.runner.finish("a", tmp_path)),
            ("b", lambda: bench.runner.fail("b", NoMaterial("too short"))),
            ("c", lambda: bench.runner.cancel("c")),
        ):
            await bench.queue.submit(job(name))
            await bench.begun(name)
            (tmp_path / "spool" / name).mkdir(parents=True)
            (tmp_path / "spool" / name / "half.wav").write_bytes(b"half")
            end()
        await bench.queue.stop()  # which waits for what is still being cleared away
        assert list((tmp_path / "spool").iterdir()) == []


# --- the same job again -----------------------------------------------------------------------------------------------
async def test_the_same_request_with_the_same_id_is_the_same_job_and_gains_the_client(tmp_path):
    async with running(tmp_path) as bench:
        first = await bench.queue.submit(job("a", clients=("osc:1",)))
        again = await bench.queue.submit(job("a", clients=("osc:2",), created=2000.0))
        assert not again.is_new
        assert again.job.reply_to == ("osc:1", "osc:2")
        assert again.job.created == first.job.created
        await bench.begun("a")
        third = await bench.queue.submit(job("a", clients=("osc:3", "osc:1")))
        assert (third.job.state, third.position) == (RUNNING, 0)
        bench.runner.finish("a", tmp_path)
        done = await bench.until("a", DONE)
        assert done.reply_to == ("osc:1", "osc:2", "osc:3")
        assert (await bench.queue.submit(job("a"))).job.state is DONE
        assert bench.runner.order == ["a"]
        assert (await bench.queue.last_for("osc:3")).id == "a"


async def test_a_different_request_with_a_known_id_is_refused(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a", prompt="one"))
        with pytest.raises(JobConflict, match="different request"):
            await bench.queue.submit(job("a", prompt="two"))


async def test_only_so_many_jobs_wait_and_known_ones_are_answered_all_the_same(tmp_path):
    async with running(tmp_path, max_open=2) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        with pytest.raises(Busy, match="2 jobs"):
            await bench.queue.submit(job("c"))
        assert not (await bench.queue.submit(job("b"))).is_new
        assert bench.store.get("c") is None


# --- failures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [NoMaterial("too short"), OutOfMemory("too big"), EngineStalled("hung")])
async def test_an_error_fails_the_job_at_once_with_code_and_sentence(tmp_path, error):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        bench.runner.fail("a", error)
        failed = await bench.until("a", FAILED)
        assert (failed.failure.code, failed.failure.sentence, failed.attempts) == (error.code, str(error), 1)


async def test_a_mistake_of_ours_fails_the_job_is_logged_and_the_queue_goes_on(tmp_path, caplog):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        bench.runner.fail("a", ZeroDivisionError("oops"))
        failed = await bench.until("a", FAILED)
        assert failed.failure.code == "internal"
        assert "ZeroDivisionError" in caplog.text
        await bench.begun("b")
        bench.runner.finish("b", tmp_path)
        await bench.until("b", DONE)


async def test_a_delivery_that_fails_fails_the_job(tmp_path):
    def deliver(one: Job, rendered: list[RenderedTake]) -> Delivery:
        raise DiskFull("There is no room.")

    async with running(tmp_path, deliver=deliver) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert (await bench.until("a", FAILED)).failure.code == "disk_full"


async def test_a_listener_that_fails_disturbs_nobody(tmp_path, caplog):
    async with running(tmp_path) as bench:
        good, bench.emit = bench.emit, lambda event: 1 / 0
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        bench.emit = good
        bench.runner.finish("a", tmp_path)
        await bench.until("a", DONE)
    assert "nobody could take JobChanged" in caplog.text


async def test_a_journal_that_cannot_be_written_refuses_new_jobs_and_finishes_the_running_one(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        bench.store._db.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalError):
            await bench.queue.submit(job("b"))
        bench.runner.finish("a", tmp_path)
        await bench.until("a", DONE)
        bench.store._db.execute("PRAGMA query_only = OFF")
        assert (await bench.queue.submit(job("b"))).is_new


async def test_a_door_that_gives_up_waiting_does_not_lose_the_job_it_submitted(tmp_path):
    async with running(tmp_path) as bench:
        task = asyncio.create_task(bench.queue.submit(job("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert bench.store.get("a") is not None
        await bench.begun("a")


# --- cancel and retry -------------------------------------------------------------------------------------------------
async def test_a_waiting_job_is_cancelled_at_once_and_never_runs(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        assert (await bench.queue.cancel("b")).state is CANCELLED
        assert (await bench.queue.cancel("b")).state is CANCELLED
        bench.runner.finish("a", tmp_path)
        await bench.until("a", DONE)
        assert bench.runner.order == ["a"]


async def test_a_running_job_is_cancelled_by_the_engine(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        assert (await bench.queue.cancel("a")).state is RUNNING
        assert (await bench.until("a", CANCELLED)).ended is not None


async def test_a_cancel_that_the_engine_overran_wins_before_the_stems_are_written(tmp_path):
    delivered = []

    async with running(tmp_path, deliver=lambda *args: delivered.append(args)) as bench:
        bench.runner.cancel = lambda job_id: bench.runner.finish(job_id, tmp_path)
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        await bench.queue.cancel("a")
        await bench.until("a", CANCELLED)
        assert delivered == []


async def test_a_crash_after_a_cancel_is_not_retried(tmp_path):
    async with running(tmp_path) as bench:
        bench.runner.cancel = lambda job_id: bench.runner.fail(job_id, EngineCrashed("it died"))
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        await bench.queue.cancel("a")
        await bench.until("a", CANCELLED)
        assert bench.states("a") == [QUEUED, RUNNING, CANCELLED]


async def test_once_the_stems_are_being_written_it_is_too_late_to_cancel_and_that_is_said(tmp_path):
    writing, go_on = threading.Event(), threading.Event()

    def deliver(one: Job, rendered: list[RenderedTake]) -> Delivery:
        writing.set()
        assert go_on.wait(DEADLINE_S)
        return delivery(one, rendered)

    async with running(tmp_path, deliver=deliver) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert await asyncio.to_thread(writing.wait, DEADLINE_S)
        with pytest.raises(JobConflict, match="too late"):
            await bench.queue.cancel("a")
        assert [one.id for one in await bench.queue.cancel_all()] == ["b"]
        go_on.set()
        await bench.until("a", DONE)


async def test_a_job_that_has_ended_cannot_be_cancelled_and_an_unknown_one_neither(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        await bench.until("a", DONE)
        with pytest.raises(JobConflict, match="done already"):
            await bench.queue.cancel("a")
        for ask in (bench.queue.cancel, bench.queue.retry, bench.queue.get):
            with pytest.raises(UnknownJob, match="nobody"):
                await ask("nobody")


async def test_cancel_all_lets_none_slip_through(tmp_path):
    async with running(tmp_path) as bench:
        for number in range(10):
            await bench.queue.submit(job(f"j{number}", created=float(number)))
        await bench.begun("j0")
        assert len(await bench.queue.cancel_all()) == 10
        await bench.until("j0", CANCELLED)
        assert bench.runner.order == ["j0"]


async def test_a_cancelled_or_failed_job_is_retried_under_its_id_with_all_its_attempts(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a", clients=("osc:1",)))
        await bench.begun("a")
        bench.runner.fail("a", NoMaterial("too short"))
        await bench.until("a", FAILED)
        again, position = await bench.queue.retry("a", "osc:2")
        assert (again.state, again.attempts, again.failure, position) == (QUEUED, 0, None, 1)
        assert again.reply_to == ("osc:1", "osc:2")
        await bench.begun("a")
        bench.runner.cancel("a")
        await bench.until("a", CANCELLED)
        await bench.queue.retry("a")
        await bench.begun("a")
        running_now, position = await bench.queue.retry("a")
        assert (running_now.state, position) == (RUNNING, 0)
        bench.runner.finish("a", tmp_path)
        done = await bench.until("a", DONE)
        assert (await bench.queue.retry("a"))[0] == done


# --- crashes and restarts ---------------------------------------------------------------------------------------------
async def test_a_crash_costs_one_attempt_and_a_second_one_the_job(tmp_path):
    async with running(tmp_path) as bench:
        await bench.queue.submit(job("a"))
        for _ in range(2):
            await bench.begun("a")
            bench.runner.fail("a", EngineCrashed("It died (exit code 7)."))
            await asyncio.sleep(0)
        failed = await bench.until("a", FAILED)
        assert bench.states("a") == [QUEUED, RUNNING, QUEUED, RUNNING, FAILED]
        assert failed.failure.code == "engine_crashed"
        assert "exit code 7" in failed.failure.sentence
        assert "2 times" in failed.failure.sentence


async def test_a_poisoned_job_fails_after_two_real_crashes_and_the_next_job_succeeds(tmp_path):
    async with running(tmp_path, runner=supervisor(tmp_path, "Exiting")) as bench:
        await bench.queue.submit(job("poisoned"))
        await bench.queue.submit(job("good", prompt="spare"))
        assert "exit code 7" in (await bench.until("poisoned", FAILED)).failure.sentence
        assert (await bench.until("good", DONE)).attempts == 1


async def test_a_job_whose_worker_crashed_once_is_done_at_the_second_attempt(tmp_path):
    async with running(tmp_path, runner=supervisor(tmp_path, "CrashingOnce")) as bench:
        await bench.queue.submit(job("a", prompt=str(tmp_path / "been here")))
        assert (await bench.until("a", DONE)).attempts == 2


async def test_a_real_hang_fails_the_job_and_the_next_one_succeeds(tmp_path):
    async with running(tmp_path, runner=supervisor(tmp_path, "Hanging", stall_s=0.2)) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b", prompt="spare"))
        assert (await bench.until("a", FAILED)).failure.code == "engine_stalled"
        await bench.until("b", DONE)


async def test_a_real_cancel_is_answered_within_steps(tmp_path):
    async with running(tmp_path, runner=supervisor(tmp_path, "Slow")) as bench:
        await bench.queue.submit(job("a"))
        async with asyncio.timeout(DEADLINE_S), bench.heard:
            await bench.heard.wait_for(lambda: any(isinstance(event, JobProgressed) for event in bench.events))
        await bench.queue.cancel("a")
        await bench.until("a", CANCELLED)


async def test_jobs_that_waited_run_after_a_restart_in_their_order(tmp_path):
    async with running(tmp_path, start=False) as bench:
        for one in (job("b", created=2.0), job("a", created=1.0), job("live", created=3.0, priority=10)):
            bench.store.add(one)
    async with running(tmp_path) as bench:
        for name in ("live", "a", "b"):
            await bench.begun(name)
            bench.runner.finish(name, tmp_path)
        await bench.until("b", DONE)
        assert bench.runner.order == ["live", "a", "b"]


async def test_stopping_in_the_middle_of_a_job_queues_it_again_without_counting_the_attempt(tmp_path):
    for _ in range(3):
        async with running(tmp_path) as bench:
            await bench.queue.submit(job("a"))
            await bench.begun("a")
            await bench.queue.stop()
            left = bench.store.get("a")
            assert (left.state, left.attempts, left.started) == (QUEUED, 0, None)
            assert bench.states("a")[-1] is QUEUED
    async with running(tmp_path) as bench:
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert (await bench.until("a", DONE)).attempts == 1


async def test_stopping_with_a_real_engine_at_work_is_quick_and_leaves_no_process(tmp_path):
    engine = supervisor(tmp_path, "Hanging")
    async with running(tmp_path, runner=engine) as bench:
        await bench.queue.submit(job("a"))
        async with asyncio.timeout(DEADLINE_S), bench.heard:
            await bench.heard.wait_for(lambda: any(isinstance(event, JobProgressed) for event in bench.events))
        worker = psutil.Process(engine.pid)
        async with asyncio.timeout(2.0):
            await bench.queue.stop()
            await engine.stop()
        assert not worker.is_running()
        assert bench.store.get("a").state is QUEUED


async def test_stopping_while_the_stems_are_being_written_waits_for_them(tmp_path):
    writing, go_on = threading.Event(), threading.Event()

    def deliver(one: Job, rendered: list[RenderedTake]) -> Delivery:
        writing.set()
        assert go_on.wait(DEADLINE_S)
        return delivery(one, rendered)

    async with running(tmp_path, deliver=deliver) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert await asyncio.to_thread(writing.wait, DEADLINE_S)
        stopping = asyncio.create_task(bench.queue.stop())
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="stopping"):
            await bench.queue.submit(job("c"))
        assert not stopping.done()
        go_on.set()
        await stopping
        assert bench.store.get("a").state is DONE
        assert bench.store.get("b").state is QUEUED
        assert bench.runner.order == ["a"]


async def test_a_job_found_running_is_tried_once_more_and_then_failed_with_the_reason(tmp_path):
    with Store(tmp_path / "jobs.sqlite3") as store:
        store.add(job("once", state=RUNNING, attempts=1))
        store.add(job("twice", state=RUNNING, attempts=2))
    async with running(tmp_path) as bench:
        failed = await bench.until("twice", FAILED)
        assert failed.failure.code == "engine_crashed"
        assert "died 2 times while working on this job" in failed.failure.sentence
        await bench.begun("once")
        bench.runner.finish("once", tmp_path)
        assert (await bench.until("once", DONE)).attempts == 2


async def test_a_job_found_running_whose_stems_were_written_whole_is_done_without_running(tmp_path):
    with Store(tmp_path / "jobs.sqlite3") as store:
        store.add(job("a", state=RUNNING, attempts=2))
    made = [rendered_take(tmp_path / "x.wav")]
    async with running(tmp_path, delivered=lambda one: delivery(one, made)) as bench:
        done = await bench.until("a", DONE)
        assert len(done.takes) == 1
        assert [type(event).__name__ for event in bench.events] == ["TakeDelivered", "JobChanged"]
        assert bench.runner.order == []


async def test_a_project_that_cannot_be_looked_at_does_not_keep_the_daemon_from_starting(tmp_path):
    def delivered(one: Job) -> Delivery | None:
        raise PermissionError("not yours")

    with Store(tmp_path / "jobs.sqlite3") as store:
        store.add(job("a", state=RUNNING, attempts=1))
    async with running(tmp_path, delivered=delivered) as bench:
        await bench.begun("a")


async def test_what_a_killed_daemon_left_in_the_spool_is_removed_at_the_start(tmp_path):
    left = tmp_path / "spool" / "old-job"
    left.mkdir(parents=True)
    (left / "half.wav").write_bytes(b"half")
    async with running(tmp_path):
        assert list((tmp_path / "spool").iterdir()) == []


def test_a_daemon_killed_at_any_point_loses_nothing_that_was_acknowledged(tmp_path):
    """A daemon takes jobs, is killed without warning in the middle of one, and its successor has them all."""
    acknowledged = []
    for _ in range(2):
        daemon = subprocess.Popen(
            [sys.executable, "-c", _DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        with daemon:
            for line in daemon.stdout:
                word, _, name = line.strip().partition(" ")
                if word == "running":
                    break
                acknowledged.append(name)
            daemon.kill()
    with Store(tmp_path / "jobs.sqlite3") as store:
        left = {one.id: one for one in store.open_jobs()}
    assert "j0" in acknowledged
    assert set(acknowledged) <= set(left)
    assert left["j0"].attempts == 2
    assert all(one.attempts == 0 for one in left.values() if one.id != "j0")


_DAEMON = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
from bridge.queue import JobQueue
from bridge.store import Store
from protocol.events import JobProgressed
from tests.bridge.test_queue import delivery, supervisor
from tests.support.jobs import job
async def main(folder):
    def emit(event):
        if isinstance(event, JobProgressed):
            print("running", event.job.id, flush=True)
    store, engine = Store(folder / "jobs.sqlite3"), supervisor(folder, "Hanging")
    queue = JobQueue(store, engine, delivery, emit, spool_dir=folder / "spool")
    await queue.start()
    for number in range(5):
        submitted = await queue.submit(job(f"j{number}", created=float(number)))
        print("acknowledged", submitted.job.id, flush=True)
    await asyncio.Event().wait()
asyncio.run(main(Path(sys.argv[1])))
"""
