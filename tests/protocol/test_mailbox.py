"""Requests of the REAPER scripts: read strictly, refused in words, told to the session exactly; answers as values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadArgument, RegionOutside, StembridgeError
from protocol.job import ProjectRef, SourceRef
from protocol.key import Key
from protocol.mailbox import (
    MAX_REQUEST_BYTES,
    STALE_S,
    Address,
    Cancel,
    Hello,
    Message,
    Request,
    StaleRequest,
    VersionMismatch,
    address_of,
    disagreements,
    parse,
    read,
    require_covered,
    require_fresh,
)
from protocol.music import TempoMap
from protocol.session import Session
from protocol.vocabulary import Verb
from tests.support.mailbox import INSTANCE, Json, request

VERSION = "0.1.0"


def parsed(raw: Json) -> Message:
    return parse(read(json.dumps(raw).encode()), Address(raw["instance"], raw["id"]), VERSION)


def asked(**changes: Any) -> Request:
    message = parsed(request(**changes))
    assert isinstance(message, Request)
    return message


# --- reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.json",
        "1f2e3d4c.json",
        "1F2E3D4C.a.json",
        "1f2e3d4c.a.json.tmp",
        "1f2e3d4c..json",
        "1f2e3d4c.con.json",
        "1f2e3d4c.a.claimed.json",
        "1f2e3d4c.ü.json",
        "1f2e3d4c.a\n.json",
    ],
)
def test_only_names_of_the_format_are_requests(name: str) -> None:
    assert address_of(name) is None


def test_a_file_name_says_whose_and_which() -> None:
    address = Address(INSTANCE, "20261123-075200-3f9a2c")
    assert address_of(address.file_name) == address


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"verb": "remix"}, "verb is 'remix'"),
        ({"verb": None}, "verb is None"),
        ({"project": {"file": "/a.rpp", "sample_rate": 0}}, "project.sample_rate is 0"),
        ({"project": {"file": "", "sample_rate": 44100}}, "save it in REAPER"),
        ({"regions": [{"start_frame": 10, "end_frame": 9}]}, "samples 10 to 9"),
        ({"regions": [{"start_frame": 1.5, "end_frame": 9}]}, "regions.0.start_frame is 1.5"),
        ({"regions": [{"start_frame": 1}]}, "regions.0.end_frame is missing"),
        ({"tempo": []}, "tempo is"),
        ({"tempo": [{"time": 0, "bpm": 0, "num": 4, "den": 4}]}, "tempo must be 1 to 1000 BPM"),
        ({"tempo": [{"time": 0, "bpm": 120, "num": 4, "den": 3}]}, "denominator"),
        ({"tempo": [{"time": t, "bpm": 120, "num": 4, "den": 4} for t in (1, 0)]}, "times must rise"),
        ({"source": None}, "no source"),
        ({"source": {"files": ["../a.wav"], "frames": 1}}, r"source.files.0 is '../a.wav' \(the plain name"),
        ({"source": {"files": ["a/b.wav"], "frames": 1}}, "source.files.0"),
        ({"source": {"files": ["a\\b.wav"], "frames": 1}}, "source.files.0"),
        ({"source": {"files": [7], "frames": 1}}, "source.files.0 is 7"),
        ({"source": {"files": ["song.wav"], "frames": 1}}, "audio of another request"),
        ({"source": {"files": [], "frames": 1}}, "either files in audio/ or one file"),
        ({"id": "a", "source": {"files": ["a.1.wav"]}}, "not their length in frames"),
        ({"created": "yesterday"}, "created is 'yesterday'"),
        ({"kind": "order"}, "kind is 'order'; it must be one of request, cancel, hello"),
        ({"kind": ["request"]}, "kind is"),
        ({"settings": ["prompt"]}, "settings is"),
        ({"protocol": "1"}, "protocol is '1'; it must be 1"),
        ({"protocol": True}, "protocol is True"),
        ({"kind": "cancel"}, "job is missing"),
    ],
)
def test_what_is_wrong_is_named(changes: Json, named: str) -> None:
    with pytest.raises(BadArgument, match=named):
        parsed(request(**changes))


def test_a_file_that_says_another_name_than_its_own_is_refused() -> None:
    raw = request()
    for address in (Address(INSTANCE, "other"), Address("00000000", raw["id"])):
        with pytest.raises(BadArgument, match="file's name says"):
            parse(raw, address, VERSION)


@pytest.mark.parametrize(
    ("theirs", "advice"), [(2, "pip install --upgrade stembridge"), (0, "update the scripts with `stembridge reaper")]
)
def test_another_version_is_told_which_side_to_update(theirs: int, advice: str) -> None:
    with pytest.raises(VersionMismatch, match=advice) as caught:
        parsed({**request(protocol=theirs), "verb": "a verb of that version"})
    assert f"protocol {theirs}" in caught.value.sentence
    assert "0.1.0" in caught.value.sentence
    assert VERSION in caught.value.sentence


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b'{"a":NaN}', b"[" * 5000, b"\xff", b'{"a":"\\ud800"}'])
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(BadArgument):
        read(content)


def test_a_request_has_a_size() -> None:
    with pytest.raises(BadArgument, match="larger than 1 MiB"):
        read(b" " * (MAX_REQUEST_BYTES + 1))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


@given(field=st.sampled_from(sorted(request())), value=_JSON)
def test_whatever_a_field_holds_is_taken_or_refused_in_words(field: str, value: object) -> None:
    raw = request()
    address = Address(raw["instance"], raw["id"])
    said = "It was taken as it is."
    try:
        message = parse(read(json.dumps({**raw, field: value}).encode()), address, VERSION)
        if isinstance(message, Request):
            project = ProjectRef(folder="/a", media_folder="/a", sample_rate=message.project.sample_rate)
            message.told_to(Session(), project, None, 0.0)
            disagreements(message)
    except StembridgeError as error:
        said = error.sentence
    assert len(said.split()) > 4


def test_the_other_kinds() -> None:
    cancel = parsed({"protocol": 1, "id": "a", "instance": INSTANCE, "kind": "cancel", "created": 1, "job": "all"})
    assert isinstance(cancel, Cancel)
    assert cancel.client == f"mailbox:{INSTANCE}"
    hello = parsed({"protocol": 1, "id": "a", "instance": INSTANCE, "kind": "hello", "created": 1})
    assert isinstance(hello, Hello)
    assert hello.project.file == ""


@pytest.mark.parametrize("age_s", [-STALE_S + 1, 0, STALE_S - 1])
def test_what_was_asked_a_while_ago_is_still_done(age_s: float) -> None:
    require_fresh(asked(created=1_000_000), 1_000_000 + age_s)


@pytest.mark.parametrize(("age_s", "words"), [(-STALE_S - 1, "clocks"), (STALE_S + 1, "15 minutes"), (9e4, "25 hours")])
def test_what_was_asked_too_long_ago_is_not_done(age_s: float, words: str) -> None:
    with pytest.raises(StaleRequest, match=words):
        require_fresh(asked(created=1_000_000), 1_000_000 + age_s)


def test_an_empty_table_of_lua_is_no_option() -> None:
    assert asked(options=[], settings=[], checks={}).wanted == {}


def test_options_win_and_track_classes_may_be_a_list() -> None:
    made = asked(verb="complete", options={"tracks": ["drums", "bass"], "seed": 1}, settings={"seed": 2, "prompt": "x"})
    assert made.wanted == {"tracks": "drums,bass", "seed": 1, "prompt": "x"}


# --- the session ------------------------------------------------------------------------------------------------------
PROJECT = ProjectRef(folder="/a", media_folder="/a", sample_rate=44_100)


def test_the_session_learns_all_that_the_request_says() -> None:
    before = Session().told("timesig", 3, "osc", 0.0).told("position_s", 99.0, "osc", 0.0)
    source = SourceRef(file="/a/s.wav", start_s=1.0)
    tempo = [
        {"time": 0.0, "bpm": 120.5, "num": 7, "den": 8, "linear": True},
        {"time": 4.0, "bpm": 97.53, "num": 4, "den": 4},
    ]
    session = asked(tempo=tempo, playing=True).told_to(before, PROJECT, source, 5.0)
    assert session.project
    assert (session.project.value, session.project.source, session.project.at) == (
        PROJECT,
        f"reaper-script:{INSTANCE}",
        5,
    )
    assert session.tempo_map() == (TempoMap.from_flat((0.0, 120.5, 7, 8, 1, 4.0, 97.53, 4, 4, 0)), True)
    assert session.source
    assert session.source.value == source
    assert session.key
    assert session.key.value == Key.parse("Am")
    assert session.position_s
    assert session.position_s.value == 16.0
    assert session.playing
    assert session.playing.value is True


def test_a_key_that_is_not_known_takes_back_that_of_another_project() -> None:
    session = asked(key=None).told_to(Session().told("key", Key.parse("C"), "osc", 0.0), PROJECT, None, 1.0)
    assert session.key
    assert session.key.value is None


def test_regions_that_are_not_named_are_not_those_of_an_earlier_request() -> None:
    first = asked().told_to(Session(), PROJECT, None, 0.0)
    later = asked(verb="generate", source=None, regions=[]).told_to(first, PROJECT, None, 1.0)
    assert later.resolve_regions(44_100) == ()


@given(
    start=st.integers(0, 2**40), frames=st.integers(1, 2**30), rate=st.sampled_from([22_050, 44_100, 48_000, 96_000])
)
def test_frames_go_through_the_session_unharmed(start: int, frames: int, rate: int) -> None:
    made = asked(
        regions=[{"start_frame": start, "end_frame": start + frames}],
        project={"file": "/a.rpp", "sample_rate": rate},
    )
    (region,) = made.told_to(Session(), PROJECT, None, 0.0).resolve_regions(rate)
    assert region.frames(rate) == (start, start + frames)


# --- REAPER's beats and ours ------------------------------------------------------------------------------------------
def test_where_reaper_and_we_agree_nothing_is_said() -> None:
    assert disagreements(asked()) == []
    assert disagreements(asked(checks={})) == []


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ({"start_qn": 32.002, "end_qn": 48.0}, ["begins 32.002"]),
        ({"start_qn": 32.0, "end_qn": 47.99}, ["ends 47.990"]),
        ({"start_qn": 31.0, "end_qn": 47.0}, ["begins 31.000", "ends 47.000"]),
        ({"start_bar": 8, "start_beat": 0.0}, ["0.00 counts into bar 8, Stembridge says 0.00 into bar 9"]),
        ({"start_bar": 9, "start_beat": 2.0}, ["2.00 counts into bar 9, Stembridge says 0.00 into bar 9"]),
    ],
)
def test_where_they_differ_it_is_said(checks: Json, words: list[str]) -> None:
    said = disagreements(asked(checks=checks))
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_a_start_that_is_half_a_sample_before_its_bar_line_is_in_the_same_place_for_both() -> None:
    rate, bpm = 44_100, 97.53
    line_s = 8 * 4 * 60 / bpm
    start = int(line_s * rate)  # cut, not rounded: REAPER counts it into bar 8
    checks = {"start_qn": start / rate * bpm / 60, "start_bar": 8, "start_beat": start / rate * bpm / 60 - 28}
    made = asked(
        tempo=[{"time": 0, "bpm": bpm, "num": 4, "den": 4}],
        regions=[{"start_frame": start, "end_frame": start + rate}],
        checks=checks,
    )
    assert disagreements(made) == []


def test_a_marker_that_begins_a_bar_without_a_new_signature_is_counted_as_reaper_does() -> None:
    first = {"time": 0, "bpm": 120, "num": 4, "den": 4}
    made = asked(
        tempo=[first, {**first, "time": 3.0, "new_bar": True}],  # in the middle of bar 2
        regions=[{"start_frame": 5 * 44_100, "end_frame": 7 * 44_100}],
        checks={"start_qn": 10.0, "end_qn": 14.0, "start_bar": 4, "start_beat": 0.0},
    )
    assert disagreements(made) == []


def test_beats_of_a_bar_are_counts_of_its_signature() -> None:
    start = round((2 * 3 + 1.5) * 60 / 120 * 44_100)  # the fourth count (three are over) of bar 3 in 6/8
    made = asked(
        tempo=[{"time": 0, "bpm": 120, "num": 6, "den": 8}],
        regions=[{"start_frame": start, "end_frame": start + 44_100}],
        checks={"start_qn": 7.5, "start_bar": 3, "start_beat": 3.0},
    )
    assert disagreements(made) == []


# --- the source -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("start", "frames"), [(705_601, 400_000), (705_600, 352_799), (0, 705_600)])
def test_audio_that_lacks_a_part_of_the_region_is_refused(start: int, frames: int) -> None:
    with pytest.raises(RegionOutside, match=r"16\.000 to 24\.000 s"):
        require_covered(asked(), start, frames)


def test_audio_of_just_the_region_is_enough_and_extensions_lie_beside_it() -> None:
    require_covered(asked(), 705_600, 352_800)
    require_covered(asked(verb="extend"), 0, 705_600)


def test_every_verb_is_known() -> None:
    assert {asked(verb=verb.value).verb for verb in Verb} == set(Verb)
