"""Which voice plays which instrument: how loud, how it ends, from where, with how much room.

`_GAIN_DB` is calibrated: a busy part at velocity 90 has -20 LUFS, or up to 2 less where it is all short peaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from engine.sketch.score import Instrument
from engine.sketch.voices import drums, effects, keys, plucked, sustained, winds
from engine.sketch.voices.voice import Play, Voice

_GAIN_DB: Mapping[Instrument, float] = {
    Instrument.ACOUSTIC_KIT: -8.5,
    Instrument.BRUSH_KIT: -6.3,
    Instrument.ELECTRONIC_KIT: -10.0,
    Instrument.HAND_PERCUSSION: -12.8,
    Instrument.UPRIGHT_BASS: -17.9,
    Instrument.FINGER_BASS: -17.0,
    Instrument.PICK_BASS: -17.2,
    Instrument.SYNTH_BASS: -14.4,
    Instrument.PIANO: -19.3,
    Instrument.ELECTRIC_PIANO: -20.2,
    Instrument.ORGAN: -17.9,
    Instrument.ACOUSTIC_GUITAR: -24.9,
    Instrument.CLEAN_GUITAR: -25.2,
    Instrument.MUTED_GUITAR: -19.9,
    Instrument.DRIVEN_GUITAR: -22.5,
    Instrument.STRING_ENSEMBLE: -31.9,
    Instrument.PIZZICATO: -19.5,
    Instrument.WARM_PAD: -32.0,
    Instrument.SYNTH_LEAD: -13.1,
    Instrument.SYNTH_PLUCK: -19.0,
    Instrument.BRASS_SECTION: -20.7,
    Instrument.TRUMPET: -16.0,
    Instrument.FLUTE: -16.5,
    Instrument.CLARINET: -16.1,
    Instrument.SAXOPHONE: -16.0,
    Instrument.EFFECTS: -14.2,
}


def _keyboard(pitch: int) -> float:
    """The player's view: low keys left."""
    return max(-0.5, min(0.5, (pitch - 60) / 60.0))


def _low_strings_left(pitch: int) -> float:
    return max(-0.15, min(0.15, (pitch - 55) / 120.0))


def _make(instrument: Instrument, gain: float) -> Voice:
    def string(play: Play, release_s: float, send_db: float = -15.0) -> Voice:
        return Voice(play, gain, release_s, send_db, _low_strings_left, variants=3)

    def bass(play: Play, release_s: float) -> Voice:
        return Voice(play, gain, release_s, -26.0, variants=2, monophonic=True)

    def wind(play: Play, send_db: float = -12.0) -> Voice:
        return Voice(play, gain, 0.07, send_db, is_tongued=True, breath_s=12.0)

    match instrument:
        case Instrument.ACOUSTIC_KIT:
            return drums.kit_voice(drums.ACOUSTIC, gain, -15.0)
        case Instrument.BRUSH_KIT:
            return drums.kit_voice(drums.BRUSHES, gain, -13.0)
        case Instrument.ELECTRONIC_KIT:
            return drums.kit_voice(drums.ELECTRONIC, gain, -22.0)
        case Instrument.HAND_PERCUSSION:
            return drums.kit_voice(drums.ACOUSTIC, gain, -14.0)
        case Instrument.UPRIGHT_BASS:
            return bass(plucked.upright_bass, 0.09)
        case Instrument.FINGER_BASS:
            return bass(plucked.finger_bass, 0.06)
        case Instrument.PICK_BASS:
            return bass(plucked.pick_bass, 0.05)
        case Instrument.SYNTH_BASS:
            return Voice(sustained.synth_bass, gain, 0.04, -30.0, monophonic=True, breath_s=20.0)
        case Instrument.PIANO:
            return Voice(keys.piano, gain, 0.14, -14.0, _keyboard)
        case Instrument.ELECTRIC_PIANO:
            return Voice(keys.electric_piano, gain, 0.1, -16.0, _keyboard)
        case Instrument.ORGAN:
            return Voice(keys.organ, gain, 0.03, -14.0, breath_s=20.0)
        case Instrument.ACOUSTIC_GUITAR:
            return string(plucked.acoustic_guitar, 0.08)
        case Instrument.CLEAN_GUITAR:
            return string(plucked.clean_guitar, 0.07)
        case Instrument.MUTED_GUITAR:
            return string(plucked.muted_guitar, 0.04)
        case Instrument.DRIVEN_GUITAR:
            return Voice(plucked.driven_guitar, gain, 0.05, -16.0, variants=3, bus=plucked.amplifier)
        case Instrument.PIZZICATO:
            return string(plucked.pizzicato, 0.12, -10.0)
        case Instrument.STRING_ENSEMBLE:
            return Voice(sustained.string_ensemble, gain, 0.28, -11.0, breath_s=16.0)
        case Instrument.WARM_PAD:
            return Voice(sustained.warm_pad, gain, 0.4, -12.0, breath_s=20.0)
        case Instrument.SYNTH_LEAD:
            return Voice(sustained.synth_lead, gain, 0.06, -14.0, is_tongued=True, breath_s=20.0)
        case Instrument.SYNTH_PLUCK:
            return Voice(sustained.synth_pluck, gain, 0.09, -12.0)
        case Instrument.BRASS_SECTION:
            return wind(winds.brass_section)
        case Instrument.TRUMPET:
            return wind(winds.trumpet)
        case Instrument.FLUTE:
            return wind(winds.flute, -10.0)
        case Instrument.CLARINET:
            return wind(winds.clarinet)
        case Instrument.SAXOPHONE:
            return wind(winds.saxophone)
        case Instrument.EFFECTS:
            return Voice(effects.play, gain, send_db=-12.0, exact=True)


@lru_cache(maxsize=64)
def voice_of(instrument: Instrument) -> Voice:
    """The voice of an instrument."""
    return _make(instrument, _GAIN_DB[instrument])
