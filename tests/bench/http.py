"""The HTTP door of a real daemon while a job runs: requests per second, and what they cost the OSC door."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import multiprocessing
import multiprocessing.connection
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import soundfile
from aiohttp import web

from bridge.demo.song import render_demo_song
from protocol.air import MODEL
from tests.bench.control import _pings
from tests.bench.table import Table, ms, percentile
from tests.support import daemon as daemons

CONNECTIONS = 8
DEFAULT_RATE = 50.0
_UNLIMITED = "[http]\nrequests_per_s = 1e6\n"
_SPAWN = multiprocessing.get_context("spawn")


def run(quick: bool) -> list[Table]:
    seconds = 2.0 if quick else 20.0
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(_UNLIMITED, encoding="utf-8")
        with daemons.running(Path(folder) / "data", "--config", str(config), http_port=0) as daemon:
            jobs = _Jobs(daemon)
            return [_requests(daemon, jobs, seconds), _beside_osc(daemon, jobs, seconds)]


def _task(**more: Any) -> dict[str, Any]:
    task = {"taskType": "audioInference", "taskUUID": str(uuid4()), "model": MODEL, "positivePrompt": "a slow waltz"}
    return {**task, "deliveryMethod": "async", **more}


class _Jobs:
    """Keeps the engine at work: five minutes of music at a time."""

    def __init__(self, daemon: daemons.Daemon) -> None:
        self.url, self._client = daemon.url, daemon.client()

    @contextmanager
    def running(self) -> Iterator[None]:
        asyncio.run(_post(self.url, [_task(duration=300, numberResults=4)]))
        self._client.send("/stembridge/subscribe")
        self._client.wait_for(lambda message: message.address == "/stembridge/job/progress", 60)
        try:
            yield
        finally:
            self._client.send("/stembridge/cancel", "all")
            self._client.wait_for(lambda message: message.address == "/stembridge/ack")


async def _post(url: str, body: Any) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1", json=body) as response:
        assert response.status == 200, await response.text()


# --- loads, each in a process of its own ------------------------------------------------------------------------------
Ask = Callable[[], Awaitable[None]]


async def _measured(ask: Ask, until: float, pause_s: float) -> list[float]:
    times = []
    while (began := time.perf_counter()) < until:
        await ask()
        times.append(time.perf_counter() - began)
        if pause_s:
            await asyncio.sleep(max(0.0, pause_s - times[-1]))
    return times


async def _posts(url: str, make: Callable[[], bytes], seconds: float, connections: int, pause_s: float) -> list[float]:
    until = time.perf_counter() + seconds
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:

        async def ask() -> None:
            async with session.post(f"{url}/v1", data=io.BytesIO(make()), headers=headers) as response:
                body = await response.json()
                assert "data" in body, body

        times = await asyncio.gather(*(_measured(ask, until, pause_s * connections) for _ in range(connections)))
    return [each for one in times for each in one]


async def _frames(url: str, seconds: float) -> list[float]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/v1") as socket:
        await socket.send_str('[{"taskType": "authentication"}]')
        await socket.receive_str()

        async def ask() -> None:
            await socket.send_str(_ping().decode())
            await socket.receive_str()

        return await _measured(ask, time.perf_counter() + seconds, 0.0)


def _ping() -> bytes:
    return b'[{"taskType": "ping"}]'


def _inference() -> bytes:
    return json.dumps([_task(duration=30)]).encode()


def _upload() -> Callable[[], bytes]:
    song, file = render_demo_song(), io.BytesIO()
    soundfile.write(file, song.audio.T[: 30 * song.rate], song.rate, format="WAV", subtype="PCM_24")
    media = base64.b64encode(file.getvalue()).decode()

    def body() -> bytes:
        task = {"taskType": "mediaStorage", "taskUUID": str(uuid4()), "operation": "upload", "media": media}
        return json.dumps([task]).encode()

    return body


def _load(name: str, url: str, seconds: float, sender: multiprocessing.connection.Connection) -> None:
    match name:
        case "ping":
            work = _posts(url, _ping, seconds, 1, 0.0)
        case "pings":
            work = _posts(url, _ping, seconds, CONNECTIONS, 0.0)
        case "socket":
            work = _frames(url, seconds)
        case "acks":
            work = _posts(url, _inference, seconds, 1, 0.02)
        case "default rate":
            work = _posts(url, _ping, seconds, CONNECTIONS, 1 / DEFAULT_RATE)
        case _:
            work = _posts(url, _upload(), seconds, 1, 1.0)
    sender.send("ready")
    sender.send(asyncio.run(work))


class _Load:
    """A load that runs beside; `times` waits for its end."""

    def __init__(self, name: str, url: str, seconds: float) -> None:
        self._receiver, sender = _SPAWN.Pipe(duplex=False)
        self._process = _SPAWN.Process(target=_load, args=(name, url, seconds, sender), daemon=True)
        self._process.start()
        assert self._receiver.recv() == "ready"

    def is_on(self) -> bool:
        return not self._receiver.poll()

    def times(self) -> list[float]:
        times: list[float] = self._receiver.recv()
        self._process.join()
        return times


# --- the tables -------------------------------------------------------------------------------------------------------
def _bare_server(sender: multiprocessing.connection.Connection) -> None:
    """The reference: aiohttp with a handler that reads JSON and answers JSON."""

    async def answer(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response({"data": [{"taskType": "ping", "pong": True}]})

    async def main() -> None:
        app = web.Application()
        app.add_routes([web.post("/v1", answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sender.send(f"http://127.0.0.1:{site.port}")
        await asyncio.Event().wait()

    asyncio.run(main())


def _requests(daemon: daemons.Daemon, jobs: _Jobs, seconds: float) -> Table:
    table = Table(
        "HTTP requests while a job runs",
        "`POST /v1` from a process of its own over kept connections, while the engine renders: ping tasks as fast as "
        f"they are answered, on one connection and on {CONNECTIONS}; pings on the WebSocket; generation tasks with "
        "deliveryMethod async, at most 50 a second, until their acknowledgment (checked, and journalled to the disk). "
        "The rate limit of a sender is lifted. Reference: aiohttp with a handler that reads JSON and answers JSON, "
        "checks nothing and keeps nothing.",
        ("", "requests/s", "p50", "p99", "worst"),
    )
    receiver, sender = _SPAWN.Pipe(duplex=False)
    bare = _SPAWN.Process(target=_bare_server, args=(sender,), daemon=True)
    bare.start()
    try:
        with jobs.running():
            for name, load, url in (
                ("ping, one connection", "ping", daemon.url),
                (f"ping, {CONNECTIONS} connections", "pings", daemon.url),
                ("ping, WebSocket", "socket", daemon.url),
                ("aiohttp alone, one connection", "ping", receiver.recv()),
                ("audioInference until acknowledged", "acks", daemon.url),
            ):
                times = _Load(load, url, seconds / 2).times()
                rate = len(times) / (seconds / 2)
                cells = (ms(percentile(times, 0.5)), ms(percentile(times, 0.99)), ms(max(times)))
                table.rows.append((name, f"{rate:,.0f}", *cells))
    finally:
        bare.kill()
        bare.join()
    return table


def _beside_osc(daemon: daemons.Daemon, jobs: _Jobs, seconds: float) -> Table:
    table = Table(
        "OSC beside HTTP",
        "A client pings the OSC door every 5 ms while the engine renders, with and without requests at the HTTP door "
        f"beside it, in turns, all rounds together: ping tasks at the rate that a sender has by default "
        f"({DEFAULT_RATE:.0f}/s), as fast as {CONNECTIONS} connections get answers, and half a minute of audio "
        "uploaded in base64 (12 MB) once a second.",
        ("", "pings answered", "p50", "p99", "worst"),
    )
    rounds = 2 if seconds < 10 else 4
    heard: dict[str, list[float | None]] = {}
    with jobs.running():
        for _ in range(rounds):
            for name, load in (
                ("no HTTP", None),
                ("default rate", "default rate"),
                (f"{CONNECTIONS} connections", "pings"),
                ("uploads", "uploads"),
            ):
                if load is None:
                    until = time.perf_counter() + seconds / rounds
                    times = _pings(daemon.port, lambda until=until: time.perf_counter() < until, at_least=50)
                else:
                    beside = _Load(load, daemon.url, seconds / rounds)
                    times = _pings(daemon.port, beside.is_on, at_least=50)
                    beside.times()
                heard.setdefault(name, []).extend(times)
    for name, times in heard.items():
        answered = [each for each in times if each is not None]
        cells = (ms(percentile(answered, 0.5)), ms(percentile(answered, 0.99)), ms(max(answered)))
        table.rows.append((name, f"{len(answered)} of {len(times)}", *cells))
    return table
