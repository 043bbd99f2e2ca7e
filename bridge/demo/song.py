"""The demo's own song, written as data and rendered in a second or two: a fresh machine has something to work on.

32 bars at 104 BPM in A minor: intro, verse, chorus, verse, chorus, outro. The same call gives the same samples. Drums
and bass sit on the tempo grid to the sample; keys, melody and hats stray from it by at most `HUMAN_S`. The file ends
on a bar line with the band still playing, so that an `extend` has somewhere to go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from bridge.demo import voices
from protocol.music import Region, TempoMap, TimeSignature

BPM = 104.0
KEY = "A minor"
HUMAN_S = 0.002
"""Largest distance, in seconds, of any onset from the grid."""
PEAK = 10 ** (-1.0 / 20.0)
"""Peak of the finished song: -1 dBFS."""

_SEED = 104
_BEATS_PER_BAR = 4
_CHORDS = {
    "Am7": (9, 0, 4, 7), "C": (0, 4, 7, 2), "Dm7": (2, 5, 9, 0), "Em7": (4, 7, 11, 2),
    "F": (5, 9, 0, 4), "G": (7, 11, 2, 9),
}  # fmt: skip
"""Pitch classes, the root first."""


@dataclass(frozen=True)
class Section:
    """A part of the song: its name, its first bar (from 1) and one chord per bar."""

    name: str
    first_bar: int
    chords: tuple[str, ...]

    @property
    def bars(self) -> int:
        return len(self.chords)


def _form(parts: Sequence[tuple[str, str]]) -> tuple[Section, ...]:
    sections: list[Section] = []
    bar = 1
    for name, chords in parts:
        sections.append(Section(name, bar, tuple(chords.split())))
        bar += sections[-1].bars
    return tuple(sections)


SECTIONS = _form(
    [
        ("intro", "Am7 F Am7 G"),
        ("verse", "Am7 F C G  Am7 F Dm7 Em7"),
        ("chorus", "F G Am7 C"),
        ("verse", "Am7 F C G  Am7 Dm7 F Em7"),
        ("chorus", "F G Am7 Em7"),
        ("outro", "Am7 F Am7 F"),
    ]
)
BARS = sum(section.bars for section in SECTIONS)

_MELODY: tuple[tuple[float, float, int], ...] = (  # beat in the chorus, length in beats, MIDI note
    (0.0, 1.0, 72), (1.0, 0.5, 74), (1.5, 1.75, 76), (3.5, 0.5, 74),
    (4.0, 1.5, 74), (5.5, 0.5, 71), (6.0, 1.25, 74), (7.5, 0.5, 72),
    (8.0, 1.5, 72), (9.5, 0.5, 71), (10.0, 1.75, 69),
)  # fmt: skip
_MELODY_ENDS: tuple[tuple[tuple[float, float, int], ...], ...] = (
    ((12.0, 1.0, 67), (13.0, 1.0, 72), (14.0, 1.5, 76)),
    ((12.0, 0.5, 67), (12.5, 0.5, 71), (13.0, 1.0, 74), (14.0, 1.75, 79)),
)


@dataclass(frozen=True)
class Hit:
    """One sound: its beat from the start, mono samples, gain, pan (-1 left to 1 right), share sent to the room."""

    beat: float
    sound: voices.Mono
    gain: float
    pan: float = 0.0
    room: float = 0.15
    human: bool = False


@dataclass(frozen=True)
class DemoSong:
    """The rendered song: `audio` float32 ``(2, frames)`` at `rate` Hz and all that a DAW would know about it."""

    audio: NDArray[np.float32]
    rate: int
    bpm: float
    key: str
    signature: TimeSignature
    sections: tuple[Section, ...]

    @property
    def frames(self) -> int:
        return int(self.audio.shape[1])

    @property
    def duration_s(self) -> float:
        return self.frames / self.rate

    @cached_property
    def tempo_map(self) -> TempoMap:
        return TempoMap.constant(self.bpm, self.signature)

    @cached_property
    def beats_s(self) -> tuple[float, ...]:
        """The time of every beat, in seconds."""
        return tuple(line.time_s for line in self.tempo_map.grid(0.0, self.duration_s))

    @property
    def suggested_region(self) -> Region:
        """Four bars in the middle: the first half of the second verse."""
        return Region.from_bars(self.tempo_map, self.sections[3].first_bar, 4)


def render_demo_song(rate: int = 48000) -> DemoSong:
    """Render the song at `rate` Hz (two seconds of one core at 48 kHz)."""
    signature = TimeSignature(_BEATS_PER_BAR, 4)
    tempo_map = TempoMap.constant(BPM, signature)
    frames = round(tempo_map.bar_start(BARS + 1) * rate)
    hits = [*_drums(rate), *_bass(rate), *_keys(rate), *_melody(rate)]
    band = _mix(hits, tempo_map, frames, rate)
    pad = _mix(list(_pad(rate)), tempo_map, frames, rate) * _duck(tempo_map, frames, rate)
    audio = _master(band + pad, rate)
    return DemoSong(audio, rate, BPM, KEY, signature, SECTIONS)


# --- the parts --------------------------------------------------------------------------------------------------------
def _bars() -> Iterator[tuple[Section, int, str, float]]:
    """Every bar: its section, its index in the section, its chord and its first beat."""
    for section in SECTIONS:
        for index, chord in enumerate(section.chords):
            yield section, index, chord, float((section.first_bar - 1 + index) * _BEATS_PER_BAR)


def _kick_beats(section: Section, index: int) -> tuple[float, ...]:
    if section.name == "intro":
        return () if index < 2 else (0.0, 2.0)
    if section.name == "chorus":
        return (0.0, 1.5, 2.5)
    return (0.0, 2.5) if index % 2 == 0 else (0.0, 1.75, 2.5)


def _drums(rate: int) -> Iterator[Hit]:
    for section, index, _, start in _bars():
        for beat in _kick_beats(section, index):
            yield Hit(start + beat, voices.kick(rate), 0.62 if beat == 0 else 0.52, room=0.03)
        if section.name != "intro":
            yield from _snares(section, index, start, rate)
        if section.name != "intro" or index >= 2:
            yield from _hats(section, index, start, rate)
        if index == 0 and section.first_bar > 1:
            yield Hit(start, voices.hat(rate, 9, 0.45), 0.13, pan=0.25, room=0.4)


def _snares(section: Section, index: int, start: float, rate: int) -> Iterator[Hit]:
    for beat in (1.0, 3.0):
        yield Hit(start + beat, voices.snare(rate), 0.30, room=0.3)
    if index == section.bars - 1 and section.name != "outro":  # a fill into the next section
        for step, gain in enumerate((0.10, 0.15, 0.20)):
            yield Hit(start + 3.25 + 0.25 * step, voices.snare(rate), gain, pan=-0.2 + 0.2 * step, room=0.3)
    elif index % 2:
        yield Hit(start + 3.75, voices.snare(rate), 0.06, room=0.2)  # a ghost note


def _hats(section: Section, index: int, start: float, rate: int) -> Iterator[Hit]:
    step = 0.25 if section.name == "chorus" else 0.5
    for number in range(round(_BEATS_PER_BAR / step)):
        beat = number * step
        accent = 0.105 if beat % 1 == 0.5 else 0.075 if beat % 1 == 0 else 0.045
        opens = index % 4 == 3 and beat == 3.5
        sound = voices.hat(rate, number % 4, 0.16 if opens else 0.028)
        yield Hit(start + beat, sound, accent, pan=0.3, room=0.1, human=True)


def _bass(rate: int) -> Iterator[Hit]:
    """Roots with the kick, a fifth or octave now and then, and a step towards the next bar's root."""
    bars = list(_bars())
    for (section, index, chord, start), following in zip(bars, [*bars[1:], bars[0]], strict=True):
        if section.name == "intro" and index < 2:
            continue
        root, next_root = _low_root(chord), _low_root(following[2])
        kicks = _kick_beats(section, index)
        for number, beat in enumerate(kicks):
            until = kicks[number + 1] if number + 1 < len(kicks) else 3.5
            note = root + 12 if section.name == "chorus" and beat == 1.5 else root
            yield Hit(start + beat, _tone(voices.bass, note, until - beat - 0.08, rate), 0.29, room=0.02)
        approach = next_root + (2 if next_root < root else -2) if index % 2 else root + 7
        yield Hit(start + 3.5, _tone(voices.bass, approach, 0.4, rate), 0.22, room=0.02)


