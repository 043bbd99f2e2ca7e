"""Live extension through the mailbox: what REAPER's script asks, and the heartbeats that say where REAPER plays. Pure.

A run is a request of kind ``live`` whose answer stays open until the run ends. While it is on, the script replaces
``live/<instance>.json`` a few times a second; `Follower` makes a playhead of these. Promises: a heartbeat that came
late, by the script's or the daemon's doing, moves nothing; a locate is told from jitter; and a REAPER that fell silent
stands, so that nothing is due in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field, ValidationError

from protocol.mailbox import KINDS, Address, Frame, Message, Part, Request, Table, TempoPart, parse
from protocol.music import TempoMap
from protocol.transport import Playhead
from protocol.vocabulary import Verb

HANGS_S = 5.0
"""Without a heartbeat for so long REAPER does not play, or nobody hears it."""
JUMP_S = 0.15
"""A position so far from where it should be is a locate."""
_AVERAGED = 16
_OFFSETS = 64


# --- requests ---------------------------------------------------------------------------------------------------------
class LivePart(Part):
    """What is left out is as `protocol.live.LiveSettings` has it. `join_frame`: None where the source ends."""

    phrase_bars: int | None = None
    lead_bars: int | None = None
    context_bars: int | None = None
    join_frame: Frame | None = None


class LiveStart(Request):
    """Go on from the end of the source. Its region is what was captured."""

    verb: Verb = Verb.EXTEND
    live: LivePart = LivePart()


class LiveChange(Message):
    """About the run with the id `run`. `settings` are all of the project's: what they lack is taken back."""

    action: Literal["stop", "panic", "set"]
    run: str = Field(min_length=1, max_length=64)
    settings: Table = Field(default_factory=dict)
    key: str | None = Field(default=None, max_length=80)


def parse_all(raw: Mapping[str, Any], address: Address, version: str) -> Message:
    """`protocol.mailbox.parse` with the messages of live extension."""
    live: type[Message] = LiveStart if raw.get("action") == "start" else LiveChange
    return parse(raw, address, version, {**KINDS, "live": live})


# --- heartbeats -------------------------------------------------------------------------------------------------------
class Heartbeat(Part):
    """Where REAPER plays. `at` is the script's own clock (s), `rate` the master play rate.

    `tempo` is there if the tempo map is another one than when the run was started.
    """

    run: str
    serial: int
    at: float
    position: float
    playing: bool
    rate: float = Field(default=1.0, gt=0.0, le=16.0)
    tempo: tuple[TempoPart, ...] | None = None


def read_heartbeat(content: bytes, run: str) -> Heartbeat | None:
    """None if it is none, or one of another run."""
    try:
        beat = Heartbeat.model_validate_json(content)
    except ValidationError:
        return None
    return beat if beat.run == run else None


@dataclass(frozen=True)
class _Anchor:
    """Project time `time_s` was at the moment `at`; since then so many heartbeats agreed."""

    time_s: float
    at: float
    playing: bool
    rate: float
    agreed: int = 1

    def time_at(self, now: float) -> float:
        return self.time_s + max(0.0, now - self.at) * self.rate if self.playing else self.time_s


class Follower:
    """Where REAPER is, from what it said when it asked (`position_s`, `playing`, at `at`) and the heartbeats since.

    Moments are seconds of the daemon's monotonic clock.
    """

    def __init__(self, position_s: float, playing: bool, at: float) -> None:
        self._anchor = _Anchor(position_s, at, playing, 1.0)
        self._offsets: deque[tuple[float, float, float]] = deque(maxlen=_OFFSETS)
        self._last: Heartbeat | None = None
        self._epoch = 0
        self.heard_at = at

    def heard(self, beat: Heartbeat, written: float, after: float, seen: float) -> bool:
        """A heartbeat was found at the moment `seen`, and not yet at `after`; its file says that it was `written` then.

        File systems round their times, and those of a network have a clock of their own; but it was between the two
        looks. The script's clock tells how far heartbeats are apart, so all of these bounds hold for each. False: it
        was heard before.
        """
        last = self._last
        if last is not None and beat.serial == last.serial:
            return False
        if last is not None and beat.at < last.at:
            self._offsets.clear()
        self._offsets.append((after - beat.at, written - beat.at, seen - beat.at))
        self._last, self.heard_at = beat, seen
        least, guess, most = (
            max(o[0] for o in self._offsets),
            min(o[1] for o in self._offsets),
            min(o[2] for o in self._offsets),
        )
        self._follow(beat, beat.at + min(max(guess, least), most), JUMP_S + max(0.0, most - least))
        return True

    def _follow(self, beat: Heartbeat, at: float, jump_s: float) -> None:
        before = self._anchor
        now = _Anchor(beat.position, at, beat.playing, beat.rate)
        error = beat.position - before.time_at(at)
        if not (beat.playing and before.playing):
            self._epoch += beat.playing or abs(error) > jump_s
        elif abs(error) > jump_s:
            self._epoch += 1
        elif beat.rate == before.rate:
            agreed = min(before.agreed + 1, _AVERAGED)
            now = replace(now, time_s=before.time_at(at) + error / agreed, agreed=agreed)
        self._anchor = now

    def head(self, now: float, tempo_map: TempoMap, source: str) -> Playhead:
        """The playhead at `now`. After `HANGS_S` without a heartbeat it stands where it was heard last."""
        anchor = self._anchor
        playing = anchor.playing and now - self.heard_at <= HANGS_S
        time_s = anchor.time_at(now if playing else self.heard_at)
        bpm = tempo_map.bpm_at(time_s) * anchor.rate
        return Playhead(now, tempo_map.beat_at(time_s), bpm, playing, source, self._epoch)
