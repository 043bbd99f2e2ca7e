"""Pictures of sound for the page of takes: min/max envelopes as SVG paths, spectrograms as small PNG files.

Pure functions on float32 ``(channels, frames)`` arrays; no file is read or written here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Audio = NDArray[np.float32]

VIEW_HEIGHT = 100
"""Height of every waveform's SVG view box; full scale reaches its edges."""

_LOWEST_HZ, _HIGHEST_HZ = 40.0, 16000.0
_RANGE_DB = 72.0
_STOPS = ((7, 7, 13), (38, 22, 70), (102, 32, 98), (168, 50, 80), (222, 96, 48), (246, 166, 56), (252, 240, 178))
"""Colours from silence to the loudest, dark to light, so that loudness reads without colour as well."""


def envelope(audio: Audio, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest sample of each of `columns` equal slices, over all channels."""
    frames = audio.shape[1]
    if frames == 0:
        return np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    starts = np.minimum(np.arange(columns) * frames // columns, frames - 1)
    low = np.minimum.reduceat(audio.min(axis=0), starts)
    high = np.maximum.reduceat(audio.max(axis=0), starts)
    return low, high


def wave_path(low: Sequence[float] | Audio, high: Sequence[float] | Audio, first: int = 0) -> str:
    """SVG path data of an envelope whose first column lies at x = `first`; y 0 is full scale up."""
    if len(low) == 0:
        return ""
    middle = VIEW_HEIGHT / 2

    def y(value: float) -> str:
        return f"{middle - middle * min(1.0, max(-1.0, float(value))):.1f}"

    # Half a unit at least, so that silence still shows as a line.
    top = [f"{first + x} {y(max(value, 0.005))}" for x, value in enumerate(high)]
    bottom = [f"{first + x} {y(min(value, -0.005))}" for x, value in enumerate(low)]
    last = first + len(low)
    edge = [f"{last} {top[-1].split()[1]}", f"{last} {bottom[-1].split()[1]}"]
    return "M" + "L".join([*top, *edge, *reversed(bottom)]) + "Z"


def spectrogram(audio: Audio, rate: int, width: int = 900, height: int = 128) -> NDArray[np.uint8]:
    """Loudness 0..255 over time (columns) and log frequency 40 Hz to 16 kHz (rows, the highest on top).

    255 is the loudest of all, 0 lies 72 dB or more below it. Hann windows of about 43 ms.
    """
    size = 1 << round(np.log2(0.043 * rate))
    mono = np.pad(audio.mean(axis=0), (size // 2, size // 2 + 1))
    starts = np.linspace(0, max(0, audio.shape[1] - 1), width).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[starts]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1))
    highest = min(_HIGHEST_HZ, 0.5 * rate)
    edges = np.geomspace(_LOWEST_HZ, highest, height + 1) * size / rate
    # A row's loudness: its strongest bin, or between bins where a row is narrower than one.
    centres = np.sqrt(edges[:-1] * edges[1:])
    floor = np.clip(centres.astype(int), 0, magnitude.shape[1] - 2)
    share = (centres - floor).astype(np.float32)
    rows = magnitude[:, floor] * (1 - share) + magnitude[:, floor + 1] * share
    for row in np.flatnonzero(np.diff(edges) > 2):
        rows[:, row] = magnitude[:, int(edges[row]) : int(edges[row + 1]) + 1].max(axis=1)
    tilt = np.sqrt(centres / centres[0]) ** 0.5  # +1.5 dB per octave: music falls off towards the top
    loudness = 20.0 * np.log10(np.maximum(rows * tilt, 1e-9))
    scaled = (loudness - loudness.max() + _RANGE_DB) / _RANGE_DB * 255.0
    picture = np.clip(scaled, 0, 255) if rows.max() > 1e-6 else np.zeros_like(scaled)
    return np.asarray(picture.T[::-1], dtype=np.uint8)


def png_data_uri(picture: NDArray[np.uint8]) -> str:
    """A ``data:`` address with the picture as a palette PNG in the house's colours."""
    image = Image.fromarray(picture).convert("L")
    image = image.copy()
    indexed = Image.frombytes("P", image.size, image.tobytes())
    indexed.putpalette(_palette())
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _palette() -> list[int]:
    stops = np.array(_STOPS, dtype=float)
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return [int(value) for value in np.stack(channels, axis=1).round().ravel()]
