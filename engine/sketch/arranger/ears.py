"""What the drummer hears in a song: where its low band, middle and cymbals hit, bar by bar and on the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.sketch.arranger.meter import Cell, cells, is_swingable, pulses
from engine.sketch.lead_sheet import Accents, Bar

Doubles = NDArray[np.float64]

HIT = 0.5
"""Accents: from here on something plainly begins."""
LOW, MIDDLE, HIGH = range(3)
_KICK = 0.55
_ENOUGH = 3
"""Bars: fewer of a section say nothing about what it usually does."""


class Ears:
    """The song's accents: what bars of a meter do on the whole, in a section, and each bar on its own."""

    def __init__(self, bars: Sequence[Bar], labels: Sequence[str], accents: Accents, *, swings: bool) -> None:
        self._bars, self._labels = bars, labels
        self._own = [_bar_hits(bar, accents, swings and is_swingable(bar)) for bar in bars]
        kept: dict[Hashable, list[Doubles]] = defaultdict(list)
        for bar, label, own in zip(bars, labels, self._own, strict=True):
            if own.any():
                kept[_kind(bar)].append(own)
                kept[_kind(bar), label].append(own)
        self._usual: dict[Hashable, Doubles] = {kind: np.mean(heard, axis=0) for kind, heard in kept.items()}
        self._counts = {kind: len(heard) for kind, heard in kept.items()}

    def usual(self, bar: Bar, label: str | None = None) -> Doubles:
        """``(sixteenths, 3)`` mean hits of the bars of this meter; of a section's, if it has enough of them."""
        kind: Hashable = (_kind(bar), label)
        if self._counts.get(kind, 0) < _ENOUGH:
            kind = _kind(bar)
        found = self._usual.get(kind)
        return np.zeros((_sixteenths(bar), 3)) if found is None else found

    def backbeat(self, bar: Bar, label: str | None = None) -> Doubles:
        """``(sixteenths,)`` how much a place sounds like a snare: its crack and its rattle."""
        usual = self.usual(bar, label)
        return np.asarray(usual[:, MIDDLE] + usual[:, HIGH]) / 2

    @cached_property
    def step(self) -> float | None:
        """The subdivision that the cymbals keep; None where there are none to speak of."""
        high = [self.usual(bar)[:, HIGH] for bar in self._bars]
        sixteenths, eighths, beats = (
            float(np.mean(np.concatenate([row[first::stride] for row in high if len(row) > first] or [np.zeros(1)])))
            for first, stride in ((1, 2), (2, 4), (0, 4))
        )
        if max(sixteenths, eighths, beats) < 0.15:
            return None
        return 0.25 if sixteenths > 0.25 else 0.5 if eighths > 0.2 else 1.0

    def agreement(self, kick: str, cell: Cell, step: float) -> float:
        """How well a kick pattern meets the song's low band, from -1 to 1, on the first bar that has such a cell."""
        for bar in self._bars:
            for other in cells(bar):
                if (other.pulses, other.compound) != (cell.pulses, cell.compound):
                    continue
                low = self.usual(bar)[:, LOW]
                places = [
                    round((other.start - bar.start + k * step) * 4)
                    for k, hit in enumerate(kick)
                    if hit == "x" and other.start + k * step < other.end - 1e-6
                ]
                met = [low[place] for place in places if place < len(low)]
                missed = np.maximum(np.delete(low, [p for p in places if p < len(low)]) - HIT, 0.0).sum()
                return float((np.mean(met) if met else 0.0) - 0.25 * missed)
        return 0.0

    def locked(
        self, index: int, kick: list[float], snare: list[float], density: float
    ) -> tuple[list[float], list[float]]:
        """A pattern's kick and snare moved to where the song has them; the pattern's own where the song is silent."""
        bar, own = self._bars[index], self._own[index]
        usual = self.usual(bar, self._labels[index])
        if usual[:, :HIGH].max() < 0.2:
            return kick, snare
        hits = 0.5 * (own + usual) if own.any() else usual
        heard = own[:, LOW] if own.any() else usual[:, LOW]
        backbeats = self._backbeats(index, snare)
        # A snare rings in the low band, and a bass that plays on the backbeat is no second kick.
        is_backbeat = np.isin(np.arange(len(hits)), backbeats) & (hits[:, MIDDLE] >= hits[:, LOW] - 0.15)
        score = hits[:, LOW] + _weight(bar, len(hits)) - 0.5 * is_backbeat
        most = round(len(pulses(bar)) * (1.25 + 0.5 * density))
        wanted = [place for place in np.argsort(-score, kind="stable") if score[place] >= _KICK and heard[place] > 0.25]
        kicks = sorted({0, *wanted[: max(1, most)]})
        return [bar.start + place / 4 for place in kicks], [bar.start + place / 4 for place in backbeats]

    def _backbeats(self, index: int, snare: list[float]) -> list[int]:
        """The expected places that the song supports, and others that stand out as much; else those expected."""
        bar, label = self._bars[index], self._labels[index]
        crack, usual = self.backbeat(bar, label), self.usual(bar, label)
        expected = [place for beat in snare if (place := round((beat - bar.start) * 4)) < len(crack)]
        top = float(crack[1:].max(initial=0.0))
        met = [place for place in expected if crack[place] >= max(0.2, 0.55 * top)]
        others = [
            place
            for place in np.flatnonzero(crack >= max(0.4, 0.8 * top))
            if place and usual[place, MIDDLE] >= max(HIT, usual[place, LOW] - 0.1)
        ]
        if len(others) > len(pulses(bar)):  # more than a backbeat: somebody else's rhythm
            others = []
        return sorted({*met, *map(int, others)}) or expected


def _kind(bar: Bar) -> Hashable:
    return bar.signature, _sixteenths(bar)


def _sixteenths(bar: Bar) -> int:
    return max(1, round(bar.beats * 4))


def _bar_hits(bar: Bar, accents: Accents, swings: bool) -> Doubles:
    """``(sixteenths, 3)``: each accent at its nearest sixteenth of the bar; a late second eighth counts as one."""
    hits = np.zeros((_sixteenths(bar), 3))
    inside = (accents.beats > bar.start - 0.125) & (accents.beats < bar.end - 0.125)
    place = np.clip(np.rint((accents.beats[inside] - bar.start) * 4).astype(int), 0, len(hits) - 1)
    if swings:
        place = np.where(place % 4 == 3, place - 1, place)
    np.maximum.at(hits, place, accents.strength[inside])
    return hits


def _weight(bar: Bar, size: int) -> Doubles:
    """A little more for what lies on pulses and eighths: between equals, the plainer groove."""
    weight = np.zeros(size)
    weight[::2] = 0.05
    for beat in pulses(bar):
        place = round((beat - bar.start) * 4)
        if place < size:
            weight[place] = 0.12
    return weight
