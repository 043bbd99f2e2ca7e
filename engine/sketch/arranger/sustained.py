"""Strings and synthesisers: held chords whose inner voices move, plucked figures, and a lead for the synth.

Promises: voices of a pad go by the smallest steps and are tied where they stay; each change is heard; no note sounds on
over a chord that lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.sketch.arranger.chart import Chart, by_label, chosen, loudness, note, scale_over, without_overlaps
from engine.sketch.arranger.comping import Rhythm, articulated, picked, strokes
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.line import Voice, write_line
from engine.sketch.arranger.meter import cells, pulses
from engine.sketch.arranger.voicing import Harmony, Setting, voicings
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument, Note, Part, on_tick
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

_PLUCKED = (
    Rhythm("b-------2-------", "b-----------", "b-----"),
    Rhythm("b---u---u---u---", "b---u---u---", "b-ub-u"),
    Rhythm("b-1-2-3-2-1-2-1-", "b-1-2-3-2-1-", "b12321"),
    Rhythm("b-2-1-3-b-2-1-3-", "b-2-1-3-2-1-", "b21321"),
)
_OSTINATO = (
    Rhythm("X-o-x-o-X-o-x-o-", "X-o-x-o-x-o-", "XooXoo"),
    Rhythm("X-o-o-X-o-o-X-o-", "X-o-o-X-o-o-", "XooXoo"),
)
_UP = Rhythm("0-1-2-3-4-5-3-2-", "0-1-2-3-4-2-", "012345")
_DOWN = Rhythm("5-4-3-2-4-3-2-1-", "5-4-3-2-3-1-", "543210")
_WAVE = Rhythm("0-2-1-3-2-4-3-5-5-3-4-2-3-1-2-0-", "0-2-1-3-2-4-", "021324")
_SIXTEENTHS = Rhythm("0123452345340123", "012345234501", "024135")
_SKIPS = Rhythm("0-.2-.4-.2-.3-5-", "0-.2-.4-.2-.", "02.42.")
_HOUSE_PLUCK = Rhythm("x..x..x...x..x..", "x..x..x...x.", "x.xx.x")
_ARPEGGIOS = (_UP, _DOWN, _SKIPS, _WAVE, _HOUSE_PLUCK, _SIXTEENTHS)


def write_strings(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """A string section over all bars: bowed chords, their rhythm bowed where it is loud, or pizzicato."""
    light = groove.beat in (Beat.WALTZ, Beat.MARCH, Beat.BOSSA)
    pizzicato = 0.0 if style.legato else 0.25 if light else 0.08
    instrument = chosen(style, {Instrument.STRING_ENSEMBLE: 1.0, Instrument.PIZZICATO: pizzicato}, chance)
    chart = Chart(sheet, groove)
    centre = 62 + float(chance.uniform(-2.5, 2.5))
    if instrument is Instrument.PIZZICATO:
        notes = _figured(sheet, style, groove, chart, _PLUCKED, Setting(48, 76, 4, centre=centre, rooted=True), chance)
    else:
        setting = Setting(43, 81, 5, centre=centre, wide=True, rooted=True)
        ostinato = _OSTINATO[int(chance.integers(len(_OSTINATO)))]
        loud = {label for label, bars in by_label(groove).items() if _drives(bars, style)}
        driven = frozenset(bar.bar.number for bar in groove.bars if bar.section in loud)
        notes = [n for bars in _stretches(groove, driven) for n in held(sheet, style, chart, setting, bars)]
        bowed = [ostinato] * len(groove.bars)
        notes += _played(style, groove, chart, bowed, voicings(_harmonies(chart), setting), driven)
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=5.0, velocity=3)
    return Part(TrackClass.STRINGS, instrument, played, pan=0.1)


def write_synth(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """A warm pad, a plucked arpeggio or a lead over all bars."""
    dance = groove.beat in (Beat.FOUR_ON_THE_FLOOR, Beat.BREAKBEAT, Beat.DOUBLE_TIME)
    usual = {
        Instrument.WARM_PAD: 0.6 if dance else 1.0,
        Instrument.SYNTH_PLUCK: 0.0 if style.legato else 1.0 if dance else 0.35,
        Instrument.SYNTH_LEAD: 0.3 if dance else 0.1,
    }
    instrument = chosen(style, usual, chance)
    chart = Chart(sheet, groove)
    centre = 64 + float(chance.uniform(-3.0, 3.0))
    if instrument is Instrument.WARM_PAD:
        notes = held(sheet, style, chart, Setting(50, 79, 4, centre=centre, wide=True), groove.bars, soft=6)
        timing = 2.0
    elif instrument is Instrument.SYNTH_PLUCK:
        setting = Setting(55, 88, 6, centre=centre + 7)
        notes, timing = _figured(sheet, style, groove, chart, _ARPEGGIOS, setting, chance), 1.0
    else:
        notes, timing = write_line(sheet, style, groove, chart, chance, Voice(60, 84, breath_s=20.0)), 3.0
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=timing, velocity=3)
    return Part(TrackClass.SYNTH, instrument, played, pan=-0.1 if instrument is not Instrument.SYNTH_LEAD else 0.0)


def _harmonies(chart: Chart) -> list[Harmony]:
    return [change.harmony for change in chart.changes]


# --- pads -----------------------------------------------------------------------------------------------------------
_LONGEST = 16.0
"""Beats of a tied note: a bow, or a listener's patience."""
_PHRASE = 4
"""Bars after which a chord that is still held is struck again."""

