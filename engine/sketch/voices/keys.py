"""Keyboards: a piano of inharmonic, doubly decaying partials, an FM electric piano, a drawbar organ.

Each function plays one `Stroke`. The piano follows what Fletcher & Rossing (ch. 12) tell of real ones: stiff strings,
a hammer that hits one eighth along them and is harder the faster it comes, and a fast and a slow decay, because two
strings of one note fall out of step. The electric piano is Chowning's frequency modulation (1973) written out by the
Bessel series: while the modulation dies exponentially, each term is a decaying mode, and none aliases.
"""

from __future__ import annotations

import math

import numpy as np

from engine.sketch.voices.kit import burst
from engine.sketch.voices.tones import (
    Floats,
    chance,
    frequency,
    harmonics,
    modes,
    read_tables,
    rise,
    times,
    wavetables,
)
from engine.sketch.voices.voice import Stroke


def piano(stroke: Stroke) -> Floats:
    hz, force = frequency(stroke.pitch), stroke.force
    stiffness = 1.2e-4 * 2.0 ** ((stroke.pitch - 45.0) / 9.0)
    number = harmonics(hz, stroke.rate, 60)
    stretched = number * hz * np.sqrt((1.0 + stiffness * number**2) / (1.0 + stiffness))
    hardness = 700.0 * 5.5**force * (hz / 262.0) ** 0.25
    level = (np.abs(np.sin(np.pi * number / 8.2)) + 0.06) / number**0.8
    level *= np.exp(-((stretched / hardness) ** 0.85))
    level *= 10.0 ** (chance(stroke.pitch, 88).uniform(-2.0, 2.0, len(number)) / 20.0)
    level *= 0.8 / math.sqrt(float(np.sum(level**2))) * (0.55 + 0.45 * force)
    slow = 3.2 * (262.0 / hz) ** 0.55 / (1.0 + (stretched / 2600.0) ** 1.2 + 0.04 * number)
    apart = 2.0 ** (0.45 / 1200.0)
    turn = chance(stroke.pitch, 89).random(len(number)) * 0.6
    tone = modes(
        np.concatenate([stretched, stretched * apart]),
        np.concatenate([0.72 * level, 0.34 * level]),
        np.concatenate([0.22 * slow, slow]),
        stroke.frames,
        stroke.rate,
        np.concatenate([turn, turn]),
    )
    return tone * rise(stroke.frames, stroke.rate, 0.0012 - 0.0008 * force) + _hammer(stroke)


def _hammer(stroke: Stroke) -> Floats:
    """The thud of action and sound board under every note."""
    board = modes(
        (92.0, 148.0, 231.0, 377.0, 590.0),
        (0.06, 0.07, 0.06, 0.05, 0.04),
        0.035,
        stroke.frames,
        stroke.rate,
        (0, 1, 2, 3, 4),
    )
    felt = burst(stroke, 400.0, 1500.0 + 3500.0 * stroke.force, 0.008, 1)
    return np.asarray(stroke.force * (board + 0.09 * felt), np.float32)


def electric_piano(stroke: Stroke) -> Floats:
    hz, force = frequency(stroke.pitch), stroke.force
    ring_s = 2.2 * (262.0 / hz) ** 0.45
    bark = (0.25 + 1.35 * force**1.6) * min(1.0, (700.0 / hz) ** 0.5)
    body = _modulated(hz, 1.0, bark, ring_s, 0.55 * ring_s, stroke)
    tine = _modulated(hz, 14.0, 0.10 + 0.35 * force**1.5, 0.45 * ring_s, 0.09, stroke)
    knock = 0.05 * force * burst(stroke, 500.0, 2500.0, 0.005, 1)
    return (0.62 * body + 0.3 * tine) * rise(stroke.frames, stroke.rate, 0.0015) + knock


def _modulated(hz: float, ratio: float, index: float, ring_s: float, index_ring_s: float, stroke: Stroke) -> Floats:
    """``exp(-t / ring) * sin(w t + index exp(-t / index_ring) sin(ratio w t))`` as a sum of decaying modes."""
    frequencies, levels, rings = [], [], []
    for order in range(-7, 8):
        place = 1.0 + order * ratio
        for term in range(5):
            power = 2 * term + abs(order)
            level = (0.5 * index) ** power / (math.factorial(term) * math.factorial(term + abs(order)))
            level *= (-1) ** term * (-1 if order < 0 and order % 2 else 1) * (1 if place > 0 else -1)
            if place and abs(level) > 1e-4:
                frequencies.append(abs(place) * hz)
                levels.append(level)
                rings.append(1.0 / (1.0 / ring_s + power / index_ring_s))
    return modes(frequencies, levels, rings, stroke.frames, stroke.rate)


_DRAWBARS = {1: 8, 2: 8, 3: 8, 4: 5, 6: 3, 8: 5, 10: 2, 12: 2, 16: 4}
"""Harmonics of the 16-foot rank and how far each drawbar is out, 0 to 8."""
_ROTOR_HZ, _DOPPLER_CENTS, _ROTOR_DEPTH = 0.83, 4.0, 0.22


def organ(stroke: Stroke) -> Floats:
    """Drawbars through a slowly turning loudspeaker, heard by two ears, ``(2, frames)``; its key clicks."""
    hz, time = 0.5 * frequency(stroke.pitch), times(stroke.frames, stroke.rate)
    levels = np.zeros(16)
    for number, out in _DRAWBARS.items():
        levels[number - 1] = 10.0 ** ((out - 8) * 3.0 / 20.0)
    levels[4:] *= 0.6 + 0.8 * stroke.force  # the swell pedal opens
    low, high = levels.copy(), levels.copy()
    low[4:], high[:4] = 0.0, 0.0
    tables = wavetables([low.tolist(), high.tolist()], hz, stroke.rate)
    start = 2.0 * np.pi * chance(stroke.pitch, 12).random()
    swing = hz * (2.0 ** (_DOPPLER_CENTS / 1200.0) - 1.0) / (2.0 * np.pi * _ROTOR_HZ)
    ears = []
    for side in (1.0, -1.0):
        rotor = np.sin(2.0 * np.pi * _ROTOR_HZ * time + start)
        still = math.sin(start)
        nearness = 1.0 + side * _ROTOR_DEPTH * np.cos(2.0 * np.pi * _ROTOR_HZ * time + start)
        cycles = hz * time + side * swing * (rotor - still)
        ears.append(read_tables(tables, cycles, (0.7 + 0.3 * nearness, nearness)))
    click = (0.03 + 0.12 * stroke.force) * burst(stroke, 1200.0, 4500.0, 0.004, 1)
    sound = np.stack(ears) * np.float32(0.2) + 0.25 * click
    return np.asarray(sound * rise(stroke.frames, stroke.rate, 0.004), np.float32)
