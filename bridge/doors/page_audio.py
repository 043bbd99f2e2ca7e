"""What the page plays and draws: a take alone, in its song, or the song as it was, as one exact stretch of audio.

Promises: nothing is written to disk and nothing is held in memory beyond one block; a stretch is read by position, so
that a player may ask for any part of it; the source is read as it lies there now, at the take's rate. Everything here
blocks on the disk: call it in a thread.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bridge.page_model import CONTEXT_S
from protocol.errors import SourceUnreadable
from protocol.job import Job, SourceRef, Take
from protocol.music import Region
from protocol.vocabulary import Verb

Frames = NDArray[np.float32]
"""float32 ``(frames, channels)``, as files have it."""

HEADER_BYTES, SAMPLE_BYTES = 44, 3
BLOCK_FRAMES = 1 << 15
_RESAMPLING_MARGIN = 2048
_FULL_SCALE = 8_388_607


class View(StrEnum):
    """What is heard."""

    ALONE = "alone"
    """The take in its place, with silence around it."""
    SONG = "song"
    """The take where it belongs, with the song around it (or under it, for stems that are added)."""
    ORIGINAL = "original"
    """The song as it is, over the same stretch."""


def is_added(verb: Verb) -> bool:
    """True for stems that are heard together with the song; other takes replace it."""
    return verb.makes_stems and verb is not Verb.EXTRACT


def region_of(take: Take) -> Region:
    """The exact span of a take in project time."""
    return Region.from_frames(take.start_frame, take.start_frame + take.frames, take.sample_rate)


class Stretch:
    """`frames` frames of audio from the project frame `first` on, at `rate`; use it as a context manager.

    The stretch is the same for every view of a take, so that a player can change over in the middle of a bar. Raises
    `SourceUnreadable` on entering if the take cannot be read; without its song it is the take alone, and `has_song` is
    False.
    """

    def __init__(self, job: Job, take: Take, view: View) -> None:
        self._job, self._take, self._view = job, take, view
        self._stack = ExitStack()
        self._song: _Song | None = None
        self._file: soundfile.SoundFile | None = None
        self.rate, self.channels = take.sample_rate, 0
        self.first, self.frames = take.start_frame, take.frames

    def __enter__(self) -> Stretch:
        self._file = self._stack.enter_context(_opened(self._take.file))
        self.channels = self._file.channels
        self.rate = self._file.samplerate
        source = self._job.request.source if self._job.verb.needs_source else None
        if source is not None:
            try:
                song = self._stack.enter_context(_opened(source.file))
            except SourceUnreadable:
                return self
            self._song = _Song(song, source, self.rate, self.channels)
            self.first, last = self._song.around(region_of(self._take))
            self.frames = last - self.first
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def has_song(self) -> bool:
        return self._song is not None

    @property
    def span(self) -> Region:
        return Region.from_frames(self.first, self.first + self.frames, self.rate)

    def read(self, start: int, stop: int) -> Frames:
        """Frames ``start..stop`` of the stretch, counted from its beginning."""
        start, stop = max(0, start), min(self.frames, stop)
        at = self.first + start
        if self._song is None or self._view is View.ALONE:
            audio = np.zeros((stop - start, self.channels), np.float32)
        else:
            audio = self._song.read(at, at + stop - start)
        if self._view is not View.ORIGINAL:
            self._put_take(audio, at)
        return audio

    def _put_take(self, audio: Frames, at: int) -> None:
        """Lay the take into `audio`, whose first frame is the project's frame `at`."""
        assert self._file is not None
        first = max(at, self._take.start_frame)
        last = min(at + len(audio), self._take.start_frame + self._take.frames)
        if last <= first:
            return
        self._file.seek(first - self._take.start_frame)
        piece = self._file.read(last - first, dtype="float32", always_2d=True, fill_value=0.0)
        place = audio[first - at : last - at]
        place[:] = place + piece if is_added(self._job.verb) else piece

    def blocks(self) -> Iterator[Frames]:
        """All of it in order."""
        for start in range(0, self.frames, BLOCK_FRAMES):
            yield self.read(start, start + BLOCK_FRAMES)


