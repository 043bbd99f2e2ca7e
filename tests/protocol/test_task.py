"""The task's validator: every limit at its edge, all problems at once, and both doors' differences."""

from __future__ import annotations

import json
import pickle
import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import TaskInvalid
from protocol.formats import OutputFormat, bitrate_range, sample_rates
from protocol.task import (
    Door,
    Task,
    TaskProblems,
    validate_task,
)
from protocol.task_model import OWN_FIELDS
from tests.support.task_requests import JSON, valid_requests
from tests.support.tasks import EDGES, INF, NAN, NO_JSON_OBJECTS, REQUIRED, UUID, edges, problems, put, request, take


# --- every field at its edges -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("field", "beside", "value"), edges(0))
def test_a_value_at_the_edge_of_what_is_allowed_passes(field: str, beside: dict[str, object], value: object) -> None:
    data = dict(REQUIRED)
    for name, other in beside.items():
        data = put(data, name, other)
    task = validate_task(put(data, field, value), Door.HTTP)
    if field == "settings.keyScale":
        assert task.settings.key_scale in ("C major", "F# minor", "Bb major")
    elif not isinstance(value, dict):
        assert take(task.model_dump(by_alias=True), field) == value


@pytest.mark.parametrize(("field", "beside", "value"), edges(1))
def test_a_value_beyond_the_edge_is_refused_by_field_value_and_range(
    field: str, beside: dict[str, object], value: object
) -> None:
    data = dict(REQUIRED)
    for name, other in beside.items():
        data = put(data, name, other)
    (problem,) = problems(put(data, field, value))
    assert problem.field == field
    assert problem.value is value
    assert problem.message.startswith(f"{field} is ")
    assert problem.allowed in problem.message
    assert len(problem.message) < 400


def test_the_edge_table_covers_every_field_of_the_specification() -> None:
    schema = Task.model_json_schema(by_alias=True)
    names = set()
    for name, spec in schema["properties"].items():
        names.add(name)
        for choice in [spec, *spec.get("anyOf", [])]:
            if inner := choice.get("$ref", "").rpartition("/")[2]:
                members = schema["$defs"][inner].get("properties", {})
                names |= {f"{name}.{member}" for member in members}
    assert names - {row[0] for row in EDGES} == OWN_FIELDS


def test_http_defaults_are_the_specifications() -> None:
    dumped = validate_task(REQUIRED, Door.HTTP).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert dumped == {
        **REQUIRED,
        "outputType": "URL",
        "outputFormat": "MP3",
        "deliveryMethod": "sync",
        "includeCost": False,
        "numberResults": 1,
        "inputs": {},
        "duration": 60.0,
        "steps": 100,
        "CFGScale": 10.0,
        "strength": 0.5,
        "settings": {
            "cfgIntervalStart": 0.0,
            "cfgIntervalEnd": 1.0,
            "coverConditioningScale": 1.0,
            "guidanceType": "apg",
            "vocalLanguage": "en",
        },
        "advancedFeatures": {},
        "stemFormat": "wav",
        "quality": "final",
        "rerolls": 3,
    }


def test_in_a_daw_steps_and_guidance_are_the_checkpoints_own_unless_told() -> None:
    task = validate_task({}, Door.DAW)
    assert (task.steps, task.cfg_scale) == (None, None)
    told = validate_task({"steps": 100, "CFGScale": 10}, Door.DAW)
    assert (told.steps, told.cfg_scale) == (100, 10.0)
    assert Task.model_validate_json(task.model_dump_json()) == task
    for door in Door:
        assert [p.field for p in problems(put(dict(REQUIRED), "steps", None), door)] == ["steps"]


def test_a_task_of_an_earlier_journal_still_reads() -> None:
    """As version 0.1.0 wrote it before steps could be left to the checkpoint."""
    written = {"task_uuid": UUID, "steps": 100, "cfg_scale": 10.0, "stem_format": "wav"}
    task = Task.model_validate_json(json.dumps(written))
    assert (task.steps, task.cfg_scale, task.quality, task.checkpoint) == (100, 10.0, "final", None)


# --- rules that join fields -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize("lossless", ["WAV", "FLAC"])
def test_audio_settings_are_refused_for_lossless_formats(lossless: str, door: Door) -> None:
    for settings in ({}, {"channels": 2}):
        (problem,) = problems(request(outputFormat=lossless, audioSettings=settings), door)
        assert (problem.field, problem.code) == ("audioSettings", "conflict")
        assert lossless in problem.message


