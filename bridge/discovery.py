"""Zeroconf: how a controller finds the daemon without being told a port, and how our own tools find it.

Promises: advertising never delays or ends the daemon (a failure is one logged warning that says what to do); nothing
leaves this machine unless the configuration names other interfaces than the loopback; the name that is reported is the
one the network really shows, also after a conflict; interfaces that come and go are followed.

Types: `_osc._udp` for the OSC door and `_oscjson._tcp` (OSCQuery's) for the HTTP door. TXT records: version, engine,
protocol. Standards: RFC 6762 (mDNS), RFC 6763 (DNS-SD).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from bridge import __version__
from protocol import PROTOCOL_VERSION
from protocol.errors import BadArgument, StembridgeError

log = logging.getLogger("stembridge.discovery")

OSC_TYPE = "_osc._udp.local."
HTTP_TYPE = "_oscjson._tcp.local."
LOOPBACK = "127.0.0.1"

_LABEL_BYTES = 63
_RENAME_ROOM = 4
"""Bytes left free in an instance name for the "-2" or "-37" of a name conflict."""
_TXT_VALUE_BYTES = 100
"""Longest TXT value sent; three of them stay far under the 400 bytes that fit one packet with everything else."""
_FOLLOW_EVERY_S = 30.0
_RESOLVE_S = 2.0

Interfaces = str | Sequence[str]
"""``"lo"``, ``"all"``, ``"off"``, or the IPv4 addresses of the interfaces to use (a list, or with commas between)."""

LocalAddresses = Callable[[], Iterable[str]]
"""Gives the IPv4 addresses this machine has at the moment."""


class DiscoveryUnavailable(StembridgeError):
    """Zeroconf cannot work on the interfaces asked for."""

    code = "discovery_unavailable"


@dataclass(frozen=True)
class Found:
    """A service seen on the network: instance name, where it listens, and its TXT records."""

    name: str
    host: str
    port: int
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def is_stembridge(self) -> bool:
        """True for our own daemons, told by their TXT records (other OSC programs share the service type)."""
        return "protocol" in self.properties and "engine" in self.properties


def parse_interfaces(text: str) -> Interfaces:
    """The value of ``--zeroconf``: ``lo``, ``all``, ``off`` or IPv4 addresses with commas between them.

    Raises `BadArgument` for anything else.
    """
    word = text.strip().lower()
    if word in ("lo", "all", "off"):
        return word
    addresses = [part.strip() for part in text.split(",") if part.strip()]
    for address in addresses:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise BadArgument(
                f"The zeroconf interfaces must be lo, all, off or IPv4 addresses such as 192.168.1.20, not {address!r}."
            ) from None
    if not addresses:
        raise BadArgument("The zeroconf interfaces must be lo, all, off or IPv4 addresses; nothing was given.")
    return addresses


def ipv4_addresses() -> list[str]:
    """Every IPv4 address of this machine's network interfaces, the loopback included."""
    return [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]


def usable_addresses(interfaces: Interfaces, local_addresses: LocalAddresses = ipv4_addresses) -> list[str]:
    """The IPv4 addresses to use now for `interfaces`, sorted; raises `DiscoveryUnavailable` if there is none."""
    if interfaces == "lo":
        return [LOOPBACK]
    present = sorted(set(local_addresses()))
    if interfaces == "all":
        return present or [LOOPBACK]
    asked = parse_interfaces(interfaces) if isinstance(interfaces, str) else interfaces
    usable = sorted(address for address in asked if address in present or address.startswith("127."))
    if not usable:
        raise DiscoveryUnavailable(
            f"No network interface has the address {', '.join(asked)}. Set zeroconf to lo, all or one of: "
            f"{', '.join(present) or LOOPBACK}."
        )
    return usable


def cut_utf8(text: str, limit: int) -> str:
    """`text` cut to at most `limit` bytes of UTF-8, never inside a character."""
    return text.encode()[:limit].decode(errors="ignore")


def instance_name(host: str | None = None) -> str:
    """``Stembridge on HOST``, safe as a DNS-SD instance name (at most 63 bytes, room for a rename included)."""
    name = host if host is not None else socket.gethostname()
    printable = "".join(char for char in name if char.isprintable()).strip()
    return cut_utf8(f"Stembridge on {printable or 'this computer'}", _LABEL_BYTES - _RENAME_ROOM).strip()


