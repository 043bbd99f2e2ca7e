"""Kick and backbeat of the drum pattern families, as drummers count them: sixteenths of simple cells, eighths
(thirds of a pulse) of compound ones. ``x`` is a hit. Variants of a cell go from plain to busy.

A text of two bars' length alternates from bar to bar (the bossa's clave).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.sketch.style import Beat

Pattern = tuple[str, str]
"""Kick and snare."""

_BACKBEAT = "....x.......x..."
_THIRD = "........x..."
_COMPOUND: tuple[Pattern, ...] = (
    ("x.....", "...x.."),
    ("x....x", "...x.."),
    ("x.x...", "...x.."),
    ("x.x..x", "...x.."),
)


@dataclass(frozen=True)
class Family:
    """Variants per cell: of four and three simple pulses, and of two compound ones; halves are taken as needed."""

    four: tuple[Pattern, ...]
    three: tuple[Pattern, ...] = (("x...........", _THIRD), ("x.....x.....", _THIRD))
    compound: tuple[Pattern, ...] = _COMPOUND
    compound_four: tuple[Pattern, ...] = field(default=())
    step: float | None = None
    """The usual subdivision, if the family has one."""


FAMILIES: Mapping[Beat, Family] = {
    Beat.BACKBEAT: Family(
        four=(
            ("x.......x.......", _BACKBEAT),
            ("x.......x.x.....", _BACKBEAT),
            ("x.....x.x.......", _BACKBEAT),
            ("x.x.....x.x.....", _BACKBEAT),
            ("x..x....x.x.....", _BACKBEAT),
            ("x.....x.x.x.....", _BACKBEAT),
        ),
    ),
    Beat.FOUR_ON_THE_FLOOR: Family(
        four=(("x...x...x...x...", _BACKBEAT),),
        three=(("x...x...x...", _THIRD),),
        compound=(("x..x..", "...x.."),),
        step=0.5,
    ),
    Beat.HALF_TIME: Family(
        four=(
            ("x...............", "........x......."),
            ("x.....x.........", "........x......."),
            ("x.........x.....", "........x......."),
            ("x..x......x..x..", "........x......."),
        ),
        compound_four=(
            ("x...........", "......x....."),
            ("x....x......", "......x....."),
            ("x........x..", "......x....."),
        ),
    ),
    Beat.DOUBLE_TIME: Family(
        four=(("x...x...x...x...", "..x...x...x...x."), ("x...x...x..xx...", "..x...x...x...x.")),
        three=(("x...x...x...", "..x...x...x."),),
        compound=(("x..x..", "..x..x"),),
        step=0.5,
    ),
    Beat.BREAKBEAT: Family(
        four=(
            ("x.....x...x.....", _BACKBEAT),
            ("x.x.......xx....", _BACKBEAT),
            ("x..x..x...x.....", _BACKBEAT),
            ("x.x...x...x..x..", _BACKBEAT),
        ),
        three=(("x.x...x.....", _THIRD), ("x..x..x.....", _THIRD)),
    ),
    Beat.BOSSA: Family(
        four=(("x.....x.x.....x.", "x.....x.....x.......x.....x....."),),
        three=(("x.....x.....", "x.....x.....x.......x..."),),
        step=0.5,
    ),
    Beat.TRAIN: Family(
        four=(("x.......x.......", _BACKBEAT), ("x...x...x...x...", _BACKBEAT)),
        three=(("x...........", "....x...x..."),),
        step=0.25,
    ),
    Beat.ONE_DROP: Family(
        four=(("........x.......", "........x......."),),
        three=((_THIRD, _THIRD),),
        compound=(("...x..", "...x.."),),
        step=0.5,
    ),
    Beat.SWING_RIDE: Family(
        four=(("x.......x.......", _BACKBEAT), ("x...x...x...x...", _BACKBEAT)),
        three=(("x...........", "....x...x..."), ("x...........", "....x.......")),
        compound=(("x.....", "...x.."),),
        step=0.5,
    ),
    Beat.WALTZ: Family(
        four=(("x.......x.......", _BACKBEAT),),
        three=(("x...........", "....x...x..."),),
        compound=(("x.....", "...x.."),),
        step=1.0,
    ),
    Beat.MARCH: Family(
        four=(("x.......x.......", _BACKBEAT),),
        three=(("x...........", "....x...x..."),),
        compound=(("x.....", "...x.."),),
        step=0.5,
    ),
    Beat.BALLAD: Family(
        four=(
            ("x.......x.......", _BACKBEAT),
            ("x.........x.....", _BACKBEAT),
            ("x.......x.x.....", _BACKBEAT),
        ),
        compound=(("x.....", "...x.."), ("x....x", "...x..")),
    ),
}