@pytest.mark.parametrize(
    ("output_format", "rate", "channels"),
    [
        (kind, rate, channels)
        for kind in ("MP3", "OGG")
        for rate in sample_rates(OutputFormat(kind))
        for channels in (1, 2)
    ],
)
def test_bitrates_are_held_to_the_table_of_format_rate_and_channels(
    output_format: str, rate: int, channels: int
) -> None:
    low, high = bitrate_range(OutputFormat(output_format), rate, channels) or (0, 0)

    def with_bitrate(bitrate: int) -> dict[str, Any]:
        settings = {"bitrate": bitrate, "sampleRate": rate, "channels": channels}
        return request(outputFormat=output_format, audioSettings=settings)

    for good in (low, high):
        settings = validate_task(with_bitrate(good), Door.HTTP).audio_settings
        assert settings is not None
        assert (settings.bitrate, settings.sample_rate, settings.channels) == (good, rate, channels)
    for bad in (low - 1, high + 1):
        assert [problem.field for problem in problems(with_bitrate(bad))] == ["audioSettings.bitrate"]


def test_a_bitrate_without_a_rate_is_judged_at_the_models_48_khz_stereo() -> None:
    assert validate_task(request(outputFormat="OGG", audioSettings__bitrate=48), Door.HTTP)
    (problem,) = problems(request(outputFormat="OGG", audioSettings__bitrate=47))
    assert "48 to 256 kbps for OGG at 48000 Hz, stereo" in problem.message


def test_a_rate_that_only_mp3_allows_is_refused_for_ogg() -> None:
    (problem,) = problems(request(outputFormat="OGG", audioSettings={"sampleRate": 44100, "bitrate": 128}))
    assert problem.field == "audioSettings.sampleRate"
    assert "8000, 12000, 16000, 24000, 48000" in problem.allowed


@pytest.mark.parametrize("output_type", ["base64Data", "dataURI"])
def test_ttl_goes_only_with_a_url(output_type: str) -> None:
    (problem,) = problems(request(ttl=60, outputType=output_type))
    assert problem.field == "ttl"
    assert output_type in problem.message
    assert validate_task(request(ttl=60), Door.HTTP).ttl == 60


@pytest.mark.parametrize("field", ["repaintingStart", "repaintingEnd", "coverConditioningScale"])
def test_settings_of_source_audio_need_it_on_http_but_not_in_a_daw(field: str) -> None:
    data = put(dict(REQUIRED), f"settings.{field}", 0.5)
    (problem,) = problems(data)
    assert problem.field == f"settings.{field}"
    assert "inputs.audio" in problem.message
    assert validate_task(put(data, "inputs.audio", UUID), Door.HTTP)
    assert validate_task(data, Door.DAW)


def test_the_guidance_interval_must_not_end_before_it_starts() -> None:
    (problem,) = problems(request(settings={"cfgIntervalStart": 0.6, "cfgIntervalEnd": 0.5}))
    assert problem.field == "settings.cfgIntervalStart"
    assert "0.6" in problem.message
    assert "0.5" in problem.message
    validate_task(request(settings={"cfgIntervalStart": 0.5, "cfgIntervalEnd": 0.5}), Door.HTTP)


def test_field_errors_and_joining_rules_are_all_reported_at_once() -> None:
    data = {
        "taskType": "audioInference",
        "outputType": "dataURI",
        "outputFormat": "FLAC",
        "audioSettings": {"bitrate": 9000},
        "ttl": 100,
        "tempo": 120,
        "steps": "many",
        "settings": {"bpm": 1, "cfgIntervalStart": 0.9, "cfgIntervalEnd": 0.1, "repaintingEnd": 4, "keyscale": "C"},
    }
    found = {problem.field: problem.code for problem in problems(data)}
    assert found == {
        "taskUUID": "missing",
        "model": "missing",
        "positivePrompt": "missing",
        "audioSettings": "conflict",
        "audioSettings.bitrate": "range",
        "ttl": "conflict",
        "steps": "type",
        "settings.bpm": "range",
        "settings.cfgIntervalStart": "conflict",
        "settings.repaintingEnd": "conflict",
        "tempo": "unknown",
        "settings.keyscale": "unknown",
    }


