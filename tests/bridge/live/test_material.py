"""The audio of a live run: loops on the grid, what was played laid out along the tempo map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.material import FADE_S, Material, fitted, laid_out
from protocol.music import TempoMap

RATE = 8_000


def noise(frames: int, seed: int = 1, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, frames)).astype(np.float32)


def tone(frames: int, hertz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(frames) / RATE).astype(np.float32)[None, :]


def material(beats: float = 8.0, bpm: float = 120.0, before: np.ndarray | None = None) -> Material:
    frames = round(beats * 60.0 / bpm * RATE)
    lead = noise(round(FADE_S * RATE), 2) if before is None else before
    return Material(1, noise(frames), beats, RATE, lead, "job", "file")


def test_its_own_length_is_itself_bit_for_bit() -> None:
    made = material()
    assert made.over(8.0) is made.audio
    assert made.bpm == pytest.approx(120.0)


@given(st.floats(0.5, 40.0))
def test_a_loop_of_any_length_is_exact_and_made_of_the_phrase(beats: float) -> None:
    made = material()
    loop = made.over(beats)
    frames = round(made.audio.shape[1] * beats / 8.0) if abs(beats - 8.0) > 1e-3 else made.audio.shape[1]
    assert loop.shape == (2, frames)
    fade, whole = round(FADE_S * RATE), made.audio.shape[1]
    for start in range(0, frames, whole):
        part = loop[:, start : start + whole]
        kept = part[:, : whole - fade]
        assert np.array_equal(kept, made.audio[:, : kept.shape[1]])


def test_a_joint_of_a_loop_ends_in_what_led_into_its_start() -> None:
    before = np.zeros((2, round(FADE_S * RATE)), np.float32)
    loop = material(before=before).over(16.0)
    whole = loop.shape[1] // 2
    assert np.abs(loop[:, whole - 1]).max() < 0.5 * 2 / before.shape[1]  # faded out into the silence that led in


def test_a_phrase_in_another_tempo_keeps_its_pitch_and_has_the_exact_length() -> None:
    audio = tone(4 * RATE)
    longer = fitted(audio, round(4.4 * RATE))
    assert longer.shape == (1, round(4.4 * RATE))
    middle = longer[0, RATE : 3 * RATE] * np.hanning(2 * RATE)
    assert np.argmax(np.abs(np.fft.rfft(middle))) / 2.0 == pytest.approx(440.0, abs=2.0)


def test_a_tempo_off_by_a_hair_is_met_without_an_artefact() -> None:
    audio = tone(4 * RATE)
    there = fitted(audio, 4 * RATE + 40)
    assert there.shape == (1, 4 * RATE + 40)
    expected = np.sin(2 * np.pi * 440.0 * np.arange(4 * RATE + 40) / (RATE * (1 + 40 / (4 * RATE))))
    assert np.abs(there[0, 100:-100] - expected[100:-100]).max() < 1e-3


@given(st.floats(40.0, 240.0), st.integers(1, 40), st.integers(1, 8))
def test_what_was_played_lies_where_the_tempo_map_has_it_to_the_sample(bpm: float, bar: int, bars: int) -> None:
    tempo_map = TempoMap.constant(bpm)
    start, end = 4.0 * bar, 4.0 * (bar + bars)
    first = round(tempo_map.time_at(start) * RATE)
    frames = round(tempo_map.time_at(end) * RATE) - first
    audio = noise(frames)
    out, at = laid_out([(start, end, audio)], start - 4.0, end, tempo_map, RATE, 2)
    lead = first - round(tempo_map.time_at(start - 4.0) * RATE)
    assert at == first - lead
    assert np.array_equal(out[:, lead:], audio)
    assert not out[:, :lead].any()


def test_a_later_span_covers_an_earlier_one_and_mono_goes_to_all_channels() -> None:
    tempo_map = TempoMap.constant(60.0)
    first, second = np.full((1, 4 * RATE), 0.1, np.float32), np.full((2, 2 * RATE), 0.2, np.float32)
    out, _ = laid_out([(0.0, 4.0, first), (2.0, 4.0, second)], 0.0, 4.0, tempo_map, RATE, 2)
    assert np.allclose(out[:, : 2 * RATE], 0.1)
    assert np.allclose(out[:, 2 * RATE :], 0.2)
