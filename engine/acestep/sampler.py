"""From noise to latents, step by step: the procedure of denoising, which knows no model.

Promises: with the Euler solver the stock pipeline's numbers; nothing here draws from a global generator; a run that was
cancelled and resumed from its `SamplerState` gives bit for bit what it would have given; outside the regions `inject`
leaves exactly the noised source, and after a last injected step exactly the source.

Convention: t is 1 for noise and 0 for clean latents, x_t = t noise + (1 - t) source, so the velocity is v = dx/dt, a
step is x + (t_next - t) v, and the clean estimate x - t v. Latents are (batch, frames, channels), float32 whatever the
network computes in.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from engine.acestep.guidance import Guidance, Guide
from engine.acestep.schedule import Schedule
from protocol.errors import Cancelled

Evaluate = Callable[[Tensor, int, bool], tuple[Tensor, Tensor | None]]
"""(x, index in `Schedule.evaluations`, is it guided) -> conditional and, if guided, unconditional velocity."""

AfterStep = Callable[[Tensor, int, float], Tensor]
"""(x after the step, the step's index, its t_next) -> the x to go on with."""

OnStep = Callable[[int, int], None]
"""(steps done, steps in all), before the first and after every step; may raise `Cancelled`."""


@dataclass(frozen=True, eq=False)
class SamplerState:
    """All that a run needs to go on after `step` steps: x, and the momentum of its guidance (None: none yet)."""

    step: int
    x: Tensor
    momentum: Tensor | None = None

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        tensors = {"step": torch.tensor(self.step), "x": self.x.detach().cpu().contiguous()}
        if self.momentum is not None:
            tensors["momentum"] = self.momentum.detach().cpu().contiguous()
        return safetensors.torch.save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> SamplerState:
        """Back from `to_bytes`, on the CPU. Raises `ValueError` if `data` is no such state."""
        try:
            tensors = safetensors.torch.load(data)
            state = cls(int(tensors["step"]), tensors["x"], tensors.get("momentum"))
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise ValueError(f"not the state of a sampler: {error}") from error
        fits = state.momentum is None or (state.momentum.shape, state.momentum.dtype) == (state.x.shape, torch.float32)
        if state.step < 0 or state.x.dtype != torch.float32 or not fits:
            raise ValueError("not the state of a sampler: its parts do not fit together")
        return state


@torch.no_grad()
def sample(
    start: Tensor,
    schedule: Schedule,
    guidance: Guidance,
    evaluate: Evaluate,
    *,
    after_step: AfterStep | None = None,
    noise_at: Callable[[int], Tensor] | None = None,
    state: SamplerState | None = None,
    on_step: OnStep | None = None,
    on_state: Callable[[SamplerState], None] | None = None,
    checkpoint: Callable[[SamplerState], None] | None = None,
) -> Tensor:
    """Denoise `start` (batch, frames, channels), which lies at the schedule's first time, to t = 0; float32.

    `noise_at(step)` is the fresh noise of a step of the SDE solver, of the shape of `start`. Give `state` to go on from
    it: the rest is computed as if there had been no interruption, provided everything else is the same. `on_state`
    hears the state after every step. When `on_step` or `evaluate` raises `Cancelled`, or the memory runs out,
    `checkpoint` gets the state after the last whole step before the error propagates.
    """
    if schedule.solver == "sde" and noise_at is None:
        raise ValueError("the SDE solver needs noise_at")
    if state is None:
        state = SamplerState(0, start.to(torch.float32))
    if state.x.shape != start.shape or state.step > schedule.steps:
        raise ValueError("the state to resume from belongs to another job")
    guide = Guide(guidance)
    guide.restore(None if state.momentum is None else state.momentum.to(start.device))
    x = state.x.to(start.device)
    try:
        if on_step is not None:
            on_step(state.step, schedule.steps)
        for step in range(state.step, schedule.steps):
            x = _step(x, step, schedule, guide, evaluate, noise_at)
            if after_step is not None:
                x = after_step(x, step, schedule.sigmas[step + 1])
            state = SamplerState(step + 1, x, guide.state())
            if on_state is not None:
                on_state(state)
            if on_step is not None:
                on_step(step + 1, schedule.steps)
    except (Cancelled, torch.OutOfMemoryError):
        if checkpoint is not None:
            checkpoint(state)
        raise
    return x


def _step(
    x: Tensor,
    step: int,
    schedule: Schedule,
    guide: Guide,
    evaluate: Evaluate,
    noise_at: Callable[[int], Tensor] | None,
) -> Tensor:
    index, times = schedule.evaluation_of(step), schedule.evaluations
    now, then = schedule.sigmas[step], schedule.sigmas[step + 1]

    def velocity(at: Tensor, evaluation: int, *, is_trial: bool = False) -> Tensor:
        is_guided = guide.guidance.is_on(times[evaluation])
        cond, uncond = evaluate(at, evaluation, is_guided)
        if not is_guided:
            return cond.to(torch.float32)
        if uncond is None:
            raise ValueError("a guided evaluation needs the unconditional velocity")
        return guide.combine(cond.to(torch.float32), uncond.to(torch.float32), is_trial=is_trial)

    if schedule.solver == "sde" and noise_at is not None:
        clean = x - now * velocity(x, index)
        return noised(noise_at(step).to(x), clean, then) if then > 0 else clean
    if schedule.solver == "heun" and then > 0:
        first = velocity(x, index)
        half, reached = x + (then - now) / 2 * first, x + (then - now) * first
        # `first` is not used again: with CUDA graphs the network may write its next answer into the same memory.
        return half + (then - now) / 2 * velocity(reached, index + 1, is_trial=True)
    return x + (then - now) * velocity(x, index)


# --- noise, and what is done to x between steps -----------------------------------------------------------------------
_NOISE_BLOCK = 64


def noise(seed: int, frames: int, dim: int, first: int = 0, *, draw: int = 0) -> Tensor:
    """Normal noise (1, frames, dim), float32 on the CPU, for the latent frames from `first` on (may be negative).

    It belongs to the seed and the *absolute* frame: a window with more context around the same region has the same
    noise in the region, so that a draft and its redo start alike. `draw` counts independent draws: 0 is the start,
    step + 1 the fresh noise of an SDE step. The same on every device, and needs no generator's state to resume.
    """
    blocks = range(first // _NOISE_BLOCK, -(-(first + frames) // _NOISE_BLOCK))
    drawn = [_noise_block(seed, draw, block, dim) for block in blocks]
    skipped = first - blocks.start * _NOISE_BLOCK
    return torch.cat([torch.empty(0, dim), *drawn])[skipped : skipped + frames].unsqueeze(0)


def _noise_block(seed: int, draw: int, block: int, dim: int) -> Tensor:
    # The CPU's generator looks at 32 bits only: counting on from a hash, no two blocks of a seed share theirs.
    origin = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    generator = torch.Generator().manual_seed((origin + (draw << 16) + block % 2**16) % 2**32)
    return torch.randn((_NOISE_BLOCK, dim), generator=generator)


def noised(noise: Tensor, source: Tensor, t: float) -> Tensor:
    """The source on its way to the noise: t = 1 is noise, t = 0 exactly the source."""
    return t * noise + (1.0 - t) * source


def inject(noise: Tensor, source: Tensor, outside: Tensor, steps: int) -> AfterStep:
    """An `after_step` that sets x outside the regions back to the noised source, after each of the first `steps`.

    `outside` is (1, frames, 1), nonzero outside the regions; inside, x is untouched. `noise` is what the run started
    from. With as many steps as the schedule has, the result outside is the source itself. Source: ACE-Step-1.5, PR 816.
    """
    is_outside = outside != 0

    def after_step(x: Tensor, step: int, t_next: float) -> Tensor:
        return torch.where(is_outside, noised(noise, source, t_next), x) if step < steps else x

    return after_step


def crossfade_weights(frames: int, regions: Sequence[tuple[int, int]], fade: int) -> Tensor:
    """Weights (1, frames, 1) for `blend`: 1 in the regions (first, after), 0 far from them.

    Between lie linear ramps of `fade` frames, outside the regions, whose values are neither 0 nor 1; a ramp that the
    window's end cuts off keeps its slope. Where ramps or regions meet, the greater weight counts.
    """
    at = torch.arange(frames, dtype=torch.float32)
    weights = torch.zeros(frames)
    for first, after in regions:
        distance = torch.maximum(first - at, at - (after - 1)).clamp(min=0)
        weights = torch.maximum(weights, (1.0 - distance / (fade + 1)).clamp(min=0))
    return weights.view(1, frames, 1)


def blend(x: Tensor, source: Tensor, weight: Tensor) -> Tensor:
    """`x` where the weight (1, frames, 1) is 1, the source where it is 0, both exactly; between them in proportion."""
    return torch.lerp(source, x, weight)


# --- time left --------------------------------------------------------------------------------------------------------
class Eta:
    """How long the steps still take, from the median of the last ones.

    The first step warms up or compiles; it is the estimate only until there is a second. One `Eta` may serve several
    runs: what passes between the end of one and the beginning of the next is no step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = (0.0, math.inf)
        self._durations: deque[float] = deque(maxlen=9)
        self._measured = 0

    def seconds_left(self, done: int, total: int) -> float | None:
        """Call it where `on_step` is called, with its arguments. None before a step was measured."""
        now = self._clock()
        since, before = self._last
        if done > before:
            if self._measured == 1:
                self._durations.clear()
            self._durations.append((now - since) / (done - before))
            self._measured += 1
        self._last = (now, done)
        return statistics.median(self._durations) * (total - done) if self._durations else None
