"""MIDI files as the tests read them: with mido, not with what wrote them."""

from __future__ import annotations

import io
from pathlib import Path

from mido import MidiFile


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
