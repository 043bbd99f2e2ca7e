"""Bytes of MIDI: any stream is cut into whole messages, and none of it hurts."""

from __future__ import annotations

import mido
from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.midi_messages import Splitter, is_whole

NOTE = bytes((0x90, 60, 100))
TICK = b"\xf8"

MESSAGES = st.one_of(
    st.builds(lambda c, n, v: mido.Message("note_on", channel=c, note=n, velocity=v), *[st.integers(0, 15)] * 3),
    st.builds(lambda n, v: mido.Message("control_change", control=n, value=v), *[st.integers(0, 127)] * 2),
    st.builds(lambda n: mido.Message("program_change", program=n), st.integers(0, 127)),
    st.builds(lambda p: mido.Message("songpos", pos=p), st.integers(0, 16383)),
    st.sampled_from([mido.Message(kind) for kind in ("clock", "start", "continue", "stop", "active_sensing")]),
)


def split(stream: bytes, size: int = 4096) -> list[bytes]:
    splitter = Splitter()
    return [found for start in range(0, len(stream), size) for found in splitter.feed(stream[start : start + size])]


@given(st.lists(MESSAGES), st.integers(1, 7))
def test_what_mido_sends_comes_out_as_it_went_in_however_it_is_cut(messages: list[mido.Message], size: int):
    assert split(b"".join(message.bin() for message in messages), size) == [bytes(m.bin()) for m in messages]


@given(st.binary(max_size=300), st.integers(1, 9))
def test_any_bytes_give_whole_messages_only(stream: bytes, size: int):
    found = split(stream, size)
    assert all(map(is_whole, found))
    assert found == split(stream)


@given(st.binary(max_size=300))
def test_a_clock_tick_is_never_lost_whatever_surrounds_it(noise: bytes):
    assert split(noise).count(TICK) == noise.count(TICK)


def test_a_tick_inside_a_note_comes_first_and_the_note_is_whole():
    assert split(bytes((0x90, 60, 0xF8, 100))) == [TICK, NOTE]


def test_running_status_gives_each_note_its_status():
    assert split(NOTE + bytes((64, 90))) == [NOTE, bytes((0x90, 64, 90))]


def test_system_exclusive_is_left_out_and_ends_running_status():
    assert split(NOTE + b"\xf0" + bytes(100) + b"\xf7" + bytes((64, 90)) + TICK) == [NOTE, TICK]


def test_a_song_position_has_no_running_status():
    assert split(bytes((0xF2, 1, 2, 3, 4))) == [bytes((0xF2, 1, 2))]


def test_an_endless_system_exclusive_takes_no_memory():
    splitter = Splitter()
    assert list(splitter.feed(b"\xf0" + bytes(100_000))) == []
    assert len(splitter._data) == 0
