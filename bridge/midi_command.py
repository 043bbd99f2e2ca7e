"""`stembridge midi`: which ports there are, what a pedal sends, what a clock says. Needs no running daemon.

On Windows a port belongs to one program at a time: a daemon that hears it must end first, and the sentence says so.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from argparse import Namespace
from contextlib import suppress
from typing import TextIO

from bridge.config import Config
from bridge.doors.midi import MidiDoor, look_once
from bridge.doors.midi_jack import sender_names
from bridge.doors.midi_learn import PRESSED, WORDS, Event, Kind
from bridge.doors.midi_ports import NoMidi, input_names
from bridge.midi_config import ALLOWED, MidiConfig
from protocol.errors import BadArgument
from protocol.midi_clock import ClockReading, ClockState

DONE, WRONG = 0, 1
_SAY_S = 0.5
_ALL = "*"


def main(arguments: Namespace, config: Config) -> int:
    """Run one action; 0 done, 1 nothing was heard or there is nothing to hear."""
    logging.getLogger("stembridge").addHandler(logging.NullHandler())  # what the door logs is said here in its place
    if arguments.action == "ports":
        return _ports(config.midi)
    heard = _heard_by(arguments.port, config.midi)
    if arguments.action == "learn":
        return asyncio.run(_learn(heard, arguments.seconds))
    try:
        return asyncio.run(_watch(heard, arguments.seconds))
    except KeyboardInterrupt:  # the way to end it
        return DONE


def _heard_by(told: str | None, configured: MidiConfig) -> MidiConfig:
    """The ports to listen to, with nothing learnt: the pedal shall not do what it is asked about."""
    port = told or (configured.port if configured.wishes else _ALL)
    try:
        return MidiConfig(port=port)
    except ValueError as error:
        raise BadArgument(f"--port {port} cannot be heard: it is {ALLOWED}.") from error


# --- ports ------------------------------------------------------------------------------------------------------------
def _ports(configured: MidiConfig) -> int:
    try:
        names = input_names()
    except NoMidi as error:
        _say(error.sentence)
        names = []
    with suppress(NoMidi):  # most machines have no JACK, and need none
        names += [f"jack:{name}" for name in sender_names()]
    for name in names:
        _say(name)
    if not configured.wishes:
        _say(f"Nothing is heard: [midi] port is off.{_advice(names)}")
        return DONE
    found = look_once(configured)
    for one in found:
        outcome = [f"hears {', '.join(one.names)}"] if one.names else []
        _say(f"[midi] port '{one.wish}': {'; '.join([*outcome, *filter(None, [one.problem.rstrip('.')])])}.")
    return WRONG if any(one.problem for one in found) else DONE


def _advice(names: list[str]) -> str:
    return f" To hear one: port = {json.dumps(names[0], ensure_ascii=False)}" if names else ""


# --- learn ------------------------------------------------------------------------------------------------------------
async def _learn(config: MidiConfig, seconds: float | None) -> int:
    found: asyncio.Future[tuple[str, Event]] = asyncio.get_running_loop().create_future()

    def on_event(port: str, event: Event) -> None:
        if not found.done() and (event.kind is not Kind.CC or event.value >= PRESSED):
            found.set_result((port, event))

    door = MidiDoor(config, on_event=on_event)
    if not await _open(door):
        return WRONG
    try:
        _say("Press the pedal, pad or key, or turn the knob.", sys.stderr)
        port, event = await asyncio.wait_for(found, seconds)
    except TimeoutError:
        _say("Nothing came.", sys.stderr)
        return WRONG
    finally:
        await door.stop()
    _say(as_toml(port, event))
    return DONE


def as_toml(port: str, event: Event) -> str:
    """The configuration's lines for an event, with something to do that can be changed."""
    follows = "" if event.kind is not Kind.CC else '\n# or, for a knob: value = "set/strength" instead of do'
    return (
        "[[midi.learn]]\n"
        f'on = "{event.words}"\n'
        f"channel = {event.channel}\n"
        f"port = {json.dumps(port, ensure_ascii=False)}\n"
        f'do = "repaint"  # or {", ".join(word for word in WORDS if word != "repaint")}'
        f"{follows}"
    )


# --- watch ------------------------------------------------------------------------------------------------------------
async def _watch(config: MidiConfig, seconds: float | None) -> int:
    said: dict[str, tuple[ClockState, float]] = {}

    def on_clock(source: str, reading: ClockReading) -> None:
        state, at = said.get(source, (None, 0.0))
        if reading.state is not state or reading.at - at >= _SAY_S:
            said[source] = reading.state, reading.at
            _say(in_words(source, reading))

    door = MidiDoor(config, on_clock=on_clock)
    if not await _open(door):
        return WRONG
    try:
        await asyncio.wait_for(asyncio.Event().wait(), seconds)
    except TimeoutError:
        pass
    finally:
        await door.stop()
    return DONE if said else WRONG


def in_words(source: str, reading: ClockReading) -> str:
    """One line: the port, what its clock does, tempo with its standard error, and the place."""
    tempo = "tempo not known yet" if reading.bpm is None else f"{reading.bpm:7.2f} BPM +/- {reading.bpm_error:.2f}"
    place = f"beat {reading.beat:.2f}" + ("" if reading.located else ", counted from where it was first heard")
    return f"{source.removeprefix('midi:')}: {reading.state}, {tempo}, {place}"


async def _open(door: MidiDoor) -> bool:
    """Start the door and say what it hears; False if that is nothing."""
    await door.start()
    states = door.describe()
    for state in states:
        _say(f"{state.problem.rstrip('.')}." if state.problem else f"Hearing {state.name}.", sys.stderr)
    if any(state.name for state in states):
        return True
    await door.stop()
    return False


def _say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
