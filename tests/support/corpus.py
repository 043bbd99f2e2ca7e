"""Whole songs rendered on the spot, of which everything is known: grid, key, chords, form, stems, every attack.

What ears, separation and judge are measured on. Each song is stereo, has drums, bass, keyboard, a lead in the centre
(it stands for the vocals) and sometimes a guitar at one side, each with a little room; the stems add up to the mix.
Kicks, snares and bass are on the grid to the sample, hats, keys and lead stray by up to `HUMAN_S`. The sound comes from
the demo's voices and from here, never from the engine: what is measured has no part in making what it is measured on.

Songs are rendered when first asked for (about a second at 22.05 kHz) and kept; the same arrays every time, so they are
read-only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from bridge.demo import voices
from engine.api import GenerationRequest
from engine.harmony import Chord, ChordSpan
from engine.sketch.lead_sheet import SongSection
from engine.window import context_frames, make_window
from protocol.key import Key
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb
from tests.support.corpus_plans import PLANS, Plan
from tests.support.songs import MemorySource

Audio = NDArray[np.float32]

PEAK = 0.7
HUMAN_S = 0.004


NAMES = tuple(PLANS)


@dataclass(frozen=True)
class CorpusSong:
    """`mix` and each stem are float32 ``(2, frames)`` at `rate`; `mix` is the sum of the stems.

    `chords` and `sections` cover the song (beats); `kicks_s` and `onsets_s` (every attack once) are seconds, rising.
    `swing` is where the second eighth of a beat falls.
    """

    name: str
    mix: Audio
    stems: dict[TrackClass, Audio]
    rate: int
    tempo_map: TempoMap
    key: Key
    chords: tuple[ChordSpan, ...]
    sections: tuple[SongSection, ...]
    kicks_s: tuple[float, ...]
    onsets_s: tuple[float, ...]
    swing: float

    @property
    def end_beat(self) -> float:
        return self.sections[-1].end

    @property
    def duration_s(self) -> float:
        return self.mix.shape[1] / self.rate

    @cached_property
    def beats_s(self) -> tuple[float, ...]:
        """The counts of the time signature, in seconds."""
        return tuple(line.time_s for line in self.tempo_map.grid(0.0, self.tempo_map.time_at(self.end_beat)))

    @cached_property
    def downbeats_s(self) -> tuple[float, ...]:
        grid = self.tempo_map.grid(0.0, self.tempo_map.time_at(self.end_beat))
        return tuple(line.time_s for line in grid if line.is_bar_line)

    @property
    def bars(self) -> int:
        return len(self.downbeats_s)

    def chord_at(self, time_s: float) -> Chord | None:
        beat = self.tempo_map.beat_at(time_s)
        return next((span.chord for span in self.chords if span.start <= beat + 1e-6 < span.end), None)

    def frames_of_bars(self, first_bar: int, count: int) -> tuple[int, int]:
        """The region of `count` bars from `first_bar` on (bar 1 is the first)."""
        edges = (self.tempo_map.bar_start(first_bar), self.tempo_map.bar_start(first_bar + count))
        return round(edges[0] * self.rate), round(edges[1] * self.rate)

    def source(self, audio: Audio | None = None) -> MemorySource:
        """The mix (or `audio`, such as one stem) as a source that begins at project time 0."""
        return MemorySource(self.mix if audio is None else audio, self.rate)

    def request(self, verb: Verb, first_bar: int, bars: int, **changes: Any) -> GenerationRequest:
        """A request over whole bars with the song's tempo map told and its key not; `changes` replace fields of it."""
        plain = GenerationRequest(
            verb=verb,
            task=Task(),
            seeds=(1,),
            region=self.frames_of_bars(first_bar, bars),
            rate=self.rate,
            tempo_map=self.tempo_map,
            tempo_known=True,
            key=None,
            source=self.source(),
        )
        return replace(plain, **changes)


