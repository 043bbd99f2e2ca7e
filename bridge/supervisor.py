"""Starts, watches, cancels and replaces the engine's process, behind an interface small enough for a pool to replace.

What it promises: a job ends with takes or with one `StembridgeError`; a worker that dies, goes silent, makes no
progress or does not answer a cancel is killed with all it started, and is gone before `run` raises; the next job gets
a fresh one; after `idle_release_s` without a job the process ends, and its memory is free. It wakes up only when
something was said or is overdue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from bridge.watch import SupervisorSettings, Watch
from bridge.worker_link import WorkerLink
from engine import wire
from engine.registry import EngineSpec
from protocol.errors import Cancelled, EngineCrashed, EngineError, EngineMissing, EngineStalled, OutOfMemory
from protocol.job import Job, Progress, RenderedTake

__all__ = ["EngineSupervisor", "Runner", "RunnerState", "SupervisorSettings"]

log = logging.getLogger("stembridge.engine")

OnProgress = Callable[[Progress], None]

_SLEPT_S = 1.0
"""A deadline that is noticed so much too late says more about us than about the engine."""


class RunnerState(StrEnum):
    """What the engine is doing, for people and for `doctor`."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"


class Runner(Protocol):
    """Whatever runs jobs. One `run` at a time; all methods on the event loop's thread."""

    @property
    def state(self) -> RunnerState: ...

    async def prepare(self) -> None:
        """Have an engine ready for the next job. Raises `EngineError` if that fails."""
        ...

    async def run(self, job: Job, on_progress: OnProgress) -> list[RenderedTake]:
        """Render a job into the spool. Raises `Cancelled`, `EngineCrashed` (worth a retry) or what else went wrong.

        Cancelling the coroutine ends the work at once.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Have `run` of this job raise `Cancelled` soon; nothing happens if it is not running."""
        ...

    async def stop(self) -> None:
        """Give everything back. Cancel the coroutine of a `run` first; `run` may be called again later."""
        ...


class _Errand:
    """One thing asked of a worker: its watch, its listener and its outcome."""

    def __init__(self, watch: Watch, on_progress: OnProgress | None = None) -> None:
        self.watch = watch
        self.on_progress = on_progress
        self.outcome: asyncio.Future[list[RenderedTake]] = asyncio.get_running_loop().create_future()
        self.link: WorkerLink | None = None
        """The worker that has it; None while one is being started."""
        self.is_unwanted = False
        self.wake = asyncio.Event()
        self.planned_s = float("inf")
        """When the watch will be looked at next, if nothing wakes it."""

    def watched(self) -> None:
        """The watch has changed; one that is due earlier than planned must be looked at again."""
        if self.watch.due_s < self.planned_s:
            self.wake.set()

    def fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
        self.wake.set()

    def succeed(self, takes: list[RenderedTake]) -> None:
        if not self.outcome.done():
            self.outcome.set_result(takes)
        self.wake.set()


