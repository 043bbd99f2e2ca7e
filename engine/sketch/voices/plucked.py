"""Plucked strings by Karplus-Strong synthesis: a period of sound that goes round a delay line with losses.

After Karplus & Strong (1983) and Jaffe & Smith (1983). One loop filter, a fractional delay and a Gaussian low pass in
one, gives the exact pitch and losses that mean the same at every sample rate; a whole period is computed at a time.
What is plucked is one period made of harmonics, so that place and hardness of the pluck are as wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import butter, iirpeak, sosfilt, tf2sos

from engine.sketch.voices.kit import burst
from engine.sketch.voices.tones import (
    HIGHEST_SHARE,
    Doubles,
    Floats,
    chance,
    frequency,
    harmonics,
    high_passed,
    low_passed,
    modes,
    rise,
)
from engine.sketch.voices.voice import Bus, Stroke

_FEW_SAMPLES = 24.0
"""Shorter periods hold so few harmonics that they are summed one by one."""
_SINC_REACH = 8
_MOST_PARTIALS = 400
_LONGEST_S = 6.0
_LEAVING_S = 0.0012
"""What a finger or pick takes to let the string go."""


@dataclass(frozen=True)
class String:
    """What a string is like. Decays are times to -60 dB, of the fundamental at 110 Hz and of partials at 3 kHz."""

    ring_s: float
    bright_s: float
    pluck_at: float
    """Share of the string's length."""
    dark_hz: float
    bright_hz: float
    """The pluck's harmonics fall by 12 dB per octave from `dark_hz` (softest) to `bright_hz` (hardest)."""
    ring_by_pitch: float = 0.5
    """Exponent: the fundamental rings for ``ring_s * (110 / hz) ** ring_by_pitch``."""


def plucked(stroke: Stroke, string: String) -> Floats:
    """The string alone, its level such that its first period has an RMS of 1."""
    hz = frequency(stroke.pitch)
    period = stroke.rate / hz
    ring_s = string.ring_s * (110.0 / hz) ** string.ring_by_pitch
    frames = min(stroke.frames, round(min(1.2 * ring_s, _LONGEST_S) * stroke.rate))
    number = harmonics(hz, stroke.rate, _MOST_PARTIALS)
    level, phase = _pluck(stroke, string, hz, number)
    # What a Gaussian loop filter does to the partials: losses that grow with the square of the frequency.
    loss = 3.0 * math.log(10.0) * (1.0 / ring_s + np.square(number * hz / 3000.0) / string.bright_s)
    if period < _FEW_SAMPLES:
        return _ended(modes(number * hz, math.sqrt(2.0) * level, 1.0 / loss, frames, stroke.rate, phase), stroke.rate)
    angle = 2.0 * np.pi * np.arange(int(period))[:, None] / period * number
    first = math.sqrt(2.0) * np.sin(angle + phase) @ level
    return _ended(_looped(first, period, hz, ring_s, string.bright_s, frames, stroke.rate), stroke.rate)


def _pluck(stroke: Stroke, string: String, hz: float, number: Doubles) -> tuple[Doubles, Doubles]:
    """Levels of unit power, and phases."""
    random = chance(stroke.pitch, stroke.variant, 31)
    corner = string.dark_hz * (string.bright_hz / string.dark_hz) ** stroke.force
    at = string.pluck_at * (1.0 + 0.12 * (random.random() - 0.5))
    level = np.abs(np.sin(np.pi * number * at)) + 0.02
    level = level / number**0.55 / (1.0 + (number * hz / corner) ** 2)
    level *= 10.0 ** (random.uniform(-1.5, 1.5, len(number)) / 20.0)
    # Strings of one chord must not all begin with a peak of the same sign.
    phase = np.pi * (random.integers(0, 2) + 0.5) + random.uniform(-1.6, 1.6, len(number))
    return level / math.sqrt(float(np.sum(level**2))), phase


def _looped(
    first: Doubles, period: float, hz: float, ring_s: float, bright_s: float, frames: int, rate: float
) -> Doubles:
    taps, centre = _loop_filter(round(period, 9), round(hz, 6), ring_s, bright_s, float(rate))
    line = round(period - centre)  # what the delay line adds to the delay of the filter
    past = line + len(taps) - 1
    sound = np.zeros(past + frames + line + len(first))
    sound[past : past + len(first)] = first
    for at in range(past, past + frames, line):
        sound[at : at + line] += np.convolve(sound[at - past : at], taps, "valid")
    return sound[past : past + frames]


