"""From a task of the API to jobs: which verb its fields mean, over which regions, with which seeds.

The specification has one task for six workflows; which is meant follows from the audio and the two repainting times
(seconds of the audio, of `D` seconds):

========================  ==========================================================================================
no audio                  generate `duration` seconds
audio, no times           cover all of it
``0 <= s < e <= D``       repaint that span
``s < 0``, ``e < D``      prepend: new music up to `e`, which may lie inside the audio
``s > 0``, ``e > D``      extend: new music from `s` on
all of it and more        prepend what lies before the audio, extend what lies after it; the audio itself stays
========================  ==========================================================================================

A time that is missing means the audio's edge. Pure but for the seed, which is drawn here when none is given. Each
result is planned by itself (seed + 0, 1, ...), so that one that fails takes none of the others with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.api.models import Served
from bridge.intake import MAX_DURATION_S
from engine.audio import AudioInfo
from engine.encode import Encoding
from engine.window import MIN_REGION_S
from protocol.api_errors import ApiError, ApiRefused
from protocol.formats import MODEL_RATE
from protocol.job import JobRequest, ProjectRef, SourceRef
from protocol.music import Region, TempoMap, TimeSignature
from protocol.session import DEFAULT_BPM
from protocol.task import SEEDS, Task, draw_seed
from protocol.vocabulary import Verb

START, END = "settings.repaintingStart", "settings.repaintingEnd"
_ROUNDING_S = 1e-9
"""3.01 - 3 is a little less than a hundredth."""

_FULL_STEPS_OF = ("xl-base", "base")
"""Checkpoints that the specification's defaults (100 steps, guidance 10) are meant for; others have their own."""


@dataclass(frozen=True)
class PlannedResult:
    """One result: its seed, and its jobs as (what the job's id ends in, request) in order of time."""

    seed: int
    parts: tuple[tuple[str, JobRequest], ...]


def plan(
    task: Task,
    source: AudioInfo | None,
    served: Served,
    folder: Path,
    *,
    given: frozenset[str] = frozenset(),
    random_bits: Callable[[int], int] = secrets.randbits,
) -> tuple[PlannedResult, ...]:
    """The jobs of `task`, one result after the other; stems go below `folder`.

    `source` is what `task.inputs.audio` (a media UUID by now) holds; `given` names the fields the client sent itself.
    Raises `ApiRefused` with every problem of the two times, and `EngineCannot` for what the engine does not offer.
    """
    places = _places(task, source)
    if source is not None and places[0][0] is not Verb.COVER:
        _check_channels(task, source)
    base = draw_seed(random_bits) if task.seed is None else task.seed
    for verb, _ in places:
        served.capabilities.require(verb, checkpoint=served.checkpoint)
    shared = _for_engine(task, served, given)
    served.capabilities.judge(shared)
    results = []
    for number in range(task.number_results):
        seed = (base + number) % SEEDS
        requests = [_request(shared, verb, region, seed, source, served, folder) for verb, region in places]
        names = [""] if len(requests) == 1 else ["a", "b"]
        parts = tuple((f"{number + 1}{name}", request) for name, request in zip(names, requests, strict=True))
        results.append(PlannedResult(seed, parts))
    return tuple(results)


def _check_channels(task: Task, source: AudioInfo) -> None:
    """Refuse before the work what cannot be written after it: the result has the channels of its source."""
    channels = Encoding.of(task).channels
    if channels is not None and channels != 1 and source.channels > channels:
        sentence = (
            f"outputFormat is {task.output_format}, which has at most 2 channels, and the audio has {source.channels}: "
            "ask for WAV or FLAC, which keep them all, or set audioSettings.channels to 1, which mixes them."
        )
        raise ApiRefused(ApiError("incompatibleParameters", sentence, parameter="outputFormat", type="string"))


def _for_engine(task: Task, served: Served, given: frozenset[str]) -> Task:
    """The task as an engine gets it: nothing of delivery, which is no part of a recipe and may hold secrets."""
    update: dict[str, object] = {
        "number_results": 1,
        "checkpoint": served.checkpoint,
        "webhook_url": None,
        "upload_endpoint": None,
        "ttl": None,
    }
    if served.checkpoint is not None and served.checkpoint not in _FULL_STEPS_OF:
        update |= {field: None for name, field in (("steps", "steps"), ("CFGScale", "cfg_scale")) if name not in given}
    return task.model_copy(update=update)


