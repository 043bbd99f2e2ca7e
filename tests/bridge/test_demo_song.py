"""The demo song: what a DAW is told about it must be true of its samples."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import find_peaks, stft

from bridge.demo.song import BARS, HUMAN_S, KEY, DemoSong, render_demo_song

RATE = 48000


@pytest.fixture(scope="module")
def song() -> DemoSong:
    return render_demo_song(RATE)


def test_the_length_is_exactly_its_bars_at_its_tempo(song: DemoSong):
    assert song.audio.shape == (2, round(BARS * 4 * 60 / song.bpm * RATE))
    assert song.audio.dtype == np.float32
    assert 60 < song.duration_s < 90
    assert len(song.beats_s) == BARS * 4
    assert sum(section.bars for section in song.sections) == BARS


def test_the_peak_is_one_decibel_below_full_scale_and_the_loudness_a_usual_one(song: DemoSong):
    assert 20 * np.log10(np.abs(song.audio).max()) == pytest.approx(-1.0, abs=0.01)
    loudness = pyloudnorm.Meter(RATE).integrated_loudness(song.audio.T.astype(np.float64))
    assert -17.5 < loudness < -13.5


def test_the_onsets_lie_on_the_grid_of_the_tempo_announced(song: DemoSong):
    """Every strong rise between 700 and 1500 Hz (the kick's knock, the snare, struck keys) is on a sixteenth."""
    hop = 48
    mono = song.audio.mean(axis=0)
    frequencies, times, spectrum = stft(mono, RATE, nperseg=1024, noverlap=1024 - hop, boundary=None)
    knock = np.log1p(30 * np.abs(spectrum[(frequencies > 700) & (frequencies < 1500)])).sum(axis=0)
    rise = np.maximum(0.0, knock[6:] - knock[:-6])
    peaks, _ = find_peaks(rise, height=np.percentile(rise, 99), distance=round(0.1 * RATE / hop))
    onsets = times[peaks + 3]
    step = 60 / song.bpm / 4
    offsets = (onsets + step / 2) % step - step / 2
    assert len(onsets) > 100
    assert np.median(np.abs(offsets - np.median(offsets))) < 0.004
    assert abs(np.median(offsets)) < 0.010


def test_the_key_is_the_one_announced(song: DemoSong):
    """Correlation of the pitch-class energy with Krumhansl and Kessler's profiles (1982): the best of 24 keys."""
    minor = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
    major = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
    frequencies, _, spectrum = stft(song.audio.mean(axis=0), RATE, nperseg=16384, noverlap=8192)
    band = (frequencies > 60) & (frequencies < 1500)
    pitch_class = np.round(69 + 12 * np.log2(frequencies[band] / 440)).astype(int) % 12
    energy = np.abs(spectrum[band]).sum(axis=1)
    chroma = np.bincount(pitch_class, weights=energy, minlength=12)
    scores = {
        (tonic, mode): np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]
        for tonic in range(12)
        for mode, profile in (("minor", minor), ("major", major))
    }
    assert max(scores, key=lambda key: scores[key]) == (9, "minor")
    assert KEY == song.key == "A minor"


def test_the_same_call_gives_the_same_samples(song: DemoSong):
    assert np.array_equal(render_demo_song(RATE).audio, song.audio)


def test_the_repeated_verse_is_alike_but_not_a_copy(song: DemoSong):
    first, second = (section for section in song.sections if section.name == "verse")
    bar = song.tempo_map.bar_start
    one, two = (song.audio[:, round(bar(s.first_bar) * RATE) :][:, : round(2 * bar(2) * RATE)] for s in (first, second))
    assert not np.allclose(one, two, atol=1e-3)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.5


def test_nothing_clicks(song: DemoSong):
    """A click is a step: no jump between neighbouring samples is far above the song's own steepest."""
    steps = np.abs(np.diff(song.audio, axis=1)).max(axis=0)
    assert steps.max() < 4 * np.percentile(steps, 99.9)
    assert np.abs(song.audio[:, [0, -1]]).max() < 1e-6


def test_both_sides_differ_but_the_bass_is_in_the_middle(song: DemoSong):
    left, right = song.audio
    assert 0.5 < np.corrcoef(left, right)[0, 1] < 0.97
    side, middle = (np.abs(np.fft.rfft(x[: RATE * 20])) for x in (left - right, left + right))
    low = slice(30 * 20, 110 * 20)
    assert side[low].sum() < 0.2 * middle[low].sum()


def test_other_rates_give_the_same_song(song: DemoSong):
    other = render_demo_song(44100)
    assert other.frames == round(BARS * 4 * 60 / song.bpm * 44100)
    assert other.audio.std() == pytest.approx(song.audio.std(), rel=0.05)
    assert HUMAN_S <= 0.003


def test_the_suggested_region_is_four_bars_inside_the_song(song: DemoSong):
    region = song.suggested_region
    assert region.label(song.tempo_map) == "bars-17-20"
    assert 0 < region.start_s < region.end_s < song.duration_s
