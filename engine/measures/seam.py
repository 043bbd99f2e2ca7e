"""The edges: how much the sound changes there, against the song's own changes, and whether there is a click.

A bar line is where music changes most, so a change is judged by the song's own changes at the same place in its
neighbouring bars. A click is something else, a break in the waveform itself, and is looked for sample by sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.measures.mel import Mono, mel_power, window_frames
from protocol.music import TempoMap

if TYPE_CHECKING:
    from engine.api import Audio

Floats = NDArray[np.float64]

MARGIN_S = 0.25
"""Audio needed on either side of a position."""
_STEPS_S = np.arange(-0.01, 0.061, 0.01)
"""Positions around an edge that are looked at: a crossfade inside the region ends up to some 50 ms after its start."""
_CLICK_SIDE_S = 0.01
_CLICK_GUARD = 4
"""Frames around a join that are left out of what it is compared with."""
_CLICK_FLOOR = 1e-4
"""Second difference (full scale 1) below which nothing is heard as a click."""


def change_db(signal: Mono, positions: Floats, rate: int, silence: float, *, end: bool) -> Floats:
    """The largest change of sound near each position (frames into `signal`), as the mean over mel bands in dB.

    Looks from 10 ms outside to 60 ms inside the region: after the position for a start, before it for an `end`.
    Every position needs `MARGIN_S` of audio on either side.
    """
    window = window_frames(rate)
    steps = np.round((-_STEPS_S if end else _STEPS_S) * rate).astype(np.int64)
    at = (np.round(positions).astype(np.int64)[:, None] + steps).ravel()
    before = 10.0 * np.log10(mel_power(signal, at - window, rate) + silence)
    after = 10.0 * np.log10(mel_power(signal, at, rate) + silence)
    return np.asarray(np.abs(after - before).mean(axis=1).reshape(-1, steps.size).max(axis=1))


def click_db(audio: Audio, join: int, rate: int) -> float:
    """How far the waveform's break at `join` (first frame after it) stands above its surroundings, in dB.

    The break is the second difference across the join, the worst channel counts; its surroundings are the loudest
    hundredth of the second differences 10 ms to either side. Music without a click reads about -20 to +3 dB.
    """
    side = max(32, round(_CLICK_SIDE_S * rate))
    piece = np.asarray(audio[:, max(0, join - side) : join + side], dtype=np.float64)
    middle = join - max(0, join - side)
    bends = np.abs(np.diff(piece, n=2, axis=1))  # bends[i] spans samples i, i+1, i+2
    across = bends[:, middle - 2 : middle].max(axis=1)
    around = np.delete(bends, np.s_[max(0, middle - 1 - _CLICK_GUARD) : middle - 1 + _CLICK_GUARD], axis=1)
    usual = np.maximum(np.percentile(around, 99, axis=1), _CLICK_FLOOR)
    return float(20.0 * np.log10(np.max(np.maximum(across, 1e-9) / usual)))


def same_places(tempo_map: TempoMap, edge_s: float, span_s: tuple[float, float], *, every_count: bool) -> list[float]:
    """Times in `span_s` at the edge's own place in the bar (or, `every_count`, in any count), the edge left out.

    Only bars under the edge's own time signature are used.
    """
    _, into = tempo_map.bar_at(edge_s)
    signature = tempo_map.signature_at(edge_s)
    counts = [line for line in tempo_map.grid(span_s[0] - 60.0, span_s[1]) if line.is_bar_line or every_count]
    if every_count:
        into %= signature.beats_per_count
    times = (
        tempo_map.time_at(tempo_map.beat_at(line.time_s) + into)
        for line in counts
        if tempo_map.signature_at(line.time_s + 1e-6) == signature
    )
    return [t for t in times if span_s[0] <= t < span_s[1] and abs(t - edge_s) > 1e-3]


def percentile_of(value: float, among: Floats) -> float:
    """The share of `among` below `value`, 0 to 100; equal ones count half."""
    return float(100.0 * (np.mean(among < value) + 0.5 * np.mean(among == value)))
