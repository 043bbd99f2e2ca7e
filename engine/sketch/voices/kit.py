"""Acoustic drums, struck with sticks or brushes: heads and shells as decaying modes, wires and air as noise.

The modes' ratios are those of a circular membrane (Fletcher & Rossing, The Physics of Musical Instruments, ch. 18). A
harder stroke opens the spectrum, excites higher modes and gives more stick. Each function plays one `Stroke`.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.score import Drum
from engine.sketch.voices.tones import (
    Floats,
    band_noise,
    chance,
    decay,
    low_passed,
    modes,
    rise,
    times,
)
from engine.sketch.voices.voice import Stroke

CONTACT_S = 0.004
"""While the beater or stick is on it, a head has not yet moved far."""
MEMBRANE = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501])


def swept(stroke: Stroke, low_hz: float, high_hz: float, sweep_s: float, ring_s: float) -> Floats:
    """A decaying sine whose pitch falls from `high_hz` to `low_hz`."""
    time = times(stroke.frames, stroke.rate)
    turns = low_hz * time + (high_hz - low_hz) * sweep_s * (1.0 - np.exp(-time / sweep_s))
    return np.asarray(np.sin(2.0 * np.pi * turns) * np.exp(-time / ring_s), np.float32)


def burst(stroke: Stroke, low_hz: float, high_hz: float, ring_s: float, *key: int) -> Floats:
    """A decaying band of noise, another one for every variant; silence where it has long died."""
    frames = min(stroke.frames, round(8.0 * ring_s * stroke.rate) + 1)
    made = band_noise(frames, stroke.rate, low_hz, high_hz, stroke.pitch, stroke.variant, *key)
    return _padded(made * decay(frames, stroke.rate, ring_s), stroke.frames)


def _padded(sound: Floats, frames: int) -> Floats:
    return np.pad(sound, (0, frames - len(sound)))


def _detune(stroke: Stroke, share: float) -> float:
    """No two strokes hit the same spot: a factor near 1 by variant."""
    return 1.0 + share * (chance(stroke.pitch, stroke.variant, 5).random() - 0.5)


# --- drums -----------------------------------------------------------------------------------------------------------
def kick(stroke: Stroke) -> Floats:
    force = stroke.force
    body = swept(stroke, 51.0 * _detune(stroke, 0.01), 95.0 + 75.0 * force, 0.022, 0.13)
    head = modes(112.0 * MEMBRANE[:4], (0.30, 0.2, 0.14, 0.1), (0.06, 0.04, 0.03, 0.025), stroke.frames, stroke.rate)
    click = burst(stroke, 1600.0, 2500.0 + 5000.0 * force, 0.0035, 1)
    felt = burst(stroke, 180.0, 900.0, 0.012, 2)
    struck = body + (0.4 + 0.5 * force) * head + 0.16 * felt
    return np.asarray(
        struck * rise(stroke.frames, stroke.rate, CONTACT_S) + (0.08 + 0.5 * force**2) * click, np.float32
    )


def snare(stroke: Stroke) -> Floats:
    force, tune = stroke.force, _detune(stroke, 0.012)
    heads = np.concatenate([186.0 * tune * MEMBRANE, [327.0 * tune, 412.0]])
    level = np.array([0.75, 0.32, 0.2, 0.14, 0.1, 0.09, 0.07, 0.05, 0.38, 0.14])
    level[2:8] *= 0.4 + 1.2 * force
    ring = np.array([0.085, 0.065, 0.05, 0.045, 0.04, 0.035, 0.03, 0.03, 0.06, 0.05])
    shell = modes(heads, 0.6 * level, ring, stroke.frames, stroke.rate)
    shell *= rise(stroke.frames, stroke.rate, 0.6 * CONTACT_S)
    wires = burst(stroke, 1500.0, 4500.0 + 7000.0 * force, 0.05 + 0.045 * force, 1)
    rattle = burst(stroke, 3000.0, 9500.0, 0.13, 2)
    crack = burst(stroke, 900.0, 3000.0 + 8000.0 * force, 0.006, 3)
    soft_start = 0.35 + 0.65 * rise(stroke.frames, stroke.rate, 0.002)
    return np.asarray(
        shell + soft_start * ((0.25 + 0.3 * force) * wires + 0.1 * rattle) + (0.1 + 0.7 * force**2) * crack, np.float32
    )


def side_stick(stroke: Stroke) -> Floats:
    tune = _detune(stroke, 0.02)
    wood = modes(
        np.array([420.0, 845.0, 1630.0, 2480.0, 3890.0, 5300.0]) * tune,
        (0.3, 0.55, 0.75, 0.5, 0.3, 0.2 * stroke.force),
        (0.02, 0.022, 0.018, 0.012, 0.009, 0.006),
        stroke.frames,
        stroke.rate,
    )
    wood *= rise(stroke.frames, stroke.rate, 0.001)
    return wood + (0.1 + 0.3 * stroke.force) * burst(stroke, 1200.0, 8000.0, 0.004, 1)


_TOM_HZ = {Drum.FLOOR_TOM: 82.0, 43: 95.0, Drum.LOW_TOM: 112.0, Drum.MID_TOM: 138.0, 48: 155.0, Drum.HIGH_TOM: 178.0}


def tom(stroke: Stroke) -> Floats:
    hz = _TOM_HZ.get(stroke.pitch, 120.0) * _detune(stroke, 0.008)
    force = stroke.force
    body = swept(stroke, hz, hz * (1.12 + 0.25 * force), 0.035, 24.0 / hz)
    head = modes(
        hz * MEMBRANE[1:7],
        np.array([0.4, 0.28, 0.2, 0.16, 0.12, 0.1]) * (0.3 + force),
        9.0 / hz,
        stroke.frames,
        stroke.rate,
    )
    stick = burst(stroke, 700.0, 2500.0 + 5000.0 * force, 0.006, 1)
    skin = burst(stroke, 200.0, 1800.0, 0.03, 2)
    struck = body + 0.55 * head + 0.12 * skin
    return np.asarray(
        struck * rise(stroke.frames, stroke.rate, CONTACT_S) + (0.05 + 0.35 * force**2) * stick, np.float32
    )


# --- cymbals ---------------------------------------------------------------------------------------------------------
def plate(stroke: Stroke, count: int, low_hz: float, high_hz: float, ring_s: float, tilt: float, which: int) -> Floats:
    """Inharmonic partials of a plate, evenly dense in frequency, high ones dying sooner; `tilt` in powers of f/low."""
    random = chance(which, count)
    hz = low_hz + (high_hz - low_hz) * np.sort(random.random(count)) ** 1.15
    level = (hz / low_hz) ** tilt * (0.4 + random.random(count)) / np.sqrt(count)
    ring = ring_s * (0.5 + random.random(count)) * (low_hz / hz) ** 0.35
    # Where the stick lands decides how strongly each mode sounds.
    level *= 0.7 + 0.6 * chance(which, stroke.variant, stroke.pitch).random(count)
    return modes(hz, level, ring, stroke.frames, stroke.rate, 2.0 * np.pi * random.random(count))


def hat(stroke: Stroke) -> Floats:
    """Closed, pedalled and open hi-hat."""
    force = stroke.force
    ring, stick, low = {
        Drum.CLOSED_HAT: (0.018 + 0.03 * force, 0.5, 4200.0),
        Drum.PEDAL_HAT: (0.03, 0.03, 3000.0),
        Drum.OPEN_HAT: (0.42, 0.45, 3400.0),
    }[stroke.pitch]
    metal = plate(stroke, 70, low, 13_500.0, 1.6 * ring, -0.2 - 1.2 * (1.0 - force), 42)
    air = burst(stroke, 5000.0, 8000.0 + 9000.0 * force, ring, 1)
    tip = burst(stroke, 2500.0, 5000.0 + 8000.0 * force, 0.004, 2)
    closing = 1.0 if stroke.pitch != Drum.PEDAL_HAT else 0.1 + 0.9 * rise(stroke.frames, stroke.rate, 0.006)
    return np.asarray(
        closing * (0.5 * metal + (0.12 + 0.3 * force) * air) + stick * (0.2 + 0.6 * force) * tip, np.float32
    )


def ride(stroke: Stroke) -> Floats:
    force = stroke.force
    on_bell = stroke.pitch == Drum.RIDE_BELL
    wash = plate(stroke, 160, 420.0, 11_000.0, 1.3, -0.25 - 0.5 * (1.0 - force), 51)
    bell = modes(
        np.array([587.0, 893.0, 1392.0, 1944.0, 2714.0, 3481.0, 4560.0]) * _detune(stroke, 0.003),
        np.array([0.5, 0.6, 0.8, 0.6, 0.5, 0.35, 0.25]) * (0.55 if on_bell else 0.07),
        (1.3, 1.1, 0.9, 0.7, 0.55, 0.4, 0.3),
        stroke.frames,
        stroke.rate,
    )
    ping = plate(stroke, 30, 2600.0, 7500.0, 0.05, 0.0, 52)
    tip = burst(stroke, 3000.0, 6000.0 + 8000.0 * force, 0.004, 1)
    return np.asarray((0.22 + 0.2 * force) * wash + bell + 0.3 * ping + (0.1 + 0.4 * force) * tip, np.float32)


def crash(stroke: Stroke) -> Floats:
    force = stroke.force
    bloom = 0.55 + 0.45 * rise(stroke.frames, stroke.rate, 0.03)
    metal = plate(stroke, 220, 330.0, 12_500.0, 1.5, -0.1 - 0.5 * (1.0 - force), 49)
    wash = burst(stroke, 2200.0, 7000.0 + 9000.0 * force, 0.55, 1)
    low = burst(stroke, 450.0, 2600.0, 0.25, 2)
    hit = burst(stroke, 1200.0, 9000.0, 0.012, 3)
    return np.asarray(bloom * (0.5 * metal + (0.12 + 0.28 * force) * wash + 0.12 * low) + 0.4 * force * hit, np.float32)


# --- brushes ---------------------------------------------------------------------------------------------------------
_SWEEP_BELOW = 56
"""A snare note softer than this is swept, as a brush player's left hand does."""


