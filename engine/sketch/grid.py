"""The beat grid in source frames: the DAW's when a DAW has told a tempo, an estimated one otherwise.

A *slot* is the stretch between two neighbouring grid lines: one count of the time signature, or several where counts
are shorter than `MIN_SLOT_S`. Slots are what the path is made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import librosa.beat
import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest, IsCancelled
from engine.sketch.analysis import ANALYSIS_RATE, TIMBRE_HOP, TIMBRE_WINDOW, Doubles, Features, Pooler, check, flux
from protocol.music import TempoMap, TimeSignature

MIN_SLOT_S = 0.2
MARGIN_BARS = 5
"""Bars of grid beyond the song and the region, so that everything inside has neighbours."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Slots in order. `lines` has one frame position more than there are slots; the rest is per slot.

    `meter` tells slots of different time signatures apart, `place` is the slot's index in its bar. `beats` is its
    length in quarter notes. `name` is ``daw`` or ``estimated``, `bpm` the tempo at the region.
    """

    lines: Doubles
    bar: Ints
    place: Ints
    meter: Ints
    beats: Doubles
    name: str
    bpm: float

    @property
    def slack_s(self) -> float:
        """A region edge this close to a line is meant to be on it."""
        return 0.005 if self.name == "daw" else 0.03

    @property
    def slots(self) -> int:
        return len(self.bar)

    @property
    def starts(self) -> Doubles:
        return self.lines[:-1]

    @property
    def lengths(self) -> Doubles:
        return np.diff(self.lines)

    @property
    def per_bar(self) -> int:
        """Slots in a whole bar, of the longest kind there is."""
        return int(self.place.max()) + 1


def grid_for(request: GenerationRequest, features: Features, blind: tuple[int, int], cancelled: IsCancelled) -> Grid:
    """The grid over the analysed part of the song and the region. Raises `Cancelled`."""
    check(cancelled)
    return _daw_grid(request, features, cancelled) if request.tempo_known else _estimated_grid(request, features, blind)


def _daw_grid(request: GenerationRequest, features: Features, cancelled: IsCancelled) -> Grid:
    tempo_map = request.tempo_map
    start_s = request.time_of(min(features.start, request.region[0]))
    end_s = request.time_of(max(features.stop, request.region[1]))
    start_s -= MARGIN_BARS * _bar_seconds(tempo_map, start_s)
    end_s += MARGIN_BARS * _bar_seconds(tempo_map, end_s)
    fastest = max(point.bpm for point in tempo_map.points)
    grouping = {
        signature: _counts_per_slot(signature, fastest) for signature in {p.signature for p in tempo_map.points}
    }
    meters = {signature: index for index, signature in enumerate(sorted(grouping, key=str))}
    frames: list[float] = []
    rows: list[tuple[int, int, int]] = []
    for index, line in enumerate(tempo_map.grid(start_s, end_s)):
        if index % 1024 == 0:
            check(cancelled)
        signature = tempo_map.signature_at(line.time_s + 1e-6)
        if (line.count - 1) % grouping[signature] == 0:
            frames.append(request.frame_of(line.time_s))
            rows.append((line.bar, (line.count - 1) // grouping[signature], meters[signature]))
    bar, place, meter = np.array(rows[:-1], dtype=np.int64).T
    beats = np.diff([tempo_map.beat_at(request.time_of(frame)) for frame in frames])
    bpm = tempo_map.bpm_at(request.time_of(request.region[0]))
    return Grid(np.array(frames), bar, place, meter, beats, "daw", bpm)


def _bar_seconds(tempo_map: TempoMap, time_s: float) -> float:
    return tempo_map.signature_at(time_s).beats_per_bar * 60.0 / tempo_map.bpm_at(time_s)


def _counts_per_slot(signature: TimeSignature, bpm: float) -> int:
    """The fewest counts that last `MIN_SLOT_S` and divide the bar evenly."""
    count_s = signature.beats_per_count * 60.0 / bpm
    wanted = math.ceil(MIN_SLOT_S / count_s - 1e-9)
    divisors = (n for n in range(1, signature.numerator + 1) if signature.numerator % n == 0)
    return next((n for n in divisors if n >= wanted), signature.numerator)


# --- no tempo told ----------------------------------------------------------------------------------------------------
_STEADY_S = 0.03
"""Tracked beats whose median distance from an even grid is below this belong to music made to a click."""
_ATTACK_LEAD_S = 0.011
"""How much earlier than an attack its rise shows in the flux, because the window reaches ahead."""


def _estimated_grid(request: GenerationRequest, features: Features, blind: tuple[int, int]) -> Grid:
    """A grid in 4/4 from the song's attacks outside `blind`.

    Beats by dynamic programming (Ellis, "Beat Tracking by Dynamic Programming", 2007, as in librosa); an even grid is
    fitted where the music is steady, else the grid follows the beats one by one. Bar lines go where bass and kick
    attack and the harmony changes most. A song without attacks gets an even 120 BPM grid, which
    cuts it into pieces of half a second.
    """
    rises = flux(features.audible_db(blind)).astype(np.float64)
    rises *= features.seen(TIMBRE_HOP, TIMBRE_WINDOW, len(rises), blind)[:, None]
    onsets = rises.sum(axis=1)
    beats_s = _tracked_beats(onsets)
    if len(beats_s) < 8:
        beats_s = np.arange(0.0, max(len(onsets) * TIMBRE_HOP / ANALYSIS_RATE, 4.0), 0.5)
    else:
        beats_s = _steadied(onsets, beats_s)
    beats = features.start + (beats_s + _ATTACK_LEAD_S) * features.rate
    downbeat = _downbeat(rises[:, 0], beats, features.pooler(blind), features)
    lines, added = _continued(beats, request.region, features)
    index = np.arange(len(lines) - 1) - added - downbeat
    at_region = int(np.clip(np.searchsorted(lines, request.region[0], side="right") - 1, 0, len(lines) - 2))
    bpm = 60.0 * request.rate / float(np.median(np.diff(lines)[max(at_region - 8, 0) : at_region + 8]))
    return Grid(lines, index // 4 + 1, index % 4, np.zeros_like(index), np.ones(len(index)), "estimated", bpm)


def _tracked_beats(onsets: Doubles) -> Doubles:
    if onsets.max(initial=0.0) <= 0.0:
        return np.zeros(0)
    _, frames = librosa.beat.beat_track(onset_envelope=onsets, sr=ANALYSIS_RATE, hop_length=TIMBRE_HOP, trim=False)
    return np.asarray(frames, dtype=np.float64) * TIMBRE_HOP / ANALYSIS_RATE


def _steadied(onsets: Doubles, beats_s: Doubles) -> Doubles:
    """The even grid that meets the most attacks, if the tracked beats are close to even; else these beats."""
    indices = np.arange(len(beats_s))
    period, first = np.polyfit(indices, beats_s, 1)
    if np.median(np.abs(beats_s - (first + period * indices))) >= _STEADY_S:
        return beats_s
    times = np.arange(len(onsets)) * TIMBRE_HOP / ANALYSIS_RATE
    # Over the whole song a period off by period²/span slips by one beat; search well inside that.
    periods = period + np.linspace(-0.5, 0.5, 201) * period**2 / times[-1]
    sums = np.array([np.sum(onsets * np.exp(-2j * np.pi * times / p)) for p in periods])
    best = int(np.argmax(np.abs(sums)))
    period = float(periods[best])
    phase = -float(np.angle(sums[best])) / (2 * np.pi) * period
    lines = phase + period * (indices + round((first - phase) / period))
    # The fundamental's phase leans towards whatever else sounds in the beat; the attacks themselves do not.
    shifts = np.arange(-0.04, 0.0401, 0.001)
    return np.asarray(lines + shifts[np.argmax([np.interp(lines + shift, times, onsets).sum() for shift in shifts])])


def _downbeat(low_flux: Doubles, beats: Doubles, pooler: Pooler, features: Features) -> int:
    """Which of the first four beats begins a bar: where bass and kick attack and the harmony changes most."""
    frames = np.round((beats - features.start) * (ANALYSIS_RATE / features.rate / TIMBRE_HOP)).astype(np.int64)
    accents = np.array([low_flux[max(f - 3, 0) : max(f + 4, 0)].max(initial=0.0) for f in frames])
    held = pooler(beats[:-1], beats[1:])
    known = (held.known[1:] > 0.5) & (held.known[:-1] > 0.5)
    changes = np.zeros(len(beats))
    changes[1:-1] = np.linalg.norm(np.diff(held.chroma, axis=0), axis=1) * known
    by_phase = [np.array([cue[phase::4].mean() for phase in range(4)]) for cue in (accents, changes)]
    return int(np.argmax(sum(cue / max(cue.max(), 1e-9) for cue in by_phase)))


def _continued(beats: Doubles, region: tuple[int, int], features: Features) -> tuple[Doubles, int]:
    """The beats, carried on evenly on both sides past song and region; and how many were added in front."""
    head, tail = (float(np.median(np.diff(part))) for part in (beats[:9], beats[-9:]))
    margin = 4 * MARGIN_BARS
    before = max(0, math.ceil((beats[0] - min(features.start, region[0])) / head)) + margin
    after = max(0, math.ceil((max(features.stop, region[1]) - beats[-1]) / tail)) + margin
    front = beats[0] - head * np.arange(before, 0, -1)
    return np.concatenate([front, beats, beats[-1] + tail * np.arange(1, after + 1)]), before
