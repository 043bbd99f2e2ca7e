"""One job inside the engine's process, from request to exact audio in the spool: window -> engine -> splice -> report.

Promises: everything that can be refused is refused before the engine starts; every take has exactly
``round(end * rate) - round(start * rate)`` frames and depends on nothing but request, region and seed, so that one
variation alone is bit for bit the one among four (what an engine makes together it notes, see `engine.api`); progress
never goes backwards; a cancelled job ends between any two steps with `Cancelled` and leaves no half-written file.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import soundfile

from engine.api import (
    REFERENCE_RATE,
    Capabilities,
    Engine,
    EngineTake,
    GenerationRequest,
    IsCancelled,
    ReportProgress,
    Source,
)
from engine.audio import open_source, write_wav
from engine.measures.null import null_test
from engine.rerolls import rolled
from engine.splice import exact_region, splice
from engine.window import check_region, context_frames, make_window, require_signal
from protocol.errors import Cancelled, DiskFull, EngineError, MissingContext
from protocol.job import JobRequest, Progress, RenderedTake
from protocol.task import StemFormat, seeds

if TYPE_CHECKING:
    from engine.api import Audio

log = logging.getLogger("stembridge.engine")

DEFAULT_RATE = 48_000
"""Hz, for music made without a source in a project that named no rate."""

_READ_UNTIL = 0.05
_ENGINE_SHARE = 0.85 / 0.95
"""Of what reading leaves of the progress bar; the rest is for finishing the takes."""

_ON_A_SAMPLE = 1e-4
_LIBRARIES = ("numpy", "scipy", "librosa", "soundfile", "soxr")

Subtype = Literal["FLOAT", "PCM_24"]


def render(
    request: JobRequest,
    engine: Engine,
    spool_dir: Path,
    cache_dir: Path,
    progress: ReportProgress,
    cancelled: IsCancelled,
) -> list[RenderedTake]:
    """Make every take of a job, in the order region, variation, track; `rank` 1 is the best of its region and track.

    Raises `EngineCannot`, `MissingContext`, a `SourceError`, `DiskFull`, `Cancelled`, or what the engine raises. Files
    of takes already written stay in `spool_dir`, which belongs to the job.
    """
    offer = engine.capabilities()
    require_offer(request, offer)
    together = len(request.regions) > 1 and hasattr(engine, "generate_regions")
    rolls = request.task.min_score is not None and request.task.rerolls > 0
    phases = _Phases(progress, cancelled, 1 if together else len(request.regions), rolls=rolls)
    phases.reading(0.0)
    place = _place(request, cache_dir, phases)
    job = _Job(request, offer, place, spool_dir, cache_dir, library_versions(offer.libraries))
    generations = [_generation(job, index) for index in range(len(request.regions))]
    make = _made_together if together else _made_one_by_one
    takes = make(job, generations, engine, phases, cancelled)
    phases.report(1.0, 0.0, "finishing")
    return _ranked(takes)


def library_versions(libraries: Sequence[str] = ()) -> dict[str, str]:
    """Versions of what the audio depends on, for the recipe; imports none of it.

    `libraries` are an engine's own (`Capabilities.libraries`); those that are not installed are left out.
    """
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"python": platform.python_version(), **versions, "libsndfile": soundfile.__libsndfile_version__}


def _made_one_by_one(
    job: _Job, generations: Sequence[GenerationRequest], engine: Engine, phases: _Phases, cancelled: IsCancelled
) -> list[RenderedTake]:
    """The takes of each region, written before the next region is begun."""
    takes: list[RenderedTake] = []
    for index, generation in enumerate(generations):
        phases.poll()
        made = engine.generate(generation, partial(phases.making, index), cancelled)
        _require_takes(made, generation)
        for number, take in enumerate(made):
            phases.finishing(index, number / len(made))
            again = partial(phases.rolling, index, number, len(made))
            takes.append(_finished(job, index, generation, take, engine, again, cancelled))
    return takes


def _made_together(
    job: _Job, generations: Sequence[GenerationRequest], engine: Engine, phases: _Phases, cancelled: IsCancelled
) -> list[RenderedTake]:
    """The takes of all regions, from an engine that has `generate_regions`."""
    phases.poll()
    made = engine.generate_regions(generations, partial(phases.making, 0), cancelled)  # type: ignore[attr-defined]
    if len(made) != len(generations):
        raise EngineError(
            f"The engine returned takes for {len(made)} regions where {len(generations)} were asked for. Ask again, "
            "and please report it."
        )
    for of_region, generation in zip(made, generations, strict=True):
        _require_takes(of_region, generation)
    finished: list[RenderedTake] = []
    count = sum(map(len, made))
    for index, (of_region, generation) in enumerate(zip(made, generations, strict=True)):
        for take in of_region:
            phases.finishing(0, len(finished) / count)
            again = partial(phases.rolling, 0, len(finished), count)
            finished.append(_finished(job, index, generation, take, engine, again, cancelled))
    return finished


# --- before any work --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Place:
    """The source (None for `generate`) and the project frame, at `rate`, on which its frame 0 lies; the reference."""

    source: Source | None
    rate: int
    offset: int
    slack_frames: int
    reference: Source | None = None


@dataclass(frozen=True)
class _Job:
    request: JobRequest
    offer: Capabilities
    place: _Place
    spool_dir: Path
    cache_dir: Path
    versions: dict[str, str]

    @property
    def subtype(self) -> Subtype:
        return "PCM_24" if self.request.task.stem_format is StemFormat.WAV24 else "FLOAT"


def require_offer(request: JobRequest, offer: Capabilities) -> None:
    """Raise `EngineCannot` for what the engine does not offer, `MissingContext` if there is nothing to work on."""
    offer.require(request.verb, request.tracks, request.task.checkpoint)
    if not request.regions:
        raise MissingContext(
            f"There is no region to {request.verb}. Select one in the DAW, or send /stembridge/region."
        )
    if request.verb.needs_source and request.source is None:
        raise MissingContext(f"There is no audio to {request.verb}. Send /stembridge/source with the song's file.")


def _place(request: JobRequest, cache_dir: Path, phases: _Phases) -> _Place:
    rate = request.project.sample_rate
    reference = None
    if request.reference is not None:
        reference = open_source(Path(request.reference.file), REFERENCE_RATE, cache_dir, step=phases.reading_first)
    if request.source is None or not request.verb.needs_source:
        return _Place(None, rate or DEFAULT_RATE, 0, 0, reference)
    source = open_source(Path(request.source.file), rate, cache_dir, step=phases.reading)
    position = request.source.start_s * source.rate
    offset = round(position)
    # Where the file's ends do not lie on the project's samples, a DAW that selects the whole item and we who place the
    # file round them apart, by one frame at most.
    exact = source.info.rate == source.rate and abs(position - offset) < _ON_A_SAMPLE
    return _Place(source, source.rate, offset, 0 if exact else 1, reference)


def _generation(job: _Job, index: int) -> GenerationRequest:
    """What the engine is asked for one region, checked: see `engine.window` for what is refused."""
    request, place = job.request, job.place
    first, after = request.regions[index].frames(place.rate)
    region = (first - place.offset, after - place.offset)
    start_s = place.offset / place.rate
    window = None
    if place.source is not None:
        check_region(request.verb, region, place.source, start_s=start_s, slack_frames=place.slack_frames)
        context = context_frames(request.tempo_map, request.regions[index], place.rate, request.task.context_bars)
        window = make_window(place.source, region, *context)
        require_signal(request.verb, window, start_s=start_s)
    return GenerationRequest(
        verb=request.verb,
        task=request.task,
        seeds=seeds(request.task),
        region=region,
        rate=place.rate,
        tempo_map=request.tempo_map,
        tempo_known=request.tempo_known,
        key=request.key,
        tracks=request.tracks,
        source=place.source,
        reference=place.reference,
        source_start_s=start_s,
        window=window,
        cache_dir=job.cache_dir,
    )


# --- after the engine -------------------------------------------------------------------------------------------------
def _require_takes(made: Sequence[EngineTake], generation: GenerationRequest) -> None:
    order = [generation.seeds.index(take.seed) if take.seed in generation.seeds else -1 for take in made]
    whole = set(order) == set(range(len(generation.seeds))) and order == sorted(order)
    if not whole or len({(take.seed, take.track) for take in made}) < len(made):
        raise EngineError(
            f"The engine returned takes for the seeds {[take.seed for take in made]} where {list(generation.seeds)} "
            "were asked for. Ask again, and please report it."
        )


@dataclass(frozen=True)
class _Judged:
    """A take as it will be written, and what it measures; `notes` are the splice's."""

    take: EngineTake
    audio: Audio
    notes: dict[str, Any]
    measures: dict[str, Any]
    score: float


