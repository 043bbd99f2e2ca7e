"""The page on a real core, queue and disk, served over loopback; and a page's end of its socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bridge.doors.page import Page
from bridge.live.director import LiveDirector
from bridge.pairing import Pairing
from bridge.transport import Transport
from tests.support.api import ApiBench, serving
from tests.support.audio import save, tones

RATE = 8_000
PREFIX = "/stembridge/"


@dataclass
class PageBench:
    """The parts behind the page, and a client's session."""

    parts: ApiBench
    page: Page
    session: aiohttp.ClientSession
    url: str
    project: Path

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def status(self, path: str, **headers: str) -> int:
        async with self.session.get(self.url + path, headers=headers) as answer:
            await answer.read()
            return answer.status

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Socket]:
        async with self.session.ws_connect(self.url + "/page/socket") as socket:
            yield Socket(socket)

    async def repainted(self, socket: Socket, **options: Any) -> str:
        """The id of a done repaint of half a second in the song."""
        await socket.ask("project", str(self.project), RATE)
        await socket.ask("source", str(self.project / "song.wav"), 0.0)
        await socket.ask("tempo", 97.5)
        await socket.ask("region", 2.0, 2.5)
        words = [word for pair in options.items() for word in pair]
        job_id = (await socket.ask("repaint", "prompt", "warm tape", *words))[0]
        await socket.until("job/done", lambda args: args[0] == job_id)
        return str(job_id)


class Socket:
    """The page's end."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = socket
        self.heard: list[dict[str, Any]] = []
        self._ref = 0

    async def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = await self.raw.receive_json(timeout=10)
        frame["address"] = frame["address"].removeprefix(PREFIX)
        self.heard.append(frame)
        return frame

    async def close_code(self) -> int | None:
        """How the daemon ended it, once it has."""
        while (await self.raw.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass
        return self.raw.close_code

    async def until(self, name: str, wanted: Callable[[list[Any]], bool] = lambda _: True) -> list[Any]:
        """The arguments of the next message of that name."""
        while True:
            frame = await self.hear()
            if frame["address"] == name and wanted(frame["args"]):
                return list(frame["args"])

    async def ask(self, name: str, *args: Any) -> list[Any]:
        """The arguments of the ack (or pong); an error raises `AssertionError`."""
        address, answered = await self.answer(name, *args)
        assert address != "error", answered
        return answered

    async def answer(self, name: str, *args: Any) -> tuple[str, list[Any]]:
        """What answers: ack, pong or error, and its arguments."""
        self._ref += 1
        await self.raw.send_json({"address": PREFIX + name, "args": list(args), "ref": self._ref})
        while True:
            frame = await self.hear()
            if frame.get("ref") == self._ref and frame["address"] in ("ack", "pong", "error"):
                return frame["address"], frame["args"]


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[PageBench]:
    """A page on the parts of one daemon, with a project folder that holds six seconds of song."""
    project = folder / "project"
    save(project / "song.wav", tones(6 * RATE, RATE), RATE, subtype="PCM_24")
    async with serving(folder / "data", **options) as parts:
        core = parts.core
        core.live = LiveDirector(core, Transport(lambda: core.session, lambda: None), time.monotonic)
        about = {"engine": "noise", "version": core.version, "protocol": 1, "osc_port": 9240, "http_port": 9242}
        page = Page(core, pairing=Pairing(None), describe=lambda: about, clock=time.monotonic)
        app = web.Application()
        app.add_routes([web.get("/", page.index), *page.routes()])
        runner = web.AppRunner(app, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                yield PageBench(parts, page, session, f"http://127.0.0.1:{port}", project)
        finally:
            await page.close()
            await runner.cleanup()
