"""Listening to an audio input, so that a run can go on from what was just played in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from bridge.live.audio_device import AudioIn, find
from bridge.live.capture import RingBuffer
from bridge.live.phrases import Played
from engine.audio import resample
from protocol.errors import MissingContext
from protocol.job import ProjectRef
from protocol.music import TempoMap
from protocol.transport import Playhead

KEPT_S = 180.0
"""So much is remembered: 69 MB in stereo at 48 kHz."""


class Listener:
    """An input that is being listened to. Open it before it is needed: it knows only what came since."""

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        device = find(None if name in ("", "default") else name, playing=False)
        self.name, self._clock = name, clock
        self.ring = RingBuffer(KEPT_S, device.rate, min(2, max(1, device.inputs)))
        self._stream = AudioIn(self.ring, device, clock=clock)
        self._run: tuple[int, float] | None = None

    @property
    def xruns(self) -> int:
        return self._stream.xruns

    def start(self) -> Self:
        self._stream.start()
        return self

    def close(self) -> None:
        self._stream.close()

    def follow(self, head: Playhead | None) -> None:
        """Where the transport is now; call it often. What was heard before it stopped or moved is of another place."""
        if head is None or not head.playing:
            self._run = None
        elif self._run is None or self._run[0] != head.epoch:
            self._run = head.epoch, head.at

    def bars(self, tempo_map: TempoMap, head: Playhead | None) -> int:
        """How many whole bars up to the last bar line have been heard since the transport started or moved."""
        span = self.ring.span
        if span is None or head is None or self._run is None:
            return 0
        first_beat = head.beat_at(max(span[0], self._run[1]))
        end_beat = _last_line(tempo_map, head.beat_at(span[1]))
        count, line = 0, end_beat
        while (line := _line_before(tempo_map, line)) >= first_beat - 1e-6:
            count += 1
        return count

    def played(self, project: ProjectRef, tempo_map: TempoMap, head_at: Callable[[float], Playhead | None]) -> Played:
        """All that was heard up to the last bar line. Raises `MissingContext` if that is less than a bar."""
        head, span = head_at(self._clock()), self.ring.span
        bars = self.bars(tempo_map, head)
        if head is None or span is None or not bars:
            raise MissingContext(f"Less than a bar was heard from {self.name} while the DAW played: play, then start.")
        end_beat = _last_line(tempo_map, head.beat_at(span[1]))
        start_beat = end_beat
        for _ in range(bars):
            start_beat = _line_before(tempo_map, start_beat)
        audio, _ = self.ring.read_between(_when(head, start_beat), _when(head, end_beat))
        rate = project.sample_rate or self.ring.rate
        return Played(project, resample(audio, self.ring.rate, rate), rate, start_beat, end_beat)


def _when(head: Playhead, beat: float) -> float:
    """The moment at which the playhead was at `beat`, at its present tempo."""
    return head.at + (beat - head.beat) * 60.0 / head.bpm


def _last_line(tempo_map: TempoMap, beat: float) -> float:
    bar, _ = tempo_map.bar_at(tempo_map.time_at(beat))
    return tempo_map.beat_at(tempo_map.bar_start(bar))


def _line_before(tempo_map: TempoMap, line: float) -> float:
    bar, _ = tempo_map.bar_at(tempo_map.time_at(line))
    before = tempo_map.beat_at(tempo_map.bar_start(bar - 1))
    return before if before < line else -math.inf
