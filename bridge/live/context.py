"""What a phrase hears: the bars before its place, as they were really played. Pure.

Only what sounds is heard. An engine that goes on from the music before its region takes a rest for music, too: two bars
of silence before a short source, or up to the bar line at which a source is joined, came back as phrases of silence. So
what is heard begins no earlier than the source, and from its end to the join its last bars are repeated.

Level. Every phrase is matched to what it hears. Each match is off by less than a tenth of a decibel, but mostly to the
same side, and the next phrase is matched to this one: unchecked, 300 phrases of a bar came out 17 dB
louder than their source. So where the music has left the source's level by more than `DRIFT_DB`, it is heard a little
louder or softer than it was, and comes back over some phrases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.live.bar_lines import SAME_BEATS
from bridge.live.material import Filled, Material, laid_out
from engine.loudness import level_db
from protocol.music import TempoMap

if TYPE_CHECKING:
    from engine.api import Audio

Span = tuple[float, float, "Audio"]
"""First beat, beat after the last, audio."""

DRIFT_DB = 1.5
"""So far the level may move by itself, as music does."""
PULL, MOST_PULL_DB = 0.25, 1.0
"""The share of what is beyond that is taken back with each phrase, and the most."""


def heard(
    beat: float,
    bars: int,
    leading: Sequence[Filled],
    source: Span,
    base: Material,
    join_beat: float,
    tempo_map: TempoMap,
    channels: int,
) -> tuple[Audio, int]:
    """What sounds in up to `bars` bars before `beat`, and the project frame at which it begins.

    `leading` is what leads up to `beat`, the nearest first (`material.leading_to`); before it lies the source, which
    was joined at `join_beat`. `base` is its end, which is looped.
    """
    start_beat = tempo_map.beat_at(tempo_map.bars_from(tempo_map.time_at(beat), -bars))
    spans: list[Span] = []
    end_beat = beat  # one after another up to there: after a locate too they lead up to it
    for filled in leading:
        if end_beat <= start_beat:
            break
        spans.append((end_beat - filled.slot.beats, end_beat, filled.audio()))
        end_beat -= filled.slot.beats
    # The source keeps its bars: it may end before the line at which it is joined, or ring on over it.
    first, last = (edge + end_beat - join_beat for edge in source[:2])
    spans = [*_loops(base, last, start_beat, end_beat), (first, last, source[2]), *spans]
    sounds_from = min(edge for edge, _, _ in spans)
    return laid_out(spans, max(start_beat, sounds_from), beat, tempo_map, base.rate, channels)


def _loops(base: Material, beat: float, start_beat: float, end_beat: float) -> Iterator[Span]:
    """The base again and again up to `end_beat`, back to `beat`, as far as it lies past `start_beat`."""
    while end_beat > max(beat, start_beat) + SAME_BEATS:
        yield end_beat - base.beats, end_beat, base.audio
        end_beat -= base.beats


def level(audio: Audio) -> float:
    """dB RMS; minus infinity for silence."""
    return level_db(audio, 0, weighted=False)


def held(audio: Audio, source_db: float) -> Audio:
    """`audio`, turned a little towards the source's level if it has drifted from it; itself, if not."""
    drift_db = level(audio) - source_db
    if not math.isfinite(drift_db):
        return audio
    beyond_db = drift_db - max(-DRIFT_DB, min(DRIFT_DB, drift_db))
    if not beyond_db:
        return audio
    pull_db = max(-MOST_PULL_DB, min(MOST_PULL_DB, PULL * beyond_db))
    return np.asarray(audio * 10.0 ** (-pull_db / 20.0), np.float32)
