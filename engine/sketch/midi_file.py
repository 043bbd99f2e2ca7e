"""Parts as a Standard MIDI File, tempo map included, that begins where the region begins.

Laid at the stem's place in a project with that tempo map, every note lies where the stem has it, to the tick. A file
has no place for ramps: inside one, tempo events follow it in steps so short that no note strays by `STRAY_S`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mido import Message, MetaMessage, MidiFile, MidiTrack, bpm2tempo

from engine.sketch.score import PPQ, Part
from protocol.key import Key
from protocol.music import TempoMap, TempoPoint

STRAY_S = 0.0005
"""How far a note of the file may lie from the same note of the tempo map, rounding to ticks apart."""

_LONGEST_STEP, _SHORTEST_STEP = 1 / 8, 1 / 120
"""Beats between the tempo events of a ramp."""
_DRUMS = 9
_CHANNELS = [channel for channel in range(16) if channel != _DRUMS]

Event = tuple[int, int, Message | MetaMessage]
"""Tick, order among the events of one tick, message."""


def midi_file(parts: Sequence[Part], tempo_map: TempoMap, start: float, end: float, key: Key | None = None) -> bytes:
    """The notes of `parts` between the beats `start` and `end` as the bytes of a type 1 file, `PPQ` ticks a quarter."""
    file = MidiFile(type=1, ticks_per_beat=PPQ)
    file.tracks.append(_track(_conductor(tempo_map, start, end, key), round((end - start) * PPQ)))
    channels = iter(_CHANNELS)
    for part in parts:
        channel = _DRUMS if part.instrument.is_kit else next(channels)
        file.tracks.append(_track(_notes(part, start, end, channel), round((end - start) * PPQ)))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _track(events: Iterator[Event], last: int) -> MidiTrack:
    track, now = MidiTrack(), 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(MetaMessage("end_of_track", time=max(0, last - now)))
    return track


def _notes(part: Part, start: float, end: float, channel: int) -> Iterator[Event]:
    yield 0, 0, MetaMessage("track_name", name=part.track.value)
    yield 0, 1, MetaMessage("instrument_name", name=part.instrument.value)
    yield 0, 2, Message("program_change", channel=channel, program=part.instrument.program)
    pan = min(127, round(64 + 63 * part.pan))
    yield 0, 3, Message("control_change", channel=channel, control=10, value=pan)
    for note in part.clipped(start, end).notes:
        first, last = (round((beat - start) * PPQ) for beat in (note.beat, note.end))
        last = max(last, first + 1)
        yield first, 6, Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        # Before the notes that begin on the same tick, so that a repeated note is not cut at its start.
        yield last, 5, Message("note_off", channel=channel, note=note.pitch, velocity=0)


def _conductor(tempo_map: TempoMap, start: float, end: float, key: Key | None) -> Iterator[Event]:
    yield 0, 0, MetaMessage("track_name", name="tempo")
    if key is not None:
        yield 0, 1, MetaMessage("key_signature", key=key.tonic + ("m" if key.mode == "minor" else ""))
    for beat, signature in _signatures(tempo_map, start, end):
        told = MetaMessage("time_signature", numerator=signature[0], denominator=signature[1])
        yield round((beat - start) * PPQ), 2, told
    before = None
    for tick, tempo in _tempos(tempo_map, start, end):
        if tempo != before:
            yield tick, 3, MetaMessage("set_tempo", tempo=tempo)
        before = tempo


def _signatures(tempo_map: TempoMap, start: float, end: float) -> Iterator[tuple[float, tuple[int, int]]]:
    """The signature in force at `start`, and each change before `end`, which always begins a bar."""
    before = None
    changes = [tempo_map.beat_at(point.time_s) for point in tempo_map.points]
    for beat in [start, *(beat for beat in changes if start < beat < end)]:
        signature = tempo_map.signature_at(tempo_map.time_at(beat) + 1e-6)
        if signature != before:
            yield beat, (signature.numerator, signature.denominator)
        before = signature


def _tempos(tempo_map: TempoMap, start: float, end: float) -> Iterator[tuple[int, int]]:
    """Ticks and microseconds per quarter note, each the mean over its stretch: time is right at every stretch's end.

    A tempo is a whole number of microseconds in a file. What its rounding leaves over is made up for in the next one.
    """
    points = tempo_map.points
    edges = {round((tempo_map.beat_at(point.time_s) - start) * PPQ) for point in points}
    for point, following in pairwise(points):
        if point.linear and following.bpm != point.bpm:
            first, last = (tempo_map.beat_at(p.time_s) - start for p in (point, following))
            step = _ramp_step(point, following)
            numbers = range(int(max(first, 0.0) / step), int(min(last, end - start) / step) + 2)
            edges |= {round(number * step * PPQ) for number in numbers if first < number * step < last}
    length = max(1, round((end - start) * PPQ))
    ticks = sorted({0, length, *(edge for edge in edges if 0 < edge < length)})
    begin_s = tempo_map.time_at(start)
    elapsed_us = 0.0
    for first, last in pairwise(ticks):
        wanted_us = (tempo_map.time_at(start + last / PPQ) - begin_s) * 1e6
        tempo = round((wanted_us - elapsed_us) * PPQ / (last - first))
        inside = [tempo_map.time_at(start + (first + share * (last - first)) / PPQ) for share in (0.25, 0.75)]
        own = [bpm2tempo(tempo_map.bpm_at(time_s)) for time_s in inside]
        if own[0] == own[1] and (len(ticks) == 2 or abs(own[0] - tempo) <= 1):  # as the DAW shows it
            tempo = own[0]
        yield first, min(max(tempo, 1), 2**24 - 1)
        elapsed_us += tempo * (last - first) / PPQ


def _ramp_step(point: TempoPoint, following: TempoPoint) -> float:
    """Beats over which a ramp bends away from one steady tempo by `STRAY_S` at most, where it is slowest.

    A step of h beats strays by h^2 / 8 times the second derivative of time by beat, 3600 slope / bpm^3.
    """
    slope = abs(following.bpm - point.bpm) / (following.time_s - point.time_s)
    bend = 3600.0 * slope / min(point.bpm, following.bpm) ** 3
    return min(_LONGEST_STEP, max(_SHORTEST_STEP, math.sqrt(8.0 * STRAY_S / bend)))
