"""What a band plays: notes on the tempo map's beats, one part per track class. MIDI files and sound are made of it.

Every position and length is a whole number of ticks (`PPQ` to the quarter note), humanising included, so that the
MIDI file beside a stem says exactly what the stem plays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from protocol.vocabulary import TrackClass

PPQ = 960
"""Ticks per quarter note."""

SHORTEST = 1 / 64
"""Beats: no note is shorter."""


def on_tick(beats: float) -> float:
    """`beats` rounded to the nearest tick."""
    return round(beats * PPQ) / PPQ


class Instrument(StrEnum):
    """What our own voices can play; `program` is the nearest in General MIDI."""

    ACOUSTIC_KIT = "acoustic kit"
    BRUSH_KIT = "brush kit"
    ELECTRONIC_KIT = "electronic kit"
    HAND_PERCUSSION = "hand percussion"
    UPRIGHT_BASS = "upright bass"
    FINGER_BASS = "finger bass"
    PICK_BASS = "pick bass"
    SYNTH_BASS = "synth bass"
    PIANO = "piano"
    ELECTRIC_PIANO = "electric piano"
    ORGAN = "organ"
    ACOUSTIC_GUITAR = "acoustic guitar"
    CLEAN_GUITAR = "clean guitar"
    MUTED_GUITAR = "muted guitar"
    DRIVEN_GUITAR = "driven guitar"
    STRING_ENSEMBLE = "string ensemble"
    PIZZICATO = "pizzicato strings"
    WARM_PAD = "warm pad"
    SYNTH_LEAD = "synth lead"
    SYNTH_PLUCK = "synth pluck"
    BRASS_SECTION = "brass section"
    TRUMPET = "trumpet"
    FLUTE = "flute"
    CLARINET = "clarinet"
    SAXOPHONE = "saxophone"
    EFFECTS = "effects"

    @property
    def program(self) -> int:
        """General MIDI program, 0 to 127 (of a drum kit: the kit's number)."""
        return _PROGRAMS[self]

    @property
    def track(self) -> TrackClass:
        """The track class it belongs to."""
        return _TRACKS[self]

    @property
    def is_kit(self) -> bool:
        """True if pitches are the drum notes of General MIDI (channel 10)."""
        return self in _KITS


_KITS = frozenset(
    {Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT, Instrument.ELECTRONIC_KIT, Instrument.HAND_PERCUSSION}
)
_PROGRAMS = dict(
    zip(
        Instrument,
        # kits: 0 standard, 40 brush, 24 electronic
        (0, 40, 24, 0, 32, 33, 34, 38, 0, 4, 16, 25, 27, 28, 30, 48, 45, 89, 81, 87, 61, 56, 73, 71, 65, 102),
        strict=True,
    )
)

_TRACKS = {
    **dict.fromkeys((Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT, Instrument.ELECTRONIC_KIT), TrackClass.DRUMS),
    Instrument.HAND_PERCUSSION: TrackClass.PERCUSSION,
    **dict.fromkeys(
        (Instrument.UPRIGHT_BASS, Instrument.FINGER_BASS, Instrument.PICK_BASS, Instrument.SYNTH_BASS), TrackClass.BASS
    ),
    **dict.fromkeys((Instrument.PIANO, Instrument.ELECTRIC_PIANO, Instrument.ORGAN), TrackClass.KEYBOARD),
    **dict.fromkeys(
        (
            Instrument.ACOUSTIC_GUITAR,
            Instrument.CLEAN_GUITAR,
            Instrument.MUTED_GUITAR,
            Instrument.DRIVEN_GUITAR,
        ),
        TrackClass.GUITAR,
    ),
    **dict.fromkeys((Instrument.STRING_ENSEMBLE, Instrument.PIZZICATO), TrackClass.STRINGS),
    **dict.fromkeys((Instrument.WARM_PAD, Instrument.SYNTH_LEAD, Instrument.SYNTH_PLUCK), TrackClass.SYNTH),
    **dict.fromkeys((Instrument.BRASS_SECTION, Instrument.TRUMPET), TrackClass.BRASS),
    **dict.fromkeys((Instrument.FLUTE, Instrument.CLARINET, Instrument.SAXOPHONE), TrackClass.WOODWINDS),
    Instrument.EFFECTS: TrackClass.FX,
}


class Drum:
    """General MIDI's drum notes that we write (GM 1 percussion key map)."""

    KICK, SIDE_STICK, SNARE, CLAP = 36, 37, 38, 39
    FLOOR_TOM, LOW_TOM, MID_TOM, HIGH_TOM = 41, 45, 47, 50
    CLOSED_HAT, PEDAL_HAT, OPEN_HAT = 42, 44, 46
    CRASH, RIDE, RIDE_BELL = 49, 51, 53
    TAMBOURINE, COWBELL = 54, 56
    HIGH_BONGO, LOW_BONGO = 60, 61
    MUTE_CONGA, HIGH_CONGA, LOW_CONGA = 62, 63, 64
    CABASA, MARACAS, CLAVES, WOOD_BLOCK, TRIANGLE, SHAKER = 69, 70, 75, 76, 81, 82


class Effect:
    """The notes of `Instrument.EFFECTS`: what a note is, and where in it the point lies."""

    IMPACT, SUB_DROP = 36, 38  # the point is the note's start
    RISER, REVERSE_CYMBAL = 48, 50  # the point is the note's end
    DOWNLIFTER, SHIMMER = 52, 54  # from the note's start over its length


@dataclass(frozen=True)
class Note:
    """A note at `beat` (quarter notes since project time 0) for `beats`, both whole ticks; velocity 1 to 127.

    `written` is where it stands in the score, before humanising: a grid position. Drums' lengths mean nothing.
    """

    beat: float
    beats: float
    pitch: int
    velocity: int
    written: float

    @property
    def end(self) -> float:
        return self.beat + self.beats


@dataclass(frozen=True)
class Part:
    """One instrument's notes, in order of `beat`, then pitch."""

    track: TrackClass
    instrument: Instrument
    notes: tuple[Note, ...] = ()
    pan: float = 0.0
    """-1 left to 1 right."""

    def clipped(self, start: float, end: float) -> Part:
        """The notes that begin in ``start <= beat < end``, none sounding beyond `end`."""
        kept = [
            replace(note, beats=max(1 / PPQ, min(note.beats, on_tick(end - note.beat))))
            for note in self.notes
            if start - 1e-9 <= note.beat < end - SHORTEST
        ]
        return replace(self, notes=in_order(kept))


def in_order(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes sorted as a `Part` holds them."""
    return tuple(sorted(notes, key=lambda note: (note.beat, note.pitch, note.beats, note.velocity)))