_Lane = list[tuple[float, float, int, bool]]
"""What one voice does: from beat, to beat, pitch, and whether it begins anew even on the same pitch."""


def held(
    sheet: LeadSheet, style: Style, chart: Chart, setting: Setting, bars: Sequence[BarGroove], soft: int = 0
) -> list[Note]:
    """Chords held from change to change over consecutive `bars`, common tones tied; sections begin anew.

    One inner voice at a time that is to move a third goes there by the step between, on the last pulse of its chord.
    """
    chords = voicings(_harmonies(chart), setting)
    lanes: list[_Lane] = [[] for _ in range(setting.voices)]
    before: tuple[int, ...] = ()
    for start, end, index, anew in _segments(chart, bars):
        chord, change = chords[index], chart.changes[index]
        follows = chords[index + 1] if end == change.end and index + 1 < len(chords) and end < bars[-1].bar.end else ()
        passing = _passing(sheet, chart, bars, (start, end, index), chord, follows)
        for place, lane in enumerate(lanes):
            pitch = chord[min(place, len(chord) - 1)]
            if passing and passing[0] == place:
                lane += [(start, passing[1], pitch, anew or chord == before), (passing[1], end, passing[2], False)]
            else:
                lane.append((start, end, pitch, anew or chord == before))
        before = chord
    notes: list[Note] = []
    for place, lane in enumerate(lanes):
        outer = 3 if place in (0, len(lanes) - 1) else 0
        for start, end, pitch in _tied(lane):
            notes.append(note(start, end, pitch, loudness(_bar_at(bars, start), style) - 8 - soft + outer))
    return notes


def _segments(chart: Chart, bars: Sequence[BarGroove]) -> list[tuple[float, float, int, bool]]:
    """From, to, index of the change, whether a section begins: the changes in `bars`, split at sections and phrases."""
    first, last = on_tick(bars[0].bar.start), on_tick(bars[-1].bar.end)
    opens = {on_tick(bar.bar.start) for bar in bars if bar.opens} | {first}
    phrases = {on_tick(bar.bar.start) for bar in bars if bar.place % _PHRASE == 0}
    edges = sorted({*opens, *phrases, *(c.start for c in chart.changes if first < c.start < last)})
    return [(a, b, chart.at(a), a in opens) for a, b in zip(edges, [*edges[1:], last], strict=True)]


