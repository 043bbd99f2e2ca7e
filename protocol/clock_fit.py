"""The straight line through the ticks of a MIDI clock: least squares over as many ticks as lie on one line. Pure.

A tick's time is what a driver made of it: late by a scheduler, rounded up to an audio period, sometimes delivered with
the next one, sometimes never. So no single tick and no single gap counts. A line through 96 to 192 ticks does; its
slope is the tempo and its end the phase. What this promises, and how:

- *An outlier or a lost tick costs nothing.* A tick far off the line is left out. A run of ticks that all lie whole
  periods off it was numbered wrongly (a tick was lost) and is renumbered.
- *A tempo jump is followed within a beat.* Every few ticks the one line is compared with the best two lines (a
  generalised likelihood ratio test for a break, Gaussian noise). If two are far better than chance, the old part goes.
- *A ramp is followed without the lag of a long window.* If a parabola describes the window as well as two lines do,
  its tangent at the last tick is the line.
- *Times rounded up to audio periods* (python-rtmidi on JACK) run at a wrong tempo and jump, run and jump. Jumps of the
  phase that come again are recognised as such a grid and no reason to begin anew.
- *Hard-edged noise tells more than its mean.* Noise with a kurtosis near 1.8 (uniform, rounded) is fitted with the
  fourth power instead of the square, whose error is 0.65 of it for uniform noise.

Seconds throughout; ticks are whole numbers, 24 a quarter note, counted by the caller.
"""

from __future__ import annotations

from itertools import pairwise
from math import nan, sqrt
from statistics import median

from protocol.clock_grid import Quantum, first_loss, lost_before
from protocol.clock_window import (
    HARD_EDGED_TICKS,
    LEAST_NOISE_S,
    LEAST_PART,
    SURELY_SAME,
    TRUSTED,
    USUAL_NOISE_S,
    Line,
    Window,
    straight,
)

LONGEST = 192
"""Ticks in the window at most: eight beats."""

LONGEST_CURVED = 96
"""Ticks in the window at most while the tempo changes steadily."""

SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 60 / 24 / 1000, 60 / 24 / 5
"""A tick period outside 5 to 1000 BPM is no clock's but a burst of late ticks."""

_SHARPEN_TICKS = (16, 22, 28, 36)  # after a break, its place is looked for again at so many ticks
_LONG_RUN = 12  # what then still lies on no straight line is taken for one
_FIRST_LOOK = 10  # ticks among which a lost one is looked for, as no line tells yet
_ODD_RUN = 4  # so many odd ticks in a row, all early or all late, are no outliers any more


