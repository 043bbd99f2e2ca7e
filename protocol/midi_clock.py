"""Follows a MIDI clock: ticks and transport messages with their times in; tempo, position, confidence out. Pure.

MIDI clock is 24 ticks a quarter note and four messages (MIDI 1.0, system real time and Song Position Pointer). What is
made of them here:

- *Tempo and phase* come from a line through the last ticks (`protocol.clock_fit`), never from a single gap. Between
  ticks, and through lost ones, the position runs on along that line; it may step back by a fraction of the jitter.
- *Start*: the next tick is beat 0. *Continue*: the next tick follows the last one that was counted. Until that tick
  comes the state is STARTING and the beat stands there.
- *Stop*: the beat stands; ticks that go on coming are followed for their tempo.
- *Ticks before any message*: the sender seems to play, since many send ticks only then. RUNNING, but not `located`: do
  not let anything sound on its account.
- *Song Position* is a hint (`protocol.song_position`): while stopped it sets the next tick's place; while playing it
  moves the place only if it contradicts what was counted. `located` is lost with a jump that rests on a pointer whose
  unit this sender has not proven, and comes back with Start or such a proof.
- *Ticks cease* for half a second (or four ticks, if slower): LOST, and the beat stands. When they come again, the
  sender, which said no Stop, is taken to have played on: the beat goes on where the old line is then, not `located`.

`MidiClock` is fed by one thread; `reading` may be called from any (an audio callback): it looks at one immutable value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import erf, inf, sqrt

from protocol.clock_fit import ClockFit
from protocol.clock_window import Line
from protocol.song_position import PointerUnit

TICKS_PER_BEAT = 24

DROPOUT_S, DROPOUT_TICKS = 0.5, 4.0
"""Ticks that stay away longer than both have ceased."""

BACKWARDS_S = 0.5
"""Time stamps that go back farther are another time base: the clock is followed anew."""

_GOOD_BPM = 0.5  # confidence is the probability that the tempo is right to this


class ClockState(StrEnum):
    """What the sender does, as far as it was heard."""

    STOPPED = "stopped"
    STARTING = "starting"
    """Start or Continue was heard, and no tick since."""
    RUNNING = "running"
    LOST = "lost"
    """Ticks ceased without a Stop."""


@dataclass(frozen=True)
class ClockReading:
    """A clock at the moment `at` (seconds, monotonic).

    `bpm`: quarter notes per minute, unrounded, None before two ticks; `bpm_error` its standard error, inf if unknown.
    `beat`: quarter notes from the song's start. `located`: False if that is only counted from where we began to listen
    or rests on an unproven Song Position. `confidence`: the probability that the tempo is right to 0.5 BPM, less the
    longer no tick came. `epoch` rises with every Start and every jump of the position.
    """

    state: ClockState
    bpm: float | None
    bpm_error: float
    beat: float
    at: float
    confidence: float
    located: bool
    epoch: int


@dataclass(frozen=True)
class _Snapshot:
    """All that a reading is made of; replaced as a whole, so that a reader in another thread sees one state."""

    state: ClockState = ClockState.STOPPED
    line: Line | None = None
    """The line that the position runs along; None: it stands."""
    tempo: Line | None = None
    """The last line, also after a break of the phase."""
    offset: int = 0
    """Number of a tick in the line less its number from the song's start."""
    stands_at: float = 0.0
    """The position in ticks while it stands."""
    heard_at: float = -inf
    located: bool = False
    epoch: int = 0

    @property
    def patience_s(self) -> float:
        return max(DROPOUT_S, DROPOUT_TICKS * self.tempo.period_s) if self.tempo else DROPOUT_S

    def ticks_at(self, now: float) -> float:
        """The position in ticks from the song's start; it does not run on for longer than ticks are waited for."""
        if self.state is not ClockState.RUNNING or self.line is None:
            return self.stands_at
        return self.line.tick_at(min(now, self.heard_at + self.patience_s)) - self.offset

    def reading(self, now: float) -> ClockReading:
        silent_s, patience_s = now - self.heard_at, self.patience_s
        lost = self.state is ClockState.RUNNING and silent_s > patience_s
        bpm, error, confidence = None, inf, 0.0
        if (line := self.tempo) is not None:
            bpm = 60.0 / (TICKS_PER_BEAT * line.period_s)
            error = bpm * line.period_error_s / line.period_s
            late = max(0.0, silent_s - 2.0 * line.period_s) / (patience_s - 2.0 * line.period_s)
            confidence = erf(_GOOD_BPM / (sqrt(2.0) * error)) * max(0.0, 1.0 - late)
        return ClockReading(
            state=ClockState.LOST if lost else self.state,
            bpm=bpm,
            bpm_error=error,
            beat=self.ticks_at(now) / TICKS_PER_BEAT,
            at=now,
            confidence=confidence,
            located=self.located,
            epoch=self.epoch,
        )


