"""MIDI from JACK, by JACK-Client: a port of our own whose messages carry the sample at which they were sent.

RtMidi's JACK input knows only when the period that brought a message was processed; with 1024 frames that is 21 ms of
jitter, and JACK's own stamp has none. Our Python runs in JACK's thread for it, and Python may let it wait a few
milliseconds for its lock: the server (unless it runs in synchronous mode) then leaves out our client's block, not the
music. That is why JACK is heard only where the configuration says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bridge.doors.midi_names import NamePattern
from bridge.doors.midi_ports import CLIENT, Deliver, Found, NoMidi
from bridge.midi_config import PortWish

log = logging.getLogger("stembridge.midi")

_FRAMES = 2**32
"""JACK's frame counter wraps here, after a day at 48 kHz."""

_NEAR_S = 0.0005
"""Frame counter and clock are read together when no more time than this went by between two looks at the clock."""


def jack_module() -> Any:
    """JACK-Client, without what libjack would say on stderr. Raises `NoMidi`."""
    try:
        import jack
    except (ImportError, OSError) as error:
        raise NoMidi(f"JACK cannot be used here ({error}): install JACK, and pip install 'stembridge[jack]'") from error
    jack.set_error_function(lambda message: log.debug("JACK: %s", message))
    jack.set_info_function(lambda message: log.debug("JACK: %s", message))
    return jack


def sender_names(server: str | None = None) -> list[str]:
    """The MIDI outputs in JACK now, as patterns see them. Raises `NoMidi`."""
    client = _join(server)
    try:
        return [port.name for port in client.get_ports(is_midi=True, is_output=True)]
    finally:
        client.close()


def _join(server: str | None) -> Any:
    jack = jack_module()
    try:
        return jack.Client(CLIENT, no_start_server=True, servername=server)
    except jack.JackError as error:
        raise NoMidi("no JACK server runs here, or it cannot be joined: start JACK") from error


class JackPort:
    """The port ``Stembridge:MIDI in``; with a pattern the first MIDI output that fits is connected, and names it."""

    def __init__(self, wish: PortWish, deliver: Deliver, clock: Callable[[], float], server: str | None = None) -> None:
        self._wish, self._deliver, self._clock, self._server = wish, deliver, clock, server
        self._client: Any = None
        self._port: Any = None
        self._name = ""
        self._is_gone = False
        self.found: tuple[Found, ...] = (Found(wish.text),)

    def look(self) -> None:
        if self._is_gone:
            self.close()
        try:
            if self._client is None:
                self._join()
            found = self._connect() if self._wish.name else Found(self._wish.text, (self._name,))
        except Exception as error:
            self.close()
            self.found = (Found(self._wish.text, problem=str(error)),)
            return
        self.found = (found,)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()  # it deactivates first: after this nothing is delivered
        self._client, self._port, self._is_gone = None, None, False
        self.found = (Found(self._wish.text),)

    def _join(self) -> None:
        self._client = client = _join(self._server)
        self._port = client.midi_inports.register("MIDI in")
        self._name = self._own_name = f"jack:{self._port.name}"
        self._rate = client.samplerate
        client.set_shutdown_callback(self._ended)
        client.set_process_callback(self._process)
        client.activate()

    def _ended(self, _status: object, _reason: str) -> None:
        self._is_gone = True

    def _connect(self) -> Found:
        """Connect what is wanted, unless it is."""
        names = [port.name for port in self._client.get_ports(is_midi=True, is_output=True)]
        wanted = NamePattern(self._wish.name).choose(names)
        if not wanted:
            self._name = self._own_name
            there = f"there are {', '.join(names)}" if names else "there is none"
            return Found(self._wish.text, problem=f"no MIDI output of JACK is called '{self._wish.name}' ({there})")
        sender = wanted[0]  # of several the first: two clocks on one port would become one
        self._name = f"jack:{sender}"
        if not self._port.is_connected_to(sender):
            self._client.connect(sender, self._port)
        return Found(self._wish.text, (self._name,))

    def _process(self, _frames: int) -> None:
        """In JACK's thread, once a period."""
        events = [(offset, bytes(event)) for offset, event in self._port.incoming_midi_events()]
        if not events:
            return
        now, frame = self._now()
        start = self._client.last_frame_time
        for offset, message in events:
            age = (frame - start - offset) % _FRAMES
            if age >= _FRAMES // 2:  # an event of this very moment
                age -= _FRAMES
            self._deliver(self._name, message, now - age / self._rate)

    def _now(self) -> tuple[float, int]:
        """Our clock and JACK's frame counter at one moment; again if Python lost its lock in between."""
        for _ in range(3):
            before, frame, after = self._clock(), self._client.frame_time, self._clock()
            if after - before < _NEAR_S:
                break
        return (before + after) / 2, frame
