"""The real worker process, spoken to over its pipes as the daemon does, without a supervisor to help it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engine import wire, worker
from engine.worker import EXIT_BAD_COMMAND, EXIT_NO_ENGINE, EXIT_ORPHANED
from protocol.job import Progress
from tests.support.jobs import job

ROOT = Path(__file__).parents[2]
END_S = 20.0


class Process:
    """A worker and the test's ends of its pipes."""

    def __init__(self, engine: str, folder: Path, **setup: float) -> None:
        self.spool = folder / "spool"
        arguments = wire.WorkerSetup(
            name="test", target=f"tests.support.engines:{engine}", cache_dir=str(folder / "cache"), **setup
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.worker", arguments.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def send(self, *commands: wire.Command) -> None:
        for command in commands:
            self.process.stdin.write(command.line())
        self.process.stdin.flush()

    def run(self, job_id: str = "a", prompt: str = "") -> wire.Run:
        return wire.Run(job=job_id, request=job(prompt=prompt).request, spool_dir=str(self.spool / job_id))

    def hear(self) -> Iterator[wire.Signal]:
        for line in self.process.stdout:
            yield wire.parse_signal(line)

    def until(self, *kinds: type) -> list[wire.Signal]:
        """Signals up to and with the first of these kinds."""
        heard: list[wire.Signal] = []
        for one in self.hear():
            heard.append(one)
            if isinstance(one, kinds):
                return heard
        raise AssertionError(f"the worker ended after {heard}: {self.process.stderr.read().decode()}")

    def end(self) -> tuple[int, str]:
        """Close the wire; the exit code and what was written to stderr."""
        _, errors = self.process.communicate(timeout=END_S)
        return self.process.returncode, errors.decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    with _started(tmp_path) as make:
        yield make


@contextmanager
def _started(folder: Path) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(engine: str, **setup: float) -> Process:
        made.append(Process(engine, folder, **setup))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate()


def kinds(heard: list[wire.Signal]) -> list[str]:
    return [one.say for one in heard if not isinstance(one, wire.Heartbeat)]


def test_a_job_goes_from_hello_over_its_steps_to_done_with_its_takes(start):
    process = start("Obedient")
    process.send(process.run())
    heard = process.until(wire.Done)
    assert kinds(heard) == ["hello", "started", "progress", "progress", "done"]
    assert heard[0].pid == process.process.pid
    assert Path(heard[-1].takes[0].file).read_bytes() == b"audio"
    assert Path(heard[-1].takes[0].file).parent == process.spool / "a"


def test_jobs_run_one_after_the_other_in_one_process(start):
    process = start("Obedient")
    process.send(wire.Prepare(), process.run("a"), process.run("b"))
    assert [process.until(wire.Done)[-1].job for _ in range(3)] == [wire.PREPARATION, "a", "b"]


def test_nothing_that_is_printed_reaches_the_wire(start):
    process = start("Chatty")
    process.send(process.run())
    assert kinds(process.until(wire.Done)) == ["hello", "started", "progress", "progress", "done"]
    _, errors = process.end()
    for voice in ("a library", "native code", "a child"):
        assert f"{voice} says hello" in errors


def test_cancel_is_answered_at_the_next_step(start):
    process = start("Slow")
    process.send(process.run())
    process.until(wire.Stepped)
    process.send(wire.Cancel(job="a"))
    after = process.until(wire.Stopped, wire.Done)
    assert isinstance(after[-1], wire.Stopped)
    assert sum(isinstance(one, wire.Stepped) for one in after) < 100  # of a thousand


def test_a_job_that_waits_behind_another_is_cancelled_at_once(start):
    process = start("Hanging")
    process.send(process.run("a"), process.run("b"), wire.Cancel(job="b"))
    assert process.until(wire.Stopped)[-1].job == "b"


def test_a_cancelled_job_may_come_again(start):
    process = start("Slow")
    process.send(process.run(), wire.Cancel(job="a"))
    process.until(wire.Stopped)
    process.send(process.run())
    assert kinds(process.until(wire.Stepped))[-2:] == ["started", "progress"]


@pytest.mark.parametrize(
    ("engine", "code", "words"),
    [
        ("Hungry", "out_of_memory", "shorter region"),
        ("GpuHungry", "out_of_memory", "shorter region"),
        ("Raising", "engine_error", "ZeroDivisionError: tempo by zero"),
        ("Refusing", "no_material", "The song is too short"),
        ("Leaving", "engine_error", "SystemExit"),
        ("Nonsense", "engine_error", "score"),
    ],
)
def test_a_failure_has_a_code_and_a_sentence_and_the_worker_goes_on(start, engine, code, words):
    process = start(engine)
    for _ in range(2):
        process.send(process.run())
        failed = process.until(wire.Failed)[-1]
        assert (failed.job, failed.code) == ("a", code)
        assert words in failed.sentence


def test_a_bug_leaves_its_traceback_in_the_log_and_a_refusal_does_not(start):
    process = start("Raising")
    process.send(process.run())
    process.until(wire.Failed)
    assert "Traceback" in process.end()[1]
    process = start("Refusing")
    process.send(process.run())
    process.until(wire.Failed)
    assert "Traceback" not in process.end()[1]


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [("NoSuchEngine", "engine_missing", "cannot be loaded"), ("Unmakeable", "engine_error", "no such device")],
)
def test_an_engine_that_cannot_be_had_is_told_before_the_worker_ends(start, target, code, words):
    process = start(target)
    failed = process.until(wire.Failed)[-1]
    assert (failed.job, failed.code) == (None, code)
    assert words in failed.sentence
    assert process.process.wait(END_S) == EXIT_NO_ENGINE


