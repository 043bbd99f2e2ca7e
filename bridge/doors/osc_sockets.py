"""The OSC door's UDP sockets: one port, and one socket for each address that is listened on.

They promise: an answer leaves from the socket on which its receiver was heard, because a controller ignores what comes
from elsewhere; a client that is gone, or a network that cannot be reached, disturbs nobody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from bridge.doors.osc_subscriptions import Sender

log = logging.getLogger("stembridge.osc")

RECEIVE_BUFFER = 4 * 2**20
_MOST_WAYS = 1024

Way = asyncio.DatagramTransport
"""The socket by which a datagram came."""

Receive = Callable[[bytes, Sender, Way], None]


class Sockets:
    """`receive` is called with each datagram, its sender and the way it came."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._open: dict[str, Way] = {}
        self._ways: OrderedDict[Sender, Way] = OrderedDict()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses that are listened on, the first opened first."""
        return tuple(self._open)

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen at an address; it and the port as they are now. Raises `OSError`, as when the port is in use."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        bound = _bound_socket(found[0][0], found[0][4])
        transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self._receive), sock=bound)
        at = bound.getsockname()
        self._open[str(at[0])] = transport
        return str(at[0]), int(at[1])

    def close(self, host: str | None = None) -> None:
        """Listen no longer at `host`; None: nowhere."""
        for name in [host] if host is not None else list(self._open):
            closing = self._open.pop(name)
            closing.close()
            self._ways = OrderedDict((key, way) for key, way in self._ways.items() if way is not closing)

    def remember(self, sender: Sender, way: Way) -> None:
        """What goes to `sender` from now on leaves by the socket on which it was heard."""
        if len(self._open) > 1 and self._ways.get(sender[:2]) is not way:
            self._ways[sender[:2]] = way
            while len(self._ways) > _MOST_WAYS:
                self._ways.popitem(last=False)

    def send(self, datagram: bytes, to: Sender) -> None:
        """Send from this port. Nothing if it is closed."""
        way = self._way_to(to)
        if way is None or way.is_closing():
            return
        with suppress(OSError):  # the client is gone, or its address cannot be reached from here
            way.sendto(datagram, to)

    def _way_to(self, to: Sender) -> Way | None:
        if len(self._open) > 1:
            if to[:2] not in self._ways:  # asked before the daemon was started again, or not heard yet
                self.remember(to, self._open.get(_own_address_towards(to), next(iter(self._open.values()))))
            return self._ways[to[:2]]
        return next(iter(self._open.values()), None)


class _Receiver(asyncio.DatagramProtocol):
    """What asyncio calls; hands everything on, with the way it came."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._way: Way | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._way = cast(Way, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self._way is not None
        self._receive(data, addr, self._way)

    def error_received(self, exc: Exception) -> None:
        # A client that is gone: Linux reports ECONNREFUSED, Windows ConnectionResetError.
        log.debug("a message could not be delivered: %s", exc)


def _own_address_towards(to: Sender) -> str:
    """The address of ours from which the system would send there. Connecting a datagram socket sends nothing."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(to[:2])
        return str(asking.getsockname()[0])
    return ""


def _keep_reading_on_windows(bound: socket.socket) -> None:
    """Switch off SIO_UDP_CONNRESET: with it, one client that is gone ends asyncio's reading on Windows for good.

    Python's own `ioctl` refuses that code. See CPython gh-91227 and gh-127057. Not run on Windows yet.
    """
    import ctypes

    off, returned = ctypes.c_ulong(0), ctypes.c_ulong(0)
    ctypes.windll.ws2_32.WSAIoctl(  # type: ignore[attr-defined, unused-ignore]
        bound.fileno(), 0x9800000C, ctypes.byref(off), ctypes.sizeof(off), None, 0, ctypes.byref(returned), None, None
    )


def _bound_socket(family: int, address: Any) -> socket.socket:
    """A UDP socket that shares its port with nobody, so that two daemons on one port are an error."""
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if sys.platform == "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            _keep_reading_on_windows(bound)
        with suppress(OSError):  # room for a burst, as far as the system allows
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        bound.bind(address)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
