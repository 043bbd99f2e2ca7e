"""The task itself: one immutable model for every front door, with the specification's fields, limits and defaults.

The JSON names are the specification's, to the letter (`taskUUID`, `CFGScale`, `settings.cfgIntervalStart`); in Python
the same fields are snake_case (`task_uuid`, `cfg_scale`, `settings.cfg_interval_start`). A task is written to the
journal and to manifests as JSON, by either set of names, and reads back equal from both.

The model holds what is possible at the widest door (the DAW's); what a door asks for beyond that, and the rules that
join several fields, are `validate_task`'s. Defaults are the DAW's; `HTTP_DEFAULTS` names what differs there.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from protocol.air import CHECKPOINT_OF, MODEL
from protocol.audio_input import AudioSource
from protocol.errors import BadArgument
from protocol.formats import LANGUAGES, LOSSY_RATES, OutputFormat
from protocol.modular_scheduler import ModularScheduler
from protocol.task_fields import (
    Choice,
    Door,
    Flag,
    Number,
    Refused,
    Rule,
    Text,
    Whole,
    shown,
)
from protocol.task_json import JsonObject
from protocol.task_names import Address, FileName, KeyScale, Name, UuidV4

TASK_TYPE = "audioInference"
SEEDS = 2**31
"""How many seeds there are: 0 to 2147483647."""


class OutputType(StrEnum):
    """How HTTP hands over a result."""

    URL = "URL"
    BASE64_DATA = "base64Data"
    DATA_URI = "dataURI"


class DeliveryMethod(StrEnum):
    """`sync`: the response carries the results; `async`: it acknowledges, and `getResponse` is polled."""

    SYNC = "sync"
    ASYNC = "async"


class GuidanceType(StrEnum):
    """Adaptive projected guidance, or classifier-free guidance."""

    APG = "apg"
    CFG = "cfg"


class StemFormat(StrEnum):
    """How stems are written into a project: WAV with 32-bit float or with 24-bit samples."""

    WAV = "wav"
    WAV24 = "wav24"


class Quality(StrEnum):
    """How good a take must be: `draft` may use a faster checkpoint, to choose among ideas."""

    FINAL = "final"
    DRAFT = "draft"


def new_uuid() -> str:
    """A fresh UUID v4 as text."""
    return str(uuid.uuid4())


class _Part(BaseModel):
    # Unknown names are `validate_task`'s business; a journal written by a later version must stay readable.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, alias_generator=to_camel)


class AudioSettings(_Part):
    """Encoding of a lossy file, in kbps and Hz. None: the encoder's choice of bitrate, the model's rate of 48 kHz."""

    bitrate: Annotated[int | None, Whole(8, 320, "kbps")] = None
    channels: Annotated[int, Choice((1, 2))] = 2
    sample_rate: Annotated[int | None, Choice(LOSSY_RATES, "a sample rate in Hz")] = None


class TaskInputs(_Part):
    """The source audio: see `protocol.audio_input`. In a DAW the session's source instead."""

    audio: Annotated[str | None, AudioSource()] = None


class TaskSettings(_Part):
    """The model's own settings. `bpm`, `key_scale` and `time_signature` are hints; a DAW's session has the exact ones.

    Times are seconds of the source audio. None: the model decides, or the field is not used.
    """

    bpm: Annotated[int | None, Whole(30, 300)] = None
    cfg_interval_start: Annotated[float, Number(0, 1, "0.01")] = 0.0
    cfg_interval_end: Annotated[float, Number(0, 1, "0.01")] = 1.0
    cover_conditioning_scale: Annotated[float, Number(0, 1, "0.01")] = 1.0
    guidance_type: Annotated[GuidanceType, Choice(tuple(GuidanceType))] = GuidanceType.APG
    key_scale: Annotated[str | None, KeyScale()] = None
    lyrics: Annotated[str | None, Text(10, 3000)] = None
    repainting_start: Annotated[float | None, Number(-300, 300, unit="seconds")] = None
    repainting_end: Annotated[float | None, Number(0, 300, unit="seconds")] = None
    time_signature: Annotated[int | None, Choice((2, 3, 4, 6), "beats per bar")] = None
    vocal_language: Annotated[str, Choice(LANGUAGES, "a language code")] = "en"


class AdvancedFeatures(_Part):
    """`modular_scheduler`: manual configuration of the diffusion (sampler, modifiers), which the engine judges."""

    modular_scheduler: Annotated[dict[str, Any] | None, JsonObject()] = None


