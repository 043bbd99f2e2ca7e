"""Who on the network is served: this machine, and the addresses that have sent the PIN.

Promises: nobody is served by mistake (what cannot be read counts as not paired); PINs cannot be tried out (few a
minute, another PIN after ten wrong ones, none at all after a hundred); who is paired stays so across restarts until
unpaired; nothing here waits for a disk.

It goes by IP addresses, as everything on a home network that has no keys does: whoever can forge the address of a
paired controller can send messages in its name (though not read the answers).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from bridge import atomic
from protocol.errors import StembridgeError

log = logging.getLogger("stembridge.pairing")

FILE = "paired.json"
"""In the data folder."""

TRIES_PER_ADDRESS, TRIES_IN_ALL, TRIES_WINDOW_S = 5, 20, 60.0
WRONG_PER_PIN, WRONG_BEFORE_SHUT = 10, 100
_LEAST_PIN, _PINS = 100_000, 900_000
"""Six digits, the first not 0: a controller that sends the PIN as a number sends all of it."""


class NotPaired(StembridgeError):
    """The address that shall be unpaired is not paired."""

    code = "not_paired"


@dataclass(frozen=True)
class Paired:
    """A controller that is served: `since` and `last_heard` in seconds since 1970; None: not heard yet."""

    address: str
    since: float
    last_heard: float | None = None


@dataclass(frozen=True)
class Reach:
    """Where controllers elsewhere find the daemon: its addresses off the loopback, its ports (0: there is none)."""

    addresses: tuple[str, ...] = ()
    osc_port: int = 0
    http_port: int = 0


class Pairing:
    """The paired addresses and the PIN. `file` is where they are remembered (None: nowhere).

    `own_addresses` gives the addresses of this machine's interfaces and must return at once; `now` is the system's
    time, `clock` a monotonic one, both in seconds; `random(n)` is a number from 0 to n - 1 that nobody can foresee.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        own_addresses: Callable[[], Iterable[str]] = tuple,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._file, self._own_addresses = file, own_addresses
        self._now, self._clock, self._random = now, clock, random
        self._paired = {row.address: row for row in _read(file)} if file is not None else {}
        self._tries: deque[tuple[float, str]] = deque(maxlen=TRIES_IN_ALL)
        self._wrong = 0
        self._listeners: list[Callable[[], None]] = []
        self._writer: ThreadPoolExecutor | None = None
        self._pin = self._another_pin()
        self.reach: Callable[[], Reach] = Reach
        """Set by whoever knows the ports; told together with the PIN."""

    # --- who is served ------------------------------------------------------------------------------------------------
    def serves(self, ip: str) -> bool:
        """May this sender be answered? True for this machine, and for whoever has paired: it was heard just now."""
        address = canonical(ip)
        held = self._paired.get(address)
        if held is not None:
            self._paired[address] = replace(held, last_heard=self._now())
            return True
        return self.is_here(address)

    def still_serves(self, ip: str) -> bool:
        """May something be sent there? As `serves`, but nobody was heard."""
        return canonical(ip) in self._paired or self.is_here(ip)

    def is_here(self, ip: str) -> bool:
        """Is it this machine? Only that may see the PIN and unpair others."""
        address = canonical(ip)
        return _is_loopback(address) or address in self._own_addresses()

    def paired(self) -> list[Paired]:
        """Who is paired, the latest first."""
        return sorted(self._paired.values(), key=lambda row: row.since, reverse=True)

    def find(self, ip: str) -> Paired:
        """The paired controller at that address; raises `NotPaired`."""
        held = self._paired.get(canonical(ip))
        if held is None:
            raise NotPaired(f"{ip[:60]!r} is not paired. Paired: {', '.join(self._paired) or 'nobody'}.")
        return held

    # --- the PIN ------------------------------------------------------------------------------------------------------
    @property
    def pin(self) -> str:
        """Six digits; empty after too many wrong tries, until `renew_pin`."""
        return self._pin

    def renew_pin(self) -> str:
        """Another PIN, which the page or the command line asked for on this machine."""
        self._wrong, self._pin = 0, self._another_pin()
        self._tell()
        return self._pin

    def may_try(self, ip: str) -> bool:
        """Would a PIN from this address be looked at now?"""
        since = self._clock() - TRIES_WINDOW_S
        recent = [address for at, address in self._tries if at > since]
        return len(recent) < TRIES_IN_ALL and recent.count(canonical(ip)) < TRIES_PER_ADDRESS

    def pair(self, ip: str, pin: object) -> bool:
        """Serve `ip` from now on if the PIN is right (text, or a number as controllers send it); is it served?"""
        if self.serves(ip):
            return True
        if not self.may_try(ip):
            return False
        address = canonical(ip)
        self._tries.append((self._clock(), address))
        if not hmac.compare_digest(_pin_text(pin).encode("utf-8", "replace"), self._pin.encode()) or not self._pin:
            self._count_wrong(address)
            return False
        at, self._wrong = self._now(), 0
        self._paired[address] = Paired(address, at, at)
        log.warning("%s has paired: it may do what you can. `stembridge pair --remove %s` ends that.", address, address)
        self._changed()
        return True

    def unpair(self, ip: str) -> list[Paired]:
        """Serve an address, or ``all``, no longer; who that was. Raises `NotPaired` for one that is not paired."""
        gone = self.paired() if ip == "all" else [self.find(ip)]
        for row in gone:
            del self._paired[row.address]
        if gone:
            log.info("no longer paired: %s", ", ".join(row.address for row in gone))
            self._changed()
        return gone

    def _count_wrong(self, address: str) -> None:
        self._wrong += 1
        if self._wrong >= WRONG_BEFORE_SHUT:
            self._pin = ""
            log.warning(
                "%d wrong PINs came, the last from %s: nobody can pair until you run `stembridge pair --new-pin`.",
                *(self._wrong, address),
            )
        elif self._wrong % WRONG_PER_PIN == 0:
            self._pin = self._another_pin()
            log.warning("%d wrong PINs came, the last from %s: the PIN is another now.", self._wrong, address)
        else:
            return
        self._tell()

    def _another_pin(self) -> str:
        return str(_LEAST_PIN + self._random(_PINS))

    # --- being told, being remembered ---------------------------------------------------------------------------------
    def messages(self) -> list[tuple[str, tuple[object, ...]]]:
        """What ``/stembridge/lan`` is answered: outgoing names and their values."""
        reach, now = self.reach(), self._now()
        state = (bool(reach.addresses), self._pin, ",".join(reach.addresses), reach.osc_port, reach.http_port)
        rows = [
            (row.address, now - row.since, -1.0 if row.last_heard is None else now - row.last_heard)
            for row in self.paired()
        ]
        return [("lan/state", state), *(("lan/paired", row) for row in rows)]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever the PIN or who is paired has changed; call what is returned to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def _changed(self) -> None:
        self._save()
        self._tell()

    def _save(self) -> None:
        """Write in a thread, one after the other: a slow disk must not hold up the loop."""
        if self._file is None:
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, "stembridge-pairing")
        written: Future[None] = self._writer.submit(_write, self._file, self.paired())
        written.add_done_callback(_log_failure)

    def close(self) -> None:
        """Remember when each was last heard; returns when it is on the disk."""
        if self._paired:
            self._save()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None


