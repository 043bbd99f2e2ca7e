"""The core: the session, the opened projects and the way from a request to the queue; the `Desk` all doors talk to.

One instance, on the event loop. It owns no socket and no process: the queue, the engine table and the folders are
given to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bridge import __version__
from bridge import project as projects
from bridge.desk import LiveDesk, Receipt
from bridge.intake import Probe, make_request
from bridge.queue import JobQueue
from engine.api import Capabilities
from engine.audio import AudioInfo
from protocol.errors import BadArgument, UnknownJob
from protocol.events import Event, SessionChanged
from protocol.job import (
    LIVE_PRIORITY,
    NORMAL_PRIORITY,
    Job,
    JobRequest,
    ProjectRef,
    SourceRef,
    checked_job_id,
    new_job_id,
)
from protocol.session import Session
from protocol.task import parse_setting
from protocol.vocabulary import JobState, Verb

log = logging.getLogger("stembridge.core")


class Core:
    """The `Desk` of a running daemon (see `bridge.desk.Desk` for what each method promises)."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        engine_name: str,
        capabilities: Callable[[str], Capabilities],
        probe: Probe,
        roots: Sequence[Path] = (),
        media_roots: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        on_project: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._engine_name = engine_name
        self._capabilities = capabilities
        self._probe = probe
        self._roots = tuple(roots)
        self._media_roots = tuple(media_roots)
        self._clock = clock
        self._now = now
        self._on_project = on_project
        self._session = Session()
        self._opened: dict[str, ProjectRef] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._live: LiveDesk | None = None

    # --- the session --------------------------------------------------------------------------------------------------
    @property
    def session(self) -> Session:
        return self._session

    @property
    def engine_name(self) -> str:
        return self._engine_name

    @property
    def version(self) -> str:
        return __version__

    @property
    def live(self) -> LiveDesk:
        assert self._live is not None, "the daemon gives it before any door opens"
        return self._live

    @live.setter
    def live(self, live: LiveDesk) -> None:
        self._live = live

    def tell(self, session: Session) -> None:
        before, self._session = self._session, session
        changed = before.changed_fields(session)
        if changed:
            self.emit(SessionChanged(changed))

    def open_project(self, name: str, sample_rate: int | None, source: str) -> None:
        ref = projects.open_project(name, sample_rate, self._roots)
        self._remember(ref)
        self.tell(self._session.told("project", ref, source, self._clock()))
        self._on_project()

    def _remember(self, ref: ProjectRef) -> None:
        self._opened.pop(ref.folder, None)
        self._opened[ref.folder] = ref  # the last opened one comes last: relative names mean it

    async def admit_project(self, name: str, sample_rate: int | None, media: str | None) -> ProjectRef:
        ref = await asyncio.to_thread(projects.open_project, name, sample_rate, self._roots, media)
        self._remember(ref)
        self._on_project()
        return ref

    async def admit_source(self, name: str, project: ProjectRef) -> AudioInfo:
        opened = (*(ref for ref in self._opened.values() if ref.folder != project.folder), project)
        return await asyncio.to_thread(lambda: self._probe(projects.resolve_source(name, opened, self._media_roots)))

    def set_source(self, name: str, start_s: float, source: str) -> None:
        path = projects.resolve_source(name, tuple(self._opened.values()), self._media_roots)
        self._probe(path)  # what cannot be read is said now, not when the job runs
        ref = SourceRef(file=str(path), start_s=start_s)
        self.tell(self._session.told("source", ref, source, self._clock()))

    # --- jobs ---------------------------------------------------------------------------------------------------------
    async def request(
        self, verb: Verb, settings: Mapping[str, object], session: Session, job_id: str | None, reply_to: str
    ) -> Receipt:
        options = dict(settings)
        priority = _priority(options.pop("priority", NORMAL_PRIORITY))
        identity = checked_job_id(job_id) if job_id is not None else new_job_id()
        wanted = options.get("engine") or session.settings.get("engine")
        engine = parse_setting("engine", wanted) if wanted else self._engine_name
        capabilities = self._capabilities(engine)
        reference, opened = options.pop("reference", None), self._opened_as_in(session)

        def make() -> JobRequest:  # in a thread: it looks at disks
            named = self._reference(str(reference), opened) if reference not in ("", None) else None
            return make_request(verb, options, session, capabilities, self._probe, named)

        return await self.submit(await asyncio.to_thread(make), identity, reply_to, priority)

    async def offer(self, engine: str) -> Capabilities:
        return await asyncio.to_thread(self._capabilities, engine)

    async def submit(self, request: JobRequest, job_id: str, reply_to: str, priority: int = NORMAL_PRIORITY) -> Receipt:
        job = Job(
            id=checked_job_id(job_id), request=request, priority=priority, created=self._now(), reply_to=(reply_to,)
        )
        kept, position, is_new = await self._queue.submit(job)
        return Receipt(kept, position, is_new)

    def _reference(self, name: str, opened: Sequence[ProjectRef]) -> SourceRef:
        """A file that a verb names, confined like a source."""
        return SourceRef(file=str(projects.resolve_source(name, opened, self._media_roots)))

    def _opened_as_in(self, session: Session) -> tuple[ProjectRef, ...]:
        """The projects opened so far; the one that `session` is about comes last, so that relative names mean it."""
        opened = {**self._opened}
        if session.project is not None:
            opened.pop(session.project.value.folder, None)
            opened[session.project.value.folder] = session.project.value
        return tuple(opened.values())

    async def cancel(self, target: str, reply_to: str) -> Sequence[Job]:
        if target == "all":
            return await self._queue.cancel_all()
        if target == "last":
            last = await self._queue.last_for(reply_to)
            if last is None:
                raise UnknownJob("You have not asked for any job yet, so there is no last one to cancel.")
            target = last.id
        return [await self._queue.cancel(target)]

    async def retry(self, job_id: str, reply_to: str) -> Receipt:
        job, position = await self._queue.retry(job_id, reply_to)
        return Receipt(job, position, False)

    async def jobs(self, count: int) -> Sequence[Job]:
        return await self._queue.newest(count)

    async def find(self, job_id: str) -> Receipt | None:
        try:
            job = await self._queue.get(job_id)
        except UnknownJob:
            return None
        waiting = [queued.id for queued in self._queue.open_jobs() if queued.state is JobState.QUEUED]
        return Receipt(job, 1 + waiting.index(job.id) if job.id in waiting else 0, False)

    # --- events -------------------------------------------------------------------------------------------------------
    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def emit(self, event: Event) -> None:
        """Pass an event to every door; a door that fails is logged and does not disturb the others."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a door could not take %s", type(event).__name__)


def _priority(value: object) -> int:
    if not isinstance(value, int | float) or value not in range(NORMAL_PRIORITY, LIVE_PRIORITY + 1):
        raise BadArgument(
            f"The priority must be a whole number from {NORMAL_PRIORITY} to {LIVE_PRIORITY}, not {str(value)[:40]!r}."
        )
    return int(value)
