"""Known damage for takes: what a good measure must see, each in the unit in which it is dosed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from protocol.music import TempoMap, TempoPoint

if TYPE_CHECKING:
    from engine.api import Audio


def delayed(take: Audio, before: Audio, milliseconds: float, rate: int) -> Audio:
    """The take, late by `milliseconds`; what comes before it in the song moves in."""
    frames = round(milliseconds * rate / 1000.0)
    return np.concatenate([before[:, before.shape[1] - frames :], take], axis=1)[:, : take.shape[1]] if frames else take


def transposed(longer: Audio, cents: float, frames: int, rate: int) -> Audio:
    """`frames` of `longer` played faster by `cents` (up to an octave), as by a turntable: `longer` must suffice."""
    ratio = 2.0 ** (cents / 1200.0)
    needed = longer[:, : int(frames * ratio) + 64]
    return np.ascontiguousarray(soxr.resample(needed.T, rate * ratio, rate).T[:, :frames], dtype=np.float32)


def amplified(take: Audio, db: float) -> Audio:
    """The take louder by `db` decibels."""
    return np.asarray(take * np.float32(10.0 ** (db / 20.0)), dtype=np.float32)


def white_noise(like: Audio, seed: int = 0) -> Audio:
    """White noise of the same shape and power."""
    noise = np.random.default_rng(seed).standard_normal(like.shape)
    return np.asarray(noise * np.sqrt(np.mean(np.square(like))), dtype=np.float32)


def crossfaded(take: Audio, original: Audio, frames: int) -> Audio:
    """The take with its first and last `frames` faded in from, and out to, what the region held before."""
    ramp = np.sin(0.5 * np.pi * np.arange(frames) / frames).astype(np.float32)
    inside = np.ones(take.shape[1], np.float32)
    inside[:frames], inside[take.shape[1] - frames :] = ramp, ramp[::-1]
    return np.asarray(take * inside + original * np.sqrt(1.0 - np.square(inside)), dtype=np.float32)


def pasted(take: Audio, excerpt: Audio, share: float) -> Audio:
    """The take, its first `share` (0 to 1) replaced by the excerpt, over and over if that is shorter."""
    frames = round(share * take.shape[1])
    loops = np.tile(excerpt, (1, -(-frames // excerpt.shape[1])))[:, :frames]
    return np.concatenate([loops, take[:, frames:]], axis=1)


def noisy(take: Audio, share: float, seed: int = 0) -> Audio:
    """The take, of which `share` (0 to 1, in amplitude) has turned into noise of the same power."""
    return np.asarray((1.0 - share) * take + share * white_noise(take, seed), dtype=np.float32)


def slowed(tempo_map: TempoMap, cents: float) -> TempoMap:
    """The tempo map at which to play so that, `transposed` by `cents`, it sounds in the tempo of `tempo_map`."""
    ratio = 2.0 ** (cents / 1200.0)
    points = (TempoPoint(p.time_s * ratio, p.bpm / ratio, p.signature, p.linear) for p in tempo_map.points)
    return TempoMap(tuple(points))
