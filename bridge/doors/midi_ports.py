"""MIDI ports of the operating system, by python-rtmidi: found by name, opened, reopened when they come back.

RtMidi is used directly, not through mido: its messages come with what is needed here and nothing is made of them in the
driver's thread but their time stamp; and mido would open a virtual port wherever a client name is given. No system
tells RtMidi that a port went away, so ports are looked for again and again, all by one thread: CoreMIDI tells changes
only to the thread that asked first. A system without MIDI is told in a sentence and in no other way: its C libraries,
which write to stderr, are not asked.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bridge.doors.midi_names import NamePattern
from bridge.midi_config import PortWish
from protocol.errors import StembridgeError

log = logging.getLogger("stembridge.midi")

CLIENT = "Stembridge"
ALSA_SEQUENCER = Path("/dev/snd/seq")

Deliver = Callable[[str, bytes, float], None]
"""Takes a port's name, a message and when it came (monotonic seconds), in the driver's thread; raises nothing."""


class NoMidi(StembridgeError):
    """This machine's MIDI cannot be used: a library or a part of the system is missing."""

    code = "no_midi"


@dataclass(frozen=True)
class Found:
    """What became of one wish: the names of the ports that are open for it, and what keeps it from being fulfilled."""

    wish: str
    names: tuple[str, ...] = ()
    problem: str = ""


class Source(Protocol):
    """A kind of ports. `look` and `close` are called by one thread, which they may hold up; they raise nothing."""

    found: tuple[Found, ...]
    """Replaced as a whole by each `look`."""

    def look(self) -> None:
        """Open what is wanted and there, forget what is gone."""
        ...

    def close(self) -> None:
        """Close all; nothing is delivered any more."""
        ...


# --- RtMidi -----------------------------------------------------------------------------------------------------------
def rtmidi_module() -> Any:
    """python-rtmidi. Raises `NoMidi`."""
    try:
        import rtmidi
    except ImportError as error:
        raise NoMidi(
            f"python-rtmidi cannot be used here ({error}): pip install 'stembridge[midi]'. On a Python for which it "
            "has no wheel that needs a C++ compiler; Python 3.12 needs none."
        ) from error
    return rtmidi


def system_api(rtmidi: Any) -> int:
    """The system's own MIDI. Raises `NoMidi` where there is none, before any C library can complain to stderr."""
    apis = {"win32": "API_WINDOWS_MM", "darwin": "API_MACOSX_CORE"}
    if sys.platform.startswith("linux") and not os.access(ALSA_SEQUENCER, os.R_OK | os.W_OK):
        missing = "may not be used by this user" if ALSA_SEQUENCER.exists() else "is not there"
        raise NoMidi(
            f"The ALSA sequencer {ALSA_SEQUENCER} {missing}: load it (sudo modprobe snd-seq) and be in the group "
            "audio, or hear JACK instead (port = 'jack')."
        )
    return int(getattr(rtmidi, apis.get(sys.platform, "API_LINUX_ALSA")))


def input_names(api: int | None = None) -> list[str]:
    """The input ports that there are now, as patterns see them. Raises `NoMidi`."""
    lister = _new_input(api)
    try:
        return list(_labelled(lister.get_ports()))
    finally:
        lister.delete()


def _new_input(api: int | None) -> Any:
    rtmidi = rtmidi_module()
    chosen = system_api(rtmidi) if api is None else api
    try:
        return rtmidi.MidiIn(chosen, CLIENT)
    except (rtmidi.RtMidiError, OSError) as error:
        raise NoMidi(f"The system's MIDI does not start: {error}") from error


def _labelled(names: Sequence[str]) -> dict[str, int]:
    """Each port's index by a name that stays: without ALSA's numbers, and with a number where several are called so."""
    labels: dict[str, int] = {}
    for index, name in enumerate(names):
        plain = re.sub(r" \d+:\d+$", "", name)
        label, number = plain, 1
        while label in labels:
            number += 1
            label = f"{plain} ({number})"
        labels[label] = index
    return labels


