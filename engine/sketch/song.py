"""What the embedded engine hears in a song: grid, key, chords, form, dynamics, groove and balance, in one value.

All that comes after works on a `TempoMap`: the DAW's, or one made of the estimated beats, so that nobody else has to
know which it was (`grid_name` tells). `SongAnalysis.lead_sheet` gives what a band needs to play along with any stretch,
also beyond the song's ends. `engine.sketch.song_analysis` makes one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from engine.harmony import Chord, ChordSpan, Quality
from engine.sketch.barred_song import bars_between
from engine.sketch.lead_sheet import Accents, Bar, LeadSheet, SongSection
from protocol.key import Key
from protocol.music import TempoMap

_REPEATED_BARS = (4, 16)
"""How much of the neighbouring section is repeated beyond the song's ends, at least and at most."""
_EPSILON = 1e-6


@dataclass(frozen=True)
class SongAnalysis:
    """The song from beat `start` to beat `end`, both bar lines; positions are beats of `tempo_map`.

    `chords` (None: none is heard) and `sections` cover it without gaps or overlaps. `level_db` and `energy` (0 to 1,
    the song's loud bars) are per bar of `bars`. `tonal` is False if there is no harmony; then `key` means nothing
    unless it was told. `lufs` is None for silence.
    """

    tempo_map: TempoMap
    grid_name: str
    key: Key
    key_told: bool
    tonal: bool
    start: float
    end: float
    chords: tuple[ChordSpan, ...]
    sections: tuple[SongSection, ...]
    level_db: tuple[float, ...]
    energy: tuple[float, ...]
    accents: Accents = field(compare=False)
    swing: float
    balance_db: Mapping[str, float]
    lufs: float | None
    tuning: float
    """Offset of the song's semitones from A = 440 Hz equal temperament, -0.5 to 0.5 semitones."""

    @cached_property
    def bars(self) -> tuple[Bar, ...]:
        return bars_between(self.tempo_map, self.start, self.end)

    @property
    def tonic(self) -> Chord:
        """The chord on the key's tonic."""
        return Chord(self.key.pitch_class, Quality.MAJOR if self.key.mode == "major" else Quality.MINOR)

    def lead_sheet(self, start_beat: float, end_beat: float) -> LeadSheet:
        """What a band reads from `start_beat` to `end_beat`.

        Beyond its ends the song goes on with its first or last section. Where no chord is heard for less than two
        bars, the one before stays (or the one after comes early); where longer, the band plays the tonic.
        """
        pieces = list(self._pieces(start_beat, end_beat))
        chords = [span for piece in pieces for span in _moved(self._played, *piece)]
        sections = [section for piece in pieces for section in _moved(self.sections, *piece)]
        plain = LeadSheet(self.tempo_map, self.key, start_beat, end_beat, (), ())
        return replace(
            plain,
            chords=_joined(_sealed(chords, start_beat, end_beat)),
            sections=self._whole(_sealed(sections, start_beat, end_beat)),
            energy=tuple(self._energy_at(self._home((bar.start + bar.end) / 2)) for bar in plain.bars),
            accents=self._accents_of(plain.bars),
            swing=self.swing,
        )

    def _whole(self, sections: tuple[SongSection, ...]) -> tuple[SongSection, ...]:
        """The first one from where it really begins: a region in the middle of a section opens nothing."""
        first = sections[0]
        true = next((s for s in self.sections if s.start < first.start - _EPSILON and s.end > first.start), None)
        is_same = true is not None and first.start < self.end and true.label == first.label
        return (replace(first, start=true.start), *sections[1:]) if true is not None and is_same else sections

    def _pieces(self, start: float, end: float) -> Iterator[tuple[float, float, float]]:
        """The span as pieces of the song: from, to, and how far each is moved."""
        at = start
        while at < end - _EPSILON:
            home = self._home(at)
            if at < self.start - _EPSILON:
                limit = min(self._first[1], home + self.start - at)
            else:
                limit = self.end if at < self.end - _EPSILON else self._last[1]
            length = min(limit - home, end - at)
            yield home, home + length, at - home
            at += length

    def _home(self, beat: float) -> float:
        """Where in the song that is which sounds at `beat`, as the song goes on beyond its ends."""
        if self.start - _EPSILON <= beat < self.end - _EPSILON:
            return max(beat, self.start)
        (first, stop), edge = (self._first, self.start) if beat < self.start else (self._last, self.end)
        return first + max(0.0, (beat - edge + _EPSILON) % (stop - first) - _EPSILON)

    @cached_property
    def _first(self) -> tuple[float, float]:
        """The stretch that is repeated before the song."""
        return self.start, _nearest_bar_line(self.bars, self.sections[0].end, 0)

    @cached_property
    def _last(self) -> tuple[float, float]:
        """The stretch that is repeated after the song."""
        return _nearest_bar_line(self.bars, self.sections[-1].start, -1), self.end

    @cached_property
    def _played(self) -> tuple[ChordSpan, ...]:
        """The chords with those filled in that are not heard."""
        bar = self.bars[-1].beats
        filled: list[ChordSpan] = []
        for index, span in enumerate(self.chords):
            chord = span.chord
            if chord is None:
                around = self.chords[max(index - 1, 0) : index + 2]
                is_short = span.end - span.start < 2 * bar
                chord = next((near.chord for near in around if is_short and near.chord), self.tonic)
            filled.append(replace(span, chord=chord))
        return _joined(filled)

    def _energy_at(self, beat: float) -> float:
        return self.energy[max(0, bisect_right(self._bar_starts, beat + _EPSILON) - 1)]

    @cached_property
    def _bar_starts(self) -> list[float]:
        return [bar.start for bar in self.bars]

    def _accents_of(self, bars: tuple[Bar, ...]) -> Accents:
        beats, strength = [np.zeros(0)], [np.zeros((0, 3))]
        for bar in bars:
            home = self._home(bar.start)
            inside = slice(*np.searchsorted(self.accents.beats, [home - _EPSILON, home + bar.beats - _EPSILON]))
            beats.append(self.accents.beats[inside] + (bar.start - home))
            strength.append(self.accents.strength[inside])
        return Accents(np.concatenate(beats), np.concatenate(strength))


