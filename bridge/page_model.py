"""What the page of takes shows, read from manifests: takes, the region they share, and how they sound in the song.

No HTML here; audio is float32 ``(channels, frames)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from bridge.page_plots import Audio
from protocol.errors import SourceUnreadable
from protocol.music import Region
from protocol.vocabulary import Verb

CONTEXT_S = 4.0
"""Seconds of the song shown and played before and after a region."""

ChordSpans = tuple[tuple[float, float, str], ...]
"""(start, end, name), in seconds of project time."""


@dataclass(frozen=True)
class Song:
    """The song as float32 ``(channels, frames)`` at `rate` Hz; its first sample lies at `start_s` of project time.

    `Song.none()` stands for no song at all.
    """

    audio: Audio
    rate: int
    start_s: float

    @classmethod
    def none(cls) -> Song:
        return cls(np.zeros((1, 0), np.float32), 48_000, 0.0)

    def __bool__(self) -> bool:
        return bool(self.audio.shape[1])

    @property
    def end_s(self) -> float:
        return self.start_s + int(self.audio.shape[1]) / self.rate

    def window(self, start_s: float, end_s: float, rate: int, channels: int) -> Audio:
        """The song between two project times at another rate and channel count; zeros where there is no song."""
        first, last = (round((time_s - self.start_s) * self.rate) for time_s in (start_s, end_s))
        inside = self.audio[:, max(0, first) : max(0, last)]
        padded = np.pad(inside, ((0, 0), (max(0, -first), 0)))[:, : last - first]
        padded = np.pad(padded, ((0, 0), (0, last - first - padded.shape[1])))
        if padded.shape[0] != channels:
            padded = np.repeat(padded.mean(axis=0, keepdims=True), channels, axis=0)
        if rate != self.rate:
            padded = np.ascontiguousarray(soxr.resample(padded.T, self.rate, rate).T)
        return np.asarray(padded, dtype=np.float32)


@dataclass(frozen=True)
class TakeView:
    """One take of a manifest with its audio; `midi` is the file of its notes."""

    number: int
    variation: int
    file: Path
    midi: Path | None
    region: Region
    score: float
    rank: int
    measures: Mapping[str, Any]
    track: str | None
    seed: int | None
    engine: str
    notes: Mapping[str, Any]
    audio: Audio
    rate: int

    @property
    def name(self) -> str:
        """``Take 2`` or, of a stem, ``Take 2, drums``."""
        return f"Take {self.variation}, {self.track.replace('_', ' ')}" if self.track else f"Take {self.number}"

    @property
    def chords(self) -> ChordSpans:
        """The chords heard in it and just around it; of a stem that is added, the song's."""
        spans = self.measures.get("chords", {}).get("spans") or ()
        return tuple((float(start_s), float(end_s), str(name)) for start_s, end_s, name in spans)


@dataclass(frozen=True)
class JobView:
    """The takes of one manifest that share one region, best first; stems by variation, the best variation first."""

    verb: Verb
    region: Region
    takes: tuple[TakeView, ...]
    axis: Region
    """The span that is shown and played: the region and what there is of the song within `CONTEXT_S` around it."""

    @property
    def variations(self) -> list[tuple[TakeView, ...]]:
        """The takes that belong together: the stems of a variation, or each take by itself."""
        groups: dict[object, list[TakeView]] = {}
        for take in self.takes:
            groups.setdefault(take.variation if take.track else (take.number,), []).append(take)
        return [tuple(group) for group in groups.values()]

    @property
    def is_added(self) -> bool:
        """True for stems that are heard together with the song."""
        return self.verb.makes_stems and self.verb is not Verb.EXTRACT

    def is_best(self, take: TakeView) -> bool:
        """True if it is the best of several takes of its track."""
        return take.rank == 1 and sum(other.track == take.track for other in self.takes) > 1


def read_manifest(manifest: Path, song: Song) -> list[JobView]:
    """The takes of a ``manifest.json`` that are still there, grouped by region. Raises `SourceUnreadable`."""
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["takes"]
        verb = Verb(entries[0]["recipe"]["request"]["verb"] if entries else Verb.REPAINT)
        takes = [
            _read_take(entry, number, manifest.parent)
            for number, entry in enumerate(entries, 1)
            if (manifest.parent / entry["file"]).exists()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceUnreadable(f"{manifest} is not a manifest of takes that can be read: {error!r}.") from error
    groups: dict[Region, list[TakeView]] = {}
    for take in takes:
        groups.setdefault(take.region, []).append(take)
    return [JobView(verb, region, _ordered(group), _around(region, song)) for region, group in groups.items()]


def read_audio(file: Path) -> tuple[Audio, int]:
    """A whole file and its rate. Raises `SourceUnreadable`."""
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise SourceUnreadable(f"{file} cannot be read as audio: {error}") from error
    return np.ascontiguousarray(samples.T), int(rate)


def _read_take(entry: Mapping[str, Any], number: int, folder: Path) -> TakeView:
    file, recipe = folder / entry["file"], entry["recipe"]
    midi = folder / entry["midi"] if entry.get("midi") else None
    audio, rate = read_audio(file)
    first = int(entry["start_frame"])
    number = int(entry.get("number", number))
    return TakeView(
        number=number,
        variation=int(entry.get("variation", number)),
        file=file,
        midi=midi if midi is not None and midi.is_file() else None,
        region=Region.from_frames(first, first + audio.shape[1], rate),
        score=float(entry.get("score", 0.0)),
        rank=int(entry.get("rank", number)),
        measures=entry.get("measures", {}),
        track=entry.get("track"),
        seed=entry.get("seed"),
        engine=" ".join(str(recipe[key]) for key in ("engine", "engine_version") if recipe.get(key)),
        notes=recipe.get("engine_notes", {}),
        audio=audio,
        rate=rate,
    )


def _ordered(takes: Sequence[TakeView]) -> tuple[TakeView, ...]:
    scores: dict[int, list[float]] = {}
    for take in takes:
        scores.setdefault(take.variation, []).append(take.score)
    mean = {variation: sum(of) / len(of) for variation, of in scores.items()}

    def place(take: TakeView) -> tuple[float, ...]:
        return (-mean[take.variation], take.variation, take.number) if take.track else (take.rank, take.number)

    return tuple(sorted(takes, key=place))


def _around(region: Region, song: Song) -> Region:
    if not song:
        return region
    start_s = max(region.start_s - CONTEXT_S, min(song.start_s, region.start_s))
    return Region(start_s, min(region.end_s + CONTEXT_S, max(song.end_s, region.end_s)))


def in_song(song: Song, takes: Sequence[TakeView], job: JobView) -> Audio:
    """The takes where they belong, over the job's axis: in place of the region, or added to it where the verb adds.

    What was extracted, covered or made from a prompt takes the region's place too: it is heard by itself there.
    """
    first_take = takes[0]
    window = song.window(job.axis.start_s, job.axis.end_s, first_take.rate, first_take.audio.shape[0]).copy()
    first = round((job.region.start_s - job.axis.start_s) * first_take.rate)
    part = window[:, first : first + first_take.audio.shape[1]]
    if not job.is_added:
        part[:] = 0.0
    for take in takes:
        part += take.audio[:, : part.shape[1]]
    return window
