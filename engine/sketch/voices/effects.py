"""Effects between sections: what rises ends exactly at its note's end, what falls or strikes begins at its start.

Each function plays one `Stroke` of exactly its `frames`, ``(2, frames)``.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.score import Drum, Effect
from engine.sketch.voices import kit
from engine.sketch.voices.tones import (
    HIGHEST_SHARE,
    Doubles,
    Floats,
    band_noise,
    chance,
    fall,
    modes,
    read_tables,
    rise,
    times,
    wavetables,
)
from engine.sketch.voices.voice import Play, Stroke

_CUT_S = 0.004
_LEVEL = 0.5


def play(stroke: Stroke) -> Floats:
    """Any effect; a note that is none plays the nearest."""
    pitch = min(_EFFECTS, key=lambda known: (abs(known - stroke.pitch), known))
    sound = _EFFECTS[pitch](stroke)
    return np.asarray(sound * np.float32(_LEVEL), np.float32)


def _impact(stroke: Stroke) -> Floats:
    """A deep hit with a long, dark tail."""
    boom = kit.swept(stroke, 36.0, 150.0, 0.05, 0.55)
    metal = modes(
        (88.0, 141.0, 203.0, 337.0), (0.3, 0.24, 0.18, 0.12), (0.7, 0.6, 0.5, 0.35), stroke.frames, stroke.rate
    )
    ears = []
    for ear in range(2):
        crack = kit.burst(stroke, 500.0, 3000.0 + 7000.0 * stroke.force, 0.03, 20 + ear)
        tail = kit.burst(stroke, 90.0, 1400.0, 0.45, 30 + ear)
        ears.append(boom + metal + 0.6 * crack + 0.4 * tail)
    return _ended(np.stack(ears), stroke, 0.08)


def _sub_drop(stroke: Stroke) -> Floats:
    time = times(stroke.frames, stroke.rate)
    length = stroke.frames / stroke.rate
    hz = 32.0 + 75.0 * np.exp(-3.0 * time / length)
    phase = 2.0 * np.pi * np.cumsum(hz) / stroke.rate
    tone = np.sin(phase) + 0.12 * np.sin(2.0 * phase)
    tone *= np.minimum(1.0, time / 0.004) * np.exp(-1.2 * time / length)
    return _ended(np.stack([tone, tone]).astype(np.float32), stroke, min(0.3, 0.4 * length))


_BANDS_HZ = 250.0 * 2.0 ** np.arange(0.0, 6.0, 0.75)


def _moving_noise(stroke: Stroke, centre_hz: Doubles, ear: int) -> Floats:
    """Noise in a band of about an octave that moves to `centre_hz` ``(frames,)``."""
    sound = np.zeros(stroke.frames, np.float32)
    for number, hz in enumerate(_BANDS_HZ):
        weight = np.exp(-0.5 * (np.log2(centre_hz / hz) / 0.6) ** 2)
        sound += weight.astype(np.float32) * band_noise(stroke.frames, stroke.rate, 0.7 * hz, 1.4 * hz, number, ear, 60)
    return sound


def _swept_saw(stroke: Stroke, hz: Doubles) -> Floats:
    """A soft saw whose pitch moves; its partials fade out before they come to the limit."""
    cycles = np.cumsum(hz) / stroke.rate
    sound = np.zeros(stroke.frames, np.float32)
    for number in range(1, 9):
        table = wavetables([[1.0]], 1.0, stroke.rate)
        room = np.clip((HIGHEST_SHARE * stroke.rate - number * hz) / (0.05 * stroke.rate), 0.0, 1.0)
        sound += read_tables(table, number * cycles, [room / number**1.5])
    return sound


def _riser(stroke: Stroke) -> Floats:
    share = (np.arange(stroke.frames) + 1.0) / stroke.frames
    centre = 300.0 * (4000.0 + 5000.0 * stroke.force) ** share / 300.0**share
    swell = np.asarray(share**2.2 + 0.01, np.float32)
    saw = 0.35 * _swept_saw(stroke, 110.0 * 4.0 ** (share**1.5))
    ears = [(0.9 * _moving_noise(stroke, centre, ear) + saw) * swell for ear in range(2)]
    return _ended(np.stack(ears), stroke, _CUT_S)


def _downlifter(stroke: Stroke) -> Floats:
    share = (np.arange(stroke.frames) + 1.0) / stroke.frames
    centre = 6500.0 * (180.0 / 6500.0) ** share
    fade = np.asarray((1.0 - share) ** 1.3, np.float32)
    saw = 0.3 * _swept_saw(stroke, 440.0 * 0.125**share)
    ears = [(0.8 * _moving_noise(stroke, centre, ear) + saw) * fade for ear in range(2)]
    return _ended(np.stack(ears) * rise(stroke.frames, stroke.rate, 0.003), stroke, 0.02)


def _reverse_cymbal(stroke: Stroke) -> Floats:
    """A crash played backwards: it begins where the note does, or as long before its end as a crash rings."""
    frames = min(stroke.frames, round(3.0 * stroke.rate))
    ears = []
    for ear in range(2):
        crash = kit.crash(Stroke(Drum.CRASH, stroke.velocity, ear, frames, stroke.rate)) * 0.8
        crash *= fall(frames)
        ears.append(np.pad(crash[::-1], (stroke.frames - frames, 0)))
    return _ended(np.stack(ears), stroke, _CUT_S)


def _shimmer(stroke: Stroke) -> Floats:
    """Small bells that come and go, high and wide."""
    length = stroke.frames / stroke.rate
    random = chance(stroke.pitch, stroke.variant, 70)
    sound = np.zeros((2, stroke.frames), np.float32)
    count = max(3, round(11.0 * length))
    starts = np.concatenate([[0.0], np.sort(random.random(count - 1)) * 0.85])
    for start in starts:
        at = int(start * stroke.frames)
        hz = 1760.0 * 2.0 ** (random.integers(0, 5) * 0.5 + random.normal(0.0, 0.02))
        rest = min(stroke.frames - at, round(1.2 * stroke.rate))
        bell = modes((hz, 2.76 * hz), (0.2, 0.06 * (0.3 + stroke.force)), (0.3, 0.12), rest, stroke.rate)
        pan = random.random()
        sound[0, at : at + rest] += np.float32(np.sqrt(1.0 - pan)) * bell
        sound[1, at : at + rest] += np.float32(np.sqrt(pan)) * bell
    return _ended(sound, stroke, min(0.3, 0.4 * length))


def _ended(sound: Floats, stroke: Stroke, seconds: float) -> Floats:
    count = min(stroke.frames, max(2, round(seconds * stroke.rate)))
    sound[:, stroke.frames - count :] *= fall(count)
    return sound


_EFFECTS: dict[int, Play] = {
    Effect.IMPACT: _impact,
    Effect.SUB_DROP: _sub_drop,
    Effect.RISER: _riser,
    Effect.REVERSE_CYMBAL: _reverse_cymbal,
    Effect.DOWNLIFTER: _downlifter,
    Effect.SHIMMER: _shimmer,
}
