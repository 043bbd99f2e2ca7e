"""The supervisor with the real worker process and engines that misbehave; deadlines are short, nothing is mocked."""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.supervisor import EngineSupervisor, RunnerState, SupervisorSettings
from bridge.watch import Pace, Watch
from bridge.worker_link import describe_exit
from engine import wire
from engine.registry import EngineSpec
from protocol.errors import (
    Cancelled,
    EngineCrashed,
    EngineError,
    EngineMissing,
    EngineStalled,
    NoMaterial,
    OutOfMemory,
    StembridgeError,
)
from protocol.job import Job, Progress, RenderedTake
from tests.support.jobs import job

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX")


def spec(engine: str) -> EngineSpec:
    return EngineSpec(engine.lower(), f"tests.support.engines:{engine}")


@dataclass
class Bench:
    """A supervisor and what it told."""

    supervisor: EngineSupervisor
    folder: Path
    steps: list[Progress] = field(default_factory=list)
    stepped: asyncio.Event = field(default_factory=asyncio.Event)

    def on_progress(self, progress: Progress) -> None:
        self.steps.append(progress)
        self.stepped.set()

    async def run(self, one: Job | None = None) -> list[RenderedTake]:
        async with asyncio.timeout(DEADLINE_S):
            return await self.supervisor.run(one or job(), self.on_progress)

    async def begin(self, one: Job | None = None) -> asyncio.Task[list[RenderedTake]]:
        """A run that has made its first step."""
        self.stepped.clear()
        task = asyncio.create_task(self.run(one))
        async with asyncio.timeout(DEADLINE_S):
            await self.stepped.wait()
        return task

    @property
    def log(self) -> str:
        return (self.folder / "logs" / "engine.log").read_text(encoding="utf-8")


@asynccontextmanager
async def supervised(
    folder: Path, engine: str, options: Mapping[str, Any] | None = None, **settings: float
) -> AsyncIterator[Bench]:
    """A bench; afterwards no process and no transport may be left."""
    before = set(psutil.Process().children(recursive=True))
    supervisor = EngineSupervisor(
        replace(spec(engine), options=options or {}),
        cache_dir=folder / "cache",
        spool_dir=folder / "spool",
        log_file=folder / "logs" / "engine.log",
        settings=SupervisorSettings(**settings),
        resolve=lambda name: spec({"obedient": "Obedient", "unmakeable": "Unmakeable"}[name]),
        environment={"PYTHONPATH": str(ROOT)},
    )
    try:
        yield Bench(supervisor, folder)
    finally:
        async with asyncio.timeout(DEADLINE_S):
            await supervisor.stop()
    assert supervisor.state is RunnerState.ABSENT
    assert set(psutil.Process().children(recursive=True)) <= before
    gc.collect()  # an unclosed transport would warn now, and a warning is an error


async def failure(work: Awaitable[object]) -> StembridgeError:
    with pytest.raises(StembridgeError) as raised:
        await work
    return raised.value


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds, for so long at most."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event, and belongs to asyncio itself)
            await asyncio.sleep(0)


async def gone(pid: int) -> None:
    _, alive = await asyncio.to_thread(
        psutil.wait_procs, [psutil.Process(pid)] if psutil.pid_exists(pid) else [], DEADLINE_S
    )
    assert alive == []


# --- what goes well ---------------------------------------------------------------------------------------------------
async def test_the_options_of_an_engine_reach_it_in_its_process(tmp_path):
    options = {"device": "cuda:1", "models_dir": None, "lora": [{"path": "ü", "scale": 0.5}]}
    async with supervised(tmp_path, "Configured", options=options) as bench:
        await bench.run(job(prompt=str(tmp_path / "told.json")))
    assert json.loads((tmp_path / "told.json").read_text()) == options


