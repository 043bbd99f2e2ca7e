"""The JSON Schema of the task against the validator, both ways, by an implementation that shares nothing with ours."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.formats import BITRATES_KBPS, OutputFormat
from protocol.task import Door, Problem, TaskProblems, validate_task
from protocol.task_model import DEFAULTS, FIELDS, GROUPS, HTTP_REQUIRED
from protocol.task_schema import task_schema
from tests.support.task_requests import JSON, valid_requests
from tests.support.tasks import EDGES, REQUIRED, edges, put, request

SCHEMA = jsonschema_rs.Draft202012Validator(task_schema())

BEYOND_SCHEMA = {
    "settings.cfgIntervalStart": "conflict",
    "settings.repaintingStart": "range",
    "advancedFeatures.modularScheduler.sigmas": "format",
    "webhookURL": "format",
    "uploadEndpoint": "format",
    "inputs.audio": "format",
}
"""What JSON Schema has no words for: see `protocol.task_schema`."""


def problems_of(data: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        validate_task(data, Door.HTTP)
    except TaskProblems as refused:
        return refused.problems
    return ()


def is_json(value: object) -> bool:
    """Is it something that JSON, and the schema's implementation, can hold? NaN and lone surrogates are not."""
    try:
        json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def check(data: dict[str, Any]) -> None:
    found, accepts = problems_of(data), SCHEMA.is_valid(data)
    if not found:
        assert accepts, [error.message for error in SCHEMA.iter_errors(data)]
    elif any(BEYOND_SCHEMA.get(problem.field) != problem.code for problem in found):
        assert not accepts, found


def test_it_is_a_schema() -> None:
    jsonschema_rs.meta.validate(task_schema())


def test_it_names_every_field_with_its_default_and_a_meaning() -> None:
    def leaves(schema: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, inner in schema["properties"].items():
            is_group = f"{prefix}{name}" in GROUPS
            found |= leaves(inner, f"{prefix}{name}.") if is_group else {f"{prefix}{name}": inner}
        return found

    fields = leaves(task_schema())
    assert set(fields) == set(FIELDS[Door.HTTP])
    for name, schema in fields.items():
        assert schema["description"]
        if name not in HTTP_REQUIRED:
            assert schema.get("default") == DEFAULTS[Door.HTTP][name]


@given(valid_requests())
def test_what_the_validator_accepts_the_schema_accepts(data: dict[str, Any]) -> None:
    assert not problems_of(data)
    check(data)


@pytest.mark.parametrize(("field", "beside", "value"), edges(0) + edges(1))
def test_they_agree_at_every_edge(field: str, beside: dict[str, object], value: object) -> None:
    data = dict(REQUIRED)
    for name, other in beside.items():
        data = put(data, name, other)
    data = put(data, field, value)
    if is_json(data) and not (isinstance(value, int) and abs(value) > 2**63):
        check(data)


INTERESTING = [value for _, _, *both in EDGES for values in both for value in values if is_json(value)]


@given(
    valid_requests(),
    st.lists(
        st.tuples(
            st.sampled_from([*FIELDS[Door.HTTP], *GROUPS, "tempo", "settings.keyscale"]),
            st.sampled_from(["set", "drop"]),
            st.sampled_from(INTERESTING) | JSON | st.integers(-10, 400) | st.floats(0, 1),
        ),
        max_size=3,
    ),
)
@example(request(outputFormat="FLAC", audioSettings={}), [])
def test_they_agree_on_requests_that_went_wrong(data: dict[str, Any], changes: list[tuple[str, str, object]]) -> None:
    data = copy.deepcopy(data)
    for field, how, value in changes:
        group, _, name = field.rpartition(".")
        place = data.setdefault(group, {}) if group else data
        if not isinstance(place, dict):
            continue
        if how == "drop":
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(value)
    if is_json(data):
        check(data)


@given(
    st.sampled_from(OutputFormat) | st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "bitrate": st.integers(7, 321),
            "channels": st.sampled_from([1, 2]),
            "sampleRate": st.sampled_from([8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]),
        },
    ),
)
def test_they_agree_on_every_encoding(output_format: OutputFormat | None, settings: dict[str, Any]) -> None:
    data = request(audioSettings=settings)
    check(data | {"outputFormat": str(output_format)} if output_format else data)


@pytest.mark.parametrize(
    ("output_format", "channels", "rate", "span"),
    [(*key, rate, span) for key, table in BITRATES_KBPS.items() for rate, span in table.items()],
)
def test_bitrates_end_where_the_tables_end(
    output_format: OutputFormat, channels: int, rate: int, span: tuple[int, int]
) -> None:
    for bitrate, is_right in zip((span[0] - 1, *span, span[1] + 1), (False, True, True, False), strict=True):
        settings = {"bitrate": bitrate, "channels": channels, "sampleRate": rate}
        assert SCHEMA.is_valid(request(outputFormat=str(output_format), audioSettings=settings)) is is_right


@given(st.integers(0, 100_000))
def test_they_agree_on_steps_of_a_hundredth(millionths: int) -> None:
    check(request(strength=millionths / 100_000))
    check(request(CFGScale=1 + millionths / 1000))