def test_a_joining_rule_is_silent_about_what_is_already_named() -> None:
    assert [p.field for p in problems(request(outputFormat="MP4", audioSettings__bitrate=9))] == ["outputFormat"]
    assert [p.field for p in problems(request(outputType="link", ttl=60))] == ["outputType"]
    assert [p.field for p in problems(request(inputs=5, settings__repaintingEnd=4))] == ["inputs"]
    assert [p.field for p in problems(request(inputs__audio="x", settings__repaintingEnd=4))] == ["inputs.audio"]
    broken_rate = request(outputFormat="OGG", audioSettings={"bitrate": 9, "sampleRate": "x"})
    assert [p.field for p in problems(broken_rate)] == ["audioSettings.sampleRate"]


# --- names ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("positive_prompt", "positivePrompt"),
        ("cfgScale", "CFGScale"),
        ("bpm", "settings.bpm"),
        ("settings.bpm", "settings.bpm"),
        ("taskUuid", "taskUUID"),
        ("settings.lyric", "settings.lyrics"),
        ("numResults", "numberResults"),
        ("setings", "settings"),
        ("input", "inputs"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest_known_one(name: str, meant: str) -> None:
    nested = {"settings": {"lyric": "x"}} if name == "settings.lyric" else {name: 1}
    (problem,) = problems({**REQUIRED, **nested})
    assert (problem.field, problem.code, problem.allowed) == (name, "unknown", meant)
    assert f"did you mean {meant}?" in problem.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "sketch"),
        ("contextBars", 4),
        ("stemFormat", "wav"),
        ("quality", "draft"),
        ("minScore", 70),
        ("rerolls", 2),
        ("checkpoint", "xl-base"),
    ],
)
def test_our_own_fields_exist_in_a_daw_and_not_on_http(name: str, value: object) -> None:
    (problem,) = problems({**REQUIRED, name: value})
    assert (problem.field, problem.code) == (name, "unknown")
    assert validate_task({name: value}, Door.DAW).model_dump(by_alias=True)[name] == value


def test_a_flood_of_unknown_fields_is_answered_briefly_and_quickly() -> None:
    begun = time.perf_counter()
    found = problems({f"setting{number}s" * 4: number for number in range(20_000)}, Door.DAW)
    assert time.perf_counter() - begun < 1.0
    assert len(found) == 21
    assert "19980 more" in found[-1].message
    assert len(str(TaskProblems(found))) < 3000


def test_the_exception_reads_as_one_sentence_and_survives_pickling() -> None:
    with pytest.raises(TaskInvalid) as one:
        validate_task(request(steps=301), Door.HTTP)
    assert str(one.value) == "steps is 301; it must be a whole number from 1 to 300."
    with pytest.raises(TaskInvalid) as two:
        validate_task(request(steps=301, seed=-1), Door.HTTP)
    assert str(two.value).startswith("The task has 2 problems: (1) seed is -1; ")
    again = pickle.loads(pickle.dumps(two.value))
    assert (str(again), again.problems) == (str(two.value), two.value.problems)


# --- the doors' differences -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seconds", [0.001, 8.275, 29.9, 300.1, 600])
def test_a_daw_may_ask_for_any_duration_up_to_the_models(seconds: float) -> None:
    assert validate_task({"duration": seconds}, Door.DAW).duration == seconds


@pytest.mark.parametrize("seconds", [0, -1, 600.001, NAN, INF, "8", True])
def test_a_daw_gets_no_duration_that_the_model_has_not(seconds: object) -> None:
    (problem,) = problems({"duration": seconds}, Door.DAW)
    assert problem.field == "duration"
    assert "above 0, up to 600 seconds" in problem.message


def test_an_empty_daw_task_is_whole_writes_wav_and_draws_its_own_uuid() -> None:
    first, second = validate_task({}, Door.DAW), validate_task({}, Door.DAW)
    assert first.output_format is OutputFormat.WAV
    assert first.positive_prompt == ""
    assert first.task_uuid != second.task_uuid
    assert validate_task({**REQUIRED, "taskUUID": first.task_uuid}, Door.HTTP)


@pytest.mark.parametrize(("spelt", "canonical"), [("f#m", "F# minor"), ("H-Dur", "B major"), ("8A", "A minor")])
def test_a_daw_may_spell_keys_as_musicians_do(spelt: str, canonical: str) -> None:
    assert validate_task({"settings": {"keyScale": spelt}}, Door.DAW).settings.key_scale == canonical


