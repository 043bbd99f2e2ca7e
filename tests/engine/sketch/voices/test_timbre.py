"""What a musician hears of the voices: loudness, tuning, brightness by velocity, no aliases, kits with a character."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from engine.loudness import loudness_lufs, peak_dbfs
from engine.sketch.score import Drum, Effect, Instrument
from engine.sketch.voices.instruments import voice_of
from engine.sketch.voices.tones import frequency
from engine.sketch.voices.voice import Stroke
from tests.engine.sketch.voices.busy import GUITARS, KITS, LOW, PITCHED, busy, mono, note, part_of, played

EVERY = pytest.mark.parametrize("instrument", Instrument, ids=lambda instrument: instrument.name)
EVERY_PITCHED = pytest.mark.parametrize("instrument", PITCHED, ids=lambda instrument: instrument.name)


def power(sound: np.ndarray, size: int = 0) -> np.ndarray:
    """Power spectrum under a Blackman window, whose side lobes lie 58 dB down and fall quickly."""
    return np.square(np.abs(scipy.fft.rfft(sound * np.blackman(sound.shape[-1]), size or sound.shape[-1])))


@EVERY
def test_a_busy_part_has_the_nominal_loudness(instrument: Instrument) -> None:
    loudness = loudness_lufs(played(busy(instrument), 16.0), 48_000)
    assert loudness is not None
    assert abs(loudness + 20.0) < 3.0


@EVERY
def test_a_hard_part_stays_below_full_scale(instrument: Instrument) -> None:
    peak = peak_dbfs(played(busy(instrument, bars=4, velocity=110), 8.0))
    assert peak is not None
    assert -16.0 < peak < 0.0


# --- tuning ----------------------------------------------------------------------------------------------------------
def cents_off(sound: np.ndarray, rate: int, hz: float) -> float:
    """How far the power near `hz` is centred from it, in cents; `sound` is ``(2, frames)``."""
    size = 1 << 19
    spectrum = sum(power(ear, size) for ear in sound)
    bins = np.arange(int(0.97 * hz * size / rate), int(1.03 * hz * size / rate) + 1)
    near = spectrum[bins]
    near = np.where(near > 0.05 * near.max(), near, 0.0)
    return float(1200.0 * np.log2(np.sum(near * bins) / near.sum() * rate / size / hz))


@EVERY_PITCHED
@pytest.mark.parametrize("rate", [11_025, 48_000])
def test_every_instrument_is_in_tune(instrument: Instrument, rate: int) -> None:
    spread = instrument in (Instrument.STRING_ENSEMBLE, Instrument.WARM_PAD)
    for pitch in (28, 40, 55) if instrument in LOW else (48, 57, 69, 88):
        frames = round((2.0 if spread else 0.7) * rate)
        sound = np.atleast_2d(voice_of(instrument).play(Stroke(pitch, 90, 0, frames, rate)))
        assert abs(cents_off(sound[:, round(0.04 * rate) :], rate, frequency(pitch))) < 5.0, pitch


def test_the_measure_of_tuning_hears_five_cents() -> None:
    time = np.arange(40_000) / 48_000
    for cents in (-6.0, 0.0, 6.0):
        tone = np.sin(2.0 * np.pi * 440.0 * 2.0 ** (cents / 1200.0) * time)
        assert cents_off(np.stack([tone, tone]), 48_000, 440.0) == pytest.approx(cents, abs=0.5)


# --- brightness ------------------------------------------------------------------------------------------------------
def centroid_hz(instrument: Instrument, pitch: int, velocity: int, exponent: float = 1.0) -> float:
    """The mean frequency of a note's first 0.3 s, weighted by a power of the power."""
    audio = played(part_of(instrument, [note(0.0, 0.5, pitch, velocity)]), 0.3)
    level = power(mono(audio)) ** exponent
    return float(np.sum(level * np.arange(level.size)) / level.sum() * 48_000 / (2 * (level.size - 1)))


@EVERY_PITCHED
def test_a_pitched_note_grows_brighter_with_velocity(instrument: Instrument) -> None:
    pitch = 40 if instrument in LOW else 60
    soft, medium, hard = (centroid_hz(instrument, pitch, velocity) for velocity in (30, 70, 120))
    assert soft < medium < hard
    assert hard > 1.05 * soft


