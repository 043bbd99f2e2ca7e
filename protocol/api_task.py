"""The task API's messages, read: JSON of one task in, a value or *everything* that is wrong with it out.

Beside `audioInference`, the generation task, there are the small tasks that clients manage themselves with. What a task
says wrong is answered in the API's own words (`protocol.api_errors`), with the taskType and the taskUUID where they can
be told, so that a client can match the answer. Nothing here waits, and nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from protocol.api_errors import ApiError, ApiRefused
from protocol.audio_input import AudioInput, AudioSource, audio_input
from protocol.errors import StembridgeError
from protocol.job import Failure
from protocol.task_check import Problem, TaskProblems, refusals, unknown_fields, validate_task
from protocol.task_fields import Choice, Door, Flag, Refused, Rule, Text, shown
from protocol.task_model import FIELDS, GROUPS, TASK_TYPE, Task
from protocol.task_names import UuidV4

__all__ = [
    "MAX_TASKS",
    "SMALL_TASKS",
    "ApiTask",
    "AudioInference",
    "AudioInput",
    "Authentication",
    "GetResponse",
    "GetTaskDetails",
    "MediaStorage",
    "Ping",
    "audio_input",
    "from_error",
    "from_failure",
    "from_problem",
    "parse_task",
    "tasks_of",
]

MAX_TASKS = 20
"""How many tasks one array may hold."""

_ECHOED_CHARS = 64


@dataclass(frozen=True)
class Authentication:
    """The key, "" if none was sent, and the session that a WebSocket comes back to, if it names one."""

    api_key: str = ""
    session_uuid: str | None = None


@dataclass(frozen=True)
class Ping:
    """Is anybody there?"""

    task_uuid: str | None = None


@dataclass(frozen=True)
class GetResponse:
    """How far is the task of that UUID?"""

    task_uuid: str


@dataclass(frozen=True)
class GetTaskDetails:
    """What was asked and answered under that UUID?"""

    task_uuid: str


@dataclass(frozen=True)
class MediaStorage:
    """Keep audio (`operation` ``upload``), or forget a kept file (``delete``; `media` is its UUID then)."""

    task_uuid: str
    operation: str
    media: AudioInput


@dataclass(frozen=True)
class AudioInference:
    """A generation task, checked, and the request as it was sent."""

    task: Task
    request: Mapping[str, Any]


ApiTask = Authentication | Ping | GetResponse | GetTaskDetails | MediaStorage | AudioInference


@dataclass(frozen=True)
class SmallTask:
    """One of the small tasks: the rules of its fields beside taskType, which of them it needs, and what it becomes."""

    meaning: str
    fields: Mapping[str, Rule]
    required: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], ApiTask]


_BY_UUID: Mapping[str, Rule] = MappingProxyType({"taskUUID": UuidV4()})

SMALL_TASKS: Mapping[str, SmallTask] = MappingProxyType(
    {
        "authentication": SmallTask(
            "Say who you are: first on a WebSocket, or first in an array instead of the Authorization header.",
            MappingProxyType({"taskUUID": UuidV4(), "apiKey": Text(0, 512), "connectionSessionUUID": Text(1, 64)}),
            (),
            lambda given: Authentication(given.get("apiKey", ""), given.get("connectionSessionUUID")),
        ),
        "ping": SmallTask(
            "Ask for a sign of life; answered with `pong`.",
            MappingProxyType({"taskUUID": UuidV4(), "ping": Flag()}),
            (),
            lambda given: Ping(given.get("taskUUID")),
        ),
        "getResponse": SmallTask(
            "Ask for the results of the task with this taskUUID, or how far it is.",
            _BY_UUID,
            ("taskUUID",),
            lambda given: GetResponse(given["taskUUID"]),
        ),
        "getTaskDetails": SmallTask(
            "Ask what was sent under this taskUUID, and what was answered.",
            _BY_UUID,
            ("taskUUID",),
            lambda given: GetTaskDetails(given["taskUUID"]),
        ),
        "mediaStorage": SmallTask(
            "Upload audio for `inputs.audio`, or delete what was uploaded.",
            MappingProxyType({"taskUUID": UuidV4(), "operation": Choice(("upload", "delete")), "media": AudioSource()}),
            ("taskUUID", "operation", "media"),
            lambda given: MediaStorage(given["taskUUID"], given["operation"], audio_input(given["media"])),
        ),
    }
)
"""Every small task by its taskType."""

TASK_TYPES = (*SMALL_TASKS, TASK_TYPE)


# --- reading ----------------------------------------------------------------------------------------------------------
def tasks_of(body: object) -> list[object]:
    """The tasks of a request's body: an array of 1 to `MAX_TASKS`, or a single task. Raises `ApiRefused`."""
    if isinstance(body, Mapping):
        return [body]
    if not isinstance(body, list) or not 1 <= len(body) <= MAX_TASKS:
        told = f"an array of {len(body)}" if isinstance(body, list) else shown(body)
        message = f"The request is {told}; it must be a JSON array of 1 to {MAX_TASKS} tasks, or a single task."
        raise ApiRefused(ApiError("invalidRequest", message, type="array"))
    return body


