"""engine/splice.py and engine/loudness.py: the promise that nothing outside the region changes, and how edges meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import EngineTake, Window
from engine.audio import resample
from engine.loudness import level_db, match_gain_db
from engine.splice import Join, Spliced, continuation, crossfade, exact_region, splice
from engine.window import make_window
from protocol.errors import EngineError
from tests.support.audio import ArraySource, db, noise, rms, roughness, tones

if TYPE_CHECKING:
    from engine.api import Audio

RATE = 48_000


def window_of(audio: Audio, region: tuple[int, int], context: int = RATE, rate: int = RATE) -> Window:
    return make_window(ArraySource(audio, rate, Path("song.wav")), region, context, context)


def spliced(original: Audio, take: Audio, region: tuple[int, int], *, rate: int = RATE, lead: int = 0) -> Spliced:
    """`take` begins `lead` frames before the region."""
    return splice(EngineTake(take, region[0] - lead, 1), window_of(original, region, rate, rate), region)


def in_place(original: Audio, result: Audio, first: int) -> Audio:
    """What one hears in the DAW: the result laid over the song, from a second before it to a second after it."""
    begin, end = min(0, first), max(original.shape[1], first + result.shape[1])
    heard = np.zeros((original.shape[0], end - begin), dtype=np.float32)
    heard[:, -begin : -begin + original.shape[1]] = original
    heard[:, first - begin : first - begin + result.shape[1]] = result
    return heard


# --- promise 1 --------------------------------------------------------------------------------------------------------
@given(
    rate=st.sampled_from([8000, 44_100, 48_000, 96_000]),
    frames=st.integers(2, 3000),
    first=st.integers(-2000, 3000),
    length=st.integers(2, 4000),
    channels=st.integers(1, 6),
    context=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=50)
def test_any_region_has_its_exact_length_and_begins_and_ends_with_the_original_bit_for_bit(
    rate: int, frames: int, first: int, length: int, channels: int, context: int, seed: int
) -> None:
    original = noise(frames, channels, seed=seed)
    after = first + length
    window = make_window(ArraySource(original, rate), (first, after), context, context)
    take = EngineTake(noise(length + 7, channels, seed=seed + 100, level=0.3), first - 3, seed)
    result = splice(take, window, (first, after))
    assert result.audio.shape == (channels, length)
    assert result.audio.dtype == np.float32
    assert np.isfinite(result.audio).all()
    assert abs(result.gain_db) <= 9.0
    assert max(result.fade_frames) <= max(1, length // 4)
    if 0 <= first < frames:
        assert result.audio[:, 0].tobytes() == original[:, first].tobytes()
    if 0 < after <= frames:
        assert result.audio[:, -1].tobytes() == original[:, after - 1].tobytes()


@given(st.integers(0, 2), st.integers(500, 40_000), st.integers(0, 10_000), st.sampled_from([1, 2, 6]))
@settings(deadline=None, max_examples=30)
def test_splicing_the_original_itself_gives_it_back(kind: int, length: int, first: int, channels: int) -> None:
    rising = np.linspace(0.05, 1.0, 60_000, dtype=np.float32)
    original = [noise(60_000, channels), tones(60_000, RATE, channels), noise(60_000, channels) * rising][kind]
    result = spliced(original, original, (first, first + length), lead=first)
    assert abs(result.gain_db) < 0.05
    difference = result.audio - original[:, first : first + length]
    assert db(rms(difference) / rms(original[:, first : first + length])) < -90.0


def test_only_the_fades_differ_from_the_take_at_its_gain() -> None:
    original, take = noise(5 * RATE), noise(RATE, seed=1)
    result = spliced(original, take, (2 * RATE, 3 * RATE))
    start, end = result.fade_frames
    assert (start, end) == (960, 960)
    body = result.audio[:, start : RATE - end]
    assert np.allclose(body, take[:, start : RATE - end] * 10 ** (result.gain_db / 20), rtol=1e-6, atol=0)


# --- level ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shift_db", [-9.0, -4.0, 0.0, 6.0, 9.0])
@pytest.mark.parametrize(("length", "channels"), [(4 * RATE, 2), (4 * RATE, 6), (RATE // 10, 1)])
def test_a_take_at_another_level_comes_back_at_the_level_of_the_song(
    shift_db: float, length: int, channels: int
) -> None:
    original = noise(12 * RATE, channels)
    take = noise(length, channels, seed=5) * np.float32(10 ** (shift_db / 20))
    result = spliced(original, take, (5 * RATE, 5 * RATE + length))
    assert abs(db(rms(result.audio) / rms(original))) < 0.5


def test_gain_is_never_more_than_nine_decibels() -> None:
    original = noise(4 * RATE)
    for level, gain in ((0.001, 9.0), (1.0, -9.0)):
        assert spliced(original, noise(RATE, seed=1, level=level), (RATE, 2 * RATE)).gain_db == pytest.approx(gain)


def test_a_take_in_a_gap_of_the_song_gets_the_level_of_what_is_around_it() -> None:
    original = noise(12 * RATE)
    for gap_db in (-200, -35):
        original[:, 4 * RATE : 6 * RATE] = noise(2 * RATE, seed=2) * 10 ** (gap_db / 20)
        result = spliced(original, noise(2 * RATE, seed=1, level=0.05), (4 * RATE, 6 * RATE))
        assert result.gain_db == pytest.approx(6.0, abs=0.3)


def test_a_quiet_passage_stays_quiet() -> None:
    original = noise(12 * RATE)
    original[:, 4 * RATE : 6 * RATE] *= 0.5
    result = spliced(original, noise(2 * RATE, seed=1, level=0.1), (4 * RATE, 6 * RATE))
    assert result.gain_db == pytest.approx(-6.0, abs=0.3)


def test_past_the_song_the_level_is_that_of_its_end() -> None:
    original = noise(4 * RATE)
    result = spliced(original, noise(3 * RATE, seed=1, level=0.2), (4 * RATE, 7 * RATE))
    assert result.gain_db == pytest.approx(-6.0, abs=0.3)


def test_a_silent_take_or_a_silent_song_gets_no_gain() -> None:
    silence = np.zeros((2, RATE), dtype=np.float32)
    assert spliced(noise(3 * RATE), silence, (RATE, 2 * RATE)).gain_db == 0.0
    assert match_gain_db(noise(RATE), [silence], RATE) == 0.0
    assert match_gain_db(noise(RATE), [], RATE) == 0.0


def test_for_integer_files_the_gain_stops_at_full_scale() -> None:
    original = noise(4 * RATE, level=0.3)
    take = noise(RATE, seed=1, level=0.15)
    take[0, RATE // 2] = 0.9
    window = window_of(original, (RATE, 2 * RATE))
    free = splice(EngineTake(take, RATE, 1), window, (RATE, 2 * RATE))
    held = splice(EngineTake(take, RATE, 1), window, (RATE, 2 * RATE), ceiling=1.0)
    assert free.gain_db == pytest.approx(6.0, abs=0.3)
    assert held.gain_db == pytest.approx(db(1 / 0.9), abs=0.01)
    assert np.abs(held.audio[:, 960:-960]).max() <= 1.0


def test_short_spans_are_measured_by_rms_and_long_ones_by_loudness() -> None:
    low = tones(RATE, RATE, 1, first_hz=30.0)
    low_short, high_short = low[:, : RATE // 4], tones(RATE // 4, RATE, 1, first_hz=2000.0)
    assert match_gain_db(low_short, [high_short], RATE) == pytest.approx(0.0, abs=0.5)
    assert match_gain_db(low, [tones(RATE, RATE, 1, first_hz=2000.0)], RATE) > 3.0
    assert level_db(np.zeros((1, RATE), dtype=np.float32), RATE, weighted=False) == -np.inf


# --- crossfade --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_level_holds_through_the_fade_for_uncorrelated_and_correlated_material(shared: float) -> None:
    powers = []
    for seed in range(400):
        common, one, other = (noise(960, 1, seed=3 * seed + n, level=0.1) for n in range(3))
        a = np.sqrt(shared) * common + np.sqrt(1 - shared) * one
        b = np.sqrt(shared) * common + np.sqrt(1 - shared) * other
        powers.append(np.square(crossfade(a.astype(float), b.astype(float))[0]).reshape(24, 40).mean(axis=1))
    levels = 10 * np.log10(np.mean(powers, axis=0) / 0.01)
    assert np.abs(levels).max() < 1.0


def test_opposite_phase_never_swells_nor_divides_by_zero() -> None:
    a = tones(960, RATE, 1).astype(np.float64)
    mixed = crossfade(a, -a)
    assert np.isfinite(mixed).all()
    assert np.abs(mixed).max() <= 1.2 * np.abs(a).max()


# --- joins ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("region", "joins"),
    [
        ((RATE, 2 * RATE), (Join.ORIGINAL, Join.ORIGINAL)),
        ((0, RATE), (Join.FILE_EDGE, Join.ORIGINAL)),
        ((3 * RATE, 4 * RATE), (Join.ORIGINAL, Join.FILE_EDGE)),
        ((4 * RATE, 6 * RATE), (Join.CONTINUED, Join.SILENCE)),
        ((3 * RATE, 6 * RATE), (Join.ORIGINAL, Join.SILENCE)),
        ((-2 * RATE, 0), (Join.SILENCE, Join.CONTINUED)),
        ((-2 * RATE, RATE), (Join.SILENCE, Join.ORIGINAL)),
        ((4 * RATE + 1, 6 * RATE), (Join.CONTINUED, Join.SILENCE)),
        ((5 * RATE, 6 * RATE), (Join.SILENCE, Join.SILENCE)),
    ],
)
def test_every_edge_is_joined_by_what_lies_beyond_it_without_a_click(
    region: tuple[int, int], joins: tuple[Join, Join]
) -> None:
    original = tones(4 * RATE, RATE) + noise(4 * RATE, level=0.002)
    take = tones(region[1] - region[0], RATE, first_hz=330.0) + noise(region[1] - region[0], seed=1, level=0.002)
    result = spliced(original, take, region)
    assert result.joins == joins
    heard = in_place(original, result.audio, region[0])
    offset = min(0, region[0])
    for position in region:
        around = heard[:, max(0, position - offset - 1500) : position - offset + 1500]
        assert roughness(around) <= 1.5 * max(roughness(original), roughness(take))


def test_a_click_would_be_heard_by_these_tests() -> None:
    original, take = tones(4 * RATE, RATE), tones(RATE, RATE, first_hz=330.0, start=77)
    assert roughness(in_place(original, take, RATE)) > 3 * max(roughness(original), roughness(take))


@pytest.mark.parametrize("at_end", [True, False])
def test_an_extension_takes_over_a_chord_that_is_cut_off_without_a_step(at_end: bool) -> None:
    original = tones(4 * RATE, RATE, start=100)
    region = (4 * RATE, 5 * RATE) if at_end else (-RATE, 0)
    take = tones(RATE, RATE, first_hz=247.0, start=31)
    result = spliced(original, take, region)
    edge, inner = (original[:, -1], result.audio[:, 0]) if at_end else (original[:, 0], result.audio[:, -1])
    assert np.abs(edge - inner).max() < 1.1 * np.abs(np.diff(original, axis=1)).max()


def test_the_start_and_the_end_of_what_nothing_meets_are_silent() -> None:
    audio = spliced(tones(RATE, RATE), np.full((2, RATE), 0.5, np.float32), (-3 * RATE, -2 * RATE)).audio
    assert not audio[:, 0].any()
    assert not audio[:, -1].any()
    assert np.all(audio[:, 120:-300] != 0.0)


def test_a_song_that_ends_shortly_after_the_region_begins_is_continued_through_the_fade() -> None:
    original = tones(4 * RATE, RATE)
    region = (4 * RATE - 100, 5 * RATE)
    result = spliced(original, tones(RATE + 100, RATE, first_hz=247.0), region)
    assert result.joins == (Join.ORIGINAL, Join.SILENCE)
    assert result.audio[:, 0].tobytes() == original[:, -100].tobytes()
    assert roughness(in_place(original, result.audio, region[0])) < 2 * roughness(original)


def test_linear_prediction_goes_on_with_a_chord_and_dies_away_for_noise() -> None:
    chord = tones(9600, RATE, 1).astype(np.float64)
    error = continuation(chord[:, :4800], 96) - chord[:, 4800:4896]
    assert db(rms(error) / rms(chord)) < -20.0
    assert rms(continuation(noise(4800, 1).astype(np.float64), 480)) < 0.1
    assert continuation(np.zeros((2, 4800)), 10).tolist() == np.zeros((2, 10)).tolist()
    assert np.isfinite(continuation(np.full((1, 2), 0.5), 10)).all()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("from_rate", [11_025, 22_050, 48_000])
def test_the_continuation_of_a_drum_in_a_resampled_song_is_never_louder_than_the_drum(
    backwards: bool, from_rate: int
) -> None:
    time = np.arange(from_rate // 5) / from_rate
    drum = np.sin(2 * np.pi * 60 * time) * np.exp(-30 * time) + 0.3 * noise(len(time), 1)[0] * np.exp(-200 * time)
    heard = resample(drum[None].astype(np.float32), from_rate, RATE).astype(np.float64)
    for start in (0, 1, 17, 500):
        known = heard[:, start : start + 4800]
        known = known[:, ::-1] if backwards else known
        predicted = continuation(known, 480)
        assert np.abs(predicted).max() <= np.abs(known).max()
        assert np.abs(predicted[0, 0] - known[0, -1]) <= 1.1 * np.abs(np.diff(known)).max()


# --- what an engine may get wrong -------------------------------------------------------------------------------------
def test_a_take_that_does_not_cover_the_region_is_refused() -> None:
    for start, frames in ((1001, 5000), (900, 1050)):
        with pytest.raises(EngineError, match="does not cover the region"):
            exact_region(EngineTake(noise(frames), start, 1), (1000, 2000))


def test_a_take_with_broken_samples_is_refused_only_if_they_lie_in_the_region() -> None:
    audio = noise(3000)
    audio[0, 500] = np.nan
    assert exact_region(EngineTake(audio, 0, 1), (1000, 2000)).shape == (2, 1000)
    with pytest.raises(EngineError, match="broken samples"):
        exact_region(EngineTake(audio, 0, 1), (400, 2000))


def test_mono_and_stereo_takes_fit_the_source() -> None:
    mono = noise(1000, 1)
    assert np.array_equal(exact_region(EngineTake(mono, 0, 1), (0, 1000), 6), np.repeat(mono, 6, axis=0))
    stereo = noise(1000, 2)
    assert np.allclose(exact_region(EngineTake(stereo, 0, 1), (0, 1000), 1), stereo.mean(axis=0))
    with pytest.raises(EngineError, match="2 channels for a source of 6"):
        exact_region(EngineTake(stereo, 0, 1), (0, 1000), 6)
