"""Controllers on the LAN: the installed daemon, reached from another host across a network made for the test."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import daemon as daemons
from tests.support.daemon import Client, Daemon
from tests.support.namespaces import ALSO_THERE, HERE, THERE, Hosts, made_in, needs, two_hosts

pytestmark = [pytest.mark.e2e, needs("ip")]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with two_hosts() as joined:
        yield joined


@pytest.fixture
def with_lan(tmp_path: Path) -> tuple[str, ...]:
    """The flags of a daemon that listens on the cable too."""
    file = tmp_path / "stembridge.toml"
    file.write_text('[lan]\nenabled = true\ninterfaces = ["cable0"]\n')
    return ("--config", str(file), "--http-port", "0")


class Far:
    """The other host: OSC clients and connections from its addresses."""

    def __init__(self, hosts: Hosts, daemon: Daemon) -> None:
        self._hosts, self._daemon = hosts, daemon

    def client(self, ip: str = THERE) -> Client:
        client = made_in(self._hosts.there, lambda: Client(self._daemon.port, ip))
        client.target = (HERE, self._daemon.port)
        self._daemon.clients.append(client)
        return client

    def connect(self, ip: str = THERE) -> socket.socket:
        def connected() -> socket.socket:
            return socket.create_connection((HERE, self._daemon.ready["http_port"]), 10, (ip, 0))

        return made_in(self._hosts.there, connected)

    def get(self, path: str, ip: str = THERE) -> bytes:
        """All that comes back for a GET; empty if the connection is cut without a byte."""
        with self.connect(ip) as connection:
            host = f"{HERE}:{self._daemon.ready['http_port']}"
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
            return _answered(connection, request.encode())


def _answered(connection: socket.socket, request: bytes) -> bytes:
    answer = b""
    try:
        connection.sendall(request)
        while piece := connection.recv(65536):
            answer += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return answer


def pair_command(hosts: Hosts, data_dir: Path, *words: str) -> str:
    """What `stembridge pair` prints on the daemon's host."""
    done = subprocess.run(
        [*hosts.inside(hosts.here), sys.executable, "-m", "bridge.cli", "pair", "--data-dir", str(data_dir), *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=daemons.ROOT,
        check=True,
    )
    return done.stdout


def pin_in(words: str) -> str:
    found = re.search(r"^PIN (\d{6})$", words, re.MULTILINE)
    assert found, words
    return found[1]


def assert_heard_nothing(client: Client) -> None:
    client.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.socket.recv(65536)
    client.socket.setblocking(True)


@pytest.mark.slow
def test_before_the_pin_nothing_comes_back_and_after_it_everything_until_unpaired(
    hosts: Hosts, with_lan: tuple[str, ...], data_dir: Path
) -> None:
    inside = hosts.inside(hosts.here)
    with daemons.running(data_dir, *with_lan, prefix=inside) as daemon:
        far = Far(hosts, daemon)
        tablet, stranger = far.client(), far.client(ALSO_THERE)
        for client in (tablet, stranger):
            client.send("/stembridge/ping")
            client.send("/stembridge/subscribe")
            client.send("/stembridge/tempo", 99.0)
            client.send("/stembridge/no/such/address")
            client.send("/stembridge/pair", "000000")
            client.socket.sendto(b"no OSC", client.target)
        words = pair_command(hosts, data_dir)
        assert f"{HERE} port {daemon.port}" in words
        assert "Nobody has paired." in words
        first = tablet.ask("/stembridge/pair", pin_in(words))
        assert (first.address, first.args) == ("/stembridge/ack", ["/stembridge/pair"])
        assert tablet.heard == [first]

        tablet.tell("/stembridge/tempo", 97.53)
        told = tablet.ask("/stembridge/session")
        assert [m.args[1] for m in tablet.heard if m.address.endswith("session/state")] == ["97.53"]
        assert told.address == "/stembridge/ack"
        assert f"  {THERE}  paired" in pair_command(hosts, data_dir)
        stranger.send("/stembridge/ping")
        tablet.tell("/stembridge/session")
        assert_heard_nothing(stranger)

    with daemons.running(data_dir, *with_lan, prefix=inside) as again:
        far = Far(hosts, again)
        tablet, here = far.client(), pair_command(hosts, data_dir)
        tablet.tell("/stembridge/tempo", 120.0)
        tablet.tell("/stembridge/subscribe")
        assert pin_in(here) != pin_in(words)
        assert "Nobody has paired." in pair_command(hosts, data_dir, "--remove", THERE)
        tablet.send("/stembridge/ping")
        tablet.send("/stembridge/tempo", 130.0)
        pair_command(hosts, data_dir)  # is answered after what was sent before
        tablet.receive()  # the field that followed the ack of its subscription
        assert_heard_nothing(tablet)


@pytest.mark.slow
def test_browsers_elsewhere_get_no_byte_before_they_opened_the_link_with_the_pin(
    hosts: Hosts, with_lan: tuple[str, ...], data_dir: Path
) -> None:
    with daemons.running(data_dir, *with_lan, prefix=hosts.inside(hosts.here)) as daemon:
        far = Far(hosts, daemon)
        for path in ("/", "/v1", "/stembridge", "/page/about", "/pair/000000", "/pair/"):
            assert far.get(path) == b""
        words = pair_command(hosts, data_dir)
        link = f"http://{HERE}:{daemon.ready['http_port']}/pair/{pin_in(words)}"
        assert link in words
        assert far.get(f"/pair/{pin_in(words)}").startswith(b"HTTP/1.1 303 ")
        assert far.get("/").startswith(b"HTTP/1.1 200 ")
        assert far.get("/", ALSO_THERE) == b""
        far.client().tell("/stembridge/tempo", 99.0)  # the same host's other programs are let in with it
        with far.connect() as kept:
            kept.sendall(f"GET /stembridge HTTP/1.1\r\nHost: {HERE}:{daemon.ready['http_port']}\r\n\r\n".encode())
            assert kept.recv(15).startswith(b"HTTP/1.1 200")
            pair_command(hosts, data_dir, "--remove", "all")
            rest = _answered(kept, b"")
            assert b"HTTP/1.1" not in rest
        assert far.get("/") == b""


def test_a_door_that_was_opened_by_host_asks_for_the_pin_as_well(hosts: Hosts, data_dir: Path) -> None:
    with daemons.running(data_dir, "--host", HERE, prefix=hosts.inside(hosts.here)) as daemon:
        tablet = Far(hosts, daemon).client()
        tablet.send("/stembridge/ping")
        first = tablet.ask("/stembridge/pair", int(pin_in(pair_command(hosts, data_dir))))
        assert tablet.heard == [first]
        tablet.tell("/stembridge/session")
