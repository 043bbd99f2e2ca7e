"""The life of a task of the API: taken once, every result by itself, whoever waits for it or not."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bridge.api.values import Answer
from protocol.api_errors import ApiRefused
from protocol.errors import EngineCrashed, NoMaterial
from protocol.events import Event, JobChanged
from protocol.vocabulary import JobState
from tests.support.api import BASE, DEADLINE_S, XL_BASE, asked, new_uuid, serving
from tests.support.audio import save, tones
from tests.support.mailbox import until

RATE = 44_100


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds, 16 bit, at a rate of its own."""
    return save(tmp_path / "song.wav", tones(2 * RATE, RATE), RATE, subtype="PCM_16")


@pytest.fixture
def inline(song: Path) -> str:
    """The same in base64."""
    return base64.b64encode(song.read_bytes()).decode()


async def test_a_caller_that_goes_away_while_its_task_is_taken_leaves_the_task_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as api:
        begun, may_go, submit = asyncio.Event(), asyncio.Event(), api.core.submit

        async def slow(*args: Any, **kwargs: Any) -> Any:
            begun.set()
            await may_go.wait()
            return await submit(*args, **kwargs)

        monkeypatch.setattr(api.core, "submit", slow)
        task = asked()
        caller = asyncio.create_task(api.accept(task))
        await begun.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        may_go.set()
        assert [item["status"] for item in await api.ended(task.task.task_uuid)] == ["success"]


async def test_a_mistake_in_telling_a_webhook_does_not_keep_the_client_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("a mistake of ours")

    async with serving(tmp_path) as api:
        monkeypatch.setattr(api.outbox, "put", broken)
        answer = await api.answer(task := asked(webhookURL="https://hooks.example/a"))
        assert [item["status"] for item in answer.data] == ["success"]
    async with serving(tmp_path) as api:  # the next daemon tells
        await until(lambda: api.told.posts)
        assert task.task.task_uuid.encode() in api.told.posts[0][1]


