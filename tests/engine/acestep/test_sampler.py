"""The procedure of denoising against the stock loop and against known equations, and its promises between the steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from engine.acestep.guidance import Guidance
from engine.acestep.sampler import (
    Eta,
    Evaluate,
    SamplerState,
    blend,
    crossfade_weights,
    inject,
    noise,
    noised,
    sample,
)
from engine.acestep.schedule import Schedule, shifted
from protocol.errors import Cancelled
from protocol.modular_scheduler import SOLVERS
from protocol.task import GuidanceType

DIM = 8
OFF = Guidance()
APG = Guidance(GuidanceType.APG, scale=7.0)
CFG = Guidance(GuidanceType.CFG, scale=3.0)


def toy(x: Tensor, t: float, shift: float = 0.0) -> Tensor:
    """A velocity that depends on everything: neighbours, channels and time."""
    return x.roll(1, 1).sin() * (1.5 - t) + 0.3 * x.flip(2) + shift * (1 + t)


class Toy:
    """The toy as a network, remembering what it was asked."""

    def __init__(self, schedule: Schedule) -> None:
        self.times = schedule.evaluations
        self.asked: list[tuple[int, bool]] = []

    def __call__(self, x: Tensor, index: int, guided: bool) -> tuple[Tensor, Tensor | None]:
        assert x.dtype == torch.float32
        self.asked.append((index, guided))
        time = self.times[index]
        return toy(x, time), toy(x, time, 0.5) if guided else None


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


# --- Euler: the stock loop --------------------------------------------------------------------------------------------
def stock_scheduler(steps: int, shift: float) -> FlowMatchEulerDiscreteScheduler:
    times = AceStepPipeline._get_timestep_schedule(None, steps, shift, torch.device("cpu"), torch.float32)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    scheduler.set_timesteps(sigmas=times.tolist(), device="cpu")
    return scheduler


def stock_loop(x: Tensor, steps: int, shift: float, scale: float, is_on: Callable[[float], bool]) -> Tensor:
    """The stock pipeline's denoising, with its own classes and the toy for a network."""
    scheduler, buffer = stock_scheduler(steps, shift), MomentumBuffer(-0.75)
    for scheduled in scheduler.timesteps:
        time = float(scheduled)
        velocity = toy(x, time)
        if scale > 1 and is_on(time):
            velocity = normalized_guidance(
                pred_cond=velocity,
                pred_uncond=toy(x, time, 0.5),
                guidance_scale=scale - 1.0,
                momentum_buffer=buffer,
                eta=0.0,
                norm_threshold=2.5,
                use_original_formulation=True,
                norm_dim=(1,),
            )
        x = scheduler.step(velocity, scheduled, x, return_dict=False)[0]
    return x


@given(st.integers(1, 60), st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 1000))
def test_euler_is_the_stock_scheduler(steps: int, shift: float, seed: int) -> None:
    start = noise(seed, 20, DIM)
    schedule = Schedule(shifted(steps, shift))
    ours = sample(start, schedule, OFF, Toy(schedule))
    assert relative(ours, stock_loop(start, steps, shift, 1.0, lambda _: True)) < 1e-6


@given(st.sampled_from([1, 2, 8, 30]), st.sampled_from([1.0, 3.0]), st.sampled_from([1.5, 7.0]), st.integers(0, 1000))
@example(50, 1.0, 7.0, 0)
def test_a_guided_run_is_the_stock_loop(steps: int, shift: float, scale: float, seed: int) -> None:
    start = torch.cat([noise(seed, 20, DIM), noise(seed + 1, 20, DIM)])
    schedule = Schedule(shifted(steps, shift))
    guidance = Guidance(GuidanceType.APG, scale, 0.303, 0.903)  # no sigma lies on a bound, which each side may round
    ours = sample(start, schedule, guidance, Toy(schedule))
    theirs = stock_loop(start, steps, shift, scale, lambda time: 0.303 <= time <= 0.903)
    assert relative(ours, theirs) < 5e-6


def test_the_comparison_with_the_stock_loop_sees_the_reversed_interval() -> None:
    start, schedule = noise(0, 20, DIM), Schedule(shifted(30, 3.0))
    ours = sample(start, schedule, Guidance(GuidanceType.APG, 7.0, 0.303, 0.903), Toy(schedule))
    theirs = stock_loop(start, 30, 3.0, 7.0, lambda time: 0.303 <= 1 - time <= 0.903)
    assert relative(ours, theirs) > 1e-3


