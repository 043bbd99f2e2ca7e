"""What a band reads: harmony, form, dynamics and groove of a stretch of music. Ears or a composer write it, the
arranger reads it, and nothing else passes between them.

All positions are *beats*: quarter notes since project time 0, as `TempoMap.beat_at` gives them. So tempo, ramps and
meter changes are the tempo map's business alone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.harmony import Chord, ChordSpan
from protocol.key import Key
from protocol.music import TempoMap, TimeSignature

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """One bar (possibly cut short by a meter change): bar number and span in beats."""

    number: int
    start: float
    end: float
    signature: TimeSignature

    @property
    def beats(self) -> float:
        return self.end - self.start

    @property
    def counts(self) -> tuple[float, ...]:
        """Where its counts fall (beats since project time 0)."""
        unit = self.signature.beats_per_count
        return tuple(self.start + unit * k for k in range(max(1, round(self.beats / unit))))


def bars_of(tempo_map: TempoMap, start: float, end: float) -> tuple[Bar, ...]:
    """Every bar that has a part between two beats, the first and last possibly reaching beyond them."""
    bars: list[Bar] = []
    number, _ = tempo_map.bar_at(tempo_map.time_at(start + 1e-6))
    while (begin := tempo_map.beat_at(tempo_map.bar_start(number))) < end - 1e-6:
        stop = tempo_map.beat_at(tempo_map.bar_start(number + 1))
        bars.append(Bar(number, begin, stop, tempo_map.signature_at(tempo_map.time_at(begin + 1e-6))))
        number += 1
    return tuple(bars)


@dataclass(frozen=True)
class SongSection:
    """A part of the form. Equal labels (``A``, ``B``, ...) mean the same music again."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Accents:
    """Where the groove of a song hits: at sixteenths `beats` ``(n,)`` (rising, evenly spread in each count), `strength`
    ``(n, 3)`` from 0 (nothing begins) to 1 (its strongest hits), for kick and bass, the middle, and cymbals."""

    beats: Doubles
    strength: Doubles


@dataclass(frozen=True)
class LeadSheet:
    """The music from beat `start` to beat `end`. `chords` and `sections` cover that span without gaps or overlaps; the
    first section may have begun before it.

    `energy` is one value 0 (its quietest) to 1 (its loudest) per bar of `bars`. `accents` is None for music that does
    not exist yet.
    """

    tempo_map: TempoMap
    key: Key
    start: float
    end: float
    chords: tuple[ChordSpan, ...]
    sections: tuple[SongSection, ...]
    energy: tuple[float, ...] = ()
    accents: Accents | None = None
    swing: float = 0.5
    """Where the second eighth of a beat falls: 0.5 straight, 0.667 a triplet shuffle."""

    @cached_property
    def bars(self) -> tuple[Bar, ...]:
        """Every bar that has a part in the span, the first and last possibly reaching beyond it."""
        return bars_of(self.tempo_map, self.start, self.end)

    def chord_at(self, beat: float) -> Chord | None:
        """The chord that sounds at `beat`; outside the span the nearest one."""
        index = bisect_right(self._chord_starts, beat + 1e-6) - 1
        return self.chords[max(0, index)].chord if self.chords else None

    @cached_property
    def _chord_starts(self) -> list[float]:
        return [span.start for span in self.chords]

    def section_at(self, beat: float) -> SongSection:
        """The section around `beat`; outside the span the nearest one."""
        index = bisect_right([section.start for section in self.sections], beat + 1e-6) - 1
        return self.sections[max(0, index)]

    def energy_of(self, bar: Bar) -> float:
        """The energy of one of `bars`; 0.6 where nothing is known."""
        index = bar.number - self.bars[0].number
        return self.energy[index] if 0 <= index < len(self.energy) else 0.6
