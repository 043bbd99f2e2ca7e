"""What the REAPER scripts and the daemon write to each other as files: requests, read strictly, and answers. Pure.

A mailbox is a folder (`bridge.doors.mailbox` keeps it): the scripts leave ``requests/<instance>.<id>.json``, the daemon
replaces ``answers/<instance>/<id>.json`` as the job goes on. Promises: a request that cannot be taken is refused in a
sentence that names the field; a script of another version is told which side to update; what a request says is told to
the session exactly, frames as frames; and what REAPER says of its own beats is compared with what we compute of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from protocol import PROTOCOL_VERSION
from protocol.errors import BadArgument, RegionOutside, StembridgeError
from protocol.job import ProjectRef, SourceRef, checked_job_id
from protocol.key import Key
from protocol.music import MAX_RATE, TempoMap, TempoPoint, TimeSignature
from protocol.session import FramesRegion, Session
from protocol.vocabulary import Verb

MAX_REQUEST_BYTES = 1 << 20
STALE_S = 15 * 60.0
"""An older request is not run: whoever asked has gone on. One from the future comes from a clock that is wrong."""

_INSTANCE = re.compile(r"[0-9a-f]{8}")
_FILE = re.compile(r"([0-9a-f]{8})\.([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.json")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")
_SAME_BEAT = 1e-3
"""Quarter notes by which REAPER's beats and ours may differ without a word: half a millisecond at 120 BPM."""
_A_MOMENT_S = 1e-6
_MOST_PROBLEMS = 4


class VersionMismatch(StembridgeError):
    """The scripts in REAPER and the daemon speak different versions of the mailbox's protocol."""

    code = "version_mismatch"


class StaleRequest(StembridgeError):
    """The request lay too long, or the clocks differ."""

    code = "stale_request"


class Address(NamedTuple):
    """Whose request it is and which, as its file's name says it."""

    instance: str
    id: str

    @property
    def file_name(self) -> str:
        return f"{self.instance}.{self.id}.json"


def address_of(file_name: str) -> Address | None:
    """The address that the name of a request's file tells; None if it is not such a name."""
    match = _FILE.fullmatch(file_name)
    try:
        return Address(match[1], checked_job_id(match[2])) if match else None
    except BadArgument:
        return None


def is_instance(name: str) -> bool:
    """True for the name of an instance's folder."""
    return _INSTANCE.fullmatch(name) is not None


# --- requests ---------------------------------------------------------------------------------------------------------
def _table(value: Any) -> Any:
    """An empty table of Lua may come as an empty array."""
    return {} if value in ([], None) else value


def _plain_name(value: str) -> str:
    if not _PLAIN_NAME.fullmatch(value) or PurePosixPath(value).suffix.lower() != ".wav":
        raise ValueError("the plain name of a .wav file in audio/")
    return value