def _keys(rate: int) -> Iterator[Hit]:
    """Electric piano: off-beat chords in the verses, broken chords in the choruses."""
    for (section, index, _, start), chord in zip(_bars(), _voicings(), strict=True):
        if section.name == "chorus":
            order = (0, 2, 1, 3, 2, 1, 3, 2)
            for number, voice in enumerate(order):
                sound = _tone(voices.electric_piano, chord[voice] + 12, 0.9, rate)
                yield Hit(start + number / 2, sound, 0.13 if number % 2 else 0.17, -0.35, 0.3, human=True)
            continue
        rhythm = (
            ((0.0, 1.3, 0.15), (1.5, 0.8, 0.12), (2.75, 1.1, 0.13))
            if index % 2
            else ((0.0, 1.4, 0.15), (1.5, 2.3, 0.12))
        )
        for beat, length, gain in rhythm:
            for voice, note in enumerate(chord):
                sound = _tone(voices.electric_piano, note, length, rate)
                yield Hit(start + beat, sound, gain, -0.35 + 0.1 * voice, 0.25, human=True)


def _pad(rate: int) -> Iterator[Hit]:
    for (section, _, _, start), chord in zip(_bars(), _voicings(), strict=True):
        gain = 0.085 if section.name == "chorus" else 0.06
        for voice, note in enumerate(chord):
            pan = (-0.7, 0.6, -0.3, 0.75)[voice]
            yield Hit(start, _tone(voices.pad, note, _BEATS_PER_BAR + 0.35, rate), gain, pan, 0.35)


