"""The address table as OSCQuery shows it: that it says of every address what the table says, and only what is so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address_space import INCOMING, OUTGOING, PREFIX, parse
from protocol.address_types import Tail
from protocol.job import ProjectRef, SourceRef
from protocol.key import Key
from protocol.music import Region, TempoMap, TempoPoint, TimeSignature
from protocol.osc_query import ATTRIBUTES, find, tree, type_tags, typed, value_in
from protocol.session import BarsRegion, FramesRegion, Session
from protocol.session_messages import fold
from protocol.task import SETTINGS

ARRAYS = ("VALUE", "RANGE", "UNIT", "EXTENDED_TYPE")
UNITS = {"time.second", "time.samples", "time.bpm", "time.hz", "time.ms"}
"""Those of the proposal's list that we use."""


def told(**fields: Any) -> Session:
    session = Session()
    for name, value in fields.items():
        session = session.told(name, value, "daw", 0.0)
    return session


FULL = told(
    project=ProjectRef(folder="/p", media_folder="/p", sample_rate=48000),
    source=SourceRef(file="/p/a.wav", start_s=1.5),
    tempo=TempoMap((TempoPoint(0.0, 97.53, TimeSignature(3, 4)), TempoPoint(8.0, 120.0, TimeSignature(7, 8), True))),
    key=Key.parse("F#m"),
    regions=(Region(4.0, 8.0),),
    position_s=9.0,
    playing=True,
)


def nodes(session: Session) -> Iterator[dict[str, Any]]:
    waiting = [tree(lambda path: value_in(session, path))]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.get("CONTENTS", {}).values())


def at(path: str, session: Session) -> dict[str, Any]:
    node = find(f"{PREFIX}/{path}")
    assert node is not None
    return tree(lambda path: value_in(session, path), node)


# --- shape ------------------------------------------------------------------------------------------------------------
def test_every_address_of_the_table_has_its_node_and_there_is_no_other_method() -> None:
    shown = {node["FULL_PATH"] for node in nodes(Session()) if "TYPE" in node}
    assert shown == {*INCOMING, *OUTGOING}


@pytest.mark.parametrize("session", [Session(), FULL], ids=["nothing known", "all known"])
def test_every_array_has_one_item_per_type_tag_and_all_is_json(session: Session) -> None:
    for node in nodes(session):
        json.dumps(node, allow_nan=False)
        assert node.keys() <= set(ATTRIBUTES)
        for name in ARRAYS:
            if name in node and node["TYPE"] != "I":
                assert len(node[name]) == len(node["TYPE"]), (node["FULL_PATH"], name)


def test_access_says_what_can_be_read_and_what_can_be_sent() -> None:
    access = {node["FULL_PATH"]: node["ACCESS"] for node in nodes(Session())}
    assert all(access[path] == 1 for path in OUTGOING)
    assert all(access[f"{PREFIX}/set/{name}"] == 3 for name in SETTINGS)
    assert access[PREFIX] == access["/"] == access[f"{PREFIX}/set"] == 0
    assert access[f"{PREFIX}/repaint"] == access[f"{PREFIX}/stop"] == 2
    readable = {row.path for row in INCOMING.values() if row.group == "session" and access[row.path] == 3}
    assert readable == {row.path for row in INCOMING.values() if row.group == "session"} - {
        f"{PREFIX}/stop",
        f"{PREFIX}/session",
    }


def test_every_known_value_of_a_full_session_is_shown() -> None:
    unknown = {path for path, row in INCOMING.items() if row.group == "session" and value_in(FULL, path) is None}
    # A region that was told in seconds is none in bars; the two have no value at all.
    assert unknown == {f"{PREFIX}/{name}" for name in ("region/bars", "stop", "session")}


def test_units_are_those_of_the_proposals_list() -> None:
    used = {unit for node in nodes(FULL) for unit in node.get("UNIT", ()) if unit is not None}
    assert used == UNITS


def test_a_button_is_what_needs_no_argument() -> None:
    for path, row in INCOMING.items():
        if type_tags(path) == "I" and row.tail is not Tail.ANYTHING:
            for pressed in ((), (math.inf,), (None,)):
                assert parse(path, pressed).values == ()


def test_the_options_of_a_verb_are_described_with_its_settings() -> None:
    options = {option["NAME"]: option for option in at("extend", Session())["OPTIONS"]}
    assert {"bars", "seconds", "id", "priority", *SETTINGS} <= options.keys()
    assert options["seconds"]["UNIT"] == ["time.second"]
    assert options["steps"] == {
        "NAME": "steps",
        "TYPE": "i",
        "DESCRIPTION": SETTINGS["steps"].meaning,
        "RANGE": [{"MIN": 1, "MAX": 300}],
    }


@pytest.mark.parametrize("path", ["/stembridge/", "/nothing", "/stembridge/tempo/map/more", "//", "/stembridge//tempo"])
def test_only_real_paths_are_found(path: str) -> None:
    assert (find(path) is not None) == (path in ("/stembridge/", "//"))


