"""A source's latents, whichever part a job needs, encoded once: so a job costs its region, never the song.

The source stands in digital silence: one set of latents serves repaint, extend and prepend. They are made in blocks of
`BLOCK` frames at fixed places, each alone with the encoder's margin of real neighbours; so a block has the same bits
whatever was asked before, and equals that span of an encoding of the whole. Blocks are cached as files named by the
source's content, its rate at the project and the VAE's identity, and pruned with all that is derived from sources. A
cache file that is damaged or foreign is made again; a full disk costs time, never the job.

A take that was decoded from latents, and not spliced, is recognised by its samples when it comes back as a source: then
its own latents serve, which spares it the loss of being decoded and encoded again (`remember_take`).

`to_project` is the way back: decoded audio, placed to the sample at the project's rate.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import audio_cache
from engine.acestep.codec import ENCODER_MARGIN, Codec, Step
from engine.acestep.grid import HOP, LATENT_RATE, MODEL_RATE, Span, aligned, latent_span, project_position
from engine.api import Source
from engine.audio import resample
from protocol.errors import DiskFull, SourceUnreadable

if TYPE_CHECKING:
    from engine.api import Audio

logger = logging.getLogger("stembridge.acestep")

FORMAT = 1
"""Raised whenever the meaning of the cached files changes."""

BLOCK = 100
"""Latent frames (4 s) per cache file."""

_REACH = 160
"""Samples, at the slower of two rates, beyond which soxr's VHQ filter carries nothing across (-140 dB at 125)."""

_HEAD_FRAMES = 4096
_HASHED_AT_ONCE = 1 << 18


class SourceLatents:
    """The latents of one source; `identity` names the VAE (its checkpoint's). Without `cache_dir` nothing is kept.

    Raises `SourceUnreadable` for more than two channels.
    """

    def __init__(self, source: Source, codec: Codec, cache_dir: Path | None, identity: str) -> None:
        if source.channels > 2:
            raise SourceUnreadable(
                f"{source.path.name} has {source.channels} channels, but ACE-Step hears stereo. Render the source to "
                "stereo and send /stembridge/source with that file."
            )
        self._source = source
        self._codec = codec
        self._folder = cache_dir / "decoded" if cache_dir else None
        self._identity = identity
        self.encoded_frames = 0
        """How many latent frames had to be encoded so far."""

    @property
    def origin(self) -> str:
        """Where the latents come from, which changes the audio: ``encoded``, or which take's own they are."""
        if self._own is None:
            return "encoded"
        return f"take {hashlib.sha256(self._own.numpy().tobytes()).hexdigest()[:16]}"

    def read(self, first: int, last: int, step: Step | None = None) -> Tensor:
        """Latents ``(last - first, dim)`` (float32, CPU) of frames ``first..last``, which may lie beyond the source.

        `step` hears the fraction done, before and after every block. Raises what it and `source.read` raise.
        """
        blocks = range(first // BLOCK, -(-last // BLOCK) if first < last else first // BLOCK)
        already = self.encoded_frames
        if step is not None:
            step(0.0)
        parts = [torch.empty(0, self._codec.dim)]
        for done, block in enumerate(blocks, start=1):
            begin = block * BLOCK
            parts.append(self._block(block)[max(0, first - begin) : last - begin])
            if step is not None:
                step(done / len(blocks))
        if self._folder and self.encoded_frames > already:
            audio_cache.prune(self._folder.parent, self._file(blocks[-1]), audio_cache.DECODED_LIMIT_BYTES)
        return torch.cat(parts)

    def take(self, index: NDArray[np.int64], step: Step | None = None) -> Tensor:
        """Latents ``(len(index), dim)`` in the order of a window's `index`; zeros where that is -1."""
        latents = torch.zeros(len(index), self._codec.dim)
        known = np.flatnonzero(index >= 0)
        frames, where = np.unique(index[known], return_inverse=True)
        runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1) if len(frames) else []
        read = []
        for number, run in enumerate(runs):
            read.append(self.read(int(run[0]), int(run[-1]) + 1, _part(step, number, len(runs))))
        if read:
            latents[torch.from_numpy(known)] = torch.cat(read)[torch.from_numpy(where)]
        return latents

    # --- one block ----------------------------------------------------------------------------------------------------
    def _block(self, block: int) -> Tensor:
        first = block * BLOCK
        if self._own is not None and 0 <= first <= len(self._own) - BLOCK:
            return self._own[first : first + BLOCK]
        cached = _load(self._file(block), self._codec.dim) if self._folder else None
        if cached is not None and len(cached) == BLOCK:
            return cached
        heard = self._heard(first - ENCODER_MARGIN, first + BLOCK + ENCODER_MARGIN)
        latents = self._codec.encode(heard)[ENCODER_MARGIN:-ENCODER_MARGIN]
        self.encoded_frames += BLOCK
        if self._folder:
            _save(self._file(block), latents)
        return latents

    def _file(self, block: int) -> Path:
        assert self._folder is not None
        key = f"latents{FORMAT}-{_short(self._identity)}-{self._source.rate}-{block}"
        return self._folder / f"{self._source.sha256}_{key}.latents"

    def _heard(self, first: int, last: int) -> Tensor:
        """The source in its silence as 48 kHz stereo ``(2, (last - first) * HOP)``; reads what the span needs of it."""
        rate = self._source.rate
        begin, end = aligned(first - _reach(rate), rate), last + _reach(rate)
        start, stop = int(project_position(begin, rate)), math.ceil(project_position(end, rate))
        audio = np.zeros((self._source.channels, stop - start), dtype=np.float32)
        inside = (min(max(start, 0), self._source.frames), max(0, min(stop, self._source.frames)))
        if inside[0] < inside[1]:
            audio[:, inside[0] - start : inside[1] - start] = self._source.read(*inside)
        at_48k = resample(audio, rate, MODEL_RATE, (end - begin) * HOP)
        return torch.from_numpy(at_48k[:, (first - begin) * HOP : (last - begin) * HOP]).expand(2, -1)

    @cached_property
    def _own(self) -> Tensor | None:
        """The latents from which the source was decoded, if it is a take that we remember."""
        if self._folder is None:
            return None
        return _recall(self._folder, self._identity, self._source, self._codec.dim)


