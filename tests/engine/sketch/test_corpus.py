"""The corpus is the yardstick: what it says of its songs must be true of their sound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from protocol.vocabulary import TrackClass, Verb
from tests.support import corpus
from tests.support.corpus import CorpusSong


@pytest.fixture(params=corpus.NAMES)
def song(request: pytest.FixtureRequest) -> CorpusSong:
    return corpus.song(request.param)


def test_stems_add_up_to_the_mix(song: CorpusSong) -> None:
    total = np.sum(list(song.stems.values()), axis=0)
    assert song.mix.dtype == np.float32
    assert np.abs(song.mix - total).max() < 1e-6
    assert np.abs(song.mix).max() == pytest.approx(corpus.PEAK, abs=1e-4)
    assert all(np.sqrt(np.mean(stem**2)) > 0.01 for stem in song.stems.values())


def test_kicks_sound_where_they_are_said_to_on_the_grid(song: CorpusSong) -> None:
    """The sound rises out of the first sample of each kick; a sixteenth of a second earlier is no such rise."""
    drums = np.abs(song.stems[TrackClass.DRUMS]).sum(axis=0)
    ahead, after = round(0.002 * song.rate), round(0.004 * song.rate)
    for time_s in song.kicks_s[1:]:
        frame = round(time_s * song.rate)
        assert drums[frame + 1 : frame + after].max() > 2.0 * drums[frame - ahead : frame].max()
    beats = np.array([song.tempo_map.beat_at(time_s) for time_s in song.kicks_s])
    places = beats % 1.0
    assert np.all(np.abs(places[:, None] - np.array([0.0, 0.5, song.swing, 1.0])).min(axis=1) < 1e-9)


def test_the_ramp_speeds_up() -> None:
    song = corpus.song("ramp-104-124")
    first, last = song.downbeats_s[1] - song.downbeats_s[0], song.downbeats_s[-1] - song.downbeats_s[-2]
    assert first / last == pytest.approx(124 / 104, rel=0.01)


def test_chords_and_sections_cover_the_song_without_gaps(song: CorpusSong) -> None:
    for spans in (song.chords, song.sections):
        assert spans[0].start == 0.0
        assert spans[-1].end == song.end_beat == song.tempo_map.beat_at(song.duration_s - 0.5) // 1
        assert all(before.end == after.start for before, after in pairwise(spans))
    assert len({section.label for section in song.sections}) == 2


def test_the_bass_plays_the_chords_roots(song: CorpusSong) -> None:
    """The strongest partial at each change of harmony is the root's or an octave of it."""
    bass = song.stems[TrackClass.BASS].sum(axis=0)
    hits = 0
    for span in song.chords:
        frame = round(song.tempo_map.time_at(span.start) * song.rate)
        piece = bass[frame + song.rate // 50 : frame + song.rate // 4]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 16))
        hz = np.argmax(spectrum[: round(300 / song.rate * (1 << 16))]) * song.rate / (1 << 16)
        assert span.chord is not None
        hits += round(12 * np.log2(hz / 440.0) + 69) % 12 == span.chord.root
    assert hits >= 0.95 * len(song.chords)


def test_the_lead_stands_in_the_centre_and_the_keys_are_wide() -> None:
    song = corpus.song("ballad-92")

    def side_share(track: TrackClass) -> float:
        left, right = song.stems[track].astype(np.float64)
        return float(np.mean((left - right) ** 2) / np.mean((left + right) ** 2))

    assert side_share(TrackClass.VOCALS) < 0.05 < 0.1 < side_share(TrackClass.KEYBOARD)


def test_the_same_song_comes_out_of_every_rendering() -> None:
    once = corpus.song("waltz-144")
    corpus.song.cache_clear()
    again = corpus.song("waltz-144")
    assert again is not once
    assert np.array_equal(once.mix, again.mix)
    assert once.onsets_s == again.onsets_s


def test_a_request_covers_whole_bars() -> None:
    song = corpus.song("six-eight-96")
    request = song.request(Verb.EXTRACT, 5, 4, tracks=(TrackClass.BASS,))
    assert request.region == (round(song.downbeats_s[4] * song.rate), round(song.downbeats_s[8] * song.rate))
    assert request.source is not None
    assert request.source.frames == song.mix.shape[1]
