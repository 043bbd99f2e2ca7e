"""The validator: a mapping from some door in, a `Task` or *all* its problems out.

Field rules and the rules that join fields run together: a rule that joins fields is judged on whatever of its fields is
valid, and stays silent about what another problem already names. So one answer suffices to mend a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import TaskInvalid
from protocol.formats import MODEL_RATE, OutputFormat, bitrate_range, sample_rates
from protocol.names import nearest
from protocol.task_fields import Door, Group, Refused, Rule, shown
from protocol.task_model import DEFAULTS, FIELDS, GROUPS, HTTP_REQUIRED, OutputType, Task

_MOST_UNKNOWN = 20  # unknown fields that are named one by one
_MOST_IN_SENTENCE = 12

NameOf = Callable[[str], str]
"""How a door calls a field in its messages (``CFGScale`` is ``guidance`` to a DAW)."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a task.

    `field` is the dotted name of the specification (``settings.bpm``), `value` what was given (None if nothing was),
    `allowed` what would be, `message` a whole sentence with all three. `code`: ``missing``, ``unknown``, ``conflict``
    (with another field), or that of `Refused`.
    """

    field: str
    value: object
    allowed: str
    message: str
    code: str


class TaskProblems(TaskInvalid):
    """Everything that is wrong with a task, in `problems`, in the specification's order; never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        messages = [problem.message for problem in self.problems]
        if len(messages) == 1:
            return messages[0]
        named = " ".join(f"({number}) {message}" for number, message in enumerate(messages[:_MOST_IN_SENTENCE], 1))
        more = len(messages) - _MOST_IN_SENTENCE
        return f"The task has {len(messages)} problems: {named}{f' And {more} more.' if more > 0 else ''}"


def _with_groups(fields: Mapping[str, Rule]) -> Mapping[str, Rule]:
    rules: dict[str, Rule] = {}
    for field, rule in fields.items():
        if group := field.rpartition(".")[0]:
            rules.setdefault(group, Group())
        rules[field] = rule
    return rules


_RULES = {door: _with_groups(fields) for door, fields in FIELDS.items()}
"""Per door, the rules of fields and of the groups that hold them, in the specification's order."""


def validate_task(data: Mapping[str, object], door: Door, name_of: NameOf = str) -> Task:
    """The task that `data` (JSON names, nested as in the specification) describes at a door.

    What is not given takes the door's default; null is not "not given". `name_of` is how the door calls fields in
    messages. Raises `TaskProblems` with every problem at once, and nothing else whatever `data` holds.
    """
    if not isinstance(data, Mapping):
        message = f"The task is {shown(data)}; it must be an object with the task's fields."
        raise TaskProblems((Problem("", data, "an object", message, "type"),))
    given, unknown = _flattened(data, door)
    clean: dict[str, Any] = {}
    problems: list[Problem] = []
    for field, value in given.items():
        try:
            clean[field] = _RULES[door][field].check(value, door)
        except Refused as refused:
            problems.extend(refusals(field, value, _RULES[door][field], refused, name_of))
    if door is Door.HTTP:
        problems.extend(_missing(given, name_of))
    problems.extend(_conflicts(_Facts(given, clean, door, name_of)))
    if problems or unknown:
        order = list(_RULES[door])
        problems.sort(key=lambda problem: order.index(_ruled(problem.field, door)))
        raise TaskProblems((*problems, *unknown_fields(unknown, (*FIELDS[door], *GROUPS))))
    defaults = {field: value for field, value in DEFAULTS[door].items() if not field.startswith("audioSettings.")}
    return Task.model_validate(_nested(defaults | {field: clean[field] for field in clean if field not in GROUPS}))


def _flattened(data: Mapping[str, object], door: Door) -> tuple[dict[str, object], list[tuple[str, object]]]:
    """What was given, by dotted names and groups also by their own, and apart from it all that is no field."""
    given: dict[str, object] = {}
    unknown: list[tuple[str, object]] = []
    for name, value in data.items():
        if name in GROUPS:
            given[name] = value
            for inner, inner_value in value.items() if isinstance(value, Mapping) else ():
                dotted = f"{name}.{_label(inner)}"
                if dotted in FIELDS[door]:
                    given[dotted] = inner_value
                else:
                    unknown.append((dotted, inner_value))
        elif name in FIELDS[door] and "." not in name:
            given[name] = value
        else:
            unknown.append((_label(name), value))
    return given, unknown


def _ruled(field: str, door: Door) -> str:
    """The field that has a rule, of a problem that may lie further down in its value."""
    while field not in _RULES[door]:
        field = field.rpartition(".")[0]
    return field


def _label(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


def unknown_fields(fields: list[tuple[str, object]], known: Iterable[str], of: str = "the task") -> Iterator[Problem]:
    """The problems that these names are not fields of `of`, each with the nearest `known` one; a flood in short."""
    for name, value in fields[:_MOST_UNKNOWN]:
        meant = nearest(name, known)
        hint = f"did you mean {meant}?" if meant else "leave it out."
        message = f"{shown(name)[1:-1]} is not a field of {of}: {hint}"
        yield Problem(name, value, meant or f"a field of {of}", message, "unknown")
    if len(fields) > _MOST_UNKNOWN:
        message = f"{len(fields) - _MOST_UNKNOWN} more fields are not fields of {of}: leave them out."
        yield Problem("", None, f"fields of {of}", message, "unknown")


def refusals(field: str, value: object, rule: Rule, refused: Refused, name_of: NameOf = str) -> Iterator[Problem]:
    """The problems for which a rule refused a field's value: one, or one for each part of the value that is wrong."""
    for mistake in refused.mistakes:
        join = "." if mistake.key else " "
        message = f"{name_of(field)}{join}{mistake.message}"
        yield Problem(f"{field}.{mistake.key}".rstrip("."), mistake.value, mistake.allowed, message, mistake.code)
    if refused.mistakes:
        return
    size = f" (length {len(value)})" if refused.code == "length" and isinstance(value, str) else ""
    hint = " Leave the field out to not set it." if value is None else refused.detail and f" {refused.detail}"
    message = f"{name_of(field)} is {shown(value)}{size}; it must be {rule.allowed}.{hint}"
    yield Problem(field, value, rule.allowed, message, refused.code)


def _missing(given: Mapping[str, object], name_of: NameOf) -> Iterator[Problem]:
    for field in HTTP_REQUIRED:
        if field not in given:
            allowed = FIELDS[Door.HTTP][field].allowed
            yield Problem(field, None, allowed, f"{name_of(field)} is missing; it must be {allowed}.", "missing")


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, Any] = {}
    for field, value in flat.items():
        group, _, inner = field.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[inner] = value
    return nested


