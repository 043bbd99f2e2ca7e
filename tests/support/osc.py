"""A desk in memory and raw OSC building blocks, for the tests of the OSC door alone (the real desk: tests/e2e)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence

from bridge.desk import Receipt
from bridge.doors.osc_messages import request_datagram
from protocol.errors import ProjectGone, UnknownJob
from protocol.events import Event, JobChanged, SessionChanged
from protocol.job import Job, JobRequest, ProjectRef, SourceRef
from protocol.music import Region, TempoMap
from protocol.session import Session
from protocol.task import Task
from protocol.vocabulary import JobState, Verb

IMMEDIATELY = (1).to_bytes(8, "big")
_NTP_EPOCH_S = 2_208_988_800


class MemoryDesk:
    """Keeps what it is told. `gate` can be cleared to keep requests waiting."""

    engine_name = "sketch"
    version = "0.0.test"

    def __init__(self) -> None:
        self.session = Session()
        self.requests: list[tuple[Verb, Mapping[str, object], Session, str]] = []
        self.known: dict[str, Job] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.listeners: list[Callable[[Event], None]] = []
        self.breaks = False

    def tell(self, session: Session) -> None:
        if self.breaks:
            raise RuntimeError("a mistake in the program")
        changed = self.session.changed_fields(session)
        self.session = session
        if changed:
            self.emit(SessionChanged(changed))

    def open_project(self, name: str, sample_rate: int | None, source: str) -> None:
        if "gone" in name:
            raise ProjectGone(f"The folder {name} no longer exists: open the project again.")
        ref = ProjectRef(folder=name, media_folder=name, sample_rate=sample_rate)
        self.tell(self.session.told("project", ref, source, 0.0))

    def set_source(self, name: str, start_s: float, source: str) -> None:
        self.tell(self.session.told("source", SourceRef(file=name, start_s=start_s), source, 0.0))

    async def request(
        self, verb: Verb, settings: Mapping[str, object], session: Session, job_id: str | None, reply_to: str
    ) -> Receipt:
        await self.gate.wait()
        if job_id in self.known:
            return Receipt(self.known[job_id], 0, False)
        self.requests.append((verb, settings, session, reply_to))
        job = job_named(job_id or f"job-{len(self.requests)}", verb, reply_to)
        self.known[job.id] = job
        self.emit(JobChanged(job))
        return Receipt(job, len(self.known) - 1, True)

    async def cancel(self, target: str, reply_to: str) -> Sequence[Job]:
        if target == "all":
            return list(self.known.values())
        mine = [job for job in self.known.values() if reply_to in job.reply_to]
        if target == "last" and mine:
            return mine[-1:]
        return [self._job(target)]

    async def retry(self, job_id: str, reply_to: str) -> Receipt:
        return Receipt(self._job(job_id), 3, False)

    async def jobs(self, count: int) -> Sequence[Job]:
        return list(reversed(self.known.values()))[:count]

    def _job(self, job_id: str) -> Job:
        if job_id not in self.known:
            raise UnknownJob(f"There is no job {job_id}.")
        return self.known[job_id]

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def emit(self, event: Event) -> None:
        for listener in tuple(self.listeners):
            listener(event)


def job_named(identity: str, verb: Verb = Verb.REPAINT, *reply_to: str, state: JobState = JobState.QUEUED) -> Job:
    request = JobRequest(
        verb=verb,
        task=Task(),
        engine="sketch",
        project=ProjectRef(folder="/p", media_folder="/p", sample_rate=48000),
        source=None,
        tempo_map=TempoMap.constant(120),
        regions=(Region(1.0, 2.0),),
    )
    return Job(id=identity, request=request, created=0.0, reply_to=reply_to, state=state)


def bundle(*elements: bytes, at: float | None = None) -> bytes:
    """An OSC bundle, due at once or `at` (seconds since 1970)."""
    timetag = IMMEDIATELY if at is None else int((at + _NTP_EPOCH_S) * 2**32).to_bytes(8, "big")
    return b"#bundle\0" + timetag + b"".join(struct.pack(">i", len(element)) + element for element in elements)


def message(path: str, *args: object) -> bytes:
    """An OSC message; floats as doubles."""
    return request_datagram(path, args)


def single(path: str, value: float) -> bytes:
    """A message with one 32-bit float, as REAPER sends it."""
    padding = 4 - len(path) % 4
    return path.encode() + bytes(padding) + b",f\0\0" + struct.pack(">f", value)
