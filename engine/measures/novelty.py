"""Is a take something new, or a copy? Its likeness to two places, and the longest excerpt of the song pasted into it.

Spectra and envelopes cannot tell: two bars of one drum pattern agree at 0.98 under different chords. The waveform can.
A take made of several excerpts is a new arrangement of the song; one that is a single excerpt, or a loop of it, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from engine.measures.mel import Mono

Fingerprint = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

_RATE = 8000
_LAG_S = 0.01
_BLOCK = 800
"""Samples (0.1 s) in which copies are looked for; three of them together must agree."""
_COPY = 0.9
"""Normalised correlation from which two stretches are the same recording."""
_LAGS = 32
"""Places in the song that are looked at closely: those where the whole take correlates most."""
_ROUNDS = 8
"""Searches for one excerpt: whitening shows only some repeats of a loop until those that were found are taken out."""
_BETWEEN = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Fractions of a sample: a copy to the frame at 48 kHz lies between two samples here."""
_SILENT = 1e-3


@dataclass(frozen=True)
class Copy:
    """The longest stretch of a take that is one continuous excerpt of the song, at any gain."""

    length_s: float
    share: float
    """Share of the take, 0 to 1, that is a copy of this excerpt or of a part of it: a pasted loop counts whole."""


def fingerprint(signal: Mono, rate: int) -> Fingerprint:
    """The waveform ``(frames,)`` at 8 kHz, differentiated so that not only the bass counts."""
    if signal.size < rate * _LAG_S * 4:
        return np.zeros(0, np.float32)
    return np.diff(np.asarray(soxr.resample(signal, rate, _RATE), dtype=np.float32))


def similarity(a: Fingerprint | None, b: Fingerprint | None) -> float | None:
    """The largest normalised correlation of two fingerprints within 10 ms of lag: 1 for a copy at any gain.

    None where one of them is missing, silent or too short to tell.
    """
    if a is None or b is None:
        return None
    frames, lag = min(a.size, b.size), round(_LAG_S * _RATE)
    if frames < 4 * lag:
        return None
    scale = float(np.sqrt(np.square(a[:frames]).sum() * np.square(b[:frames]).sum()))
    if scale < 1e-9:
        return None
    size = scipy.fft.next_fast_len(frames + lag, real=True)
    product = scipy.fft.rfft(a[:frames], size) * np.conj(scipy.fft.rfft(b[:frames], size))
    correlation = scipy.fft.irfft(product, size)
    return float(max(correlation[: lag + 1].max(), correlation[-lag:].max())) / scale


def longest_copy(take: Fingerprint, song: Sequence[Fingerprint]) -> Copy | None:
    """The longest excerpt of one of the stretches of `song` in `take`; None where there is too little to compare.

    The lags worth a look are the peaks of one whitened cross-correlation with each stretch: a copy is coherent at every
    frequency, a repeated chord is not. At each of them the waveforms are compared block by block.
    """
    stretches = [stretch for stretch in song if stretch.size >= 3 * _BLOCK]
    if take.size < 3 * _BLOCK or not stretches or float(np.square(take).mean()) < 1e-14:
        return None
    shifted = _shifted(take)
    longest, excerpt = 0, take[:0]
    for stretch in stretches:
        for lag in _likely_lags(take, stretch):
            for first, length in _runs(_same(shifted, stretch, lag)):
                if length > longest:
                    start = lag + first * _BLOCK
                    longest, excerpt = length, stretch[max(0, start - _BLOCK) : start + (length + 1) * _BLOCK]
    return Copy(longest * _BLOCK / _RATE, _covered(take, excerpt) if longest else 0.0)


def _covered(take: Fingerprint, excerpt: Fingerprint) -> float:
    """Share of the take that is a copy of (a part of) the excerpt, however often."""
    covered = np.zeros(take.size, dtype=bool)
    shifted, left = _shifted(excerpt), take.copy()
    for _ in range(_ROUNDS):
        found = False
        for lag in _likely_lags(excerpt, left):
            for first, length in _runs(_same(shifted, left, lag)):
                covered[lag + first * _BLOCK : lag + (first + length) * _BLOCK] = found = True
        if not found:
            break
        left[covered] = 0.0
    return float(covered.mean())


def _shifted(take: Fingerprint) -> NDArray[np.float32]:
    """The take moved by fractions of a sample ``(fractions, blocks, block)``."""
    blocks = take.size // _BLOCK
    size = scipy.fft.next_fast_len(take.size + 16, real=True)
    turns = np.exp(2j * np.pi * np.outer(_BETWEEN, np.arange(size // 2 + 1) / size))
    moved = scipy.fft.irfft(scipy.fft.rfft(take, size) * turns.astype(np.complex64), size, axis=1)
    return np.asarray(moved[:, : blocks * _BLOCK].reshape(len(_BETWEEN), blocks, _BLOCK), dtype=np.float32)


def _likely_lags(take: Fingerprint, stretch: Fingerprint) -> list[int]:
    """Samples of the stretch at which the take may begin (negative: before it), the likeliest first."""
    size = scipy.fft.next_fast_len(take.size + stretch.size, real=True)
    product = scipy.fft.rfft(stretch, size) * np.conj(scipy.fft.rfft(take, size))
    strength = np.abs(product)
    likeness = scipy.fft.irfft(product / (strength + 1e-3 * strength.mean() + 1e-30), size)
    lags: list[int] = []
    for _ in range(_LAGS):
        best = int(likeness.argmax())
        if likeness[best] <= 0.0:
            break
        lags.append(best if best < stretch.size else best - size)
        likeness[max(0, best - 4) : best + 5] = 0.0
    return lags


def _same(shifted: NDArray[np.float32], stretch: Fingerprint, lag: int) -> NDArray[np.bool_]:
    """Which blocks of the take are a copy of the stretch at this lag ``(blocks,)``."""
    blocks = shifted.shape[1]
    first, last = max(0, -(lag // _BLOCK)), min(blocks, (stretch.size - lag) // _BLOCK)
    same = np.zeros(blocks, dtype=bool)
    if last - first < 3:
        return same
    theirs = stretch[lag + first * _BLOCK : lag + last * _BLOCK].reshape(last - first, _BLOCK)
    ours = shifted[:, first:last]
    products = np.einsum("fbs,bs->fb", ours, theirs)
    together = _in_threes(products)
    own, other = (_in_threes(np.square(blocks).sum(axis=-1)[None])[0] for blocks in (ours[len(_BETWEEN) // 2], theirs))
    audible = own > _SILENT**2 * max(float(own.max()), 1e-12)
    agree = audible & (together > _COPY * np.sqrt(own * other))
    agree = agree[int(agree.sum(axis=1).argmax())]
    for part in range(3):  # a block is a copy if one of the triples it belongs to is
        same[first + part : last - 2 + part] |= agree
    return same


def _in_threes(values: Floats) -> Floats:
    return np.asarray(values[:, :-2] + values[:, 1:-1] + values[:, 2:])


def _runs(same: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First block and number of blocks of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
    return [(int(start), int(stop - start)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
