"""The bassist: one note at a time, the root on every chord change, locked to the kick, moving into what comes next.

Range E1 to G3. Passing and approach notes stand on weak places only, and nearly all of them belong to chord or key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from engine.harmony import Chord, Quality
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.humanise import humanised
from engine.sketch.arranger.meter import is_compound, pulses
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import SHORTEST, Instrument, Note, Part, on_tick
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

LOWEST, HIGHEST = 28, 55
_HOME = 35
"""Where roots are looked for: around B1."""
_TOP_ROOT = 43
_FASTEST_S = 0.12
"""Seconds: a plucking hand leaves out kicks that come faster."""
_CHROMATIC = 0.08
"""Of the approach notes, at most."""
_BASSES = (Instrument.FINGER_BASS, Instrument.UPRIGHT_BASS, Instrument.PICK_BASS, Instrument.SYNTH_BASS)


class _Line(Enum):
    """Kinds of bass line."""

    LOCKED = auto()
    LONG = auto()
    WALKING = auto()
    ROOT_FIFTH = auto()
    OCTAVES = auto()
    EIGHTHS = auto()


_LINES = {
    Beat.SWING_RIDE: _Line.WALKING,
    Beat.TRAIN: _Line.ROOT_FIFTH,
    Beat.WALTZ: _Line.ROOT_FIFTH,
    Beat.MARCH: _Line.ROOT_FIFTH,
    Beat.BOSSA: _Line.ROOT_FIFTH,
    Beat.FOUR_ON_THE_FLOOR: _Line.OCTAVES,
    Beat.DOUBLE_TIME: _Line.EIGHTHS,
    Beat.BALLAD: _Line.LONG,
}
_TONES = {Beat.BREAKBEAT: (0.5, 0.22, 0.28), Beat.ONE_DROP: (0.4, 0.4, 0.2)}
"""How likely root, fifth and octave are in a riff; beside it the usual, and those of hard-driven lines."""
_STEADY, _STEADIEST = (0.88, 0.08, 0.04), (0.97, 0.0, 0.03)
_SOUNDING = {  # share of the time to the next note, and the longest note in beats
    _Line.LOCKED: (0.86, 2.0),
    _Line.LONG: (0.98, 8.0),
    _Line.WALKING: (0.93, 1.5),
    _Line.ROOT_FIFTH: (0.8, 2.0),
    _Line.OCTAVES: (0.7, 0.75),
    _Line.EIGHTHS: (0.85, 1.0),
}


@dataclass(frozen=True)
class _Stroke:
    """A note to be: written position (straight), pitch, and how hard (1 is plain)."""

    beat: float
    pitch: int
    weight: float


def write_bass(sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> Part:
    """The bass part of `sheet.bars`. It rests where no chord is heard, unless none is heard anywhere."""
    instrument = _instrument(style, groove)
    player = _Player(sheet, style, groove, chance)
    strokes = player.strokes()
    notes = _sounding(strokes, player, groove)
    lean = {Beat.BALLAD: 1.5, Beat.ONE_DROP: 2.0, Beat.DOUBLE_TIME: -1.0}.get(groove.beat, 0.5)
    exact = instrument is Instrument.SYNTH_BASS
    played = humanised(
        notes,
        sheet,
        chance,
        timing_ms=1.0 if exact else 3.5,
        velocity=2 if exact else 5,
        lean_ms=0.0 if exact else lean,
    )
    return Part(TrackClass.BASS, instrument, played)


def _instrument(style: Style, groove: Groove) -> Instrument:
    named = [instrument for instrument in style.instruments if instrument in _BASSES]
    if Instrument.ELECTRONIC_KIT in style.instruments:
        usual = Instrument.SYNTH_BASS
    elif groove.beat in (Beat.SWING_RIDE, Beat.BOSSA, Beat.TRAIN):
        usual = Instrument.UPRIGHT_BASS
    elif style.intensity > 0.4 or groove.beat is Beat.DOUBLE_TIME:
        usual = Instrument.PICK_BASS
    else:
        usual = Instrument.FINGER_BASS
    return next((one for one in (*named, usual, *_BASSES) if one not in style.without), usual)


def _sounding(strokes: Sequence[_Stroke], player: _Player, groove: Groove) -> list[Note]:
    """Lengths: up to the next note or the chord's end, shortened as the line asks; loudness with the song."""
    notes: list[Note] = []
    for index, stroke in enumerate(strokes):
        line = player.line_at(stroke.beat)
        share, longest = _SOUNDING[line]
        beat = groove.swung(stroke.beat)
        end = groove.swung(player.stop_after(stroke.beat))
        if index + 1 < len(strokes):
            end = min(end, groove.swung(strokes[index + 1].beat))
        if player.style.legato is not None:
            share, longest = (0.99, 8.0) if player.style.legato else (0.5, 0.5)
        beats = max(SHORTEST, on_tick(min((end - beat) * share, longest)))
        energy = player.bar_at(stroke.beat).energy
        velocity = min(127, max(1, round((58 + 44 * energy) * stroke.weight)))
        notes.append(Note(beat, beats, stroke.pitch, velocity, beat))
    return notes


