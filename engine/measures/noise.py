"""Does a take hiss more than the song? The floor between its notes, in time and frequency, beside the song's own.

Music leaves gaps between its partials and between its beats; noise fills them. The quietest tenth of a band is what
sounds there when nothing is played: cymbals, rooms and distorted guitars raise it in the song and are allowed for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from engine.measures.mel import Mono, window_frames

Floats = NDArray[np.float64]

_LOW_HZ, _HIGH_HZ = 500.0, 16_000.0
"""Below, the partials of low notes leave no gaps."""
_BANDS = 12
_QUIETEST = 10.0
"""Per cent of a band's bins and frames that are its floor."""
_BLOCK_S = 2.0
_SHORTEST_FRAMES = 8
_SILENT_DB = -60.0
"""Below the song's loud moments: a floor under this is not heard."""


@dataclass(frozen=True)
class SongFloor:
    """The noisiest tenth of the song: power per band, and that of its loud moments."""

    bands: Floats
    loud: float

    @property
    def level_db(self) -> float:
        """Mean over the bands, in dB below the loud moments."""
        return float(np.mean(_db(self.bands, self.loud)))


@dataclass(frozen=True)
class Noise:
    """Decibels: the take's floor below the song's loud moments, and by how much it lies over the song's floor."""

    level_db: float
    over_db: float


def song_floor(signals: Sequence[Mono], rate: int) -> SongFloor | None:
    """The floor of the song's pieces; None if they are silent or too short."""
    heard = [found for signal in signals if (found := _floors(signal, rate)) is not None]
    loud = max((loud for _, loud in heard), default=0.0)
    if loud < 1e-12:
        return None
    return SongFloor(np.percentile(np.concatenate([blocks for blocks, _ in heard]), 90, axis=0), loud)


def noise(take: Mono, rate: int, song: SongFloor) -> Noise | None:
    """How much a take hisses; None if it is silent or too short to tell. What it is louder than the song is not held
    against it (that is its level)."""
    found = _floors(take, rate)
    if found is None or found[1] < song.loud * 10 ** (_SILENT_DB / 10):
        return None
    blocks, loud = found
    bands = np.median(blocks, axis=0) / max(1.0, loud / song.loud)
    level_db, song_db = _db(bands, song.loud), _db(song.bands, song.loud)
    return Noise(float(np.mean(level_db)), float(np.mean(np.maximum(0.0, level_db - song_db))))


def _db(power: Floats, loud: float) -> Floats:
    return np.asarray(10 * np.log10(power / loud + 10 ** (_SILENT_DB / 10)))


def _floors(signal: Mono, rate: int) -> tuple[Floats, float] | None:
    """Power of the floor ``(blocks, bands)``, and the power of the loud moments' bins."""
    window = window_frames(rate)
    if signal.size < window * (_SHORTEST_FRAMES + 1) // 2:
        return None
    views = np.lib.stride_tricks.sliding_window_view(signal, window)[:: window // 2]
    power = np.square(np.abs(scipy.fft.rfft(views * np.hanning(window).astype(np.float32), axis=1)))
    edges = np.geomspace(_LOW_HZ, min(_HIGH_HZ, 0.45 * rate), _BANDS + 1) * window / rate
    bins = [slice(int(np.ceil(low)), int(np.ceil(high))) for low, high in pairwise(edges)]
    blocks = np.array_split(power, max(1, round(len(power) * (window // 2) / (_BLOCK_S * rate))))
    floors = [[np.percentile(block[:, band], _QUIETEST) for band in bins if band.stop > band.start] for block in blocks]
    return np.array(floors, dtype=np.float64), float(np.percentile(power.mean(axis=1), 90))
