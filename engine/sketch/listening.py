"""One reading of the source for what needs its samples: a mono downmix for pitch, loudness, balance of the bands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from engine.api import IsCancelled, ReportProgress, Source
from engine.loudness import loudness_lufs
from engine.sketch.analysis import check
from protocol.job import Progress

PITCH_RATE = 11_025
BANDS_HZ = {
    "sub": (20.0, 60.0),
    "bass": (60.0, 250.0),
    "low_mid": (250.0, 500.0),
    "mid": (500.0, 2000.0),
    "presence": (2000.0, 6000.0),
    "air": (6000.0, 20_000.0),
}
_BLOCK_S = 20.0
_WINDOW = 4096
_NOTHING_DB = -90.0
_RELATIVE_GATE_LU = 10.0


@dataclass(frozen=True)
class Listened:
    """`mono` ``(n,)`` at `PITCH_RATE`; `balance_db` is each band's level relative to the whole (dB); `lufs` the
    loudness, None for silence."""

    mono: NDArray[np.float32]
    balance_db: dict[str, float]
    lufs: float | None


def listen(
    source: Source,
    span: tuple[int, int],
    progress: ReportProgress,
    cancelled: IsCancelled,
) -> Listened:
    """Read source frames ``span[0] .. span[1]`` once. Raises `Cancelled`."""
    resampler = soxr.ResampleStream(source.rate, PITCH_RATE, 1, dtype="float32", quality="MQ")
    block = int(_BLOCK_S * source.rate)
    parts: list[NDArray[np.float32]] = []
    power, loud = np.zeros(len(BANDS_HZ)), []
    for start in range(span[0], span[1], block):
        check(cancelled)
        stop = min(start + block, span[1])
        audio = source.read(start, stop)
        mixed = audio.mean(axis=0, dtype=np.float32)
        parts.append(resampler.resample_chunk(mixed, last=stop == span[1]))
        power += _band_power(mixed, source.rate)
        loud.append((_loudness(audio, source.rate), stop - start))
        progress(Progress(fraction=0.5 + 0.3 * (stop - span[0]) / (span[1] - span[0]), stage="listening"))
    mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    decibels = 10.0 * np.log10(power / max(float(power.sum()), 1e-20) + 10 ** (_NOTHING_DB / 10))
    balance = {name: round(float(level), 2) for name, level in zip(BANDS_HZ, decibels, strict=True)}
    return Listened(mono, balance, _gated(loud))


def _band_power(mixed: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    whole = mixed[: len(mixed) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    spectrum = np.square(np.abs(scipy.fft.rfft(whole * np.hanning(_WINDOW).astype(np.float32), axis=1)))
    total = spectrum.sum(axis=0, dtype=np.float64)
    hertz = np.arange(len(total)) * rate / _WINDOW
    return np.array([total[(hertz >= low) & (hertz < high)].sum() for low, high in BANDS_HZ.values()])


def _loudness(audio: NDArray[np.float32], rate: int) -> float:
    value = loudness_lufs(audio, rate)
    return -math.inf if value is None else value


def _gated(blocks: list[tuple[float, int]]) -> float | None:
    """The mean power of the blocks' loudness, far softer ones left out, as BS.1770 leaves out its own."""
    sounding = [(value, frames) for value, frames in blocks if value > -70.0]
    for _ in range(2):
        if not sounding:
            return None
        frames = sum(count for _, count in sounding)
        mean = 10.0 * math.log10(sum(10 ** (value / 10) * count for value, count in sounding) / frames)
        sounding = [(value, count) for value, count in sounding if value >= mean - _RELATIVE_GATE_LU]
    return round(mean, 2)
