"""The slots that are filled, in order of time and never overlapping; between two of them there may be a void."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from bridge.live.bar_lines import SAME_BEATS
from protocol.live import Filling, Slot


@dataclass(frozen=True)
class Filled:
    """A slot and what it holds: a phrase, or a loop of the phrase with that number (0: the end of the source)."""

    slot: Slot
    filling: Filling
    phrase: int


class FilledSlots:
    """All filled slots of a run. Beats that differ by less than `SAME_BEATS` are one."""

    def __init__(self) -> None:
        self._all: list[Filled] = []
        self._starts: list[float] = []

    def holding(self, beat: float) -> Filled | None:
        """What is filled at `beat`."""
        last = self.begun_by(beat)
        return last if last and beat < last.slot.end_beat - SAME_BEATS else None

    def begun_by(self, beat: float) -> Filled | None:
        """The last one that begins at or before `beat`."""
        index = self._index_after(beat)
        return self._all[index - 1] if index else None

    def ending_at(self, beat: float) -> Filled | None:
        """The one that goes up to `beat` without a void between."""
        index = self._index_after(beat - 2 * SAME_BEATS)
        before = self._all[index - 1] if index else None
        return before if before and abs(before.slot.end_beat - beat) <= SAME_BEATS else None

    def filled_until(self, beat: float) -> float:
        """The beat up to which all is filled from `beat` on; `beat` itself, if nothing is filled there."""
        holds = self.holding(beat)
        if holds is None:
            return beat
        end = holds.slot.end_beat
        for index in range(self._index_after(beat), len(self._all)):
            if self._starts[index] > end + SAME_BEATS:
                break
            end = self._all[index].slot.end_beat
        return end

    def first_within(self, start_beat: float, end_beat: float) -> Filled | None:
        """The first one that begins in ``start_beat <= beat < end_beat``."""
        index = self._index_after(start_beat - 2 * SAME_BEATS)
        if index < len(self._all) and self._starts[index] < end_beat - SAME_BEATS:
            return self._all[index]
        return None

    def joined_end(self, beat: float) -> float:
        """`beat`, or where a slot begins that is as good as there: the end of a slot that shall join it."""
        index = self._index_after(beat)
        start = self._starts[index - 1] if index else beat
        return start if abs(start - beat) <= SAME_BEATS else beat

    def add(self, filled: Filled) -> None:
        index = self._index_after(filled.slot.start_beat)
        self._all.insert(index, filled)
        self._starts.insert(index, filled.slot.start_beat)

    def drop_from(self, beat: float) -> None:
        """Forget all that begin at or after `beat`."""
        index = self._index_after(beat - 2 * SAME_BEATS)
        del self._all[index:], self._starts[index:]

    def begun_after(self, beat: float) -> tuple[Filled, ...]:
        """All that begin after `beat`."""
        return tuple(self._all[self._index_after(beat) :])

    def around(self, beat: float, behind: int) -> tuple[Filled, ...]:
        """All that end after `beat`, and `behind` ones before them."""
        return tuple(self._all[max(0, self._index_after(beat) - 1 - behind) :])

    def _index_after(self, beat: float) -> int:
        return bisect_right(self._starts, beat + SAME_BEATS)