class EngineSupervisor:
    """A `Runner` with one worker process, started on demand.

    `spec` is the engine to prepare; jobs that name another one get it through `resolve` (and a fresh process).
    `environment` adds to the worker's environment. Audio goes to ``spool_dir/<job id>``.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        cache_dir: Path,
        spool_dir: Path,
        log_file: Path,
        settings: SupervisorSettings | None = None,
        resolve: Callable[[str], EngineSpec] | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._cache_dir = cache_dir
        self._spool_dir = spool_dir
        self._log_file = log_file
        self._settings = settings or SupervisorSettings()
        self._resolve = resolve
        self._environment = environment
        self._clock = clock
        self._link: WorkerLink | None = None
        self._link_spec: EngineSpec | None = None
        self._greeted = False
        self._errands: dict[str, _Errand] = {}
        self._changing = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._release: asyncio.Task[None] | None = None

    # --- the Runner ---------------------------------------------------------------------------------------------------
    @property
    def state(self) -> RunnerState:
        if self._link is None:
            return RunnerState.ABSENT
        if any(job != wire.PREPARATION for job in self._errands):
            return RunnerState.BUSY
        return RunnerState.READY if self._greeted and not self._errands else RunnerState.STARTING

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._link.pid if self._link else None

    async def prepare(self) -> None:
        if not self._errands:  # else it is being prepared, or has work that prepares it
            await self._do(wire.PREPARATION, self._spec, wire.Prepare(), None)

    async def run(self, job: Job, on_progress: OnProgress) -> list[RenderedTake]:
        if any(other != wire.PREPARATION for other in self._errands):
            raise RuntimeError(f"job {job.id} was given to an engine that is busy")
        command = wire.Run(job=job.id, request=job.request, spool_dir=str(self._spool_dir / job.id))
        return await self._do(job.id, self._spec_of(job.request.engine), command, on_progress)

    def cancel(self, job_id: str) -> None:
        errand = self._errands.get(job_id)
        if errand is None:
            return
        errand.is_unwanted = True
        errand.watch.cancelled(self._clock())
        errand.watched()
        if errand.link is not None:
            errand.link.send(wire.Cancel(job=job_id))

    async def stop(self) -> None:
        async with self._changing:
            await self._end_link()

    # --- one errand ---------------------------------------------------------------------------------------------------
    def _spec_of(self, name: str) -> EngineSpec:
        if name in (self._spec.name, "auto", ""):
            return self._spec
        if self._resolve is None:
            raise EngineMissing(f"This daemon runs the engine '{self._spec.name}', not '{name[:80]}'.")
        return self._resolve(name)

    async def _do(
        self, job: str, spec: EngineSpec, command: wire.Prepare | wire.Run, on_progress: OnProgress | None
    ) -> list[RenderedTake]:
        self._stay()
        errand = self._errands[job] = _Errand(Watch(self._settings, self._clock(), starting=False), on_progress)
        try:
            link = await self._link_for(spec, errand)
            if errand.is_unwanted:
                raise Cancelled("The job was cancelled before it began.")
            link.send(command)
            await self._until_done_or_overdue(errand)
            return await errand.outcome
        except OutOfMemory:
            await self._put_down(errand.link)  # what filled the memory goes with the process
            raise
        except asyncio.CancelledError:
            if errand.link is not None:
                errand.link.kill()
            raise
        finally:
            del self._errands[job]
            if not errand.outcome.done():
                errand.outcome.cancel()
            elif not errand.outcome.cancelled():
                errand.outcome.exception()  # retrieved, even where nobody waits for it any more
            self._leave_when_idle()

    async def _until_done_or_overdue(self, errand: _Errand) -> None:
        """Wait for the outcome; end the worker if something is overdue."""
        while not errand.outcome.done():
            errand.wake.clear()
            due_s = errand.planned_s = errand.watch.due_s
            try:
                async with asyncio.timeout(max(0.0, due_s - self._clock())):
                    await errand.wake.wait()
            except TimeoutError:
                now_s = self._clock()
                if now_s - due_s > _SLEPT_S:
                    errand.watch.slept(now_s - due_s)
                elif verdict := errand.watch.verdict(now_s):
                    await self._end_overdue(errand, verdict)

    async def _end_overdue(self, overdue: _Errand, verdict: EngineError | Cancelled) -> None:
        log.warning("engine process %s: %s", self.pid, verdict)
        for errand in self._errands_of(overdue.link):
            errand.fail(verdict)
        await self._put_down(overdue.link, explain=isinstance(verdict, EngineStalled))

    def _errands_of(self, link: WorkerLink | None) -> list[_Errand]:
        return [errand for errand in self._errands.values() if errand.link is link is not None]

    # --- the process --------------------------------------------------------------------------------------------------
    async def _link_for(self, spec: EngineSpec, errand: _Errand) -> WorkerLink:
        """The running worker for `spec`, or a new one."""
        async with self._changing:
            if self._link is not None and (self._link.is_ending or self._link_spec != spec):
                await self._end_link()
            if self._link is None:
                self._link, self._link_spec = await self._new_link(spec), spec
            errand.watch = Watch(self._settings, self._clock(), starting=not self._greeted)
            errand.link = self._link
            return self._link

    async def _new_link(self, spec: EngineSpec) -> WorkerLink:
        setup = wire.WorkerSetup(
            name=spec.name,
            target=spec.target,
            options=dict(spec.options),
            cache_dir=str(self._cache_dir),
            frozen_after_s=2.0 * self._settings.heartbeat_s,
        )
        self._greeted = False
        try:
            link = await WorkerLink.start(setup, self._log_file, self._hear, self._environment)
        except OSError as error:
            raise EngineCrashed(f"The engine's process could not be started: {error}. Try again.") from error
        link.gone.add_done_callback(lambda gone: self._lost(link, gone.result()))
        log.info("engine %s started as process %d", spec.name, link.pid)
        return link

    def _lost(self, link: WorkerLink, how: str) -> None:
        """A worker's process is gone: whoever waits for it hears why."""
        if self._link is link:
            self._link = None
        errands = self._errands_of(link)
        level = logging.WARNING if errands else logging.INFO
        log.log(level, "engine process %d ended: %s (its log: %s)", link.pid, how, self._log_file)
        for errand in errands:
            errand.fail(_crash(how))

    async def _put_down(self, link: WorkerLink | None, *, explain: bool = False) -> None:
        """Kill a worker and wait until it is gone; with `explain` it first writes to its log where it hangs."""
        if link is None:
            return
        if explain:
            link.send(wire.Dump())
            await link.ended_within(min(0.5, self._settings.exit_grace_s))
        link.kill()
        if not await link.ended_within(self._settings.exit_grace_s + 5.0):
            log.error("engine process %d does not end even when killed", link.pid)
            if self._link is link:
                self._link = None

    async def _end_link(self) -> None:
        """Ask the worker to end, then make it."""
        self._stay()
        link = self._link
        if link is None:
            return
        link.send(wire.Exit())
        if not await link.ended_within(self._settings.exit_grace_s):
            await self._put_down(link)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave_when_idle(self) -> None:
        self._stay()
        if self._link is not None and not self._errands:
            self._idle = asyncio.get_running_loop().call_later(self._settings.idle_release_s, self._go_idle)

    def _go_idle(self) -> None:
        log.info("engine process %s is given back after %g s without a job", self.pid, self._settings.idle_release_s)
        self._release = asyncio.create_task(self._release_if_idle(), name="engine release")

    async def _release_if_idle(self) -> None:
        async with self._changing:
            if not self._errands:  # a job may have come just now
                await self._end_link()

    # --- what the worker says -----------------------------------------------------------------------------------------
    def _hear(self, heard: wire.Signal) -> None:
        now_s = self._clock()
        if isinstance(heard, wire.Hello):
            self._greeted = True
            for errand in self._errands_of(self._link):
                errand.watch.hello(now_s)
                errand.watched()
            return
        for errand in self._errands_of(self._link):
            errand.watch.alive(now_s)
        if isinstance(heard, wire.Failed) and heard.job is None:
            for errand in self._errands_of(self._link):
                errand.fail(wire.error_of(heard.code, heard.sentence))
            if self._link is not None:
                self._link.kill()
            return
        errand_of = self._errands.get(heard.job or wire.PREPARATION)
        if errand_of is not None:
            self._tell(errand_of, heard, now_s)
            errand_of.watched()

    def _tell(self, errand: _Errand, heard: wire.Signal, now_s: float) -> None:
        match heard:
            case wire.Started(job=job):
                preparing = job == wire.PREPARATION
                errand.watch.started(now_s, self._settings.prepare_s if preparing else self._settings.stall_s)
                _pass_on(Progress(stage="started"), errand.on_progress)
            case wire.Stepped(progress=progress, allowance_s=allowance_s):
                errand.watch.stepped(progress, allowance_s, now_s)
                _pass_on(progress, errand.on_progress)
            case wire.Done(takes=takes):
                errand.succeed(list(takes))
            case wire.Failed(code=code, sentence=sentence):
                errand.fail(wire.error_of(code, sentence))
            case wire.Stopped():
                errand.fail(Cancelled("The job was cancelled."))


def _pass_on(progress: Progress, listener: OnProgress | None) -> None:
    """A listener's mistake must not break the wire."""
    if listener is not None:
        try:
            listener(progress)
        except Exception:
            log.exception("progress could not be passed on")


def _crash(how: str) -> EngineCrashed:
    """What to tell about a process that ended at work."""
    if how == "signal SIGKILL":
        return EngineCrashed(
            "The engine's process was killed (signal SIGKILL): most often the system ran out of memory. Close other "
            "programs, or choose a shorter region or fewer variations, then retry."
        )
    return EngineCrashed(
        f"The engine's process ended while it worked ({how}). Retry the job; if it happens again, "
        "'stembridge doctor' shows where its log is."
    )