class MidiClock:
    """One sender's clock. Times (`at`) are seconds of one monotonic clock, stamped as early as possible (driver)."""

    def __init__(self) -> None:
        self._fit = ClockFit()
        self._unit = PointerUnit()
        self._now = _Snapshot()
        self._told = False  # a transport message was heard
        self._stream = 0  # number of the next tick of all that were heard: the fit's numbers
        self._next = 0  # number of the next tick that will be played, from the song's start
        self._counted = 0  # ticks that were played, in all

    def reading(self, now: float) -> ClockReading:
        """The clock at `now`. Changes nothing; may be called from any thread, and for any moment near the last tick."""
        return self._now.reading(now)

    # --- what comes in ------------------------------------------------------------------------------------------------
    def tick(self, at: float) -> None:
        """A timing clock (F8)."""
        self._notice_dropout(at)
        plays = self._plays
        advance = 1 + self._fit.add(self._stream, at)
        self._stream += advance
        if plays:
            self._next += advance
            self._counted += advance
        line = self._fit.line
        self._now = replace(
            self._now,
            state=ClockState.RUNNING if plays else ClockState.STOPPED,
            line=line,
            tempo=line or self._now.tempo,
            offset=self._stream - self._next,
            stands_at=self._next - 1.0 if plays else self._now.stands_at,
            heard_at=at,
        )

    def start(self, at: float) -> None:  # noqa: ARG002 (the next tick says when)
        """Start (FA): play from the song's beginning, with the next tick."""
        self._unit.start(self._counted)
        self._next = 0
        self._begin(located=True, epoch=self._now.epoch + 1)

    def continue_(self, at: float) -> None:
        """Continue (FB): play on from where it stands, with the next tick. While playing it says nothing new."""
        was = self._now
        lost = was.reading(at).state is ClockState.LOST
        if self._told and self._plays and not lost:
            return
        self._begin(located=was.located and not lost, epoch=was.epoch)

    def stop(self, at: float) -> None:
        """Stop (FC): the beat stands where it is."""
        self._told = True
        was = self._now
        if was.state is ClockState.STOPPED:
            return
        here = max(was.ticks_at(at), self._next - 1.0)
        if here > self._next + 1.0:  # ticks were lost just now
            self._next = int(here) + 1
        stands_at = min(here, float(self._next)) if was.state is ClockState.RUNNING else was.stands_at
        self._now = replace(was, state=ClockState.STOPPED, stands_at=stands_at)

    def song_position(self, sixteenths: int, at: float) -> None:  # noqa: ARG002 (the next tick says when)
        """Song Position Pointer (F2), 0 to 16383, in sixteenths by the standard; see `protocol.song_position`."""
        was = self._now
        self._unit.heard(sixteenths, self._counted)
        place, agrees = self._unit.place(sixteenths, self._next)
        located = self._unit.proven or (was.located and agrees)
        if place == self._next or (agrees and was.state is ClockState.RUNNING):
            self._now = replace(was, located=located)
            return
        self._next = place
        if was.state is ClockState.RUNNING:
            self._fit.restart(keep_tempo=True)
        self._now = replace(was, line=None, stands_at=float(place), located=located, epoch=was.epoch + 1)

    # --- what follows -------------------------------------------------------------------------------------------------
    @property
    def _plays(self) -> bool:
        return not self._told or self._now.state is not ClockState.STOPPED

    def _begin(self, *, located: bool, epoch: int) -> None:
        self._told = True
        self._fit.restart(keep_tempo=True, rough=True)
        self._now = replace(
            self._now,
            state=ClockState.STARTING,
            line=None,
            stands_at=float(self._next),
            located=located,
            epoch=epoch,
        )

    def _notice_dropout(self, at: float) -> None:
        """A tick after a silence, or in another time base, begins a new line; the position goes on."""
        was = self._now
        silent_s = at - was.heard_at
        if was.state is ClockState.STARTING or -BACKWARDS_S <= silent_s <= was.patience_s or was.heard_at == -inf:
            return
        self._fit.restart(keep_tempo=True)
        if was.state is ClockState.RUNNING and silent_s > 0.0:
            if was.line is not None:
                self._next = max(self._next, round(was.line.tick_at(at)) - was.offset)
            self._now = replace(was, located=False, epoch=was.epoch + 1)