def test_the_network_is_asked_for_both_branches_only_inside_the_interval() -> None:
    schedule = Schedule((1.0, 0.75, 0.5, 0.25, 0.0))
    network = Toy(schedule)
    sample(noise(0, 4, DIM), schedule, Guidance(GuidanceType.APG, 7.0, 0.3, 0.8), network)
    assert network.asked == [(0, False), (1, True), (2, True), (3, False)]


def test_a_network_in_half_precision_leaves_the_state_in_float32() -> None:
    schedule = Schedule(shifted(4, 1.0))

    def half(x: Tensor, index: int, guided: bool) -> tuple[Tensor, Tensor | None]:
        return x.to(torch.bfloat16), x.to(torch.bfloat16) * 0.5 if guided else None

    result = sample(noise(0, 4, DIM).to(torch.bfloat16), schedule, APG, half)
    assert result.dtype == torch.float32


# --- the orders of the solvers ----------------------------------------------------------------------------------------
def known_equation(schedule: Schedule) -> Evaluate:
    """dx/dt = 2 x cos 3t, whose solution is x(0) = x(1) exp(-2/3 sin 3)."""
    times = schedule.evaluations
    return lambda x, index, guided: (2.0 * x * math.cos(3.0 * times[index]), None)


def error_of(solver: str, steps: int, shift: float) -> float:
    start = torch.ones(1, 2, 2)
    schedule = Schedule(shifted(steps, shift), solver)
    end = sample(start, schedule, OFF, known_equation(schedule))
    return float((end - start * math.exp(-2.0 / 3.0 * math.sin(3.0))).abs().max())


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(("solver", "gain"), [("euler", 2.0), ("heun", 4.0)])
def test_twice_the_steps_divide_the_error_by_the_solvers_order(solver: str, gain: float, shift: float) -> None:
    errors = [error_of(solver, steps, shift) for steps in (80, 160, 320)]
    assert errors[0] / errors[1] == pytest.approx(gain, rel=0.06)
    assert errors[1] / errors[2] == pytest.approx(gain, rel=0.03)


