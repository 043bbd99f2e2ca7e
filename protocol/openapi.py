"""The task API as an OpenAPI 3.1 document, made from the tables by which requests are read.

What stands here about requests is generated; what stands about answers is written down, and held against the running
daemon by tests/e2e/test_http_schema.py. `extract`, `lego` and `complete` have no fields in the specification of this
API, so it cannot ask for them: they are OSC's and the DAW's.
"""

from __future__ import annotations

from typing import Any

from protocol.api_task import MAX_TASKS, SMALL_TASKS, SmallTask
from protocol.task_model import TASK_TYPE
from protocol.task_names import UUID_PATTERN
from protocol.task_schema import Schema, task_schema

_DESCRIPTION = """\
Text to music, covers and repainting by ACE-Step v1.5, on this machine. Without `inputs.audio` music is generated; with
it the whole audio is covered; with `settings.repaintingStart` or `settings.repaintingEnd` that span of it is made anew,
before its start or beyond its end too, and the result is the whole audio.

Every task is journalled before it is acknowledged. A request whose connection was lost goes on, and `getResponse` with
its `taskUUID` answers. The same tasks go over a WebSocket at `/v1`: an `authentication` task first, then arrays of
tasks; results are pushed as they come.
"""

_STATUSES = {
    400: "Something in the request is wrong; every problem is named.",
    401: "The API key is missing or wrong.",
    403: "The Host or Origin is not one that is served.",
    404: "No such task, file or model.",
    405: "This method is not served here.",
    408: "The rest of the request did not come in time.",
    409: "The taskUUID was used before, or the task was cancelled.",
    413: "The request is too large.",
    415: "The body is not of the type that is read here.",
    422: "The job failed.",
    429: "Too many requests in a short time; `Retry-After` says when to come back.",
    500: "Stembridge failed.",
    503: "Too much is waiting, or the daemon is being stopped; `Retry-After` says when to come back.",
}
_EVERYWHERE = (400, 401, 403, 405, 429, 500)
_WAIT = (429, 503)


