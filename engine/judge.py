"""Any audio file judged as a take of a song: laid in its place and measured as the engine's own takes are.

Promises: the same measures and the same score as `engine.render` gives a take (`engine.report`), at the song's own
sample rate; neither file is changed. What had to be done to compare the two is told in `Judgement.remarks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.api import GenerationRequest
from engine.audio import AudioInfo, FileSource, open_source, probe
from protocol.errors import BadArgument
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.api import Audio

_UNTOLD_BPM = 120.0
"""Stands in where no tempo is known; nothing is measured on its grid."""


@dataclass(frozen=True)
class Place:
    """Where a file belongs and what it is there.

    `start_s` and `end_s` are project seconds (no `end_s`: it is as long as it is), `song_start_s` is the project time
    of the song's first sample, `gain_db` what a splice is known to have applied to the file.
    """

    start_s: float
    end_s: float | None = None
    song_start_s: float = 0.0
    verb: Verb = Verb.REPAINT
    track: TrackClass | None = None
    tempo_map: TempoMap | None = None
    key: str | None = None
    gain_db: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """A file's measures, the parts of its score (see `engine.report`) and the score, 0 to 100."""

    file: Path
    place: Place
    region: Region
    measures: Mapping[str, Any]
    subscores: Mapping[str, float | None]
    score: float
    remarks: tuple[str, ...] = ()


def judge(file: Path, song: Path, place: Place, cache_dir: Path) -> Judgement:
    """Measure `file` at its `place` in `song`; both in any format that can be read, at any rate.

    Raises a `SourceError` if one of the two cannot be read, `BadArgument` if the place does not touch the song.
    """
    from engine import report  # here, because of the libraries that it imports

    source = open_source(song, None, cache_dir)
    info = probe(file)
    take = open_source(file, source.rate, cache_dir)
    first = round(place.start_s * source.rate) - round(place.song_start_s * source.rate)
    region = first, first + _frames(take, place)
    _require_touch(region, source, file, place)
    request = _request(region, source, place, cache_dir)
    audio = _fitted(take.read(0, take.frames), info, region, place)
    if audio.shape[0] == 1:  # as a DAW plays it: on all of the song's channels
        audio = np.repeat(audio, source.channels, axis=0)
    measures = report.measure(
        audio, region=region, rate=source.rate, request=request, spliced_gain_db=place.gain_db, track=place.track
    )
    return Judgement(
        file=file,
        place=place,
        region=Region(request.time_of(region[0]), request.time_of(region[1])),
        measures=measures,
        subscores=report.subscores(measures),
        score=report.score(measures),
        remarks=tuple(_remarks(info, source, place)),
    )


def _expected(info: AudioInfo, place: Place) -> int | None:
    """How many frames of its own the file should have; None if any number is right."""
    if place.end_s is None:
        return None
    start, end = Region(place.start_s, place.end_s).frames(info.rate)
    return end - start


def _frames(take: FileSource, place: Place) -> int:
    """The length of the region at the song's rate."""
    if place.end_s is None:
        return take.frames
    start, end = Region(place.start_s, place.end_s).frames(take.rate)
    return end - start


def _fitted(audio: Audio, info: AudioInfo, region: tuple[int, int], place: Place) -> Audio:
    """`audio` with exactly the region's frames, if it has them at its own rate: resampling rounds by one at most."""
    missing = region[1] - region[0] - audio.shape[1]
    if missing == 0 or info.frames != _expected(info, place):
        return audio
    return np.pad(audio, ((0, 0), (0, max(0, missing))))[:, : region[1] - region[0]]


def _require_touch(region: tuple[int, int], source: FileSource, file: Path, place: Place) -> None:
    if place.verb.needs_source and not (region[0] <= source.frames and region[1] >= 0):
        song_end_s = place.song_start_s + source.frames / source.rate
        raise BadArgument(
            f"{file.name} would begin at {place.start_s:g} s, and the song {source.path.name} lies from "
            f"{place.song_start_s:g} s to {song_end_s:g} s: say with --at where the file belongs, and with --song-at "
            "where the song begins."
        )


def _request(region: tuple[int, int], source: FileSource, place: Place, cache_dir: Path) -> GenerationRequest:
    return GenerationRequest(
        verb=place.verb,
        task=Task(),
        seeds=(0,),
        region=region,
        rate=source.rate,
        tempo_map=place.tempo_map or TempoMap.constant(_UNTOLD_BPM),
        tempo_known=place.tempo_map is not None,
        key=place.key,
        tracks=(place.track,) if place.track else (),
        source=source if place.verb.needs_source else None,
        source_start_s=round(place.song_start_s * source.rate) / source.rate,
        cache_dir=cache_dir,
    )


def _remarks(info: AudioInfo, source: FileSource, place: Place) -> list[str]:
    told = []
    if info.rate != source.rate:
        told.append(f"It was resampled from {info.rate} to {source.rate} Hz, the song's rate, to be measured.")
    if info.channels != source.channels:
        played = ", so it was measured as played on all of them" if info.channels == 1 else ""
        told.append(f"It has {_channels(info.channels)} and the song {_channels(source.channels)}{played}.")
    if place.tempo_map is None:
        told.append("No tempo is known, so the grid was not measured: say it with --bpm.")
    if place.verb is Verb.GENERATE:
        told.append("It was made from a prompt alone, so it is not held against the song.")
    return told


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"
