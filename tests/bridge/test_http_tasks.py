"""``POST /v1`` and what lies below it: arrays of tasks, held and acknowledged requests, files in and out."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from bridge.api.values import Answer
from protocol.api_errors import ApiError
from tests.support.http_door import HOST, Bench, inference, opened

PING = {"taskType": "ping", "ping": True}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as bench:
        yield bench


# --- arrays -----------------------------------------------------------------------------------------------------------
async def test_a_single_task_is_an_array_of_one(bench: Bench) -> None:
    for body in (PING, [PING]):
        assert await bench.post(body) == (200, {"data": [{"taskType": "ping", "pong": True}]})


async def test_answers_come_in_the_order_of_the_array_whichever_ends_first(bench: Bench) -> None:
    first, second = inference(), inference()
    held = asyncio.create_task(bench.post([first, second, PING]))
    for task in (first, second):
        await bench.tasks.wait_for(task["taskUUID"])
    items = [bench.tasks.finish(task["taskUUID"]) for task in (second, first)]
    status, body = await held
    assert status == 200
    assert body["data"] == [items[1], items[0], {"taskType": "ping", "pong": True}]


async def test_a_refused_task_says_all_that_is_wrong_and_leaves_the_others_alone(bench: Bench) -> None:
    good = inference(deliveryMethod="async")
    bad = inference(positivePrompt="x", steps=0, colour="blue")
    status, body = await bench.post([bad, good, 7])
    assert status == 200
    assert body["data"] == [{"taskType": "audioInference", "taskUUID": good["taskUUID"]}]
    assert {error["code"] for error in body["errors"]} >= {"invalidPositivePrompt", "invalidSteps", "unknownParameter"}
    assert [error.get("taskUUID") for error in body["errors"][:3]] == [bad["taskUUID"]] * 3
    assert list(bench.tasks.accepted) == [good["taskUUID"]]


async def test_when_nothing_came_of_a_request_its_status_says_why(bench: Bench) -> None:
    task = inference(deliveryMethod="async")
    await bench.post(task)
    for body, expected in (
        ([task], (409, "conflictTaskUUID")),
        ([inference(model="runware:nope@1")], (404, "modelNotFound")),
        ([{"taskType": "getResponse", "taskUUID": str(uuid4())}], (404, "taskFailedOrNotFound")),
        ([inference(steps="many")], (400, "invalidSteps")),
        ([{"taskType": "imageInference"}], (400, "unsupportedTaskType")),
        ([], (400, "invalidRequest")),
        ([PING] * 21, (400, "invalidRequest")),
        ("ping", (400, "invalidRequest")),
    ):
        status, answer = await bench.post(body)
        assert (status, answer["errors"][0]["code"]) == expected
        assert "data" not in answer


async def test_a_full_queue_tells_when_to_come_back(bench: Bench) -> None:
    task = inference()
    held = asyncio.create_task(bench.session.post(f"{bench.url}/v1", json=[task]))
    await bench.tasks.wait_for(task["taskUUID"])
    bench.tasks.end(task["taskUUID"], Answer(errors=(ApiError("serviceUnavailable", "Full.", status=503),)))
    async with await held as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")


# --- held, acknowledged, polled ---------------------------------------------------------------------------------------
async def test_async_is_acknowledged_at_once_and_polled(bench: Bench) -> None:
    task = inference(deliveryMethod="async")
    uuid = task["taskUUID"]
    assert await bench.post([task]) == (200, {"data": [{"taskType": "audioInference", "taskUUID": uuid}]})
    poll = {"taskType": "getResponse", "taskUUID": uuid}
    _, body = await bench.post(poll)
    assert body["data"][0]["status"] == "processing"
    item = bench.tasks.finish(uuid)
    assert await bench.post(poll) == (200, {"data": [item]})


async def test_a_held_request_whose_connection_is_lost_goes_on(bench: Bench) -> None:
    task = inference()
    held = asyncio.create_task(bench.post([task]))
    await bench.tasks.wait_for(task["taskUUID"])
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    item = bench.tasks.finish(task["taskUUID"])
    assert await bench.post({"taskType": "getResponse", "taskUUID": task["taskUUID"]}) == (200, {"data": [item]})


async def test_a_held_request_is_told_when_the_daemon_is_stopped(tmp_path: Path) -> None:
    task = inference()
    async with opened(tmp_path) as bench:
        held = asyncio.create_task(bench.post([task]))
        await bench.tasks.wait_for(task["taskUUID"])
        await asyncio.wait_for(bench.door.close(), 5)
        status, body = await held
    assert (status, body["errors"][0]["code"]) == (503, "serviceUnavailable")
    assert body["errors"][0]["taskUUID"] == task["taskUUID"]
    assert "getResponse" in body["errors"][0]["message"]


async def test_media_are_stored_and_deleted_by_tasks(bench: Bench) -> None:
    content = base64.b64encode(bytes(3_000_000)).decode()
    task = {"taskType": "mediaStorage", "taskUUID": str(uuid4()), "operation": "upload", "media": content}
    assert await bench.post([task]) == (200, {"data": [{"taskUUID": task["taskUUID"], "chars": len(content)}]})
    media = str(uuid4())
    task = {**task, "operation": "delete", "media": media}
    assert await bench.post([task]) == (200, {"data": [{"taskUUID": task["taskUUID"], "deleted": media}]})


async def test_megabytes_of_audio_are_answered_inline(bench: Bench) -> None:
    audio = base64.b64encode(bytes(range(256)) * 12_000).decode()
    task = inference(outputType="base64Data")
    held = asyncio.create_task(bench.post([task, PING]))
    await bench.tasks.wait_for(task["taskUUID"])
    bench.tasks.finish(task["taskUUID"], audioBase64Data=audio)
    status, body = await held
    assert status == 200
    assert body["data"][0]["audioBase64Data"] == audio


# --- files ------------------------------------------------------------------------------------------------------------
async def test_a_file_is_served_whole_in_part_and_by_its_name_only(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "abc.wav").write_bytes(bytes(range(200)))
    url = f"{bench.url}/v1/media/abc.wav"
    async with bench.session.get(url) as response:
        assert await response.read() == bytes(range(200))
        assert response.headers["Content-Type"] == "audio/wav"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Accept-Ranges"] == "bytes"
    async with bench.session.get(url, headers={"Range": "bytes=10-19"}) as response:
        assert (response.status, await response.read()) == (206, bytes(range(10, 20)))
        assert response.headers["Content-Range"] == "bytes 10-19/200"
    async with bench.session.get(url, headers={"Range": "bytes=500-"}) as response:
        assert response.status == 416
    async with bench.session.head(url) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "200")
    for name in ("abc.mp3", "abc", "other.wav", "abc.wav.wav", "..%2Fabc.wav"):
        async with bench.session.get(aiohttp.client.URL(f"{bench.url}/v1/media/{name}", encoded=True)) as response:
            assert response.status == 404
            assert (await response.json())["errors"][0]["message"]


async def test_a_big_file_is_uploaded_as_it_is(bench: Bench) -> None:
    content = bytes(range(256)) * 10_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    async with bench.session.post(f"{bench.url}/v1/media", data=pieces()) as response:
        item = (await response.json())["data"][0]
    async with bench.session.get(item["mediaURL"]) as response:
        assert await response.read() == content
    assert item["mediaUUID"] in item["mediaURL"]


# --- what else is there -----------------------------------------------------------------------------------------------
async def test_the_api_describes_itself(bench: Bench) -> None:
    async with bench.session.get(f"{bench.url}/v1/openapi.json") as response:
        described = await response.json()
    assert described["openapi"].startswith("3.1")
    assert bench.url in json.dumps(described["servers"])
    async with bench.session.get(f"{bench.url}/v1/schema/audioInference.json") as response:
        assert "positivePrompt" in (await response.json())["properties"]


@pytest.mark.parametrize(
    ("path", "accept", "name"),
    [
        ("/", "text/html,application/xhtml+xml", "page"),
        ("/", "application/json", "tree"),
        ("/", "*/*", "tree"),
        ("/?HOST_INFO", "text/html", "tree"),
        ("/stembridge", "text/html", "tree"),
        ("/stembridge/tempo?VALUE", "*/*", "tree"),
        ("/page/file", "*/*", "page"),
    ],
)
async def test_browsers_get_the_page_and_controllers_the_tree(bench: Bench, path: str, accept: str, name: str) -> None:
    async with bench.session.get(bench.url + path, headers={"Accept": accept}) as response:
        assert await response.text() == name


async def test_a_web_socket_at_the_root_is_oscquerys(bench: Bench) -> None:
    async with bench.session.ws_connect(bench.url) as socket:
        assert await socket.receive_str(timeout=5) == "tree"


async def test_what_is_not_there_is_told_in_json(bench: Bench) -> None:
    async def asked(method: str, path: str) -> tuple[int, Any]:
        async with bench.session.request(method, bench.url + path) as response:
            return response.status, (await response.json())["errors"][0]["code"]

    assert await asked("GET", "/nowhere") == (404, "pathNotFound")
    assert await asked("PUT", "/v1") == (405, "methodNotAllowed")
    assert await asked("GET", "/v1") == (405, "methodNotAllowed")


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(tmp_path: Path, bench: Bench) -> None:
    with pytest.raises(OSError, match="address already in use"):
        async with opened(tmp_path, on_port=bench.door.port):
            pass
    assert (await bench.post(PING))[0] == 200


async def test_addresses_come_and_go_while_it_listens(bench: Bench) -> None:
    async def answers(host: str) -> bool:
        try:
            async with bench.session.post(f"http://{host}:{bench.door.port}/v1", json=PING) as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    assert [await answers(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, False]
    await bench.door.listen_on(["127.0.0.1", "127.0.0.2", "203.0.113.7"])
    assert [await answers(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, True]
    await bench.door.listen_on(["127.0.0.1"])
    async with aiohttp.ClientSession() as another:
        with pytest.raises(aiohttp.ClientConnectionError):
            await another.get(f"http://127.0.0.2:{bench.door.port}/v1")


async def test_an_address_that_cannot_be_opened_is_told_once_however_often_it_is_tried(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await bench.door.listen_on([HOST, "203.0.113.1"])
    assert [record.levelname for record in caplog.records if "203.0.113.1" in record.getMessage()] == ["WARNING"]
