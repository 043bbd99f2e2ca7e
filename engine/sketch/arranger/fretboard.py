"""Chords as a guitarist grips them: frets on the strings E A D G B E, within the reach of a hand.

All grips of a chord are computed from the fretboard: at most four fingers (or a barre and three), at most four frets,
no string skipped between sounding ones. The grips of a progression are chosen together, close to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

import numpy as np

from engine.sketch.arranger.voicing import Doubles, Harmony, cheapest

OPEN_STRINGS = (40, 45, 50, 55, 59, 64)
MUTED = -1
_SPAN = 4
"""Frets under one hand."""
_HIGHEST = 12
_MOST = 40


@dataclass(frozen=True)
class Grip:
    """A fret per string, lowest string first: 0 open, `MUTED` not played."""

    frets: tuple[int, ...]

    @property
    def pitches(self) -> tuple[int, ...]:
        """What sounds, from the lowest string up (MIDI)."""
        return tuple(base + fret for base, fret in zip(OPEN_STRINGS, self.frets, strict=True) if fret != MUTED)

    @property
    def position(self) -> float:
        """Where the hand is: the lowest fret that is pressed."""
        return min((fret for fret in self.frets if fret > 0), default=1)

    @property
    def fingers(self) -> int:
        """Fingers needed; a barre over the lowest fret counts as one, where no open string lies under it."""
        pressed = [fret for fret in self.frets if fret > 0]
        if len(pressed) <= 4 or 0 in self.frets:
            return len(pressed)
        return 1 + sum(fret > min(pressed) for fret in pressed)


def grips(harmonies: Sequence[Harmony], *, strings: tuple[int, int] = (4, 6), around: float = 2.0) -> list[Grip]:
    """One grip per chord with `strings` (least, most) strings, the hand near fret `around`."""
    options = [_grips_of(harmony, strings) for harmony in harmonies]
    costs = [np.array([cost + 0.5 * abs(grip.position - around) for grip, cost in option]) for option in options]

    def motion(index: int) -> Doubles:
        here, there = options[index], options[index + 1]
        if harmonies[index] == harmonies[index + 1]:
            return 50.0 * (1.0 - np.eye(len(here)))
        hand = np.abs(_column(here, "position")[:, None] - _column(there, "position")[None, :])
        top = np.abs(_column(here, "top")[:, None] - _column(there, "top")[None, :])
        return np.asarray(0.8 * hand + 0.5 * top)

    if not harmonies:
        return []
    return [option[at][0] for option, at in zip(options, cheapest(costs, motion), strict=True)]


def power_chord(harmony: Harmony, low: int = 40) -> tuple[int, ...]:
    """Root, fifth and octave from `low` (MIDI) up; only root and octave where the fifth is not perfect."""
    root = low + (harmony.root - low) % 12
    return (root, root + 7, root + 12) if (harmony.root + 7) % 12 in harmony.pitch_classes else (root, root + 12)


def _column(option: Sequence[tuple[Grip, float]], what: str) -> Doubles:
    return np.array([grip.position if what == "position" else grip.pitches[-1] for grip, _ in option], dtype=np.float64)


@lru_cache(maxsize=512)
def _grips_of(harmony: Harmony, strings: tuple[int, int]) -> tuple[tuple[Grip, float], ...]:
    """The best grips of a chord and what each costs by itself."""
    found: dict[Grip, float] = {}
    for position in range(1, _HIGHEST - _SPAN + 2):
        for lowest in range(len(OPEN_STRINGS) - strings[0] + 1):
            reach = [_reach(base, harmony, position) for base in OPEN_STRINGS]
            for count in range(strings[0], min(strings[1], len(OPEN_STRINGS) - lowest) + 1):
                for chosen in product(*reach[lowest : lowest + count]):
                    rest = len(OPEN_STRINGS) - lowest - count
                    grip = Grip((MUTED,) * lowest + chosen + (MUTED,) * rest)
                    if grip not in found and grip.fingers <= 4 and _is_reachable(grip):
                        found[grip] = _cost(grip, harmony)
    ranked = sorted(found.items(), key=lambda item: (item[1], item[0].frets))
    return tuple(ranked[:_MOST])


def _reach(base: int, harmony: Harmony, position: int) -> list[int]:
    frets = [0, *range(position, position + _SPAN)]
    return [fret for fret in frets if (base + fret) % 12 in harmony.pitch_classes]


def _is_reachable(grip: Grip) -> bool:
    """Open strings only in the first position: further up they ring against the hand."""
    pressed = [fret for fret in grip.frets if fret > 0]
    return not pressed or (max(pressed) - min(pressed) < _SPAN and (0 not in grip.frets or max(pressed) <= 4))


def _cost(grip: Grip, harmony: Harmony) -> float:
    pitches = grip.pitches
    classes = [pitch % 12 for pitch in pitches]
    cost = 0.0
    for tone in harmony.pitch_classes:
        interval = (tone - harmony.root) % 12
        if tone not in classes:
            cost += 3.0 if interval == 7 else 15.0
        if interval not in (0, 7):
            cost += 1.5 * max(0, classes.count(tone) - 1)
    cost += 0.0 if classes[0] == harmony.root else 5.0
    cost += 4.0 * sum(high - low in (0, 1, 13) for low, high in pairwise(pitches))
    cost += 0.6 * grip.fingers + 0.3 * (max(grip.frets) - grip.position if max(grip.frets) > 0 else 0)
    cost += 3.0 * (grip.frets[-1] == MUTED and len(pitches) > 4)
    return cost - 0.7 * len(pitches)
