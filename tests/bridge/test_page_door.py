"""The page's routes and its socket: what may be asked, what comes back, and what is not served."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
import soundfile

from bridge.doors import page_socket
from bridge.web import FOLDER, assets
from bridge.web_vendor import MANIFEST
from protocol.task import SETTINGS
from tests.support.page_bench import PREFIX, RATE, opened
from tests.support.turns import counted_turns


# --- its files --------------------------------------------------------------------------------------------------------
async def test_the_page_may_load_nothing_but_our_own_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.session.get(bench.url) as answer:
            text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        nonce = re.search(r"'nonce-([\w-]+)'", policy)
        assert nonce is not None
        assert f'content="{nonce[1]}"' in text
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", text)
        for address in re.findall(r'(?:src|href)="(/[^"]*)"', text):
            assert await bench.status(address) == 200, address


async def test_a_nonce_is_good_for_one_answer(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        policies = set()
        for _ in range(3):
            async with bench.session.get(bench.url) as answer:
                policies.add(answer.headers["Content-Security-Policy"])
        assert len(policies) == 3


def test_no_file_of_ours_asks_the_network_or_writes_markup() -> None:
    for path in [*FOLDER.glob("*.js"), FOLDER / "style.css", FOLDER / "index.html"]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        text = text.replace("`http://${first}:${httpPort}/pair/${pin}`", "")  # shown to people
        assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", text), path.name


async def test_every_module_that_is_imported_is_served(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        for name, (path, mime) in assets().items():
            async with bench.session.get(f"{bench.url}/page/static/{name}") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == mime
            if path.suffix == ".js" and path.parent == FOLDER:
                for imported in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8")):
                    assert imported in assets(), (name, imported)


@pytest.mark.parametrize(
    "path",
    [
        "../page.py",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/cli.py",
        "vendor.json",
        "__init__.py",
        "",
        "style.css/x",
    ],
)
async def test_no_other_file_is_served(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path) as bench:
        assert await bench.status(f"/page/static/{path}") == 404


def test_what_comes_from_npm_is_named_with_its_digest_and_licence() -> None:
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    listed = {name for package in manifest["packages"] for name in package["files"]}
    assert listed == {path.name for path in (FOLDER / "vendor").iterdir()}
    assert all(package["integrity"].startswith("sha512-") for package in manifest["packages"])
    assert any("LICENSE" in name for name in listed)


# --- jobs and takes ---------------------------------------------------------------------------------------------------
async def test_a_job_asked_through_the_page_is_listed_described_drawn_and_played(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.socket() as socket:
            job_id = await bench.repainted(socket)
        (row,) = await bench.get("/page/jobs")
        assert (row["id"], row["verb"], row["state"], row["takes"]) == (job_id, "repaint", "done", 1)
        assert (row["prompt"], row["where"], row["client"]) == ("warm tape", "2.00\u20132.50 s", "page")
        detail = await bench.get(f"/page/jobs/{job_id}")
        (take,) = detail["audio"]
        assert (take["start_s"], take["end_s"], take["frames"]) == (2.0, 2.5, RATE // 2)
        lines = [line[2] for line in take["lines"]]
        assert lines[:8] in ([1, 2, 3, 4] * 2, [2, 3, 4, 1] * 2, [3, 4, 1, 2] * 2, [4, 1, 2, 3] * 2)
        assert {row["name"] for row in take["rows"]} >= {"length"}
        peaks = await bench.get(f"/page/jobs/{job_id}/takes/1/peaks")
        assert (peaks["start_s"], peaks["end_s"]) == (0.0, 6.0)
        inside = len(peaks["take"]["low"])
        assert peaks["take"]["first"] == peaks["columns"] * 2 // 6
        assert inside == pytest.approx(peaks["columns"] / 12, abs=2)
        assert len(peaks["song"]["high"]) == peaks["columns"]


async def test_a_player_may_ask_for_any_part_of_a_take(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.socket() as socket:
            job_id = await bench.repainted(socket)
        url = f"{bench.url}/page/jobs/{job_id}/takes/1/audio?view=song"
        async with bench.session.get(url) as answer:
            whole = await answer.read()
            assert (answer.status, answer.headers["Accept-Ranges"]) == (200, "bytes")
            assert answer.headers["Content-Type"] == "audio/wav"
        file = tmp_path / "song.wav"
        file.write_bytes(whole)
        assert soundfile.info(file).frames == 6 * RATE
        for given, start, stop in (("0-", 0, len(whole)), ("100-199", 100, 200), ("-50", len(whole) - 50, len(whole))):
            async with bench.session.get(url, headers={"Range": f"bytes={given}"}) as answer:
                assert answer.status == 206
                assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
                assert await answer.read() == whole[start:stop]
        assert await bench.status(url.removeprefix(bench.url), Range="bytes=99999999-") == 416
        assert await bench.status(url.removeprefix(bench.url), Range="bytes=x") == 416
        async with bench.session.head(url) as answer:
            assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(whole))


async def test_onsets_are_measured_against_the_grid_and_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.socket() as socket:
            job_id = await bench.repainted(socket)
        path = f"/page/jobs/{job_id}/takes/1/onsets"
        first, second = await asyncio.gather(bench.get(path), bench.get(path))
        assert first == second
        assert all(1.98 <= time_s < 2.5 and abs(off_ms) < 200 for time_s, off_ms in first)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/page/jobs/none", 404),
        ("/page/jobs/..%2f..%2fetc%2fpasswd", 404),
        ("/page/jobs/none/takes/1/audio", 404),
        ("/page/jobs/none/takes/x/audio", 404),
        ("/page/jobs?count=0", 400),
        ("/page/jobs?count=1e3", 400),
        ("/page/jobs?count=00000000100000", 400),
        ("/page/jobs?count=\u0663", 400),
        ("/page/jobs?count=201", 400),
    ],
)
async def test_what_is_not_there_or_not_meant_is_refused(tmp_path: Path, path: str, status: int) -> None:
    async with opened(tmp_path) as bench:
        assert await bench.status(path) == status


async def test_a_take_that_was_moved_away_is_said_to_be_missing(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.socket() as socket:
            job_id = await bench.repainted(socket)
        (take,) = (await bench.get(f"/page/jobs/{job_id}"))["audio"]
        (Path(take["folder"]) / take["file"]).unlink()
        for what in ("audio", "peaks"):
            async with bench.session.get(f"{bench.url}/page/jobs/{job_id}/takes/1/{what}") as answer:
                assert answer.status == 404
                assert "moved or deleted" in await answer.text()
        assert await bench.status(f"/page/jobs/{job_id}/takes/2/audio") == 404
        assert await bench.status(f"/page/jobs/{job_id}/takes/1/audio?view=x") == 400


async def test_the_settings_are_the_whole_table_with_what_holds_now(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        async with bench.socket() as socket:
            await socket.ask("set/steps", 30)
        rows = {row["name"]: row for row in await bench.get("/page/settings")}
        assert list(rows) == list(SETTINGS)
        assert (rows["steps"]["value"], rows["steps"]["source"]) == ("30", "page:1")
        assert (rows["steps"]["low"], rows["steps"]["high"]) == (1, 300)
        assert rows["prompt"]["value"] is None


# --- the socket -------------------------------------------------------------------------------------------------------
async def test_a_page_hears_what_was_told_before_and_what_is_told_from_then_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, bench.socket() as first, bench.socket() as second:
        await first.ask("tempo", 97.53)
        assert (await second.until("session/state"))[:3] == ["tempo", "97.53", "page:1"]
        async with bench.socket() as third:
            assert (await third.until("session/state"))[:2] == ["tempo", "97.53"]


async def test_an_error_answers_the_frame_that_it_is_about(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, bench.socket() as socket:
        assert (await socket.answer("tempo", -3))[0] == "error"
        name, (code, sentence, address) = await socket.answer("tempoo", 3)
        assert (name, code, address) == ("error", "unknown_address", f"{PREFIX}tempoo")
        assert "tempo" in sentence
        assert (await socket.answer("repaint"))[0] == "error"  # no project: said by the handler
        assert (await socket.answer("subscribe"))[0] == "error"
        assert (await socket.answer("ping", "still there"))[1][-1] == "still there"


async def test_a_flood_of_frames_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    """Thousands come in one piece; the OSC door is on the same loop."""
    async with opened(tmp_path) as bench, bench.socket() as socket:
        for _ in range(1000):
            await socket.raw.send_str("{}")
        async with counted_turns() as turns:
            await socket.ask("ping")
            assert turns.count > 1000


@pytest.mark.parametrize(
    "frame",
    [
        *("", "{", "[]", "3", '{"args": []}', '{"address": 3}', "[" * 5000),
        '{"address": "/stembridge/ping", "args": {}}',
        '{"address": "/stembridge/ping", "args": [[1]]}',
        '{"address": "/stembridge/ping", "ref": [1]}',
    ],
)
async def test_a_frame_that_is_none_is_answered_and_the_page_goes_on(tmp_path: Path, frame: str) -> None:
    async with opened(tmp_path) as bench, bench.socket() as socket:
        await socket.raw.send_str(frame)
        assert (await socket.until("error"))[0] == "bad_argument"
        assert await socket.ask("ping")


async def test_the_ack_comes_before_anything_is_told_of_the_job(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, bench.socket() as socket:
        job_id = await bench.repainted(socket)
        about_job = [frame["address"] for frame in socket.heard if job_id in map(str, frame["args"])]
        assert about_job[0] == "ack"
        assert about_job[-2:] == ["job/state", "job/done"]


async def test_a_job_is_cancelled_through_the_page(tmp_path: Path) -> None:
    async with opened(tmp_path, hold=True) as bench, bench.socket() as socket:
        await socket.ask("project", str(bench.project), RATE)
        await socket.ask("source", str(bench.project / "song.wav"), 0.0)
        await socket.ask("region", 2.0, 2.5)
        job_id = (await socket.ask("repaint", "prompt", "warm tape"))[0]
        await socket.ask("cancel", job_id)
        await socket.until("job/state", lambda args: args[1] == "cancelled")
        (row,) = await bench.get("/page/jobs")
        assert row["state"] == "cancelled"


async def test_a_page_that_does_not_read_is_let_go_and_the_others_hear_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as bench:
        monkeypatch.setattr(page_socket, "MAX_UNREAD", 4)
        async with bench.socket() as deaf, bench.socket() as socket:
            connection = next(iter(bench.page._sockets._open.values()))
            for number in range(20):  # more than fits, before the writer has its turn
                connection.put(json.dumps({"address": f"{PREFIX}ack", "args": [number]}))
            assert await deaf.close_code() == aiohttp.WSCloseCode.TRY_AGAIN_LATER
            assert await socket.ask("ping")


async def test_the_daemons_end_is_said_to_the_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, bench.socket() as socket:
        await socket.ask("ping")
        await bench.page.close()
        assert await socket.close_code() == aiohttp.WSCloseCode.GOING_AWAY
