"""Answers as values: what a script is told in each state of its job, in the form that the scripts read."""

from __future__ import annotations

import json
from pathlib import PurePath

import pytest

from protocol.errors import ProjectGone
from protocol.job import Failure, Job, Progress, ProjectRef, Recipe, SourceRef, Take
from protocol.mailbox import Address
from protocol.mailbox_answer import Answer, Greeting, read_answer
from protocol.vocabulary import JobState
from tests.support.jobs import job
from tests.support.mailbox import INSTANCE, request


def first() -> Answer:
    raw = request()
    return Answer.to(Address(INSTANCE, raw["id"]), raw, version="0.1.0", engine="sketch")


def in_project(state: JobState) -> Job:
    made = job("a", state=state)
    source = SourceRef(file="/song/stembridge/sources/source-1.wav", start_s=705_601 / 44_100)
    project = ProjectRef(folder="/song", media_folder="/song", sample_rate=44_100)
    return made.model_copy(update={"request": made.request.model_copy(update={"source": source, "project": project})})


def take(of: Job) -> Take:
    return Take(
        number=2,
        variation=2,
        file="/song/stembridge/a/take-2.wav",
        start_s=16.0,
        start_frame=705_600,
        frames=352_800,
        sample_rate=44_100,
        seed=8,
        score=81.2,
        rank=1,
        recipe=Recipe(request=of.request, region=1, seed=8, sample_rate=44_100, engine="sketch", engine_version="1"),
    )


def test_the_first_answer_gives_back_what_was_asked_and_what_is_the_scripts_own() -> None:
    raw = request(settings={"prompt": "Gesänge ü"})
    told = json.loads(Answer.to(Address(INSTANCE, raw["id"]), raw, version="0.1.0", engine="sketch").to_json())
    echoed = ("verb", "regions", "tempo", "checks", "key", "options", "settings", "project")
    assert told["asked"] == {name: raw[name] for name in echoed}
    assert told["origin"] == raw["origin"]
    assert (told["protocol"], told["kind"], told["state"], told["seconds_left"]) == (1, "request", "queued", -1)
    assert (told["takes"], told["warnings"], told["error"], told["source"]) == ([], [], None, None)
    assert "hello" not in told


def test_a_request_that_could_not_be_read_is_answered_all_the_same() -> None:
    told = Answer.to(Address(INSTANCE, "a"), {"kind": 7, "verb": []}, version="1", engine="e")
    refused = json.loads(told.refused(ProjectGone("It is gone: look for it.")).to_json())
    assert refused["state"] == "refused"
    assert refused["error"] == {"code": "project_gone", "sentence": "It is gone: look for it."}


def test_a_waiting_job_says_its_place_and_a_running_one_its_progress() -> None:
    waiting = first().about(in_project(JobState.QUEUED), 3)
    assert (waiting.state, waiting.position) == ("queued", 3)
    running = waiting.about(in_project(JobState.RUNNING), 3)
    assert (running.state, running.position) == ("running", 0)
    half = running.going_on(Progress(fraction=0.5, seconds_left=3.0, stage="denoising"))
    assert (half.fraction, half.seconds_left, half.stage) == (0.5, 3.0, "denoising")
    again = half.about(in_project(JobState.QUEUED), 1)
    assert (again.state, again.position, again.fraction, again.seconds_left) == ("queued", 1, 0.0, -1.0)


def test_a_job_that_is_done_tells_all_that_places_its_takes() -> None:
    done = in_project(JobState.DONE)
    done = done.model_copy(update={"takes": (take(done),), "manifest": "/song/stembridge/a/manifest.json"})
    told = json.loads(first().about(done, 0).to_json())
    (placed,) = told["takes"]
    whole = take(done).model_dump(mode="json")
    assert placed == {name: whole[name] for name in placed if name != "region"} | {"region": 1}
    names = "number, variation, rank, file, midi, start_frame, frames, sample_rate, track, seed, score, region"
    assert sorted(placed) == sorted(names.split(", "))
    assert PurePath(told["folder"]) == PurePath("/song/stembridge/a")
    assert told["source"] == {"file": "/song/stembridge/sources/source-1.wav", "start_frame": 705_601}
    assert (told["fraction"], told["seconds_left"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("state", "is_final"),
    [("queued", False), ("running", False), ("done", True), ("failed", True), ("cancelled", True), ("refused", True)],
)
def test_which_states_are_final(state: str, is_final: bool) -> None:
    assert first().with_(state=state).is_final is is_final


def test_a_failed_job_says_why() -> None:
    failed = in_project(JobState.FAILED).model_copy(update={"failure": Failure(code="x", sentence="Because of that.")})
    assert first().about(failed, 0).error == failed.failure


def test_an_answer_is_read_as_it_was_written_and_damage_is_noticed() -> None:
    greeting = Greeting(version="1", engine="sketch", osc="off", osc_port=None)
    for answer in (first().warned(["Look."]), first().with_(state="done", hello=greeting)):
        assert read_answer(answer.to_json()) == answer
        assert read_answer(answer.to_json()[:-2]) is None


def test_what_a_script_keeps_for_itself_cannot_break_the_answer() -> None:
    raw = {**request(), "origin": {"a": float("inf"), "b": [None, True, 2**70]}}
    told = json.loads(Answer.to(Address(INSTANCE, "a"), raw, version="1", engine="e").to_json())
    assert told["origin"]["b"] == [None, True, 2**70]
