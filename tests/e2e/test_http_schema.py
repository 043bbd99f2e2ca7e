"""The served OpenAPI document against the running daemon: requests made from it, and made wrong on purpose.

Whatever is sent, the daemon answers with what the document says: a status, headers and a body of the described shape,
and never a failure of its own.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from protocol.openapi import document
from protocol.task import new_uuid
from protocol.task_schema import task_schema
from tests.support.daemon import Daemon, running
from tests.support.tasks import UUID, request

CHECKS = [
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
NOWHERE = "http://127.0.0.1:9/"
"""Refused by the daemon before it asks anybody: no test goes out into the network."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("http")
    config = folder / "config.toml"
    config.write_text("[http]\nrequests_per_s = 100000\n", encoding="utf-8")
    with running(folder / "data", "--config", str(config), "--http-port", "0") as one:
        yield one


@pytest.fixture(scope="module")
def url(daemon: Daemon) -> str:
    return f"http://127.0.0.1:{daemon.ready['http_port']}"


@pytest.fixture(scope="module")
def described(url: str) -> BaseSchema:
    load_all_checks()
    return schemathesis.openapi.from_url(f"{url}/v1/openapi.json")


def fetched(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())


def test_the_documents_are_served_as_they_are_made(daemon: Daemon, url: str) -> None:
    assert fetched(f"{url}/v1/openapi.json") == json.loads(json.dumps(document(daemon.ready["version"], url)))
    assert fetched(f"{url}/v1/schema/audioInference.json") == json.loads(json.dumps(task_schema()))


def answered(described: BaseSchema, operation_id: str, status: HTTPStatus, **parts: Any) -> Any:
    """The answer to one request, held against the document."""
    case = described.find_operation_by_id(operation_id).Case(**parts)
    response = case.call(timeout=60)
    assert response.status_code == status, response.text
    case.validate_response(response, checks=CHECKS)
    return response


def test_a_result_its_file_and_its_details_are_as_described(described: BaseSchema) -> None:
    """First in this module: what the others send waits in the queue."""
    asked = request(duration=30, outputFormat="OGG", includeCost=True, seed=7)
    json_body = {"media_type": "application/json"}
    (item,) = answered(described, "postTasks", HTTPStatus.OK, body=asked, **json_body).json()["data"]
    assert (item["seed"], item["cost"], item["engine"]) == (7, 0, "sketch")
    name = item["audioURL"].rpartition("/")[2]
    assert answered(described, "getMedia", HTTPStatus.OK, path_parameters={"name": name}).content.startswith(b"OggS")
    for task_type in ("getResponse", "getTaskDetails"):
        body = {"taskType": task_type, "taskUUID": UUID}
        assert answered(described, "postTasks", HTTPStatus.OK, body=body, **json_body).json()["data"]
    again = answered(described, "postTasks", HTTPStatus.CONFLICT, body=asked, **json_body)
    assert again.json()["errors"][0]["code"] == "conflictTaskUUID"


def tamed(body: Any) -> Any:
    """The same tasks, held open by nobody and with no address in them that leads anywhere."""
    if isinstance(body, list):
        return [tamed(task) for task in body]
    if not isinstance(body, dict):
        return body
    body = {name: _tamed_address(value) for name, value in body.items()}
    if isinstance(body.get("inputs"), dict):
        body["inputs"] = {name: _tamed_address(value) for name, value in body["inputs"].items()}
    return body | {"deliveryMethod": "async"} if body.get("taskType") == "audioInference" else body


def _tamed_address(value: Any) -> Any:
    return NOWHERE if isinstance(value, str) and value.lower().startswith("http") else value


@pytest.mark.parametrize(
    ("operation_id", "mode", "examples", "must_see"),
    [
        ("postTasks", GenerationMode.POSITIVE, 40, HTTPStatus.OK),
        ("postTasks", GenerationMode.NEGATIVE, 15, HTTPStatus.BAD_REQUEST),
        ("openSocket", GenerationMode.POSITIVE, 1, HTTPStatus.METHOD_NOT_ALLOWED),
        ("uploadMedia", GenerationMode.POSITIVE, 5, HTTPStatus.BAD_REQUEST),  # random bytes are no audio
        ("getMedia", GenerationMode.POSITIVE, 5, HTTPStatus.NOT_FOUND),
        ("getMedia", GenerationMode.NEGATIVE, 5, HTTPStatus.NOT_FOUND),
        ("openapi", GenerationMode.POSITIVE, 1, HTTPStatus.OK),
        ("taskSchema", GenerationMode.POSITIVE, 1, HTTPStatus.OK),
    ],
)
def test_every_answer_is_as_described(
    described: BaseSchema, operation_id: str, mode: GenerationMode, examples: int, must_see: HTTPStatus
) -> None:
    operation = described.find_operation_by_id(operation_id)
    seen: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def send(case: Any) -> None:
        case.body = tamed(case.body)
        response = case.call(timeout=20)
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    send()
    assert must_see in seen


def test_problems_are_answered_as_described(described: BaseSchema) -> None:
    unheard = new_uuid()
    for body, status in (
        ([{"taskType": "ping"}, request(settings__bpm=1)], HTTPStatus.OK),
        (request(settings__bpm=1, steps="x"), HTTPStatus.BAD_REQUEST),
        (request(model="runware:101@1"), HTTPStatus.NOT_FOUND),
        ({"taskType": "getResponse", "taskUUID": unheard}, HTTPStatus.NOT_FOUND),
        ([], HTTPStatus.BAD_REQUEST),
    ):
        errors = answered(described, "postTasks", status, body=body, media_type="application/json").json()["errors"]
        assert errors[0]["message"]
