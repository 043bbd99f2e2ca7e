"""Short-time mel spectra at chosen positions, and the mono mix they are taken from."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import librosa.filters
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.api import Audio


Floats = NDArray[np.float64]
Mono = NDArray[np.float32]

BANDS = 40
_FLOOR_DB = -50.0
"""Below a typical loud moment of the song: what is quieter counts as silence, so that hiss makes no change."""


def mono(audio: Audio) -> Mono:
    """The channels' mean ``(frames,)``; the first channel where the channels cancel each other."""
    mixed = np.asarray(audio.mean(axis=0), dtype=np.float32)
    if audio.size and float(np.mean(np.square(mixed))) < 0.02 * float(np.mean(np.square(audio))):
        return np.ascontiguousarray(audio[0], dtype=np.float32)
    return mixed


def window_frames(rate: int) -> int:
    """Frames of one spectrum: a power of two near 43 ms."""
    return int(2 ** round(np.log2(rate * 0.043)))


@lru_cache(maxsize=8)
def _filters(rate: int, window: int) -> NDArray[np.float32]:
    top = min(16_000.0, rate / 2)
    filters = librosa.filters.mel(sr=rate, n_fft=window, n_mels=BANDS, fmin=40.0, fmax=top)
    return np.asarray(filters.T, dtype=np.float32)


def mel_power(signal: Mono, starts: NDArray[np.int64], rate: int) -> Floats:
    """Mel power ``(positions, bands)`` of the Hann windows of `window_frames` that begin at `starts`."""
    window = window_frames(rate)
    frames = signal[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    return np.asarray(np.square(np.abs(np.fft.rfft(frames, axis=1))) @ _filters(rate, window), dtype=np.float64)


def silence_power(signal: Mono, rate: int) -> float:
    """The power of a mel band that counts as silence beside `signal`."""
    window = window_frames(rate)
    if signal.size < window:
        return 1e-12
    starts = np.arange(0, signal.size - window + 1, max(window, signal.size // 500), dtype=np.int64)
    loud = float(np.percentile(mel_power(signal, starts, rate).mean(axis=1), 90))
    return max(1e-12, loud * 10 ** (_FLOOR_DB / 10))
