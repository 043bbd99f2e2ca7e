"""A song's features on its bars: where music is, which bars are alike, where the groove hits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest
from engine.hearing import groove
from engine.hearing.chroma import BeatChroma
from engine.sketch.analysis import ANALYSIS_RATE, TIMBRE_HOP, Doubles, Features, Pooled, flux
from engine.sketch.grid import ATTACK_LEAD_S
from engine.sketch.lead_sheet import Accents, Bar, bars_of
from protocol.music import TempoMap, TimeSignature

NOT_BLIND = (-(1 << 60), -(1 << 60))
"""The blind span of one who may hear all."""

_SILENT_DB = 40.0
"""Bars at the ends that are so far below the loud ones are not music: a lead-in, a tail of reverberation."""
_TRIPLETS_FROM = 0.6
"""Songs that swing this much are counted in thirds of a beat."""
_NOTES, _BASS, _TIMBRE, _LEVEL, _ATTACKS = 1.0, 0.5, 1 / 70, 1 / 25, 1 / 5
"""What counts for two bars' likeness: unit vectors of notes and bass, a decibel in a mel band, of level, of flux."""
_FAINT = 0.1
"""Length of a beat's weighted chroma below which it is not told from noise."""
_EPSILON = 1e-6


class BarredSong:
    """The song on the bar lines of `tempo_map`: `bars` are those with music, from the first to the last of them."""

    def __init__(self, request: GenerationRequest, features: Features, tempo_map: TempoMap) -> None:
        self._request, self._features, self._tempo_map = request, features, tempo_map
        self._pooler = features.pooler(NOT_BLIND)
        self.bars = self._with_music()
        self.lines, self.downbeats = _slots(self.bars)

    def frames(self, beats: Iterable[float]) -> Doubles:
        """The source frames (fractional) of beats."""
        return np.array([self._request.frame_of(self._tempo_map.time_at(float(beat))) for beat in beats])

    @cached_property
    def pooled(self) -> Pooled:
        """The features' means over each bar."""
        return self._over(self.bars)

    def likeness(self, chroma: BeatChroma) -> Doubles:
        """One vector per bar for `sections.structure`, from the bars' means and the notes between `lines`."""
        edges = np.searchsorted(self.lines, [bar.start - _EPSILON for bar in self.bars])
        notes, bass = (_directions(rows * chroma.weight[:, None], edges) for rows in (chroma.chroma, chroma.bass))
        pooled = self.pooled
        sound = [_TIMBRE * pooled.timbre, _LEVEL * pooled.level_db[:, None], _ATTACKS * pooled.flux]
        return np.concatenate([_NOTES * notes, _BASS * bass, *sound], axis=1)

    def groove(self) -> tuple[Accents, float]:
        """Where attacks fall in each beat, at sixteenths or, in a song that swings, at triplets; and the swing."""
        rises = flux(self._features.audible_db(NOT_BLIND)).astype(np.float64)
        start_s = self._features.start / self._request.rate
        seconds = start_s + np.arange(len(rises)) * TIMBRE_HOP / ANALYSIS_RATE + ATTACK_LEAD_S
        # Between lines a quarter of a beat apart the tempo hardly changes.
        beats = np.arange(self.bars[0].start, self.bars[-1].end + 0.25, 0.25)
        at = np.interp(seconds, self.frames(beats) / self._request.rate, beats)
        starts = np.array([bar.start for bar in self.bars])
        into_bar = at - starts[np.clip(np.searchsorted(starts, at, side="right") - 1, 0, None)]
        swing = groove.STRAIGHT
        if not any(is_compound(bar.signature) for bar in self.bars):
            swing = round(groove.swing(rises.sum(axis=1), into_bar), 3)
        per_beat = 3 if swing >= _TRIPLETS_FROM else 4
        grid = _divided(self.bars, [max(1, round(bar.beats * per_beat)) for bar in self.bars])
        strength = groove.accents(rises, seconds, self.frames(grid) / self._request.rate)
        return Accents(grid, np.round(strength, 3)), swing

    def _with_music(self) -> tuple[Bar, ...]:
        first, last = (
            self._tempo_map.beat_at(self._request.time_of(frame))
            for frame in (self._features.start, self._features.stop)
        )
        bars = bars_between(self._tempo_map, first, max(last, first + 2 * _EPSILON))
        pooled = self._over(bars)
        there = pooled.known > 0.5
        loud = np.percentile(pooled.level_db[there], 90) if there.any() else 0.0
        music = np.flatnonzero(there & (pooled.level_db > loud - _SILENT_DB))
        return bars[music[0] : music[-1] + 1] if len(music) else bars

    def _over(self, bars: tuple[Bar, ...]) -> Pooled:
        edges = self.frames([bar.start for bar in bars] + [bars[-1].end])
        return self._pooler(edges[:-1], edges[1:])


def _directions(rows: Doubles, edges: NDArray[np.intp]) -> Doubles:
    """The sums of the rows from each edge to the next, as vectors of length 1, shorter where there is hardly a tone."""
    sums = np.add.reduceat(rows, edges, axis=0)
    faint = _FAINT * np.diff(np.append(edges, len(rows)))[:, None]
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), faint))


def bars_between(tempo_map: TempoMap, start: float, end: float) -> tuple[Bar, ...]:
    """The bars that have a part between two beats, free of the rounding of beats to times and back."""
    bars = bars_of(tempo_map, start, end)
    return tuple(replace(bar, start=round(bar.start, 9), end=round(bar.end, 9)) for bar in bars)


def is_compound(signature: TimeSignature) -> bool:
    """True for 6/8, 9/8, 12/8 and the like."""
    return signature.denominator >= 8 and signature.numerator > 3 and signature.numerator % 3 == 0


def _slots(bars: tuple[Bar, ...]) -> tuple[Doubles, NDArray[np.bool_]]:
    """The lines between which one chord is heard, and whether each slot begins a bar."""
    parts = [max(1, round(bar.beats / _chord_beats(bar.signature))) for bar in bars]
    starts = np.concatenate([[0], np.cumsum(parts)[:-1]])
    return np.append(_divided(bars, parts), bars[-1].end), np.isin(np.arange(sum(parts)), starts)


def _chord_beats(signature: TimeSignature) -> float:
    """How many quarter notes share a chord: the pulse of compound meters, else a count, neither long nor short."""
    if is_compound(signature):
        return 3 * signature.beats_per_count
    return min(max(signature.beats_per_count, 0.5), 1.0)


def _divided(bars: tuple[Bar, ...], parts: list[int]) -> Doubles:
    """The bars' lines, each bar divided evenly into its number of parts."""
    lines = [bar.start + bar.beats * np.arange(count) / count for bar, count in zip(bars, parts, strict=True)]
    return np.concatenate(lines)
