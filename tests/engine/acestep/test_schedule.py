"""The times of denoising: the stock pipeline's, and what a task may set by hand."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline
from hypothesis import example, given
from hypothesis import strategies as st

from engine.acestep.schedule import Modular, Schedule, parse_modular, shifted, truncated
from protocol.errors import EngineCannot
from protocol.modular_scheduler import KEYS, MAX_STEPS, SOLVERS

any_steps = st.integers(1, MAX_STEPS)
any_shift = st.floats(0.1, 10.0)


def stock_times(steps: int, shift: float) -> list[float]:
    times = AceStepPipeline._get_timestep_schedule(
        None, num_inference_steps=steps, shift=shift, device=torch.device("cpu"), dtype=torch.float32
    )
    return times.tolist()  # type: ignore[no-any-return]


# --- schedules --------------------------------------------------------------------------------------------------------
@given(any_steps, any_shift)
@example(8, 3.0)
@example(50, 1.0)
@example(300, 3.0)
def test_shifted_times_are_the_stock_pipelines(steps: int, shift: float) -> None:
    times = shifted(steps, shift)
    assert times[-1] == 0.0
    assert times[:-1] == pytest.approx(stock_times(steps, shift), abs=1e-6)


def test_the_comparison_with_the_stock_pipeline_sees_another_shift() -> None:
    assert shifted(8, 3.01)[:-1] != pytest.approx(stock_times(8, 3.0), abs=1e-6)


@given(any_steps, any_shift)
def test_whatever_the_steps_and_the_shift_it_is_a_schedule(steps: int, shift: float) -> None:
    schedule = Schedule(shifted(steps, shift))
    assert schedule.steps == steps
    assert schedule.sigmas[0] == 1.0


@given(st.integers(1, 300).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(0, steps))))
def test_unshifted_times_are_the_nearest_numbers_to_their_fractions(case: tuple[int, int]) -> None:
    steps, step = case
    assert shifted(steps, 1.0)[step] == (steps - step) / steps


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (-1, 1.0), (8, 0.0), (8, -1.0), (8, float("nan"))])
def test_no_schedule_from_nonsense(steps: int, shift: float) -> None:
    with pytest.raises(ValueError, match="schedule"):
        shifted(steps, shift)


@pytest.mark.parametrize(
    "sigmas",
    [
        (),
        (0.0,),
        (1.0,),
        (1.0, 0.5),
        (1.0, 1.0, 0.0),
        (0.5, 0.6, 0.0),
        (1.1, 0.0),
        (1.0, -0.1),
        (1.0, float("nan"), 0.0),
    ],
)
def test_a_schedule_that_could_not_be_run_cannot_be_made(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sigmas"):
        Schedule(sigmas)


def test_an_unknown_solver_makes_no_schedule() -> None:
    with pytest.raises(ValueError, match="dpm"):
        Schedule((1.0, 0.0), "dpm")


@pytest.mark.parametrize("solver", ["euler", "sde"])
def test_one_evaluation_per_step_at_its_beginning(solver: str) -> None:
    schedule = Schedule((1.0, 0.6, 0.3, 0.0), solver)
    assert schedule.evaluations == (1.0, 0.6, 0.3)
    assert [schedule.evaluation_of(step) for step in range(3)] == [0, 1, 2]


def test_heun_asks_at_both_ends_of_each_step_but_never_at_zero() -> None:
    schedule = Schedule((1.0, 0.6, 0.3, 0.0), "heun")
    assert schedule.evaluations == (1.0, 0.6, 0.6, 0.3, 0.3)
    assert [schedule.evaluation_of(step) for step in range(3)] == [0, 2, 4]
    assert [schedule.step_of(evaluation) for evaluation in range(5)] == [0, 0, 1, 1, 2]
    assert Schedule((1.0, 0.0), "heun").evaluations == (1.0,)


@given(any_steps, any_shift, st.sampled_from(SOLVERS))
def test_each_steps_first_evaluation_is_at_its_sigma(steps: int, shift: float, solver: str) -> None:
    schedule = Schedule(shifted(steps, shift), solver)
    firsts = [schedule.evaluations[schedule.evaluation_of(step)] for step in range(steps)]
    assert tuple(firsts) == schedule.sigmas[:-1]
    assert [schedule.step_of(schedule.evaluation_of(step)) for step in range(steps)] == list(range(steps))


@given(any_steps, any_shift, st.floats(0.0, 1.0), st.sampled_from(SOLVERS))
def test_a_truncated_schedule_begins_nearest_and_keeps_a_step(
    steps: int, shift: float, start_t: float, solver: str
) -> None:
    schedule = Schedule(shifted(steps, shift), solver)
    rest = truncated(schedule, start_t)
    assert rest.steps >= 1
    assert rest.solver == solver
    assert rest.sigmas == schedule.sigmas[-len(rest.sigmas) :]
    assert abs(rest.sigmas[0] - start_t) == min(abs(sigma - start_t) for sigma in schedule.sigmas[:-1])


def test_truncation_between_two_sigmas_takes_the_noisier() -> None:
    assert truncated(Schedule((1.0, 0.75, 0.5, 0.25, 0.0)), 0.625).sigmas == (0.75, 0.5, 0.25, 0.0)
    assert truncated(Schedule((1.0, 0.75, 0.5, 0.25, 0.0)), 0.624).sigmas == (0.5, 0.25, 0.0)


def test_truncation_at_the_ends() -> None:
    schedule = Schedule((1.0, 0.5, 0.0))
    assert truncated(schedule, 1.0) == schedule
    assert truncated(schedule, 0.0).sigmas == (0.5, 0.0)


# --- modularScheduler -------------------------------------------------------------------------------------------------
def test_nothing_given_is_the_default() -> None:
    assert parse_modular(None) == parse_modular({}) == Modular()
    assert parse_modular(dict.fromkeys(KEYS)) == Modular()


def test_every_key_is_obeyed() -> None:
    given_ = {"solver": "heun", "shift": 3, "apgThreshold": 4.5, "apgMomentum": -0.5, "apgEta": 0.25}
    assert parse_modular(given_) == Modular("heun", 3.0, None, 4.5, -0.5, 0.25)
    assert parse_modular({"sigmas": [1, 0.5]}).sigmas == (1.0, 0.5, 0.0)


@pytest.mark.parametrize("sigmas", [[1], [1, 0], [1.0, 0.5, 0.0], [1, 0.9, 0.1]])
def test_a_final_zero_may_be_given_or_left_out(sigmas: list[float]) -> None:
    parsed = parse_modular({"sigmas": sigmas}).sigmas
    assert parsed is not None
    assert Schedule(parsed).steps == len([sigma for sigma in sigmas if sigma > 0])


def test_as_many_sigmas_as_there_may_be_steps() -> None:
    most = list(shifted(MAX_STEPS, 1.0))
    assert parse_modular({"sigmas": most}).sigmas == parse_modular({"sigmas": most[:-1]}).sigmas == tuple(most)
    with pytest.raises(EngineCannot, match=r"sigmas: it has 301 steps"):
        parse_modular({"sigmas": list(shifted(MAX_STEPS + 1, 1.0))[:-1]})
    with pytest.raises(EngineCannot, match=r"sigmas: it has 302 entries"):
        parse_modular({"sigmas": list(shifted(MAX_STEPS + 1, 1.0))})


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"solvr": "heun"}, ['"solvr"', '"heun"', "did you mean solver", *KEYS]),
        ({"apg_threshold": 2}, ["apg_threshold", "did you mean apgThreshold"]),
        ({"banana": 1}, ["banana", *KEYS]),
        ({"solver": "huen"}, ["solver", '"huen"', "did you mean heun", *SOLVERS]),
        ({"solver": 3}, ["solver is 3", *SOLVERS]),
        ({"shift": 0}, ["shift is 0", "0.1 to 10"]),
        ({"shift": True}, ["shift is true", "0.1 to 10"]),
        ({"shift": "3"}, ['shift is "3"', "0.1 to 10"]),
        ({"apgThreshold": -1}, ["apgThreshold is -1", "0 to 1000"]),
        ({"apgMomentum": -1}, ["apgMomentum is -1", "-0.99 to 0.99"]),
        ({"apgEta": 1.5}, ["apgEta is 1.5", "0 to 1"]),
        ({"apgEta": 10**400}, ["apgEta", "0 to 1"]),
        ({"apgEta": float("nan")}, ["apgEta is nan", "0 to 1"]),
        ({"sigmas": []}, ["sigmas", "0 entries", "1 to 300"]),
        ({"sigmas": 1}, ["sigmas", "it is 1", "a list"]),
        ({"sigmas": {"0": 1}}, ["sigmas", "an object", "a list"]),
        ({"sigmas": [1, "a"]}, ["sigmas", 'entry 2 is "a"']),
        ({"sigmas": [1, 0.5, 0.5]}, ["sigmas", "entry 3 (0.5)"]),
        ({"sigmas": [1, -0.5]}, ["sigmas", "entry 2 is -0.5", "from 1 down"]),
        ({"sigmas": [1, 0, 0]}, ["sigmas", "entry 3 (0)"]),
        ({"sigmas": [0.8, 0.5]}, ["sigmas", "begins with 0.8", "begins at 1", "strength"]),
        ({"sigmas": [1, 0.5], "shift": 3}, ["shift is 3", "sigmas", "leave one"]),
        ([1, 2], ["a list", "an object", *KEYS]),
    ],
)
def test_a_refusal_names_the_key_the_value_and_what_is_allowed(given_: Any, words: list[str]) -> None:
    with pytest.raises(EngineCannot) as refusal:
        parse_modular(given_)
    for word in words:
        assert word in refusal.value.sentence


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(EngineCannot) as refusal:
        parse_modular({"solver": "x", "shift": 0, "sigmas": [2], "apgEta": 7, "colour": "red"})
    for word in ("solver", "shift", "sigmas", "apgEta", "colour"):
        assert word in refusal.value.sentence


def test_a_flood_of_mistakes_is_answered_shortly() -> None:
    with pytest.raises(EngineCannot) as refusal:
        parse_modular({f"{'x' * 5000}{number}": "y" * 5000 for number in range(500)})
    assert len(refusal.value.sentence) < 3000
    assert "492 more" in refusal.value.sentence


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(SOLVERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
unit = st.floats(0.0, 1.0)
likely = st.fixed_dictionaries(
    {},
    optional={
        "solver": st.sampled_from(SOLVERS) | json_values,
        "shift": any_shift | json_values,
        "sigmas": st.lists(unit, max_size=6).map(lambda rest: [1.0, *sorted(set(rest), reverse=True)]) | json_values,
        "apgThreshold": st.floats(0, 1000) | json_values,
        "apgMomentum": st.floats(-0.99, 0.99) | json_values,
        "apgEta": unit | json_values,
    },
)


@given(likely | json_values)
def test_any_json_is_either_refused_or_a_schedule_that_can_be_run(given_: Any) -> None:
    modular = Modular()
    with contextlib.suppress(EngineCannot):  # and nothing else
        modular = parse_modular(given_)
    sigmas = modular.sigmas or shifted(8, 3.0 if modular.shift is None else modular.shift)
    assert Schedule(sigmas, modular.solver).sigmas[0] == 1.0
    assert all(later < earlier for earlier, later in pairwise(sigmas))