def windowed(request: GenerationRequest) -> GenerationRequest:
    """The request with its window, as the worker makes it."""
    assert request.source is not None
    region = Region.from_frames(*request.region, request.rate)
    context = context_frames(request.tempo_map, region, request.rate, request.task.context_bars)
    return replace(request, window=make_window(request.source, request.region, *context))


def songs(rate: int = 22_050) -> tuple[CorpusSong, ...]:
    """All songs, in the order of `NAMES`."""
    return tuple(song(name, rate) for name in NAMES)


@lru_cache(maxsize=16)
def song(name: str, rate: int = 22_050) -> CorpusSong:
    """One song of `NAMES`."""
    return _Players(name, PLANS[name], rate).recorded()


# --- how it is played -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Bar:
    start: float
    label: str
    opens: bool
    closes: bool
    chords: tuple[tuple[float, float, Chord], ...]  # start beat, beats, chord


class _Players:
    """One session: four or five players, each on a stereo tape of their own."""

    def __init__(self, name: str, plan: Plan, rate: int) -> None:
        self.name, self.plan, self.rate = name, plan, rate
        self.beats_per_bar = plan.tempo_map.points[0].signature.beats_per_bar
        self.bars = tuple(self._bars())
        self.frames = round((plan.tempo_map.time_at(self.bars[-1].start + self.beats_per_bar) + 0.5) * rate)
        self.chance = np.random.default_rng(zlib.crc32(name.encode()))
        self.onsets: set[float] = set()
        self.kicks: list[float] = []

    def recorded(self) -> CorpusSong:
        stems = {TrackClass.DRUMS: self._drums(), TrackClass.BASS: self._bass(), TrackClass.KEYBOARD: self._keyboard()}
        stems[TrackClass.VOCALS] = self._lead()
        if self.plan.guitar:
            stems[TrackClass.GUITAR] = self._guitar()
        gain = np.float32(PEAK / np.abs(np.sum(list(stems.values()), axis=0)).max())
        stems = {track: stem * gain for track, stem in stems.items()}
        mix = np.sum(list(stems.values()), axis=0, dtype=np.float32)
        for array in (mix, *stems.values()):
            array.flags.writeable = False
        return CorpusSong(
            name=self.name,
            mix=mix,
            stems=stems,
            rate=self.rate,
            tempo_map=self.plan.tempo_map,
            key=Key.parse(self.plan.key),
            chords=self._chord_spans(),
            sections=self._sections(),
            kicks_s=tuple(self.kicks),
            onsets_s=tuple(sorted(self.onsets)),
            swing=self.plan.swing,
        )

    def _bars(self) -> Iterator[_Bar]:
        start = 0.0
        for label in self.plan.form:
            written = self.plan.progressions[label].split("|")
            for index, names in enumerate(written):
                chords = [Chord.parse(name) for name in names.split()]
                each = self.beats_per_bar / len(chords)
                spans = tuple((start + k * each, each, chord) for k, chord in enumerate(chords))
                yield _Bar(start, label, index == 0, index == len(written) - 1, spans)
                start += self.beats_per_bar

    def _chord_spans(self) -> tuple[ChordSpan, ...]:
        spans: list[ChordSpan] = []
        for bar in self.bars:
            for start, beats, chord in bar.chords:
                if spans and spans[-1].chord == chord:
                    spans[-1] = replace(spans[-1], end=start + beats)
                else:
                    spans.append(ChordSpan(start, start + beats, chord))
        return tuple(spans)

    def _sections(self) -> tuple[SongSection, ...]:
        opens = [bar for bar in self.bars if bar.opens]
        ends = [bar.start for bar in opens[1:]] + [self.bars[-1].start + self.beats_per_bar]
        return tuple(SongSection(bar.start, end, bar.label) for bar, end in zip(opens, ends, strict=True))

    # Each player writes on a dry stereo tape and a mono send to the room.
    def _tape(self) -> tuple[Audio, Audio]:
        return np.zeros((2, self.frames), np.float32), np.zeros(self.frames, np.float32)

    def _play(
        self,
        tape: tuple[Audio, Audio],
        beat: float,
        sound: voices.Mono,
        gain: float,
        pan: float = 0.0,
        stray: bool = False,
    ) -> float:
        """Put `sound` at `beat` (swung), constant-power panned; gives the time in seconds."""
        time_s = self._time_at(beat)
        if stray:
            time_s = max(0.0, time_s + float(self.chance.uniform(-HUMAN_S, HUMAN_S)))
        first = round(time_s * self.rate)
        self.onsets.add(time_s)
        sound = np.float32(gain * self.chance.uniform(0.85, 1.0)) * sound[: self.frames - first]
        angle = (pan + 1.0) * np.pi / 4.0
        dry, send = tape
        dry[0, first : first + len(sound)] += np.float32(np.cos(angle) * np.sqrt(2.0)) * sound
        dry[1, first : first + len(sound)] += np.float32(np.sin(angle) * np.sqrt(2.0)) * sound
        send[first : first + len(sound)] += sound
        return time_s

    def _in_room(self, tape: tuple[Audio, Audio], wet: float) -> Audio:
        dry, send = tape
        tail = voices.room(self.rate)[:, : round(0.3 * self.rate)]
        return dry + np.float32(wet) * np.stack([oaconvolve(send, ear)[: self.frames] for ear in tail])

    def _time_at(self, beat: float) -> float:
        """Seconds of a written beat: its second eighth swings."""
        whole, part = divmod(beat, 1.0)
        return self.plan.tempo_map.time_at(whole + (self.plan.swing if part == 0.5 else part))

    def _frames_of(self, beat: float, beats: float) -> int:
        return round((self._time_at(beat + beats) - self._time_at(beat)) * self.rate)

    def _drums(self) -> Audio:
        low, high = self._tape(), self._tape()
        played, rate = self.plan.drumming, self.rate
        for number, bar in enumerate(self.bars):
            for beat in played.chorus if bar.label != "A" else played.kicks:
                self.kicks.append(self._play(low, bar.start + beat, voices.kick(rate), 0.9))
            for beat in played.snares:
                self._play(high, bar.start + beat, voices.snare(rate), 0.42)
            for index, beat in enumerate(played.hats):
                rings = bar.label != "A" and index == len(played.hats) - 1
                sound = voices.hat(rate, (number * 5 + index) % 8, 0.12 if rings else 0.03)
                self._play(high, bar.start + beat, sound, 0.2 if beat % 1 == 0 else 0.13, pan=0.25, stray=True)
            if bar.opens:
                self._play(high, bar.start, voices.hat(rate, 9, 0.35), 0.35, pan=-0.3)
            if bar.closes:
                for beat in (0.5, 0.25) if self.plan.swing == 0.5 else (0.5,):
                    self._play(high, bar.start + self.beats_per_bar - beat, voices.snare(rate), 0.36)
        return low[0] + self._in_room(high, 0.12)

    def _bass(self) -> Audio:
        tape = self._tape()
        for bar in self.bars:
            kicks = self.plan.drumming.chorus if bar.label != "A" else self.plan.drumming.kicks
            changes = {start - bar.start for start, _, _ in bar.chords}
            kicks = sorted({*kicks, *changes})
            for beat, until in zip(kicks, [*kicks[1:], self.beats_per_bar], strict=True):
                chord = _sounding(bar, bar.start + beat)
                fifth = bar.closes and beat == kicks[-1] and beat not in changes
                midi = 28 + (chord.pitch_classes[2 if fifth else 0] - 4) % 12
                frames = self._frames_of(bar.start + beat, until - beat) - round(0.03 * self.rate)
                self._play(tape, bar.start + beat, voices.bass(midi, frames, self.rate), 0.55)
        return self._in_room(tape, 0.02)

    def _keyboard(self) -> Audio:
        tape = self._tape()
        before: tuple[int, ...] = (55, 59, 62, 65)
        for bar in self.bars:
            for start, beats, chord in bar.chords:
                before = _nearest_voicing(chord, before)
                if self.plan.sustained:
                    frames = self._frames_of(start, beats)
                    for voice, midi in enumerate(before):
                        self._play(
                            tape, start, voices.pad(midi, frames, self.rate), 0.09, (-0.7, 0.6, -0.3, 0.75)[voice]
                        )
                for beat in self.plan.comping:
                    if not start <= bar.start + beat < start + beats:
                        continue
                    frames = self._frames_of(bar.start + beat, 0.9)
                    for voice, midi in enumerate(before):
                        sound = voices.electric_piano(midi, frames, self.rate)
                        self._play(tape, bar.start + beat, sound, 0.2, -0.65 + 0.2 * voice, stray=True)
        return self._in_room(tape, 0.2)

    def _guitar(self) -> Audio:
        """Broken chords at the right."""
        tape = self._tape()
        for bar in self.bars:
            for index in range(round(2 * self.beats_per_bar)):
                beat = bar.start + index / 2
                tones = _sounding(bar, beat).pitch_classes
                midi = 55 + (tones[(0, 1, 2, 1)[index % 4] % len(tones)] - 7) % 12
                sound = _string(midi, round(0.7 * self.rate), self.rate)
                self._play(tape, beat, sound, 0.42, 0.7, stray=True)
        return self._in_room(tape, 0.15)

    def _lead(self) -> Audio:
        """Phrases of chord and scale tones that breathe every other bar's end; its own rhythm, in the centre."""
        tape = self._tape()
        scale = Key.parse(self.plan.key).scale
        midi = 69
        for number, bar in enumerate(self.bars):
            beat = 0.0 if number % 2 == 0 else 0.5
            stop = self.beats_per_bar - (1.0 if number % 2 else 0.0)
            while beat < stop:
                beats = min(float(self.chance.choice((0.5, 1.0, 1.5))), stop - beat)
                chord = _sounding(bar, bar.start + beat)
                allowed = chord.pitch_classes if beat % 1 == 0 else scale
                near = [m for m in range(64, 80) if m % 12 in allowed and 0 < abs(m - midi) <= 5]
                midi = int(self.chance.choice(near)) if near else midi
                frames = self._frames_of(bar.start + beat, beats) - round(0.02 * self.rate)
                self._play(tape, bar.start + beat, voices.lead(midi, frames, self.rate), 0.5, stray=True)
                beat += beats
        return self._in_room(tape, 0.15)


