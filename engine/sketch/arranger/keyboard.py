"""A keyboard player's comping: the rhythm of the style, the right hand's voices led from chord to chord, a left hand
where the rhythm wants a bass note.

Promises: every change is struck on its beat; no note sounds on over a chord that lacks it.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.arranger.chart import Chart, chosen, loudness, note, without_overlaps
from engine.sketch.arranger.comping import Rhythm, Stroke, articulated, picked, rung, strokes
from engine.sketch.arranger.groove import Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.voicing import Setting, voicings
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Instrument, Note, Part
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

# --- rhythms, from still to busy -------------------------------------------------------------------------------------
_HELD = Rhythm("x---------------", "x-----------", "x-----")
_HALVES = Rhythm("x-------o-------", "x-------o---", "x--o--")
_QUARTERS = Rhythm("X---o---x---o---", "X---o---o---", "x--o--")
_EIGHTHS = Rhythm("X-o-o-o-x-o-o-o-", "X-o-o-o-o-o-", "xooxoo")
_BROKEN = Rhythm("b---u---u---u---", "b---u---u---", "b-ub-u", rings=True)
_ROLLED = Rhythm("b-1-2-3-2-1-2-3-", "b-1-2-3-2-1-", "b12321", rings=True)
_RISING = Rhythm("b-0-1-2-3-2-1-2-", "b-0-1-2-3-2-", "b01232", rings=True)
_ALBERTI = Rhythm("b-2-1-2-0-2-1-2-", "b-2-1-2-1-2-", "b21021", rings=True)
_TRESILLO = Rhythm("x-----x-----x---", "x-----x-----", "x-xx-x")
_PUSHED = Rhythm("x-----o-....x-o-", "x---..o-x---", "x-.x-o")
_PUSHED_TWO = Rhythm("x---..o-x-..o---x---..o-..x-o-x-", "x---..x-o---", "x--x-o")
_CHARLESTON = Rhythm("x---..x-........", "x---..x-....", "x--.o-")
_SWING_TWO = Rhythm("x---..x-........o-....x-....o---", "x-....x-....x---..o-....", "x--..x")
_SWING_BUSY = Rhythm("o-....x-..o-x-....x-..o---..x-..", "o-..x-o-..x-", "o-x..x")
_BOSSA = Rhythm("x---..x-....x---..x---..o---x---", "x---..x-..x-", "x-.x-o")
_BOSSA_SPARE = Rhythm("x---..x---..o---x-------..x-....", "x---..x-....", "x--.o-")
_OFFBEATS = Rhythm("..x-..x-..x-..x-", "..x-..x-..x-", ".xo.xo")
_HOUSE = Rhythm("x-.x-.x-..x-.x-.", "x-.x-.x-..x-", "x-ox-o")
_HOUSE_TWO = Rhythm("x--x--x-..x--x..x--x--x--x..x-x-", "x--x--x--x..", "xoxxox")
_SKANK = Rhythm("....x.......x...", "....x...x...", ".x..x.")
_BUBBLE = Rhythm("..o.x.o...o.x.o.", "..o.x.o.x.o.", ".xo.xo")
_OOM_PAH = Rhythm("b---u-..b---u-..", "b---u-..u-..", "b-ub-u")
_MARCHED = Rhythm("b-..u-..b-..u-..", "b-..u-..u-..", "b.ub.u")

_USUAL: dict[Beat, tuple[Rhythm, ...]] = {
    Beat.BACKBEAT: (_HELD, _HALVES, _PUSHED, _TRESILLO, _QUARTERS, _PUSHED_TWO, _EIGHTHS),
    Beat.FOUR_ON_THE_FLOOR: (_HELD, _OFFBEATS, _HOUSE, _HOUSE_TWO),
    Beat.HALF_TIME: (_HELD, _HALVES, _TRESILLO, _PUSHED),
    Beat.DOUBLE_TIME: (_HELD, _PUSHED, _QUARTERS, _EIGHTHS),
    Beat.BREAKBEAT: (_HELD, _PUSHED, _TRESILLO, _PUSHED_TWO),
    Beat.BOSSA: (_BOSSA_SPARE, _BOSSA, _BOSSA),
    Beat.TRAIN: (_OOM_PAH, _MARCHED, _PUSHED, _EIGHTHS),
    Beat.ONE_DROP: (_SKANK, _SKANK, _BUBBLE),
    Beat.SWING_RIDE: (_CHARLESTON, _CHARLESTON, _SWING_TWO, _SWING_BUSY),
    Beat.WALTZ: (_HELD, _BROKEN, _OOM_PAH),
    Beat.MARCH: (_MARCHED, _OOM_PAH, _QUARTERS),
    Beat.BALLAD: (_HELD, _BROKEN, _ROLLED, _RISING, _QUARTERS),
}
_SWUNG = (_HELD, _CHARLESTON, _SWING_TWO, _PUSHED, _QUARTERS)
_PIANO_EXTRA: dict[Beat, tuple[Rhythm, ...]] = {
    Beat.BACKBEAT: (_BROKEN, _ROLLED, _RISING),
    Beat.WALTZ: (_ROLLED, _ALBERTI),
    Beat.BALLAD: (_ALBERTI,),
    Beat.HALF_TIME: (_ROLLED, _BROKEN),
}
_SHORT = {_OFFBEATS, _SKANK, _BUBBLE, _HOUSE, _HOUSE_TWO, _MARCHED, _OOM_PAH}
"""Rhythms whose strokes stay short also where a change adds one."""

_LEFT = 38
"""The left hand's lowest note."""


