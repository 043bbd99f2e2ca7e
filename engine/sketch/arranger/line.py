"""A melodic line over the changes: a theme's rhythms and shapes, set to the pitches that make the best line.

Each phrase is the cheapest path through all pitches of the range (dynamic programming): chord tones on strong counts
and long notes, passing and neighbour notes of the scale on weak ones, reached and left by step; steps before leaps; one
highest note, where the theme wants its climax; an end that stays open or comes home.

Where no chord is heard it rests, unless there is none at all.

Promises: equal sections over equal chords have equal melodies but for the last bar of a phrase; a note lasts into the
next chord only if it is in it; there is air to breathe at least every `Voice.breath_s` seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.sketch.arranger.chart import Chart, busyness, by_label, loudness, note, runs, scale_over, seconds_of
from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.arranger.meter import cells
from engine.sketch.arranger.themes import Phrase, Theme, phrases, theme
from engine.sketch.arranger.voicing import Doubles, Pedal, cheapest
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import SHORTEST, Note, on_tick
from engine.sketch.style import Style
from protocol.key import Key

_NEVER = 1e6
_LEAPS = np.array([1.6, 0.0, 0.0, 0.5, 0.6, 0.9, 6.0, 1.4, 2.6, 2.6, 8.0, 9.0, 3.0])
"""What a motion of so many semitones costs: repeated notes a little, tritones and sevenths much."""

_AIR_S = 0.25
"""Seconds that a breath takes."""


@dataclass(frozen=True)
class Voice:
    """A singer's or player's range (MIDI pitches), and how long a breath lasts."""

    low: int
    high: int
    breath_s: float = 6.0


@dataclass(frozen=True)
class Slot:
    """A note before it has a pitch. `strong`: only a chord tone will do. `height`: wanted, in semitones from the middle
    of the range. `role`: ``end`` for the last of a phrase, ``climax`` for its highest."""

    start: float
    end: float
    change: int
    strong: bool
    height: float
    bar: BarGroove
    after_rest: bool = True
    role: str = ""
    settles: bool = False


def write_line(
    sheet: LeadSheet, style: Style, groove: Groove, chart: Chart, chance: np.random.Generator, voice: Voice
) -> list[Note]:
    """The melody over all bars of the sheet."""
    themes = {label: theme(busyness(bars, style) * 0.9, chance) for label, bars in by_label(groove).items()}
    length = _phrase_length(sheet)
    writer = _Writer(sheet, groove, chart, voice)
    visits: dict[str, int] = {}
    notes: list[Note] = []
    for run in runs(groove):
        label = run[0].section
        visit = visits[label] = visits.get(label, -1) + 1
        found = themes[label]
        for phrase in phrases(run, length, found.form, style.density < -0.2):
            slots = writer.slots(phrase, found, visit)
            notes += writer.sung(slots, style, notes[-1].pitch if notes else None)
    return _breathing(sheet, notes, voice.breath_s)


def _phrase_length(sheet: LeadSheet) -> int:
    """Four bars; two where they would outlast a breath."""
    bar = sheet.bars[0]
    return 4 if seconds_of(sheet, bar.start, bar.end) <= 2.8 else 2


class _Writer:
    def __init__(self, sheet: LeadSheet, groove: Groove, chart: Chart, voice: Voice) -> None:
        self._key, self._groove, self._chart = sheet.key, groove, chart
        self._pitches = np.arange(voice.low, voice.high + 1)
        self._middle = voice.low + 0.42 * (voice.high - voice.low)
        self._is_chordless = all(isinstance(change.harmony, Pedal) for change in chart.changes)
        self._reach = min(8.0, 0.4 * (voice.high - voice.low))

    # --- rhythm and outline ---
    def slots(self, phrase: Phrase, material: Theme, visit: int) -> list[Slot]:
        """The phrase's notes without pitches."""
        first, last = phrase.bars[0].bar.start, phrase.bars[-1].bar.end
        found: list[Slot] = []
        for bar, doing in zip(phrase.bars, phrase.form, strict=True):
            rhythm = material.rhythm(doing, phrase, visit)
            count = 0
            for number, cell in enumerate(cells(bar.bar)):
                text, grain = rhythm.on(cell, 0)
                if doing == "end" and number:  # one cell comes to rest, the others are silent
                    break
                for place, letter in enumerate(text):
                    straight = cell.start + place * grain
                    if letter != "x" or straight > cell.end - 0.12:
                        continue
                    held = 1 + len(text[place + 1 :]) - len(text[place + 1 :].lstrip("-"))
                    start = self._groove.swung(straight)
                    end = min(self._groove.swung(min(cell.end, straight + held * grain)), on_tick(bar.bar.end))
                    arch = self._arch((straight - first) / (last - first), material.climax)
                    height = arch + 1.7 * material.height(doing, count)
                    strong = self._is_strong(place, cell.pulses, cell.compound) or end - start >= 0.95 * cell.pulse
                    found.append(Slot(start, end, self._chart.at(start), strong, height, bar))
                    count += 1
        found = [slot for slot in found if self._is_singable(slot)]
        return self._with_roles(found, phrase, material.climax)

    def _is_singable(self, slot: Slot) -> bool:
        """False where no chord is heard, and where one ends too soon for a note."""
        change = self._chart.changes[slot.change]
        return (self._is_chordless or not isinstance(change.harmony, Pedal)) and change.end - slot.start > 0.12

    def _arch(self, along: float, climax: float) -> float:
        """The line's path through a phrase: up to the climax, and home."""
        rise = along / climax if along < climax else 1.0 - (along - climax) / (1.0 - climax)
        return self._reach * (0.9 * rise - 0.35)

    @staticmethod
    def _is_strong(place: int, pulses: int, compound: bool) -> bool:
        """Every pulse of compound and triple time, every other one of four."""
        if compound:
            return place % 3 == 0
        return place % (4 if pulses == 3 else 8) == 0

    def _with_roles(self, slots: list[Slot], phrase: Phrase, climax: float) -> list[Slot]:
        if not slots:
            return slots
        changes = {change.start for change in self._chart.changes}
        first, last = phrase.bars[0].bar.start, phrase.bars[-1].bar.end
        peak_at = first + climax * (last - first)
        # Not in the last bar, which is another at every return.
        inner = [k for k, slot in enumerate(slots) if k and slot.bar is not slots[-1].bar]
        inner = inner or list(range(len(slots) - 1)) or [0]
        peak = min(inner, key=lambda k: (not slots[k].strong, abs(slots[k].start - peak_at)))
        found = []
        for index, (slot, following) in enumerate(zip(slots, [*slots[1:], None], strict=True)):
            role = "end" if following is None else "climax" if index == peak else ""
            rested = index == 0 or slot.start - slots[index - 1].end > 0.2
            exposed = rested or following is None or following.start - slot.end > 0.2
            if following is not None and slot.bar is not following.bar is slots[-1].bar:
                exposed = True  # the last bar is set by itself, so no passing note may count on it
            found.append(
                replace(
                    slot,
                    after_rest=rested,
                    role=role,
                    strong=slot.strong or exposed or bool(role) or slot.start in changes,
                    settles=role == "end" and phrase.is_answer,
                )
            )
        return found

    # --- pitches ---
    def sung(self, slots: list[Slot], style: Style, before: int | None) -> list[Note]:
        """The slots with pitches. All bars but the last are set without regard to it, so that they return unchanged."""
        if not slots:
            return []
        final = slots[-1].bar
        head = [slot for slot in slots if slot.bar is not final]
        tail = [slot for slot in slots if slot.bar is final]
        top = self._climax(slots)
        pitches = self._path(head, None, top) if head else []
        pitches += self._path(tail, pitches[-1] if pitches else before, top)
        notes = []
        for slot, pitch in zip(slots, pitches, strict=True):
            end = self._chart.within(pitch, slot.start, slot.end)
            accent = slot.height / 20.0 + 0.25 * slot.strong + {"climax": 0.4, "end": -0.3}.get(slot.role, 0.0)
            end = slot.start + (end - slot.start) * (0.55 if style.legato is False else 0.97)
            notes.append(note(slot.start, end, pitch, loudness(slot.bar, style, accent)))
        return notes

    def _climax(self, slots: Sequence[Slot]) -> int:
        """The highest pitch of a phrase: a chord tone near the top of the arch."""
        peak = next((slot for slot in slots if slot.role == "climax"), slots[-1])
        wanted = self._middle + self._reach
        tones = [p for p in self._pitches.tolist() if self._chart.changes[peak.change].has(p)]
        return min(tones, key=lambda pitch: (abs(pitch - wanted), pitch))

    def _path(self, slots: Sequence[Slot], before: int | None, top: int) -> list[int]:
        costs = [self._fit(slot, top) for slot in slots]
        if before is not None:
            costs[0] = costs[0] + 0.7 * _LEAPS[np.minimum(np.abs(self._pitches - before), 12)]

        def motion(index: int) -> Doubles:
            return self._motion(slots[index], slots[index + 1])

        return [int(self._pitches[at]) for at in cheapest(costs, motion)]

    def _fit(self, slot: Slot, top: int) -> Doubles:
        """What each pitch costs in a slot."""
        pitches = self._pitches
        change = self._chart.changes[slot.change]
        inside = np.isin(pitches % 12, change.harmony.pitch_classes)
        allowed = inside if slot.strong else np.isin(pitches % 12, list(scale_over(self._key, change.harmony)))
        cost = 0.28 * np.abs(pitches - self._middle - slot.height) + np.where(inside, 0.0, 0.4)
        cost = cost + np.where(allowed, 0.0, _NEVER)
        if slot.role == "climax":
            cost = cost + np.where(pitches == top, 0.0, _NEVER / 10)
        else:
            cost = cost + np.where(pitches >= top, _NEVER / 100, 0.0)
        following = self._chart.changes[min(slot.change + 1, len(self._chart.changes) - 1)]
        if following.start < slot.end - 0.1 and following is not change:
            cost = cost + np.where(np.isin(pitches % 12, following.harmony.pitch_classes), 0.0, 2.0)
        if slot.role == "end" and not isinstance(change.harmony, Pedal):
            cost = cost + _cadence(pitches, self._key, slot.settles)
        return np.asarray(cost, dtype=np.float64)

    def _motion(self, here: Slot, there: Slot) -> Doubles:
        """What each interval costs: leaps, leaps to or from a note outside the chord, and going against the shape."""
        move = self._pitches[None, :] - self._pitches[:, None]
        size = np.abs(move)
        cost = _LEAPS[np.minimum(size, 12)] + np.maximum(size - 12, 0) * 2.0
        if there.after_rest:
            cost = 0.5 * cost
        wanted = there.height - here.height
        cost = cost + 0.35 * np.maximum(0.0, np.abs(move - wanted) - 2.0)
        outside_here = ~np.isin(self._pitches % 12, self._chart.changes[here.change].harmony.pitch_classes)
        outside_there = ~np.isin(self._pitches % 12, self._chart.changes[there.change].harmony.pitch_classes)
        loose = outside_here[:, None] | outside_there[None, :]
        return np.asarray(cost + np.where(loose & ((size > 2) | (size == 0)), 12.0, 0.0), dtype=np.float64)


