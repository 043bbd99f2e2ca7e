"""Drum fills: what leads from one section into the next. The louder the music, the longer and busier they are."""

from __future__ import annotations

import numpy as np

from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.kit import Page, loudness
from engine.sketch.arranger.meter import cells, is_compound, pulses
from engine.sketch.score import Drum, Instrument

TOMS = (Drum.HIGH_TOM, Drum.MID_TOM, Drum.LOW_TOM, Drum.FLOOR_TOM)
_FASTEST_S = 0.075
"""Seconds between strokes of two hands."""


def write_fill(
    page: Page, planned: BarGroove, groove: Groove, kit: Instrument, bpm: float, chance: np.random.Generator
) -> None:
    """Write a fill over the end of the bar on `page`, in place of hands that play time there."""
    energy, level = planned.energy, loudness(planned)
    beats = pulses(planned.bar)
    longest = 1 if energy < 0.35 else 2 if energy < 0.75 else max(2, len(beats) - 1)
    length = min(int(chance.integers(1, longest + 1)) if energy < 0.6 else longest, max(1, len(beats) - 1))
    start = beats[-length]
    places = [place for place in _grid(planned, groove, bpm) if place >= start - 1e-6]
    kinds = _KINDS_SOFT if energy < 0.35 or kit is Instrument.BRUSH_KIT else _KINDS
    kind = kinds[int(chance.integers(len(kinds)))]
    if kind == "lift":
        return _lift(page, planned, level)
    page.clear(start, planned.bar.end, keep=(Drum.KICK,))
    for index, (place, drums) in enumerate(_strokes(kind, places, beats)):
        rise = 0.62 + 0.45 * (index + 1) / len(places)
        accent = 1.0 if any(abs(place - beat) < 1e-6 for beat in beats) else 0.86
        for drum in drums:
            page.hit(place, drum, min(1.0, level * rise * accent))
    if energy > 0.5 and kind != "linear":
        for beat in beats[-length:]:
            page.hit(beat, Drum.KICK, level * 0.85)
    return None


_KINDS = ("snare", "toms", "toms", "linear", "stabs", "mixed", "pickup")
_KINDS_SOFT = ("lift", "pickup", "pickup")


def _grid(planned: BarGroove, groove: Groove, bpm: float) -> list[float]:
    """Where strokes may fall in the bar: sixteenths, triplets in swing, counts in compound meters; never too fast."""
    bar = planned.bar
    places: list[float] = []
    for cell in cells(bar):
        if cell.compound:
            parts = tuple(k * cell.pulse / 3 for k in range(3))
            if cell.pulse / 6 * 60 / bpm > 1.6 * _FASTEST_S and not is_compound(bar):
                parts = tuple(k * cell.pulse / 6 for k in range(6))
        elif groove.swing > 0.55:
            parts = (0.0, 0.25, 0.5)  # swung, these are the beat's thirds
        else:
            parts = (0.0, 0.25, 0.5, 0.75)
        shortest = cell.pulse / len(parts) * 60 / bpm
        if shortest < _FASTEST_S:
            parts = (0.0, 0.5) if not cell.compound and 30 / bpm >= _FASTEST_S else (0.0,)
        places += [cell.start + k * cell.pulse + part for k in range(cell.pulses) for part in parts]
    return [place for place in places if place < bar.end - 0.12]


def _strokes(kind: str, places: list[float], beats: tuple[float, ...]) -> list[tuple[float, tuple[int, ...]]]:
    size = len(places)
    if kind == "snare":
        return [(place, (Drum.SNARE,)) for place in places]
    if kind == "toms":
        return [(place, (TOMS[index * len(TOMS) // size],)) for index, place in enumerate(places)]
    if kind == "linear":  # hand, hand, foot
        hands = ((Drum.SNARE,), (Drum.LOW_TOM,), (Drum.KICK,))
        return [(place, hands[index % 3]) for index, place in enumerate(places)]
    if kind == "stabs":  # together, in threes across the beat
        return [(place, (Drum.SNARE, Drum.FLOOR_TOM)) for place in places[::3]]
    if kind == "mixed":  # snare on the beat, toms answer
        return [
            (place, (Drum.SNARE,) if any(abs(place - beat) < 1e-6 for beat in beats) else (TOMS[1 + 2 * (index % 2)],))
            for index, place in enumerate(places)
        ]
    return [(place, (Drum.SNARE,)) for place in places[-3:]]  # a pick-up


def _lift(page: Page, planned: BarGroove, level: float) -> None:
    """The quietest fill: a breath, and an open hat on the last stroke."""
    last = planned.bar.end - min(planned.step, 0.5)
    page.clear(last, planned.bar.end, keep=(Drum.KICK,))
    page.hit(last, Drum.OPEN_HAT, level * 0.8)