@given(st.integers(0, 100))
def test_a_32_bit_float_from_a_controller_counts_as_the_step_it_stands_for(hundredths: int) -> None:
    (single,) = struct.unpack("<f", struct.pack("<f", hundredths / 100))
    assert validate_task({"strength": single}, Door.DAW).strength == hundredths / 100
    if single != hundredths / 100:
        assert problems(request(strength=single))[0].code == "step"


SCHEDULER = '{"solver": "heun", "sigmas": [1.0, 0.5, 0.1]}'


def test_a_daw_sends_the_scheduler_as_json_text_and_http_does_not() -> None:
    data = {"advancedFeatures": {"modularScheduler": SCHEDULER}}
    task = validate_task(data, Door.DAW)
    assert task.advanced_features.modular_scheduler == json.loads(SCHEDULER)
    (problem,) = problems({**REQUIRED, **data})
    assert problem.code == "type"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('{"solver": heun}', "format", "breaks at line 1, column 12: expecting value."),
        ('{"a": 1,\n "b" 2}', "format", "line 2, column 6: expecting ':' delimiter."),
        ("heun", "format", "line 1, column 1"),
        ("[1, 2]", "type", "must be a JSON object"),
        ('{"a": NaN}', "range", "finite"),
        ('{"a": ' + "[" * 20_000 + "]" * 20_000 + "}", "length", "16 levels"),
        ('{"a": ' + "9" * 5000 + "}", "length", "must be"),
    ],
)
def test_json_text_that_is_none_is_refused_with_the_place_of_the_mistake(text: str, code: str, said: str) -> None:
    (problem,) = problems({"advancedFeatures": {"modularScheduler": text}}, Door.DAW)
    assert problem.code == code
    assert said in problem.message
    assert len(problem.message) < 300


@pytest.mark.parametrize("value", NO_JSON_OBJECTS)
def test_a_daws_scheduler_is_json_within_bounds(value: object) -> None:
    (problem,) = problems({"advancedFeatures": {"modularScheduler": value}}, Door.DAW)
    assert problem.field == "advancedFeatures.modularScheduler"
    assert len(problem.message) < 300


@pytest.mark.parametrize("name", ["xl-base", "xl_turbo.v2", "Mine-2", "a" * 64])
def test_a_checkpoint_is_named_and_kept_as_it_is_spelt(name: str) -> None:
    assert validate_task({"checkpoint": name}, Door.DAW).checkpoint == name


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "../xl-base", "a/b", "C:\\x", "~", "a b", "a" * 65, "xl-base\n", "é", 7, None]
)
def test_a_checkpoint_can_be_no_path(name: object) -> None:
    assert [problem.field for problem in problems({"checkpoint": name}, Door.DAW)] == ["checkpoint"]


# --- properties -------------------------------------------------------------------------------------------------------
@given(valid_requests(), st.sampled_from(Door))
def test_every_valid_request_passes_both_doors_and_round_trips(data: dict[str, Any], door: Door) -> None:
    task = validate_task(json.loads(json.dumps(data)), door)
    assert Task.model_validate_json(task.model_dump_json(by_alias=True)) == task
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert Task.model_validate(task.model_dump()) == task


@given(valid_requests(), st.data())
def test_corrupting_one_field_names_exactly_that_field(data: dict[str, Any], draw: st.DataObject) -> None:
    field, _, _, refused = draw.draw(st.sampled_from([row for row in EDGES if not row[0].startswith("audioSettings")]))
    value = draw.draw(st.sampled_from(refused))
    assert {problem.field for problem in problems(put(data, field, value))} == {field}


@given(
    st.dictionaries(
        st.text(max_size=12) | st.sampled_from([row[0].partition(".")[0] for row in EDGES]), JSON | st.just(NAN)
    ),
    st.sampled_from(Door),
)
def test_any_json_object_is_a_task_or_task_problems(data: dict[str, Any], door: Door) -> None:
    try:
        task = validate_task(data, door)
    except TaskProblems as error:
        refused = error
    else:
        assert Task.model_validate_json(task.model_dump_json()) == task
        return
    assert refused.problems
    assert str(refused).isprintable()


@pytest.mark.parametrize("data", [None, [], "task", 3, {1: 2, (): 3}, {"settings": {None: 1}}, {"\ud800": "\ud800"}])
def test_what_is_no_json_object_is_refused_like_any_other_problem(data: object) -> None:
    for door in Door:
        assert str(TaskProblems(problems(data, door))).encode()
