"""The groove that all players share: where kick and backbeat fall, how finely the bar is divided, how hard it is
played, where a fill leads on. It is planned once per song, before and independently of the parts.

With a song to hear, the plan locks to its accents: kick where its low band hits, backbeat where its middle does. A
style word's pattern outweighs them; of its variants the one is taken that meets the song best. Equal sections get the
same groove.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.sketch.arranger.ears import HIT, LOW, Ears
from engine.sketch.arranger.meter import Cell, cells, is_compound, is_swingable
from engine.sketch.arranger.patterns import FAMILIES, Family, Pattern
from engine.sketch.lead_sheet import Bar, LeadSheet
from engine.sketch.score import on_tick
from engine.sketch.style import Beat, Feel, Style

_NEAR = 1e-3
FILL_EVERY = 8
"""Bars: a section without an end in sight gets a fill this often."""
_PHRASE = 4
"""Bars of a phrase: three alike, the fourth turns."""
_FASTEST_S = 0.11
"""Seconds: what the hands of a session player repeat no faster."""
_SLOWEST_S = 1.2


@dataclass(frozen=True)
class BarGroove:
    """One bar of the plan. `kick` and `snare` are straight grid positions (absolute beats, rising, on ticks), before
    swing; `step` is the subdivision of hats and comping in beats. `fill`: leads into another section; `opens`: the
    first bar of one; `place` counts the bars of the section from 0.
    """

    bar: Bar
    kick: tuple[float, ...]
    snare: tuple[float, ...]
    step: float
    fill: bool
    opens: bool
    energy: float
    section: str
    place: int = 0


@dataclass(frozen=True)
class Groove:
    """The plan, one entry per bar of the sheet, in order. `swing` says where the second eighth of a beat falls."""

    bars: tuple[BarGroove, ...]
    beat: Beat
    swing: float

    def swung(self, beat: float) -> float:
        """`beat` (absolute) where a swinging player puts it, on a tick; beats themselves stay, compound bars too."""
        if self.swing == 0.5 or not self.bars:
            return on_tick(beat)
        bar = self.bars[max(0, bisect_right(self._starts, beat + 1e-6) - 1)].bar
        if not is_swingable(bar):
            return on_tick(beat)
        whole, part = divmod(beat - bar.start + 1e-9, 1.0)
        late = part * 2 * self.swing if part < 0.5 else self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return on_tick(bar.start + whole + late)

    @cached_property
    def _starts(self) -> list[float]:
        return [planned.bar.start for planned in self.bars]


def plan_groove(sheet: LeadSheet, style: Style, chance: np.random.Generator) -> Groove:
    """The groove of `sheet.bars` in `style`; nothing else but `chance` decides."""
    ears = None
    if sheet.accents is not None:
        labels = [_form(sheet, index)[0] for index in range(len(sheet.bars))]
        ears = Ears(sheet.bars, labels, sheet.accents, swings=sheet.swing > 0.55)
    beat = style.beat or _heard_beat(sheet, style, ears)
    swing = _swing(sheet, style, beat)
    patterns = _Patterns(FAMILIES[beat], style, ears, chance)
    planned: list[BarGroove] = []
    for index, bar in enumerate(sheet.bars):
        section, place, opens, fill = _form(sheet, index)
        energy = float(np.clip(sheet.energy_of(bar) + 0.25 * style.intensity, 0.0, 1.0))
        kick, snare = patterns.of(bar, place, section, energy)
        if ears is not None and style.beat is None:
            heard, snare = ears.locked(index, kick, snare, style.density)
            kick = kick if beat is Beat.FOUR_ON_THE_FLOOR else heard
        step = _step(sheet, bar, style, FAMILIES[beat], ears, swing, energy)
        planned.append(
            BarGroove(
                bar, tuple(map(on_tick, kick)), tuple(map(on_tick, snare)), step, fill, opens, energy, section, place
            )
        )
    return Groove(tuple(planned), beat, swing)


# --- form -----------------------------------------------------------------------------------------------------------
def _form(sheet: LeadSheet, index: int) -> tuple[str, int, bool, bool]:
    """Label, place in the section, opens and fill of a bar. A bar belongs to the section around its middle."""
    bars = sheet.bars

    def section_of(bar: Bar) -> tuple[float, str]:
        section = sheet.section_at((bar.start + bar.end) / 2)
        return section.start, section.label

    here = section_of(bars[index])
    place = 0
    while index - place > 0 and section_of(bars[index - place - 1]) == here:
        place += 1
    is_last = index + 1 == len(bars)
    changes = not is_last and section_of(bars[index + 1]) != here
    opens = place == 0 and (index > 0 or here[0] > bars[index].start - _NEAR)
    return here[1], place, opens, changes or place % FILL_EVERY == FILL_EVERY - 1


def _swing(sheet: LeadSheet, style: Style, beat: Beat) -> float:
    if style.feel is Feel.STRAIGHT:
        return 0.5
    if style.feel is Feel.SWING or (beat is Beat.SWING_RIDE and sheet.swing < 0.55):
        # The faster, the evener: Friberg & Sundström, "Swing Ratios and Ensemble Timing in Jazz Performance", 2002.
        bpm = _bpm(sheet, sheet.start)
        usual = float(np.interp(bpm, [120.0, 240.0], [0.667, 0.56]))
        return max(usual, min(sheet.swing, 0.667))
    return sheet.swing if sheet.swing > 0.53 else 0.5


def _bpm(sheet: LeadSheet, beat: float) -> float:
    return sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(beat + 1e-6))


def _step(
    sheet: LeadSheet, bar: Bar, style: Style, family: Family, ears: Ears | None, swing: float, energy: float
) -> float:
    """Beats between hats: the family's, else what the song's cymbals do, else by tempo; always playable."""
    usual = family.step if style.beat is not None or ears is None else None
    heard = ears.step if ears else None
    bpm = _bpm(sheet, bar.start)
    step = usual or heard or (0.25 if bpm < 76 and energy > 0.4 and swing == 0.5 else 0.5)
    if is_compound(bar):
        step = bar.signature.beats_per_count
    elif style.density > 0.3 and step > 0.25 and swing == 0.5 and bpm < 126:
        step /= 2
    elif style.density < -0.3:
        step *= 2
    if swing > 0.55 and is_swingable(bar):
        step = max(step, 0.5)
    while step * 60 / bpm < _FASTEST_S and step < bar.beats:
        step *= 3 if is_compound(bar) and step < 3 * bar.signature.beats_per_count else 2
    while step * 60 / bpm > _SLOWEST_S and step > 0.25:
        step /= 2
    return step


# --- patterns -------------------------------------------------------------------------------------------------------
class _Patterns:
    """A family's variants, one chosen per section label, meter and band of energy, so that equal sections are equal."""

    def __init__(self, family: Family, style: Style, ears: Ears | None, chance: np.random.Generator) -> None:
        self._family, self._style, self._ears, self._chance = family, style, ears, chance
        self._chosen: dict[tuple[object, ...], tuple[Pattern, Pattern]] = {}

    def of(self, bar: Bar, place: int, section: str, energy: float) -> tuple[list[float], list[float]]:
        """Kick and snare beats of a bar."""
        kick: list[float] = []
        snare: list[float] = []
        for cell in cells(bar):
            name = (cell.pulses, cell.compound, section, energy > 0.45)
            if name not in self._chosen:
                self._chosen[name] = self._choose(cell, energy)
            pattern = self._chosen[name][place % _PHRASE == _PHRASE - 1]
            kick += _placed(pattern[0], cell, place)
            snare += _placed(pattern[1], cell, place)
        return kick, snare

    def _choose(self, cell: Cell, energy: float) -> tuple[Pattern, Pattern]:
        """A phrase's pattern, and the one that its last bar turns to."""
        variants, step = _variants(self._family, cell), _grain(cell)
        # Plain variants for quiet music and sparse styles, busy ones for loud and dense; the song's kick decides most.
        wanted = np.clip(energy + 0.5 * self._style.density, 0.0, 1.0) * (len(variants) - 1)
        scores = -0.12 * np.abs(np.arange(len(variants)) - wanted) + 0.25 * self._chance.random(len(variants))
        if self._ears is not None:
            scores += [1.5 * self._ears.agreement(kick, cell, step) for kick, _ in variants]
        best = int(np.argmax(scores))
        return variants[best], variants[best + 1 if best + 1 < len(variants) else max(0, best - 1)]


