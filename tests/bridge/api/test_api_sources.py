"""The audio that tasks work on: uploaded, inline, by our own URL or another server's; and mediaStorage."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import MediaStorage, audio_input
from tests.support.api import BASE, ApiBench, asked, new_uuid, serving
from tests.support.audio import save, tones

RATE = 48_000
URL = "https://files.example/song.wav"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return save(tmp_path / "song.wav", tones(2 * RATE, RATE), RATE, subtype="PCM_16")


@pytest.fixture
def content(song: Path) -> bytes:
    return song.read_bytes()


def repaint(audio: str, **fields: Any) -> Any:
    return asked(inputs={"audio": audio}, settings={"repaintingStart": 1.0}, **fields)


async def refusal(api: ApiBench, task: Any) -> ApiError:
    with pytest.raises(ApiRefused) as refused:
        await api.accept(task)
    (error,) = refused.value.errors
    assert (error.task_type, error.task_uuid) == ("audioInference", task.task.task_uuid)
    return error


async def test_a_result_can_be_worked_on_by_its_uuid_and_by_its_url_without_asking_anyone(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        (first,) = (await api.answer(asked(duration=2.0))).data
        for name in (first["audioUUID"], first["audioUUID"].upper(), first["audioURL"]):
            (item,) = (await api.answer(repaint(name))).data
            assert item["status"] == "success"
        assert api.web.asked == []


async def test_an_address_is_fetched_before_a_sync_task_is_taken(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as api:
        api.web.files[URL] = content
        task = repaint(URL)
        (item,) = (await api.answer(task)).data
        was, _ = soundfile.read(tmp_path / "song.wav", dtype="int32")
        now, _ = soundfile.read((await api.result(item)).file, dtype="int32")
        assert np.array_equal(now[:RATE], was[:RATE])
        (details,) = (await api.service.details(task.task.task_uuid)).data
        assert details["request"][0]["inputs"]["audio"] == URL


async def test_an_address_that_does_not_answer_refuses_a_sync_task_and_its_uuid_stays_free(
    tmp_path: Path, content: bytes
) -> None:
    async with serving(tmp_path) as api:
        task = repaint(URL)
        error = await refusal(api, task)
        assert (error.code, error.parameter, error.status) == ("downloadFailed", "inputs.audio", 400)
        api.web.files[URL] = b"<html>not audio</html>"
        error = await refusal(api, task)
        assert (error.code, error.parameter) == ("invalidAudio", "inputs.audio")
        api.web.files[URL] = content
        assert len((await api.answer(task)).data) == 1


async def test_the_problems_of_an_async_tasks_address_show_when_it_is_asked_for(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as api:
        api.web.files["https://files.example/short.wav"] = content
        short = asked(
            inputs={"audio": "https://files.example/short.wav"},
            settings={"repaintingStart": 5.0},
            deliveryMethod="async",
        )
        gone = repaint(URL, deliveryMethod="async", numberResults=2, webhookURL="https://hooks.example/x")
        for task, code in ((short, "invalidRepaintingStart"), (gone, "downloadFailed")):
            await api.accept(task)
            items = await api.ended(task.task.task_uuid)
            assert len(items) == task.task.number_results
            assert {item["status"] for item in items} == {"error"}
            assert {item["error"]["code"] for item in items} == {code}
            assert {item["error"]["taskUUID"] for item in items} == {task.task.task_uuid}
        assert [media for media in (tmp_path / "api" / "media").iterdir() if media.suffix == ".wav"] == []


async def test_audio_that_is_not_kept_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for name in (new_uuid(), f"{BASE}/v1/media/{new_uuid()}.wav"):
            error = await refusal(api, repaint(name))
            assert (error.code, error.parameter, error.status) == ("mediaNotFound", "inputs.audio", 404)


async def test_inline_data_that_is_no_audio_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        error = await refusal(api, repaint(base64.b64encode(bytes(3000)).decode()))
        assert (error.code, error.parameter) == ("invalidAudio", "inputs.audio")


@pytest.mark.parametrize("kind", ["mp3", "ogg", "flac"])
async def test_compressed_audio_can_be_repainted_to_its_very_end(tmp_path: Path, kind: str) -> None:
    file = save(tmp_path / f"song.{kind}", tones(2 * RATE + 777, RATE), RATE)
    frames = soundfile.info(file).frames
    async with serving(tmp_path) as api:
        uuid = await api.upload(file)
        (item,) = (await api.answer(repaint(uuid))).data
        assert item["status"] == "success"
        assert abs(soundfile.info((await api.result(item)).file).frames - frames) <= 2304


# --- mediaStorage -----------------------------------------------------------------------------------------------------
def storage(operation: str, media: str) -> MediaStorage:
    return MediaStorage(new_uuid(), operation, audio_input(media))


async def test_audio_is_uploaded_used_and_deleted(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as api:
        task = storage("upload", "data:audio/wav;base64," + base64.b64encode(content).decode())
        (item,) = (await api.service.upload(task, BASE)).data
        uuid = item["mediaUUID"]
        assert item == {
            "taskType": "mediaStorage",
            "taskUUID": task.task_uuid,
            "operation": "upload",
            "mediaUUID": uuid,
            "mediaURL": f"{BASE}/v1/media/{uuid}.wav",
        }
        assert len((await api.answer(repaint(uuid))).data) == 1
        task = storage("delete", uuid)
        (item,) = (await api.service.delete(task)).data
        assert item == {
            "taskType": "mediaStorage",
            "taskUUID": task.task_uuid,
            "operation": "delete",
            "mediaUUID": uuid,
        }
        assert await api.media.get(uuid) is None


async def test_refused_uploads_and_deletions_name_the_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for call, task, code in (
            (api.service.upload(bad := storage("upload", URL), BASE), bad, "downloadFailed"),
            (api.service.delete(bad := storage("delete", new_uuid())), bad, "mediaNotFound"),
        ):
            with pytest.raises(ApiRefused) as refused:
                await call
            (error,) = refused.value.errors
            assert (error.code, error.parameter) == (code, "media")
            assert (error.task_type, error.task_uuid) == ("mediaStorage", task.task_uuid)


async def test_audio_that_a_task_works_on_is_not_deleted_under_it(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, hold=True) as api:
        uuid = await api.upload(song)
        ticket = await api.accept(repaint(uuid))
        with pytest.raises(ApiRefused, match="working on the audio"):
            await api.service.delete(storage("delete", uuid))
        api.runner.may_go.set()
        assert len((await ticket.answer()).data) == 1
        await api.service.delete(storage("delete", uuid))


async def test_a_result_that_was_deleted_is_an_error_not_a_dead_url(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        task = asked()
        (item,) = (await api.answer(task)).data
        await api.service.delete(storage("delete", item["audioUUID"]))
        (item,) = await api.response(task.task.task_uuid)
        assert (item["status"], item["error"]["code"]) == ("error", "mediaNotFound")
