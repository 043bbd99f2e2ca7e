"""Plays clips where the transport says, block by block: the audio out without the device. Pure.

What it promises
----------------
* What sounds at a moment is the material of the beat that the transport has at that moment. Small errors are corrected
  by bending the speed (`phase_lock`), a jump by a crossfade of `CROSS_S`.
* Samples pass bit for bit while the material runs at the transport's tempo and the clocks agree.
* Nothing clicks: start, stop, locate, a new set of clips, the end of all clips and panic are fades.
* `render` is for an audio callback: it waits for nobody and never raises. `place` may be called from any thread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bridge.live.phase_lock import NEAR_ONE, PhaseLock
from bridge.live.tape import Audio, Clip, Tape, fitted
from bridge.live.varispeed import BEHIND, TAPS, interpolate
from protocol.transport import Playhead

__all__ = ["Clip", "Player"]

log = logging.getLogger("stembridge.live")

START_S, STOP_S, CROSS_S, PANIC_S = 0.003, 0.010, 0.010, 0.004
FAR_S = 0.040
"""An error above this is no drift: the player goes to the right place at once ..."""
FAR_FOR_S = 0.020
"""... if it lasts so long; a single wrong report moves nothing."""

_SAME_S = 0.002
"""A transport that starts anew within this of where we are has not moved."""
_GLIDE_S = 0.020
"""Time constant with which the speed follows."""
_LANDING = 5e-4
"""By how much the speed may differ from 1 on the way back to whole frames."""
_MAX_SPEED = 16.0
_READ_UP_TO = 1.1
"""Material of up to so many times the device's rate is read as it is: 48 kHz at 44.1 kHz folds above 20 kHz only."""


@dataclass
class _Voice:
    """A place on a tape that is being read, and how loud: `level` 0..1 changes by `rise` a frame."""

    tape: Tape
    place: float
    speed: float
    level: float = 0.0
    rise: float = 0.0


