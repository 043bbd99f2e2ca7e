"""What the song sounds like, frame by frame: the features from which the path through the song is chosen.

Two short-time spectra of a mono 22.05 kHz downmix: a short window (46 ms) for timbre, level and attacks, a long one
(186 ms) for harmony; and the spectral peaks of every fifth of a second, from which chords are told. The features know
nothing of the grid nor of the region, so one analysis serves every later request for the same file; it is cached by the
source's hash. A `Pooler` over spans of the song leaves out every frame whose window touches a *blind* span: that is how
the region's own content stays unknown.

Promises: memory and time bounded by `MAX_SPAN_S` however long the source; the same bits from a cold and a warm cache; a
damaged cache file is recomputed; `Cancelled` within one block.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import librosa.filters
import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from engine import audio_cache
from engine.api import IsCancelled, ReportProgress, Source
from engine.hearing.chroma import REACH_S, Peaks, hear_peaks
from protocol.errors import Cancelled, DiskFull
from protocol.job import Progress

logger = logging.getLogger("stembridge.sketch")

FORMAT = 2
"""Raised whenever the meaning of the cached arrays changes."""

ANALYSIS_RATE = 22_050
TIMBRE_WINDOW, TIMBRE_HOP = 1024, 256
HARMONY_WINDOW, HARMONY_HOP = 4096, 1024
MEL_BANDS = 32
FLUX_BANDS = ((0, 5), (5, 16), (16, MEL_BANDS))
"""Mel bands of kick and bass, of the middle, of cymbals: attacks are measured in each."""
_NOTHING = 1e-9
"""Power below which nothing is heard: -90 dB of full scale."""
_MASKED_DB = 55.0
"""A band so far below the song's level is not heard; in synthetic music it flickers all the same."""

CELL_S = 0.2
"""The cells of time whose spectral peaks are kept."""
CELL_REACH_S = REACH_S + 0.02
"""What lies farther from a cell than this has no part in its peaks: its window and the resampler's filter."""

MAX_SPAN_S = 20 * 60.0
_SPAN_STEP_S = 300.0
_BLOCK_S = 20.0
RESAMPLER_REACH = 128
"""Analysis samples beyond which the resampler's filter carries nothing across."""

Float = NDArray[np.float32]
Doubles = NDArray[np.float64]


def check(cancelled: IsCancelled) -> None:
    """Raise `Cancelled` if the job was cancelled."""
    if cancelled():
        raise Cancelled("The job was cancelled.")


@dataclass(frozen=True)
class Pooled:
    """Means over spans. `known` is the share of each span that was outside the blind span and inside the source."""

    chroma: Doubles  # (spans, 12), unit length where there is any tone
    timbre: Doubles  # (spans, MEL_BANDS), dB, mean of the bands removed
    level_db: Doubles  # (spans,)
    flux: Doubles  # (spans, bands): rise of the level, dB per frame
    known: Doubles  # (spans,)


@dataclass(frozen=True)
class Features:
    """Frame-wise features of source frames ``start .. stop`` (at the source's rate).

    `mel_db` ``(frames, MEL_BANDS)`` and `level_db` ``(frames,)`` every `TIMBRE_HOP` analysis samples, `chroma`
    ``(frames, 12)`` every `HARMONY_HOP`; frame *k* is centred on analysis sample ``k * hop``. `peaks` are those of
    cells of `CELL_S`.
    """

    mel_db: Float
    level_db: Float
    chroma: Float
    peaks: Peaks
    start: int
    stop: int
    rate: int

    def audible_db(self, blind: tuple[int, int]) -> Float:
        """`mel_db`, with what lies `_MASKED_DB` below the loud parts of the song (outside `blind`) raised to there."""
        loud = self.level_db[self.seen(TIMBRE_HOP, TIMBRE_WINDOW, len(self.level_db), blind)]
        floor = np.percentile(loud, 95) - _MASKED_DB if len(loud) else 0.0
        return np.maximum(self.mel_db, np.float32(floor))

    def seen(self, hop: int, window: int, frames: int, blind: tuple[int, int]) -> NDArray[np.bool_]:
        """Which frames' windows keep clear of the blind span (source frames)."""
        centre = np.arange(frames) * hop
        reach = window // 2 + RESAMPLER_REACH
        low, high = ((edge - self.start) * ANALYSIS_RATE / self.rate for edge in blind)
        # One frame more on the far side: the flux compares a frame with the one before it.
        return (centre + reach < low) | (centre - reach - hop > high)

    def pooler(self, blind: tuple[int, int]) -> Pooler:
        """A `Pooler` that knows nothing of source frames ``blind[0] .. blind[1]``."""
        return Pooler(self, blind)


