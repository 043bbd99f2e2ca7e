"""The beat grid in source frames: the DAW's when a DAW has told a tempo, an estimated one otherwise.

A *slot* is the stretch between two neighbouring grid lines: one count of the time signature, or several where counts
are shorter than `MIN_SLOT_S`. Slots are what the path is made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from engine.api import GenerationRequest, IsCancelled
from engine.hearing.beats import likely_period, track_beats
from engine.hearing.meter import TWELFTHS, meter
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
_NEAR_FRAMES = 3
"""Frames of flux around a beat in which its attack lies."""
_HARMONY_REACH_S = 0.9
"""About half a bar: how much of the harmony before and after a bar line is compared."""
ATTACK_LEAD_S = 0.006
"""How much earlier than an attack its rise shows in the flux, because the window reaches ahead."""


@dataclass(frozen=True)
class Pulse:
    """Estimated beats: `lines` in source frames (beyond song and region on both sides), `downbeat` the index of one
    that begins a bar, `per_bar` beats to the bar; `compound` if a beat has three counts (6/8), else two or four."""

    lines: Doubles
    downbeat: int
    per_bar: int = 4
    compound: bool = False
    steady: bool = True

    @property
    def index(self) -> Ints:
        """Each beat's number from that downbeat on."""
        return np.arange(len(self.lines)) - self.downbeat


def _estimated_grid(request: GenerationRequest, features: Features, blind: tuple[int, int]) -> Grid:
    pulse = estimated_pulse(features, blind, request.region)
    lines, index = pulse.lines, pulse.index[:-1]
    at_region = int(np.clip(np.searchsorted(lines, request.region[0], side="right") - 1, 0, len(lines) - 2))
    bpm = 60.0 * request.rate / float(np.median(np.diff(lines)[max(at_region - 8, 0) : at_region + 8]))
    bar, place = index // pulse.per_bar + 1, index % pulse.per_bar
    return Grid(lines, bar, place, np.zeros_like(index), np.ones(len(index)), "estimated", bpm)