class _Song:
    """The source at another rate and channel count, by project frames; silence where there is none."""

    def __init__(self, file: soundfile.SoundFile, source: SourceRef, rate: int, channels: int) -> None:
        self._file, self._rate, self._channels = file, rate, channels
        self._start = round(source.start_s * rate)
        common = math.gcd(file.samplerate, rate)
        self._in, self._out = file.samplerate // common, rate // common

    def around(self, region: Region) -> tuple[int, int]:
        """`region` and what there is of the song within `CONTEXT_S` of it, in project frames."""
        first, last = region.frames(self._rate)
        margin = round(CONTEXT_S * self._rate)
        end = self._start + self._file.frames * self._out // self._in
        return max(first - margin, min(self._start, first)), min(last + margin, max(end, last))

    def read(self, start: int, stop: int) -> Frames:
        audio = self._read(start - self._start, stop - self._start)
        if audio.shape[1] != self._channels:
            audio = np.repeat(audio.mean(axis=1, keepdims=True, dtype=np.float32), self._channels, axis=1)
        return np.ascontiguousarray(audio)

    def _read(self, start: int, stop: int) -> Frames:
        if self._in == self._out:
            return self._own(start, stop)
        # Both grids meet every `_in` source frames: pieces that begin there fit together without a shift.
        first = (start * self._in // self._out - _RESAMPLING_MARGIN) // self._in
        last = -(-(stop * self._in // self._out + _RESAMPLING_MARGIN) // self._in)
        piece = soxr.resample(self._own(first * self._in, last * self._in), self._in, self._out, quality="HQ")
        offset = start - first * self._out
        return np.asarray(piece[offset : offset + stop - start], dtype=np.float32)

    def _own(self, start: int, stop: int) -> Frames:
        """Source frames at the source's own rate."""
        audio = np.zeros((stop - start, self._file.channels), np.float32)
        first, last = max(0, start), min(self._file.frames, stop)
        if last > first:
            self._file.seek(first)
            piece = self._file.read(last - first, dtype="float32", always_2d=True)
            audio[first - start : first - start + len(piece)] = piece
        return audio


def _opened(name: str) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(name)
    except (OSError, soundfile.LibsndfileError) as error:
        raise SourceUnreadable(f"{name} cannot be read: it was moved or deleted since it was made.") from error


# --- as a WAV file ----------------------------------------------------------------------------------------------------
def wav_bytes(stretch: Stretch) -> int:
    """The size of the stretch as a 24-bit WAV file, which every browser plays."""
    return HEADER_BYTES + stretch.frames * stretch.channels * SAMPLE_BYTES


def wav_part(stretch: Stretch, start: int, stop: int) -> bytes:
    """Bytes ``start..stop`` of that file."""
    parts = [_header(stretch)[start:stop]] if start < HEADER_BYTES else []
    frame_bytes = stretch.channels * SAMPLE_BYTES
    begin, end = max(0, start - HEADER_BYTES), stop - HEADER_BYTES
    if end > begin:
        first = begin // frame_bytes
        packed = _as_24_bit(stretch.read(first, -(-end // frame_bytes)))
        parts.append(packed[begin - first * frame_bytes : end - first * frame_bytes])
    return b"".join(parts)


def _header(stretch: Stretch) -> bytes:
    frame_bytes = stretch.channels * SAMPLE_BYTES
    data = min(stretch.frames * frame_bytes, 0xFFFFFFFF - HEADER_BYTES)
    riff = struct.pack("<4sI4s", b"RIFF", HEADER_BYTES - 8 + data, b"WAVE")
    rates = (stretch.rate, stretch.rate * frame_bytes, frame_bytes, 8 * SAMPLE_BYTES)
    return riff + struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, stretch.channels, *rates, b"data", data)


def _as_24_bit(audio: Frames) -> bytes:
    whole = np.rint(np.clip(audio, -1.0, 1.0) * np.float64(_FULL_SCALE)).astype("<i4")
    return whole.reshape(-1, 1).view(np.uint8)[:, :SAMPLE_BYTES].tobytes()


# --- as a picture -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Envelope:
    """The least and greatest sample of each column over a stretch, in thousandths of full scale."""

    low: list[int]
    high: list[int]

    def as_json(self) -> dict[str, list[int]]:
        return {"low": self.low, "high": self.high}


def envelope(stretch: Stretch, columns: int) -> Envelope:
    """The envelope of a stretch over all its channels; read in blocks, so that length costs time but no memory."""
    columns = max(1, min(columns, stretch.frames))
    edges = np.arange(columns + 1) * stretch.frames // columns
    low, high = np.full(columns, 32.0), np.full(columns, -32.0)
    at = 0
    for block in stretch.blocks():
        first = int(np.searchsorted(edges, at, "right")) - 1
        last = int(np.searchsorted(edges, at + len(block), "left"))
        starts = np.maximum(edges[first:last] - at, 0)
        low[first:last] = np.minimum(low[first:last], np.minimum.reduceat(block.min(axis=1), starts))
        high[first:last] = np.maximum(high[first:last], np.maximum.reduceat(block.max(axis=1), starts))
        at += len(block)
    return Envelope(_thousandths(low), _thousandths(high))


def _thousandths(values: NDArray[Any]) -> list[int]:
    return [int(value) for value in np.rint(1000.0 * np.clip(np.nan_to_num(values), -1.0, 1.0))]
