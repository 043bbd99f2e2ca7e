"""``advancedFeatures.modularScheduler``: how a task sets the diffusion by hand, and all that can be wrong with it.

One set of rules for both who judge it: the HTTP door when a task comes, the engine when a job begins. Only what will be
obeyed is accepted. A key that is null is as one that is not there: the checkpoint's or the task's own holds.

====================  ===============================================================================================
solver                how a step is made; `engine.acestep.schedule` tells what each does
shift                 warps the times of the steps: t' = shift t / (1 + (shift - 1) t)
sigmas                every time itself, from 1 (noise) down; a final 0 (clean) may be left out
apgThreshold,         adaptive projected guidance: the greatest norm, how much of earlier steps' guidance is added, and
apgMomentum, apgEta   how much along the prediction is kept
====================  ===============================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from protocol.names import nearest
from protocol.task_fields import Door, Mistake, Refused, Rule, shown

SOLVERS = ("euler", "heun", "sde")
MAX_STEPS = 300

_MOST_NAMED = 20  # mistakes that are named one by one


@dataclass(frozen=True)
class Span:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    meaning: str

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g} ({self.meaning})"


NUMBERS: Mapping[str, Span] = MappingProxyType(
    {
        "shift": Span(0.1, 10.0, "above 1 spends more steps near the noise"),
        "apgThreshold": Span(0.0, 1000.0, "the guidance's greatest norm over time; 0 is no limit"),
        "apgMomentum": Span(-0.99, 0.99, "how much of earlier steps' guidance is added"),
        "apgEta": Span(0.0, 1.0, "how much guidance along the prediction is kept"),
    }
)
KEYS = ("solver", "shift", "sigmas", "apgThreshold", "apgMomentum", "apgEta")

_SIGMAS = f"a list of 1 to {MAX_STEPS} numbers from 1 down, each below the one before (a final 0 is optional)"


@dataclass(frozen=True)
class ModularScheduler(Rule):
    """The object as a field's rule; what is wrong with its keys is said of each."""

    kind = "object"

    @property
    def allowed(self) -> str:
        return f"an object with any of {', '.join(KEYS)}"

    def check(self, value: object, _door: Door, /) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Refused("type")
        found = tuple(mistakes(value))
        if len(found) > _MOST_NAMED:
            more = f"has {len(found) - _MOST_NAMED} more mistakes; it must be {self.allowed}."
            found = (*found[:_MOST_NAMED], Mistake("", None, self.allowed, more, "unknown"))
        if found:
            raise Refused("format", mistakes=found)
        return dict(value)

    def json_schema(self) -> dict[str, Any]:
        unit = {"type": "number", "minimum": 0, "maximum": 1}
        sigmas = {"minItems": 1, "maxItems": MAX_STEPS + 1, "prefixItems": [{"const": 1}], "items": unit}
        return {
            "type": "object",
            "properties": {
                "solver": {"type": ["string", "null"], "enum": [*SOLVERS, None]},
                "sigmas": {"type": ["array", "null"], **sigmas, "description": _SIGMAS},
                **{key: _number_schema(span) for key, span in NUMBERS.items()},
            },
            "additionalProperties": False,
            "not": {
                "required": ["sigmas", "shift"],
                "properties": {"sigmas": {"type": "array"}, "shift": {"type": "number"}},
            },
        }


def _number_schema(span: Span) -> dict[str, Any]:
    return {"type": ["number", "null"], "minimum": span.low, "maximum": span.high, "description": span.meaning}


def mistakes(given: Mapping[Any, object]) -> Iterator[Mistake]:
    """Everything that is wrong with a scheduler, key by key; nothing if it can be obeyed."""
    for key, value in given.items():
        if key not in KEYS:
            near = _hint(key, KEYS)
            message = f"{shown(key)} (sent as {shown(value)}) is no key of it; it takes {near}."
            yield Mistake(key if isinstance(key, str) else shown(key), value, near, message, "unknown")
        elif value is not None:
            yield from _mistakes_of(key, value)
    if given.get("sigmas") is not None and (shift := given.get("shift")) is not None:
        message = f"shift is {shown(shift)}, but sigmas sets every time; leave one of them out."
        yield Mistake("shift", shift, "only without sigmas", message, "conflict")


def _mistakes_of(key: str, value: object) -> Iterator[Mistake]:
    if key == "solver" and value not in SOLVERS:
        allowed = f"one of {_hint(value, SOLVERS)}"
        yield Mistake(key, value, allowed, f"{key} is {shown(value)}; it must be {allowed}.", "choice")
    elif key == "sigmas" and (problem := _sigmas_problem(value)):
        yield Mistake(key, value, _SIGMAS, f"{key}: {problem}; it must be {_SIGMAS}.", "format")
    elif key in NUMBERS:
        span, number = NUMBERS[key], finite(value)
        if number is None or not span.low <= number <= span.high:
            code = "type" if number is None else "range"
            yield Mistake(key, value, str(span), f"{key} is {shown(value)}; it must be {span}.", code)


def _hint(sent: object, known: tuple[str, ...]) -> str:
    near = nearest(sent, known) if isinstance(sent, str) else None
    return ", ".join(known) + (f" (did you mean {near}?)" if near else "")


def finite(value: object) -> float | None:
    """A number that a double can hold; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def with_end(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """The sigmas with their final 0."""
    return sigmas if sigmas[-1] == 0 else (*sigmas, 0.0)


def numbers_of(values: list[object] | tuple[object, ...]) -> tuple[float, ...]:
    """The finite numbers among the values."""
    return tuple(number for value in values if (number := finite(value)) is not None)


def order_problem(sigmas: tuple[float, ...]) -> str | None:
    """Why these cannot be the times of a schedule, which descend within 1 and 0; None if they can."""
    for index, (before, after) in enumerate(pairwise(sigmas)):
        if not after < before:
            return f"entry {index + 2} ({after:g}) does not lie below the one before ({before:g})"
    if sigmas and not (sigmas[0] <= 1.0 and sigmas[-1] >= 0.0):
        return "its entries do not lie within 0 and 1"
    return None


def _sigmas_problem(value: object) -> str | None:
    if not isinstance(value, list | tuple):
        return f"it is {shown(value)}"
    if not 1 <= len(value) <= MAX_STEPS + 1:
        return f"it has {len(value)} entries"
    for index, entry in enumerate(value):
        number = finite(entry)
        if number is None or not 0.0 <= number <= 1.0:
            return f"entry {index + 1} is {shown(entry)}"
    sigmas = numbers_of(value)
    if sigmas[0] != 1.0:
        return f"it begins with {sigmas[0]:g}, but every job begins at 1, in noise (a cover's strength shortens that)"
    ended = with_end(sigmas)
    return f"it has {len(sigmas)} steps" if len(ended) > MAX_STEPS + 1 else order_problem(ended)
