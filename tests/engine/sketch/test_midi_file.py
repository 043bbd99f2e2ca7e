"""The MIDI file beside a stem says exactly what the stem plays, when, under any tempo map."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mido import MidiFile

from engine.sketch.midi_file import STRAY_S, midi_file
from engine.sketch.score import PPQ, Instrument, Note, Part, in_order, on_tick
from protocol.key import Key, all_keys
from protocol.music import TempoMap, TempoPoint, TimeSignature
from protocol.vocabulary import TrackClass


def notes_at(*beats: float, pitch: int = 40, length: float = 0.5) -> tuple[Note, ...]:
    return in_order(Note(on_tick(beat), length, pitch, 90, on_tick(beat)) for beat in beats)


def bass(*notes: Note) -> Part:
    return Part(TrackClass.BASS, Instrument.FINGER_BASS, notes)


def read(data: bytes) -> MidiFile:
    return MidiFile(file=io.BytesIO(data))


def heard(data: bytes, track: int = 1) -> list[tuple[float, int, int]]:
    """Every note-on of a track: seconds from the file's start by its own tempo events, pitch, velocity."""
    file = read(data)
    tempos: list[tuple[int, int]] = []
    now = 0
    for message in file.tracks[0]:
        now += message.time
        if message.type == "set_tempo":
            tempos.append((now, message.tempo))
    found, now = [], 0
    for message in file.tracks[track]:
        now += message.time
        if message.type == "note_on":
            seconds = 0.0
            for index, (tick, tempo) in enumerate(tempos):
                until = min(now, tempos[index + 1][0] if index + 1 < len(tempos) else now)
                seconds += max(0, until - tick) * tempo / PPQ / 1e6
            found.append((seconds, message.note, message.velocity))
    return found


@st.composite
def tempo_maps(draw: st.DrawFn) -> TempoMap:
    points, time_s = [], 0.0
    for _ in range(draw(st.integers(1, 4))):
        signature = TimeSignature(draw(st.sampled_from([3, 4, 5, 7])), draw(st.sampled_from([4, 8])))
        points.append(TempoPoint(time_s, draw(st.floats(40, 240)), signature, draw(st.booleans())))
        time_s += draw(st.floats(1.0, 12.0))
    return TempoMap(tuple(points))


@example(
    tempo_map=TempoMap((TempoPoint(0.0, 110.0, linear=True), TempoPoint(1.25, 40.0))), start=0.0, offsets=[1.53125]
)
@example(  # the tempo changes a quarter of a tick after the region begins
    tempo_map=TempoMap((TempoPoint(0.0, 60.0), TempoPoint(1.0950521295614468, 40.0))), start=1051 / 960, offsets=[1.0]
)
@given(
    tempo_map=tempo_maps(),
    start=st.floats(0.0, 16.0).map(on_tick),
    offsets=st.lists(st.floats(0.0, 31.0).map(on_tick), min_size=1, max_size=12, unique=True),
)
def test_every_note_lies_where_the_tempo_map_has_it(tempo_map: TempoMap, start: float, offsets: list[float]) -> None:
    beats = [start + offset for offset in offsets]
    data = midi_file([bass(*notes_at(*beats))], tempo_map, start, start + 32.0)
    tick_s = 60.0 / 40.0 / PPQ
    for (seconds, _, _), beat in zip(heard(data), sorted(beats), strict=True):
        assert abs(seconds - (tempo_map.time_at(beat) - tempo_map.time_at(start))) < STRAY_S + tick_s / 2


def test_a_ramp_without_its_tempo_events_would_stray_so_the_test_above_can_fail() -> None:
    ramp = TempoMap((TempoPoint(0.0, 80.0, linear=True), TempoPoint(10.0, 160.0)))
    data = midi_file([bass(*notes_at(8.0))], ramp, 0.0, 16.0)
    flat = midi_file([bass(*notes_at(8.0))], TempoMap.constant(80.0), 0.0, 16.0)
    assert heard(data)[0][0] == pytest.approx(ramp.time_at(8.0), abs=STRAY_S)
    assert abs(heard(flat)[0][0] - ramp.time_at(8.0)) > 0.5


def test_a_fractional_tempo_is_written_to_the_microsecond_once() -> None:
    data = midi_file([bass(*notes_at(0.0))], TempoMap.constant(97.53), 0.0, 16.0)
    tempos = [message.tempo for message in read(data).tracks[0] if message.type == "set_tempo"]
    assert tempos == [round(60e6 / 97.53)]


def test_the_file_begins_at_the_region_and_ends_with_it_and_notes_are_cut_there() -> None:
    part = bass(*notes_at(3.5, 4.0, 7.75, 8.0, length=2.0))
    data = midi_file([part], TempoMap.constant(120.0), 4.0, 8.0)
    file = read(data)
    assert [round(seconds, 3) for seconds, _, _ in heard(data)] == [0.0, 1.875]
    for track in file.tracks:
        assert sum(message.time for message in track) == 4 * PPQ


def test_a_repeated_note_is_released_before_it_is_struck_again() -> None:
    data = midi_file([bass(*notes_at(0.0, 0.5))], TempoMap.constant(120.0), 0.0, 4.0)
    kinds = [message.type for message in read(data).tracks[1] if message.type.startswith("note")]
    assert kinds == ["note_on", "note_off", "note_on", "note_off"]


def test_drums_are_on_channel_ten_and_every_other_part_has_a_channel_and_program_of_its_own() -> None:
    kit = Part(TrackClass.DRUMS, Instrument.BRUSH_KIT, notes_at(0.0, pitch=36))
    piano = Part(TrackClass.KEYBOARD, Instrument.ELECTRIC_PIANO, notes_at(0.0, pitch=60), pan=-1.0)
    file = read(midi_file([kit, bass(*notes_at(0.0)), piano], TempoMap.constant(120.0), 0.0, 4.0))
    channels = [{m.channel for m in track if m.type == "note_on"} for track in file.tracks[1:]]
    assert channels[0] == {9}
    assert len(set.union(*channels)) == 3
    assert [m.program for track in file.tracks for m in track if m.type == "program_change"] == [40, 33, 4]
    assert [track.name for track in file.tracks] == ["tempo", "drums", "bass", "keyboard"]


@pytest.mark.parametrize("key", all_keys(), ids=str)
def test_every_key_has_its_signature(key: Key) -> None:
    data = midi_file([bass(*notes_at(0.0))], TempoMap.constant(120.0), 0.0, 4.0, key)
    told = [message.key for message in read(data).tracks[0] if message.type == "key_signature"]
    assert told == [key.tonic + ("m" if key.mode == "minor" else "")]


def test_meter_changes_stand_where_the_tempo_map_has_them() -> None:
    tempo_map = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(4.0, 120.0, TimeSignature(3, 4))))
    file = read(midi_file([bass(*notes_at(4.0))], tempo_map, 4.0, 14.0))
    now, told = 0, []
    for message in file.tracks[0]:
        now += message.time
        if message.type == "time_signature":
            told.append((now / PPQ, message.numerator, message.denominator))
    assert told == [(0.0, 4, 4), (4.0, 3, 4)]