def _judged(job: _Job, generation: GenerationRequest, take: EngineTake) -> _Judged:
    """Splice and measure one take."""
    from engine import report  # here, because of the libraries that it imports

    audio, gain_db, notes = _exact(take, generation, job.subtype)
    clipped = int(np.count_nonzero(np.abs(audio) > 1.0)) if job.subtype == "PCM_24" else 0
    if clipped:  # where two loud signals meet in a crossfade; what is measured is what is written
        log.warning("%d samples of seed %d were clipped to 24 bits", clipped, take.seed)
        audio = np.clip(audio, -1.0, 1.0)
        notes["clipped_samples"] = clipped
    span, rate = generation.region, generation.rate
    measures = report.measure(
        audio, region=span, rate=rate, request=generation, spliced_gain_db=gain_db, track=take.track
    )
    return _Judged(take, audio, notes, measures, float(report.score(measures)))


def _finished(
    job: _Job,
    index: int,
    generation: GenerationRequest,
    take: EngineTake,
    engine: Engine,
    again: ReportProgress,
    cancelled: IsCancelled,
) -> RenderedTake:
    """Splice, measure and write one take, or the best of its tries (see `engine.rerolls`)."""
    variation = generation.seeds.index(take.seed) + 1
    kept = rolled(take, generation, engine, partial(_judged, job, generation), again, cancelled)
    take, audio, measures = kept.best.take, kept.best.audio, kept.best.measures
    track = f"_{take.track}" if take.track else ""
    file = job.spool_dir / f"region-{index + 1}_variation-{variation}{track}.wav"
    write_wav(file, audio, generation.rate, job.subtype)
    held = audio if job.subtype == "FLOAT" else _read_back(file)
    if generation.window is not None and generation.verb.joins_source:
        measures["null"] = null_test(held, generation.region, generation.window)
    _tell_written(take, file, held)
    return RenderedTake(
        file=str(file),
        midi=_write_midi(take.midi, file.with_suffix(".mid")),
        region=index,
        variation=variation,
        start_frame=generation.region[0] + job.place.offset,
        frames=audio.shape[1],
        sample_rate=generation.rate,
        channels=audio.shape[0],
        track=take.track,
        seed=take.seed,
        score=kept.best.score,
        measures=measures,
        source_sha256=job.place.source.sha256 if job.place.source else None,
        reference_sha256=job.place.reference.sha256 if job.place.reference else None,
        engine=job.offer.name,
        engine_version=job.offer.version,
        engine_notes={**take.notes, **kept.best.notes, **kept.notes},
        versions=job.versions,
    )