def document(version: str, url: str) -> dict[str, Any]:
    """The whole document of the daemon of that version; `url` is where it is reached (``http://127.0.0.1:9242``)."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stembridge task API", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": url}],
        "security": [{"apiKey": []}, {}],
        "paths": {
            "/v1": {"post": _post_tasks(), "get": _get_tasks()},
            "/v1/media": {"post": _post_media()},
            "/v1/media/{name}": {"get": _get_media()},
            "/v1/openapi.json": {"get": _get_document("openapi", "This document")},
            "/v1/schema/audioInference.json": {"get": _get_document("taskSchema", "The JSON Schema of a task")},
        },
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "Only if [http] api_key is set."}
            },
            "schemas": _schemas(),
        },
    }


# --- paths ------------------------------------------------------------------------------------------------------------
def _post_tasks() -> Schema:
    answers = {"200": {"description": "At least one task has an answer.", "content": _json(_ref("Answer"))}}
    return {
        "operationId": "postTasks",
        "summary": "Send tasks",
        "description": "The tasks of an array run side by side; one that is refused does not touch the others.",
        "requestBody": {"required": True, "content": _json(_ref("Tasks"))},
        "responses": answers | _errors(404, 408, 409, 413, 415, 422, 503),
    }


def _get_tasks() -> Schema:
    return {
        "operationId": "openSocket",
        "summary": "Open a WebSocket",
        "description": "Only with `Upgrade: websocket`.",
        "responses": {"101": {"description": "The WebSocket is open."}} | _errors(),
    }


def _post_media() -> Schema:
    body: Schema = {"audio/*": {}, "application/octet-stream": {}}
    return {
        "operationId": "uploadMedia",
        "summary": "Upload an audio file",
        "description": "The raw file as the body, for files too large for `mediaStorage`.",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "It is kept.", "content": _json(_ref("Answer"))}}
        | _errors(408, 413, 415, 503),
    }


def _get_media() -> Schema:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "As in a result's `audioURL`: the UUID and the file's ending.",
        "schema": {"type": "string", "pattern": f"^{UUID_PATTERN}\\.[a-z0-9]{{1,5}}$"},
    }
    audio: Schema = {"audio/*": {}}
    return {
        "operationId": "getMedia",
        "summary": "Fetch a result or an upload",
        "description": "In parts, if a `Range` asks for them.",
        "security": [],
        "parameters": [name],
        "responses": {
            "200": {"description": "The file.", "content": audio},
            "206": {"description": "The part that was asked for.", "content": audio},
            "304": {"description": "It has not changed."},
            "416": {"description": "It has no such part."},
        }
        | _errors(404),
    }


def _get_document(operation: str, summary: str) -> Schema:
    ok = {"description": "JSON.", "content": _json({"type": "object"})}
    return {"operationId": operation, "summary": summary, "security": [], "responses": {"200": ok} | _errors()}


def _errors(*statuses: int) -> Schema:
    body = _json(_ref("Errors"))
    wait = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
    return {
        str(status): {
            "description": _STATUSES[status],
            "content": body,
            **({"headers": wait} if status in _WAIT else {}),
        }
        for status in sorted({*_EVERYWHERE, *statuses})
    }


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# --- schemas ----------------------------------------------------------------------------------------------------------
def _schemas() -> Schema:
    tasks = {TASK_TYPE: task_schema()} | {name: small_task(name, task) for name, task in SMALL_TASKS.items()}
    for schema in tasks.values():
        schema.pop("$schema", None)
    mapping = {name: _ref(name)["$ref"] for name in tasks}
    discriminator = {"propertyName": "taskType", "mapping": mapping}
    return {
        **tasks,
        "Task": {"oneOf": [_ref(name) for name in tasks], "discriminator": discriminator},
        "Tasks": {
            "oneOf": [{"type": "array", "items": _ref("Task"), "minItems": 1, "maxItems": MAX_TASKS}, _ref("Task")]
        },
        **_answers(),
    }


def small_task(name: str, task: SmallTask) -> Schema:
    """The schema of one of the small tasks."""
    schema: Schema = {
        "type": "object",
        "title": name,
        "description": task.meaning,
        "properties": {
            "taskType": {"type": "string", "enum": [name]},
            **{field: rule.json_schema() for field, rule in task.fields.items()},
        },
        "required": ["taskType", *task.required],
        "additionalProperties": False,
    }
    if name == "mediaStorage":
        deletes = {"properties": {"operation": {"const": "delete"}}}
        schema |= {"if": deletes, "then": {"properties": {"media": {"pattern": f"^{UUID_PATTERN}$"}}}}
    return schema


def _answers() -> Schema:
    text, whole = {"type": "string"}, {"type": "integer"}
    uuid = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
    errors = {"type": "array", "minItems": 1, "items": _ref("Error")}
    return {
        "Answer": {
            "type": "object",
            "properties": {"data": {"type": "array", "items": _ref("Item")}, "errors": errors},
            "required": ["data"],
        },
        "Errors": {"type": "object", "properties": {"errors": errors}, "required": ["errors"]},
        "Error": {
            "type": "object",
            "properties": {
                "code": text,
                "message": text | {"description": "A sentence for people: what is wrong, and what to do."},
                "parameter": text | {"description": "The dotted name of the field, such as settings.bpm."},
                "type": text | {"description": "The JSON type that the field should have."},
                "taskType": text,
                "taskUUID": text,
            },
            "required": ["code", "message"],
            "additionalProperties": False,
        },
        "Item": {
            "type": "object",
            "description": "An answer to one task, or one result of several.",
            "properties": {
                "taskType": text,
                "taskUUID": text,
                "resultIndex": whole | {"minimum": 0},
                "status": {"enum": ["processing", "success", "error"]},
                "progress": whole | {"minimum": 0, "maximum": 100},
                "error": _ref("Error"),
                "audioUUID": uuid,
                "audioURL": text,
                "audioBase64Data": text,
                "audioDataURI": text,
                "seed": whole | {"minimum": 0, "maximum": 2**31 - 1},
                "engine": text | {"description": "The engine that made it."},
                "warning": text | {"description": "What is not as asked: another engine stood in for the model."},
                "cost": {"const": 0},
                "computeSeconds": {"type": "number", "minimum": 0},
                "pong": {"const": True},
                "connectionSessionUUID": text,
                "operation": {"enum": ["upload", "delete"]},
                "mediaUUID": uuid,
                "mediaURL": text,
                "request": {"type": "array", "items": {"type": "object"}},
                "response": {"type": "object"},
                "deliveries": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["taskType"],
        },
    }
