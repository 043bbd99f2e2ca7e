"""Hand percussion: gourds of seeds, skins under hands, wood and metal. Each function plays one `Stroke`."""

from __future__ import annotations

import numpy as np

from engine.sketch.score import Drum
from engine.sketch.voices.kit import MEMBRANE, burst, plate, swept
from engine.sketch.voices.tones import Floats, band_noise, chance, modes, rise, times
from engine.sketch.voices.voice import Stroke


def _seeds(stroke: Stroke, low_hz: float, high_hz: float, swell_s: float, ring_s: float) -> Floats:
    """Grains in a shell: noise made grainy, quickly rising to where the grains strike the wall, then dying."""
    random = chance(stroke.pitch, stroke.variant)
    top = high_hz * (0.55 + 0.45 * stroke.force)
    hiss = band_noise(stroke.frames, stroke.rate, low_hz, top, stroke.pitch, stroke.variant)
    hop = max(1, round(0.0012 * stroke.rate))
    steps = random.gamma(1.8, 1.0 / 1.8, -(-stroke.frames // hop) + 1)
    grains = np.interp(np.arange(stroke.frames) / hop, np.arange(len(steps)), steps)
    time = times(stroke.frames, stroke.rate)
    shape = np.where(time < swell_s, 0.35 + 0.65 * (time / swell_s) ** 2, np.exp(-(time - swell_s) / ring_s))
    return np.asarray(hiss * (0.35 + 0.65 * grains) * shape, np.float32)


def shaker(stroke: Stroke) -> Floats:
    return 0.7 * _seeds(stroke, 3200.0, 13_000.0, 0.012, 0.035)


def maracas(stroke: Stroke) -> Floats:
    return 0.7 * _seeds(stroke, 4200.0, 14_000.0, 0.004, 0.02)


def cabasa(stroke: Stroke) -> Floats:
    return 0.7 * _seeds(stroke, 5500.0, 15_000.0, 0.022, 0.025)


def tambourine(stroke: Stroke) -> Floats:
    """Pairs of jingles that meet several times after the stroke, over a soft thump of the frame."""
    time = times(stroke.frames, stroke.rate)
    random = chance(stroke.pitch, stroke.variant, 1)
    jingles = plate(stroke, 60, 4300.0, 13_000.0, 0.3, -0.4 * (1.0 - stroke.force), 54)
    hiss = burst(stroke, 5200.0, 9000.0 + 6000.0 * stroke.force, 0.06, 1)
    shape = np.exp(-time / 0.07)
    for start_s in 0.012 + 0.05 * random.random(3):
        shape += 0.45 * np.where(time > start_s, np.exp(-np.maximum(0.0, time - start_s) / 0.03), 0.0)
    thump = modes((310.0, 480.0), (0.12, 0.06), 0.025, stroke.frames, stroke.rate)
    thump *= rise(stroke.frames, stroke.rate, 0.004)
    return np.asarray((0.7 * jingles + 0.3 * hiss) * shape + thump, np.float32)


_SKINS = {
    Drum.HIGH_BONGO: (415.0, 0.055),
    Drum.LOW_BONGO: (300.0, 0.075),
    Drum.MUTE_CONGA: (235.0, 0.03),
    Drum.HIGH_CONGA: (228.0, 0.12),
    Drum.LOW_CONGA: (168.0, 0.16),
}


def skin(stroke: Stroke) -> Floats:
    """Bongos and congas under the hand."""
    hz, ring = _SKINS[stroke.pitch]
    hz *= 1.0 + 0.01 * (chance(stroke.pitch, stroke.variant, 3).random() - 0.5)
    force, muted = stroke.force, stroke.pitch == Drum.MUTE_CONGA
    body = swept(stroke, hz, hz * (1.03 + 0.08 * force), 0.012, ring)
    level = np.array([0.35, 0.2, 0.17, 0.12, 0.1]) * (0.4 + (1.4 if muted else 0.8) * force)
    head = modes(hz * MEMBRANE[1:6], level, 0.5 * ring, stroke.frames, stroke.rate)
    hand = burst(stroke, 900.0, 2500.0 + (6000.0 if muted else 3000.0) * force, 0.006, 1)
    body = (0.5 if muted else 1.0) * body + 0.8 * head
    return body * rise(stroke.frames, stroke.rate, 0.0045) + (0.5 if muted else 0.2) * force * hand


def claves(stroke: Stroke) -> Floats:
    return _struck(stroke, (2480.0, 5105.0, 7050.0), (1.0, 0.16, 0.1), (0.035, 0.014, 0.008), 0.15)


def wood_block(stroke: Stroke) -> Floats:
    return _struck(stroke, (1060.0, 1790.0, 2860.0, 4330.0), (1.0, 0.5, 0.3, 0.15), (0.03, 0.022, 0.014, 0.01), 0.25)


def cowbell(stroke: Stroke) -> Floats:
    hz = (562.0, 845.0, 1270.0, 1715.0, 2440.0, 3350.0, 4480.0)
    return _struck(stroke, hz, (0.8, 1.0, 0.3, 0.4, 0.25, 0.2, 0.15), (0.14, 0.16, 0.1, 0.08, 0.06, 0.05, 0.04), 0.2)


def triangle(stroke: Stroke) -> Floats:
    hz = (1185.0, 2740.0, 4330.0, 5210.0, 6470.0, 7890.0, 9260.0, 11_430.0)
    level = (0.12, 0.35, 0.7, 0.6, 0.55, 0.45, 0.35, 0.25)
    return _struck(stroke, hz, level, (1.1, 1.3, 1.4, 1.2, 1.0, 0.9, 0.7, 0.5), 0.12)


def _struck(
    stroke: Stroke, hz: tuple[float, ...], level: tuple[float, ...], ring: tuple[float, ...], tip: float
) -> Floats:
    """A few modes of wood or metal, the higher ones the harder it is struck, and the stick."""
    tune = 1.0 + 0.004 * (chance(stroke.pitch, stroke.variant, 4).random() - 0.5)
    brighter = np.asarray(level) * (0.35 + 0.9 * stroke.force) ** (np.arange(len(hz)) / 2.0)
    tone = modes(np.asarray(hz) * tune, brighter, ring, stroke.frames, stroke.rate)
    tone *= rise(stroke.frames, stroke.rate, 0.002)
    return tone + tip * (0.2 + stroke.force) * burst(stroke, 2000.0, 9000.0, 0.003, 1)


def clap(stroke: Stroke) -> Floats:
    """A few people's hands, nearly together."""
    random = chance(stroke.pitch, stroke.variant, 6)
    sound = np.zeros(stroke.frames, np.float32)
    for hand, late_s in enumerate(np.concatenate([[0.0], np.sort(0.001 + 0.014 * random.random(4))])):
        at = min(stroke.frames, round(late_s * stroke.rate))
        low = 700.0 + 500.0 * random.random()
        one = burst(stroke, low, low * (2.2 + 1.8 * stroke.force), 0.009, 10 + hand)
        sound[at:] += (0.7 if hand else 1.0) * one[: stroke.frames - at]
    return sound + 0.12 * burst(stroke, 900.0, 5000.0, 0.05, 2) * rise(stroke.frames, stroke.rate, 0.01)
