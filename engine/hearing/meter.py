"""How long a bar is, where it begins and how it is counted, when only a regular pulse is known.

Beat trackers find *a* pulse: the beat, its double, two eighths in 6/8, at times the off-beats. So the pulse is cut into
twelfths, which hold every other subdivision, and the music is folded over each bar length that might be: the true one
leaves the least unexplained. Bars begin where harmony changes and the bass attacks; what lies at a half, a third and a
quarter of the bar tells 4/4, 3/4 and 6/8 apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TWELFTHS = 12
"""Positions per pulse."""
_PULSES_PER_BAR = (2, 3, 4, 6, 8)
_SHORTEST_BAR_S, _LONGEST_BAR_S = 0.95, 4.2
_USUAL_BEAT_S, _PRIOR = 0.53, 0.08
"""The usual beat (in 6/8: two thirds of it); what each octave away costs, squared, in explained variance."""
_NO_LOSS = 0.04
_HARMONY, _BEATS = 1.5, 2.0


@dataclass(frozen=True)
class Meter:
    """In twelfths of a pulse: a bar lasts `bar`, one begins at `downbeat`. It has `beats` beats, of three counts if
    `compound`. `explained` is the share of the attacks that repeats from bar to bar."""

    bar: int
    downbeat: int
    beats: int
    compound: bool
    explained: float


def meter(attacks: Floats, changes: Floats, pulse_s: float) -> Meter:
    """The most likely bar for `attacks` ``(n, 3)`` (low, middle, high; 0 to 1) and `changes` of harmony ``(n,)`` (0 to
    1) at each twelfth of a pulse of `pulse_s` seconds."""
    cues = np.column_stack([attacks, changes])
    found: dict[int, tuple[float, Meter]] = {}
    for pulses in _PULSES_PER_BAR:
        length, bar_s = pulses * TWELFTHS, pulses * pulse_s
        if len(cues) < 2 * length or not _SHORTEST_BAR_S <= bar_s <= _LONGEST_BAR_S:
            continue
        each = _best_phase(_folded(cues, length), _explained(cues, length))
        beat_s = bar_s / each.beats / (1.5 if each.compound else 1.0)
        found[length] = each.explained - _PRIOR * float(np.log2(beat_s / _USUAL_BEAT_S)) ** 2, each
    if not found:
        return Meter(4 * TWELFTHS, 0, 4, False, 0.0)
    _, best = max(found.values(), key=lambda scored: scored[0])
    if best.beats != 4 and best.bar // 2 in found:
        _, half = found[best.bar // 2]
        if half.beats == 3 and half.explained > best.explained - _NO_LOSS:
            return half  # two bars of a waltz make no bar of six
    if best.beats == 2 and not best.compound:
        return _doubled(best, cues)
    return best


def _doubled(half: Meter, cues: Floats) -> Meter:
    """A bar of two plain beats is rather half a bar of four: which half begins it?"""
    bar = 2 * half.bar
    if len(cues) < 2 * bar:
        return half
    folded = _folded(cues, bar)
    weight = folded[:, 0] / max(float(folded[:, 0].max()), 1e-9) + _HARMONY * folded[:, 3]
    downbeat = max((half.downbeat, half.downbeat + half.bar), key=lambda at: float(weight[at]))
    return Meter(bar, downbeat, 4, False, half.explained)


def _folded(cues: Floats, length: int) -> Floats:
    """The mean bar, ``(length, cues)``."""
    bars = len(cues) // length
    return np.asarray(cues[: bars * length].reshape(bars, length, -1).mean(axis=0))


def _explained(cues: Floats, length: int) -> float:
    """The share of the variance that a bar of `length` explains, adjusted for its number of parameters."""
    bars = len(cues) // length
    used = cues[: bars * length]
    total = float(((used - used.mean(axis=0)) ** 2).sum())
    rest = float(((used.reshape(bars, length, -1) - _folded(cues, length)) ** 2).sum())
    return 1.0 - rest / max(total, 1e-12) * (len(used) - 1) / max(len(used) - length, 1)


def _best_phase(folded: Floats, explained: float) -> Meter:
    """Where the mean bar ``(length, 4)`` begins and how it is divided: bass and a new harmony on the bar line, attacks
    on the beats."""
    length = len(folded)
    low, every, change = (
        cue / max(float(cue.max()), 1e-9) for cue in (folded[:, 0], folded[:, :3].sum(axis=1), folded[:, 3])
    )
    best, chosen = -1.0, Meter(length, 0, 4, False, explained)
    for downbeat in range(length):
        bar = np.roll(every, -downbeat)
        beats, compound = _division(bar)
        on_beats = float(bar[:: length // beats].mean())
        value = float(low[downbeat]) + _HARMONY * float(change[downbeat]) + _BEATS * on_beats
        if value > best:
            best, chosen = value, Meter(length, downbeat, beats, compound, explained)
    return chosen


def _division(strength: Floats) -> tuple[int, bool]:
    """Beats in the bar, and whether they have three counts, from the mean bar's attacks ``(length,)``."""
    length = len(strength)
    second, third, half, fourth, fifth = (float(strength[k * length // 6]) for k in (1, 2, 3, 4, 5))
    quarters = float(min(strength[length // 4], strength[3 * length // 4]))
    thirds = min(third, fourth)
    if quarters >= max(thirds, half / 4):
        return 4, False
    if thirds >= half:
        return 3, False
    # Of three counts the second is struck too; where it never is, two beats swing.
    return 2, second + fourth > 0.5 * (third + fifth)
