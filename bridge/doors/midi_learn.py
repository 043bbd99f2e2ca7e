"""MIDI learn: what notes, controllers and programs of a pedal or pad do. Pure; time comes with the messages.

A note fires when it is struck, a controller when it crosses the middle upward (a pedal pressed down), a program when it
is chosen. What fires again within 30 ms is a bouncing switch. A mapping with `value` has a setting follow a controller.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Protocol

from bridge.doors.midi_messages import CONTROL, NOTE_ON, PROGRAM
from bridge.doors.midi_names import NamePattern
from protocol.address_space import INCOMING, PREFIX, parse
from protocol.errors import StembridgeError
from protocol.task_fields import Number, Whole
from protocol.task_settings import SETTINGS
from protocol.vocabulary import Verb

PRESSED, RELEASED = 64, 56
"""A controller is pressed from here on up (MIDI 1.0: 64 to 127 is on), and can be pressed again after it was so low."""

DEBOUNCE_S = 0.03
_TOP = 127


class Kind(IntEnum):
    """What can be learnt: the upper half of the status byte."""

    NOTE = NOTE_ON
    CC = CONTROL
    PROGRAM = PROGRAM


@dataclass(frozen=True)
class Action:
    """What shall happen: a message of the OSC table, or a script of REAPER by its file name.

    `source` tells who asks: ``midi:`` and the port's name.
    """

    address: str = ""
    args: tuple[str | int | float, ...] = ()
    script: str = ""
    source: str = ""


def _address(name: str, *args: str | int | float) -> Action:
    return Action(f"{PREFIX}/{name}", args)


_WORDS = {
    **{str(verb): _address(verb) for verb in Verb},
    "cancel": _address("cancel", "all"),  # the pedal's owner means the music that is being made, whoever asked for it
    "live": _address("live/toggle"),
    "live stop": _address("live/stop"),
    "panic": _address("live/panic"),
    "keep": Action(script="Stembridge_Keep this take.lua"),
    "next": Action(script="Stembridge_Next take.lua"),
    "redo": Action(script="Stembridge_Redo with a new seed.lua"),
}

WORDS: Final = MappingProxyType({word: act for word, act in _WORDS.items() if act.script or act.address in INCOMING})
"""What `do` may say."""


@dataclass(frozen=True)
class Event:
    """A note, controller or program change. `channel` from 1; `value` is velocity or position, of a program 0."""

    kind: Kind
    channel: int
    number: int
    value: int

    @classmethod
    def of(cls, message: bytes) -> Event | None:
        """What a whole message says, if it is one that can be learnt."""
        kind, channel = message[0] & 0xF0, (message[0] & 0x0F) + 1
        if kind == NOTE_ON and message[2]:  # velocity 0 is a note's end
            return cls(Kind.NOTE, channel, message[1], message[2])
        if kind == CONTROL and message[1] < 120:  # above are channel mode messages
            return cls(Kind.CC, channel, message[1], message[2])
        if kind == PROGRAM:
            return cls(Kind.PROGRAM, channel, message[1], 0)
        return None

    @property
    def words(self) -> str:
        """As `on` is written."""
        return f"{self.kind.name.lower()} {self.number}"


@dataclass(frozen=True)
class Mapping:
    """One entry of the configuration, checked."""

    kind: Kind
    number: int
    channel: int | None
    port: NamePattern | None
    action: Action | None
    """None: `setting` follows the controller."""
    setting: str = ""

    def hears(self, port: str, event: Event) -> bool:
        return (
            (self.kind, self.number) == (event.kind, event.number)
            and self.channel in (None, event.channel)
            and (self.port is None or self.port.fits(port))
        )


@dataclass
class _Memory:
    """What was heard of one mapping from one port and channel."""

    is_down: bool = False
    fired_at: float = float("-inf")
    value: float | None = None


@dataclass
class Learner:
    """All mappings, and what it takes to tell a press from a pedal's way down."""

    mappings: Sequence[Mapping]
    _heard: dict[tuple[int, str, int], _Memory] = field(default_factory=dict)

    def hear(self, port: str, event: Event, at: float) -> list[Action]:
        """What this event, heard at `at` (monotonic seconds), shall do, in the order of the configuration."""
        return [action for index in range(len(self.mappings)) for action in self._of(index, port, event, at)]

    def _of(self, index: int, port: str, event: Event, at: float) -> Iterable[Action]:
        mapping = self.mappings[index]
        if not mapping.hears(port, event):
            return
        memory = self._heard.setdefault((index, port, event.channel), _Memory())
        source = f"midi:{port}"
        if mapping.action is None:
            value = scaled(mapping.setting, event.value)
            if value != memory.value:
                memory.value = value
                yield Action(f"{PREFIX}/set/{mapping.setting}", (value,), source=source)
        elif _is_pressed(event, memory) and at - memory.fired_at >= DEBOUNCE_S:
            memory.fired_at = at
            yield Action(mapping.action.address, mapping.action.args, mapping.action.script, source)


