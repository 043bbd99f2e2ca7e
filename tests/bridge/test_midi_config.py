"""`[midi]`: what a port may be, which ports a pattern means, and mistakes that are told when the file is read."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.doors.midi_names import NamePattern
from bridge.doors.midi_ports import _labelled
from bridge.midi_config import MidiConfig, PortKind

NAMES = ["UM-ONE MIDI 1", "Midi Through Port-0", "Stage [left] 1", "UM-ONE"]


def wishes(port: str) -> list[tuple[object, ...]]:
    return [(wish.kind, wish.name, wish.host, wish.port) for wish in MidiConfig(port=port).wishes]


def test_midi_is_off_unless_it_is_asked_for():
    assert MidiConfig().wishes == MidiConfig(port="OFF").wishes == ()


@pytest.mark.parametrize(
    ("port", "wished"),
    [
        ("UM-ONE", (PortKind.NAMED, "UM-ONE", "", 0)),
        ("virtual", (PortKind.VIRTUAL, "Stembridge", "", 0)),
        ("virtual: Clock", (PortKind.VIRTUAL, "Clock", "", 0)),
        ("jack", (PortKind.JACK, "", "", 0)),
        ("jack:ardour:MIDI Clock*", (PortKind.JACK, "ardour:MIDI Clock*", "", 0)),
        ("tcp:localhost:9250", (PortKind.TCP, "", "127.0.0.1", 9250)),
        ("tcp:[::1]:0", (PortKind.TCP, "", "::1", 0)),
        ("Virtual Keyboard", (PortKind.NAMED, "Virtual Keyboard", "", 0)),
    ],
)
def test_a_port_is_a_name_or_one_of_the_other_kinds(port: str, wished: tuple[object, ...]):
    assert wishes(port) == [wished]


def test_several_ports_stand_with_commas_and_each_counts_once():
    assert [name for _, name, _, _ in wishes("UM-ONE, um-one ,virtual, virtual:Stembridge,jack")] == [
        "um-one",
        "Stembridge",
        "",
    ]


@pytest.mark.parametrize(
    ("port", "word"),
    [
        ("", "off"),
        (" , ", "off"),
        ("off, UM-ONE", "alone"),
        ("tcp:9250", "tcp:127.0.0.1:PORT"),
        ("tcp:127.0.0.1:99999", "tcp:127.0.0.1:PORT"),
        ("tcp:0.0.0.0:9250", "password"),
        ("tcp:192.168.1.5:9250", "password"),
        ("tcp:999.1.1.1:9250", "999.1.1.1"),
    ],
)
def test_a_port_that_cannot_be_is_refused_in_words(port: str, word: str):
    with pytest.raises(ValidationError, match=word):
        MidiConfig(port=port)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("um-one", ["UM-ONE"]),  # the one that is called so, not the first that holds it
        ("through", ["Midi Through Port-0"]),
        ("midi", ["UM-ONE MIDI 1"]),
        ("um-one*", ["UM-ONE MIDI 1", "UM-ONE"]),
        ("*", NAMES),
        ("stage [left]*", ["Stage [left] 1"]),
        ("Launchpad", []),
    ],
)
def test_part_of_a_name_means_one_port_and_a_glob_all_that_fit(pattern: str, chosen: list[str]):
    assert NamePattern(pattern).choose(NAMES) == chosen


@given(st.text(min_size=1), st.lists(st.text(min_size=1), unique=True, max_size=5))
def test_a_name_always_finds_its_own_port(name: str, others: list[str]):
    plain = "".join(letter for letter in name if letter not in "*?") or "x"
    assert NamePattern(plain).choose([*others, plain])[0].casefold() == plain.casefold()


def learn(entry: str) -> MidiConfig:
    return MidiConfig.model_validate(tomllib.loads(f"[[learn]]\n{entry}"))


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ('on = "key 60"\ndo = "repaint"', "on must be 'note', 'cc' or 'program' and a number"),
        ('on = "note C4"\ndo = "repaint"', "on must be"),
        ('on = "note 128"\ndo = "repaint"', "note numbers go from 0 to 127"),
        ('on = "cc 120"\ndo = "repaint"', "cc numbers go from 0 to 119"),
        ('on = "note 60"', "none of them"),
        ('on = "note 60"\ndo = "repaint"\nvalue = "set/strength"', "this one has do and value"),
        ('on = "note 60"\ndo = "repant"', "did you mean repaint"),
        ('on = "note 60"\ndo = "xyzzy"', "it does repaint, extend"),
        ('on = "note 60"\nsend = []', "send is an address"),
        ('on = "note 60"\nsend = ["/stembridge/repant"]', "did you mean /stembridge/repaint"),
        ('on = "note 60"\nsend = ["/stembridge/repaint", "variation", 2]', "has no option 'variation'"),
        ('on = "note 60"\nsend = ["/stembridge/cancel"]', "takes 1 argument"),
        ('on = "note 60"\nsend = ["/stembridge/subscribe"]', "no use for it"),
        ('on = "note 60"\nvalue = "set/strength"', "on must be 'cc'"),
        ('on = "cc 1"\nvalue = "set/strenth"', "did you mean 'set/strength'"),
        ('on = "cc 1"\nvalue = "set/prompt"', "no setting that can follow a controller"),
        ('on = "cc 1"\nchannel = 0\ndo = "repaint"', "greater than or equal to 1"),
        ('on = "cc 1"\nchanel = 1\ndo = "repaint"', "chanel"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_the_entry_when_the_file_is_read(entry: str, sentence: str):
    with pytest.raises(ValidationError) as raised:
        learn(f'on = "note 1"\ndo = "repaint"\n[[learn]]\n{entry}')
    told = raised.value.errors()[0]
    assert told["loc"][:2] == ("learn", 1)
    assert sentence in f"{told['loc'][-1]} {told['msg']}"


def test_one_table_instead_of_a_list_is_told_how_it_is_written():
    with pytest.raises(ValidationError, match="two brackets"):
        MidiConfig.model_validate(tomllib.loads('[learn]\non = "note 1"\ndo = "repaint"'))


def test_port_names_lose_alsa_s_numbers_and_two_of_a_name_are_told_apart():
    names = ["Pedal:Pedal MIDI 1 24:0", "Pedal:Pedal MIDI 1 28:0", "Keys 2", "Keys 2"]
    assert _labelled(names) == {"Pedal:Pedal MIDI 1": 0, "Pedal:Pedal MIDI 1 (2)": 1, "Keys 2": 2, "Keys 2 (2)": 3}
