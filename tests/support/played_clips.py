"""A player without a sound card: simulated transports with jitter and drift, and what can be measured of its output."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.live.player import Clip, Player
from protocol.transport import Playhead

RATE, BLOCK, BPM = 48_000, 256, 120.0
Truth = Callable[[float], tuple[float, float]]
"""Time -> beat and BPM."""


def steady(bpm: float = BPM) -> Truth:
    return lambda at: (at * bpm / 60.0, bpm)


def stepping(at_s: float, bpm: float, after: float) -> Truth:
    """`bpm` up to `at_s`, then `after`."""
    return lambda at: (at * bpm / 60.0, bpm) if at < at_s else (at_s * bpm / 60.0 + (at - at_s) * after / 60.0, after)


def sine(seconds: float, hertz: float = 1000.0, rate: int = RATE, start_beat: float = 0.0, number: int = 1) -> Clip:
    """A stereo sine of amplitude 0.5, made for 120 BPM."""
    wave = (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    return Clip(number, start_beat, seconds * BPM / 60.0, np.stack([wave, wave]), rate)


def noise(seconds: float, start_beat: float = 0.0, number: int = 1, seed: int = 1) -> Clip:
    frames = round(seconds * RATE)
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (2, frames)).astype(np.float32)
    return Clip(number, start_beat, seconds * BPM / 60.0, audio, RATE)


@dataclass
class Heads:
    """A transport that reports `updates` times a second, each time wrong by up to `jitter_s`.

    `epoch`, `playing` and `truth` may be set while it runs; `now` is how far it was played.
    """

    truth: Truth = field(default_factory=steady)
    jitter_s: float = 0.0
    updates: float = 100.0
    seed: int = 1
    playing: bool = True
    epoch: int = 1
    now: float = 0.0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._said: Playhead | None = None
        self._update = -1

    def __call__(self, at: float) -> Playhead:
        update = math.floor(at * self.updates)
        if update != self._update or self._said is None or not self.playing:
            self._update = update
            now = update / self.updates if self.playing else at
            beat, bpm = self.truth(now)
            beat += self._random.uniform(-self.jitter_s, self.jitter_s) * bpm / 60.0
            self._said = Playhead(now, beat, bpm, self.playing, "simulated", self.epoch)
        return self._said


@dataclass
class Played:
    """What came out, (frames, 2), and by how much each block's end was ahead of the truth, in seconds."""

    audio: NDArray[np.float32]
    errors_s: NDArray[np.float64]
    at_s: NDArray[np.float64]


def play(player: Player, heads: Heads, seconds: float, drift: float = 0.0) -> Played:
    """Render blocks from where `heads` is, on a device whose clock is off by `drift`."""
    blocks, errors, times = [], [], []
    for _ in range(math.ceil(seconds * RATE / BLOCK)):
        blocks.append(player.render(BLOCK, heads.now))
        heads.now += BLOCK / RATE * (1.0 + drift)
        main = player._main
        beat, bpm = heads.truth(heads.now)
        errors.append(math.nan if main is None else (main.tape.beat_at(main.place) - beat) * 60.0 / bpm)
        times.append(heads.now)
    return Played(np.concatenate(blocks), np.array(errors), np.array(times))


def residue_db(wave: NDArray[np.float32], hertz: float) -> float:
    """THD+N of one channel: all that is not within 20 Hz of `hertz`, against what is."""
    spectrum = np.abs(np.fft.rfft(wave.astype(np.float64) * np.blackman(len(wave)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(wave), 1 / RATE) - hertz) < 20.0
    return float(10.0 * np.log10(spectrum[~near].sum() / spectrum[near].sum()))


def clicks_db(wave: NDArray[np.float32]) -> float:
    """The most that lies above 12 kHz in any millisecond of a wave that has nothing there, against full scale."""
    from scipy.signal import firwin, lfilter

    high = lfilter(firwin(255, 12_000, fs=RATE, pass_zero=False), 1.0, wave.astype(np.float64))[255:]
    return float(20.0 * np.log10(np.abs(high).max() + 1e-12))
