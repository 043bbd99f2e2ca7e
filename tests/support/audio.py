"""Signals, files, sources and a small engine for tests. All seeded; audio is float32 ``(channels, frames)``."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from engine.api import Capabilities, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import Cancelled
from protocol.job import Progress
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.api import Audio


def noise(frames: int, channels: int = 2, *, seed: int = 0, level: float = 0.1) -> Audio:
    """White noise of the given RMS."""
    return (level * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def tones(frames: int, rate: int, channels: int = 2, *, first_hz: float = 220.0, start: int = 0) -> Audio:
    """A chord, another inversion in every channel; `start` is the frame at which its phases are counted from."""
    time = (start + np.arange(frames)) / rate
    chords = [[first_hz * ratio * (1 + channel) for ratio in (1.0, 1.25, 1.5)] for channel in range(channels)]
    return np.stack([0.1 * sum(np.sin(2 * np.pi * hz * time) for hz in chord) for chord in chords]).astype(np.float32)


def save(path: Path, audio: Audio, rate: int, *, subtype: str | None = None, format: str | None = None) -> Path:
    """Write an audio file by the name's ending (or `format`), making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype=subtype, format=format)
    return path


def db(ratio: float) -> float:
    return float(20.0 * np.log10(max(float(ratio), 1e-12)))


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def roughness(audio: Audio) -> float:
    """The greatest second difference: what a click shows in."""
    return float(np.abs(np.diff(audio.astype(np.float64), n=2, axis=1)).max(initial=0.0))


@dataclass
class ArraySource:
    """An `engine.api.Source` in memory; it remembers which spans were read."""

    audio: Audio
    rate: int = 48_000
    path: Path = Path("song.wav")
    sha256: str = "0" * 64
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def channels(self) -> int:
        return int(self.audio.shape[0])

    @property
    def frames(self) -> int:
        return int(self.audio.shape[1])

    def read(self, start: int, stop: int) -> Audio:
        assert 0 <= start <= stop <= self.frames
        self.reads.append((start, stop))
        return self.audio[:, start:stop].copy()


NOISE_VERBS = frozenset({Verb.REPAINT, Verb.EXTEND, Verb.PREPEND, Verb.LEGO, Verb.GENERATE})


@dataclass
class NoiseEngine:
    """A real, small engine: noise drawn from the seed, as loud as the window, 50 ms longer than the region at each end.

    It reports progress in four steps per take and honours cancellation at each. `requests` keeps what it was asked.
    """

    verbs: frozenset[Verb] = NOISE_VERBS
    requests: list[GenerationRequest] = field(default_factory=list)
    prepared: threading.Event = field(default_factory=threading.Event)

    def capabilities(self) -> Capabilities:
        why_not: Mapping[Verb, str] = {Verb.COVER: "The noise engine has no voice of its own to cover with."}
        return Capabilities("noise", "1.0", self.verbs, frozenset({TrackClass.DRUMS, TrackClass.BASS}), why_not=why_not)

    def prepare(self) -> None:
        self.prepared.set()

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        self.requests.append(request)
        tracks = request.tracks if request.verb.makes_stems else (None,)
        wanted = [(seed, track) for seed in request.seeds for track in tracks]
        takes = []
        for number, (seed, track) in enumerate(wanted):
            for step in range(4):
                if cancelled():
                    raise Cancelled("The job was cancelled.")
                done = (number + step / 4) / len(wanted)
                progress(Progress(fraction=done, seconds_left=10.0 * (1.0 - done), stage="making noise"))
            takes.append(self._take(request, seed, track))
        return takes

    def _take(self, request: GenerationRequest, seed: int, track: TrackClass | None) -> EngineTake:
        lead = round(0.05 * request.rate)
        first, after = request.region
        channels = request.source.channels if request.source else 2
        level = rms(request.window.audio) if request.window else 0.1
        index = list(TrackClass).index(track) if track else 0
        audio = noise(after - first + 2 * lead, channels, seed=seed * 100 + index, level=level)
        return EngineTake(audio, first - lead, seed, track, {"level": level})


@dataclass
class ChoirEngine(NoiseEngine):
    """Makes all regions of a job together, each louder the more there are, so that one alone sounds different."""

    together: list[int] = field(default_factory=list)
    """How many regions each call of `generate_regions` was for."""

    def generate_regions(
        self, requests: Sequence[GenerationRequest], progress: ReportProgress, cancelled: IsCancelled
    ) -> list[list[EngineTake]]:
        self.together.append(len(requests))
        made = []
        for number, request in enumerate(requests):
            progress(Progress(fraction=number / len(requests), seconds_left=float(len(requests) - number)))
            made.append(self.generate(request, lambda _: None, cancelled))
        notes = {"regions_together": list(range(len(requests))), "checkpoint": "choir-1"}
        return [
            [replace(take, audio=take.audio * np.float32(1 + 0.1 * len(requests)), notes=notes) for take in takes]
            for takes in made
        ]
