"""The local network: at which of this machine's addresses controllers elsewhere reach the daemon.

Promises: nothing is listened to beyond the loopback unless the configuration names the interface; an interface that
comes later, or gets another address, is followed; one that is missing is one warning, and the daemon goes on. Who is
served there is decided by bridge/pairing.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import ifaddr

from bridge.discovery import LOOPBACK
from bridge.pairing import Reach, canonical
from bridge.web_config import LanConfig

log = logging.getLogger("stembridge.lan")

FOLLOW_EVERY_S = 30.0

Listener = Callable[[], Awaitable[None]]
"""A door that opens what is to be listened on now and is not open yet, and closes what has gone."""


@dataclass(frozen=True)
class Interface:
    """A network interface as it is now: the names it goes by, and its addresses."""

    names: tuple[str, ...]
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...] = ()

    def is_named(self, wanted: str) -> bool:
        """Does the configuration mean it? By one of its names or addresses."""
        return wanted.lower() in {name.lower() for name in self.names} or wanted in self.ipv4

    def __str__(self) -> str:
        return f"{self.names[0]} ({', '.join(self.ipv4)})"


def interfaces_here() -> list[Interface]:
    """The interfaces of this machine. Takes milliseconds on some systems."""
    return [
        Interface(
            tuple(dict.fromkeys([*(ip.nice_name for ip in adapter.ips), adapter.nice_name, adapter.name])),
            tuple(ip.ip for ip in adapter.ips if isinstance(ip.ip, str)),
            tuple(str(ip.ip[0]) for ip in adapter.ips if not isinstance(ip.ip, str)),
        )
        for adapter in ifaddr.get_adapters()
    ]


def chosen_addresses(wanted: Sequence[str], present: Iterable[Interface]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The IPv4 addresses off the loopback that `wanted` (names, addresses) means now, and what means none."""
    found: dict[str, None] = {}
    missing = []
    for name in wanted:
        meant = [
            address
            for interface in present
            if interface.is_named(name)
            for address in ([name] if name in interface.ipv4 else interface.ipv4)
            if not address.startswith("127.")
        ]
        found.update(dict.fromkeys(meant))
        missing += [] if meant else [name]
    return tuple(found), tuple(missing)


class Lan:
    """Knows this machine's addresses, and follows those of the configured interfaces once `start` was called.

    `osc_host` is the OSC door's own address.
    """

    def __init__(
        self,
        config: LanConfig,
        osc_host: str = LOOPBACK,
        *,
        interfaces: Callable[[], list[Interface]] = interfaces_here,
        every_s: float = FOLLOW_EVERY_S,
    ) -> None:
        self._config, self._osc_host = config, osc_host
        self._interfaces, self._every_s = interfaces, every_s
        self._present: list[Interface] = []
        self._own: frozenset[str] = frozenset()
        self._missing: tuple[str, ...] | None = None
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self.addresses: tuple[str, ...] = ()
        """The addresses of the configured interfaces; empty while the LAN is off."""
        self._osc_port, self._http_port = 0, 0

    def own_addresses(self) -> frozenset[str]:
        """This machine's addresses as of the last look; link-local IPv6 ones are not unique, so they are left out."""
        return self._own

    @property
    def reachable(self) -> tuple[str, ...]:
        """The addresses off the loopback at which the OSC door is reached, however it was told to listen there."""
        if _is_any(self._osc_host):
            return tuple(a for interface in self._present for a in interface.ipv4 if not a.startswith("127."))
        host = (self._osc_host,) if _is_elsewhere(self._osc_host) else ()
        return tuple(dict.fromkeys([*host, *self.addresses]))

    @property
    def osc_hosts(self) -> tuple[str, ...]:
        """What the OSC door listens on beside its own address: the loopback, for programs here, and the LAN."""
        if _is_any(self._osc_host):
            return ()
        also = (LOOPBACK,) if _is_elsewhere(self._osc_host) else ()
        return tuple(address for address in (*also, *self.addresses) if address != self._osc_host)

    def reach(self) -> Reach:
        """What a controller elsewhere has to be told."""
        return Reach(self.reachable, self._osc_port, self._http_port if self.addresses else 0)

    def advertised(self, osc_address: str) -> tuple[str, ...]:
        """The addresses to advertise: off the loopback if there is one; else that which the OSC door is bound to."""
        return self.reachable or ((LOOPBACK,) if _is_any(osc_address) else (osc_address,))

    async def look(self) -> None:
        """Look which interfaces there are now."""
        self._present = await asyncio.to_thread(self._interfaces)
        self._own = frozenset(
            canonical(address)
            for interface in self._present
            for address in (*interface.ipv4, *interface.ipv6)
            if ":" not in address or not ipaddress.ip_address(address).is_link_local
        )
        if self._config.enabled:
            self.addresses, missing = chosen_addresses(self._config.interfaces, self._present)
            self._say(missing)

    def _say(self, missing: tuple[str, ...]) -> None:
        """One warning about what is not there, when that is news."""
        if missing != self._missing and (missing or not self._config.interfaces):
            wrong = f"{', '.join(missing)} not found" if missing else "no interface is named"
            there = in_words(self._present)
            log.warning("Controllers on the network: %s. Set interfaces in [lan] to some of: %s.", wrong, there)
        self._missing = missing

    def follow(self, listener: Listener) -> None:
        """Call `listener` after each look: what could not be opened the last time may be opened now."""
        self._listeners.append(listener)

    def start(self, osc_port: int, http_port: int | None) -> None:
        """Tell controllers these ports, and look again every half minute from now on, if anyone is let in at all."""
        self._osc_port, self._http_port = osc_port, http_port or 0
        if not self._config.enabled and not _is_any(self._osc_host) and not _is_elsewhere(self._osc_host):
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stembridge-lan")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look now, and let the doors follow. Raises nothing."""
        before = self.addresses
        try:
            await self.look()
        except OSError as error:
            log.warning("the network interfaces cannot be looked at: %s", error)
            return
        if self.addresses != before:
            log.info("the network interfaces changed; now %s", ", ".join(self.addresses) or "none is there")
        for listener in self._listeners:
            try:
                await listener()
            except Exception:
                log.exception("a door could not follow the network interfaces")


def in_words(present: Iterable[Interface]) -> str:
    """The interfaces that could be listened on: ``eth0 (192.168.1.20)``, with commas between them."""
    able = (interface for interface in present if any(not address.startswith("127.") for address in interface.ipv4))
    return ", ".join(map(str, able)) or "none is up now"


def _is_any(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _is_elsewhere(host: str) -> bool:
    """Is it one address that is not the loopback's?"""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() != "localhost"
