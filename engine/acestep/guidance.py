"""How the conditional and the unconditional velocity become one: adaptive projected or classifier-free guidance.

APG is S. Sadat, O. Hilliges, R. M. Weber, "Eliminating Oversaturation and Artifacts of High Guidance Scales in
Diffusion Models" (2024), in the form ACE-Step uses it: norms and projections run over the time axis, for each channel
by itself. Promise: the numbers are those of `diffusers.guiders` as the stock pipeline calls it.

The norm is taken over the whole window, so a longer window gets less guidance per frame once the threshold is reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protocol.task import GuidanceType

_SAME_TIME = 1e-6
"""Times are computed, interval bounds typed: a time this near to a bound lies on it."""


@dataclass(frozen=True)
class Guidance:
    """How strictly the prompt is followed, and when: while ``start <= t <= end`` (the official direction; 1 is noise).

    `scale` 1 is off. The last three are for APG: `threshold` is the L2 norm over time that the guidance of a channel is
    clipped to (0: never), `momentum` the share of earlier steps' guidance that is added (negative: taken away), `eta`
    how much of the guidance parallel to the prediction is kept.
    """

    kind: GuidanceType = GuidanceType.APG
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    threshold: float = 2.5
    momentum: float = -0.75
    eta: float = 0.0

    def is_on(self, time: float) -> bool:
        """True if the velocity at that time is guided, and so the unconditional branch needed."""
        return self.scale > 1.0 and self.start - _SAME_TIME <= time <= self.end + _SAME_TIME


class Guide:
    """Guidance along one run; the momentum of APG is its state, and tensors in it are replaced, never changed."""

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self._average: Tensor | None = None

    def combine(self, cond: Tensor, uncond: Tensor, *, is_trial: bool = False) -> Tensor:
        """The guided velocity; both of shape (batch, frames, channels), float32.

        A trial uses the momentum as it stands and leaves it so. Heun's corrector is one: the momentum is a filter along
        the *steps*, and must not run twice as fast because a solver looks ahead. At its time the corrector thus meets
        the same filter as the next step's own evaluation, of which it is the estimate. (The official code uses plain
        CFG in the corrector, so that its two halves follow different fields.)
        """
        guidance = self.guidance
        difference = cond - uncond
        if guidance.kind is GuidanceType.CFG:
            return uncond + guidance.scale * difference
        if self._average is not None:
            difference = difference + guidance.momentum * self._average
        if not is_trial:
            self._average = difference
        return cond + (guidance.scale - 1.0) * _projected(_clipped(difference, guidance.threshold), cond, guidance.eta)

    def state(self) -> Tensor | None:
        """The momentum's running average, which `restore` needs to go on; None before the first guided step."""
        return self._average

    def restore(self, average: Tensor | None) -> None:
        """Go on from a state."""
        self._average = average


def _clipped(difference: Tensor, threshold: float) -> Tensor:
    if threshold <= 0:
        return difference
    norm = torch.linalg.vector_norm(difference, dim=1, keepdim=True)
    return difference * torch.clamp(threshold / norm, max=1.0)


def _projected(difference: Tensor, onto: Tensor, eta: float) -> Tensor:
    """`difference` with its part along `onto` scaled by `eta`; in double precision where the device has it."""
    precise = torch.float32 if difference.device.type == "mps" else torch.float64
    wide, direction = difference.to(precise), torch.nn.functional.normalize(onto.to(precise), dim=1)
    parallel = (wide * direction).sum(dim=1, keepdim=True) * direction
    return (wide - (1.0 - eta) * parallel).to(difference.dtype)
