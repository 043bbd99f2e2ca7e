"""Who may connect at all: looked at before a byte of a request is, so that a stranger gets none back.

aiohttp answers what it cannot parse, and would so tell a stranger that somebody is here. A connection from an address
that is not served (`bridge.pairing`) therefore does not reach it before its first line was ``GET /pair/PIN`` with the
right PIN.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

_KNOCK = b"GET /pair/"
PAIR_LINE = re.compile(rb"GET /pair/([0-9]{4,12}) HTTP/1\.[01]\r\n")
_FIRST_LINE_BYTES = 64
_FIRST_LINE_S = 5.0
MOST_CONNECTIONS = 160
"""macOS lets a program open 256 files, and the journal, stems and engines need theirs."""
MOST_OF_ONE_ADDRESS = 96
"""A tablet, or a program here, that opens more and more keeps nobody else out."""
MOST_STRANGERS = 16
"""Connections that have not shown a PIN yet; more are cut at once."""
MOST_OF_ONE_STRANGER = 4
"""Or one of them could keep all others from showing theirs."""


def peer_ip(transport: asyncio.BaseTransport | None) -> str:
    """The address at the other end, without an IPv6 zone; empty if it has gone."""
    peer = transport.get_extra_info("peername") if transport is not None else None
    address = str(peer[0]) if peer else ""
    return address.removeprefix("::ffff:").partition("%")[0]


class Gate:
    """Stands before `handler` (what makes aiohttp's protocols). Give `protocol` to ``loop.create_server``.

    `serves` tells whether an address is, `pair` serves it from now on if the PIN is right, and tells whether it was.
    """

    def __init__(
        self,
        handler: Callable[[], asyncio.BaseProtocol],
        serves: Callable[[str], bool],
        pair: Callable[[str, str], bool],
    ) -> None:
        self._handler, self._serves, self._pair = handler, serves, pair
        self._connections: dict[asyncio.Transport, str] = {}
        self._strangers: set[asyncio.Transport] = set()

    def protocol(self) -> asyncio.Protocol:
        """For one new connection."""
        return _AtTheDoor(self)

    def drop_unserved(self, still_serves: Callable[[str], bool]) -> None:
        """Cut what is open to addresses that are not served any more; `still_serves` asks without counting as heard."""
        for transport, address in tuple(self._connections.items()):
            if not still_serves(address):
                transport.abort()

    def drop_strangers(self) -> None:
        """Cut who has not shown a PIN yet: the door closes."""
        for transport in tuple(self._strangers):
            transport.abort()

    # --- for the connections ------------------------------------------------------------------------------------------
    def came(self, transport: asyncio.Transport) -> bool | None:
        """True: served. False: a stranger that may show a PIN. None: cut."""
        self._connections = {open_: ip for open_, ip in self._connections.items() if not open_.is_closing()}
        address = peer_ip(transport)
        if len(self._connections) >= MOST_CONNECTIONS:
            return None
        if self._serves(address):
            if list(self._connections.values()).count(address) >= MOST_OF_ONE_ADDRESS:
                return None
            self._connections[transport] = address
            return True
        of_this_one = [peer_ip(stranger) for stranger in self._strangers].count(address)
        if not address or len(self._strangers) >= MOST_STRANGERS or of_this_one >= MOST_OF_ONE_STRANGER:
            return None
        self._strangers.add(transport)
        return False

    def left(self, transport: asyncio.Transport) -> None:
        """A stranger went, or is none any more."""
        self._strangers.discard(transport)

    def pairs(self, transport: asyncio.Transport, heard: bytes) -> bool:
        """Does what it said first hold the PIN?"""
        knock = PAIR_LINE.match(heard)
        return knock is not None and self._pair(peer_ip(transport), knock[1].decode())

    def hand_on(self, transport: asyncio.Transport, heard: bytes = b"") -> None:
        """Let aiohttp have the connection, and what came on it."""
        self._connections[transport] = peer_ip(transport)
        protocol = cast(asyncio.Protocol, self._handler())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if heard:
            protocol.data_received(heard)


class _AtTheDoor(asyncio.Protocol):
    """A connection until it is known whose it is."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._heard = b""
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast(asyncio.Transport, transport)
        served = self._gate.came(connection)
        if served:
            self._gate.hand_on(connection)
        elif served is None:
            connection.abort()
        else:
            self._transport = connection
            self._patience = asyncio.get_running_loop().call_later(_FIRST_LINE_S, connection.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._heard += data
        if b"\n" in self._heard and self._gate.pairs(self._transport, self._heard):
            transport = self._transport
            self._leave()
            self._gate.hand_on(transport, self._heard)
        elif not self._may_knock():
            self._transport.abort()

    def _may_knock(self) -> bool:
        """Could the rest of a first line still make it a PIN?"""
        begins = self._heard[: len(_KNOCK)] == _KNOCK[: len(self._heard)]
        return begins and b"\n" not in self._heard and len(self._heard) < _FIRST_LINE_BYTES

    def connection_lost(self, _exc: Exception | None) -> None:
        self._leave()

    def _leave(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._gate.left(transport)
        if self._patience is not None:
            self._patience.cancel()
