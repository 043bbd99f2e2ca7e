"""Audio files in and out, to the sample.

Promises: frame 0 is the file's first sample; at the file's own rate linear formats come bit for bit as they are in the
file, read straight from it by position; anything else is decoded (and resampled) once, into a cache named by the file's
hash, and is exactly ``round(frames * to / from)`` long. A file that is missing, no audio, shorter than its header says,
or that holds NaN or infinity is refused with a sentence that names it. Audio is float32 ``(channels, frames)``.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from engine.audio_cache import (
    DECODED_LIMIT_BYTES,
    Stamp,
    Step,
    content_hash,
    decoded_path,
    prune,
    stamp_of,
    touch,
    unopenable,
    whole_file,
)
from protocol.errors import SourceChanged, SourceDamaged, SourceUnreadable
from protocol.music import checked_rate

if TYPE_CHECKING:
    from engine.api import Audio

__all__ = ["AudioInfo", "FileSource", "content_hash", "open_source", "probe", "resample", "write_wav"]

_LINEAR = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
"""Encodings in which libsndfile seeks to the exact sample (FLAC's are named PCM_* too)."""

_BLOCK_FRAMES = 1 << 18
_LOSSY_SLACK_FRAMES = 2 * 1152
"""An MP3's header may count encoder delay and padding that its decoder drops: at most two frames of 1152."""

_READABLE = "WAV, AIFF, FLAC, OGG, MP3, CAF, W64 and RF64"


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself. `path` is the name under which the file was found (see `probe`)."""

    path: Path
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def is_linear(self) -> bool:
        """True if any sample can be read from the file by its position, exactly."""
        return self.subtype in _LINEAR


def probe(path: Path | str) -> AudioInfo:
    """Read a file's header; Unicode names are found in their composed (NFC) and decomposed (NFD) spelling.

    Raises `SourceMissing`, or `SourceUnreadable` for what is no audio, is empty, or ends before its header says.
    """
    found = _find(Path(path))
    stamp_of(found)
    if found.is_dir():
        raise SourceUnreadable(f"{found} is a folder, not an audio file. Send /stembridge/source with a file in it.")
    claimed = _claimed_bytes(found)
    with _opened(found) as file:
        info = AudioInfo(found, file.samplerate, file.channels, file.frames, file.format, file.subtype)
    if info.frames < 1:
        raise SourceUnreadable(f"{found.name} holds no audio: its length is 0 s. Render it again in your DAW.")
    frame_bytes = _frame_bytes(info)
    if claimed is not None and frame_bytes and claimed // frame_bytes > info.frames:
        raise _cut_short(info, info.frames, claimed // frame_bytes)
    return info


def open_source(
    path: Path | str,
    rate: int | None,
    cache_dir: Path,
    *,
    step: Step | None = None,
    limit_bytes: int = DECODED_LIMIT_BYTES,
) -> FileSource:
    """The file as an `engine.api.Source` at `rate` Hz (None: its own); decoding, if needed, happens here, once.

    `step` hears the fraction done and may raise `Cancelled`. Raises `SourceMissing`, `SourceUnreadable`,
    `SourceChanged` and `DiskFull`; broken samples are reported when they are read.
    """
    info = probe(path)
    rate = info.rate if rate is None else checked_rate(rate)
    stamp = stamp_of(info.path)
    sha256 = content_hash(info.path, cache_dir, step=step and (lambda done: step(done / 2)))
    if info.is_linear and rate == info.rate:
        return FileSource(info.path, sha256, rate, info.channels, info.frames, info, stamp)
    decoded = decoded_path(cache_dir, sha256, rate, info.channels)
    if not decoded.is_file():
        _decode(info, rate, decoded, step and (lambda done: step(0.5 + done / 2)))
    touch(decoded)
    samples = np.memmap(decoded, dtype="<f4", mode="r").reshape(-1, info.channels)
    prune(cache_dir, decoded, limit_bytes)
    return FileSource(info.path, sha256, rate, info.channels, len(samples), info, stamp, samples)


@dataclass(eq=False)
class FileSource:
    """An `engine.api.Source` on a file, or on its decoded copy (`samples`, ``(frames, channels)``)."""

    path: Path
    sha256: str
    rate: int
    channels: int
    frames: int
    info: AudioInfo = field(repr=False)
    stamp: Stamp = field(repr=False)
    samples: Audio | None = field(default=None, repr=False)

    def read(self, start: int, stop: int) -> Audio:
        """Source frames ``start..stop`` as float32 ``(channels, stop - start)``.

        Raises `ValueError` outside the source, `SourceUnreadable`, `SourceDamaged`, and `SourceChanged` if the file
        is no longer the one that was opened.
        """
        if not 0 <= start <= stop <= self.frames:
            raise ValueError(f"frames {start}..{stop} do not lie in a source of {self.frames} frames")
        if self.samples is not None:
            block = np.array(self.samples[start:stop])
        else:
            if stamp_of(self.path) != self.stamp:
                raise SourceChanged(f"{self.path.name} was changed while it was being read. Ask again.")
            block = _read_straight(self.info, start, stop)
        if not np.isfinite(
            block.sum(dtype=np.float64)
        ):  # one broken sample breaks the sum: quicker than a look at each
            first = start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise SourceDamaged(
                f"{self.path.name} holds a broken sample (not a number, or infinite) at {first / self.rate:.3f} s of "
                "the file. Render or glue the item again in your DAW, without the plug-in that broke it."
            )
        return np.ascontiguousarray(block.T)


def resample(audio: Audio, from_rate: int, to_rate: int, frames: int | None = None) -> Audio:
    """`audio` ``(channels, n)`` at `to_rate`: exactly `frames` long, or else ``round(n * to_rate / from_rate)``.

    soxr's VHQ recipe: linear phase, no delay, so frame k of the result lies at ``k * from_rate / to_rate``.
    """
    wanted = _scaled(audio.shape[1], from_rate, to_rate) if frames is None else frames
    if from_rate == to_rate or audio.shape[1] == 0:
        result = audio.T
    else:
        result = soxr.resample(np.ascontiguousarray(audio.T), from_rate, to_rate, quality="VHQ")
    exact = np.zeros((audio.shape[0], wanted), dtype=np.float32)
    kept = min(wanted, len(result))
    exact[:, :kept] = result[:kept].T
    return exact


def write_wav(path: Path, audio: Audio, rate: int, subtype: Literal["FLOAT", "PCM_24"]) -> int:
    """Write `audio` whole or not at all, the same bytes for the same audio; how many samples had to be clipped.

    FLOAT keeps every bit. PCM_24 rounds to the nearest step (so what came from 24 bits or fewer keeps every bit) and
    clips at full scale. Raises `DiskFull`.
    """
    frames = np.ascontiguousarray(audio.T, dtype=np.float32)
    with whole_file(path) as file:
        if subtype == "FLOAT":
            from scipy.io import wavfile  # libsndfile would add a chunk with the time of day

            wavfile.write(file, rate, frames)
            return 0
        steps = np.rint(frames.astype(np.float64) * 2.0**23)
        clipped = int(np.count_nonzero((steps < -(2**23)) | (steps > 2**23 - 1)))
        whole = np.clip(steps, -(2**23), 2**23 - 1).astype(np.int32) << 8
        soundfile.write(file, whole, rate, subtype="PCM_24", format="WAV")
        return clipped


# --- finding and opening ----------------------------------------------------------------------------------------------
def _find(path: Path) -> Path:
    """`path` under the spelling that exists: HFS+ and some network drives decompose what DAWs compose."""
    if path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        spellings = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        found = next((found / name for name in spellings if (found / name).exists()), found / part)
    return found


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        path.open("rb").close()  # the system's reason, which libsndfile does not pass on
        return soundfile.SoundFile(path)
    except OSError as error:
        raise unopenable(path, error) from error
    except soundfile.LibsndfileError as error:
        raise SourceUnreadable(
            f"{path.name} is not audio that can be read here ({error.error_string.rstrip('.')}). Readable are "
            f"{_READABLE}: render or glue the item to one of these in your DAW."
        ) from error


def _frame_bytes(info: AudioInfo) -> int:
    """Bytes of one frame in an uncompressed file, 0 for the others."""
    width = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(info.subtype, int(info.is_linear))
    return width * info.channels


def _claimed_bytes(path: Path) -> int | None:
    """Bytes of audio that a WAV, RF64, W64 or AIFF header claims; None if the format or the header does not say.

    libsndfile silently believes the file's real length instead. Source: the chunk layouts of RIFF, EBU 3306, Wave64 and
    AIFF.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(12)[:4]
            if magic == b"riff":
                return _claimed_in_wave64(file)
            if magic in (b"RIFF", b"RF64", b"FORM"):
                return _claimed_in_chunks(file, ">" if magic == b"FORM" else "<")
    except (OSError, struct.error):
        pass  # opening the file for good will say what is wrong with it
    return None


def _claimed_in_chunks(file: BinaryIO, order: str) -> int | None:
    large: int | None = None
    for _ in range(_MAX_CHUNKS):
        if len(head := file.read(8)) < 8:
            return None
        name, size = struct.unpack(f"{order}4sI", head)
        if name == b"ds64":
            large = struct.unpack("<8xQ", file.read(16))[0]
            size -= 16
        elif name == b"SSND":
            return int(size) - 8
        elif name == b"data":
            size = large if large is not None else size
            return None if size in _UNKNOWN_SIZES else int(size)
        file.seek(size + size % 2, 1)
    return None


def _claimed_in_wave64(file: BinaryIO) -> int | None:
    file.seek(40)
    while len(head := file.read(24)) == 24:
        name, size = struct.unpack(
            "<4s12xQ", head
        )  # the size counts these 24 bytes, and chunks begin at multiples of 8
        if name == b"data" or size < 24:
            return int(size) - 24 if size > 24 else None
        file.seek((size - 24 + 7) // 8 * 8, 1)
    return None


_MAX_CHUNKS = 1000
"""A header of more is no header, and must not be followed for seconds."""

_UNKNOWN_SIZES = frozenset({0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF})
"""What programs write into the header of a stream, whose length they did not know."""


def _cut_short(info: AudioInfo, real: int, claimed: int) -> SourceUnreadable:
    return SourceUnreadable(
        f"{info.path.name} is cut short: its header says {claimed / info.rate:.2f} s, but it "
        f"ends after {real / info.rate:.2f} s. Copy or render the file again."
    )


def _read_straight(info: AudioInfo, start: int, stop: int) -> Audio:
    """Frames of a linear file as ``(frames, channels)``."""
    with _opened(info.path) as file:
        try:
            file.seek(start)
            block = file.read(stop - start, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            block = ()
    if len(block) < stop - start:
        raise _cut_short(info, _readable_frames(info), info.frames)
    return np.asarray(block, dtype=np.float32)


def _readable_frames(info: AudioInfo) -> int:
    """How many frames really come out of a damaged file."""
    count = 0
    with _opened(info.path) as file:
        try:
            while len(block := file.read(4096, dtype="float32", always_2d=True)):
                count += len(block)
        except soundfile.LibsndfileError:
            pass
    return count


# --- decoding ---------------------------------------------------------------------------------------------------------
def _scaled(frames: int, from_rate: int, to_rate: int) -> int:
    return round(Fraction(frames * to_rate, from_rate))


def _decode(info: AudioInfo, rate: int, target: Path, step: Step | None) -> None:
    """Write the file's audio at `rate` to `target`, block by block, exactly as long as it is."""
    damaged: list[int] = []
    with whole_file(target) as out:
        read = 0
        for block, read in _blocks(info, rate, damaged):
            out.write(block.astype("<f4", copy=False).tobytes())
            if step is not None:
                step(min(1.0, read / info.frames))
        if read + (0 if info.is_linear else _LOSSY_SLACK_FRAMES) < info.frames or read == 0:
            raise _cut_short(info, read, info.frames)
        frames = max(1, _scaled(read, info.rate, rate))
        out.truncate(frames * info.channels * 4)  # drops, or fills with zeros, the resampler's odd last frame
        _mark_damaged(out, info.channels, {min(_scaled(index, info.rate, rate), frames - 1) for index in damaged})


def _blocks(info: AudioInfo, rate: int, damaged: list[int]) -> Iterator[tuple[Audio, int]]:
    """``(frames, channels)`` at `rate`, and how many of the file's frames were read up to there.

    Broken samples are silenced, because a filter would smear them over their surroundings, and noted in `damaged`.
    """
    convert = None
    if rate != info.rate:
        convert = soxr.ResampleStream(info.rate, rate, info.channels, dtype="float32", quality="VHQ")
    read = 0
    with _opened(info.path) as file:
        try:
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                finite = np.isfinite(block).all(axis=1)
                if not finite.all():
                    damaged.extend((read + np.flatnonzero(~finite)).tolist())
                    block[~finite] = 0.0
                read += len(block)
                yield (convert.resample_chunk(block) if convert else block), read
        except soundfile.LibsndfileError:
            raise _cut_short(info, _readable_frames(info), info.frames) from None
    if convert:
        yield convert.resample_chunk(np.zeros((0, info.channels), dtype=np.float32), last=True), read


def _mark_damaged(out: BinaryIO, channels: int, frames: set[int]) -> None:
    """Put a NaN where the file had broken samples, so that reading there, and only there, says so."""
    for frame in sorted(frames):
        out.seek(frame * channels * 4)
        out.write(struct.pack("<f", float("nan")))
