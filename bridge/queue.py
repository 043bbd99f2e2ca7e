"""Jobs in order, one at a time, journalled before anyone hears of them.

The way of a job: `submit` (journalled, then it returns) -> the runner renders into the spool -> `deliver` puts the
stems into the project -> journalled done -> events. Promises: what `submit`, `cancel` and `retry` have returned
survives kill -9; a job ends done, failed with a reason, or cancelled, whatever an engine or a project folder does; an
engine or a daemon that dies at work costs one more attempt, not the job; events come on the event loop's thread, in
order, after the call that caused them has returned (so an acknowledgement goes out before the job's first event).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from bridge.outcome import Delivery, Fields, Interrupted, after_daemon_died, after_error, done
from bridge.spool import Spool
from bridge.store import JournalError, Store
from bridge.supervisor import Runner
from bridge.watch import Pace
from protocol.errors import Busy, Cancelled, JobConflict, StembridgeError, UnknownJob
from protocol.events import Event, JobChanged, JobProgressed, TakeDelivered
from protocol.job import Job, Progress, RenderedTake, same_request
from protocol.vocabulary import JobState

log = logging.getLogger("stembridge.queue")

MAX_OPEN = 1000
_PAUSE_S = 1.0
"""Between two tries of the loop after a mistake of our own, so that it cannot spin."""

P = ParamSpec("P")
T = TypeVar("T")


Deliver = Callable[[Job, Sequence[RenderedTake]], Delivery]
"""Puts rendered takes into the project; called in a thread. Delivering the same job again must be harmless."""

Delivered = Callable[[Job], Delivery | None]
"""The delivery of a job if it was finished by a daemon that died before it could journal that."""


class Submission(NamedTuple):
    """A job as journalled, its place in the queue (1 is next; 0 while running and after) and whether it is new."""

    job: Job
    position: int
    is_new: bool


class JobQueue:
    """The queue of one daemon. Everything is called on the event loop; the disk is touched in threads only.

    `start` it before anything else; on the way out `stop` it, then the runner, then close the store. `now` is the wall
    clock for records, `clock` the monotonic one for speeds.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        deliver: Deliver,
        emit: Callable[[Event], None],
        *,
        spool_dir: Path,
        delivered: Delivered | None = None,
        max_open: int = MAX_OPEN,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._runner = runner
        self._deliver = deliver
        self._emit = emit
        self._spool = Spool(spool_dir)
        self._delivered = delivered
        self._max_open = max_open
        self._clock = clock
        self._now = now
        self._open: dict[str, Job] = {}
        self._running: str | None = None
        self._rendering: asyncio.Task[list[RenderedTake]] | None = None
        self._is_delivering = False
        self._is_unwanted = False
        self._stopping = False
        self._changing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._work: asyncio.Task[None] | None = None

    # --- from start to stop -----------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Take up what an earlier daemon left: queued jobs wait on, a running one is tried once more, then failed."""
        async with self._changing:
            for job in await self._on_disk(self._store.open_jobs):
                self._open[job.id] = job
                if job.state is JobState.RUNNING:
                    await self._recover(job)
            await self._spool.empty()
        self._work = asyncio.create_task(self._work_forever(), name="job queue")

    async def stop(self) -> None:
        """Stop between jobs, or interrupt the one that renders (it is queued again, with no attempt counted).

        A job whose stems are being written into the project is finished first: that takes moments.
        """
        self._stopping = True
        self._wake.set()
        if self._rendering is not None:
            self._rendering.cancel()
        if self._work is not None:
            await self._work
        await self._spool.close()
        async with self._changing:
            await asyncio.to_thread(self._disk.shutdown)
        await asyncio.sleep(0)  # the last events go out

    # --- what doors ask -----------------------------------------------------------------------------------------------
    async def submit(self, job: Job) -> Submission:
        """Journal and queue a job; the same id with the same request is the same job, and gains the new client.

        Raises `JobConflict` if the id belongs to a different request, `Busy` if too many jobs are open or the daemon
        stops, `JournalError` if the journal cannot be written: the job is not accepted then.
        """
        async with self._changing:
            self._require_running()
            if len(self._open) >= self._max_open and await self._find(job.id) is None:
                raise self._full()
            kept, is_new = await self._on_disk(self._store.add, job)
            if is_new:
                self._open[kept.id] = kept
                self._tell(JobChanged(kept))
                self._wake.set()
                return Submission(kept, self._position(kept), True)
            if not same_request(kept.request, job.request):
                raise JobConflict(f"The id {job.id} belongs to a different request. Send it with another id, or none.")
            kept = await self._with_clients(self._open.get(job.id, kept), job.reply_to)
            if not kept.state.is_final and kept.id not in self._open:  # journalled by a call that failed afterwards
                self._open[kept.id] = kept
                self._wake.set()
            return Submission(kept, self._position(kept), False)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once while it waits, at the engine's next step while it runs (its events tell when).

        A cancelled job is returned as it is. Raises `UnknownJob`, and `JobConflict` for a job that has ended otherwise
        or whose stems are already being written into the project.
        """
        async with self._changing:
            job = self._open.get(job_id)
            if job is None:
                return self._ended_as_cancelled(await self._known(job_id))
            if job.state is JobState.QUEUED:
                job = await self._change(job, state=JobState.CANCELLED, ended=self._now())
                self._tell(JobChanged(job))
                return job
            if self._is_delivering:
                raise JobConflict(
                    f"Job {job_id} is being written into the project and will be done in a moment; it is too late to "
                    "cancel it."
                )
            self._is_unwanted = True
            self._runner.cancel(job_id)
            return job

    async def cancel_all(self) -> list[Job]:
        """Cancel every open job that can be; the jobs concerned, the last in the queue first."""
        cancelled = []
        for job in reversed(self.open_jobs()):  # from the back, so that none begins meanwhile
            try:
                cancelled.append(await self.cancel(job.id))
            except JobConflict as error:
                log.info("not cancelled: %s", error)
        return cancelled

    async def retry(self, job_id: str, reply_to: str | None = None) -> tuple[Job, int]:
        """Queue a failed or cancelled job again, with all its attempts; any other is returned as it is.

        Returns the job and its place as in `Submission`. Raises `UnknownJob`, `Busy`, `JournalError`.
        """
        async with self._changing:
            self._require_running()
            job = await self._with_clients(await self._known(job_id), (reply_to,) if reply_to else ())
            if job.state in (JobState.FAILED, JobState.CANCELLED):
                if len(self._open) >= self._max_open:
                    raise self._full()
                job = await self._change(job, state=JobState.QUEUED, attempts=0, started=None, ended=None, failure=None)
                self._tell(JobChanged(job))
                self._wake.set()
            return job, self._position(job)

    async def get(self, job_id: str) -> Job:
        """The job with that id; raises `UnknownJob`."""
        return await self._known(job_id)

    async def newest(self, count: int) -> list[Job]:
        """The last `count` jobs that came, newest first."""
        return await self._on_disk(self._store.newest, count)

    async def last_for(self, reply_to: str) -> Job | None:
        """The newest job that this client asked for."""
        return await self._on_disk(self._store.last_for, reply_to)

    def open_jobs(self) -> list[Job]:
        """The running job, then the queued ones in their order."""
        running = [self._open[self._running]] if self._running in self._open else []
        return running + sorted(self._queued(), key=_order)

    # --- the loop -----------------------------------------------------------------------------------------------------
    async def _work_forever(self) -> None:
        while not self._stopping:
            try:
                job = await self._begin_next()
                if job is None and not self._stopping:
                    await self._wake.wait()
                elif job is not None:
                    await self._spool.ready_for(job.id)
                    await self._end(job, await self._attempt(job))
                    self._spool.clear(job.id)
            except Exception:
                log.exception("the queue goes on after a mistake of its own")
                await asyncio.sleep(_PAUSE_S)

    async def _begin_next(self) -> Job | None:
        """Make the next job the running one; None if there is none."""
        async with self._changing:
            self._wake.clear()
            job = min(self._queued(), key=_order, default=None)
            if job is None or self._stopping:
                return None
            fields = {"state": JobState.RUNNING, "attempts": job.attempts + 1, "started": self._now()}
            job = job.model_copy(update=fields)
            self._believe(job)
            self._journal_meanwhile(job)
            self._running, self._is_unwanted, self._is_delivering = job.id, False, False
            self._tell(JobChanged(job))
            return job

    async def _attempt(self, job: Job) -> Fields:
        """Render and deliver; what became of it, as fields of the job."""
        try:
            rendered = await self._rendered(job)
            self._is_delivering = True
            return done(await asyncio.to_thread(self._deliver, job, rendered))
        except Exception as error:
            return after_error(job, error)

    async def _rendered(self, job: Job) -> list[RenderedTake]:
        """Run the engine, as a task that `stop` can cancel."""
        pace = Pace()

        def on_progress(progress: Progress) -> None:
            current = self._open.get(job.id)
            if current is not None and self._running == job.id:
                self._tell(JobProgressed(current, pace.estimated(progress, self._clock())))

        async def run() -> list[RenderedTake]:
            if self._is_unwanted:
                raise Cancelled("The job was cancelled before it began.")
            if self._stopping:
                raise Interrupted
            return await self._runner.run(job, on_progress)

        self._rendering = asyncio.create_task(run(), name=f"job {job.id}")
        try:
            rendered = await self._rendering
        except asyncio.CancelledError:
            if self._stopping:
                raise Interrupted from None
            raise
        finally:
            self._rendering = None
        if self._is_unwanted:
            raise Cancelled("The job was cancelled.")
        return rendered

    async def _end(self, job: Job, fields: Fields) -> None:
        """Journal what became of the running job, then tell."""
        async with self._changing:
            if self._is_unwanted and fields["state"] is not JobState.DONE:
                fields = {"state": JobState.CANCELLED}
            await self._settle(self._open[job.id], fields)
            self._running, self._is_delivering = None, False

    async def _recover(self, job: Job) -> None:
        """Decide about a job that was running when the daemon died."""
        fields = after_daemon_died(job, await asyncio.to_thread(self._found_delivery, job))
        log.warning("job %s was running when the daemon ended: now %s", job.id, fields["state"])
        await self._settle(job, fields)

    async def _settle(self, job: Job, fields: Fields) -> None:
        """Journal a decision about a job, then tell it and its takes."""
        if fields["state"].is_final:
            fields = {**fields, "ended": self._now()}
        job = await self._change_anyway(job, **fields)
        for take in sorted(job.takes, key=lambda take: (take.rank, take.number)):
            self._tell(TakeDelivered(job, take))
        self._tell(JobChanged(job))

    def _found_delivery(self, job: Job) -> Delivery | None:
        try:
            return self._delivered(job) if self._delivered else None
        except (StembridgeError, OSError) as error:
            log.warning("cannot tell whether job %s was delivered: %s", job.id, error)
            return None

    # --- inside; callers hold the lock where something changes --------------------------------------------------------
    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in the journal's thread. A caller that is cancelled meanwhile hears of it at its next await, because
        memory must learn what the disk did."""
        future = asyncio.get_running_loop().run_in_executor(self._disk, lambda: work(*args, **kwargs))
        is_cancelled = False
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                is_cancelled = True
        if is_cancelled and (task := asyncio.current_task()) is not None:
            task.uncancel()
            task.cancel()
        return future.result()

    async def _change(self, job: Job, **fields: Any) -> Job:
        """Journal a job's new state, then believe it. Raises `JournalError`; nothing has changed then."""
        changed = job.model_copy(update=fields)
        await self._on_disk(self._store.put, changed)
        self._believe(changed)
        return changed

    async def _change_anyway(self, job: Job, **fields: Any) -> Job:
        """As `_change`, for what has happened already: a journal that cannot be written costs at most a repetition."""
        try:
            return await self._change(job, **fields)
        except JournalError as error:
            log.error("job %s: %s", job.id, error)
            changed = job.model_copy(update=fields)
            self._believe(changed)
            return changed

    def _journal_meanwhile(self, job: Job) -> None:
        """Journal without waiting, before whatever is journalled next. For `running`: the engine need not wait for a
        disk, since a daemon that dies in that instant only gives the job one attempt more."""

        def note() -> None:
            try:
                self._store.put(job)
            except StembridgeError as error:
                log.error("job %s: %s", job.id, error)

        self._disk.submit(note)

    def _believe(self, job: Job) -> None:
        if job.state.is_final:
            self._open.pop(job.id, None)
        else:
            self._open[job.id] = job

    async def _with_clients(self, job: Job, clients: Sequence[str]) -> Job:
        new = [client for client in clients if client not in job.reply_to]
        return await self._change(job, reply_to=(*job.reply_to, *new)) if new else job

    async def _find(self, job_id: str) -> Job | None:
        return self._open.get(job_id) or await self._on_disk(self._store.get, job_id)

    async def _known(self, job_id: str) -> Job:
        job = await self._find(job_id)
        if job is None:
            raise UnknownJob(f"There is no job {job_id[:80]!r}. Send /stembridge/jobs to see the newest ones.")
        return job

    def _ended_as_cancelled(self, job: Job) -> Job:
        if job.state is not JobState.CANCELLED:
            raise JobConflict(f"Job {job.id} is {job.state} already; there is nothing left to cancel.")
        return job

    def _queued(self) -> list[Job]:
        return [job for job in self._open.values() if job.state is JobState.QUEUED]

    def _position(self, job: Job) -> int:
        if job.state is not JobState.QUEUED:
            return 0
        return 1 + sum(1 for other in self._queued() if _order(other) < _order(job))

    def _require_running(self) -> None:
        if self._stopping:
            raise Busy("The daemon is stopping. Ask again once it runs.")

    def _full(self) -> Busy:
        return Busy(
            f"{len(self._open)} jobs are waiting already, which is all this daemon holds. Cancel some, or wait."
        )

    def _tell(self, event: Event) -> None:
        asyncio.get_running_loop().call_soon(self._emit_safely, event)

    def _emit_safely(self, event: Event) -> None:
        try:
            self._emit(event)
        except Exception:
            log.exception("nobody could take %s", type(event).__name__)


def _order(job: Job) -> tuple[int, float]:
    return -job.priority, job.created
