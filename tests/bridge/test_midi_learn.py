"""MIDI learn: a press is one action, at the right moment; a knob moves a setting over its range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.midi_learn import DEBOUNCE_S, WORDS, Action, Event, Kind, Learner, scaled
from bridge.midi_config import LearnConfig
from protocol.address_space import PREFIX, parse
from protocol.task_settings import SETTINGS, parse_setting
from tests.support.lua_modules import SCRIPTS

PORT = "UM-ONE MIDI 1"


def learner(*entries: dict[str, object]) -> Learner:
    return Learner([LearnConfig.model_validate(entry).mapping() for entry in entries])


def cc(value: int, number: int = 64, channel: int = 1) -> Event:
    return Event(Kind.CC, channel, number, value)


def note(number: int = 60, channel: int = 1) -> Event:
    return Event(Kind.NOTE, channel, number, 100)


def fired(learner: Learner, *values: int, step_s: float = 1.0) -> list[int]:
    """The controller values at which something fired."""
    return [value for index, value in enumerate(values) if learner.hear(PORT, cc(value), index * step_s)]


def test_a_note_sends_its_message_and_tells_the_port():
    pad = learner({"on": "note 60", "send": ["/stembridge/repaint", "variations", 2]})
    assert pad.hear(PORT, note(), 0.0) == [
        Action("/stembridge/repaint", ("variations", 2), source="midi:UM-ONE MIDI 1")
    ]


@pytest.mark.parametrize("message", [(0x90, 60, 0), (0x80, 60, 64), (0xB0, 123, 0), (0xE0, 0, 64), (0xF8,)])
def test_a_note_s_end_and_what_cannot_be_learnt_are_no_events(message: tuple[int, ...]):
    assert Event.of(bytes(message)) is None


def test_events_are_read_with_channels_as_musicians_count_them():
    assert Event.of(bytes((0x99, 36, 1))) == Event(Kind.NOTE, 10, 36, 1)
    assert Event.of(bytes((0xB0, 64, 127))) == Event(Kind.CC, 1, 64, 127)
    assert Event.of(bytes((0xCF, 5))) == Event(Kind.PROGRAM, 16, 5, 0)


def test_a_pedal_fires_when_it_goes_down_and_not_on_its_way_up_or_while_it_trembles():
    pedal = learner({"on": "cc 64", "do": "repaint"})
    assert fired(pedal, 10, 63, 64, 63, 64, 127, 64, 63, 57, 64, 0, 64) == [64, 64]


def test_a_switch_that_bounces_fires_once_and_a_quick_foot_twice():
    pedal = learner({"on": "cc 64", "do": "repaint"})
    assert fired(pedal, 127, 0, 127, 0, 127, step_s=DEBOUNCE_S / 5) == [127]
    assert fired(learner({"on": "cc 64", "do": "repaint"}), 127, 0, 127, step_s=DEBOUNCE_S) == [127, 127]


def test_a_program_fires_each_time_it_is_chosen():
    board = learner({"on": "program 3", "do": "keep"})
    chosen = Event(Kind.PROGRAM, 1, 3, 0)
    assert [len(board.hear(PORT, chosen, at)) for at in (0.0, 1.0)] == [1, 1]
    assert board.hear(PORT, chosen, 2.0)[0].script == "Stembridge_Keep this take.lua"


def test_a_mapping_hears_only_its_channel_its_port_and_its_number():
    pad = learner({"on": "note 60", "channel": 10, "port": "um-one", "do": "repaint"})
    assert pad.hear(PORT, note(channel=10), 0.0)
    assert not pad.hear(PORT, note(channel=1), 1.0)
    assert not pad.hear("Launchpad", note(channel=10), 2.0)
    assert not pad.hear(PORT, note(61, channel=10), 3.0)
    assert not pad.hear(PORT, cc(127, number=60, channel=10), 4.0)


def test_what_one_press_does_comes_in_the_order_of_the_file():
    pad = learner(
        {"on": "note 60", "send": ["/stembridge/set/prompt", "calm"]},
        {"on": "note 60", "do": "repaint"},
    )
    assert [action.address for action in pad.hear(PORT, note(), 0.0)] == [
        "/stembridge/set/prompt",
        "/stembridge/repaint",
    ]


def test_a_knob_moves_a_setting_over_its_range_and_is_silent_where_nothing_changes():
    knob = learner({"on": "cc 1", "value": "set/variations"})
    heard = [knob.hear(PORT, cc(value, number=1), 0.0) for value in range(128)]
    assert [action.args for actions in heard for action in actions] == [(1,), (2,), (3,), (4,)]


@given(st.sampled_from(sorted(SETTINGS)), st.integers(0, 127))
def test_every_place_of_a_knob_is_a_value_that_the_setting_takes(name: str, value: int):
    if SETTINGS[name].type not in ("number", "whole number") or name == "seed":
        with pytest.raises(ValueError, match="no setting that can follow"):
            LearnConfig.model_validate({"on": "cc 1", "value": f"set/{name}"})
        return
    parse_setting(name, scaled(name, value))
    assert scaled(name, 127) == SETTINGS[name].rule.high  # type: ignore[attr-defined]


def test_every_word_is_an_address_of_the_table_or_a_script_that_is_shipped():
    assert {"repaint", "extend", "cancel", "keep", "next", "live", "panic"} <= WORDS.keys()
    for action in WORDS.values():
        if action.script:
            assert (SCRIPTS / action.script).is_file()
        else:
            assert parse(action.address, action.args).path.startswith(PREFIX)


@given(st.lists(st.tuples(st.integers(0, 127), st.floats(0, 0.1)), max_size=60))
def test_whatever_a_pedal_sends_it_never_fires_twice_without_coming_up_or_within_the_bounce(
    moves: list[tuple[int, float]],
):
    pedal, at, last_fired, lowest = learner({"on": "cc 64", "do": "repaint"}), 0.0, float("-inf"), 0
    for value, pause_s in moves:
        at, lowest = at + pause_s, min(lowest, value)
        if pedal.hear(PORT, cc(value), at):
            assert value >= 64 > lowest
            assert at - last_fired >= DEBOUNCE_S
            last_fired, lowest = at, 127
