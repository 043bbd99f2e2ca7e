"""The session: what was told last counts, regions are resolved late, REAPER's floats never blur what is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address_space import parse
from protocol.errors import BadArgument, MissingContext
from protocol.float32 import Single, as_single
from protocol.job import ProjectRef, SourceRef
from protocol.key import Key
from protocol.music import Region, TempoMap, TempoPoint, TimeSignature
from protocol.reaper_osc import fold_native, is_native
from protocol.session import BarsRegion, FramesRegion, Session
from protocol.session_messages import fold


def told(*messages: tuple[object, ...], session: Session | None = None) -> Session:
    """The session after our own messages, each (address without prefix, arguments...)."""
    session = session or Session()
    for at, (name, *args) in enumerate(messages):
        session = fold(session, parse(f"/stembridge/{name}", args), "osc:127.0.0.1:9000", float(at))
    return session


def heard(session: Session, *messages: tuple[object, ...]) -> Session:
    """The session after REAPER's messages, floats as it sends them."""
    for path, *args in messages:
        single = [Single.of(as_single(a)) if isinstance(a, float) else a for a in args]
        session = fold_native(session, str(path), single, 100.0)
    return session


def regions(session: Session, rate: int | None = None) -> list[tuple[float, float]]:
    return [(region.start_s, region.end_s) for region in session.resolve_regions(rate)]


# --- tempo and signature ----------------------------------------------------------------------------------------------
def test_no_tempo_is_said_to_be_unknown_and_a_signature_alone_still_counts() -> None:
    tempo_map, known = told(("timesig", 3, 4)).tempo_map()
    assert not known
    assert tempo_map.signature_at(0) == TimeSignature(3, 4)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_tempo_and_signature_combine_in_either_order(order: tuple[int, int]) -> None:
    messages = [("tempo", 97.53), ("timesig", 6, 8)]
    tempo_map, known = told(*(messages[i] for i in order)).tempo_map()
    assert known
    assert tempo_map == TempoMap.constant(97.53, TimeSignature(6, 8))


def test_a_map_replaces_the_signature_told_before_and_obeys_the_one_told_after() -> None:
    flat = (0.0, 120, 3, 4, 0, 10.0, 90.5, 7, 8, 1)
    before = told(("timesig", 5, 4), ("tempo/map", *flat))
    assert before.tempo_map() == (TempoMap.from_flat(flat), True)
    after = told(("timesig", 2, 4), session=before)
    assert {p.signature for p in after.tempo_map()[0].points} == {TimeSignature(2, 4)}
    assert [p.bpm for p in after.tempo_map()[0].points] == [120, 90.5]


def test_a_constant_tempo_after_a_map_keeps_the_meter() -> None:
    session = told(("tempo/map", 0.0, 120, 3, 4, 0), ("tempo", 99.9))
    assert session.tempo_map()[0] == TempoMap.constant(99.9, TimeSignature(3, 4))


@given(st.floats(1, 1000))
def test_a_tempo_told_as_a_double_is_never_rounded(bpm: float) -> None:
    assert told(("tempo", bpm)).tempo_map()[0].points[0].bpm == bpm


# --- regions ----------------------------------------------------------------------------------------------------------
def test_a_region_in_bars_waits_for_the_tempo_and_says_which_message_to_send() -> None:
    session = told(("region/bars", 5, 2))
    with pytest.raises(MissingContext, match="/stembridge/tempo"):
        session.resolve_regions(48000)
    assert regions(told(("tempo", 60), session=session)) == [(16.0, 24.0)]


def test_a_region_in_samples_waits_for_the_rate_and_comes_back_to_the_sample() -> None:
    session = told(("region/samples", 1_411_201, 2**40))
    assert session.regions is not None
    assert session.regions.value == (FramesRegion(1_411_201, 2**40),)
    with pytest.raises(MissingContext, match="SAMPLE_RATE"):
        session.resolve_regions(None)
    assert session.resolve_regions(44_100)[0].frames(44_100) == (1_411_201, 2**40)


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("region", (40.0, 32.0), "40 s to 32 s"),
        ("region/samples", (7, 7), "7 to 7"),
        ("region/bars", (3, 0), "count"),
        ("regions", (0.0, 2.0, 1.0, 3.0), "overlap"),
        ("key", ("H sharp sharp",), "H sharp sharp"),
        ("timesig", (4, 3), "3"),
        ("tempo/map", (0.0, 120, 4, 4, 0, 0.0, 90, 4, 4, 0), "rise"),
    ],
)
def test_what_means_nothing_is_refused_and_named(name: str, args: tuple[object, ...], named: str) -> None:
    with pytest.raises(BadArgument, match=named):
        told((name, *args))


