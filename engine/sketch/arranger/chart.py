"""What every player of harmony reads off the lead sheet: the chords as they are played, the scale over each, how loud.

Promises: the changes cover all bars of the sheet, without gaps; they lie where the groove swings them to, on ticks, and
one begins where the sheet's span does. What `scale_over` allows is the chord or the key's scale, bent to hold it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.voicing import Harmony, Pedal
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import PPQ, SHORTEST, Instrument, Note, on_tick
from engine.sketch.style import Style
from protocol.key import Key

_BRIEF = 0.2
"""Beats: a chord that lasts no longer than this is an artefact of listening."""


@dataclass(frozen=True)
class Change:
    """`harmony` is played from beat `start` up to `end`, both on ticks; a `Pedal` where no chord is heard."""

    start: float
    end: float
    harmony: Harmony

    @property
    def beats(self) -> float:
        return self.end - self.start

    def has(self, pitch: int) -> bool:
        """True if `pitch` is a tone of the chord."""
        return pitch % 12 in self.harmony.pitch_classes


class Chart:
    """The changes of a sheet, and the one around a beat."""

    def __init__(self, sheet: LeadSheet, groove: Groove) -> None:
        self.changes = _changes(sheet, groove)
        self._starts = [change.start for change in self.changes]

    def at(self, beat: float) -> int:
        """Index of the change that sounds at `beat`; beyond the edges the nearest."""
        return max(0, bisect_right(self._starts, beat + 1e-6) - 1)

    def within(self, pitch: int, start: float, end: float) -> float:
        """How far a note from `start` may be held towards `end`: up to the first change that lacks its pitch."""
        for change in self.changes[self.at(start) + 1 :]:
            if change.start >= end - 1e-9:
                break
            if not change.has(pitch):
                return change.start
        return end


def _changes(sheet: LeadSheet, groove: Groove) -> tuple[Change, ...]:
    first, last = on_tick(sheet.bars[0].start), on_tick(sheet.bars[-1].end)
    spans: list[tuple[float, Harmony]] = []
    for span in sheet.chords:
        if span.end - span.start <= _BRIEF or span.end <= first or span.start >= last:
            continue
        harmony: Harmony = span.chord or Pedal(sheet.key.pitch_class)
        if not spans or harmony != spans[-1][1]:
            spans.append((max(first, groove.swung(span.start)), harmony))
    if not spans:
        spans = [(first, Pedal(sheet.key.pitch_class))]
    spans[0] = (first, spans[0][1])
    spans = _begun_anew(spans, earliest(sheet))
    ends = [start for start, _ in spans[1:]] + [last]
    return tuple(
        Change(start, end, harmony) for (start, harmony), end in zip(spans, ends, strict=True) if end - start > SHORTEST
    )


def earliest(sheet: LeadSheet) -> float:
    """The first tick of the sheet's span."""
    return math.ceil(sheet.start * PPQ - 1e-6) / PPQ


def _begun_anew(spans: list[tuple[float, Harmony]], beat: float) -> list[tuple[float, Harmony]]:
    """A region that starts inside a chord begins it again, or what is held would be missing from it."""
    after = next((k for k, (start, _) in enumerate(spans) if start > beat - 1.5 / PPQ), len(spans))
    if after == 0 or (after < len(spans) and spans[after][0] - beat < 0.12):
        return spans
    return [*spans[:after], (beat, spans[after - 1][1]), *spans[after:]]


@lru_cache(maxsize=1024)
def scale_over(key: Key, harmony: Harmony) -> frozenset[int]:
    """Pitch classes for passing notes: the key's scale, bent to hold the chord.

    Each foreign chord tone takes the place of the neighbour that it is an alteration of, so that three semitones never
    stand side by side: over E7 in A minor G gives way to G#, over C7 in C major B to Bb.
    """
    chord = set(harmony.pitch_classes)
    scale = set(key.scale) | chord
    for tone in sorted(chord - set(key.scale)):
        neighbours = [n for n in ((tone - 1) % 12, (tone + 1) % 12) if n in scale and n not in chord]
        smooth = [n for n in neighbours if not _crowded(scale - {n}, tone)]
        for gone in (smooth or neighbours)[:1]:
            scale.discard(gone)
    return frozenset(scale)


