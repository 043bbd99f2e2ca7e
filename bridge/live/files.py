"""What a live run writes and reads: the context of each phrase goes into the project, phrases come back from there.

The context is a job's source like any other, kept for `redo`: in ``<media folder>/stembridge/sources/``, as FLAC of 24
bits (about half of WAV's room), as WAV of 32-bit floats if it goes over full scale. Equal audio is kept once, under the
hash of its samples. Everything here blocks on a disk: call it in a thread.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bridge import atomic
from bridge.delivery import STEMS_FOLDER, make_folder
from bridge.doors.mailbox_source import SOURCES_FOLDER
from protocol.job import ProjectRef

if TYPE_CHECKING:
    from engine.api import Audio


def keep_audio(audio: Audio, rate: int, project: ProjectRef, name: str) -> Path:
    """Put ``(channels, frames)`` into the project as ``NAME-HASH``; where it lies. Raises `ProjectError`."""
    import numpy as np

    root, folder = Path(project.folder), Path(project.media_folder) / STEMS_FOLDER / SOURCES_FOLDER
    digest = hashlib.sha256(np.ascontiguousarray(audio.T).tobytes()).hexdigest()[:16]
    is_loud = bool(audio.size) and float(np.abs(audio).max()) >= 1.0
    final = folder / f"{name}-{digest}.{'wav' if is_loud else 'flac'}"
    try:
        with ExitStack() as undo:
            make_folder(root, folder, undo)
            if not final.is_file():
                with atomic.temporary_file(folder) as temporary:
                    atomic.write_synced(temporary, lambda file: _write(file, audio, rate, is_loud))
                    with suppress(FileExistsError):  # the same audio, written a moment ago
                        atomic.publish(temporary, final)
                atomic.sync_folder(folder)
            undo.pop_all()
    except OSError as error:
        raise atomic.in_words(error, root) from error
    return final


def _write(file: BinaryIO, audio: Audio, rate: int, is_loud: bool) -> None:
    import soundfile

    form, subtype = ("WAV", "FLOAT") if is_loud else ("FLAC", "PCM_24")
    encoded = BytesIO()  # libsndfile would lose the reason why a disk does not take it
    soundfile.write(encoded, audio.T, rate, format=form, subtype=subtype)
    file.write(encoded.getbuffer())


def read_audio(path: Path, rate: int, start: int = 0, stop: int | None = None) -> Audio:
    """Frames ``start..stop`` of a file, at `rate` Hz, as ``(channels, frames)``; what lies outside the file is silent.

    `start` and `stop` count frames at `rate`. Raises what `engine.audio.probe` raises.
    """
    import numpy as np
    import soundfile

    from engine.audio import probe, resample

    info = probe(path)
    ratio = info.rate / rate
    first, last = round(start * ratio), info.frames if stop is None else round(stop * ratio)
    low, high = min(max(0, first), info.frames), max(0, min(last, info.frames))
    with soundfile.SoundFile(info.path) as file:
        file.seek(low)
        block = file.read(max(0, high - low), dtype="float32", always_2d=True).T
    whole = np.pad(block, ((0, 0), (low - first, max(0, last - high)))) if first < last else block
    frames = None if stop is None else stop - start
    return resample(np.ascontiguousarray(whole, dtype=np.float32), info.rate, rate, frames)
