"""How long things are kept, who is told of them, and what details say."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from bridge.api import items
from bridge.api.values import Answer
from protocol.api_errors import ApiError, ApiRefused
from tests.support.api import BASE, DEADLINE_S, ApiBench, asked, new_uuid, serving
from tests.support.audio import save, tones

HOOK, BUCKET = "https://hooks.example/x", "https://bucket.example/y"


class Clock:
    """The time of day, as the test says."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


async def delivered(api: ApiBench) -> None:
    """Wait until the outbox has nothing under way."""
    async with asyncio.timeout(DEADLINE_S):
        while api.outbox._trying:
            await asyncio.wait(api.outbox._trying.values())


async def test_what_has_expired_is_gone_from_the_disk_and_says_so(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, now=clock, keep_s=86_400.0) as api:
        short, long = asked(ttl=60, webhookURL=HOOK, numberResults=2), asked()
        for task in (short, long):
            await api.answer(task)
        clock.now += 59.0
        await api.service.sweep()
        assert len(await api.response(short.task.task_uuid)) == 2
        clock.now += 2.0
        await api.service.sweep()
        with pytest.raises(ApiRefused, match="has expired") as refused:
            await api.response(short.task.task_uuid)
        (error,) = refused.value.errors
        assert (error.code, error.status, error.task_uuid) == ("taskFailedOrNotFound", 404, short.task.task_uuid)
        assert len(await api.response(long.task.task_uuid)) == 1
        left = [path.name for path in (tmp_path / "api").rglob("*.wav")]
        assert len(left) == 2  # the other task's stem and result
        assert await api.outbox.deliveries(short.task.task_uuid) == []


async def test_without_a_limit_everything_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, now=clock, keep_s=None) as api:
        task = asked()
        await api.answer(task)
        clock.now += 1e9
        await api.service.sweep()
        assert [item["status"] for item in await api.response(task.task.task_uuid)] == ["success"]


async def test_an_upload_is_kept_for_the_task_that_works_on_it(tmp_path: Path) -> None:
    clock = Clock()
    song = save(tmp_path / "song.wav", tones(96_000, 48_000), 48_000)
    async with serving(tmp_path, now=clock, keep_s=3600.0, hold=True) as api:
        uuid = await api.upload(song)
        ticket = await api.accept(asked(inputs={"audio": uuid}, settings={"repaintingStart": 1.0}))
        clock.now += 3601.0
        await api.service.sweep()
        api.runner.may_go.set()
        assert len((await ticket.answer()).data) == 1
        await api.service.sweep()
        assert not (tmp_path / "api" / "media" / f"{uuid}.wav").exists()


async def test_a_result_is_kept_for_the_task_that_works_on_it(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, now=clock) as api:
        first = asked(ttl=60)
        (made,) = (await api.answer(first)).data
        api.runner.may_go.clear()
        again = asked(inputs={"audio": made["audioUUID"]}, settings={"repaintingEnd": 1.0})
        ticket = await api.accept(again)
        clock.now += 61.0
        await api.service.sweep()
        api.runner.may_go.set()
        assert len((await ticket.answer()).data) == 1
        await api.service.sweep()
        with pytest.raises(ApiRefused, match="has expired"):
            await api.response(first.task.task_uuid)


async def test_a_result_that_was_deleted_says_how_to_have_it_again(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, now=clock) as api:
        task = asked(ttl=60, seed=7)
        await api.answer(task)
        clock.now += 61.0
        (item,) = await api.response(task.task.task_uuid)
        assert (item["status"], item["error"]["code"]) == ("error", "mediaNotFound")
        assert "with seed 7" in item["error"]["message"]


async def test_every_finished_item_is_told_and_given_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        task = asked(numberResults=2, webhookURL=HOOK, uploadEndpoint=BUCKET)
        answer = await api.answer(task)
        await delivered(api)
        posted = [json.loads(body) for _, body in api.told.posts]
        assert {url for url, _ in api.told.posts} == {HOOK}
        assert sorted((item for body in posted for item in body["data"]), key=lambda item: item["resultIndex"]) == list(
            answer.data
        )
        files = [(await api.result(item)).file.read_bytes() for item in answer.data]
        assert sorted(body for _, body, _ in api.told.puts) == sorted(files)
        assert {(url, mime) for url, _, mime in api.told.puts} == {(BUCKET, "audio/wav")}


async def test_details_are_what_was_sent_what_was_answered_and_who_was_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        task = asked(webhookURL=HOOK, seed=4)
        answer = await api.answer(task)
        await delivered(api)
        (item,) = (await api.service.details(task.task.task_uuid)).data
        assert (item["taskType"], item["taskUUID"]) == ("getTaskDetails", task.task.task_uuid)
        assert item["request"] == [task.request]
        assert item["response"] == answer.as_json()
        assert [(each["kind"], each["state"]) for each in item["deliveries"]] == [("webhook", "delivered")]
        with pytest.raises(ApiRefused) as refused:
            await api.service.details(new_uuid())
        assert (refused.value.errors[0].code, refused.value.errors[0].task_type) == (
            "taskFailedOrNotFound",
            "getTaskDetails",
        )


async def test_what_is_too_large_to_be_inline_is_at_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as api:
        task = asked(outputType="base64Data", webhookURL=HOOK)
        monkeypatch.setattr(items, "MAX_WEBHOOK_INLINE_BYTES", 1000)
        (item,) = (await api.answer(task)).data
        await delivered(api)
        ((_, body),) = api.told.posts
        (told,) = json.loads(body)["data"]
        assert "audioBase64Data" in item
        assert "audioBase64Data" not in told
        assert told["audioURL"] == f"{BASE}/v1/media/{item['audioUUID']}.wav"
        assert "fetch it from audioURL" in told["warning"]


def test_the_body_of_a_webhook_is_the_answer_as_json() -> None:
    text = base64.b64encode(bytes(range(256)) * 40).decode()
    answer = Answer(
        (
            {"audioDataURI": f"data:audio/wav;base64,{text}", "a": 1},
            {"audioBase64Data": text, "warning": 'say "audio"'},
        ),
        (ApiError("inferenceError", "Über."),),
    )
    assert json.loads(items.body(answer)) == json.loads(json.dumps(answer.as_json()))


@pytest.mark.parametrize(
    ("url", "uuid"),
    [
        (f"{BASE}/v1/media/abc.wav", "abc"),
        (f"{BASE}/v1/media/abc.wav?download=1", "abc"),
        ("http://localhost:9242/v1/media/abc.wav", "abc"),
        ("http://localhost:9999/v1/media/abc.wav", None),
        ("https://127.0.0.1:9242/v1/media/abc.wav", None),
        ("http://192.168.1.2:9242/v1/media/abc.wav", None),
        (f"{BASE}/v1/other/abc.wav", None),
        ("http://127.0.0.1:92420/v1/media/abc.wav", None),
        (f"{BASE}.evil.example/v1/media/abc.wav", None),
    ],
)
def test_only_our_own_urls_name_kept_files(url: str, uuid: str | None) -> None:
    assert items.uuid_in_url(url, BASE) == uuid
