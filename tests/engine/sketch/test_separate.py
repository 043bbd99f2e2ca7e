"""Separation by masks, measured on songs whose stems are known."""

from __future__ import annotations

import time
from collections.abc import Mapping

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from engine.sketch import separate as separation
from engine.sketch.masks import Spectra
from engine.sketch.separate import TRACKS, WHAT_IT_IS, separate
from protocol.errors import Cancelled, EngineCannot
from protocol.vocabulary import TrackClass
from tests.support import corpus
from tests.support.corpus import CorpusSong
from tests.support.sdr import sdr, si_sdr

RATE = 22_050
DRUMS, BASS, VOCALS, REST = TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS, TrackClass.KEYBOARD
ALL = (DRUMS, BASS, VOCALS, REST)


def never() -> bool:
    return False


def noise(frames: int, channels: int = 2) -> np.ndarray:
    return (0.1 * np.random.default_rng(3).standard_normal((channels, frames))).astype(np.float32)


def level_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20))


def truth_of(song: CorpusSong) -> Mapping[TrackClass, np.ndarray]:
    rest = sum(stem for track, stem in song.stems.items() if track not in (DRUMS, BASS, VOCALS))
    return {**song.stems, REST: np.asarray(rest)}


def lows(mix: np.ndarray) -> np.ndarray:
    """The naive way to a bass."""
    return sosfiltfilt(butter(4, 200.0, fs=RATE, output="sos"), mix).astype(np.float32)


def strokes(mix: np.ndarray) -> np.ndarray:
    """The naive way to drums: librosa's harmonic-percussive separation as it comes."""
    return np.stack([librosa.effects.percussive(channel) for channel in mix])


# --- the yardstick ----------------------------------------------------------------------------------------------------
def test_sdr_is_what_a_hand_computes() -> None:
    truth = np.array([[3.0, 4.0]], np.float32)
    assert sdr(truth, np.array([[3.0, 4.5]], np.float32)) == pytest.approx(20.0)  # 25 over 0.25
    assert sdr(truth, 0 * truth) == pytest.approx(0.0)
    assert sdr(truth, 2 * truth) == pytest.approx(0.0)
    assert si_sdr(truth, 2 * truth) > 120
    # (4, 3) holds 24/25 of (3, 4): 23.04 of signal beside 1.96 of noise.
    assert si_sdr(truth, np.array([[4.0, 3.0]], np.float32)) == pytest.approx(10 * np.log10(23.04 / 1.96))


# --- quality ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=corpus.NAMES)
def taken_apart(request: pytest.FixtureRequest) -> tuple[CorpusSong, dict[TrackClass, np.ndarray]]:
    song = corpus.song(request.param, RATE)
    return song, separate(song.mix, RATE, ALL, never)


def test_every_part_is_far_nearer_to_its_stem_than_the_mix_is(
    taken_apart: tuple[CorpusSong, dict[TrackClass, np.ndarray]],
) -> None:
    song, parts = taken_apart
    least_db = {DRUMS: 9.0, BASS: 8.0, VOCALS: 8.0, REST: 6.0}
    truth = truth_of(song)
    gains = {track: sdr(truth[track], part) - sdr(truth[track], song.mix) for track, part in parts.items()}
    assert all(gains[track] >= least_db[track] for track in ALL), gains


def test_drums_and_bass_beat_the_naive_way(taken_apart: tuple[CorpusSong, dict[TrackClass, np.ndarray]]) -> None:
    song, parts = taken_apart
    span = slice(10 * RATE, 18 * RATE)  # librosa's filters are slow
    mix, drums, bass = (audio[:, span] for audio in (song.mix, song.stems[DRUMS], song.stems[BASS]))
    assert sdr(drums, parts[DRUMS][:, span]) >= sdr(drums, strokes(mix)) + 2.0
    assert sdr(bass, parts[BASS][:, span]) >= sdr(bass, lows(mix)) + 3.0


def test_parts_add_up_to_the_mix(taken_apart: tuple[CorpusSong, dict[TrackClass, np.ndarray]]) -> None:
    song, parts = taken_apart
    assert np.abs(sum(parts.values()) - song.mix).max() < 1e-6
    assert all(part.dtype == np.float32 and part.shape == song.mix.shape for part in parts.values())


@pytest.mark.parametrize(("missing", "quieter_db"), [(DRUMS, 20.0), (BASS, 10.0), (VOCALS, 3.0)])
def test_what_is_not_in_the_mix_is_hardly_found_in_it(missing: TrackClass, quieter_db: float) -> None:
    song = corpus.song("club-128", RATE)
    with_it = separate(song.mix, RATE, (missing,), never)[missing]
    without = separate(song.mix - song.stems[missing], RATE, (missing,), never)[missing]
    assert level_db(without) < level_db(with_it) - quieter_db


def test_a_song_tuned_between_the_keys_comes_apart_as_well() -> None:
    import soxr

    song = corpus.song("shuffle-108", RATE)
    stems = {
        track: soxr.resample(np.ascontiguousarray(stem.T), RATE * 2 ** (1 / 24), RATE).T
        for track, stem in song.stems.items()
    }
    parts = separate(np.asarray(sum(stems.values())), RATE, (DRUMS, BASS), never)
    assert sdr(stems[DRUMS], parts[DRUMS]) > 5.0
    assert sdr(stems[BASS], parts[BASS]) > 5.0


