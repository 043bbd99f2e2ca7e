"""Simulated senders of MIDI clock: when ticks are sent at a tempo that may change, and when a driver says they came."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from protocol.midi_clock import MidiClock

Delay = Callable[[random.Random, float], float]
"""The time at which a tick sent at a time is heard."""

START_S = 1000.0


@dataclass(frozen=True)
class Tick:
    """Tick `number` was sent at `sent` (seconds) at the tempo `bpm`, and heard at `heard`."""

    number: int
    sent: float
    bpm: float
    heard: float


def steady(bpm: float) -> Callable[[float], float]:
    return lambda beat: bpm


def step(bpm: float, to: float, at_beat: float) -> Callable[[float], float]:
    return lambda beat: bpm if beat < at_beat else to


def ramp(bpm: float, to: float, from_beat: float, until_beat: float) -> Callable[[float], float]:
    def tempo(beat: float) -> float:
        share = min(1.0, max(0.0, (beat - from_beat) / (until_beat - from_beat)))
        return bpm + share * (to - bpm)

    return tempo


def uniform(half_s: float) -> Delay:
    return lambda chance, sent: sent + chance.uniform(-half_s, half_s)


def gaussian(deviation_s: float) -> Delay:
    return lambda chance, sent: sent + chance.gauss(0.0, deviation_s)


def quantised(frames: int, rate: int = 48_000, wake_s: float = 0.0) -> Delay:
    """Heard at the beginning of the audio period after it was sent, as python-rtmidi hears on JACK; `wake_s` later."""
    period = frames / rate

    def heard(chance: random.Random, sent: float) -> float:
        return ceil(sent / period) * period + abs(chance.gauss(0.0, wake_s))

    return heard


def late(mean_s: float, stall_share: float = 0.0, stall_s: float = 0.0) -> Delay:
    """Never early: exponential delays, and now and then a stall of up to `stall_s`."""

    def heard(chance: random.Random, sent: float) -> float:
        stalled = chance.uniform(0.2, 1.0) * stall_s if chance.random() < stall_share else 0.0
        return sent + chance.expovariate(1.0 / mean_s) + stalled

    return heard


def ticks(tempo: Callable[[float], float], delay: Delay, beats: float, seed: int, *, drift: float = 0.0) -> list[Tick]:
    """`beats` of a clock, in the order sent; none is heard before the one sent before it.

    `drift`: share by which the sender's seconds are longer than ours.
    """
    chance = random.Random(seed)
    sent = START_S + chance.random()
    found: list[Tick] = []
    for number in range(round(24 * beats)):
        bpm = tempo(number / 24) / (1.0 + drift)
        heard = delay(chance, sent)
        found.append(Tick(number, sent, bpm, max(heard, found[-1].heard) if found else heard))
        sent += 60.0 / 24 / bpm
    return found


def with_losses(sent: list[Tick], share: float, seed: int) -> list[Tick]:
    """The ticks that arrive if `share` of them do not. The first always does."""
    chance = random.Random(seed)
    return [tick for tick in sent if tick.number == 0 or chance.random() >= share]


def started(first: Tick) -> MidiClock:
    """A clock that heard Start just before its first tick."""
    clock = MidiClock()
    clock.start(first.heard - 0.001)
    return clock


def fed(sent: list[Tick]) -> MidiClock:
    """A clock that heard Start and all these ticks."""
    clock = started(sent[0])
    for tick in sent:
        clock.tick(tick.heard)
    return clock


def moved(sent: list[Tick], by_s: float, number: int = 0) -> list[Tick]:
    """The same ticks later, numbered from `number`."""
    first = sent[0].number
    return [
        replace(tick, number=tick.number - first + number, sent=tick.sent + by_s, heard=tick.heard + by_s)
        for tick in sent
    ]
