"""A live run in simulated time: a transport that plays along a tempo map, an engine that takes its time, and a judge.

The judge keeps its own account of what was filled from the schedule's events alone, and checks at every tick what live
extension promises: the playhead lies in what is filled whenever it plays past the join, slots are disjoint and lie on
bar lines, every phrase is placed once, in bars as long as those that were asked for.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bridge.live.schedule import Ask, Event, Fill, Forget, Schedule, Withdraw
from bridge.live.speed import Speed
from protocol.live import Filling, LiveCounts, LiveSettings, Slot
from protocol.music import TempoMap
from protocol.transport import Playhead

TICK_S = 0.05
FAILS_AFTER_S = 0.2
LINE_BEATS = 0.02
"""Quarter notes: what is nearer to a bar line lies on it, and bars that are shorter are none."""

GAP_BEATS = 0.001

MakingTime = Callable[[Ask, float], float | None]
"""Seconds that the engine takes for what is asked, of which the music lasts so many seconds; None: the job fails."""


@dataclass
class Transport:
    """A DAW's transport. `rate`: how much faster than its map it plays; `jitter_s`: error of each position it tells."""

    tempo_map: TempoMap
    beat: float = 0.0
    playing: bool = True
    rate: float = 1.0
    jitter_s: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))
    epoch: int = 0

    def run(self, seconds: float) -> None:
        if self.playing:
            self.beat = self.tempo_map.beat_at(self.tempo_map.time_at(self.beat) + seconds * self.rate)

    def locate(self, beat: float) -> None:
        self.beat, self.epoch = beat, self.epoch + 1

    def head(self, now: float) -> Playhead:
        bpm = self.tempo_map.bpm_at(self.tempo_map.time_at(self.beat)) * self.rate
        jitter = self.random.uniform(-1, 1) * self.jitter_s * bpm / 60 if self.playing else 0.0
        return Playhead(now, self.beat + jitter, bpm, self.playing, "simulation", self.epoch)

    def seconds_to(self, beat: float) -> float:
        return (self.tempo_map.time_at(beat) - self.tempo_map.time_at(self.beat)) / self.rate


@dataclass
class _Making:
    ask: Ask
    began: float
    ends: float
    fails: bool


