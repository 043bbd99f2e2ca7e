"""One look at a window of clock ticks: is it a line, two lines or a curve, and how well is it known? Pure arithmetic.

Works on residuals from the line known so far, so that sums stay small and exact, and outliers can be clipped: those
beyond the tolerance count as if they lay on the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf, nan, sqrt
from operator import mul

USUAL_NOISE_S = 1.0e-3
"""What a tick's jitter is taken for before it was measured."""

TRUSTED = 6
"""Ticks from which on a line can call a tick odd."""

LEAST_PART = 5
"""Ticks on either side of a break."""

HARD_EDGED_TICKS = 48
"""Ticks that show whether their noise has hard edges."""

LEAST_NOISE_S = 0.1e-3
"""A slope is never better known than with this noise."""

SURELY_SAME = 0.04
"""Two periods that differ by no more than this share, and may not differ by more, are the same."""

_USUAL_WEIGHT = 4.0  # the usual noise counts like that many measured ticks
_ODD_DEVIATIONS, _ODD_LEAST_S = 4.5, 1.0e-3
_BEAT = 24
_BREAK = 36.0  # gain in squared deviations (chi square, 2 degrees) that tells a break from chance
_CURVE = 12.0  # a parabola may be so much worse than two lines, which have two parameters more
_GRID_WIDTHS = 1.35  # a line may miss rounded times by so many quanta between its two sides
_HARD_EDGED = 2.2  # kurtosis below which noise is not Gaussian


@dataclass(frozen=True)
class Line:
    """Tick number `tick` is at `at` seconds, `period_s` apart from the next one; errors are standard deviations."""

    tick: int
    at: float
    period_s: float
    period_error_s: float = inf
    tolerance_s: float = inf
    """A tick that is farther off is odd: late beyond what this clock's jitter explains, or wrongly numbered."""
    noise_s: float = USUAL_NOISE_S
    bend_s: float = 0.0
    """The ticks before this one lie on the line plus so much times the square of their distance in ticks."""
    ticks: int = 1
    """Ticks that the line rests on."""

    def time_of(self, tick: float) -> float:
        return self.at + (tick - self.tick) * self.period_s

    def tick_at(self, at: float) -> float:
        return self.tick + (at - self.at) / self.period_s