def _request(
    task: Task, verb: Verb, region: Region, seed: int, source: AudioInfo | None, served: Served, folder: Path
) -> JobRequest:
    settings = task.settings
    beats = settings.time_signature or 4
    signature = TimeSignature(6, 8) if beats == 6 else TimeSignature(beats, 4)
    return JobRequest(
        verb=verb,
        task=task.model_copy(update={"seed": seed}),
        engine=served.engine,
        project=ProjectRef(
            folder=str(folder), media_folder=str(folder), sample_rate=MODEL_RATE if source is None else None
        ),
        source=None if source is None else SourceRef(file=str(source.path)),
        tempo_map=TempoMap.constant(settings.bpm or DEFAULT_BPM, signature),
        tempo_known=settings.bpm is not None,
        key=settings.key_scale,
        regions=(region,),
        seed_drawn=task.seed is None,
    )


# --- where ------------------------------------------------------------------------------------------------------------
def _places(task: Task, source: AudioInfo | None) -> tuple[tuple[Verb, Region], ...]:
    """Verbs and regions in order of time: one, or two where both sides of the audio get something new."""
    if source is None:
        return ((Verb.GENERATE, Region(0.0, task.duration)),)
    length_s = source.frames / source.rate
    start_s, end_s = task.settings.repainting_start, task.settings.repainting_end
    if start_s is None and end_s is None:
        if length_s > MAX_DURATION_S:
            told = f"The audio is {length_s:.1f} s long and a cover is of all of it (a part has {START} and {END})"
            raise ApiRefused(_too_long(told, "inputs.audio", "string"))
        if length_s < MIN_REGION_S:
            sentence = f"The audio is {length_s:.3f} s long; {MIN_REGION_S:g} s are the least: send a longer piece."
            raise ApiRefused(ApiError("invalidAudio", sentence, parameter="inputs.audio", type="string"))
        return ((Verb.COVER, Region(0.0, length_s)),)
    first_s, last_s = _span(start_s, end_s, length_s, 0.5 / source.rate)
    problems = _problems(first_s, last_s, length_s, END if start_s is None else START)
    if problems:
        raise ApiRefused(*problems)
    if first_s < 0 and last_s < length_s:
        return ((Verb.PREPEND, Region(first_s, last_s)),)
    if first_s > 0 and last_s > length_s:
        return ((Verb.EXTEND, Region(first_s, last_s)),)
    if first_s >= 0 and last_s <= length_s:
        return ((Verb.REPAINT, Region(first_s, last_s)),)
    before = ((Verb.PREPEND, Region(first_s, 0.0)),) if first_s < 0 else ()
    after = ((Verb.EXTEND, Region(length_s, last_s)),) if last_s > length_s else ()
    return (*before, *after)


def _span(start_s: float | None, end_s: float | None, length_s: float, half_s: float) -> tuple[float, float]:
    """Both times in seconds. A time outside by less than anything can fill, or inside by less than half a sample
    (`half_s`), means the edge: clients know lengths in rounded seconds."""
    if end_s is not None and length_s - half_s <= end_s < length_s + MIN_REGION_S:
        end_s = length_s
    if start_s is not None and -MIN_REGION_S < start_s <= half_s:
        start_s = 0.0
    if end_s is None:
        end_s = 0.0 if start_s is not None and start_s < 0 else length_s
    if start_s is None:
        start_s = length_s if end_s > length_s else 0.0
    return start_s, end_s


def _problems(start_s: float, end_s: float, length_s: float, blamed: str) -> list[ApiError]:
    """What is wrong with a span; `blamed` is the field that was given."""
    if start_s > length_s:
        return [_invalid(START, f"{START} is {start_s:g}; it must be at most {length_s:.3f}, where the audio ends.")]
    if start_s >= end_s:
        sentence = (
            f"{START} ({start_s:g}) must lie before {END} ({end_s:g}), in seconds of the audio, which is "
            f"{length_s:.3f} s long; an end beyond that appends."
        )
        return [_invalid(blamed, sentence)]
    if end_s - start_s < MIN_REGION_S - _ROUNDING_S:
        return [_invalid(blamed, f"{START} to {END} must span at least {MIN_REGION_S:g} seconds.")]
    if end_s - start_s > MAX_DURATION_S:
        return [_too_long(f"{START} to {END} are {end_s - start_s:.1f} s", blamed, "number")]
    return []


def _invalid(field: str, sentence: str) -> ApiError:
    last = field.rpartition(".")[2]
    return ApiError(f"invalid{last[:1].upper()}{last[1:]}", sentence, parameter=field, type="number")


def _too_long(sentence: str, field: str, kind: str) -> ApiError:
    last = field.rpartition(".")[2]
    whole = f"{sentence}; the model makes at most {MAX_DURATION_S:.0f} s at once: make it in parts."
    return ApiError(f"invalid{last[:1].upper()}{last[1:]}", whole, parameter=field, type=kind)