@pytest.mark.parametrize("kit", KITS[:3], ids=lambda kit: kit.name)
@pytest.mark.parametrize("pitch", [Drum.KICK, Drum.SNARE, Drum.CLOSED_HAT, Drum.LOW_TOM, Drum.RIDE, Drum.CRASH])
def test_a_drum_grows_brighter_with_velocity(kit: Instrument, pitch: int) -> None:
    soft = 60 if kit is Instrument.BRUSH_KIT else 30  # softer snare notes are swept, not tapped
    assert centroid_hz(kit, pitch, 120, 0.5) > 1.05 * centroid_hz(kit, pitch, soft, 0.5)


@pytest.mark.parametrize("pitch", [54, 56, 60, 62, 64, 69, 70, 75, 76, 81, 82])
def test_hand_percussion_grows_brighter_with_velocity(pitch: int) -> None:
    kit = Instrument.HAND_PERCUSSION
    assert centroid_hz(kit, pitch, 120, 0.5) > 1.05 * centroid_hz(kit, pitch, 40, 0.5)


# --- aliases ---------------------------------------------------------------------------------------------------------
def stray_db(sound: np.ndarray, rate: int, hz: float) -> float:
    """Power further than 8 % of `hz` from all of its harmonics, relative to all power."""
    spectrum = power(sound)
    number = np.arange(spectrum.size) * rate / sound.size / hz
    stray = (np.abs(number - np.round(number)) > 0.08) & (number > 0.5)
    return float(10.0 * np.log10(spectrum[stray].sum() / spectrum.sum()))


TONAL = (
    Instrument.SYNTH_BASS,
    Instrument.SYNTH_LEAD,
    Instrument.SYNTH_PLUCK,
    Instrument.ORGAN,
    Instrument.ELECTRIC_PIANO,
    Instrument.CLEAN_GUITAR,
    Instrument.DRIVEN_GUITAR,
)


@pytest.mark.parametrize("instrument", TONAL, ids=lambda instrument: instrument.name)
@pytest.mark.parametrize(("rate", "pitch"), [(44_100, 92), (22_050, 83), (8_000, 67)])
def test_nothing_aliases(instrument: Instrument, rate: int, pitch: int) -> None:
    voice = voice_of(instrument)
    sound = np.atleast_2d(voice.play(Stroke(pitch, 120, 0, rate, rate)))
    if voice.bus:
        sound = voice.bus(rate)(0.15 * sound[[0, 0]])
    # After the attack's noise; before a vibrato sets in. The organ has a rank an octave below.
    from_s, to_s = (0.05, 0.33) if instrument is Instrument.SYNTH_LEAD else (0.4, 0.9)
    hz = frequency(pitch) / (2.0 if instrument is Instrument.ORGAN else 1.0)
    assert stray_db(sound[0, round(from_s * rate) : round(to_s * rate)], rate, hz) < -60.0


def test_the_measure_of_aliases_hears_a_naive_saw() -> None:
    hz, rate = frequency(92), 44_100
    saw = 2.0 * ((hz * np.arange(20_000) / rate) % 1.0) - 1.0
    assert stray_db(saw, rate, hz) > -30.0


def test_a_note_that_the_rate_cannot_hold_is_left_out() -> None:
    for instrument in PITCHED:
        assert not played(part_of(instrument, [note(0.0, 1.0, 108)]), 0.5, 8_000).any()
        assert played(part_of(instrument, [note(0.0, 1.0, 96)]), 0.5, 8_000).any()


# --- character -------------------------------------------------------------------------------------------------------
def bands_db(audio: np.ndarray) -> np.ndarray:
    """Levels in octaves from 40 Hz."""
    spectrum = power(mono(audio))
    hz = np.arange(spectrum.size) * 24_000 / (spectrum.size - 1)
    edges = 40.0 * 2.0 ** np.arange(10)
    sums = [spectrum[(hz >= low) & (hz < 2.0 * low)].sum() for low in edges[:-1]]
    return 10.0 * np.log10(np.array(sums) / sum(sums) + 1e-7)


