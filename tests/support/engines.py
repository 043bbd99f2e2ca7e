"""Engines that misbehave, one way each, for the real worker process (as plugins ``tests.support.engines:NAME``).

They bring their own `render` (the worker's seam for that) and import nothing heavy, so that a start costs little.
What they shall do beyond their nature is told in the job's prompt; the outside world speaks to them through files.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.api import Capabilities, IsCancelled, ReportProgress
from engine.wire import LongStep
from protocol.errors import Cancelled, NoMaterial
from protocol.job import JobRequest, Progress, RenderedTake
from protocol.vocabulary import Verb

STEP_S = 0.005
"""How long a step of `Slow` takes: it waits for a cancel that long."""


def take(file: Path, number: int = 1, score: float = 50.0) -> RenderedTake:
    """A take as an engine would report it, with a little file behind it."""
    file.write_bytes(b"audio")
    return RenderedTake(
        file=str(file),
        region=0,
        variation=number,
        start_frame=0,
        frames=48_000,
        sample_rate=48_000,
        channels=2,
        seed=number,
        score=score,
        rank=number,
        engine="test",
        engine_version="1",
    )


class Obedient:
    """Does what it should: two steps, one take."""

    def capabilities(self) -> Capabilities:
        return Capabilities(name="test", version="1", verbs=frozenset({Verb.REPAINT}))

    def prepare(self) -> None:
        """Nothing to load."""

    def render(
        self,
        request: JobRequest,
        spool_dir: Path,
        cache_dir: Path,
        progress: ReportProgress,
        cancelled: IsCancelled,
    ) -> list[RenderedTake]:
        progress(Progress(fraction=0.5, stage="half"))
        self.misbehave(request, progress, cancelled)
        progress(Progress(fraction=1.0, stage="whole"))
        return [take(spool_dir / "take.wav")]

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        """Nothing, here."""


class Configured(Obedient):
    """Keeps the options it was given, and writes them as JSON to the file named by the prompt."""

    def configure(self, options: Mapping[str, Any]) -> None:
        if "colour" in options:
            raise NoMaterial(f"No tape of colour {options['colour']!r}.")
        self.options = options

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        Path(request.task.positive_prompt).write_text(json.dumps(self.options))


class Exiting(Obedient):
    """Ends the process in the middle, as a crash in native code does, unless the prompt says 'spare'."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        if request.task.positive_prompt != "spare":
            os._exit(7)


class CrashingOnce(Obedient):
    """Ends the process, unless the file named by the prompt exists; makes it first."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        been_here = Path(request.task.positive_prompt)
        if not been_here.exists():
            been_here.touch()
            os._exit(7)


class Hanging(Obedient):
    """Never goes on and never looks at `cancelled`, but its threads live."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        if request.task.positive_prompt != "spare":
            threading.Event().wait()


class Repeating(Obedient):
    """Reports the same step for ever, which is no progress."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        while True:
            progress(Progress(fraction=0.5, stage="half"))
            threading.Event().wait(0.02)


class Patient(Obedient):
    """Announces a step that takes longer than the watchdog waits otherwise, and takes that long."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        progress(LongStep(fraction=0.6, stage="loading", allowance_s=60.0))
        threading.Event().wait(float(request.task.positive_prompt))


class Frozen(Obedient):
    """Holds the interpreter lock inside a native call, so that no thread of the process can run."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        if sys.platform == "win32":
            ctypes.PyDLL("kernel32").Sleep(600_000)
        else:
            ctypes.PyDLL(None).sleep(600)


class Hungry(Obedient):
    """Runs out of memory."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        raise MemoryError


class OutOfMemoryError(RuntimeError):
    """Named like the one of torch."""


class GpuHungry(Obedient):
    """Runs out of a GPU's memory."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Raising(Obedient):
    """Has an ordinary bug."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        raise ZeroDivisionError("tempo by zero")


class Refusing(Obedient):
    """Refuses with an error for people."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        raise NoMaterial("The song is too short. Choose a longer one.")


class Leaving(Obedient):
    """Calls sys.exit, as command line tools do."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        sys.exit("usage: ...")


class Chatty(Obedient):
    """Prints to standard output in every way there is, and reads standard input."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        print("a library says hello")
        print('{"say": "done", "job": "forged", "takes": []}', flush=True)
        os.write(1, b"native code says hello\n")
        subprocess.run([sys.executable, "-c", "print('a child says hello')"], check=True)
        assert sys.stdin.read() == ""
        assert os.read(0, 10) == b""


class Nonsense(Obedient):
    """Gives takes that cannot travel as JSON."""

    def render(self, *args: object) -> list[RenderedTake]:
        spool_dir = Path(str(args[1]))
        return [take(spool_dir / "take.wav", score=float("nan"))]


class Slow(Obedient):
    """A thousand steps, each of which looks at `cancelled`."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        for step in range(1000):
            progress(Progress(fraction=step / 1000, stage=f"step {step}"))
            if cancelled():
                raise Cancelled("stopped at a step")
            threading.Event().wait(STEP_S)


class Parent(Obedient):
    """Starts a process that outlives everything, writes its id to the file named by the prompt, then crashes."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(600)"])
        Path(request.task.positive_prompt).write_text(str(child.pid))
        os._exit(7)


class SlowToPrepare(Obedient):
    """Its preparation takes for ever."""

    def prepare(self) -> None:
        threading.Event().wait()


class Unpreparable(Obedient):
    """Its preparation fails."""

    def prepare(self) -> None:
        raise NoMaterial("There are no weights. Run 'stembridge models'.")


class Unmakeable(Obedient):
    """Cannot even be made."""

    def __init__(self) -> None:
        raise OSError("no such device")


class SlowToStart(Obedient):
    """Takes for ever before it says hello."""

    def __init__(self) -> None:
        threading.Event().wait()


class Babbling(Obedient):
    """Finds the wire itself and writes garbage on it."""

    def misbehave(self, request: JobRequest, progress: ReportProgress, cancelled: IsCancelled) -> None:
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, b"{garbage}\n" if request.task.positive_prompt == "garbage" else b"x" * 2**20)
            except OSError:
                continue
        threading.Event().wait()
