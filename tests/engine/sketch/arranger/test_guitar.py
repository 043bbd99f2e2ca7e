from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.harmony import Chord, Quality
from engine.sketch.arranger.fretboard import MUTED, OPEN_STRINGS, grips, power_chord
from engine.sketch.arranger.guitar import write_guitar
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument, Note
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass
from tests.support.parts import (
    as_written,
    assert_playable,
    chords_struck,
    clashes,
    hanging,
    is_right,
    odd_sheets,
    played,
    styles,
    unheard,
    written,
)

progressions = st.lists(st.builds(Chord, st.integers(0, 11), st.sampled_from(Quality)), min_size=1, max_size=6)
ACOUSTIC = Style(instruments=(Instrument.ACOUSTIC_GUITAR,), density=0.5)


# --- the fretboard ---
@settings(deadline=None)
@given(progressions, st.sampled_from([(4, 6), (3, 4)]), st.floats(1.0, 8.0))
def test_a_hand_can_hold_every_grip(progression: list[Chord], strings: tuple[int, int], around: float) -> None:
    for chord, grip in zip(progression, grips(progression, strings=strings, around=around), strict=True):
        pressed = [fret for fret in grip.frets if fret > 0]
        assert not pressed or max(pressed) - min(pressed) <= 3
        assert len(pressed) <= 4 or (0 not in grip.frets and sum(fret > min(pressed) for fret in pressed) <= 3)
        sounding = [string for string, fret in enumerate(grip.frets) if fret != MUTED]
        assert strings[0] <= len(sounding) <= strings[1]
        assert sounding == list(range(sounding[0], sounding[-1] + 1))
        assert grip.pitches == tuple(OPEN_STRINGS[string] + grip.frets[string] for string in sounding)
        assert all(pitch % 12 in chord.pitch_classes for pitch in grip.pitches)


def test_chords_are_gripped_as_in_every_songbook() -> None:
    names = ("Am", "E", "G", "Em", "F", "E7", "Dm")
    found = {name: grips([Chord.parse(name)])[0].frets for name in names}
    assert found["Am"] == (MUTED, 0, 2, 2, 1, 0)
    assert found["E"] == (0, 2, 2, 1, 0, 0)
    assert found["Em"] == (0, 2, 2, 0, 0, 0)
    assert found["G"] in ((3, 2, 0, 0, 0, 3), (3, 2, 0, 0, 3, 3))
    assert found["F"] == (1, 3, 3, 2, 1, 1)
    assert found["E7"] == (0, 2, 0, 1, 0, 0)
    assert found["Dm"] == (MUTED, MUTED, 0, 2, 3, 1)


def test_the_hand_stays_where_it_is() -> None:
    found = grips([Chord.parse(name) for name in ("Am7", "D7", "Gmaj7", "Cmaj7")], strings=(3, 4), around=5)
    assert max(abs(b.position - a.position) for a, b in pairwise(found)) <= 2


def test_power_chords_have_no_third_and_no_false_fifth() -> None:
    assert power_chord(Chord.parse("A")) == (45, 52, 57)
    assert power_chord(Chord.parse("Bdim")) == (47, 59)
    assert power_chord(Chord.parse("Caug")) == (48, 60)


# --- the part ---
@settings(max_examples=50, deadline=None)
@given(odd_sheets(), styles(), st.integers(0, 999))
def test_on_any_sheet_every_change_is_struck_and_every_note_is_right(of: LeadSheet, style: Style, seed: int) -> None:
    part, groove = written(write_guitar, of, style, seed)
    assert part.track is TrackClass.GUITAR
    assert "guitar" in part.instrument
    assert_playable(part, of)
    assert all(is_right(note, of, groove) for note in part.notes)
    assert not clashes(part, of, groove)
    assert not unheard(part, of, groove)
    assert not hanging(part, of, groove)
    assert all(len(struck) <= 6 for struck in chords_struck(part))
    assert all(40 <= note.pitch <= 76 for note in part.notes)


def test_the_same_seed_plays_the_same_and_seeds_differ() -> None:
    assert played(write_guitar, 5)[0] == played(write_guitar, 5)[0]
    assert len({tuple(as_written(played(write_guitar, seed)[0])) for seed in range(12)}) >= 6


def strums(style: Style, seed: int, **changes: object) -> list[list[Note]]:
    """Chords of three strings or more, each in the order in which the strings sound."""
    part, _ = played(write_guitar, seed, style, **changes)
    return [sorted(struck, key=lambda n: n.beat) for struck in chords_struck(part) if len(struck) >= 3]


@pytest.mark.parametrize("bpm", [70.0, 120.0, 180.0])
def test_strings_sound_one_after_the_other_within_8_to_22_ms(bpm: float) -> None:
    found = [struck for seed in range(6) for struck in strums(ACOUSTIC, seed, bpm=bpm)]
    spreads = [(struck[-1].beat - struck[0].beat) * 60_000 / bpm for struck in found if struck[0].written > 0]
    assert spreads
    assert 7 <= min(spreads) <= max(spreads) <= 23
    offsets = [abs(note.beat - note.written) * 60_000 / bpm for struck in found for note in struck]
    assert np.median(offsets) < 5


def test_strums_go_down_on_the_beat_and_up_between() -> None:
    up, down = 0, 0
    for seed in range(8):
        for struck in strums(ACOUSTIC, seed):
            if struck[0].written == 0.0:  # at the very start all strings are held back to it
                continue
            rises = struck[-1].pitch > struck[0].pitch
            on_beat = struck[0].written % 1.0 == 0.0
            assert rises or not on_beat
            up, down = up + (not rises), down + rises
    assert up > 10
    assert down > 10


def test_a_driven_guitar_plays_power_chords_and_a_muted_one_keeps_them_short() -> None:
    driven, _ = played(write_guitar, 1, Style(instruments=(Instrument.DRIVEN_GUITAR,)))
    thirds = {(note.pitch, bar) for note in driven.notes for bar in range(8) if note.written // 4 == bar}
    roots = (9, 5, 0, 7)
    assert all((pitch - roots[bar % 4]) % 12 in (0, 7) for pitch, bar in thirds)
    muted, _ = played(write_guitar, 1, Style(instruments=(Instrument.MUTED_GUITAR,)))
    assert max(note.beats for note in muted.notes) <= 0.45


def test_reggae_is_chopped_off_the_beat() -> None:
    part, _ = played(write_guitar, 0, Style(beat=Beat.ONE_DROP))
    assert {1.0, 3.0} <= {note.written % 4.0 for note in part.notes}
    assert max(note.beats for note in part.notes) < 1.0