class _Player:
    """Writes the line bar by bar, remembering the last note so that the hand moves little."""

    def __init__(self, sheet: LeadSheet, style: Style, groove: Groove, chance: np.random.Generator) -> None:
        self.style = style
        self._sheet, self._groove, self._chance = sheet, groove, chance
        self._starts = [planned.bar.start for planned in groove.bars]
        self._changes = self._chord_changes()
        self._last = _HOME
        self._riffs: dict[tuple[str, bool], list[int]] = {}

    # --- what is where ------------------------------------------------------------------------------------------------
    def _chord_changes(self) -> list[tuple[float, Chord | None]]:
        """(beat, chord) at every change, neighbours differing; over the bars' whole span."""
        spans = [(span.start, span.chord) for span in self._sheet.chords]
        if not any(chord for _, chord in spans):
            quality = Quality.MINOR if self._sheet.key.mode == "minor" else Quality.MAJOR
            spans = [(self._sheet.start, Chord(self._sheet.key.pitch_class, quality))]
        changes: list[tuple[float, Chord | None]] = []
        for start, chord in spans:
            if not changes or chord != changes[-1][1]:
                changes.append((on_tick(start), chord))
        if self._starts:
            changes[0] = (min(changes[0][0], on_tick(self._starts[0])), changes[0][1])
        return changes

    def _index(self, beat: float) -> int:
        return max(0, int(np.searchsorted([start for start, _ in self._changes], beat + 1e-6, side="right")) - 1)

    def chord_at(self, beat: float) -> Chord | None:
        return self._changes[self._index(beat)][1]

    def stop_after(self, beat: float) -> float:
        """The next chord change after `beat`, or the end of the last bar."""
        index = self._index(beat) + 1
        return self._changes[index][0] if index < len(self._changes) else on_tick(self._groove.bars[-1].bar.end)

    def bar_at(self, beat: float) -> BarGroove:
        index = max(0, int(np.searchsorted(self._starts, beat + 1e-3, side="right")) - 1)
        return self._groove.bars[index]

    def line_at(self, beat: float) -> _Line:
        """The kind of line; quiet bars have long notes, driven ones eighths."""
        energy = self.bar_at(beat).energy
        line = _LINES.get(self._groove.beat, _Line.LOCKED)
        if line in (_Line.WALKING, _Line.ROOT_FIFTH):
            return line
        if energy < 0.22 or self.style.density < -0.6:
            return _Line.LONG
        if line is _Line.LOCKED and self.style.density > 0.3 and self.style.intensity > 0.2:
            return _Line.EIGHTHS
        return line

    def _seconds(self, beats: float, at: float) -> float:
        return beats * 60.0 / self._sheet.tempo_map.bpm_at(self._sheet.tempo_map.time_at(at + 1e-6))

    # --- the line -----------------------------------------------------------------------------------------------------
    def strokes(self) -> list[_Stroke]:
        """The whole line, rising in time."""
        found: list[_Stroke] = []
        for planned in self._groove.bars:
            for beat in self._places(planned):
                if self.chord_at(beat) is not None:
                    found.append(self._stroke(planned, beat, found))
        return self._led(found)

    def _places(self, planned: BarGroove) -> list[float]:
        """Where this bar has notes: all chord changes, and what the line's kind asks for."""
        bar, line = planned.bar, self.line_at(planned.bar.start)
        beats = pulses(bar)
        changes = [on_tick(beat) for beat, _ in self._changes if bar.start - 1e-3 <= beat < bar.end - 1e-3]
        wanted: list[float]
        if line is _Line.LONG:
            spare = planned.energy > 0.3 and self.style.density > -0.6
            wanted = [bar.start, *(kick for kick in planned.kick if spare and kick - bar.start >= 1.5)][:2]
        elif line is _Line.WALKING:
            wanted = list(beats)
        elif line is _Line.ROOT_FIFTH:
            wanted = [bar.start, *planned.kick] if self._groove.beat is Beat.BOSSA else self._two_beat(planned)
        elif line is _Line.OCTAVES:
            wanted = [*planned.kick, *(beat + self._half(planned) for beat in beats)]
        elif line is _Line.EIGHTHS:
            wanted = [beat + part for beat in beats for part in (0.0, self._half(planned))]
            wanted += planned.kick
        else:
            # Where the drummer drops the one, the bass sings: second beat's half, and the last beat.
            more = (1.5, 3.0) if self._groove.beat is Beat.ONE_DROP else ()
            wanted = [bar.start, *planned.kick, *(bar.start + into for into in more)]
        inside = {on_tick(beat) for beat in wanted if bar.start - 1e-6 <= beat < bar.end - 0.12}
        return self._thinned(sorted(inside), changes)

    def _half(self, planned: BarGroove) -> float:
        return 2 * planned.bar.signature.beats_per_count if is_compound(planned.bar) else 0.5

    def _two_beat(self, planned: BarGroove) -> list[float]:
        """Country's and the waltz's: every other pulse of even bars, the first of bars in three, and each kick."""
        beats = pulses(planned.bar)
        return [*planned.kick, *(beats[:1] if len(beats) == 3 else beats[::2])]

    def _thinned(self, places: Sequence[float], changes: Sequence[float]) -> list[float]:
        """Without what comes too fast after a note or too shortly before a chord change; the changes stay."""
        kept: list[float] = []
        for beat in sorted({*places, *changes}):
            is_change = beat in changes
            crowded = bool(kept) and self._seconds(beat - kept[-1], beat) < _FASTEST_S
            if is_change and crowded and kept[-1] not in changes:
                kept.pop()
            elif crowded and not is_change:
                continue
            kept.append(beat)
        return kept

    def _stroke(self, planned: BarGroove, beat: float, before: Sequence[_Stroke]) -> _Stroke:
        chord = self.chord_at(beat)
        assert chord is not None
        begins = any(abs(start - beat) < 1e-6 for start, _ in self._changes)
        on_bar = abs(beat - planned.bar.start) < 1e-3
        line = self.line_at(beat)
        first = begins or not before or self.chord_at(before[-1].beat) != chord
        root = self._root(chord, stay=not first and not begins)
        if first or (on_bar and line is not _Line.WALKING and not self._alternates(planned)):
            pitch = root
        else:
            pitch = self._tone(planned, beat, chord, root, line, before)
        self._last = pitch if line is _Line.WALKING else root
        weight = 1.06 if on_bar else 1.0 if any(abs(beat - kick) < 1e-3 for kick in planned.kick) else 0.88
        return _Stroke(beat, pitch, weight)

    def _alternates(self, planned: BarGroove) -> bool:
        """A waltz's second bar on a chord has the fifth."""
        return self._groove.beat is Beat.WALTZ and len(pulses(planned.bar)) == 3 and planned.place % 2 == 1

    def _root(self, chord: Chord, *, stay: bool) -> int:
        """The root near the hand, low rather than high; `stay` keeps the octave of a held chord."""
        octaves = [pitch for pitch in range(LOWEST, _TOP_ROOT + 1) if pitch % 12 == chord.root]
        home = 0.25 if stay else 0.6
        return min(octaves, key=lambda pitch: abs(pitch - self._last) + home * abs(pitch - _HOME))

    def _tone(
        self, planned: BarGroove, beat: float, chord: Chord, root: int, line: _Line, before: Sequence[_Stroke]
    ) -> int:
        if line is _Line.WALKING:
            return self._walk(beat, chord, before)
        if line is _Line.OCTAVES:
            on_pulse = any(abs(beat - pulse) < 1e-3 for pulse in pulses(planned.bar))
            return root if on_pulse else root + 12
        if line is _Line.ROOT_FIFTH:
            return self._fifth(chord, root) if before[-1].pitch % 12 == chord.root else root
        if line is _Line.LONG:
            return root
        return self._riff(planned, beat, chord, root)

    def _riff(self, planned: BarGroove, beat: float, chord: Chord, root: int) -> int:
        """Root, fifth and octave in an order that a section keeps from bar to bar; its fourth bars have their own."""
        name = (planned.section, planned.place % 4 == 3)
        if name not in self._riffs:
            usual = _STEADY if self.style.intensity > 0.25 else _TONES.get(self._groove.beat, (0.72, 0.17, 0.11))
            likely = _STEADIEST if self.line_at(beat) is _Line.EIGHTHS else usual
            self._riffs[name] = self._chance.choice(3, size=64, p=likely).tolist()
        place = int((beat - planned.bar.start) * 4 + 0.5) % 64
        return (root, self._fifth(chord, root), root + 12)[self._riffs[name][place]]

    def _fifth(self, chord: Chord, root: int) -> int:
        """The chord's fifth, as altered as the chord has it: below the root if the string allows it."""
        up = next((step for step in chord.quality.intervals if 6 <= step <= 8), 7)
        return root + up - 12 if root + up - 12 >= LOWEST else root + up

    def _walk(self, beat: float, chord: Chord, before: Sequence[_Stroke]) -> int:
        """By steps and chord tones towards the next root, turning at the range's edges; never a note twice."""
        last = before[-1].pitch
        passed = before[-2].pitch if len(before) > 1 else None
        stop = self.stop_after(beat)
        following = self.chord_at(stop + 1e-3) or chord
        goal = min((p for p in range(LOWEST, 49) if p % 12 == following.root), key=lambda p: abs(p - last))
        left = max(1.0, round(stop - beat))
        allowed = self._colours(chord)
        tones = set(chord.pitch_classes)
        strong = abs((beat - self.bar_at(beat).bar.start) % 2.0) < 1e-3

        def cost(pitch: int) -> float:
            away = abs(abs(goal - pitch) - 2.0 * left) * (0.9 if left <= 2 else 0.25)
            leap = 0.35 * max(0, abs(pitch - last) - 4) + 0.05 * abs(pitch - last)
            colour = 0.0 if pitch % 12 in tones else 1.2 if strong else 0.4
            return away + leap + colour + 0.06 * abs(pitch - 38) + 0.9 * (pitch == passed)

        choices = [p for p in range(max(LOWEST, last - 7), min(50, last + 7) + 1) if p != last and p % 12 in allowed]
        return min(choices, key=lambda pitch: (cost(pitch) + 0.8 * self._chance.random(), pitch))

    def _colours(self, chord: Chord) -> set[int]:
        """Pitch classes that do not rub against the chord: its own, and the key's a whole step from them or between."""
        tones = set(chord.pitch_classes)
        return tones | {pc for pc in self._sheet.key.scale if not {(pc - 1) % 12} & tones or (pc + 1) % 12 in tones}

    # --- into the next chord ------------------------------------------------------------------------------------------
    def _led(self, strokes: list[_Stroke]) -> list[_Stroke]:
        """With notes that lead into new chords, on the last weak place before them."""
        led: list[_Stroke] = []
        for index, stroke in enumerate(strokes):
            led.append(stroke)
            if index + 1 < len(strokes):
                led += self._lead(stroke, strokes[index + 1], led)
        return led

    def _lead(self, stroke: _Stroke, following: _Stroke, led: list[_Stroke]) -> list[_Stroke]:
        """The approach between two notes: none, one added, or (walking) the last one bent towards its goal."""
        here, there = self.chord_at(stroke.beat), self.chord_at(following.beat)
        if here is None or there is None or here == there or self.stop_after(stroke.beat) < following.beat - 1e-6:
            return []
        planned = self.bar_at(stroke.beat)
        line = self.line_at(stroke.beat)
        is_chord_start = len(led) < 2 or self.chord_at(led[-2].beat) != here
        if line is _Line.WALKING:
            if not is_chord_start:
                led[-1] = replace(stroke, pitch=self._approach(stroke.pitch, following.pitch, here))
            return []
        likely = 0.0 if line is _Line.LONG else 0.3 + 0.3 * self.style.density + 0.2 * (planned.energy - 0.5)
        likely += 0.4 * planned.fill
        before = self._half(planned) / (2 if is_compound(planned.bar) else 1)
        place = on_tick(following.beat - before)
        gap = place - stroke.beat
        if self._chance.random() >= likely or gap < 0.5 - 1e-6 or self._seconds(before, place) < _FASTEST_S:
            return []
        if line is _Line.OCTAVES or self.stop_after(place) < following.beat - 1e-6:
            return []
        return [_Stroke(place, self._approach(stroke.pitch, following.pitch, here), 0.84)]

    def _approach(self, last: int, goal: int, chord: Chord) -> int:
        """A step from `goal`, from the side of `last`; of the key or chord but for a rare half-step from outside."""
        side = 1 if last > goal else -1
        steps = [goal + side, goal + 2 * side, goal - side, goal - 2 * side]
        inside = {*self._sheet.key.scale, *chord.pitch_classes}
        legal = [pitch for pitch in steps if LOWEST <= pitch <= HIGHEST and pitch % 12 in inside]
        if self._chance.random() < _CHROMATIC and LOWEST <= goal + side <= HIGHEST:
            return goal + side
        fifth = goal + 7 if goal + 7 <= HIGHEST else goal - 5
        return legal[0] if legal else fifth
