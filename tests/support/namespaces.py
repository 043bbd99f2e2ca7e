"""Two hosts on one machine: network namespaces joined by a cable, nothing else in them. Linux, as root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

HERE, THERE, ALSO_THERE = "10.231.77.1", "10.231.77.2", "10.231.77.3"
_NEW_NETWORK = 0x40000000
T = TypeVar("T")


@dataclass(frozen=True)
class Hosts:
    """The names of the namespaces: `here`, where the daemon runs, and `there`."""

    here: str
    there: str

    def inside(self, name: str) -> tuple[str, ...]:
        """What runs a command in the namespace of that name."""
        return ("ip", "netns", "exec", name)


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """`HERE` on cable0 and `THERE` and `ALSO_THERE` on cable1; skips the test where that is not allowed."""
    hosts = Hosts(f"sb-here-{os.getpid()}", f"sb-there-{os.getpid()}")
    try:
        _join(hosts)
    except (OSError, subprocess.CalledProcessError) as error:
        _remove(hosts)
        pytest.skip(f"network namespaces are not allowed here: {getattr(error, 'stderr', error)}")
    try:
        yield hosts
    finally:
        _remove(hosts)


def _join(hosts: Hosts) -> None:
    _ip("netns", "add", hosts.here)
    _ip("netns", "add", hosts.there)
    _ip(*f"-n {hosts.here} link add cable0 type veth peer name cable1 netns {hosts.there}".split())
    for space, device, addresses in (
        (hosts.here, "cable0", (HERE,)),
        (hosts.there, "cable1", (THERE, ALSO_THERE)),
    ):
        for address in addresses:
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", device)
        _ip("-n", space, "link", "set", device, "up", "multicast", "on")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "route", "add", "224.0.0.0/4", "dev", device)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)


def _remove(hosts: Hosts) -> None:
    for space in (hosts.here, hosts.there):
        subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False, timeout=30)


def made_in(namespace: str, make: Callable[[], T]) -> T:
    """What `make` returns when it runs in that namespace; a socket it opens stays there."""
    made: list[T] = []

    def run() -> None:
        descriptor = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
        made.append(make())

    thread = threading.Thread(target=run)  # a namespace is a thread's own; this one ends with the call
    thread.start()
    thread.join()
    return made[0]
