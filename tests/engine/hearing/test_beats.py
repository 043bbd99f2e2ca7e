"""The pulse through attacks is librosa's, beat for beat, without librosa's compiler."""

from __future__ import annotations

import subprocess
import sys

import librosa
import numpy as np
import pytest

from engine.hearing.beats import likely_period, track_beats

RATE, HOP = 22_050, 256


def attacks(seed: int, frames: int, period: float, jitter: float, noise: float) -> np.ndarray:
    """Attacks about `period` frames apart, every other one softer, among noise."""
    chance = np.random.default_rng(seed)
    onsets = noise * chance.random(frames)
    for number, at in enumerate(np.arange(7.0, frames - 1, period)):
        frame = int(np.clip(at + jitter * chance.standard_normal(), 0, frames - 1))
        onsets[frame] += 1.0 if number % 2 else 0.6
    return onsets


@pytest.mark.parametrize("period", [21, 43, 47.3, 80])
@pytest.mark.parametrize(("jitter", "noise"), [(0.0, 0.0), (1.0, 0.1), (3.0, 0.5), (9.0, 2.0)])
def test_beats_are_those_of_librosa(period: float, jitter: float, noise: float) -> None:
    for seed, frames in enumerate((60, 400, 3000)):
        onsets = attacks(seed, frames, period, jitter, noise)
        onsets[frames // 3 : frames // 2] = 0.0
        bpm = 60.0 * RATE / HOP / round(period)
        _, expected = librosa.beat.beat_track(onset_envelope=onsets, sr=RATE, hop_length=HOP, bpm=bpm, trim=False)
        assert track_beats(onsets, round(period)).tolist() == expected.tolist()


@pytest.mark.parametrize("period", [16.2, 29.0, 43.0, 80.0])
def test_the_likely_period_is_that_of_librosas_tempo(period: float) -> None:
    for seed, frames in enumerate((900, 5000)):
        onsets = attacks(seed, frames, period, 1.0, 0.2)
        window = round(9.0 * RATE / HOP)
        padded, hop = np.pad(onsets, window // 2), round(2.0 * RATE / HOP)
        windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
        alike = librosa.util.normalize(librosa.autocorrelate(windows * np.hanning(window), axis=1), axis=1)
        bpm = librosa.feature.tempo(tg=alike.mean(axis=0)[:, None], sr=RATE, hop_length=HOP)
        assert likely_period(onsets, RATE / HOP) == round(60.0 * RATE / HOP / float(np.squeeze(bpm)))


def test_where_nothing_begins_there_is_no_beat() -> None:
    for onsets in (np.zeros(0), np.zeros(1), np.ones(1), np.zeros(1000)):
        assert track_beats(onsets, likely_period(onsets, RATE / HOP)).tolist() == []


def test_a_pulse_is_found_without_a_compiler() -> None:
    """librosa's own tracker takes seconds in each new process, in which no cancel is heard."""
    program = "import sys, numpy as np; from engine.hearing.beats import likely_period, track_beats as t; "
    program += "o = np.tile(np.eye(1, 43)[0], 40); t(o, likely_period(o, 86.1)); sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
