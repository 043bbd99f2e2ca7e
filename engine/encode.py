"""Results as files that people ask for: MP3, OGG (Vorbis), FLAC and WAV, in blocks, at the bitrate that was asked.

Promises, each with a test:

* MP3 has one bitrate in all its frames: what was asked, or the nearest that MPEG audio has and the tables of
  `protocol.formats` allow. It is read back from the frames' headers.
* Vorbis has no constant bitrate: its quality is searched until the file's bytes by its seconds come nearest to what was
  asked. They never exceed the table, unless the encoder's lowest quality does (a second or two of audio, whose headers
  weigh more than the music). Silence and quiet music take less than any table's lowest; nothing is padded.
* What was reached is reported: `Encoded.bitrate_kbps` is measured on the finished file.
* FLAC and WAV are 24 bit: enough for every sample of a 16- or 24-bit source, unchanged, and for the noise floor of any
  converter; every program reads it, and it takes a quarter less than float. A WAV that must keep samples of a finer
  source can hold those instead (`samples`).
* Memory does not grow with the length.

Peaks above full scale are clipped, and counted, where the format holds integers; MP3 and Vorbis keep them.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import soundfile
import soxr

from engine.encode_bitrate import DEFAULT_QUALITY, mp3_bitrate_kbps, mp3_level, mp3_rates_kbps, quality_for
from protocol.errors import BadArgument, DiskFull, StembridgeError
from protocol.formats import MODEL_RATE, OutputFormat, bitrate_range, sample_rates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protocol.task import Task

    Block = NDArray[np.floating[Any]]
    """``(channels, frames)``, as everywhere in the engine."""
    Frames = NDArray[np.floating[Any]]
    """``(frames, channels)``, as files have them."""

__all__ = ["Encoded", "Encoding", "EncodingFailed", "encode"]

Samples = Literal["PCM_24", "PCM_32", "FLOAT", "DOUBLE"]

MIME = {
    OutputFormat.MP3: "audio/mpeg",
    OutputFormat.OGG: "audio/ogg",
    OutputFormat.FLAC: "audio/flac",
    OutputFormat.WAV: "audio/wav",
}

_BLOCK_FRAMES = 1 << 15
_EXCERPTS, _EXCERPT_S = 6, 5
_WAV_LIMIT = 2**32 - 2**16
_FULL_BYTES = 1 << 20
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class EncodingFailed(StembridgeError):
    """A finished take could not be written in the format that was asked."""

    code = "encoding_failed"


@dataclass(frozen=True)
class Encoding:
    """How a result is to be written. `rate` in Hz, `bitrate` in kbps; None: as the audio is, the encoder's choice."""

    format: OutputFormat
    rate: int | None = None
    channels: int | None = None
    bitrate: int | None = None

    @classmethod
    def of(cls, task: Task) -> Encoding:
        """What `task` asks for: lossy files at 48 kHz in stereo if it does not say."""
        if not task.output_format.is_lossy:
            return cls(task.output_format)
        asked = task.audio_settings
        if asked is None:
            return cls(task.output_format, MODEL_RATE, 2)
        return cls(task.output_format, asked.sample_rate or MODEL_RATE, asked.channels, asked.bitrate)

    @property
    def suffix(self) -> str:
        """The file's ending with its dot."""
        return f".{self.format.lower()}"

    @property
    def mime(self) -> str:
        """The media type."""
        return MIME[self.format]


@dataclass(frozen=True)
class Encoded:
    """A finished file. `frames` are those of the audio at `rate`, without a codec's padding."""

    path: Path
    mime: str
    frames: int
    rate: int
    channels: int
    bytes: int
    bitrate_kbps: float | None
    """Measured on the file: MP3's frame headers; Vorbis' bytes by seconds; None for WAV and FLAC."""
    clipped: int = 0
    """How many samples lay beyond full scale and had to be cut off."""


@dataclass(frozen=True)
class _Plan:
    """An `Encoding` with everything settled."""

    format: OutputFormat
    rate: int
    channels: int
    bitrate: int | None
    samples: Samples

    @property
    def highest_kbps(self) -> int:
        return (bitrate_range(self.format, self.rate, self.channels) or (0, 0))[1]


