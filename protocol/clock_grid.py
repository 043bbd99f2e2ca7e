"""Which tick is which: ticks that were lost, and times that were rounded up to audio periods. Pure.

Both look alike at first: the phase jumps while the tempo stays. A lost tick is a jump of a whole period, once; rounding
to a grid makes jumps of one grid width, always the same way, again and again. Where a tick's period is nearly an audio
period (1024 frames at 48 kHz and 117 BPM) only the repetition tells.
"""

from __future__ import annotations

from itertools import pairwise

from protocol.clock_window import Line, straight

_LEAST_QUANTUM_S, _MOST_QUANTUM_S = 1.0e-3, 50e-3  # audio periods: 64 frames at 48 kHz to 2048 at 44.1 kHz
_AUDIO_PERIODS_S = (1024 / 48_000, 1024 / 44_100, 2048 / 48_000, 2048 / 44_100)
_LOOK_BACK, _ON_GRID_S = 17, 0.4e-3
_UNDECIDED_TICKS = 48  # so long a jump of the phase is taken for a grid's
_FAR_STRAIGHTER = 0.45  # a line through renumbered ticks leaves at most so much of what it left before
_REMEMBERED_TICKS = 192  # a grid is forgotten if it did not show for so long


def lost_before(residuals: list[float], line: Line) -> list[int]:
    """How many ticks were lost before each tick of a run that is late by `residuals`; empty if that is not why.

    Lost ticks are gaps of whole periods, at most in every second place: a gap in every place is another tempo.
    """
    near = min(0.35 * line.period_s, max(0.15 * line.period_s, line.tolerance_s))
    lost: list[int] = []
    missed = gaps = 0
    for residual in residuals:
        here = round(residual / line.period_s)
        before = lost[-1] if lost else 0
        if abs(residual - here * line.period_s) > near or here < before:
            here, missed = before, missed + 1
        gaps += here > before
        lost.append(here)
    return lost if lost[-1] > 0 and missed <= 1 and gaps <= len(lost) / 2 else []


def first_loss(ticks: list[int], times: list[float]) -> int:
    """Where one tick was lost among the first few, which no line could tell yet: index of the tick after it, or 0.

    Not among the last of them, which may be late together.
    """
    period, spread = straight(ticks, times)
    if spread < 0.1 * period:
        return 0
    spreads = {
        start: straight([tick + (index >= start) for index, tick in enumerate(ticks)], times)[1]
        for start in range(1, len(ticks) - 2)
    }
    start = min(spreads, key=spreads.__getitem__)
    return start if spreads[start] < _FAR_STRAIGHTER * spread else 0


class Quantum:
    """The width of the grid that a driver rounds times to (an audio period), learnt from jumps of the phase.

    Rounded times run at a slightly wrong tempo for a while and then jump by one grid width, again and again. A jump is
    taken for such a one at first; if none like it follows, it was a real one.
    """

    def __init__(self) -> None:
        self._width_s = 0.0  # signed: the way the jumps go
        self._until = 0
        self._refused = False  # the last jump was not a grid's

    def at(self, tick: int) -> float:
        """The grid's width in seconds; 0: times are not rounded, as far as is known."""
        if self._width_s and tick > self._until:
            self._width_s, self._refused = 0.0, True
        return abs(self._width_s)

    def may_be(self, times: list[float], line: Line | None) -> bool:
        """True if most ticks of late came one audio period apart: two periods are no lost tick then, but rounding."""
        if self._refused:
            return False
        gaps = [after - before for before, after in pairwise(times[-_LOOK_BACK:])]
        for period_s in _AUDIO_PERIODS_S:
            on_grid = sum(abs(gap - period_s) < _ON_GRID_S for gap in gaps) > 0.55 * len(gaps)
            contradicted = (
                line is not None and line.ticks >= _LOOK_BACK and abs(line.period_s - period_s) > 0.006 * period_s
            )
            if on_grid and not contradicted:
                return True
        return False

    def heard(self, tick: int, off_s: float) -> None:
        """A gap was so much longer than a period."""
        if self._width_s and abs(off_s - self._width_s) < 0.3 * abs(self._width_s):
            self._until = tick + _REMEMBERED_TICKS

    def takes(self, tick: int, jump_s: float) -> bool:
        """True if a jump of the phase (NaN: it was none) is taken for a grid's."""
        if self._refused or self._width_s or not _LEAST_QUANTUM_S <= abs(jump_s) <= _MOST_QUANTUM_S:
            return False
        self._width_s, self._until = jump_s, tick + _UNDECIDED_TICKS
        return True

    def forgive(self) -> None:
        """A new line has begun; the next jump is judged anew."""
        self._refused = False