@lru_cache(maxsize=1024)
def canonical(ip: str) -> str:
    """An address in the one spelling in which it is compared; an IPv4 address inside an IPv6 one as IPv4."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _pin_text(pin: object) -> str:
    if isinstance(pin, float) and pin.is_integer():
        return str(int(pin))
    return str(pin).strip() if isinstance(pin, str | int) and not isinstance(pin, bool) else ""


# --- the file ---------------------------------------------------------------------------------------------------------
def _read(file: Path) -> list[Paired]:
    """Who was paired; a file that is damaged pairs nobody."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return [_row(row) for row in told["paired"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s cannot be read (%s): controllers have to pair again.", file, error)
        return []


def _row(row: Mapping[str, object]) -> Paired:
    heard = row.get("last_heard")
    address = str(ipaddress.ip_address(str(row["address"])))
    return Paired(address, float(str(row["since"])), None if heard is None else float(str(heard)))


def _write(file: Path, rows: Iterable[Paired]) -> None:
    text = json.dumps({"paired": [asdict(row) for row in rows]}, indent=2)
    with atomic.temporary_file(file.parent) as whole:
        atomic.write_synced(whole, lambda stream: stream.write(text.encode()))
        whole.replace(file)


def _log_failure(written: Future[None]) -> None:
    error = written.exception()
    if error is not None:
        log.warning("who is paired could not be remembered (%s): after a restart they have to pair again.", error)