def txt_records(version: str, engine: str, protocol: int = PROTOCOL_VERSION) -> dict[str, str]:
    """What the TXT records say, each value cut so that the whole stays under 400 bytes."""
    values = {"version": version, "engine": engine, "protocol": str(protocol)}
    return {key: cut_utf8(value, _TXT_VALUE_BYTES) for key, value in values.items()}


class Advertiser:
    """Keeps the daemon's doors visible. `start` returns at once; `settled` tells how it went; `stop` takes it back.

    Parameters: `hosts` gives the addresses that the doors listen on now (None: every interface that is used), `also`
    those to advertise on beside `interfaces`, unless that is ``off``; `http_port` None leaves the HTTP door out;
    `local_addresses` and `follow_every_s` serve tests.
    """

    def __init__(
        self,
        *,
        osc_port: int,
        engine: str,
        version: str = __version__,
        http_port: int | None = None,
        protocol: int = PROTOCOL_VERSION,
        interfaces: Interfaces = "lo",
        name: str | None = None,
        hosts: Callable[[], Sequence[str]] | None = None,
        also: Callable[[], Sequence[str]] | None = None,
        local_addresses: LocalAddresses = ipv4_addresses,
        follow_every_s: float = _FOLLOW_EVERY_S,
    ) -> None:
        self._doors = [(OSC_TYPE, osc_port)] + ([(HTTP_TYPE, http_port)] if http_port else [])
        self._txt = txt_records(version, engine, protocol)
        self._interfaces = interfaces
        self._asked_name = cut_utf8(name, _LABEL_BYTES - _RENAME_ROOM) if name else instance_name()
        self._server = _server_name(osc_port)
        self._hosts, self._also = hosts, also or tuple
        self._follows = interfaces != "lo" or also is not None
        self._local_addresses = local_addresses
        self._follow_every_s = follow_every_s
        self._zeroconf: AsyncZeroconf | None = None
        self._infos: list[ServiceInfo] = []
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    @property
    def name(self) -> str | None:
        """The instance name the network shows; None while, or if, nothing is advertised."""
        return _instance_of(self._infos[0]) if self._infos else None

    def start(self) -> None:
        """Begin to advertise in the background. Never raises, never waits."""
        if self._interfaces == "off" or self._task is not None:
            self._settled.set()
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stembridge-discovery")

    async def settled(self) -> str | None:
        """Wait until the first attempt has ended; the name that is shown, or None."""
        await self._settled.wait()
        return self.name

    async def refresh(self) -> None:
        """Look again which interfaces there are, and announce the addresses that changed."""
        assert self._zeroconf is not None
        addresses = self._addresses()
        await self._zeroconf.async_update_interfaces(addresses)
        packed = self._packed(addresses)
        if self._infos and self._infos[0].addresses_by_version(IPVersion.V4Only) != packed:
            log.info("the network interfaces changed; advertising at %s", ", ".join(addresses))
            for info in self._infos:
                info.addresses = packed
                await (await self._zeroconf.async_update_service(info))

    async def stop(self, deadline_s: float = 2.0) -> None:
        """Say goodbye to the network and close, within `deadline_s`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._close(deadline_s)

    async def _close(self, deadline_s: float) -> None:
        closing, self._zeroconf, self._infos = self._zeroconf, None, []
        if closing is not None:
            try:
                await asyncio.wait_for(closing.async_close(), deadline_s)
            except TimeoutError:
                log.warning("zeroconf did not close within %g s; its entries expire by themselves", deadline_s)
            except (OSError, ZeroconfError) as error:
                log.warning("zeroconf could not say goodbye (%s); its entries expire by themselves", error)

    async def _run(self) -> None:
        while not await self._guarded(self._register()):
            self._settled.set()
            await self._close(deadline_s=2.0)
            if not self._follows:
                return
            await asyncio.sleep(self._follow_every_s)
        self._settled.set()
        while self._follows:
            await asyncio.sleep(self._follow_every_s)
            await self._guarded(self.refresh())

    async def _guarded(self, step: Coroutine[Any, Any, None]) -> bool:
        """True if `step` went well; what went wrong is logged, as a warning the first time only."""
        try:
            await step
            return True
        except Exception as error:
            level = logging.DEBUG if self._settled.is_set() else logging.WARNING
            log.log(level, "%s", _advice(error))
            return False

    def _addresses(self) -> list[str]:
        """The addresses to advertise on now."""
        return sorted({*usable_addresses(self._interfaces, self._local_addresses), *self._also()})

    async def _register(self) -> None:
        addresses = self._addresses()
        self._zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
        infos = [self._info(service_type, port, addresses) for service_type, port in self._doors]
        for announced in await asyncio.gather(
            *(self._zeroconf.async_register_service(info, allow_name_change=True) for info in infos)
        ):
            await announced
        self._infos = infos
        for info in infos:
            shown = _instance_of(info)
            renamed = f' (the name "{self._asked_name}" was taken)' if shown != self._asked_name else ""
            log.info('advertising "%s"%s as %s on %s', shown, renamed, info.type, ", ".join(addresses))

    def _info(self, service_type: str, port: int, addresses: Sequence[str]) -> ServiceInfo:
        return ServiceInfo(
            service_type,
            f"{self._asked_name}.{service_type}",
            port=port,
            addresses=self._packed(addresses),
            properties=self._txt,
            server=self._server,
        )

    def _packed(self, addresses: Sequence[str]) -> list[bytes]:
        shown = _reachable(addresses) if self._hosts is None else self._hosts()
        return [socket.inet_aton(address) for address in shown]


async def discover(
    timeout_s: float = 3.0,
    interfaces: Interfaces = "lo",
    until: Callable[[Found], bool] | None = None,
) -> list[Found]:
    """All OSC services seen within `timeout_s`, in the order in which they answered.

    With `until`, returns as soon as a service satisfies it: ``until=lambda found: found.is_stembridge`` for the first
    daemon. Raises `DiscoveryUnavailable` if zeroconf cannot work on `interfaces`.
    """
    addresses = usable_addresses(interfaces)
    try:
        browser_zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
    except (OSError, ZeroconfError) as error:
        raise DiscoveryUnavailable(_advice(error)) from error
    found: list[Found] = []
    enough = asyncio.Event()
    resolving: set[asyncio.Task[None]] = set()

    async def resolve(name: str) -> None:
        service = await _resolve(browser_zeroconf.zeroconf, name)
        if service is not None:
            found.append(service)
            if until is not None and until(service):
                enough.set()

    def on_change(name: str, state_change: ServiceStateChange, **_: object) -> None:
        if state_change is ServiceStateChange.Added:
            resolving.add(asyncio.ensure_future(resolve(name)))

    browser = AsyncServiceBrowser(browser_zeroconf.zeroconf, OSC_TYPE, handlers=[on_change])
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), timeout_s)
    finally:
        await browser.async_cancel()
        for task in resolving:
            task.cancel()
        await asyncio.gather(*resolving, return_exceptions=True)
        await browser_zeroconf.async_close()
    return found


async def _resolve(zeroconf: Zeroconf, name: str) -> Found | None:
    info = AsyncServiceInfo(OSC_TYPE, name)
    try:
        if not await info.async_request(zeroconf, _RESOLVE_S * 1000) or info.port is None:
            return None
    except ZeroconfError as error:
        log.debug("could not resolve %s: %s", name, error)
        return None
    # A records first: programs with an IPv4-only OSC socket advertise AAAA records all the same.
    addresses = info.parsed_addresses(IPVersion.V4Only) or info.parsed_addresses(IPVersion.V6Only)
    if not addresses:
        return None
    return Found(_instance_of(info), addresses[0], info.port, read_txt(info.properties))


def read_txt(properties: dict[bytes, bytes | None]) -> dict[str, str]:
    """TXT records as text. A service without any shows up as ``{b'': None}``: that is an empty dictionary."""
    return {
        key.decode(errors="replace"): (value or b"").decode(errors="replace")
        for key, value in properties.items()
        if key
    }


def _instance_of(info: ServiceInfo) -> str:
    return info.name.removesuffix(f".{info.type}")


def _reachable(addresses: Sequence[str]) -> Sequence[str]:
    """Without the loopback where there is another: elsewhere on the network 127.0.0.1 is somebody else."""
    return [address for address in addresses if not address.startswith("127.")] or addresses


def _server_name(osc_port: int) -> str:
    """A host name of our own, one per daemon: sharing the system's would mix our addresses with its own."""
    label = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().split(".")[0]).strip("-")[:40]
    return f"stembridge-{label or 'host'}-{osc_port}.local."


def _advice(error: BaseException) -> str:
    if isinstance(error, StembridgeError):
        return error.sentence
    return (
        f"Discovery by zeroconf is off: {error or type(error).__name__}. The daemon works all the same; give "
        "controllers its port by hand, or run `stembridge doctor`."
    )
