"""Listening to a whole song: from its features and its sound to a `SongAnalysis`, kept by the source's hash.

Promises: time and memory bounded (`analysis.MAX_SPAN_S`); the same value from a cold and a warm cache; a damaged cache
is made again; `Cancelled` within one block.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import replace
from itertools import pairwise

import numpy as np

from engine.api import GenerationRequest, IsCancelled, ReportProgress
from engine.harmony import Chord
from engine.hearing.chords import recognise, spans
from engine.hearing.chroma import BeatChroma, beat_chroma
from engine.hearing.keys import estimated_key
from engine.hearing.sections import structure
from engine.sketch import song_cache
from engine.sketch.analysis import Doubles, Features, analyse, check, span_to_analyse
from engine.sketch.barred_song import NOT_BLIND, BarredSong
from engine.sketch.estimated_tempo import estimated_tempo_map
from engine.sketch.grid import estimated_pulse
from engine.sketch.lead_sheet import Bar, SongSection
from engine.sketch.listening import PITCH_RATE, Listened, listen
from engine.sketch.song import SongAnalysis
from protocol.errors import MissingContext
from protocol.job import Progress
from protocol.key import Key

_SOFTEST_DB = 15.0
"""Energy 0 is at least this far below the song's loud bars: a song of even level is loud throughout."""
_TONAL_SHARE = 0.2
"""A song with chords in less than this share of its beats has no harmony."""
_SLOWEST_BARS, _DRONE_WEIGHT = 4, 0.65
"""Music whose chords last longer than this on average has to be this clearly pitched to be called tonal."""


def analyse_song(request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled) -> SongAnalysis:
    """All that is heard in the request's source, at most `analysis.MAX_SPAN_S` of it around the region.

    Kept in `request.cache_dir` under the source's hash. Raises `MissingContext` without a source, `BadArgument` for a
    key that is none, `Cancelled`, and what `source.read` raises.
    """
    source = request.source
    if source is None:
        raise MissingContext("There is no song to listen to: send its file with /stembridge/source.")
    check(cancelled)
    span = span_to_analyse(source, request.region)
    file = song_cache.file_for(request, span)
    if file and (cached := song_cache.load(file)):
        return cached
    features = analyse(source, span, request.cache_dir, progress, cancelled)
    listened = listen(source, span, progress, cancelled)
    analysis = _heard(request, features, listened, cancelled)
    progress(Progress(fraction=1.0, stage="listening"))
    if file:
        song_cache.save(file, analysis)
    return analysis


def _heard(request: GenerationRequest, features: Features, listened: Listened, cancelled: IsCancelled) -> SongAnalysis:
    tempo_map = request.tempo_map
    if not request.tempo_known:
        # As far as project time 0, where a map begins; not as far as the region, which an analysis is not kept by.
        reach = features.start, max(features.stop, math.ceil(request.frame_of(0.0)))
        tempo_map = estimated_tempo_map(estimated_pulse(features, NOT_BLIND, reach), request.time_of)
    check(cancelled)
    song = BarredSong(request, features, tempo_map)
    bars, lines = song.bars, song.lines
    seconds = (song.frames(lines) - features.start) / request.rate
    chroma = beat_chroma(listened.mono, PITCH_RATE, seconds, lambda: check(cancelled))
    told = Key.parse(request.key) if request.key else None
    key = told or estimated_key(chroma, recognise(chroma, None, song.downbeats))
    chords = recognise(chroma, key, song.downbeats)
    tonal = _is_tonal(chroma, chords, len(bars))
    check(cancelled)
    accents, swing = song.groove()
    return SongAnalysis(
        tempo_map=tempo_map,
        grid_name="daw" if request.tempo_known else "estimated",
        key=key,
        key_told=told is not None,
        tonal=tonal,
        start=bars[0].start,
        end=bars[-1].end,
        chords=spans(lines, chords if tonal else [None] * len(chords)),
        sections=_sections(bars, _labels(bars, song.likeness(chroma))),
        level_db=tuple(round(float(level), 2) for level in song.pooled.level_db),
        energy=_energy(song.pooled.level_db),
        accents=accents,
        swing=swing,
        balance_db=listened.balance_db,
        lufs=listened.lufs,
        tuning=round(chroma.tuning, 4),
    )


def _is_tonal(chroma: BeatChroma, chords: list[Chord | None], bars: int) -> bool:
    if sum(chord is not None for chord in chords) < _TONAL_SHARE * len(chords):
        return False
    changes = sum(a != b for a, b in pairwise(chords))
    # Sounds with little tone that hardly ever change are drums: they have pitches too.
    return changes * _SLOWEST_BARS >= bars or float(np.median(chroma.weight)) >= _DRONE_WEIGHT


def _energy(level_db: Doubles) -> tuple[float, ...]:
    loud, soft = np.percentile(level_db, [90, 2])
    return tuple(float(e) for e in np.round(np.clip(1 + (level_db - loud) / max(loud - soft, _SOFTEST_DB), 0, 1), 3))


def _labels(bars: tuple[Bar, ...], vectors: Doubles) -> list[str]:
    """Each bar's section label; a bar cut short (a pick-up) belongs to the one after it, the last to the one before."""
    usual = np.median([bar.beats for bar in bars])
    whole = [index for index, bar in enumerate(bars) if bar.beats >= usual / 2]
    labels = structure(vectors[whole])
    return [labels[min(bisect_left(whole, index), len(whole) - 1)] for index in range(len(bars))]


def _sections(bars: tuple[Bar, ...], labels: list[str]) -> tuple[SongSection, ...]:
    found: list[SongSection] = []
    for bar, label in zip(bars, labels, strict=True):
        if found and found[-1].label == label:
            found[-1] = replace(found[-1], end=bar.end)
        else:
            found.append(SongSection(bar.start, bar.end, label))
    return tuple(found)