@pytest.mark.parametrize("pitch", [Drum.KICK, Drum.SNARE, Drum.CLOSED_HAT, Drum.RIDE])
def test_the_three_kits_differ(pitch: int) -> None:
    shapes = [bands_db(played(part_of(kit, [note(0.0, 0.25, pitch, 100)]), 0.6)) for kit in KITS[:3]]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(shapes[first] - shapes[second]).max() > 3.0


def test_a_kit_is_spread_over_the_stereo_field() -> None:
    def side(pitch: int) -> float:
        left, right = np.square(played(part_of(Instrument.ACOUSTIC_KIT, [note(0.0, 0.25, pitch)]), 0.5)).sum(axis=1)
        return float((right - left) / (right + left))

    assert abs(side(Drum.KICK)) < 0.05
    assert side(Drum.CLOSED_HAT) < -0.2 < 0.2 < side(Drum.RIDE)
    assert side(Drum.HIGH_TOM) < side(Drum.MID_TOM) < side(Drum.LOW_TOM) < side(Drum.FLOOR_TOM)


def ring_s(instrument: Instrument, pitch: int, beats: float = 4.0) -> float:
    """Until 30 dB below its loudest 20 ms."""
    audio = played(part_of(instrument, [note(0.0, beats, pitch, 100)]), 4.0, 24_000)
    level = np.square(mono(audio)).reshape(-1, 480).mean(axis=1)
    return float(np.flatnonzero(level > 1e-3 * level.max())[-1] * 0.02)


def test_things_ring_as_long_as_they_should() -> None:
    kit = Instrument.ACOUSTIC_KIT
    assert ring_s(kit, Drum.CLOSED_HAT) < 0.25 < 0.5 < ring_s(kit, Drum.OPEN_HAT) < ring_s(kit, Drum.CRASH)
    assert ring_s(kit, Drum.SNARE) < 0.5 < ring_s(kit, Drum.RIDE)
    assert ring_s(kit, Drum.HIGH_TOM) < ring_s(kit, Drum.FLOOR_TOM)
    assert ring_s(Instrument.MUTED_GUITAR, 52) < 0.4 < 1.0 < ring_s(Instrument.CLEAN_GUITAR, 52)
    assert ring_s(Instrument.PIZZICATO, 60) < 0.8
    assert ring_s(Instrument.PIANO, 84) < ring_s(Instrument.PIANO, 48)
    for instrument in (*GUITARS, Instrument.PIANO, Instrument.ORGAN, Instrument.TRUMPET):
        assert ring_s(instrument, 60, beats=0.5) < 0.65  # let go after a quarter of a second


def test_a_clarinet_is_made_of_odd_harmonics() -> None:
    hz = frequency(57)
    spectrum = power(mono(played(part_of(Instrument.CLARINET, [note(0.0, 1.0, 57)]), 0.5))[4_000:18_000])

    def level(number: int) -> float:
        at = round(number * hz * 14_000 / 48_000)
        return float(spectrum[at - 3 : at + 4].max())

    assert 20.0 * level(2) < level(1)
    assert 5.0 * level(2) < level(3)


@pytest.mark.parametrize("effect", [Effect.RISER, Effect.REVERSE_CYMBAL])
@pytest.mark.parametrize("beats", [1.0, 3.37, 8.0])
def test_what_rises_ends_exactly_at_the_end_of_its_note(effect: int, beats: float) -> None:
    ticked = round(beats * 960) / 960
    part = part_of(Instrument.EFFECTS, [note(0.5, ticked, effect)])
    end = round((0.5 + ticked) / 2 * 48_000)
    audio = np.square(mono(played(part, (end + 24_000) / 48_000)))
    before, after = audio[end - 960 : end - 240].mean(), audio[end + 48 : end + 960].mean()
    assert before > 5.0 * after  # what is left is the room
    assert audio[end - 4_800 : end].mean() > 4.0 * audio[24_000 : end // 2 + 12_000].mean() or beats < 2.0


@pytest.mark.parametrize("effect", [Effect.IMPACT, Effect.SUB_DROP, Effect.DOWNLIFTER])
def test_what_falls_is_loudest_at_its_start(effect: int) -> None:
    audio = np.square(mono(played(part_of(Instrument.EFFECTS, [note(0.5, 4.0, effect)]), 2.5)))
    assert audio[12_000:24_000].mean() > 4.0 * audio[72_000:96_000].mean()
