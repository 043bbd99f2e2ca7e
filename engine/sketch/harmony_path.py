"""Harmony and form as the path sees them: which chord each slot holds, which may follow, which are due in the region,
and which slots belong to the section that the region lies in.

Chords are recognised outside the region alone (`engine.hearing.chords`). What is due inside it is read from how the
song repeats: the shifts by whole bars under which the harmony around the region agrees with itself vote for what lies
there. So the same progression is found under another melody, where likeness of sound would not find it.

Promise: no cell of the analysis that touches the region has a part in anything here. Where a song is not tonal there is
no `Harmony`, and the path goes by sound alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.harmony import Chord, Quality
from engine.hearing.chords import recognise
from engine.hearing.chroma import beat_notes
from engine.hearing.sections import structure
from engine.sketch.analysis import CELL_REACH_S, CELL_S, Doubles, Features
from engine.sketch.grid import Grid, Ints

Bools = NDArray[np.bool_]

_OVERHANG_S = 0.08
"""How far a cell may reach over the slot that it counts for."""
_TONAL = 0.5
"""The share of slots that must hold a chord in a song that is called tonal."""
_RELATED = 0.5
"""How wrong a chord is that shares two of three notes; 1: any other."""


@dataclass(frozen=True)
class Harmony:
    """`chord` ``(slots,)`` is an index into `chords` (without their sevenths), -1 where none is known. `apart`
    ``(chords, chords)`` tells how wrong one is in the other's place, 0 to 1; `follows` ``(2, chords, chords)`` how
    usual it is in this song that the second comes right after the first, 0 to 1: on a bar line, and inside a bar."""

    chords: tuple[Chord, ...]
    chord: Ints
    apart: Doubles
    follows: Doubles

    def gap(self, mine: Ints, other: Ints) -> Doubles:
        """How wrong the chord of one slot is in place of another's, of two index arrays that broadcast; 1 where not
        both are known."""
        a, b = self.chord[mine], self.chord[other]
        return np.where((a >= 0) & (b >= 0) & (mine >= 0) & (other >= 0), self.apart[a, b], 1.0)

    def unusual(self, before: Ints, after: Ints, on_bar_line: Bools) -> Doubles:
        """How unusual each slot of `after` is right after each of `before`: ``(len(before), len(after))``, 0 to 1; 0
        where not both are known. `on_bar_line` tells which of `after` begin a bar."""
        a, b = self.chord[before][:, None], self.chord[after][None, :]
        usual = self.follows[np.where(on_bar_line, 0, 1)[None, :], a, b]
        return np.where((a >= 0) & (b >= 0), 1.0 - usual, 0.0)


def harmony(features: Features, grid: Grid, region: tuple[int, int]) -> Harmony | None:
    """The chords of the slots outside `region` (source frames); None if the song is not tonal."""
    beat = _slot_of_cells(features, grid, region)
    known = np.bincount(beat[beat >= 0], minlength=grid.slots) > 0
    if not known.any():
        return None
    first, last = np.flatnonzero(known)[[0, -1]]
    inside = slice(first, last + 1)
    heard = beat_notes(features.peaks, np.where(beat >= 0, beat - first, -1), last + 1 - first)
    named = recognise(heard, None, grid.place[inside] == 0, known[inside])
    plain = [_plain(chord) if chord and there else None for chord, there in zip(named, known[inside], strict=True)]
    if sum(chord is not None for chord in plain) < _TONAL * np.count_nonzero(known):
        return None
    chords = tuple(sorted({chord for chord in plain if chord}, key=lambda chord: (chord.root, chord.quality)))
    index = {chord: number for number, chord in enumerate(chords)}
    chord = np.full(grid.slots, -1, dtype=np.int64)
    chord[inside] = [index[name] if name else -1 for name in plain]
    return Harmony(chords, chord, _apart(chords), _follows(chord, grid, len(chords)))


def _plain(chord: Chord) -> Chord:
    """Major, minor or suspended: what a melody over it depends on; sevenths come and go from one chorus to the next."""
    third = chord.quality.intervals[1]
    return Chord(chord.root, {3: Quality.MINOR, 4: Quality.MAJOR}.get(third, Quality.SUSPENDED))


def _slot_of_cells(features: Features, grid: Grid, region: tuple[int, int]) -> Ints:
    """The slot of each cell of the analysis, -1 where it lies across a line or reaches into the region."""
    rate = features.rate
    starts = features.start + np.arange(len(features.peaks.tonal)) * (CELL_S * rate)
    stops = starts + CELL_S * rate
    slot = np.clip(np.searchsorted(grid.lines, (starts + stops) / 2, side="right") - 1, 0, grid.slots - 1)
    over = np.maximum(grid.lines[slot] - starts, stops - grid.lines[slot + 1])
    reach = CELL_REACH_S * rate
    clear = (stops + reach <= region[0]) | (starts - reach >= region[1])
    # A slot in which no cell fits takes the one that fits best.
    best = np.full(grid.slots, np.inf)
    np.minimum.at(best, slot[clear], over[clear])
    fits = clear & ((over <= _OVERHANG_S * rate) | (over <= best[slot]))
    return np.where(fits, slot, -1)


def _apart(chords: tuple[Chord, ...]) -> Doubles:
    apart = np.ones((len(chords), len(chords)))
    for row, one in enumerate(chords):
        for column, other in enumerate(chords):
            shared = len(set(one.pitch_classes) & set(other.pitch_classes))
            if one == other:
                apart[row, column] = 0.0
            elif shared == 2 and one.root != other.root:
                apart[row, column] = _RELATED
    return apart


def _follows(chord: Ints, grid: Grid, count: int) -> Doubles:
    counts = np.zeros((2, count, count))
    here, there, place = chord[:-1], chord[1:], grid.place[1:]
    both = (here >= 0) & (there >= 0)
    np.add.at(counts, (np.where(place == 0, 0, 1)[both], here[both], there[both]), 1.0)
    return np.asarray(counts / np.maximum(counts.max(axis=2, keepdims=True), 1.0))


# --- form -------------------------------------------------------------------------------------------------------------
def sections(vectors: Doubles, known: Bools, grid: Grid) -> Ints:
    """The section of each slot, as a number; -1 where its bar is not wholly known. `vectors` describe the slots."""
    label = np.full(grid.slots, -1, dtype=np.int64)
    bars, bar_of = np.unique(grid.bar, return_inverse=True)
    whole = np.flatnonzero(np.bincount(bar_of, known) == np.bincount(bar_of))
    features = np.zeros((len(bars), grid.per_bar, vectors.shape[1]))
    features[bar_of, grid.place] = vectors
    labels = np.full(len(bars), -1, dtype=np.int64)
    numbers: dict[str, int] = {}
    for bar, name in zip(whole, structure(features[whole].reshape(len(whole), features[0].size)), strict=True):
        labels[bar] = numbers.setdefault(name, len(numbers))
    label[:] = labels[bar_of]
    return label
