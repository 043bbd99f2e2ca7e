"""`stembridge midi` and the doctor's look at MIDI: what is printed is true, and can be put into the configuration."""

from __future__ import annotations

import socket
import sys
import threading
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bridge import midi_command
from bridge.config import Config
from bridge.doctor_midi import check_midi
from bridge.doors import midi_ports
from bridge.doors.midi_learn import Event, Kind
from bridge.doors.midi_ports import NoMidi
from bridge.midi_arguments import add_arguments
from bridge.midi_config import MidiConfig
from protocol.errors import BadArgument
from tests.support.midi import Sender


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def played(port: int, play: Callable[[Sender], None]) -> Iterator[None]:
    """A program that connects as soon as it can, plays and leaves."""

    def run() -> None:
        for _ in range(500):
            try:
                with Sender(port) as sender:
                    return play(sender)
            except ConnectionRefusedError:
                ended.wait(0.02)
        return None

    ended = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(20)


def run(action: str, config: Config | None = None, **arguments: object) -> int:
    told = {"port": None, "seconds": 10.0, **arguments}
    return midi_command.main(Namespace(action=action, **told), config or Config())


def test_learn_prints_the_lines_for_the_pedal_that_is_pressed(capsys: pytest.CaptureFixture[str]):
    port = free_port()

    def press(sender: Sender) -> None:
        sender.send("note_off", note=1)
        sender.send("control_change", channel=2, control=66, value=10)  # on its way down
        sender.send("control_change", channel=2, control=66, value=100)

    with played(port, press):
        assert run("learn", port=f"tcp:127.0.0.1:{port}") == 0
    (entry,) = tomllib.loads(capsys.readouterr().out)["midi"]["learn"]
    assert entry == {"on": "cc 66", "channel": 3, "port": f"tcp:127.0.0.1:{port}", "do": "repaint"}
    MidiConfig.model_validate({"learn": [entry]})


@pytest.mark.parametrize("kind", Kind)
def test_what_learn_prints_can_stand_in_the_configuration_whatever_the_port_is_called(kind: Kind):
    event = Event(kind, 16, 5, 100)
    (entry,) = tomllib.loads(midi_command.as_toml('Größe "1"\\x', event))["midi"]["learn"]
    mapping = MidiConfig.model_validate({"learn": [entry]}).learn[0].mapping()
    assert mapping.hears('Größe "1"\\x', event)


def test_learn_ends_when_nothing_comes(capsys: pytest.CaptureFixture[str]):
    assert run("learn", port="tcp:127.0.0.1:0", seconds=0.01) == 1
    assert "Nothing came" in capsys.readouterr().err


def test_watch_prints_tempo_and_place(capsys: pytest.CaptureFixture[str]):
    port = free_port()

    def play(sender: Sender) -> None:
        sender.send("start")
        for _ in range(10):
            sender.send("clock")

    with played(port, play):
        assert run("watch", Config(midi=MidiConfig(port=f"tcp:127.0.0.1:{port}")), seconds=1.0) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"tcp:127.0.0.1:{port}: ")
    assert "running, " in out


def test_watch_with_nothing_to_hear_ends_and_says_why(capsys: pytest.CaptureFixture[str]):
    assert run("watch", port="No such port anywhere") == 1
    err = capsys.readouterr().err
    assert "No such port anywhere" in err or "ALSA" in err


def test_a_port_that_cannot_be_is_refused_with_what_can():
    with pytest.raises(BadArgument, match=r"tcp:127[.]0[.]0[.]1:PORT"):
        run("watch", port="tcp:10.0.0.1:80")


def test_ports_tells_what_each_configured_port_means(capsys: pytest.CaptureFixture[str]):
    port = free_port()
    assert run("ports", Config(midi=MidiConfig(port=f"tcp:127.0.0.1:{port}"))) == 0
    assert f"'tcp:127.0.0.1:{port}': hears tcp:127.0.0.1:{port}." in capsys.readouterr().out
    assert run("ports") == 0
    assert "[midi] port is off" in capsys.readouterr().out


def test_the_arguments_are_those_that_the_command_takes():
    parser = ArgumentParser()
    add_arguments(parser, lambda part: None)
    assert parser.parse_args(["learn", "--port", "UM"]) == Namespace(action="learn", port="UM", seconds=None)
    assert parser.parse_args(["ports"]) == Namespace(action="ports")


# --- doctor -----------------------------------------------------------------------------------------------------------
def test_doctor_says_ok_for_a_port_that_is_heard_and_counts_what_was_learnt():
    config = MidiConfig.model_validate({"port": "tcp:127.0.0.1:0", "learn": [{"on": "cc 64", "do": "repaint"}]})
    check = check_midi(config)
    assert check.status == "ok"
    assert check.detail.startswith("hears tcp:127.0.0.1:")
    assert check.detail.endswith("1 learnt")


def test_doctor_warns_of_a_configured_port_that_is_missing_with_advice():
    check = check_midi(MidiConfig(port="tcp:127.0.0.1:0, No such port anywhere"))
    assert check.status == "warn"
    assert "hears tcp:" in check.detail
    assert "[midi]" in check.advice


def test_doctor_finds_nothing_wrong_with_midi_that_is_off(monkeypatch: pytest.MonkeyPatch):
    def none() -> list[str]:
        raise NoMidi("There is no MIDI here.")

    for names in (lambda: ["UM-ONE"], list, none):
        monkeypatch.setattr("bridge.doctor_midi.input_names", names)
        assert check_midi(MidiConfig()).status == "ok"


def test_without_python_rtmidi_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    with pytest.raises(NoMidi, match="pip install"):
        midi_ports.input_names()