class Pooler:
    """Means of the features over any spans, from running sums: the cost is per span, not per frame."""

    def __init__(self, features: Features, blind: tuple[int, int]) -> None:
        self._features = features
        short = features.seen(TIMBRE_HOP, TIMBRE_WINDOW, len(features.mel_db), blind)
        long = features.seen(HARMONY_HOP, HARMONY_WINDOW, len(features.chroma), blind)
        mel_db = features.audible_db(blind)
        columns = np.concatenate([mel_db, features.level_db[:, None], flux(mel_db)], axis=1)
        self._short, self._short_count = _running(columns, short)
        self._long, self._long_count = _running(features.chroma, long)

    def __call__(self, starts: Doubles, stops: Doubles) -> Pooled:
        """Pool over spans given in source frames (fractional, may lie outside the analysed span)."""
        short, known = self._mean(self._short, self._short_count, TIMBRE_HOP, starts, stops)
        chroma, _ = self._mean(self._long, self._long_count, HARMONY_HOP, starts, stops)
        mel = short[:, :MEL_BANDS]
        return Pooled(
            chroma=chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1e-3),
            timbre=mel - mel.mean(axis=1, keepdims=True),
            level_db=short[:, MEL_BANDS],
            flux=short[:, MEL_BANDS + 1 :],
            known=known,
        )

    def _mean(
        self, sums: Doubles, counts: Doubles, hop: int, starts: Doubles, stops: Doubles
    ) -> tuple[Doubles, Doubles]:
        scale = ANALYSIS_RATE / self._features.rate / hop
        low = np.ceil((starts - self._features.start) * scale).astype(np.int64)
        high = np.maximum(np.ceil((stops - self._features.start) * scale).astype(np.int64), low + 1)
        inside_low, inside_high = (np.clip(edge, 0, len(counts) - 1) for edge in (low, high))
        count = counts[inside_high] - counts[inside_low]
        total = sums[inside_high] - sums[inside_low]
        return total / np.maximum(count, 1.0)[:, None], count / (high - low)


def flux(mel_db: Float) -> Float:
    """Rise of a mel spectrum from frame to frame in each of `FLUX_BANDS`: ``(frames, bands)``, dB."""
    rise = np.maximum(np.diff(mel_db, axis=0, prepend=mel_db[:1]), 0.0)
    return np.stack([rise[:, low:high].mean(axis=1) for low, high in FLUX_BANDS], axis=1)