def test_regions_come_in_order_of_time_and_none_takes_them_back() -> None:
    session = told(("regions", 8.0, 9.0, 1.0, 2.0))
    assert regions(session) == [(1.0, 2.0), (8.0, 9.0)]
    assert regions(told(("regions",), session=session)) == []


# --- settings, description --------------------------------------------------------------------------------------------
def test_settings_stay_until_an_empty_string_takes_them_back() -> None:
    session = told(("set/prompt", "brushed drums"), ("set/seed", 7), ("tempo", 100), ("set/prompt", ""))
    assert session.settings == {"seed": 7}


def test_a_setting_out_of_range_is_refused_when_it_is_set() -> None:
    with pytest.raises(BadArgument, match="steps"):
        told(("set/steps", 100_000))


def test_a_scheduler_is_shown_as_the_json_it_was_told_as() -> None:
    session = told(("set/scheduler", '{"solver":"heun", "shift":3.0}'))
    assert session.describe(1.0)[0][:2] == ("set/scheduler", '{"solver": "heun", "shift": 3.0}')


def test_describe_gives_one_row_per_field_with_its_source_and_age() -> None:
    session = told(("tempo", 97.53), ("key", "f sharp minor"), ("region/bars", 17, 4), ("play",), ("set/seed", 7))
    session = session.told("project", ProjectRef(folder="/p", media_folder="/p", sample_rate=48000), "lua", 5.0)
    session = session.told("source", SourceRef(file="/p/a.wav", start_s=1.5), "lua", 6.0)
    rows = {name: (value, source, age_s) for name, value, source, age_s in session.describe(10.0)}
    client = "osc:127.0.0.1:9000"
    assert rows == {
        "tempo": ("97.53", client, 10.0),
        "key": ("F# minor", client, 9.0),
        "region": ("bars 17 4", client, 8.0),
        "playing": ("1", client, 7.0),
        "set/seed": ("7", client, 6.0),
        "project": ("/p (48000 Hz)", "lua", 5.0),
        "source": ("/p/a.wav (from 1.5 s)", "lua", 4.0),
    }


def test_only_what_differs_has_changed() -> None:
    session = told(("tempo", 120), ("key", "Am"), ("set/seed", 1))
    assert session.changed_fields(told(("tempo", 120.0), session=session)) == ()
    later = told(("region", 1.0, 2.0), ("key", ""), ("set/seed", 2), session=session)
    assert set(session.changed_fields(later)) == {"region", "key", "set/seed"}
    assert {row[0]: row[1] for row in later.describe(0.0)}["key"] == ""


def test_a_field_that_does_not_exist_is_a_mistake_in_the_program() -> None:
    with pytest.raises(KeyError):
        Session().told("bpm", 120, "x", 0.0)


# --- REAPER -----------------------------------------------------------------------------------------------------------
@given(st.integers(3000, 99_999_9).map(lambda n: n / 1000))
def test_a_tempo_heard_from_reaper_is_the_decimal_that_was_meant(bpm: float) -> None:
    assert heard(Session(), ("/tempo/raw", bpm)).tempo_map()[0].points[0].bpm == bpm


def test_a_tempo_heard_from_reaper_never_blurs_the_exact_one_but_a_new_one_counts() -> None:
    exact = 120.370000123456
    session = told(("tempo", exact))
    assert heard(session, ("/tempo/raw", exact)) == session
    assert heard(session, ("/tempo/raw", 98.5)).tempo_map()[0].points[0].bpm == 98.5


def test_a_tempo_that_the_map_has_leaves_the_map() -> None:
    session = told(("tempo/map", 0.0, 120.1234567891, 4, 4, 1, 10.0, 90.5, 4, 4, 0))
    for bpm in (120.1234567891, 100.0, 90.5):
        assert heard(session, ("/tempo/raw", bpm)) == session
    assert heard(session, ("/tempo/raw", 133.0)).tempo_map()[0] == TempoMap.constant(133.0)


LOOP = ("/loop/start/time", "/loop/end/time")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("rest", [(), ((10.0, 20.0),), ((50.0, 60.0),), ((33.0, 60.0),)])
def test_loop_points_become_the_region_in_either_order(
    order: tuple[int, int], rest: tuple[tuple[float, float], ...]
) -> None:
    session = Session()
    for loop in (*rest, (32.25, 40.5)):
        session = heard(session, *((LOOP[i], loop[i]) for i in order))
    assert regions(session) == [(32.25, 40.5)]


