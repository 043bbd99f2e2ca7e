"""Choosing the path: which slot of the song sounds in each slot of the region.

A shortest path (Viterbi) over the slots outside the region. Slots that follow each other in the song cost nothing to
join, so phrases stay whole. A jump from slot *i* to slot *j* costs as much as *j* differs from what really follows *i*,
and *i* from what really precedes *j* (the idea of Schödl et al., "Video Textures", 2000). The two edges are joins like
any other, with the song around the region on their far side. A slot may only sound at its own place in the bar.

What the region ought to hold is read from how the song repeats: every shift by whole bars that makes the surroundings
of the region alike votes for what lies there (`_expected`). The seed moves the costs of whole excerpts, not of single
slots, so that it changes what is said and not how often it is interrupted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.random import PCG64, Generator

from engine.api import IsCancelled
from engine.sketch.analysis import Doubles, check
from engine.sketch.grid import Ints
from engine.sketch.material import UNKNOWN, Bools, Material
from engine.sketch.viterbi import Trellis, shortest_path
from protocol.errors import NoMaterial

MAX_CANDIDATES = 600
"""Slots per place in the bar among which the path chooses: the nearest ones, where a song has more."""
MIN_SLOTS = 2

EDGE_WEIGHT = 2.0
_CONTEXT_DECAY = (0.5, 0.25, 0.15, 0.1)
_CONTEXT_BARS = 8
_SHARPNESS = 0.12
_VOTERS = 24
_WRONG_PLACE, _QUIET, _NO_LEAD = 3.0, 0.5, 0.15
_PASTE_BEFORE, _PASTE_AFTER = 0.35, 0.2
_LENGTH_SLACK, _LENGTH_LIMIT = 0.002, 0.03
_LENGTH_COST, _LENGTH_COST_BEYOND = 3.0, 15.0
"""Per unit of the logarithm of two lengths' ratio: the cost of stretching a slot, and more beyond the limit."""
_ROUNDS = 6
_RIVALS = 4
"""As many as a job has variations at most."""
_RIVAL_MARGIN = 2.0
"""How much dearer another way through the region may be: about two jumps to any other bar of the song."""


@dataclass(frozen=True)
class Path:
    """One usable slot per slot of the region, and its cost without the seed's share.

    `joins` are the costs of the jumps in order of time, those of the region's edges first and last (None: nothing to
    meet there). 0 is as in the song itself, about 1 any other place with the same count.
    """

    targets: Ints
    sources: Ints
    cost: float
    joins: tuple[float | None, ...]

    @property
    def run_starts(self) -> list[int]:
        """Indices into `targets` at which a new excerpt of the song begins."""
        jumps = np.flatnonzero(np.diff(self.sources) != 1) + 1
        return [0, *jumps.tolist()]

    @property
    def share(self) -> float:
        """Distinct slots used, as a share of all: 1.0 if nothing is heard twice."""
        return len(np.unique(self.sources)) / len(self.sources)


def choose(material: Material, freedom: float, seed: int, sha256: str, cancelled: IsCancelled) -> Path:
    """The path for one seed; the same arguments give the same path.

    `freedom` is 1 less the task's strength: 0 keeps to the most obvious continuation, 1 wanders freely. Raises
    `NoMaterial`, `Cancelled`.
    """
    usable = np.flatnonzero(material.usable)
    if len(usable) < MIN_SLOTS:
        raise NoMaterial(
            f"The song has {len(usable)} whole beats outside the region, and the sketch engine needs at least "
            f"{MIN_SLOTS} to make new ones from. Choose a shorter region, or a source that holds more of the song."
        )
    trellis = _trellis(material, usable, freedom, cancelled)
    wandering = _wandering(material, trellis.candidates, freedom, seed, sha256)
    moved = [cost + extra for cost, extra in zip(trellis.costs, wandering, strict=True)]
    middle, rivals = _rivals(trellis, cancelled)
    through = _through(replace(trellis, costs=moved), middle, [rivals[seed % len(rivals)]])
    best = _without_repeats(through, cancelled)
    sources = np.array([ids[k] for ids, k in zip(through.candidates, best, strict=True)])
    places = [int(np.searchsorted(ids, slot)) for ids, slot in zip(trellis.candidates, sources, strict=True)]
    cost = float(sum(costs[k] for costs, k in zip(trellis.costs, places, strict=True)))
    joins = _join_costs(material, sources)
    return Path(material.targets, sources, cost + sum(join for join in joins[1:-1] if join), joins)


def _rivals(trellis: Trellis, cancelled: IsCancelled) -> tuple[int, list[int]]:
    """The step in the middle of the region, and the slots that the best few paths pass there, the best first.

    Neighbouring seeds, those of one job's variations, are sent through different ones: so their takes differ wherever
    the song offers another way that is not much worse.
    """
    middle = len(trellis.candidates) // 2
    left = trellis.candidates[middle].tolist()
    rivals: list[int] = []
    best = 0.0
    while left and len(rivals) < _RIVALS:
        check(cancelled)
        narrowed = _through(trellis, middle, left)
        path = shortest_path(narrowed, cancelled)
        cost = _path_cost(narrowed, path)
        if rivals and cost > best + _RIVAL_MARGIN:
            break
        best = best if rivals else cost
        rivals.append(int(narrowed.candidates[middle][path[middle]]))
        left.remove(rivals[-1])
    return middle, rivals


