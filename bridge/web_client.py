"""The only way in which tasks make the daemon ask other servers: to fetch audio, to call webhooks, to upload files.

A URL comes from whoever sent the task, so every connection is judged by `bridge.web_guard`: names are looked up here,
and what was judged is what is connected to, so that nothing can change in between; every redirect is judged anew; and
each socket is judged a last time when it is made, whatever led there. No proxy, cookie, password file or local file is
used. What a server sends is capped in size, in time and in slowness. A connection serves one request and is closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp import AddrInfoType
from yarl import URL

from bridge import __version__
from bridge.web_guard import (
    Network,
    WebFailed,
    WebRefused,
    is_allowed,
    legible,
    literal,
    networks,
    not_allowed,
    web_url,
)
from bridge.web_lookup import GentleSocket, JudgedResolver, Lookup, Lookups, system_lookup, system_networks

log = logging.getLogger("stembridge.web")

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_CONNECT_S = 10.0
_SILENCE_S = 20.0
_ANSWER_S = 30.0
"""In which a server has to answer, were it only with its headers; the receiver of a webhook has no longer in all."""
_SLOWEST_BYTES_PER_S = 4096
_SLOW_START_S = 15.0
"""For how long a server may be slower than that."""
_CONNECTIONS = 32
_PIECE_BYTES = 65_536
_MB = 1_000_000


class _Barred(OSError):
    """A socket was about to be made to an address that is not allowed."""


class SafeClient:
    """Asks other servers on behalf of tasks. Use from one event loop, and `close` it.

    `allow_private` names networks off the internet that may be reached; `max_bytes` is the most that is fetched at
    once, `timeout_s` the longest that one fetch or upload may take in all. `clock` is monotonic, in seconds. `lookup`
    and `own_networks` say what the system says unless something else is passed.
    """

    def __init__(
        self,
        allow_private: Sequence[str] = (),
        max_bytes: int = 512 * _MB,
        *,
        timeout_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        lookup: Lookup | None = None,
        own_networks: Callable[[], Iterable[Network]] | None = None,
    ) -> None:
        self._allowed = networks(allow_private)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._clock = clock
        self._lookup = lookup or system_lookup
        self._own_networks = own_networks or system_networks
        self._lookups = Lookups()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Drop what is under way and every connection; nothing is asked any more."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def check(self, url: str) -> None:
        """Raise `WebRefused` for a URL that will not be asked, as far as can be seen without looking its name up."""
        web_url(url, self._allowed)

    # --- asking -------------------------------------------------------------------------------------------------------
    async def fetch(self, url: str) -> AsyncGenerator[bytes, None]:
        """The body at `url`, in pieces. Close the iterator (`contextlib.aclosing`) where you may stop early.

        Raises `WebRefused` or `WebFailed`, also in the middle: what came before is then worth nothing.
        """
        place = web_url(url, self._allowed)
        until = self._clock() + self._timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            async with self._asked("GET", place, until - self._clock(), {"Accept": "*/*"}) as response:
                if response.status not in _REDIRECTS:
                    self._judge(response)
                    async for piece in self._body(response):
                        yield piece
                    return
                place = self._next_place(response)
        raise WebRefused(f"{place.host} redirects more than {MAX_REDIRECTS} times: give the URL of the audio itself.")

    async def post(self, url: str, body: bytes | bytearray, headers: Mapping[str, str]) -> int:
        """POST `body` and return the HTTP status; redirects are not followed, the answer is not read."""
        seconds = min(_ANSWER_S, self._timeout_s)
        whole = {"Content-Length": str(len(body)), **headers}
        async with self._asked("POST", web_url(url, self._allowed), seconds, whole, _pieces(body)) as response:
            return response.status

    async def put(self, url: str, file: Path, mime: str) -> int:
        """PUT the bytes of `file` and return the HTTP status, as `post`. Raises `OSError` if it cannot be opened."""
        place = web_url(url, self._allowed)
        opened, size = await asyncio.to_thread(_open, file)
        try:
            headers = {"Content-Type": mime, "Content-Length": str(size)}
            async with self._asked("PUT", place, self._timeout_s, headers, _file_pieces(opened, size)) as response:
                return response.status
        finally:
            await asyncio.to_thread(opened.close)

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        place: URL,
        seconds: float,
        headers: Mapping[str, str],
        body: AsyncIterator[memoryview | bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        with _in_words(place):
            if seconds <= 0:
                raise TimeoutError
            async with asyncio.timeout(seconds if method == "PUT" else min(seconds, _ANSWER_S)):
                if literal(place.raw_host or "") is not None:  # aiohttp does not ask its resolver about these
                    await self._judged_addresses(place.raw_host or "")
                response = await self._opened().request(
                    method,
                    place,
                    data=body,
                    headers={"Accept-Encoding": "identity", **headers},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
                )
            async with response:
                yield response

    def _opened(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise WebFailed("Stembridge is ending: ask again when it runs.")
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=JudgedResolver(self._judged_addresses),
                use_dns_cache=False,
                force_close=True,
                limit=_CONNECTIONS,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"User-Agent": f"Stembridge/{__version__}"},
                read_bufsize=_PIECE_BYTES,
            )
        return self._session

    # --- judging addresses --------------------------------------------------------------------------------------------
    async def _judged_addresses(self, host: str) -> list[str]:
        """The addresses of a name (or the literal itself) that may be connected to. Raises `WebRefused`."""

        def look_up() -> tuple[list[str], tuple[Network, ...]]:
            found = [host] if literal(host) is not None else list(self._lookup(host))
            return found, tuple(self._own_networks())

        found, own = await self._lookups.call(look_up)
        good = [one for one in found if "%" not in one and is_allowed(ipaddress.ip_address(one), self._allowed, own)]
        if not good:
            log.info("a task may not reach %s at %s", host, ", ".join(found))
            raise not_allowed(host)
        return good

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, proto, _, address = info
        if not is_allowed(ipaddress.ip_address(str(address[0])), self._allowed):
            raise _Barred(f"a task may not reach {address[0]}")
        return GentleSocket(family, kind, proto)

    # --- judging answers ----------------------------------------------------------------------------------------------
    def _next_place(self, response: aiohttp.ClientResponse) -> URL:
        place = response.url
        target = response.headers.get("Location", "")
        if not target:
            raise WebFailed(f"{place.host} redirects to nowhere: give another URL.")
        return web_url(str(place.join(URL(legible(target)))), self._allowed)

    def _judge(self, response: aiohttp.ClientResponse) -> None:
        host = response.url.host
        if response.status != _OK:
            raise WebFailed(f"{host} answered {response.status}: check that the URL leads to an audio file.")
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise WebRefused(f"{host} sends packed data ({coding[:40]!r}): give a URL of the audio as it is.")
        if (response.content_length or 0) > self._max_bytes:
            raise self._too_large(host)

    async def _body(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        received, waited = 0, 0.0
        while True:
            before = self._clock()
            piece = await response.content.readany()
            waited += self._clock() - before
            if not piece:
                return
            received += len(piece)
            if received > self._max_bytes:
                raise self._too_large(response.url.host)
            if received < (waited - _SLOW_START_S) * _SLOWEST_BYTES_PER_S:
                raise WebFailed(f"{response.url.host} sends too slowly: try again, or upload the file.")
            yield piece

    def _too_large(self, host: str | None) -> WebRefused:
        return WebRefused(
            f"{host} sends more than {self._max_bytes / _MB:g} MB: give a shorter file, or one as FLAC or MP3."
        )


# --- bodies -----------------------------------------------------------------------------------------------------------
def _open(file: Path) -> tuple[BinaryIO, int]:
    opened = file.open("rb")
    return opened, os.fstat(opened.fileno()).st_size


async def _file_pieces(opened: BinaryIO, size: int) -> AsyncIterator[bytes]:
    while size > 0 and (piece := await asyncio.to_thread(opened.read, min(_PIECE_BYTES, size))):
        size -= len(piece)
        yield piece


async def _pieces(body: bytes | bytearray) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]


# --- errors -----------------------------------------------------------------------------------------------------------
@contextmanager
def _in_words(place: URL) -> Iterator[None]:
    """What goes wrong with a server, as sentences. Query and path stay out of them: they may hold a token."""
    host = place.host
    try:
        yield
    except TimeoutError as error:
        raise WebFailed(f"{host} took too long to answer: try again later, or upload the file.") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise WebFailed(f"There is no server named {host}, or no network: check the URL.") from error
    except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
        raise WebFailed(f"{host} could not prove who it is: check its certificate, or the URL.") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _Barred):
            raise not_allowed(str(host)) from error
        raise WebFailed(f"{host} could not be reached: check that it runs, or try again later.") from error
    except aiohttp.ClientPayloadError as error:
        raise WebFailed(f"{host} broke off in the middle of the file: try again.") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise WebFailed(f"{host} did not answer as a web server should ({type(error).__name__}).") from error