def _write_midi(notes: bytes | None, file: Path) -> str | None:
    if notes is None:
        return None
    try:
        file.write_bytes(notes)
    except OSError as error:
        raise DiskFull(f"The notes could not be written to {file}: {error.strerror}. Free some space there.") from error
    return str(file)


def _read_back(file: Path) -> Audio:
    return np.ascontiguousarray(soundfile.read(file, dtype="float32", always_2d=True)[0].T)


def _tell_written(take: EngineTake, file: Path, held: Audio) -> None:
    """Tell the engine which samples the file holds."""
    if take.on_written is None:
        return
    try:
        take.on_written(held)
    except Exception:
        log.exception("the engine could not use what was written to %s", file.name)


def _exact(take: EngineTake, generation: GenerationRequest, subtype: Subtype) -> tuple[Audio, float, dict[str, Any]]:
    """The region's audio, the gain on it, and what the recipe should tell about it."""
    if generation.window is None or not generation.verb.joins_source:
        return exact_region(take, generation.region), 0.0, {}
    ceiling = 1.0 if subtype == "PCM_24" else None
    spliced = splice(take, generation.window, generation.region, ceiling=ceiling)
    joins = [str(join) for join in spliced.joins]
    note = {"gain_db": spliced.gain_db, "fade_frames": list(spliced.fade_frames), "joins": joins}
    return spliced.audio, spliced.gain_db, {"splice": note}


