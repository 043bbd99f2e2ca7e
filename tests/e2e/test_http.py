"""A published client of the task API, used as it comes from the package registry, against the running daemon."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import numpy as np
import pytest
import soundfile
from runware import Runware
from runware.errors import RunwareError
from runware.types.sdk import RunOptions

from bridge.demo.song import DemoSong
from tests.support import daemon as daemons
from tests.support.daemon import ROOT, Daemon

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Sending a large body directly"),  # said of the client, by its HTTP library
]

MODEL = "runware:ace-step@v1.5-xl-base"
TRANSPORTS = ("rest", "websocket")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemons.running(tmp_path_factory.mktemp("http") / "data", http_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def song(demo_song: DemoSong) -> bytes:
    """A quarter of a minute of the demo song as a 24-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, demo_song.audio.T[: 15 * demo_song.rate], demo_song.rate, format="WAV", subtype="PCM_24")
    return file.getvalue()


@asynccontextmanager
async def client_of(daemon: Daemon, transport: str) -> AsyncIterator[Runware]:
    url = f"{daemon.url}/v1"
    async with Runware(
        api_key="any",
        transport=transport,
        http_base_url=url,
        ws_base_url=url.replace("http", "ws", 1),
        retry_delay=50,
        timeout=90_000,
        poll_timeout=90_000,
    ) as client:
        yield client


def asked(**more: Any) -> dict[str, Any]:
    task = {"taskType": "audioInference", "model": MODEL, "positivePrompt": "a slow waltz for strings", "duration": 30}
    return {**task, **more}


async def audio_of(item: dict[str, Any]) -> tuple[np.ndarray, int]:
    async with aiohttp.ClientSession() as session, session.get(item["audioURL"]) as response:
        assert response.status == 200
        return soundfile.read(io.BytesIO(await response.read()), dtype="int32", always_2d=True)


# --- text to music ----------------------------------------------------------------------------------------------------
async def test_text_becomes_music_in_a_held_request(daemon: Daemon) -> None:
    task = asked(deliveryMethod="sync", numberResults=2, seed=5, includeCost=True, taskUUID=str(uuid4()))
    async with client_of(daemon, "rest") as client:
        items = await client.run(task)
        with pytest.raises(RunwareError, match="used before") as again:
            await client.run(task)
    assert (again.value.code, again.value.parameter, again.value.status_code) == ("validation", "taskUUID", 409)
    assert [item["seed"] for item in items] == [5, 6]
    assert len({item["audioUUID"] for item in items}) == 2
    for item in items:
        assert (item["engine"], item["cost"]) == ("sketch", 0.0)
        assert MODEL in item["warning"]
        assert item["computeSeconds"] > 0
        samples, rate = await audio_of(item)
        assert item["audioURL"].endswith(".mp3")
        assert len(samples) / rate == pytest.approx(30, abs=0.1)
        assert np.abs(samples).max() > 0.05 * 2**31


async def test_a_web_socket_brings_the_audio_with_the_result(daemon: Daemon) -> None:
    settings = {"bitrate": 64, "channels": 1}  # the client takes messages of up to 1 MiB
    async with client_of(daemon, "websocket") as client:
        task = asked(deliveryMethod="sync", outputType="base64Data", outputFormat="MP3", audioSettings=settings)
        items = await client.run(task)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(items[0]["audioBase64Data"])), always_2d=True)
    assert len(samples) / rate == pytest.approx(30, abs=0.1)
    assert samples.shape[1] == 1


# --- music from music -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_polled_repaint_changes_its_region_and_not_a_bit_outside(
    daemon: Daemon, transport: str, song: bytes, demo_song: DemoSong
) -> None:
    start, end = 8.0, 10.0
    progress: list[Any] = []
    options = RunOptions(on_progress=lambda item: progress.append(item.get("progress")))
    async with client_of(daemon, transport) as client:
        media = base64.b64encode(song).decode()
        stored = (await client.media_storage({"operation": "upload", "media": media}))[0]["mediaUUID"]
        settings = {"repaintingStart": start, "repaintingEnd": end, "bpm": round(demo_song.bpm)}
        task = asked(inputs={"audio": stored}, settings=settings, outputFormat="WAV")
        items = await client.run(task, options)
        await client.media_storage({"operation": "delete", "media": stored})
        with pytest.raises(RunwareError) as gone:
            await client.run({**task, "taskUUID": str(uuid4())})
    assert gone.value.code == "notFound"
    assert all(0 <= percent < 100 for percent in progress)
    before, rate = soundfile.read(io.BytesIO(song), dtype="int32", always_2d=True)
    after, after_rate = await audio_of(items[0])
    assert (after.shape, after_rate) == (before.shape, rate)
    changed = np.flatnonzero((before != after).any(axis=1))
    assert changed[0] >= (start - 0.5) * rate
    assert changed[-1] < (end + 0.5) * rate
    assert len(changed) > rate


