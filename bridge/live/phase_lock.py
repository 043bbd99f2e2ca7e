"""How fast to read so that what sounds stays where the transport is. Pure.

A phase locked loop of second order (F. M. Gardner, "Phaselock Techniques"): the filtered phase error and its integral,
which learns how far two crystals or a rounded tempo differ, bend the nominal speed by at most `MAX_BEND`. A transport
that jitters is followed in the mean over seconds.

Speeds that hardly differ from 1 are taken for 1 as long as the mean error stays in the dead zone: then the samples
pass untouched. Only a drift that carries the error out of the zone starts the loop, and when that has found that the
speed is 1 after all, it lets go again.
"""

from __future__ import annotations

import math

MAX_BEND = 0.005
MAX_DRIFT = 0.003
NEAR_ONE = 300e-6
"""Nominal speeds so close to 1 are tried as 1: a clock's estimate of a steady tempo is no better."""

DEAD_S, HOME_S = 0.0005, 0.0002
"""Mean phase error at which the loop takes hold, and up to which it may let go."""

_OMEGA, _DAMPING = 0.6, 1.0
_FAST_S, _MEAN_S, _DRIFT_S = 0.1, 1.0, 10.0
_ONE = 30e-6


class PhaseLock:
    """Feed it the error at every block; errors are seconds, above 0 when what sounds is ahead of the transport."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all: the reading starts anew at the right place."""
        self.exact = True
        self.mean_s = 0.0
        self._fast_s = 0.0
        self._drift = 0.0
        self._mean_speed = 1.0
        self._held_s = 0.0

    def speed(self, error_s: float, nominal: float, block_s: float) -> float:
        """The speed to head for, frames of material per frame of the device; `exact` says that it is 1.

        `nominal`: the speed at which the material runs at the transport's tempo. `block_s`: time since the last call.
        """
        self.mean_s += (error_s - self.mean_s) * _share(block_s, _MEAN_S)
        self._fast_s += (error_s - self._fast_s) * _share(block_s, _FAST_S)
        near = abs(nominal - 1.0) <= NEAR_ONE
        if self.exact and near and abs(self.mean_s) <= DEAD_S:
            return 1.0
        if self.exact:
            self.exact, self._drift, self._held_s, self._mean_speed = False, 0.0, 0.0, nominal
        bend = self._drift - 2.0 * _DAMPING * _OMEGA * self._fast_s
        limited = min(max(bend, -MAX_BEND), MAX_BEND)
        if limited == bend:  # a loop at its limit must not wind up
            self._drift -= _OMEGA * _OMEGA * self._fast_s * block_s
            self._drift = min(max(self._drift, -MAX_DRIFT), MAX_DRIFT)
        self._mean_speed += (nominal * (1.0 + self._drift) - self._mean_speed) * _share(block_s, _DRIFT_S)
        self._held_s += block_s
        at_home = abs(self._mean_speed - 1.0) <= _ONE and abs(self.mean_s) <= HOME_S
        self.exact = near and at_home and self._held_s > _DRIFT_S
        return nominal * (1.0 + limited)


def _share(block_s: float, time_constant_s: float) -> float:
    """How far a low pass of first order moves towards its input in one block."""
    return 1.0 - math.exp(-block_s / time_constant_s)
