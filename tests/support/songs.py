"""Short songs rendered on the spot, of which everything is known: beats, chords, sections. numpy only, quick.

A song has drums (kick on the downbeat and mid-bar, snare, hats), a bass and sustained chords. `Song.beats_s` are the
counts, `chord_at` gives the harmony, `kicks_s` the kicks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest
from protocol.music import TempoMap, TimeSignature
from protocol.task import Task
from protocol.vocabulary import Verb

Audio = NDArray[np.float32]

POP = ("Am", "F", "C", "G")
LIFT = ("Dm", "G", "C", "Am")
_PITCH = {name: index for index, name in enumerate(("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"))}


def chord_pitches(name: str) -> tuple[int, int, int]:
    """Pitch classes of root, third and fifth: ``Am`` is (9, 0, 4)."""
    minor = name.endswith("m")
    root = _PITCH[name.removesuffix("m")]
    return root, (root + (3 if minor else 4)) % 12, (root + 7) % 12


@dataclass
class MemorySource:
    """A source held in memory that remembers which frames were read: `reads` is a list of (start, stop)."""

    audio: Audio
    rate: int
    sha256: str = ""
    path: Path = Path("song.wav")
    reads: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sha256 = self.sha256 or hashlib.sha256(self.audio.tobytes()).hexdigest()

    @property
    def channels(self) -> int:
        return int(self.audio.shape[0])

    @property
    def frames(self) -> int:
        return int(self.audio.shape[1])

    def read(self, start: int, stop: int) -> Audio:
        assert 0 <= start <= stop <= self.frames, f"read {start}..{stop} of {self.frames}"
        self.reads.append((start, stop))
        return self.audio[:, start:stop].copy()


@dataclass(frozen=True)
class Song:
    """`audio` is float32 ``(channels, frames)`` at `rate`; `chords` names one chord per bar."""

    audio: Audio
    rate: int
    tempo_map: TempoMap
    chords: tuple[str, ...]
    kicks_s: tuple[float, ...]

    @property
    def duration_s(self) -> float:
        return self.audio.shape[1] / self.rate

    def source(self) -> MemorySource:
        return MemorySource(self.audio, self.rate)

    def chord_at(self, time_s: float) -> str:
        return self.chords[self.tempo_map.bar_at(time_s)[0] - 1]

    def frames_of_bars(self, first_bar: int, count: int) -> tuple[int, int]:
        """The region of `count` bars from `first_bar` on (bar 1 is the first)."""
        edges = (self.tempo_map.bar_start(first_bar), self.tempo_map.bar_start(first_bar + count))
        return round(edges[0] * self.rate), round(edges[1] * self.rate)


def render_song(
    chords: tuple[str, ...] = (*POP, *POP, *LIFT, *POP, *LIFT),
    tempo_map: TempoMap | None = None,
    rate: int = 22_050,
    channels: int = 2,
    seed: int = 1,
    drums: bool = True,
) -> Song:
    """One bar per chord. Every bar differs a little (velocities, hats, voicing), as played music does."""
    tempo_map = tempo_map or TempoMap.constant(120.0)
    rng = np.random.default_rng(seed)
    end_s = tempo_map.bar_start(len(chords) + 1)
    mix = np.zeros(round(end_s * rate), np.float32)
    kicks: list[float] = []
    for bar, chord in enumerate(chords, start=1):
        start_s, stop_s = tempo_map.bar_start(bar), tempo_map.bar_start(bar + 1)
        _add(mix, _pad(chord, stop_s - start_s, rate, rng), start_s, rate)
        lines = [line.time_s for line in tempo_map.grid(start_s, stop_s)]
        strong = _strong_counts(tempo_map.signature_at(start_s))
        for count, time_s in enumerate(lines):
            if count in strong:
                _add(mix, _bass(chord_pitches(chord)[0], rate, rng), time_s, rate)
            if not drums:
                continue
            _add(mix, _hat(rate, rng), time_s, rate)
            if count in strong:
                kicks.append(time_s)
                _add(mix, (1.0 if count == 0 else 0.7) * _kick(rate), time_s, rate)
            elif count % 2 == 1:
                _add(mix, _snare(rate, rng), time_s, rate)
    mix *= np.float32(0.5 / np.abs(mix).max())
    pan = np.linspace(1.0, 0.7, channels, dtype=np.float32)[:, None]
    return Song((mix * pan).astype(np.float32), rate, tempo_map, chords, tuple(kicks))


def _strong_counts(signature: TimeSignature) -> tuple[int, ...]:
    if signature.denominator == 8 and signature.numerator % 3 == 0:
        return tuple(range(0, signature.numerator, 3))
    return (0, 2) if signature.numerator == 4 else (0,)


def _add(mix: NDArray[np.float32], sound: NDArray[np.float64], time_s: float, rate: int) -> None:
    start = round(time_s * rate)
    sound = sound[: max(0, len(mix) - start)]
    mix[start : start + len(sound)] += sound.astype(np.float32)


def _time(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.arange(round(seconds * rate)) / rate


def _kick(rate: int) -> NDArray[np.float64]:
    t = _time(0.25, rate)
    return 0.9 * np.exp(-t * 14) * np.sin(2 * np.pi * (45 * t + 6 * (1 - np.exp(-t * 30)))) + 0.5 * np.exp(-t * 400)


def _snare(rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    t = _time(0.15, rate)
    return rng.uniform(0.35, 0.45) * np.exp(-t * 28) * (rng.standard_normal(len(t)) * 0.6 + np.sin(2 * np.pi * 190 * t))


def _hat(rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    t = _time(0.05, rate)
    return rng.uniform(0.08, 0.14) * np.exp(-t * 90) * np.diff(rng.standard_normal(len(t) + 1))


def _bass(pitch: int, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    t = _time(0.4, rate)
    frequency = 440.0 * 2 ** ((36 + pitch - 69) / 12)
    shape = np.minimum(t / 0.004, 1.0) * np.exp(-t * 5)
    return rng.uniform(0.3, 0.36) * shape * sum(np.sin(2 * np.pi * frequency * k * t) / k**1.5 for k in (1, 2, 3))


def _pad(chord: str, seconds: float, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    t = _time(seconds, rate)
    edge = np.minimum(np.minimum(t / 0.01, (seconds - t) / 0.01), 1.0)
    voices = np.zeros(len(t))
    for pitch in chord_pitches(chord):
        frequency = 440.0 * 2 ** ((60 + pitch - 69) / 12)
        for k in (1, 2, 3):
            phase = rng.uniform(0, 2 * np.pi)
            voices += rng.uniform(0.06, 0.08) / k * np.sin(2 * np.pi * frequency * k * t + phase)
    return edge * voices


def sketch_request(
    song: Song,
    region: tuple[int, int],
    verb: Verb = Verb.REPAINT,
    seeds: tuple[int, ...] = (1,),
    strength: float = 0.5,
    **changes: Any,
) -> GenerationRequest:
    """A request for the sketch engine as the worker would make it; `changes` replace fields of it."""
    request = GenerationRequest(
        verb=verb,
        task=Task(strength=strength),
        seeds=seeds,
        region=region,
        rate=song.rate,
        tempo_map=song.tempo_map,
        tempo_known=True,
        key=None,
        source=song.source(),
    )
    return replace(request, **changes)
