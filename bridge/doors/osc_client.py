"""A small OSC client over UDP, for the command line, the demo and tests: one blocking, one for asyncio.

Floats are sent as doubles, so that nothing is rounded on the way. The socket is connected: only the daemon's own
answers are heard, and a port where nobody listens is noticed at once where the system reports it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import cast

from bridge.doors.osc_guard import TimedMessage, decode
from bridge.doors.osc_messages import request_datagram
from protocol.address_space import PREFIX
from protocol.errors import BadPacket

ACK, ERROR, PONG = f"{PREFIX}/ack", f"{PREFIX}/error", f"{PREFIX}/pong"
ANSWERS = frozenset({ACK, ERROR, PONG})
"""The addresses with which the daemon answers a request; anything else is an event or a part of the answer."""

_LARGEST = 65_536


def argument(text: str) -> str | int | float:
    """A word of a command line as an OSC argument: ``7`` whole, ``7.0`` or ``1e3`` a double, anything else text."""
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        plain = (
            text.isascii() and "_" not in text and text == text.strip() and text.lower().lstrip("+-")[:1] not in "in"
        )
        return value if plain else text
    return text


class OscClient:
    """Blocking. Use as a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, clock: Callable[[], float] = time.monotonic) -> None:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._clock = clock
        self._socket = socket.socket(family, kind)
        self._socket.connect(address)

    def __enter__(self) -> OscClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, address: str, *args: object) -> None:
        """Send one message; that nobody listens shows in `receive`."""
        try:
            self._socket.send(request_datagram(address, args))
        except ConnectionError:
            # Linux reports the fate of an earlier packet here; this one was not sent yet.
            self._socket.send(request_datagram(address, args))

    def receive(self, timeout_s: float) -> TimedMessage | None:
        """The next message, or None if there is none in time or nobody listens on the port."""
        deadline = self._clock() + timeout_s
        while (left_s := deadline - self._clock()) > 0:
            self._socket.settimeout(left_s)
            try:
                return decode_reply(self._socket.recv(_LARGEST))
            except (TimeoutError, ConnectionError):
                return None
            except BadPacket:
                continue
        return None

    def replies(self, timeout_s: float) -> Iterator[TimedMessage]:
        """Messages as they come, until none comes in time, counted from the call."""
        deadline = self._clock() + timeout_s
        while (message := self.receive(deadline - self._clock())) is not None:
            yield message

    def ask(self, address: str, *args: object, timeout_s: float = 5.0) -> list[TimedMessage]:
        """Send and collect replies up to the ack, error or pong; without one as the last, there was no answer."""
        self.send(address, *args)
        heard = []
        for message in self.replies(timeout_s):
            heard.append(message)
            if message.address in ANSWERS:
                break
        return heard


class AsyncOscClient(asyncio.DatagramProtocol):
    """The same for asyncio: ``client = await AsyncOscClient.open(port)``."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[TimedMessage] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> AsyncOscClient:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(cls, remote_addr=(host, port))
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        try:
            self._heard.put_nowait(decode_reply(data))
        except BadPacket:
            return

    @property
    def port(self) -> int:
        """The client's own port."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def send(self, address: str, *args: object) -> None:
        self.send_datagram(request_datagram(address, args))

    def send_datagram(self, datagram: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(datagram)

    async def receive(self, timeout_s: float = 5.0) -> TimedMessage:
        """The next message; raises `TimeoutError` if none comes in time."""
        return await asyncio.wait_for(self._heard.get(), timeout_s)

    async def ask(self, address: str, *args: object, timeout_s: float = 5.0) -> list[TimedMessage]:
        """Send and collect replies up to the ack, error or pong; raises `TimeoutError` if there is none."""
        self.send(address, *args)
        return await self.until(lambda message: message.address in ANSWERS, timeout_s)

    async def until(self, wanted: Callable[[TimedMessage], bool], timeout_s: float = 5.0) -> list[TimedMessage]:
        """All messages up to the first one wanted; raises `TimeoutError` if it does not come in time."""
        heard: list[TimedMessage] = []
        async with asyncio.timeout(timeout_s):
            while not heard or not wanted(heard[-1]):
                heard.append(await self._heard.get())
        return heard

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def decode_reply(datagram: bytes) -> TimedMessage:
    """The one message of a datagram from the daemon; raises `BadPacket` if it is none."""
    messages = decode(datagram, max_bytes=_LARGEST)
    if len(messages) != 1:
        raise BadPacket(f"A reply holds {len(messages)} messages; one was expected.")
    return messages[0]
