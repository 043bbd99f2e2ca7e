"""The record of one request: what is journalled, sent as events and written into manifests.

All of these are immutable pydantic models: ``model_dump_json`` and ``model_validate_json`` are the journal's and the
manifest's format. Project time is in seconds (doubles); frames are counted at `sample_rate`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from protocol import PROTOCOL_VERSION
from protocol.errors import BadArgument, StembridgeError
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import JobState, TrackClass, Verb

NORMAL_PRIORITY, LIVE_PRIORITY = 0, 10
"""A job of higher priority overtakes every queued job of lower priority."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ProjectRef(_Record):
    """Where a job's stems go. `folder` is what the user opened; `media_folder` lies in it and takes the stems."""

    folder: str
    media_folder: str
    sample_rate: int | None = None
    """Hz; None: the source's own rate."""


class SourceRef(_Record):
    """A source file (absolute path) and the project time, in seconds, at which its first sample lies."""

    file: str
    start_s: float = 0.0


class Progress(_Record):
    """How far a running job is. `seconds_left` is -1 while unknown."""

    fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    seconds_left: float = -1.0
    stage: str = ""


class Failure(_Record):
    """Why a job failed: a stable code and a sentence for people (see protocol/errors.py)."""

    code: str
    sentence: str

    @classmethod
    def of(cls, error: StembridgeError) -> Failure:
        return cls(code=error.code, sentence=error.sentence)


class JobRequest(_Record):
    """Everything an engine needs to know, frozen when the request was made; nothing is looked up later."""

    verb: Verb
    task: Task
    engine: str
    project: ProjectRef
    source: SourceRef | None
    tempo_map: TempoMap
    tempo_known: bool = True
    """False if no DAW has told a tempo: engines then estimate the beat grid themselves and say so."""
    key: str | None = None
    regions: tuple[Region, ...]
    tracks: tuple[TrackClass, ...] = ()
    reference: SourceRef | None = None
    """Audio whose sound the new music shall have; its place in the project means nothing."""
    seed_drawn: bool = False
    """True if the daemon drew the task's seed because nobody had asked for one."""


class Recipe(_Record):
    """All that reproduces one take, bit for bit, on the same versions: stored beside every stem and inside it."""

    protocol: int = PROTOCOL_VERSION
    request: JobRequest
    region: int = 0
    """Index into `request.regions`."""
    seed: int
    track: TrackClass | None = None
    sample_rate: int
    source_sha256: str | None = None
    reference_sha256: str | None = None
    engine: str
    engine_version: str
    engine_notes: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries the audio depends on."""


class RenderedTake(_Record):
    """A take as it leaves the engine's process: exact audio in a spool file, not yet in the user's folder."""

    file: str
    """A whole WAV file (float32 or 24-bit) in the daemon's spool folder."""
    midi: str | None = None
    """The notes of the take, if its engine plays notes: a Standard MIDI File in the same folder."""
    region: int
    """Index into the request's regions."""
    variation: int
    start_frame: int
    """Project frame (project time 0 is frame 0) of the first sample, at `sample_rate`."""
    frames: int
    sample_rate: int
    channels: int
    track: TrackClass | None = None
    seed: int
    score: float
    rank: int = 1
    measures: dict[str, Any] = Field(default_factory=dict)
    source_sha256: str | None = None
    reference_sha256: str | None = None
    engine: str
    engine_version: str
    engine_notes: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class Take(_Record):
    """One generated variation as delivered: an absolute file, its exact place, what it measures and its recipe."""

    number: int
    """1-based, unique in its job."""
    variation: int = 1
    file: str
    midi: str | None = None
    """An absolute file: the notes that the stem plays, to be put at the stem's place in the project."""
    start_s: float
    start_frame: int
    frames: int
    sample_rate: int
    track: TrackClass | None = None
    seed: int
    score: float
    """0 to 100; takes are ranked by it (engine/report.py documents the formula)."""
    rank: int = 1
    measures: dict[str, Any] = Field(default_factory=dict)
    recipe: Recipe


class Job(_Record):
    """A request on its way. Times are seconds since the epoch (UTC), for people and for ordering after a restart."""

    id: str
    request: JobRequest
    state: JobState = JobState.QUEUED
    priority: int = NORMAL_PRIORITY
    attempts: int = 0
    created: float
    started: float | None = None
    ended: float | None = None
    failure: Failure | None = None
    takes: tuple[Take, ...] = ()
    manifest: str | None = None
    reply_to: tuple[str, ...] = ()
    """Addresses of the clients that asked (``osc:127.0.0.1:9000``); doors use them to route events."""

    @property
    def verb(self) -> Verb:
        return self.request.verb


def new_job_id(now: datetime | None = None) -> str:
    """A short id that sorts by time and reads as a date: ``20261122-223105-3f9a2c``."""
    moment = now or datetime.now(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def checked_job_id(text: str) -> str:
    """`text` if it can be a job's id and so a folder's name on every system, else `BadArgument`."""
    if not _ID.fullmatch(text) or text.endswith(".") or _WINDOWS_DEVICES.fullmatch(text):
        raise BadArgument(
            f"The id {text[:80]!r} cannot be used: 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or "
            "digit and not ending with '.'."
        )
    return text


def same_request(a: JobRequest, b: JobRequest) -> bool:
    """True if two requests ask for the same thing, apart from what the daemon draws itself (task UUID, seed)."""

    def asked(request: JobRequest) -> Mapping[str, Any]:
        drawn = {"task_uuid", "seed"} if request.seed_drawn else {"task_uuid"}
        return request.model_dump(exclude={"task": drawn})

    return asked(a) == asked(b)
