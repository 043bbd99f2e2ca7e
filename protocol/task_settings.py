"""The task as a DAW says it: short names for `/stembridge/set/FIELD value` and for a verb's name-value pairs.

One table, `SETTINGS`, serves the check of a single setting when it is set, the making of a task when a verb comes, and
docs/osc.md. An empty string or nil as a value means "unset": the door takes the setting away instead of checking it,
and `task_from_settings` passes over such values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from protocol.errors import BadArgument
from protocol.names import nearest
from protocol.task_check import Problem, TaskProblems, validate_task
from protocol.task_fields import Door, Refused, Rule, shown
from protocol.task_model import DEFAULTS, FIELDS, Task

_MOST_UNKNOWN = 20  # unknown settings that are named one by one


@dataclass(frozen=True)
class SettingSpec:
    """One setting: its short `name`, the dotted task `field` that it fills and its `meaning` in one line."""

    name: str
    field: str
    meaning: str

    @property
    def rule(self) -> Rule:
        return FIELDS[Door.DAW][self.field]

    @property
    def type(self) -> str:
        """``text``, ``number``, ``whole number``, ``choice`` or ``object`` (as JSON text)."""
        return self.rule.kind

    @property
    def allowed(self) -> str:
        """The range in words."""
        return self.rule.allowed

    @property
    def default(self) -> object:
        """What holds while the setting is unset; None or "" where `meaning` says what happens then."""
        return DEFAULTS[Door.DAW][self.field]


_TABLE = (
    SettingSpec("prompt", "positivePrompt", "what the music should be"),
    SettingSpec("negative", "negativePrompt", "what it should not be; ignored while guidance is 1"),
    SettingSpec("lyrics", "settings.lyrics", "the words to sing"),
    SettingSpec("language", "settings.vocalLanguage", "language of the lyrics; 'unknown' for instrumental music"),
    SettingSpec("seed", "seed", "the same seed gives the same audio; unset: drawn for every job"),
    SettingSpec("variations", "numberResults", "how many takes, each with its own seed"),
    SettingSpec("strength", "strength", "how closely to keep to the source: 0 free, 1 close"),
    SettingSpec("steps", "steps", "denoising steps: more is slower and finer; unset: the checkpoint's own"),
    SettingSpec("guidance", "CFGScale", "how strictly to follow the prompt; 1 is off; unset: the checkpoint's own"),
    SettingSpec("guidance_type", "settings.guidanceType", "adaptive projected or classifier-free guidance"),
    SettingSpec("cfg_start", "settings.cfgIntervalStart", "where in the diffusion guidance begins"),
    SettingSpec("cfg_end", "settings.cfgIntervalEnd", "where in the diffusion guidance ends"),
    SettingSpec("cover_scale", "settings.coverConditioningScale", "part of the steps that a cover hears its source"),
    SettingSpec("bpm_hint", "settings.bpm", "tempo told to the model, if other than the session's; sets no grid"),
    SettingSpec("duration", "duration", "length of a generation where no region gives it"),
    SettingSpec("context_bars", "contextBars", "bars around the region that the engine listens to; unset: its choice"),
    SettingSpec("engine", "engine", "the engine to use; unset: the daemon's"),
    SettingSpec("quality", "quality", "draft: quicker and coarser; `redo --commit` makes the final take"),
    SettingSpec("checkpoint", "checkpoint", "the model's weights, by name; unset: the daemon's"),
    SettingSpec("min_score", "minScore", "a take that scores less is made again with another seed; unset: never"),
    SettingSpec("rerolls", "rerolls", "how often at most such a take is made again; the best try is kept"),
    SettingSpec("scheduler", "advancedFeatures.modularScheduler", "the diffusion (solver, shift, ...), as JSON text"),
    SettingSpec("format", "stemFormat", "sample format of stems: wav is 32-bit float, wav24 24-bit"),
)

SETTINGS: Mapping[str, SettingSpec] = MappingProxyType({spec.name: spec for spec in _TABLE})
"""Every setting by its short name, in the order of the documentation."""

_NAMES = {spec.field: spec.name for spec in _TABLE}


def parse_setting(name: str, value: object) -> Any:
    """The value of one setting in its normal form; raises `BadArgument` naming what is allowed or the nearest name."""
    if name not in SETTINGS:
        raise BadArgument(_unknown_setting(name))
    spec = SETTINGS[name]
    try:
        return spec.rule.check(value, Door.DAW)
    except Refused as error:
        detail = error.detail and f" {error.detail}"
        raise BadArgument(f"{name} is {shown(value)}; it must be {spec.allowed}.{detail}") from error


def task_from_settings(settings: Mapping[str, object]) -> Task:
    """The task that these settings (by short names) describe; raises `TaskProblems` with every problem at once.

    Problems carry the specification's field names in `field` and the short names in their messages.
    """
    wanted = {name: value for name, value in settings.items() if value is not None and value != ""}
    unknown = tuple(_unknown(wanted))
    data: dict[str, Any] = {}
    for name in wanted.keys() & SETTINGS.keys():
        group, _, inner = SETTINGS[name].field.rpartition(".")
        (data.setdefault(group, {}) if group else data)[inner] = wanted[name]
    try:
        task = validate_task(data, Door.DAW, lambda field: _NAMES.get(field, field))
    except TaskProblems as error:
        raise TaskProblems((*error.problems, *unknown)) from None
    if unknown:
        raise TaskProblems(unknown)
    return task


def _unknown(wanted: Mapping[str, object]) -> Iterator[Problem]:
    strangers = [name for name in wanted if name not in SETTINGS]
    for name in strangers[:_MOST_UNKNOWN]:
        yield Problem(name, wanted[name], "one of the settings", _unknown_setting(name), "unknown")
    if len(strangers) > _MOST_UNKNOWN:
        message = f"{len(strangers) - _MOST_UNKNOWN} more settings do not exist: leave them out."
        yield Problem("", None, "one of the settings", message, "unknown")


def _unknown_setting(name: object) -> str:
    meant = nearest(name, SETTINGS) if isinstance(name, str) else None
    hint = f"did you mean {meant}?" if meant else f"the settings are {', '.join(SETTINGS)}."
    return f"There is no setting {shown(name)}: {hint}"
