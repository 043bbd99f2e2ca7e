"""Which phrase is made when, at what quality, and what each slot holds: an explicit deadline for every phrase. Pure.

State
-----
* *What is filled*: slots that hold a phrase or a loop (`slots.FilledSlots`). Voids between them are left by locates.
* *What is in flight*: at most one phrase, since each continues the end of the one before. It knows which phrase it
  continues (`after`) and the slot it was asked for.
* *Where the playhead is*: the last that `step` was told, run on to the moment in question.

All else follows from these. The *next slot* begins where what is filled from the playhead on ends; in a void, at the
next bar line; before the join, at the first bar line at or after the join. It is *due* `handoff_s` before the playhead
reaches it. A transport that stands reaches nothing, so nothing is due; asking goes on, as if it started now.

Invariants
----------
1. Slots never overlap. They begin and end on bar lines of the tempo map by which they were filled. Only if the map is
   changed under a slot that sounds, a *bridge* (a loop shorter than a bar) leads from its end to the next bar line.
2. A phrase fills one slot, whose bars are as long as those that it was asked for, and whose music goes on from the
   phrase it was made to go on from. It is placed before its slot is due, or goes into a later one.
3. When a slot is due and its phrase is not there, it is filled with a loop at that moment. So the playhead never
   leaves what is filled, except by a locate, which is over at the next bar line.
4. Where all is filled nothing is done: stopping, starting and going back change nothing that was placed. Slots are
   forgotten only when a new one must lie across them, when their bar lines are gone, or by panic.

Quality
-------
The *usual* quality is the best one that the engine keeps up with for long. Phrases are asked for so early that, at the
usual quality, `lead_bars` are still ready when they arrive. If the prediction says that less than half of the lead
would be left, a lower quality is taken, and it is kept until (nearly) the whole lead is back. A phrase in the making
whose own progress says that it will be late is withdrawn at the last moment at which the lowest quality still makes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bridge.live.bar_lines import SAME_BEATS, BarLines, Moment, same
from bridge.live.quality import QualityChoice
from bridge.live.slots import Filled, FilledSlots
from bridge.live.speed import Speed
from protocol.live import Filling, LiveCounts, LiveSettings, Slot
from protocol.music import TempoMap
from protocol.transport import Playhead

RESCUE_S = 0.5
"""Seconds within which the last moment to fall back to the lowest quality is taken."""

TELLING = 0.05
"""Progress from which on the time a phrase will take can be told from it."""

RETRY_S = 5.0
"""Seconds until a phrase is asked for again after it failed at the lowest quality."""

_FAR_SLOTS = 64
_BEHIND = 4


@dataclass(frozen=True)
class Ask:
    """Begin to make this phrase now. `due`: the moment (s) by which it must be there; `phrase`: its running number."""

    slot: Slot
    quality: int
    due: float
    phrase: int
    after: int
    """The phrase whose end it continues; 0: the source."""


@dataclass(frozen=True)
class Withdraw:
    """The phrase in flight is not wanted any more, nor is it if it was made."""

    phrase: int
    why: str


@dataclass(frozen=True)
class Fill:
    """This slot now holds the phrase, or a loop of it (phrase 0: a loop of the source's own last bars)."""

    slot: Slot
    filling: Filling
    phrase: int


@dataclass(frozen=True)
class Forget:
    """What was filled from here on is void."""

    from_beat: float


Event = Ask | Withdraw | Fill | Forget


@dataclass
class _Job:
    """The phrase in flight."""

    phrase: int
    after: int
    slot: Slot
    lengths: tuple[float, ...]
    quality: int
    music_s: float
    asked: float
    ends: float = math.nan
    """When it will be made by its own progress; NaN: no telling."""
    made: bool = False


class Schedule:
    """The scheduler of one run. Call `step` often (20 times a second) and carry out what the methods return, in order.

    `join_beat` is where the source ends (quarter notes from project time 0). Times are seconds of one monotonic clock.
    `speed` is told of every phrase by the schedule itself: from `Ask` to `made`, which is what a deadline must allow.
    """

    def __init__(self, settings: LiveSettings, speed: Speed, *, join_beat: float) -> None:
        self.settings = settings
        self._speed = speed
        self._join_beat = self._join_line = join_beat
        self._slots = FilledSlots()
        self._job: _Job | None = None
        self._head: Playhead | None = None
        self._lines: BarLines | None = None
        self._phrases_asked = self._slots_filled = self._latest = 0
        self._choice = QualityChoice(speed)
        self._is_silenced = self._are_lines_new = False
        self._not_before = -math.inf
        self.counts = LiveCounts()
        self.quality = 0
        self.lead_bars = self.lead_s = 0.0
        self.margin_s = math.nan

    # --- what is told -------------------------------------------------------------------------------------------------
    def step(self, now: float, head: Playhead | None, tempo_map: TempoMap) -> list[Event]:
        """What is to be done now. `head` None: nothing says where the transport is; nothing is due then."""
        events: list[Event] = []
        self._head = head
        if self._lines is None or self._lines.tempo_map != tempo_map:
            self._lines, self._are_lines_new = BarLines(tempo_map), True
            self._join_line = self._lines.line(self._lines.bar_from(self._join_beat))
        if head is not None and self._are_lines_new:
            self._are_lines_new = False
            self._forget_lost_lines(self._moment(head, now), events)
        self._advance(now, events)
        return events

    def made(self, phrase: int, now: float) -> list[Event]:
        """The phrase with this number is there. One that was withdrawn is not heard of."""
        events: list[Event] = []
        if self._job and self._job.phrase == phrase and not self._job.made:
            self._job.made = True
            self._choice.made()
            self._speed.measured(self._job.quality, self._job.music_s, now - self._job.asked)
            self._advance(now, events)
        return events

    def failed(self, phrase: int, now: float) -> None:
        """Its job failed. The next `step` asks again at a lower quality, or after a pause if there is none."""
        if self._job is None or self._job.phrase != phrase or self._job.made:
            return
        if self._job.quality >= self._lowest:
            self._not_before = now + RETRY_S
        self._choice.gave_up(self._job.quality)
        self._job = None
        self.counts = self.counts.with_(failed=self.counts.failed + 1)

    def progressed(self, phrase: int, fraction: float, now: float) -> None:
        """The phrase in flight is `fraction` (0..1) done."""
        if self._job and self._job.phrase == phrase and fraction >= TELLING:
            self._job.ends = self._job.asked + (now - self._job.asked) / min(fraction, 1.0)

    def panic(self) -> list[Event]:
        """Silence: what sounds and what comes is void; nothing is made until the transport stood, or until `wake`."""
        events: list[Event] = []
        self._is_silenced = True
        self._withdraw("Panic.", events)
        if self._head is not None and self._lines is not None:
            beat = self._head.beat
            sounding = self._slots.holding(beat)
            self._forget_from(sounding.slot.start_beat if sounding else beat, events)
        return events

    def wake(self) -> None:
        """After `panic`: let the music go on."""
        self._is_silenced = False

    @property
    def join_line(self) -> float:
        """The beat of the bar line at which the source ends and the first slot begins."""
        return self._join_line

    @property
    def _lowest(self) -> int:
        return max(0, len(self.settings.qualities) - 1)

    @property
    def filled(self) -> tuple[Filled, ...]:
        """What is filled at the playhead and after it, and a few slots behind it."""
        beat = self._head.beat if self._head else self._join_beat
        return self._slots.around(beat, _BEHIND)

    # --- one step -----------------------------------------------------------------------------------------------------
    def _advance(self, now: float, events: list[Event]) -> None:
        if self._head is None or self._lines is None:
            return
        moment = self._moment(self._head, now)
        if self._is_silenced and not moment.playing:
            self._is_silenced = False
        if not self._is_silenced:
            slot = self._fill_what_is_due(moment, events)
            slot = self._place(moment, slot, events)
            self._rescue(moment, events)
            self._ask(moment, slot, events)
        self._look_ahead(moment)

    def _moment(self, head: Playhead, now: float) -> Moment:
        assert self._lines is not None
        return Moment.of(head, now, self._lines)

    def _fill_what_is_due(self, moment: Moment, events: list[Event]) -> Slot:
        """Loops into all slots that are due, and bridges; what comes back is the next slot, which is not due."""
        while True:
            slot = self._next_slot(moment)
            is_bridge = not moment.lines.is_line(slot.start_beat)
            if not is_bridge:
                self._judge_job(moment, slot, events)
                if not moment.playing or moment.now <= self._due(moment, slot):
                    return slot
                self._choice.fell_behind()
            self._fill(slot, Filling.LOOP, self._phrase_before(slot.start_beat), events)

    def _place(self, moment: Moment, slot: Slot, events: list[Event]) -> Slot:
        """The phrase in flight into the next slot, if it is there and of the slot's length."""
        job = self._job
        if job is None or not job.made or not self._fits(moment, slot):
            return slot
        self._job = None
        self._fill(slot, Filling.PHRASE, job.phrase, events)
        self._latest = job.phrase
        return self._fill_what_is_due(moment, events)

    def _fill(self, slot: Slot, filling: Filling, phrase: int, events: list[Event]) -> None:
        across = self._slots.first_within(slot.start_beat, slot.end_beat)
        if across:
            self._forget_from(across.slot.start_beat, events)
        slot = replace(slot, end_beat=self._slots.joined_end(slot.end_beat))
        self._slots.add(Filled(slot, filling, phrase))
        self._slots_filled += 1
        if filling is Filling.PHRASE:
            self.counts = self.counts.with_(phrases=self.counts.phrases + 1)
        else:
            self.counts = self.counts.with_(loops=self.counts.loops + 1)
        events.append(Fill(slot, filling, phrase))

    # --- where --------------------------------------------------------------------------------------------------------
    def _next_slot(self, moment: Moment) -> Slot:
        """The slot that must be filled next."""
        return self._slot_from(self._next_start(moment), moment.lines)

    def _slot_from(self, start: float, lines: BarLines) -> Slot:
        """The slot that begins at `start`; if that is no bar line, it is a bridge to the next one."""
        number = self._slots_filled + 1
        if lines.is_line(start):
            return lines.slot(number, start, self.settings.phrase_bars)
        bar = lines.bar_from(start)
        return Slot(number, start, lines.line(bar), bar - 1)

    def _next_start(self, moment: Moment) -> float:
        lines = moment.lines
        here = max(moment.beat, self._join_line)
        if self._slots.holding(here):
            return self._slots.filled_until(here)
        before = self._slots.begun_by(here)
        if before and moment.playing:  # just past the end of what is filled: its next slot has begun already
            start = before.slot.end_beat
            end = self._slot_from(start, lines).end_beat
            if here < end and self._slots.first_within(here, end) is None:
                return start
        return self._slots.filled_until(max(self._join_line, lines.line(moment.bar)))

    def _due(self, moment: Moment, slot: Slot) -> float:
        return moment.now + moment.seconds_to(slot.start_beat) - self.settings.handoff_s

    def _phrase_before(self, beat: float) -> int:
        """The phrase that sounds up to `beat`: what a loop there repeats, and a phrase there continues."""
        before = self._slots.ending_at(beat)
        if before:
            return before.phrase
        return 0 if abs(beat - self._join_line) <= SAME_BEATS else self._latest

    # --- what is in flight --------------------------------------------------------------------------------------------
    def _fits(self, moment: Moment, slot: Slot) -> bool:
        return self._job is not None and same(self._job.lengths, moment.lines.lengths(slot))

    def _judge_job(self, moment: Moment, slot: Slot, events: list[Event]) -> None:
        """Keep the phrase in flight for `slot`, or for the later one it was asked for, or withdraw it."""
        job = self._job
        if job is None:
            return
        if job.after != self._phrase_before(slot.start_beat):
            self._withdraw("It does not continue what sounds where the playhead went.", events)
        elif self._fits(moment, slot):
            job.slot = slot
        elif not self._comes_later(moment, slot, job.slot):
            self._withdraw("The bars that are next have another length.", events)

    def _comes_later(self, moment: Moment, slot: Slot, wanted: Slot) -> bool:
        for _ in range(_FAR_SLOTS):
            if slot.start_beat >= wanted.start_beat - SAME_BEATS:
                break
            slot = self._following(moment, slot)
        return self._fits(moment, slot) and abs(slot.start_beat - wanted.start_beat) <= SAME_BEATS

    def _following(self, moment: Moment, slot: Slot) -> Slot:
        return moment.lines.slot(slot.number + 1, slot.end_beat, self.settings.phrase_bars)

    def _rescue(self, moment: Moment, events: list[Event]) -> None:
        """Give up a phrase that will be late while the lowest quality can still make it."""
        job = self._job
        if job is None or job.made or job.quality >= self._lowest or not moment.playing:
            return
        due = self._due(moment, job.slot)
        spare = due - moment.now - self._speed.predicted_s(self._lowest, job.music_s)
        if max(job.ends, moment.now) > due and 0 <= spare <= RESCUE_S:
            self._speed.measured(job.quality, job.music_s, job.ends - job.asked)
            self._choice.gave_up(self._lowest)
            self._withdraw("It would be late; a simpler one can still be there in time.", events)

    def _withdraw(self, why: str, events: list[Event]) -> None:
        if self._job:
            events.append(Withdraw(self._job.phrase, why))
            self._job = None

    def _forget_from(self, beat: float, events: list[Event]) -> None:
        self._slots.drop_from(beat)
        events.append(Forget(beat))

    def _forget_lost_lines(self, moment: Moment, events: list[Event]) -> None:
        """Slots that have not begun and whose bar lines are no more."""
        for filled in self._slots.begun_after(moment.beat):
            slot = filled.slot
            if not (moment.lines.is_line(slot.start_beat) and moment.lines.is_line(slot.end_beat)):
                self._forget_from(slot.start_beat, events)
                return

    # --- asking -------------------------------------------------------------------------------------------------------
    def _ask(self, moment: Moment, slot: Slot, events: list[Event]) -> None:
        if self._job or moment.now < self._not_before:
            return
        music_s, lead_s = moment.seconds_of(slot), self._lead_wanted_s(moment)
        usual = self._choice.usual(self._lowest, music_s)
        spare = self._due(moment, slot) - moment.now
        if spare > lead_s + self._speed.predicted_s(usual, music_s):
            return
        quality = self._choice.choose(self._lowest, music_s, spare, lead_s)
        after = self._phrase_before(slot.start_beat)
        slot = self._in_time(moment, slot, quality)
        self._phrases_asked += 1
        lengths, music_s = moment.lines.lengths(slot), moment.seconds_of(slot)
        self._job = _Job(self._phrases_asked, after, slot, lengths, quality, music_s, moment.now)
        self.quality = quality
        if quality:
            self.counts = self.counts.with_(lowered=self.counts.lowered + 1)
        events.append(Ask(slot, quality, self._due(moment, slot), self._phrases_asked, after))

    def _lead_wanted_s(self, moment: Moment) -> float:
        lines = moment.lines
        return moment.seconds_to(lines.beat_of(lines.position(moment.beat) + self.settings.lead_bars))

    def _in_time(self, moment: Moment, slot: Slot, quality: int) -> Slot:
        """`slot`; or if the phrase will be late for it, and the slot that it makes has other bars, that one."""
        takes_s = self._speed.predicted_s(quality, moment.seconds_of(slot))
        later = slot
        for _ in range(_FAR_SLOTS):
            if self._due(moment, later) - moment.now >= takes_s:
                break
            later = self._following(moment, later)
        return slot if same(moment.lines.lengths(later), moment.lines.lengths(slot)) else later

    # --- how it stands ------------------------------------------------------------------------------------------------
    def _look_ahead(self, moment: Moment) -> None:
        lines, beat = moment.lines, moment.beat
        ready = self._slots.filled_until(max(beat, self._join_line))
        self.lead_bars = lines.position(ready) - lines.position(beat)
        self.lead_s = moment.seconds_to(ready)
        self.margin_s = math.nan
        if self._job and not self._job.made:
            takes = self._job.asked + self._speed.predicted_s(self._job.quality, self._job.music_s)
            ends = takes if math.isnan(self._job.ends) else self._job.ends
            self.margin_s = self._due(moment, self._job.slot) - max(ends, moment.now)
