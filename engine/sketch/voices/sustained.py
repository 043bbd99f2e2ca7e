"""Strings, pads and synthesisers: sections as ensembles of spread partials, synthesisers as partials under a filter.

Each function plays one `Stroke` and gives ``(2, frames)``, or ``(frames,)`` for what sits in the middle.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from engine.sketch.voices.tones import (
    Doubles,
    Floats,
    band_noise,
    chance,
    ensemble,
    evolving,
    frequency,
    harmonics,
    mixed_bits,
    read_tables,
    rise,
    step_times,
    times,
    wavetables,
)
from engine.sketch.voices.voice import Stroke

_LOOP_S = 2.2


def string_ensemble(stroke: Stroke) -> Floats:
    """A bowed section: quicker and brighter the harder it is played, with some rosin."""
    force = stroke.force
    soft, bright = _section("strings", stroke.pitch, float(stroke.rate))
    open_up = rise(stroke.frames, stroke.rate, 0.35)
    share = force * (0.35 + 0.65 * open_up)
    sound = _looped(soft, stroke) * (1.0 - 0.5 * share) + _looped(bright, stroke) * (0.9 * share)
    rosin = 0.018 * force * band_noise(stroke.frames, stroke.rate, 2000.0, 7500.0, stroke.pitch, 3)
    return np.asarray((sound + rosin) * _bowed(stroke, 0.16 - 0.10 * force), np.float32)


def warm_pad(stroke: Stroke) -> Floats:
    """A slow analogue pad whose filter opens and closes a little."""
    soft, bright = _section("pad", stroke.pitch, float(stroke.rate))
    time = times(stroke.frames, stroke.rate)
    turn = 2.0 * np.pi * chance(stroke.pitch, 8).random()
    open_up = (0.15 + 0.6 * stroke.force) * (1.0 - np.exp(-time / 0.7)) * (1.0 + 0.25 * np.sin(1.1 * time + turn))
    sound = _looped(soft, stroke) + _looped(bright, stroke) * open_up.astype(np.float32)
    return np.asarray(sound * _bowed(stroke, 0.22 - 0.08 * stroke.force), np.float32)


def _bowed(stroke: Stroke, attack_s: float) -> Floats:
    """A rise that starts at once: an ear, and an onset detector, finds the note where it is written."""
    time = times(stroke.frames, stroke.rate)
    return np.asarray(1.0 - np.exp(-2.2 * time / attack_s), np.float32)


def _looped(loop: Floats, stroke: Stroke) -> Floats:
    """``(2, frames)`` of an endless loop, from a place that depends on the note."""
    at = mixed_bits(stroke.pitch, stroke.variant) % loop.shape[1]
    whole = -(-(at + stroke.frames) // loop.shape[1])
    return np.tile(loop, whole)[:, at : at + stroke.frames]


@lru_cache(maxsize=24)
def _section(kind: str, pitch: int, rate: float) -> tuple[Floats, Floats]:
    """Two loops with the same power and phases, a soft and a bright one."""
    hz = frequency(pitch)
    number = harmonics(hz, rate, 70)
    f = number * hz
    if kind == "strings":
        body = 0.55 + np.exp(-(((f - 480.0) / 260.0) ** 2)) + 0.7 * np.exp(-(((f - 1350.0) / 600.0) ** 2))
        body += 0.45 * np.exp(-(((f - 2900.0) / 900.0) ** 2))
        soft = body / number / (1.0 + (f / 1600.0) ** 2)
        bright = body / number**0.8 / (1.0 + (f / 5200.0) ** 2)
        spread, key = 7.0, 1
    else:
        soft = 1.0 / number**1.1 / (1.0 + (f / 650.0) ** 2)
        bright = 1.0 / number / (1.0 + (f / 2300.0) ** 4)
        bright[:1] *= 0.3
        spread, key = 5.0, 2
    loops = [
        np.stack(ensemble(hz, level, rate, spread_cents=spread, seconds=_LOOP_S, key=mixed_bits(key, pitch)))
        for level in (soft, bright)
    ]
    return loops[0], loops[1]


# --- synthesisers ----------------------------------------------------------------------------------------------------
def _low_pass_gain(f: Doubles, cutoff: Doubles, resonance: float) -> Doubles:
    """Magnitude of a four-pole low pass at frequencies ``(partials,)`` for cutoffs ``(steps,)``."""
    x = np.square(f[None, :] / cutoff[:, None])
    return np.asarray(1.0 / np.sqrt(np.square(1.0 - x) + x / resonance**2) / np.sqrt(1.0 + x))


def synth_bass(stroke: Stroke) -> Floats:
    """A saw under a filter that closes, its fundamental strengthened."""
    hz, force = frequency(stroke.pitch), stroke.force
    number = harmonics(hz, stroke.rate, 120)
    level: Doubles = 1.0 / number
    time = step_times(stroke.frames, stroke.rate)
    cutoff: Doubles = hz * 1.5 + (250.0 + 3200.0 * force**1.5) * np.exp(-time / (0.09 + 0.1 * force)) + 180.0
    f = number * hz
    shape = level * _low_pass_gain(f, cutoff, 1.6)
    # The first edge of the saw comes just after the start, or the ear would count from the second.
    sound = evolving(f, 0.5 * shape, stroke.frames, stroke.rate, -2.0 * np.pi * f * 0.001)
    sound += 0.35 * evolving([hz], np.ones((len(time), 1)), stroke.frames, stroke.rate)
    return sound * rise(stroke.frames, stroke.rate, 0.0008)


def synth_pluck(stroke: Stroke) -> Floats:
    hz, force = frequency(stroke.pitch), stroke.force
    time = step_times(stroke.frames, stroke.rate)
    cutoff = 250.0 + hz + (600.0 + 7000.0 * force**1.5) * np.exp(-time / (0.06 + 0.07 * force))
    fading = np.exp(-time / 0.38)[:, None]
    ears = []
    for cents, key in ((-3.5, 1), (3.5, 2)):
        tuned = hz * 2.0 ** (cents / 1200.0)
        number = harmonics(tuned, stroke.rate, 60)
        level = fading * _low_pass_gain(number * tuned, cutoff, 1.3) / number
        turn = chance(stroke.pitch, key).random(len(number))
        ears.append(evolving(number * tuned, level, stroke.frames, stroke.rate, turn))
    left, right = ears
    sound = 0.4 * np.stack([left + 0.5 * right, right + 0.5 * left])
    return np.asarray(sound * rise(stroke.frames, stroke.rate, 0.0008), np.float32)


def synth_lead(stroke: Stroke) -> Floats:
    """Two saws, nearly in tune, that a late vibrato moves; the filter opens with the attack."""
    hz, force, time = frequency(stroke.pitch), stroke.force, times(stroke.frames, stroke.rate)
    number = harmonics(hz, stroke.rate, 80)
    level = 1.0 / number / (1.0 + (number * hz / (1500.0 + 3500.0 * force)) ** 2)
    low, high = level.copy(), level.copy()
    low[4:], high[:4] = 0.0, 0.0
    tables = wavetables([low.tolist(), high.tolist()], 1.012 * hz, stroke.rate)
    open_up = 0.55 + 0.45 * np.exp(-time / 0.25) * force + 0.2 * force
    bend = vibrato(time, hz, 5.6, 14.0, 0.35)
    ears = []
    for cents in (-3.0, 3.0):
        cycles = hz * 2.0 ** (cents / 1200.0) * time + bend + 0.1 * cents
        ears.append(read_tables(tables, cycles, (1.0, open_up)))
    left, right = ears
    sound = 0.3 * np.stack([left + 0.6 * right, right + 0.6 * left])
    return np.asarray(sound * rise(stroke.frames, stroke.rate, 0.006), np.float32)


def vibrato(time: Doubles, hz: float, rate_hz: float, cents: float, from_s: float) -> Doubles:
    """What a vibrato that comes in after `from_s` adds to the phase, in periods."""
    depth = np.clip((time - from_s) / 0.35, 0.0, 1.0)
    swing = hz * (2.0 ** (cents / 1200.0) - 1.0) / (2.0 * math.pi * rate_hz)
    return np.asarray(swing * depth * np.sin(2.0 * np.pi * rate_hz * (time - from_s)))
