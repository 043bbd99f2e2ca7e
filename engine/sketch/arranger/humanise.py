"""What tells a player from a machine: hits a few milliseconds off the grid, and no two equally hard.

Promises: the offsets' median stays below 70 % of `timing_ms` (plus half a tick and the lean) at any tempo; what was
written together is played together; the order of the score is kept; nothing slips across the sheet's edges.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import PPQ, SHORTEST, Note, in_order

_LIMIT = 2.0
"""Standard deviations: no note is further off."""


def humanised(
    notes: Iterable[Note],
    sheet: LeadSheet,
    chance: np.random.Generator,
    *,
    timing_ms: float,
    velocity: int,
    lean_ms: float = 0.0,
) -> tuple[Note, ...]:
    """`notes` with normal deviations of standard deviation `timing_ms` and `velocity`, cut off at twice that.

    `lean_ms` is the player's habit: positive lays back, negative pushes. All notes of one `written` beat move together,
    never beyond a quarter of the way to their neighbours. What ends where or before another note begins still does.
    What is written from the sheet's start on never begins before it; what is written outside stays outside.
    """
    ordered = in_order(notes)
    if not ordered:
        return ()
    places = np.unique([round(note.written * PPQ) for note in ordered])
    order: list[int] = places.tolist()
    moved = _shifts(places, sheet, chance, timing_ms, lean_ms)
    shifts: dict[int, int] = dict(zip(order, moved.tolist(), strict=True))
    loudness = np.clip(chance.standard_normal(len(ordered)), -_LIMIT, _LIMIT) * velocity
    played = []
    for note, louder in zip(ordered, loudness.tolist(), strict=True):
        begin = round(note.beat * PPQ)
        shift = shifts[round(note.written * PPQ)]
        end = round(note.end * PPQ)
        end = shifts[end] + end if end in shifts else min(end + shift, _next_start(end, order, shifts))
        played.append(
            replace(
                note,
                beat=(begin + shift) / PPQ,
                beats=max(SHORTEST, (end - begin - shift) / PPQ),
                velocity=min(127, max(1, round(note.velocity + louder))),
            )
        )
    return in_order(played)


def _next_start(end: int, places: Sequence[int], shifts: Mapping[int, int]) -> int:
    """Where the first place after `end` is played: what ended before it still does."""
    index = bisect_left(places, end)
    return places[index] + shifts[places[index]] if index < len(places) else end + PPQ


def _shifts(
    places: NDArray[np.int64], sheet: LeadSheet, chance: np.random.Generator, timing_ms: float, lean_ms: float
) -> NDArray[np.int64]:
    """Whole ticks per place (ticks, rising)."""
    tempo_map = sheet.tempo_map
    bpm = np.array([tempo_map.bpm_at(tempo_map.time_at(place / PPQ)) for place in places.tolist()])
    deviation = np.clip(chance.standard_normal(len(places)), -_LIMIT, _LIMIT) * timing_ms + lean_ms
    gaps = np.diff(places, prepend=places[0] - PPQ, append=places[-1] + PPQ)
    room = np.minimum(gaps[:-1], gaps[1:]) // 4
    shifts = np.clip(np.rint(deviation * bpm / 60_000.0 * PPQ), -room, room).astype(np.int64)
    first, last = math.ceil(sheet.start * PPQ - 1e-6), math.floor(sheet.end * PPQ + 1e-6)
    inside = (places >= first - 1) & (places < last)
    earliest = np.where(inside, first - places, np.where(places >= last, last - places, -PPQ))
    latest = np.where(inside, last - 1 - places, np.where(places < first, first - 1 - places, PPQ))
    clipped: NDArray[np.int64] = np.clip(shifts, earliest, latest)
    return clipped
