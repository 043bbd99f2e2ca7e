"""The daemon's answer to a REAPER script: one file per request, replaced as the job goes on. Pure.

An answer is an immutable value; each method gives it with more known. Whoever writes it sets `serial` and `updated`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol import PROTOCOL_VERSION
from protocol.errors import StembridgeError
from protocol.job import Failure, Job, Progress, Take
from protocol.live import LiveState, LiveStatus
from protocol.mailbox import Address
from protocol.mailbox_words import for_reaper
from protocol.vocabulary import JobState, TrackClass

State = Literal["queued", "running", "done", "failed", "cancelled", "refused"]
FINAL = frozenset(("done", "failed", "cancelled", "refused"))
_ECHOED = ("verb", "regions", "tempo", "checks", "key", "options", "settings", "project")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AnsweredTake(_Part):
    """A stem in the project, all that is needed to place it. `region` counts from 0."""

    number: int
    variation: int
    rank: int
    file: str
    midi: str | None
    start_frame: int
    frames: int
    sample_rate: int
    track: TrackClass | None
    seed: int | None
    score: float
    region: int

    @classmethod
    def of(cls, take: Take) -> AnsweredTake:
        return cls.model_validate({**take.model_dump(include=set(cls.model_fields)), "region": take.recipe.region})


class AnsweredSource(_Part):
    """Where the audio that came with the request is kept, for a redo, and the project frame of its first sample."""

    file: str
    start_frame: int

    @classmethod
    def of(cls, job: Job) -> AnsweredSource | None:
        source, rate = job.request.source, job.request.project.sample_rate
        return cls(file=source.file, start_frame=round(source.start_s * rate)) if source and rate else None


class Greeting(_Part):
    """What a connection check shows. `osc`: whether REAPER's own OSC surface was heard."""

    version: str
    engine: str
    osc: Literal["heard", "silent", "off"]
    osc_port: int | None
    engines: dict[str, Any] | None = None


class LiveWords(_Part):
    """Where a live run stands. `lead_bars`, `lead_s`: what is ready past the playhead; `sentence`: what to know."""

    waiting: bool
    bar: int
    lead_bars: float
    lead_s: float
    phrases: int
    loops: int
    failed: int
    sentence: str

    @classmethod
    def of(cls, status: LiveStatus) -> LiveWords:
        """Rounded, so that what is not seen is not written."""
        counts = status.counts
        return cls(
            waiting=status.state is LiveState.WAITING,
            bar=status.bar,
            lead_bars=round(status.lead_bars, 1),
            lead_s=round(status.lead_s, 1),
            phrases=counts.phrases,
            loops=counts.loops,
            failed=counts.failed,
            sentence=status.sentence,
        )


class Answer(_Part):
    """All that a script needs to go on; `origin` is the script's own and only given back."""

    protocol: int = PROTOCOL_VERSION
    id: str
    instance: str
    kind: str = "request"
    verb: str | None = None
    serial: int = 0
    state: State = "queued"
    position: int = 0
    fraction: float = 0.0
    seconds_left: float = -1.0
    """-1: unknown."""
    stage: str = ""
    engine: str = ""
    version: str = ""
    updated: float = 0.0
    error: Failure | None = None
    warnings: tuple[str, ...] = ()
    takes: tuple[AnsweredTake, ...] = ()
    manifest: str | None = None
    folder: str | None = None
    source: AnsweredSource | None = None
    asked: dict[str, Any] = Field(default_factory=dict)
    origin: Any = None
    hello: Greeting | None = None
    live: LiveWords | None = None

    @classmethod
    def to(cls, address: Address, raw: Mapping[str, Any], *, version: str, engine: str) -> Answer:
        """The first answer to a request's JSON, as far as that can be read."""
        kind, verb = raw.get("kind"), raw.get("verb")
        return cls(
            id=address.id,
            instance=address.instance,
            kind=kind if isinstance(kind, str) else "request",
            verb=verb if isinstance(verb, str) else None,
            version=version,
            engine=engine,
            asked={name: raw[name] for name in _ECHOED if name in raw},
            origin=raw.get("origin"),
        )

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def with_(self, **fields: Any) -> Answer:
        return self.model_copy(update=fields)

    def warned(self, sentences: Sequence[str]) -> Answer:
        return self.with_(warnings=(*self.warnings, *sentences))

    def refused(self, error: StembridgeError) -> Answer:
        """Nothing was begun, for this reason."""
        return self.with_(state="refused", error=for_reaper(Failure.of(error)), position=0)

    def about(self, job: Job, position: int) -> Answer:
        """The job's state and, when it is done, its takes."""
        known: dict[str, Any] = {
            "state": job.state.value,
            "engine": job.request.engine,
            "position": position if job.state is JobState.QUEUED else 0,
            "error": job.failure and for_reaper(job.failure),
            "source": AnsweredSource.of(job),
        }
        if job.state is JobState.QUEUED:  # perhaps once more, after an engine that died
            known |= {"fraction": 0.0, "seconds_left": -1.0, "stage": ""}
        if job.state is JobState.DONE:
            takes = tuple(AnsweredTake.of(take) for take in job.takes)
            folder = str(Path(job.manifest).parent) if job.manifest else None
            known |= {"takes": takes, "manifest": job.manifest, "folder": folder, "fraction": 1.0, "seconds_left": 0.0}
        return self.with_(**known)

    def going_on(self, progress: Progress) -> Answer:
        return self.with_(
            state="running",
            position=0,
            fraction=progress.fraction,
            seconds_left=progress.seconds_left,
            stage=progress.stage,
        )

    def to_json(self) -> bytes:
        return self.model_dump_json(
            exclude={name for name in ("hello", "live") if getattr(self, name) is None}
        ).encode()


def read_answer(content: bytes) -> Answer | None:
    """An answer as it was written; None if this is none."""
    try:
        return Answer.model_validate_json(content)
    except ValidationError:
        return None
