"""Who is let in: hosts, origins, keys, rates, sizes, and strangers on the network, who get not a byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bridge.doors import http_gate, http_requests
from bridge.doors.http_guard import SECURITY_HEADERS, _in_our_words
from bridge.pairing import Pairing
from tests.support.http_door import HOST, Bench, inference, opened
from tests.support.mailbox import until

PING = [{"taskType": "ping", "ping": True}]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as bench:
        yield bench


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    status, body = answer
    assert body["errors"][0]["message"].endswith(".")
    return status, body["errors"][0]["code"]


# --- hosts and origins ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
async def test_names_of_this_machine_are_hosts_of_ours(bench: Bench, host: str) -> None:
    status, _ = await bench.post(PING, headers={"Host": host.format(port=bench.door.port)})
    assert status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:{port}", "127.0.0.1.evil.example:{port}", "192.168.1.2:{port}", "localhost", "localhost:1"),
        *("localhost@evil.example:{port}", "evil.example@localhost:{port}", "localhost:{port}:{port}", "[::1:{port}"),
        *("", "a b", "localhost:{port}/path?x=", "localhost:{port}#"),
    ],
)
async def test_a_page_that_points_its_own_name_at_us_gets_nothing_of_ours(bench: Bench, host: str) -> None:
    answer = await bench.post(PING, headers={"Host": host.format(port=bench.door.port)})
    assert code(answer) == (403, "invalidHost")


async def test_two_hosts_or_none_are_not_ours(bench: Bench) -> None:
    host = f"Host: {HOST}:{bench.door.port}\r\n"
    for hosts in ("", host + "Host: evil.example\r\n"):
        heard = await bench.raw(f"GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
        assert heard.split()[1] in (b"400", b"403")


async def test_pages_of_other_programs_may_not_talk_to_us(bench: Bench) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{bench.door.port}"):
        assert code(await bench.post(PING, headers={"Origin": origin})) == (403, "invalidOrigin")
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await bench.session.ws_connect(f"{bench.url}/v1", headers={"Origin": origin})
    status, _ = await bench.post(PING, headers={"Origin": bench.url})
    assert status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_a_foreign_page_embeds_is_refused_and_costs_nobody_else(tmp_path: Path, site: str) -> None:
    """A picture or a script comes without an Origin; a link that the user follows to us is welcome."""
    embeds = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Accept": "text/html"}
    async with opened(tmp_path, requests_per_s=2) as bench:
        for headers, status in ((embeds, 403), ({**embeds, "Origin": "http://evil.example"}, 403)):
            for _ in range(5):
                async with bench.session.get(f"{bench.url}/page/file", headers=headers) as response:
                    assert response.status == status
        for mine in ({**embeds, "Sec-Fetch-Mode": "navigate"}, {**embeds, "Sec-Fetch-Site": "same-origin"}):
            async with bench.session.get(f"{bench.url}/page/file", headers=mine) as response:
                assert response.status == 200


async def test_a_page_that_the_configuration_names_may(tmp_path: Path) -> None:
    origin = "http://localhost:3000"
    async with opened(tmp_path, allowed_origins=(origin,)) as bench:
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with bench.session.options(f"{bench.url}/v1", headers=preflight) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
        async with bench.session.post(f"{bench.url}/v1", json=PING, headers={"Origin": origin}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == origin
        status, _ = await bench.post(PING, headers={"Host": "localhost:3000"})  # a proxy or tunnel of that page's
        assert status == 200
        async with bench.session.options(f"{bench.url}/v1", headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 403


async def test_every_answer_says_that_no_other_page_may_frame_it(bench: Bench) -> None:
    for path in ("/", "/v1", "/nowhere", "/page/file", "/v1/media/none.wav"):
        async with bench.session.get(bench.url + path) as response:
            for name, value in SECURITY_HEADERS.items():
                assert response.headers[name] == value
            assert "aiohttp" not in str(response.headers)


# --- the key ----------------------------------------------------------------------------------------------------------
async def test_a_configured_key_is_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, api_key="sesam") as bench:
        assert code(await bench.post(PING)) == (401, "missingApiKey")
        for wrong in ("Bearer nope", "Basic sesam", "Bearer", "sesam", "Bearer sesam2"):
            assert code(await bench.post(PING, headers={"Authorization": wrong})) == (401, "invalidApiKey")
        status, _ = await bench.post(PING, headers={"Authorization": "bearer sesam"})
        assert status == 200
        first = {"taskType": "authentication", "apiKey": "sesam"}
        status, body = await bench.post([first, *PING])
        assert status == 200
        assert [item["taskType"] for item in body["data"]] == ["authentication", "ping"]
        assert code(await bench.post([{**first, "apiKey": "nope"}, *PING])) == (401, "invalidApiKey")
        assert code(await bench.post([*PING, first])) == (401, "missingApiKey")
        async with bench.session.post(f"{bench.url}/v1/media", data=b"RIFF") as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_without_a_configured_key_any_is_welcome(bench: Bench) -> None:
    for headers in ({}, {"Authorization": "Bearer anything"}):
        status, _ = await bench.post(PING, headers=headers)
        assert status == 200


# --- rates and sizes --------------------------------------------------------------------------------------------------
async def test_who_asks_too_often_waits_a_second(tmp_path: Path) -> None:
    async with opened(tmp_path, requests_per_s=5) as bench:
        for _ in range(5):
            assert (await bench.post(PING))[0] == 200
        async with bench.session.post(f"{bench.url}/v1", json=PING) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "1"
        async with bench.session.get(f"{bench.url}/page/file") as response:
            assert response.status == 200  # a script that asks too often does not take the page away
        bench.clock[0] += 1.0
        assert (await bench.post(PING))[0] == 200


async def test_a_request_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, max_body_mb=0.1) as bench:
        head = f"POST /v1 HTTP/1.1\r\nHost: {HOST}:{bench.door.port}\r\nContent-Type: application/json\r\n"
        heard = await bench.raw(f"{head}Content-Length: 1000000000\r\nConnection: close\r\n\r\n[".encode())
        assert heard.startswith(b"HTTP/1.1 413")
        assert json.loads(heard.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "invalidRequestSize"

        async def endless() -> AsyncIterator[bytes]:
            yield b'["'
            for _ in range(100):
                yield b"A" * 10_000

        headers = {"Content-Type": "application/json"}
        async with bench.session.post(f"{bench.url}/v1", data=endless(), headers=headers) as response:
            assert response.status == 413


async def test_who_hangs_up_in_the_middle_is_no_fault_and_leaves_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection(HOST, bench.door.port)
    head = f"POST /v1 HTTP/1.1\r\nHost: {HOST}:{bench.door.port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 3000000\r\n\r\n".encode() + b"A" * 2_000_000)
    await until(lambda: bench.door.requests.held_bytes == 2_000_000)
    writer.close()
    await until(lambda: bench.door.requests.held_bytes == 0)
    assert (await bench.post(PING))[0] == 200
    assert caplog.text == ""


async def test_large_requests_wait_when_many_are_held_and_small_ones_do_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_requests, "MOST_HELD_BYTES", 3_000_000)
    task = inference()
    begun = asyncio.create_task(bench.post([{**task, "positivePrompt": "p" * 1_500}, {"a": "A" * 2_000_000}]))
    await bench.tasks.wait_for(task["taskUUID"])
    assert code(await bench.post([{"a": "A" * 2_000_000}])) == (503, "serviceUnavailable")
    assert (await bench.post(PING))[0] == 200
    bench.tasks.finish(task["taskUUID"])
    assert (await begun)[0] == 200
    assert code(await bench.post([{"a": "A" * 2_000_000}])) == (400, "missingTaskType")


async def test_one_address_cannot_take_all_connections(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_gate, "MOST_OF_ONE_ADDRESS", 3)
    opened_ = [await asyncio.open_connection(HOST, bench.door.port) for _ in range(4)]
    assert await asyncio.wait_for(opened_[3][0].read(), 5) == b""
    opened_[0][1].close()
    await opened_[0][1].wait_closed()
    assert (await bench.post(PING))[0] == 200
    for _, writer in opened_:
        writer.close()


def test_what_a_refusal_tells_a_player_stays_in_it_in_our_words() -> None:
    error = web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": "bytes */44"})
    answer = _in_our_words(make_mocked_request("GET", "/page/jobs/x"), error, 1)
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */44")


async def test_only_json_and_only_as_it_is(bench: Bench) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await bench.post(b"[]", headers={"Content-Type": kind})
        assert code(answer) == (415, "invalidContentType")
    answer = await bench.post(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert code(answer) == (415, "invalidContentEncoding")
    assert code(await bench.post(b"{not json")) == (400, "invalidJson")


async def test_a_fault_of_ours_is_a_sentence_and_not_a_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    status, body = await bench.post([{"taskType": "getTaskDetails", "taskUUID": inference()["taskUUID"]}])
    assert (status, body["errors"][0]["code"]) == (500, "internalServerError")
    assert "fault" not in str(body)
    assert "a fault of ours" in caplog.text


# --- strangers on the network -----------------------------------------------------------------------------------------
class Elsewhere(Pairing):
    """Pairing for which the loopback is somewhere else on the network."""

    def is_here(self, ip: str) -> bool:
        return False


@pytest.fixture
def pairing() -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(None)
    yield elsewhere
    elsewhere.close()


@pytest.fixture
async def lan(tmp_path: Path, pairing: Elsewhere) -> AsyncIterator[Bench]:
    async with opened(tmp_path, pairing=pairing) as bench:
        yield bench


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: HERE\r\n\r\n",
        b"POST /v1 HTTP/1.1\r\nHost: HERE\r\n\r\n",
        b"GET /pair/ HTTP/1.1\r\n\r\n",
        b"GET /pair/123456789012345 HTTP/1.1\r\n\r\n",
        b"GET /pair/000000 HTTP/1.1\r\nHost: HERE\r\n\r\n",
        b"GET /pair/000000 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /pair/000000 HTTP/1.1\r\nnonsense\r\n\r\n",
        b"GET /pair/000000 HTTP/1.1\r\nHost: HERE\r\nContent-Length: x\r\n\r\n",
        b"GET /pair/000000/../../v1 HTTP/1.1\r\nHost: HERE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"A" * 100_000,
        b"\r\n\r\n",
    ],
)
async def test_a_stranger_hears_nothing_at_all(lan: Bench, sent: bytes) -> None:
    assert await lan.raw(sent.replace(b"HERE", f"{HOST}:{lan.door.port}".encode())) == b""


async def test_one_stranger_cannot_keep_the_others_from_showing_their_pin(lan: Bench) -> None:
    connections = [await asyncio.open_connection(HOST, lan.door.port) for _ in range(http_gate.MOST_STRANGERS)]
    ends = [asyncio.create_task(reader.read()) for reader, _ in connections]
    cut, waiting = ends[http_gate.MOST_OF_ONE_STRANGER :], ends[: http_gate.MOST_OF_ONE_STRANGER]
    await asyncio.wait_for(asyncio.gather(*cut, return_exceptions=True), 5)
    assert not any(end.done() for end in waiting)
    for _, writer in connections:
        writer.close()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_pin_opens_the_door_and_unpairing_shuts_it_at_once(lan: Bench, pairing: Elsewhere) -> None:
    async with lan.session.get(f"{lan.url}/pair/{pairing.pin}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
    assert (await lan.post(PING))[0] == 200
    async with lan.session.ws_connect(f"{lan.url}/v1") as socket:
        pairing.unpair("all")
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
    with pytest.raises(aiohttp.ClientConnectionError):
        await lan.post(PING)


async def test_strangers_are_cut_when_the_door_closes(lan: Bench) -> None:
    reader, writer = await asyncio.open_connection(HOST, lan.door.port)
    await until(lambda: lan.door._gate is not None and lan.door._gate._strangers)
    await lan.door.close()
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_strangers_that_say_nothing_do_not_keep_others_out(lan: Bench, pairing: Elsewhere) -> None:
    waiting = [await asyncio.open_connection(HOST, lan.door.port) for _ in range(40)]
    gone = [reader for reader, _ in waiting[20:]]
    for reader in gone:
        with pytest.raises((ConnectionError, AssertionError)):
            assert await asyncio.wait_for(reader.read(), 2)  # at once, not when nothing came for a while
    for _, writer in waiting:
        writer.close()
    await asyncio.sleep(0)
    async with lan.session.get(f"{lan.url}/pair/{pairing.pin}", allow_redirects=False) as response:
        assert response.status == 303