def _cadence(pitches: np.ndarray, key: Key, settles: bool) -> Doubles:
    """How well a phrase ends on each pitch: at home on the tonic, its third or fifth; a question anywhere but there."""
    degree = (pitches - key.pitch_class) % 12
    third = 4 if key.mode == "major" else 3
    home = np.select([degree == 0, degree == third, degree == 7], [0.0, 1.0, 2.5], 4.0)
    return home if settles else np.select([degree == 2, degree == 7, degree == 0], [0.0, 0.3, 4.0], 1.0)


def _breathing(sheet: LeadSheet, notes: list[Note], breath_s: float) -> list[Note]:
    """The same notes; wherever no rest has come in `breath_s`, the longest of the latest is cut short."""
    found = list(notes)
    starts = [sheet.tempo_map.time_at(each.beat) for each in notes]
    ends = [sheet.tempo_map.time_at(each.end) for each in notes]
    starts += ends[-1:]
    last = 0  # the first note of the breath
    for index in range(len(notes)):
        if ends[index] - starts[last] > breath_s:
            late = [k for k in range(last, index) if starts[k] >= starts[last] + 0.4 * breath_s] or [index]
            cut = max(late, key=lambda k: (ends[k] - starts[k], k))
            until_s = max(0.6 * starts[cut] + 0.4 * ends[cut], min(starts[cut + 1] - _AIR_S, starts[last] + breath_s))
            beats = on_tick(sheet.tempo_map.beat_at(until_s)) - notes[cut].beat
            found[cut] = replace(notes[cut], beats=max(SHORTEST, beats))
            last = cut + 1
        if starts[index + 1] - ends[index] >= _AIR_S:
            last = index + 1
    return found
