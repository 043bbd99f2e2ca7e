"""From the stems of a result to its file: the whole audio, with the regions made anew and everything else as it was.

Promises, each with a test:

* Outside the regions a WAV or FLAC holds the source's own samples, bit for bit, at the source's own rate. 8- to 24-bit
  sources fit into 24 bits; a WAV of a finer source (32-bit, float, double) has the source's own samples. FLAC has 24
  bits at most, so a finer source is rounded to them there.
* The result begins and ends where the source or a region does, whichever reaches further.
* A take lies on the very frame that its job says.
* The file appears whole or not at all; the source is never written to. Memory does not grow with the length.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from bridge import atomic
from engine.audio import AudioInfo, probe
from engine.encode import Encoded, Encoding, Samples, encode
from protocol.errors import EngineError, SourceDamaged, SourceUnreadable
from protocol.job import Take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Frames = NDArray[np.float64]
    """``(frames, channels)``. Doubles hold every sample of every format exactly."""

_BLOCK_FRAMES = 1 << 15
_LOSSY_SLACK_FRAMES = 2 * 1152
"""An MP3's header may count encoder delay and padding that its decoder drops."""

_FINE: dict[str, Samples] = {"PCM_32": "PCM_32", "FLOAT": "FLOAT", "DOUBLE": "DOUBLE"}


def write_result(target_stem: Path, takes: Sequence[Take], source: Path | None, encoding: Encoding) -> Encoded:
    """Write `takes` into `source`, or one after the other where they lie if there is none, as `encoding` says.

    The file is `target_stem` with the format's ending; one that is there is replaced. All takes have the source's rate
    and channels, and overlapping ones win over the source in the order given. Raises `SourceError` for a source that
    cannot be read, `EngineError` for a take that cannot, `ProjectError` and `EncodingFailed` if the file cannot be
    written.
    """
    target = target_stem.with_name(target_stem.name + encoding.suffix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack, atomic.temporary_file(target.parent) as temporary:
            timeline = _Timeline(takes, source, stack)
            blocks = (block.T for block in timeline.blocks())
            made = encode(blocks, timeline.rate, timeline.channels, temporary, encoding, samples=timeline.samples)
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            atomic.sync_folder(target.parent)
    except OSError as error:
        raise atomic.in_words(error, target.parent) from error
    return replace(made, path=target)


class _Timeline:
    """The source and the takes on one axis: frames of the source, or of the project if there is none."""

    def __init__(self, takes: Sequence[Take], source: Path | None, stack: ExitStack) -> None:
        self._takes = [(take, stack.enter_context(_opened_take(take))) for take in takes]
        self._info = probe(source) if source is not None else None
        self._source = stack.enter_context(_opened_source(self._info)) if self._info is not None else None
        first = self._info or self._takes[0][1]
        self.rate: int = first.rate if isinstance(first, AudioInfo) else first.samplerate
        self.channels: int = first.channels
        self.samples: Samples = _FINE.get(self._info.subtype, "PCM_24") if self._info is not None else "PCM_24"
        for take, file in self._takes:
            if (file.samplerate, file.channels, file.frames) != (self.rate, self.channels, take.frames):
                raise EngineError(
                    f"The take {Path(take.file).name} has {file.frames} frames, {file.channels} channels and "
                    f"{file.samplerate} Hz; its place has {take.frames}, {self.channels} and {self.rate}: retry."
                )
        spans = [(take.start_frame, take.start_frame + take.frames) for take, _ in self._takes]
        spans += [(0, self._info.frames)] if self._info is not None else []
        self._start, self._stop = min(start for start, _ in spans), max(stop for _, stop in spans)

    def blocks(self) -> Iterator[Frames]:
        """All of it, in order."""
        for start in range(self._start, self._stop, _BLOCK_FRAMES):
            stop = min(start + _BLOCK_FRAMES, self._stop)
            block = np.zeros((stop - start, self.channels))
            self._put_source(block, start)
            for take, file in self._takes:
                _put_take(block, start, take, file)
            yield block

    def _put_source(self, block: Frames, start: int) -> None:
        """The source is decoded from its beginning to its end: seeking in MP3 or Vorbis is not exact."""
        if self._info is None or self._source is None:
            return
        first, after = max(0, start), min(start + len(block), self._info.frames)
        if first >= after:
            return
        audio = _read(self._source, after - first)
        missing = after - first - len(audio)
        if missing and (self._info.is_linear or self._info.frames - after + missing > _LOSSY_SLACK_FRAMES):
            raise SourceUnreadable(f"{self._info.path.name} ends before its header says: copy or render it again.")
        if not np.isfinite(audio).all():
            raise SourceDamaged(
                f"{self._info.path.name} holds a broken sample (not a number, or infinite) between "
                f"{first / self.rate:.3f} and {after / self.rate:.3f} s: render it again, without the plug-in at fault."
            )
        block[first - start : first - start + len(audio)] = audio


def _put_take(block: Frames, start: int, take: Take, file: soundfile.SoundFile) -> None:
    first, after = max(start, take.start_frame), min(start + len(block), take.start_frame + take.frames)
    if first < after:
        file.seek(first - take.start_frame)
        audio = _read(file, after - first)
        if len(audio) < after - first:
            raise _lost(take)
        block[first - start : after - start] = audio


def _read(file: soundfile.SoundFile, frames: int) -> Frames:
    """What comes, which may be less than `frames`."""
    try:
        return np.asarray(file.read(frames, dtype="float64", always_2d=True))
    except soundfile.LibsndfileError:
        return np.zeros((0, file.channels))


def _opened_source(info: AudioInfo) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(info.path)
    except soundfile.LibsndfileError as error:
        raise SourceUnreadable(f"{info.path.name} cannot be read any more ({error.error_string}).") from error


def _opened_take(take: Take) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(take.file)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _lost(take) from error


def _lost(take: Take) -> EngineError:
    return EngineError(f"The take {take.file} was lost before its result was written: ask again.")