def _passing(
    sheet: LeadSheet,
    chart: Chart,
    bars: Sequence[BarGroove],
    segment: tuple[float, float, int],
    chord: tuple[int, ...],
    follows: tuple[int, ...],
) -> tuple[int, float, int] | None:
    """Voice, beat and pitch of a passing note into the next chord, if one can be had without a clash."""
    start, end, index = segment
    if len(follows) != len(chord):
        return None
    bar = _bar_at(bars, end - 0.01).bar
    turn = max((pulse for pulse in pulses(bar) if pulse < end - 0.4), default=start)
    beat = on_tick(turn)
    if beat - start < 1.5 or end - beat > 1.6 or any(cell.start == turn for cell in cells(bar)):
        return None  # too soon, too long, or on a strong count
    scale = scale_over(sheet.key, chart.changes[index].harmony)
    for place in range(len(chord) - 2, 0, -1):
        here, there = chord[place], follows[place]
        if abs(there - here) not in (3, 4):
            continue
        between = range(min(here, there) + 1, max(here, there))
        others = [pitch for other, pitch in enumerate(chord) if other != place]
        for pitch in sorted(between, key=lambda p: abs(p - (here + there) / 2)):
            if pitch % 12 in scale and all((pitch - other) % 12 not in (1, 11) for other in others):
                return place, beat, pitch
    return None


def _tied(lane: _Lane) -> list[tuple[float, float, int]]:
    notes: list[tuple[float, float, int]] = []
    for start, end, pitch, anew in lane:
        if notes and not anew and notes[-1][2] == pitch and end - notes[-1][0] <= _LONGEST:
            notes[-1] = (notes[-1][0], end, pitch)
        else:
            notes.append((start, end, pitch))
    return notes


def _bar_at(bars: Sequence[BarGroove], beat: float) -> BarGroove:
    return next((bar for bar in reversed(bars) if bar.bar.start <= beat + 1e-6), bars[0])


# --- figures --------------------------------------------------------------------------------------------------------
def _stretches(groove: Groove, driven: frozenset[int]) -> list[list[BarGroove]]:
    """Runs of neighbouring bars that are not among `driven` (bar numbers)."""
    found: list[list[BarGroove]] = []
    for bar in groove.bars:
        if bar.bar.number in driven:
            continue
        if found and found[-1][-1].bar.number + 1 == bar.bar.number:
            found[-1].append(bar)
        else:
            found.append([bar])
    return found


def _drives(bars: Sequence[BarGroove], style: Style) -> bool:
    """True for a section so loud that strings bow its rhythm."""
    return not style.legato and sum(b.energy for b in bars) / len(bars) + 0.3 * style.intensity > 0.85


def _figured(
    sheet: LeadSheet,
    style: Style,
    groove: Groove,
    chart: Chart,
    pool: Sequence[Rhythm],
    setting: Setting,
    chance: np.random.Generator,
) -> list[Note]:
    """A figure per section label through voiced chords."""
    return _played(
        style, groove, chart, picked(pool, style, groove, sheet, chance), voicings(_harmonies(chart), setting)
    )


def _played(
    style: Style,
    groove: Groove,
    chart: Chart,
    rhythms: Sequence[Rhythm],
    chords: Sequence[tuple[int, ...]],
    only: frozenset[int] | None = None,
) -> list[Note]:
    notes = []
    for stroke in strokes(groove, chart, rhythms, held=1.0):
        if only is not None and stroke.bar.bar.number not in only:
            continue
        chord, what = chords[stroke.change], stroke.what
        struck = chord
        if what == "b":
            struck = chord[:1]
        elif what == "u":
            struck = chord[1:] or chord
        elif what.isdigit():
            struck = (chord[int(what) % len(chord)],)
        if stroke.opens and what in "bu0123456789":  # the change is heard, not hinted at
            struck = tuple(sorted({chord[0], chord[min(1, len(chord) - 1)], *struck}))
        end = articulated(stroke, style)
        notes += [note(stroke.start, end, pitch, loudness(stroke.bar, style, stroke.accent) - 4) for pitch in struck]
    return notes
