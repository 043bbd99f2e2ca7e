"""Jobs for the ACE-Step engine on a tiny checkpoint: a real song file, the real engine, the real render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.acestep import AceStepEngine
from engine.render import render
from protocol.job import JobRequest, Progress, ProjectRef, RenderedTake, SourceRef
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb
from tests.support.audio import noise, save, tones

STEPS = 4
"""Enough to go wrong in, few enough to be quick."""


def options(checkpoint: Path, **more: Any) -> dict[str, Any]:
    """The engine's options as the daemon passes them on."""
    return {"checkpoint": str(checkpoint), "device": "cpu", "memory": "resident", "compile": "off", **more}


def engine(checkpoint: Path, **more: Any) -> AceStepEngine:
    """A configured engine."""
    made = AceStepEngine()
    made.configure(options(checkpoint, **more))
    return made


def song(seconds: float, rate: int, channels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """Tones with a beat of noise: no two places alike, never silent."""
    frames = round(seconds * rate)
    beat = (np.arange(frames) % (rate // 2) < rate // 20).astype(np.float32)
    sound = tones(frames, rate, channels) * 0.5 + noise(frames, channels, seed=seed, level=0.1) * beat
    return sound.astype(np.float32)


@dataclass
class Studio:
    """A project folder with a song of some rate, and an engine that works on it."""

    folder: Path
    engine: AceStepEngine
    rate: int = 48_000
    seconds: float = 14.0
    channels: int = 2
    progress: list[Progress] = field(default_factory=list)
    jobs: int = 0

    def __post_init__(self) -> None:
        self.audio = song(self.seconds, self.rate, self.channels)
        self.file = save(self.folder / "song.wav", self.audio, self.rate, subtype="FLOAT")

    def request(
        self,
        verb: Verb,
        *spans: tuple[float, float],
        tracks: tuple[TrackClass, ...] = (),
        start_s: float = 0.0,
        reference: Path | None = None,
        rate: int | None = None,
        **task: Any,
    ) -> JobRequest:
        """A job of so many regions, in seconds of project time; `task` are fields of the task."""
        return JobRequest(
            verb=verb,
            task=Task(**{"seed": 7, "steps": STEPS, "positive_prompt": "warm analog bass", **task}),
            engine="acestep",
            project=ProjectRef(folder=str(self.folder), media_folder=str(self.folder), sample_rate=rate or self.rate),
            source=SourceRef(file=str(self.file), start_s=start_s) if verb.needs_source else None,
            reference=SourceRef(file=str(reference)) if reference else None,
            tempo_map=TempoMap.constant(97.53),
            key="A minor",
            regions=tuple(Region(*span) for span in spans),
            tracks=tracks,
        )

    def render(self, request: JobRequest, cancelled: Callable[[], bool] = lambda: False) -> list[RenderedTake]:
        """The takes of a job, each with its file."""
        self.jobs += 1
        spool = self.folder / f"spool-{self.jobs}"
        spool.mkdir()
        return render(request, self.engine, spool, self.folder / "cache", self.progress.append, cancelled)


def samples(take: RenderedTake) -> NDArray[np.float32]:
    """``(channels, frames)``."""
    return np.asarray(soundfile.read(take.file, dtype="float32", always_2d=True)[0].T)


def notes(take: RenderedTake) -> Mapping[str, Any]:
    return take.engine_notes
