"""What REAPER's heartbeats say: evenly running beats whatever delays them, locates, rates, and silence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadArgument
from protocol.mailbox import Address
from protocol.mailbox_live import HANGS_S, Follower, Heartbeat, LiveChange, LiveStart, parse_all, read_heartbeat
from protocol.music import TempoMap
from protocol.transport import Playhead
from tests.support.mailbox import INSTANCE, Json, request

MAP = TempoMap.constant(120.0)
RUN = "20261123-075200-3f9a2c"
SCRIPTS_CLOCK = 5000.0
"""How far the clock of REAPER's script is from the daemon's."""


def said(serial: int, at: float, position: float, *, playing: bool = True, rate: float = 1.0) -> Heartbeat:
    return Heartbeat(run=RUN, serial=serial, at=at + SCRIPTS_CLOCK, position=position, playing=playing, rate=rate)


def heard(follower: Follower, beat: Heartbeat, at: float, after: float = 0.0) -> None:
    """The file's time is exact, and it was found at once."""
    assert follower.heard(beat, at, after, at)


def head(follower: Follower, now: float) -> Playhead:
    return follower.head(now, MAP, "reaper-script:1f2e3d4c")


def test_a_playing_reaper_runs_on_between_its_heartbeats() -> None:
    follower = Follower(10.0, True, at=100.0)
    heard(follower, said(1, 100.5, 10.5), 100.5, after=100.0)
    assert head(follower, 101.0).beat == pytest.approx(22.0)
    assert head(follower, 101.0).bpm == 120.0
    assert head(follower, 101.0).playing


def test_a_standing_reaper_stands() -> None:
    follower = Follower(10.0, False, at=100.0)
    assert head(follower, 103.0).beat == 20.0
    assert not head(follower, 103.0).playing


@given(delays=st.lists(st.floats(0.0, 0.2), min_size=20, max_size=60), coarse=st.booleans())
def test_heartbeats_that_are_found_late_move_nothing(delays: list[float], coarse: bool) -> None:
    follower, looked = Follower(0.0, True, at=100.0), 100.0
    for serial, delay in enumerate(delays, 1):
        at = 100.0 + serial * 0.25
        seen = at + delay
        follower.heard(said(serial, at, at - 100.0), float(int(at)) if coarse else at, looked, seen)
        looked = seen
        now = head(follower, seen)
        assert now.epoch == 0
        if not coarse:
            assert now.beat == pytest.approx(2 * (seen - 100.0), abs=1e-6)
        else:  # never further off than two looks are apart
            assert abs(now.beat / 2 - (seen - 100.0)) <= 0.45


def test_positions_that_jitter_by_a_block_are_averaged() -> None:
    follower = Follower(0.0, True, at=100.0)
    for serial in range(1, 80):
        at = 100.0 + serial * 0.25
        heard(follower, said(serial, at, at - 100.0 + (0.02 if serial % 2 else -0.02)), at, after=at - 0.25)
    assert head(follower, 120.0).beat / 2 == pytest.approx(20.0, abs=0.004)
    assert head(follower, 120.0).epoch == 0


def test_a_locate_and_a_start_are_new_epochs_and_a_stop_is_none() -> None:
    follower = Follower(0.0, True, at=100.0)
    heard(follower, said(1, 101.0, 31.0), 101.0, after=100.5)
    assert head(follower, 101.0).epoch == 1
    assert head(follower, 101.0).beat == pytest.approx(62.0)
    heard(follower, said(2, 102.0, 32.0, playing=False), 102.0, after=101.5)
    assert head(follower, 109.0 - 3).beat == pytest.approx(64.0)
    assert head(follower, 103.0).epoch == 1
    heard(follower, said(3, 104.0, 32.0), 104.0, after=103.5)
    assert head(follower, 104.0).epoch == 2


def test_the_play_rate_is_followed() -> None:
    follower = Follower(0.0, True, at=100.0)
    heard(follower, said(1, 101.0, 1.0, rate=1.5), 101.0, after=100.5)
    now = head(follower, 103.0)
    assert now.bpm == 180.0
    assert now.beat == pytest.approx(2 * 4.0)
    assert now.epoch == 0


def test_a_reaper_that_fell_silent_stands_where_it_was_heard_last() -> None:
    follower = Follower(0.0, True, at=100.0)
    heard(follower, said(1, 101.0, 1.0), 101.0, after=100.5)
    assert head(follower, 101.0 + HANGS_S).playing
    silent = head(follower, 102.0 + HANGS_S)
    assert not silent.playing
    assert silent.beat == pytest.approx(2.0)


def test_the_same_heartbeat_counts_once() -> None:
    follower = Follower(0.0, True, at=100.0)
    heard(follower, said(1, 101.0, 1.0), 101.0)
    assert not follower.heard(said(1, 101.0, 1.0), 101.0, 101.0, 107.0)
    assert not head(follower, 108.0).playing


def test_what_is_no_heartbeat_of_this_run_is_none() -> None:
    good = said(1, 0.0, 1.0).model_dump()
    assert read_heartbeat(json.dumps(good).encode(), RUN) is not None
    for content in (b"", b"{", b"[]", json.dumps({**good, "rate": 0}).encode(), b'{"run": "x"}'):
        assert read_heartbeat(content, RUN) is None
    assert read_heartbeat(json.dumps(good).encode(), "another") is None


# --- requests ---------------------------------------------------------------------------------------------------------
def parsed(raw: Json) -> object:
    return parse_all(raw, Address(INSTANCE, raw["id"]), "0.1.0")


def test_a_start_and_changes_are_read() -> None:
    start = parsed(request(kind="live", action="start", verb="extend", live={"phrase_bars": 2}))
    assert isinstance(start, LiveStart)
    assert (start.live.phrase_bars, start.live.lead_bars) == (2, None)
    change = parsed(request(kind="live", action="set", run=RUN, settings=[]))
    assert isinstance(change, LiveChange)
    assert change.settings == {}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"action": "dance", "run": RUN}, "action"),
        ({"action": "stop"}, "run"),
        ({"action": "start", "verb": "extend", "source": None}, "source"),
        ({"action": "start", "verb": "extend", "live": {"phrase_bars": "many"}}, "phrase_bars"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(changes: Json, named: str) -> None:
    with pytest.raises(BadArgument, match=named):
        parsed(request(kind="live", **changes))
