"""The ring buffer: what was heard between two moments, to the sample, and what was not is said."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.capture import RingBuffer

RATE = 1000
BLOCK = 50


def counted(frames: int, first: int = 0) -> np.ndarray:
    """(frames, 2): the number of the frame, and its negative."""
    numbers = np.arange(first, first + frames, dtype=np.float32)
    return np.stack([numbers, -numbers], axis=1)


def filled(blocks: int, seconds: float = 2.0, drift: float = 0.0) -> RingBuffer:
    ring = RingBuffer(seconds, RATE, 2)
    for index in range(blocks):
        ring.write(counted(BLOCK, index * BLOCK), 10.0 + index * BLOCK / RATE * (1 + drift))
    return ring


@given(start=st.integers(0, 900), frames=st.integers(1, 100))
def test_what_was_heard_comes_back_to_the_sample(start, frames):
    audio, missing = filled(20).read_between(10.0 + start / RATE, 10.0 + (start + frames) / RATE)
    assert missing == 0
    assert np.array_equal(audio, counted(frames, start).T)


def test_only_the_last_seconds_are_kept_and_the_rest_is_counted_as_missing():
    ring = filled(100)
    assert ring.span == pytest.approx((13.0, 15.0))
    audio, missing = ring.read_between(12.5, 14.0)
    assert missing == 500
    assert not audio[:, :500].any()
    assert np.array_equal(audio[:, 500:], counted(1000, 3000).T)


def test_what_is_still_to_come_is_missing():
    audio, missing = filled(10).read_between(10.4, 10.6)
    assert (audio.shape, missing) == ((2, 200), 100)
    assert np.array_equal(audio[0, :100], np.arange(400, 500))


def test_nothing_was_heard_before_the_first_block():
    ring = RingBuffer(1.0, RATE, 2)
    assert ring.span is None
    audio, missing = ring.read_between(0.0, 0.5)
    assert (audio.shape, missing, audio.any()) == ((2, 500), 500, False)


def test_lost_frames_are_silence_in_their_place():
    ring = RingBuffer(2.0, RATE, 2)
    ring.write(counted(100) + 1, 10.0)
    ring.write(counted(100) + 1, 10.3)
    audio, missing = ring.read_between(10.05, 10.35)
    assert missing == 200
    assert not audio[:, 50:250].any()
    assert np.array_equal(audio[0, 250:], np.arange(1, 51))


def test_a_loss_longer_than_the_buffer_leaves_what_came_after():
    ring = RingBuffer(1.0, RATE, 2)
    ring.write(counted(100) + 1, 10.0)
    ring.write(counted(100) + 1, 60.0)
    audio, missing = ring.read_between(59.5, 60.1)
    assert missing == 500
    assert np.array_equal(audio[0, 500:], np.arange(1, 101))


def test_a_clock_that_went_back_starts_anew():
    ring = filled(10)
    ring.write(counted(100, 5000), 5.0)
    audio, missing = ring.read_between(5.0, 5.1)
    assert missing == 0
    assert np.array_equal(audio[0], np.arange(5000, 5100))


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_crystal_that_is_off_does_not_move_what_was_heard_long_ago(drift):
    ring = filled(1200, seconds=60.0, drift=drift)
    audio, _ = ring.read_between(15.0, 15.1)
    assert audio[0, 0] == pytest.approx(5000 / (1 + drift), abs=1.0)


def test_a_block_longer_than_the_buffer_leaves_its_end():
    ring = RingBuffer(0.1, RATE, 2)
    ring.write(counted(250), 10.0)
    audio, missing = ring.read_between(10.15, 10.25)
    assert missing == 0
    assert np.array_equal(audio[0], np.arange(150, 250))


def test_a_reader_beside_the_writer_never_hears_what_was_written_over():
    ring = RingBuffer(0.2, RATE, 2)
    done = threading.Event()

    def write() -> None:
        for index in range(20_000):
            ring.write(counted(10, index * 10), index * 10 / RATE)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set():
        span = ring.span
        if span is None:
            continue
        audio, _ = ring.read_between(span[0], span[1])
        heard = audio[0][np.flatnonzero(audio[0])]
        assert np.all(np.diff(heard) == 1.0)
        assert np.array_equal(audio[0], -audio[1])
        looks += 1
    writer.join()
    assert looks > 10