def test_heun_asks_in_the_schedules_order_and_updates_the_momentum_once_per_step() -> None:
    schedule = Schedule((1.0, 0.6, 0.3, 0.0), "heun")
    network = Toy(schedule)
    states: list[SamplerState] = []
    start = noise(0, 20, DIM)

    def stop_after_two(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        sample(start, schedule, APG, network, on_step=stop_after_two, checkpoint=states.append)
    assert [index for index, _ in network.asked] == [0, 1, 2, 3]
    # The difference of the toy's branches is -0.5 (1 + t), whatever x is; so the average tells what was added to it.
    average = torch.full_like(start, -0.5 * 1.6 - 0.75 * -0.5 * 2.0)
    assert states[0].momentum is not None
    assert torch.allclose(states[0].momentum, average, atol=1e-6)


def test_guided_heun_is_the_trapezoidal_rule_over_what_euler_would_see() -> None:
    """Held only if the corrector meets the momentum that the next step's own evaluation will meet."""
    branches = noise(8, 20, DIM), noise(9, 20, DIM)

    def blind(schedule: Schedule) -> Evaluate:
        times = schedule.evaluations
        return lambda x, index, guided: (branches[0] * times[index], branches[1] * times[index] ** 2)

    sigmas, start = shifted(6, 1.0), noise(0, 20, DIM)
    euler, heun = Schedule(sigmas), Schedule(sigmas, "heun")
    trail = [start]

    def keep(x: Tensor, step: int, t_next: float) -> Tensor:
        trail.append(x)
        return x

    sample(start, euler, APG, blind(euler), after_step=keep)
    seen = [after - before for before, after in pairwise(trail)]
    means = [(first + second) / 2 for first, second in pairwise(seen)] + [seen[-1]]
    expected = start + torch.stack(means).sum(0)
    assert relative(sample(start, heun, APG, blind(heun)), expected) < 1e-5


def test_heuns_network_may_answer_into_the_same_memory_each_time() -> None:
    schedule = Schedule(shifted(5, 1.0), "heun")
    start, network = noise(0, 20, DIM), Toy(schedule)
    memory = torch.empty_like(start)

    def reusing(x: Tensor, index: int, guided: bool) -> tuple[Tensor, None]:
        return memory.copy_(network(x, index, guided)[0]), None

    assert torch.equal(sample(start, schedule, OFF, reusing), sample(start, schedule, OFF, network))


# --- SDE --------------------------------------------------------------------------------------------------------------
def test_sde_goes_to_the_clean_estimate_and_back_with_fresh_noise() -> None:
    schedule = Schedule((1.0, 0.7, 0.2, 0.0), "sde")
    asked: list[int] = []

    def fresh(step: int) -> Tensor:
        asked.append(step)
        return noise(5, 20, DIM, draw=step + 1)

    ours = sample(noise(5, 20, DIM), schedule, OFF, Toy(schedule), noise_at=fresh)
    x = noise(5, 20, DIM)
    for step, (now, then) in enumerate([(1.0, 0.7), (0.7, 0.2), (0.2, 0.0)]):
        clean = x - now * toy(x, now)
        x = then * noise(5, 20, DIM, draw=step + 1) + (1 - then) * clean if then else clean
    assert torch.equal(ours, x)
    assert asked == [0, 1]


def test_sde_with_a_perfect_network_ends_at_its_source_whatever_the_noise() -> None:
    schedule = Schedule(shifted(10, 3.0), "sde")
    source = noise(99, 20, DIM)

    def perfect(x: Tensor, index: int, guided: bool) -> tuple[Tensor, None]:
        return (x - source) / schedule.evaluations[index], None

    end = sample(noise(1, 20, DIM), schedule, OFF, perfect, noise_at=lambda step: noise(2, 20, DIM, draw=step))
    assert torch.allclose(end, source, atol=1e-5)


def test_sde_without_noise_is_a_programming_error() -> None:
    schedule = Schedule((1.0, 0.0), "sde")
    with pytest.raises(ValueError, match="noise_at"):
        sample(noise(0, 4, DIM), schedule, OFF, Toy(schedule))


# --- cancel and resume ------------------------------------------------------------------------------------------------
def run(schedule: Schedule, guidance: Guidance, **more: Any) -> Tensor:
    """A job with everything in it: two items, injection, fresh noise per step."""
    start = torch.cat([noise(3, 20, DIM), noise(4, 20, DIM)])
    source = noise(7, 20, DIM)
    outside = 1 - crossfade_weights(20, [(6, 14)], 0)
    return sample(
        start,
        schedule,
        guidance,
        Toy(schedule),
        after_step=inject(start, source, outside, schedule.steps // 2),
        noise_at=lambda step: torch.cat([noise(seed, 20, DIM, draw=step + 1) for seed in (3, 4)]),
        **more,
    )


def cancel_at(step: int) -> Callable[[int, int], None]:
    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Cancelled("the job was cancelled")

    return on_step


@given(
    st.sampled_from(SOLVERS),
    st.sampled_from([APG, CFG, OFF, Guidance(GuidanceType.APG, 7.0, 0.2, 0.7)]),
    st.integers(1, 9).flatmap(lambda steps: st.tuples(st.just(steps), st.lists(st.integers(0, steps), max_size=3))),
    st.sampled_from([1.0, 3.0]),
)
def test_a_run_cancelled_anywhere_and_resumed_is_the_uninterrupted_one_bit_for_bit(
    solver: str, guidance: Guidance, cancels: tuple[int, list[int]], shift: float
) -> None:
    steps, stops = cancels
    schedule = Schedule(shifted(steps, shift), solver)
    whole = run(schedule, guidance)
    state: SamplerState | None = None
    for stop in sorted(stops):
        kept: list[SamplerState] = []
        with pytest.raises(Cancelled):
            run(schedule, guidance, state=state, on_step=cancel_at(stop), checkpoint=kept.append)
        state = SamplerState.from_bytes(kept[0].to_bytes())
        assert (len(kept), state.step) == (1, stop)
    assert torch.equal(run(schedule, guidance, state=state), whole)


def test_without_the_momentum_a_resumed_run_would_differ() -> None:
    schedule = Schedule(shifted(8, 1.0))
    kept: list[SamplerState] = []
    with pytest.raises(Cancelled):
        run(schedule, APG, on_step=cancel_at(4), checkpoint=kept.append)
    forgetful = SamplerState(kept[0].step, kept[0].x)
    assert not torch.equal(run(schedule, APG, state=forgetful), run(schedule, APG))


def test_cancelled_inside_a_step_leaves_the_state_after_the_last_whole_one() -> None:
    schedule = Schedule(shifted(6, 1.0), "heun")
    network, kept, start = Toy(schedule), list[SamplerState](), noise(0, 20, DIM)

    def interrupted(x: Tensor, index: int, guided: bool) -> tuple[Tensor, Tensor | None]:
        if index == 5:  # the corrector of the third step
            raise Cancelled("the job was cancelled")
        return network(x, index, guided)

    with pytest.raises(Cancelled):
        sample(start, schedule, APG, interrupted, checkpoint=kept.append)
    assert kept[0].step == 2
    resumed = sample(start, schedule, APG, network, state=kept[0])
    assert torch.equal(resumed, sample(start, schedule, APG, network))


def test_progress_is_told_before_the_first_and_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    schedule = Schedule(shifted(3, 1.0))
    run(schedule, OFF, on_step=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told.clear()
    state = SamplerState(2, noise(0, 20, DIM).repeat(2, 1, 1))
    run(schedule, OFF, state=state, on_step=lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]


def test_an_error_that_is_no_cancellation_leaves_no_state() -> None:
    schedule, kept = Schedule(shifted(3, 1.0)), list[SamplerState]()

    def broken(x: Tensor, index: int, guided: bool) -> tuple[Tensor, Tensor | None]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="memory"):
        sample(noise(0, 4, DIM), schedule, OFF, broken, checkpoint=kept.append)
    assert kept == []


@pytest.mark.parametrize("state", [SamplerState(1, torch.zeros(1, 5, DIM)), SamplerState(9, torch.zeros(1, 4, DIM))])
def test_a_state_of_another_job_is_refused(state: SamplerState) -> None:
    schedule = Schedule(shifted(3, 1.0))
    with pytest.raises(ValueError, match="another job"):
        sample(noise(0, 4, DIM), schedule, OFF, Toy(schedule), state=state)


@pytest.mark.parametrize("momentum", [None, torch.full((1, 3, 2), 0.5)])
def test_a_state_survives_its_bytes(momentum: Tensor | None) -> None:
    state = SamplerState(3, torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0)), momentum)
    back = SamplerState.from_bytes(state.to_bytes())
    assert back.step == 3
    assert torch.equal(back.x, state.x)
    assert (back.momentum is None) == (momentum is None)
    assert momentum is None or back.momentum is None or torch.equal(back.momentum, momentum)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not the state"):
        SamplerState.from_bytes(data)


