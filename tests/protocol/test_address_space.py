"""The address table: what it takes, what it refuses and how, and that the documentation is the table's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address_space import INCOMING, OUTGOING, PREFIX, parse
from protocol.address_types import Tail
from protocol.errors import BadArgument, StembridgeError, UnknownAddress
from protocol.float32 import Single
from protocol.osc_reference import render
from protocol.session import Session
from protocol.session_messages import fold
from protocol.task import SETTINGS
from protocol.vocabulary import Verb

CONTRACT = """ping subscribe unsubscribe pair unpair lan project source tempo tempo/map timesig key region
region/samples region/bars regions position play stop session repaint extend prepend complete lego extract cover
generate cancel retry jobs live/start live/toggle live/set live/stop live/panic live/status"""
EVENTS = """ack error pong job/state job/progress job/take job/done session/state live/state live/phrase live/audio
lan/state lan/paired"""


def test_every_address_of_the_contract_is_in_the_table() -> None:
    settings = {f"set/{name}" for name in SETTINGS}
    assert set(INCOMING) == {f"{PREFIX}/{name}" for name in {*CONTRACT.split(), *settings}}
    assert set(OUTGOING) == {f"{PREFIX}/{name}" for name in EVENTS.split()}


def test_the_page_in_docs_is_written_from_this_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "osc.md"
    assert page.read_text(encoding="utf-8") == render(), "run: python -m protocol.osc_reference > docs/osc.md"


@pytest.mark.parametrize("path", [*INCOMING, *OUTGOING])
def test_the_page_names_every_address_or_setting(path: str) -> None:
    assert f"`{path.replace(f'{PREFIX}/set/', '')}`" in render()


@pytest.mark.parametrize("number", [97.5, 97, Single.of(97.5)])
def test_any_number_type_is_a_number(number: float) -> None:
    (bpm,) = parse("/stembridge/tempo", [number]).values
    assert bpm == number
    assert type(bpm) is float


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_takes_a_reference(verb: Verb) -> None:
    assert parse(f"{PREFIX}/{verb}", ["reference", "a.wav", "seed", 7]).options == {"reference": "a.wav", "seed": 7}


def test_a_whole_float_is_a_whole_number() -> None:
    command = parse("/stembridge/region/bars", [17.0, 4.0])
    assert command.values == (17, 4)
    assert all(type(value) is int for value in command.values)


@pytest.mark.parametrize(
    ("path", "args", "named"),
    [
        ("tempo", [float("nan")], "bpm of /stembridge/tempo is nan; it must be a number from 1 to 1000"),
        ("tempo", [float("inf")], "inf"),
        ("tempo", ["fast"], "'fast'"),
        ("tempo", [True], "True"),
        ("tempo", [], r"takes 1 argument \(bpm\); 0 came"),
        ("tempo", [120, 4], "2 arguments came"),
        ("tempo", [0.5], "0.5"),
        ("region/bars", [1.5, 4], "first_bar"),
        ("region", [1.0, 1e7], "end_s"),
        ("tempo/map", [0.0, 120, 4, 4], r"groups of 5 arguments \(time_s, bpm"),
        ("tempo/map", [], "groups of 5"),
        ("tempo/map", [0.0, 120, 4, 4, 2], "shape"),
        ("regions", [1.0], "groups of 2"),
        ("project", [3.5], "folder"),
        ("project", ["/p", 44100.5], "sample_rate"),
        ("key", [b"A"], "key"),
        ("play", [2], "0 or 1"),
        ("subscribe", ["ttl", 601], "ttl"),
        ("subscribe", ["types", "some"], "basic or full"),
        ("repaint", ["seed"], "no partner"),
        ("repaint", ["sead", 7], "'sead'.*seed"),
        ("repaint", [7, "seed"], "7"),
        ("repaint", ["seed", 7, "seed", 8], "twice"),
        ("extend", ["bars", 0], "bars"),
        ("repaint", ["priority", 11], "priority"),
        ("jobs", [0], "count"),
        ("cancel", [], "id"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_with_what_is_allowed(path: str, args: list[object], named: str) -> None:
    with pytest.raises(BadArgument, match=named):
        parse(f"{PREFIX}/{path}", args)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/stembridge/temp", "/stembridge/tempo"),
        ("/stembridge/repant", "/stembridge/repaint"),
        ("/stembridge/set/promt", "/stembridge/set/prompt"),
        ("/stembridge/region/bar", "/stembridge/region/bars"),
    ],
)
def test_an_unknown_address_is_answered_with_the_nearest(path: str, meant: str) -> None:
    with pytest.raises(UnknownAddress, match=meant):
        parse(path, [])


def test_a_verb_takes_every_setting_for_this_once_as_it_came() -> None:
    options: dict[str, object] = dict.fromkeys(SETTINGS, 1)
    for verb in Verb:
        flat = [part for pair in options.items() for part in pair]
        assert parse(f"{PREFIX}/{verb}", flat).options == options


def test_ids_may_come_as_numbers() -> None:
    assert parse("/stembridge/cancel", [42]).values == ("42",)
    assert parse("/stembridge/repaint", ["id", 42]).options == {"id": "42"}


def test_ping_takes_anything() -> None:
    args = ["x", 1, 2.5, None, True, b"b"]
    assert parse("/stembridge/ping", args).values == tuple(args)


@given(
    st.sampled_from(sorted(INCOMING)),
    st.lists(
        st.one_of(
            st.floats(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=8), st.none(), st.booleans(), st.binary()
        ),
        max_size=10,
    ),
)
def test_arbitrary_arguments_are_taken_or_refused_in_a_sentence(path: str, args: list[Any]) -> None:
    refused: StembridgeError | None = None
    try:
        command = parse(path, args)
        if INCOMING[path].group in ("session", "settings") and path not in NOT_FOLDED:
            fold(Session(), command, "test", 0.0).describe(0.0)
    except StembridgeError as error:
        refused = error
    assert refused is None or refused.sentence.endswith((".", "?"))


NOT_FOLDED = {f"{PREFIX}/{name}" for name in ("project", "source", "session")}


@pytest.mark.parametrize("path", [path for path, address in INCOMING.items() if address.group == "session"])
def test_every_session_message_folds_or_is_the_desks(path: str) -> None:
    address = INCOMING[path]
    if path in NOT_FOLDED:
        return
    plain = {"numerator": 3, "denominator": 4, "start_s": 1.0, "end_s": 2.0, "start": 1, "end": 2, "bpm": 99.5}
    plain |= {"time_s": 0.0, "shape": 0, "first_bar": 1, "count": 2}
    args = [plain.get(arg.name, "A minor") for arg in address.args if arg.name != "pressed"]
    after = fold(Session(), parse(path, args), "test", 0.0)
    assert Session().changed_fields(after)
    assert address.tail in (Tail.NOTHING, Tail.REPEATED)
