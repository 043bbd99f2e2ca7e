"""Short-time spectra on a fixed grid of frames, and the masks that separation is made of.

A `Spectra` analyses and resynthesises any span of a signal: frame k is centred on sample ``k * hop`` whatever the span,
so that a long signal can be worked on block by block with the result of doing it at once. Masks are shares between 0
and 1 of each bin, from power ratios (Wiener).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

NOTHING = np.float32(1e-20)
"""Power that keeps a share of silence from being 0/0."""


def piece(audio: Float, start: int, stop: int) -> Float:
    """Samples ``start..stop`` of ``(channels, frames)``; zero where there are none."""
    inside = audio[:, max(0, start) : max(0, min(stop, audio.shape[1]))]
    before = min(max(0, -start), stop - start)
    return np.pad(inside, ((0, 0), (before, stop - start - before - inside.shape[1])))


@dataclass(frozen=True)
class Spectra:
    """Hann windows of `size` samples every `hop`; `hop` divides `size` at least four times."""

    size: int
    hop: int

    @classmethod
    def of(cls, seconds: float, overlap: int, rate: int) -> Spectra:
        """Windows of about `seconds`, `overlap` of them over every sample."""
        hop = scipy.fft.next_fast_len(max(1, round(seconds * rate / overlap)), real=True)
        return cls(overlap * hop, hop)

    @cached_property
    def window(self) -> Float:
        return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.size) / self.size), dtype=np.float32)

    def hz(self, rate: int) -> Float:
        """The frequency of each bin."""
        return np.asarray(np.arange(self.size // 2 + 1) * (rate / self.size), dtype=np.float32)

    def touching(self, start: int, stop: int) -> tuple[int, int]:
        """First frame, and the frame after the last, whose window reaches into samples ``start..stop``."""
        half = self.size // 2
        return (start - half) // self.hop + 1, -((-stop - half) // self.hop)

    def analysed(self, audio: Float, frames: tuple[int, int], origin: int = 0) -> Complex:
        """``(channels, bins, frames)`` of the frames ``first..after``; the signal is silent outside itself.

        `audio` begins at sample `origin` of those that frames are counted by.
        """
        first, after = frames
        start = first * self.hop - self.size // 2 - origin
        held = piece(audio, start, start + (after - 1 - first) * self.hop + self.size)
        windows = np.lib.stride_tricks.sliding_window_view(held, self.size, axis=1)[:, :: self.hop]
        spectrum = scipy.fft.rfft(windows * self.window, axis=-1)
        return np.asarray(spectrum.swapaxes(1, 2), dtype=np.complex64)

    def sounding(self, spectrum: Complex, frames: tuple[int, int], start: int, stop: int) -> Float:
        """Samples ``start..stop`` of the signal whose `frames` (all that touch them) have this `spectrum`."""
        parts = self.size // self.hop
        windows = scipy.fft.irfft(spectrum.swapaxes(1, 2), self.size, axis=-1)
        windows *= self.window / np.float32(0.375 * parts)
        channels, count = windows.shape[:2]
        hops = windows.reshape(channels, count, parts, self.hop)
        summed = np.zeros((channels, count + parts - 1, self.hop), np.float32)
        for part in range(parts):
            summed[:, part : part + count] += hops[:, :, part]
        offset = start - (frames[0] * self.hop - self.size // 2)
        return summed.reshape(channels, -1)[:, offset : offset + stop - start]


def percussive_share(magnitude: Float, along_time: int, along_frequency: int, bias: Float) -> Float:
    """What of each bin of `magnitude` ``(bins, frames)`` belongs to strokes rather than to tones.

    A stroke is a vertical line of the spectrogram, a tone a horizontal one; medians along either direction keep the one
    and lose the other (Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010). `bias`
    ``(bins,)`` is by how much the stroke must outweigh the tone to count as its equal (Driedger et al., ISMIR 2014).
    """
    tones = _median(magnitude, along_time) * bias[:, None]
    strokes = _median(magnitude.T, along_frequency).T
    tones *= tones
    strokes *= strokes
    return np.asarray(strokes / (strokes + tones + NOTHING), dtype=np.float32)


def _median(rows: Float, length: int) -> Float:
    """Running median of odd `length` along the last axis. scipy's filter is ten times as quick on a single line."""
    half = length // 2
    line = np.pad(rows, ((0, 0), (half, half)), mode="edge")
    return np.asarray(median_filter(line.ravel(), length).reshape(line.shape)[:, half : half + rows.shape[1]])


def centre_share(spectrum: Complex, sharpness: float) -> Float:
    """What of each bin of ``(2, bins, frames)`` stands in the middle of the stereo image.

    1 where left and right are the same in level and phase, 0 where they differ as much as a voice panned to one side
    does (the panning similarity of Avendano, WASPAA 2003, with Barry's azimuth discrimination, DAFx 2004).
    """
    left, right = spectrum
    apart = np.abs(left - right) / (np.abs(left) + np.abs(right) + np.sqrt(NOTHING))
    return np.asarray(np.maximum(1 - sharpness * apart, 0) ** 2, dtype=np.float32)
