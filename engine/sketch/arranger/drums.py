"""The drummer: time, backbeat and kick of the groove, played by two hands and two feet on the kit that the style asks
for. Phrases turn in their fourth bar, sections open with a cymbal, fills come where the groove plans them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.sketch.arranger.fills import write_fill
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.kit import Page, loudness
from engine.sketch.arranger.meter import is_compound, pulses, steps
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Drum, Instrument, Part
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

_QUIET, _LOUD = 0.3, 0.72
"""Energies: below, side-stick and half the time strokes; above, ride or open hats."""
_GHOST = 0.3
_SOFT_BACKBEATS = frozenset({Beat.BOSSA, Beat.ONE_DROP})
_KITS = (Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT, Instrument.ELECTRONIC_KIT)


@dataclass(frozen=True)
class _Drummer:
    """What stays the same through a song: the kit, the family, habits by section."""

    kit: Instrument
    beat: Beat
    style: Style
    bpm: float
    swings: bool
    ghosts: dict[str, tuple[float, ...]]
    rides: dict[str, bool]


def write_drums(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """The drum part of `sheet.bars`."""
    kit = kit_for(style, groove)
    if not groove.bars:
        return Part(TrackClass.DRUMS, kit)
    drummer = _drummer(sheet, style, groove, kit, chance)
    page = Page(groove)
    after_fill, opened = False, False
    for planned in groove.bars:
        _TIMES.get(groove.beat, _hats)(page, planned, drummer, chance)
        _kick(page, planned, drummer)
        _backbeat(page, planned, drummer)
        if planned.opens or after_fill:
            _open(page, planned, drummer)
        elif planned.place % 4 == 3 and not planned.fill:
            _turn(page, planned, drummer)
        if opened and not page.has(planned.bar.start, Drum.CLOSED_HAT):
            page.hit(planned.bar.start, Drum.PEDAL_HAT, loudness(planned) * 0.5)
        if planned.fill:
            bpm = sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(planned.bar.start + 1e-6))
            write_fill(page, planned, groove, kit, bpm, chance)
        after_fill = planned.fill
        opened = page.has(planned.bar.end - 0.5, Drum.OPEN_HAT)
    exact = kit is Instrument.ELECTRONIC_KIT
    notes = humanised(page.notes(), sheet, chance, timing_ms=1.0 if exact else 3.5, velocity=2 if exact else 5)
    return Part(TrackClass.DRUMS, kit, notes)


def kit_for(style: Style, groove: Groove) -> Instrument:
    """The kit that was named, else the one that goes with the beat; never one that was ruled out."""
    named = [instrument for instrument in style.instruments if instrument in _KITS]
    soft = groove.beat is Beat.SWING_RIDE or (groove.beat in (Beat.BALLAD, Beat.BOSSA) and style.intensity < -0.3)
    usual = Instrument.BRUSH_KIT if soft and style.intensity <= 0 else Instrument.ACOUSTIC_KIT
    wanted = [*named, usual, *_KITS]
    return next((kit for kit in wanted if kit not in style.without), usual)


def _drummer(sheet: LeadSheet, style: Style, groove: Groove, kit: Instrument, chance: np.random.Generator) -> _Drummer:
    energies: dict[str, list[float]] = {}
    for planned in groove.bars:
        energies.setdefault(planned.section, []).append(planned.energy)
    bpm = sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(sheet.start + 1e-6))
    swings = groove.swing > 0.55
    ghosts, rides = {}, {}
    for section, values in energies.items():
        # In odd sixteenths of the beat's grid; a swinging hand has only the triplet's middle.
        pool = (0.25, 1.25, 2.25, 3.25) if swings else (0.75, 1.75, 2.25, 2.75, 3.75)
        count = int(chance.integers(0, 3) + (style.density > 0.3) + (groove.beat is Beat.BREAKBEAT))
        drawn = tuple(sorted(chance.choice(pool, size=min(count, len(pool)), replace=False).tolist()))
        ghosts[section] = drawn if bpm < 135 and style.density > -0.5 else ()
        rides[section] = bool(np.mean(values) > _LOUD - 0.2 * chance.random())
    return _Drummer(kit, groove.beat, style, bpm, swings, ghosts, rides)


# --- feet and backbeat ------------------------------------------------------------------------------------------------
def _kick(page: Page, planned: BarGroove, drummer: _Drummer) -> None:
    level = loudness(planned)
    feathered = drummer.beat is Beat.SWING_RIDE and planned.energy < 0.8
    beats = pulses(planned.bar)
    for beat in planned.kick:
        strong = any(abs(beat - pulse) < 1e-6 for pulse in beats)
        page.hit(beat, Drum.KICK, level * (0.45 if feathered else 1.0 if strong else 0.88))


def _backbeat(page: Page, planned: BarGroove, drummer: _Drummer) -> None:
    level = loudness(planned)
    if drummer.beat is Beat.SWING_RIDE:
        for beat in planned.snare:
            page.hit(beat, Drum.PEDAL_HAT, level * 0.7)
        return
    quiet = planned.energy < _QUIET or (drummer.beat is Beat.BALLAD and planned.energy < 0.5)
    if drummer.kit is Instrument.ELECTRONIC_KIT:
        drum = Drum.CLAP if drummer.beat is Beat.FOUR_ON_THE_FLOOR else Drum.SNARE
    elif drummer.kit is not Instrument.BRUSH_KIT and (quiet or drummer.beat in _SOFT_BACKBEATS):
        drum = Drum.SIDE_STICK
    else:
        drum = Drum.SNARE
    weight = 0.62 if drummer.beat in (Beat.WALTZ, Beat.BOSSA) else 1.05
    for beat in planned.snare:
        page.hit(beat, drum, min(1.0, level * weight))
    if drum is Drum.SNARE and planned.energy > 0.3 and drummer.beat in (Beat.BACKBEAT, Beat.BREAKBEAT):
        _ghosts(page, planned, drummer)


def _ghosts(page: Page, planned: BarGroove, drummer: _Drummer) -> None:
    """Between the backbeats, where neither kick nor snare is nor was a sixteenth ago."""
    if is_compound(planned.bar):
        return
    taken = (*planned.snare, *planned.kick)
    for into in drummer.ghosts[planned.section]:
        beat = planned.bar.start + into
        if beat < planned.bar.end - 0.12 and all(abs(beat - other) > 0.2 for other in taken):
            page.hit(beat, Drum.SNARE, _GHOST * (0.8 + 0.4 * planned.energy))


# --- time -------------------------------------------------------------------------------------------------------------
def _hats(page: Page, planned: BarGroove, drummer: _Drummer, chance: np.random.Generator) -> None:
    """Closed hats or ride in the bar's subdivision, the beats a little stronger."""
    level, step = loudness(planned), planned.step
    if planned.energy < _QUIET and step * 120 / drummer.bpm < 1.1 and not is_compound(planned.bar):
        step *= 2
    on_ride = drummer.rides[planned.section] and step >= 0.5 and drummer.kit is not Instrument.ELECTRONIC_KIT
    on_ride |= planned.energy < 0.15
    loud_hats = planned.energy > 0.85 and not on_ride and step >= 0.5 and drummer.kit is Instrument.ACOUSTIC_KIT
    drum = Drum.RIDE if on_ride else Drum.OPEN_HAT if loud_hats else Drum.CLOSED_HAT
    beats = pulses(planned.bar)
    disco = drummer.beat is Beat.FOUR_ON_THE_FLOOR and planned.energy > 0.4
    for beat in steps(planned.bar, step):
        weight = _stroke(beat, planned, beats)
        if disco and abs((beat - planned.bar.start) % 1.0 - 0.5) < 1e-6 and not is_compound(planned.bar):
            page.hit(beat, Drum.OPEN_HAT, level * 0.78)
        else:
            page.hit(beat, Drum.CLOSED_HAT if disco else drum, level * weight)
    if on_ride:
        for beat in planned.snare:
            page.hit(beat, Drum.PEDAL_HAT, level * 0.5)
    rolls = drummer.beat is Beat.HALF_TIME and drummer.kit is Instrument.ELECTRONIC_KIT and planned.place % 2
    if rolls and not drummer.swings and not planned.fill:
        _hat_roll(page, planned, level, chance)


