"""The installed daemon hears a MIDI clock and a pedal, sent by mido over TCP in real time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import daemon as daemons
from tests.support.daemon import Client, Daemon
from tests.support.midi import Sender

pytestmark = pytest.mark.e2e

BPM = 132.0
CONFIG = """
[midi]
port = "tcp:127.0.0.1:{port}"

[[midi.learn]]
on = "note 60"
send = ["/stembridge/set/prompt", "from the pad"]

[[midi.learn]]
on = "cc 64"
do = "repaint"

[[midi.learn]]
on = "cc 1"
value = "strength"
"""


@pytest.fixture
def midi_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def daemon(tmp_path: Path, midi_port: int) -> Iterator[Daemon]:
    config = tmp_path / "stembridge.toml"
    config.write_text(CONFIG.format(port=midi_port), encoding="utf-8")
    # The flag that the tests' daemon is started with turns MIDI off; this one hears it.
    with daemons.running(tmp_path / "data", "--config", str(config), "--midi-port", f"tcp:127.0.0.1:{midi_port}") as it:
        yield it


@pytest.fixture
def client(daemon: Daemon) -> Client:
    client = Client(daemon.port)
    daemon.clients.append(client)
    return client


@contextmanager
def ticking(sender: Sender, bpm: float) -> Iterator[None]:
    """Clock ticks from a thread, each at its time."""
    ended = threading.Event()

    def tick() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            sender.send("clock")
            due += 60.0 / bpm / 24

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rows(client: Client) -> dict[str, tuple[str, str, float]]:
    """The session: value, source and age by name."""
    client.heard.clear()
    client.tell("/stembridge/session")
    told = [message.args for message in client.heard if message.address == "/stembridge/session/state"]
    return {name: (value, source, age) for name, value, source, age in told}


def wait_until(client: Client, name: str, is_wanted: object, timeout_s: float = 15.0) -> dict[str, tuple]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        known = rows(client)
        if name in known and is_wanted(known[name][0]):  # type: ignore[operator]
            return known
        threading.Event().wait(0.1)
    raise AssertionError(f"{name} did not become so: {rows(client)}")


@pytest.mark.slow
def test_the_session_says_that_the_tempo_comes_from_midi_clock_and_how_old_it_is(
    midi_port: int, client: Client
) -> None:
    with Sender(midi_port) as sender:
        sender.send("start")
        with ticking(sender, BPM):
            known = wait_until(client, "tempo", lambda value: abs(float(value) - BPM) < 0.5)
            _, source, age_s = known["tempo"]
            assert source.startswith("midi:tcp:")
            assert age_s < 3.0
            assert known["playing"][0] == "1"
            assert known["clock"][0].startswith("running 13")
            first = float(known["position"][0])
            wait_until(client, "position", lambda value: float(value) > first + 0.5)
            client.tell("/stembridge/tempo", 97.53)  # told exactly: it goes before a steady clock
            known = rows(client)
            assert known["tempo"][0] == "97.53"
            assert known["clock"][1].startswith("midi:tcp:")
        sender.send("stop")
        wait_until(client, "playing", lambda value: value == "0")


def test_a_pad_and_a_wheel_do_what_they_have_learnt(midi_port: int, client: Client) -> None:
    with Sender(midi_port) as sender:
        sender.send("note_on", note=60, velocity=90)
        wait_until(client, "set/prompt", lambda value: value == "from the pad")
        sender.send("control_change", control=1, value=127)
        wait_until(client, "set/strength", lambda value: float(value) == 1.0)


def test_what_a_pedal_asks_for_in_vain_is_told_to_those_who_look(midi_port: int, client: Client) -> None:
    client.tell("/stembridge/subscribe")
    with Sender(midi_port) as sender:
        sender.send("control_change", control=64, value=127)
        refused = client.wait_for(lambda message: message.address == "/stembridge/error")
    assert refused.args[0] == "missing_context"
    assert refused.args[2] == "/stembridge/repaint"