def _is_pressed(event: Event, memory: _Memory) -> bool:
    if event.kind is not Kind.CC:
        return True
    was_down = memory.is_down
    memory.is_down = event.value >= PRESSED or (was_down and event.value > RELEASED)
    return memory.is_down and not was_down


def scaled(setting: str, value: int) -> float | int:
    """A controller's 0 to 127 as a value of the setting: its whole range, in whole numbers or hundredths."""
    rule = SETTINGS[setting].rule
    assert isinstance(rule, Whole | Number)
    wanted = rule.low + (rule.high - rule.low) * value / _TOP
    if isinstance(rule, Whole):
        return round(wanted)
    return max(round(wanted, 2), 0.01) if rule.above_low else round(wanted, 2)


# --- reading an entry -------------------------------------------------------------------------------------------------
_FOLLOWING = [name for name, spec in SETTINGS.items() if isinstance(spec.rule, Whole | Number) and name != "seed"]


class Entry(Protocol):
    """An entry as the configuration has it (`bridge.midi_config.LearnConfig`)."""

    @property
    def on(self) -> str: ...
    @property
    def channel(self) -> int | None: ...
    @property
    def port(self) -> str | None: ...
    @property
    def do(self) -> str | None: ...
    @property
    def send(self) -> tuple[str | int | float, ...] | None: ...
    @property
    def value(self) -> str | None: ...


def mapping_of(entry: Entry) -> Mapping:
    """The mapping that an entry means. Raises `ValueError` with a sentence."""
    kind, number = _trigger(entry.on)
    told = [name for name in ("do", "send", "value") if getattr(entry, name) is not None]
    if len(told) != 1:
        given = " and ".join(told) or "none of them"
        raise ValueError(f"an entry has one of do, send and value; this one has {given}")
    action, setting = None, ""
    if entry.do is not None:
        action = _word(entry.do)
    elif entry.send is not None:
        action = _message(entry.send)
    else:
        setting = _setting(entry.value or "")
        if kind is not Kind.CC:
            raise ValueError("a value follows a controller: on must be 'cc' and its number")
    port = NamePattern(entry.port) if entry.port is not None else None
    return Mapping(kind, number, entry.channel, port, action, setting)


def _trigger(on: str) -> tuple[Kind, int]:
    found = re.fullmatch(r"\s*(note|cc|program)\s+(\d{1,3})\s*", on, re.IGNORECASE)
    if found is None:
        raise ValueError("on must be 'note', 'cc' or 'program' and a number, such as 'cc 64'")
    kind, number = Kind[found[1].upper()], int(found[2])
    highest = 119 if kind is Kind.CC else _TOP
    if number > highest:
        raise ValueError(f"{found[1].lower()} numbers go from 0 to {highest}")
    return kind, number


def _word(do: str) -> Action:
    known = WORDS.get(" ".join(do.casefold().split()))
    if known is None:
        near = difflib.get_close_matches(do, WORDS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it does {', '.join(WORDS)}"
        raise ValueError(f"there is nothing called '{do}' to do: {hint}")
    return known


def _message(send: Sequence[str | int | float]) -> Action:
    if not send or not isinstance(send[0], str):
        raise ValueError("send is an address and its arguments, such as ['/stembridge/repaint', 'variations', 2]")
    try:
        command = parse(send[0], send[1:])
    except StembridgeError as error:
        raise ValueError(error.sentence) from error
    if command.address.group == "client":
        raise ValueError(f"{command.path} is for programs that listen to the answer; a pedal has no use for it")
    return Action(command.path, tuple(send[1:]))


def _setting(value: str) -> str:
    name = value.removeprefix(f"{PREFIX}/").removeprefix("set/")
    if name in _FOLLOWING:
        return name
    near = difflib.get_close_matches(name, _FOLLOWING, n=1)
    hint = f"did you mean 'set/{near[0]}'?" if near else f"those that can are {', '.join(_FOLLOWING)}"
    raise ValueError(f"'{value}' is no setting that can follow a controller: {hint}")