def _stroke(beat: float, planned: BarGroove, beats: tuple[float, ...]) -> float:
    """How hard a time stroke is: pulse, half of it, or between."""
    if any(abs(beat - pulse) < 1e-6 for pulse in beats):
        return 0.8
    if is_compound(planned.bar):
        return 0.58
    return 0.62 if abs((beat - planned.bar.start) % 0.5) < 1e-6 else 0.48


def _hat_roll(page: Page, planned: BarGroove, level: float, chance: np.random.Generator) -> None:
    """Trap's roll: half a beat in triplets or thirty-seconds, swelling."""
    parts = int(chance.choice((3, 4)))
    begin = planned.bar.end - float(chance.choice((0.5, 1.0, 2.5)))
    if begin < planned.bar.start:
        return
    for part in range(parts):
        page.hit(begin + 0.5 * part / parts, Drum.CLOSED_HAT, level * (0.45 + 0.3 * part / parts))


def _swing_time(page: Page, planned: BarGroove, drummer: _Drummer, chance: np.random.Generator) -> None:
    """Ding, ding-a-ding on the ride, or tapped with brushes on the snare; the left hand comments."""
    level = loudness(planned)
    drum = Drum.SNARE if drummer.kit is Instrument.BRUSH_KIT and planned.energy < 0.6 else Drum.RIDE
    weight = 0.5 if drum == Drum.SNARE else 0.8
    beats = pulses(planned.bar)
    third = 2 * planned.bar.signature.beats_per_count if is_compound(planned.bar) else 0.5
    taps = list(beats)
    for index, beat in enumerate(beats):
        page.hit(beat, drum, level * weight * (1.0 if index % 2 else 0.85))
        if index % 2 and beat + third < planned.bar.end - 0.12:
            page.hit(beat + third, drum, level * weight * 0.7)
            taps.append(beat + third)
    if drum == Drum.RIDE:
        comments = [beat + third for beat in beats if beat + third < planned.bar.end - 0.12]
        for beat in comments:
            if chance.random() < 0.16 + 0.12 * drummer.style.density:
                page.hit(beat, Drum.SNARE, level * (0.35 + 0.3 * chance.random()))


