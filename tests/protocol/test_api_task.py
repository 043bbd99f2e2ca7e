"""The task API's messages: what each becomes, and all that is wrong with it in the API's own codes."""

from __future__ import annotations

import base64
import inspect
import json
import time
import tracemalloc
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.catalogue import CATALOGUE, DEFAULT
from protocol import errors
from protocol.air import CHECKPOINT_OF, MODEL
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import (
    MAX_TASKS,
    SMALL_TASKS,
    AudioInference,
    AudioInput,
    Authentication,
    GetResponse,
    GetTaskDetails,
    MediaStorage,
    Ping,
    audio_input,
    from_error,
    from_failure,
    parse_task,
    tasks_of,
)
from protocol.audio_input import AudioSource
from protocol.errors import BadArgument, StembridgeError
from protocol.job import Failure
from protocol.openapi import document, small_task
from tests.support.task_requests import JSON
from tests.support.tasks import REQUIRED, UUID, put, request

DATA = base64.b64encode(bytes(range(96))).decode()
URL = "https://example.org/a.wav"


def refused(data: object) -> tuple[ApiError, ...]:
    with pytest.raises(ApiRefused) as refusal:
        parse_task(data)
    return refusal.value.errors


def codes(data: object) -> dict[str | None, str]:
    return {error.parameter: error.code for error in refused(data)}


# --- arrays -----------------------------------------------------------------------------------------------------------
def test_an_array_or_a_single_task_is_a_request() -> None:
    assert tasks_of([{"a": 1}, 2]) == [{"a": 1}, 2]
    assert tasks_of({"a": 1}) == [{"a": 1}]
    assert len(tasks_of([{}] * MAX_TASKS)) == MAX_TASKS


@pytest.mark.parametrize("body", [[], [{}] * (MAX_TASKS + 1), None, "x", 3])
def test_anything_else_is_no_request(body: object) -> None:
    with pytest.raises(ApiRefused) as refusal:
        tasks_of(body)
    assert (refusal.value.errors[0].code, refusal.value.errors[0].status) == ("invalidRequest", 400)


# --- tasks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "task"),
    [
        ({"taskType": "authentication", "apiKey": "k"}, Authentication("k")),
        ({"taskType": "authentication", "connectionSessionUUID": UUID}, Authentication("", UUID)),
        ({"taskType": "ping", "ping": True}, Ping()),
        ({"taskType": "ping", "taskUUID": UUID}, Ping(UUID)),
        ({"taskType": "getResponse", "taskUUID": UUID}, GetResponse(UUID)),
        ({"taskType": "getTaskDetails", "taskUUID": UUID}, GetTaskDetails(UUID)),
        (
            {"taskType": "mediaStorage", "taskUUID": UUID, "operation": "upload", "media": URL},
            MediaStorage(UUID, "upload", AudioInput("url", URL)),
        ),
        (
            {"taskType": "mediaStorage", "taskUUID": UUID, "operation": "delete", "media": UUID},
            MediaStorage(UUID, "delete", AudioInput("uuid", UUID)),
        ),
    ],
)
def test_each_small_task_is_a_value(data: dict[str, Any], task: object) -> None:
    assert parse_task(data) == task


def test_a_generation_task_keeps_the_request_as_it_was_sent() -> None:
    data = request(settings={"bpm": 120.0}, model="runware:ace-step@v1.5-turbo")
    task = parse_task(data)
    assert isinstance(task, AudioInference)
    assert task.request is data
    assert (task.task.settings.bpm, task.task.task_uuid, task.task.model) == (120, UUID, data["model"])


def test_every_checkpoint_of_the_catalogue_has_its_id() -> None:
    assert set(CHECKPOINT_OF.values()) == set(CATALOGUE)
    assert CHECKPOINT_OF[MODEL] == DEFAULT