# --- rules that join fields --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Facts:
    """What the joining rules look at: what was `given` (valid or not) and what of it is valid (`clean`)."""

    given: Mapping[str, object]
    clean: Mapping[str, Any]
    door: Door
    name_of: NameOf

    def value(self, field: str) -> Any:
        """A field's value or default; None if it has neither, or if another problem already names it."""
        if field in self.given or self.group_is_broken(field):
            return self.clean.get(field)
        return DEFAULTS[self.door].get(field)

    def lacks(self, field: str) -> bool:
        """True if the field was not given at all, not even wrongly."""
        return field not in self.given and not self.group_is_broken(field)

    def group_is_broken(self, field: str) -> bool:
        """True if the object that should hold the field was given as something else."""
        group = field.rpartition(".")[0]
        return group in self.given and not isinstance(self.given[group], Mapping)

    def conflict(self, field: str, allowed: str, reason: str) -> Problem:
        """The problem that a valid value does not go with another field's."""
        value = self.given.get(field)
        message = f"{self.name_of(field)} is {shown(value)}; {reason}."
        return Problem(field, value, allowed, message, "conflict")


def _conflicts(facts: _Facts) -> Iterator[Problem]:
    yield from _audio_settings(facts)
    if facts.clean.get("ttl") is not None and facts.value("outputType") not in (OutputType.URL, None):
        reason = f"it must be left out unless outputType is URL (it is {facts.value('outputType')})"
        yield facts.conflict("ttl", "only with outputType URL", reason)
    if facts.door is Door.HTTP and facts.lacks("inputs.audio"):
        for field in ("coverConditioningScale", "repaintingStart", "repaintingEnd"):
            if f"settings.{field}" in facts.clean:
                reason = "it needs inputs.audio, the audio to work on"
                yield facts.conflict(f"settings.{field}", "only with inputs.audio", reason)
    yield from _repainting(facts)
    start, end = facts.value("settings.cfgIntervalStart"), facts.value("settings.cfgIntervalEnd")
    if start is not None and end is not None and start > end:
        other = facts.name_of("settings.cfgIntervalEnd")
        yield facts.conflict(
            "settings.cfgIntervalStart", f"at most {end:g}", f"it must not lie after {other} ({end:g})"
        )


def _repainting(facts: _Facts) -> Iterator[Problem]:
    """What is wrong with the span whatever the audio's length; a DAW's place is the session's region instead."""
    start_field, end_field = "settings.repaintingStart", "settings.repaintingEnd"
    start, end = facts.clean.get(start_field), facts.clean.get(end_field)
    if facts.door is not Door.HTTP or end is None or "inputs.audio" not in facts.clean:
        return
    if start is not None and start >= end:
        allowed = f"below {facts.name_of(end_field)} ({end:g})"
        message = f"{facts.name_of(start_field)} is {shown(facts.given[start_field])}; it must lie {allowed}."
        yield Problem(start_field, facts.given[start_field], allowed, message, "range")
    elif end == 0 and facts.lacks(start_field):
        message = (
            f"{facts.name_of(end_field)} is 0; it must be above 0 unless {facts.name_of(start_field)} is negative."
        )
        yield Problem(end_field, facts.given[end_field], "above 0", message, "range")


def _audio_settings(facts: _Facts) -> Iterator[Problem]:
    output_format: OutputFormat | None = facts.value("outputFormat")
    if output_format is None or "audioSettings" not in facts.given or facts.group_is_broken("audioSettings.bitrate"):
        return
    if not output_format.is_lossy:
        reason = f"it must be left out for {output_format}: only MP3 and OGG take it"
        yield facts.conflict("audioSettings", "only with MP3 or OGG", reason)
        return
    rate, allowed_rates = facts.value("audioSettings.sampleRate"), sample_rates(output_format)
    if rate is not None and rate not in allowed_rates:
        allowed = f"one of {', '.join(map(str, allowed_rates))} Hz for {output_format}"
        yield facts.conflict("audioSettings.sampleRate", allowed, f"it must be {allowed}")
    if rate is None and facts.lacks("audioSettings.sampleRate"):
        rate = MODEL_RATE
    yield from _bitrate(facts, output_format, rate)


def _bitrate(facts: _Facts, output_format: OutputFormat, rate: int | None) -> Iterator[Problem]:
    bitrate, channels = facts.value("audioSettings.bitrate"), facts.value("audioSettings.channels")
    if bitrate is None or channels is None or rate is None:
        return
    limits = bitrate_range(output_format, rate, channels)
    if limits is not None and not limits[0] <= bitrate <= limits[1]:
        layout = "mono" if channels == 1 else "stereo"
        allowed = f"{limits[0]} to {limits[1]} kbps for {output_format} at {rate} Hz, {layout}"
        yield facts.conflict("audioSettings.bitrate", allowed, f"it must be {allowed}")
