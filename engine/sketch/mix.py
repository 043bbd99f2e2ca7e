"""How loud each part is against the others and against the song, and a mix that keeps below full scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from engine.api import IsCancelled
from engine.loudness import loudness_lufs
from engine.sketch.analysis import check
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

NOMINAL_LUFS = -20.0
"""What the voices are calibrated to: a busy part at velocity 90."""

UNDER_SONG_LU: Mapping[TrackClass, float] = {
    TrackClass.DRUMS: -3.0,
    TrackClass.BASS: -3.0,
    TrackClass.KEYBOARD: -8.5,
    TrackClass.GUITAR: -6.0,
    TrackClass.BRASS: -8.0,
    TrackClass.WOODWINDS: -8.5,
    TrackClass.SYNTH: -11.0,
    TrackClass.STRINGS: -11.0,
    TrackClass.PERCUSSION: -7.0,
    TrackClass.FX: -14.0,
}
"""A busy part's loudness against that of the whole song, as arrangers balance a band. What is written is less busy: on
the songs of the benchmark drums come out at -3 LU, bass -5, keys, brass, guitar and winds -9 to -10, pads -11, shakers
and hands -17."""

SKETCH_LUFS = -16.0
"""Loudness of a song made from nothing."""
CEILING = 10 ** (-1.0 / 20.0)
_UNKNOWN_SONG_LUFS = -18.0
_QUIETEST_SONG_LUFS = -45.0
"""Under a whisper nobody wants a whisper: the added part stays audible."""
_LOOK_AHEAD_S = 0.004


def stem_gain_db(track: TrackClass, song_lufs: float | None) -> float:
    """The gain on a part as the voices play it, so that it sits in a song of that loudness.

    It depends on the song alone, not on the notes: a quiet passage stays quiet, and a longer region sounds the same.
    """
    song = _UNKNOWN_SONG_LUFS if song_lufs is None else max(song_lufs, _QUIETEST_SONG_LUFS)
    return round(song + UNDER_SONG_LU[track] - NOMINAL_LUFS, 2)


def amplified(audio: Audio, db: float) -> Audio:
    return np.asarray(audio * np.float32(10.0 ** (db / 20.0)), dtype=np.float32)


def mixed(
    parts: Sequence[tuple[TrackClass, Audio]], rate: int, lufs: float, cancelled: IsCancelled = lambda: False
) -> Audio:
    """The parts in balance, at `lufs` where that can be had below full scale: ``(2, frames)``. Raises `Cancelled`."""
    mix = np.zeros_like(parts[0][1])
    for track, audio in parts:
        check(cancelled)
        mix += amplified(audio, UNDER_SONG_LU[track])
    check(cancelled)
    now = loudness_lufs(mix, rate)
    check(cancelled)
    return limited(amplified(mix, lufs - now) if now is not None else mix, rate)


def limited(audio: Audio, rate: int, ceiling: float = CEILING) -> Audio:
    """No sample above `ceiling`: a gain that comes down within `_LOOK_AHEAD_S` before a peak and goes up after it."""
    peaks = np.abs(audio).max(axis=0)
    if not len(peaks) or float(peaks.max()) <= ceiling:
        return audio
    reach = max(1, round(_LOOK_AHEAD_S * rate))
    wanted = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    # The mean of minima over a window that every one of them covers is never above the gain needed in its middle.
    held = minimum_filter1d(wanted, 2 * reach + 1, mode="nearest")
    gain = uniform_filter1d(held, 2 * reach + 1, mode="nearest")
    return np.asarray(audio * np.minimum(gain, wanted), dtype=np.float32)
