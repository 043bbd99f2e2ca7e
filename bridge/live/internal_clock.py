"""A transport of our own, for when no DAW is there: it counts the frames that the audio out has played.

Because the player reads by the same count, its phase error is exactly 0 and every sample passes as it was made. Orders
count from the next block on, so that the first beat is heard from its first sample. Without an audio out the transport
runs on the injected clock, and orders count at once.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from protocol.errors import BadArgument
from protocol.music import MAX_BPM, MIN_BPM
from protocol.transport import Playhead

SOURCE = "internal"
_DRIVEN_S = 0.5
"""An audio out that has not asked for a block for so long does not drive the transport."""


@dataclass(frozen=True)
class _Run:
    """At frame `frame` the beat is `beat`."""

    frame: float = 0.0
    beat: float = 0.0
    bpm: float = 120.0
    playing: bool = False
    epoch: int = 0

    def moved(self, frame: float, rate: int) -> _Run:
        beats = (frame - self.frame) / rate * self.bpm / 60.0 if self.playing else 0.0
        return replace(self, frame=frame, beat=self.beat + beats)


class InternalClock:
    """`rate`: frames per second of the audio out. All methods may be called from any thread."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._anchor = (0.0, clock())  # frames that were played, and when the next one sounds
        self._driven_at = -math.inf
        self._run = _Run()
        self._orders: deque[Callable[[_Run], _Run]] = deque()

    def rendering(self, frames_before: int, at: float) -> None:
        """The audio out is about to make its frame number `frames_before`, which sounds at monotonic `at`.

        A count that starts anew (another stream) goes on from where the transport is by the clock.
        """
        frame = float(frames_before)
        if not self._is_driven or frame <= self._anchor[0]:
            self._run = replace(self._run.moved(self._frame(at), self._rate), frame=frame)
        self._anchor = (frame, at)
        self._driven_at = self._clock()
        self._obey(frame)

    def head(self, at: float) -> Playhead:
        """Where it plays at monotonic `at`."""
        run = self._run
        return Playhead(at, run.moved(self._frame(at), self._rate).beat, run.bpm, run.playing, SOURCE, run.epoch)

    def play(self, beat: float | None = None, bpm: float | None = None) -> None:
        """Start at `beat` (None: where it stands) at `bpm` (None: as before)."""
        self._order(partial(_played, beat=beat, bpm=None if bpm is None else _tempo(bpm)))

    def stop(self) -> None:
        """Stand where it is now."""
        self._order(partial(replace, playing=False))

    def set_bpm(self, bpm: float) -> None:
        """Another tempo from now on; the beat goes on from where it is."""
        self._order(partial(replace, bpm=_tempo(bpm)))

    def _order(self, order: Callable[[_Run], _Run]) -> None:
        self._orders.append(order)
        if not self._is_driven:
            self._obey(self._frame(self._clock()))

    @property
    def _is_driven(self) -> bool:
        return self._clock() - self._driven_at < _DRIVEN_S

    def _obey(self, frame: float) -> None:
        while self._orders:
            self._run = self._orders.popleft()(self._run.moved(frame, self._rate))

    def _frame(self, at: float) -> float:
        frames, then = self._anchor
        return frames + (at - then) * self._rate


def _played(run: _Run, beat: float | None, bpm: float | None) -> _Run:
    jumped = beat is not None or not run.playing
    return replace(
        run,
        beat=run.beat if beat is None else beat,
        bpm=run.bpm if bpm is None else bpm,
        playing=True,
        epoch=run.epoch + jumped,
    )


def _tempo(bpm: float) -> float:
    if not MIN_BPM <= bpm <= MAX_BPM:
        raise BadArgument(f"The tempo must be {MIN_BPM:g} to {MAX_BPM:g} BPM, not {bpm:g}.")
    return float(bpm)