def estimated_pulse(features: Features, blind: tuple[int, int], region: tuple[int, int]) -> Pulse:
    """The beats of the song, from its attacks outside `blind` (source frames).

    A pulse by `engine.hearing.beats`; an even one is fitted where the music is steady, else the beats follow it one by
    one. What of it is the beat and where bars begin is told by `engine.hearing.meter`. A song without attacks gets even
    bars of 4/4 at 120 BPM.
    """
    rises = flux(features.audible_db(blind)).astype(np.float64)
    rises *= features.seen(TIMBRE_HOP, TIMBRE_WINDOW, len(rises), blind)[:, None]
    onsets = rises.sum(axis=1)
    tracked_s = _tracked_beats(onsets)
    if len(tracked_s) < 8:
        even_s = np.arange(0.0, max(len(onsets) * TIMBRE_HOP / ANALYSIS_RATE, 4.0), 0.5)
        lines, added = _continued(features.start + even_s * features.rate, 4, region, features)
        return Pulse(lines, added)
    tracked_s, steady = _steadied(onsets, tracked_s)
    pulses = np.arange(TWELFTHS * (len(tracked_s) - 1) + 1) / TWELFTHS
    twelfths_s = np.interp(pulses, np.arange(len(tracked_s)), tracked_s)
    twelfths = features.start + (twelfths_s + ATTACK_LEAD_S) * features.rate
    pulse_s = float(np.median(np.diff(tracked_s)))
    changes = _changes_at(features.pooler(blind), twelfths, _HARMONY_REACH_S * features.rate)
    found = meter(_attacks_at(rises, twelfths_s), changes, pulse_s)
    step = found.bar // found.beats
    places = np.arange(found.downbeat % step, len(twelfths), step)
    beats_s = twelfths_s[places]
    if steady:  # once more, now that the counts are known
        beats_s = _fitted(onsets, beats_s, 3 if found.compound else 2)
    beats = features.start + (beats_s + ATTACK_LEAD_S) * features.rate
    lines, added = _continued(beats, found.beats, region, features)
    return Pulse(lines, added + (found.downbeat - int(places[0])) // step, found.beats, found.compound, steady)


def _fitted(onsets: Doubles, beats_s: Doubles, counts: int) -> Doubles:
    """The even beats that lie closest to the attacks on and between `beats_s`."""
    near = np.arange(-_NEAR_FRAMES, _NEAR_FRAMES + 1)
    index = np.arange(counts * (len(beats_s) - 1) + 1) / counts
    expected = np.interp(index, np.arange(len(beats_s)), beats_s) * ANALYSIS_RATE / TIMBRE_HOP
    frames = np.clip(np.round(expected).astype(np.int64)[:, None] + near, 0, len(onsets) - 1)
    rises = onsets[frames] ** 2
    strength = rises.sum(axis=1)
    times_s = (rises * frames).sum(axis=1) / np.maximum(strength, 1e-9) * TIMBRE_HOP / ANALYSIS_RATE
    period, first = np.polyfit(index, times_s, 1, w=np.sqrt(strength + 1e-9))
    return np.asarray(first + period * np.arange(len(beats_s)))


def _attacks_at(rises: Doubles, times_s: Doubles) -> Doubles:
    """How strongly each band attacks at each time ``(n, bands)``, 0 to 1."""
    frames = np.arange(len(rises)) * TIMBRE_HOP / ANALYSIS_RATE
    near = maximum_filter1d(rises, 3, axis=0)
    found = np.stack([np.interp(times_s, frames, band) for band in near.T], axis=1)
    return np.asarray(np.clip(found / np.maximum(np.percentile(found, 97, axis=0), 1e-6), 0.0, 1.0))


def _changes_at(pooler: Pooler, frames: Doubles, reach: float) -> Doubles:
    """How much the harmony after each position (source frames) differs from that before, 0 to 1."""
    before, after = pooler(frames - reach, frames), pooler(frames, frames + reach)
    known = (before.known > 0.5) & (after.known > 0.5)
    changes = np.linalg.norm(after.chroma - before.chroma, axis=1) * known
    return np.asarray(np.clip(changes / max(float(np.percentile(changes, 97)), 1e-6), 0.0, 1.0))


def _tracked_beats(onsets: Doubles) -> Doubles:
    frames = track_beats(onsets, likely_period(onsets, ANALYSIS_RATE / TIMBRE_HOP))
    return frames * TIMBRE_HOP / ANALYSIS_RATE


def _steadied(onsets: Doubles, beats_s: Doubles) -> tuple[Doubles, bool]:
    """The even grid that meets the most attacks if the tracked beats are close to even, else these; and whether so."""
    indices = np.arange(len(beats_s))
    period, first = np.polyfit(indices, beats_s, 1)
    if np.median(np.abs(beats_s - (first + period * indices))) >= _STEADY_S:
        return beats_s, False
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
    meets = [np.interp(lines + shift, times, onsets).sum() for shift in shifts]
    return lines + shifts[int(np.argmax(meets))], True


def _continued(beats: Doubles, per_bar: int, region: tuple[int, int], features: Features) -> tuple[Doubles, int]:
    """The beats, carried on evenly on both sides past song and region; and how many were added in front."""
    head, tail = (float(np.median(np.diff(part))) for part in (beats[:9], beats[-9:]))
    margin = per_bar * MARGIN_BARS
    before = max(0, math.ceil((beats[0] - min(features.start, region[0])) / head)) + margin
    after = max(0, math.ceil((max(features.stop, region[1]) - beats[-1]) / tail)) + margin
    front = beats[0] - head * np.arange(before, 0, -1)
    return np.concatenate([front, beats, beats[-1] + tail * np.arange(1, after + 1)]), before