# --- what is wrong ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("change", "code", "parameter"),
    [
        ({"positivePrompt": "x"}, "validation", "positivePrompt"),
        ({"steps": 1000}, "validation", "steps"),
        ({"settings": {"bpm": "fast"}}, "validation", "settings.bpm"),
        ({"colour": "blue"}, "validation", "colour"),
        ({"outputFormat": "WAV", "audioSettings": {"bitrate": 128}}, "validation", None),
        ({"inputs": {"audio": str(uuid4())}}, "notFound", "inputs.audio"),
        ({"inputs": {"audio": "http://127.0.0.1/secret.wav"}, "deliveryMethod": "sync"}, "validation", "inputs.audio"),
        ({"model": "runware:nope@1"}, "notFound", "model"),
    ],
)
async def test_what_is_wrong_is_the_clients_own_exception(
    daemon: Daemon, transport: str, change: dict[str, Any], code: str, parameter: str | None
) -> None:
    async with client_of(daemon, transport) as client:
        with pytest.raises(RunwareError) as refused:
            await client.run(asked(**change))
    assert refused.value.code == code
    if parameter is not None:
        assert refused.value.parameter == parameter
    assert refused.value.message.endswith(".")


async def test_a_model_without_weights_is_not_replaced_behind_the_clients_back(tmp_path: Path) -> None:
    with daemons.running(tmp_path / "data", http_port=0, engine="auto") as daemon:
        async with client_of(daemon, "rest") as client:
            with pytest.raises(RunwareError, match="stembridge models pull") as refused:
                await client.run(asked())
    assert (refused.value.code, refused.value.parameter) == ("notFound", "model")


# --- what goes wrong --------------------------------------------------------------------------------------------------
async def test_a_held_task_survives_a_daemon_that_is_killed(tmp_path: Path) -> None:
    task = asked(taskUUID=str(uuid4()), deliveryMethod="sync")
    poll = {"taskType": "getResponse", "taskUUID": task["taskUUID"]}
    data = tmp_path / "data"
    async with aiohttp.ClientSession() as session:

        async def status_of(daemon: Daemon, wanted: str) -> dict[str, Any]:
            for _ in range(900):
                async with session.post(f"{daemon.url}/v1", json=[poll]) as response:
                    found = (await response.json()).get("data", [{}])[0]
                if found.get("status") == wanted:
                    return found
                await asyncio.sleep(0.1)
            raise AssertionError(found)

        with daemons.running(data, http_port=0) as first:
            held = asyncio.create_task(session.post(f"{first.url}/v1", json=[task]))
            await status_of(first, "processing")
            first.kill()
            with pytest.raises(aiohttp.ClientConnectionError):
                await held
        with daemons.running(data, http_port=0) as second:
            found = await status_of(second, "success")
            samples, rate = await audio_of(found)
    assert len(samples) / rate == pytest.approx(30, abs=0.1)


def test_a_taken_port_costs_the_http_door_and_nothing_else(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, daemons.running(tmp_path / "data", http_port=taken.getsockname()[1]) as daemon:
        assert daemon.ready["http_port"] is None
        client = daemon.client()
        client.send("/stembridge/ping", "still there")
        assert client.receive().args[-1] == "still there"
    assert any("--http-port" in line for line in daemon.log)


def test_who_does_not_open_the_door_does_not_load_it() -> None:
    code = (
        "import sys, bridge.cli, bridge.send, bridge.daemon\n"
        "assert not {'aiohttp', 'bridge.api.service'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
