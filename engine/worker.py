"""The engine's own process: ``python -m engine.worker SETUP`` with a `wire.WorkerSetup` as JSON.

It exists so that a crash, a hang or a full memory costs one job and not the daemon, and so that ending the process
gives the GPU back. Promises: one job at a time, on the main thread; a signal at every step and a heartbeat while it
works; cancel is answered at the next step; when the daemon dies (end of file on standard input) it ends at once, also
in the middle of a job; nothing that a library prints can reach the wire.

The audio is made by `engine.render.render`. The seam for engines that bring their own pipeline: if the engine object
has a method ``render(request, spool_dir, cache_dir, progress, cancelled) -> list[RenderedTake]``, that is called
instead, with the same promises to keep.
"""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine import registry, wire
from engine.api import Engine
from protocol.errors import Cancelled, EngineError, OutOfMemory, StembridgeError
from protocol.job import Progress, RenderedTake

EXIT_ORPHANED, EXIT_BAD_COMMAND, EXIT_NO_ENGINE = 81, 82, 83
_MIN_STEP_S = 0.02
"""Steps that follow each other faster are thinned out: nobody sees more than 50 a second."""

_OUT_OF_MEMORY = frozenset({"OutOfMemoryError"})
"""Names of exceptions of libraries that are not imported here: torch.OutOfMemoryError and its older spellings."""


class Wire:
    """The private ends of the two pipes to the daemon; safe to use from any thread."""

    def __init__(self, commands: BinaryIO, signals: BinaryIO) -> None:
        self._commands = commands
        self._signals = signals
        self._lock = threading.Lock()

    @classmethod
    def take_over(cls) -> Wire:
        """Keep standard input and output for the wire, and give everyone else nothing to read and stderr to write.

        On file descriptors, not on `sys.stdout`, because native libraries print too. Descriptor 0 must not stay the
        pipe either: on Windows a library that only asks about it would wait for our reader thread.
        """
        commands, signals = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = sys.stderr
        return cls(os.fdopen(commands, "rb"), os.fdopen(signals, "wb"))

    def say(self, signal_: wire.Signal) -> None:
        """Send a signal; if nobody listens any more, end the process."""
        line = signal_.line()
        with self._lock:
            try:
                self._signals.write(line)
                self._signals.flush()
            except OSError:
                os._exit(EXIT_ORPHANED)

    def hear(self) -> Iterator[wire.Command]:
        """Commands until the daemon closes its end."""
        while line := self._commands.readline(wire.MAX_LINE_BYTES + 1):
            yield wire.parse_command(line)


class Inbox:
    """What the reader thread has heard: work for the main thread, and the ids of jobs to stop."""

    def __init__(self, to_daemon: Wire) -> None:
        self._wire = to_daemon
        self._work: queue.SimpleQueue[wire.Prepare | wire.Run | wire.Exit] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._unwanted: set[str] = set()
        self._leaving = False

    def read_forever(self) -> None:
        """Body of the reader thread. It never returns: the end of input ends the process."""
        try:
            for command in self._wire.hear():
                self._take(command)
        except Exception:
            traceback.print_exc()
            os._exit(EXIT_BAD_COMMAND)
        os._exit(EXIT_ORPHANED)

    def _take(self, command: wire.Command) -> None:
        if isinstance(command, wire.Cancel):
            with self._lock:
                self._unwanted.add(command.job)
                waiting = command.job in self._waiting
                self._waiting.discard(command.job)
            if waiting:  # answered here, because the main thread may be busy loading a model
                self._wire.say(wire.Stopped(job=command.job))
            return
        if isinstance(command, wire.Run):
            with self._lock:
                self._unwanted.discard(command.job)
                self._waiting.add(command.job)
        if isinstance(command, wire.Dump):
            faulthandler.dump_traceback(all_threads=True)
            return
        if isinstance(command, wire.Exit):
            self._leaving = True
        self._work.put(command)

    def next(self) -> wire.Prepare | wire.Run | None:
        """Wait for work; None when it is time to leave."""
        while not self._leaving:
            command = self._work.get()
            if isinstance(command, wire.Prepare):
                return command
            if isinstance(command, wire.Run):
                with self._lock:
                    wanted = command.job in self._waiting
                    self._waiting.discard(command.job)
                if wanted:
                    return command
        return None

    def is_unwanted(self, job: str) -> bool:
        """True once a job was cancelled or the worker was asked to leave."""
        return self._leaving or job in self._unwanted


