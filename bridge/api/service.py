"""The task API as a door uses it: tasks are accepted, asked for and forgotten here, whatever carries them.

Promises: a task is journalled before it is acknowledged, with all its problems told at once or none; its taskUUID means
this task for ever, however many requests bring it at the same time; who waits for a task and goes away changes nothing
for it; what this daemon did not finish, the next one does; and what has expired is gone from the disk.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.api import items
from bridge.api.database import Database
from bridge.api.media import MediaStore
from bridge.api.models import Models, Served
from bridge.api.outbox import Outbox
from bridge.api.plan import plan
from bridge.api.running import OnResult, OpenTask, Running, used_before
from bridge.api.sources import Kept, Sources, not_kept
from bridge.api.store import Part, ResultState, StoredResult, StoredTask, TaskState, TaskStore
from bridge.api.values import Answer, Item
from bridge.delivery import STEMS_FOLDER
from bridge.desk import Desk
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import AudioInference, MediaStorage, audio_input, from_error, from_failure
from protocol.errors import StembridgeError
from protocol.job import Failure
from protocol.task import DeliveryMethod, Task, new_uuid

if TYPE_CHECKING:  # aiohttp is imported only where the HTTP door is open
    from bridge.web_client import SafeClient

log = logging.getLogger("stembridge.api")

T = TypeVar("T")

SWEEP_S = 60.0
"""How often what has expired is deleted."""


class Ticket:
    """An accepted task. Dropping it changes nothing."""

    def __init__(self, service: ApiService, task: OpenTask, base_url: str) -> None:
        self._service = service
        self._task = task
        self._base_url = base_url

    @property
    def task_uuid(self) -> str:
        return self._task.stored.uuid

    @property
    def ack(self) -> Item:
        """What an async task is answered at once."""
        return items.acknowledged(self._task.stored)

    async def answer(self) -> Answer:
        """Wait for all results: items in their order, and the errors of those that failed.

        Raises `ApiRefused` if the daemon stops first: the task goes on with the next one.
        """
        return await self._service.when_ended(self._task, self._base_url)


class ApiService:
    """The task API. `start` it once the queue can take jobs, `stop` it before the queue is stopped.

    `folder` takes the jobs' stems (and is made); `fetch` is how audio is fetched from other servers. Results without a
    ttl, and uploads, are kept for `keep_s` seconds (None: for ever). `now` is the time of day.
    """

    def __init__(
        self,
        desk: Desk,
        database: Database,
        media: MediaStore,
        outbox: Outbox,
        fetch: SafeClient,
        models: Models,
        *,
        folder: Path,
        keep_s: float | None,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._media = media
        self._outbox = outbox
        self._models = models
        self._folder = folder
        self._now = now
        self._fetch = fetch
        self._store = TaskStore(database)
        self._sources = Sources(media, fetch)
        self._running = Running(desk, self._store, media, outbox, folder=folder, keep_s=keep_s, clock=clock, now=now)
        self._background: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Take up what an earlier daemon left."""
        await self._store.open()
        await self._media.tidy()
        await self._running.start()
        for stored in await self._store.unfinished():
            task = await self._running.take_up(stored)
            if stored.state is TaskState.FETCHING:
                self._fetch_later(task)
        self._spawn(self._sweep_forever())

    async def stop(self) -> None:
        """Write what is being written, and leave the rest to the next daemon."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._running.stop()

    # --- audioInference -----------------------------------------------------------------------------------------------
    async def accept(
        self, asked: AudioInference, *, client: str, base_url: str, on_result: OnResult | None = None
    ) -> Ticket:
        """Journal and queue a task. `on_result` hears each result as it ends, on the loop.

        A URL is fetched before this returns if the task is sync, and afterwards if it is async: what is wrong with it
        then shows in `response`. Raises `ApiRefused`.
        """
        # A caller that goes away must not leave a task half accepted.
        taking = self._spawn(self._take(asked, client, base_url, on_result))
        return Ticket(self, await asyncio.shield(taking), base_url)

    async def _take(self, asked: AudioInference, client: str, base_url: str, on_result: OnResult | None) -> OpenTask:
        uuid = asked.task.task_uuid
        with _errors_of(asked.task.task_type, uuid):
            if await self._store.state(uuid) is not None:
                raise used_before(uuid)
            served = await self._served(asked.task)
            audio = None if asked.task.inputs.audio is None else audio_input(asked.task.inputs.audio)
            is_async = asked.task.delivery_method is DeliveryMethod.ASYNC
            if is_async and audio is not None and self._sources.is_elsewhere(audio, base_url):
                stored = StoredTask(asked.task, dict(asked.request), self._now(), client, base_url, TaskState.FETCHING)
                task = await self._running.begin(replace(stored, results=_not_planned(asked.task)), on_result)
                self._fetch_later(task)
                return task
            kept = None if audio is None else await self._sources.find(audio, base_url)
            try:
                stored = self._planned(asked, served, kept, client, base_url)
                return await self._running.begin(stored, on_result)
            except (ApiRefused, StembridgeError):
                await self._sources.forget(kept)
                raise

    async def _served(self, task: Task) -> Served:
        """Who answers the task. Raises `ApiRefused`, also for addresses that nothing would ever be sent to."""
        refused = []
        for field, url in (("webhookURL", task.webhook_url), ("uploadEndpoint", task.upload_endpoint)):
            try:
                if url is not None:
                    self._fetch.check(url)
            except StembridgeError as error:
                code = f"invalid{field[:1].upper()}{field[1:]}"
                refused.append(ApiError(code, error.sentence, parameter=field, type="string"))
        try:
            served = await self._models.serve(task.model)
        except ApiRefused as unknown:
            raise ApiRefused(*unknown.errors, *refused) from unknown
        if refused:
            raise ApiRefused(*refused)
        return served

    def _planned(
        self, asked: AudioInference, served: Served, kept: Kept | None, client: str, base_url: str
    ) -> StoredTask:
        task, request = asked.task, dict(asked.request)
        if kept is not None:
            task = _with_audio(task, kept)
            if kept.is_inline:
                request["inputs"] = {**request["inputs"], "audio": kept.media.uuid}
        results = self._results(task, request, served, kept)
        source = kept.media.uuid if kept else None
        return StoredTask(
            task, request, self._now(), client, base_url, TaskState.RUNNING, source=source, results=results
        )

    def _results(
        self, task: Task, request: Mapping[str, Any], served: Served, kept: Kept | None
    ) -> tuple[StoredResult, ...]:
        planned = plan(task, kept.info if kept else None, served, self._folder, given=frozenset(request))
        return tuple(
            StoredResult(
                number,
                new_uuid(),
                tuple(Part(f"{task.task_uuid}.{suffix}", of_job) for suffix, of_job in result.parts),
            )
            for number, result in enumerate(planned)
        )

    async def when_ended(self, task: OpenTask, base_url: str) -> Answer:
        """What `Ticket.answer` gives."""
        waits = [asyncio.ensure_future(event.wait()) for event in (task.ended, self._running.stopped)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if not task.ended.is_set():
            sentence = "The daemon stops. The task is kept and goes on when it runs again: getResponse asks for it."
            error = ApiError("serviceUnavailable", sentence, status=503)
            raise ApiRefused(error.of(task.stored.task.task_type, task.stored.uuid))
        return await self._ended(task.stored, base_url)

    async def _ended(self, stored: StoredTask, base_url: str) -> Answer:
        """Items and errors of the results that have ended."""
        answers = [
            await items.ended(self._media, stored, result, base_url)
            for result in stored.results
            if result.state is not ResultState.OPEN
        ]
        data = (item for answer in answers for item in answer.data)
        return Answer(tuple(data), tuple(error for answer in answers for error in answer.errors))

    def _fetch_later(self, task: OpenTask) -> None:
        self._spawn(self._fetch_and_plan(task))

    async def _fetch_and_plan(self, task: OpenTask) -> None:
        stored, kept = task.stored, None
        try:
            with _errors_of(stored.task.task_type, stored.uuid):
                served = await self._models.serve(stored.task.model)
                kept = await self._sources.find(audio_input(stored.task.inputs.audio or ""), stored.base_url)
                results = self._results(_with_audio(stored.task, kept), stored.request, served, kept)
                await self._running.planned(task, kept.media.uuid, results)
        except ApiRefused as refused:
            await self._sources.forget(kept)
            await self._running.refused(task, refused.errors)
        except Exception as error:
            log.exception("task %s cannot be planned", stored.uuid)
            why = Failure(code="internal", sentence=f"Something went wrong inside Stembridge ({error!r}).")
            await self._running.refused(task, [from_failure(why)])

    # --- asking -------------------------------------------------------------------------------------------------------
    async def response(self, task_uuid: str, base_url: str) -> Answer:
        """Where a task stands, one item per result. Raises `ApiRefused` for one that is not known."""
        stored, task = await self._known(task_uuid, "getResponse")
        shown: list[Item] = []
        for result in stored.results:
            if result.state is ResultState.OPEN:
                shown.append(items.processing(stored, result, task.percent(result) if task else 0))
                continue
            answer = await items.ended(self._media, stored, result, base_url)
            shown += answer.data or [items.failed(stored, result, answer.errors)]
        return Answer(tuple(shown))

    async def details(self, task_uuid: str) -> Answer:
        """What was sent, what was answered, and what became of webhooks and uploads. Raises `ApiRefused`."""
        stored, _ = await self._known(task_uuid, "getTaskDetails")
        answer = await self._ended(stored, stored.base_url)
        item = {
            "taskType": "getTaskDetails",
            "taskUUID": stored.uuid,
            "request": [dict(stored.request)],
            "response": dict(answer.as_json()),
            "deliveries": await self._outbox.deliveries(stored.uuid),
        }
        return Answer((item,))

    async def _known(self, uuid: str, task_type: str) -> tuple[StoredTask, OpenTask | None]:
        task = self._running.get(uuid)
        stored = task.stored if task else await self._store.get(uuid)
        if stored is None:
            is_over = await self._store.state(uuid) is TaskState.EXPIRED
            told = (
                "has expired: its results were deleted. Send it again with a new taskUUID."
                if is_over
                else "is not known here: check its taskUUID, or send the task if it never arrived."
            )
            error = ApiError("taskFailedOrNotFound", f"The task {uuid} {told}", "taskUUID", "string", status=404)
            raise ApiRefused(error.of(task_type, uuid))
        return stored, task

    # --- mediaStorage -------------------------------------------------------------------------------------------------
    async def upload(self, task: MediaStorage, base_url: str) -> Answer:
        """Keep audio. Raises `ApiRefused`."""
        with _errors_of("mediaStorage", task.task_uuid):
            kept = await self._sources.find(task.media, base_url, "media")
        url = items.media_url(base_url, kept.media.name)
        return Answer(({**_stored_media(task, kept.media.uuid), "mediaURL": url},))

    async def delete(self, task: MediaStorage) -> Answer:
        """Forget kept audio, unless a task still works on it. Raises `ApiRefused`."""
        with _errors_of("mediaStorage", task.task_uuid):
            media = await self._media.get(task.media.text)
            if media is None:
                raise not_kept(task.media.text, "media")
            if media.uuid in self._running.sources:
                sentence = f"A task is working on the audio {media.uuid}: delete it when that has ended."
                raise ApiRefused(ApiError("conflictMedia", sentence, "media", "string", status=409))
            await self._media.delete(media.uuid)
        return Answer((_stored_media(task, media.uuid),))

    # --- what has expired ---------------------------------------------------------------------------------------------
    async def sweep(self) -> None:
        """Delete what is past its time: results with their stems and all that is known of their tasks, and uploads."""
        for stored in await self._store.expired(self._now()):
            if self._running.sources.intersection(result.audio_uuid for result in stored.results):
                continue  # another task works on it
            for result in stored.results:
                await self._media.delete(result.audio_uuid)
            if await asyncio.to_thread(_removed, [self._folder / STEMS_FOLDER / job for job in _job_ids(stored)]):
                await self._outbox.forget(stored.uuid)
                await self._store.forget(stored.uuid)
        for media in await self._media.expired():
            if media.uuid not in self._running.sources:
                await self._media.delete(media.uuid)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("what has expired could not be deleted")
            await asyncio.sleep(SWEEP_S)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _with_audio(task: Task, kept: Kept) -> Task:
    """The task with its audio named by its UUID: no address, and no megabytes of text."""
    return task.model_copy(update={"inputs": task.inputs.model_copy(update={"audio": kept.media.uuid})})


def _not_planned(task: Task) -> tuple[StoredResult, ...]:
    return tuple(StoredResult(number, new_uuid()) for number in range(task.number_results))


def _stored_media(task: MediaStorage, uuid: str) -> Item:
    return {
        "taskType": "mediaStorage",
        "taskUUID": task.task_uuid,
        "operation": task.operation,
        "mediaUUID": uuid,
    }


def _job_ids(stored: StoredTask) -> list[str]:
    return [part.job_id for result in stored.results for part in result.parts]


def _removed(folders: Sequence[Path]) -> bool:
    """Remove folders; False if some are still there, because another program has a file of theirs open."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return not any(folder.exists() for folder in folders)


@contextmanager
def _errors_of(task_type: str, uuid: str) -> Iterator[None]:
    """Errors inside are `ApiRefused`, and said of this task."""
    try:
        yield
    except ApiRefused as refused:
        raise ApiRefused(*(error.of(task_type, uuid) for error in refused.errors)) from None
    except StembridgeError as error:
        raise ApiRefused(from_error(error).of(task_type, uuid)) from error