def _running(columns: Float, seen: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    sums = np.zeros((len(columns) + 1, columns.shape[1]))
    np.cumsum(columns * seen[:, None], axis=0, dtype=np.float64, out=sums[1:])
    counts = np.zeros(len(columns) + 1)
    np.cumsum(seen, out=counts[1:])
    return sums, counts


# --- which part of the source, and from where ------------------------------------------------------------------------
def span_to_analyse(source: Source, region: tuple[int, int]) -> tuple[int, int]:
    """The whole source, or at most `MAX_SPAN_S` of it around the region, on steps that neighbouring regions share."""
    if source.frames <= MAX_SPAN_S * source.rate:
        return 0, source.frames
    step = int(_SPAN_STEP_S * source.rate)
    steps = int(MAX_SPAN_S / _SPAN_STEP_S)
    last = -(-source.frames // step) - steps
    centre = min(max((region[0] + region[1]) // 2, 0), source.frames)
    first = min(max(round(centre / step) - steps // 2, 0), last)
    return first * step, min((first + steps) * step, source.frames)


def analyse(
    source: Source, span: tuple[int, int], cache_dir: Path | None, progress: ReportProgress, cancelled: IsCancelled
) -> Features:
    """The features of source frames ``span[0] .. span[1]``, from the cache if it has them.

    Raises `Cancelled`, and what `source.read` raises.
    """
    file = (
        cache_dir / "decoded" / f"{source.sha256}_sketch{FORMAT}-{source.rate}-{span[0]}-{span[1]}.npz"
        if cache_dir
        else None
    )
    cached = _load(file, span, source.rate) if file else None
    if cached is not None:
        return cached
    features = _compute(source, span, progress, cancelled)
    if file:
        _save(file, features)
    return features


_PEAKS = ("cell", "pitch", "magnitude", "tonal")


def _load(file: Path, span: tuple[int, int], rate: int) -> Features | None:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as data:
            peaks = Peaks(*(data[f"peaks_{name}"] for name in _PEAKS))
            features = Features(data["mel_db"], data["level_db"], data["chroma"], peaks, *span, rate)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("The analysis in %s is damaged (%s); it is made again.", file, error)
        return None
    expected = _frame_counts(span, rate)
    shapes = (features.mel_db.shape, features.chroma.shape, features.peaks.tonal.shape)
    if shapes != ((expected[0], MEL_BANDS), (expected[1], 12), (len(_cells(span, rate)) - 1,)):
        logger.warning("The analysis in %s does not fit its source; it is made again.", file)
        return None
    return features


def _save(file: Path, features: Features) -> None:
    try:
        with audio_cache.whole_file(file) as opened:
            peaks = {f"peaks_{name}": getattr(features.peaks, name) for name in _PEAKS}
            np.savez(opened, mel_db=features.mel_db, level_db=features.level_db, chroma=features.chroma, **peaks)
        audio_cache.prune(file.parent.parent, file, audio_cache.DECODED_LIMIT_BYTES)
    except (OSError, DiskFull) as error:  # a cache is a convenience: the take does not depend on it
        logger.warning("The analysis could not be kept in %s: %s", file.parent, error)


# --- the features themselves ------------------------------------------------------------------------------------------
def _frame_counts(span: tuple[int, int], rate: int) -> tuple[int, int]:
    samples = round((span[1] - span[0]) * ANALYSIS_RATE / rate)
    return samples // TIMBRE_HOP + 1, samples // HARMONY_HOP + 1


def _cells(span: tuple[int, int], rate: int) -> Doubles:
    """The lines between the cells, in seconds from the span's start."""
    return np.arange(max(1, int((span[1] - span[0]) / rate / CELL_S)) + 1, dtype=np.float64) * CELL_S


def _compute(source: Source, span: tuple[int, int], progress: ReportProgress, cancelled: IsCancelled) -> Features:
    mono = _mono(source, span, progress, cancelled)
    short, long = _frame_counts(span, source.rate)
    mel = np.concatenate(list(_mel_power(mono, short, cancelled)))
    progress(Progress(fraction=0.35, stage="analysing"))
    chroma = np.concatenate(list(_chroma(mono, long, cancelled)))
    progress(Progress(fraction=0.4, stage="analysing"))
    peaks = hear_peaks(mono, ANALYSIS_RATE, _cells(span, source.rate), lambda: check(cancelled))
    progress(Progress(fraction=0.45, stage="analysing"))
    # Decibels of full scale, not of the song's maximum: that might lie in the region.
    mel_db = 10.0 * np.log10(mel + _NOTHING)
    level_db = 10.0 * np.log10(mel.sum(axis=1) + _NOTHING)
    return Features(mel_db.astype(np.float32), level_db.astype(np.float32), chroma, peaks, *span, source.rate)


def _mono(source: Source, span: tuple[int, int], progress: ReportProgress, cancelled: IsCancelled) -> Float:
    resampler = soxr.ResampleStream(source.rate, ANALYSIS_RATE, 1, dtype="float32", quality="MQ")
    block = int(_BLOCK_S * source.rate)
    parts: list[Float] = []
    for start in range(span[0], span[1], block):
        check(cancelled)
        stop = min(start + block, span[1])
        mixed = source.read(start, stop).mean(axis=0, dtype=np.float32)
        parts.append(resampler.resample_chunk(mixed, last=stop == span[1]))
        progress(Progress(fraction=0.3 * (stop - span[0]) / (span[1] - span[0]), stage="reading"))
    mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    wanted = round((span[1] - span[0]) * ANALYSIS_RATE / source.rate)
    return np.pad(mono, (0, max(0, wanted - len(mono))))[:wanted]


def _spectra(mono: Float, window: int, hop: int, frames: int, cancelled: IsCancelled) -> Iterator[Float]:
    """Power spectra of centred Hann windows, in blocks: ``(frames of the block, window // 2 + 1)``."""
    shape = np.hanning(window + 1)[:-1].astype(np.float32) * np.float32(2.0 / window)
    padded = np.pad(mono, (window // 2, window + hop))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:frames]
    for first in range(0, frames, 1024):
        check(cancelled)
        yield np.abs(scipy.fft.rfft(views[first : first + 1024] * shape, axis=1)) ** 2


def _mel_power(mono: Float, frames: int, cancelled: IsCancelled) -> Iterator[Float]:
    bank = _mel_bank()
    for power in _spectra(mono, TIMBRE_WINDOW, TIMBRE_HOP, frames, cancelled):
        yield power @ bank


def _chroma(mono: Float, frames: int, cancelled: IsCancelled) -> Iterator[Float]:
    bank = _chroma_bank()
    for power in _spectra(mono, HARMONY_WINDOW, HARMONY_HOP, frames, cancelled):
        energy = power @ bank
        # The root of the amplitude keeps a loud kick from hiding the chord under it.
        yield (energy**0.25).astype(np.float32) - (energy**0.25).min(axis=1, keepdims=True).astype(np.float32)


@lru_cache(maxsize=1)
def _mel_bank() -> Float:
    bank = librosa.filters.mel(sr=ANALYSIS_RATE, n_fft=TIMBRE_WINDOW, n_mels=MEL_BANDS, fmin=30.0, norm=None)
    return np.ascontiguousarray(bank.T, dtype=np.float32)


@lru_cache(maxsize=1)
def _chroma_bank() -> Float:
    bank = librosa.filters.chroma(sr=ANALYSIS_RATE, n_fft=HARMONY_WINDOW, tuning=0.0, ctroct=4.5, octwidth=1.5)
    return np.ascontiguousarray(bank.T, dtype=np.float32)


def warm_up() -> None:
    """Build the filter banks and plan the transforms, so that the first job need not."""
    quiet = np.zeros(HARMONY_WINDOW, np.float32)
    for blocks in (_mel_power(quiet, 2, lambda: False), _chroma(quiet, 2, lambda: False)):
        list(blocks)
    soxr.resample(quiet, 48_000, ANALYSIS_RATE, quality="MQ")
