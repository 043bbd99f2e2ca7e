"""Risers, impacts and falls where the form turns, and nothing else: sparse, so that each still means something.

Promises: a riser ends and an impact begins exactly on the bar line where a section begins, a fall starts there; nothing
lies elsewhere, save a soft cymbal into every eighth bar of a long section, and a shimmer where there is no turn at all.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.arranger.chart import note, seconds_of, without_overlaps
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Effect, Instrument, Note, Part, in_order, on_tick
from engine.sketch.style import Style
from protocol.vocabulary import TrackClass

_EVERY = 8
"""Bars between the small gestures of a long section."""


def write_effects(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """The transitions of the sheet. Effects are not humanised: they are edits, not playing."""
    notes: list[Note] = []
    bars = groove.bars
    for index, bar in enumerate(bars):
        lift = float(chance.uniform(0.0, 0.3))
        if bar.opens:
            notes += _arrival(sheet, bars, index, style, lift)
        elif bar.place % _EVERY == 0:
            notes += _into(bars, index, 1, Effect.REVERSE_CYMBAL, 58)
    if bars[-1].fill:
        notes += _into(bars, len(bars), _lead(sheet, bars, len(bars)), Effect.RISER, 70 + 20 * bars[-1].energy)
    if not notes:
        notes = [note(bars[0].bar.start, bars[min(1, len(bars) - 1)].bar.end, Effect.SHIMMER, 50 + 30 * bars[0].energy)]
    return Part(TrackClass.FX, Instrument.EFFECTS, in_order(without_overlaps(notes)))


def _arrival(sheet: LeadSheet, bars: tuple[BarGroove, ...], index: int, style: Style, lift: float) -> list[Note]:
    """What leads into the section that opens at bar `index`, and what strikes there: as much as it is louder."""
    bar = bars[index]
    before = bars[index - 1].energy if index else bar.energy - 0.1
    step = bar.energy - before + lift + 0.3 * style.intensity
    begin = bar.bar.start
    length = min(2 * bar.bar.beats, bars[-1].bar.end - begin)
    level = 60 + 45 * bar.energy
    if step < -0.15:  # the music falls back: let it
        return [note(begin, begin + length, Effect.DOWNLIFTER, level)]
    notes = _into(bars, index, _lead(sheet, bars, index), Effect.RISER if step > 0.1 else Effect.REVERSE_CYMBAL, level)
    notes.append(note(begin, begin + length, Effect.IMPACT, level + 10))
    if step > 0.35 and bar.energy > 0.6:
        notes.append(note(begin, begin + length, Effect.SUB_DROP, level))
    elif index == 0 and bar.energy < 0.4:
        notes = [note(begin, begin + length, Effect.SHIMMER, level)]
    return notes


def _lead(sheet: LeadSheet, bars: tuple[BarGroove, ...], index: int) -> int:
    """Bars of a riser into bar `index`: about four seconds, none before its section."""
    last = bars[index - 1]
    wanted = round(4.0 / max(0.1, seconds_of(sheet, last.bar.start, last.bar.end)))
    return int(min(4, last.place + 1, max(1, wanted)))


def _into(bars: tuple[BarGroove, ...], index: int, lead: int, pitch: int, velocity: float) -> list[Note]:
    """An effect over the `lead` bars before bar `index`, ending on its line; nothing if there are none."""
    if index == 0:
        return []
    first = bars[max(0, index - lead)].bar.start
    end = bars[index].bar.start if index < len(bars) else bars[-1].bar.end
    return [note(on_tick(first), end, pitch, velocity)]
