"""MIDI as the tests read and send it: with mido, not with what is tested."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import mido.sockets
from mido import Message, MidiFile

T = TypeVar("T")


def midi_notes(midi: bytes | Path) -> list[tuple[float, int]]:
    """Every note of all tracks, in order: beats after the file's start, pitch."""
    file = MidiFile(file=io.BytesIO(midi if isinstance(midi, bytes) else midi.read_bytes()))
    found = []
    for track in file.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on":
                found.append((now / file.ticks_per_beat, message.note))
    return sorted(found)


class Sender:
    """A program that sends MIDI over TCP as any user of `mido.sockets` does, plus raw bytes for what none should."""

    def __init__(self, port: int) -> None:
        self._out = mido.sockets.connect("127.0.0.1", port)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, kind: str, **fields: int) -> None:
        self._out.send(Message(kind, **fields))

    def raw(self, data: bytes) -> None:
        self._out._wfile.write(data)

    def close(self) -> None:
        """What mido itself leaves open too: its files keep the socket alive."""
        for part in (self._out._rfile, self._out._wfile, self._out):
            part.close()


async def until(look: Callable[[], T], timeout_s: float = 10.0) -> T:
    """What `look` sees as soon as that is true; the loop runs meanwhile."""
    async with asyncio.timeout(timeout_s):
        while not (seen := look()):  # noqa: ASYNC110 - whatever is looked at has no event to wait for
            await asyncio.sleep(0.005)
    return seen
