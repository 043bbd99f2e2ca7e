"""The transport of our own: driven by frames, so that what sounds is exactly where it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.internal_clock import InternalClock
from bridge.live.player import Player
from protocol.errors import BadArgument
from tests.support.played_clips import BLOCK, RATE, noise

PRECISE = 1e-9


def test_without_an_audio_out_it_runs_on_the_clock():
    now = 100.0
    transport = InternalClock(RATE, lambda: now)
    assert not transport.head(100.0).playing
    transport.play(8.0, 90.0)
    assert transport.head(102.0).beat == pytest.approx(11.0, abs=PRECISE)
    now = 104.0
    transport.stop()
    assert transport.head(200.0).beat == pytest.approx(14.0, abs=PRECISE)
    transport.play()
    assert transport.head(106.0).beat == pytest.approx(17.0, abs=PRECISE)


def test_a_change_of_tempo_moves_no_beat():
    now = 0.0
    transport = InternalClock(RATE, lambda: now)
    transport.play(0.0, 120.0)
    now = 10.0
    epoch = transport.head(10.0).epoch
    transport.set_bpm(60.0)
    assert transport.head(10.0).beat == pytest.approx(20.0, abs=PRECISE)
    assert transport.head(11.0).beat == pytest.approx(21.0, abs=PRECISE)
    assert transport.head(11.0).epoch == epoch


def test_the_epoch_rises_when_the_position_jumps():
    transport = InternalClock(RATE, lambda: 0.0)
    epochs = []
    for order in (lambda: transport.play(0.0), lambda: transport.play(4.0), transport.stop, transport.play):
        order()
        epochs.append(transport.head(0.0).epoch)
    assert epochs == [1, 2, 2, 3]


def test_it_goes_on_when_the_audio_out_comes_goes_and_comes_again():
    now = 0.0
    transport = InternalClock(RATE, lambda: now)
    transport.play(0.0, 120.0)
    beats = []
    for began, lasts in ((1.0, 2.0), (5.0, 1.0), (6.1, 1.0)):
        for frame in range(0, round(lasts * RATE), BLOCK):
            now = began + frame / RATE
            transport.rendering(frame, now + 0.01)
        beats.append(transport.head(now).beat - now * 2.0)
    assert beats == pytest.approx([0.0] * 3, abs=PRECISE)


def test_a_tempo_that_cannot_be_is_refused():
    with pytest.raises(BadArgument, match="must be 1 to 1000 BPM"):
        InternalClock(RATE).set_bpm(0.0)


@given(jitter=st.lists(st.floats(-0.003, 0.003), min_size=40, max_size=40), bpm=st.sampled_from([120.0, 60.0, 240.0]))
def test_however_the_blocks_jitter_the_first_beat_is_whole_and_every_sample_passes(jitter, bpm):
    now = 0.0
    transport = InternalClock(RATE, lambda: now)
    player = Player(RATE, 2, transport.head)
    clip = noise(2.0)
    player.place([type(clip)(1, 0.0, 2.0 * bpm / 60.0, clip.audio, RATE)])
    out = []
    for index, off in enumerate(jitter):
        now = index * BLOCK / RATE + off
        if index == 10:
            transport.play(0.0, bpm)
        transport.rendering(index * BLOCK, now + 0.02)
        out.append(player.render(BLOCK, now + 0.02))
        assert not player.phase_s > PRECISE
    played = np.concatenate(out)[10 * BLOCK :]
    assert np.array_equal(played[200:], clip.audio.T[200 : len(played)])