class Player:
    """`rate`, `channels`: the device's. `head(at)` tells the playhead at a monotonic time; None if nobody knows.

    Counters are written by the thread that renders and may be read by any: `underruns` are blocks that should have held
    music and had none, `resyncs` jumps to another place while playing, `faults` blocks that failed (see the log).
    """

    def __init__(self, rate: int, channels: int, head: Callable[[float], Playhead | None]) -> None:
        self.rate, self.channels = rate, channels
        self.underruns = self.resyncs = self.faults = 0
        self._head = head
        self._tape = Tape.of((), rate, channels)
        self._fitted: dict[int, tuple[Clip, Clip]] = {}
        self._expected: float | None = None
        self._silent = False
        self._main: _Voice | None = None
        self._fading: list[_Voice] = []
        self._lock = PhaseLock()
        self._epoch = 0
        self._far_s = 0.0

    # --- orders, from any one thread ----------------------------------------------------------------------------------
    def place(self, clips: Sequence[Clip]) -> None:
        """These clips and no others from now on. What sounds on unchanged goes on unchanged.

        Material of another rate than the device's is read at another speed, so that joints stay joints; only what would
        fold into hearing is resampled here.
        """
        rate = clips[0].rate if clips and clips[0].rate <= _READ_UP_TO * self.rate else self.rate
        kept = {}
        for clip in clips:
            known = self._fitted.get(id(clip))
            fits = known is not None and known[1].rate == rate
            kept[id(clip)] = known if known is not None and fits else (clip, fitted(clip, rate, self.channels))
        self._fitted = kept
        self._tape = Tape.of([made for _, made in kept.values()], rate, self.channels)

    def expect_from(self, beat: float | None) -> None:
        """From this beat on silence is an underrun; None: silence is in order."""
        self._expected = beat

    def silence(self) -> None:
        """Panic: out within 5 ms of the next block, and nothing until `wake`."""
        self._silent = True

    def wake(self) -> None:
        """After `silence`: play again where the transport is."""
        self._silent = False

    @property
    def phase_s(self) -> float:
        """By how much what sounds is ahead of the transport, smoothed over a second; NaN while nothing plays."""
        return self._lock.mean_s if self._main is not None else math.nan

    # --- the audio thread ---------------------------------------------------------------------------------------------
    def render(self, frames: int, at: float) -> Audio:
        """The next block, float32 (frames, channels); its first frame sounds at monotonic `at`."""
        try:
            return self._render(frames, at).T
        except Exception:
            self.faults += 1
            self._main, self._fading = None, []
            if self.faults == 1:
                log.exception("A block could not be made; it was left silent")
            return np.zeros((frames, self.channels), np.float32)

    def _render(self, frames: int, at: float) -> Audio:
        tape, head = self._tape, self._head(at)
        out = np.zeros((self.channels, frames), np.float32)
        if self._main is not None and self._main.tape is not tape:
            self._change_tape(self._main, tape, frames)
        end_speed = 0.0
        if head is None or not head.playing or head.bpm <= 0.0 or self._silent:
            self._release(PANIC_S if self._silent else STOP_S)
        else:
            beat = head.beat_at(at)
            if tape.beats:
                end_speed = self._follow(tape, head, beat, frames / self.rate)
            self._count_underrun(tape, beat, beat + frames / self.rate * head.bpm / 60.0, frames)
        if self._main is not None:
            out += self._sound(self._main, frames, end_speed)
        for voice in self._fading:
            out += self._sound(voice, frames, voice.speed)
        self._fading = [voice for voice in self._fading if voice.level > 0.0]
        return out

    def _follow(self, tape: Tape, head: Playhead, beat: float, block_s: float) -> float:
        """Bring the main voice to where the transport is; the speed at the end of this block."""
        main, error_s = self._main, 0.0
        if main is None:
            main = self._begin(tape, head, beat, START_S)
        else:
            error_s = (tape.beat_at(main.place) - beat) * 60.0 / head.bpm
            self._far_s = self._far_s + block_s if abs(error_s) > FAR_S else 0.0
            lost = self._far_s >= FAR_FOR_S and not self._fading
            if lost or (head.epoch != self._epoch and abs(error_s) > _SAME_S):
                self._release(CROSS_S)
                main, error_s = self._begin(tape, head, beat, CROSS_S), 0.0
                self.resyncs += 1
        self._epoch = head.epoch
        if abs(error_s) > FAR_S:
            return main.speed
        wanted = self._lock.speed(error_s, self._nominal(tape, main.place, head.bpm), block_s)
        if self._lock.exact and abs(main.speed - 1.0) <= 2.0 * _LANDING:
            return _landing(main, round(block_s * self.rate))
        return main.speed + (wanted - main.speed) * (1.0 - math.exp(-block_s / _GLIDE_S))

    def _begin(self, tape: Tape, head: Playhead, beat: float, fade_s: float) -> _Voice:
        place = tape.frame_at(beat)
        speed = self._nominal(tape, place, head.bpm)
        if abs(speed - 1.0) <= NEAR_ONE:
            place, speed = float(round(place)), 1.0
        self._main = _Voice(tape, place, speed, rise=1.0 / (fade_s * self.rate))
        self._lock.reset()
        self._far_s = 0.0
        return self._main

    def _release(self, fade_s: float) -> None:
        """Let what sounds fade out; nothing is read for the transport any more."""
        if self._main is not None:
            self._fading.append(self._main)
            self._main = None
        fall = -1.0 / (fade_s * self.rate)
        for voice in self._fading:
            voice.rise = min(voice.rise, fall) if voice.rise < 0.0 else fall

    def _change_tape(self, main: _Voice, tape: Tape, frames: int) -> None:
        """Go on at the same beat of another tape: unheard where they agree, by a crossfade where they do not."""
        if not tape.beats:
            return self._release(CROSS_S)
        place = tape.frame_at(main.tape.beat_at(main.place))
        if main.place.is_integer():
            place = float(round(place))
        span = round((frames + CROSS_S * self.rate) * max(1.0, main.speed)) + TAPS
        before = main.tape.read(math.floor(main.place) - BEHIND, span)
        if np.array_equal(before, tape.read(math.floor(place) - BEHIND, span)):
            main.tape, main.place = tape, place
            return None
        self._release(CROSS_S)
        self._main = _Voice(tape, place, main.speed, rise=1.0 / (CROSS_S * self.rate))
        return None

    def _nominal(self, tape: Tape, place: float, bpm: float) -> float:
        return min(bpm / 60.0 * tape.frames_per_beat(place) / self.rate, _MAX_SPEED)

    def _count_underrun(self, tape: Tape, beat: float, end_beat: float, frames: int) -> None:
        """Half a block, or a millisecond of it, without material is one; less is the edge of a clip."""
        if self._expected is None or end_beat <= self._expected:
            return
        missing = frames
        if tape.beats:
            first = round(tape.frame_at(max(beat, self._expected)))
            missing = tape.void(first, max(first, round(tape.frame_at(end_beat))))
        self.underruns += missing > min(frames // 2, self.rate // 1000)

    def _sound(self, voice: _Voice, frames: int, end_speed: float) -> Audio:
        """The voice's next frames (channels, frames); its speed glides to `end_speed`."""
        index = np.arange(frames, dtype=np.float64)
        if voice.speed == end_speed == 1.0 and voice.place.is_integer():
            audio = voice.tape.read(int(voice.place), frames)
            voice.place += frames
        else:
            bend = (end_speed - voice.speed) / (2.0 * frames)
            places = voice.place + (voice.speed + bend * index) * index
            first = math.floor(places[0]) - BEHIND
            span = math.floor(places[-1]) - first + TAPS - BEHIND
            audio = interpolate(voice.tape.read(first, span), places - first)
            voice.place += (voice.speed + end_speed) / 2.0 * frames
        voice.speed = end_speed
        if voice.rise == 0.0:
            return audio
        levels = np.clip(voice.level + voice.rise * (index + 1.0), 0.0, 1.0)
        voice.level = float(levels[-1])
        if voice.level == 1.0:
            voice.rise = 0.0
        return (audio * np.sin(levels * (np.pi / 2.0))).astype(np.float32)


def _landing(voice: _Voice, frames: int) -> float:
    """Bring the voice to a whole frame, at a speed next to 1 until it is there."""
    off = round(voice.place) - voice.place
    if abs(off) < 1e-6:
        voice.place, voice.speed = float(round(voice.place)), 1.0
    else:
        voice.speed = 1.0 + min(max(off / frames, -_LANDING), _LANDING)
    return voice.speed
