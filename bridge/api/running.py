"""From accepted tasks to their results: jobs into the queue, takes into files, and the news to whom it matters.

Promises: what the store has is enough to go on after kill -9 at any point. Jobs have fixed ids, so one that was queued
before is found, not made twice; a result's file has a fixed UUID, so encoding again replaces it; webhooks and uploads
are handed to the outbox before a result counts as told. Each result ends by itself, whatever becomes of the others.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.api import items
from bridge.api.assemble import write_result
from bridge.api.media import MediaStore
from bridge.api.models import stand_in
from bridge.api.outbox import Outbox
from bridge.api.store import Part, ResultState, StoredResult, StoredTask, TaskState, TaskStore
from bridge.api.values import Answer
from bridge.desk import Desk
from engine.encode import Encoding
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import from_error, from_failure
from protocol.errors import Busy, Cancelled, StembridgeError
from protocol.events import Event, JobChanged, JobProgressed
from protocol.job import Failure, Job
from protocol.vocabulary import JobState, Verb

log = logging.getLogger("stembridge.api")

OnResult = Callable[[Answer], None]

_ENCODED = "encoded"
"""Folder for files on their way to the media."""

_ENCODERS = 2
"""Results that are encoded at the same time."""


class OpenTask:
    """A task some of whose results have not ended, as it stands now."""

    def __init__(self, stored: StoredTask, on_result: OnResult | None = None) -> None:
        self.stored = stored
        self.on_result = on_result
        self.ended = asyncio.Event()
        self.progress: dict[str, float] = {}
        self.finals: dict[str, Job] = {}
        self.finishing: set[int] = set()

    def percent(self, result: StoredResult) -> int:
        """How far a result is: the mean of its jobs; 100 is kept for its end."""
        done = [1.0 if part.job_id in self.finals else self.progress.get(part.job_id, 0.0) for part in result.parts]
        return min(99, int(100 * sum(done) / len(done))) if done else 0

    def put(self, result: StoredResult) -> None:
        """Replace what is known of a result."""
        changed = tuple(result if each.number == result.number else each for each in self.stored.results)
        self.stored = replace(self.stored, results=changed)

    @property
    def is_over(self) -> bool:
        return all(result.state is not ResultState.OPEN for result in self.stored.results)


class Running:
    """All open tasks. `folder` takes stems and encoded files; `keep_s` is how long results without a ttl are kept."""

    def __init__(
        self,
        desk: Desk,
        store: TaskStore,
        media: MediaStore,
        outbox: Outbox,
        *,
        folder: Path,
        keep_s: float | None,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._store = store
        self._media = media
        self._outbox = outbox
        self._folder = folder
        self._keep_s = keep_s
        self._clock = clock
        self._now = now
        self._open: dict[str, OpenTask] = {}
        self._of_job: dict[str, tuple[OpenTask, int]] = {}
        self._waiting: list[OpenTask] = []
        self._encoders = asyncio.Semaphore(_ENCODERS)
        self._submitting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop_listening: Callable[[], None] = lambda: None
        self.stopped = asyncio.Event()

    async def start(self) -> None:
        """Hear from now on what becomes of jobs; what a killed daemon was encoding is removed."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.rmtree, self._folder / _ENCODED, ignore_errors=True)
        self._stop_listening = self._desk.listen(self._hear)

    async def stop(self) -> None:
        """Finish what is being written; the rest is the next daemon's."""
        self.stopped.set()
        self._stop_listening()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def get(self, uuid: str) -> OpenTask | None:
        """The open task with that UUID, in whatever case it is written."""
        return self._open.get(uuid.lower())

    @property
    def sources(self) -> set[str]:
        """The UUIDs of the audio that open tasks work on."""
        return {task.stored.source for task in self._open.values() if task.stored.source is not None}

    # --- tasks in -----------------------------------------------------------------------------------------------------
    async def begin(self, stored: StoredTask, on_result: OnResult | None) -> OpenTask:
        """Journal a new task and queue its jobs. Raises `ApiRefused` for a UUID that was used before, and what the
        queue says if it takes not one of the jobs: the task is as if it had never come then."""
        if not await self._store.add(stored):
            raise used_before(stored.uuid)
        task = self._register(stored, on_result)
        try:
            await self._submit(task)
        except StembridgeError:
            self._unregister(task)
            await self._store.drop(stored.uuid)
            raise
        return task

    async def planned(self, task: OpenTask, source: str, results: Sequence[StoredResult]) -> None:
        """The audio of an open task has come, and so its jobs are known."""
        known = task.stored.results
        merged = [
            replace(was, parts=result.parts) if was.state is ResultState.OPEN else was
            for was, result in zip(known, results, strict=True)
        ]
        await self._store.plan(task.stored.uuid, source, merged)
        task.stored = replace(task.stored, state=TaskState.RUNNING, source=source, results=tuple(merged))
        self._register(task.stored, None, task)
        await self._submit(task, is_new=False)

    async def refused(self, task: OpenTask, errors: Sequence[ApiError]) -> None:
        """An open task turned out to be impossible: all its results fail."""
        for result in (each for each in task.stored.results if each.state is ResultState.OPEN):
            await self._end(task, result, ResultState.FAILED, items.failure(errors))

    async def take_up(self, stored: StoredTask) -> OpenTask:
        """Go on with a task of an earlier daemon, wherever that one was."""
        task = self._register(stored, None)
        for result in stored.results:
            if result.state is not ResultState.OPEN and not result.is_told:
                await self._tell_safely(task, result)
        if task.is_over:
            await self._close(task)
        else:
            await self._submit(task, is_new=False)
        return task

    def _register(self, stored: StoredTask, on_result: OnResult | None, known: OpenTask | None = None) -> OpenTask:
        task = known or OpenTask(stored, on_result)
        self._open[stored.uuid.lower()] = task
        for result in stored.results:
            if result.state is ResultState.OPEN:
                self._of_job.update({part.job_id: (task, result.number) for part in result.parts})
        return task

    def _unregister(self, task: OpenTask) -> None:
        self._open.pop(task.stored.uuid.lower(), None)
        for result in task.stored.results:
            for part in result.parts:
                self._of_job.pop(part.job_id, None)

    # --- jobs ---------------------------------------------------------------------------------------------------------
    async def _submit(self, task: OpenTask, *, is_new: bool = True) -> None:
        """Queue the jobs of a task that are not known to the queue yet. With a full queue a new task is refused at its
        first job; later ones wait until there is room."""
        for result in task.stored.results:
            for part in result.parts if result.state is ResultState.OPEN else ():
                try:
                    reply_to = f"http:{task.stored.uuid}"
                    receipt = await self._desk.submit(part.request, part.job_id, reply_to)
                except StembridgeError as error:
                    if is_new:
                        raise
                    if isinstance(error, Busy):
                        if task not in self._waiting and not self.stopped.is_set():
                            self._waiting.append(task)
                        return
                    self._give_up(task, result, from_error(error))
                    break
                is_new = False
                if receipt.job.state.is_final:
                    self._note(receipt.job)

    def _give_up(self, task: OpenTask, result: StoredResult, error: ApiError) -> None:
        """A job of a result cannot be queued."""
        if result.number not in task.finishing:
            task.finishing.add(result.number)
            self._spawn(self._end(task, result, ResultState.FAILED, items.failure([error])))

    async def _submit_waiting(self) -> None:
        async with self._submitting:
            waiting, self._waiting = self._waiting, []
            for task in waiting:
                await self._submit(task, is_new=False)

    def _hear(self, event: Event) -> None:
        if isinstance(event, JobProgressed) and event.job.id in self._of_job:
            task, _ = self._of_job[event.job.id]
            task.progress[event.job.id] = event.progress.fraction
        elif isinstance(event, JobChanged) and event.job.state.is_final:
            self._note(event.job)
            if self._waiting:
                self._spawn(self._submit_waiting())

    def _note(self, job: Job) -> None:
        """A job has ended; its result is finished once all of its jobs have, or one has failed."""
        task, number = self._of_job.get(job.id, (None, 0))
        if task is None or self.stopped.is_set():
            return
        task.finals[job.id] = job
        result = task.stored.results[number]
        jobs = [task.finals[part.job_id] for part in result.parts if part.job_id in task.finals]
        has_failed = any(each.state is not JobState.DONE for each in jobs)
        if number not in task.finishing and (has_failed or len(jobs) == len(result.parts)):
            task.finishing.add(number)
            self._spawn(self._finish(task, result, jobs))

    # --- results ------------------------------------------------------------------------------------------------------
    async def _finish(self, task: OpenTask, result: StoredResult, jobs: Sequence[Job]) -> None:
        failed = next((job for job in jobs if job.state is not JobState.DONE), None)
        if failed is not None:
            await self._cancel_others(task, result.parts)
            why = failed.failure or Failure.of(Cancelled("The job was cancelled."))
            await self._end(task, result, ResultState.FAILED, items.failure([from_failure(why)]))
            return
        try:
            async with self._encoders:
                if self.stopped.is_set():  # its turn never came
                    return
                outcome = await self._encoded(task, result, jobs)
        except StembridgeError as error:
            log.warning("result %d of %s: %s", result.number + 1, task.stored.uuid, error)
            await self._end(task, result, ResultState.FAILED, items.failure([from_failure(Failure.of(error))]))
        except Exception:
            log.exception("result %d of %s cannot be written", result.number + 1, task.stored.uuid)
            why = Failure(code="internal", sentence="The music was made, but writing it failed; see the log.")
            await self._end(task, result, ResultState.FAILED, items.failure([from_failure(why)]))
        else:
            await self._end(task, result, ResultState.DONE, outcome)

    async def _cancel_others(self, task: OpenTask, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.job_id not in task.finals:
                try:
                    await self._desk.cancel(part.job_id, f"http:{task.stored.uuid}")
                except StembridgeError as error:  # it has ended meanwhile
                    log.info("not cancelled: %s", error)

    async def _encoded(self, task: OpenTask, result: StoredResult, jobs: Sequence[Job]) -> dict[str, Any]:
        """Write the file of a result and keep it; the facts about it."""
        takes = [job.takes[0] for job in jobs]
        request = jobs[0].request
        source = Path(request.source.file) if request.source and request.verb is not Verb.COVER else None
        encoding = Encoding.of(task.stored.task)
        target = self._folder / _ENCODED / result.audio_uuid
        began = self._clock()
        made = await asyncio.to_thread(write_result, target, takes, source, encoding)
        log.info(
            "%s: %.1f s of audio encoded in %.1f s", made.path.name, made.frames / made.rate, self._clock() - began
        )
        kept_s = task.stored.task.ttl or self._keep_s
        expires = None if kept_s is None else self._now() + kept_s
        await self._media.put_file(made.path, result.audio_uuid, made.mime, expires)
        engine = takes[0].recipe.engine
        seconds = sum((job.ended or 0.0) - (job.started or job.ended or 0.0) for job in jobs)
        return {
            "seed": takes[0].seed,
            "engine": engine,
            "warning": stand_in(engine, task.stored.task.model),
            "computeSeconds": round(seconds, 3),
        }

    async def _end(self, task: OpenTask, result: StoredResult, state: ResultState, outcome: dict[str, Any]) -> None:
        """A result has ended: journal it, tell, and close the task with its last one."""
        asked = task.stored.task
        is_told = asked.webhook_url is None and (asked.upload_endpoint is None or state is ResultState.FAILED)
        result = replace(result, state=state, outcome=outcome, ended=self._now(), is_told=is_told)
        try:
            await self._store.end_result(task.stored.uuid, result)
        except StembridgeError as error:  # the next daemon ends it again
            log.error("result %d of %s: %s", result.number + 1, task.stored.uuid, error)
        else:
            if not is_told:
                await self._tell_safely(task, result)
        task.put(result)
        await self._push(task, result)
        if task.is_over:
            await self._close(task)

    async def _tell_safely(self, task: OpenTask, result: StoredResult) -> None:
        """As `_tell`; if it fails, whyever, the task ends all the same and the next daemon tells."""
        try:
            await self._tell(task, result)
        except Exception as error:
            ours = None if isinstance(error, StembridgeError | OSError) else error
            log.error(
                "nobody is told of result %d of %s: %s", result.number + 1, task.stored.uuid, error, exc_info=ours
            )

    async def _tell(self, task: OpenTask, result: StoredResult) -> None:
        """Hand webhook and upload to the outbox."""
        asked, number = task.stored.task, result.number
        if asked.webhook_url is not None:
            answer = await items.ended(
                *(self._media, task.stored, result, task.stored.base_url),
                most_inline=items.MAX_WEBHOOK_INLINE_BYTES,
            )
            body = await asyncio.to_thread(items.body, answer)
            await self._outbox.put(
                "webhook", asked.task_uuid, number, asked.webhook_url, body=body, file=None, mime="application/json"
            )
        kept = await self._media.get(result.audio_uuid) if result.state is ResultState.DONE else None
        if asked.upload_endpoint is not None and kept is not None:
            await self._outbox.put(
                "upload", asked.task_uuid, number, asked.upload_endpoint, body=None, file=kept.file, mime=kept.mime
            )
        await self._store.told(task.stored.uuid, number)

    async def _push(self, task: OpenTask, result: StoredResult) -> None:
        if task.on_result is None:
            return
        try:
            task.on_result(await items.ended(self._media, task.stored, result, task.stored.base_url))
        except Exception:
            log.exception("nobody could take result %d of %s", result.number + 1, task.stored.uuid)

    async def _close(self, task: OpenTask) -> None:
        kept_s = task.stored.task.ttl or self._keep_s
        last = max(result.ended or 0.0 for result in task.stored.results)
        expires = None if kept_s is None else last + kept_s
        try:
            await self._store.end_task(task.stored.uuid, expires)
        except StembridgeError as error:
            log.error("task %s: %s", task.stored.uuid, error)
        task.stored = replace(task.stored, state=TaskState.ENDED, expires=expires)
        self._unregister(task)
        task.ended.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(work)
        self._tasks.add(running)
        running.add_done_callback(self._done)

    def _done(self, running: asyncio.Task[Any]) -> None:
        self._tasks.discard(running)
        if not running.cancelled() and running.exception() is not None:
            log.error("a mistake of ours; the next daemon goes on with that task", exc_info=running.exception())


def used_before(uuid: str) -> ApiRefused:
    """A UUID stands for one task, for ever."""
    sentence = (
        f"The taskUUID {uuid} was used before: send each task with a new UUID, or getResponse to ask for this one."
    )
    return ApiRefused(ApiError("conflictTaskUUID", sentence, parameter="taskUUID", type="string", status=409))
