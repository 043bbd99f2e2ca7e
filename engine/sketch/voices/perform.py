"""From a part to sound: every note on its exact sample, in a small room, never louder than full scale.

A note begins on sample ``round(frame_of(tempo_map.time_at(beat)))``. Strokes that sound alike are rendered once. The
sound is built block by block, so beyond the result itself memory does not grow with the span.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.api import IsCancelled
from engine.sketch.analysis import check
from engine.sketch.score import Note, Part
from engine.sketch.voices.instruments import voice_of
from engine.sketch.voices.room import Room
from engine.sketch.voices.tones import HIGHEST_SHARE, Floats, fall, frequency, mixed_bits
from engine.sketch.voices.voice import Stroke, Voice
from protocol.music import TempoMap

if TYPE_CHECKING:
    from engine.api import Audio

NOMINAL_VELOCITY = 90
_LEVEL_EXPONENT = 1.3
"""Of the amplitude by velocity; the brighter timbre of a harder stroke comes on top."""
_FADE_S = 0.005
_BLOCK_S = 1.4
_CACHE_SAMPLES = 16_000_000
_LONGEST_S = 24.0
"""What is plucked or struck has died by then."""
_TONGUE_S = 0.018
"""A tongued note is let go in this time, and is silent before the next one for a little more than half of it."""
_CHOKE_S = 0.02
_KNEE, _CEILING = 0.7, 0.985


@dataclass(frozen=True)
class Event:
    """A note on the samples of the span: begins at `at`, is let go after `frames`."""

    at: int
    frames: int
    pitch: int
    velocity: int
    variant: int
    release: int


def perform(
    part: Part,
    tempo_map: TempoMap,
    span: tuple[int, int],
    rate: int,
    frame_of: Callable[[float], float],
    cancelled: IsCancelled,
) -> Audio:
    """`part` as it sounds in source frames ``span[0] .. span[1]``, float32 ``(2, span[1] - span[0])``.

    Notes that begin before the span are not played; what still sounds at its end is faded in 5 ms. A busy part at
    velocity 90 has about -20 LUFS whatever the instrument. Raises `Cancelled`.
    """
    voice = voice_of(part.instrument)
    events = events_of(part, voice, tempo_map, span, rate, frame_of)
    return sounded(events, _Strokes(voice, events, rate), part, voice, span[1] - span[0], rate, cancelled)


# --- the score on samples --------------------------------------------------------------------------------------------
def events_of(
    part: Part,
    voice: Voice,
    tempo_map: TempoMap,
    span: tuple[int, int],
    rate: int,
    frame_of: Callable[[float], float],
) -> list[Event]:
    """The notes that begin in the span, in order, each ended where its voice says that it ends."""

    def frame(beat: float) -> int:
        at = round(frame_of(tempo_map.time_at(beat))) - span[0]
        return 0 if at == -1 else at  # the span's edge is rounded in project time, which may part it from its own beat

    timed = [(frame(note.beat), frame(note.end), note) for note in part.notes]
    ends = _ends(timed, voice, rate)
    events: list[Event] = []
    counts: dict[int, int] = {}
    last: dict[int, int] = {}
    for (at, _, note), (end, release) in zip(timed, ends, strict=True):
        index = counts[note.pitch] = counts.get(note.pitch, -1) + 1
        variant = _variant(note.pitch, index, voice.variants, last.get(note.pitch))
        last[note.pitch] = variant
        if not 0 <= at < span[1] - span[0] or _is_too_high(note.pitch, voice, rate):
            continue
        if voice.breath_s is None and not voice.exact:
            end = min(end, at + round(_LONGEST_S * rate))
        step = round(voice.breath_s * rate) if voice.breath_s else max(1, end - at)
        for breath in range(at, max(end, at + 1), step):
            frames = max(1, min(end - breath, step))
            events.append(Event(breath, frames, note.pitch, min(127, max(1, note.velocity)), variant, release))
    return sorted(events, key=lambda event: event.at)


def _variant(pitch: int, index: int, variants: int, last: int | None) -> int:
    """Which of its sounds the pitch's note number `index` has: as by chance, never the same twice running."""
    chosen = mixed_bits(pitch, index) % variants
    return (chosen + 1) % variants if chosen == last else chosen


def _is_too_high(pitch: int, voice: Voice, rate: int) -> bool:
    """True for a note of which the sample rate could not even hold the fundamental."""
    return voice.rings_s is None and not voice.exact and frequency(pitch) > 0.96 * HIGHEST_SHARE * rate


def _ends(timed: Sequence[tuple[int, int, Note]], voice: Voice, rate: int) -> list[tuple[int, int]]:
    """Where each note ends, and in how many frames it then dies away."""
    starts: dict[int, list[int]] = {}
    for at, _, note in timed:
        starts.setdefault(note.pitch, []).append(at)
    every = sorted({at for at, _, _ in timed})
    release = max(2, round(voice.release_s * rate))
    ends = []
    for at, end, note in timed:
        if voice.exact:
            ends.append((end, 2))
        elif voice.rings_s is not None:
            rings = at + round(voice.rings_s(note.pitch) * rate)
            stops = [_next(starts[other], at) for other in voice.choked_by(note.pitch) if other in starts]
            stop = min((stop for stop in stops if stop is not None), default=rings)
            ends.append((min(rings, stop), max(2, round(_CHOKE_S * rate))))
        else:
            again = _next(every if voice.monophonic else starts[note.pitch], at)
            end = end if again is None else min(end, again)
            tongue = round(_TONGUE_S * rate)
            following = _next(every, max(at, end - 2 * tongue)) if voice.is_tongued else None
            if following is None or not at + 4 * tongue < following <= end + tongue:
                ends.append((end, release))
            else:
                ends.append((min(end, following - round(1.6 * tongue)), tongue))
    return ends


