"""bridge/live/schedule.py: what a musician does, and what each slot holds then."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bridge.live.schedule import RETRY_S, Ask, Fill, Forget, Schedule, Withdraw
from bridge.live.speed import Speed
from protocol.live import Filling, LiveSettings, Slot
from protocol.music import TempoMap, TempoPoint, TimeSignature
from protocol.transport import Playhead
from tests.support.live_simulation import Simulation, Transport

AT_120 = TempoMap.constant(120.0)
JOIN = 16.0
NEVER = 1e9


def simulation(
    takes_s: float = 1.0, beat: float = 0.0, tempo_map: TempoMap = AT_120, playing: bool = True, **settings: float
) -> Simulation:
    """An engine that takes `takes_s` seconds for anything, from `beat` on; the source ends at beat 16."""
    transport = Transport(tempo_map, beat=beat, playing=playing)
    return Simulation(transport, lambda ask, _: takes_s, LiveSettings(**settings), join_beat=JOIN)  # type: ignore[arg-type]


def places(run: Simulation) -> list[tuple[float, float, str, int]]:
    return [(f.slot.start_beat, f.slot.end_beat, f.filling.value, f.phrase) for f in run.filled]


# --- in time ----------------------------------------------------------------------------------------------------------
def test_nothing_is_done_before_something_has_said_where_the_transport_is():
    schedule = Schedule(LiveSettings(), Speed(), join_beat=JOIN)
    assert schedule.step(0.0, None, AT_120) == []
    assert schedule.filled == ()


def test_nothing_is_asked_for_long_before_the_join():
    run = simulation(beat=-200.0)
    run.run(60)
    assert run.events == []
    assert run.schedule.lead_bars == pytest.approx((JOIN + 80.0) / 4)


def test_phrases_follow_each_other_from_the_join_each_continuing_the_one_before():
    run = simulation()
    run.run(30)
    assert places(run)[:3] == [(16, 32, "phrase", 1), (32, 48, "phrase", 2), (48, 64, "phrase", 3)]
    assert [(ask.phrase, ask.after) for ask in run.asks.values()][:3] == [(1, 0), (2, 1), (3, 2)]
    assert [fill.slot.number for fill in run.fills] == [*range(1, len(run.fills) + 1)]


def test_the_first_slot_begins_at_the_first_bar_line_at_or_after_the_join():
    run = Simulation(Transport(AT_120), lambda ask, _: 1.0, join_beat=17.5)
    run.run(12)
    assert places(run)[0][:2] == (20, 36)
    assert run.fills[0].slot.bar == 6


def test_a_phrase_is_due_a_handoff_before_its_slot_and_is_asked_for_so_that_the_lead_is_left_when_it_is_there():
    speed = Speed()
    for _ in range(12):
        speed.measured(0, 8.0, 2.0)
    takes_s = speed.predicted_s(0, 8.0)
    schedule = Schedule(LiveSettings(lead_bars=2), speed, join_beat=JOIN)
    now, asks = 0.0, []
    while not asks:
        now += 0.05
        asks = schedule.step(now, Playhead(now, now * 2.0, 120.0, True, "test"), AT_120)
    assert asks == [Ask(Slot(1, 16.0, 32.0, 5), 0, pytest.approx(8.0 - 0.25), 1, 0)]
    assert now == pytest.approx(8.0 - 0.25 - 4.0 - takes_s, abs=0.051)
    assert schedule.margin_s == pytest.approx(7.75 - now - takes_s)


def test_a_phrase_that_is_there_at_the_last_moment_is_placed_and_a_moment_later_it_is_a_loop():
    for late_s, fillings in ((-0.01, [Filling.PHRASE]), (0.01, [Filling.LOOP, Filling.PHRASE])):
        schedule = Schedule(LiveSettings(), Speed(), join_beat=JOIN)
        head = Playhead(0.0, 10.0, 120.0, True, "test")
        (ask,) = schedule.step(0.0, head, AT_120)
        fills = [event for event in schedule.made(ask.phrase, ask.due + late_s) if isinstance(event, Fill)]
        assert [fill.filling for fill in fills] == fillings


def test_a_lead_longer_and_a_lead_shorter_than_a_phrase_are_both_kept():
    for phrase_bars, lead_bars in ((1, 1), (8, 1), (1, 9), (3, 4)):
        run = simulation(0.3, phrase_bars=phrase_bars, lead_bars=lead_bars)
        run.run(120)
        assert run.loops == 0
        assert min(run.lead_seen[200:]) >= lead_bars - 0.2
        assert max(run.lead_seen[200:]) <= lead_bars + phrase_bars + 1.5


@pytest.mark.parametrize("bpm", [10.0, 60.0, 300.0, 1000.0])
def test_any_tempo_is_kept_up_with(bpm: float):
    bars = 1 if bpm < 1000 else 4
    run = simulation(0.02, tempo_map=TempoMap.constant(bpm), phrase_bars=bars, lead_bars=bars)
    run.run(16 * 60 / bpm + 120)
    assert run.loops <= 2
    assert run.phrases >= 120 * bpm / 60 / (4 * bars) - 1


# --- late and failed --------------------------------------------------------------------------------------------------
def test_without_an_engine_the_end_of_the_source_is_looped_for_ever():
    run = simulation(NEVER)
    run.run(60)
    assert {(filling, phrase) for _, _, filling, phrase in places(run)} == {("loop", 0)}
    assert run.phrases == 0


def test_a_slow_engine_gives_phrase_and_loop_in_turn_and_the_phrase_goes_on_from_what_was_looped():
    run = simulation(12.0)
    run.run(16 + 160)
    fillings = [fill.filling for fill in run.fills]
    assert all(Filling.PHRASE in pair for pair in pairwise(fillings[1:]))
    assert run.loops == pytest.approx(run.phrases / 2, abs=2)
    run.check_counts()


def test_a_failed_phrase_is_asked_for_at_lower_quality_at_once_and_then_after_a_pause():
    run = Simulation(Transport(AT_120), lambda ask, _: None, join_beat=JOIN)
    run.run(30)
    asked = [(ask.quality, ask.due) for ask in run.asks.values()]
    assert [quality for quality, _ in asked] == sorted(quality for quality, _ in asked)
    assert asked[-1][0] == 2
    assert len(asked) == pytest.approx(30 / RETRY_S, abs=2)
    assert places(run)[0] == (16, 32, "loop", 0)
    run.check_counts()


def test_an_engine_that_works_again_is_used_again():
    broken = [True]
    run = Simulation(Transport(AT_120), lambda ask, _: None if broken[0] else 1.0, join_beat=JOIN)
    run.run(40)
    broken[0] = False
    run.run(60)
    assert [fill.filling for fill in run.fills[-4:]] == [Filling.PHRASE] * 4
    assert run.schedule.quality == 0


def test_quality_drops_before_a_deadline_is_missed_and_comes_back_after():
    load = [1.0]
    run = Simulation(
        Transport(AT_120), lambda ask, music_s: load[0] * music_s * (0.5, 0.25, 0.1)[ask.quality], join_beat=JOIN
    )
    run.run(120)
    assert run.schedule.quality == 0
    load[0], before = 2.2, len(run.asks)
    run.run(120)
    assert any(ask.quality > 0 for ask in list(run.asks.values())[before:])
    load[0] = 1.0
    run.run(200)
    assert run.schedule.quality == 0
    assert run.loops == 0
    run.check_counts()


def test_a_phrase_whose_progress_says_that_it_will_be_late_gives_way_to_a_simpler_one():
    def making(ask: Ask, music_s: float) -> float:
        return 40.0 if ask.phrase == 10 else music_s * (0.5, 0.25, 0.1)[ask.quality]

    patient, alert = (
        Simulation(Transport(AT_120), making, join_beat=JOIN, tells_progress=tells) for tells in (False, True)
    )
    for run in (patient, alert):
        run.run(120)
    assert patient.loops > 0
    assert alert.loops == 0
    assert [(event.phrase, "simpler" in event.why) for event in alert.events if isinstance(event, Withdraw)] == [
        (10, True)
    ]
    assert alert.asks[11].quality == 2
    assert alert.asks[11].slot == alert.asks[10].slot


# --- stop and locate --------------------------------------------------------------------------------------------------
def test_a_stopped_transport_misses_nothing_and_goes_on_where_it_was():
    run = simulation(6.0, beat=14.0)
    run.run(0.5)
    before = len(run.fills)
    run.transport.playing = False
    run.run(600)
    assert all(fill.filling is Filling.PHRASE for fill in run.fills[before:])
    assert 4 <= run.schedule.lead_bars < 20
    assert not any(isinstance(event, Forget | Withdraw) for event in run.events)
    run.transport.playing = True
    run.run(60)
    assert run.loops == before


def test_past_the_join_from_the_start_the_source_is_looped_from_the_next_bar_line():
    run = simulation(NEVER, beat=21.0)
    run.run(5)
    assert places(run)[0] == (24, 40, "loop", 0)


def test_a_fast_engine_is_there_with_a_phrase_even_then():
    run = simulation(0.4, beat=21.0)
    run.run(5)
    assert places(run)[0] == (24, 40, "phrase", 1)


def test_a_locate_inside_what_is_filled_or_before_the_join_keeps_all():
    run = simulation(beat=0.0)
    run.run(60)
    kept = len(run.filled)
    for beat in (30.0, 3.0, 50.0, JOIN):
        run.transport.locate(beat)
        run.run(2)
    assert len(run.filled) == kept
    assert not any(isinstance(event, Forget | Withdraw) for event in run.events)


def test_a_locate_beyond_loops_the_latest_phrase_from_the_next_bar_line_and_the_phrase_in_flight_follows():
    run = simulation(3.0)
    run.run(30)
    latest = max(fill.phrase for fill in run.fills)
    run.transport.locate(401.0)
    run.run(10)
    assert (404, 420, "loop", latest) in places(run)
    assert (420, 436, "phrase", latest + 1) in places(run)


def test_music_beyond_a_void_is_forgotten_only_when_new_music_lies_across_it():
    run = simulation(1.0, beat=21.0)
    run.run(20)
    assert places(run)[0][0] == 24
    run.transport.locate(0.0)
    run.run(1)
    assert places(run)[0][0] == 24
    run.run(12)
    assert places(run)[0][:3] == (16, 32, "phrase")
    assert [event.from_beat for event in run.events if isinstance(event, Forget)] == [24.0]
    assert run.asks[places(run)[0][3]].after == 0


def test_a_playhead_that_outran_a_stalled_daemon_is_met_with_a_loop_at_once():
    schedule = Schedule(LiveSettings(), Speed(), join_beat=JOIN)
    schedule.step(0.0, Playhead(0.0, 15.9, 120.0, True, "test"), AT_120)
    events = schedule.step(9.0, Playhead(9.0, 33.9, 120.0, True, "test"), AT_120)
    assert [event.slot.start_beat for event in events if isinstance(event, Fill)] == [32.0]


def test_a_source_of_positions_that_falls_silent_makes_nothing_due():
    run = simulation(2.0)
    run.run(10)
    filled = run.schedule.filled
    for now in (run.now + 100, run.now + 200):
        assert run.schedule.step(now, None, AT_120) == []
    assert run.schedule.filled[-1] == filled[-1]


# --- panic ------------------------------------------------------------------------------------------------------------
def test_panic_voids_what_sounds_and_what_comes_until_the_transport_is_started_anew():
    run = simulation(5.0, beat=10.0)
    run.run(14)
    run.panic()
    assert [type(event) for event in run.events[-2:]] == [Withdraw, Forget]
    assert all(fill.slot.end_beat <= run.transport.beat for fill in run.filled)
    told = len(run.events)
    run.run(20)
    assert len(run.events) == told
    run.transport.playing = False
    run.run(1)
    run.transport.playing = True
    run.run(10)
    assert run.schedule.lead_bars > 0


def test_after_panic_waking_lets_the_music_go_on_at_once():
    run = simulation(1.0)
    run.run(20.3)
    run.panic()
    run.schedule.wake()
    run.is_silenced = False
    run.run(0)
    assert places(run)[-1] == (32, 48, "loop", 1)
    run.run(30)
    assert places(run)[-1][2] == "phrase"


# --- the tempo map ----------------------------------------------------------------------------------------------------
def test_a_change_of_tempo_moves_deadlines_and_no_slot():
    run = simulation(2.0)
    run.run(30)
    slots = [fill.slot for fill in run.filled]
    run.transport.tempo_map = TempoMap.constant(174.0)
    run.run(0.1)
    assert [fill.slot for fill in run.filled][: len(slots)] == slots
    run.run(60)
    assert run.loops == 0


def test_a_phrase_does_not_go_into_bars_of_another_length_but_is_asked_for_anew():
    three_four_at_8_bars = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(16.0, 120.0, TimeSignature(3, 4))))
    run = simulation(9.0, beat=13.0, tempo_map=three_four_at_8_bars)
    run.run(60)
    assert (16, 32, "loop", 0) in places(run)
    assert (
        any("length" in event.why for event in run.events if isinstance(event, Withdraw))
        or run.asks[1].slot.beats == 12
    )
    assert {fill.slot.beats for fill in run.filled if fill.slot.start_beat >= 32} == {12.0}


def test_an_engine_that_is_too_slow_for_the_next_bars_is_asked_for_those_that_it_can_make():
    points = [
        TempoPoint(0.0, 120.0),
        *(TempoPoint(8.0 + 3.5 * n, 120.0, TimeSignature(3 + n % 2, 4)) for n in range(99)),
    ]
    run = simulation(5.0, tempo_map=TempoMap(tuple(points)), phrase_bars=1, lead_bars=1)
    run.run(240)
    assert run.phrases > 20


def test_bar_lines_that_move_cost_only_the_slots_that_have_not_begun_and_a_bridge_leads_to_the_new_ones():
    run = simulation(1.0)
    run.run(20)
    sounding = next(f.slot for f in run.filled if f.slot.end_beat > run.transport.beat)
    run.transport.tempo_map = TempoMap.constant(120.0, TimeSignature(7, 8))
    run.run(0.1)
    assert [event.from_beat for event in run.events if isinstance(event, Forget)] == [sounding.end_beat]
    bridge = next(f for f in run.filled if f.slot.start_beat == sounding.end_beat)
    assert bridge.filling is Filling.LOOP
    assert bridge.slot.end_beat % 3.5 == pytest.approx(0.0, abs=1e-6)
    assert bridge.slot.beats < 3.5
    run.run(60)
    assert {fill.slot.beats for fill in run.filled[-3:]} == {14.0}


def test_between_old_bar_lines_and_new_ones_there_is_music_even_for_a_playhead_that_is_set_just_there():
    run = simulation(1.0)
    run.run(20)
    run.transport.playing = False
    end_beat = run.filled[-1].slot.end_beat
    run.transport.locate(end_beat + 0.1)
    run.transport.tempo_map = TempoMap.constant(120.0, TimeSignature(7, 8))
    run.run(20)
    assert run.filled[-1].slot.start_beat > end_beat, "there is a void between the old bars and the new ones"
    run.transport.locate(end_beat - 0.01)
    run.transport.playing = True
    run.run(1)
    assert any(fill.slot.start_beat == end_beat and fill.slot.beats < 3.5 for fill in run.filled)


def test_a_signature_that_begins_a_hair_after_a_bar_line_makes_no_bar_of_no_length():
    tempo_map = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(16.0004, 120.0, TimeSignature(3, 4))))
    run = simulation(0.5, tempo_map=tempo_map, phrase_bars=1)
    run.run(40)
    assert min(fill.slot.beats for fill in run.filled) >= 3.0 - 1e-6
    assert next(fill.slot.beats for fill in run.filled if fill.slot.start_beat > 33) == pytest.approx(3.0)


def test_settings_may_change_on_the_way():
    run = simulation(1.0)
    run.run(20)
    run.settings = run.schedule.settings = LiveSettings(phrase_bars=2, lead_bars=8)
    run.run(60)
    assert run.filled[-1].slot.beats == 8.0
    assert run.schedule.lead_bars >= 7.8