def parse_task(data: object) -> ApiTask:
    """The task that one element of the array describes. Raises `ApiRefused` with everything that is wrong with it."""
    if not isinstance(data, Mapping):
        message = f"A task is {shown(data)}; it must be an object with a taskType."
        raise ApiRefused(ApiError("invalidTask", message, type="object"))
    try:
        return _parsed(data)
    except ApiRefused as refused:
        task_type, task_uuid = _echo(data.get("taskType")), _echo(data.get("taskUUID"))
        raise ApiRefused(*(error.of(task_type, task_uuid) for error in refused.errors)) from None


def _parsed(data: Mapping[str, Any]) -> ApiTask:
    task_type = data.get("taskType")
    if task_type == TASK_TYPE:
        try:
            return AudioInference(validate_task(data, Door.HTTP), data)
        except TaskProblems as refused:
            raise ApiRefused(*map(from_problem, refused.problems)) from None
    if "taskType" not in data or not isinstance(task_type, str):
        code = "invalid" if "taskType" in data else "missing"
        told = f"is {shown(task_type)}" if "taskType" in data else "is missing"
        message = f"taskType {told}; it must be one of {', '.join(TASK_TYPES)}."
        raise ApiRefused(ApiError(f"{code}TaskType", message, "taskType", "string"))
    if task_type not in SMALL_TASKS:
        message = f"The taskType {shown(task_type)} is not served here; there are {', '.join(TASK_TYPES)}."
        raise ApiRefused(ApiError("unsupportedTaskType", message, "taskType", "string"))
    return _small(SMALL_TASKS[task_type], data)


def _small(kind: SmallTask, data: Mapping[str, Any]) -> ApiTask:
    problems = list(_problems(kind, data))
    if not problems and data.get("operation") == "delete" and audio_input(data["media"]).kind != "uuid":
        message = f"media is {shown(data['media'])}; to delete a file it must be its UUID."
        problems = [Problem("media", data["media"], "the UUID of a file", message, "format")]
    if problems:
        raise ApiRefused(*map(from_problem, problems))
    return kind.make(data)


def _problems(kind: SmallTask, data: Mapping[str, Any]) -> Iterator[Problem]:
    for field, rule in kind.fields.items():
        if field in data:
            try:
                rule.check(data[field], Door.HTTP)
            except Refused as refused:
                yield from refusals(field, data[field], rule, refused)
        elif field in kind.required:
            yield Problem(field, None, rule.allowed, f"{field} is missing; it must be {rule.allowed}.", "missing")
    unknown = [name for name in data if name not in kind.fields and name != "taskType"]
    yield from unknown_fields([(name, data[name]) for name in unknown], kind.fields, "this task")


def _echo(value: object) -> str | None:
    """What a client may match an answer by: short printable text, as it was sent."""
    return value if isinstance(value, str) and len(value) <= _ECHOED_CHARS and value.isprintable() else None