# --- promises ---------------------------------------------------------------------------------------------------------
def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    song = corpus.song("waltz-144", RATE)
    mix = song.mix[:, : 20 * RATE]
    parts = []
    for block_s in (60.0, 6.1):
        monkeypatch.setattr(separation, "_BLOCK_S", block_s)
        parts.append(separate(mix, RATE, ALL, never))
    assert all(np.abs(parts[0][track] - parts[1][track]).max() < 1e-5 for track in ALL)


def test_a_part_does_not_depend_on_what_else_is_asked_for() -> None:
    mix = corpus.song("ballad-92", RATE).mix[:, : 8 * RATE]
    together = separate(mix, RATE, ALL, never)
    assert all(np.array_equal(separate(mix, RATE, (track,), never)[track], together[track]) for track in ALL)


@given(
    rate=st.sampled_from((8000, 22_050, 44_100, 96_000)),
    frames=st.integers(0, 30_000),
    channels=st.sampled_from((1, 2, 5)),
)
@settings(max_examples=15, deadline=None)
def test_any_rate_and_length_adds_up(rate: int, frames: int, channels: int) -> None:
    mix = noise(frames, channels)
    tracks = [track for track in ALL if channels == 2 or track != VOCALS]
    parts = separate(mix, rate, tracks, never)
    assert np.abs(sum(parts.values()) - mix).max(initial=0.0) < 1e-5


@given(seconds=st.floats(0.005, 0.2), overlap=st.sampled_from((4, 8)), start=st.integers(-500, 3000))
@settings(max_examples=30, deadline=None)
def test_spectra_give_any_span_back(seconds: float, overlap: int, start: int) -> None:
    spectra, audio = Spectra.of(seconds, overlap, 8000), noise(4000)
    frames = spectra.touching(start, start + 1000)
    back = spectra.sounding(spectra.analysed(audio, frames), frames, start, start + 1000)
    wanted = np.pad(audio, ((0, 0), (500, 0)))[:, start + 500 : start + 1500]
    assert np.abs(back[:, : wanted.shape[1]] - wanted).max() < 1e-6


def test_silence_comes_apart_into_silence() -> None:
    silent = np.zeros((2, RATE), np.float32)
    assert all(np.array_equal(part, silent) for part in separate(silent, RATE, ALL, never).values())


@pytest.mark.slow
def test_a_long_song_is_taken_apart_ten_times_faster_than_it_plays() -> None:
    mix = corpus.song("ballad-92", 44_100).mix
    begun = time.process_time()
    separate(mix, 44_100, ALL, never)
    assert time.process_time() - begun < mix.shape[1] / 44_100 / 10


def test_a_cancel_is_heard_and_progress_rises() -> None:
    mix = corpus.song("ballad-92", RATE).mix
    told: list[float] = []
    with pytest.raises(Cancelled):
        separate(mix, RATE, (DRUMS,), lambda: len(told) > 2, report=told.append)
    assert len(told) <= 4
    told.clear()
    separate(mix, RATE, (DRUMS,), never, report=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


# --- honesty ----------------------------------------------------------------------------------------------------------
def test_every_track_offered_says_what_it_is() -> None:
    assert set(WHAT_IT_IS) == TRACKS
    assert all("alone" in WHAT_IT_IS[track] for track in TRACKS - {DRUMS, BASS, VOCALS})


@pytest.mark.parametrize("sides", [1, 2])
def test_a_mono_mix_has_no_centre_and_says_so(sides: int) -> None:
    mono = np.repeat(noise(RATE, 1), sides, axis=0)
    with pytest.raises(EngineCannot, match="mono"):
        separate(mono, RATE, (VOCALS,), never)
    assert np.abs(sum(separate(mono, RATE, (DRUMS, BASS, REST), never).values()) - mono).max() < 1e-6


def test_a_mix_of_more_than_two_channels_has_no_centre_and_is_not_called_mono() -> None:
    surround = np.concatenate([noise(RATE, seed) for seed in (1, 2, 3)])
    with pytest.raises(EngineCannot, match=f"has {len(surround)} channels"):
        separate(surround, RATE, (VOCALS,), never)


def test_the_remainder_has_one_name_at_a_time() -> None:
    with pytest.raises(EngineCannot, match="Ask for one"):
        separate(noise(RATE), RATE, (TrackClass.KEYBOARD, TrackClass.GUITAR), never)
    one = separate(noise(RATE), RATE, (TrackClass.SYNTH,), never)[TrackClass.SYNTH]
    assert np.array_equal(one, separate(noise(RATE), RATE, (REST,), never)[REST])


@pytest.mark.parametrize("track", sorted(frozenset(TrackClass) - TRACKS))
def test_tracks_that_masks_cannot_find_are_refused(track: TrackClass) -> None:
    with pytest.raises(EngineCannot, match=track.value):
        separate(noise(100), RATE, (track,), never)
