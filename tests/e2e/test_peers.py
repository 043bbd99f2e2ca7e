"""The installed daemon with programs that are not ours: liblo's tools, and avahi across a network made for the test."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import avahi_daemon, namespaces
from tests.support import daemon as daemons
from tests.support.daemon import Daemon
from tests.support.namespaces import HERE, Hosts, needs

pytestmark = pytest.mark.e2e


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
@pytest.fixture
def two_hosts() -> Iterator[Hosts]:
    with namespaces.two_hosts() as joined:
        yield joined


@pytest.fixture
def avahi(two_hosts: Hosts, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An avahi daemon with a private bus on the far host; its environment for clients."""
    with avahi_daemon.running(tmp_path, "cable1", two_hosts.inside(two_hosts.there)) as environment:
        yield environment


def found_elsewhere(hosts: Hosts, environment: dict[str, str], service: str) -> list[str]:
    """What avahi on the far host says of the daemon's service of that type."""
    browse = subprocess.Popen(
        [*hosts.inside(hosts.there), "avahi-browse", "--parsable", "--resolve", service],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert browse.stdout is not None
        return next(line for line in browse.stdout if line.startswith("=") and "Stembridge" in line).split(";")
    finally:
        browse.kill()
        browse.wait()
        if browse.stdout:
            browse.stdout.close()


def send_from_there(hosts: Hosts, daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """`stembridge send` on the far host."""
    return subprocess.run(
        [
            *(*hosts.inside(hosts.there), sys.executable, "-m", "bridge.cli", "send"),
            *("--host", HERE, "--port", str(daemon.port), "--wait", "1", *words),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=daemons.ROOT,
        check=False,
    )


@needs("ip", "avahi-daemon", "avahi-browse", "dbus-daemon")
@pytest.mark.slow
def test_avahi_on_another_host_finds_where_the_daemon_listens_and_reaches_it_after_pairing(
    two_hosts: Hosts, avahi: dict[str, str], data_dir: Path
) -> None:
    inside = two_hosts.inside(two_hosts.here)
    with daemons.running(data_dir, "--host", HERE, "--zeroconf", HERE, prefix=inside) as daemon:
        found = found_elsewhere(two_hosts, avahi, "_osc._udp")
        assert found[7] == HERE
        assert int(found[8]) == daemon.port
        assert '"engine=sketch"' in found[9]
        assert '"protocol=1"' in found[9]
        assert send_from_there(two_hosts, daemon, "/stembridge/ping").returncode == 3
        here = namespaces.made_in(two_hosts.here, daemon.client)
        here.tell("/stembridge/lan")
        pin = next(m.args[1] for m in here.heard if m.address == "/stembridge/lan/state")
        assert send_from_there(two_hosts, daemon, "/stembridge/pair", pin).returncode == 0
        assert "pong" in send_from_there(two_hosts, daemon, "/stembridge/ping").stdout


@needs("ip", "avahi-daemon", "avahi-browse", "dbus-daemon")
@pytest.mark.slow
def test_a_daemon_with_the_lan_switched_on_is_found_there_by_osc_and_by_oscquery(
    two_hosts: Hosts, avahi: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "stembridge.toml"
    file.write_text('[lan]\nenabled = true\ninterfaces = ["cable0"]\n')
    flags = ("--config", str(file), "--http-port", "0", "--zeroconf", "lo")
    with daemons.running(data_dir, *flags, prefix=two_hosts.inside(two_hosts.here)) as daemon:
        for service, port in (("_osc._udp", daemon.port), ("_oscjson._tcp", daemon.ready["http_port"])):
            found = found_elsewhere(two_hosts, avahi, service)
            assert (found[7], int(found[8])) == (HERE, port)


@needs("ip")
def test_by_default_nobody_on_the_network_reaches_the_daemon(two_hosts: Hosts, data_dir: Path) -> None:
    with daemons.running(data_dir, prefix=two_hosts.inside(two_hosts.here)) as daemon:
        ping = send_from_there(two_hosts, daemon, "/stembridge/ping")
    assert ping.returncode == 3
    assert "pong" not in ping.stdout
