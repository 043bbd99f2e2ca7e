"""Analyses kept beside the decoded sources: one small file each, named by all that the analysis depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from engine import audio_cache
from engine.api import GenerationRequest
from engine.harmony import Chord, ChordSpan, Quality
from engine.sketch import analysis as features
from engine.sketch.lead_sheet import Accents, SongSection
from engine.sketch.song import SongAnalysis
from protocol.errors import BadArgument, DiskFull
from protocol.key import Key
from protocol.music import TempoMap

logger = logging.getLogger("stembridge.sketch")

FORMAT = 1
"""Raised whenever an analysis of the same song would come out otherwise."""


def file_for(request: GenerationRequest, span: tuple[int, int]) -> Path | None:
    """Where the request's analysis is kept; None if nothing is to be kept."""
    if request.cache_dir is None or request.source is None:
        return None
    grid = _points(request.tempo_map) if request.tempo_known else "estimated"
    said = repr((FORMAT, features.FORMAT, span, grid, request.source_start_s, request.rate, request.key))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return request.cache_dir / "decoded" / f"{request.source.sha256}_song-{digest}.npz"


def load(file: Path) -> SongAnalysis | None:
    """The analysis in `file`; None, with a warning in the log, if it is damaged."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as data:
            plain = json.loads(data["song"].tobytes().decode())
            return _from_plain(plain, Accents(data["accent_beats"], data["accent_strength"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, BadArgument) as error:
        logger.warning("The analysis in %s is damaged (%s); it is made again.", file, error)
        return None


def save(file: Path, analysis: SongAnalysis) -> None:
    """Keep the analysis. What cannot be kept is made again next time: a warning, no error."""
    song = np.frombuffer(json.dumps(_plain(analysis)).encode(), np.uint8)
    accents = analysis.accents
    try:
        with audio_cache.whole_file(file) as opened:
            np.savez(opened, song=song, accent_beats=accents.beats, accent_strength=accents.strength)
        audio_cache.prune(file.parent.parent, file, audio_cache.DECODED_LIMIT_BYTES)
    except (OSError, DiskFull) as error:
        logger.warning("The analysis could not be kept in %s: %s", file.parent, error)


def _points(tempo_map: TempoMap) -> list[float]:
    """The OSC form of `TempoMap.from_flat`."""
    return [
        value
        for point in tempo_map.points
        for value in (
            point.time_s,
            point.bpm,
            point.signature.numerator,
            point.signature.denominator,
            int(point.linear),
        )
    ]


def _plain(analysis: SongAnalysis) -> dict[str, Any]:
    plain = {f.name: getattr(analysis, f.name) for f in dataclasses.fields(analysis) if f.name != "accents"}
    chords = [(s.start, s.end, s.chord and (s.chord.root, s.chord.quality.value)) for s in analysis.chords]
    sections = [(s.start, s.end, s.label) for s in analysis.sections]
    own = {"tempo_map": _points(analysis.tempo_map), "key": str(analysis.key), "chords": chords, "sections": sections}
    return plain | own


def _from_plain(plain: dict[str, Any], accents: Accents) -> SongAnalysis:
    fields: dict[str, Any] = plain | {
        "tempo_map": TempoMap.from_flat(plain["tempo_map"]),
        "key": Key.parse(plain["key"]),
        "chords": tuple(ChordSpan(a, b, Chord(c[0], Quality(c[1])) if c else None) for a, b, c in plain["chords"]),
        "sections": tuple(SongSection(*section) for section in plain["sections"]),
        "accents": accents,
    }
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return SongAnalysis(**values)