# --- problems and errors in the API's words ---------------------------------------------------------------------------
def json_type(schema: Mapping[str, Any]) -> str:
    """The JSON type that a field's schema asks for."""
    kinds = schema["type"]
    return str(kinds if isinstance(kinds, str) else kinds[0])


def _types() -> Iterator[tuple[str, str]]:
    for task in SMALL_TASKS.values():
        yield from ((field, json_type(rule.json_schema())) for field, rule in task.fields.items())
    for field, rule in FIELDS[Door.HTTP].items():
        schema = rule.json_schema()
        yield field, json_type(schema)
        yield from ((f"{field}.{key}", json_type(inner)) for key, inner in schema.get("properties", {}).items())
    yield from ((group, "object") for group in GROUPS)


_TYPE_OF = dict(_types())


def from_problem(problem: Problem) -> ApiError:
    """A problem of a task's field as the API names it; a model that nobody knows is `modelNotFound`, 404."""
    field, name = problem.field or None, problem.field.rpartition(".")[2]
    name = name[:1].upper() + name[1:]
    code = {
        "missing": f"missing{name}",
        "unknown": "unknownParameter",
        "conflict": "incompatibleParameters",
    }.get(problem.code, f"invalid{name}")
    if (field, problem.code) == ("model", "choice"):
        return ApiError("modelNotFound", problem.message, field, "string", status=404)
    parameter = field if field is None or field in _TYPE_OF else _shortened(field)
    return ApiError(code, problem.message, parameter, _TYPE_OF.get(problem.field))


def _shortened(name: str) -> str:
    return name if len(name) <= _ECHOED_CHARS and name.isprintable() else shown(name)[1:-1]


_AUDIO, _REPAINT = "inputs.audio", "settings.repaintingStart"

_ERRORS: Mapping[str, tuple[str, int, str | None]] = {
    **dict.fromkeys(("bad_argument", "task_invalid", "missing_context"), ("invalidTask", 400, None)),
    **dict.fromkeys(
        ("source_error", "source_missing", "source_unreadable", "source_silent", "source_damaged", "source_changed"),
        ("invalidAudio", 400, _AUDIO),
    ),
    **dict.fromkeys(("no_material", "web_refused"), ("invalidAudio", 400, _AUDIO)),
    "web_failed": ("downloadFailed", 400, _AUDIO),
    "encoding_failed": ("unsupportedParameter", 400, "outputFormat"),
    "region_outside": ("invalidRepaintingStart", 400, _REPAINT),
    "engine_cannot": ("unsupportedParameter", 400, None),
    "engine_missing": ("modelNotFound", 404, "model"),
    "busy": ("serviceUnavailable", 503, None),
    "job_conflict": ("conflictTaskUUID", 409, "taskUUID"),
    "unknown_job": ("taskFailedOrNotFound", 404, "taskUUID"),
    "cancelled": ("taskCancelled", 409, None),
    "disk_full": ("insufficientStorage", 507, None),
    **dict.fromkeys(
        ("engine_error", "engine_crashed", "engine_stalled", "out_of_memory"), ("inferenceError", 500, None)
    ),
}
"""Our code: the API's code, its HTTP status, and the parameter that it is about."""

_UNEXPECTED = ("internalServerError", 500, None)
JOB_FAILED = 422
"""For a job that failed on our side. Not 5xx: clients send such a request again by themselves, and would then be told
that its taskUUID was used before, instead of why it failed."""


def from_error(error: StembridgeError) -> ApiError:
    """An error met before a task was accepted; `taskType` and `taskUUID` are the caller's to add (`ApiError.of`)."""
    code, status, parameter = _ERRORS.get(error.code, _UNEXPECTED)
    return ApiError(code, error.sentence, parameter, _TYPE_OF.get(parameter or ""), status=status)


def from_failure(failure: Failure) -> ApiError:
    """Why a job of a task failed. Its status is never 5xx, see `JOB_FAILED`."""
    code, status, parameter = _ERRORS.get(failure.code, _UNEXPECTED)
    status = JOB_FAILED if status >= 500 else status
    return ApiError(code, failure.sentence, parameter, _TYPE_OF.get(parameter or ""), status=status)