def _grain(cell: Cell) -> float:
    return cell.pulse / 3 if cell.compound else 0.25


def _variants(family: Family, cell: Cell) -> tuple[Pattern, ...]:
    if cell.compound:
        if cell.pulses == 4 and family.compound_four:
            return family.compound_four
        if cell.pulses % 2:  # a lone group of three, or three of them: the backbeat on the last
            heads = tuple((kick[:3], "...") for kick, _ in family.compound)
            return heads if cell.pulses == 1 else tuple((k[:3] + "......", "......x..") for k, _ in family.compound)
        return tuple((k * (cell.pulses // 2), s * (cell.pulses // 2)) for k, s in family.compound)
    return family.three if cell.pulses == 3 else family.four


def _placed(pattern: str, cell: Cell, place: int) -> list[float]:
    grain = _grain(cell)
    length = round(cell.pulses * cell.pulse / grain)
    if len(pattern) == (24 if cell.pulses == 3 else 32) and not cell.compound:
        half = len(pattern) // 2
        pattern = pattern[half:] if place % 2 else pattern[:half]
    beats = (cell.start + k * grain for k, hit in enumerate(pattern[:length]) if hit == "x")
    return [beat for beat in beats if beat < cell.end - 1e-6]


def _heard_beat(sheet: LeadSheet, style: Style, ears: Ears | None) -> Beat:
    """The family when no word names one: from the accents, else from meter, feel and energy."""
    bar = max(sheet.bars, key=lambda one: sum(other.signature == one.signature for other in sheet.bars))
    if (bar.signature.numerator, bar.signature.denominator) in ((3, 4), (3, 2)) and ears is None:
        return Beat.WALTZ
    if ears is not None and round(bar.beats * 4) == 16 and is_swingable(bar):
        low, crack = ears.usual(bar)[:, LOW], ears.backbeat(bar)
        if min(low[::4]) >= HIT and low[::4].mean() > low[2::4].mean() + 0.08:
            return Beat.FOUR_ON_THE_FLOOR
        if crack[8] >= HIT and max(crack[4], crack[12]) < 0.5 * crack[8]:
            return Beat.HALF_TIME
        if crack[2::4].mean() >= HIT and crack[[4, 12]].mean() < 0.6 * crack[2::4].mean():
            return Beat.DOUBLE_TIME
    soft = float(np.mean(sheet.energy or (0.6,))) + 0.25 * style.intensity < 0.35
    return Beat.BALLAD if soft and ears is None else Beat.BACKBEAT
