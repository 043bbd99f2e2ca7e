"""The player stays where the transport is: jitter, drift, tempo steps, and what the bent speed does to the sound."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.live.phase_lock import MAX_BEND, PhaseLock
from bridge.live.player import Player
from tests.support.played_clips import BLOCK, RATE, Heads, noise, play, residue_db, sine, steady, stepping


def locked(heads: Heads, seconds: float, drift: float, clip=None):
    player = Player(RATE, 2, heads)
    player.place([clip or sine(seconds + 1.0)])
    return player, play(player, heads, seconds, drift)


@pytest.mark.parametrize("drift", [0.0, 100e-6, -100e-6])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_phase_holds_within_a_millisecond_under_jitter_and_drift(drift, seed):
    player, played = locked(Heads(jitter_s=0.001, updates=10, seed=seed), 40.0, drift)
    settled = np.abs(played.errors_s[played.at_s > 5.0])
    assert np.percentile(settled, 99) < 0.001
    assert player.resyncs == 0
    assert abs(player.phase_s) < 0.001


@pytest.mark.parametrize("drift", [0.0, 100e-6])
def test_the_speed_never_changes_by_more_than_an_ear_can_tell(drift):
    heads = Heads(jitter_s=0.001, updates=10)
    player = Player(RATE, 2, heads)
    player.place([sine(31.0)])
    speeds = []
    for index in range(30 * RATE // BLOCK):
        player.render(BLOCK, index * BLOCK / RATE * (1 + drift))
        speeds.append(player._main.speed)
    assert np.abs(np.diff(speeds)).max() < 0.0006  # a cent a block
    assert np.abs(np.array(speeds) - 1.0).max() <= MAX_BEND


def test_a_tempo_step_is_followed_within_a_second_without_a_gap():
    heads = Heads(stepping(5.0, 120.0, 123.0))
    player, played = locked(heads, 10.0, 0.0)
    assert np.abs(played.errors_s).max() < 0.001
    assert np.abs(played.errors_s[played.at_s > 6.0]).max() < 0.0005
    assert (player.resyncs, player.underruns) == (0, 0)
    level = np.abs(played.audio[5 * RATE : 6 * RATE, 0]).reshape(-1, 240).max(axis=1)
    assert level.min() > 0.49


def test_an_error_of_a_few_milliseconds_is_worked_off_without_a_jump():
    heads = Heads()
    player = Player(RATE, 2, heads)
    player.place([sine(30.0)])
    play(player, heads, 1.0)
    heads.truth = lambda at: (at * 2.0 + 0.040, 120.0)  # 20 ms ahead all of a sudden
    played = play(player, heads, 20.0)
    assert player.resyncs == 0
    assert np.abs(played.errors_s[played.at_s > 12.0]).max() < 0.001


def test_samples_pass_untouched_again_once_the_clocks_agree_again():
    heads, clip = Heads(), noise(60.0)
    player = Player(RATE, 2, heads)
    player.place([clip])
    play(player, heads, 1.0)
    heads.truth = lambda at: (at * 2.0 + 0.010, 120.0)
    play(player, heads, 45.0)
    assert player._main.place.is_integer()
    place = int(player._main.place)
    out = play(player, heads, 1.0).audio
    assert np.array_equal(out, clip.audio.T[place : place + len(out)])


@pytest.mark.parametrize(("hertz", "limit_db"), [(1000.0, -95.0), (10_000.0, -90.0), (16_000.0, -85.0)])
def test_a_sine_at_a_bent_speed_stays_a_sine(hertz, limit_db):
    _, played = locked(Heads(steady(120.0 * 1.003)), 5.0, 0.0, clip=sine(7.0, hertz))
    assert residue_db(played.audio[2 * RATE :, 0], hertz * 1.003) < limit_db


def test_a_tempo_far_from_the_materials_moves_the_pitch_and_keeps_the_place():
    player, played = locked(Heads(steady(150.0)), 4.0, 0.0, clip=sine(7.0))
    assert np.abs(played.errors_s).max() < 1e-4
    assert residue_db(played.audio[RATE:, 0], 1250.0) < -90.0
    assert player.resyncs == 0


def test_the_loop_learns_the_drift_and_then_stands():
    lock, error = PhaseLock(), 0.0
    for _ in range(round(60 / 0.005)):
        error += (lock.speed(error, 1.0, 0.005) - 1.0 - 500e-6) * 0.005
    assert abs(error) < 2e-5


def test_material_whose_length_is_rounded_to_frames_passes_untouched():
    clip = noise(4.0)
    odd = type(clip)(1, 0.0, 8.0, clip.audio[:, :-1], RATE)  # a frame less than eight beats have
    _, played = locked(Heads(), 3.0, 0.0, clip=odd)
    assert np.array_equal(played.audio[200:], odd.audio.T[200 : len(played.audio)])