def _next(starts: Sequence[int], at: int) -> int | None:
    index = bisect_right(starts, at)
    return starts[index] if index < len(starts) else None


# --- sound -----------------------------------------------------------------------------------------------------------
Dry = Callable[[Floats, int, int], None]
"""Adds to the whole ``(2, frames)`` what begins in frames ``first .. after``: may reach beyond, but not before them."""


class _Strokes:
    """The sound of each event, alike ones rendered once; bounded."""

    def __init__(self, voice: Voice, events: Sequence[Event], rate: int) -> None:
        self._voice, self._rate, self._events = voice, rate, events
        self._starts = [event.at for event in events]
        self._gain = 10.0 ** (voice.gain_db / 20.0)
        self._longest: dict[tuple[int, int, int], int] = {}
        for event in events:
            key = self._key(event)
            self._longest[key] = max(self._longest.get(key, 0), event.frames + event.release)
        self._kept: OrderedDict[tuple[int, int, int], Floats] = OrderedDict()
        self._samples = 0

    def __call__(self, out: Floats, first: int, after: int) -> None:
        """As `Dry` says."""
        for event in self._events[bisect_left(self._starts, first) : bisect_left(self._starts, after)]:
            _add(out, event.at, self._sound(event), self._voice.pan(event.pitch), self._gain)

    def _sound(self, event: Event) -> Floats:
        """``(frames,)`` or ``(2, frames)``, at the level of its velocity, released at its end."""
        if self._voice.exact:
            stroke = Stroke(event.pitch, event.velocity, event.variant, event.frames, self._rate)
            return self._voice.play(stroke) * _level(event.velocity)
        held = self._held(event)
        sound = held[..., : event.frames + event.release] * _level(event.velocity)
        dying = sound[..., event.frames :]
        dying *= fall(event.release)[: dying.shape[-1]]
        return sound

    def _held(self, event: Event) -> Floats:
        key = self._key(event)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pitch, velocity, variant = key
        sound = self._voice.play(Stroke(pitch, velocity, variant, self._longest[key], self._rate))
        self._kept[key] = sound
        self._samples += sound.size
        while self._samples > _CACHE_SAMPLES and len(self._kept) > 1:
            self._samples -= self._kept.popitem(last=False)[1].size
        return sound

    @staticmethod
    def _key(event: Event) -> tuple[int, int, int]:
        return event.pitch, min(127, 10 * round(event.velocity / 10) or 5), event.variant


def _level(velocity: int) -> np.float32:
    return np.float32((velocity / NOMINAL_VELOCITY) ** _LEVEL_EXPONENT)


def sounded(
    events: Sequence[Event], dry: Dry, part: Part, voice: Voice, frames: int, rate: int, cancelled: IsCancelled
) -> Audio:
    """`dry` through the part's effect, its place in the stereo field, the room and a soft ceiling, ``(2, frames)``.

    Silent to the last bit before the first event and without any; faded at the end.
    """
    out = np.zeros((2, frames), np.float32)
    if not events:
        return out
    block = round(_BLOCK_S * rate)
    room, bus = Room(rate, block), voice.bus(rate) if voice.bus else None
    send = np.float32(10.0 ** (voice.send_db / 20.0) * math.sqrt(0.5))
    balance = math.sqrt(2.0) * _ears(part.pan)[:, None]
    for first in range(0, frames, block):
        check(cancelled)
        after = min(first + block, frames)
        dry(out, first, after)
        here = out[:, first:after]
        if bus:
            here[:] = bus(here)
        here *= balance
        here += room(here.sum(axis=0) * send)
        _limit(here)
    out[:, : events[0].at] = 0.0  # the room's transform leaves rounding there
    fade = min(frames, round(_FADE_S * rate))
    out[:, frames - fade :] *= fall(fade)
    return out


def _add(out: Floats, at: int, sound: Floats, pan: float, gain: float) -> None:
    place = out[:, at : at + sound.shape[-1]]
    sound = sound[..., : place.shape[1]]
    if sound.ndim == 1:
        for ear, share in enumerate(_ears(pan)):
            place[ear] += sound * np.float32(share * gain)
    else:
        place += sound * np.float32(gain)


def _ears(pan: float) -> Floats:
    """Equal-power gains of left and right."""
    angle = (min(1.0, max(-1.0, pan)) + 1.0) * math.pi / 4.0
    return np.array([math.cos(angle), math.sin(angle)], np.float32)


def _limit(block: Floats) -> None:
    """Bend what is above the knee so that it never reaches full scale; below the knee nothing changes."""
    over = np.abs(block) > _KNEE
    if over.any():
        peaks = block[over]
        room = _CEILING - _KNEE
        block[over] = np.sign(peaks) * (_KNEE + room * np.tanh((np.abs(peaks) - _KNEE) / room))
