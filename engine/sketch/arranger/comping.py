"""Rhythms for chords in any meter, and what becomes of them where chords change.

A rhythm is written like a drummer's notebook, sixteenths of simple bars and thirds of a pulse in compound ones:
``x`` a chord, ``X`` a loud, ``o`` a soft one, ``-`` it is held, ``.`` silence; ``b`` the lowest voice alone, ``u`` the
others, a digit one voice counted from below. A text of twice the length alternates from bar to bar.

Promises: a stroke lies on every change; no stroke is held over one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine.sketch.arranger.chart import Chart, busyness, by_label, seconds_of
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.meter import Cell, cells
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import on_tick
from engine.sketch.style import Style

_LEAST = 0.1
"""Beats: what a change leaves of a stroke must be longer to be played."""


@dataclass(frozen=True)
class Rhythm:
    """Texts for four and three simple pulses and for two compound ones. `rings`: voices sound on until struck again."""

    four: str
    three: str
    compound: str
    rings: bool = False

    @property
    def shortest(self) -> float:
        """Beats between its closest strokes in simple time."""
        places = [index for index, letter in enumerate(self.four) if letter not in "-."]
        return min((after - before for before, after in pairwise(places)), default=16) / 4

    def on(self, cell: Cell, place: int) -> tuple[str, float]:
        """The text for a cell in the section's bar `place` and the beats of one letter."""
        grain = cell.pulse / (3 if cell.compound else 4)
        if cell.compound:
            text, length = self.compound * ((cell.pulses + 1) // 2), 3 * cell.pulses
        elif cell.pulses == 3:
            text, length = _turn(self.three, 12, place), 12
        else:
            text, length = _turn(self.four, 16, place), 4 * cell.pulses
        return text[:length], grain


def _turn(text: str, length: int, place: int) -> str:
    return text[length:] if len(text) > length and place % 2 else text[:length]


@dataclass(frozen=True)
class Stroke:
    """What the hands do at beat `start` (swung, on a tick) up to `end`; `what` is the letter of the rhythm.
    `rhythm` is its bar's, `change` counts the chart's changes. `step` is the letter's place in its cell: a strum's
    direction hangs on it. `opens`: the first of its change. `added`: no rhythm asked for it, the chord did."""

    start: float
    end: float
    what: str
    bar: BarGroove
    rhythm: Rhythm
    change: int
    step: int = 0
    opens: bool = False
    added: bool = False

    @property
    def accent(self) -> float:
        return {"X": 1.0, "o": -1.0}.get(self.what, 0.0)


def strokes(groove: Groove, chart: Chart, rhythms: Sequence[Rhythm], held: float = 1.0) -> list[Stroke]:
    """The strokes of one rhythm per bar, in order. A stroke added for a change lasts no longer than `held` beats."""
    found: list[Stroke] = []
    for bar, rhythm in zip(groove.bars, rhythms, strict=True):
        for cell in cells(bar.bar):
            found += _of_text(groove, chart, bar, cell, rhythm)
    return _on_changes(found, groove, chart, rhythms, held)


def _of_text(groove: Groove, chart: Chart, bar: BarGroove, cell: Cell, rhythm: Rhythm) -> list[Stroke]:
    text, grain = rhythm.on(cell, bar.place)
    found = []
    for index, what in enumerate(text):
        straight = cell.start + index * grain
        if what in "-." or straight > cell.end - _LEAST:
            continue
        letters = 1 + len(text[index + 1 :]) - len(text[index + 1 :].lstrip("-"))
        start = groove.swung(straight)
        end = groove.swung(min(cell.end, straight + letters * grain))
        found.append(Stroke(start, min(end, on_tick(bar.bar.end)), what, bar, rhythm, chart.at(start), index))
    return found


def _on_changes(
    found: list[Stroke], groove: Groove, chart: Chart, rhythms: Sequence[Rhythm], held: float
) -> list[Stroke]:
    by_change: list[list[Stroke]] = [[] for _ in chart.changes]
    for stroke in found:
        end = chart.changes[stroke.change].end
        if end - stroke.start >= _LEAST or not by_change[stroke.change]:
            by_change[stroke.change].append(replace(stroke, end=min(stroke.end, end)))
    result: list[Stroke] = []
    for index, (change, own) in enumerate(zip(chart.changes, by_change, strict=True)):
        if own and 1e-6 < own[0].start - change.start < _LEAST:  # too close to the change to be another stroke
            own = own[1:]
        if own and own[0].start <= change.start + 1e-6:
            own[0] = replace(own[0], opens=True)
        else:
            end = min(own[0].start if own else change.end, change.start + held)
            at = max((k for k, bar in enumerate(groove.bars) if bar.bar.start <= change.start + 1e-6), default=0)
            what, bar, rhythm = "x" if held >= 1.0 else "o", groove.bars[at], rhythms[at]
            own.insert(0, Stroke(change.start, end, what, bar, rhythm, index, opens=True, added=True))
        result += own
    return result


def articulated(stroke: Stroke, style: Style) -> float:
    """Where a stroke is let go: held notes in full, short ones with air before the next."""
    length = stroke.end - stroke.start
    share = 1.0 if style.legato else 0.55 if style.legato is False else 0.9
    return stroke.end if length >= 2.0 and style.legato is not False else stroke.start + share * length


def rung(stroke: Stroke, chart: Chart) -> float:
    """Where a ringing stroke is damped: at the next change or bar line."""
    return min(chart.changes[stroke.change].end, on_tick(stroke.bar.bar.end))


_PHRASE = 4
_FASTEST_S = 0.15
"""Seconds: chords are not repeated faster."""


def picked(
    pool: Sequence[Rhythm], style: Style, groove: Groove, sheet: LeadSheet, chance: np.random.Generator
) -> list[Rhythm]:
    """A rhythm of `pool` (rising from still to busy) per bar: one per section label, as busy as the section is loud,
    the rest by chance; every fourth bar turns to its neighbour. Draws the same count from `chance` for every label."""
    bpm = 60.0 / max(1e-9, seconds_of(sheet, sheet.start, sheet.start + 1.0))
    playable = [rhythm for rhythm in pool if rhythm.shortest * 60.0 / bpm >= _FASTEST_S] or [pool[0]]
    chosen: dict[str, tuple[Rhythm, Rhythm]] = {}
    for label, bars in by_label(groove).items():
        wanted = busyness(bars, style) * (len(playable) - 1)
        away = np.abs(np.arange(len(playable)) - wanted)
        best = int((-0.35 * away + chance.random(len(pool))[: len(playable)]).argmax())
        near = [playable[k] for k in (best + 1, best - 1) if 0 <= k < len(playable)]
        chosen[label] = playable[best], next((r for r in near if r.rings == playable[best].rings), playable[best])
    return [chosen[bar.section][bar.place % _PHRASE == _PHRASE - 1] for bar in groove.bars]
