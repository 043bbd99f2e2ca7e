"""What the region ought to hold, read from how the song repeats.

Every shift by whole bars that makes the surroundings of the region alike votes for what lies there: for its sound, and
for its chords. Harmony repeats more faithfully than sound, under other melodies and other fills; so shifts are judged
by both, and where even the best make the surrounding harmony wrong, no chord is due. A shift that leads out of the song
is neither borne out nor refuted by what it misses there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.api import IsCancelled
from engine.sketch.analysis import Doubles, check
from engine.sketch.grid import Ints
from engine.sketch.material import UNKNOWN, Material

_CONTEXT_BARS = 8
_SHARPNESS = 0.12
_VOTERS = 24
_WRONG_CHORD = 2.0
"""The cost of a quarter note under another chord than is due."""
_NO_WITNESS = 0.3
"""How wrong chords count for a shift that leads out of the song, where nothing speaks for or against it."""
_UNSURE, _WITNESSES = 0.5, 0.3
"""Where even the best shifts make so much of the surrounding harmony wrong, or so little of it is there to tell by,
nothing (or the less) is known of what is due."""


def expected(material: Material, candidates: list[Ints], freedom: float, cancelled: IsCancelled) -> list[Doubles]:
    """What each candidate costs at each target for being another than the shifts that fit the surroundings hold there:
    another sound, and another chord. One array per target of the region, as long as its `candidates` (slots).

    `freedom` from 0 to 1 makes both count for less. Raises `Cancelled`.
    """
    table, low = _bar_table(material)
    shifts = np.arange(-len(table) + 1, len(table))
    bars = _CONTEXT_BARS * material.grid.per_bar
    top = material.grid.slots - 1
    known = material.slots.known
    context_left = np.arange(max(material.first - bars, 0), material.first)
    context_right = np.arange(material.last + 1, min(material.last + 1 + bars, top + 1))
    left, right = (
        _agreement(material, context[known[context]], shifts, table, low) for context in (context_left, context_right)
    )
    weight, chord_weight = 0.45 - 0.25 * freedom, _WRONG_CHORD * (1.0 - 0.6 * freedom)
    grid_share = material.grid.beats[material.targets]  # a chord that is wrong for longer is worse
    out = []
    for step, (target, ids) in enumerate(zip(material.targets, candidates, strict=True)):
        check(cancelled)
        held = _shifted(material, np.array([target]), shifts, table, low)[:, 0]
        fades = [np.exp(-steps / (8 * material.grid.per_bar)) for steps in (step, len(candidates) - 1 - step)]
        sides = [(side, fade) for side, fade in zip((left, right), fades, strict=True) if side is not None]
        possible = np.flatnonzero((held >= 0) & material.usable[held])
        if not sides or not len(possible):
            out.append(np.full(len(ids), weight * UNKNOWN))
            continue
        total = sum(fade for _, fade in sides)
        sound, chords, witness = (
            sum(getattr(side, name) * fade for side, fade in sides) / total for name in ("sound", "chords", "witness")
        )
        gap = sound + (chords + _NO_WITNESS * (1.0 - witness) if material.harmony else 0.0)
        voters = possible[np.argsort(gap[possible], kind="stable")[:_VOTERS]]
        votes = np.exp(-(gap[voters] - gap[voters[0]]) / _SHARPNESS)
        votes /= votes.sum()
        cost = weight * (votes @ material.slots.distance(held[voters], material.slots, ids))
        if material.harmony:
            wrong = (votes @ chords[voters]) / max(votes @ witness[voters], 1e-9)
            sure = max(0.0, 1.0 - wrong / _UNSURE) * min(1.0, votes @ witness[voters] / _WITNESSES)
            due = sure * chord_weight * grid_share[step]
            cost += due * (votes @ material.harmony.gap(held[voters][:, None], ids[None, :]))
        out.append(cost)
    return out


def _bar_table(material: Material) -> tuple[Ints, int]:
    """``table[bar - low, place]`` is the slot there, or -1."""
    grid = material.grid
    low = int(grid.bar.min())
    table = np.full((int(grid.bar.max()) - low + 1, grid.per_bar), -1, dtype=np.int64)
    table[grid.bar - low, grid.place] = np.arange(grid.slots)
    return table, low


def _shifted(material: Material, slots: Ints, shifts: Ints, table: Ints, low: int) -> Ints:
    """The slots that lie `shifts` bars later than `slots`: ``(shifts, slots)``, -1 where there is none."""
    bars = material.grid.bar[slots][None, :] - low + shifts[:, None]
    held = table[np.clip(bars, 0, len(table) - 1), material.grid.place[slots][None, :]]
    return np.where((bars >= 0) & (bars < len(table)) & (shifts[:, None] != 0), held, -1)


@dataclass(frozen=True)
class _Agreement:
    """How unlike each shift makes the music on one side of the region ``(shifts,)``: in sound; in chords, summed over
    the weights of those slots for which the shift leads to a known chord; and these weights, of sum 1 at most."""

    sound: Doubles
    chords: Doubles
    witness: Doubles


def _agreement(material: Material, context: Ints, shifts: Ints, table: Ints, low: int) -> _Agreement | None:
    if not len(context):
        return None
    held = _shifted(material, context, shifts, table, low)
    own = np.broadcast_to(context, held.shape)
    away = np.minimum(np.abs(context - material.first), np.abs(context - material.last))
    weights = np.exp(-away / (0.5 * _CONTEXT_BARS * material.grid.per_bar))
    weights /= weights.sum()
    sound = np.asarray(material.slots.pairwise(own, material.slots, held) @ weights)
    if material.harmony is None:
        return _Agreement(sound, np.zeros(len(shifts)), np.zeros(len(shifts)))
    there = (held >= 0) & (material.harmony.chord[own] >= 0) & (material.harmony.chord[held] >= 0)
    gap = np.where(there, material.harmony.gap(own, held), 0.0)
    return _Agreement(sound, gap @ weights, np.asarray(there @ weights))
