"""Brass and woodwinds: one player's line, or a section that harmonises it and punches with the drums.

Promises: the lines of `line`, in the range of the instrument; a section's chords take three voices of the chord; its
stabs fall on kicks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.sketch.arranger.chart import Chart, by_label, chosen, loudness, note, runs, without_overlaps
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.line import Voice, write_line
from engine.sketch.arranger.voicing import Setting, voicings
from engine.sketch.lead_sheet import Bar, LeadSheet
from engine.sketch.score import Instrument, Note, Part
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

VOICES = {
    Instrument.TRUMPET: Voice(58, 81, breath_s=5.0),
    Instrument.BRASS_SECTION: Voice(64, 82, breath_s=5.0),
    Instrument.FLUTE: Voice(64, 91, breath_s=5.0),
    Instrument.CLARINET: Voice(55, 84, breath_s=7.0),
    Instrument.SAXOPHONE: Voice(54, 78, breath_s=6.0),
}
"""Where each plays with ease, in sounding pitches."""

_MOST_STABS = 3
"""Kicks of a bar that a section joins."""


def write_woodwinds(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """A flute, clarinet or saxophone over all bars of the sheet."""
    flute, clarinet, saxophone = {
        Beat.BOSSA: (1.0, 0.2, 0.5),
        Beat.WALTZ: (0.7, 1.0, 0.1),
        Beat.MARCH: (1.0, 0.6, 0.0),
        Beat.BALLAD: (0.8, 0.6, 0.8),
        Beat.SWING_RIDE: (0.1, 0.6, 1.0),
        Beat.TRAIN: (0.4, 1.0, 0.2),
    }.get(groove.beat, (0.5, 0.2, 1.0))
    weights = {Instrument.SAXOPHONE: saxophone, Instrument.FLUTE: flute, Instrument.CLARINET: clarinet}
    instrument = chosen(style, dict(sorted(weights.items(), key=lambda item: -item[1])), chance)
    notes = write_line(sheet, style, groove, Chart(sheet, groove), chance, VOICES[instrument])
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=5.0, velocity=3)
    return Part(TrackClass.WOODWINDS, instrument, played, pan=0.2)


def write_brass(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """A trumpet or a section over all bars of the sheet."""
    loud = sum(bar.energy for bar in groove.bars) / len(groove.bars) + 0.3 * style.intensity
    trumpet = 1.5 if groove.beat in (Beat.BALLAD, Beat.BOSSA) else 0.4
    usual = {Instrument.BRASS_SECTION: 0.3 + max(0.0, loud), Instrument.TRUMPET: trumpet}
    instrument = chosen(style, usual, chance)
    chart = Chart(sheet, groove)
    notes = write_line(sheet, style, groove, chart, chance, VOICES[instrument])
    if instrument is Instrument.BRASS_SECTION:
        punched = _punched_bars(groove, style)
        notes = [each for each in notes if not any(bar.start <= each.beat + 1e-6 < bar.end for bar in punched)]
        notes = _harmonised(notes, chart) + _stabs(groove, chart, style, {bar.number for bar in punched})
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=4.0, velocity=3)
    return Part(TrackClass.BRASS, instrument, played, pan=-0.2)


# --- the section ----------------------------------------------------------------------------------------------------
def _harmonised(line: Sequence[Note], chart: Chart) -> list[Note]:
    """Each note of `line` with two more of the chord close below it, none nearer than a minor third to the top, so that
    the line stays the line and passing notes do not rub."""
    found: list[Note] = []
    for top in line:
        change = chart.changes[chart.at(top.written)]
        near = [pitch for pitch in range(top.pitch - 3, top.pitch - 16, -1) if change.has(pitch)]
        for pitch in [pitch for pitch in near if (top.pitch - pitch) % 12 not in (0, 1, 11)][:2]:
            end = chart.within(pitch, top.beat, top.end)
            found.append(note(top.beat, end, pitch, top.velocity - 7))
        found.append(top)
    return found


def _punched_bars(groove: Groove, style: Style) -> list[Bar]:
    """The bars where a section leaves its line for stabs: in energetic sections, the first half of every four bars."""
    energetic = {
        label
        for label, bars in by_label(groove).items()
        if sum(bar.energy for bar in bars) / len(bars) + 0.3 * style.intensity > 0.6
    }
    if style.legato:
        energetic = set()
    return [
        bar.bar
        for run in runs(groove)
        for place, bar in enumerate(run)
        if bar.section in energetic and place % 4 < 2 and len(run) > 2
    ]


def _stabs(groove: Groove, chart: Chart, style: Style, numbers: set[int]) -> list[Note]:
    """Short chords of three voices on the kicks; the last one of a bar is held to the next pulse."""
    chords = voicings([change.harmony for change in chart.changes], Setting(58, 79, 3, centre=69))
    found: list[Note] = []
    for bar in groove.bars:
        if bar.bar.number not in numbers:
            continue
        hits = _joined(bar)
        for index, beat in enumerate(hits):
            start = groove.swung(beat)
            at = chart.at(start)
            last = index == len(hits) - 1
            room = (groove.swung(hits[index + 1]) if not last else bar.bar.end) - start
            end = min(start + min(0.45 if not last else 0.9, 0.9 * room), chart.changes[at].end)
            for pitch in chords[at] if end - start > 0.1 else ():
                found.append(note(start, end, pitch, loudness(bar, style, 0.8 if index == 0 else 0.4)))
    return found


def _joined(bar: BarGroove) -> list[float]:
    """Of the bar's kicks the first, and of the others those off the beat before those on it."""
    kicks = list(bar.kick)
    if len(kicks) <= _MOST_STABS:
        return kicks
    rest = sorted(kicks[1:], key=lambda beat: (abs((beat - bar.bar.start) % 1.0 - 0.5) > 0.3, beat))
    return sorted([kicks[0], *rest[: _MOST_STABS - 1]])
