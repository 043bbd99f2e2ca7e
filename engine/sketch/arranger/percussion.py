"""The percussionist: what the drummer leaves room for. Shaker between the hats, tambourine and claps on the backbeat
of loud sections, congas and bongos in the gaps of the kick.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.kit import Page, loudness
from engine.sketch.arranger.meter import cells, is_compound, pulses, steps
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Drum, Instrument, Part
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

_FASTEST_S = 0.1

_HANDS: Mapping[Beat, tuple[tuple[int, ...], ...]] = {
    # per beat: what may keep time and what may answer, in quiet sections and in loud ones
    Beat.BACKBEAT: ((Drum.SHAKER, Drum.CABASA), (Drum.TAMBOURINE,)),
    Beat.FOUR_ON_THE_FLOOR: ((Drum.SHAKER,), (Drum.CLAP, Drum.TAMBOURINE, Drum.HIGH_CONGA)),
    Beat.HALF_TIME: ((Drum.SHAKER,), (Drum.TAMBOURINE, Drum.WOOD_BLOCK)),
    Beat.DOUBLE_TIME: ((Drum.TAMBOURINE,), (Drum.TAMBOURINE,)),
    Beat.BREAKBEAT: ((Drum.SHAKER, Drum.CABASA), (Drum.HIGH_CONGA, Drum.TAMBOURINE)),
    Beat.BOSSA: ((Drum.SHAKER, Drum.CABASA), (Drum.HIGH_CONGA,)),
    Beat.TRAIN: ((Drum.SHAKER,), (Drum.TAMBOURINE,)),
    Beat.ONE_DROP: ((Drum.SHAKER,), (Drum.HIGH_BONGO, Drum.WOOD_BLOCK)),
    Beat.SWING_RIDE: ((Drum.SHAKER,), (Drum.HIGH_BONGO, Drum.HIGH_CONGA)),
    Beat.WALTZ: ((Drum.SHAKER,), (Drum.TAMBOURINE, Drum.TRIANGLE)),
    Beat.MARCH: ((Drum.TRIANGLE,), (Drum.TAMBOURINE,)),
    Beat.BALLAD: ((Drum.SHAKER,), (Drum.TAMBOURINE, Drum.TRIANGLE)),
}
_SKINS = {
    # slap or mute, open, low, as sixteenths of four, three and (eighths) two compound pulses
    Drum.HIGH_CONGA: (Drum.MUTE_CONGA, Drum.HIGH_CONGA, Drum.LOW_CONGA),
    Drum.HIGH_BONGO: (Drum.HIGH_BONGO, Drum.HIGH_BONGO, Drum.LOW_BONGO),
}
_TUMBAO = {
    "four": ("m...M...m.l.h.h.", "m..mM...m.lmh.h."),
    "three": ("m...M...h.h.", "m...M.m.h.l."),
    "compound": ("m.Mm.h", "m.hl.h"),
}
_WOODS = frozenset({Drum.WOOD_BLOCK, Drum.TRIANGLE})


def write_percussion(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """The percussion part of `sheet.bars`."""
    page = Page(groove)
    timekeepers, answers = _HANDS[groove.beat]
    shaken = timekeepers[int(chance.integers(len(timekeepers)))]
    struck = answers[int(chance.integers(len(answers)))]
    swings = groove.swing > 0.55
    variant = int(chance.integers(2)) if not swings else 0
    for planned in groove.bars:
        bpm = sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(planned.bar.start + 1e-6))
        level = loudness(planned) * 0.85
        if planned.energy > 0.12 or style.density > 0:
            _shake(page, planned, shaken, level, bpm, swings)
        if planned.energy > 0.45 - 0.25 * style.density or struck in _SKINS:
            _answer(page, planned, struck, level, variant + (planned.place % 4 == 3 and not swings), shaken)
        if planned.opens and planned.energy < 0.5:
            page.hit(planned.bar.start, Drum.TRIANGLE, level * 0.7)
    notes = humanised(page.notes(), sheet, chance, timing_ms=4.5, velocity=6)
    return Part(TrackClass.PERCUSSION, Instrument.HAND_PERCUSSION, notes, pan=0.3)


def _shake(page: Page, planned: BarGroove, drum: int, level: float, bpm: float, swings: bool) -> None:
    """Finer than the hats where a wrist can, else on the strokes that they leave weak; accents on the off-beat."""
    if drum == Drum.TRIANGLE:
        for index, beat in enumerate(pulses(planned.bar)):
            page.hit(beat, drum, level * 0.5 * (index == 0))
        return
    step = planned.step
    if is_compound(planned.bar):
        step = planned.bar.signature.beats_per_count
    elif not swings and planned.energy > 0.35 and step / 2 * 60 / bpm >= _FASTEST_S:
        step = max(0.25, step / 2)
    while step * 60 / bpm < _FASTEST_S and step < planned.bar.beats:
        step *= 2
    beats = pulses(planned.bar)
    for index, beat in enumerate(steps(planned.bar, step)):
        on_pulse = any(abs(beat - pulse) < 1e-6 for pulse in beats)
        off_beat = not on_pulse and abs((beat - planned.bar.start) % 0.5) < 1e-6
        accent = 0.75 if off_beat and not swings else 0.6 if on_pulse else 0.42
        page.hit(beat, drum, level * accent * (1.0 if index else 0.9))


def _answer(page: Page, planned: BarGroove, drum: int, level: float, variant: int, shaken: int) -> None:
    if drum in _SKINS:
        _skins(page, planned, _SKINS[drum], level, variant)
    elif drum in _WOODS:
        if planned.place % 2:
            page.hit(pulses(planned.bar)[-1], drum, level * 0.7)
    elif drum != shaken:
        for beat in planned.snare:
            page.hit(beat, drum, level * 0.9)


def _skins(page: Page, planned: BarGroove, skins: tuple[int, int, int], level: float, variant: int) -> None:
    """The tumbao and its relatives: a slap on the second beat, open tones that lead into the next bar."""
    signs = {
        "m": (skins[0], 0.45),
        "M": (skins[0], 0.9),
        "h": (skins[1], 0.85),
        "l": (skins[2], 0.8),
    }
    for cell in cells(planned.bar):
        kind = "compound" if cell.compound else "three" if cell.pulses == 3 else "four"
        grain = cell.pulse / 3 if cell.compound else 0.25
        pattern = _TUMBAO[kind][variant % 2]
        for place in range(round((cell.end - cell.start - 0.05) / grain + 0.49)):
            sign = pattern[place % len(pattern)]
            if sign in signs:
                skin, weight = signs[sign]
                page.hit(cell.start + place * grain, skin, level * weight)