@pytest.mark.parametrize(
    "state",
    [
        SamplerState(1, torch.zeros(1, 3, 2, dtype=torch.float64)),
        SamplerState(1, torch.zeros(1, 3, 2), torch.zeros(1, 4, 2)),
        SamplerState(1, torch.zeros(1, 3, 2), torch.zeros(1, 3, 2, dtype=torch.bfloat16)),
        SamplerState(-1, torch.zeros(1, 3, 2)),
    ],
)
def test_a_state_whose_parts_do_not_fit_is_none(state: SamplerState) -> None:
    with pytest.raises(ValueError, match="fit together"):
        SamplerState.from_bytes(state.to_bytes())


# --- injection and blend ----------------------------------------------------------------------------------------------
regions_of_30 = st.lists(
    st.tuples(st.integers(0, 29), st.integers(1, 30)).filter(lambda region: region[0] < region[1]), max_size=3
)


@given(regions_of_30, st.integers(0, 6), st.sampled_from(SOLVERS))
def test_injection_sets_the_outside_to_the_noised_source_for_the_first_steps(
    regions: list[tuple[int, int]], injected: int, solver: str
) -> None:
    schedule = Schedule(shifted(6, 3.0), solver)
    source, start = noise(7, 30, DIM), torch.cat([noise(1, 30, DIM), noise(2, 30, DIM)])
    inside = crossfade_weights(30, regions, 0)
    injecting = inject(start, source, 1 - inside, injected)
    checked: list[int] = []

    def checking(x: Tensor, step: int, t_next: float) -> Tensor:
        after = injecting(x, step, t_next)
        held = (inside == 0).expand_as(x) if step < injected else torch.zeros_like(x, dtype=torch.bool)
        assert torch.equal(after[held], (t_next * start + (1 - t_next) * source)[held])
        assert torch.equal(after[~held], x[~held])
        checked.append(step)
        return after

    fresh = partial(noise, 1, 30, DIM)
    end = sample(
        start,
        schedule,
        OFF,
        Toy(schedule),
        after_step=checking,
        noise_at=lambda step: fresh(draw=step + 1).expand_as(start),
    )
    assert checked == list(range(6))
    outside = (inside == 0).expand_as(end)
    if injected == 6:
        assert torch.equal(end[outside], source.expand_as(end)[outside])
    elif outside.any():
        assert not torch.equal(end[outside], source.expand_as(end)[outside])


def test_a_source_is_noised_by_the_time() -> None:
    first, source = noise(1, 5, DIM), noise(2, 5, DIM)
    assert torch.equal(noised(first, source, 1.0), first)
    assert torch.equal(noised(first, source, 0.0), source)
    assert torch.allclose(noised(first, source, 0.25), 0.25 * first + 0.75 * source)


