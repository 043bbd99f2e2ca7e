"""Guidance: the numbers of the stock pipeline's, over several steps, with and without the interval."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.guidance import Guidance, Guide
from protocol.task import GuidanceType

APG = Guidance(GuidanceType.APG, scale=7.0)
CFG = Guidance(GuidanceType.CFG, scale=7.0)


def velocities(count: int, seed: int = 0, size: float = 1.0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randn((count, 2, 2, 50, 8), generator=generator)
    return [(pair[0], pair[0] + size * pair[1]) for pair in pairs]


def stock(cond: torch.Tensor, uncond: torch.Tensor, scale: float, buffer: MomentumBuffer) -> torch.Tensor:
    """As the stock pipeline calls it."""
    return normalized_guidance(
        pred_cond=cond,
        pred_uncond=uncond,
        guidance_scale=scale - 1.0,
        momentum_buffer=buffer,
        eta=0.0,
        norm_threshold=2.5,
        use_original_formulation=True,
        norm_dim=(1,),
    )


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@given(st.floats(1.01, 30.0), st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 1.0, 30.0]))
def test_apg_over_several_steps_is_the_stock_pipelines(scale: float, seed: int, size: float) -> None:
    # 50 frames of size 1 have a norm of about 7: 0.01 and 0.3 lie below the threshold of 2.5, the others above.
    guide, buffer = Guide(replace(APG, scale=scale)), MomentumBuffer(-0.75)
    for cond, uncond in velocities(6, seed, size):
        assert error(guide.combine(cond, uncond), stock(cond, uncond, scale, buffer)) < 1e-6


@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_steps_outside_the_interval_leave_the_momentum_as_in_the_stock_pipeline(on: list[bool]) -> None:
    guide, buffer = Guide(APG), MomentumBuffer(-0.75)
    for is_on, (cond, uncond) in zip(on, velocities(len(on)), strict=True):
        if is_on:
            assert error(guide.combine(cond, uncond), stock(cond, uncond, 7.0, buffer)) < 1e-6


@pytest.mark.parametrize("change", [{"momentum": -0.74}, {"threshold": 2.51}, {"eta": 0.01}, {"scale": 7.01}])
def test_the_comparison_sees_every_setting(change: dict[str, float]) -> None:
    guide, buffer = Guide(replace(APG, **change)), MomentumBuffer(-0.75)
    worst = max(error(guide.combine(*pair), stock(*pair, 7.0, buffer)) for pair in velocities(3))
    assert worst > 1e-4


@given(st.floats(0.0, 1.0), st.floats(0.0, 30.0), st.floats(-0.99, 0.99))
def test_apg_with_other_settings_is_diffusers_too(eta: float, threshold: float, momentum: float) -> None:
    guide = Guide(replace(APG, eta=eta, threshold=threshold, momentum=momentum))
    buffer = MomentumBuffer(momentum)
    for cond, uncond in velocities(4):
        theirs = normalized_guidance(cond, uncond, 6.0, buffer, eta, threshold, True, (1,))
        assert error(guide.combine(cond, uncond), theirs) < 2e-6


def test_equal_branches_need_no_guidance() -> None:
    (cond, _), *_ = velocities(1)
    assert torch.equal(Guide(APG).combine(cond, cond), cond)
    assert Guide(APG).combine(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2)).abs().max() == 0


@given(st.floats(1.01, 30.0))
def test_cfg_is_the_plain_formula_and_has_no_memory(scale: float) -> None:
    guide = Guide(replace(CFG, scale=scale))
    for cond, uncond in velocities(3):
        assert torch.equal(guide.combine(cond, uncond), uncond + scale * (cond - uncond))
    assert guide.state() is None


def test_items_of_a_batch_do_not_influence_each_other() -> None:
    together, alone = Guide(APG), Guide(APG)
    for cond, uncond in velocities(4):
        assert torch.equal(together.combine(cond, uncond)[1:], alone.combine(cond[1:], uncond[1:]))


def test_a_trial_uses_the_momentum_and_leaves_it() -> None:
    first, second, third = velocities(3)
    plain, trying = Guide(APG), Guide(APG)
    plain.combine(*first)
    trying.combine(*first)
    tried = trying.combine(*second, is_trial=True)
    assert not torch.equal(tried, trying.combine(*third, is_trial=True))
    assert torch.equal(plain.combine(*second), tried)
    assert torch.equal(trying.combine(*second), tried)


def test_a_restored_guide_goes_on_bit_for_bit() -> None:
    pairs = velocities(6)
    whole, first = Guide(APG), Guide(APG)
    expected = [whole.combine(*pair) for pair in pairs]
    for pair in pairs[:3]:
        first.combine(*pair)
    state = first.state()
    assert state is not None
    kept = state.clone()
    second = Guide(APG)
    second.restore(state)
    for pair, result in zip(pairs[3:], expected[3:], strict=True):
        assert torch.equal(second.combine(*pair), result)
    assert torch.equal(state, kept)


def test_the_interval_is_the_official_one_from_start_to_end_in_t() -> None:
    early = Guidance(scale=7.0, start=0.5, end=1.0)
    assert [early.is_on(time) for time in (1.0, 0.75, 0.5, 0.49, 0.0)] == [True, True, True, False, False]
    late = Guidance(scale=7.0, start=0.0, end=0.4)
    assert [late.is_on(time) for time in (1.0, 0.41, 0.4, 0.1)] == [False, False, True, True]


def test_a_computed_time_on_a_bound_lies_on_it() -> None:
    time = 3 * 0.1 / (1 + 2 * 0.1)
    assert time > 0.25
    assert Guidance(scale=2.0, end=0.25).is_on(time)
    assert Guidance(scale=2.0, start=0.3).is_on(float(torch.tensor(0.3)) - 1e-8)


@given(st.floats(0.0, 1.0))
def test_a_scale_of_one_or_less_is_off(time: float) -> None:
    assert not Guidance(scale=1.0).is_on(time)
    assert not Guidance(scale=0.5).is_on(time)
    assert Guidance(scale=1.01).is_on(time)
