"""Which sound each General MIDI drum note has in each kit: how loud, how long, where in the stereo field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.sketch.score import Drum
from engine.sketch.voices import electronic_kit, kit, percussion
from engine.sketch.voices.tones import Floats
from engine.sketch.voices.voice import Play, Stroke, Voice

_HATS = frozenset({Drum.CLOSED_HAT, Drum.PEDAL_HAT, Drum.OPEN_HAT})
_NEAREST = {35: 36, 40: 38, 43: 41, 48: 47, 52: 49, 55: 49, 57: 49, 59: 51, 58: 56}
"""Drum notes of General MIDI that are played as another one."""
_DYING_SHARE = 0.12


@dataclass(frozen=True)
class Piece:
    """One instrument of a kit."""

    play: Play
    level: float
    rings_s: float
    pan: float = 0.0


_HANDS = {
    Drum.CLAP: Piece(percussion.clap, 0.7, 0.3, -0.1),
    Drum.TAMBOURINE: Piece(percussion.tambourine, 0.75, 0.45, 0.35),
    Drum.COWBELL: Piece(percussion.cowbell, 0.45, 0.7, 0.3),
    Drum.HIGH_BONGO: Piece(percussion.skin, 0.8, 0.4, -0.35),
    Drum.LOW_BONGO: Piece(percussion.skin, 0.85, 0.5, -0.15),
    Drum.MUTE_CONGA: Piece(percussion.skin, 1.5, 0.25, 0.1),
    Drum.HIGH_CONGA: Piece(percussion.skin, 0.8, 0.7, 0.1),
    Drum.LOW_CONGA: Piece(percussion.skin, 0.85, 0.9, 0.3),
    Drum.CABASA: Piece(percussion.cabasa, 0.6, 0.2, -0.45),
    Drum.MARACAS: Piece(percussion.maracas, 0.6, 0.15, -0.4),
    Drum.CLAVES: Piece(percussion.claves, 0.75, 0.3, 0.25),
    Drum.WOOD_BLOCK: Piece(percussion.wood_block, 0.8, 0.25, 0.4),
    Drum.TRIANGLE: Piece(percussion.triangle, 0.14, 3.0, -0.3),
    Drum.SHAKER: Piece(percussion.shaker, 0.65, 0.25, 0.4),
}
_TOMS = (Drum.FLOOR_TOM, Drum.LOW_TOM, Drum.MID_TOM, Drum.HIGH_TOM)
_TOM_PANS = (0.45, 0.2, -0.08, -0.3)


def _toms(play: Play, level: float) -> dict[int, Piece]:
    return {pitch: Piece(play, level, 1.2 - 0.15 * n, _TOM_PANS[n]) for n, pitch in enumerate(_TOMS)}


ACOUSTIC: Mapping[int, Piece] = (
    _HANDS
    | _toms(kit.tom, 0.85)
    | {
        Drum.KICK: Piece(kit.kick, 1.0, 0.7),
        Drum.SIDE_STICK: Piece(kit.side_stick, 0.7, 0.2, 0.05),
        Drum.SNARE: Piece(kit.snare, 0.8, 0.6, 0.04),
        Drum.CLOSED_HAT: Piece(kit.hat, 0.58, 0.35, -0.28),
        Drum.PEDAL_HAT: Piece(kit.hat, 0.45, 0.3, -0.28),
        Drum.OPEN_HAT: Piece(kit.hat, 0.42, 2.2, -0.28),
        Drum.CRASH: Piece(kit.crash, 0.6, 3.4, -0.4),
        Drum.RIDE: Piece(kit.ride, 0.62, 3.2, 0.36),
        Drum.RIDE_BELL: Piece(kit.ride, 0.62, 3.2, 0.36),
    }
)
BRUSHES: Mapping[int, Piece] = (
    _HANDS
    | _toms(kit.tom, 0.6)
    | {
        Drum.KICK: Piece(kit.brush_kick, 0.8, 0.8),
        Drum.SIDE_STICK: Piece(kit.side_stick, 0.5, 0.2, 0.05),
        Drum.SNARE: Piece(kit.brush_snare, 0.9, 0.6, 0.04),
        Drum.CLAP: Piece(kit.brush_snare, 0.95, 0.6, 0.04),
        40: Piece(kit.brush_snare, 0.9, 0.7, -0.1),
        Drum.CLOSED_HAT: Piece(kit.brush_hat, 0.5, 0.35, -0.28),
        Drum.PEDAL_HAT: Piece(kit.brush_hat, 0.55, 0.3, -0.28),
        Drum.OPEN_HAT: Piece(kit.brush_hat, 0.4, 2.2, -0.28),
        Drum.CRASH: Piece(kit.brush_crash, 0.55, 3.4, -0.4),
        Drum.RIDE: Piece(kit.brush_ride, 0.6, 3.2, 0.36),
        Drum.RIDE_BELL: Piece(kit.brush_ride, 0.5, 3.2, 0.36),
    }
)
ELECTRONIC: Mapping[int, Piece] = (
    _HANDS
    | _toms(electronic_kit.tom, 0.8)
    | {
        Drum.KICK: Piece(electronic_kit.kick, 0.9, 1.5),
        Drum.SIDE_STICK: Piece(electronic_kit.rim, 0.6, 0.15, 0.05),
        Drum.SNARE: Piece(electronic_kit.snare, 0.75, 0.6),
        Drum.CLAP: Piece(electronic_kit.clap, 0.65, 0.6),
        Drum.CLOSED_HAT: Piece(electronic_kit.hat, 0.6, 0.3, -0.15),
        Drum.PEDAL_HAT: Piece(electronic_kit.hat, 0.6, 0.25, -0.15),
        Drum.OPEN_HAT: Piece(electronic_kit.hat, 0.45, 1.5, -0.15),
        Drum.CRASH: Piece(electronic_kit.cymbal, 0.5, 3.0, 0.25),
        Drum.RIDE: Piece(electronic_kit.cymbal, 0.45, 1.8, 0.25),
        Drum.RIDE_BELL: Piece(electronic_kit.cymbal, 0.5, 1.8, 0.25),
        Drum.COWBELL: Piece(electronic_kit.cowbell, 0.55, 0.7, 0.2),
    }
)


def piece_of(pieces: Mapping[int, Piece], pitch: int) -> tuple[int, Piece]:
    """The piece that plays a note, and the note as that piece knows it; a note of no drum is played on the nearest."""
    known = pitch if pitch in pieces else _NEAREST.get(pitch, pitch)
    if known not in pieces:
        known = min(pieces, key=lambda other: (abs(other - pitch), other))
    return known, pieces[known]


def kit_voice(pieces: Mapping[int, Piece], gain_db: float, send_db: float) -> Voice:
    """The voice of a kit. A hat that is struck, or closed with the foot, stops the open one."""

    def play(stroke: Stroke) -> Floats:
        pitch, piece = piece_of(pieces, stroke.pitch)
        frames = min(stroke.frames, round(piece.rings_s * stroke.rate))
        sound = piece.play(Stroke(pitch, stroke.velocity, stroke.variant, frames, stroke.rate))
        return _died(np.asarray(sound * np.float32(piece.level), np.float32))

    return Voice(
        play,
        gain_db,
        send_db=send_db,
        variants=4,
        pan=lambda pitch: piece_of(pieces, pitch)[1].pan,
        rings_s=lambda pitch: piece_of(pieces, pitch)[1].rings_s,
        choked_by=lambda pitch: _HATS if pitch in _HATS else frozenset(),
    )


def _died(sound: Floats) -> Floats:
    """The last part of a drum's sound fades, so that however long it is, it ends in silence."""
    count = int(_DYING_SHARE * len(sound))
    sound[len(sound) - count :] *= np.linspace(1.0, 0.0, count, dtype=np.float32) ** 2
    return sound