def write_keyboard(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """Piano, electric piano or organ over all bars of the sheet."""
    instrument = chosen(style, _players(style, groove), chance)
    chart = Chart(sheet, groove)
    rhythms = _rhythms(instrument, style, groove, sheet, chance)
    harmonies = [change.harmony for change in chart.changes]
    right = voicings(harmonies, Setting(52, 77, 4, centre=63 + float(chance.uniform(-3.5, 3.5))))
    left = [_LEFT + (harmony.root - _LEFT) % 12 for harmony in harmonies]
    notes: list[Note] = []
    for stroke in strokes(groove, chart, rhythms, held=0.5 if all(rhythm in _SHORT for rhythm in rhythms) else 4.0):
        bass = None if instrument is Instrument.ORGAN else left[stroke.change]
        end = rung(stroke, chart) if stroke.rhythm.rings else articulated(stroke, style)
        for pitch in _struck(stroke, right[stroke.change], bass):
            notes.append(note(stroke.start, end, pitch, loudness(stroke.bar, style, stroke.accent)))
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=4.0, velocity=4)
    return Part(TrackClass.KEYBOARD, instrument, played, pan=-0.15)


def _players(style: Style, groove: Groove) -> dict[Instrument, float]:
    piano, electric, organ = {
        Beat.FOUR_ON_THE_FLOOR: (1.0, 0.4, 0.3),
        Beat.HALF_TIME: (0.6, 1.0, 0.2),
        Beat.BREAKBEAT: (0.4, 1.0, 0.4),
        Beat.BOSSA: (0.7, 0.8, 0.1),
        Beat.ONE_DROP: (0.3, 0.1, 1.0),
        Beat.SWING_RIDE: (1.0, 0.2, 0.3),
        Beat.WALTZ: (1.0, 0.2, 0.1),
        Beat.MARCH: (1.0, 0.0, 0.2),
        Beat.TRAIN: (1.0, 0.1, 0.3),
        Beat.BALLAD: (1.0, 0.7, 0.1),
    }.get(groove.beat, (1.0, 0.8, 0.3))
    hard = max(0.0, style.intensity)
    weights = {
        Instrument.PIANO: piano,
        Instrument.ELECTRIC_PIANO: electric * (1 - 0.6 * hard),
        Instrument.ORGAN: organ * (1 + hard),
    }
    return dict(sorted(weights.items(), key=lambda item: -item[1]))


def _rhythms(
    instrument: Instrument, style: Style, groove: Groove, sheet: LeadSheet, chance: np.random.Generator
) -> list[Rhythm]:
    """The rhythm of each bar."""
    if style.legato and instrument is Instrument.ORGAN:
        pool: tuple[Rhythm, ...] = (_HELD,)
    elif style.legato:
        pool = (_HELD, _HALVES, _BROKEN, _ROLLED)
    elif groove.swing > 0.55 and groove.beat in (Beat.BACKBEAT, Beat.BREAKBEAT, Beat.HALF_TIME, Beat.TRAIN):
        pool = _SWUNG
    else:
        pool = _USUAL[groove.beat]
        if instrument is Instrument.ORGAN:
            pool = tuple(rhythm for rhythm in pool if not rhythm.rings)
        elif instrument is Instrument.PIANO or groove.beat is Beat.BALLAD:
            pool = (pool[0], *_PIANO_EXTRA.get(groove.beat, ()), *pool[1:])
    return picked(pool, style, groove, sheet, chance)


def _struck(stroke: Stroke, right: tuple[int, ...], bass: int | None) -> tuple[int, ...]:
    """The pitches of a stroke."""
    if stroke.what == "b":
        return (right[0],) if bass is None else (bass,)
    low = (bass,) if bass is not None else ()
    if stroke.what == "u":
        return (*low, *right) if stroke.opens else right if bass is not None else right[1:] or right
    if stroke.what.isdigit():
        voice = right[int(stroke.what) % len(right)]
        return tuple(sorted({*low, *right[:1], voice})) if stroke.opens else (voice,)
    return (*low, *right) if stroke.what == "X" and stroke.bar.energy > 0.5 else right