class Window:
    """Ticks (numbers and times in seconds, as heard) as residuals from the line `base`; `x` counts from the last.

    `quantum_s`: the ticks' times are rounded up to a grid so wide, 0 if they are not. `hard_edged`: the noise is known
    for it; too few ticks do not show it.
    """

    def __init__(
        self, ticks: Sequence[int], times: Sequence[float], base: Line, quantum_s: float, hard_edged: bool
    ) -> None:
        self.hard_edged = hard_edged or quantum_s > 0.0
        self.base, self.last, self.count, self.quantum_s = base, ticks[-1], len(ticks), quantum_s
        self._x = [float(tick - self.last) for tick in ticks]
        start, period = base.at - base.tick * base.period_s, base.period_s
        y = [at - start - tick * period for tick, at in zip(ticks, times, strict=True)]
        bend = [base.bend_s * (tick - base.tick) ** 2 for tick in ticks] if base.bend_s else [0.0] * self.count
        off = [abs(value - curved) for value, curved in zip(y, bend, strict=True)]
        self.tolerance_s = limit = self._tolerance(off) if base.ticks >= TRUSTED else inf
        if max(off) > limit:
            y = [value if far <= limit else curved for value, far, curved in zip(y, off, bend, strict=True)]
        self._y = y
        self._sums()

    def _tolerance(self, off: Sequence[float]) -> float:
        """From the median distance, of all or of the last beat: jitter that grew is no row of odd ticks."""
        usual = sorted(off)[len(off) // 2]
        if len(off) >= 2 * _BEAT:
            usual = max(usual, sorted(off[-_BEAT:])[_BEAT // 2])
        return max(_ODD_LEAST_S, _ODD_DEVIATIONS * 1.4826 * usual, 1.2 * self.quantum_s)

    def _sums(self) -> None:
        x, y, count = self._x, self._y, self.count
        self._mean_x, self._mean_y = sum(x) / count, sum(y) / count
        self._u = u = [value - self._mean_x for value in x]
        self._suu = sum(map(mul, u, u))
        self._suy = sum(map(mul, u, y))
        self._syy: float = max(0.0, sum(map(mul, y, y)) - count * self._mean_y**2)

    @property
    def _squares(self) -> float:
        """The sum of squared residuals from the least-squares line."""
        left: float = max(0.0, self._syy - self._suy * self._suy / self._suu)
        return left

    # --- one line -----------------------------------------------------------------------------------------------------
    def fitted(self, prior: tuple[float, float] | None) -> Line:
        """The line through all, and through `prior`: a period that was known before and its weight (sum of squares)."""
        weight, known = (prior[1], prior[0] - self.base.period_s) if prior else (0.0, 0.0)
        slope = (self._suy + weight * known) / (self._suu + weight)
        rest = [y - self._mean_y - slope * u for u, y in zip(self._u, self._y, strict=True)]
        noise = self._noise(sum(map(mul, rest, rest)))
        level = self._mean_y
        if self.count >= HARD_EDGED_TICKS:
            self.hard_edged = is_hard_edged(rest)
        if self.hard_edged and self.count >= _BEAT and prior is None:
            level_more, slope_more = _fourth_power(self._u, rest)
            level, slope = level + level_more, slope + slope_more
        error = sqrt(noise**2 * _inflation(rest) / (self._suu + weight))
        return self._line(level - slope * self._mean_x, slope, error, noise)

    def _noise(self, squares: float) -> float:
        return sqrt((squares + _USUAL_WEIGHT * USUAL_NOISE_S**2) / (max(0, self.count - 2) + _USUAL_WEIGHT))

    def _line(self, offset: float, slope: float, error: float, noise: float, bend: float = 0.0) -> Line:
        at = self.base.time_of(self.last) + offset
        return Line(self.last, at, self.base.period_s + slope, error, self.tolerance_s, noise, bend, self.count)

    # --- two lines, or a curve ----------------------------------------------------------------------------------------
    def break_at(self) -> tuple[int, bool] | None:
        """Where the best two lines meet (index of the first tick of the second), if they are far better than one line.

        The flag says that a curve does as well: the tempo changes steadily rather than at that tick.
        """
        start, squares = self._best_break()
        spare = self.count - 4
        noise = (squares + _USUAL_WEIGHT * LEAST_NOISE_S**2) / (spare + _USUAL_WEIGHT)
        gain = self._squares - squares
        if gain < _BREAK * noise:
            return None
        noise *= _inflation(self._two_lines_rest(start))
        if gain < _BREAK * noise or (self.quantum_s and self._within_quantum()):
            return None
        return start, self._squares - self._curve()[2] - squares < _CURVE * noise

    def _best_break(self) -> tuple[int, float]:
        """The break that leaves the least sum of squares, and that sum."""
        u, y, count = self._u, self._y, self.count
        su, sy = list(accumulate(u)), list(accumulate(y))
        suu, suy = list(accumulate(map(mul, u, u))), list(accumulate(map(mul, u, y)))
        end_u, end_y, end_uu, end_uy = su[-1], sy[-1], suu[-1], suy[-1]
        best, explained = LEAST_PART, -1.0
        for at in range(LEAST_PART, count - LEAST_PART + 1, 1 if count < 48 else 2):
            before, after, last = at, count - at, at - 1
            au, ay = su[last], sy[last]
            bu, by = end_u - au, end_y - ay
            slope_a = suy[last] - au * ay / before
            slope_b = end_uy - suy[last] - bu * by / after
            value = (
                ay * ay / before
                + by * by / after
                + slope_a * slope_a / (suu[last] - au * au / before)
                + slope_b * slope_b / (end_uu - suu[last] - bu * bu / after)
            )
            if value > explained:
                best, explained = at, value
        return best, max(0.0, self._syy + count * self._mean_y**2 - explained)

    def _two_lines_rest(self, start: int) -> list[float]:
        return [*_rest(self._u[:start], self._y[:start]), *_rest(self._u[start:], self._y[start:])]

    def _curve(self) -> tuple[float, float, float, float]:
        """The parabola as `c * (u*u - a*u - b)` beside the line: c, a, what it explains, its sum of squares."""
        squared = [value * value for value in self._u]
        cubes, fourths = sum(map(mul, squared, self._u)), sum(map(mul, squared, squared))
        a, b = cubes / self._suu, self._suu / self.count
        own = fourths - a * cubes - b * self._suu
        with_y = sum(map(mul, squared, self._y)) - a * self._suy - b * self.count * self._mean_y
        return with_y / own, a, with_y * with_y / own, own

    def tangent(self) -> Line:
        """The tangent at the last tick of the parabola through all."""
        c, a, explained, own = self._curve()
        end = -self._mean_x  # the last tick's u
        bend = end * end - a * end - self._suu / self.count
        line_slope = self._suy / self._suu
        slope = line_slope + c * (2.0 * end - a)
        level = self._mean_y + line_slope * end + c * bend
        noise = self._noise(self._squares - explained)
        error = noise * sqrt(1.0 / self._suu + (2.0 * end - a) ** 2 / own)
        return self._line(level, slope, error, noise, c)

    def _within_quantum(self) -> bool:
        """True if one line explains all ticks as times rounded to the grid."""
        slope = self._suy / self._suu
        rest = [y - self._mean_y - slope * u for u, y in zip(self._u, self._y, strict=True)]
        level_more, slope_more = _fourth_power(self._u, rest)
        rest = [e - level_more - slope_more * u for u, e in zip(self._u, rest, strict=True)]
        return bool(max(rest) - min(rest) <= _GRID_WIDTHS * self.quantum_s)

    def jump_at(self, start: int) -> float:
        """Seconds by which the second line is late if it is otherwise the first one's continuation; else NaN."""
        level_a, slope_a, noise_a = _straight(self._u[:start], self._y[:start])
        level_b, slope_b, noise_b = _straight(self._u[start:], self._y[start:])
        noise_a, noise_b = max(LEAST_NOISE_S, noise_a), max(LEAST_NOISE_S, noise_b)
        doubt = 4.0 * sqrt(noise_a**2 / _spread(self._u[:start]) + noise_b**2 / _spread(self._u[start:]))
        middle = (self._u[start - 1] + self._u[start]) / 2
        late = level_b - level_a + (slope_b - slope_a) * middle
        surely_same = abs(slope_b - slope_a) < doubt < SURELY_SAME * self.base.period_s
        return late if surely_same and abs(late) > 4.0 * max(noise_a, noise_b) else nan

    def fitted_before(self, start: int) -> Line:
        """The line through the ticks before number `start` of the window."""
        level, slope, noise = _straight(self._u[:start], self._y[:start])
        return replace(self._line(level - slope * self._mean_x, slope, inf, noise), ticks=start)


def straight(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and the standard deviation of what it leaves."""
    first_x, first_y = x[0], y[0]
    _, slope, noise = _straight([value - first_x for value in x], [value - first_y for value in y])
    return slope, noise


def _straight(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Level at x = 0, slope, and the standard deviation of the residuals."""
    count = len(x)
    mean_x, mean_y = sum(x) / count, sum(y) / count
    sxx = sum(map(mul, x, x)) - count * mean_x**2
    slope = (sum(map(mul, x, y)) - count * mean_x * mean_y) / sxx
    level = mean_y - slope * mean_x
    squares = sum((b - level - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    return level, slope, sqrt(squares / max(1, count - 2))


def _spread(x: Sequence[float]) -> float:
    mean = sum(x) / len(x)
    return sum((value - mean) ** 2 for value in x)


def _rest(x: Sequence[float], y: Sequence[float]) -> list[float]:
    level, slope, _ = _straight(x, y)
    return [b - level - slope * a for a, b in zip(x, y, strict=True)]


def _inflation(rest: Sequence[float]) -> float:
    """How much less residuals say than as many independent ones: (1 + r) / (1 - r), r their correlation at lag 1."""
    squares = sum(map(mul, rest, rest))
    if squares <= 0.0:
        return 1.0
    r: float = min(0.85, max(0.0, sum(map(mul, rest, rest[1:])) / squares))
    return (1.0 + r) / (1.0 - r)


def is_hard_edged(rest: Sequence[float]) -> bool:
    """True if the kurtosis is that of uniform rather than of Gaussian noise."""
    squares = list(map(mul, rest, rest))
    total = sum(squares)
    return bool(len(rest) * sum(map(mul, squares, squares)) < _HARD_EDGED * total * total)


def _fourth_power(u: Sequence[float], rest: Sequence[float]) -> tuple[float, float]:
    """What to add to level and slope for the least sum of fourth powers.

    Two of Newton's steps. For uniform noise the estimate's variance is 3/7 of least squares' (M-estimation: E[psi^2] /
    E[psi']^2 with psi(r) = r^3).
    """
    level = slope = 0.0
    e = list(rest)
    for _ in range(2):
        w = [value * value for value in e]
        sw = sum(w)
        if sw <= 0.0:
            break
        wu, we = list(map(mul, w, u)), list(map(mul, w, e))
        swu, swuu, swe, swue = sum(wu), sum(map(mul, wu, u)), sum(we), sum(map(mul, we, u))
        scale = 3.0 * (sw * swuu - swu * swu)
        more_level, more_slope = (swuu * swe - swu * swue) / scale, (sw * swue - swu * swe) / scale
        level, slope = level + more_level, slope + more_slope
        e = [value - more_level - more_slope * a for value, a in zip(e, u, strict=True)]
    return level, slope
