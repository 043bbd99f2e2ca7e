"""What MIDI clock adds to the session: tempo, position and play state, each only where it counts.

Which source counts is said in `protocol.transport`. The row ``clock`` of the session always shows what the clock says,
so that a user sees it beside a tempo that goes before it.
"""

from __future__ import annotations

import math

from protocol.midi_clock import ClockReading, ClockState
from protocol.session import Session
from protocol.transport import MIDI, clock_has_news, is_fresh

SURE = 0.5
"""A clock is believed from this confidence on."""

STEP_BPM, STEP_ERRORS = 0.02, 3.0
"""The tempo told moves with the estimate only if it is off by more than this, and by so many standard errors."""

REPEAT_S = 1.0
"""What holds is told again so often, so that its age says that the clock lives."""


class ClockFold:
    """Folds readings of one daemon's MIDI clock into its session, and remembers what they were weighed against."""

    def __init__(self) -> None:
        self._tempo_told_at: float | None = None
        self._bpm_when_told: float | None = None
        self._last_bpm: float | None = None

    def fold(self, session: Session, source: str, reading: ClockReading, now: float) -> Session:
        """The session after the clock at `source` (``midi:...``) was read at `now`."""
        self._remember(session)
        self._last_bpm = reading.bpm if reading.confidence >= SURE else self._last_bpm
        session = session.told("clock", _in_words(reading), source, now)
        if is_fresh(session, now):
            return self._tempo(session, source, reading, now)
        is_playing = reading.state in (ClockState.RUNNING, ClockState.STARTING)
        session = self._tempo(session.told("playing", is_playing, source, now), source, reading, now)
        if reading.located and reading.bpm is not None:
            tempo_map, _ = session.tempo_map()
            session = session.told("position_s", tempo_map.time_at(reading.beat), source, reading.at)
        return session

    def _remember(self, session: Session) -> None:
        told = session.tempo
        if told is None or told.source.startswith(MIDI):
            self._tempo_told_at = self._bpm_when_told = None
        elif told.at != self._tempo_told_at:
            self._tempo_told_at, self._bpm_when_told = told.at, self._last_bpm

    def _tempo(self, session: Session, source: str, reading: ClockReading, now: float) -> Session:
        bpm, told = reading.bpm, session.tempo
        if bpm is None or reading.confidence < SURE or not clock_has_news(session, bpm, self._bpm_when_told):
            return session
        if told is None or told.source != source or not isinstance(told.value, float):
            return session.told("tempo", bpm, source, now)
        if abs(bpm - told.value) > max(STEP_BPM, STEP_ERRORS * reading.bpm_error):
            return session.told("tempo", bpm, source, now)
        return session if now - told.at < REPEAT_S else session.told("tempo", told.value, source, now)


def _in_words(reading: ClockReading) -> str:
    if reading.bpm is None:
        return str(reading.state)
    sure = f" ±{reading.bpm_error:.2f}" if math.isfinite(reading.bpm_error) else ""
    return f"{reading.state} {reading.bpm:.2f}{sure} BPM"