@lru_cache(maxsize=512)
def _loop_filter(period: float, hz: float, ring_s: float, bright_s: float, rate: float) -> tuple[Doubles, float]:
    """Taps, and the delay at their centre, so that the delay line can be whole samples."""
    # exp(-w^2 s^2 / 2) once per period is the loss wanted at 3 kHz: see `plucked`.
    spread = math.sqrt(2.0 * 3.0 * math.log(10.0) / (hz * bright_s)) / (2.0 * np.pi * 3000.0 / rate)
    reach = min(math.ceil(_SINC_REACH + 4.0 * spread), int(period / 2.0) - 1)
    centre = reach + period - math.floor(period)
    omega = (np.arange(512) + 0.5) * np.pi / 512
    wanted = np.exp(-0.5 * (omega * spread) ** 2)
    offset = np.arange(2 * reach + 2) - centre
    taps = np.cos(omega * offset[:, None]) @ wanted / 512
    taps *= np.cos(0.5 * np.pi * offset / (reach + 1.0)) ** 2
    gain = 10.0 ** (-3.0 / (hz * ring_s))
    taps *= gain / taps.sum()
    # A window's ripple must not let a partial grow.
    highest = float(np.abs(np.fft.rfft(taps, 4096)).max())
    return taps * min(1.0, gain / highest), centre


def _ended(sound: np.ndarray, rate: float) -> Floats:
    """Where the string is taken to be still, it is."""
    count = min(len(sound), round(0.05 * rate))
    made = np.asarray(sound, np.float32)
    made[len(made) - count :] *= np.linspace(1.0, 0.0, count, dtype=np.float32)
    return made


# --- bodies, cabinets, amplifiers ------------------------------------------------------------------------------------
def resonant(sound: Floats, rate: float, peaks: tuple[tuple[float, float, float], ...]) -> Floats:
    """`sound` plus what resonances ``(hz, q, level)`` make of it."""
    total = sound.copy()
    for hz, q, level in peaks:
        if hz < HIGHEST_SHARE * rate:
            total += np.float32(level) * np.asarray(sosfilt(_peak(hz, q, float(rate)), sound), np.float32)
    return total


@lru_cache(maxsize=64)
def _peak(hz: float, q: float, rate: float) -> Doubles:
    return np.asarray(tf2sos(*iirpeak(hz, q, fs=rate)))


def _with_pick(stroke: Stroke, sound: Floats, low_hz: float, high_hz: float, ring_s: float, level: float) -> Floats:
    force = stroke.force
    sound *= rise(len(sound), stroke.rate, _LEAVING_S)
    short = Stroke(stroke.pitch, stroke.velocity, stroke.variant, len(sound), stroke.rate)
    return sound + np.float32(level * (0.25 + force)) * burst(short, low_hz, high_hz * (0.5 + 0.5 * force), ring_s, 3)


_STEEL = String(4.5, 0.5, 0.13, 1300.0, 6500.0)
_ELECTRIC = String(6.0, 0.7, 0.17, 1100.0, 4500.0, 0.4)
_BRIDGE = String(7.0, 0.8, 0.1, 1800.0, 5500.0, 0.4)
_PALM = String(0.42, 0.1, 0.08, 900.0, 4200.0, 0.2)
_GUT = String(0.75, 0.16, 0.21, 800.0, 3200.0, 0.35)
_UPRIGHT = String(2.6, 0.13, 0.3, 350.0, 1400.0, 0.35)
_FINGER = String(4.0, 0.3, 0.22, 500.0, 2200.0, 0.35)
_PLECTRUM = String(4.5, 0.5, 0.12, 900.0, 4200.0, 0.35)


def acoustic_guitar(stroke: Stroke) -> Floats:
    sound = resonant(plucked(stroke, _STEEL), stroke.rate, ((102.0, 8.0, 0.9), (204.0, 7.0, 0.7), (410.0, 5.0, 0.35)))
    return high_passed(_with_pick(stroke, sound, 1800.0, 9000.0, 0.006, 0.35), 70.0, stroke.rate)