def test_half_a_loop_is_no_region() -> None:
    assert heard(Session(), ("/loop/end/time", 40.0)).regions is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("old_loop", [None, (1.0, 2.0), (35.0, 50.0), (100.0, 120.0)])
def test_the_loop_of_an_exact_region_leaves_it_exact(
    order: tuple[int, int], old_loop: tuple[float, float] | None
) -> None:
    exact = (32.123456789, 40.987654321)
    session = heard(Session(), *zip(LOOP, old_loop, strict=True)) if old_loop else Session()
    session = told(("region", *exact), session=session)
    session = heard(session, *((LOOP[i], exact[i]) for i in order))
    assert regions(session) == [exact]
    assert session.regions is not None
    assert session.regions.source != "reaper"


def test_a_loop_end_that_moved_counts_and_the_exact_start_stays() -> None:
    session = told(("region", 32.123456789, 40.0))
    assert regions(heard(session, ("/loop/end/time", 44.5))) == [(32.123456789, 44.5)]


def test_a_loop_point_on_the_grid_is_exactly_there() -> None:
    session = told(("tempo", 97.53))
    tempo_map = session.tempo_map()[0]
    edges = (tempo_map.bar_start(181), tempo_map.bar_start(185))  # seven minutes in: a float is off by samples
    assert as_single(edges[0]) != edges[0]
    assert regions(heard(session, *zip(LOOP, edges, strict=True))) == [edges]


def test_an_emptied_loop_takes_back_only_reapers_own_region() -> None:
    loop = [(LOOP[0], 10.0), (LOOP[1], 20.0)]
    empty = [(LOOP[0], 0.0), (LOOP[1], 0.0)]
    assert regions(heard(Session(), *loop, *empty)) == []
    assert regions(heard(told(("region", 1.0, 2.0)), *empty)) == [(1.0, 2.0)]


def test_bars_told_stay_bars_when_reaper_repeats_them() -> None:
    session = told(("tempo", 97.53), ("region/bars", 17, 4))
    start_s, end_s = regions(session)[0]
    session = heard(session, (LOOP[1], end_s), (LOOP[0], start_s))
    assert session.regions is not None
    assert session.regions.value == (BarsRegion(17, 4),)


@pytest.mark.parametrize(
    ("messages", "playing"),
    [
        ([("/play", 1.0)], True),
        ([("/play",)], True),
        ([("/play", 1.0), ("/stop", 0.0)], True),
        ([("/play", 1.0), ("/play", 0.0), ("/stop", 1.0)], False),
        ([("/play", 1.0), ("/pause", 1.0)], False),
        ([("/record", 1.0)], True),
    ],
)
def test_reapers_transport_is_followed(messages: list[tuple[object, ...]], playing: bool) -> None:
    known = heard(Session(), *messages).playing
    assert known is not None
    assert known.value is playing


@given(
    st.sampled_from([*LOOP, "/tempo/raw", "/time", "/play", "/track/1/volume", "/beat/str"]),
    st.lists(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()), max_size=2),
)
def test_whatever_reaper_sends_never_raises(path: str, args: list[object]) -> None:
    session = heard(told(("tempo", 120), ("region", 1.0, 2.0)), (path, *args))
    assert is_native(path)
    assert all(start_s < end_s for start_s, end_s in regions(session))


def test_other_addresses_are_not_reapers() -> None:
    assert not is_native("/stembridge/ping")
    assert not is_native("/tempos/raw")
    assert is_native("/track/3/fx/1/bypass")


# --- 32-bit floats ----------------------------------------------------------------------------------------------------
@given(st.floats(width=32, allow_nan=False))
def test_a_single_stands_for_the_float_it_was_made_from(value: float) -> None:
    single = Single.of(value)
    assert as_single(single) == value
    assert float(repr(float(single))) == single


@given(st.floats(1e-3, 1e5).map(lambda x: float(f"{x:.6g}")))
def test_six_digits_survive_a_single(value: float) -> None:
    assert Single.of(as_single(value)) == value


def test_a_ramp_in_a_map_told_by_points_is_kept() -> None:
    session = told(("tempo/map", 0.0, 120, 4, 4, 1, 10.0, 60, 4, 4, 0))
    assert session.tempo_map()[0].points[0] == TempoPoint(0.0, 120.0, TimeSignature(), linear=True)


def test_a_key_is_kept_in_its_canonical_form() -> None:
    session = told(("key", "Gb minor"))
    assert session.key is not None
    assert session.key.value == Key.parse("F#m")
    assert Region(0.0, 1.0) != session.key.value
