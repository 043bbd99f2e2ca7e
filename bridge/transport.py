"""The transport: where the DAW plays at any moment, from whichever source knows best (see protocol/transport.py).

Positions that stream in come late by a little and unevenly. While the DAW plays, project time runs as fast as our
clock, so their offset to it is averaged, and a position that is far off the average is a locate.

`head` may be asked from any thread (the audio callback does): it only reads immutable values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from protocol.midi_clock import ClockReading, ClockState
from protocol.session import Session
from protocol.transport import Playhead, is_fresh, position_now

JUMP_S = 0.15
"""A streamed position so far from where it should be is a locate, not jitter."""

AVERAGED = 32
"""Positions over which the offset is averaged."""

ClockLook = Callable[[float], tuple[str, ClockReading] | None]
"""The best MIDI clock at a moment: its source and its reading; None without one."""


@dataclass(frozen=True)
class _Stream:
    """Streamed positions of one stretch of playing: project time is ``offset_s`` + our clock."""

    offset_s: float
    heard: int
    told_at: float
    source: str


class Transport:
    """One for the daemon. `session` gives the session as it is, `clock_look` the MIDI clock's reading."""

    def __init__(self, session: Callable[[], Session], clock_look: ClockLook = lambda _now: None) -> None:
        self._session, self._clock_look = session, clock_look
        self._stream: _Stream | None = None
        self._epoch = 0

    def heard(self) -> None:
        """The session changed. Called on the loop."""
        session = self._session()
        position, playing = session.position_s, session.playing
        if position is None or playing is None or not playing.value:
            if self._stream is not None or position is not None:
                self._stream = None
            return
        began = self._stream
        told_at = max(position.at, playing.at)
        if began is not None and told_at <= began.told_at:
            return
        offset_s = position.value - told_at
        if began is None or began.source != position.source:
            self._epoch += 1
            self._stream = _Stream(offset_s, 1, told_at, position.source)
        elif abs(offset_s - began.offset_s) > JUMP_S:
            if position.at < told_at:  # only the play state was told again
                return
            self._epoch += 1
            self._stream = _Stream(offset_s, 1, told_at, position.source)
        else:
            heard = min(began.heard + 1, AVERAGED)
            mean = began.offset_s + (offset_s - began.offset_s) / heard
            self._stream = replace(began, offset_s=mean, heard=heard, told_at=told_at)

    def head(self, now: float) -> Playhead | None:
        """The playhead at `now`; None while nothing has told where it is (a clock heard from its middle on counts
        ticks, and knows no bar line)."""
        session = self._session()
        clock = None if is_fresh(session, now) else self._clock_look(now)
        if clock is not None and clock[1].bpm is not None and clock[1].state is not ClockState.LOST:
            return self._by_clock(*clock, now) if clock[1].located else None
        head, stream = position_now(session, now), self._stream
        if head is None:
            return None
        # A position told again, word for word, is no change that `heard` hears of: it is a locate all the same.
        is_known = stream is not None and session.position_s is not None and session.position_s.at <= stream.told_at
        if head.playing and stream is not None and is_known:
            tempo_map, _ = session.tempo_map()
            time_s = stream.offset_s + now
            head = replace(head, beat=tempo_map.beat_at(time_s), bpm=tempo_map.bpm_at(time_s))
        return replace(head, epoch=2 * self._epoch)

    def _by_clock(self, source: str, reading: ClockReading, now: float) -> Playhead:
        assert reading.bpm is not None
        playing = reading.state is ClockState.RUNNING
        head = Playhead(reading.at, reading.beat, reading.bpm, playing, source, 2 * reading.epoch + 1)
        return head.moved_to(now)
