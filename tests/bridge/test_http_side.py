"""The HTTP side of a daemon: it opens whole or not at all, and whatever is wrong with it is no reason to end OSC."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bridge.api.service import ApiService
from bridge.config import Config, FoldersConfig
from bridge.core import Core
from bridge.http_side import FOLDER, HttpSide
from bridge.live.director import LiveDirector
from bridge.pairing import Pairing
from bridge.transport import Transport
from bridge.web_config import HttpConfig
from engine.audio import probe
from tests.support.queues import running


@asynccontextmanager
async def side(folder: Path, port: int = 0) -> AsyncIterator[tuple[HttpSide, Core]]:
    """A started HTTP side, and the desk behind it."""
    async with running(folder / "queue") as bench:
        core = Core(queue=bench.queue, engine_name="test", capabilities=lambda _: NotImplemented, probe=probe)
        core.live = LiveDirector(core, Transport(lambda: core.session), time.monotonic)
        config = Config(http=HttpConfig(port=port), folders=FoldersConfig(data_dir=folder))
        http = HttpSide(
            config, core, Pairing(None), osc_address=lambda: ("127.0.0.1", 9240), describe=lambda: {"event": "ready"}
        )
        try:
            await http.start()
            yield http, core
        finally:
            await http.close()


def listeners(core: Core) -> int:
    return len(core._listeners)


async def test_it_answers_until_it_is_closed_and_then_hears_nothing_more(tmp_path: Path) -> None:
    async with side(tmp_path) as (http, core), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{http.port}/?HOST_INFO") as answer:
            assert answer.status == 200
        assert listeners(core) > 0
        await http.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:{http.port}/")
        assert listeners(core) == 0


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


async def _refused(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def _broken(_: ApiService) -> None:
    raise KeyError("seed")


@pytest.mark.parametrize("cause", ["port in use", "port not for users", "damaged file", "a mistake of ours"])
async def test_what_is_wrong_is_told_once_and_leaves_nothing_half_open(
    cause: str, tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port, words = 0, "cannot be opened"
    match cause:
        case "port in use":
            port, words = taken, "is in use"
        case "port not for users":  # as one below 1024 is on some systems
            monkeypatch.setattr(asyncio.BaseEventLoop, "create_server", _refused)
            words = "cannot be opened ([Errno 13] Permission denied)"
        case "damaged file":
            (tmp_path / FOLDER).mkdir()
            (tmp_path / FOLDER / "api.sqlite3").write_bytes(b"no database " * 100)
        case "a mistake of ours":  # when the service listens already
            monkeypatch.setattr(ApiService, "_sweep_forever", _broken)
            words = cause
    async with side(tmp_path, port) as (http, core):
        (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert words in told.getMessage()
        assert "goes on without HTTP." in told.getMessage()
        assert http.port is None
        assert listeners(core) == 0
