"""Brass and woodwinds: partials that grow with the breath, late vibrato, a breath of noise. One `Stroke` each.

The louder a wind instrument is blown, the more its upper partials grow, faster than the lower ones (Risset & Mathews,
1969): groups of partials follow powers of the same breath.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.sketch.voices.sustained import vibrato
from engine.sketch.voices.tones import (
    Doubles,
    Floats,
    band_noise,
    chance,
    frequency,
    harmonics,
    read_tables,
    times,
    wavetables,
)
from engine.sketch.voices.voice import Stroke

_GROUPS = ((1, 2), (3, 5), (6, 11), (12, 60))


@dataclass(frozen=True, kw_only=True)
class Pipe:
    """What a wind instrument is like."""

    formants: tuple[tuple[float, float, float], ...]
    """(hz, width, level), on top of `floor`, before a slope of `fall` (a power of the harmonic's number)."""
    floor: float
    fall: float
    even: float = 1.0
    """Level of even harmonics."""
    growth: float = 0.7
    """By how much each group's power of the breath exceeds that of the group below."""
    attack_s: float
    bump: float
    """How far the breath overshoots at the start."""
    scoop_cents: float
    vibrato_cents: float
    breath: float
    breath_hz: tuple[float, float]


_TRUMPET = Pipe(
    formants=((1300.0, 700.0, 1.0), (2600.0, 900.0, 0.45)), floor=0.35, fall=0.25, growth=0.75,
    attack_s=0.035, bump=0.25, scoop_cents=-18.0, vibrato_cents=9.0, breath=0.01, breath_hz=(1500.0, 5000.0),
)  # fmt: skip
_HORNS = Pipe(
    formants=((650.0, 450.0, 1.0), (1500.0, 900.0, 0.6)), floor=0.4, fall=0.35, growth=0.8,
    attack_s=0.035, bump=0.2, scoop_cents=-15.0, vibrato_cents=0.0, breath=0.012, breath_hz=(800.0, 4000.0),
)  # fmt: skip
_FLUTE = Pipe(
    formants=((600.0, 700.0, 1.0),), floor=0.35, fall=1.45, even=0.85, growth=1.5,
    attack_s=0.05, bump=0.1, scoop_cents=-12.0, vibrato_cents=11.0, breath=0.065, breath_hz=(900.0, 6500.0),
)  # fmt: skip
_CLARINET = Pipe(
    formants=((900.0, 800.0, 0.8), (2300.0, 900.0, 0.4)), floor=0.5, fall=0.75, even=0.12,
    attack_s=0.035, bump=0.05, scoop_cents=-6.0, vibrato_cents=3.0, breath=0.015, breath_hz=(900.0, 4500.0),
)  # fmt: skip
_SAX = Pipe(
    formants=((650.0, 400.0, 1.0), (1250.0, 500.0, 0.7), (2700.0, 900.0, 0.4)), floor=0.3, fall=0.35, even=0.95,
    attack_s=0.04, bump=0.15, scoop_cents=-22.0, vibrato_cents=11.0, breath=0.035, breath_hz=(1200.0, 6000.0),
)  # fmt: skip


def _blown(stroke: Stroke, pipe: Pipe, cents: float, key: int, late_s: float = 0.0) -> Floats:
    """One player, ``(frames,)``."""
    hz, time = frequency(stroke.pitch) * 2.0 ** (cents / 1200.0), times(stroke.frames, stroke.rate)
    number = harmonics(1.02 * hz, stroke.rate, 60)
    level = _levels(number, hz, pipe)
    breath = _breath(stroke, pipe, time, key)
    lists, gains = [], []
    for group, (first, last) in enumerate(_GROUPS):
        kept = np.where((number >= first) & (number <= last), level, 0.0)
        if kept.any():
            lists.append(kept.tolist())
            gains.append(breath ** (1.0 + group * pipe.growth))
    tables = wavetables(lists, 1.02 * hz, stroke.rate)
    scoop = hz * (2.0 ** (pipe.scoop_cents / 1200.0) - 1.0) * 0.02 * (1.0 - np.exp(-time / 0.02))
    bend = vibrato(time, hz, 5.1 + 0.4 * chance(key, 3).random(), pipe.vibrato_cents, 0.3)
    cycles = hz * time + scoop + bend + chance(key, stroke.pitch).random() * (key > 0)
    tone = read_tables(tables, cycles, gains)
    hiss = pipe.breath * band_noise(stroke.frames, stroke.rate, *pipe.breath_hz, stroke.pitch, stroke.variant, key)
    chiff = 1.0 + 2.5 * np.exp(-time / 0.03)
    attack = pipe.attack_s * (1.25 - 0.6 * stroke.force) + late_s
    return np.asarray((tone + hiss * breath * chiff) * _tongued(time, attack, stroke.force), np.float32)


def _levels(number: Doubles, hz: float, pipe: Pipe) -> Doubles:
    f = number * hz
    shape = pipe.floor + sum(level * np.exp(-(((f - centre) / width) ** 2)) for centre, width, level in pipe.formants)
    level = shape / number**pipe.fall / (1.0 + (f / 5500.0) ** 2)
    level = level * np.where(number % 2 == 0, pipe.even, 1.0)
    return np.asarray(level / math.sqrt(float(np.sum(level**2))))


def _breath(stroke: Stroke, pipe: Pipe, time: Doubles, key: int) -> Doubles:
    """Pressure, 0 to about 1: an overshoot, then a tone that is never quite still."""
    steady = 0.38 + 0.62 * stroke.force
    sway = 0.025 * np.sin(2.0 * np.pi * (0.9 + 0.5 * chance(key, 5).random()) * time + key)
    return np.asarray(steady * (1.0 + pipe.bump * np.exp(-time / 0.07) + sway) / (1.0 + 0.5 * pipe.bump))


def _tongued(time: Doubles, attack_s: float, force: float) -> Doubles:
    """The tongue lets most of it go at once, the rest follows."""
    return np.asarray(
        1.0 - 0.82 * np.exp(-(4.0 + 6.0 * force) * time / attack_s) - 0.18 * np.exp(-2.0 * time / attack_s)
    )


def trumpet(stroke: Stroke) -> Floats:
    return _blown(stroke, _TRUMPET, 0.0, 0)


def flute(stroke: Stroke) -> Floats:
    return _blown(stroke, _FLUTE, 0.0, 0)


def clarinet(stroke: Stroke) -> Floats:
    return _blown(stroke, _CLARINET, 0.0, 0)


def saxophone(stroke: Stroke) -> Floats:
    return _blown(stroke, _SAX, 0.0, 0)


def brass_section(stroke: Stroke) -> Floats:
    """Three players side by side, ``(2, frames)``."""
    left = _blown(stroke, _HORNS, -4.0, 1)
    middle = _blown(stroke, _TRUMPET, 0.5, 2)
    right = _blown(stroke, _HORNS, 4.0, 3)
    return np.asarray(
        np.stack([left + 0.6 * middle + 0.3 * right, 0.3 * left + 0.6 * middle + right]) * 0.6, np.float32
    )
