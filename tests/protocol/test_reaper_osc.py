"""REAPER's region names: a key in one counts while nobody told a better one, and ends with its region."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address_space import parse
from protocol.key import Key, all_keys
from protocol.reaper_osc import NATIVE, fold_native, key_named_in
from protocol.session import Session
from protocol.session_messages import fold

REGION = "/lastregion/name"


def heard(*names: object, session: Session | None = None) -> Session:
    """The session after REAPER named these regions, one after the other."""
    session = session or Session()
    for at, name in enumerate(names):
        session = fold_native(session, REGION, [name], float(at))
    return session


def told(text: str, session: Session | None = None) -> Session:
    """The session after a client told a key by our own address."""
    return fold(session or Session(), parse("/stembridge/key", [text]), "osc:127.0.0.1:9000", 50.0)


def key_of(session: Session) -> str | None:
    return str(session.key.value) if session.key and session.key.value else None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("key=Am", "A minor"),
        ("Chorus key=Am", "A minor"),
        ("Chorus (KEY=f#m)", "F# minor"),
        ("[key=Bb] loud", "Bb major"),
        ('Bridge key="Bb major" x', "Bb major"),
        ("Bridge key='f sharp minor'", "F# minor"),
        ("key = C", "C major"),
        ("key=F# minor", "F# minor"),
        ("key=F# Minor chorus", "F# minor"),
        ("key=E major tom", "E major"),
        ("key=fis-moll, quiet", "F# minor"),
        ("key=8A", "A minor"),
        ("key=F sharp minor!", "F# minor"),
        ("key=E flat", "Eb major"),
        ("key=A natural minor", "A minor"),
        ("key=A aeolian", "A minor"),
        ("key=C dorian", None),
        ("key=F# Mixolydian, loud", None),
        ("key=A harmonic minor", None),
        ("key=C lydian key=G", "G major"),
        ("key=C dorianesque", "C major"),
        ("<key=Am>", "A minor"),
        ("key=Am/loud", "A minor"),
        ("key=? key=D", "D major"),
        ("Verse", None),
        ("key", None),
        ("key=", None),
        ('key=""', None),
        ("key=what", None),
        ("monkey=Am", None),
        ("turnkey=Am", None),
        ("key:Am", None),
        ("", None),
    ],
)
def test_a_key_is_read_from_a_regions_name(name: str, key: str | None) -> None:
    found = key_named_in(name)
    assert (str(found) if found else None) == key


@given(st.sampled_from(all_keys()), st.text(), st.text(), st.sampled_from(['"', "'"]))
def test_every_key_comes_through_whatever_stands_around_it(key: Key, before: str, after: str, quote: str) -> None:
    around = before.replace("=", " ")  # no second token
    assert key_named_in(f"{around} key={quote}{key}{quote}{after}") == key


@given(st.text())
def test_any_name_is_a_key_or_none(name: str) -> None:
    assert key_named_in(f"key={name}") in (None, *all_keys())


@given(st.lists(st.sampled_from(["", "Verse", "key=Am", "key=C", "key=?"]), min_size=1))
def test_alone_reaper_tells_the_key_of_the_region_that_it_is_in(names: list[str]) -> None:
    expected = key_named_in(names[-1])
    assert key_of(heard(*names)) == (str(expected) if expected else None)


@given(st.lists(st.sampled_from(["", "Verse", "key=Am", "key=C"])), st.lists(st.sampled_from(["", "x", "key=D"])))
def test_a_key_told_by_anybody_else_is_never_replaced(before: list[str], after: list[str]) -> None:
    session = heard(*after, session=told("F# minor", heard(*before)))
    assert key_of(session) == "F# minor"
    assert session.key is not None
    assert session.key.source == "osc:127.0.0.1:9000"


def test_a_key_that_was_taken_back_leaves_the_field_to_reaper() -> None:
    assert key_of(heard("key=Am", session=told("", told("C")))) == "A minor"


def test_regions_that_say_nothing_are_no_news() -> None:
    assert heard("", "Verse") == Session()
    before = told("")
    assert heard("", session=before) is before


@pytest.mark.parametrize("args", [[], [1], [2.5], [True], [None], [b"key=Am"]])
def test_what_is_no_text_says_nothing(args: list[object]) -> None:
    assert fold_native(Session(), REGION, args, 0.0) == Session()


@pytest.mark.parametrize("path", [path for path in NATIVE if path != REGION])
def test_a_text_where_a_number_belongs_says_nothing(path: str) -> None:
    assert fold_native(Session(), path, ["key=Am"], 0.0) == Session()
