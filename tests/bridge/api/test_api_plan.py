"""What a task of the API becomes: verb, region and seeds, and which times are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.api.models import Served
from bridge.api.plan import PlannedResult, plan
from engine.api import Capabilities, CheckpointOffer
from engine.audio import AudioInfo
from engine.window import MIN_REGION_S, check_region
from protocol.api_errors import ApiRefused
from protocol.errors import EngineCannot
from protocol.formats import OutputFormat
from protocol.job import JobRequest, checked_job_id
from protocol.music import TempoMap, TimeSignature
from protocol.task import SEEDS, AudioSettings, Task, TaskSettings
from protocol.vocabulary import Verb
from tests.support.audio import ArraySource, noise

RATE = 44_100
FRAMES = 10 * RATE + 1
"""Ten seconds and a sample: lengths are seldom round."""
D = FRAMES / RATE
SOURCE = AudioInfo(Path("/media/song.wav"), RATE, 2, FRAMES, "WAV", "PCM_16")
FOLDER = Path("/data/api/work")
EVERYTHING = Capabilities("test", "1", frozenset(Verb))


def served(checkpoint: str | None = None, verbs: frozenset[Verb] = frozenset(Verb)) -> Served:
    offers = {checkpoint: CheckpointOffer(verbs, "x")} if checkpoint else {}
    return Served("test", checkpoint, None, Capabilities("test", "1", verbs, checkpoints=offers))


def planned(task: Task, source: AudioInfo | None = SOURCE, **options: Any) -> tuple[PlannedResult, ...]:
    return plan(task, source, options.pop("served", served()), FOLDER, **options)


def times(start: float | None, end: float | None) -> Task:
    return Task(seed=1, settings=TaskSettings(repainting_start=start, repainting_end=end))


def places(start: float | None, end: float | None) -> list[tuple[str, str, float, float]]:
    """The jobs of a repaint's times: what their ids end in, verb, and the region's edges."""
    (result,) = planned(times(start, end))
    return [(name, str(r.verb), r.regions[0].start_s, r.regions[0].end_s) for name, r in result.parts]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [("1", "cover", 0.0, D)]),
        (2.0, 4.0, [("1", "repaint", 2.0, 4.0)]),
        (2.0, None, [("1", "repaint", 2.0, D)]),
        (None, 4.0, [("1", "repaint", 0.0, 4.0)]),
        (0.0, 4.0, [("1", "repaint", 0.0, 4.0)]),
        (0.0, D, [("1", "repaint", 0.0, D)]),
        (-3.0, None, [("1", "prepend", -3.0, 0.0)]),
        (-3.0, 0.0, [("1", "prepend", -3.0, 0.0)]),
        (-3.0, 2.0, [("1", "prepend", -3.0, 2.0)]),
        (8.0, 15.0, [("1", "extend", 8.0, 15.0)]),
        (D, 15.0, [("1", "extend", D, 15.0)]),
        (None, 15.0, [("1", "extend", D, 15.0)]),
        (-3.0, 15.0, [("1a", "prepend", -3.0, 0.0), ("1b", "extend", D, 15.0)]),
        (-3.0, D, [("1", "prepend", -3.0, 0.0)]),
        (0.0, 15.0, [("1", "extend", D, 15.0)]),
        (2.0, 10.0, [("1", "repaint", 2.0, 10.0)]),
        (3.0, 3.01, [("1", "repaint", 3.0, 3.01)]),
        (2.0, 10.003, [("1", "repaint", 2.0, D)]),
        (-0.004, 4.0, [("1", "repaint", 0.0, 4.0)]),
        (-300.0, 300.0, [("1a", "prepend", -300.0, 0.0), ("1b", "extend", D, 300.0)]),
    ],
)
def test_the_times_say_which_verb_is_meant(
    start: float | None, end: float | None, expected: list[tuple[str, str, float, float]]
) -> None:
    assert places(start, end) == expected


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        (4.0, 4.0, "invalidRepaintingStart"),
        (5.0, 4.0, "invalidRepaintingStart"),
        (10.5, None, "invalidRepaintingStart"),
        (10.5, 20.0, "invalidRepaintingStart"),
        (D, None, "invalidRepaintingStart"),
        (None, 0.0, "invalidRepaintingEnd"),
        (0.0, 0.0, "invalidRepaintingStart"),
        (4.0, 4.009, "invalidRepaintingStart"),
        (None, 0.009, "invalidRepaintingEnd"),
    ],
)
def test_times_that_mean_nothing_are_problems_of_the_field_that_was_sent(
    start: float | None, end: float | None, code: str
) -> None:
    with pytest.raises(ApiRefused) as refused:
        places(start, end)
    (error,) = refused.value.errors
    assert (error.code, error.status, error.type) == (code, 400, "number")
    assert error.parameter == f"settings.{code[7].lower()}{code[8:]}"
    assert error.message.startswith("settings.repainting")


@given(
    start=st.none() | st.floats(-300, 300),
    end=st.none() | st.floats(0, 300),
    frames=st.integers(480, 700 * 48_000),
    rate=st.sampled_from((8_000, 44_100, 48_000, 96_000)),
)
@example(start=None, end=None, frames=480, rate=96_000)
def test_whatever_is_planned_lies_where_its_verb_needs_it(
    start: float | None, end: float | None, frames: int, rate: int
) -> None:
    info = AudioInfo(Path("/a.wav"), rate, 1, frames, "WAV", "PCM_16")
    try:
        (result,) = planned(times(start, end), info)
    except ApiRefused:
        return
    source = ArraySource(noise(1, 1), rate)
    for _, request in result.parts:
        (region,) = request.regions
        assert MIN_REGION_S / 2 < region.duration_s <= 600.0
        if request.verb is Verb.COVER:
            assert region.frames(rate) == (0, frames)
        if region.duration_s * rate >= MIN_REGION_S * rate + 1:
            check_region(request.verb, region.frames(rate), _Long(source, frames))


class _Long(ArraySource):
    """A source of any length, of which nobody reads."""

    def __init__(self, source: ArraySource, frames: int) -> None:
        super().__init__(source.audio, source.rate)
        self._frames = frames

    @property
    def frames(self) -> int:
        return self._frames


def test_a_cover_of_more_than_the_model_makes_is_refused() -> None:
    info = AudioInfo(Path("/a.wav"), RATE, 2, 601 * RATE, "WAV", "PCM_16")
    with pytest.raises(ApiRefused) as refused:
        planned(Task(), info)
    assert [(error.code, error.parameter) for error in refused.value.errors] == [("invalidAudio", "inputs.audio")]
    with pytest.raises(ApiRefused, match="600 s"):
        planned(times(0.0, None), info)


@pytest.mark.parametrize(("output_format", "refused"), [("MP3", True), ("OGG", True), ("WAV", False), ("FLAC", False)])
def test_more_channels_than_the_format_has_are_refused_before_the_work(output_format: str, refused: bool) -> None:
    surround = replace(SOURCE, channels=6)
    task = times(2.0, 4.0).model_copy(update={"output_format": OutputFormat(output_format)})
    if not refused:
        assert planned(task, surround)
        return
    with pytest.raises(ApiRefused, match="WAV or FLAC") as told:
        planned(task, surround)
    (error,) = told.value.errors
    assert (error.code, error.parameter) == ("incompatibleParameters", "outputFormat")
    mono = task.model_copy(update={"audio_settings": AudioSettings(channels=1)})
    assert planned(mono, surround)
    assert planned(Task(seed=1, output_format=OutputFormat(output_format)), surround)  # covers have the model's


def only(results: tuple[PlannedResult, ...]) -> JobRequest:
    ((_, request),) = results[0].parts
    return request


def test_music_from_words_has_its_duration_and_the_models_rate() -> None:
    request = only(planned(Task(duration=61.5), None))
    assert (request.verb, request.source) == (Verb.GENERATE, None)
    assert request.regions[0].frames(48_000) == (0, round(61.5 * 48_000))
    assert request.project.sample_rate == 48_000
    assert only(planned(times(1.0, 2.0))).project.sample_rate is None


def test_tempo_meter_and_key_are_the_tasks() -> None:
    settings = TaskSettings(bpm=97, time_signature=6, key_scale="F# minor")
    request = only(planned(Task(settings=settings), None))
    assert request.tempo_map == TempoMap.constant(97.0, TimeSignature(6, 8))
    assert (request.tempo_known, request.key) == (True, "F# minor")
    request = only(planned(Task(settings=TaskSettings(time_signature=3)), None))
    assert request.tempo_map == TempoMap.constant(120.0, TimeSignature(3, 4))
    assert (request.tempo_known, request.key) == (False, None)


@given(st.none() | st.integers(0, SEEDS - 1), st.integers(1, 4))
def test_seeds_are_distinct_follow_the_base_and_wrap_around(base: int | None, count: int) -> None:
    results = planned(Task(seed=base, number_results=count), None, random_bits=lambda bits: 2**bits - 1)
    first = SEEDS - 1 if base is None else base
    assert [result.seed for result in results] == [(first + k) % SEEDS for k in range(count)]
    for number, result in enumerate(results, 1):
        ((name, request),) = result.parts
        assert name == str(number)
        assert (request.task.seed, request.task.number_results) == (result.seed, 1)
        assert checked_job_id(f"{request.task.task_uuid}.{name}")


def test_both_halves_of_a_result_have_its_seed() -> None:
    results = planned(times(-3.0, 15.0).model_copy(update={"number_results": 2}))
    assert [(name, r.task.seed) for result in results for name, r in result.parts] == [
        ("1a", 1),
        ("1b", 1),
        ("2a", 2),
        ("2b", 2),
    ]


def test_addresses_of_the_client_do_not_get_into_recipes() -> None:
    task = Task(webhook_url="https://a.example/?key=1", upload_endpoint="https://b.example/?sig=2", ttl=60)
    text = only(planned(task, None)).model_dump_json()
    assert "example" not in text


def test_a_checkpoint_is_asked_for_and_defaults_that_are_not_its_own_are_left_to_it() -> None:
    task = Task(steps=100, cfg_scale=10.0)
    turbo = only(planned(task, None, served=served("xl-turbo"))).task
    assert (turbo.checkpoint, turbo.steps, turbo.cfg_scale) == ("xl-turbo", None, None)
    turbo = only(planned(task, None, served=served("xl-turbo"), given=frozenset({"steps"}))).task
    assert (turbo.steps, turbo.cfg_scale) == (100, None)
    base = only(planned(task, None, served=served("xl-base"))).task
    assert (base.checkpoint, base.steps, base.cfg_scale) == ("xl-base", 100, 10.0)


def test_what_the_checkpoint_was_not_trained_for_is_refused() -> None:
    with pytest.raises(EngineCannot):
        planned(Task(), served=served("xl-turbo", frozenset({Verb.GENERATE})))