def _train_time(page: Page, planned: BarGroove, _drummer: _Drummer, _chance: np.random.Generator) -> None:
    """Sixteenths on the snare, hardly heard but for the accents; the foot closes the hat on the backbeat."""
    level = loudness(planned)
    beats = pulses(planned.bar)
    for beat in steps(planned.bar, planned.step):
        half = abs((beat - planned.bar.start) % 0.5) < 1e-6 and not any(abs(beat - pulse) < 1e-6 for pulse in beats)
        page.hit(beat, Drum.SNARE, level * (0.5 if half else 0.34))
    for beat in planned.snare:
        page.hit(beat, Drum.PEDAL_HAT, level * 0.55)


def _march_time(page: Page, planned: BarGroove, drummer: _Drummer, _chance: np.random.Generator) -> None:
    """The snare alone: beat, and two strokes that lead to the next; in the phrase's last bar a roll."""
    level = loudness(planned)
    fine = 0.25 * 60 / drummer.bpm > 0.075 and not is_compound(planned.bar) and not drummer.swings
    for index, beat in enumerate(pulses(planned.bar)):
        page.hit(beat, Drum.SNARE, level * 0.7)
        roll = planned.place % 4 == 3 and index % 2
        for part in (0.25, 0.5, 0.75) if roll and fine else (0.5, 0.75) if fine and index % 2 else (0.5,):
            if beat + part < planned.bar.end - 0.12:
                page.hit(beat + part, Drum.SNARE, level * 0.42)


def _bossa_time(page: Page, planned: BarGroove, drummer: _Drummer, _chance: np.random.Generator) -> None:
    """Soft even eighths on the hat (brushes: on the snare)."""
    level = loudness(planned)
    beats = pulses(planned.bar)
    drum = Drum.RIDE if drummer.rides[planned.section] else Drum.CLOSED_HAT
    for beat in steps(planned.bar, planned.step):
        page.hit(beat, drum, level * 0.75 * _stroke(beat, planned, beats))


_TIMES = {
    Beat.SWING_RIDE: _swing_time,
    Beat.TRAIN: _train_time,
    Beat.MARCH: _march_time,
    Beat.BOSSA: _bossa_time,
}


# --- form -------------------------------------------------------------------------------------------------------------
_TIME = (Drum.CLOSED_HAT, Drum.OPEN_HAT, Drum.RIDE)


def _open(page: Page, planned: BarGroove, drummer: _Drummer) -> None:
    """A cymbal where a section begins, as loud as the music is; none in music that whispers."""
    if planned.energy < 0.25:
        return
    start, level = planned.bar.start, loudness(planned)
    gentle = planned.energy < 0.45 or drummer.beat in (Beat.SWING_RIDE, Beat.BOSSA, Beat.WALTZ, Beat.MARCH)
    page.clear(start, start + 0.05, keep=(Drum.KICK, Drum.SNARE, Drum.SIDE_STICK, Drum.PEDAL_HAT))
    page.hit(start, Drum.RIDE_BELL if gentle else Drum.CRASH, level * (0.75 if gentle else 1.0))
    if not gentle and drummer.beat is not Beat.ONE_DROP:
        page.hit(start, Drum.KICK, level)


def _turn(page: Page, planned: BarGroove, drummer: _Drummer) -> None:
    """The phrase's fourth bar ends on an open hat."""
    last = planned.bar.end - 0.5
    if drummer.beat in _TIMES or planned.energy < _QUIET or not page.has(last, *_TIME):
        return
    page.clear(last, planned.bar.end, keep=(Drum.KICK, Drum.SNARE, Drum.CLAP, Drum.SIDE_STICK))
    page.hit(last, Drum.OPEN_HAT, loudness(planned) * 0.85)
