from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.guitar import write_guitar
from engine.sketch.arranger.keyboard import write_keyboard
from engine.sketch.arranger.sustained import write_strings, write_synth
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument, Part
from engine.sketch.style import Style
from protocol.vocabulary import TrackClass
from tests.support.parts import (
    Writer,
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

BOWED = Style(instruments=(Instrument.STRING_ENSEMBLE,))
PAD = Style(instruments=(Instrument.WARM_PAD,))
PLUCK = Style(instruments=(Instrument.SYNTH_PLUCK,))


@settings(max_examples=50, deadline=None)
@given(odd_sheets(), styles(), st.integers(0, 999))
def test_on_any_sheet_strings_meet_every_change_with_right_notes(of: LeadSheet, style: Style, seed: int) -> None:
    part, groove = written(write_strings, of, style, seed)
    assert part.track is TrackClass.STRINGS
    assert_playable(part, of)
    assert all(is_right(note, of, groove) for note in part.notes)
    assert not clashes(part, of, groove)
    assert not unheard(part, of, groove)
    assert not hanging(part, of, groove)


@settings(max_examples=50, deadline=None)
@given(odd_sheets(), styles(), st.integers(0, 999))
def test_on_any_sheet_a_synth_plays_right_notes(of: LeadSheet, style: Style, seed: int) -> None:
    part, groove = written(write_synth, of, style, seed)
    assert part.track is TrackClass.SYNTH
    assert_playable(part, of)
    assert all(is_right(note, of, groove) for note in part.notes)
    assert not clashes(part, of, groove)
    assert not hanging(part, of, groove)
    if part.instrument is not Instrument.SYNTH_LEAD:
        assert not unheard(part, of, groove)


def test_the_same_seed_plays_the_same_and_seeds_differ() -> None:
    for write in (write_strings, write_synth):
        assert played(write, 4)[0] == played(write, 4)[0]
        assert len({tuple(as_written(played(write, seed)[0])) for seed in range(10)}) >= 4


def voices_at(part: Part, beat: float) -> tuple[int, ...]:
    return tuple(sorted({note.pitch for note in part.notes if note.written <= beat + 0.02 and note.end > beat + 0.1}))


def test_a_pad_sounds_all_the_time_with_all_its_voices() -> None:
    for write, style, voices in ((write_strings, BOWED, 5), (write_synth, PAD, 4)):
        part, of = played(write, 1, style, chords="Dm7 G7 Cmaj7 Am7")
        assert {len(voices_at(part, beat)) for beat in np.arange(0.25, of.end, 0.5)} == {voices}


def test_inner_voices_move_by_step_and_common_tones_are_tied() -> None:
    steps: list[int] = []
    for seed in range(4):
        part, _ = played(write_strings, seed, BOWED, chords="Am F C G")
        lanes = [voices_at(part, 4.0 * bar) for bar in range(8)]
        steps += [abs(b - a) for pair in pairwise(lanes) for a, b in zip(pair[0][1:-1], pair[1][1:-1], strict=True)]
        assert max(note.beats for note in part.notes) > 6.0
    assert np.mean(steps) < 2.5


def test_passing_notes_fall_on_the_last_pulse_before_a_change() -> None:
    found = 0
    for seed in range(8):
        part, _ = played(write_strings, seed, BOWED, chords="Am F C G")
        passing = [note for note in part.notes if note.written % 4.0 != 0.0]
        assert all(note.written % 4.0 == 3.0 and 0.9 < note.beats < 1.1 for note in passing)
        found += len(passing)
    assert found >= 2


def test_loud_strings_bow_the_rhythm_and_quiet_ones_hold() -> None:
    part, _ = played(write_strings, 0, BOWED, energy=(0.3,) * 4 + (1.0,) * 4, sections="A4 B4")
    held = [note.beats for note in part.notes if note.written < 16]
    driven = [note.beats for note in part.notes if note.written >= 16]
    assert np.median(held) > 3.9
    assert np.median(driven) < 1.0


def test_a_chord_that_lasts_is_struck_again_every_four_bars() -> None:
    for write, style in ((write_strings, BOWED), (write_synth, PAD)):
        part, _ = played(write, 0, style, chords="Am")
        assert {note.written for note in part.notes} == {0.0, 16.0}
        assert all(15.9 < note.beats < 16.1 for note in part.notes)


def test_pizzicato_is_short() -> None:
    part, _ = played(write_strings, 0, Style(instruments=(Instrument.PIZZICATO,)))
    assert np.median([note.beats for note in part.notes]) <= 1.0


def test_an_arpeggio_goes_through_the_chord_note_by_note() -> None:
    part, _ = played(write_synth, 2, PLUCK)
    alone = [struck for struck in chords_struck(part) if len(struck) == 1]
    assert len(alone) > 0.6 * len(chords_struck(part))
    assert len({struck[0].pitch for struck in alone if struck[0].written < 4}) >= 2


def test_two_chords_of_the_same_tones_are_both_heard() -> None:
    """Csus2 and Gsus4 share all tones: common tones are not tied where that would hide the change."""
    part, of = played(write_strings, 0, BOWED, chords="Csus2 Gsus4", key="C major")
    assert {4.0 * bar for bar in range(8)} <= {note.written for note in part.notes}
    assert of.end == 32.0


@settings(max_examples=40, deadline=None)
@given(odd_sheets(), st.sampled_from([write_strings, write_synth, write_keyboard, write_guitar]), st.integers(0, 99))
def test_a_region_from_mid_bar_begins_with_the_chord(of: LeadSheet, write: Writer, seed: int) -> None:
    part, _ = written(write, of, Style(without=frozenset({Instrument.SYNTH_LEAD})), seed)
    clipped = part.clipped(of.start, of.end)
    assert clipped.notes
    assert min(note.written for note in clipped.notes) - of.start < 0.13