Table = Annotated[dict[str, Any], BeforeValidator(_table)]
Frame = Annotated[int, Field(ge=-(2**53), le=2**53)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ProjectPart(Part):
    """`file`: the .rpp or its folder; `media`: where REAPER records to; `sample_rate` in Hz counts all frames."""

    file: str = Field(max_length=4096)
    media: str | None = Field(default=None, max_length=4096)
    sample_rate: int = Field(ge=1000, le=MAX_RATE)


class HelloProject(Part):
    """The project of a connection check; an unsaved one has no file."""

    file: str = ""
    media: str | None = None
    sample_rate: int | None = None


class SourcePart(Part):
    """Audio in the mailbox (`files`, summed) or a file of the project (`file`); its first sample is `start_frame`."""

    files: tuple[Annotated[str, AfterValidator(_plain_name)], ...] = Field(default=(), max_length=64)
    file: str | None = Field(default=None, max_length=4096)
    start_frame: Frame = 0
    frames: int | None = Field(default=None, ge=1, le=2**40)


class RegionPart(Part):
    start_frame: Frame
    end_frame: Frame


class TempoPart(Part):
    """From `time` (s) on; `linear` ramps the BPM in time up to the next one, `new_bar` begins a bar without a change of
    signature (a change always does)."""

    time: float
    bpm: float
    num: int
    den: int
    linear: bool = False
    new_bar: bool = False


def tempo_map_of(parts: Sequence[TempoPart]) -> TempoMap:
    """Raises `BadArgument` for tempos, signatures or an order that cannot be."""
    return TempoMap(
        tuple(TempoPoint(p.time, p.bpm, TimeSignature(p.num, p.den), p.linear, p.new_bar) for p in parts),
    )


class Checks(Part):
    """What REAPER says of where the regions begin and end: quarter notes from 0, bars from 1, counts in the bar."""

    start_qn: float | None = None
    end_qn: float | None = None
    start_bar: int | None = Field(default=None, ge=-100_000, le=100_000)
    start_beat: float = 0.0


class Message(Part):
    id: str
    instance: str
    created: float

    @property
    def client(self) -> str:
        """How the asker is named in journals."""
        return client_of(self.instance)


class Request(Message):
    """A verb, and everything that it needs to know."""

    verb: Verb
    project: ProjectPart
    source: SourcePart | None = None
    regions: tuple[RegionPart, ...] = Field(default=(), max_length=256)
    tempo: tuple[TempoPart, ...] = Field(min_length=1)
    checks: Checks = Checks()
    key: str | None = Field(default=None, max_length=80)
    position: float | None = None
    playing: bool | None = None
    options: Table = Field(default_factory=dict)
    settings: Table = Field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, object]:
        """Settings and options as the desk takes them; options win."""
        wanted = {**self.settings, **self.options}
        tracks = wanted.get("tracks")
        return wanted | {"tracks": ",".join(map(str, tracks))} if isinstance(tracks, list) else wanted

    def tempo_map(self) -> TempoMap:
        """Raises `BadArgument` for tempos, signatures or an order that cannot be."""
        return tempo_map_of(self.tempo)

    def parsed_key(self) -> Key | None:
        """Raises `BadArgument` for a text that names no key."""
        return Key.parse(self.key) if self.key and self.key.strip() else None

    def told_to(self, session: Session, project: ProjectRef, source: SourceRef | None, at: float) -> Session:
        """The session after all that this request says, at `at` seconds of the daemon's clock.

        Regions that it does not name are not those of an earlier request. Raises `BadArgument`.
        """
        teller = f"reaper-script:{self.instance}"
        told: dict[str, Any] = {
            "project": project,
            "tempo": self.tempo_map(),
            "key": self.parsed_key(),
            "regions": tuple(FramesRegion(region.start_frame, region.end_frame) for region in self.regions),
        }
        optional = {"source": source, "position_s": self.position, "playing": self.playing}
        for name, value in {**told, **{k: v for k, v in optional.items() if v is not None}}.items():
            session = session.told(name, value, teller, at)
        return session


class Cancel(Message):
    """`job`: the id of a job of this instance, or ``all`` of them."""

    job: str = Field(min_length=1, max_length=64)


class Hello(Message):
    """Is anybody there?"""

    project: HelloProject = HelloProject()


KINDS: Mapping[str, type[Message]] = {"request": Request, "cancel": Cancel, "hello": Hello}


def read(content: bytes) -> dict[str, Any]:
    """A request's file as a JSON object; raises `BadArgument`."""
    if len(content) > MAX_REQUEST_BYTES:
        raise BadArgument(
            f"The request is larger than {MAX_REQUEST_BYTES >> 20} MiB: select a shorter stretch of music."
        )
    try:
        raw = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise BadArgument(f"The request is not JSON ({error}): {_REINSTALL}") from None
    if not isinstance(raw, dict):
        raise BadArgument(f"The request is not a JSON object: {_REINSTALL}")
    return raw


_REINSTALL = "run `stembridge reaper install`, then the action again."


def parse(
    raw: Mapping[str, Any], address: Address, version: str, kinds: Mapping[str, type[Message]] = KINDS
) -> Message:
    """The message that the file at `address` holds, one of `kinds`; `version` is this daemon's.

    Raises `VersionMismatch`, and `BadArgument` naming every field that is wrong.
    """
    _require_same_protocol(raw.get("protocol"), str(raw.get("scripts", "unknown")), version)
    for name, told in (("id", address.id), ("instance", address.instance)):
        if raw.get(name) != told:
            raise BadArgument(f"The request's {name} is {_shown(raw.get(name))}, but its file's name says {told}.")
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadArgument(f"The request's kind is {_shown(kind)}; it must be one of {', '.join(kinds)}.")
    try:
        message = kinds[kind].model_validate(dict(raw))
    except ValidationError as error:
        raise BadArgument(_in_words(error)) from None
    if isinstance(message, Request):
        _require_whole(message)
    return message


def _require_same_protocol(theirs: object, scripts: str, version: str) -> None:
    if theirs == PROTOCOL_VERSION and not isinstance(theirs, bool):
        return
    if not isinstance(theirs, int) or isinstance(theirs, bool):
        raise BadArgument(f"The request's protocol is {_shown(theirs)}; it must be {PROTOCOL_VERSION}.")
    said = f"The scripts in REAPER ({scripts[:40]}) speak protocol {theirs}, Stembridge {version} speaks "
    if theirs < PROTOCOL_VERSION:
        raise VersionMismatch(
            f"{said}{PROTOCOL_VERSION}: update the scripts with `stembridge reaper install`, then run the action again."
        )
    raise VersionMismatch(
        f"{said}{PROTOCOL_VERSION}: update Stembridge (`pip install --upgrade stembridge`) and start it again; to go "
        "back to its own scripts instead, run `stembridge reaper install`."
    )