def _ranked(takes: list[RenderedTake]) -> list[RenderedTake]:
    """The same takes with their ranks: by score among those of one region and track, ties by variation."""
    ranks: dict[int, int] = {}
    counts: dict[object, int] = {}
    for number in sorted(range(len(takes)), key=lambda n: (-takes[n].score, takes[n].variation)):
        group = (takes[number].region, takes[number].track)
        ranks[number] = counts[group] = counts.get(group, 0) + 1
    return [take.model_copy(update={"rank": ranks[number]}) for number, take in enumerate(takes)]


# --- progress ---------------------------------------------------------------------------------------------------------
class _Phases:
    """Maps the phases of a job onto one progress bar that only moves forward: reading 0 to 5 %, then an equal share for
    each region (one share for all if they are made together), of which the engine has nine tenths and finishing the
    takes the last, or half each if takes may be made again; asks for cancellation at each."""

    def __init__(self, progress: ReportProgress, cancelled: IsCancelled, regions: int, *, rolls: bool = False) -> None:
        self._progress, self._cancelled, self._regions = progress, cancelled, regions
        self._engine_share = 0.5 if rolls else _ENGINE_SHARE
        self._reached = 0.0

    def poll(self) -> None:
        if self._cancelled():
            raise Cancelled("The job was cancelled.")

    def report(self, fraction: float, seconds_left: float, stage: str, step: Progress | None = None) -> None:
        self._reached = min(1.0, max(self._reached, fraction))
        told = {"fraction": self._reached, "seconds_left": seconds_left, "stage": stage}
        self._progress((step or Progress()).model_copy(update=told))  # a copy: an engine's step may say more

    def reading_first(self, fraction: float) -> None:
        """Reading what is read before the source."""
        self.reading(fraction / 2.0)

    def reading(self, fraction: float) -> None:
        self.poll()
        self.report(_READ_UNTIL * fraction, -1.0, "reading the source")

    def making(self, region: int, progress: Progress) -> None:
        seconds_left = progress.seconds_left
        if seconds_left >= 0.0 and progress.fraction < 1.0:  # regions to come take as long as this one
            seconds_left += (self._regions - region - 1) * seconds_left / (1.0 - progress.fraction)
        self.report(
            self._at(region, self._engine_share * progress.fraction), seconds_left, progress.stage or "making", progress
        )

    def finishing(self, region: int, fraction: float) -> None:
        self.poll()
        self.report(self._finished_at(region, fraction), -1.0, "finishing")

    def rolling(self, region: int, number: int, count: int, progress: Progress) -> None:
        """Making take `number` of `count` again."""
        fraction = (number + progress.fraction) / count
        self.report(self._finished_at(region, fraction), progress.seconds_left, progress.stage, progress)

    def _finished_at(self, region: int, fraction: float) -> float:
        return self._at(region, self._engine_share + (1.0 - self._engine_share) * fraction)

    def _at(self, region: int, fraction: float) -> float:
        return _READ_UNTIL + (1.0 - _READ_UNTIL) * (region + fraction) / self._regions