def encode(
    blocks: Iterable[Block],
    rate: int,
    channels: int,
    target: Path,
    encoding: Encoding,
    *,
    samples: Samples = "PCM_24",
) -> Encoded:
    """Write `blocks`, float audio ``(channels, frames)`` at `rate` Hz, to `target`, which is overwritten.

    `samples` is what a WAV holds. Writes straight to `target`: give it a temporary name, and rename it afterwards.
    Raises `BadArgument` for what the tables do not allow, `DiskFull`, `EncodingFailed`, and what `blocks` raises.
    """
    plan = _settled(encoding, rate, channels, samples)
    pieces = _converted(blocks, rate, plan)
    try:
        if plan.format is OutputFormat.MP3:
            frames, clipped, kbps = *_write_mp3(pieces, plan, target), mp3_bitrate_kbps(target)
        elif plan.format is OutputFormat.OGG:
            frames, clipped, kbps = _write_vorbis(pieces, plan, target)
        else:
            frames, clipped, kbps = *_write(pieces, plan, target), None
        _require_whole(target, plan, frames)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _in_words(error, target, plan) from error
    return Encoded(target, encoding.mime, frames, plan.rate, plan.channels, target.stat().st_size, kbps, clipped)


def _settled(encoding: Encoding, rate: int, channels: int, samples: Samples) -> _Plan:
    chosen = encoding.format
    if not chosen.is_lossy:
        kept = samples if chosen is OutputFormat.WAV else "PCM_24"
        return _Plan(chosen, encoding.rate or rate, encoding.channels or channels, None, kept)
    rate, wanted = encoding.rate or MODEL_RATE, encoding.channels or min(channels, 2)
    allowed = bitrate_range(chosen, rate, wanted)
    if allowed is None:
        rates = ", ".join(map(str, sample_rates(chosen)))
        raise BadArgument(f"{chosen} cannot have {rate} Hz and {wanted} channels: ask for 1 or 2 channels at {rates}.")
    low, high = allowed
    if encoding.bitrate is not None and not low <= encoding.bitrate <= high:
        raise BadArgument(
            f"{chosen} cannot have {encoding.bitrate} kbps at {rate} Hz and {wanted} channels: ask for {low} to {high}."
        )
    return _Plan(chosen, rate, wanted, encoding.bitrate, samples)


# --- to the rate and the channels of the file -------------------------------------------------------------------------
def _converted(blocks: Iterable[Block], rate: int, plan: _Plan) -> Iterator[Frames]:
    """Pieces of ``(frames, channels)`` as the file will have them, exactly ``round(frames * to / from)`` in all."""
    mixed = (_mixed(piece, plan.channels) for block in blocks for piece in _cut(block.T))
    return mixed if rate == plan.rate else _resampled(mixed, rate, plan)


def _cut(block: Frames) -> Iterator[Frames]:
    for start in range(0, len(block), _BLOCK_FRAMES):
        yield block[start : start + _BLOCK_FRAMES]


def _mixed(piece: Frames, channels: int) -> Frames:
    """One channel is repeated, two are averaged to one."""
    has = piece.shape[1]
    if has == channels:
        return np.ascontiguousarray(piece)
    if has == 1:
        return np.repeat(piece, channels, axis=1)
    if channels == 1:
        return np.asarray(piece.mean(axis=1, keepdims=True))
    raise EncodingFailed(
        f"The audio has {has} channels and the file would have {channels}: ask for WAV or FLAC, which keep them all, "
        "or mix the source down first."
    )


def _resampled(pieces: Iterator[Frames], rate: int, plan: _Plan) -> Iterator[Frames]:
    stream = soxr.ResampleStream(rate, plan.rate, plan.channels, dtype="float32", quality="VHQ")
    read = made = 0
    for piece in pieces:
        out = stream.resample_chunk(piece.astype(np.float32, copy=False))
        read, made = read + len(piece), made + len(out)
        yield out
    rest = stream.resample_chunk(np.zeros((0, plan.channels), dtype=np.float32), last=True)
    wanted = max(0, round(Fraction(read * plan.rate, rate)) - made)
    yield np.pad(rest[:wanted], ((0, max(0, wanted - len(rest))), (0, 0)))


# --- writing ----------------------------------------------------------------------------------------------------------
def _write_mp3(pieces: Iterable[Frames], plan: _Plan, target: Path) -> tuple[int, int]:
    kbps = plan.bitrate or 96 * plan.channels * plan.rate // MODEL_RATE
    kbps = min(mp3_rates_kbps(plan.rate, plan.channels), key=lambda rate: (abs(rate - kbps), -rate))
    return _write(pieces, plan, target, compression_level=mp3_level(kbps, plan.rate), bitrate_mode="CONSTANT")


_SUBTYPE = {OutputFormat.MP3: "MPEG_LAYER_III", OutputFormat.OGG: "VORBIS"}