def _crowded(scale: set[int], around: int) -> bool:
    """True if three neighbouring semitones near `around` are all in the scale."""
    return any({(around + k + j) % 12 for j in range(3)} <= scale for k in (-2, -1, 0))


# --- players --------------------------------------------------------------------------------------------------------
def chosen(style: Style, usual: Mapping[Instrument, float], chance: np.random.Generator) -> Instrument:
    """Who plays: the first instrument of `usual` that was named, else one that was not ruled out, by weight.

    Where all were ruled out, the likeliest: the track class was asked for after all. Draws once from `chance`.
    """
    draw = float(chance.random())
    named = [instrument for instrument in style.instruments if instrument in usual and instrument not in style.without]
    if named:
        return named[0]
    left = {instrument: weight for instrument, weight in usual.items() if instrument not in style.without}
    left = left or dict(usual)
    if not any(left.values()):
        return next(iter(left))
    edges = np.cumsum(list(left.values()))
    return list(left)[int(np.searchsorted(edges, draw * edges[-1], side="right"))]


def busyness(bars: Sequence[BarGroove], style: Style) -> float:
    """How much there is to play in `bars`, 0 to 1: their energy, and what the words ask."""
    mean = sum(bar.energy for bar in bars) / len(bars)
    return min(1.0, max(0.0, mean + 0.4 * style.density))


def by_label(groove: Groove) -> dict[str, list[BarGroove]]:
    """The bars of each section label, in order of first appearance."""
    found: dict[str, list[BarGroove]] = {}
    for bar in groove.bars:
        found.setdefault(bar.section, []).append(bar)
    return found


def runs(groove: Groove) -> list[list[BarGroove]]:
    """The bars of each section as it comes."""
    found: list[list[BarGroove]] = []
    for bar in groove.bars:
        if bar.opens or not found:
            found.append([])
        found[-1].append(bar)
    return found


def seconds_of(sheet: LeadSheet, start: float, end: float) -> float:
    """How long a stretch of beats lasts."""
    return sheet.tempo_map.time_at(end) - sheet.tempo_map.time_at(start)


def beats_in(sheet: LeadSheet, beat: float, seconds: float) -> float:
    """How many beats pass in `seconds` at the tempo of `beat`."""
    return seconds * sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(beat)) / 60.0


def loudness(bar: BarGroove, style: Style, accent: float = 0.0) -> int:
    """Velocity of a note in `bar`; `accent` in units of one clear step of loudness (about 10)."""
    level = 52 + 42 * bar.energy + 6 * style.intensity + 10 * accent + (3 if bar.opens else 0)
    return int(min(122, max(18, round(level))))


def note(start: float, end: float, pitch: int, velocity: float) -> Note:
    """A note from beat to beat, rounded to ticks."""
    begin = on_tick(start)
    return Note(
        begin, max(SHORTEST, on_tick(end) - begin), pitch, int(min(127, max(1, round(velocity)))), written=begin
    )


def without_overlaps(notes: Iterable[Note]) -> list[Note]:
    """The same notes, each ending where its pitch is struck again; of two struck together the longer."""
    kept: list[Note] = []
    last: dict[int, int] = {}
    for each in sorted(notes, key=lambda n: (n.beat, n.pitch, n.beats)):
        before = last.get(each.pitch)
        if before is not None and kept[before].end > each.beat - 1e-9:
            if each.beat - kept[before].beat < SHORTEST:
                kept[before] = replace(kept[before], beats=max(kept[before].beats, each.beats))
                continue
            kept[before] = replace(kept[before], beats=min(kept[before].beats, each.beat - kept[before].beat))
        last[each.pitch] = len(kept)
        kept.append(each)
    return kept
