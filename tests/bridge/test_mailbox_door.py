"""A REAPER and the mailbox door on a real core and journal: what is asked, what is answered, and to whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from protocol.key import Key
from protocol.vocabulary import JobState
from tests.support.audio import noise, save
from tests.support.mailbox import INSTANCE, OTHER_INSTANCE, Script, until
from tests.support.mailbox_door import FRAMES, RATE, Studio, Surface, studio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Studio]:
    async with studio(tmp_path, surface=Surface()) as made:
        yield made


async def test_a_request_becomes_a_job_and_its_answer_grows_until_it_is_done(desk: Studio) -> None:
    asked = desk.post(settings={"seed": 7, "prompt": "calmer"}, options={"priority": 3})
    await desk.begun(asked)
    running = await desk.state(asked, "running")
    assert running["engine"] == "sketch"
    assert desk.script.request_file(asked, "taken").is_file()
    assert not desk.script.request_file(asked).exists()
    await until(lambda: not list(desk.script.folder("audio").iterdir()))
    desk.progress(0.5)
    half = await until(lambda: (a := desk.script.answer(asked)) and a["fraction"] == 0.5 and a)
    assert (half["seconds_left"], half["stage"], half["state"]) == (9.0, "denoising", "running")
    done = await desk.finished(asked, takes=2)
    assert [take["rank"] for take in done["takes"]] == [2, 1]
    assert done["folder"] == str(Path(done["manifest"]).parent)
    assert running["serial"] < half["serial"] < done["serial"]
    assert done["origin"]["tracks"] == ["{GUID}"]
    job = await desk.job(asked)
    assert job is not None
    assert (job.reply_to, job.priority, job.request.task.seed) == ((f"mailbox:{INSTANCE}",), 3, 7)
    assert job.request.task.positive_prompt == "calmer"


async def test_the_job_works_on_exactly_what_was_told_and_others_see_it(desk: Studio) -> None:
    asked = desk.post()
    await desk.begun(asked)
    job = await desk.job(asked)
    assert job is not None
    wanted = job.request
    assert wanted.project.media_folder == str((desk.song / "Media").resolve())
    assert wanted.project.sample_rate == RATE
    assert [region.frames(RATE) for region in wanted.regions] == [(RATE // 2, RATE)]
    assert (wanted.tempo_map.bpm_at(0), wanted.tempo_known, wanted.key) == (120.0, True, "A minor")
    assert wanted.source is not None
    audio, rate = soundfile.read(wanted.source.file, dtype="float32")
    np.testing.assert_array_equal(audio, noise(FRAMES, seed=1).T)
    assert rate == RATE
    session = desk.core.session
    assert session.key
    assert session.key.value == Key.parse("Am")
    assert {row[2] for row in session.describe(0.0)} == {f"reaper-script:{INSTANCE}"}
    assert (await desk.state(asked, "running"))["source"] == {"file": wanted.source.file, "start_frame": 0}


async def test_those_that_wait_hear_their_place_and_when_it_changes(desk: Studio) -> None:
    first = await desk.begun(desk.post())
    second, third = desk.post(), desk.post()
    await until(lambda: (a := desk.script.answer(third)) and a["position"] == 2)
    assert (await desk.state(second, "queued"))["position"] == 1
    await desk.finished(first)
    await until(lambda: (a := desk.script.answer(third)) and a["position"] == 1)
    assert (await desk.state(second, "running"))["position"] == 0


async def test_a_failed_job_says_why(desk: Studio) -> None:
    asked = await desk.begun(desk.post())
    desk.runner.fail(asked, MemoryError("out"))
    failed = await desk.state(asked, "failed")
    assert failed["error"]["code"] == "internal"
    assert len(failed["error"]["sentence"].split()) > 4


# --- what cannot be ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"protocol": 2}, "version_mismatch", "update Stembridge"),
        ({"created": 1_000_000}, "stale_request", "ask again"),
        ({"kind": "cancel", "job": "all", "created": 1_000_000}, "stale_request", "ask again"),
        ({"kind": "hello", "created": 1_000_000}, "stale_request", "ask again"),
        ({"verb": "remix"}, "bad_argument", "verb is 'remix'"),
        ({"project": {"file": "/gone/A.rpp", "sample_rate": RATE}}, "project_gone", "/gone"),
        ({"project": {"file": "C:\\Songs\\A.rpp", "sample_rate": RATE}}, "project_error", "full path"),
        ({"settings": {"promt": "x"}}, "task_invalid", "did you mean prompt"),
        ({"verb": "lego"}, "missing_context", "track"),
        ({"key": "H# locrian"}, "bad_argument", "H#"),
        ({"regions": [{"start_frame": 0, "end_frame": FRAMES + 100}]}, "region_outside", "select less"),
        ({"source": {"file": "/etc/passwd"}}, "outside_project", "outside the opened projects"),
    ],
)
async def test_what_cannot_be_is_refused_in_words_and_nothing_is_begun(
    desk: Studio, changes: dict[str, Any], code: str, words: str
) -> None:
    asked = desk.post(**changes)
    refused = await desk.state(asked, "refused")
    assert (refused["error"]["code"], refused["takes"]) == (code, [])
    assert words in refused["error"]["sentence"]
    assert refused["origin"]["project_name"] == "A.rpp"
    await until(lambda: not desk.script.request_file(asked).exists())
    assert await desk.core.jobs(9) == []
    if code not in ("task_invalid", "missing_context"):  # else the source is there already, for the next try
        assert list((desk.song / "Media").iterdir()) == []


@pytest.mark.parametrize("priority", [11, -1, 10**30, 1e308, 7.5, "7"])
async def test_a_priority_that_cannot_be_is_refused_in_words(desk: Studio, priority: object) -> None:
    refused = await desk.state(desk.post(options={"priority": priority}), "refused")
    assert "whole number from 0 to 10" in refused["error"]["sentence"]


async def test_audio_that_is_not_there_or_of_another_rate_is_refused(desk: Studio) -> None:
    asked = desk.script.post(desk.asked())
    missing = await desk.state(asked, "refused")
    assert missing["error"]["code"] == "source_missing"
    other = desk.asked()
    desk.script.audio(other["id"], noise(FRAMES).T, 48_000)
    refused = await desk.state(desk.script.post(other), "refused")
    assert refused["error"]["code"] == "source_mismatch"
    assert "48000 Hz" in refused["error"]["sentence"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"x" * (3 << 20)])
async def test_rubbish_is_refused_under_the_name_of_its_file(desk: Studio, content: bytes) -> None:
    desk.script.post(content, "rubbish")
    assert (await desk.state("rubbish", "refused"))["error"]["code"] == "bad_argument"
    await until(lambda: not desk.script.request_file("rubbish").exists())


async def test_a_mistake_of_ours_is_answered_and_logged(
    desk: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a mistake in the program")

    monkeypatch.setattr(desk.core, "request", broken)
    refused = await desk.state(desk.post(), "refused")
    assert refused["error"]["code"] == "internal"
    assert "a mistake in the program" in caplog.text


async def test_projects_outside_the_roots_are_not_opened(tmp_path: Path) -> None:
    async with studio(tmp_path, roots=[tmp_path / "allowed"]) as desk:
        assert (await desk.state(desk.post(), "refused"))["error"]["code"] == "outside_project"


# --- sources ----------------------------------------------------------------------------------------------------------
async def test_a_redo_names_the_source_that_was_kept(desk: Studio) -> None:
    first = await desk.finished(desk.post())
    again = desk.post(source=first["source"], settings={"seed": 8})
    await desk.begun(again)
    one, two = await desk.job(first["id"]), await desk.job(again)
    assert one is not None
    assert two is not None
    assert one.request.source == two.request.source


async def test_a_redo_of_more_than_its_source_holds_is_refused_at_once(desk: Studio) -> None:
    first = await desk.finished(desk.post())
    again = desk.post(source=first["source"], regions=[{"start_frame": 0, "end_frame": FRAMES + 1}])
    assert (await desk.state(again, "refused"))["error"]["code"] == "region_outside"


async def test_a_generation_needs_no_source_and_forgets_the_one_before(desk: Studio) -> None:
    await desk.begun(desk.post())
    asked = desk.post(verb="generate", source=None)
    await until(lambda: desk.script.answer(asked))
    job = await desk.job(asked)
    assert job is not None
    assert (job.request.source, [region.frames(RATE) for region in job.request.regions]) == (None, [(RATE // 2, RATE)])


async def test_a_reference_is_confined_like_over_osc(desk: Studio, tmp_path: Path) -> None:
    save(tmp_path / "secret.wav", noise(480), RATE)
    asked = desk.post(options={"reference": str(tmp_path / "secret.wav")})
    assert (await desk.state(asked, "refused"))["error"]["code"] == "outside_project"


async def test_disagreement_about_beats_is_a_warning_not_a_refusal(desk: Studio) -> None:
    asked = desk.post(checks={"start_qn": 1.5, "end_qn": 2.0})
    await desk.begun(asked)
    (warning,) = (await desk.state(asked, "running"))["warnings"]
    assert "begins 1.500" in warning


async def test_a_short_render_is_a_warning_while_it_covers_the_region(desk: Studio) -> None:
    content = desk.asked()
    desk.script.audio(content["id"], noise(FRAMES - 1000).T, RATE)
    await desk.begun(desk.script.post(content))
    (warning,) = (await desk.state(content["id"], "running"))["warnings"]
    assert f"{FRAMES - 1000} samples long" in warning


# --- cancel -----------------------------------------------------------------------------------------------------------
def cancel(of: str) -> dict[str, Any]:
    return {"kind": "cancel", "job": of, "verb": None, "source": None}


async def test_a_cancel_by_id_ends_the_job_and_is_answered_itself(desk: Studio) -> None:
    running, waiting = await desk.begun(desk.post()), desk.post()
    await desk.state(waiting, "queued")
    for job in (waiting, running):
        asked = desk.script.post(desk.asked(**cancel(job)))
        assert (await desk.state(asked, "done"))["kind"] == "cancel"
        await desk.state(job, "cancelled")


async def test_cancel_all_is_all_of_this_reaper_and_of_no_other(desk: Studio) -> None:
    other = Script(desk.script.root, OTHER_INSTANCE)
    running, theirs, waiting = await desk.begun(desk.post()), desk.post(other), desk.post()
    await desk.state(waiting, "queued")
    await desk.state(desk.script.post(desk.asked(**cancel("all"))), "done")
    for job in (running, waiting):
        await desk.state(job, "cancelled")
    await desk.begun(theirs)
    assert (await desk.state(theirs, "running", other))["instance"] == OTHER_INSTANCE


@pytest.mark.parametrize("which", ["theirs", "unknown"])
async def test_nobody_cancels_the_job_of_another(desk: Studio, which: str) -> None:
    theirs = await desk.begun(desk.post(Script(desk.script.root, OTHER_INSTANCE)))
    asked = desk.script.post(desk.asked(**cancel(theirs if which == "theirs" else "no-such-job")))
    assert (await desk.state(asked, "refused"))["error"]["code"] == "unknown_job"
    assert await desk.jobs() == [(theirs, JobState.RUNNING)]


async def test_two_reapers_on_one_mailbox_hear_only_their_own(desk: Studio) -> None:
    other = Script(desk.script.root, OTHER_INSTANCE)
    mine, theirs = await desk.begun(desk.post()), desk.post(other)
    await desk.state(theirs, "queued", other)
    assert desk.script.answer(theirs) is None
    assert other.answer(mine) is None


async def test_the_id_of_anothers_job_does_not_lead_to_it(desk: Studio) -> None:
    theirs = await desk.begun(desk.post(Script(desk.script.root, OTHER_INSTANCE)))
    asked = desk.post(id=theirs, verb="generate", source=None)
    assert (await desk.state(asked, "refused"))["error"]["code"] == "job_conflict"


# --- hello ------------------------------------------------------------------------------------------------------------
def hello(**project: Any) -> dict[str, Any]:
    return {"kind": "hello", "verb": None, "source": None, "project": project or None} if project else {"kind": "hello"}


async def test_a_hello_is_answered_with_versions_and_whether_reaper_was_heard(desk: Studio) -> None:
    assert desk.surface is not None
    silent = await desk.state(desk.script.post(desk.asked(**hello(file=""))), "done")
    assert silent["hello"] == {
        "version": desk.core.version,
        "engine": "sketch",
        "osc": "silent",
        "osc_port": 9241,
        "engines": None,
    }
    desk.surface.answers = True
    heard = await desk.state(desk.script.post(desk.asked(**hello(file=""))), "done")
    assert heard["hello"]["osc"] == "heard"


async def test_a_hello_says_what_is_wrong_with_the_project(desk: Studio) -> None:
    asked = desk.script.post(desk.asked(**hello(file="/gone/A.rpp", sample_rate=RATE)))
    assert "/gone" in (await desk.state(asked, "done"))["warnings"][0]


async def test_without_a_surface_it_is_off(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        told = await desk.state(desk.script.post(desk.asked(**hello(file=""))), "done")
        assert (told["hello"]["osc"], told["hello"]["osc_port"]) == ("off", None)


async def test_answers_are_json_that_lua_can_read(desk: Studio) -> None:
    asked = desk.post(settings={"prompt": "Gesänge ü ♯"})
    await desk.begun(asked)
    await desk.state(asked, "running")
    text = desk.script.answer_file(asked).read_text(encoding="utf-8")
    assert json.loads(text)["asked"]["settings"]["prompt"] == "Gesänge ü ♯"
