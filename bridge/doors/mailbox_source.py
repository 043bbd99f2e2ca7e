"""Source audio on its way from the mailbox into the project: checked, summed, kept whole under the name of its samples.

Promises: the file holds exactly the sum of what REAPER wrote, as 32-bit floats, from the same first sample; it appears
whole or not at all in ``<media folder>/stembridge/sources/``; equal audio is kept once; nothing of the user's is
overwritten, and nothing is written outside the project, wherever links lead. Memory does not grow with the length.

Everything here blocks on a disk: call it in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from bridge import atomic
from bridge.broadcast_wave import data_sha256
from bridge.delivery import STEMS_FOLDER, make_folder
from engine.audio import AudioInfo, probe
from protocol.errors import ProjectError, SourceError, SourceUnreadable
from protocol.job import ProjectRef

log = logging.getLogger("stembridge.mailbox")

SOURCES_FOLDER = "sources"
SLACK_FRAMES = 2
"""A render may end so many samples early or late without a word: its length is rounded elsewhere."""
_BLOCK_FRAMES = 1 << 16
_MAX_BYTES = 0xFFFF_FFFF - 1024
_FLOAT = 3


class SourceMismatch(SourceError):
    """The audio that came with a request does not fit the project or itself."""

    code = "source_mismatch"


@dataclass(frozen=True)
class Mix:
    """Files that begin at the same moment and are to be summed; how long the sum is, and what is odd about them."""

    infos: tuple[AudioInfo, ...]
    channels: int
    frames: int
    warnings: tuple[str, ...]


def planned(files: Sequence[Path], rate: int, frames: int) -> Mix:
    """What the sum of `files` will be; `frames` at `rate` Hz is how long they were meant to be.

    A longer file is cut there; one that ends more than `SLACK_FRAMES` early leaves the sum shorter. Raises
    `SourceMissing`, `SourceUnreadable` and `SourceMismatch`.
    """
    infos = tuple(_checked(path, rate) for path in files)
    channels = _common_channels(infos)
    longest = max(info.frames for info in infos)
    kept = frames if longest >= frames - SLACK_FRAMES else longest
    if kept * channels * 4 > _MAX_BYTES:
        raise SourceMismatch("The audio is longer than a WAV file can be (4 GiB): select less, or less around it.")
    return Mix(infos, channels, kept, tuple(_oddities(infos, frames)))


def keep(mix: Mix, project: ProjectRef) -> Path:
    """Put the sum into the project; where it lies. Raises `ProjectError` and its kinds as `bridge.delivery` does."""
    root = Path(project.folder)
    folder = Path(project.media_folder) / STEMS_FOLDER / SOURCES_FOLDER
    try:
        with ExitStack() as undo:
            make_folder(root, folder, undo)
            atomic.remove_leftovers(folder)
            file = _written(folder, mix)
            undo.pop_all()
    except OSError as error:
        raise atomic.in_words(error, root) from error
    return file


def _checked(path: Path, rate: int) -> AudioInfo:
    info = probe(path)
    if not info.is_linear:
        raise SourceUnreadable(f"{path.name} is {info.format} {info.subtype}; render plain WAV audio.")
    if info.rate != rate:
        raise SourceMismatch(
            f"The audio came at {info.rate} Hz, but the project runs at {rate} Hz: set the project's sample rate in "
            "REAPER (Project settings), then ask again."
        )
    return info


def _common_channels(infos: Sequence[AudioInfo]) -> int:
    """As many as the widest has; a mono file goes to all of them."""
    counts = {info.channels for info in infos} - {1}
    if len(counts) > 1:
        shown = " and ".join(map(str, sorted(counts)))
        raise SourceMismatch(
            f"Tracks of {shown} channels cannot be summed: select tracks with the same number of channels."
        )
    return counts.pop() if counts else 1


def _oddities(infos: Sequence[AudioInfo], frames: int) -> Iterator[str]:
    for info in infos:
        if abs(info.frames - frames) > SLACK_FRAMES:
            yield (
                f"{info.path.name} is {info.frames} samples long, {frames} were announced: the end of what the engine "
                "hears may be missing."
            )


# --- writing ----------------------------------------------------------------------------------------------------------
def _written(folder: Path, mix: Mix) -> Path:
    """Write the sum under the first free name, or find that it lies there already."""
    with atomic.temporary_file(folder) as temporary:
        digests: list[str] = []
        atomic.write_synced(temporary, lambda file: digests.append(_write(file, mix)))
        for name in atomic.free_names(f"source-{digests[0][:16]}.wav"):
            final = folder / name
            if _holds(final, digests[0]):
                return final
            try:
                atomic.publish(temporary, final)
            except FileExistsError:
                if _holds(final, digests[0]):
                    return final
                continue
            atomic.sync_folder(folder)
            return final
    raise ProjectError(f"All names like source-... are taken in {folder}: clear that folder, then ask again.")


def _holds(path: Path, digest: str) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and data_sha256(path) == digest
    except SourceError:
        return False


def _write(file: BinaryIO, mix: Mix) -> str:
    """A WAV file of 32-bit floats, nothing in it but the audio; the hash of its format and samples."""
    rate, channels, size = mix.infos[0].rate, mix.channels, mix.frames * mix.channels * 4
    form = struct.pack("<HHIIHHH", _FLOAT, channels, rate, rate * channels * 4, channels * 4, 32, 0)
    fact = struct.pack("<4sII", b"fact", 4, mix.frames)
    body = struct.pack("<4sI", b"fmt ", len(form)) + form + fact + struct.pack("<4sI", b"data", size)
    file.write(struct.pack("<4sI4s", b"RIFF", 4 + len(body) + size, b"WAVE") + body)
    digest = hashlib.sha256(form)
    for block in _sum(mix):
        samples = block.astype("<f4").tobytes()
        digest.update(samples)
        file.write(samples)
    return digest.hexdigest()


def _sum(mix: Mix) -> Iterator[np.ndarray]:
    """Blocks of ``(frames, channels)`` doubles; a file that has ended is silent."""
    with ExitStack() as opened:
        readers = [opened.enter_context(soundfile.SoundFile(os.fspath(info.path))) for info in mix.infos]
        for start in range(0, mix.frames, _BLOCK_FRAMES):
            count = min(_BLOCK_FRAMES, mix.frames - start)
            total = np.zeros((count, mix.channels))
            for reader in readers:
                block = reader.read(count, dtype="float64", always_2d=True)
                total[: len(block)] += block  # one channel goes to all of them
            yield total
