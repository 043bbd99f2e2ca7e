"""A take that scores less than the task's `min_score` is made again with other seeds, and the best try is kept.

Promises: which seeds are tried depends on the task and the variation alone, never on how other takes came out: try k of
a variation has the variation's seed plus k times the number of variations (modulo 2**31), so that no two variations of
a job ever try the same one. A try is what the engine makes of that seed and track alone, so that a redo with the kept
seed is the kept take. Nothing of a try that is dropped is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from engine.api import Engine, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import Cancelled, EngineError
from protocol.job import Progress
from protocol.task import SEEDS

_REPEATS = 2


class Try(Protocol):
    """A take as it would be delivered, and how good it is."""

    @property
    def take(self) -> EngineTake: ...

    @property
    def score(self) -> float: ...


AnyTry = TypeVar("AnyTry", bound=Try)


@dataclass(frozen=True)
class Rolled(Generic[AnyTry]):
    """The best try (the first of equals), and ``{"seed", "score"}`` of all different ones in order."""

    best: AnyTry
    rolls: tuple[dict[str, Any], ...]

    @property
    def notes(self) -> dict[str, Any]:
        """What the recipe tells of it: `rolls`, if the take was made more than once."""
        return {"rolls": list(self.rolls)} if len(self.rolls) > 1 else {}


def roll_seeds(generation: GenerationRequest, seed: int) -> tuple[int, ...]:
    """The seeds that follow `seed`, one of the request's own, if its take is not good enough."""
    return tuple((seed + k * len(generation.seeds)) % SEEDS for k in range(1, generation.task.rerolls + 1))


def rolled(
    take: EngineTake,
    generation: GenerationRequest,
    engine: Engine,
    judged: Callable[[EngineTake], AnyTry],
    progress: ReportProgress,
    cancelled: IsCancelled,
) -> Rolled[AnyTry]:
    """Judge `take`, made for one of the seeds of `generation`; while it scores too little, have it made again.

    It ends with the first try that is good enough, after `task.rerolls` more, or when other seeds have twice given the
    very same audio (separation, say, knows no chance). `judged` splices and measures a take, and writes nothing.
    `progress` goes from 0 to 1 over the tries that are possible. Raises what the engine and `judged` raise, and
    `Cancelled`.
    """
    best = judged(take)
    rolls = [{"seed": take.seed, "score": best.score}]
    enough = generation.task.min_score
    if enough is None:
        return Rolled(best, tuple(rolls))
    seeds, repeats = roll_seeds(generation, take.seed), 0
    for number, seed in enumerate(seeds):
        if best.score >= enough:
            break
        again = _made_again(take, generation, engine, seed, _Share(progress, number, len(seeds)), cancelled)
        if again.start == take.start and np.array_equal(again.audio, take.audio):
            repeats += 1
            if repeats == _REPEATS:
                break
            continue
        tried = judged(again)
        rolls.append({"seed": seed, "score": tried.score})
        best = tried if tried.score > best.score else best
    return Rolled(best, tuple(rolls))


def _made_again(
    take: EngineTake,
    generation: GenerationRequest,
    engine: Engine,
    seed: int,
    progress: ReportProgress,
    cancelled: IsCancelled,
) -> EngineTake:
    if cancelled():
        raise Cancelled("The job was cancelled.")
    tracks = (take.track,) if take.track else generation.tracks
    made = engine.generate(replace(generation, seeds=(seed,), tracks=tracks), progress, cancelled)
    if len(made) != 1 or (made[0].seed, made[0].track) != (seed, take.track):
        raise EngineError(
            f"The engine returned {len(made)} takes where one of seed {seed} was asked for. Ask again, and please "
            "report it."
        )
    return made[0]


@dataclass(frozen=True)
class _Share:
    """Tells the progress of one try of `count` as a share of them all."""

    progress: ReportProgress
    number: int
    count: int

    def __call__(self, step: Progress) -> None:
        stage = f"again, {self.number + 1} of {self.count}" + (f": {step.stage}" if step.stage else "")
        done = (self.number + step.fraction) / self.count
        self.progress(step.model_copy(update={"fraction": done, "seconds_left": -1.0, "stage": stage}))
