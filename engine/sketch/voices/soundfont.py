"""A part played by a soundfont (SF2, SF3) that the user names, through tinysoundfont, an optional package.

Notes lie on the same samples as with our own voices, for the font is rendered from event to event; the room is the
same, and every instrument of a font is brought to our own voices' loudness. What a font lacks, our own voices play.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.api import IsCancelled
from engine.loudness import loudness_lufs
from engine.sketch.score import Drum, Instrument, Note, Part
from engine.sketch.voices.instruments import voice_of
from engine.sketch.voices.perform import NOMINAL_VELOCITY, Event, events_of, sounded
from engine.sketch.voices.perform import perform as own
from engine.sketch.voices.tones import Floats
from protocol.errors import BadArgument, EngineMissing
from protocol.music import TempoMap
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

_CHANNEL = 0
_DRUM_BANK = 128
_MOST_GAIN_DB = 30.0
_SETTLE_S = 0.5
_MATCH_BEATS = 8


def perform(
    part: Part,
    tempo_map: TempoMap,
    span: tuple[int, int],
    rate: int,
    frame_of: Callable[[float], float],
    cancelled: IsCancelled,
    *,
    soundfont: Path,
) -> Audio:
    """As `engine.sketch.voices.perform`, by the instruments of the file `soundfont`.

    Raises `EngineMissing` if tinysoundfont is not installed, `BadArgument` if the file is no soundfont, `Cancelled`.
    """
    if part.instrument is Instrument.EFFECTS:
        return own(part, tempo_map, span, rate, frame_of, cancelled)
    state = _state_of(soundfont)
    gain_db = _matching_gain_db(soundfont, state, part.instrument, rate)
    if gain_db is None:
        return own(part, tempo_map, span, rate, frame_of, cancelled)
    voice = replace(voice_of(part.instrument), gain_db=gain_db, bus=None)
    events = events_of(part, voice, tempo_map, span, rate, frame_of)
    synth = _silenced(_opened(soundfont, state, rate), rate)
    _select(synth, part.instrument)
    dry = _Font(synth, events, 10.0 ** (gain_db / 20.0))
    return sounded(events, dry, part, voice, span[1] - span[0], rate, cancelled)


class _Font:
    """A `Dry` that renders the font from event to event."""

    def __init__(self, synth: Any, events: Sequence[Event], gain: float) -> None:
        # At one frame keys are let go before they are struck again.
        turns = [(event.at + event.frames, 0, event.pitch, 0) for event in events]
        turns += [(event.at, 1, event.pitch, event.velocity) for event in events]
        self._turns = sorted(turns, reverse=True)
        self._synth, self._gain = synth, np.float32(gain)

    def __call__(self, out: Floats, first: int, after: int) -> None:
        """As `Dry` says; blocks must follow one another."""
        here = first
        while here < after:
            while self._turns and self._turns[-1][0] <= here:
                _, is_struck, pitch, velocity = self._turns.pop()
                if is_struck:
                    self._synth.noteon(_CHANNEL, pitch, velocity)
                else:
                    self._synth.noteoff(_CHANNEL, pitch)
            until = min(after, self._turns[-1][0]) if self._turns else after
            made = np.frombuffer(self._synth.generate_simple(until - here), np.float32)
            out[:, here:until] += made.reshape(-1, 2).T * self._gain
            here = until


def _state_of(soundfont: Path) -> tuple[int, int]:
    """Size and modification time: another state is another font."""
    try:
        state = soundfont.stat()
    except OSError:
        raise BadArgument(
            f"The soundfont {soundfont} cannot be read: put the file there, or correct or remove `soundfont` under "
            "[sketch] in the configuration."
        ) from None
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=1)  # a compressed font takes seconds to load, and a job plays many parts
def _opened(soundfont: Path, _state: tuple[int, int], rate: int) -> Any:
    """A synthesiser that has loaded the file; kept for the next part."""
    try:
        import tinysoundfont
    except ImportError:
        raise EngineMissing(
            f"Playing the soundfont {soundfont.name} needs the package tinysoundfont, which is not installed here: "
            "pip install 'stembridge[soundfont]', or remove `soundfont` under [sketch] in the configuration."
        ) from None
    synth = tinysoundfont.Synth(samplerate=rate)
    try:
        synth.sfload(str(soundfont))
    except RuntimeError:
        raise BadArgument(
            f"{soundfont} is no soundfont that can be read (SF2 or SF3): name another file, or remove `soundfont` "
            "under [sketch] in the configuration."
        ) from None
    return synth


def _select(synth: Any, instrument: Instrument) -> bool:
    """Select the instrument's program; False if the font lacks it. The standard kit stands in for any kit."""
    if not instrument.is_kit:
        if synth.sfpreset_name(0, 0, instrument.program) is None:
            return False
        synth.program_select(_CHANNEL, 0, 0, instrument.program)
        return True
    for kit in (instrument.program, 0):
        if synth.sfpreset_name(0, _DRUM_BANK, kit) is not None:
            synth.program_select(_CHANNEL, 0, 0, kit, is_drums=True)
            return True
    return False


def _silenced(synth: Any, rate: int) -> Any:
    """The synthesiser as if nothing had been played on it."""
    synth.sounds_off(_CHANNEL)
    synth.generate_simple(round(_SETTLE_S * rate))
    return synth


# --- as loud as our own voices ----------------------------------------------------------------------------------------
@lru_cache(maxsize=64)
def _matching_gain_db(soundfont: Path, state: tuple[int, int], instrument: Instrument, rate: int) -> float | None:
    """What brings the font's instrument to the loudness of our own; None if the font has none, or a silent one."""
    synth = _silenced(_opened(soundfont, state, rate), rate)
    if not _select(synth, instrument):
        return None
    part, tempo = _phrase(instrument), TempoMap.constant(120.0)
    frames = _MATCH_BEATS * rate // 2
    voice = replace(voice_of(instrument), gain_db=0.0, bus=None)
    events = events_of(part, voice, tempo, (0, frames), rate, lambda time_s: time_s * rate)
    theirs = np.zeros((2, frames), np.float32)
    _Font(synth, events, 1.0)(theirs, 0, frames)
    ours = own(part, tempo, (0, frames), rate, lambda time_s: time_s * rate, lambda: False)
    wanted, level = loudness_lufs(ours, rate), loudness_lufs(theirs, rate)
    if wanted is None or level is None:
        return None
    return float(np.clip(wanted - level, -_MOST_GAIN_DB, _MOST_GAIN_DB))


def _phrase(instrument: Instrument) -> Part:
    """What every instrument can play in two bars, to compare loudness by."""
    if instrument is Instrument.HAND_PERCUSSION:
        pitches: Sequence[int] = (Drum.HIGH_CONGA, Drum.TAMBOURINE, Drum.LOW_CONGA, Drum.SHAKER)
    elif instrument.is_kit:
        pitches = (Drum.KICK, Drum.CLOSED_HAT, Drum.SNARE, Drum.CLOSED_HAT)
    else:
        root = 33 if 32 <= instrument.program < 40 else 57
        pitches = (root, root + 3, root + 7, root + 12)
    notes = [Note(float(beat), 1.0, pitches[beat % 4], NOMINAL_VELOCITY, float(beat)) for beat in range(_MATCH_BEATS)]
    return Part(TrackClass.KEYBOARD, instrument, tuple(notes))
