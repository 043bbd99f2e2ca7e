"""A prompt's words become a style; silence stays silence; what is ruled out stays out."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sketch.score import Instrument
from engine.sketch.style import Beat, Feel, Style, parse_style
from engine.sketch.style_words import CLASSES, KITS, VOCABULARY
from protocol.key import Key

In = Instrument


@pytest.mark.parametrize("text", ["", "   ", "make it nice", "more of the same please", "a major change", "the house"])
def test_a_prompt_that_says_nothing_about_style_is_no_style(text):
    assert parse_style(text) == Style()


@pytest.mark.parametrize(
    ("text", "beat"),
    [
        ("four on the floor", Beat.FOUR_ON_THE_FLOOR),
        ("Four-On-The-Floor kick!", Beat.FOUR_ON_THE_FLOOR),
        ("half-time", Beat.HALF_TIME),
        ("half\u2011time rock", Beat.HALF_TIME),
        ("bossa nova jazz", Beat.BOSSA),
        ("techno", Beat.FOUR_ON_THE_FLOOR),
        ("disco", Beat.FOUR_ON_THE_FLOOR),
        ("trap", Beat.HALF_TIME),
        ("hip-hop", Beat.BREAKBEAT),
        ("drum & bass? no, drum'n'bass", Beat.BREAKBEAT),
        ("reggae", Beat.ONE_DROP),
        ("country", Beat.TRAIN),
        ("jazz", Beat.SWING_RIDE),
        ("jazz ballad", Beat.BALLAD),
        ("a slow waltz", Beat.WALTZ),
        ("jazz waltz", Beat.SWING_RIDE),
        ("military march", Beat.MARCH),
        ("rock", Beat.BACKBEAT),
        ("punk", Beat.DOUBLE_TIME),
        ("pop", None),
        ("released in march", None),
        ("popcorn, trapeze, rockets", None),
        ("not jazz", None),
        ("no half-time, four on the floor", Beat.FOUR_ON_THE_FLOOR),
    ],
)
def test_rhythm_words_name_the_beat_and_outweigh_genres(text, beat):
    assert parse_style(text).beat is beat


@pytest.mark.parametrize(
    ("text", "feel"),
    [
        ("lazy swing", Feel.SWING),
        ("shuffled", Feel.SWING),
        ("jazz", Feel.SWING),
        ("straight eighths", Feel.STRAIGHT),
        ("straight jazz", Feel.STRAIGHT),
        ("no swing", Feel.STRAIGHT),
        ("rock", None),
    ],
)
def test_feel(text, feel):
    assert parse_style(text).feel is feel


@pytest.mark.parametrize(
    ("text", "instruments"),
    [
        ("brushed drums", (In.BRUSH_KIT,)),
        ("drums", (In.ACOUSTIC_KIT,)),
        ("upright bass and Rhodes", (In.UPRIGHT_BASS, In.ELECTRIC_PIANO)),
        ("Rhodes over upright-bass", (In.ELECTRIC_PIANO, In.UPRIGHT_BASS)),
        ("distorted guitars", (In.DRIVEN_GUITAR,)),
        ("double bass, basses", (In.UPRIGHT_BASS,)),
        ("bass clarinet", (In.CLARINET,)),
        ("trumpets and saxes", (In.TRUMPET, In.SAXOPHONE)),
        ("house with piano", (In.PIANO, In.ELECTRONIC_KIT, In.SYNTH_BASS)),
        ("house on an acoustic kit and upright bass", (In.ACOUSTIC_KIT, In.UPRIGHT_BASS)),
        ("pianissimo organisation bassoon", ()),
    ],
)
def test_instruments_are_those_named_in_order_then_what_a_genre_needs(text, instruments):
    assert parse_style(text).instruments == instruments


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("no drums", (), KITS),
        ("without brass", (), (In.BRASS_SECTION, In.TRUMPET)),
        ("without piano, guitar or brass, but with strings", (In.STRING_ENSEMBLE,), (In.PIANO, In.DRIVEN_GUITAR)),
        ("no drums, soft piano", (In.PIANO,), KITS),
        ("no drums and soft piano", (In.PIANO,), KITS),
        ("no drums. Piano.", (In.PIANO,), KITS),
        ("don\u2019t use piano", (), (In.PIANO,)),
        ("everything except drums", (), KITS),
        ("no guitars except acoustic guitar", (In.ACOUSTIC_GUITAR,), (In.DRIVEN_GUITAR, In.CLEAN_GUITAR)),
        ("not only drums but bass", (In.ACOUSTIC_KIT, In.FINGER_BASS), ()),
        ("piano, no piano", (), (In.PIANO,)),
    ],
)
def test_negation_rules_out_and_reaches_no_further(text, inside, outside):
    style = parse_style(text)
    assert style.instruments == inside
    assert style.without >= set(outside)
    assert not style.without & set(inside)


def test_the_negative_prompt_wins():
    style = parse_style("brushed drums and piano, busy", "drums, busy, jazz")
    assert style.instruments == (In.PIANO,)
    assert style.without == set(KITS)
    assert style.density < 0.6
    assert parse_style("piano", "no drums").without == set(KITS)


def test_density_and_intensity_follow_degree_and_negation():
    assert parse_style("sparse").density < 0 < parse_style("busy").density
    assert parse_style("not too busy").density < 0
    assert parse_style("slightly busy").density < parse_style("busy").density < parse_style("very busy").density
    assert parse_style("soft ballad").intensity < 0 < parse_style("driving").intensity
    assert parse_style("less busy drums").instruments == (In.ACOUSTIC_KIT,)
    assert parse_style("less busy drums").density < 0


@pytest.mark.parametrize(
    ("text", "bpm"),
    [
        ("90 bpm", 90),
        ("at 92.5BPM", 92.5),
        ("80-90 bpm", 85),
        ("bpm: 128", 128),
        ("tempo of 70", 70),
        ("808 bpm", 808),
        ("1990 bpm", None),
        ("5 bpm", None),
        ("120 bars", None),
    ],
)
def test_tempo(text, bpm):
    assert parse_style(text).bpm == bpm


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("in a minor key", True),
        ("A minor ballad", True),
        ("f# minor", True),
        ("E major", False),
        ("in A MINOR", True),
        ("melancholic", True),
        ("cheerful", False),
        ("a minor change", None),
        ("not in a minor key", None),
        ("minor tweaks", None),
    ],
)
def test_mode(text, minor):
    assert parse_style(text).minor is minor


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a bossa nova in f# minor, 120 bpm", "F# minor"),
        ("B flat major", "Bb major"),
        ("in a minor", "A minor"),
        ("a minor key", None),
        ("not in G minor", None),
        ("melancholic", None),
    ],
)
def test_a_key_that_is_named_is_the_songs(text, key):
    assert parse_style(text).key == (Key.parse(key) if key else None)


def test_every_spelling_of_a_key_is_read_without_an_error():
    signs = ("", "#", "b", "\u266f", "\u266d", " sharp", " flat")
    for note, sign, mode in product("abcdefghABCDEFGH", signs, ("minor", "major")):
        assert parse_style(f"in {note}{sign} {mode} ").minor is (mode == "minor")


def test_the_words_that_were_understood_are_told():
    assert parse_style("Solo lo-fi piano, no drums, 80 bpm").words == ("solo", "lo-fi", "piano", "no drums", "80 bpm")


_WORDS = st.lists(st.sampled_from([*VOCABULARY, "no", "without", "not", "or", "and", ",", ".", "except", "very"]))


@given(st.text() | _WORDS.map(" ".join), st.none() | st.text() | _WORDS.map(" ".join))
def test_any_text_is_read_and_nothing_is_both_in_and_out(prompt, negative):
    style = parse_style(prompt, negative)
    assert not set(style.instruments) & style.without
    assert len(set(style.instruments)) == len(style.instruments)
    assert -1 <= style.density <= 1
    assert -1 <= style.intensity <= 1
    assert style == parse_style(prompt, negative)


def test_classes_are_those_of_the_tracks():
    for group in CLASSES:
        assert set(group) == {instrument for instrument in Instrument if instrument.track is group[0].track}
    assert set(Beat) >= {says.beat for _, says in VOCABULARY.values() if says.beat}
    assert all(beat in {says.beat for _, says in VOCABULARY.values()} for beat in Beat)