def test_everything_that_is_wrong_is_named_in_the_apis_codes() -> None:
    data: dict[str, Any] = {
        "taskType": "audioInference",
        "taskUUID": UUID,
        "model": "runware:101@1",
        "CFGScale": 0,
        "seed": "x",
        "inputs": {"audio": "song.wav"},
        "settings": {"bpm": 1, "cfgIntervalStart": 0.9, "cfgIntervalEnd": 0.1},
        "advancedFeatures": {"modularScheduler": {"shift": 99, "sampler": 1}},
        "tempo": 120,
    }
    found = refused(data)
    assert {error.parameter: (error.code, error.type) for error in found} == {
        "model": ("modelNotFound", "string"),
        "positivePrompt": ("missingPositivePrompt", "string"),
        "CFGScale": ("invalidCFGScale", "number"),
        "seed": ("invalidSeed", "integer"),
        "inputs.audio": ("invalidAudio", "string"),
        "settings.bpm": ("invalidBpm", "integer"),
        "settings.cfgIntervalStart": ("incompatibleParameters", "number"),
        "advancedFeatures.modularScheduler.shift": ("invalidShift", "number"),
        "advancedFeatures.modularScheduler.sampler": ("unknownParameter", None),
        "tempo": ("unknownParameter", None),
    }
    assert {(error.task_type, error.task_uuid) for error in found} == {("audioInference", UUID)}
    assert next(error.status for error in found if error.parameter == "model") == 404


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"repaintingStart": 5, "repaintingEnd": 5}, "settings.repaintingStart"),
        ({"repaintingStart": 0, "repaintingEnd": 0}, "settings.repaintingStart"),
        ({"repaintingEnd": 0}, "settings.repaintingEnd"),
    ],
)
def test_a_repainted_span_must_have_a_length(settings: dict[str, Any], parameter: str) -> None:
    data = put(request(settings=settings), "inputs.audio", UUID)
    assert codes(data) == {parameter: f"invalidR{parameter[10:]}"}
    parse_task(put(data, "settings.repaintingStart", -1))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, {"taskType": "missingTaskType"}),
        ({"taskType": 3}, {"taskType": "invalidTaskType"}),
        ({"taskType": "imageInference"}, {"taskType": "unsupportedTaskType"}),
        ({"taskType": "getResponse"}, {"taskUUID": "missingTaskUUID"}),
        (
            {"taskType": "getResponse", "taskUUID": "x", "foo": 1},
            {"taskUUID": "invalidTaskUUID", "foo": "unknownParameter"},
        ),
        (
            {"taskType": "mediaStorage", "operation": "move", "media": "a.wav"},
            {"taskUUID": "missingTaskUUID", "operation": "invalidOperation", "media": "invalidMedia"},
        ),
        (
            {"taskType": "mediaStorage", "taskUUID": UUID, "operation": "delete", "media": URL},
            {"media": "invalidMedia"},
        ),
        ("x", {None: "invalidTask"}),
    ],
)
def test_a_small_tasks_mistakes_are_named_all_at_once(data: object, found: dict[str | None, str]) -> None:
    assert codes(data) == found


def test_an_answer_can_be_matched_to_its_task_even_if_that_is_wrong() -> None:
    (error,) = refused({"taskType": "getResponse", "taskUUID": "my-17"})
    assert (error.task_type, error.task_uuid) == ("getResponse", "my-17")
    for unfit in ("x" * 65, "\ud800", "a\nb", 3, None):
        assert refused({"taskType": "getResponse", "taskUUID": unfit})[0].task_uuid is None


@given(JSON | st.dictionaries(st.sampled_from(["taskType", "taskUUID", "media", "operation", "model", "x"]), JSON))
def test_any_json_is_a_task_or_refused_in_words_that_can_be_sent(data: Any) -> None:
    try:
        parse_task(data)
    except ApiRefused as refusal:
        for error in refusal.errors:
            assert len(json.dumps(error.as_json(), ensure_ascii=False).encode()) < 2000
            assert error.status in (400, 404)


@pytest.mark.parametrize("name", SMALL_TASKS)
def test_the_published_schema_of_a_small_task_agrees_with_its_reading(name: str) -> None:
    schema = jsonschema_rs.Draft202012Validator(small_task(name, SMALL_TASKS[name]))
    for uuid in ({}, {"taskUUID": UUID}, {"taskUUID": "x"}):
        for more in ({}, {"operation": "delete", "media": UUID}, {"operation": "delete", "media": URL}, {"x": 1}):
            data = {"taskType": name, **uuid, **more}
            try:
                parse_task(data)
            except ApiRefused:
                assert not schema.is_valid(data), data
            else:
                assert schema.is_valid(data), data


def shortest_s(data: object) -> float:
    """How long reading takes where nothing else has the processor: the least of many."""

    def once() -> float:
        begun = time.perf_counter()
        parse_task(data)
        return time.perf_counter() - begun

    return min(once() for _ in range(30))


