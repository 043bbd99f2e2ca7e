"""Where an audio file belongs in a song, for `stembridge judge`: from its recipe, its BWF time reference, the options.

What is said on the command line comes before what the file says of itself, so that a stem that was moved can be judged
where it lies now.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from bridge.broadcast_wave import probe, read_recipe
from engine.audio import content_hash
from engine.judge import Place
from protocol.errors import BadArgument, SourceError, SourceUnreadable
from protocol.job import Recipe
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import TrackClass, Verb

_TIME_REFERENCE_AT = 338
"""Bytes before the time reference in a ``bext`` chunk (EBU Tech 3285)."""


@dataclass(frozen=True)
class Told:
    """What the command line says; None: nothing. Times are project seconds."""

    at_s: float | None = None
    song_at_s: float | None = None
    bpm: float | None = None
    signature: TimeSignature | None = None
    key: str | None = None
    track: TrackClass | None = None
    verb: Verb | None = None


@dataclass(frozen=True)
class Placed:
    """A place, and how it is known (``from its recipe``)."""

    place: Place
    known_from: str
    remarks: tuple[str, ...] = ()


def place_of(file: Path, song: Path, told: Told, cache_dir: Path) -> Placed:
    """Where `file` belongs. Raises `BadArgument` if nothing says so, a `SourceError` if there is no such file."""
    if not file.is_file():
        probe(file)  # raises, with the sentence for what is no file
    recipe = recipe_of(file)
    if recipe is not None:
        return _from_recipe(recipe, file, song, told, cache_dir)
    reference_s = time_reference_s(file)
    if told.at_s is None and reference_s is None:
        raise BadArgument(
            f"{file.name} does not say where it belongs (it has neither a recipe nor a BWF time reference): give the "
            "project time at which it begins with --at SECONDS."
        )
    known_from = "as told with --at" if told.at_s is not None else "from its BWF time reference"
    start_s = told.at_s if told.at_s is not None else reference_s
    return Placed(_told_place(start_s or 0.0, told), known_from)


def recipe_of(file: Path) -> Recipe | None:
    """The recipe inside a stem or in the manifest beside it; None if `file` has none, or none that can be read."""
    try:
        return read_recipe(file)
    except SourceUnreadable:
        return None


def time_reference_s(file: Path) -> float | None:
    """Where a Broadcast WAV says that it begins, in seconds; None for other files."""
    try:
        layout = probe(file)
    except SourceError:
        return None
    chunk = next((chunk for chunk in layout.chunks if chunk.id == b"bext"), None)
    if chunk is None or chunk.size < _TIME_REFERENCE_AT + 8:
        return None
    with file.open("rb") as stream:
        stream.seek(chunk.offset + _TIME_REFERENCE_AT)
        low, high = struct.unpack("<II", stream.read(8))
    return float((low + (high << 32)) / layout.sample_rate)


def _told_place(start_s: float, told: Told) -> Place:
    return Place(
        start_s=start_s,
        song_start_s=told.song_at_s or 0.0,
        verb=_verb(told, Verb.REPAINT),
        track=told.track,
        tempo_map=_tempo_map(told),
        key=told.key,
    )


def _from_recipe(recipe: Recipe, file: Path, song: Path, told: Told, cache_dir: Path) -> Placed:
    request = recipe.request
    if not 0 <= recipe.region < len(request.regions):
        raise SourceUnreadable(f"The recipe of {file} is damaged: it names region {recipe.region} of a job without it.")
    region = request.regions[recipe.region]
    song_start_s = request.source.start_s if request.source else 0.0
    spliced = recipe.engine_notes.get("splice")
    gain_db = spliced.get("gain_db", 0.0) if isinstance(spliced, dict) else 0.0
    place = Place(
        start_s=region.start_s if told.at_s is None else told.at_s,
        end_s=region.end_s if told.at_s is None else told.at_s + region.duration_s,
        song_start_s=song_start_s if told.song_at_s is None else told.song_at_s,
        verb=_verb(told, request.verb),
        track=told.track or recipe.track,
        tempo_map=_tempo_map(told) or (request.tempo_map if request.tempo_known else None),
        key=told.key or request.key,
        gain_db=float(gain_db),
    )
    remarks = []
    if recipe.source_sha256 is not None and content_hash(song, cache_dir) != recipe.source_sha256:
        remarks.append(f"{song.name} is not the very file that it was made from.")
    return Placed(place, "from its recipe" if told.at_s is None else "as told with --at", tuple(remarks))


def _verb(told: Told, otherwise: Verb) -> Verb:
    """What was told; a track alone makes it a stem that is added to the song."""
    if told.verb is not None:
        return told.verb
    return Verb.COMPLETE if told.track is not None and not otherwise.makes_stems else otherwise


def _tempo_map(told: Told) -> TempoMap | None:
    return None if told.bpm is None else TempoMap.constant(told.bpm, told.signature)
