"""The shortest path is the shortest: compared with trying every path."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.viterbi import Trellis, shortest_path
from protocol.errors import Cancelled


def trellis(seed: int, steps: int, width: int, longest: int, short: int) -> Trellis:
    rng = np.random.default_rng(seed)
    table = rng.random((40, 40))
    candidates = [np.sort(rng.choice(20, size=width, replace=False)) for _ in range(steps)]
    costs = [rng.random(width) for _ in range(steps)]
    return Trellis(candidates, costs, lambda a, b: table[np.ix_(a, b)], longest, 0.3, short, 0.2)


def price(chosen: Trellis, path: tuple[int, ...]) -> float:
    slots = [int(ids[k]) for ids, k in zip(chosen.candidates, path, strict=True)]
    total, run = float(chosen.costs[0][path[0]]), 1
    for step in range(1, len(slots)):
        if slots[step] == slots[step - 1] + 1:
            total += chosen.over_cost if run >= chosen.longest else 0.0
            run += 1
        else:
            total += chosen.short_cost * max(chosen.short - run, 0)
            total += float(chosen.jumps(np.array(slots[step - 1 : step]), np.array(slots[step : step + 1]))[0, 0])
            run = 1
        total += float(chosen.costs[step][path[step]])
    return total + (chosen.short_cost * max(chosen.short - run, 0) if len(slots) > chosen.short else 0.0)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(1, 3))
def test_no_other_path_is_cheaper(seed: int, steps: int, width: int, longest: int, short: int) -> None:
    chosen = trellis(seed, steps, width, longest, min(short, longest))
    found = tuple(shortest_path(chosen, lambda: False))
    cheapest = min(price(chosen, path) for path in product(range(width), repeat=steps))
    assert price(chosen, found) == pytest.approx(cheapest)


def test_a_cancelled_search_ends() -> None:
    with pytest.raises(Cancelled):
        shortest_path(trellis(1, 5, 3, 3, 2), lambda: True)
