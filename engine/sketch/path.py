"""Choosing the path: which slot of the song sounds in each slot of the region.

A shortest path (Viterbi) over the slots outside the region. Slots that follow each other in the song cost nothing to
join, so phrases stay whole. A jump from slot *i* to slot *j* costs as much as *j* differs from what really follows *i*,
and *i* from what really precedes *j* (the idea of Schödl et al., "Video Textures", 2000); more if the sound changes
there more than the song's own does at that place in the bar, or one chord follows another that it never follows in the
song. The two edges are joins like any other, with the song around the region on their far side. A slot may only sound
at its own place in the bar, and costs what its sound and chord are off from what is due there
(`engine.sketch.expectation`), what it must be stretched, and more from another section than the region's.

The seed moves the costs of whole excerpts, not of single slots, so that it changes what is said and not how often it is
interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine.api import IsCancelled
from engine.sketch.analysis import Doubles, check
from engine.sketch.chance import chance_for
from engine.sketch.expectation import expected
from engine.sketch.grid import Ints
from engine.sketch.material import Bools, Material
from engine.sketch.viterbi import Trellis, shortest_path
from protocol.errors import NoMaterial

MAX_CANDIDATES = 600
"""Slots per place in the bar among which the path chooses: the nearest ones, where a song has more."""
MIN_SLOTS = 2

EDGE_WEIGHT = 2.0
_CONTEXT_DECAY = (0.5, 0.25, 0.15, 0.1)
_WRONG_PLACE, _QUIET, _NO_LEAD = 3.0, 0.5, 0.15
_PASTE_BEFORE, _PASTE_AFTER = 0.35, 0.2
_LENGTH_SLACK, _LENGTH_LIMIT = 0.002, 0.02
_LENGTH_COST, _LENGTH_COST_BEYOND = 3.0, 8.0
"""Per unit of the logarithm of two lengths' ratio: the cost of stretching a slot, and more beyond the limit."""
_CHANGE, _CHANGE_AT_EDGE = 0.12, 2.2
"""Per dB by which the sound changes more at a join than the song's own sound does at that place in the bar."""
_UNUSUAL, _OTHER_SECTION = 0.4, 0.25
"""The cost of one chord after another where the song does not do that, and of a slot from another section."""
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
    due = expected(material, candidates, freedom, cancelled)
    costs = []
    for step, ids in enumerate(candidates):
        check(cancelled)
        costs.append(due[step] + _standing(material, int(material.targets[step]), ids))
    left, right = _edges(material, candidates)
    entered, left_off = _edge_changes(material, candidates)
    costs[0] = costs[0] + EDGE_WEIGHT * left + entered
    costs[-1] = costs[-1] + EDGE_WEIGHT * right + left_off
    bar = material.grid.per_bar
    return Trellis(
        candidates=candidates,
        costs=costs,
        jumps=_remembered(lambda here, there: _jump_costs(material, here, there)),
        longest=min(max(min(2 * bar, len(material.targets) // 2), bar, 2), 16),
        over_cost=0.3 + 0.15 * freedom,
        short=min(bar, 8),
        short_cost=0.2 - 0.05 * freedom,
    )


def _remembered(jumps: Callable[[Ints, Ints], Doubles]) -> Callable[[Ints, Ints], Doubles]:
    """The same function, which looks up what it was asked before: every bar asks the same, and so does every path."""
    known: dict[tuple[bytes, bytes], Doubles] = {}

    def looked_up(here: Ints, there: Ints) -> Doubles:
        key = (here.tobytes(), there.tobytes())
        if key not in known:
            known[key] = jumps(here, there)
        return known[key]

    return looked_up


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
        + _elsewhere(material, ids)
    )
    return np.asarray(cost)


def _elsewhere(material: Material, ids: Ints) -> Doubles:
    """What slots of another section than the region's cost: where the music before and after it agrees on one."""
    around = [int(material.section[slot]) for slot in (material.first - 1, material.last + 1)]
    known = [label for label in around if label >= 0]
    if not known or len(set(known)) > 1:
        return np.zeros(len(ids))
    cost = _OTHER_SECTION * len(known) / 2
    return np.where(material.section[ids] == known[0], 0.0, cost)


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


def _edge_changes(material: Material, candidates: list[Ints]) -> tuple[Doubles, Doubles]:
    """What the change of sound and chord at the region's edges costs, for each first and each last slot."""
    first, last = np.array([material.first]), np.array([material.last])
    entered = _CHANGE_AT_EDGE * material.entry.beyond_db(first, candidates[0])[0]
    left_off = _CHANGE_AT_EDGE * material.leave.beyond_db(candidates[-1], last)[:, 0]
    if harmony := material.harmony:
        place = material.grid.place
        entered += _UNUSUAL * harmony.unusual(first - 1, candidates[0], place[first] == 0)[0]
        left_off += _UNUSUAL * harmony.unusual(candidates[-1], last + 1, place[last + 1] == 0)[:, 0]
    return entered, left_off


def _jump_costs(material: Material, here: Ints, there: Ints) -> Doubles:
    """Cost of sounding slot ``there`` after slot ``here``: ``(len(here), len(there))``."""
    slots = material.slots
    gap = 0.5 * (slots.distance(here + 1, slots, there) + slots.distance(here, slots, there - 1))
    place = material.grid.place[there]
    on_line = np.where(place == 0, 0.0, np.where(2 * place == material.grid.per_bar, 0.12, 0.25))
    alone = ~_sounds_before(material, there)
    harmony = material.harmony
    unusual = _UNUSUAL * harmony.unusual(here, there, material.grid.place[there] == 0) if harmony else 0.0
    change = _CHANGE * material.lines.beyond_db(np.minimum(here + 1, material.grid.slots - 1), there)
    return np.asarray(gap + change + unusual + (0.1 + on_line + _NO_LEAD * alone)[None, :])


def _sounds_before(material: Material, ids: Ints) -> Bools:
    return material.usable[np.maximum(ids - 1, 0)]


def _join_costs(material: Material, sources: Ints) -> tuple[float | None, ...]:
    left, right = _edges(material, [sources[:1], sources[-1:]])
    jumps = np.flatnonzero(np.diff(sources) != 1)
    inner = [float(_jump_costs(material, sources[k : k + 1], sources[k + 1 : k + 2])[0, 0]) for k in jumps]
    meets_left, meets_right = material.meets
    return (float(left[0]) if meets_left else None, *inner, float(right[0]) if meets_right else None)


# --- the seed ---------------------------------------------------------------------------------------------------------
def _wandering(material: Material, candidates: list[Ints], freedom: float, seed: int, sha256: str) -> list[Doubles]:
    """Seeded extra costs, equal for all slots of one excerpt within one bar of the region."""
    rng = chance_for(seed, sha256)
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
