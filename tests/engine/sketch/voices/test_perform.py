"""What `perform` promises of every instrument: exact samples and lengths, the same bits, no clicks, little memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engine.measures.onsets import onset_times
from engine.measures.seam import click_db
from engine.sketch.score import Drum, Effect, Instrument, Note, on_tick
from engine.sketch.voices import perform
from engine.sketch.voices.room import LENGTH_S, Room, response
from protocol.errors import Cancelled
from protocol.music import TempoMap, TempoPoint
from tests.engine.sketch.voices.busy import (
    KITS,
    LOW,
    PITCHED,
    SOLO,
    TEMPO,
    busy,
    mono,
    note,
    part_of,
    played,
)

RAMP = TempoMap((TempoPoint(0.0, 97.53, linear=True), TempoPoint(20.0, 131.0)))
EVERY = pytest.mark.parametrize("instrument", Instrument, ids=lambda instrument: instrument.name)
SLOW = SOLO | {Instrument.BRASS_SECTION, Instrument.ORGAN}
DETECTABLE = tuple(i for i in PITCHED if i not in (Instrument.STRING_ENSEMBLE, Instrument.WARM_PAD))


def pitch_for(instrument: Instrument) -> int:
    """A pitch that the instrument plays often."""
    if instrument is Instrument.EFFECTS:
        return Effect.IMPACT
    if instrument is Instrument.HAND_PERCUSSION:
        return Drum.HIGH_CONGA
    return Drum.SNARE if instrument.is_kit else 33 if instrument in LOW else 60


def first_sounding(audio: np.ndarray) -> int:
    return int(np.flatnonzero(np.abs(audio).max(axis=0))[0])


@EVERY
def test_a_note_begins_on_its_exact_sample_and_nothing_sounds_before_it(instrument: Instrument) -> None:
    beat = on_tick(3.377)
    rate, start = 44_100, -12_345  # a span that begins before the source does
    frame = round((RAMP.time_at(beat) + 0.25) * rate)
    audio = perform(
        part_of(instrument, [note(beat, 1.0, pitch_for(instrument))]),
        RAMP,
        (start, start + 4 * rate),
        rate,
        lambda time_s: (time_s + 0.25) * rate,
        lambda: False,
    )
    assert audio.shape == (2, 4 * rate)
    assert audio.dtype == np.float32
    assert first_sounding(audio) + start == frame


@EVERY
@pytest.mark.parametrize("rate", [8_000, 22_050, 192_000])
def test_every_rate_has_sound_on_the_exact_sample_and_no_nan(instrument: Instrument, rate: int) -> None:
    audio = played(part_of(instrument, [note(0.5, 0.5, pitch_for(instrument))]), 0.6, rate)
    assert np.isfinite(audio).all()
    assert first_sounding(audio) == rate // 4
    assert np.abs(audio).max() > 0.005


def test_a_note_on_the_edge_is_played_where_project_and_source_round_half_a_sample_apart() -> None:
    rate, offset, tempo_map = 44_100, 1, TempoMap.constant(128.0)  # a bar of 82687.5 samples; the item lies on sample 1
    first = round(tempo_map.bar_start(2) * rate) - offset

    def frame_of(time_s: float) -> float:
        return (time_s - offset / rate) * rate

    assert round(frame_of(tempo_map.bar_start(2))) < first
    part = part_of(Instrument.ACOUSTIC_KIT, [note(4.0, 0.5, Drum.KICK)])
    audio = perform(part, tempo_map, (first, first + rate), rate, frame_of, lambda: False)
    assert first_sounding(audio) == 0


@EVERY
def test_notes_that_begin_outside_the_span_are_not_played(instrument: Instrument) -> None:
    pitch = pitch_for(instrument)
    outside = [note(0.5, 2.0, pitch), note(6.0, 1.0, pitch)]
    assert not played(part_of(instrument, outside), 1.0, start=24_000).any()
    assert played(part_of(instrument, [*outside, note(1.5, 0.5, pitch)]), 1.0, start=24_000).any()


@EVERY
def test_the_same_bits_on_every_run(instrument: Instrument) -> None:
    part = busy(instrument, bars=2)
    audio = played(part, 2.5, 22_050)
    assert audio.any()
    assert audio.tobytes() == played(part, 2.5, 22_050).tobytes()


@EVERY
def test_the_cut_at_the_end_of_the_span_fades_to_nothing(instrument: Instrument) -> None:
    pitch = Effect.DOWNLIFTER if instrument is Instrument.EFFECTS else pitch_for(instrument)
    audio = played(part_of(instrument, [note(0.5, 8.0, pitch)]), 0.45)
    assert np.abs(audio[:, -1]).max() < 1e-4
    longer = played(part_of(instrument, [note(0.5, 8.0, pitch)]), 0.6)
    assert np.allclose(longer[:, : audio.shape[1] - 240], audio[:, :-240], atol=1e-5)


@pytest.mark.parametrize("instrument", [*PITCHED, *KITS], ids=lambda instrument: instrument.name)
def test_notes_end_without_a_click(instrument: Instrument) -> None:
    pitch = Drum.OPEN_HAT if instrument.is_kit and instrument is not Instrument.HAND_PERCUSSION else None
    notes = [note(1.0, 0.5, pitch or pitch_for(instrument), 100)]
    if pitch:
        notes.append(note(1.5, 0.5, Drum.PEDAL_HAT, 1))  # chokes the open one
    audio = played(part_of(instrument, notes), 2.0)
    assert click_db(audio, 36_000, 48_000) < 6.0


def test_the_measure_of_clicks_hears_a_hard_cut() -> None:
    for instrument in (Instrument.WARM_PAD, Instrument.PIANO, Instrument.FINGER_BASS):
        audio = played(part_of(instrument, [note(1.0, 0.5, pitch_for(instrument), 100)]), 2.0)
        audio[:, 35_900:] = 0.0
        assert click_db(audio, 35_900, 48_000) > 10.0


@EVERY
def test_there_is_no_dc(instrument: Instrument) -> None:
    audio = played(busy(instrument, bars=4), 8.0, 22_050)
    rms = np.sqrt(np.mean(np.square(audio, dtype=np.float64), axis=1))
    assert (np.abs(audio.mean(axis=1)) < 0.015 * rms).all()


# --- where an ear hears the attack -----------------------------------------------------------------------------------
def offsets_ms(instrument: Instrument, pitch: int, beats: float) -> np.ndarray:
    """Of twelve notes off any grid of analysis frames: detected onset less its sample, in milliseconds."""
    written = [on_tick(1.0 + 0.97 * k) for k in range(12)]
    audio = played(part_of(instrument, [note(beat, beats, pitch) for beat in written]), 7.0, 44_100)
    found = onset_times(mono(audio), 44_100)
    wanted = np.array([TEMPO.time_at(beat) for beat in written])
    return np.array([1000.0 * (found[np.abs(found - time).argmin()] - time) for time in wanted])


PIECES = (
    *((kit, pitch) for kit in KITS[:3] for pitch in (36, 37, 38, 42, 44, 45, 46, 49, 51)),
    *((Instrument.HAND_PERCUSSION, pitch) for pitch in (39, 54, 56, 60, 62, 64, 69, 70, 75, 82)),
)


@pytest.mark.parametrize(("kit", "pitch"), PIECES, ids=str)
def test_a_drum_is_heard_within_a_millisecond_of_its_sample(kit: Instrument, pitch: int) -> None:
    assert np.median(np.abs(offsets_ms(kit, pitch, 0.25))) < 1.0


@pytest.mark.parametrize("instrument", DETECTABLE, ids=lambda instrument: instrument.name)
def test_a_pitched_note_is_heard_within_milliseconds_of_its_sample(instrument: Instrument) -> None:
    offsets = offsets_ms(instrument, pitch_for(instrument), 0.7)
    assert np.median(np.abs(offsets)) < (5.0 if instrument in SLOW else 1.0)


def test_the_room_answers_later_than_the_direct_sound_and_is_short() -> None:
    for rate in (8_000, 48_000, 192_000):
        impulse = response(rate)
        assert not impulse[:, : round(0.0069 * rate)].any()
        assert impulse.shape[1] <= 0.6 * rate
        energy = np.square(impulse, dtype=np.float64)
        assert energy[:, : round(0.3 * rate)].sum() > 0.98 * energy.sum()
        left, right = impulse
        assert abs(np.corrcoef(left, right)[0, 1]) < 0.35


def test_the_room_in_blocks_is_the_room_at_once() -> None:
    rate = 16_000
    sound = np.random.default_rng(3).standard_normal(4 * rate).astype(np.float32)
    whole = np.stack([np.convolve(sound, ear) for ear in response(rate)])[:, : sound.size]
    room, cuts = Room(rate, rate), (0, 5_000, 5_001, 21_001, 36_000, 52_000, 64_000)
    pieces = [room(sound[first:after]) for first, after in pairwise(cuts)]
    assert np.allclose(np.concatenate(pieces, axis=1), whole, atol=2e-4)
    assert LENGTH_S < 0.6


# --- notes among notes -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kit", KITS[:3], ids=lambda kit: kit.name)
def test_a_closed_hat_stops_the_open_one(kit: Instrument) -> None:
    open_hat = note(0.0, 0.25, Drum.OPEN_HAT)
    alone = played(part_of(kit, [open_hat]), 1.5)
    for closing in (Drum.CLOSED_HAT, Drum.PEDAL_HAT):
        choked = played(part_of(kit, [open_hat, note(1.0, 0.25, closing, 1)]), 1.5)
        after = slice(34_000, 40_000)
        assert np.square(choked[:, after]).mean() < 0.05 * np.square(alone[:, after]).mean()


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_repeated_hits_differ_a_little(kit: Instrument) -> None:
    pitch = Drum.SHAKER if kit is Instrument.HAND_PERCUSSION else Drum.CLOSED_HAT
    audio = played(part_of(kit, [note(2.0 * k, 0.25, pitch) for k in range(4)]), 4.0)
    hits = [audio[0, 48_000 * k : 48_000 * k + 2_000] for k in range(4)]
    for before, after in pairwise(hits):
        assert not np.allclose(before, after, atol=1e-4)
        assert 0.5 < np.square(before).sum() / np.square(after).sum() < 2.0


def test_a_bass_plays_one_note_at_a_time_and_a_piano_does_not() -> None:
    def both(instrument: Instrument) -> float:
        low, high = note(0.0, 4.0, 40), note(1.0, 3.0, 47)
        together, second = played(part_of(instrument, [low, high]), 1.8), played(part_of(instrument, [high]), 1.8)
        late = slice(60_000, 80_000)
        return float(np.square(together - second)[:, late].sum() / np.square(second)[:, late].sum())

    assert both(Instrument.FINGER_BASS) < 0.01
    assert both(Instrument.PIANO) > 0.1


def test_a_very_long_note_goes_on_to_its_end() -> None:
    tempo = TempoMap.constant(60.0)
    for instrument in (Instrument.FLUTE, Instrument.STRING_ENSEMBLE, Instrument.ORGAN):
        audio = played(part_of(instrument, [Note(0.0, 50.0, 64, 90, 0.0)]), 52.0, 16_000, tempo=tempo)
        level = np.sqrt(np.square(audio).mean(axis=0)[: 50 * 16_000].reshape(-1, 4_000).mean(axis=1))
        assert level[2:].min() > 0.3 * np.median(level)
        assert np.abs(audio[:, -8_000:]).max() < 0.01


def test_pan_moves_a_part_and_keeps_its_power() -> None:
    part = busy(Instrument.SAXOPHONE, bars=1)
    power = {pan: np.square(played(replace(part, pan=pan), 2.0)).sum(axis=1) for pan in (-1.0, 0.0, 0.6)}
    assert power[-1.0][0] > 8.0 * power[-1.0][1]  # the room has two ears
    assert power[0.0][0] == pytest.approx(power[0.0][1], rel=0.2)
    assert power[0.6][1] > 2.0 * power[0.6][0]
    assert power[0.6].sum() == pytest.approx(power[0.0].sum(), rel=0.15)


def test_a_cancelled_job_ends_at_once() -> None:
    with pytest.raises(Cancelled):
        perform(busy(Instrument.PIANO), TEMPO, (0, 48_000), 48_000, lambda s: s * 48_000, lambda: True)


def test_a_part_without_notes_is_silence() -> None:
    assert not played(part_of(Instrument.PIANO, []), 1.0).any()


@pytest.mark.parametrize("instrument", [Instrument.ACOUSTIC_KIT, Instrument.PIANO, Instrument.DRIVEN_GUITAR])
def test_memory_does_not_grow_with_the_span_beyond_the_sound_itself(instrument: Instrument) -> None:
    def above_result(bars: int) -> int:
        part = busy(instrument, bars=bars)
        tracemalloc.start()
        audio = played(part, 2.0 * bars, 22_050)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - audio.nbytes

    above_result(1)  # tables that live as long as the process
    assert above_result(30) < 1.25 * above_result(10) + 1_000_000


def test_pitches_from_end_to_end_and_all_velocities_are_playable() -> None:
    for instrument in Instrument:
        notes = [note(0.25 * k, 0.2, pitch, 1 + 2 * k) for k, pitch in enumerate(range(0, 128, 7))]
        audio = played(part_of(instrument, notes), 3.0, 22_050)
        assert np.isfinite(audio).all()
        assert np.abs(audio).max() < 1.0
