"""Busy parts for every instrument, as an arranger might write them: eight bars, straight, one velocity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.sketch.score import Drum, Effect, Instrument, Note, Part, in_order
from engine.sketch.voices import perform
from protocol.music import TempoMap
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

BPM = 120.0
TEMPO = TempoMap.constant(BPM)
LOW = {Instrument.UPRIGHT_BASS, Instrument.FINGER_BASS, Instrument.PICK_BASS, Instrument.SYNTH_BASS}
GUITARS = {
    Instrument.ACOUSTIC_GUITAR,
    Instrument.CLEAN_GUITAR,
    Instrument.MUTED_GUITAR,
    Instrument.DRIVEN_GUITAR,
}
SOLO = {Instrument.TRUMPET, Instrument.FLUTE, Instrument.CLARINET, Instrument.SAXOPHONE, Instrument.SYNTH_LEAD}
HELD = {Instrument.STRING_ENSEMBLE, Instrument.WARM_PAD, Instrument.ORGAN}
KITS = tuple(instrument for instrument in Instrument if instrument.is_kit)
PITCHED = tuple(i for i in Instrument if not i.is_kit and i is not Instrument.EFFECTS)
CHORDS = ((57, 60, 64, 69), (53, 57, 60, 65), (55, 60, 64, 67), (55, 59, 62, 67))
_ROOTS = (45, 41, 36, 43)
_STRUM = ((45, 52, 57, 60, 64), (41, 48, 53, 57, 60), (48, 52, 55, 60, 64), (43, 47, 50, 55, 59))


def note(beat: float, beats: float, pitch: int, velocity: int = 90) -> Note:
    return Note(beat, beats, pitch, velocity, beat)


def part_of(instrument: Instrument, notes: list[Note]) -> Part:
    return Part(TrackClass.KEYBOARD, instrument, in_order(notes))


def busy(instrument: Instrument, bars: int = 8, velocity: int = 90) -> Part:
    """The part, ``4 * bars`` beats long from beat 0."""
    notes: list[Note] = []
    for bar in range(bars):
        start, chord, root = 4.0 * bar, CHORDS[bar % 4], _ROOTS[bar % 4]
        if instrument is Instrument.HAND_PERCUSSION:
            notes += [note(start + k / 4, 0.25, Drum.SHAKER, velocity - 25 * (k % 2)) for k in range(16)]
            notes += [note(start + at, 0.25, pitch, velocity) for at, pitch in _CONGAS]
        elif instrument.is_kit:
            notes += [note(start + k / 2, 0.25, Drum.CLOSED_HAT, velocity - 20 * (k % 2)) for k in range(8)]
            notes += [note(start + at, 0.25, Drum.KICK, velocity) for at in (0.0, 1.5, 2.0)]
            notes += [note(start + at, 0.25, Drum.SNARE, velocity) for at in (1.0, 3.0)]
            if bar % 4 == 0:
                notes.append(note(start, 0.25, Drum.CRASH, velocity))
        elif instrument is Instrument.EFFECTS:
            kinds = (Effect.RISER, Effect.IMPACT, Effect.DOWNLIFTER, Effect.SUB_DROP)
            notes.append(note(start, 4.0, kinds[bar % 4], velocity))
        elif instrument in LOW:
            notes += [note(start + k / 2, 0.5, root + (12 if k == 5 else 0), velocity) for k in range(8)]
        elif instrument in GUITARS:
            tones = _STRUM[bar % 4][: 3 if instrument is Instrument.DRIVEN_GUITAR else 5]
            for k in range(8):
                notes += [note(start + k / 2 + 8 / 960 * n, 0.45, p, velocity) for n, p in enumerate(tones)]
        elif instrument in SOLO:
            notes += [note(start + k, 1.0, chord[k] + 12, velocity) for k in range(4)]
        elif instrument in HELD:
            notes += [note(start, 4.0, pitch, velocity) for pitch in chord]
        else:
            notes += [note(start + k, 0.9, pitch, velocity) for k in range(4) for pitch in chord]
    return part_of(instrument, notes)


_CONGAS = (
    (0.0, Drum.MUTE_CONGA),
    (0.5, Drum.HIGH_CONGA),
    (1.0, Drum.HIGH_CONGA),
    (1.5, Drum.LOW_CONGA),
    (2.5, Drum.MUTE_CONGA),
    (3.0, Drum.HIGH_CONGA),
    (3.5, Drum.LOW_CONGA),
)


def played(part: Part, seconds: float, rate: int = 48_000, *, tempo: TempoMap = TEMPO, start: int = 0) -> Audio:
    """The part's sound from source frame `start`, the source beginning at project time 0."""
    span = (start, start + round(seconds * rate))
    return perform(part, tempo, span, rate, lambda time_s: time_s * rate, lambda: False)


def mono(audio: Audio) -> np.ndarray:
    return audio.mean(axis=0)