def _sounding(bar: _Bar, beat: float) -> Chord:
    return [chord for start, _, chord in bar.chords if start <= beat + 1e-9][-1]


def _nearest_voicing(chord: Chord, before: tuple[int, ...]) -> tuple[int, ...]:
    """Four notes around middle C with every tone of the chord, moving least."""
    tones = (*chord.pitch_classes, chord.root)[:4]
    octaves = [[midi for midi in range(50, 74) if midi % 12 == tone] for tone in tones]
    ways = (tuple(sorted(notes)) for notes in product(*octaves) if len(set(notes)) == 4)
    return min(ways, key=lambda notes: (sum(abs(a - b) for a, b in zip(notes, before, strict=True)), notes))


@lru_cache(maxsize=64)
def _string(midi: int, frames: int, rate: int) -> Audio:
    """A plucked string: partials of a string struck at a fifth of its length, dying the faster the higher they are."""
    time, hz = np.arange(frames) / rate, voices.frequency(midi)
    sound = np.zeros(frames)
    for n in range(1, min(12, int(0.45 * rate / hz)) + 1):
        level = np.sin(np.pi * n / 5) / n
        sound += level * np.exp(-time * (3.0 + 1.5 * n)) * np.sin(2 * np.pi * n * hz * time * (1 + 4e-5 * n * n))
    sound[-256:] *= np.linspace(1.0, 0.0, 256)
    sound[:32] *= np.linspace(0.0, 1.0, 32)
    return np.asarray(0.6 * sound, dtype=np.float32)