class ClockFit:
    """A window of ticks and the line through them. Not thread-safe; `line` is an immutable value."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self._ticks: list[int] = []
        self._times: list[float] = []
        self._odd = 0  # how many of the last ticks are odd, all to the same side: positive late, negative early
        self._unfitted = 0
        self._prior: tuple[float, float] | None = None  # a period known before, and its weight (sum of squares)
        self._is_first = True  # the window begins with the first tick heard, or the first after a restart
        self._rough_start = False
        self._before: Line | None = None  # the line before the break that this window begins with
        self._quantum = Quantum()
        self._hard_edged = False  # what the noise was like before a break it is like after it

    def restart(self, *, keep_tempo: bool, rough: bool = False) -> None:
        """Begin anew with the next tick: its phase owes nothing to those before. The tempo is kept as a first guess.

        `rough`: the first two ticks will be irregular, as after a start, and leave the window soon.
        """
        line = self.line
        if line is not None:
            known = keep_tempo and line.ticks >= TRUSTED
            self._prior = (line.period_s, line.ticks**3 / 12) if known else None
        self._clear(0)
        self._ticks, self._times, self._rough_start, self._is_first = [], [], rough, True

    def add(self, tick: int, at: float) -> int:
        """Take in tick number `tick`; the number of ticks by which it turned out to be counted too low (mostly 0)."""
        line = self.line
        if line is not None and self._times:
            self._quantum.heard(tick, at - self._times[-1] - line.period_s)
        self._ticks.append(tick)
        self._times.append(at)
        if line is not None and line.ticks >= TRUSTED:
            self._odd = self._run_with(at - line.time_of(tick), line.tolerance_s)
            if abs(self._odd) >= _ODD_RUN:
                return self._resolve_run(line)
        self._unfitted += 1
        count = len(self._ticks)
        if self._unfitted >= (1 if count < 24 else 2 if count < 48 else 6):
            return self._fit()
        return 0

    def _run_with(self, residual: float, tolerance: float) -> int:
        if abs(residual) <= tolerance:
            return 0
        side = 1 if residual > 0 else -1
        return self._odd + side if self._odd * side >= 0 else side

    # --- what breaks the line -----------------------------------------------------------------------------------------
    def _resolve_run(self, line: Line) -> int:
        """What a run of odd ticks means: lost ticks, a new regime, or (so far) only a burst of late ones."""
        run = abs(self._odd)
        ticks, times = self._ticks[-run:], self._times[-run:]
        residuals = [at - line.time_of(tick) for tick, at in zip(ticks, times, strict=True)]
        lost = lost_before(residuals, line)
        if lost and not (lost[-1] == 1 and self._quantum.may_be(self._times, self.line)):
            return self._renumber(len(self._ticks) - run, lost)
        period, spread = straight(ticks, times)
        straight_enough = 2.5 * max(0.4e-3, line.noise_s) if run < _LONG_RUN else 0.25 * period
        if not SHORTEST_PERIOD_S <= period <= LONGEST_PERIOD_S or spread > straight_enough:
            return 0
        doubt = 4.0 * max(spread, LEAST_NOISE_S) * sqrt(12.0 / run**3)
        same = abs(period - line.period_s) < doubt < SURELY_SAME * period
        return self._begin_anew(len(self._ticks) - run, median(residuals) if same else nan, line)

    def _break(self, start: int, window: Window, line: Line) -> int:
        """Two lines meet before tick number `start` of the window: ticks were lost there, or something new began."""
        jump = window.jump_at(start)
        late = jump / line.period_s
        may_be_grid = late < 1.5 and self._quantum.may_be(self._times, self.line)
        if late > 0.5 and abs(late - round(late)) < 0.3 and not may_be_grid:
            return self._renumber(start, [round(late)] * (len(self._ticks) - start))
        return self._begin_anew(start, jump, window.fitted_before(start))

    def _begin_anew(self, start: int, jump: float, before: Line) -> int:
        """Leave what was before; unless the phase alone jumped, which may be a grid of rounded times."""
        if self._quantum.takes(self._ticks[-1], jump):
            self._odd = 0
            return self._fit(may_break=False)
        self._clear(start)
        self._prior, self._before = None, before
        self._quantum.forgive()
        return self._fit()

    def _drop_older(self) -> None:
        """A break's place is known to a few ticks only: those that the line before it explains better go."""
        assert self._before is not None
        first, count = self._before, len(self._ticks)
        costs, cost = [], 0.0
        for start in range(min(_SHARPEN_TICKS[0], count) // 2 + 1):
            rest = straight(self._ticks[start:], self._times[start:])[1]
            costs.append(cost + rest**2 * (count - start - 2))
            cost += (self._times[start] - first.time_of(self._ticks[start])) ** 2
        self._drop(costs.index(min(costs)))

    def _renumber(self, start: int, lost: list[int]) -> int:
        """`lost`: how many ticks were lost before each one from `start` on."""
        self._ticks[start:] = [tick + missing for tick, missing in zip(self._ticks[start:], lost, strict=True)]
        self._odd, self._is_first = 0, False
        if start < TRUSTED:
            self.line = None
        self._fit(may_break=False)
        return lost[-1]

    def _clear(self, start: int) -> None:
        del self._ticks[:start], self._times[:start]
        self._odd, self._unfitted, self.line, self._before = 0, 0, None, None
        self._rough_start = self._is_first = False

    # --- the line -----------------------------------------------------------------------------------------------------
    def _fit(self, *, may_break: bool = True) -> int:
        self._unfitted = 0
        if self._is_first and len(self._ticks) == _FIRST_LOOK:
            self._is_first = False
            start = 0 if self._quantum.may_be(self._times, self.line) else first_loss(self._ticks, self._times)
            if start:
                return self._renumber(start, [1] * (_FIRST_LOOK - start))
        if self._rough_start and len(self._ticks) >= _FIRST_LOOK:
            self._drop(2)
            self._rough_start = False
        self._drop(len(self._ticks) - LONGEST)
        if self._before is not None and len(self._ticks) in _SHARPEN_TICKS:
            self._drop_older()
        if len(self._ticks) < 2:
            if self._prior:
                period, weight = self._prior
                self.line = Line(self._ticks[0], self._times[0], period, USUAL_NOISE_S / sqrt(weight))
            return 0
        base = self.line or self._first_line()
        window = self._window(base)
        if may_break and not self._odd and len(self._ticks) >= 2 * LEAST_PART and (found := window.break_at()):
            start, curved = found
            if not curved:
                return self._break(start, window, base)
            if len(self._ticks) > LONGEST_CURVED:
                self._drop(len(self._ticks) - LONGEST_CURVED)
                window = self._window(base)
            self._show(window.tangent())
            return 0
        self._show(window.fitted(self._agreeing_prior(window)))
        if len(self._ticks) >= HARD_EDGED_TICKS:
            self._hard_edged = window.hard_edged
        return 0

    def _show(self, line: Line) -> None:
        self.line = line if SHORTEST_PERIOD_S <= line.period_s <= LONGEST_PERIOD_S else None

    def _window(self, base: Line) -> Window:
        return Window(self._ticks, self._times, base, self._quantum.at(self._ticks[-1]), self._hard_edged)

    def _drop(self, count: int) -> None:
        if count > 0:
            del self._ticks[:count], self._times[:count]

    def _first_line(self) -> Line:
        period = self._prior[0] if self._prior else max(SHORTEST_PERIOD_S, self._median_gap())
        return Line(self._ticks[-1], self._times[-1], period)

    def _median_gap(self) -> float:
        return median(after - before for before, after in pairwise(self._times))

    def _agreeing_prior(self, window: Window) -> tuple[float, float] | None:
        """The tempo known before, as long as the new ticks do not speak against it."""
        if self._prior is None:
            return None
        period, weight = self._prior
        own = window.fitted(None)
        if own.ticks >= TRUSTED:
            doubt = 3.0 * sqrt(own.period_error_s**2 + own.noise_s**2 / weight)
            if own.ticks >= 48 or abs(own.period_s - period) > doubt:
                self._prior = None
        return self._prior
