"""JSON with audio in it: the same values as ``json.loads`` gives, and nothing held up by them."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.http_json import _PIECE, LONG_CHARS, MOST_BESIDES, NotJson, dump_pieces, loads

AUDIO = base64.b64encode(os.urandom(60_000)).decode()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
    | st.sampled_from([AUDIO, f"{AUDIO}/", "data:audio/wav;base64," + AUDIO, AUDIO + '"', AUDIO + "\\", AUDIO + "ü"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(values, st.booleans())
def test_what_is_read_is_what_json_reads(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert loads(raw) == value
    assert loads(bytearray(raw)) == value


def test_escaped_slashes_of_other_encoders_are_read() -> None:
    raw = json.dumps([{"media": AUDIO + "//" + AUDIO}]).replace("/", "\\/").encode()
    assert loads(raw) == [{"media": AUDIO + "//" + AUDIO}]


def test_a_slash_that_is_escaped_between_two_pieces_is_read_too() -> None:
    text = "A" * (_PIECE - 1) + "/" + "A" * (MOST_BESIDES + LONG_CHARS)  # more than may be left for JSON to read
    assert loads(json.dumps([text]).replace("/", "\\/").encode()) == [text]


@pytest.mark.parametrize("inside", ['say "hi', "back\\", 'both \\"'])
def test_an_escaped_quote_does_not_end_a_string(inside: str) -> None:
    value = {"text": inside, "more": AUDIO}
    assert loads(json.dumps(value, separators=(" " * 2 * LONG_CHARS + ",", ":")).encode()) == value


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    size, pieces = dump_pieces(value)
    raw = b"".join(pieces)
    assert json.loads(raw) == value
    assert size == len(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[",
        b"nope",
        b'["' + b"A" * 2 * LONG_CHARS,
        b'[{"a": NaN}]',
        b"[1e5, Infinity]",
        b'["\\ud800"]',
        b"\xff\xfe[\x00",
        b"[" * 100_000,
        b'"' + b"A" * 2 * LONG_CHARS + b'" "',
        b"[" + b"9" * 5000 + b"]",
    ],
)
def test_what_is_no_json_is_told_in_a_sentence(raw: bytes) -> None:
    with pytest.raises(NotJson, match=r"\.$"):
        loads(raw)


def test_megabytes_of_anything_but_long_strings_are_refused_before_they_are_read() -> None:
    with pytest.raises(NotJson, match="beside its audio"):
        loads(b"[" + b'"' + b"\xc3\xbc" * MOST_BESIDES + b'"]')
    with pytest.raises(NotJson, match="beside its audio"):
        loads(b"[" + b"1," * MOST_BESIDES + b"1]")


@pytest.mark.parametrize("many", [b"[[]],", b"{},", b'"a",', b"0,", b'{"":'])
def test_a_flood_of_small_values_is_refused_before_it_is_read(many: bytes) -> None:
    """A megabyte of them would stop everything else for a second."""
    with pytest.raises(NotJson, match="values"):
        loads(b"[" + many * (MOST_BESIDES // 8) + b"1]")


@pytest.mark.parametrize("escape", [b'\\"', b"\\\\"])
def test_megabytes_of_escapes_are_not_worth_reading(escape: bytes) -> None:
    raw = b'["' + escape * 10 * MOST_BESIDES + b'"]'
    began = time.process_time()
    with pytest.raises(NotJson, match="beside its audio"):
        loads(raw)
    assert time.process_time() - began < 1.0  # they are counted to the limit, not to their end


def test_what_is_nested_too_deeply_is_refused_with_audio_in_it_too() -> None:
    with pytest.raises(NotJson, match="deeply"):
        loads(b"[" * 600 + b'"' + b"A" * 2 * LONG_CHARS + b'"' + b"]" * 600)


def test_a_name_of_the_length_of_audio_is_what_was_sent() -> None:
    assert loads(b'{"' + b"A" * 2 * LONG_CHARS + b'": 1}') == {"A" * 2 * LONG_CHARS: 1}


def test_a_big_request_holds_the_interpreter_for_a_fraction_of_what_json_does() -> None:
    raw = b'[{"media":"' + base64.b64encode(bytes(15_000_000)) + b'"}]'

    def cpu_s(read: Any) -> float:
        began = time.process_time()
        read(raw)
        return time.process_time() - began

    assert min(cpu_s(loads) for _ in range(5)) < min(cpu_s(json.loads) for _ in range(5)) / 1.5
