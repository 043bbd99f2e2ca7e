"""What HTTP means to the daemon: the parts behind the HTTP door, put together, started and ended in the right order.

Imported only when the door is on, as aiohttp and the task API are. Whatever is wrong here (a port that is taken, a file
that cannot be opened, a mistake of ours) is told once: the daemon goes on without HTTP, because OSC is what plays.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from bridge.api.database import Database
from bridge.api.media import MediaStore
from bridge.api.models import Models
from bridge.api.outbox import Outbox
from bridge.api.service import ApiService
from bridge.config import Config
from bridge.desk import Desk
from bridge.discovery import LOOPBACK, instance_name
from bridge.doors.http import HttpDoor
from bridge.doors.oscquery import OscQuery
from bridge.doors.page import Page
from bridge.pairing import Pairing
from bridge.web_client import SafeClient
from protocol.errors import StembridgeError

log = logging.getLogger("stembridge.http")

FOLDER = "api"
"""In the data folder: the task API's database, its media, and the jobs' stems."""

_DAY_S = 86_400.0
_IN_USE = (errno.EADDRINUSE, 10048)  # the latter is Windows' own


class HttpSide:
    """The HTTP door of a daemon and all behind it. `osc_address` tells where the OSC door listens, `describe` is the
    daemon's ready line."""

    def __init__(
        self,
        config: Config,
        desk: Desk,
        pairing: Pairing,
        *,
        osc_address: Callable[[], tuple[str, int]],
        describe: Callable[[], dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._desk, self._pairing = config, desk, pairing
        self._osc_address, self._describe = osc_address, describe
        self._clock, self._now = clock, now
        self._stack = AsyncExitStack()
        self._door: HttpDoor | None = None
        self.port: int | None = None
        """Where the door listens; None while, or if, it does not."""

    async def start(self, addresses: Sequence[str] = ()) -> None:
        """Open the door, on this machine and on these addresses of its network."""
        try:
            self._door = await self._composed()
            self.port = await self._door.start((*_loopback(), *addresses), _port(self._config))
            log.info("HTTP on port %d", self.port)
        except (StembridgeError, OSError) as error:
            log.warning("%s The daemon goes on without HTTP.", _in_words(error, _port(self._config)))
            await self.close()
        except Exception:
            log.exception("The HTTP door failed to open, which is a mistake of ours. The daemon goes on without HTTP.")
            await self.close()

    async def listen_on(self, addresses: Sequence[str]) -> None:
        """Other addresses of the network from now on."""
        if self._door is not None:
            await self._door.listen_on((*_loopback(), *addresses))

    async def close(self) -> None:
        """The door first: what comes now is refused; then what it asked for is brought to rest."""
        self._door = None
        await self._stack.aclose()

    async def _composed(self) -> HttpDoor:
        http, folder, stack = self._config.http, self._config.data_dir / FOLDER, self._stack
        max_bytes, keep_s = int(http.max_media_mb * 1e6), http.keep_days * _DAY_S or None
        database = await asyncio.to_thread(Database, folder / "api.sqlite3")
        stack.push_async_callback(asyncio.to_thread, database.close)
        media = MediaStore(folder / "media", database, max_bytes=max_bytes, now=self._now, keep_s=keep_s)
        client = SafeClient(http.allow_private, max_bytes, clock=self._clock)
        stack.push_async_callback(client.close)
        outbox = Outbox(database, client, secret=http.webhook_secret, now=self._now)
        service = ApiService(
            *(self._desk, database, media, outbox, client, Models(self._config.engine.name, self._desk)),
            folder=folder / "work",
            keep_s=keep_s,
            clock=self._clock,
            now=self._now,
        )
        stack.push_async_callback(outbox.stop)  # before the start, which may fail half-way
        await outbox.start()
        stack.push_async_callback(service.stop)
        await service.start()
        door = HttpDoor(
            http,
            service,
            media,
            pairing=self._pairing,
            oscquery=OscQuery(
                self._desk,
                osc_address=self._osc_address,
                name=instance_name(),
                clock=self._clock,
                wall=self._now,
                serves=self._pairing.serves,
            ),
            page=Page(self._desk, pairing=self._pairing, describe=self._describe, clock=self._clock),
            clock=self._clock,
        )
        stack.push_async_callback(door.close)
        return door


def _port(config: Config) -> int:
    return 0 if config.http.port == "off" else config.http.port


def _loopback() -> tuple[str, ...]:
    """Both, where there are both: ``localhost`` means the IPv6 one first to many browsers."""
    return (LOOPBACK, "::1") if socket.has_ipv6 else (LOOPBACK,)


def _in_words(error: Exception, port: int) -> str:
    if isinstance(error, OSError):
        if error.errno in _IN_USE or getattr(error, "winerror", 0) in _IN_USE:
            return (
                f"TCP port {port} is in use, perhaps by another Stembridge: end it, or choose another port with "
                "--http-port (0 picks a free one)."
            )
        return f"TCP port {port} cannot be opened ({error}): choose another one with --http-port."
    return f"The HTTP door cannot be opened: {error}"
