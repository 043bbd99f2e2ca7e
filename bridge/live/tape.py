"""Clips on the beat line as one endless tape of frames, so that the player reads across joints without knowing them.

A tape is an immutable value: the callback holds one and reads; a new set of clips makes a new tape. Clip by clip the
frames are numbered on without a break, gaps are silence of whole frames, and beats map onto frames linearly between
the edges. What was handed in comes back bit for bit, except

* the last `fade_frames` before a clip that brings a `lead` and follows another: there the two are crossfaded;
* the last `TAIL_S` before a gap: faded out, so that running dry does not click.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocol.errors import BadArgument

TAIL_S = 0.003
Audio = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Clip:
    """Audio that covers exactly `beats` quarter notes from `start_beat` on.

    `audio`: float32 (channels, frames) at `rate` Hz. `lead`: frames that lie before the clip, (channels, frames); the
    joint with the clip before is a crossfade of `fade_frames` (of `rate`, at most the lead's) with it, or butt without.
    Raises `BadArgument` for what cannot be played.
    """

    number: int
    start_beat: float
    beats: float
    audio: Audio
    rate: int
    lead: Audio | None = None
    fade_frames: int = 0

    def __post_init__(self) -> None:
        if self.audio.ndim != 2 or 0 in self.audio.shape:
            raise BadArgument(f"A clip's audio must be (channels, frames), not {self.audio.shape}.")
        if self.lead is not None and (self.lead.ndim != 2 or self.lead.shape[0] != self.audio.shape[0]):
            raise BadArgument(f"A clip's lead must have the {self.audio.shape[0]} channels of its audio.")
        if not (self.beats > 0 and self.rate > 0 and np.isfinite(self.start_beat)):
            raise BadArgument(f"A clip needs a length and a rate above 0, not {self.beats} beats at {self.rate} Hz.")

    @property
    def end_beat(self) -> float:
        return self.start_beat + self.beats


def fitted(clip: Clip, rate: int, channels: int) -> Clip:
    """The clip at this rate and with these channels: mono goes to all, what is too many is mixed to one or left out.

    Resampled with its lead in one piece (soxr, very high quality), to the exact length.
    """
    if clip.rate == rate and clip.audio.shape[0] == channels and clip.audio.dtype == np.float32:
        return clip
    before = 0 if clip.lead is None else clip.lead.shape[1]
    whole = clip.audio if clip.lead is None else np.concatenate([clip.lead, clip.audio], axis=1)
    whole = _channels(whole.astype(np.float32, copy=False), channels)
    frames, fade = clip.audio.shape[1], clip.fade_frames
    if clip.rate != rate:
        import soxr  # only those who resample need it

        scale = rate / clip.rate
        before, frames, fade = round(before * scale), round(frames * scale), round(fade * scale)
        made = soxr.resample(whole.T, clip.rate, rate, quality="VHQ").T[:, : before + frames]
        whole = np.pad(made, ((0, 0), (0, before + frames - made.shape[1])))
    whole = np.ascontiguousarray(whole)
    lead_part = whole[:, :before] if before else None
    return Clip(clip.number, clip.start_beat, clip.beats, whole[:, before:], rate, lead_part, fade)


def _channels(audio: Audio, channels: int) -> Audio:
    if audio.shape[0] == 1:
        return np.repeat(audio, channels, axis=0)
    if channels == 1:
        return np.asarray(audio.mean(axis=0, keepdims=True), np.float32)
    if audio.shape[0] >= channels:
        return audio[:channels]
    return np.concatenate([audio, np.zeros((channels - audio.shape[0], audio.shape[1]), np.float32)])


@dataclass(frozen=True)
class _Piece:
    """Frames `first` to `last` of the tape come from `audio`."""

    first: int
    last: int
    audio: Audio


@dataclass(frozen=True, eq=False)
class Tape:
    """Endless in both directions; silence where no clip is. `Tape.of([], ...)` has no frames per beat and no places."""

    channels: int
    pieces: tuple[_Piece, ...] = ()
    beats: tuple[float, ...] = ()
    """The edges of clips and gaps, rising, ..."""
    frames: tuple[int, ...] = ()
    """... and the tape's frames there."""
    _firsts: tuple[int, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, clips: Sequence[Clip], rate: int, channels: int) -> Tape:
        """Lay clips of this rate and these channels (see `fitted`) in order; where two overlap the later one counts."""
        placed = _without_overlap(sorted(clips, key=lambda clip: (clip.start_beat, clip.number)))
        pieces: list[_Piece] = []
        beats: list[float] = []
        frames: list[int] = []
        for index, (clip, audio) in enumerate(placed):
            per_beat = clip.audio.shape[1] / clip.beats
            gap = 0 if not beats else max(0, round((clip.start_beat - beats[-1]) * per_beat))
            if not beats or gap:
                beats.append(clip.start_beat)
                frames.append((frames[-1] if frames else 0) + gap)
            elif clip.lead is not None:
                _join(pieces, clip)
            first = frames[-1]
            last = first + audio.shape[1]
            pieces.append(_Piece(first, last, audio))
            beats.append(max(clip.start_beat + audio.shape[1] / per_beat, beats[-1] + 1e-9))
            frames.append(last)
            following = placed[index + 1][0] if index + 1 < len(placed) else None
            if following is None or round((following.start_beat - beats[-1]) * per_beat) > 0:
                _fade_tail(pieces, round(TAIL_S * rate))
        firsts = tuple(piece.first for piece in pieces)
        return cls(channels, tuple(pieces), tuple(beats), tuple(frames), firsts)

    def frame_at(self, beat: float) -> float:
        """The place of a beat; beyond the ends the nearest clip's frames per beat hold."""
        index = self._edge(self.beats, beat)
        return self.frames[index] + (beat - self.beats[index]) * self._per_beat(index)

    def beat_at(self, frame: float) -> float:
        """The inverse of `frame_at`."""
        index = self._edge(self.frames, frame)
        return self.beats[index] + (frame - self.frames[index]) / self._per_beat(index)

    def frames_per_beat(self, frame: float) -> float:
        """How many frames a beat has at this place."""
        return self._per_beat(self._edge(self.frames, frame))

    def _edge(self, edges: Sequence[float], place: float) -> int:
        return min(max(bisect_right(edges, place) - 1, 0), len(edges) - 2)

    def _per_beat(self, index: int) -> float:
        return (self.frames[index + 1] - self.frames[index]) / (self.beats[index + 1] - self.beats[index])

    def read(self, first: int, count: int) -> Audio:
        """Frames `first` to `first + count`, float32 (channels, count), with silence in the gaps."""
        index = max(bisect_right(self._firsts, first) - 1, 0)
        if self.pieces:
            piece = self.pieces[index]
            if piece.first <= first and first + count <= piece.last:
                return piece.audio[:, first - piece.first : first - piece.first + count]
        out = np.zeros((self.channels, count), np.float32)
        for piece in self.pieces[index:]:
            if piece.first >= first + count:
                break
            begin, end = max(first, piece.first), min(first + count, piece.last)
            if begin < end:
                out[:, begin - first : end - first] = piece.audio[:, begin - piece.first : end - piece.first]
        return out

    def void(self, first: int, last: int) -> int:
        """How many of the frames from `first` to `last` no clip covers."""
        index = max(bisect_right(self._firsts, first) - 1, 0)
        covered = 0
        for piece in self.pieces[index:]:
            if piece.first >= last:
                break
            covered += max(0, min(last, piece.last) - max(first, piece.first))
        return last - first - covered


def _without_overlap(clips: Sequence[Clip]) -> list[tuple[Clip, Audio]]:
    """Each clip with what is left of its audio: it ends where the next one begins."""
    left: list[tuple[Clip, Audio]] = []
    for index, clip in enumerate(clips):
        frames = clip.audio.shape[1]
        if index + 1 < len(clips):
            frames = min(frames, round((clips[index + 1].start_beat - clip.start_beat) * frames / clip.beats))
        if frames > 0:
            left.append((clip, clip.audio[:, :frames]))
    return left


def _join(pieces: list[_Piece], clip: Clip) -> None:
    """Crossfade the end of the last piece with what leads into `clip` (equal power: two takes are not in phase)."""
    assert clip.lead is not None
    last = pieces[-1]
    fade = min(clip.fade_frames or clip.lead.shape[1], clip.lead.shape[1], last.last - last.first)
    if fade <= 0:
        return
    turn = (np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / fade)
    mixed = last.audio[:, -fade:] * np.cos(turn) + clip.lead[:, -fade:] * np.sin(turn)
    _replace_end(pieces, mixed.astype(np.float32))


def _fade_tail(pieces: list[_Piece], fade: int) -> None:
    last = pieces[-1]
    fade = min(fade, last.last - last.first)
    gain = np.cos((np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / fade))
    _replace_end(pieces, last.audio[:, last.audio.shape[1] - fade :] * gain)


def _replace_end(pieces: list[_Piece], audio: Audio) -> None:
    last = pieces.pop()
    cut = last.last - audio.shape[1]
    if cut > last.first:
        pieces.append(_Piece(last.first, cut, last.audio[:, : cut - last.first]))
    pieces.append(_Piece(cut, last.last, audio))
