"""What the daemon's core tells its doors: immutable events, in the order in which things happened."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.job import Job, Progress, Take


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


Event = JobChanged | JobProgressed | TakeDelivered | SessionChanged