# --- ranges -----------------------------------------------------------------------------------------------------------
def test_what_a_range_allows_the_table_takes() -> None:
    for node in nodes(FULL):
        path, ranges = node["FULL_PATH"], node.get("RANGE")
        if node["ACCESS"] & 2 == 0 or not ranges or INCOMING[path].tail is Tail.REPEATED:
            continue
        for pick in (0, -1):
            args = [_picked(item, tag, pick) for item, tag in zip(ranges, node["TYPE"], strict=True)]
            command = parse(path, args)
            if path.startswith(f"{PREFIX}/set/duration"):
                continue  # above 0, which a MIN cannot say
            if path.startswith(f"{PREFIX}/set/"):
                fold(Session(), command, "test", 0.0)


def _picked(limits: dict[str, Any] | None, tag: str, pick: int) -> Any:
    if limits is None:
        return "text" if tag == "s" else 1
    return limits["VALS"][pick] if "VALS" in limits else limits[("MIN", "MAX")[pick]]


def test_limits_that_only_keep_nonsense_out_are_no_range() -> None:
    assert "RANGE" not in at("position", FULL)
    assert "RANGE" not in at("region", FULL)


# --- values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("project", ["/p", 48000]),
        ("source", ["/p/a.wav", 1.5]),
        ("tempo", [120.0]),
        ("tempo/map", [0.0, 97.53, 3, 4, 0, 8.0, 120.0, 7, 8, 1]),
        ("timesig", [7, 8]),
        ("key", ["F# minor"]),
        ("region", [4.0, 8.0]),
        ("region/samples", [192000, 384000]),
        ("regions", [4.0, 8.0]),
        ("position", [9.0]),
        ("play", [1]),
        ("set/strength", [0.5]),
        ("set/prompt", [""]),
    ],
)
def test_a_value_is_what_the_session_holds(path: str, values: list[Any]) -> None:
    assert at(path, FULL)["VALUE"] == values


def test_an_argument_that_is_not_known_is_null_and_is_not_sent() -> None:
    session = told(project=ProjectRef(folder="/p", media_folder="/p", sample_rate=None))
    assert at("project", session)["VALUE"] == ["/p", None]
    assert typed(f"{PREFIX}/project", ("/p",)) == [("s", "/p")]


def test_regions_are_told_in_every_measure_that_is_known() -> None:
    bars = told(tempo=120.0, regions=(BarsRegion(3, 2),))
    assert at("region/bars", bars)["VALUE"] == [3, 2]
    assert at("region", bars)["VALUE"] == [4.0, 8.0]
    assert "VALUE" not in at("region/samples", bars)
    assert "VALUE" not in at("region", told(regions=(FramesRegion(1, 2),)))
    two = told(regions=(Region(1.0, 2.0), Region(3.0, 4.0)))
    assert at("regions", two)["VALUE"] == [1.0, 2.0, 3.0, 4.0]
    assert at("regions", two)["TYPE"] == "ffff"
    assert "VALUE" not in at("region", two)


def test_a_setting_shows_what_is_set_else_what_holds_while_it_is_not() -> None:
    session = Session().told_setting("steps", 30, "daw", 0.0).told_setting("scheduler", {"shift": 3.0}, "daw", 0.0)
    assert at("set/steps", session)["VALUE"] == [30]
    assert json.loads(at("set/scheduler", session)["VALUE"][0]) == {"shift": 3.0}
    assert "VALUE" not in at("set/steps", session.told_setting("steps", None, "daw", 0.0))
    assert at("set/variations", session)["VALUE"] == [1]


@pytest.mark.parametrize("path", [p for p in INCOMING if p.startswith(f"{PREFIX}/set/")])
def test_the_default_of_a_setting_has_the_type_that_is_declared(path: str) -> None:
    values = value_in(Session(), path)
    if values is not None:
        ((tag, value),) = typed(path, values)
        assert isinstance(value, {"s": str, "i": int, "f": float}[tag])


SENT = {"tempo", "timesig", "key", "region", "region/bars", "position", "regions", "tempo/map"}


@given(
    bpm=st.floats(20, 300),
    start_s=st.floats(0, 1000),
    length_s=st.floats(0.5, 100),
    bar=st.integers(1, 500),
    count=st.integers(1, 64),
)
def test_what_is_read_at_an_address_can_be_sent_there_and_changes_nothing(
    bpm: float, start_s: float, length_s: float, bar: int, count: int
) -> None:
    session = told(
        tempo=bpm, timesig=TimeSignature(5, 8), regions=(Region(start_s, start_s + length_s),), position_s=1.0
    )
    in_bars = session.told("regions", (BarsRegion(bar, count),), "daw", 0.0)
    for known in (session, in_bars):
        for name in SENT:
            values = value_in(known, f"{PREFIX}/{name}")
            if values is not None:
                again = fold(known, parse(f"{PREFIX}/{name}", values), "controller", 1.0)
                assert value_in(again, f"{PREFIX}/{name}") == pytest.approx(values)
