"""Which addresses a task may make the daemon talk to. Values only: nothing here looks a name up or connects.

Whoever can send a task can name a URL, and the daemon stands behind the user's firewall. So only what lies on the
internet is allowed, unless the user named a network in the configuration: an address that some special registry of
IANA lists, or that is none of the unicast space handed out so far, is refused, and so is one that carries such an IPv4
address inside. The lists are written out here since `ipaddress` answers differently from one Python to the next.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from yarl import URL

from protocol.errors import StembridgeError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_INTERNET_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's translator
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's own services, though the address looks public
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_INTERNET_6 = IPv6Network("2000::/3")
_NOT_INTERNET_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, and among them Teredo: tunnels to any IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: tunnels to any IPv4 address
        "3fff::/20",  # documentation
    )
)
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64: how a network that has only IPv6 reaches an IPv4 address, which is the last 32 bits."""

_LONGEST_URL = 8000
_LONGEST_HOST = 300
_HOST = re.compile(r"[^/?#]*//([^/?#]*)")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\.?\Z")
_UNSEEN = re.compile(r"[\x00-\x20\x7f\\]")


class WebRefused(StembridgeError):
    """A URL leads where no task may lead us, or what it leads to breaks a cap. Trying again changes nothing."""

    code = "web_refused"


class WebFailed(StembridgeError):
    """A server could not be reached, or answered with an error. Another try may do."""

    code = "web_failed"


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks or single addresses as the configuration writes them: ``192.168.1.0/24``, ``::1``."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_allowed(address: Address, allowed: Iterable[Network] = (), own: Iterable[Network] = ()) -> bool:
    """Whether a task may make us talk to `address`.

    `allowed` are networks that the user named; they win. `own` are networks that this machine is part of: with IPv6
    every computer of a home has an address that looks like the internet's, so neighbours are refused by these.
    An IPv4 address that is written as an IPv6 one (mapped, or NAT64) is judged as what it is; all other ways to carry
    one (6to4, Teredo, compatible, local NAT64 prefixes) are refused, since nothing on the internet needs them.
    """
    address = _unwrapped(address)
    if any(address in network for network in allowed):
        return True
    if any(address in network for network in own):
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_INTERNET_4)
    if address.scope_id is not None:
        return False
    return address in _INTERNET_6 and not any(address in network for network in _NOT_INTERNET_6)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def literal(host: str) -> Address | None:
    """The address that a host is, None for a name. Raises `WebRefused` for spellings that only some programs read."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    last = host.removesuffix(".").rpartition(".")[2]
    if ":" in host or _NUMBER.match(last):  # 127.1, 0x7f.1 and 2130706433 are all the loopback somewhere
        raise WebRefused(f"{host[:80]!r} is no address: write IPv4 ones as four decimal numbers.")
    return None


def legible(text: str) -> str:
    """The text of a URL, or of a redirect's target, if it is worth parsing. Raises `WebRefused`.

    Blanks, control characters and backslashes are what parsers disagree about; a host of thousands of letters would
    keep the one of foreign scripts busy for tenths of a second.
    """
    if len(text) > _LONGEST_URL:
        raise WebRefused(f"This URL is {len(text)} characters long; {_LONGEST_URL} are the most.")
    if _UNSEEN.search(text):
        raise WebRefused("A URL holds no spaces, control characters or backslashes: write them as %20 and the like.")
    if (host := _HOST.match(text)) and len(host[1]) > _LONGEST_HOST:
        raise WebRefused("The host name of this URL is too long to be one.")
    return text


def web_url(text: str, allowed: Iterable[Network] = ()) -> URL:
    """The URL as it will be asked for. Raises `WebRefused` for everything but plain http and https ones.

    What can be judged without looking the name up is judged here, so that a task hears of it at once; who connects
    judges the addresses again. One parser reads the URL, here and when it is asked for.
    """
    try:
        url = URL(legible(text)).with_fragment(None)
        scheme, host, port = url.scheme, url.raw_host, url.port
    except ValueError as error:
        raise WebRefused(f"{text[:80]!r} is no URL ({error}): check it.") from error
    if scheme not in ("http", "https") or not host:
        raise WebRefused(f"{text[:80]!r} is not fetched: give an address that begins with http:// or https://.")
    if "@" in url.raw_authority:
        raise WebRefused("A URL with a user name or a password is not used: put a token into its query instead.")
    if not port:
        raise WebRefused(f"{text[:80]!r} names port 0, which no server has.")
    address = literal(host)
    if address is None and not _NAME.fullmatch(host):
        raise WebRefused(f"{host[:80]!r} is no host name.")
    if address is not None and ("%" in host or not is_allowed(address, allowed)):
        raise not_allowed(host)
    return url


def not_allowed(host: str) -> WebRefused:
    """What is said of a host that is not on the internet."""
    return WebRefused(
        f"{host} is not on the internet, and tasks reach no other addresses: if this one may be reached, "
        "add its network to allow_private in [http] of the configuration."
    )
