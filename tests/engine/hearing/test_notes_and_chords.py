"""Notes per beat and the chords read from them: overtones, drums, tuning and unknown beats do not mislead."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.harmony import Chord
from engine.hearing.chords import QUALITIES, recognise, spans
from engine.hearing.chroma import BeatChroma, beat_chroma
from engine.hearing.keys import estimated_key
from protocol.key import Key

RATE = 22_050
BEAT_S = 0.5
CHORDS = [Chord(root, quality) for quality in QUALITIES for root in (1, 6, 8)]


def played(chords: list[Chord], cents: float = 0.0, noise: float = 0.0, bass: bool = True) -> np.ndarray:
    """One chord a beat: each tone with eight partials, the root an octave or two lower as a bass."""
    rng = np.random.default_rng(3)
    t = np.arange(round(BEAT_S * RATE)) / RATE
    beats = []
    for chord in chords:
        pitches = [60 + pitch for pitch in chord.pitch_classes] + ([36 + chord.root] * 2 if bass else [])
        beat = noise * rng.standard_normal(len(t)) * np.exp(-t * 12)
        for pitch in pitches:
            hz = 440.0 * 2 ** ((pitch - 69 + cents / 100) / 12)
            beat += sum(0.7**k * np.sin(2 * np.pi * (k + 1) * hz * t + rng.uniform(0, 6)) for k in range(8))
        beats.append(beat * np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01))
    return (0.1 * np.concatenate(beats)).astype(np.float32)


def heard(chords: list[Chord], **how: float) -> BeatChroma:
    return beat_chroma(played(chords, **how), RATE, np.arange(len(chords) + 1) * BEAT_S)


def free(count: int) -> np.ndarray:
    """Every beat may change: the model's inertia is not what is tested."""
    return np.ones(count, dtype=bool)


@pytest.mark.parametrize(("cents", "noise"), [(0.0, 0.0), (35.0, 0.0), (-40.0, 0.0), (0.0, 6.0)])
def test_every_quality_is_told_apart_in_any_tuning_and_under_noise(cents: float, noise: float) -> None:
    rows = heard([chord for chord in CHORDS for _ in range(4)], cents=cents, noise=noise)
    named = recognise(rows, None, np.arange(len(CHORDS) * 4) % 4 == 0)
    right = [named[4 * k + 2] == chord for k, chord in enumerate(CHORDS)]
    assert np.mean(right) >= 0.9, [(str(c), str(named[4 * k + 2])) for k, c in enumerate(CHORDS) if not right[k]]
    assert rows.tuning == pytest.approx(cents / 100, abs=0.04)


def test_a_single_tone_is_one_note_whatever_its_overtones() -> None:
    t = np.arange(2 * RATE) / RATE
    tone = sum(0.7**k * np.sin(2 * np.pi * 110.0 * (k + 1) * t) for k in range(10)).astype(np.float32)
    rows = beat_chroma(tone, RATE, np.array([0.0, 0.5, 1.0, 1.5]))
    assert rows.chroma[:, 9].min() > 0.55  # of twelve; with its overtones taken for notes it has a third
    assert rows.bass[:, 9].min() > 0.95
    assert rows.weight.min() > 0.9


def test_noise_and_silence_have_no_weight_and_no_chord() -> None:
    noise = np.random.default_rng(1).standard_normal(20 * RATE).astype(np.float32)
    for signal in (0.1 * noise, np.zeros_like(noise)):
        rows = beat_chroma(signal, RATE, np.arange(0, 20.0, 0.5))
        assert np.median(rows.weight) < 0.05
        assert set(recognise(rows, None, np.arange(len(rows.weight)) % 4 == 0)) == {None}


def test_what_lies_outside_the_signal_is_silent() -> None:
    rows = beat_chroma(played([Chord(0)] * 4), RATE, np.arange(-2, 9) * BEAT_S)
    assert rows.weight[[0, 1, -2, -1]].max() < 0.05
    assert rows.weight[2:6].min() > 0.5


def test_an_unknown_beat_is_not_looked_at() -> None:
    chords = [Chord.parse("C")] * 4 + [Chord.parse("F#m")] * 4 + [Chord.parse("C")] * 4
    rows = heard(chords)
    known = np.array([True] * 4 + [False] * 4 + [True] * 4)
    down = np.arange(12) % 4 == 0
    assert recognise(rows, None, down)[5] == Chord.parse("F#m")
    assert set(recognise(rows, None, down, known)) == {Chord.parse("C")}
    other = BeatChroma(np.where(known[:, None], rows.chroma, 1 / 12), rows.bass, rows.weight, rows.tuning)
    assert recognise(other, None, down, known) == recognise(rows, None, down, known)


def test_harmony_changes_on_bar_lines_rather_than_inside_bars() -> None:
    """One beat of E minor among C: passing inside the bar, a chord of its own where every beat may begin one."""
    rows = heard([Chord.parse("Em" if beat == 6 else "C") for beat in range(12)])
    inside = recognise(rows, Key.parse("C"), np.arange(12) % 4 == 0)
    assert inside[6] == inside[5] == Chord.parse("C")
    assert recognise(rows, Key.parse("C"), free(12))[6] == Chord.parse("Em")


def test_the_bass_decides_between_chords_of_the_same_notes() -> None:
    for name in ("Am7", "C"):
        chord = Chord.parse(name)
        rows = heard([chord] * 4)
        assert recognise(rows, None, free(4)) == [chord] * 4


def test_shuffled_chords_are_not_the_songs_own() -> None:
    chords = [CHORDS[k % len(CHORDS)] for k in range(64)]
    named = recognise(heard(chords), None, free(len(chords)))
    shuffled = [chords[k] for k in np.random.default_rng(0).permutation(len(chords))]
    right, by_chance = (np.mean([a == b for a, b in zip(named, other, strict=True)]) for other in (chords, shuffled))
    assert right > 0.85
    assert by_chance < 0.3


@given(st.lists(st.sampled_from([None, Chord(0), Chord(7), Chord(9)]), min_size=1, max_size=40))
def test_spans_cover_every_beat_once_and_say_the_same(chords: list[Chord | None]) -> None:
    lines = np.linspace(3.0, 3.0 + 1.5 * len(chords), len(chords) + 1)
    found = spans(lines, chords)
    assert (found[0].start, found[-1].end) == (lines[0], lines[-1])
    for before, after in pairwise(found):
        assert before.end == after.start
        assert before.chord != after.chord
    middles = (lines[:-1] + lines[1:]) / 2
    assert [next(s.chord for s in found if s.start <= m < s.end) for m in middles] == chords


@pytest.mark.parametrize("semitones", [0, 1, 6, 11])
@pytest.mark.parametrize(
    ("progression", "key"),
    [
        ("C Am F G C Am F G7 C", "C major"),
        ("Am F C G Am F E Am", "A minor"),
        ("Am Dm E7 Am F Dm E7 Am", "A minor"),
        ("Cmaj7 Dm7 G7 Cmaj7", "C major"),
    ],
)
def test_a_key_is_told_from_its_relative_in_every_transposition(progression: str, key: str, semitones: int) -> None:
    chords = [Chord.parse(name).transposed(semitones) for name in progression.split()]
    rows = heard(chords)
    found = estimated_key(rows, recognise(rows, None, free(len(chords))))
    wanted = Key.parse(key)
    assert (found.pitch_class, found.mode) == ((wanted.pitch_class + semitones) % 12, wanted.mode)