async def test_music_from_words_is_a_file_at_a_url(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        task = asked(seed=7, includeCost=True)
        answer = await api.answer(task)
        (item,) = answer.data
        uuid = item["audioUUID"]
        assert answer.errors == ()
        assert item["computeSeconds"] >= 0.0
        assert {name: item[name] for name in item if name not in ("audioUUID", "computeSeconds", "warning")} == {
            "taskType": "audioInference",
            "taskUUID": task.task.task_uuid,
            "resultIndex": 0,
            "status": "success",
            "seed": 7,
            "engine": "noise",
            "cost": 0.0,
            "audioURL": f"{BASE}/v1/media/{uuid}.wav",
        }
        assert "noise engine" in item["warning"]
        assert XL_BASE in item["warning"]
        assert soundfile.info((await api.result(item)).file).frames == 24_000
        assert await api.response(task.task.task_uuid) == [item]


async def test_a_repaint_is_the_whole_audio_and_outside_the_span_nothing_changed(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path) as api:
        settings = {"repaintingStart": 0.5, "repaintingEnd": 1.25}
        uuid = await api.upload(song)
        (item,) = (await api.answer(asked(inputs={"audio": uuid}, settings=settings))).data
        was, rate = soundfile.read(song, dtype="int32")
        now, now_rate = soundfile.read((await api.result(item)).file, dtype="int32")
        first, after = round(0.5 * RATE), round(1.25 * RATE)
        assert now_rate == rate
        assert np.array_equal(now[:first], was[:first])
        assert np.array_equal(now[after:], was[after:])
        assert not np.array_equal(now[first:after], was[first:after])


@pytest.mark.parametrize(("start", "end", "frames"), [(-0.5, None, 2.5), (None, 3.0, 3.0), (-0.5, 2.75, 3.25)])
async def test_times_outside_the_audio_make_it_longer(
    tmp_path: Path, song: Path, start: float | None, end: float | None, frames: float
) -> None:
    async with serving(tmp_path) as api:
        given = {"repaintingStart": start, "repaintingEnd": end}
        settings = {name: value for name, value in given.items() if value is not None}
        uuid = await api.upload(song)
        (item,) = (await api.answer(asked(inputs={"audio": uuid}, settings=settings))).data
        was, _ = soundfile.read(song, dtype="int32")
        now, _ = soundfile.read((await api.result(item)).file, dtype="int32")
        assert len(now) == round(frames * RATE)
        before = round(-min(0.0, start or 0.0) * RATE)
        assert np.array_equal(now[before : before + len(was)], was)


async def test_four_results_have_four_seeds_that_wrap_around_and_are_their_own_jobs(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        heard: list[Answer] = []
        task = asked(seed=2**31 - 2, numberResults=4)
        ticket = await api.accept(task, heard.append)
        answer = await ticket.answer()
        assert [item["seed"] for item in answer.data] == [2**31 - 2, 2**31 - 1, 0, 1]
        assert [item["resultIndex"] for item in answer.data] == [0, 1, 2, 3]
        assert len({item["audioUUID"] for item in answer.data}) == 4
        assert sorted(item["resultIndex"] for told in heard for item in told.data) == [0, 1, 2, 3]
        assert api.jobs() == [f"{task.task.task_uuid}.{number}" for number in (1, 2, 3, 4)]


async def test_one_failing_result_takes_none_of_the_others_with_it(tmp_path: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        task = asked(numberResults=3, deliveryMethod="async")
        uuid = task.task.task_uuid
        api.runner.failures[f"{uuid}.2"] = NoMaterial("Too short. Choose a longer one.")
        ticket = await api.accept(task)
        assert ticket.ack == {"taskType": "audioInference", "taskUUID": uuid}
        assert [item["status"] for item in await api.response(uuid)] == ["processing"] * 3
        api.runner.may_go.set()
        answer = await ticket.answer()
        assert [item["resultIndex"] for item in answer.data] == [0, 2]
        (error,) = answer.errors
        assert (error.code, error.task_type, error.task_uuid) == ("invalidAudio", "audioInference", uuid)
        items = await api.response(uuid)
        assert [item["status"] for item in items] == ["success", "error", "success"]
        assert items[1]["error"]["message"] == "Too short. Choose a longer one."
        assert items[1]["taskUUID"] == uuid


async def test_if_one_half_of_a_result_fails_the_other_is_not_made_for_nothing(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        source = await api.upload(song)
        settings = {"repaintingStart": -0.5, "repaintingEnd": 3.0}
        task = asked(inputs={"audio": source}, settings=settings)
        uuid = task.task.task_uuid
        api.runner.failures[f"{uuid}.1a"] = NoMaterial("No.")
        states: list[JobState] = []
        over = asyncio.Event()

        def hear(event: Event) -> None:
            if isinstance(event, JobChanged) and event.job.id == f"{uuid}.1b" and event.job.state.is_final:
                states.append(event.job.state)
                over.set()

        api.core.listen(hear)
        ticket = await api.accept(task)
        await api.runner.begun.wait()
        api.runner.may_go.set()
        answer = await ticket.answer()
        assert [error.code for error in answer.errors] == ["invalidAudio"]
        async with asyncio.timeout(DEADLINE_S):
            await over.wait()
        assert states == [JobState.CANCELLED]


async def test_the_progress_of_a_result_is_told_in_percent(tmp_path: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        task = asked(deliveryMethod="async", numberResults=2)
        await api.accept(task)
        (first, second) = await api.response(task.task.task_uuid)
        assert (first["status"], first["progress"], second["progress"]) == ("processing", 0, 0)
        assert "audioURL" not in first
        api.runner.may_go.set()
        await api.ended(task.task.task_uuid)


async def test_a_cancelled_job_ends_its_result(tmp_path: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        task = asked(numberResults=2)
        ticket = await api.accept(task)
        await api.core.cancel(f"{task.task.task_uuid}.2", "osc:somebody")
        api.runner.may_go.set()
        answer = await ticket.answer()
        assert len(answer.data) == 1
        assert [error.code for error in answer.errors] == ["taskCancelled"]


# --- inline -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "name", "prefix"),
    [("base64Data", "audioBase64Data", ""), ("dataURI", "audioDataURI", "data:audio/wav;base64,")],
)
async def test_results_can_be_inline(tmp_path: Path, kind: str, name: str, prefix: str) -> None:
    async with serving(tmp_path) as api:
        (item,) = (await api.answer(asked(outputType=kind))).data
        assert item[name].startswith(prefix)
        assert base64.b64decode(item[name][len(prefix) :]) == (await api.result(item)).file.read_bytes()
        assert "audioURL" not in item


async def test_inline_audio_in_a_request_is_kept_as_a_file_and_the_request_names_that(
    tmp_path: Path, inline: str
) -> None:
    async with serving(tmp_path) as api:
        task = asked(inputs={"audio": f"data:audio/wav;base64,{inline}"}, settings={"repaintingStart": 1.0})
        await api.answer(task)
        (details,) = (await api.service.details(task.task.task_uuid)).data
        (request,) = details["request"]
        kept = await api.media.get(request["inputs"]["audio"])
        assert kept is not None
        assert kept.file.read_bytes() == base64.b64decode(inline)
        assert {**request, "inputs": None} == {**task.request, "inputs": None}
        assert len(json.dumps(details)) < 5000


# --- once -------------------------------------------------------------------------------------------------------------
async def test_of_requests_with_one_uuid_at_the_same_time_one_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        uuid = new_uuid()
        taken = await asyncio.gather(
            *(api.accept(asked(name, seed=seed)) for seed, name in enumerate((uuid, uuid.upper()) * 4)),
            return_exceptions=True,
        )
        refused = [each for each in taken if isinstance(each, ApiRefused)]
        assert len(refused) == 7
        assert {(each.errors[0].code, each.errors[0].status) for each in refused} == {("conflictTaskUUID", 409)}
        assert len(api.jobs()) == 1


async def test_a_uuid_means_the_same_task_for_ever(tmp_path: Path) -> None:
    time = [1000.0]
    uuid = new_uuid()
    async with serving(tmp_path, now=lambda: time[0], keep_s=60.0) as api:
        await api.answer(asked(uuid))
    async with serving(tmp_path, now=lambda: time[0], keep_s=60.0) as api:
        with pytest.raises(ApiRefused, match="used before"):
            await api.accept(asked(uuid))
        time[0] += 61.0
        await api.service.sweep()
        with pytest.raises(ApiRefused, match="used before"):
            await api.accept(asked(uuid))


async def test_what_the_engine_cannot_is_told_at_once_and_leaves_nothing(tmp_path: Path, inline: str) -> None:
    async with serving(tmp_path) as api:
        api.runner.engine.verbs = frozenset()
        task = asked(inputs={"audio": inline})
        with pytest.raises(ApiRefused) as refused:
            await api.accept(task)
        (error,) = refused.value.errors
        assert (error.code, error.task_uuid) == ("unsupportedParameter", task.task.task_uuid)
        assert list((tmp_path / "api" / "media").iterdir()) == []
        with pytest.raises(ApiRefused, match="not known"):
            await api.response(task.task.task_uuid)


async def test_a_full_queue_refuses_a_task_whole_and_takes_it_later(tmp_path: Path) -> None:
    async with serving(tmp_path, max_open=2, hold=True) as api:
        first = await api.accept(asked(numberResults=2))
        task = asked(numberResults=2)
        with pytest.raises(ApiRefused) as refused:
            await api.accept(task)
        assert [(error.code, error.status) for error in refused.value.errors] == [("serviceUnavailable", 503)]
        api.runner.may_go.set()
        await first.answer()
        assert len((await api.answer(task)).data) == 2


async def test_results_that_the_queue_has_no_room_for_wait_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path, max_open=2, hold=True) as api:
        task = asked(numberResults=4, seed=1)
        ticket = await api.accept(task)
        assert len(api.jobs()) == 2
        api.runner.may_go.set()
        assert [item["seed"] for item in (await ticket.answer()).data] == [1, 2, 3, 4]


async def test_who_goes_away_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        task = asked()
        ticket = await api.accept(task)
        waiting = asyncio.ensure_future(ticket.answer())
        await asyncio.sleep(0)
        waiting.cancel()
        api.runner.may_go.set()
        assert [item["status"] for item in await api.ended(task.task.task_uuid)] == ["success"]


async def test_a_daemon_that_stops_lets_those_go_who_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        task = asked()
        waiting = asyncio.ensure_future((await api.accept(task)).answer())
        await asyncio.sleep(0)
        await api.service.stop()
        with pytest.raises(ApiRefused) as refused:
            await waiting
        assert refused.value.errors[0].status == 503
    async with serving(tmp_path) as api:
        assert [item["status"] for item in await api.ended(task.task.task_uuid)] == ["success"]


async def test_an_engine_that_crashes_twice_is_an_inference_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        task = asked()
        api.runner.failures[f"{task.task.task_uuid}.1"] = EngineCrashed("It died (exit code 7).")
        (error,) = (await api.answer(task)).errors
        assert error.code == "inferenceError"
        assert "exit code 7" in error.message
        assert error.status < 500


async def test_addresses_that_nothing_would_ever_be_sent_to_are_refused_at_once_and_together(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        with pytest.raises(ApiRefused) as refused:
            await api.answer(asked(webhookURL="http://192.168.1.1/hook", uploadEndpoint="http://[::1]/put"))
    told = [(error.code, error.parameter) for error in refused.value.errors]
    assert told == [("invalidWebhookURL", "webhookURL"), ("invalidUploadEndpoint", "uploadEndpoint")]
    assert all("allow_private" in error.message for error in refused.value.errors)


async def test_a_model_that_is_missing_hides_no_other_problem(tmp_path: Path) -> None:
    async with serving(tmp_path, configured="auto") as api:
        with pytest.raises(ApiRefused) as refused:
            await api.answer(asked(webhookURL="http://192.168.1.1/hook"))
    assert [error.parameter for error in refused.value.errors] == ["model", "webhookURL"]