def _through(trellis: Trellis, step: int, slots: list[int]) -> Trellis:
    """The same trellis with only these slots, of those it has, at one step."""
    kept = np.flatnonzero(np.isin(trellis.candidates[step], slots))
    candidates, costs = list(trellis.candidates), list(trellis.costs)
    candidates[step], costs[step] = candidates[step][kept], costs[step][kept]
    return replace(trellis, candidates=candidates, costs=costs)


def _path_cost(trellis: Trellis, path: list[int]) -> float:
    """What the slots of a path and the jumps between them cost, whatever its runs' lengths."""
    slots = [ids[k] for ids, k in zip(trellis.candidates, path, strict=True)]
    standing = sum(float(costs[k]) for costs, k in zip(trellis.costs, path, strict=True))
    jumps = (
        float(trellis.jumps(np.array([here]), np.array([there]))[0, 0])
        for here, there in pairwise(slots)
        if there != here + 1
    )
    return standing + sum(jumps)


def _without_repeats(trellis: Trellis, cancelled: IsCancelled) -> list[int]:
    """The shortest path, with a growing price on every slot that it uses twice; the one with the fewest repeats."""
    costs = [c.copy() for c in trellis.costs]
    best: tuple[int, list[int]] | None = None
    for _ in range(_ROUNDS):
        check(cancelled)
        path = shortest_path(replace(trellis, costs=costs), cancelled)
        used = [int(ids[k]) for ids, k in zip(trellis.candidates, path, strict=True)]
        seen: set[int] = set()
        again = [slot for slot in used if slot in seen or seen.add(slot)]  # type: ignore[func-returns-value]
        if best is None or len(again) < best[0]:
            best = (len(again), path)
        if not again:
            break
        for step, slot in enumerate(used):
            for other, ids in enumerate(trellis.candidates):
                if slot in again and other != used.index(slot):
                    costs[other][ids == slot] += 0.5 if other == step else 0.2
    assert best is not None
    return best[1]


# --- what every slot costs in every place -----------------------------------------------------------------------------
def _trellis(material: Material, usable: Ints, freedom: float, cancelled: IsCancelled) -> Trellis:
    candidates = [_candidates(material, usable, int(target)) for target in material.targets]
    expected = _expected(material, candidates, cancelled)
    weight = 0.45 - 0.25 * freedom
    costs = []
    for step, ids in enumerate(candidates):
        check(cancelled)
        costs.append(weight * expected[step] + _standing(material, int(material.targets[step]), ids))
    left, right = _edges(material, candidates)
    costs[0] = costs[0] + EDGE_WEIGHT * left
    costs[-1] = costs[-1] + EDGE_WEIGHT * right
    bar = material.grid.per_bar
    return Trellis(
        candidates=candidates,
        costs=costs,
        jumps=lambda here, there: _jump_costs(material, here, there),
        longest=min(max(2 * bar, 2), 16),
        over_cost=0.15 + 0.15 * freedom,
        short=min(bar, 8),
        short_cost=0.2 - 0.05 * freedom,
    )


def _candidates(material: Material, usable: Ints, target: int) -> Ints:
    grid = material.grid
    same = usable[(grid.place[usable] == grid.place[target]) & (grid.meter[usable] == grid.meter[target])]
    ids = same if len(same) else usable
    if len(ids) > MAX_CANDIDATES:
        ids = np.sort(ids[np.argsort(np.abs(ids - target), kind="stable")[:MAX_CANDIDATES]])
    return ids


def _standing(material: Material, target: int, ids: Ints) -> Doubles:
    """Costs that do not depend on the neighbours: place, length, silence, pasting what was just heard."""
    grid = material.grid
    wrong = (grid.place[ids] != grid.place[target]) | (grid.meter[ids] != grid.meter[target])
    stretch = np.abs(np.log(grid.lengths[ids] / grid.lengths[target]))
    close = min(len(material.targets), 2 * grid.per_bar)
    before = (ids < material.first) & (ids >= material.first - close)
    after = (ids > material.last) & (ids <= material.last + close)
    looped = (ids == target - len(material.targets)) | (ids == target + len(material.targets))
    cost = (
        _WRONG_PLACE * wrong
        + _LENGTH_COST * np.maximum(stretch - _LENGTH_SLACK, 0.0)
        + _LENGTH_COST_BEYOND * np.maximum(stretch - _LENGTH_LIMIT, 0.0)
        + _QUIET * material.quiet[ids]
        + _PASTE_BEFORE * before
        + _PASTE_AFTER * after
        + 0.15 * looped
    )
    return np.asarray(cost)


