"""A guitarist's part: strummed, picked, chugged or chopped, on grips that a hand can hold.

Promises: what sounds together lies on the fretboard (see `fretboard`); strums go down on the beat and up between,
string after string, centred on the grid; every change is struck; nothing sounds on over a chord that lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.sketch.arranger.chart import Chart, beats_in, chosen, earliest, loudness, note, without_overlaps
from engine.sketch.arranger.comping import Rhythm, Stroke, articulated, picked, rung, strokes
from engine.sketch.arranger.fretboard import grips, power_chord
from engine.sketch.arranger.groove import Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import SHORTEST, Instrument, Note, Part, on_tick
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

# --- rhythms, from still to busy -------------------------------------------------------------------------------------
_HELD = Rhythm("X---------------", "X-----------", "X-----")
_SLOW_STRUM = Rhythm("X-------x---o---", "X-------o---", "X--o--")
_STRUM = Rhythm("X---x-o-..o-x-o-", "X---x-o-x-o-", "X-ox-o")
_STRUM_TWO = Rhythm("X---x-o---o-x---X---x-o-x-o-x-o-", "X---x---x-o-", "X--x-o")
_STRUM_EIGHTHS = Rhythm("X-o-x-o-x-o-x-o-", "X-o-x-o-x-o-", "Xooxoo")
_STRUM_BUSY = Rhythm("X---x-oo..oox-o-", "X---x-oox-o-", "Xooxoo")
_TRAIN = Rhythm("b---x-o-b---x-o-", "b---x-o-x-o-", "b-ob-o")
_FREDDIE = Rhythm("x--.X--.x--.X--.", "x--.o--.o--.", "x-.X-.")
_OFFBEATS = Rhythm("..x...x...x...x.", "..x...x...x.", ".x..x.")
_SKANK = Rhythm("....x.......x...", "....x...x...", ".x..x.")
_SKANK_TWO = Rhythm("....x.o.....x.o.", "....x.o.x.o.", ".xo.xo")
_CHOPS = Rhythm("..x.x..x..x.x..x", "..x.x..x..x.", ".xo.xo")
_CHANK = Rhythm("x.oxx.o.o.oxx.o.", "x.oxx.o.x.o.", "xooxoo")
_FOUR_AND_TWO = Rhythm("....x.......x..x", "....x...x...", "...x..")
_WALTZED = Rhythm("b---x---x---x---", "b---x---x---", "b-xb-x")

_FINGERED = Rhythm("b-1-2-3-2-1-2-3-", "b-1-2-3-2-1-", "b12321", rings=True)
_ROLL = Rhythm("b-2-3-4-3-2-3-2-", "b-2-3-4-3-2-", "b23432", rings=True)
_TRAVIS = Rhythm("b---1-3-b-2-1-3-", "b-3-1-2-1-3-", "b31b32", rings=True)
_SPARE_PICK = Rhythm("b---2---3---2---", "b---2---3---", "b-23-2", rings=True)
_BOSSA = Rhythm("b---u-..b-u-..u-b-..u---b-..u---", "b---u-..u---", "b-ub-u")

_CHUG = Rhythm("X.x.x.x.x.x.x.x.", "X.x.x.x.x.x.", "XxxXxx")
_CHUG_PUSHED = Rhythm("X.x.x.X.x.x.X.x.", "X.x.x.X.x.x.", "XxxXxx")
_GALLOP = Rhythm("X.xxX.xxX.xxX.xx", "X.xxX.xxX.xx", "XxxXxx")
_POWER_PUSH = Rhythm("X-----X-....X---", "X-----X-x---", "X-.X-x")
_POWER_EIGHTHS = Rhythm("X-x-x-x-X-x-x-x-", "X-x-x-x-x-x-", "XxxXxx")
_MUTED_FIGURE = Rhythm("x..x..x...x..x..", "x..x..x...x.", "x.xx.x")

_ACOUSTIC: dict[Beat, tuple[Rhythm, ...]] = {
    Beat.BACKBEAT: (_SPARE_PICK, _FINGERED, _SLOW_STRUM, _TRAVIS, _STRUM, _STRUM_TWO, _STRUM_EIGHTHS, _STRUM_BUSY),
    Beat.FOUR_ON_THE_FLOOR: (_SLOW_STRUM, _STRUM, _STRUM_TWO, _STRUM_EIGHTHS),
    Beat.HALF_TIME: (_SPARE_PICK, _SLOW_STRUM, _FINGERED, _STRUM),
    Beat.BOSSA: (_BOSSA,),
    Beat.TRAIN: (_TRAVIS, _TRAIN),
    Beat.ONE_DROP: (_SKANK, _SKANK_TWO),
    Beat.SWING_RIDE: (_FREDDIE,),
    Beat.WALTZ: (_FINGERED, _WALTZED, _WALTZED),
    Beat.MARCH: (_WALTZED, _STRUM_TWO),
    Beat.BALLAD: (_SPARE_PICK, _FINGERED, _ROLL, _SLOW_STRUM, _STRUM),
}
_CLEAN: dict[Beat, tuple[Rhythm, ...]] = {
    Beat.BACKBEAT: (_SPARE_PICK, _SLOW_STRUM, _ROLL, _FOUR_AND_TWO, _OFFBEATS, _CHOPS),
    Beat.FOUR_ON_THE_FLOOR: (_FOUR_AND_TWO, _OFFBEATS, _CHOPS, _CHANK),
    Beat.BREAKBEAT: (_FOUR_AND_TWO, _CHOPS, _CHANK),
    Beat.BOSSA: (_BOSSA,),
    Beat.ONE_DROP: (_SKANK, _SKANK, _SKANK_TWO),
    Beat.SWING_RIDE: (_FREDDIE,),
    Beat.WALTZ: (_SPARE_PICK, _FINGERED, _WALTZED),
    Beat.BALLAD: (_HELD, _SPARE_PICK, _ROLL, _FINGERED),
    Beat.TRAIN: (_TRAVIS, _TRAIN),
}
_MUTED = (_MUTED_FIGURE, _CHUG, _CHUG_PUSHED)
_DRIVEN = (_HELD, _POWER_PUSH, _CHUG_PUSHED, _POWER_EIGHTHS, _GALLOP)
_SWUNG = (_HELD, _SLOW_STRUM, _FREDDIE, _STRUM_TWO)
_CHOPPED = {_OFFBEATS, _SKANK, _SKANK_TWO, _CHOPS, _CHANK, _FOUR_AND_TWO, _FREDDIE}


def write_guitar(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """Acoustic, clean, muted or driven guitar over all bars of the sheet."""
    instrument = chosen(style, _players(style, groove), chance)
    chart = Chart(sheet, groove)
    rhythms = picked(_pool(instrument, style, groove), style, groove, sheet, chance)
    pitches = _fingering(instrument, chart, rhythms, chance)
    palm = instrument is Instrument.MUTED_GUITAR
    held = 0.4 if palm or all(rhythm in _CHOPPED for rhythm in rhythms) else 4.0
    notes: list[Note] = []
    for stroke in strokes(groove, chart, rhythms, held=held):
        end = rung(stroke, chart) if stroke.rhythm.rings else articulated(stroke, style)
        if palm:
            end = min(end, stroke.start + 0.4)
        notes += _strummed(stroke, _strings(stroke, pitches[stroke.change]), end, sheet, style, chance)
    played = humanised(without_overlaps(notes), sheet, chance, timing_ms=2.5, velocity=4)
    return Part(TrackClass.GUITAR, instrument, played, pan=0.3)


def _players(style: Style, groove: Groove) -> dict[Instrument, float]:
    acoustic, clean, muted, driven = {
        Beat.FOUR_ON_THE_FLOOR: (0.2, 1.0, 0.7, 0.1),
        Beat.HALF_TIME: (0.5, 0.7, 0.2, 0.6),
        Beat.DOUBLE_TIME: (0.1, 0.2, 0.3, 1.0),
        Beat.BREAKBEAT: (0.1, 1.0, 0.5, 0.2),
        Beat.BOSSA: (1.0, 0.3, 0.0, 0.0),
        Beat.TRAIN: (1.0, 0.5, 0.2, 0.0),
        Beat.ONE_DROP: (0.0, 1.0, 0.0, 0.0),
        Beat.SWING_RIDE: (0.4, 1.0, 0.0, 0.0),
        Beat.WALTZ: (1.0, 0.3, 0.0, 0.0),
        Beat.MARCH: (1.0, 0.2, 0.0, 0.0),
        Beat.BALLAD: (1.0, 0.6, 0.0, 0.0),
    }.get(groove.beat, (1.0, 0.8, 0.4, 0.2))
    hard, soft = max(0.0, style.intensity), max(0.0, -style.intensity)
    weights = {
        Instrument.ACOUSTIC_GUITAR: acoustic * (1 - 0.7 * hard) + 0.5 * soft,
        Instrument.CLEAN_GUITAR: clean * (1 - 0.4 * hard),
        Instrument.MUTED_GUITAR: muted * (1 - soft),
        Instrument.DRIVEN_GUITAR: driven * (1 - soft) + 2.0 * hard * (driven > 0),
    }
    return dict(sorted(weights.items(), key=lambda item: -item[1]))


def _pool(instrument: Instrument, style: Style, groove: Groove) -> tuple[Rhythm, ...]:
    if instrument is Instrument.MUTED_GUITAR:
        return _MUTED
    if instrument is Instrument.DRIVEN_GUITAR:
        return (_HELD,) if style.legato else _DRIVEN
    if style.legato:
        return (_HELD, _SPARE_PICK, _FINGERED)
    if groove.swing > 0.55 and groove.beat is not Beat.SWING_RIDE:
        return _SWUNG
    pools = _ACOUSTIC if instrument is Instrument.ACOUSTIC_GUITAR else _CLEAN
    return pools.get(groove.beat, pools[Beat.BACKBEAT])


def _fingering(
    instrument: Instrument, chart: Chart, rhythms: Sequence[Rhythm], chance: np.random.Generator
) -> list[tuple[int, ...]]:
    """The strings' pitches for each change."""
    harmonies = [change.harmony for change in chart.changes]
    high = float(chance.uniform(5.0, 8.0))
    if instrument is Instrument.DRIVEN_GUITAR:
        return [power_chord(harmony) for harmony in harmonies]
    if instrument is Instrument.MUTED_GUITAR:
        return [power_chord(harmony, 45)[:2] for harmony in harmonies]
    if all(rhythm in _CHOPPED for rhythm in rhythms):
        return [grip.pitches for grip in grips(harmonies, strings=(3, 4), around=high)]
    if instrument is Instrument.CLEAN_GUITAR:
        return [grip.pitches for grip in grips(harmonies, strings=(4, 5), around=high - 3)]
    return [grip.pitches for grip in grips(harmonies, strings=(4, 6), around=1.0)]


