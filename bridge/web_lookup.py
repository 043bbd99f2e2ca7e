"""What lies under a request that a task asked for: looking names up, the system's networks, and the socket itself.

A lookup can take a minute where a name server is slow, and cannot be stopped; a socket is read by the loop that hears
OSC. Neither may hold anybody else up.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

import ifaddr
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge.web_guard import Network

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

Lookup = Callable[[str], Iterable[str]]
"""The addresses of a name; blocks; raises `OSError` if there are none."""

READ_BYTES = 8192
_LOOKUPS = 8


class GentleSocket(socket.socket):
    """Reads little at once.

    The loop hands all that one read gives to the parser of HTTP, and a hostile server can write what takes it far
    longer than audio does: 256 KiB of empty interim answers took 140 ms, in which no OSC message was heard. On Windows
    the loop reads past these methods, 64 KiB at once.
    """

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As the base class."""
        return super().recv(min(size, READ_BYTES), flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """As the base class; how TLS is read."""
        return super().recv_into(buffer, min(nbytes or len(memoryview(buffer)), READ_BYTES), flags)


class JudgedResolver(AbstractResolver):
    """Hands aiohttp only addresses that were judged."""

    def __init__(self, judged: Callable[[str], Awaitable[list[str]]]) -> None:
        self._judged = judged

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - we are never asked for one of them
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._judged(host)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Lookups:
    """Threads of their own for what may hang in the system's resolver, which can be neither stopped nor awaited.

    In the loop's executor a few names with slow servers would hold up everybody's files; and these threads do not keep
    the daemon from ending.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_LOOKUPS)

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; who gives up waiting leaves it running."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: Exception | None) -> None:
            self._free.release()
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(cast(T, value))

        def run() -> None:
            value, problem = None, None
            try:
                value = work()
            except Exception as error:
                problem = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, value, problem)

        threading.Thread(target=run, name="name lookup", daemon=True).start()
        return await answer


# --- the system -------------------------------------------------------------------------------------------------------
def system_lookup(host: str) -> list[str]:
    """The addresses that the system knows for a name; blocks, for seconds if a server is slow. Raises `OSError`."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except UnicodeError as error:
        raise OSError(f"{host} is no host name") from error


def system_networks() -> list[Network]:
    """The networks that this machine's interfaces are part of."""
    found: list[Network] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            # Some tunnels claim the whole internet as their network: of these, only our own address.
            length = ip.network_prefix if ip.network_prefix >= address.max_prefixlen // 4 else address.max_prefixlen
            found.append(ipaddress.ip_network((address, length), strict=False))
    return found
