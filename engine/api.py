"""What an engine is, what it is given and what it gives back.

Coordinates
-----------
Everything here counts *source frames*: frame 0 is the first sample of the source file, at the project's sample rate
`rate`. Positions before the source (prepend) are negative; positions past its last frame (extend) are
``>= source.frames``. `source_start_s` is the project time of frame 0, so project seconds are
``source_start_s + frame / rate``. Audio is float32 ``(channels, frames)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from protocol.errors import EngineCannot
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

REFERENCE_RATE = 48_000
"""Hz: the sample rate of `GenerationRequest.reference`, whatever the project's."""

IsCancelled = Callable[[], bool]
"""Asked at every step; when true the engine raises `protocol.errors.Cancelled` at once."""


@dataclass(frozen=True)
class CheckpointOffer:
    """Weights that an engine can work with, the configured ones among them: what they can do, and who they are."""

    verbs: frozenset[Verb]
    identity: str


@dataclass(frozen=True)
class Capabilities:
    """What an engine offers, as shown to users: `why_not` gives the sentence for verbs that it does not offer."""

    name: str
    version: str
    verbs: frozenset[Verb]
    tracks: frozenset[TrackClass] = frozenset()
    tracks_of: Mapping[Verb, frozenset[TrackClass]] = field(default_factory=dict)
    """The tracks of those verbs that can make others than `tracks`."""
    why_not_track: Mapping[TrackClass, str] = field(default_factory=dict)
    """The sentence for tracks that no verb, or not the one asked for, can make."""
    description: str = ""
    why_not: Mapping[Verb, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    """Distributions, beside those of this package, on whose versions the audio depends; recipes record them."""
    checkpoints: Mapping[str, CheckpointOffer] = field(default_factory=dict)
    """By name, the weights that a task may ask for; `verbs` and `why_not` are those of the configured ones."""
    judge: Callable[[Task], None] = field(default=lambda _task: None, compare=False)
    """Raises `EngineCannot` for what in a task is this engine's own business and cannot be; cheap."""

    def require(self, verb: Verb, tracks: Iterable[TrackClass] = (), checkpoint: str | None = None) -> None:
        """Raise `EngineCannot`, with a sentence that says what can be done instead, for what is not offered."""
        if checkpoint is not None and self.checkpoints and checkpoint not in self.checkpoints:
            raise EngineCannot(
                f"There is no checkpoint {checkpoint[:80]!r} here; there are {', '.join(sorted(self.checkpoints))}. "
                "`stembridge models list` shows what can be fetched."
            )
        named = self.checkpoints.get(checkpoint or "")
        verbs = self.verbs if named is None else named.verbs
        if verb not in verbs:
            who = f"The {self.name} engine" if named is None else f"The checkpoint {checkpoint}"
            told = self.why_not.get(verb) if named is None else None
            raise EngineCannot(told or f"{who} cannot {verb}; it offers {', '.join(sorted(verbs))}.")
        offered = self.tracks_of.get(verb, self.tracks)
        unknown = sorted(set(tracks) - offered) if verb.makes_stems else []
        if unknown:
            reasons = dict.fromkeys(self.why_not_track[track] for track in unknown if track in self.why_not_track)
            refused = f"The {self.name} engine's {verb} offers no {', '.join(unknown)}."
            raise EngineCannot(" ".join([refused, *reasons, f"It offers {', '.join(sorted(offered)) or 'no track'}."]))


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
    reference: Source | None = None
    """Audio whose sound the result shall have, at `REFERENCE_RATE`; its time has nothing to do with the project's."""
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
    what it holds beyond the region (a lead and a tail) serves the crossfades.

    `notes` goes into the recipe; JSON only. Two of them mean something outside the engine: `checkpoint`, the name of
    the weights that were used, which `redo` asks for again; `regions_together`, the indices of all regions of the job
    that went into one pass (see `Engine`), and `tracks_together`, all tracks of the job, if a track alone would have
    come out otherwise: `redo` asks for them together.
    """

    audio: Audio
    start: int
    seed: int
    track: TrackClass | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    midi: bytes | None = None
    """The notes that were played, as a Standard MIDI File that begins where the region begins."""
    on_written: Callable[[Audio], None] | None = None
    """Called once the take lies whole in its file, with exactly the samples that the file holds. If it fails, the job
    does not."""


class Engine(Protocol):
    """An engine, living in a process of its own (engine/worker.py), used by one job at a time.

    Two more methods are optional. ``configure(options: Mapping[str, Any])`` is called once, before anything else, with
    what the configuration says to this engine; it raises `StembridgeError` for what cannot be.
    ``generate_regions(requests: Sequence[GenerationRequest], progress, cancelled) -> list[list[EngineTake]]`` is called
    instead of `generate` for a job of several regions, and gives for each request what `generate` would. Takes that
    would have come out otherwise alone note `regions_together`.
    """

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