def clean_guitar(stroke: Stroke) -> Floats:
    return cabinet(_with_pick(stroke, plucked(stroke, _ELECTRIC), 1500.0, 6000.0, 0.004, 0.2), stroke.rate)


def muted_guitar(stroke: Stroke) -> Floats:
    return cabinet(_with_pick(stroke, plucked(stroke, _PALM), 900.0, 4500.0, 0.007, 0.35), stroke.rate)


def driven_guitar(stroke: Stroke) -> Floats:
    """The string before the amplifier, which all strings share: see `amplifier`."""
    return high_passed(_with_pick(stroke, plucked(stroke, _BRIDGE), 1200.0, 5000.0, 0.004, 0.2), 90.0, stroke.rate)


def pizzicato(stroke: Stroke) -> Floats:
    sound = resonant(plucked(stroke, _GUT), stroke.rate, ((275.0, 5.0, 0.5), (460.0, 5.0, 0.5), (1100.0, 3.0, 0.25)))
    return _with_pick(stroke, sound, 500.0, 2500.0, 0.008, 0.2)


def upright_bass(stroke: Stroke) -> Floats:
    sound = resonant(plucked(stroke, _UPRIGHT), stroke.rate, ((98.0, 4.0, 0.5), (190.0, 4.0, 0.35), (750.0, 3.0, 0.25)))
    return _with_pick(stroke, sound, 250.0, 1600.0, 0.012, 0.25)


def finger_bass(stroke: Stroke) -> Floats:
    return low_passed(_with_pick(stroke, plucked(stroke, _FINGER), 350.0, 2500.0, 0.008, 0.18), 4500.0, stroke.rate)


def pick_bass(stroke: Stroke) -> Floats:
    return low_passed(_with_pick(stroke, plucked(stroke, _PLECTRUM), 900.0, 5000.0, 0.004, 0.35), 5500.0, stroke.rate)


def cabinet(sound: Floats, rate: float) -> Floats:
    """A twelve-inch speaker: no deep bass, a presence peak, nothing much above 5 kHz."""
    return low_passed(high_passed(resonant(sound, rate, ((2400.0, 1.5, 0.5),)), 85.0, rate), 4800.0, rate, order=3)


_ENOUGH_RATE = 176_400


def amplifier(rate: float) -> Bus:
    """An overdriven amplifier and its cabinet for a whole part, computed at four times the usual rates.

    Causal filters keep the attack on its sample; the curve is slightly lopsided, as valves are.
    """
    factor = min(8, max(1, math.ceil(_ENOUGH_RATE / rate)))
    fine = rate * factor
    edge = _sections("lowpass", min(HIGHEST_SHARE * rate, 16_000.0), fine, 6)
    speaker = np.concatenate(
        [
            _sections("highpass", 85.0, rate, 2),
            _sections("lowpass", min(4300.0, 0.4 * rate), rate, 4),
            _sections("highpass", 20.0, rate, 1),
        ]
    )
    tight = _sections("lowpass", min(5500.0, 0.4 * rate), rate, 2)
    states = [np.zeros((len(sections), 2)) for sections in (tight, edge, edge, speaker)]

    def play(block: Floats) -> Floats:
        mono = block.sum(axis=0, dtype=np.float64) * math.sqrt(0.5)
        if not mono.any() and all(np.abs(state).max() < 1e-6 for state in states):
            return np.zeros_like(block)
        smooth, states[0] = sosfilt(tight, mono, zi=states[0])
        raised = np.zeros(len(mono) * factor)
        raised[::factor] = factor * smooth
        raised, states[1] = sosfilt(edge, raised, zi=states[1])
        bent = np.tanh(raised + 0.15) - math.tanh(0.15)
        bent, states[2] = sosfilt(edge, bent, zi=states[2])
        spoken, states[3] = sosfilt(speaker, bent[::factor], zi=states[3])
        return np.asarray(np.stack([spoken, spoken]) * math.sqrt(0.5), np.float32)

    return play


def _sections(kind: str, hz: float, rate: float, order: int) -> Doubles:
    return np.asarray(butter(order, hz, kind, fs=rate, output="sos"))
