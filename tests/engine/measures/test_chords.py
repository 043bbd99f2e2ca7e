"""Chord agreement tells the right chord from a wrong one, beat by beat, and noise agrees with none."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import GenerationRequest
from engine.harmony import Chord
from engine.measures.chords import (
    Beats,
    Shares,
    against_any,
    against_given,
    beats_of,
    chords_of,
    hear,
    note_shares,
    overall,
    told_spans,
    triads,
)
from engine.measures.key import pitches
from protocol.key import Key
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import Verb
from tests.support.songs import render_song, sketch_request

RATE = 22_050
PROGRESSION = ("Am", "F", "C", "G") * 2
SECONDS = Beats(np.arange(9.0), np.ones(8, dtype=bool))
KEY = Key.parse("A minor")


def played(chords: tuple[str, ...], semitones: float = 0.0) -> np.ndarray:
    """One second per chord, four partials a voice."""
    t = np.arange(RATE) / RATE
    out = []
    for name in chords:
        notes = [48 + pitch + semitones for pitch in Chord.parse(name).pitch_classes]
        tones = [np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * t) / k for note in notes for k in (1, 2, 3, 4)]
        out.append(np.sum(tones, axis=0) * np.exp(-2 * t))
    return (0.05 * np.concatenate(out)).astype(np.float32)


def shares(signal: np.ndarray) -> Shares:
    return note_shares(pitches(signal, RATE), 0.0, SECONDS)


def chords(names: tuple[str, ...]) -> list[Chord | None]:
    return [Chord.parse(name) for name in names]


def given_agreement(signal: np.ndarray, names: tuple[str, ...] = PROGRESSION) -> float:
    heard = shares(signal)
    found = overall(heard, against_given(heard, chords(names)))
    assert found is not None
    return found


def any_agreement(signal: np.ndarray, vocabulary: tuple[Chord, ...] | None = None) -> float:
    heard = shares(signal)
    found = overall(heard, against_any(heard, vocabulary or triads(KEY)))
    assert found is not None
    return found


def test_what_is_played_agrees_with_its_own_chords_and_not_with_its_neighbours() -> None:
    own = given_agreement(played(PROGRESSION))
    assert own > 0.7
    moved = (*PROGRESSION[1:], PROGRESSION[0])
    assert given_agreement(played(PROGRESSION), moved) < 0.25 < own


def test_each_wrong_chord_costs_its_share() -> None:
    values = []
    for wrong in range(9):
        names = tuple("F#" if beat < wrong else name for beat, name in enumerate(PROGRESSION))
        values.append(given_agreement(played(names)))
    assert all(after < before for before, after in pairwise(values))


def test_a_beat_tells_which_chord_was_wrong() -> None:
    names = (*PROGRESSION[:3], "F#", *PROGRESSION[4:])
    per_beat = against_given(shares(played(names)), chords(PROGRESSION))
    assert per_beat[3] < 0 < 0.5 < np.delete(per_beat, 3).min()


def test_other_chords_of_the_song_agree_with_its_vocabulary_and_foreign_ones_do_not() -> None:
    at_home = [any_agreement(played(names * 2)) for names in (("Am", "F", "C", "G"), ("Dm", "Em", "Am", "C"))]
    foreign = any_agreement(played(("F#", "D#m", "B", "G#m") * 2))
    assert min(at_home) > 0.5
    assert foreign < 0.0


def test_the_vocabulary_is_the_keys_triads_and_what_the_song_uses_more_than_once() -> None:
    assert {chord.name() for chord in triads(Key.parse("C major"))} == {"C", "Dm", "Em", "F", "G", "Am"}
    assert set(triads(Key.parse("A minor"))) == set(triads(Key.parse("C major")))
    used = chords_of([Chord.parse(name) for name in ("E7", "E7", "Bb", "Am", "Am")] + [None], KEY)
    assert Chord.parse("E7") in used
    assert Chord.parse("Bb") not in used


def test_the_mean_over_all_transpositions_is_nothing() -> None:
    heard = shares(played(PROGRESSION))
    given = [
        overall(heard, against_given(heard, [chord and chord.transposed(k) for chord in chords(PROGRESSION)]))
        for k in range(12)
    ]
    assert np.mean([value or 0.0 for value in given]) == pytest.approx(0.0, abs=1e-9)


def test_out_of_tune_notes_belong_to_both_neighbours_so_that_no_cent_is_a_cliff() -> None:
    values = [given_agreement(played(PROGRESSION, cents / 100)) for cents in range(0, 110, 10)]
    steps = np.diff(values)
    assert np.all(steps < 0)
    assert steps.min() > -0.2


def test_noise_and_silence_have_no_chord() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(8 * RATE)).astype(np.float32)
    assert abs(given_agreement(noise)) < 0.15
    assert abs(any_agreement(noise)) < 0.15
    silent = shares(np.zeros(8 * RATE, np.float32))
    assert overall(silent, against_given(silent, chords(PROGRESSION))) is None


def test_a_beat_without_a_chord_is_left_out() -> None:
    heard = shares(played(PROGRESSION))
    some: list[Chord | None] = [None, *chords(PROGRESSION)[1:]]
    per_beat = against_given(heard, some)
    assert np.isnan(per_beat[0])
    assert np.isfinite(per_beat[1:]).all()


def request_for(tempo_map: TempoMap) -> GenerationRequest:
    song = render_song(("Am",) * 8, tempo_map, RATE)
    return sketch_request(song, song.frames_of_bars(3, 2), Verb.REPAINT)


@pytest.mark.parametrize(
    ("signature", "per_bar"),
    [
        (TimeSignature(4, 4), 4),
        (TimeSignature(3, 4), 3),
        (TimeSignature(6, 8), 2),
        (TimeSignature(12, 8), 4),
        (TimeSignature(7, 8), 4),
        (TimeSignature(2, 2), 2),
    ],
)
def test_beats_are_what_is_counted_and_bar_lines_begin_one(signature: TimeSignature, per_bar: int) -> None:
    request = request_for(TempoMap.constant(100, signature))
    beats = beats_of(request, *request.region)
    assert len(beats) == 2 * per_bar
    assert np.flatnonzero(beats.downbeats).tolist() == [0, per_bar]


@given(st.integers(0, 200_000), st.integers(1, 200_000), st.floats(60, 180))
def test_beats_cover_any_span_without_gaps(start: int, length: int, bpm: float) -> None:
    request = sketch_request(render_song(("Am",), TempoMap.constant(120), 8000), (0, 8000))
    request = GenerationRequest(**{**vars(request), "tempo_map": TempoMap.constant(bpm)})
    beats = beats_of(request, start, start + length)
    assert beats.lines_s[0] == request.time_of(start)
    assert beats.lines_s[-1] == request.time_of(start + length)
    assert np.all(np.diff(beats.lines_s) > 0)
    assert len(beats.lines_s) == len(beats) + 1


def test_chords_are_named_for_drawing_within_four_seconds_and_with_the_keys_accidentals() -> None:
    flat = Key.parse("Bb major")
    signal = played(("Bb", "Eb", "F", "Bb", "Gm", "Eb", "F", "Bb"))
    heard = hear(signal, RATE, 10.0, Beats(SECONDS.lines_s + 10, SECONDS.downbeats), flat)
    spans = told_spans(heard, (15.0, 16.0), flat)
    assert [name for _, _, name in spans] == ["Eb", "F", "Bb", "Gm", "Eb", "F", "Bb"]
    assert spans[0][:2] == [11.0, 12.0]
    assert spans[-1][1] == 18.0
    assert told_spans(heard, (40.0, 41.0), flat) == []