class Simulation:
    """`run` it; `transport` may be changed at any time between. Raises AssertionError when a promise is broken."""

    def __init__(
        self,
        transport: Transport,
        making_time: MakingTime,
        settings: LiveSettings | None = None,
        *,
        join_beat: float = 16.0,
        tells_progress: bool = False,
        speed: Speed | None = None,
    ) -> None:
        self.transport, self.join_beat = transport, join_beat
        self.settings = settings or LiveSettings()
        self.schedule = Schedule(self.settings, speed or Speed(), join_beat=join_beat)
        self.now = 1000.0
        self.events: list[Event] = []
        self.filled: list[Fill] = []
        self.asks: dict[int, Ask] = {}
        self.lead_seen: list[float] = []
        self.is_silenced = False
        self._making_time, self._tells_progress = making_time, tells_progress
        self._making: _Making | None = None
        self._placed: set[int] = set()
        self._withdrawn: set[int] = set()
        self._asked_bars: dict[int, list[float]] = {}
        self._failed = 0
        self._here: Fill | None = None
        self._where: tuple[int, TempoMap, bool] | None = None
        self._free_until = -math.inf

    def run(self, seconds: float) -> None:
        """Tell the schedule at once what has become of the transport, and go on for `seconds`."""
        self._step()
        for _ in range(round(seconds / TICK_S)):
            self._engine(self.now + TICK_S)
            self.transport.run(TICK_S)
            self.now += TICK_S
            self._step()
            if self.transport.playing and self.transport.beat >= self.join_beat:
                self.lead_seen.append(self.schedule.lead_bars)

    def _step(self) -> None:
        self.take(self.schedule.step(self.now, self.transport.head(self.now), self.transport.tempo_map))
        self._check_playhead()

    def panic(self) -> None:
        self.is_silenced = True
        self.take(self.schedule.panic())

    @property
    def fills(self) -> list[Fill]:
        return [event for event in self.events if isinstance(event, Fill)]

    @property
    def loops(self) -> int:
        return sum(fill.filling is Filling.LOOP for fill in self.fills)

    @property
    def phrases(self) -> int:
        return sum(fill.filling is Filling.PHRASE for fill in self.fills)

    def check_counts(self) -> None:
        lowered = sum(ask.quality > 0 for ask in self.asks.values())
        told = LiveCounts(self.phrases, self.loops, lowered, self._failed)
        assert self.schedule.counts == told

    # --- the engine ---------------------------------------------------------------------------------------------------
    def _engine(self, until: float) -> None:
        while (job := self._making) and job.ends <= until:
            self._making = None
            if job.fails:
                self._failed += 1
                self.schedule.failed(job.ask.phrase, job.ends)
            else:
                before = self.transport.beat
                self.transport.run(max(0.0, job.ends - self.now))
                self.take(self.schedule.made(job.ask.phrase, job.ends), job.ends)
                self.transport.beat = before
        if job and self._tells_progress:
            self.schedule.progressed(job.ask.phrase, (until - job.began) / (job.ends - job.began), until)

    def _begin(self, ask: Ask, now: float) -> None:
        assert self._making is None, "one phrase in flight at a time"
        music_s = self.transport.tempo_map.time_at(ask.slot.end_beat)
        music_s = (music_s - self.transport.tempo_map.time_at(ask.slot.start_beat)) / self.transport.rate
        takes = self._making_time(ask, music_s)
        self._making = _Making(ask, now, now + (FAILS_AFTER_S if takes is None else takes), takes is None)

    # --- the judge ----------------------------------------------------------------------------------------------------
    def take(self, events: Iterable[Event], now: float | None = None) -> None:
        for event in events:
            self.events.append(event)
            match event:
                case Ask(slot=slot, phrase=phrase):
                    assert phrase not in self.asks
                    self.asks[phrase] = event
                    self._check_lines(slot)
                    self._asked_bars[phrase] = self._bars(slot)
                    self._begin(event, self.now if now is None else now)
                case Withdraw(phrase=phrase):
                    assert phrase not in self._placed
                    self._withdrawn.add(phrase)
                    if self._making and self._making.ask.phrase == phrase:
                        self._making = None
                case Fill():
                    self._check_fill(event)
                    self.filled.append(event)
                case Forget(from_beat=beat):
                    self.filled = [fill for fill in self.filled if fill.slot.start_beat < beat - GAP_BEATS]
                    self._here = None

    def _check_fill(self, fill: Fill) -> None:
        slot = fill.slot
        assert all(
            fill.slot.end_beat <= slot.start_beat + GAP_BEATS or slot.end_beat <= fill.slot.start_beat + GAP_BEATS
            for fill in self.filled
        ), f"{slot} overlaps"
        if fill.filling is Filling.PHRASE:
            assert fill.phrase in self.asks
            assert fill.phrase not in self._placed | self._withdrawn
            self._placed.add(fill.phrase)
            self._check_lines(slot)
            assert _same(self._bars(slot), self._asked_bars[fill.phrase])
            before = self._before(slot)
            assert before is None or before.phrase == self.asks[fill.phrase].after, "continues what sounds before it"
            if self.transport.playing:
                slack = self.transport.seconds_to(slot.start_beat) - self.settings.handoff_s
                assert slack >= -2 * self.transport.jitter_s - 1e-6, "a phrase is never placed late"
            return
        assert fill.phrase in self._placed | {0}
        before = self._before(slot)
        if before is None or self._on_line(slot.start_beat):
            self._check_lines(slot)
        else:  # a bridge
            assert self._on_line(slot.end_beat)
            assert self.transport.tempo_map.bar_at(self.transport.tempo_map.time_at(slot.end_beat + LINE_BEATS))[0] == (
                slot.bar + 1
            )

    def _before(self, slot: Slot) -> Fill | None:
        return next((f for f in self.filled if abs(f.slot.end_beat - slot.start_beat) < LINE_BEATS), None)

    def _check_lines(self, slot: Slot) -> None:
        assert self._on_line(slot.start_beat)
        assert self._on_line(slot.end_beat)
        assert len(self._bars(slot)) == self.settings.phrase_bars
        tempo_map = self.transport.tempo_map
        assert tempo_map.bar_at(tempo_map.time_at(slot.start_beat + LINE_BEATS))[0] == slot.bar

    def _on_line(self, beat: float) -> bool:
        tempo_map = self.transport.tempo_map
        bar, into = tempo_map.bar_at(tempo_map.time_at(beat))
        following = tempo_map.beat_at(tempo_map.bar_start(bar + 1))
        return min(into, abs(following - beat)) < LINE_BEATS

    def _bars(self, slot: Slot) -> list[float]:
        """Lengths of the slot's bars in beats."""
        tempo_map, lines, bar = self.transport.tempo_map, [slot.start_beat], slot.bar
        while lines[-1] < slot.end_beat - LINE_BEATS:
            bar += 1
            lines.append(tempo_map.beat_at(tempo_map.bar_start(bar)))
        return [after - before for before, after in pairwise(lines) if after - before > LINE_BEATS]

    def _check_playhead(self) -> None:
        """Inside what is filled; after a jump into the void, from the next bar line on."""
        transport = self.transport
        if not transport.playing:
            self.is_silenced, self._where = False, None
            return
        where = (transport.epoch, transport.tempo_map, self.is_silenced)
        if self._is_covered(transport.beat) or transport.beat < self._line_from(self.join_beat) or self.is_silenced:
            self._where, self._free_until = where, -math.inf
            return
        if where != self._where:
            self._where, self._free_until = where, self._line_from(transport.beat)
        assert transport.beat < self._free_until, f"nothing sounds at {transport.beat}"

    def _line_from(self, beat: float) -> float:
        tempo_map = self.transport.tempo_map
        bar, into = tempo_map.bar_at(tempo_map.time_at(beat))
        return tempo_map.beat_at(tempo_map.bar_start(bar if into <= LINE_BEATS else bar + 1))

    def _is_covered(self, beat: float) -> bool:
        def holds(fill: Fill) -> bool:
            return fill.slot.start_beat - GAP_BEATS <= beat < fill.slot.end_beat + GAP_BEATS

        if self._here is None or not holds(self._here):
            self._here = next((fill for fill in reversed(self.filled) if holds(fill)), None)
        return self._here is not None


def _same(bars: Sequence[float], others: Sequence[float]) -> bool:
    return len(bars) == len(others) and all(abs(a - b) < 3 * LINE_BEATS for a, b in zip(bars, others, strict=True))
