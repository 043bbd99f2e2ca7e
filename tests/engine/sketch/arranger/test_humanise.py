"""Humanised: near the grid at any tempo, together what is written together, and never across an edge."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sketch.arranger.humanise import humanised
from engine.sketch.score import PPQ, Note, on_tick
from tests.support.sheets import sheet


def chance(seed=1):
    return np.random.Generator(np.random.PCG64(seed))


def score(of, step=0.5, pitches=(60, 64)):
    beats = np.arange(of.start, of.end - 1e-6, step)
    return [Note(on_tick(beat), on_tick(step), pitch, 80, on_tick(beat)) for beat in beats for pitch in pitches]


def offsets_ms(notes, of):
    time_at = of.tempo_map.time_at
    return np.array([1000 * (time_at(note.beat) - time_at(note.written)) for note in notes])


@pytest.mark.parametrize("bpm", [40.0, 97.3, 140.0, 240.0, [60.0, 180.0, 90.0]])
def test_offsets_are_felt_but_small_at_any_tempo(bpm):
    of = sheet(bars=32, bpm=bpm)
    offsets = np.abs(offsets_ms(humanised(score(of), of, chance(), timing_ms=5.0, velocity=5, lean_ms=1.0), of))
    assert 1.0 < np.median(offsets) < 4.5
    assert offsets.max() < 13.0
    usual = np.abs(offsets_ms(humanised(score(of), of, chance(), timing_ms=3.5, velocity=5), of))
    assert np.median(usual) < 4.0


def test_a_player_who_lays_back_is_late_on_average():
    of = sheet(bars=64)
    late, even = (
        offsets_ms(humanised(score(of), of, chance(), timing_ms=3.0, velocity=0, lean_ms=lean), of).mean()
        for lean in (2.0, 0.0)
    )
    assert 1.5 < late - even < 2.5


@given(st.floats(10.0, 1000.0), st.integers(0, 99), st.floats(-0.4, 0.4), st.sampled_from([0.125, 0.25, 1 / 3, 1.0]))
def test_chords_stay_together_in_order_and_inside(bpm, seed, shift, step):
    whole = sheet(bars=2, bpm=bpm)
    of = type(whole)(whole.tempo_map, whole.key, 1.0 + shift, 6.0 + shift, whole.chords, whole.sections)
    written = [
        Note(on_tick(beat), 0.1, pitch, 1 + 125 * (pitch - 60) // 4, on_tick(beat))
        for beat in np.arange(0.0, 8.0, step)
        for pitch in (60, 64)
    ]
    played = humanised(written, of, chance(seed), timing_ms=6.0, velocity=30, lean_ms=-2.0)
    assert len(played) == len(written)
    by_place = {}
    for note in played:
        by_place.setdefault(note.written, set()).add(note.beat)
        assert on_tick(note.beat) == note.beat
        assert on_tick(note.beats) == note.beats
        assert 1 <= note.velocity <= 127
        tick = 1 / PPQ
        if of.start + tick < note.written < of.end - tick:
            assert of.start <= note.beat < of.end
        elif note.written < of.start - tick:
            assert note.beat < of.start
        elif note.written > of.end + tick:
            assert note.beat >= of.end - tick
    assert all(len(beats) == 1 for beats in by_place.values())
    places = [next(iter(by_place[written])) for written in sorted(by_place)]
    assert all(before < after for before, after in pairwise(places))


def test_a_line_without_gaps_or_overlaps_keeps_having_none():
    of = sheet(bars=8)
    played = humanised(score(of, pitches=(40,)), of, chance(), timing_ms=5.0, velocity=5)
    assert all(before.end == pytest.approx(after.beat, abs=1e-9) for before, after in pairwise(played))


def test_the_seed_decides_and_nothing_else():
    of = sheet(bars=4)
    written = score(of)
    first = humanised(written, of, chance(1), timing_ms=4.0, velocity=5)
    assert first == humanised(reversed(written), of, chance(1), timing_ms=4.0, velocity=5)
    assert first != humanised(written, of, chance(2), timing_ms=4.0, velocity=5)
    exact = humanised(written, of, chance(1), timing_ms=0.0, velocity=0)
    assert [note.beat for note in exact] == [note.written for note in exact]


def test_no_notes_give_no_notes():
    assert humanised([], sheet(), chance(), timing_ms=4.0, velocity=5) == ()
