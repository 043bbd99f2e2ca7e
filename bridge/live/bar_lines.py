"""Bar lines in beats, and how soon the playhead reaches them: what `schedule` needs of a tempo map. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.live import Slot
from protocol.music import TempoMap
from protocol.transport import Playhead

SAME_BEATS = 0.02
"""Quarter notes: beats that are no farther apart are one. DAWs round the times of tempo points, and a signature that
begins a little after a bar line would else leave a bar of no length there."""

NEAR_BEATS, NEAR_S = 0.05, 0.025
"""A playhead that is so little past a bar line (quarter notes, or seconds) still counts as on it, as after a locate."""


def same(lengths: Sequence[float], others: Sequence[float]) -> bool:
    """True if bars of these lengths (beats) are the same bars."""
    return len(lengths) == len(others) and all(
        abs(one - other) <= 2 * SAME_BEATS for one, other in zip(lengths, others, strict=True)
    )


class BarLines:
    """The bar lines of one tempo map, in beats (quarter notes from project time 0), remembered once looked up."""

    def __init__(self, tempo_map: TempoMap) -> None:
        self.tempo_map = tempo_map
        self._lines: dict[int, float] = {}

    def line(self, bar: int) -> float:
        """The beat on which `bar` begins."""
        beat = self._lines.get(bar)
        if beat is None:
            beat = self._lines[bar] = self.tempo_map.beat_at(self.tempo_map.bar_start(bar))
        return beat

    def bar_from(self, beat: float, near: float = SAME_BEATS) -> int:
        """The first bar that begins at or after `beat`, give or take `SAME_BEATS`, or `near` beats before it."""
        bar = self._bar_of(beat)
        while self.line(bar + 1) - beat <= SAME_BEATS:
            bar += 1
        return bar if beat - self.line(bar) <= near else self.bar_after(bar)

    def bar_after(self, bar: int, bars: int = 1) -> int:
        """The bar that is `bars` bars after `bar`, not counting those of no length."""
        for _ in range(bars):
            bar += 1
            while self.line(bar + 1) - self.line(bar) <= SAME_BEATS:
                bar += 1
        return bar

    def is_line(self, beat: float) -> bool:
        return abs(self.line(self.bar_from(beat)) - beat) <= SAME_BEATS

    def slot(self, number: int, start_beat: float, bars: int) -> Slot:
        """The slot of `bars` bars that begins on the bar line at `start_beat`."""
        bar = self.bar_from(start_beat)
        return Slot(number, start_beat, self.line(self.bar_after(bar, bars)), bar)

    def lengths(self, slot: Slot) -> tuple[float, ...]:
        """Lengths of the slot's bars in beats: slots that have the `same` can hold each other's phrases."""
        lengths, bar = [], slot.bar
        while self.line(bar) < slot.end_beat - SAME_BEATS:
            after = self.bar_after(bar)
            lengths.append(self.line(after) - self.line(bar))
            bar = after
        return tuple(lengths)

    def position(self, beat: float) -> float:
        """The bar that `beat` lies in, and as a fraction how much of it is over."""
        bar = self._bar_of(beat)
        return bar + (beat - self.line(bar)) / (self.line(bar + 1) - self.line(bar))

    def beat_of(self, position: float) -> float:
        """The inverse of `position`."""
        bar = int(position // 1)
        return self.line(bar) + (position - bar) * (self.line(bar + 1) - self.line(bar))

    def _bar_of(self, beat: float) -> int:
        return self.tempo_map.bar_at(self.tempo_map.time_at(beat))[0]


@dataclass(frozen=True)
class Moment:
    """The playhead at `now`, and when it will be where. `seconds_per_map_second`: the DAW may play at another tempo
    than its map says (a play rate, a clock that disagrees); what lies ahead then comes sooner or later throughout."""

    now: float
    beat: float
    playing: bool
    time_s: float
    seconds_per_map_second: float
    lines: BarLines

    @classmethod
    def of(cls, head: Playhead, now: float, lines: BarLines) -> Moment:
        """`head` run on to `now`. A tempo of 0 or less is a transport that stands."""
        moves = head.bpm > 0
        beat = head.beat_at(now) if moves else head.beat
        time_s = lines.tempo_map.time_at(beat)
        scale = lines.tempo_map.bpm_at(time_s) / head.bpm if moves else 1.0
        return cls(now, beat, head.playing and moves, time_s, scale, lines)

    @property
    def bar(self) -> int:
        """The first bar that the playhead can still play from its beginning, or as good as that."""
        near_s = NEAR_S / self.seconds_per_map_second
        beat_before = self.lines.tempo_map.beat_at(self.time_s - near_s)
        return self.lines.bar_from(self.beat, max(NEAR_BEATS, self.beat - beat_before))

    def seconds_to(self, beat: float) -> float:
        """Seconds until the playhead is at `beat`; as if it started now, while it stands. Negative: it is past it."""
        return (self.lines.tempo_map.time_at(beat) - self.time_s) * self.seconds_per_map_second

    def seconds_of(self, slot: Slot) -> float:
        """How long `slot` sounds."""
        return self.seconds_to(slot.end_beat) - self.seconds_to(slot.start_beat)
