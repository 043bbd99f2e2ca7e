"""What becomes of a job: the new fields of its record after an attempt, or after the daemon died with it running.

Pure: no disk, no clock, no events. The queue journals what is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from protocol.errors import Cancelled, EngineCrashed, StembridgeError
from protocol.job import Failure, Job, Take
from protocol.vocabulary import JobState

log = logging.getLogger("stembridge.queue")

MAX_ATTEMPTS = 2
"""An engine or a daemon that dies at work costs one more attempt; a job that they die of twice is given up."""

Fields = dict[str, Any]


class Delivery(Protocol):
    """What lies whole in the project folder (bridge/delivery.py)."""

    @property
    def takes(self) -> Sequence[Take]: ...

    @property
    def manifest(self) -> Path: ...


class Interrupted(Exception):
    """The daemon stops; the job goes back to the queue."""


def done(delivery: Delivery) -> Fields:
    """The job's stems lie in the project."""
    return {"state": JobState.DONE, "takes": tuple(delivery.takes), "manifest": str(delivery.manifest)}


def after_error(job: Job, error: Exception) -> Fields:
    """An attempt at `job` ended with `error`: queued again, cancelled or failed."""
    match error:
        case Interrupted():
            return {"state": JobState.QUEUED, "attempts": job.attempts - 1, "started": None}
        case Cancelled():
            return {"state": JobState.CANCELLED}
        case EngineCrashed():
            log.warning("job %s, attempt %d: %s", job.id, job.attempts, error)
            if job.attempts < MAX_ATTEMPTS:
                return {"state": JobState.QUEUED, "started": None}
            return failed(error.code, f"{error.sentence} This job was tried {job.attempts} times.")
        case StembridgeError():
            log.info("job %s failed: %s", job.id, error)
            return failed(error.code, error.sentence)
        case _:
            log.error("job %s failed unexpectedly", job.id, exc_info=error)
            return failed("internal", f"Something went wrong inside Stembridge ({error!r}); its log has the details.")


def after_daemon_died(job: Job, delivery: Delivery | None) -> Fields:
    """`job` was running when the daemon died; `delivery` is what lies whole in its project, if anything does."""
    if delivery is not None:
        return done(delivery)
    if job.attempts < MAX_ATTEMPTS:
        return {"state": JobState.QUEUED, "started": None}
    return failed(
        EngineCrashed.code,
        f"The daemon or the engine died {job.attempts} times while working on this job, so it was given up. "
        "Retry it if you know what went wrong, or choose a shorter region.",
    )


def failed(code: str, sentence: str) -> Fields:
    """The job failed for this reason."""
    return {"state": JobState.FAILED, "failure": Failure(code=code, sentence=sentence)}
