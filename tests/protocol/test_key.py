"""Keys: every common spelling is understood, theoretical keys are respelled, everything else is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadArgument
from protocol.key import Key, all_keys

# Several spellings of a key, with bars between them.
SPELLINGS = {
    "F# minor": "F#m|f#m|F#min|f#:min|F#-minor|F♯m|f♯_minor|Fsharpminor|fis-moll|FISMOLL|f#mi|11A|F#Minor|F#MIN|g♭moll"
    "|F# minor|F sharp minor|f SHARP min|F ♯ minor|  F#   minor  |F#\u00a0minor|F#–minor|Gb minor|Gbm",
    "Bb major": "Bb|bb|BB|B♭|B♭ major|Bb maj|BbM|Bbmaj|B flat|b-flat-major|B-Dur|b dur|6B|06b|Hb|Bes|A# major",
    "Bb minor": "Bbm|B♭ min|b-moll|B moll|bb_minor|3A|B FLAT MINOR",
    "B minor": "Bm|bm|b min|Hm|h-moll|H minor|10A|B.minor",
    "B major": "B|b|BM|H|h|H-Dur|1B|Bmaj|B natural major",
    "C major": "C|c|CM|Cmaj|C-major|C dur|8B|C:maj|C ionian|c♮|B# major|CMa",
    "A minor": "Am|am|a-moll|A:min|8A|08a|8 A|A natural minor|A aeolian|Ami",
    "A major": "A|a|AM|aM|A dur|11B",
    "Eb major": "Eb|Es|es|Es-Dur|E flat|D# major|5B",
    "Ab minor": "Abm|as-moll|As Moll|A♭ minor",
    "E major": "E|Fb major|F♭|12B",
    "C# minor": "C#m|cis-moll|Db minor|Dbm|12A",
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in SPELLINGS.items() for text in texts.split("|")]
)
def test_common_spellings_mean_their_key(name: str, text: str) -> None:
    assert str(Key.parse(text)) == name


def test_a_lone_small_m_is_minor_and_a_lone_capital_m_major() -> None:
    assert [Key.parse(text).mode for text in ("Am", "AM", "am", "aM", "A m", "A M")] == ["minor", "major"] * 3


def test_all_seventy_spellings_of_the_specification_are_understood() -> None:
    texts = [
        f"{note}{sign} {mode}" for note in "ABCDEFG" for sign in ("", "#", "b", "♯", "♭") for mode in ("major", "minor")
    ]
    assert len(set(texts)) == 70
    semitones = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    shift = {"": 0, "#": 1, "b": -1, "♯": 1, "♭": -1}
    for text in texts:
        key = Key.parse(text)
        tonic, mode = text.split()
        assert key.pitch_class == (semitones[tonic[0]] + shift[tonic[1:]]) % 12, text
        assert key.mode == mode


@pytest.mark.parametrize(
    "text", ["Bb major", "A# minor", "Gb major", "F# major", "Cb major", "C# major", "Ab minor", "D# minor"]
)
def test_a_key_on_the_circle_of_fifths_keeps_its_spelling(text: str) -> None:
    assert str(Key.parse(text)) == text


@pytest.mark.parametrize(
    ("theoretical", "usual"),
    [
        ("Gb minor", "F# minor"),
        ("Db minor", "C# minor"),
        ("Cb minor", "B minor"),
        ("Fb minor", "E minor"),
        ("E# minor", "F minor"),
        ("B# minor", "C minor"),
        ("D# major", "Eb major"),
        ("G# major", "Ab major"),
        ("A# major", "Bb major"),
        ("E# major", "F major"),
        ("B# major", "C major"),
        ("Fb major", "E major"),
    ],
)
def test_a_theoretical_key_becomes_its_usual_enharmonic(theoretical: str, usual: str) -> None:
    assert str(Key.parse(theoretical)) == usual
    with pytest.raises(BadArgument, match=f"write {usual}"):
        Key(theoretical.split()[0], theoretical.split()[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", " ", "X", "F##", "Bbb minor", "C-", "m", "minor", "13A", "0A", "8C", "A minor A", "Fs", "#F", "C" * 500],
)
def test_text_that_names_no_key_is_refused_and_shown(text: str) -> None:
    with pytest.raises(BadArgument, match="write it like") as refused:
        Key.parse(text)
    assert text[:20] in str(refused.value)
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("value", [None, 3, b"C major", ["C"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(BadArgument):
        Key.parse(value)  # type: ignore[arg-type]


def test_the_constructor_refuses_what_is_not_canonical() -> None:
    for tonic, mode in [("f#", "minor"), ("F♯", "minor"), ("H", "minor"), ("C", "dorian"), ("", "major")]:
        with pytest.raises(BadArgument):
            Key(tonic, mode)  # type: ignore[arg-type]


def test_there_are_thirty_keys_on_every_pitch_class_with_their_signatures() -> None:
    keys = all_keys()
    assert len(set(keys)) == 30
    assert {(key.pitch_class, key.mode) for key in keys} == {
        (pc, mode) for pc in range(12) for mode in ("major", "minor")
    }
    signatures = {
        "C major": 0,
        "G major": 1,
        "Cb major": -7,
        "C# major": 7,
        "A minor": 0,
        "F# minor": 3,
        "Eb minor": -6,
    }
    assert {name: Key.parse(name).signature for name in signatures} == signatures


def test_scales_hold_the_white_keys_for_c_major_and_a_minor() -> None:
    assert Key("C", "major").scale == (0, 2, 4, 5, 7, 9, 11)
    assert Key("A", "minor").scale == (9, 11, 0, 2, 4, 5, 7)
    assert Key("F#", "minor").scale == (6, 8, 9, 11, 1, 2, 4)


def test_relative_keys_share_their_notes() -> None:
    major, minor = all_keys()[:15], all_keys()[15:]
    for one, other in zip(major, minor, strict=True):
        assert one.signature == other.signature
        assert set(one.scale) == set(other.scale)


@pytest.mark.parametrize(
    ("pitch_class", "mode", "name"),
    [
        (6, "major", "F# major"),
        (10, "major", "Bb major"),
        (8, "minor", "G# minor"),
        (13, "minor", "C# minor"),
        (-1, "major", "B major"),
    ],
)
def test_a_pitch_class_gets_the_simplest_spelling(pitch_class: int, mode: str, name: str) -> None:
    assert str(Key.from_pitch_class(pitch_class, mode)) == name  # type: ignore[arg-type]


@pytest.mark.parametrize("hour", range(1, 13))
def test_camelot_neighbours_are_a_fifth_apart_and_share_the_hour_with_their_relative(hour: int) -> None:
    major, minor = Key.parse(f"{hour}B"), Key.parse(f"{hour}A")
    assert set(major.scale) == set(minor.scale)
    assert Key.parse(f"{hour % 12 + 1}B").pitch_class == (major.pitch_class + 7) % 12


@given(st.sampled_from(all_keys()))
def test_the_canonical_form_reads_back_as_the_same_key(key: Key) -> None:
    assert Key.parse(str(key)) == key


@given(
    st.sampled_from(all_keys()),
    st.sampled_from([str.lower, str.upper, str.title, str.swapcase]),
    st.text(" \t_-:.", max_size=4),
    st.text(" \t", max_size=3),
)
def test_case_and_space_do_not_matter(key: Key, cased: object, gap: str, margin: str) -> None:
    text = f"{margin}{key.tonic}{gap}{key.mode}{margin}"
    assert Key.parse(cased(text)) == key  # type: ignore[operator]


@given(st.text(max_size=60) | st.text("ABCDEFGHabcdefghm#♯♭ -isflatMINORmajorduſı0189", max_size=12))
def test_any_text_is_a_key_or_a_bad_argument(text: str) -> None:
    try:
        key = Key.parse(text)
    except BadArgument:
        return
    assert key in all_keys()
