from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.melody import VOICES, write_brass, write_woodwinds
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument, Note, Part
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
    times_s,
    written,
)

SECTION = Style(instruments=(Instrument.BRASS_SECTION,), intensity=0.6)
SONG = {"bars": 16, "sections": "A4 B4 A4 B4", "chords": "Am F C G Dm G C E7 Am F C G Dm E7 Am Am"}
WRITERS = pytest.mark.parametrize("write", [write_woodwinds, write_brass])


@WRITERS
@settings(max_examples=50, deadline=None)
@given(of=odd_sheets(), style=styles(), seed=st.integers(0, 999))
def test_on_any_sheet_notes_are_right_in_range_and_do_not_hang(
    write: Writer, of: LeadSheet, style: Style, seed: int
) -> None:
    part, groove = written(write, of, style, seed)
    assert part.track is (TrackClass.BRASS if write is write_brass else TrackClass.WOODWINDS)
    assert_playable(part, of)
    assert all(is_right(note, of, groove) for note in part.notes)
    assert not clashes(part, of, groove)
    assert not hanging(part, of, groove)
    voice = VOICES[part.instrument]
    low = voice.low if part.instrument is not Instrument.BRASS_SECTION else 49
    assert all(low <= note.pitch <= voice.high for note in part.notes)
    if part.instrument is not Instrument.BRASS_SECTION:
        assert all(len(struck) == 1 for struck in chords_struck(part))
    assert all(len(struck) <= 3 for struck in chords_struck(part))


@WRITERS
def test_the_same_seed_plays_the_same_and_seeds_differ(write: Writer) -> None:
    assert played(write, 3)[0] == played(write, 3)[0]
    assert len({tuple(as_written(played(write, seed)[0])) for seed in range(10)}) >= 9


def bars_of(part: Part, first: int, last: int) -> list[tuple[float, int]]:
    start = 4.0 * (first - 1)
    return [(place - start, pitch) for place, pitch in as_written(part) if start <= place < 4.0 * last]


@pytest.mark.parametrize("seed", range(6))
def test_a_section_that_returns_has_its_melody_again_with_another_ending(seed: int) -> None:
    part, _ = played(write_woodwinds, seed, **SONG)
    assert bars_of(part, 1, 3) == bars_of(part, 9, 11)
    assert bars_of(part, 1, 3) != bars_of(part, 5, 7)
    assert bars_of(part, 4, 4)
    assert bars_of(part, 12, 12)


def test_endings_differ_from_visit_to_visit() -> None:
    parts = [played(write_woodwinds, seed, **SONG)[0] for seed in range(8)]
    assert sum(bars_of(part, 4, 4) != bars_of(part, 12, 12) for part in parts) >= 6


@pytest.mark.parametrize("seed", range(8))
def test_the_song_ends_at_home(seed: int) -> None:
    part, of = played(write_woodwinds, seed, **SONG)
    assert (part.notes[-1].pitch - of.key.pitch_class) % 12 in (0, 3)
    assert part.notes[-1].beats >= 1.0


@pytest.mark.parametrize("seed", range(8))
def test_a_phrase_has_one_highest_note_and_it_is_not_at_its_edges(seed: int) -> None:
    part, _ = played(write_woodwinds, seed, **SONG)
    for first in (1, 5, 9, 13):
        phrase = bars_of(part, first, first + 3)
        top = max(pitch for _, pitch in phrase)
        at = [k for k, (_, pitch) in enumerate(phrase) if pitch == top]
        assert len(at) == 1
        assert 0 < at[0] < len(phrase) - 1


@pytest.mark.parametrize("meter", ["4/4", "3/4", "6/8", "5/4"])
def test_notes_on_strong_counts_are_of_the_chord_and_others_go_by_step(meter: str) -> None:
    for seed in range(6):
        part, of = played(write_woodwinds, seed, meter=meter, bars=8)
        starts = {bar.start for bar in of.bars}
        inside = [
            note.pitch % 12 in (of.chord_at(note.written) or of.chords[0].chord).pitch_classes for note in part.notes
        ]
        assert all(right for note, right in zip(part.notes, inside, strict=True) if note.written in starts)
        assert 0.6 < np.mean(inside) <= 1.0
        for k, (before, after) in enumerate(pairwise(part.notes)):
            if after.written - before.end < 0.3 and not (inside[k] and inside[k + 1]):
                assert abs(after.pitch - before.pitch) <= 2


def test_passing_notes_are_used_at_all() -> None:
    outside = 0
    for seed in range(6):
        part, of = played(write_woodwinds, seed)
        outside += sum(note.pitch % 12 not in of.chord_at(note.written).pitch_classes for note in part.notes)  # type: ignore[union-attr]
    assert outside >= 6


def longest_without_air(notes: list[Note], of: LeadSheet) -> float:
    spans = times_s(notes, of)
    longest, since = 0.0, spans[0][0]
    for (_, end), (start, _) in pairwise(spans):
        longest = max(longest, end - since)
        since = start if start - end >= 0.12 else since
    return max(longest, spans[-1][1] - since)


@pytest.mark.parametrize("bpm", [50.0, 90.0, 120.0, 200.0])
def test_a_player_can_breathe(bpm: float) -> None:
    for seed in range(6):
        part, of = played(write_woodwinds, seed, Style(density=1.0), bpm=bpm, bars=12)
        assert longest_without_air(list(part.notes), of) < 8.0


def test_a_melody_that_never_rests_would_be_caught() -> None:
    part, of = played(write_woodwinds, 0, bars=12)
    tied = [Note(k * 1.0, 1.0, 60, 80, k * 1.0) for k in range(48)]
    assert longest_without_air(tied, of) > 20.0
    assert part.notes


def test_energetic_brass_stabs_on_kicks_in_three_voices() -> None:
    for seed in range(4):
        part, groove = written(write_brass, played(write_brass, energy=(0.8,) * 8)[1], SECTION, seed)
        kicks = {groove.swung(kick) for bar in groove.bars for kick in bar.kick}
        stabs = [struck for struck in chords_struck(part) if (struck[0].written // 4) % 4 < 2]
        assert stabs
        assert all(len(struck) == 3 and struck[0].written in kicks for struck in stabs)
        assert np.median([note.beats for struck in stabs for note in struck]) < 0.6


def test_a_harmonised_line_keeps_its_top_clear() -> None:
    part, _ = played(write_brass, 2, Style(instruments=(Instrument.BRASS_SECTION,)), energy=(0.4,) * 8)
    thick = [sorted(note.pitch for note in struck) for struck in chords_struck(part)]
    assert np.mean([len(pitches) for pitches in thick]) > 2.5
    assert all(pitches[-1] - pitches[-2] >= 3 for pitches in thick if len(pitches) > 1)


def test_without_chords_between_chords_the_line_rests() -> None:
    part, _ = played(write_woodwinds, 1, chords="Am - F G")
    assert not [note for note in part.notes if 4.0 <= note.written < 8.0]
    assert played(write_woodwinds, 1, chords="-")[0].notes


def test_a_busy_style_plays_more_than_a_sparse_one() -> None:
    def count(density: float) -> int:
        return sum(len(played(write_woodwinds, seed, Style(density=density))[0].notes) for seed in range(6))

    assert count(1.0) > 1.3 * count(-1.0)