def brush_snare(stroke: Stroke) -> Floats:
    if stroke.velocity < _SWEEP_BELOW or stroke.pitch == 40:
        return _sweep(stroke)
    force = stroke.force
    hz = 205.0 * _detune(stroke, 0.02) * MEMBRANE[:4]
    head = modes(hz, (0.3, 0.14, 0.08, 0.06), 0.06, stroke.frames, stroke.rate)
    head *= rise(stroke.frames, stroke.rate, CONTACT_S)
    # The bristles arrive one after another, within some milliseconds.
    bristles = burst(stroke, 1100.0, 2500.0 + 8500.0 * force**1.5, 0.022, 1)
    bristles *= 0.5 + 0.5 * rise(stroke.frames, stroke.rate, 0.003)
    wires = burst(stroke, 2500.0, 4000.0 + 6500.0 * force, 0.08, 2)
    slap = 0.5 * force**2 * burst(stroke, 700.0, 6000.0, 0.008, 3)
    return np.asarray(head + 0.55 * bristles + (0.05 + 0.12 * force) * wires + slap, np.float32)


def _sweep(stroke: Stroke) -> Floats:
    time = times(stroke.frames, stroke.rate)
    stir = band_noise(stroke.frames, stroke.rate, 1500.0, 6500.0, stroke.variant, 9)
    # A quarter of the stroke comes at once, then the hand speeds up and leaves the head.
    swell = 0.25 * np.exp(-time / 0.05) + (time / 0.09) * np.exp(1.0 - time / 0.09) * 0.55
    return np.asarray(stir * swell, np.float32)


def brush_kick(stroke: Stroke) -> Floats:
    body = swept(stroke, 55.0, 88.0, 0.03, 0.16)
    felt = burst(stroke, 120.0, 400.0 + 600.0 * stroke.force, 0.014, 1)
    struck = (body + (0.1 + 0.25 * stroke.force) * felt) * rise(stroke.frames, stroke.rate, CONTACT_S)
    return np.asarray(struck + 0.12 * stroke.force**2 * burst(stroke, 900.0, 2500.0, 0.004, 2), np.float32)


def brush_hat(stroke: Stroke) -> Floats:
    return low_passed(hat(stroke), 8500.0, stroke.rate, order=1) * 0.9 + 0.07 * burst(stroke, 2500.0, 7000.0, 0.02, 7)


def brush_ride(stroke: Stroke) -> Floats:
    return low_passed(ride(stroke), 6500.0, stroke.rate, order=1) + 0.12 * burst(stroke, 2500.0, 8000.0, 0.025, 7)


def brush_crash(stroke: Stroke) -> Floats:
    return low_passed(crash(stroke), 6000.0, stroke.rate, order=1)
