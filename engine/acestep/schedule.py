"""When the network is asked on the way from noise to music, and how a task may set that by hand.

Time t runs from 1 (noise) to 0 (clean latents); the sigmas of a schedule are those times. Promises: the times of
`shifted` are the stock pipeline's; every schedule that exists can be run (it descends, ends at 0, has a step);
`parse_modular` accepts only what will be obeyed, and refuses the rest by name, all at once.

Solvers
-------
euler  First order, one evaluation per step: what the model was released with.
heun   Second order (the trapezoidal rule), two evaluations per step. The last step is an Euler step, because there is
       nothing to learn at t = 0 (T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models",
       2022, algorithm 1); that costs no order. N steps are 2N - 1 evaluations.
sde    Each step goes to the clean estimate and back to the next time with fresh noise. The official code returns to an
       unshifted time while telling the network the shifted one; here both are the schedule's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from protocol.errors import EngineCannot
from protocol.task_check import nearest
from protocol.task_fields import shown

SOLVERS = ("euler", "heun", "sde")
MAX_STEPS = 300

_PROBLEMS_SHOWN = 8


@dataclass(frozen=True)
class Schedule:
    """`sigmas` are the times at which steps begin, strictly descending within (0, 1], and the final 0."""

    sigmas: tuple[float, ...]
    solver: str = "euler"

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"no such solver: {self.solver}")
        if problem := _order_problem(self.sigmas) or ("it has no step" if len(self.sigmas) < 2 else None):
            raise ValueError(f"a schedule's sigmas: {problem}")
        if self.sigmas[-1] != 0:
            raise ValueError("a schedule's sigmas end with 0")

    @property
    def steps(self) -> int:
        """How many steps lead from the first sigma to 0."""
        return len(self.sigmas) - 1

    @property
    def evaluations(self) -> tuple[float, ...]:
        """The time of each evaluation of the network, in the order in which they are made."""
        starts = self.sigmas[:-1]
        if self.solver != "heun":
            return starts
        return (starts[0], *(time for later in starts[1:] for time in (later, later)))

    def evaluation_of(self, step: int) -> int:
        """The index, in `evaluations`, of the first evaluation of a step."""
        return 2 * step if self.solver == "heun" else step

    def step_of(self, evaluation: int) -> int:
        """The step that an evaluation, by its index in `evaluations`, is made in."""
        return evaluation // 2 if self.solver == "heun" else evaluation


def shifted(steps: int, shift: float) -> tuple[float, ...]:
    """The official times for that many steps, 1 first, 0 last: evenly spaced, then t' = shift t / (1 + (shift - 1) t).

    A shift above 1 spends more of the steps near the noise.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"a schedule of {steps} steps with shift {shift} cannot be made")
    # The same in whole numbers of steps left and done: 1 and 0 are exact, and unshifted 3 of 10 is the very number 0.3.
    return tuple(shift * left / (shift * left + (steps - left)) for left in range(steps, -1, -1))


def truncated(schedule: Schedule, start_t: float) -> Schedule:
    """The rest of the schedule, for a start that is only partly noise: from the sigma nearest to `start_t` on.

    Between two equally near the noisier one, as in the official code. One step is always left. Begin with
    `engine.acestep.sampler.noised` at the result's first sigma, not at `start_t`.
    """
    starts = schedule.sigmas[:-1]
    first = min(range(len(starts)), key=lambda step: abs(starts[step] - start_t))
    return Schedule(schedule.sigmas[first:], schedule.solver)


# --- advancedFeatures.modularScheduler --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Modular:
    """What a task sets by hand; None: the checkpoint's or the task's own. `sigmas` includes the final 0."""

    solver: str = "euler"
    shift: float | None = None
    sigmas: tuple[float, ...] | None = None
    apg_threshold: float | None = None
    apg_momentum: float | None = None
    apg_eta: float | None = None


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    meaning: str

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g} ({self.meaning})"


_NUMBERS = {
    "shift": ("shift", _Range(0.1, 10.0, "above 1 spends more steps near the noise")),
    "apgThreshold": ("apg_threshold", _Range(0.0, 1000.0, "the guidance's greatest norm over time; 0 is no limit")),
    "apgMomentum": ("apg_momentum", _Range(-0.99, 0.99, "how much of earlier steps' guidance is added")),
    "apgEta": ("apg_eta", _Range(0.0, 1.0, "how much guidance along the prediction is kept")),
}
MODULAR_KEYS = ("solver", "shift", "sigmas", "apgThreshold", "apgMomentum", "apgEta")

