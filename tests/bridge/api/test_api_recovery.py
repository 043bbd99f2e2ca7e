"""A daemon that dies at any point of a task's life: the next one finishes it, and nothing is made or told twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import NoMaterial
from tests.support.api import DEADLINE_S, ApiBench, asked, killed_at, new_uuid, serving
from tests.support.audio import save, tones
from tests.support.daemon import ROOT

STEPS = (
    "desk.submit",
    "desk.submit#1",
    "running._encoded",
    "running._encoded#1",
    "media.put_file",
    "store.end_result",
    "store.end_result#1",
    "outbox.put",
    "store.told",
    "store.end_task",
)
"""Where it dies: before a call (``#n``: the n-th after the first)."""

HOOK = "https://hooks.example/x"


@pytest.mark.parametrize("step", STEPS)
async def test_whatever_was_done_when_the_daemon_died_the_task_ends_as_it_should(tmp_path: Path, step: str) -> None:
    task = asked(numberResults=2, seed=5, webhookURL=HOOK, deliveryMethod="async")
    uuid = task.task.task_uuid
    async with killed_at(tmp_path, step) as (api, reached):
        accepting = asyncio.ensure_future(api.accept(task))
        await reached.wait()
        told = [*api.told.posts]
        before = {item["audioUUID"] for item in await api.response(uuid) if item["status"] == "success"}
        accepting.cancel()
    async with serving(tmp_path) as api:
        results = await api.ended(uuid)
        assert [(item["status"], item["seed"]) for item in results] == [("success", 5), ("success", 6)]
        assert before <= {item["audioUUID"] for item in results}
        assert api.jobs() == [f"{uuid}.1", f"{uuid}.2"]
        told += await posts(api)
        assert {item["audioUUID"] for _, body in told for item in json.loads(body)["data"]} == {
            item["audioUUID"] for item in results
        }
        deliveries = (await api.service.details(uuid)).data[0]["deliveries"]
        assert sorted((each["resultIndex"], each["state"]) for each in deliveries) == [
            (0, "delivered"),
            (1, "delivered"),
        ]
        assert not list((tmp_path / "api" / "work").rglob("*.part"))
    async with serving(tmp_path) as api:
        assert await api.response(uuid) == results
        assert api.told.posts == []


async def posts(api: ApiBench) -> list[tuple[str, bytes]]:
    """What the outbox has posted, once it has nothing left to send."""
    async with asyncio.timeout(DEADLINE_S):
        while api.outbox._trying:
            await asyncio.wait(api.outbox._trying.values())
    return api.told.posts


async def test_a_job_that_ran_when_the_daemon_died_is_made_by_the_next(tmp_path: Path) -> None:
    task = asked(seed=3)
    async with killed_at(tmp_path, "store.told", hold=True) as (api, _):
        await api.accept(task)
        await api.runner.begun.wait()
    async with serving(tmp_path) as api:
        (item,) = await api.ended(task.task.task_uuid)
        assert (item["status"], item["seed"]) == ("success", 3)


@pytest.mark.parametrize("step", ["media.put_stream", "store.plan", "desk.submit"])
async def test_audio_that_was_still_being_fetched_is_fetched_again(tmp_path: Path, step: str) -> None:
    song = save(tmp_path / "song.wav", tones(96_000, 48_000), 48_000).read_bytes()
    url = "https://files.example/song.wav"
    settings = {"repaintingStart": 1.0}
    task = asked(deliveryMethod="async", inputs={"audio": url}, settings=settings, seed=9)
    async with killed_at(tmp_path, step) as (api, reached):
        api.web.files[url] = song
        await api.accept(task)
        await reached.wait()
        (item,) = await api.response(task.task.task_uuid)
        assert (item["status"], item["progress"]) == ("processing", 0)
    async with serving(tmp_path, hold=True) as api:
        api.web.files[url] = song
        api.runner.may_go.set()
        (item,) = await api.ended(task.task.task_uuid)
        assert (item["status"], item["seed"]) == ("success", 9)


async def test_a_task_whose_jobs_found_no_room_at_the_restart_waits_for_it(tmp_path: Path) -> None:
    tasks = [asked(deliveryMethod="async") for _ in range(3)]
    async with killed_at(tmp_path, "desk.submit") as (api, reached):
        accepting = [asyncio.ensure_future(api.accept(task)) for task in tasks]
        await reached.wait(len(tasks))
        for each in accepting:
            each.cancel()
    async with serving(tmp_path, max_open=1) as api:
        for task in tasks:
            assert [item["status"] for item in await api.ended(task.task.task_uuid)] == ["success"]


async def test_a_failed_result_stays_failed_after_a_restart(tmp_path: Path) -> None:
    task = asked(numberResults=2, webhookURL=HOOK)
    uuid = task.task.task_uuid
    async with serving(tmp_path) as api:
        api.runner.failures[f"{uuid}.1"] = NoMaterial("Too short.")
        await api.answer(task)
        bodies = [json.loads(body) for _, body in await posts(api)]
        assert {name for body in bodies for name in body} == {"data", "errors"}
    async with serving(tmp_path) as api:
        items = await api.response(uuid)
        assert [item["status"] for item in items] == ["error", "success"]
        assert items[0]["error"]["message"] == "Too short."


@pytest.mark.slow
@pytest.mark.parametrize("step", ["running._encoded", "outbox.put"])
def test_a_process_that_really_dies_there_loses_nothing(tmp_path: Path, step: str) -> None:
    uuid = new_uuid()
    command = [sys.executable, "-c", _DAEMON, str(tmp_path), uuid, step]
    died = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert died.returncode == 9, died.stderr
    assert died.stdout.split() == ["accepted", uuid]

    async def next_daemon() -> None:
        async with serving(tmp_path) as api:
            assert [item["status"] for item in await api.ended(uuid)] == ["success", "success"]

    asyncio.run(next_daemon())


_DAEMON = """
import asyncio, os, sys
from pathlib import Path
from tests.support import api as support
async def main(folder, uuid, step):
    async with support.killed_at(folder, step) as (api, reached):
        await api.accept(support.asked(uuid, numberResults=2, webhookURL="https://hooks.example/x"))
        print("accepted", uuid, flush=True)
        await reached.wait()
        os._exit(9)
asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""
