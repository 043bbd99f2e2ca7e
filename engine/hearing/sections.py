"""The form of a song, bar by bar: where a section begins, and which sections are the same music.

The song is cut into phrases so that as much of it as possible is heard again elsewhere, phrase against phrase, bar by
bar (the idea of repetition-based segmentation, as in Paulus, Müller, Klapuri, "Audio-based music structure analysis",
ISMIR 2010), with some weight on sudden changes of sound and on lengths of 8 and 4 bars. Phrases that agree get the same
label; equal neighbours are one section.
"""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

Floats = NDArray[np.float64]

_LONGEST = 8
"""Bars in a phrase; longer sections are several phrases of one label, or of several labels."""
_SAME = 0.5
"""Phrases this alike are the same music; 1 is the mean distance of two bars of the song."""
_EVEN = 0.15
"""Below this distance, relative to the vectors' length, bars do not differ to the ear."""
_PHRASE_COST = 0.6
_CHANGE_GAIN = 1.5
"""What a sudden change of sound at a phrase's start is worth, in bars that are heard again."""
_IRREGULAR = {8: 0.0, 4: 0.5, 6: 1.5, 2: 2.0}
_ODD = 2.5


def structure(features: Floats) -> list[str]:
    """A label per bar (``A``, ``B``, ... in order of appearance) from one vector per bar, ``(bars, d)``.

    The vectors' parts are to be scaled by what they mean to a listener: only Euclidean distances count.
    """
    bars = len(features)
    apart = _distances(features) if bars >= _LONGEST else None
    if apart is None:
        return ["A"] * bars
    edges = _phrases(apart, _changes(features))
    groups = _same_music(apart, edges)
    names: dict[int, str] = {}
    labels: list[str] = []
    for group, start, stop in zip(groups, edges[:-1], edges[1:], strict=True):
        labels += [names.setdefault(group, _name(len(names)))] * (stop - start)
    return labels


def _name(index: int) -> str:
    letters = string.ascii_uppercase
    return letters[index] if index < 26 else letters[index // 26 - 1] + letters[index % 26]


def _distances(features: Floats) -> Floats | None:
    """Squared distances of all bars, of mean 1; None if the bars hardly differ."""
    squared = (features**2).sum(axis=1)
    apart = np.maximum(squared[:, None] + squared[None] - 2.0 * features @ features.T, 0.0)
    mean = float(apart.mean())
    if mean <= _EVEN**2 * max(float(squared.mean()), 1e-12):
        return None
    return np.asarray(apart / mean)


def _changes(features: Floats) -> Floats:
    """How different the four bars from each bar on are from the four before, 0 to 1; 0 for the first bar."""
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0)])
    at = np.arange(1, len(features))
    first, last = np.maximum(at - 4, 0), np.minimum(at + 4, len(features))
    before = (sums[at] - sums[first]) / (at - first)[:, None]
    after = (sums[last] - sums[at]) / (last - at)[:, None]
    # Means over fewer bars stray more by themselves.
    change = np.linalg.norm(after - before, axis=1) * np.minimum(np.minimum(at, len(features) - at) / 4, 1.0)
    return np.concatenate([[0.0], change / max(float(change.max()), 1e-12)])


def _phrases(apart: Floats, changes: Floats) -> list[int]:
    """Where phrases begin, and the end of the last: the cheapest cut."""
    bars = len(apart)
    best = np.full(bars + 1, np.inf)
    best[0] = 0.0
    came_from = np.zeros(bars + 1, dtype=np.intp)
    gain = _CHANGE_GAIN * (changes - float(changes.mean()))
    gain[0] = 0.0
    again = {length: _heard_again(apart, length) for length in range(1, _LONGEST + 1)}
    for end in range(1, bars + 1):
        for length in range(1, min(_LONGEST, end) + 1):
            start = end - length
            irregular = _IRREGULAR.get(length, _ODD) / (2.0 if end == bars else 1.0)
            cost = length * again[length][start] + _PHRASE_COST + irregular - gain[start]
            if best[start] + cost < best[end]:
                best[end], came_from[end] = best[start] + cost, start
    edges = [bars]
    while edges[-1]:
        edges.append(int(came_from[edges[-1]]))
    return edges[::-1]


def _heard_again(apart: Floats, length: int) -> Floats:
    """For a phrase of `length` bars from each bar on, how unlike its best repeat elsewhere is, 0 to 1."""
    bars = len(apart)
    starts = bars - length + 1
    diagonal = np.zeros((starts, starts))
    for k in range(length):
        diagonal += apart[k : k + starts, k : k + starts]
    diagonal /= length
    here = np.arange(starts)
    diagonal[np.abs(here[:, None] - here[None]) < length] = 1.0
    return np.asarray(np.minimum(diagonal.min(axis=1), 1.0))


def _same_music(apart: Floats, edges: list[int]) -> list[int]:
    """A group number per phrase: average linkage of their bar-by-bar distances."""
    count = len(edges) - 1
    if count == 1:
        return [1]
    between = np.zeros((count, count))
    for a in range(count):
        for b in range(a + 1, count):
            between[a, b] = between[b, a] = _section_distance(apart, edges[a : a + 2], edges[b : b + 2])
    return [int(group) for group in fcluster(linkage(squareform(between), "average"), _SAME, "distance")]


def _section_distance(apart: Floats, one: list[int], other: list[int]) -> float:
    """The mean distance of two phrases bar by bar, the shorter one laid where it fits the longer one best."""
    if one[1] - one[0] > other[1] - other[0]:
        one, other = other, one
    length = one[1] - one[0]
    rows = np.arange(*one)
    offsets = range(other[1] - other[0] - length + 1)
    return min(float(apart[rows, rows - one[0] + other[0] + offset].mean()) for offset in offsets)