def test_a_failed_preparation_is_told_and_the_worker_goes_on(start):
    process = start("Unpreparable")
    process.send(wire.Prepare(), process.run())
    assert process.until(wire.Failed)[-1].job == wire.PREPARATION
    process.until(wire.Done)


def test_the_heart_beats_during_a_job_and_not_between_jobs(start):
    process = start("Obedient", heartbeat_every_s=0.001)
    process.send(process.run("a"))
    process.until(wire.Done)
    process.send(wire.Exit())
    assert list(process.hear()) == []
    process = start("Hanging", heartbeat_every_s=0.01)
    process.send(process.run("a"))
    for _ in range(3):
        process.until(wire.Heartbeat)


def test_the_end_of_the_daemon_ends_a_worker_that_waits(start):
    process = start("Obedient")
    process.until(wire.Hello)
    assert process.end()[0] == EXIT_ORPHANED


@pytest.mark.parametrize("engine", ["Hanging", "Slow", "SlowToPrepare"])
def test_the_end_of_the_daemon_ends_a_worker_in_the_middle_of_its_work(start, engine):
    process = start(engine)
    process.send(wire.Prepare() if engine == "SlowToPrepare" else process.run())
    process.until(wire.Started)
    assert process.end()[0] == EXIT_ORPHANED


def test_the_end_of_the_daemon_ends_a_worker_whose_engine_is_still_loading(start):
    assert start("SlowToStart").end()[0] == EXIT_ORPHANED


def test_a_worker_that_can_run_no_thread_ends_itself_and_shows_where_it_hung(start):
    process = start("Frozen", frozen_after_s=0.3, heartbeat_every_s=0.1)
    process.send(process.run())
    process.until(wire.Stepped)
    assert process.process.wait(END_S) != 0
    assert "engines.py" in process.end()[1]


def test_a_daemon_that_was_killed_leaves_no_worker(start, tmp_path):
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with daemon:
        orphan = psutil.Process(int(daemon.stdout.readline()))
        daemon.kill()
    assert psutil.wait_procs([orphan], timeout=END_S)[1] == []


_DAEMON = """
import sys
from pathlib import Path
from tests.engine.test_worker import Process, wire
process = Process("Hanging", Path(sys.argv[1]))
process.send(process.run())
process.until(wire.Started)
print(process.process.pid, flush=True)
process.process.wait()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_is_meant_for_the_daemon_does_not_end_the_worker(start, name):
    if sys.platform == "win32":
        pytest.skip("Windows has no signal that goes to one process only")
    process = start("Slow")
    process.send(process.run())
    process.until(wire.Stepped)
    process.process.send_signal(getattr(signal, name))
    assert kinds(process.until(wire.Stepped)) == ["progress"]
    assert process.process.poll() is None


def test_exit_in_the_middle_of_a_job_ends_it_at_a_step(start):
    process = start("Slow")
    process.send(process.run())
    process.until(wire.Stepped)
    process.send(wire.Exit())
    process.until(wire.Stopped)
    assert process.process.wait(END_S) == 0


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"do": "format"}\n', b"\xff\n"])
def test_a_command_that_is_none_ends_the_worker(start, line):
    process = start("Obedient")
    process.process.stdin.write(line)
    process.process.stdin.flush()
    assert process.process.wait(END_S) == EXIT_BAD_COMMAND


def test_dump_shows_where_a_hanging_engine_is(start):
    process = start("Hanging")
    process.send(process.run())
    process.until(wire.Stepped)
    process.send(wire.Dump())
    assert "engines.py" in process.end()[1]


class _Said:
    def __init__(self) -> None:
        self.steps: list[wire.Stepped] = []

    def say(self, step: wire.Stepped) -> None:
        self.steps.append(step)


def test_steps_are_thinned_to_what_eyes_can_follow_but_stages_allowances_and_the_end_are_kept():
    said, times = _Said(), iter([0.0, 0.001, 0.002, 0.003, 0.03, 0.031])
    report = worker._reporter(said, "a", lambda: next(times))
    report(Progress(fraction=0.1, stage="one"))
    report(Progress(fraction=0.2, stage="one"))
    report(Progress(fraction=0.3, stage="two"))
    report(wire.LongStep(fraction=0.3, stage="two", allowance_s=300))
    report(Progress(fraction=0.4, stage="two"))
    report(Progress(fraction=1.0, stage="two"))
    assert [(step.progress.fraction, step.allowance_s) for step in said.steps] == [
        (0.1, None),
        (0.3, None),
        (0.3, 300.0),
        (0.4, None),
        (1.0, None),
    ]


def test_an_error_keeps_its_code_over_the_wire_even_if_this_side_does_not_know_it():
    assert type(wire.error_of("no_material", "x")).__name__ == "NoMaterial"
    unknown = wire.error_of("plugin_trouble", "The plugin is unwell.")
    assert (unknown.code, unknown.sentence) == ("plugin_trouble", "The plugin is unwell.")
    assert wire.error_of("error", "x").code == "error"


def test_a_message_that_is_too_long_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="more than the wire takes"):
        wire.Failed(job="a", code="x", sentence="x" * wire.MAX_LINE_BYTES).line()