def main(argv: list[str]) -> int:
    """Serve until told to leave; the exit code is 0 then, and above 80 for what can go wrong with the daemon."""
    to_daemon = Wire.take_over()
    for request in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C or a system going down: the daemon's to answer, not ours
        signal.signal(request, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    setup = wire.WorkerSetup.model_validate_json(argv[0])
    inbox = Inbox(to_daemon)
    threading.Thread(target=inbox.read_forever, name="commands", daemon=True).start()
    try:
        engine = registry.load(registry.EngineSpec(setup.name, setup.target, setup.options))
        offer = engine.capabilities()
    except Exception as error:
        to_daemon.say(_failure(None, error))
        return EXIT_NO_ENGINE
    to_daemon.say(wire.Hello(pid=os.getpid(), engine=setup.name, version=offer.version))
    while (command := inbox.next()) is not None:
        job = command.job if isinstance(command, wire.Run) else wire.PREPARATION
        to_daemon.say(wire.Started(job=job))
        with _heartbeat(to_daemon, job, setup):
            answer = _work(command, job, engine, Path(setup.cache_dir), inbox, to_daemon)
        to_daemon.say(answer)  # after the last heartbeat: between jobs there is silence
    return 0


def _work(
    command: wire.Prepare | wire.Run, job: str, engine: Engine, cache_dir: Path, inbox: Inbox, to_daemon: Wire
) -> wire.Signal:
    """Do one thing; the answer to it, whatever happens."""
    try:
        takes: list[RenderedTake] = []
        if isinstance(command, wire.Run):
            takes = _render(command, engine, cache_dir, inbox, to_daemon)
        else:
            engine.prepare()
        return _checked(wire.Done(job=job, takes=tuple(takes)))
    except Cancelled:
        return wire.Stopped(job=job)
    except BaseException as error:
        return _failure(job, error)


def _checked(done: wire.Done) -> wire.Done:
    """`done` if it arrives as it is: a take that cannot travel (NaN as its score) is its job's failure, not a crash."""
    try:
        wire.parse_signal(done.line())
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(f"The engine describes its takes in a way that cannot be passed on: {reason}") from error
    return done


def _render(command: wire.Run, engine: Engine, cache_dir: Path, inbox: Inbox, to_daemon: Wire) -> list[RenderedTake]:
    spool_dir = Path(command.spool_dir)
    spool_dir.mkdir(parents=True, exist_ok=True)
    cache_dir.mkdir(parents=True, exist_ok=True)
    progress = _reporter(to_daemon, command.job, time.monotonic)
    cancelled = functools.partial(inbox.is_unwanted, command.job)
    own = getattr(engine, "render", None)
    if own is not None:
        return list(own(command.request, spool_dir, cache_dir, progress, cancelled))
    from engine.render import render  # here, because it imports numpy

    return render(command.request, engine, spool_dir, cache_dir, progress, cancelled)


def _reporter(to_daemon: Wire, job: str, clock: Callable[[], float]) -> Callable[[Progress], None]:
    """A `ReportProgress` that sends steps, at most one per `_MIN_STEP_S` within a stage."""
    last_s, last_stage = -_MIN_STEP_S, ""

    def report(progress: Progress) -> None:
        nonlocal last_s, last_stage
        allowance_s = progress.allowance_s if isinstance(progress, wire.LongStep) else None
        now_s = clock()
        is_news = allowance_s is not None or progress.stage != last_stage or progress.fraction >= 1.0
        if not is_news and now_s - last_s < _MIN_STEP_S:
            return
        last_s, last_stage = now_s, progress.stage
        plain = Progress(fraction=progress.fraction, seconds_left=progress.seconds_left, stage=progress.stage)
        to_daemon.say(wire.Stepped(job=job, progress=plain, allowance_s=allowance_s))

    return report


@contextmanager
def _heartbeat(to_daemon: Wire, job: str, setup: wire.WorkerSetup) -> Iterator[None]:
    """Beat while the engine works; if no thread can run for long, a native thread dumps all stacks and ends us.

    That thread needs no interpreter lock, so it also ends a worker whose daemon is dead and whose engine hangs inside
    a library that never lets go of the lock.
    """
    finished = threading.Event()

    def beat() -> None:
        while True:
            faulthandler.dump_traceback_later(setup.frozen_after_s, exit=True)
            if finished.wait(setup.heartbeat_every_s):
                return
            to_daemon.say(wire.Heartbeat(job=job))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _failure(job: str | None, error: BaseException) -> wire.Failed:
    """The error for people; what only developers can read goes to the log."""
    told = _for_people(error)
    if told is not error or error.__cause__ is not None:
        traceback.print_exception(error)
    return wire.Failed(job=job, code=told.code, sentence=told.sentence)


def _for_people(error: BaseException) -> StembridgeError:
    if isinstance(error, StembridgeError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        return OutOfMemory(
            "The engine ran out of memory. Choose a shorter region or fewer variations, or close other programs that "
            "use much memory, then retry."
        )
    last_line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:400]
    return EngineError(f"The engine failed: {last_line}. Its log has the details; try again or change the request.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
