"""How a bar is felt: as pulses, whatever its signature, and as the cells that patterns are written for.

A cell is a stretch of two, three or four pulses; 5/4 is three and two, 7/8 is 4/4 short of an eighth, 12/8 four
dotted quarters. Bars cut short end inside a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.sketch.lead_sheet import Bar

_TINY = 1e-6
_LEAST = 0.12
"""Beats: what is left of a cut bar's last pulse must be longer to be played."""


@dataclass(frozen=True)
class Cell:
    """`pulses` pulses of `pulse` beats from `start` (absolute beats); played up to `end`, which may come sooner."""

    start: float
    end: float
    pulses: int
    pulse: float
    compound: bool


def is_compound(bar: Bar) -> bool:
    """True if its counts go in threes: 6/8, 9/8, 12/8, 3/8."""
    signature = bar.signature
    return signature.denominator in (8, 16) and signature.numerator % 3 == 0


def is_swingable(bar: Bar) -> bool:
    """True if eighths are halves of its counts, so that they can be swung."""
    return bar.signature.denominator <= 4


def cells(bar: Bar) -> tuple[Cell, ...]:
    """The bar's cells in order; at least one."""
    signature = bar.signature
    compound = is_compound(bar)
    pulse = 3 * signature.beats_per_count if compound else 1.0
    if (signature.numerator, signature.denominator) == (5, 8):
        plan = [(1, 1.5, True), (1, 1.0, False)]
    else:
        whole = max(1, round(signature.beats_per_bar / pulse + 0.49 - _TINY))
        plan = [(count, pulse, compound) for count in _grouped(whole)]
    found: list[Cell] = []
    start = bar.start
    for count, length, threes in plan:
        if start > bar.start and start > bar.end - _LEAST:
            break
        found.append(Cell(start, min(start + count * length, bar.end), count, length, threes))
        start += count * length
    return tuple(found)


def pulses(bar: Bar) -> tuple[float, ...]:
    """Where the bar's felt beats fall (absolute beats), the first on its bar line."""
    return tuple(
        beat
        for cell in cells(bar)
        for k in range(cell.pulses)
        if (beat := cell.start + k * cell.pulse) < cell.end - _LEAST or beat == bar.start
    )


def steps(bar: Bar, step: float) -> tuple[float, ...]:
    """The positions every `step` beats from the bar line, inside the bar."""
    count = int((bar.beats - _LEAST / 2) / step) + 1
    return tuple(bar.start + k * step for k in range(count))


def _grouped(whole: int) -> list[int]:
    """4+4+..., never ending on a lone pulse: 5 is 3+2."""
    groups = [4] * (whole // 4)
    rest = whole % 4
    if rest == 1 and groups:
        return [*groups[:-1], 3, 2]
    return [*groups, rest] if rest else groups