async def test_a_job_is_rendered_into_its_own_spool_folder_with_progress(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        assert bench.supervisor.state is RunnerState.ABSENT
        takes = await bench.run(job("a"))
        assert Path(takes[0].file).parent == tmp_path / "spool" / "a"
        assert [step.fraction for step in bench.steps] == [0.0, 0.5, 1.0]
        assert bench.supervisor.state is RunnerState.READY


async def test_one_process_serves_many_jobs(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        await bench.supervisor.prepare()
        pid = bench.supervisor.pid
        for number in range(5):
            await bench.run(job(f"j{number}"))
        assert bench.supervisor.pid == pid


async def test_a_job_that_comes_while_the_engine_prepares_waits_for_that(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        preparing = asyncio.create_task(bench.supervisor.prepare())
        assert await bench.run()
        await preparing


async def test_prepare_beside_a_running_job_asks_nothing(tmp_path):
    async with supervised(tmp_path, "Slow") as bench:
        task = await bench.begin()
        async with asyncio.timeout(1.0):
            await bench.supervisor.prepare()
        bench.supervisor.cancel("job-1")
        assert isinstance(await failure(task), Cancelled)


async def test_a_second_job_at_once_is_a_mistake_of_the_caller(tmp_path):
    async with supervised(tmp_path, "Slow") as bench:
        task = await bench.begin(job("a"))
        with pytest.raises(RuntimeError, match="busy"):
            await bench.run(job("b"))
        bench.supervisor.cancel("a")
        await failure(task)


async def test_a_job_that_names_another_engine_gets_it(tmp_path):
    async with supervised(tmp_path, "Exiting") as bench:
        assert await bench.run(job("a", engine="obedient"))
        assert isinstance(await failure(bench.run(job("b"))), EngineCrashed)
        assert await bench.run(job("c", engine="obedient"))


async def test_the_workers_chatter_is_kept_in_the_log_with_its_process_id(tmp_path):
    async with supervised(tmp_path, "Chatty") as bench:
        await bench.run()
        pid = bench.supervisor.pid
    assert f"[{pid}] native code says hello" in bench.log


async def test_a_listener_that_fails_does_not_break_the_job(tmp_path, caplog):
    async with supervised(tmp_path, "Obedient") as bench:
        bench.on_progress = lambda progress: 1 / 0
        assert await bench.run()
    assert "could not be passed on" in caplog.text


# --- errors and crashes -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("engine", "kind"), [("Refusing", NoMaterial), ("Raising", EngineError)])
async def test_an_error_of_the_engine_arrives_as_its_class_and_the_process_stays(tmp_path, engine, kind):
    async with supervised(tmp_path, engine) as bench:
        assert type(await failure(bench.run())) is kind
        pid = bench.supervisor.pid
        assert type(await failure(bench.run())) is kind
        assert bench.supervisor.pid == pid is not None


@pytest.mark.parametrize("engine", ["Hungry", "GpuHungry"])
async def test_running_out_of_memory_gives_the_process_and_so_its_memory_back(tmp_path, engine):
    async with supervised(tmp_path, engine) as bench:
        assert isinstance(await failure(bench.run()), OutOfMemory)
        assert bench.supervisor.state is RunnerState.ABSENT


async def test_a_crash_is_told_with_its_exit_code_and_a_fresh_worker_takes_the_next_job(tmp_path):
    async with supervised(tmp_path, "Exiting") as bench:
        await bench.supervisor.prepare()
        before = bench.supervisor.pid
        error = await failure(bench.run(job("a")))
        assert isinstance(error, EngineCrashed)
        assert "exit code 7" in error.sentence
        assert await bench.run(job("b", prompt="spare"))
        assert bench.supervisor.pid != before


@posix
async def test_a_kill_from_outside_is_told_as_what_it_most_often_is(tmp_path):
    async with supervised(tmp_path, "Hanging") as bench:
        task = await bench.begin()
        psutil.Process(bench.supervisor.pid).kill()
        error = await failure(task)
        assert isinstance(error, EngineCrashed)
        assert "SIGKILL" in error.sentence
        assert "ran out of memory" in error.sentence
        assert await bench.run(job("b", prompt="spare"))


async def test_a_worker_that_dies_between_jobs_is_replaced_unseen(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        await bench.run(job("a"))
        pid = bench.supervisor.pid
        psutil.Process(pid).kill()
        await until(lambda: bench.supervisor.pid is None)
        assert await bench.run(job("b"))


@posix
async def test_what_a_crashed_worker_had_started_is_ended_too(tmp_path):
    child = tmp_path / "child"
    async with supervised(tmp_path, "Parent") as bench:
        assert isinstance(await failure(bench.run(job(prompt=str(child)))), EngineCrashed)
        await gone(int(child.read_text()))


async def test_an_engine_that_cannot_be_imported_says_so_and_leaves_no_process(tmp_path):
    async with supervised(tmp_path, "NoSuchEngine") as bench:
        for _ in range(2):
            assert isinstance(await failure(bench.run()), EngineMissing)
        assert isinstance(await failure(bench.supervisor.prepare()), EngineMissing)


async def test_a_failed_preparation_does_not_cost_the_process(tmp_path):
    async with supervised(tmp_path, "Unpreparable") as bench:
        assert isinstance(await failure(bench.supervisor.prepare()), NoMaterial)
        assert await bench.run()


@posix
@pytest.mark.parametrize("prompt", ["garbage", "endless"])
async def test_garbage_on_the_wire_ends_the_worker_and_is_logged(tmp_path, caplog, monkeypatch, prompt):
    monkeypatch.setattr(wire, "MAX_LINE_BYTES", 2**18)
    async with supervised(tmp_path, "Babbling") as bench:
        error = await failure(bench.run(job(prompt=prompt)))
    assert isinstance(error, EngineCrashed)
    assert "it is ended" in caplog.text


async def test_a_process_that_cannot_be_started_is_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python here"))
    async with supervised(tmp_path, "Obedient") as bench:
        assert "could not be started" in (await failure(bench.run())).sentence


# --- hangs ------------------------------------------------------------------------------------------------------------
async def test_no_progress_ends_the_job_though_the_heart_beats_and_the_log_shows_where(tmp_path):
    async with supervised(tmp_path, "Hanging", stall_s=0.3) as bench:
        error = await failure(bench.run(job("a")))
        assert isinstance(error, EngineStalled)
        assert "no progress" in error.sentence
        assert bench.supervisor.state is RunnerState.ABSENT
        assert "misbehave" in bench.log
        assert await bench.run(job("b", prompt="spare"))


async def test_repeating_the_same_step_is_no_progress(tmp_path):
    async with supervised(tmp_path, "Repeating", stall_s=0.3) as bench:
        assert isinstance(await failure(bench.run()), EngineStalled)


async def test_a_job_that_goes_on_may_take_as_long_as_it_likes(tmp_path):
    async with supervised(tmp_path, "Slow", stall_s=0.5) as bench:
        task = await bench.begin()
        while len({step.fraction for step in bench.steps}) < 60:  # more than 1 s, at 50 steps a second
            bench.stepped.clear()
            await bench.stepped.wait()
        assert not task.done()
        bench.supervisor.cancel("job-1")
        await failure(task)


async def test_a_step_that_announced_itself_may_take_longer(tmp_path):
    async with supervised(tmp_path, "Patient", stall_s=0.3) as bench:
        assert await bench.run(job(prompt="0.8"))


async def test_silence_ends_the_job(tmp_path):
    async with supervised(tmp_path, "Frozen", heartbeat_s=1.5) as bench:
        error = await failure(bench.run())
        assert isinstance(error, EngineStalled)
        assert "no sign of life" in error.sentence


async def test_an_engine_that_does_not_start_is_ended(tmp_path):
    async with supervised(tmp_path, "SlowToStart", start_s=0.3, exit_grace_s=0.2) as bench:
        error = await failure(bench.run())
        assert isinstance(error, EngineStalled)
        assert "did not start" in error.sentence


async def test_a_preparation_that_never_ends_is_ended(tmp_path):
    async with supervised(tmp_path, "SlowToPrepare", prepare_s=0.3) as bench:
        assert isinstance(await failure(bench.supervisor.prepare()), EngineStalled)


# --- cancel -----------------------------------------------------------------------------------------------------------
async def test_cancel_is_answered_at_a_step_and_keeps_the_process(tmp_path):
    async with supervised(tmp_path, "Slow") as bench:
        await bench.supervisor.prepare()
        pid = bench.supervisor.pid
        task = await bench.begin()
        bench.supervisor.cancel("job-1")
        assert isinstance(await failure(task), Cancelled)
        assert len(bench.steps) < 500  # of a thousand
        assert bench.supervisor.pid == pid


async def test_a_cancel_that_is_not_answered_ends_the_process(tmp_path):
    async with supervised(tmp_path, "Hanging", cancel_grace_s=0.2) as bench:
        task = await bench.begin(job("a"))
        bench.supervisor.cancel("a")
        assert isinstance(await failure(task), Cancelled)
        assert bench.supervisor.state is RunnerState.ABSENT
        assert await bench.run(job("b", prompt="spare"))


async def test_cancel_while_the_process_is_being_started_is_answered(tmp_path):
    async with supervised(tmp_path, "Slow") as bench:
        task = asyncio.create_task(bench.run())
        await asyncio.sleep(0)
        bench.supervisor.cancel("job-1")
        assert isinstance(await failure(task), Cancelled)
        assert bench.steps == []


async def test_cancel_while_the_engine_prepares_is_answered_and_spares_the_preparation(tmp_path):
    async with supervised(tmp_path, "SlowToPrepare") as bench:
        preparing = asyncio.create_task(bench.supervisor.prepare())
        await until(lambda: bench.supervisor.pid is not None)
        task = asyncio.create_task(bench.run())
        await asyncio.sleep(0)
        bench.supervisor.cancel("job-1")
        assert isinstance(await failure(task), Cancelled)
        assert not preparing.done()
        preparing.cancel()
        await asyncio.wait({preparing})


async def test_cancel_of_another_job_changes_nothing(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        task = await bench.begin(job("a"))
        bench.supervisor.cancel("b")
        assert await task


async def test_cancelling_the_coroutine_ends_the_work_and_the_next_job_gets_a_fresh_process(tmp_path):
    async with supervised(tmp_path, "Hanging") as bench:
        task = await bench.begin(job("a"))
        pid = bench.supervisor.pid
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bench.run(job("b", prompt="spare"))
        assert bench.supervisor.pid != pid
        await gone(pid)


# --- the end ----------------------------------------------------------------------------------------------------------
async def test_the_process_is_given_back_after_an_idle_time_and_comes_again(tmp_path):
    async with supervised(tmp_path, "Obedient", idle_release_s=0.05) as bench:
        await bench.run(job("a"))
        pid = bench.supervisor.pid
        await until(lambda: bench.supervisor.state is RunnerState.ABSENT)
        await gone(pid)
        assert await bench.run(job("b"))


async def test_a_working_process_is_not_idle(tmp_path):
    async with supervised(tmp_path, "Slow", idle_release_s=0.05) as bench:
        task = await bench.begin()
        for _ in range(10):
            bench.stepped.clear()
            await bench.stepped.wait()
        bench.supervisor.cancel("job-1")
        assert isinstance(await failure(task), Cancelled)


async def test_jobs_at_the_moment_of_release_are_served(tmp_path):
    async with supervised(tmp_path, "Obedient", idle_release_s=0.0) as bench:
        for number in range(4):
            assert await bench.run(job(f"j{number}"))
            for _ in range(number):
                await asyncio.sleep(0)


@pytest.mark.parametrize("engine", ["Obedient", "SlowToPrepare", "SlowToStart"])
async def test_stop_ends_the_process_whatever_it_does(tmp_path, engine):
    async with supervised(tmp_path, engine, exit_grace_s=0.3) as bench:
        preparing = asyncio.create_task(bench.supervisor.prepare())
        await until(lambda: bench.supervisor.pid is not None)
        pid = bench.supervisor.pid
        await bench.supervisor.stop()
        await asyncio.wait({preparing})
        assert preparing.exception() is None or isinstance(preparing.exception(), StembridgeError)
        await gone(pid)


async def test_stop_without_a_process_is_nothing(tmp_path):
    async with supervised(tmp_path, "Obedient") as bench:
        await bench.supervisor.stop()


def test_a_supervisor_that_is_killed_with_its_daemon_leaves_no_worker(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    with daemon:
        worker = int(daemon.stdout.readline())
        orphan = psutil.Process(worker)
        daemon.kill()
    assert psutil.wait_procs([orphan], timeout=DEADLINE_S)[1] == []


_DAEMON = """
import asyncio, sys
from pathlib import Path
from bridge.supervisor import EngineSupervisor
from engine.registry import EngineSpec
from tests.support.jobs import job
async def main():
    folder = Path(sys.argv[1])
    supervisor = EngineSupervisor(
        EngineSpec("hanging", "tests.support.engines:Hanging"),
        cache_dir=folder / "cache", spool_dir=folder / "spool", log_file=folder / "engine.log",
    )
    await supervisor.run(job(), lambda progress: print(supervisor.pid, flush=True))
asyncio.run(main())
"""


async def test_the_log_is_rotated(tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.worker_link.LOG_BYTES", 2000)
    async with supervised(tmp_path, "Raising") as bench:
        for number in range(20):
            await failure(bench.run(job(f"j{number}")))
    logs = sorted(entry.name for entry in (tmp_path / "logs").iterdir())
    assert logs == ["engine.log", "engine.log.1", "engine.log.2", "engine.log.3"]
    assert all(entry.stat().st_size <= 2000 for entry in (tmp_path / "logs").iterdir())


# --- arithmetic -------------------------------------------------------------------------------------------------------
SETTINGS = SupervisorSettings(
    start_s=60, prepare_s=900, heartbeat_s=20, stall_s=120, cancel_grace_s=10, exit_grace_s=2, idle_release_s=300
)


def test_nothing_is_overdue_before_the_time_that_the_watch_names():
    watch = Watch(SETTINGS, 0.0, starting=True)
    assert watch.due_s == 60.0
    assert watch.verdict(59.9) is None
    assert isinstance(watch.verdict(60.0), EngineStalled)


def test_a_sign_of_life_postpones_silence_but_not_a_stall():
    watch = Watch(SETTINGS, 0.0, starting=False)
    watch.started(0.0, SETTINGS.stall_s)
    for now_s in range(0, 120, 10):
        watch.alive(float(now_s))
        assert watch.verdict(now_s + 9.0) is None
    assert "no progress" in str(watch.verdict(120.0))


def test_a_change_of_fraction_or_stage_is_progress_and_a_repetition_is_not():
    watch = Watch(SETTINGS, 0.0, starting=False)
    for now_s, fraction, stage, due_s in [
        (0.0, 0.1, "a", 120.0),
        (50.0, 0.1, "a", 120.0),
        (60.0, 0.1, "b", 180.0),
        (70.0, 0.2, "b", 190.0),
    ]:
        watch.stepped(Progress(fraction=fraction, stage=stage), None, now_s)
        watch.alive(1e9)
        assert watch.due_s == due_s


def test_an_allowance_can_lengthen_the_wait_and_never_shortens_it():
    watch = Watch(SETTINGS, 0.0, starting=False)
    watch.alive(1e9)
    watch.stepped(Progress(fraction=0.1), 600.0, 0.0)
    assert watch.due_s == 600.0
    watch.stepped(Progress(fraction=0.2), 1.0, 0.0)
    assert watch.due_s == 120.0


def test_a_computer_that_slept_postpones_everything():
    watch = Watch(SETTINGS, 0.0, starting=False)
    watch.cancelled(0.0)
    overdue_s = watch.due_s
    woke_s = overdue_s + 1000.0
    watch.slept(woke_s - overdue_s)
    assert watch.verdict(woke_s) is None  # awake again, and nobody could have been heard yet
    assert watch.verdict(woke_s + 0.9 * SETTINGS.heartbeat_s) is None
    assert isinstance(watch.verdict(woke_s + SETTINGS.heartbeat_s), Cancelled)


def test_a_second_cancel_does_not_extend_the_grace():
    watch = Watch(SETTINGS, 0.0, starting=False)
    watch.cancelled(0.0)
    watch.cancelled(9.0)
    assert isinstance(watch.verdict(10.0), Cancelled)


@given(
    now_s=st.floats(0, 1e6),
    events=st.lists(
        st.tuples(st.sampled_from(["alive", "started", "hello", "cancel"]), st.floats(0, 1e3)), max_size=10
    ),
)
def test_due_is_exactly_when_a_verdict_falls(now_s, events):
    watch = Watch(SETTINGS, now_s, starting=True)
    for what, later_s in events:
        now_s += later_s
        match what:
            case "alive":
                watch.alive(now_s)
            case "started":
                watch.started(now_s, 120.0)
            case "hello":
                watch.hello(now_s)
            case "cancel":
                watch.cancelled(now_s)
    assert watch.verdict(watch.due_s - 0.001) is None
    assert watch.verdict(watch.due_s) is not None


def test_the_time_left_is_estimated_from_the_speed_unless_the_engine_knows_it():
    pace = Pace()
    assert pace.estimated(Progress(fraction=0.0), 0.0).seconds_left == -1
    assert pace.estimated(Progress(fraction=0.25), 10.0).seconds_left == 30.0
    assert pace.estimated(Progress(fraction=0.5, seconds_left=3.0), 20.0).seconds_left == 3.0
    assert pace.estimated(Progress(fraction=1.0), 40.0).seconds_left == 0.0


def test_the_first_step_alone_says_nothing_about_speed():
    pace = Pace()
    assert pace.estimated(Progress(fraction=0.5), 10.0).seconds_left == -1
    assert pace.estimated(Progress(fraction=0.75), 12.0).seconds_left == 2.0


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (0, "exit code 0"), (-11, "signal SIGSEGV"), (-999, "signal 999"), (None, "it vanished")],
)
def test_an_exit_is_described_in_words(code, words):
    assert describe_exit(code) == words