def _edges(material: Material, candidates: list[Ints]) -> tuple[Doubles, Doubles]:
    """How far each candidate's own surroundings are from those of the region, at its start and at its end."""
    first, last = candidates[0], candidates[-1]
    left, right = np.zeros(len(first)), np.zeros(len(last))
    top = material.grid.slots - 1
    for back, weight in enumerate(_CONTEXT_DECAY):
        here, there = (np.clip(x, 0, top) for x in (material.first - back, first - back))
        left += weight * material.before.distance(np.array([here]), material.before, there)[0]
        here, there = (np.clip(x, 0, top) for x in (material.last + back, last + back))
        right += weight * material.after.distance(np.array([here]), material.after, there)[0]
    return left, right


def _jump_costs(material: Material, here: Ints, there: Ints) -> Doubles:
    """Cost of sounding slot ``there`` after slot ``here``: ``(len(here), len(there))``."""
    slots = material.slots
    gap = 0.5 * (slots.distance(here + 1, slots, there) + slots.distance(here, slots, there - 1))
    place = material.grid.place[there]
    on_line = np.where(place == 0, 0.0, np.where(2 * place == material.grid.per_bar, 0.12, 0.25))
    alone = ~_sounds_before(material, there)
    return np.asarray(gap + (0.1 + on_line + _NO_LEAD * alone)[None, :])


def _sounds_before(material: Material, ids: Ints) -> Bools:
    return material.usable[np.maximum(ids - 1, 0)]


def _join_costs(material: Material, sources: Ints) -> tuple[float | None, ...]:
    left, right = _edges(material, [sources[:1], sources[-1:]])
    jumps = np.flatnonzero(np.diff(sources) != 1)
    inner = [float(_jump_costs(material, sources[k : k + 1], sources[k + 1 : k + 2])[0, 0]) for k in jumps]
    meets_left, meets_right = material.meets
    return (float(left[0]) if meets_left else None, *inner, float(right[0]) if meets_right else None)


# --- what the song's repetition leads one to expect ------------------------------------------------------------------
def _expected(material: Material, candidates: list[Ints], cancelled: IsCancelled) -> list[Doubles]:
    """For each target, each candidate's distance from what the shifts that fit the surroundings hold there."""
    table, low = _bar_table(material)
    shifts = np.arange(-len(table) + 1, len(table))
    bars = _CONTEXT_BARS * material.grid.per_bar
    top = material.grid.slots - 1
    known = material.slots.known
    context_left = np.arange(max(material.first - bars, 0), material.first)
    context_right = np.arange(material.last + 1, min(material.last + 1 + bars, top + 1))
    left, right = (
        _context_gap(material, context[known[context]], shifts, table, low) for context in (context_left, context_right)
    )
    out = []
    for step, (target, ids) in enumerate(zip(material.targets, candidates, strict=True)):
        check(cancelled)
        held = _shifted(material, np.array([target]), shifts, table, low)[:, 0]
        fades = [np.exp(-steps / (8 * material.grid.per_bar)) for steps in (step, len(candidates) - 1 - step)]
        gaps = [(gap, fade) for gap, fade in zip((left, right), fades, strict=True) if gap is not None]
        possible = np.flatnonzero((held >= 0) & material.usable[held])
        if not gaps or not len(possible):
            out.append(np.full(len(ids), UNKNOWN))
            continue
        gap = sum(g * f for g, f in gaps) / sum(f for _, f in gaps)
        voters = possible[np.argsort(gap[possible], kind="stable")[:_VOTERS]]
        votes = np.exp(-(gap[voters] - gap[voters[0]]) / _SHARPNESS)
        out.append(votes @ material.slots.distance(held[voters], material.slots, ids) / votes.sum())
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


def _context_gap(material: Material, context: Ints, shifts: Ints, table: Ints, low: int) -> Doubles | None:
    if not len(context):
        return None
    held = _shifted(material, context, shifts, table, low)
    own = np.broadcast_to(context, held.shape)
    away = np.minimum(np.abs(context - material.first), np.abs(context - material.last))
    weights = np.exp(-away / (0.5 * _CONTEXT_BARS * material.grid.per_bar))
    return np.asarray(material.slots.pairwise(own, material.slots, held) @ weights / weights.sum())


# --- the seed ---------------------------------------------------------------------------------------------------------
def _wandering(material: Material, candidates: list[Ints], freedom: float, seed: int, sha256: str) -> list[Doubles]:
    """Seeded extra costs, equal for all slots of one excerpt within one bar of the region."""
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    rng = Generator(PCG64(int.from_bytes(digest[:16], "big")))
    bar = material.grid.bar
    bars = int(bar[material.last] - bar[material.first]) + 1
    low = int(bar.min() - bar[material.last])
    width = int(bar.max() - bar[material.first]) - low + 1
    by_excerpt, by_bar = rng.random(width), rng.random((width, bars))
    amount = 0.02 + 0.6 * freedom**0.5
    extra = []
    for target, ids in zip(material.targets, candidates, strict=True):
        shift = bar[ids] - bar[target] - low
        extra.append(amount * (0.6 * by_excerpt[shift] + 0.4 * by_bar[shift, bar[target] - bar[material.first]]))
    return extra
