from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.keyboard import write_keyboard
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument
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

PLAYERS = {Instrument.PIANO, Instrument.ELECTRIC_PIANO, Instrument.ORGAN}


@settings(max_examples=50, deadline=None)
@given(odd_sheets(), styles(), st.integers(0, 999))
def test_on_any_sheet_every_change_is_struck_and_every_note_is_right(of: LeadSheet, style: Style, seed: int) -> None:
    part, groove = written(write_keyboard, of, style, seed)
    assert part.track is TrackClass.KEYBOARD
    assert part.instrument in PLAYERS
    assert_playable(part, of)
    assert all(is_right(note, of, groove) for note in part.notes)
    assert not clashes(part, of, groove)
    assert not unheard(part, of, groove)
    assert not hanging(part, of, groove)


@settings(max_examples=20, deadline=None)
@given(odd_sheets(), st.integers(0, 999))
def test_the_same_seed_plays_the_same(of: LeadSheet, seed: int) -> None:
    assert written(write_keyboard, of, None, seed) == written(write_keyboard, of, None, seed)


def test_seeds_differ_in_rhythm_or_inversion() -> None:
    parts = [as_written(played(write_keyboard, seed)[0]) for seed in range(12)]
    assert len({tuple(part) for part in parts}) >= 8
    rhythms = {tuple(sorted({place % 16 for place, _ in part})) for part in parts}
    assert len(rhythms) >= 4


@pytest.mark.parametrize(
    ("style", "places"),
    [
        (Style(beat=Beat.SWING_RIDE), {0.0, 1.667}),
        (Style(beat=Beat.ONE_DROP), {1.0, 3.0}),
        (Style(beat=Beat.BOSSA), {0.0, 1.5}),
    ],
)
def test_comping_sits_where_the_style_has_it(style: Style, places: set[float]) -> None:
    for seed in range(4):
        part, _ = played(write_keyboard, seed, style)
        found = {round(note.written % 4.0, 2) for note in part.notes if note.written < 4.0}
        assert {round(place, 2) for place in places} <= found, seed


def test_an_off_beat_style_is_loud_off_the_beat_and_soft_on_added_changes() -> None:
    part, _ = played(write_keyboard, 1, Style(beat=Beat.ONE_DROP))
    added = [note.velocity for note in part.notes if note.written % 4.0 == 0.0]
    skank = [note.velocity for note in part.notes if note.written % 4.0 in (1.0, 3.0)]
    assert np.mean(added) < np.mean(skank) - 5


def test_louder_sections_are_played_louder() -> None:
    part, _ = played(write_keyboard, 0, energy=(0.2,) * 4 + (0.95,) * 4, sections="A4 B4")
    soft = [note.velocity for note in part.notes if note.written < 16]
    loud = [note.velocity for note in part.notes if note.written >= 16]
    assert np.mean(loud) > np.mean(soft) + 20


def test_equal_sections_have_equal_rhythms() -> None:
    part, _ = played(write_keyboard, 3, bars=12, sections="A4 B4 A4", chords="Am F C G")
    places = {note.written for note in part.notes}
    assert {place for place in places if place < 16} == {place - 32 for place in places if place >= 32}


def test_what_is_ruled_out_does_not_play_and_what_is_named_does() -> None:
    for seed in range(6):
        assert played(write_keyboard, seed, Style(without=frozenset({Instrument.PIANO})))[0].instrument != "piano"
        assert played(write_keyboard, seed, Style(instruments=(Instrument.ORGAN,)))[0].instrument == "organ"


def test_an_organ_leaves_the_bass_to_the_bass_and_a_piano_ballad_does_not() -> None:
    organ, _ = played(write_keyboard, 0, Style(instruments=(Instrument.ORGAN,)))
    assert min(note.pitch for note in organ.notes) >= 52
    lows = [
        min(note.pitch for note in played(write_keyboard, seed, Style(beat=Beat.BALLAD, density=0.2))[0].notes)
        for seed in range(5)
    ]
    assert min(lows) < 50


def test_a_chord_is_struck_as_one() -> None:
    part, _ = played(write_keyboard, 2)
    assert all(len({note.beat for note in struck}) == 1 for struck in chords_struck(part))
    assert np.mean([len(struck) for struck in chords_struck(part)]) > 1.2