def test_an_ordinary_task_is_read_in_less_than_a_millisecond() -> None:
    assert shortest_s(request(settings={"bpm": 120, "keyScale": "C major"}, seed=7, duration=30.5)) < 0.001


# --- source audio -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UUID, AudioInput("uuid", UUID)),
        (UUID.upper(), AudioInput("uuid", UUID.upper())),
        (URL, AudioInput("url", URL)),
        (DATA, AudioInput("data", DATA)),
        (f"data:audio/wav;base64,{DATA}", AudioInput("data", f"data:audio/wav;base64,{DATA}", 22, "audio/wav")),
        (f"data:;base64,{DATA}", AudioInput("data", f"data:;base64,{DATA}", 13)),
        (
            f"DATA:Audio/OGG;codecs=opus;base64,{DATA}",
            AudioInput("data", f"DATA:Audio/OGG;codecs=opus;base64,{DATA}", 34, "audio/ogg"),
        ),
    ],
)
def test_source_audio_is_told_apart(text: str, expected: AudioInput) -> None:
    assert audio_input(text) == expected


NO_AUDIO = ["", "song.wav", "song", "../song.wav", "file:///etc/passwd", "ftp://a/b", "http://", "=" * 80, "é" * 99]
NO_DATA = [DATA[:60], f"{DATA}!", f"{DATA}\n", f"data:audio/wav,{DATA}", f"data:audio/wav;base64,{DATA[:40]}"]


@pytest.mark.parametrize("text", [*NO_AUDIO, *NO_DATA, f"{UUID}\n"])
def test_what_can_name_no_audio_is_refused(text: str) -> None:
    with pytest.raises(BadArgument, match="data URI"):
        audio_input(text)
    assert not jsonschema_rs.Draft202012Validator(AudioSource().json_schema()).is_valid(text)


@given(st.binary(min_size=48, max_size=400), st.sampled_from(["", "data:audio/wav;base64,"]), st.integers(1, 50))
def test_pieces_of_inline_audio_decode_by_themselves(audio: bytes, head: str, quanta: int) -> None:
    named = audio_input(head + base64.b64encode(audio).decode())
    pieces = list(named.pieces(4 * quanta))
    assert b"".join(base64.b64decode(piece, validate=True) for piece in pieces) == audio
    assert sum(map(len, pieces)) == named.encoded_chars


def test_megabytes_of_inline_audio_are_neither_read_nor_copied() -> None:
    data = put(dict(REQUIRED), "inputs.audio", "A" * (32 << 20))
    assert shortest_s(data) < 0.001
    tracemalloc.start()
    try:
        task = parse_task(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(task, AudioInference)
    assert task.task.inputs.audio is data["inputs"]["audio"]


# --- errors -----------------------------------------------------------------------------------------------------------
def test_every_error_of_ours_has_a_code_that_clients_sort_by() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, StembridgeError) and kind is not StembridgeError
    ]
    assert len(kinds) > 20
    for kind in kinds:
        error, failure = from_error(kind("Do this.")), from_failure(Failure(code=kind.code, sentence="Do this."))
        assert (error.code, error.message) == (failure.code, "Do this.")
        assert 400 <= failure.status < 500
        assert error.status == failure.status or error.status >= 500


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("source_unreadable", ("invalidAudio", 400, "inputs.audio", "string")),
        ("engine_cannot", ("unsupportedParameter", 400, None, None)),
        ("engine_missing", ("modelNotFound", 404, "model", "string")),
        ("busy", ("serviceUnavailable", 503, None, None)),
        ("engine_crashed", ("inferenceError", 500, None, None)),
        ("encoding_failed", ("unsupportedParameter", 400, "outputFormat", "string")),
        ("unheard_of", ("internalServerError", 500, None, None)),
    ],
)
def test_errors_say_which_parameter_they_are_about(code: str, expected: tuple[Any, ...]) -> None:
    error = StembridgeError("Do this.")
    error.code = code
    found = from_error(error)
    assert (found.code, found.status, found.parameter, found.type) == expected


# --- the document -----------------------------------------------------------------------------------------------------
def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    whole = document("1.2.3", "http://127.0.0.1:9242")

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    names = {reference.rpartition("/")[2] for reference in references(whole)}
    assert names <= set(whole["components"]["schemas"])
    for schema in whole["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    assert whole["info"]["version"] == "1.2.3"