def _require_whole(request: Request) -> None:
    """What no single field can say."""
    if not request.project.file:
        raise BadArgument("The project has no file yet: save it in REAPER, so that takes have a place, and ask again.")
    source = request.source
    if source is None:
        if request.verb.needs_source:
            raise BadArgument(f"The request has no source, but {request.verb} works on audio: {_REINSTALL}")
    elif bool(source.files) == bool(source.file):
        raise BadArgument("The request's source must name either files in audio/ or one file of the project.")
    elif source.files and source.frames is None:
        raise BadArgument("The request's source names files in audio/ but not their length in frames.")
    elif any(not name.startswith(f"{request.id}.") for name in source.files):
        raise BadArgument("The request's source names audio of another request: its files begin with the request's id.")
    for region in request.regions:
        FramesRegion(region.start_frame, region.end_frame)
    request.tempo_map()
    request.parsed_key()


def require_fresh(message: Message, now: float) -> None:
    """Raise `StaleRequest` for what was asked too long ago (or ahead) of `now`, in seconds since the epoch."""
    age_s = now - message.created
    if age_s > STALE_S:
        raise StaleRequest(
            f"This was asked {_minutes(age_s)} ago, while Stembridge did not run, so it was not begun: ask again if "
            "you still want it."
        )
    if age_s < -STALE_S:
        raise StaleRequest(
            f"This was asked {_minutes(-age_s)} ahead of this computer's time: set the clocks right, then ask again."
        )


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def client_of(instance: str) -> str:
    """How a REAPER is named in journals: ``mailbox:1f2e3d4c``."""
    return f"mailbox:{instance}"


# --- where REAPER and we might disagree -------------------------------------------------------------------------------
def require_covered(request: Request, start_frame: int, frames: int) -> None:
    """Raise `RegionOutside` if the source (from `start_frame`, so many `frames`) lacks a part of what is to be remade.

    Where extend and prepend join it, the engine looks at.
    """
    if request.verb in (Verb.EXTEND, Verb.PREPEND):
        return
    rate, end = request.project.sample_rate, start_frame + frames
    for region in request.regions:
        if region.start_frame < start_frame or region.end_frame > end:
            raise RegionOutside(
                f"The selection is {region.start_frame / rate:.3f} to {region.end_frame / rate:.3f} s, but the audio "
                f"that came with it is {start_frame / rate:.3f} to {end / rate:.3f} s: select less, or look what cuts "
                "the render short (the project's end, say), then ask again."
            )


def disagreements(request: Request) -> list[str]:
    """A sentence for each place where REAPER's own beats differ from those that we compute from its tempo map."""
    if not request.regions:
        return []
    tempo_map, checks, rate = request.tempo_map(), request.checks, request.project.sample_rate
    start = tempo_map.beat_at(min(region.start_frame for region in request.regions) / rate)
    end = tempo_map.beat_at(max(region.end_frame for region in request.regions) / rate)
    said = [
        f"REAPER says that the selection {what} {theirs:.3f} quarter notes from the start, Stembridge computes "
        f"{ours:.3f} from the tempo map: the take may not lie on your grid."
        for what, theirs, ours in (("begins", checks.start_qn, start), ("ends", checks.end_qn, end))
        if theirs is not None and abs(theirs - ours) > _SAME_BEAT
    ]
    if checks.start_bar is not None:
        line_s = tempo_map.bar_start(checks.start_bar)
        count = tempo_map.signature_at(line_s + _A_MOMENT_S).beats_per_count
        if abs(tempo_map.beat_at(line_s) + checks.start_beat * count - start) > _SAME_BEAT:
            start_s = tempo_map.time_at(start)
            bar, into = tempo_map.bar_at(start_s)
            counts = into / tempo_map.signature_at(start_s + _A_MOMENT_S).beats_per_count
            said.append(
                f"REAPER says that the selection begins {checks.start_beat:.2f} counts into bar {checks.start_bar}, "
                f"Stembridge says {counts:.2f} into bar {bar}: the names of takes may count bars differently."
            )
    return said


# --- words ------------------------------------------------------------------------------------------------------------
def _in_words(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_url=False)[:_MOST_PROBLEMS]:
        where = ".".join(str(part) for part in detail["loc"])
        is_missing = detail["type"] == "missing"
        message = detail["msg"].removeprefix("Value error, ")
        what = "is missing" if is_missing else f"is {_shown(detail['input'])} ({message[:1].lower()}{message[1:]})"
        problems.append(f"{where} {what}")
    return f"The request cannot be used: {'; '.join(problems)}. {_REINSTALL[:1].upper()}{_REINSTALL[1:]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
