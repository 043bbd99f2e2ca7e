"""A drum machine of the early eighties: sines with falling pitch, six square waves for metal, gated noise for claps.

The metal is that of Roland's TR-808, six square oscillators through a band pass, here as the sum of those harmonics
that the band lets through, so that nothing aliases. Each function plays one `Stroke`.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.score import Drum
from engine.sketch.voices.kit import burst, swept
from engine.sketch.voices.tones import Doubles, Floats, modes, rise, times
from engine.sketch.voices.voice import Stroke

_OSCILLATORS_HZ = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)


def kick(stroke: Stroke) -> Floats:
    body = swept(stroke, 47.0, 130.0 + 110.0 * stroke.force, 0.016, 0.28)
    # A little saturation, as in the machine's output stage; three times the sine at most, so far below any limit.
    body = np.tanh(1.6 * body) / np.float32(0.92)
    click = modes(1900.0, 0.5 * stroke.force**1.5, 0.0025, stroke.frames, stroke.rate)
    click *= rise(stroke.frames, stroke.rate, 0.0015)
    tip = (0.05 + 0.3 * stroke.force**2) * burst(stroke, 2500.0, 9000.0, 0.0025, 1)
    return np.asarray(body * rise(stroke.frames, stroke.rate, 0.003) + click + tip, np.float32)


def snare(stroke: Stroke) -> Floats:
    force = stroke.force
    body = swept(stroke, 178.0, 260.0, 0.01, 0.07) + 0.6 * swept(stroke, 331.0, 420.0, 0.008, 0.045)
    noise = burst(stroke, 1200.0, 5000.0 + 8000.0 * force, 0.05 + 0.04 * force, 1)
    body *= rise(stroke.frames, stroke.rate, 0.002)
    return np.asarray(
        0.7 * body + (0.3 + 0.35 * force) * noise + 0.3 * force * burst(stroke, 2000.0, 12_000.0, 0.005, 2), np.float32
    )


def clap(stroke: Stroke) -> Floats:
    time = times(stroke.frames, stroke.rate)
    noise = burst(stroke, 850.0, 2200.0 + 3500.0 * stroke.force, 1.0, 1)
    shape = np.zeros(stroke.frames)
    for start_s in (0.0, 0.0105, 0.0205):
        since = time - start_s
        shape += np.where(since > 0.0, np.exp(-np.maximum(since, 0.0) / 0.0035), 0.0)
    since = np.maximum(time - 0.0295, 0.0)
    shape += np.where(time > 0.0295, 0.9 * np.exp(-since / 0.022) + 0.25 * np.exp(-since / 0.09), 0.0)
    return np.asarray(noise * shape, np.float32)


def rim(stroke: Stroke) -> Floats:
    tones = modes(
        (455.0, 1667.0, 3100.0), (0.5, 0.9, 0.35 * stroke.force), (0.012, 0.011, 0.006), stroke.frames, stroke.rate
    )
    return tones + 0.3 * stroke.force * burst(stroke, 2000.0, 9000.0, 0.003, 1)


_TOM_HZ = {Drum.FLOOR_TOM: 80.0, 43: 90.0, Drum.LOW_TOM: 110.0, Drum.MID_TOM: 140.0, 48: 160.0, Drum.HIGH_TOM: 185.0}


def tom(stroke: Stroke) -> Floats:
    hz = _TOM_HZ.get(stroke.pitch, 120.0)
    body = swept(stroke, hz, hz * (1.3 + 0.5 * stroke.force), 0.03, 0.16)
    body *= rise(stroke.frames, stroke.rate, 0.004)
    return body + (0.05 + 0.3 * stroke.force**2) * burst(stroke, 400.0, 5000.0, 0.008, 1)


def _squares(low_hz: float, high_hz: float, oscillators: tuple[float, ...], drift: float) -> tuple[Doubles, Doubles]:
    """Frequencies and levels of square waves' harmonics inside a band with soft edges."""
    hz, level = [], []
    for oscillator in oscillators:
        odd = np.arange(1, 80, 2)
        hz.append(odd * oscillator * (1.0 + drift))
        level.append(1.0 / odd)
    every, levels = np.concatenate(hz), np.concatenate(level)
    levels *= (every / low_hz) ** 2 / (1.0 + (every / low_hz) ** 2) / (1.0 + (every / high_hz) ** 4)
    kept = levels > 0.004
    return every[kept], levels[kept]


def hat(stroke: Stroke) -> Floats:
    ring = {Drum.CLOSED_HAT: 0.035 + 0.015 * stroke.force, Drum.PEDAL_HAT: 0.03, Drum.OPEN_HAT: 0.28}[stroke.pitch]
    hz, level = _squares(7000.0, 8500.0 + 5000.0 * stroke.force, _OSCILLATORS_HZ, 0.004 * stroke.variant)
    metal = modes(hz, level, ring, stroke.frames, stroke.rate, 0.7 * np.arange(len(hz)) ** 2)
    return 1.3 * metal + (0.15 + 0.25 * stroke.force) * burst(stroke, 7000.0, 15_000.0, ring, 1)


def cymbal(stroke: Stroke) -> Floats:
    """Crash and ride."""
    is_ride = stroke.pitch != Drum.CRASH
    hz, level = _squares(2600.0, 4500.0 + 9000.0 * stroke.force, _OSCILLATORS_HZ, 0.003 * stroke.variant)
    metal = modes(hz, level, 0.35 if is_ride else 0.7, stroke.frames, stroke.rate, 0.7 * np.arange(len(hz)) ** 2)
    wash = burst(stroke, 5000.0, 8000.0 + 7000.0 * stroke.force, 0.2 if is_ride else 0.6, 1)
    return np.asarray(
        metal + (0.06 if is_ride else 0.3) * wash + 0.3 * stroke.force * burst(stroke, 3000.0, 12_000.0, 0.006, 2),
        np.float32,
    )


def cowbell(stroke: Stroke) -> Floats:
    hz, level = _squares(500.0, 1800.0 + 1500.0 * stroke.force, (540.0, 800.0), 0.0)
    short = modes(hz, level, 0.012, stroke.frames, stroke.rate)
    return 0.9 * short + 0.6 * modes(hz, level, 0.11, stroke.frames, stroke.rate)
