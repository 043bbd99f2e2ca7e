"""Chords set for several voices so that each voice sings: little motion, no parallels outside, nothing muddy below.

The voicings of a whole progression are chosen together, as the cheapest path through all the voicings that each chord
has in the range (dynamic programming), so that a chord is set with a view to where the voices must go.

The costs state what harmony books ask: guide tones present and not doubled, the root doubled first, wide intervals in
the low register, no minor ninths, common tones kept, contrary motion to the bass (Piston, *Harmony*; for seventh
chords and low interval limits Levine, *The Jazz Theory Book*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from engine.harmony import Chord
from protocol.errors import BadArgument

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST = 96
"""Voicings of one chord that are considered, the best by themselves."""


@dataclass(frozen=True)
class Pedal:
    """What is held where no chord is heard: a root and its fifth."""

    root: int

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return self.root, (self.root + 7) % 12


Harmony = Chord | Pedal


@dataclass(frozen=True)
class Setting:
    """How chords are set: the range (MIDI pitches, both included), how many voices, around which pitch, wide or close,
    and whether the root belongs at the bottom."""

    low: int
    high: int
    voices: int
    centre: float | None = None
    wide: bool = False
    rooted: bool = False


def voice_lead(chords: Sequence[Chord], low: int, high: int, voices: int) -> list[tuple[int, ...]]:
    """One voicing per chord: `voices` MIDI pitches from `low` to `high`, rising, all of the chord.

    Fewer where the range holds fewer of a chord's tones. Raises `BadArgument` for a range that misses a chord.
    """
    return voicings(chords, Setting(low, high, voices))


def voicings(chords: Sequence[Harmony], setting: Setting) -> list[tuple[int, ...]]:
    """`voice_lead` for any `Setting`, pedals included."""
    if not chords:
        return []
    options = [_candidates(chord, setting) for chord in chords]

    def motion(index: int) -> Doubles:
        return _motion(chords[index], chords[index + 1], setting)

    path = cheapest([costs for _, costs in options], motion)
    return [tuple(sorted(set(pitches[at].tolist()))) for (pitches, _), at in zip(options, path, strict=True)]


def cheapest(costs: Sequence[Doubles], step: Callable[[int], Doubles]) -> list[int]:
    """The path of least cost: an index into each of `costs`; ``step(k)`` is the cost from each option of *k* to each of
    *k + 1*. Ties go to the earlier option."""
    total, came = costs[0], []
    for index, cost in enumerate(costs[1:]):
        arrive = total[:, None] + step(index)
        came.append(arrive.argmin(axis=0))
        total = arrive.min(axis=0) + cost
    path = [int(total.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return path[::-1]


@lru_cache(maxsize=512)
def _candidates(chord: Harmony, setting: Setting) -> tuple[Ints, Doubles]:
    """The voicings ``(n, voices)`` of `chord` and what each costs by itself ``(n,)``."""
    tones = [p for p in range(setting.low, setting.high + 1) if p % 12 in chord.pitch_classes]
    if not tones or setting.voices < 1:
        raise BadArgument(
            f"No tone of {chord} lies between the MIDI pitches {setting.low} and {setting.high}: take a wider range."
        )
    choose = combinations if len(tones) >= setting.voices else combinations_with_replacement
    pitches = np.array(list(choose(tones, setting.voices)), dtype=np.int64)
    costs = _tones_cost(chord, pitches, setting.rooted) + _spacing_cost(pitches, setting)
    best = np.argsort(costs, kind="stable")[:_MOST]
    return pitches[best], costs[best]


def _tones_cost(chord: Harmony, pitches: Ints, rooted: bool) -> Doubles:
    """Which tones are there, which are doubled, which is lowest."""
    cost = np.zeros(len(pitches))
    above = (pitches - chord.root) % 12
    for interval in ((pc - chord.root) % 12 for pc in chord.pitch_classes):
        count = (above == interval).sum(axis=1)
        missing, doubled = _worth(interval)
        cost += missing * (count == 0) + doubled * np.maximum(count - 1, 0)
    if rooted:
        cost += np.where(above[:, 0] == 0, 0.0, np.where(above[:, 0] == 7, 7.0, 9.0))
    elif isinstance(chord, Chord):
        cost += np.where(above[:, 0] == 0, 0.0, 0.8)
    return np.asarray(cost)


def _worth(interval: int) -> tuple[float, float]:
    """What it costs to leave a chord's tone out and to double it, by its interval above the root."""
    if interval == 0:
        return 4.0, 0.0
    if interval == 7:
        return 1.5, 0.6
    if interval in (6, 8):  # they make the chord diminished or augmented
        return 10.0, 2.0
    return (14.0, 2.5) if interval in (2, 3, 4, 5) else (12.0, 6.0)


def _spacing_cost(pitches: Ints, setting: Setting) -> Doubles:
    centre = (setting.low + setting.high) / 2 if setting.centre is None else setting.centre
    cost = 0.5 * np.abs(pitches.mean(axis=1) - centre)
    if pitches.shape[1] == 1:
        return np.asarray(cost)
    gaps = np.diff(pitches, axis=1)
    lower = pitches[:, :-1]
    cost += 25.0 * ((lower < 48) & (gaps < 7)).sum(axis=1)  # below C3 nothing closer than a fifth
    cost += 6.0 * ((lower < 53) & (gaps < 3)).sum(axis=1)
    cost += (2.5 * (gaps == 1) + 12.0 * (gaps == 0) + 7.0 * (gaps == 13)).sum(axis=1) + 4.0 * (gaps[:, -1] == 1)
    roomy = np.where(np.arange(gaps.shape[1]) == 0, 4, 0)  # the lowest voice may stand apart
    cost += 1.5 * np.maximum(gaps - (12 if setting.wide else 7) - roomy, 0).sum(axis=1)
    if setting.wide:
        cost += 1.5 * np.maximum(5 - gaps, 0).sum(axis=1)
    return np.asarray(cost)


@lru_cache(maxsize=2048)
def _motion(here: Harmony, there: Harmony, setting: Setting) -> Doubles:
    """What it costs to go from each voicing of one chord to each of the next."""
    before, after = _candidates(here, setting)[0], _candidates(there, setting)[0]
    moves = after[None, :, :] - before[:, None, :]
    size = np.abs(moves).astype(np.float64)
    if setting.rooted:  # basses may leap
        size[:, :, 0] *= 0.5
    cost = size.sum(axis=2) + 0.5 * np.maximum(size - 4, 0).sum(axis=2) + 0.4 * size[:, :, -1]
    voices = before.shape[1]
    for high in range(1, voices):
        for low in range(high):
            cost = cost + (9.0 if high - low == voices - 1 else 1.5) * _parallel(before, after, moves, low, high)
    if voices > 1:
        signs = np.sign(moves)
        cost += 2.0 * ((signs == signs[:, :, :1]).all(axis=2) & (signs[:, :, 0] != 0))
    bass = (there.root - here.root + 5) % 12 - 5
    cost += 1.0 * (np.sign(moves.sum(axis=2)) * np.sign(bass) > 0)
    return np.asarray(cost, dtype=np.float64)


def _parallel(before: Ints, after: Ints, moves: Ints, low: int, high: int) -> NDArray[np.bool_]:
    """Where two voices go from a fifth or octave to the same interval, both moving alike."""
    first = (before[:, high] - before[:, low]) % 12
    second = (after[:, high] - after[:, low]) % 12
    perfect = (first == 0) | (first == 7)
    same_way = (moves[:, :, low] * moves[:, :, high]) > 0
    return np.asarray(perfect[:, None] & (first[:, None] == second[None, :]) & same_way)
