"""bridge/live/schedule.py over hours and under every surprise: the simulation's judge looks at every tick.

When is there no loop at all? Let a phrase last P seconds, let the n-th take T(n), and let B(n) be by how much the
making has fallen behind: ``B(n) = max(0, B(n-1) + T(n) - P)``. If the lead (seconds) always covers ``B(n-1) + T(n)``,
every phrase is there in time, whatever was predicted.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.live.schedule import Ask, Withdraw
from protocol.live import LiveSettings
from protocol.music import TempoMap, TempoPoint, TimeSignature
from tests.support.live_simulation import TICK_S, Simulation, Transport

AT_120 = TempoMap.constant(120.0)
HOUR_S = 3600.0
SIGNATURES = [(4, 4), (3, 4), (7, 8), (6, 8), (5, 4)]


@pytest.mark.parametrize(("seconds", "tells_progress"), [(HOUR_S, False), (HOUR_S / 4, True)])
def test_an_hour_with_random_delays_has_no_loop_if_the_engine_is_fast_enough(seconds: float, tells_progress: bool):
    chance = random.Random(7)
    run = Simulation(
        Transport(AT_120, jitter_s=0.003),
        lambda ask, music_s: music_s * (0.6, 0.3, 0.15)[ask.quality] * chance.uniform(0.3, 1.6),
        tells_progress=tells_progress,
    )
    run.run(seconds)
    assert (run.loops, run.phrases) == (0, pytest.approx(seconds / 8, abs=3))
    assert min(run.lead_seen) > 2.0
    run.check_counts()


def test_a_quality_that_cannot_be_kept_up_gives_way_to_the_next_lower_one():
    chance = random.Random(8)
    run = Simulation(
        Transport(AT_120),
        lambda ask, music_s: music_s * (1.5, 0.6, 0.2)[ask.quality] * chance.uniform(0.7, 1.3),
        tells_progress=True,
    )
    run.run(HOUR_S / 4)
    qualities = [ask.quality for ask in run.asks.values()]
    assert run.loops == 0
    assert qualities.count(1) > 0.9 * len(qualities)
    assert qualities.count(0) < 10
    run.check_counts()


@pytest.mark.parametrize("takes_s", [9.0, 12.0, 20.0])
def test_an_engine_that_is_too_slow_has_exactly_as_many_loops_as_must_be(takes_s: float):
    """Every phrase that an engine can make at all is placed: what is left are the loops."""
    run = Simulation(Transport(AT_120, beat=16.0), lambda ask, _: takes_s)
    run.run(1200)
    slots = 1200 / 8
    assert run.phrases == pytest.approx(1200 / takes_s, abs=2)
    assert run.loops == pytest.approx(slots - run.phrases, abs=2)
    run.check_counts()


@settings(max_examples=25)
@given(st.lists(st.floats(0.05, 7.0), min_size=8, max_size=25), st.floats(0.1, 2.0))
def test_there_is_no_loop_where_the_lead_covers_what_the_making_fell_behind(takes: list[float], share: float):
    """The condition above, at any quality alike: lowering it does not help this engine."""
    phrase_s, lead_s, behind = 8.0, 8.0, 0.0
    times = []
    for wished in takes:
        taken = min(wished * share, lead_s - behind - 2 * TICK_S)
        behind = max(0.0, behind + taken - phrase_s + TICK_S)
        times.append(taken)
    run = Simulation(Transport(AT_120, beat=-40.0), lambda ask, _: times[(ask.phrase - 1) % len(times)])
    run.run(28 + 8 * len(times) - 40)
    assert run.loops == 0


def random_map(chance: random.Random) -> TempoMap:
    points, time_s = [], 0.0
    for _ in range(chance.randint(1, 6)):
        bpm = chance.choice([10.0, 60.0, 97.5, 120.0, 174.0, 300.0, 900.0, chance.uniform(50, 200)])
        signature = TimeSignature(*chance.choice(SIGNATURES))
        points.append(TempoPoint(time_s, bpm, signature, chance.random() < 0.3, chance.random() < 0.2))
        time_s += chance.uniform(2, 60)
    return TempoMap(tuple(points))


def surprise(run: Simulation, chance: random.Random) -> None:
    """Something that a musician or a DAW may do at any moment."""
    transport, kind = run.transport, chance.random()
    if kind < 0.25:
        transport.playing, transport.epoch = not transport.playing, transport.epoch + 1
    elif kind < 0.6:
        ready = run.filled[-1].slot.end_beat if run.filled else 3.0
        places = [chance.uniform(0, 300), ready + chance.uniform(-3, 3), 4.0 * chance.randint(0, 80)]
        transport.locate(chance.choice(places))
    elif kind < 0.75:
        transport.tempo_map = random_map(chance)
    elif kind < 0.8:
        run.panic()
    elif kind < 0.85:
        transport.rate = chance.uniform(0.5, 1.5)
    if not transport.playing and chance.random() < 0.6:
        transport.playing, transport.epoch = True, transport.epoch + 1


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_nothing_a_musician_does_ever_leaves_the_playhead_without_music_past_the_join(seed: int):
    chance = random.Random(seed)
    cost, spread = chance.choice([0.1, 0.5, 0.9, 1.4, 2.5]), chance.uniform(0, 1.5)

    def making(ask: Ask, music_s: float) -> float | None:
        if chance.random() < 0.03:
            return None
        hiccup_s = chance.uniform(0, 30) if chance.random() < 0.05 else 0.0
        return cost * music_s * (1, 0.5, 0.25)[ask.quality] * chance.uniform(0.5, 1 + spread) + hiccup_s

    live = LiveSettings(
        phrase_bars=chance.choice([1, 2, 3, 4, 8]),
        lead_bars=chance.choice([1, 2, 4, 9]),
        handoff_s=chance.choice([0.1, 0.25, 1.0]),
    )
    transport = Transport(
        random_map(chance),
        beat=chance.choice([0.0, 10.0, 21.0, 100.0]),
        playing=chance.random() < 0.7,
        rate=chance.choice([1.0, 1.0, 1.1, 0.5]),
        jitter_s=chance.choice([0.0, 0.005]),
        random=chance,
    )
    join_beat = chance.choice([0.0, 16.0, 17.3, 64.0])
    run = Simulation(transport, making, live, join_beat=join_beat, tells_progress=chance.random() < 0.5)
    for _ in range(25):
        run.run(chance.uniform(0.05, 15))
        surprise(run, chance)
    run.check_counts()


def test_a_cycle_in_the_daw_is_filled_once_and_then_left_alone():
    run = Simulation(Transport(AT_120), lambda ask, _: 1.0)
    for _ in range(20):
        run.run(24)
        run.transport.locate(8.0)
    assert run.schedule.counts.phrases == pytest.approx((8 + 48) / 16 + 2, abs=2)
    assert not any(isinstance(event, Withdraw) for event in run.events)
    assert run.loops == 0