def _nearest_bar_line(bars: tuple[Bar, ...], edge: float, end: int) -> float:
    """The bar line near `edge` that leaves between 4 and 16 bars to the song's first (`end` 0) or last (-1) line."""
    fewest, most = _REPEATED_BARS
    starts = [bar.start for bar in bars]
    if end == 0:
        count = min(max(bisect_right(starts, edge - _EPSILON), fewest), most, len(bars))
        return bars[count - 1].end
    count = min(max(len(bars) - bisect_right(starts, edge - _EPSILON), fewest), most, len(bars))
    return bars[-count].start


Span = TypeVar("Span", ChordSpan, SongSection)


def _moved(all_spans: tuple[Span, ...], low: float, high: float, by: float) -> Iterator[Span]:
    """What lies between `low` and `high`, cut there and moved."""
    for span in all_spans:
        if span.start < high - _EPSILON and span.end > low + _EPSILON:
            yield replace(span, start=max(span.start, low) + by, end=min(span.end, high) + by)


def _sealed(found: list[Span], start: float, end: float) -> tuple[Span, ...]:
    """The spans from `start` to `end` without the gaps that rounding leaves."""
    lines = [start, *(span.start for span in found[1:]), end]
    return tuple(replace(span, start=a, end=b) for span, a, b in zip(found, lines, lines[1:], strict=False))


def _joined(chords: Iterable[ChordSpan]) -> tuple[ChordSpan, ...]:
    joined: list[ChordSpan] = []
    for span in chords:
        if joined and joined[-1].chord == span.chord:
            joined[-1] = replace(joined[-1], end=span.end)
        else:
            joined.append(span)
    return tuple(joined)
