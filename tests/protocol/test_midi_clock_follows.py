"""How well a clock is followed through jitter, losses, lateness, rounding, jumps and ramps; beside what is promised."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.midi_clock import ClockReading
from tests.support import clock_senders as senders
from tests.support.clock_senders import Delay, Tick

BPM = 120.37


def followed(heard: list[Tick]) -> list[tuple[Tick, ClockReading]]:
    clock = senders.started(heard[0])
    readings = []
    for tick in heard:
        clock.tick(tick.heard)
        readings.append((tick, clock.reading(tick.heard)))
    return readings


def tempo_errors(heard: list[Tick], from_tick: int = 96) -> list[float]:
    return [(reading.bpm or 0.0) - tick.bpm for tick, reading in followed(heard) if tick.number >= from_tick]


def rms(values: list[float]) -> float:
    return sqrt(sum(value**2 for value in values) / len(values))


@pytest.mark.parametrize(
    ("delay", "goal_bpm"),
    [
        (senders.uniform(3e-3), 0.03),
        (senders.uniform(1e-3), 0.012),
        (senders.gaussian(1.5e-3), 0.03),
        (senders.gaussian(0.5e-3), 0.012),
        (senders.late(1e-3, 0.02, 0.04), 0.03),
        (senders.quantised(512, wake_s=0.1e-3), 0.06),
    ],
    ids=["uniform 3", "uniform 1", "gauss 3", "gauss 1", "late", "512"],
)
def test_the_tempo_is_known_to_the_promise_after_four_beats(delay: Delay, goal_bpm: float) -> None:
    errors = [e for seed in range(8) for e in tempo_errors(senders.ticks(senders.steady(BPM), delay, 16, seed))]
    assert rms(errors) <= goal_bpm


def test_the_error_said_is_the_error_made() -> None:
    ratios = []
    for seed in range(12):
        sent = senders.ticks(senders.steady(BPM), senders.gaussian(1e-3), 16, seed)
        ratios += [
            ((reading.bpm or 0.0) - BPM) / reading.bpm_error for tick, reading in followed(sent) if tick.number >= 48
        ]
    assert 0.7 < rms(ratios) < 1.4


def test_the_phase_is_known_to_3_ms_where_single_ticks_are_not() -> None:
    errors, single = [], []
    for seed in range(6):
        for tick, reading in followed(senders.ticks(senders.steady(BPM), senders.gaussian(3e-3), 16, seed)):
            if tick.number >= 96:
                errors.append(abs(reading.beat - tick.number / 24 - (tick.heard - tick.sent) * BPM / 60) * 60 / BPM)
                single.append(abs(tick.heard - tick.sent))
    assert sorted(errors)[int(0.99 * len(errors))] < 3e-3 < sorted(single)[int(0.99 * len(single))]


@pytest.mark.parametrize("half_s", [0.0, 1e-3, 3e-3])
def test_one_percent_of_lost_ticks_is_harmless(half_s: float) -> None:
    for seed in range(8):
        sent = senders.ticks(senders.steady(BPM), senders.uniform(half_s), 24, seed)
        heard = senders.with_losses(sent, 0.01, seed)
        assert len(heard) < len(sent)
        for tick, reading in followed(heard):
            if tick.number >= 96:
                assert (reading.bpm or 0.0) == pytest.approx(BPM, abs=0.15)
                late = (tick.heard - tick.sent) * BPM / 60
                assert reading.beat == pytest.approx(tick.number / 24 + late, abs=0.01)


@given(st.integers(40, 500), st.integers(1, 8), st.floats(40.0, 300.0))
@example(40, 3, 117.0)
@example(40, 1, 117.0)
@settings(max_examples=40)
def test_lost_ticks_in_a_row_cost_no_beat(at: int, lost: int, bpm: float) -> None:
    sent = senders.ticks(senders.steady(bpm), senders.uniform(0.2e-3), 24, at)
    tick, reading = followed([tick for tick in sent if not at <= tick.number < at + lost])[-1]
    assert reading.beat == pytest.approx(tick.number / 24, abs=0.01)
    assert reading.bpm == pytest.approx(bpm, rel=1e-3)


def test_two_ticks_delivered_at_once_count_as_two() -> None:
    sent = senders.ticks(senders.steady(BPM), senders.uniform(0.2e-3), 24, 3)
    merged = [
        Tick(tick.number, tick.sent, tick.bpm, sent[tick.number + 1].heard) if tick.number % 50 == 40 else tick
        for tick in sent
    ]
    for tick, reading in followed(merged):
        if tick.number >= 96 and tick.number % 50 > 42:
            assert reading.beat == pytest.approx(tick.number / 24, abs=0.002)
    assert rms(tempo_errors(merged)) < 0.01


def test_one_very_late_tick_moves_nothing() -> None:
    sent = senders.ticks(senders.steady(BPM), senders.uniform(0.5e-3), 12, 5)
    stalled = [
        Tick(tick.number, tick.sent, tick.bpm, sent[220].heard) if 215 <= tick.number < 220 else tick for tick in sent
    ]
    assert max(map(abs, tempo_errors(stalled, 200))) < 0.02


@pytest.mark.parametrize(("half_s", "within_beats"), [(0.0, 0.7), (1e-3, 2.0)])
@pytest.mark.parametrize("change", [3.6, -3.6, 12.0, -12.0, -60.0, 60.0])
def test_a_tempo_jump_is_followed_within_two_beats(half_s: float, within_beats: float, change: float) -> None:
    for seed in range(4):
        sent = senders.ticks(senders.step(BPM, BPM + change, 10), senders.uniform(half_s), 20, seed)
        assert max(map(abs, tempo_errors(sent, round(24 * (10 + within_beats))))) < 0.25
        _, last = followed(sent)[-1]
        assert last.beat == pytest.approx(20 - 1 / 24, abs=0.02)


def test_a_ramp_is_followed_without_the_lag_of_the_window() -> None:
    """A line through 96 ticks would be 2.5 BPM behind, one through 24 0.6 BPM."""
    errors = []
    for seed in range(6):
        sent = senders.ticks(senders.ramp(BPM, BPM + 20, 8, 24), senders.uniform(1e-3), 24, seed)
        errors += tempo_errors(sent, 24 * 12)
    assert rms(errors) < 0.4


@pytest.mark.parametrize("frames", [64, 128, 256, 512, 1024])
@pytest.mark.parametrize("bpm", [94.94, 97.5, 109.0, 120.0, 133.3, 161.8])
def test_times_rounded_to_audio_periods_are_followed_at_every_tempo(frames: int, bpm: float) -> None:
    sent = senders.ticks(senders.steady(bpm), senders.quantised(frames, wake_s=0.1e-3), 24, 2)
    assert max(map(abs, tempo_errors(sent, 192))) < 0.35 * frames / 512
    tick, reading = followed(sent)[-1]
    assert reading.beat == pytest.approx(tick.number / 24, abs=0.06)


def test_jitter_that_grows_is_learnt() -> None:
    quiet = senders.ticks(senders.steady(BPM), senders.gaussian(0.1e-3), 16, 1)
    rough = senders.ticks(senders.steady(BPM), senders.gaussian(3e-3), 16, 2)
    after = senders.moved(rough, quiet[-1].sent + 60 / 24 / BPM - rough[0].sent, len(quiet))
    errors = tempo_errors([*quiet, *after], len(quiet))
    assert max(map(abs, errors[96:])) < 0.2
    assert rms(errors[192:]) < 0.06


def test_an_exact_clock_is_followed_exactly() -> None:
    tick, reading = followed(senders.ticks(senders.steady(97.5), senders.uniform(0.0), 16, 0))[-1]
    assert reading.bpm == pytest.approx(97.5, abs=1e-6)
    assert reading.beat == pytest.approx(tick.number / 24, abs=1e-6)
    assert reading.confidence > 0.999