# --- our own takes ----------------------------------------------------------------------------------------------------
def remember_take(cache_dir: Path, identity: str, audio: Audio, rate: int, latents: Tensor) -> None:
    """Keep the `latents` ``(n, dim)`` of a take, for when its `audio` ``(channels, frames)``, as written, is a source.

    Only for takes that are what `latents` decode to, from the first sample of latent frame 0 on, with no splice, fade
    or gain. A full disk is logged, not raised.
    """
    channels, frames = audio.shape
    blocks = (audio[:, first : first + _HASHED_AT_ONCE] for first in range(0, frames, _HASHED_AT_ONCE))
    key = _take_key(identity, rate, channels, frames)
    file = cache_dir / "decoded" / f"{_samples_hash(blocks)}_{key}-{_head_hash(audio)}.latents"
    _save(file, latents.detach().to("cpu", torch.float32))
    audio_cache.prune(cache_dir, file, audio_cache.DECODED_LIMIT_BYTES)


def _recall(folder: Path, identity: str, source: Source, dim: int) -> Tensor | None:
    """The latents of the remembered take whose samples are the source's.

    Length first, then the first samples, then all: a source that is no take of ours is not read for this.
    """
    key = _take_key(identity, source.rate, source.channels, source.frames)
    if not any(folder.glob(f"*_{key}-*.latents")):
        return None
    head = _head_hash(source.read(0, min(_HEAD_FRAMES, source.frames)))
    if not any(folder.glob(f"*_{key}-{head}.latents")):
        return None
    bounds = range(0, source.frames, _HASHED_AT_ONCE)
    whole = _samples_hash(source.read(first, min(first + _HASHED_AT_ONCE, source.frames)) for first in bounds)
    return _load(folder / f"{whole}_{key}-{head}.latents", dim)


