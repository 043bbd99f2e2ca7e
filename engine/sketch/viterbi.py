"""The shortest path through a trellis whose states remember how long the current run is.

Plain Viterbi over (candidate, run length), vectorised over both. Run length is counted up to `Trellis.longest`, which
lets a run that has become too long cost more at every further step, and a run that was too short cost when it is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.api import IsCancelled
from engine.sketch.analysis import Doubles, check
from engine.sketch.grid import Ints


@dataclass(frozen=True)
class Trellis:
    """`candidates[t]` are the slots allowed at step *t* (rising), `costs[t]` what each costs there.

    Going on to the next slot of the song is free up to `longest` steps, then costs `over_cost` a step. Any other step
    costs ``jumps(slots here, slots there)`` and `short_cost` for each step by which the run fell short of `short`.
    """

    candidates: list[Ints]
    costs: list[Doubles]
    jumps: Callable[[Ints, Ints], Doubles]
    longest: int
    over_cost: float
    short: int
    short_cost: float


@dataclass(frozen=True)
class _Step:
    """How each state was reached: the run length at which each slot was left, and where each jump came from."""

    leave_at: NDArray[np.intp]  # per candidate of the step before
    jump_from: NDArray[np.intp]  # per candidate of this step
    previous: NDArray[np.intp]  # per candidate of this step: the one it continues, or -1
    stayed: NDArray[np.bool_]  # per candidate of this step: already at the longest run before


def shortest_path(trellis: Trellis, cancelled: IsCancelled) -> list[int]:
    """The index into ``candidates[t]`` for every step. Ties go to the earlier slot. Raises `Cancelled`."""
    runs = trellis.longest
    leaving = trellis.short_cost * np.maximum(trellis.short - np.arange(1, runs + 1), 0)
    total = np.full((len(trellis.candidates[0]), runs), np.inf)
    total[:, 0] = trellis.costs[0]
    steps: list[_Step] = []
    for here, there, cost in zip(trellis.candidates, trellis.candidates[1:], trellis.costs[1:], strict=False):
        check(cancelled)
        total, step = _advance(total, leaving, trellis.jumps(here, there), _continued(here, there), trellis.over_cost)
        total += cost[:, None]
        steps.append(step)
    if len(trellis.candidates) > trellis.short:  # a stub of a run at the very end is as bad as one inside
        total = total + leaving
    return _trace(total, steps)


def _continued(here: Ints, there: Ints) -> NDArray[np.intp]:
    found = np.clip(np.searchsorted(here, there - 1), 0, len(here) - 1)
    return np.where(here[found] == there - 1, found, -1)


def _advance(
    total: Doubles, leaving: Doubles, jump: Doubles, previous: NDArray[np.intp], over_cost: float
) -> tuple[Doubles, _Step]:
    leave = total + leaving
    leave_at = leave.argmin(axis=1)
    arrive = leave.min(axis=1)[:, None] + jump
    # A jump to the next slot is no jump; it must pay as a continuation.
    follows = np.flatnonzero(previous >= 0)
    arrive[previous[follows], follows] = np.inf
    jump_from = arrive.argmin(axis=0)
    ahead = np.full((len(previous), total.shape[1]), np.inf)
    ahead[:, 0] = arrive.min(axis=0)
    stayed = np.zeros(len(previous), dtype=np.bool_)
    if len(follows):
        carried = total[previous[follows]]
        ahead[follows, 1:] = carried[:, :-1]
        over = carried[:, -1] + over_cost
        stayed[follows] = over < ahead[follows, -1]
        ahead[follows, -1] = np.minimum(over, ahead[follows, -1])
    return ahead, _Step(leave_at, jump_from, previous, stayed)


def _trace(total: Doubles, steps: list[_Step]) -> list[int]:
    at, run = (int(x) for x in np.unravel_index(total.argmin(), total.shape))
    path = [at]
    for step in reversed(steps):
        if run == 0:
            at = int(step.jump_from[at])
            run = int(step.leave_at[at])
        else:
            run -= 0 if run == total.shape[1] - 1 and step.stayed[at] else 1
            at = int(step.previous[at])
        path.append(at)
    return path[::-1]
