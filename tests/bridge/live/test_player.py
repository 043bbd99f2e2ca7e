"""The player: what sounds, bit for bit, and that nothing clicks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.live.player import CROSS_S, PANIC_S, START_S, STOP_S, Clip, Player
from protocol.transport import Playhead
from tests.support.played_clips import BLOCK, BPM, RATE, Heads, clicks_db, noise, play, residue_db, sine, stepping

START, CROSS = round(START_S * RATE), round(CROSS_S * RATE)


def player(heads, *clips: Clip) -> Player:
    made = Player(RATE, 2, heads)
    made.place(clips)
    return made


def test_samples_pass_bit_for_bit_while_transport_and_material_agree():
    clip = noise(4.0)
    out = play(player(heads := Heads(), clip), heads, 3.0).audio
    assert np.array_equal(out[START:], clip.audio.T[START : len(out)])


@settings(max_examples=20, deadline=None)
@given(blocks=st.lists(st.integers(16, 2048), min_size=3, max_size=20), begin=st.floats(0.0, 1.0))
def test_the_size_of_the_blocks_and_the_place_do_not_matter(blocks, begin):
    clip = noise(4.0)
    made, parts, frame = player(Heads(), clip), [], 0
    for frames in blocks:
        parts.append(made.render(frames, begin + frame / RATE))
        frame += frames
    first = round(begin * RATE)
    assert np.array_equal(np.concatenate(parts)[START:], clip.audio.T[first + START : first + frame])


def test_clips_without_a_lead_are_joined_to_the_sample():
    first, second = noise(1.0, seed=1), noise(1.0, start_beat=2.0, number=2, seed=2)
    out = play(player(heads := Heads(), first, second), heads, 1.9).audio
    whole = np.concatenate([first.audio, second.audio], axis=1).T
    assert np.array_equal(out[START:], whole[START : len(out)])


def test_a_lead_is_crossfaded_into_the_end_of_the_clip_before():
    flat = np.full((2, RATE), 0.5, np.float32)
    lead = np.full((2, 1000), 0.25, np.float32)
    clips = (Clip(1, 0.0, 2.0, flat, RATE), Clip(2, 2.0, 2.0, flat / 2, RATE, lead=lead, fade_frames=480))
    out = play(player(heads := Heads(), *clips), heads, 1.5).audio[:, 0]
    turn = (np.arange(480) + 0.5) * np.pi / 2 / 480
    assert np.all(out[START : RATE - 480] == 0.5)
    assert out[RATE - 480 : RATE] == pytest.approx(0.5 * np.cos(turn) + 0.25 * np.sin(turn), abs=1e-6)
    assert np.all(out[RATE : RATE + 1000] == 0.25)


def test_silence_stands_between_clips_and_after_the_last():
    clips = (sine(1.0), sine(1.0, start_beat=4.0, number=2))
    out = play(player(heads := Heads(), *clips), heads, 4.0).audio
    assert not out[RATE : 2 * RATE].any()
    assert not out[3 * RATE :].any()
    assert np.array_equal(out[2 * RATE : 3 * RATE - START], clips[1].audio.T[:-START])


def test_where_two_clips_overlap_the_later_one_counts():
    below, above = noise(4.0, seed=1), noise(1.0, start_beat=2.0, number=2, seed=2)
    out = play(player(heads := Heads(), below, above), heads, 1.5).audio
    assert np.array_equal(out[RATE : RATE + 1000], above.audio.T[:1000])


@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_a_clip_of_another_rate_is_brought_to_the_devices(rate):
    out = play(player(heads := Heads(), sine(3.0, rate=rate)), heads, 2.0).audio[:, 0]
    assert out[RATE // 2 :] == pytest.approx(sine(2.0).audio[0, RATE // 2 : len(out)], abs=1e-3)


@pytest.mark.parametrize("rate", [44_100, 22_050])
def test_what_is_joined_at_another_rate_is_joined_without_a_click(rate):
    whole, heads = sine(3.0, rate=rate), Heads()
    cut = rate + 77
    audio = whole.audio[:, :cut], whole.audio[:, cut:]
    beat = cut / rate * 2.0
    clips = (Clip(1, 0.0, beat, audio[0], rate), Clip(2, beat, 6.0 - beat, audio[1], rate))
    out = play(player(heads, *clips), heads, 2.0).audio[:, 0]
    assert clicks_db(out[START:]) < -85.0
    assert residue_db(out[RATE // 2 :], 1000.0) < -85.0


def test_mono_plays_on_both_sides():
    mono = Clip(1, 0.0, 2.0, noise(1.0).audio[:1], RATE)
    out = play(player(heads := Heads(), mono), heads, 0.5).audio
    assert np.array_equal(out[:, 0], out[:, 1])
    assert out.any()


# --- nothing clicks ---------------------------------------------------------------------------------------------------
QUIET_DB = -55.0
"""A cut in the middle of this sine measures -18 dB, see the first test."""


def test_the_measure_hears_a_cut():
    wave = sine(1.0).audio[0].copy()
    wave[24_012:] = 0.0
    assert clicks_db(wave) > -20.0


def test_start_and_stop_are_fades():
    heads = Heads(playing=False)
    made = player(heads, sine(4.0))
    parts = [play(made, heads, 0.1)]
    for playing in (True, False):
        heads.playing = playing
        parts.append(play(made, heads, 0.25))
    out = np.concatenate([part.audio[:, 0] for part in parts])
    assert clicks_db(out) < QUIET_DB
    stopped = len(parts[0].audio) + len(parts[1].audio)
    assert out[stopped : stopped + 100].any()
    assert not out[stopped + round(STOP_S * RATE) :].any()


def test_a_locate_is_a_crossfade_to_the_right_place():
    heads = Heads()
    made = player(heads, sine(20.0))
    before = play(made, heads, 0.5)
    heads.truth, heads.epoch = lambda at: (10.0123 + at * 2.0, BPM), 2
    after = play(made, heads, 0.5)
    assert clicks_db(np.concatenate([before.audio, after.audio])[:, 0]) < QUIET_DB
    assert np.abs(after.errors_s).max() < 1e-4
    assert made.resyncs == 1


def test_a_jump_without_word_is_followed_once_it_lasts():
    heads = Heads()
    made = player(heads, sine(20.0))
    play(made, heads, 0.5)
    heads.truth = lambda at: (1.0 + at * 2.0, BPM)
    after = play(made, heads, 0.2)
    assert abs(after.errors_s[-1]) < 1e-3
    assert made.resyncs == 1


def test_one_wrong_report_moves_nothing():
    heads, clip = Heads(updates=RATE / BLOCK), noise(4.0)
    made = player(lambda at: Playhead(at, 7.0, BPM, True, "x", 1) if 1.0 < at < 1.005 else heads(at), clip)
    out = play(made, heads, 2.0).audio
    assert np.array_equal(out[START:], clip.audio.T[START : len(out)])


def test_panic_is_out_within_5_ms_and_lasts_until_it_is_called_off():
    heads = Heads()
    made = player(heads, sine(4.0))
    made.expect_from(0.0)
    before = play(made, heads, 0.5).audio
    made.silence()
    panic = play(made, heads, 0.2).audio
    assert clicks_db(np.concatenate([before, panic])[:, 0]) < QUIET_DB
    assert PANIC_S < 0.005
    assert not panic[round(PANIC_S * RATE) + 1 :].any()
    made.wake()
    again = play(made, heads, 0.2).audio
    assert again[-100:].any()


def test_the_end_of_all_clips_fades_and_counts():
    heads = Heads()
    made = player(heads, sine(0.50025))
    made.expect_from(0.0)
    before = play(made, heads, 0.4)
    assert made.underruns == 0
    out = np.concatenate([before.audio, play(made, heads, 0.6).audio])
    assert clicks_db(out[:, 0]) < QUIET_DB
    assert made.underruns == pytest.approx(0.5 * RATE / BLOCK, abs=2)


def test_silence_before_what_is_expected_is_no_underrun():
    heads = Heads()
    made = player(heads, sine(1.0, start_beat=1.0))
    made.expect_from(1.0)
    play(made, heads, 1.4)
    assert made.underruns == 0


def test_nothing_to_play_at_all_is_an_underrun_once_something_is_expected():
    made = player(heads := Heads())
    play(made, heads, 0.1)
    assert made.underruns == 0
    made.expect_from(0.0)
    play(made, heads, 0.1)
    assert made.underruns > 10
    assert math.isnan(made.phase_s)


def test_new_clips_leave_what_sounds_on_untouched():
    heads, first = Heads(), noise(1.0)
    made = player(heads, first)
    out = [play(made, heads, 0.5).audio]
    second = noise(1.0, start_beat=2.0, number=2, seed=2)
    made.place([first, second])
    out.append(play(made, heads, 1.2).audio)
    whole = np.concatenate([first.audio, second.audio], axis=1).T
    played = np.concatenate(out)
    assert np.array_equal(played[START:], whole[START : len(played)])


def test_what_is_replaced_while_it_sounds_is_crossfaded():
    heads = Heads()
    made = player(heads, sine(4.0))
    before = play(made, heads, 0.5).audio
    made.place([sine(4.0, hertz=700.0)])
    after = play(made, heads, 0.5).audio
    assert clicks_db(np.concatenate([before, after])[:, 0]) < QUIET_DB
    made.place([])
    gone = play(made, heads, 0.2).audio
    assert clicks_db(np.concatenate([after, gone])[:, 0]) < QUIET_DB
    assert not gone[CROSS + 1 :].any()


def test_a_tempo_step_glides_without_a_click():
    heads = Heads(stepping(1.0, 120.0, 123.0))
    out = play(player(heads, sine(4.0)), heads, 2.0).audio
    assert clicks_db(out[:, 0]) < -85.0


def test_a_head_that_fails_makes_silence_not_an_error(caplog):
    def broken(at):
        raise RuntimeError("no head")

    made = player(broken, sine(1.0))
    assert not made.render(64, 0.0).any()
    assert made.render(64, 0.1).shape == (64, 2)
    assert made.faults == 2
    assert len(caplog.records) == 1  # the audio thread does not flood the log