class NamedPorts:
    """All ports that are wished by name. `api` is RtMidi's number of one, None the system's own."""

    def __init__(
        self, wishes: Sequence[PortWish], deliver: Deliver, clock: Callable[[], float], api: int | None = None
    ) -> None:
        self._wishes, self._deliver, self._clock, self._api = wishes, deliver, clock, api
        self._lister: Any = None
        self._open: dict[str, tuple[str, Any]] = {}  # by label: RtMidi's name, the open port
        self.found = tuple(Found(wish.text) for wish in wishes)

    def look(self) -> None:
        try:
            names = self._list()
        except NoMidi as error:
            self.close()
            self.found = tuple(Found(wish.text, problem=error.sentence) for wish in self._wishes)
            return
        labels = _labelled(names)
        there = {label: names[index] for label, index in labels.items()}
        for label in [label for label, (name, _) in self._open.items() if there.get(label) != name]:
            self._forget(label)
        self.found = tuple(self._fulfil(wish, labels, names) for wish in self._wishes)

    def close(self) -> None:
        for label in list(self._open):
            self._forget(label)
        if self._lister is not None:
            _end(self._lister)
            self._lister = None

    def _list(self) -> list[str]:
        """The system's names now. The lister is kept: on Windows each new one says on stderr that there is no port."""
        if self._lister is None:
            self._lister = _new_input(self._api)
        try:
            return list(self._lister.get_ports())
        except Exception as error:
            raise NoMidi(f"The system's MIDI ports cannot be listed: {error}") from error

    def _fulfil(self, wish: PortWish, labels: dict[str, int], names: Sequence[str]) -> Found:
        wanted = NamePattern(wish.name).choose(list(labels))
        if not wanted:
            there = f"there are {', '.join(labels)}" if labels else "there is none"
            return Found(wish.text, problem=f"no MIDI input is called '{wish.name}' ({there})")
        problem = ""
        for label in wanted:
            if label not in self._open:
                problem = self._try(label, labels[label], names[labels[label]]) or problem
        return Found(wish.text, tuple(label for label in wanted if label in self._open), problem)

    def _try(self, label: str, index: int, name: str) -> str:
        """Open a port; why it could not be."""
        port = None
        try:
            port = _new_input(self._api)
            _hear(port, label, self._deliver, self._clock)
            if port.get_port_name(index) != name:
                raise NoMidi("the ports have just changed")
            port.open_port(index, CLIENT)
        except Exception as error:  # python-rtmidi's own, and what drivers make of a port that is just going away
            if port is not None:
                _end(port)
            only_one = " (on Windows only one program at a time can have it)" if sys.platform == "win32" else ""
            return f"{label} is there but cannot be opened: {error}{only_one}"
        self._open[label] = name, port
        return ""

    def _forget(self, label: str) -> None:
        _end(self._open.pop(label)[1])


class VirtualPort:
    """A port of our own, to which others connect (macOS, ALSA)."""

    def __init__(self, wish: PortWish, deliver: Deliver, clock: Callable[[], float], api: int | None = None) -> None:
        self._wish, self._deliver, self._clock, self._api = wish, deliver, clock, api
        self._port: Any = None
        self._name = f"virtual:{wish.name}"
        self.found: tuple[Found, ...] = (Found(wish.text),)

    def look(self) -> None:
        if self._port is not None:
            return
        self.found = (Found(self._wish.text, *self._try()),)

    def _try(self) -> tuple[tuple[str, ...], str]:
        if sys.platform == "win32":
            return (), "Windows has no virtual MIDI ports: make one with loopMIDI, and write its name instead"
        port = None
        try:
            port = _new_input(self._api)
            _hear(port, self._name, self._deliver, self._clock)
            port.open_virtual_port(self._wish.name)
        except Exception as error:
            if port is not None:
                _end(port)
            return (), str(error)
        self._port = port
        return (self._name,), ""

    def close(self) -> None:
        if self._port is not None:
            _end(self._port)
            self._port = None
        self.found = (Found(self._wish.text),)


def _hear(port: Any, label: str, deliver: Deliver, clock: Callable[[], float]) -> None:
    """Have everything but system exclusive and active sensing delivered, MIDI clock with it."""

    def heard(event: tuple[Sequence[int], float], _data: object) -> None:
        at = clock()  # first of all: RtMidi's own delta times are of the last message, whichever that was
        deliver(label, bytes(event[0]), at)

    port.ignore_types(True, False, True)
    port.set_callback(heard)


def _end(port: Any) -> None:
    with suppress(Exception):  # the device is gone, and its driver says so
        port.cancel_callback()
        port.close_port()
    with suppress(Exception):
        port.delete()
