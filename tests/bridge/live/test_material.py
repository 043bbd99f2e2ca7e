"""The audio of a live run: loops on the grid, what was played laid out along the tempo map."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.material import FADE_S, Filled, Material, fitted, laid_out, leading_to
from protocol.live import Filling, Slot
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


def test_of_a_long_source_in_another_tempo_only_what_is_heard_is_stretched() -> None:
    tempo_map, source = TempoMap.constant(120.0), tone(RATE * 64 // 2)  # 64 beats at 120
    slower = TempoMap.constant(119.8)  # met by resampling
    whole, _ = laid_out([(0.0, 64.0, source)], 0.0, 64.0, slower, RATE, 1)
    part, first = laid_out([(0.0, 64.0, source)], 60.0, 64.0, slower, RATE, 1)
    assert first == round(slower.time_at(60.0) * RATE)
    there = whole[:, first : first + part.shape[1]]
    assert np.abs(part - there)[:, 200:-200].max() < 0.2  # within half a frame
    assert laid_out([(0.0, 64.0, source)], 60.0, 64.0, tempo_map, RATE, 1)[0].shape == (1, 2 * RATE)


def test_what_leads_up_to_a_phrase_is_what_it_continues_and_not_what_was_placed_last() -> None:
    def placed(number: int, start_beat: float, follows: int) -> Filled:
        made = Material(number, noise(80), 8.0, RATE, noise(8), "job", "file", follows)
        return Filled(Slot(number, start_beat, start_beat + 8.0, 1), Filling.PHRASE, made)

    one, two, far, next_far = placed(1, 8.0, 0), placed(2, 16.0, 1), placed(3, 800.0, 2), placed(4, 808.0, 3)
    filled = [one, two, far, next_far]
    assert leading_to(24.0, 2, filled) == [two, one]  # gone back to the end of the second
    assert leading_to(816.0, 4, filled) == [next_far, far, two, one]
    assert leading_to(1600.0, 4, filled) == [next_far, far, two, one]  # far away again
    assert leading_to(8.0, 0, filled) == []


def test_after_a_rest_the_audio_comes_from_its_file(tmp_path: Path) -> None:
    audio = noise(RATE)
    soundfile.write(tmp_path / "take.flac", audio.T, RATE, subtype="PCM_24")
    made = Material(1, audio, 4.0, RATE, noise(8), "job", str(tmp_path / "take.flac"))
    made.rest()
    assert np.abs(made.audio - audio).max() < 1e-6


def test_a_loop_leaves_the_phrase_as_it_was_and_takes_the_end_of_what_led_into_it() -> None:
    fade = round(FADE_S * RATE)
    before = np.concatenate([np.ones((2, 3 * fade), np.float32), np.zeros((2, fade), np.float32)], axis=1)
    made = material(before=before)
    as_it_was = made.audio.copy()
    loop = made.over(16.0)
    assert np.array_equal(made.audio, as_it_was)
    end = made.frames - 1
    assert np.abs(loop[:, end]).max() < 0.02


def test_two_channels_become_one_as_their_mean() -> None:
    stereo = np.stack([np.full(RATE, 0.2, np.float32), np.full(RATE, 0.6, np.float32)])
    out, _ = laid_out([(0.0, 1.0, stereo)], 0.0, 1.0, TempoMap.constant(60.0), RATE, 1)
    assert np.allclose(out, 0.4)


def test_a_phrase_that_rests_keeps_nothing_of_what_it_heard_but_the_end() -> None:
    context = noise(10 * RATE)
    made = material(before=context[:, -round(FADE_S * RATE) :])
    made.rest()
    heard = weakref.ref(context)
    del context
    assert heard() is None