def _take_key(identity: str, rate: int, channels: int, frames: int) -> str:
    return f"take{FORMAT}-{_short(identity)}-{rate}-{channels}-{frames}"


def _samples_hash(blocks: Iterator[Audio]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
    return digest.hexdigest()


def _head_hash(audio: Audio) -> str:
    return _samples_hash(iter([audio[:, :_HEAD_FRAMES]]))[:16]


# --- cache files ------------------------------------------------------------------------------------------------------
# A file is the SHA-256 of its own name and its payload, and the payload: (n, dim) little-endian float32.
def _load(file: Path, dim: int) -> Tensor | None:
    """The latents in `file`; None if it does not exist, is damaged, or was written under another name."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("The latents in %s cannot be read (%s); they are made again.", file, error)
        return None
    digest, payload = content[:32], content[32:]
    if digest != _digest(file, payload) or len(payload) % (4 * dim):
        logger.warning("The latents in %s are damaged; they are made again.", file)
        return None
    audio_cache.touch(file)
    return torch.from_numpy(np.frombuffer(payload, "<f4").reshape(-1, dim).astype(np.float32))


def _save(file: Path, latents: Tensor) -> None:
    payload = latents.contiguous().numpy().astype("<f4").tobytes()
    try:
        with audio_cache.whole_file(file) as opened:
            opened.write(_digest(file, payload) + payload)
    except (OSError, DiskFull) as error:  # a cache is a convenience: the take does not depend on it
        logger.warning("The latents could not be kept in %s: %s", file.parent, error)


def _digest(file: Path, payload: bytes) -> bytes:
    return hashlib.sha256(file.name.encode() + payload).digest()


def _short(identity: str) -> str:
    """An identity as part of a file name, whatever characters it has."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


# --- back to the project ----------------------------------------------------------------------------------------------
def needed_latents(span: Span, rate: int) -> Span:
    """The latent frames to decode for `to_project` to give the project frames `span`, with the resampler's reach."""
    first, last = latent_span(span, rate)
    return first - _reach(rate), last + _reach(rate)


def to_project(audio: Tensor, first_latent: int, rate: int, span: Span, channels: int) -> Audio:
    """Project frames `span` at `rate` of decoded `audio` ``(2, n)`` that begins with latent frame `first_latent`.

    Exactly ``(channels, span[1] - span[0])``, in phase with the project whatever the rate; for one channel the two are
    averaged. Beyond `audio` there is silence for the resampler: give it `needed_latents` where there are so many.
    Raises `ValueError` if `audio` does not cover the span.
    """
    begin, end = project_position(first_latent, rate), first_latent * HOP + audio.shape[1]
    if span[0] < begin or span[1] > math.ceil(Fraction(end * rate, MODEL_RATE)):
        raise ValueError(f"project frames {span} do not lie in {audio.shape[1]} samples from latent {first_latent} on")
    heard = audio.mean(dim=0, keepdim=True) if channels == 1 else audio
    # The resampler's first sample has to be a whole project frame: silence in front brings it to one.
    origin = aligned(first_latent, rate)
    padded = np.pad(heard.numpy(), ((0, 0), ((first_latent - origin) * HOP, _reach(rate) * HOP)))
    start = int(project_position(origin, rate))
    return np.ascontiguousarray(resample(padded, MODEL_RATE, rate, span[1] - start)[:, span[0] - start :])


def _reach(rate: int) -> int:
    """Latent frames that the resampler between `rate` and the model's hears to each side."""
    return 0 if rate == MODEL_RATE else math.ceil(_REACH * LATENT_RATE / min(rate, MODEL_RATE))


def _part(step: Step | None, number: int, count: int) -> Step | None:
    """`step` for one of `count` equal parts."""
    return (lambda done: step((number + done) / count)) if step is not None else None
