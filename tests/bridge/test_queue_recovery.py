"""The queue when things die: the engine at work, the daemon, the whole process; and what the next start makes of it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bridge.store import Store
from protocol.errors import (
    Busy,
    EngineCrashed,
)
from protocol.events import JobProgressed
from protocol.job import Job
from tests.support.engines import take as rendered_take
from tests.support.jobs import job
from tests.support.queues import (
    CANCELLED,
    DEADLINE_S,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    Delivery,
    Gate,
    delivery,
    running,
    supervisor,
)

ROOT = Path(__file__).parents[2]


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
    gate = Gate()
    async with running(tmp_path, deliver=gate.deliver) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert await asyncio.to_thread(gate.writing.wait, DEADLINE_S)
        stopping = asyncio.create_task(bench.queue.stop())
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="stopping"):
            await bench.queue.submit(job("c"))
        assert not stopping.done()
        gate.go_on.set()
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
from tests.support.queues import delivery, supervisor
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
