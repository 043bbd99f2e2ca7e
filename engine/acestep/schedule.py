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

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.errors import EngineCannot
from protocol.modular_scheduler import KEYS, SOLVERS, finite, mistakes, numbers_of, order_problem, with_end
from protocol.task_fields import shown

_PROBLEMS_SHOWN = 8


@dataclass(frozen=True)
class Schedule:
    """`sigmas` are the times at which steps begin, strictly descending within (0, 1], and the final 0."""

    sigmas: tuple[float, ...]
    solver: str = "euler"

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"no such solver: {self.solver}")
        if problem := order_problem(self.sigmas) or ("it has no step" if len(self.sigmas) < 2 else None):
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


_FIELDS = {"shift": "shift", "apgThreshold": "apg_threshold", "apgMomentum": "apg_momentum", "apgEta": "apg_eta"}


def parse_modular(given: Mapping[str, object] | None) -> Modular:
    """A task's `advancedFeatures.modularScheduler`, any JSON. Raises `EngineCannot` naming everything that is wrong."""
    if given is None:
        return Modular()
    if not isinstance(given, Mapping):
        raise EngineCannot(f"modularScheduler is {shown(given)}. Send an object with any of {', '.join(KEYS)}.")
    problems = [f"modularScheduler.{mistake.message}" for mistake in mistakes(given)]
    if problems:
        more = f" And {len(problems) - _PROBLEMS_SHOWN} more." if len(problems) > _PROBLEMS_SHOWN else ""
        raise EngineCannot(" ".join(problems[:_PROBLEMS_SHOWN]) + more)
    solver, sigmas = given.get("solver"), given.get("sigmas")
    return Modular(
        solver=solver if isinstance(solver, str) else "euler",
        sigmas=with_end(numbers_of(sigmas)) if isinstance(sigmas, list | tuple) else None,
        **{field: finite(given.get(key)) for key, field in _FIELDS.items()},
    )
