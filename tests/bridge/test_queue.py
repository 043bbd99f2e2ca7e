"""The queue with the real journal on the disk: the way of a job, the same job again, failures, cancel and retry."""

import asyncio
from pathlib import Path

import pytest

from bridge.store import JournalError, Store
from protocol.errors import (
    Busy,
    DiskFull,
    EngineCrashed,
    EngineStalled,
    JobConflict,
    NoMaterial,
    OutOfMemory,
    UnknownJob,
)
from protocol.events import JobProgressed, TakeDelivered
from protocol.job import Job, Progress, RenderedTake
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
    running,
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
    gate = Gate()
    async with running(tmp_path, deliver=gate.deliver) as bench:
        await bench.queue.submit(job("a"))
        await bench.queue.submit(job("b"))
        await bench.begun("a")
        bench.runner.finish("a", tmp_path)
        assert await asyncio.to_thread(gate.writing.wait, DEADLINE_S)
        with pytest.raises(JobConflict, match="too late"):
            await bench.queue.cancel("a")
        assert [one.id for one in await bench.queue.cancel_all()] == ["b"]
        gate.go_on.set()
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
