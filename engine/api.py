"""What an engine is, what it is given and what it gives back.

Coordinates
-----------
Everything here counts *source frames*: frame 0 is the first sample of the source file, at the project's sample rate
`rate`. Positions before the source (prepend) are negative; positions past its last frame (extend) are
``>= source.frames``. `source_start_s` is the project time of frame 0, so project seconds are
``source_start_s + frame / rate``. Audio is float32 ``(channels, frames)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from protocol.job import Progress
from protocol.music import TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Audio = NDArray[np.float32]

ReportProgress = Callable[[Progress], None]
"""Called at every step of an engine; the watchdog counts on it."""

IsCancelled = Callable[[], bool]
"""Asked at every step; when true the engine raises `protocol.errors.Cancelled` at once."""


@dataclass(frozen=True)
class Capabilities:
    """What an engine offers, as shown to users: `why_not` gives the sentence for verbs that it does not offer."""

    name: str
    version: str
    verbs: frozenset[Verb]
    tracks: frozenset[TrackClass] = frozenset()
    description: str = ""
    why_not: Mapping[Verb, str] = field(default_factory=dict)


class Source(Protocol):
    """The source audio at the project's rate, read on demand (see `engine.audio.open_source`)."""

    path: Path
    sha256: str
    rate: int
    channels: int
    frames: int

    def read(self, start: int, stop: int) -> Audio:
        """Source frames ``start..stop`` as float32 ``(channels, stop - start)``; must lie inside the source.

        Raises `SourceUnreadable` if the file ends before its header says, `SourceDamaged` for NaN or infinity.
        """
        ...


@dataclass(frozen=True)
class Window:
    """A region and its surroundings. `audio` covers source frames ``start .. start + audio.shape[1]``.

    Frames that do not exist in the source are zero; ``exists`` is the span (source frames) that does.
    `region` is ``(first frame, frame after the last)`` in source frames.
    """

    audio: Audio
    rate: int
    start: int
    region: tuple[int, int]
    exists: tuple[int, int]

    @property
    def stop(self) -> int:
        return self.start + int(self.audio.shape[1])


@dataclass(frozen=True)
class GenerationRequest:
    """One region of one job. An engine returns, for each seed, a take that depends on nothing but this and the seed."""

    verb: Verb
    task: Task
    seeds: tuple[int, ...]
    region: tuple[int, int]
    rate: int
    tempo_map: TempoMap
    tempo_known: bool
    key: str | None
    tracks: tuple[TrackClass, ...] = ()
    source: Source | None = None
    source_start_s: float = 0.0
    window: Window | None = None
    cache_dir: Path | None = None
    """Where an engine may keep what it derives from sources, named by their hash."""

    def time_of(self, frame: float) -> float:
        """Project seconds of a source frame."""
        return self.source_start_s + frame / self.rate

    def frame_of(self, time_s: float) -> float:
        """Source frame (fractional) of a project time."""
        return (time_s - self.source_start_s) * self.rate


@dataclass(frozen=True)
class EngineTake:
    """What an engine made for one seed (and one track class).

    `audio` covers source frames ``start .. start + audio.shape[1]`` at the request's rate and must contain the region;
    what it holds beyond the region (a lead and a tail) serves the crossfades. `notes` goes into the recipe.
    """

    audio: Audio
    start: int
    seed: int
    track: TrackClass | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """An engine, living in a process of its own (engine/worker.py), used by one job at a time."""

    def capabilities(self) -> Capabilities:
        """What it offers. Cheap: imports nothing heavy."""
        ...

    def prepare(self) -> None:
        """Load what the first job would otherwise wait for."""
        ...

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        """Make the takes, one per seed (times one per track for verbs that make stems), in the order of the seeds.

        Raises `EngineCannot` for what it does not offer, `Cancelled`, or another `StembridgeError` with a sentence
        that tells the user what to do next.
        """
        ...
