"""Which chord sounds in each beat: a hidden Markov model over chord templates, roots heard in the bass, and the key.

The model is the usual one of chord recognition (Sheh and Ellis, "Chord segmentation and recognition using EM-trained
hidden Markov models", ISMIR 2003; templates instead of training as in Oudre et al., "Chord recognition by fitting
rescaled chroma vectors to chord templates", IEEE TASLP 2011). What a known grid adds: harmony changes on bar lines more
readily than inside a bar.

Promises: a beat that is not known, or has no tone, is named by its neighbours alone; where nothing tonal is heard for
long there is no chord (None); `spans` has no gaps and no overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from engine.harmony import Chord, ChordSpan, Quality
from engine.hearing.chroma import BeatChroma
from protocol.key import Key

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

QUALITIES = (
    Quality.MAJOR,
    Quality.MINOR,
    Quality.DOMINANT,
    Quality.MAJOR_SEVENTH,
    Quality.MINOR_SEVENTH,
    Quality.DIMINISHED,
    Quality.SUSPENDED,
    Quality.HALF_DIMINISHED,
)
"""What `recognise` tells apart."""

_PRIOR = {
    Quality.DIMINISHED: -0.6,
    Quality.SUSPENDED: -0.6,
    Quality.HALF_DIMINISHED: -0.6,
    Quality.DOMINANT: -0.1,
    Quality.MAJOR_SEVENTH: -0.1,
    Quality.MINOR_SEVENTH: -0.1,
}
"""Rare chords need clearer evidence (natural logarithm)."""
_SHARPNESS = 10.0
"""How much the likeness of chroma and template (0 to 1) weighs."""
_BASS = 4.0
"""How much a chord's root in the bass weighs."""
_BASS_MEMBER = 0.5
"""What a chord tone other than the root is worth in the bass."""
_OUTSIDE_KEY = -0.25
"""For each chord tone outside the key's scale."""
_NO_CHORD = 0.55
"""The likeness at which there is rather no chord than any."""
_CHANGE_ON_BAR, _CHANGE_IN_BAR = -1.5, -4.5
"""Natural logarithm of a change's odds."""
_TONAL = 0.5
"""A beat whose weight is below this counts the less, the less it has."""


@dataclass(frozen=True)
class _Vocabulary:
    chords: tuple[Chord, ...]
    templates: Floats  # (chords, 12), unit length
    roots: Floats  # (chords, 12): what a bass note at each pitch class says for the chord
    prior: Floats


@lru_cache(maxsize=1)
def _vocabulary() -> _Vocabulary:
    chords = tuple(Chord(root, quality) for quality, root in product(QUALITIES, range(12)))
    templates, roots = np.zeros((len(chords), 12)), np.zeros((len(chords), 12))
    for row, chord in enumerate(chords):
        templates[row, list(chord.pitch_classes)] = 1.0
        roots[row, list(chord.pitch_classes)] = _BASS_MEMBER
        roots[row, chord.root] = 1.0
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    return _Vocabulary(chords, templates, roots, np.array([_PRIOR.get(chord.quality, 0.0) for chord in chords]))


def recognise(chroma: BeatChroma, key: Key | None, downbeats: Bools, known: Bools | None = None) -> list[Chord | None]:
    """The most likely chord of each beat, None where there is none. `downbeats` ``(k,)`` marks the beats that begin a
    bar; where `known` ``(k,)`` is False, the beat's own row of `chroma` is not looked at."""
    if not len(chroma.weight):
        return []
    scores = _scores(chroma, key)
    if known is not None:
        scores[~known] = 0.0
    states = _most_likely(scores, np.where(downbeats, _CHANGE_ON_BAR, _CHANGE_IN_BAR))
    chords = _vocabulary().chords
    return [chords[state] if state < len(chords) else None for state in states]


def _scores(chroma: BeatChroma, key: Key | None) -> Floats:
    """``(beats, chords + 1)``: the last column is that of no chord."""
    words = _vocabulary()
    length = np.linalg.norm(chroma.chroma, axis=1, keepdims=True)
    likeness = chroma.chroma @ words.templates.T / np.maximum(length, 1e-9)
    prior = words.prior + (_key_prior(words.chords, key) if key else 0.0)
    scores = _SHARPNESS * likeness + _BASS * (chroma.bass @ words.roots.T) + prior
    none = _SHARPNESS * _NO_CHORD + _BASS * _BASS_MEMBER * chroma.bass.sum(axis=1, keepdims=True)
    certain = np.clip(chroma.weight / _TONAL, 0.0, 1.0)[:, None]
    return np.hstack([scores * certain, none * np.maximum(certain, 0.5)])


def _key_prior(chords: Sequence[Chord], key: Key) -> Floats:
    prior = np.zeros(len(chords))
    for row, chord in enumerate(chords):
        inside = set(key.scale)
        if key.mode == "minor" and chord.root == (key.pitch_class + 7) % 12:
            inside.add((key.pitch_class + 11) % 12)  # the dominant of a minor key has its raised third
        prior[row] = _OUTSIDE_KEY * sum(tone not in inside for tone in chord.pitch_classes)
    return prior


def _most_likely(scores: Floats, change: Floats) -> list[int]:
    """Viterbi's path where every change of state costs the same at a given beat, so that a step needs only the best."""
    beats, states = scores.shape
    total = scores[0].copy()
    came_from = np.zeros((beats, states), np.intp)
    stay = np.arange(states)
    for beat in range(1, beats):
        best = int(total.argmax())
        jumped = total[best] + change[beat] > total
        came_from[beat] = np.where(jumped, best, stay)
        total = np.where(jumped, total[best] + change[beat], total) + scores[beat]
    state = int(total.argmax())
    path = [state]
    for beat in range(beats - 1, 0, -1):
        state = int(came_from[beat, state])
        path.append(state)
    return path[::-1]


def spans(beats: Floats | Sequence[float], chords: Sequence[Chord | None]) -> tuple[ChordSpan, ...]:
    """The chords of the beats between the lines ``beats (k + 1,)``, equal neighbours joined."""
    joined: list[ChordSpan] = []
    for start, end, chord in zip(beats[:-1], beats[1:], chords, strict=True):
        if joined and joined[-1].chord == chord:
            joined[-1] = ChordSpan(joined[-1].start, float(end), chord)
        else:
            joined.append(ChordSpan(float(start), float(end), chord))
    return tuple(joined)
