"""What the daemon's core tells its doors: immutable events, in the order in which things happened."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.job import Job, Progress, Take
from protocol.live import LiveStatus, PlacedPhrase


@dataclass(frozen=True)
class JobChanged:
    """A job entered the state it carries; for `failed`, `job.failure` says why."""

    job: Job


@dataclass(frozen=True)
class JobProgressed:
    """A running job went on."""

    job: Job
    progress: Progress


@dataclass(frozen=True)
class TakeDelivered:
    """A take lies whole in the project folder (all of a job's come just before its `JobChanged` to done)."""

    job: Job
    take: Take


@dataclass(frozen=True)
class SessionChanged:
    """These fields of the session changed."""

    fields: tuple[str, ...]


@dataclass(frozen=True)
class LiveChanged:
    """Where a live run stands; `reply_to` are the clients that started it."""

    status: LiveStatus
    reply_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class LivePlaced:
    """A place of a live run was filled."""

    placed: PlacedPhrase
    reply_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequestRefused:
    """What somebody asked for who cannot hear the answer (a pedal) was refused."""

    code: str
    sentence: str
    address: str


Event = JobChanged | JobProgressed | TakeDelivered | SessionChanged | LiveChanged | LivePlaced | RequestRefused