@given(regions_of_30, st.integers(0, 40))
def test_weights_are_one_in_the_regions_and_fall_linearly_outside(regions: list[tuple[int, int]], fade: int) -> None:
    weights = crossfade_weights(30, regions, fade)
    assert weights.shape == (1, 30, 1)
    for frame, weight in enumerate(weights.flatten().tolist()):
        gaps = [max(first - frame, frame - (after - 1), 0) for first, after in regions]
        distance = min(gaps, default=fade + 1)
        assert weight == pytest.approx(max(0.0, 1 - distance / (fade + 1)), abs=1e-6)
        assert (weight == 1.0) == (distance == 0)
        assert (weight == 0.0) == (distance > fade)


def test_between_two_regions_the_greater_ramp_counts() -> None:
    weights = crossfade_weights(12, [(2, 4), (7, 9)], 3).flatten()
    assert weights.tolist() == [0.5, 0.75, 1, 1, 0.75, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]


@given(regions_of_30, st.integers(0, 10))
def test_a_blend_is_exact_in_the_regions_and_far_from_them(regions: list[tuple[int, int]], fade: int) -> None:
    weights = crossfade_weights(30, regions, fade)
    x, source = torch.cat([noise(1, 30, DIM), noise(2, 30, DIM)]), 100 * noise(3, 30, DIM)
    result = blend(x, source, weights)
    for weight, whose in ((1.0, x), (0.0, source.expand_as(x))):
        there = (weights == weight).expand_as(x)
        assert torch.equal(result[there], whose[there])
    assert torch.allclose(result, weights * x + (1 - weights) * source, atol=1e-4)


# --- noise ------------------------------------------------------------------------------------------------------------
@given(st.integers(0, 2**31 - 1), st.integers(-500, 500), st.integers(1, 300), st.integers(0, 200))
def test_the_noise_belongs_to_the_absolute_frame(seed: int, first: int, frames: int, within: int) -> None:
    wide = noise(seed, frames + within, DIM, first)
    assert wide.shape == (1, frames + within, DIM)
    assert torch.equal(noise(seed, frames, DIM, first + within), wide[:, within:])
    assert torch.equal(noise(seed, frames, DIM, first), wide[:, :frames])


def test_the_noise_takes_nothing_from_the_global_generator_and_gives_it_nothing() -> None:
    torch.manual_seed(1)
    first, expected = noise(5, 100, DIM), torch.randn(4)
    torch.manual_seed(1)
    assert torch.equal(torch.randn(4), expected)
    assert torch.equal(noise(5, 100, DIM), first)


def test_noise_is_normal_and_independent_between_frames_blocks_draws_and_seeds() -> None:
    values = noise(1, 6000, 64)[0]
    count = values.numel()
    assert abs(float(values.mean())) < 5 / math.sqrt(count)
    assert abs(float(values.var()) - 1) < 5 * math.sqrt(2 / count)
    others = [noise(1, 6000, 64, first) for first in (1, 64, 128)]
    others += [noise(1, 6000, 64, draw=draw) for draw in (1, 2)] + [noise(seed, 6000, 64) for seed in (0, 2, 3)]
    for other in others:
        assert abs(float((values * other[0]).mean())) < 5 / math.sqrt(count)


# --- time left --------------------------------------------------------------------------------------------------------
class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def left(durations: list[float], total: int) -> list[float | None]:
    clock = Clock()
    eta = Eta(clock)
    told = [eta.seconds_left(0, total)]
    for done, duration in enumerate(durations, 1):
        clock.now += duration
        told.append(eta.seconds_left(done, total))
    return told


def test_time_left_is_unknown_at_first_and_nothing_at_the_end() -> None:
    assert left([0.5, 0.5, 0.5, 0.5], 4) == [None, 1.5, 1.0, 0.5, 0.0]


def test_a_slow_first_step_is_forgotten_with_the_second() -> None:
    assert left([30.0, 0.5, 0.5], 10) == [None, 270.0, 4.0, 3.5]


def test_time_between_two_runs_is_no_step() -> None:
    clock = Clock()
    eta = Eta(clock)
    for duration, done in [(0.0, 0), (9.0, 1), (0.5, 2), (70.0, 0), (0.5, 1)]:
        clock.now += duration
        told = eta.seconds_left(done, 2)
    assert told == 0.5
    assert eta.seconds_left(0, 2) == 1.0


def test_a_single_slow_step_does_not_count_but_a_lasting_change_does() -> None:
    assert left([1.0, 1.0, 1.0, 60.0, 1.0], 10)[-1] == 5.0
    assert left([1.0] * 10 + [3.0] * 9, 20)[-1] == 3.0
