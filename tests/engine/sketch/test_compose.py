"""A song from nothing: its harmony is the key's, its form fills the length exactly, it ends at home."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from engine.harmony import Chord
from engine.sketch.band import band_for
from engine.sketch.compose import DEFAULT_BPM, compose, key_for, roman, tempo_for
from engine.sketch.score import Instrument
from engine.sketch.style import Beat, Feel, Style
from protocol.key import Key, all_keys
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import TrackClass


def chance(seed: int = 1) -> Generator:
    return Generator(PCG64(seed))


KEYS = st.sampled_from(all_keys())
STYLES = st.builds(
    Style,
    beat=st.sampled_from([None, *Beat]),
    feel=st.sampled_from([None, *Feel]),
    words=st.sampled_from([(), ("jazz",), ("blues",)]),
    intensity=st.floats(-1, 1),
)


@pytest.mark.parametrize(
    ("numeral", "key", "name"),
    [
        ("I", "C major", "C"),
        ("vi", "G major", "Em"),
        ("V7", "F major", "C7"),
        ("bVII", "D major", "C"),
        ("i", "A minor", "Am"),
        ("VI", "A minor", "F"),
        ("V7", "A minor", "E7"),
        ("iiø", "A minor", "Bm7b5"),
        ("IVmaj7", "Bb major", "Ebmaj7"),
        ("ii7", "F# major", "G#m7"),
    ],
)
def test_numerals_name_the_chords_of_the_key(numeral: str, key: str, name: str) -> None:
    assert roman(numeral, Key.parse(key)) == Chord.parse(name)


@pytest.mark.parametrize("text", ["", "VIII", "x", "iim7", "H"])
def test_what_is_no_numeral_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="numeral"):
        roman(text, Key.parse("C"))


@given(
    style=STYLES,
    key=KEYS,
    seed=st.integers(0, 999),
    meter=st.sampled_from([TimeSignature(4, 4), TimeSignature(3, 4), TimeSignature(6, 8), TimeSignature(7, 8)]),
    start=st.floats(0, 30),
    length=st.floats(0.3, 300),
)
def test_chords_and_sections_cover_any_span_without_gap_or_overlap(
    style: Style, key: Key, seed: int, meter: TimeSignature, start: float, length: float
) -> None:
    sheet = compose(style, key, TempoMap.constant(100.0, meter), start, start + length, chance(seed))
    for spans in (sheet.chords, sheet.sections):
        assert spans[0].start == start
        assert spans[-1].end == start + length
        assert all(a.end == b.start and a.start < a.end for a, b in pairwise(spans))
    assert len(sheet.energy) == len(sheet.bars)
    assert all(0.0 < value <= 1.0 for value in sheet.energy)


@given(style=STYLES, key=KEYS, seed=st.integers(0, 999), bars=st.integers(2, 70))
def test_a_song_ends_on_its_tonic_and_its_roots_are_the_keys(style: Style, key: Key, seed: int, bars: int) -> None:
    sheet = compose(style, key, TempoMap.constant(100.0), 0.0, 4.0 * bars, chance(seed))
    last = sheet.chords[-1].chord
    assert last is not None
    assert last.root == key.pitch_class
    allowed = {*key.scale, (key.pitch_class + 10) % 12}  # the major key's borrowed bVII
    assert {span.chord.root for span in sheet.chords if span.chord} <= allowed


def test_a_section_that_comes_back_brings_its_chords_back() -> None:
    sheet = compose(Style(), Key.parse("D"), TempoMap.constant(100.0), 0.0, 4.0 * 44, chance(4))
    of_label: dict[str, list[list[str]]] = {}
    for section in sheet.sections:
        chords = [str(span.chord) for span in sheet.chords if section.start <= span.start < section.end]
        of_label.setdefault(section.label, []).append(chords[:4])
    assert len(of_label["A"]) > 1
    assert len(of_label["B"]) > 1
    assert all(chords == same[0] for same in of_label.values() for chords in same)
    assert of_label["A"][0] != of_label["B"][0]


def test_seeds_write_different_songs_and_one_seed_the_same() -> None:
    def written(seed: int) -> list[str]:
        sheet = compose(Style(), Key.parse("C"), TempoMap.constant(100.0), 0.0, 160.0, chance(seed))
        return [str(span.chord) for span in sheet.chords]

    assert written(3) == written(3)
    assert len({tuple(written(seed)) for seed in range(12)}) > 6


def test_jazz_is_in_sevenths_and_a_blues_has_twelve_bars() -> None:
    jazz = compose(Style(beat=Beat.SWING_RIDE), Key.parse("F"), TempoMap.constant(140.0), 0.0, 64.0, chance())
    assert all(len(span.chord.pitch_classes) == 4 for span in jazz.chords[:-1] if span.chord)
    blues = compose(Style(words=("blues",)), Key.parse("A"), TempoMap.constant(100.0), 0.0, 32.0, chance())
    assert [str(span.chord) for span in blues.chords[:4]] == ["A7", "D7", "A7", "A7"]


def test_told_numbers_are_law_and_words_come_before_habits() -> None:
    waltz = Style(beat=Beat.WALTZ)
    assert tempo_for(Style(bpm=91.0), 77.0, None).points[0].bpm == 77.0
    assert tempo_for(Style(bpm=91.0), None, None).points[0].bpm == 91.0
    assert tempo_for(waltz, None, None).points[0].bpm == DEFAULT_BPM[Beat.WALTZ]
    assert str(tempo_for(waltz, None, None).points[0].signature) == "3/4"
    assert str(tempo_for(waltz, None, 6).points[0].signature) == "6/8"
    assert set(DEFAULT_BPM) == {None, *Beat}
    assert key_for(Style(minor=True), Key.parse("Bb"), chance()) == Key.parse("Bb")
    assert key_for(Style(key=Key.parse("F#m")), Key.parse("Bb"), chance()) == Key.parse("Bb")
    assert key_for(Style(key=Key.parse("F#m")), None, chance()) == Key.parse("F#m")
    assert {key_for(Style(minor=True), None, chance(seed)).mode for seed in range(9)} == {"minor"}


# --- the band ---------------------------------------------------------------------------------------------------------
@given(
    beat=st.sampled_from([None, *Beat]),
    named=st.lists(st.sampled_from(Instrument), max_size=4, unique=True),
    out=st.lists(st.sampled_from(Instrument), max_size=26, unique=True),
    seed=st.integers(0, 99),
)
def test_somebody_always_plays_and_never_one_who_is_ruled_out(
    beat: Beat | None, named: list[Instrument], out: list[Instrument], seed: int
) -> None:
    style = Style(beat=beat, instruments=tuple(i for i in named if i not in out), without=frozenset(out))
    band = band_for(style, chance(seed))
    assert band
    assert len(set(band)) == len(band)
    gone = {track for track in TrackClass if all(i in style.without for i in Instrument if i.track is track)}
    assert set(band) - {TrackClass.KEYBOARD} <= set(TrackClass) - gone
    if "solo" not in style.words:
        assert {instrument.track for instrument in style.instruments} <= {*band}


def test_solo_means_nobody_else() -> None:
    piano = Style(instruments=(Instrument.PIANO,))
    assert set(band_for(piano, chance())) == {TrackClass.DRUMS, TrackClass.BASS, TrackClass.KEYBOARD}
    solo = Style(instruments=(Instrument.PIANO,), words=("solo", "piano"))
    assert band_for(solo, chance()) == (TrackClass.KEYBOARD,)


def test_without_drums_there_are_no_drums() -> None:
    kits = frozenset({Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT, Instrument.ELECTRONIC_KIT})
    for seed in range(8):
        band = band_for(Style(without=kits), chance(seed))
        assert TrackClass.DRUMS not in band
        assert TrackClass.BASS in band
