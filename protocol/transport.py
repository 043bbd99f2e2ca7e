"""Where a DAW plays: what MIDI clock, streamed positions and the tempo map say together, as one value. Pure.

The common coordinate is the *beat*: quarter notes from project time 0 (`protocol.music`). MIDI clock knows beats only,
positions come as seconds; the tempo map turns one into the other.

Which source counts
-------------------
* Position and play state: a source that streams (OSC, REAPER's surface, a script) goes before MIDI clock while it is
  fresh (`FRESH_S`); a source that has fallen silent gives way.
* Tempo: one that was told goes before the clock's estimate, since it is exact. It holds until the clock *changes* after
  it was told: a steady clock is no news. A tempo map always holds; a clock that disagrees with it is only reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.music import TempoMap
from protocol.session import Session

FRESH_S = 2.0
"""A streamed position that is older than this no longer says where a playing DAW is, if MIDI clock does."""

NEWS_BPM = 0.25
"""A clock whose tempo moved so far since a tempo was told says that the told one is out of date."""

MIDI = "midi:"
"""Sources of this kind are MIDI clock (``midi:IAC Driver Bus 1``)."""


@dataclass(frozen=True)
class Playhead:
    """The play position at one moment: `at` is seconds of the daemon's monotonic clock, `beat` is at that moment.

    `epoch` rises whenever the position jumped (start, locate); within one epoch beats run on evenly.
    """

    at: float
    beat: float
    bpm: float
    playing: bool
    source: str
    epoch: int = 0

    def beat_at(self, now: float) -> float:
        """The beat at `now`, at the present tempo; where it stands while the transport does."""
        return self.beat + (now - self.at) * self.bpm / 60.0 if self.playing else self.beat

    def moved_to(self, now: float) -> Playhead:
        """The same playhead, said for another moment."""
        return replace(self, beat=self.beat_at(now), at=now)


def position_now(session: Session, now: float) -> Playhead | None:
    """The playhead as a streaming source told it, run on to `now` along the tempo map; None without a position."""
    if session.position_s is None:
        return None
    playing = session.playing is not None and session.playing.value
    tempo_map, _ = session.tempo_map()
    since = max(session.position_s.at, session.playing.at) if playing and session.playing else session.position_s.at
    time_s = session.position_s.value + (max(0.0, now - since) if playing else 0.0)
    return Playhead(now, tempo_map.beat_at(time_s), tempo_map.bpm_at(time_s), playing, session.position_s.source)


def is_fresh(session: Session, now: float) -> bool:
    """True if a source other than MIDI clock has told the position of late."""
    told = session.position_s
    return told is not None and not told.source.startswith(MIDI) and now - told.at <= FRESH_S


def clock_has_news(session: Session, bpm: float, bpm_when_told: float | None) -> bool:
    """True if a clock's tempo `bpm` (quarter notes per minute) goes before the tempo of the session.

    `bpm_when_told`: what the clock said when the session's tempo was told by another source; None: it said nothing.
    """
    told = session.tempo
    if told is None or told.source.startswith(MIDI):
        return True
    if isinstance(told.value, TempoMap):
        return False
    if bpm_when_told is None:  # the clock came after: it counts if it says something else
        return abs(bpm - told.value) > NEWS_BPM
    return abs(bpm - bpm_when_told) > NEWS_BPM and abs(bpm - told.value) > NEWS_BPM
