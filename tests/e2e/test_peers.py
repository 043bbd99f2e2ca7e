"""The installed daemon with programs that are not ours: liblo's tools, and avahi across a network made for the test."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import avahi_daemon
from tests.support import daemon as daemons
from tests.support.daemon import Daemon

pytestmark = pytest.mark.e2e

HERE, THERE = "10.231.77.1", "10.231.77.2"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


# --- liblo ------------------------------------------------------------------------------------------------------------
@needs("oscsend")
def test_liblo_oscsend_tells_the_session(daemon: Daemon) -> None:
    for words in (
        ("/stembridge/tempo", "d", "97.53"),
        ("/stembridge/timesig", "ii", "3", "4"),
        ("/stembridge/key", "s", "F#m"),
        ("/stembridge/region", "ff", "8", "16"),
        ("/stembridge/set/seed", "h", "7"),
        ("/stembridge/set/prompt", "S", "brushed drums"),
    ):
        subprocess.run(["oscsend", "127.0.0.1", str(daemon.port), *words], check=True, timeout=10)
    client = daemon.client()
    client.tell("/stembridge/session")
    told = {m.args[0]: m.args[1] for m in client.heard if m.address == "/stembridge/session/state"}
    assert told["tempo"] == "97.53"
    assert told["timesig"] == "3/4"
    assert told["key"] == "F# minor"
    assert told["region"] == "8.0 16.0"
    assert told["set/seed"] == "7"
    assert told["set/prompt"] == "brushed drums"


@needs("oscdump")
def test_liblo_oscdump_reads_what_the_daemon_sends(daemon: Daemon) -> None:
    client = daemon.client()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dump = subprocess.Popen(["stdbuf", "-oL", "oscdump", "-L", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert dump.stdout is not None
        lines = iter(dump.stdout.readline, "")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
            relay.connect(("127.0.0.1", port))
            client.send("/stembridge/ping", "hello", 7, 2.5)
            datagram = client.socket.recv(65536)  # the daemon's very bytes, passed on until oscdump listens
            for _ in range(100):
                with suppress(ConnectionRefusedError):
                    relay.send(datagram)
                if select.select([dump.stdout], [], [], 0.1)[0]:
                    break
        assert '/stembridge/pong ssisif "0.1.0" "sketch" 1 "hello" 7 2.5' in next(lines)
    finally:
        dump.kill()
        dump.wait()
        if dump.stdout:
            dump.stdout.close()


# --- avahi, across two network namespaces -----------------------------------------------------------------------------
def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two network namespaces joined by a cable, nothing else in them; skipped where that is not allowed."""
    here, there = f"sb-here-{os.getpid()}", f"sb-there-{os.getpid()}"
    try:
        _ip("netns", "add", here)
        _ip("netns", "add", there)
        _ip("-n", here, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", there)
        for space, device, address in ((here, "cable0", HERE), (there, "cable1", THERE)):
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", device)
            _ip("-n", space, "link", "set", device, "up", "multicast", "on")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "route", "add", "224.0.0.0/4", "dev", device)
    except (OSError, subprocess.CalledProcessError) as error:
        for space in (here, there):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        pytest.skip(f"network namespaces are not allowed here: {getattr(error, 'stderr', error)}")
    try:
        yield here, there
    finally:
        for space in (here, there):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


@pytest.fixture
def avahi(two_hosts: tuple[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """An avahi daemon with a private bus on the far host; its environment for clients."""
    _, there = two_hosts
    with avahi_daemon.running(tmp_path, "cable1", ("ip", "netns", "exec", there)) as environment:
        yield environment


@needs("ip", "avahi-daemon", "avahi-browse", "dbus-daemon")
@pytest.mark.slow
def test_avahi_on_another_host_finds_the_daemon_and_where_it_listens(
    two_hosts: tuple[str, str], avahi: dict[str, str], data_dir: Path
) -> None:
    here, there = two_hosts
    inside = ("ip", "netns", "exec", here)
    with daemons.running(data_dir, "--host", HERE, "--zeroconf", HERE, prefix=inside) as daemon:
        browse = subprocess.Popen(
            ["ip", "netns", "exec", there, "avahi-browse", "--parsable", "--resolve", "_osc._udp"],
            env=avahi,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert browse.stdout is not None
            found = next(line for line in browse.stdout if line.startswith("=") and "Stembridge" in line)
        finally:
            browse.kill()
            browse.wait()
            if browse.stdout:
                browse.stdout.close()
    fields = found.split(";")
    assert fields[7] == HERE
    assert int(fields[8]) == daemon.port
    assert '"engine=sketch"' in found
    assert '"protocol=1"' in found


@needs("ip")
def test_by_default_nobody_on_the_network_reaches_the_daemon(two_hosts: tuple[str, str], data_dir: Path) -> None:
    here, there = two_hosts
    with daemons.running(data_dir, prefix=("ip", "netns", "exec", here)) as daemon:
        ping = subprocess.run(
            [
                *("ip", "netns", "exec", there, sys.executable, "-m", "bridge.cli", "send"),
                *("--host", HERE, "--port", str(daemon.port), "--wait", "1", "/stembridge/ping"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=daemons.ROOT,
            check=False,
        )
    assert ping.returncode == 3
    assert "pong" not in ping.stdout
