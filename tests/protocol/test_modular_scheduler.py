"""The scheduler's rules: one set for the HTTP door, which judges key by key, and for the engine, which obeys."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.schedule import parse_modular
from protocol.errors import EngineCannot
from protocol.modular_scheduler import KEYS, MAX_STEPS, NUMBERS, SOLVERS, ModularScheduler, mistakes
from protocol.task import Door, validate_task
from tests.support.tasks import problems, request

FIELD = "advancedFeatures.modularScheduler"
SCHEMA = jsonschema_rs.Draft202012Validator(ModularScheduler().json_schema())


def asked(scheduler: object) -> dict[str, Any]:
    return request(advancedFeatures__modularScheduler=scheduler)


def test_every_mistake_is_a_problem_of_its_own_key() -> None:
    found = problems(asked({"solver": "huen", "sigmas": [1, 2], "apgMomentum": 7, "apgEta": "x", "colour": 1}))
    assert {problem.field: problem.code for problem in found} == {
        f"{FIELD}.solver": "choice",
        f"{FIELD}.sigmas": "format",
        f"{FIELD}.apgMomentum": "range",
        f"{FIELD}.apgEta": "type",
        f"{FIELD}.colour": "unknown",
    }
    for problem in found:
        assert problem.message.startswith(FIELD)
        assert problem.allowed in problem.message


def test_sigmas_and_shift_exclude_each_other() -> None:
    (problem,) = problems(asked({"sigmas": [1, 0.5], "shift": 3}))
    assert (problem.field, problem.code) == (f"{FIELD}.shift", "conflict")


def test_mistakes_stand_among_the_others_in_the_specifications_order() -> None:
    data = asked({"shift": 99}) | {"steps": 0, "settings": {"bpm": 1}}
    assert [problem.field for problem in problems(data)] == ["steps", "settings.bpm", f"{FIELD}.shift"]


def test_a_flood_of_keys_is_answered_shortly() -> None:
    found = problems(asked({f"key{number}": 1 for number in range(500)}))
    assert len(found) == 21
    assert "480 more mistakes" in found[-1].message
    assert found[-1].field == FIELD


@pytest.mark.parametrize("scheduler", [{}, dict.fromkeys(KEYS), {"solver": "sde", "sigmas": [1, 0.4, 0]}])
def test_what_is_accepted_reaches_the_task_as_it_was_sent(scheduler: dict[str, Any]) -> None:
    assert validate_task(asked(scheduler), Door.HTTP).advanced_features.modular_scheduler == scheduler


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-2000, 2000) | st.sampled_from(SOLVERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
sigmas = st.lists(st.floats(0, 1) | st.just(1), max_size=5).map(lambda rest: sorted([*rest, 1], reverse=True))
schedulers = st.dictionaries(
    st.sampled_from([*KEYS, *KEYS, "sampler"]), anything | sigmas | st.floats(0, 1), max_size=4
) | st.fixed_dictionaries({}, optional={key: st.floats(span.low, span.high) for key, span in NUMBERS.items()})


def descends(value: object) -> bool:
    """What the schema has no word for; anything that is no list of numbers is the schema's own business."""
    try:
        return not list(mistakes({"sigmas": value}))
    except TypeError:
        return True


@given(schedulers)
def test_door_engine_and_schema_agree_on_every_scheduler(scheduler: dict[str, Any]) -> None:
    is_right = not list(mistakes(scheduler))
    try:
        parse_modular(scheduler)
    except EngineCannot:
        assert not is_right
    else:
        assert is_right
    if is_right:
        assert SCHEMA.is_valid(scheduler)
    elif scheduler.get("sigmas") is None or descends(scheduler["sigmas"]):
        assert not SCHEMA.is_valid(scheduler)


@pytest.mark.parametrize("value", [[], [0.5], [1, 1.5], [1, "a"], [1] * (MAX_STEPS + 2), "x", {}])
def test_sigmas_that_are_no_sigmas_pass_neither(value: object) -> None:
    assert list(mistakes({"sigmas": value}))
    assert not SCHEMA.is_valid({"sigmas": value})