class Task(_Part):
    """What is asked of an engine, apart from where: see the module, and shared field by field with every front door.

    `duration` is in seconds and counts where no region gives the length. `seed` is None until one is drawn; `steps` and
    `cfg_scale` are None where the checkpoint's own count. `engine`, `context_bars` (bars of surroundings an engine
    listens to), `stem_format`, `quality`, `checkpoint` (the name of model weights; None: the daemon's, or what
    `quality` chooses), `min_score` (a take that scores less is made again, up to `rerolls` times; None: never) and
    `rerolls` are Stembridge's own and exist at the DAW's doors only.
    """

    task_type: Annotated[str, Choice((TASK_TYPE,))] = TASK_TYPE
    task_uuid: Annotated[str, UuidV4()] = Field(default_factory=new_uuid, alias="taskUUID")
    model: Annotated[str, Choice(tuple(CHECKPOINT_OF))] = MODEL
    output_type: Annotated[OutputType, Choice(tuple(OutputType))] = OutputType.URL
    output_format: Annotated[OutputFormat, Choice(tuple(OutputFormat))] = OutputFormat.WAV
    audio_settings: AudioSettings | None = None
    webhook_url: Annotated[str | None, Address()] = Field(default=None, alias="webhookURL")
    delivery_method: Annotated[DeliveryMethod, Choice(tuple(DeliveryMethod))] = DeliveryMethod.SYNC
    upload_endpoint: Annotated[str | None, Address()] = None
    ttl: Annotated[int | None, Whole(60, 2**31 - 1, "seconds")] = None
    include_cost: Annotated[bool, Flag()] = False
    number_results: Annotated[int, Whole(1, 4)] = 1
    inputs: TaskInputs = TaskInputs()
    positive_prompt: Annotated[str, Text(2, 3000, or_empty=True)] = ""
    negative_prompt: Annotated[str | None, Text(2, 3000)] = None
    duration: Annotated[float, Number(0, 600, unit="seconds", above_low=True)] = 60.0
    seed: Annotated[int | None, Whole(0, SEEDS - 1)] = None
    steps: Annotated[int | None, Whole(1, 300)] = None
    cfg_scale: Annotated[float | None, Number(1, 30, "0.01")] = Field(default=None, alias="CFGScale")
    strength: Annotated[float, Number(0, 1, "0.01")] = 0.5
    settings: TaskSettings = TaskSettings()
    advanced_features: AdvancedFeatures = AdvancedFeatures()
    engine: Annotated[str | None, Name()] = None
    context_bars: Annotated[float | None, Number(0, 64)] = None
    stem_format: Annotated[StemFormat, Choice(tuple(StemFormat))] = StemFormat.WAV
    quality: Annotated[Quality, Choice(tuple(Quality))] = Quality.FINAL
    checkpoint: Annotated[str | None, FileName()] = None
    min_score: Annotated[float | None, Number(0, 100)] = None
    rerolls: Annotated[int, Whole(0, 8)] = 3


OWN_FIELDS = frozenset({"engine", "contextBars", "stemFormat", "quality", "checkpoint", "minScore", "rerolls"})
"""Fields that the specification does not know; the HTTP door refuses them."""

HTTP_REQUIRED = ("taskType", "taskUUID", "model", "positivePrompt")
HTTP_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"outputFormat": OutputFormat.MP3, "steps": 100, "CFGScale": 10.0}
)
_HTTP_RULES: Mapping[str, Rule] = {
    "positivePrompt": Text(2, 3000),
    "duration": Number(30, 300, "0.1", "seconds"),
    "advancedFeatures.modularScheduler": ModularScheduler(),
}


def _part_of(info: FieldInfo) -> type[_Part] | None:
    """The part of the task that a field holds, or None if it holds a plain value."""
    types = (info.annotation, *get_args(info.annotation))
    return next((kind for kind in types if isinstance(kind, type) and issubclass(kind, _Part)), None)


def _leaves(part: type[_Part], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for info in part.model_fields.values():
        inner = _part_of(info)
        if inner is None:
            yield f"{prefix}{info.alias}", info
        else:
            yield from _leaves(inner, f"{info.alias}.")


def _rules(door: Door) -> Mapping[str, Rule]:
    rules = {name: next(item for item in info.metadata if isinstance(item, Rule)) for name, info in _leaves(Task)}
    if door is Door.HTTP:
        rules = {name: _HTTP_RULES.get(name, rule) for name, rule in rules.items() if name not in OWN_FIELDS}
    return MappingProxyType(rules)


FIELDS: Mapping[Door, Mapping[str, Rule]] = MappingProxyType({door: _rules(door) for door in Door})
"""Per door, every field of the task by its dotted JSON name, in the specification's order, with its rule."""

GROUPS = tuple(str(info.alias) for info in Task.model_fields.values() if _part_of(info))
"""The fields that are objects with fields of their own."""

DEFAULTS: Mapping[Door, Mapping[str, object]] = MappingProxyType(
    {
        door: MappingProxyType(
            {
                name: HTTP_DEFAULTS.get(name, info.default) if door is Door.HTTP else info.default
                for name, info in _leaves(Task)
                if info.default_factory is None and name in FIELDS[door]
            }
        )
        for door in Door
    }
)
"""Per door, what a field is when it is not given. None: nothing; `taskUUID` is drawn instead."""


def with_seed(task: Task, seed: int) -> Task:
    """The same task with another base seed, 0 to 2147483647; raises `BadArgument` for any other number."""
    rule = FIELDS[Door.DAW]["seed"]
    try:
        return task.model_copy(update={"seed": rule.check(seed, Door.DAW)})
    except Refused as error:
        raise BadArgument(f"The seed is {shown(seed)}; it must be {rule.allowed}.") from error


def with_checkpoint(task: Task, name: str) -> Task:
    """The same task on another checkpoint; raises `BadArgument` if that can be no checkpoint's name."""
    rule = FIELDS[Door.DAW]["checkpoint"]
    try:
        return task.model_copy(update={"checkpoint": rule.check(name, Door.DAW)})
    except Refused as error:
        raise BadArgument(f"The checkpoint is {shown(name)}; it must be {rule.allowed}.") from error


def final(task: Task) -> Task:
    """The task for the take that is kept: at final quality, on the checkpoint the daemon is configured for."""
    return task.model_copy(update={"quality": Quality.FINAL, "checkpoint": None})


def seeds(task: Task) -> tuple[int, ...]:
    """The seed of each of the task's `number_results` variations: base, base + 1, ... modulo 2**31.

    Raises `BadArgument` if no seed was drawn yet; `with_seed(task, draw_seed())` does that.
    """
    base = task.seed
    if base is None:
        raise BadArgument("The task has no seed yet: draw one before its variations are numbered.")
    return tuple((base + variation) % SEEDS for variation in range(task.number_results))


def draw_seed(random_bits: Callable[[int], int] = secrets.randbits) -> int:
    """A random seed; `random_bits(n)` gives a number of n random bits."""
    return random_bits(31)