def _melody(rate: int) -> Iterator[Hit]:
    choruses = [section for section in SECTIONS if section.name == "chorus"]
    for chorus, ending in zip(choruses, _MELODY_ENDS, strict=True):
        start = (chorus.first_bar - 1) * _BEATS_PER_BAR
        for beat, length, note in (*_MELODY, *ending):
            gain = 0.30 if beat % 4 == 0 else 0.26
            yield Hit(start + beat, _tone(voices.lead, note, length, rate), gain, 0.12, 0.35, human=True)


def _tone(voice: Callable[[int, int, int], voices.Mono], midi: int, beats: float, rate: int) -> voices.Mono:
    return voice(midi, round(beats * 60.0 / BPM * rate), rate)


def _low_root(chord: str) -> int:
    """The chord's root between C1 plus four semitones and D#2: where a bass plays it."""
    return 28 + (_CHORDS[chord][0] - 4) % 12


def _voicings() -> list[tuple[int, ...]]:
    """For every bar four notes around middle C, each chord in the position nearest to the one before."""
    chords: list[tuple[int, ...]] = []
    before: tuple[int, ...] = (57, 60, 64, 67)
    for _, _, chord, _ in _bars():
        octaves = [[note for note in range(53, 73) if note % 12 == pitch] for pitch in _CHORDS[chord]]
        before = min(
            (tuple(sorted(notes)) for notes in product(*octaves)),
            key=lambda notes: (sum(abs(a - b) for a, b in zip(notes, before, strict=True)), notes),
        )
        chords.append(before)
    return chords


# --- the mix ----------------------------------------------------------------------------------------------------------
def _mix(hits: Sequence[Hit], tempo_map: TempoMap, frames: int, rate: int) -> NDArray[np.float32]:
    """Sum the hits at their frames, equal-power panned, and add the room."""
    chance = np.random.default_rng(_SEED)
    dry, send = np.zeros((2, frames), np.float32), np.zeros(frames, np.float32)
    for hit in hits:
        stray = float(chance.uniform(-HUMAN_S, HUMAN_S)) if hit.human else 0.0
        first = max(0, round((tempo_map.time_at(hit.beat) + stray) * rate))
        sound = hit.sound[: frames - first] * np.float32(hit.gain)
        angle = (hit.pan + 1.0) * np.pi / 4.0
        last = first + len(sound)
        dry[0, first:last] += np.float32(np.cos(angle) * np.sqrt(2.0)) * sound
        dry[1, first:last] += np.float32(np.sin(angle) * np.sqrt(2.0)) * sound
        send[first:last] += np.float32(hit.room) * sound
    response = voices.room(rate)
    wet = np.stack([oaconvolve(send, ear)[:frames] for ear in response])
    return np.asarray(dry + wet, dtype=np.float32)


def _duck(tempo_map: TempoMap, frames: int, rate: int) -> NDArray[np.float32]:
    """Gain that gives way to each kick for a moment."""
    dip = 1.0 - 0.3 * np.exp(-((np.arange(round(0.3 * rate)) / rate - 0.04) ** 2) / (2 * 0.06**2))
    gain = np.ones(frames, np.float32)
    for section, index, _, start in _bars():
        for beat in _kick_beats(section, index):
            first = round(tempo_map.time_at(start + beat) * rate)
            part = gain[first : first + len(dip)]
            np.minimum(part, dip[: len(part)], out=part)
    return gain


def _master(mix: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Soft limiter (straight up to the knee, bent above it), peak at `PEAK`, 2 ms of fade at either end."""
    knee = 0.6
    level = 0.75 * mix
    over = np.abs(level) > knee
    level[over] = np.sign(level[over]) * (knee + (1 - knee) * np.tanh((np.abs(level[over]) - knee) / (1 - knee)))
    fade = round(0.002 * rate)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    level[:, :fade] *= ramp
    level[:, -fade:] *= ramp[::-1]
    return np.asarray(level * (PEAK / np.max(np.abs(level))), dtype=np.float32)