def _strings(stroke: Stroke, grip: tuple[int, ...]) -> tuple[int, ...]:
    """The strings that a stroke sounds, in the order in which it meets them."""
    if stroke.what == "b":
        return grip[:1]
    if stroke.what == "u":
        return grip if stroke.opens else grip[1:] or grip
    if stroke.what.isdigit():
        voice = grip[int(stroke.what) % len(grip)]
        return tuple(sorted({grip[0], voice})) if stroke.opens else (voice,)
    if stroke.added and stroke.rhythm.rings:
        return grip
    return grip[:-5:-1] if _is_up(stroke) else grip


def _is_up(stroke: Stroke) -> bool:
    """The hand swings all the time: down on the even subdivisions of the rhythm, up on the odd."""
    if stroke.added or stroke.rhythm.rings:
        return False
    if stroke.bar.bar.signature.denominator >= 8:
        return stroke.step % 3 == 2
    return stroke.step % 2 == 1 if stroke.rhythm.shortest < 0.5 else stroke.step % 4 == 2


def _strummed(
    stroke: Stroke, strings: tuple[int, ...], end: float, sheet: LeadSheet, style: Style, chance: np.random.Generator
) -> list[Note]:
    """String after string, 8 to 20 ms in all, from a little before the written beat: a hard stroke is a quick one."""
    level = loudness(stroke.bar, style, stroke.accent)
    spread = beats_in(sheet, stroke.start, (20.0 - 0.1 * level + float(chance.uniform(-2.0, 2.0))) / 1000.0)
    notes = []
    for index, pitch in enumerate(strings):
        along = index / (len(strings) - 1) - 0.25 if len(strings) > 1 else 0.0
        begin = max(on_tick(stroke.start + spread * along), min(stroke.start, earliest(sheet)))
        if end - begin >= SHORTEST:
            plain = note(begin, end, pitch, level - 2 * index + (3 if index == 0 else 0))
            notes.append(Note(plain.beat, plain.beats, plain.pitch, plain.velocity, written=stroke.start))
    return notes