def _write(pieces: Iterable[Frames], plan: _Plan, target: Path, **options: float | str) -> tuple[int, int]:
    """Write the file once; how many frames it has, and how many samples were clipped."""
    subtype = _SUBTYPE.get(plan.format, plan.samples)
    frames = clipped = 0
    room = _WAV_LIMIT if plan.format is OutputFormat.WAV else None
    frame_bytes = plan.channels * {"PCM_24": 3, "DOUBLE": 8}.get(plan.samples, 4)
    with soundfile.SoundFile(
        target, "w", plan.rate, plan.channels, subtype=subtype, format=plan.format.value, **options
    ) as file:
        for piece in pieces:
            frames += len(piece)
            if room is not None and frames * frame_bytes > room:
                raise EncodingFailed("A WAV file holds 4 GiB and this is longer: ask for FLAC, MP3 or OGG.")
            if subtype in _INTEGER_BITS:
                whole, cut = _integers(piece, _INTEGER_BITS[subtype])
                clipped += cut
                file.write(whole)
            else:
                file.write(piece)
    return frames, clipped


_INTEGER_BITS = {"PCM_24": 24, "PCM_32": 32}


def _integers(piece: Frames, bits: int) -> tuple[NDArray[np.int32], int]:
    """The nearest steps, left-aligned in 32 bits. libsndfile's own conversion would move what is on a step already."""
    full = 2 ** (bits - 1)
    steps = np.rint(piece.astype(np.float64) * full)
    clipped = int(np.count_nonzero((steps < -full) | (steps > full - 1)))
    return np.clip(steps, -full, full - 1).astype(np.int32) << (32 - bits), clipped


def _write_vorbis(pieces: Iterable[Frames], plan: _Plan, target: Path) -> tuple[int, int, float]:
    """Write at the quality whose average bitrate is nearest to the one asked; frames, 0, and that average in kbps."""
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        frames = 0
        for piece in pieces:
            frames += len(piece)
            spool.write(piece.astype("<f4", copy=False).tobytes())

        def kbps_at(quality: float, spans: Iterable[tuple[int, int]]) -> float:
            again = _spooled(spool, plan.channels, spans)
            written, _ = _write(again, plan, target, compression_level=1.0 - quality)
            return target.stat().st_size * 8 * plan.rate / (1000 * max(written, 1))

        whole = partial(kbps_at, spans=[(0, frames)])
        if plan.bitrate is None and (kbps := whole(DEFAULT_QUALITY)) <= plan.highest_kbps:
            return frames, 0, kbps
        excerpt = partial(kbps_at, spans=_excerpts(frames, plan.rate))
        highest = plan.highest_kbps
        return frames, 0, quality_for(plan.bitrate or highest, highest, whole=whole, excerpt=excerpt)


def _excerpts(frames: int, rate: int) -> list[tuple[int, int]]:
    """Places all over a long file that stand for it."""
    length = _EXCERPT_S * rate
    if frames <= _EXCERPTS * length:
        return [(0, frames)]
    starts = [index * (frames - length) // (_EXCERPTS - 1) for index in range(_EXCERPTS)]
    return [(start, start + length) for start in starts]


def _spooled(spool: IO[bytes], channels: int, spans: Iterable[tuple[int, int]]) -> Iterator[Frames]:
    for start, stop in spans:
        spool.seek(start * channels * 4)
        for at in range(start, stop, _BLOCK_FRAMES):
            block = spool.read(min(_BLOCK_FRAMES, stop - at) * channels * 4)
            yield np.frombuffer(block, dtype="<f4").reshape(-1, channels)


# --- what may go wrong ------------------------------------------------------------------------------------------------
def _require_whole(target: Path, plan: _Plan, frames: int) -> None:
    """libsndfile's MP3 and Vorbis writers do not say that a disk is full: look at what is there."""
    found = soundfile.info(target).frames
    if found < frames or (found > frames and plan.format is not OutputFormat.MP3):  # MP3 may have padding at its end
        raise OSError(f"it holds {found} frames instead of {frames}")


def _in_words(error: Exception, target: Path, plan: _Plan) -> StembridgeError:
    full = getattr(error, "errno", None) in _FULL_DISK or shutil.disk_usage(target.parent).free < _FULL_BYTES
    if full:  # libsndfile passes the system's reason on in words only
        return DiskFull(f"The disk that holds {target.parent} is full. Free some room and ask again.")
    return EncodingFailed(
        f"The result could not be written as {plan.format} ({error}). Ask for another format, and report it."
    )
