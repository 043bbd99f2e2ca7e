"""MIDI messages as bytes: which kinds we hear, and how a stream of bytes is cut into them. Pure.

Source: MIDI 1.0 detailed specification: status bytes, running status, real-time messages between any two bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

NOTE_ON, CONTROL, PROGRAM = 0x90, 0xB0, 0xC0
"""Upper half of a status byte; the lower is the channel less 1."""

SONG_POSITION, CLOCK, START, CONTINUE, STOP = 0xF2, 0xF8, 0xFA, 0xFB, 0xFC
_SYSEX, _SYSEX_END, _REAL_TIME = 0xF0, 0xF7, 0xF8

_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2, 0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}


def data_bytes(status: int) -> int | None:
    """How many bytes follow a status byte; None for system exclusive and undefined ones."""
    return 0 if status >= _REAL_TIME else _DATA_BYTES.get(status if status >= _SYSEX else status & 0xF0)


def is_whole(message: bytes) -> bool:
    """True for one complete message of a kind that this module knows."""
    if not message or message[0] < 0x80 or data_bytes(message[0]) != len(message) - 1:
        return False
    return all(byte < 0x80 for byte in message[1:])


class Splitter:
    """Cuts a stream of bytes into messages, system exclusive left out. Any bytes will do; it keeps at most three."""

    def __init__(self) -> None:
        self._status = 0  # 0: data bytes mean nothing now
        self._data = bytearray()

    def feed(self, stream: bytes) -> Iterator[bytes]:
        """The messages that are complete with these bytes, each with its status byte."""
        for byte in stream:
            if byte >= _REAL_TIME:  # between any two bytes, and breaks nothing
                yield bytes((byte,))
            elif byte >= 0x80:
                self._data.clear()
                needed = data_bytes(byte)
                self._status = byte if needed else 0
                if needed == 0:
                    yield bytes((byte,))
            elif self._status:
                self._data.append(byte)
                if len(self._data) == data_bytes(self._status):
                    yield bytes((self._status, *self._data))
                    self._data.clear()
                    if self._status >= _SYSEX:  # system common messages have no running status
                        self._status = 0