_SIGMAS = f"a list of 1 to {MAX_STEPS} numbers from 1 down, each below the one before (a final 0 is optional)"


def parse_modular(given: Mapping[str, object] | None) -> Modular:
    """A task's `advancedFeatures.modularScheduler`, any JSON. Raises `EngineCannot` naming everything that is wrong."""
    if given is None:
        return Modular()
    if not isinstance(given, Mapping):
        raise EngineCannot(f"modularScheduler is {shown(given)}. Send an object with any of {', '.join(MODULAR_KEYS)}.")
    problems = list(_problems(given))
    if problems:
        more = f" And {len(problems) - _PROBLEMS_SHOWN} more." if len(problems) > _PROBLEMS_SHOWN else ""
        raise EngineCannot(" ".join(problems[:_PROBLEMS_SHOWN]) + more)
    solver, sigmas = given.get("solver"), given.get("sigmas")
    numbers = {name: _number(given.get(key)) for key, (name, _) in _NUMBERS.items()}
    return Modular(
        solver=solver if isinstance(solver, str) else "euler",
        sigmas=_with_end(_sigmas(sigmas)) if isinstance(sigmas, list | tuple) else None,
        **numbers,
    )


def _problems(given: Mapping[str, object]) -> Iterator[str]:
    for key, value in given.items():
        if key not in MODULAR_KEYS:
            hint = _hint(key, MODULAR_KEYS)
            yield f"modularScheduler has no key {shown(key)} (sent as {shown(value)}); it takes {hint}."
        elif key == "solver" and value is not None and value not in SOLVERS:
            yield f"modularScheduler.solver is {shown(value)}; it must be one of {_hint(value, SOLVERS)}."
        elif key == "sigmas" and value is not None and (problem := _sigmas_problem(value)):
            yield f"modularScheduler.sigmas: {problem}; it must be {_SIGMAS}."
        elif key in _NUMBERS and value is not None:
            allowed = _NUMBERS[key][1]
            number = _number(value)
            if number is None or not allowed.low <= number <= allowed.high:
                yield f"modularScheduler.{key} is {shown(value)}; it must be {allowed}."
    if given.get("sigmas") is not None and given.get("shift") is not None:
        yield f"modularScheduler.shift is {shown(given['shift'])}, but sigmas sets every time; leave one of them out."


def _hint(sent: object, known: tuple[str, ...]) -> str:
    near = nearest(sent, known) if isinstance(sent, str) else None
    return ", ".join(known) + (f" (did you mean {near}?)" if near else "")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _sigmas_problem(value: object) -> str | None:
    if not isinstance(value, list | tuple):
        return f"it is {shown(value)}"
    if not 1 <= len(value) <= MAX_STEPS + 1:
        return f"it has {len(value)} entries"
    for index, entry in enumerate(value):
        number = _number(entry)
        if number is None or not 0.0 <= number <= 1.0:
            return f"entry {index + 1} is {shown(entry)}"
    sigmas = _sigmas(value)
    if sigmas[0] != 1.0:
        return f"it begins with {sigmas[0]:g}, but every job begins at 1, in noise (a cover's strength shortens that)"
    ended = _with_end(sigmas)
    return f"it has {len(sigmas)} steps" if len(ended) > MAX_STEPS + 1 else _order_problem(ended)


def _sigmas(value: list[object] | tuple[object, ...]) -> tuple[float, ...]:
    return tuple(number for entry in value if (number := _number(entry)) is not None)


def _with_end(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    return sigmas if sigmas[-1] == 0 else (*sigmas, 0.0)


def _order_problem(sigmas: tuple[float, ...]) -> str | None:
    for index, (before, after) in enumerate(pairwise(sigmas)):
        if not after < before:
            return f"entry {index + 2} ({after:g}) does not lie below the one before ({before:g})"
    if sigmas and not (sigmas[0] <= 1.0 and sigmas[-1] >= 0.0):
        return "its entries do not lie within 0 and 1"
    return None
