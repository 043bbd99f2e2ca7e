"""Which key a song is in: from all its notes, and from where its harmony rests.

Profiles of pitch classes alone confuse a key with its relative and its dominant, for these share six or seven notes.
Chords tell them apart: a piece begins and ends at home, goes home on bar lines, and comes home from the fifth.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.harmony import Chord, Quality
from engine.hearing.chroma import BeatChroma
from protocol.key import Key, Mode

Floats = NDArray[np.float64]

# Albrecht and Shanahan, "The use of large corpora to train a new type of key-finding algorithm", Music Perception 2013.
_PROFILES: dict[Mode, tuple[float, ...]] = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}
_MINOR_LIKE = frozenset({Quality.MINOR, Quality.MINOR_SEVENTH, Quality.DIMINISHED, Quality.HALF_DIMINISHED})
_AT_HOME, _FIRST, _LAST, _CADENCE = 0.8, 0.1, 0.25, 0.6


def estimated_key(chroma: BeatChroma, chords: Sequence[Chord | None]) -> Key:
    """The most likely key of music whose beats sound like `chroma` and were named `chords`; C major for silence."""
    notes = (chroma.chroma * chroma.weight[:, None]).sum(axis=0)
    fits = {(mode, tonic): _fit(notes, chords, mode, tonic) for mode in _PROFILES for tonic in range(12)}
    mode, tonic = max(fits, key=lambda key: (fits[key], key))
    return Key.from_pitch_class(tonic, mode) if notes.any() else Key("C", "major")


def _fit(notes: Floats, chords: Sequence[Chord | None], mode: Mode, tonic: int) -> float:
    shape = float(np.corrcoef(np.roll(_PROFILES[mode], tonic), notes)[0, 1]) if np.ptp(notes) > 0.0 else 0.0
    heard = [chord for chord in chords if chord is not None]
    if not heard:
        return shape
    home = [_is_home(chord, mode, tonic) for chord in heard]
    fifth = (tonic + 7) % 12
    changes = [(a, k) for k, (a, b) in enumerate(pairwise(heard), start=1) if a != b]
    homecomings = sum(a.root == fifth and a.quality not in _MINOR_LIKE and home[k] for a, k in changes)
    cadences = homecomings / max(len(changes), 1)
    return shape + _AT_HOME * float(np.mean(home)) + _FIRST * home[0] + _LAST * home[-1] + _CADENCE * cadences


def _is_home(chord: Chord, mode: Mode, tonic: int) -> bool:
    return chord.root == tonic and (chord.quality in _MINOR_LIKE) == (mode == "minor")
