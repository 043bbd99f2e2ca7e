"""The audio of a live run: what was made, loops of it, what was played. Pure; float32 ``(channels, frames)``.

A phrase lasts so many beats, whatever the tempo becomes later: its place is said in beats, and `fitted` gives its
audio for a span of other length or tempo.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from protocol.live import Filling, Slot
from protocol.music import TempoMap

if TYPE_CHECKING:
    from engine.api import Audio

FADE_S = 0.01
"""Length of the crossfade where a loop begins anew."""

SAME = 1e-3
"""Two lengths that differ by less than this share of a beat are one: tempos are estimates."""

RESAMPLED = 0.003
"""A tempo off by less than this share is met by resampling: 5 cents, and no artefact of stretching."""


@dataclass(frozen=True, eq=False)
class Material:
    """One phrase: `audio` lasts `beats`; `before` is what led into it where it was made.

    `phrase` is its number in the run, 0 the last bars of the source; `file` holds it (to 24 bits), `job` made it.
    """

    phrase: int
    audio: Audio
    beats: float
    rate: int
    before: Audio
    job: str
    file: str
    follows: int = -1
    """The phrase that it was made to go on from; -1: none."""

    @property
    def bpm(self) -> float:
        """The tempo that it was made in."""
        return self.beats * 60.0 * self.rate / int(self.audio.shape[1])

    def over(self, beats: float) -> Audio:
        """As many beats of it, in its own tempo: itself, cut, or repeated with a crossfade at each joint."""
        if abs(beats - self.beats) <= SAME:
            return self.audio
        frames = round(self.audio.shape[1] * beats / self.beats)
        repeats = -(-frames // self.audio.shape[1])
        return _joined([self.audio] * repeats, self.before, round(FADE_S * self.rate))[:, :frames]


@dataclass(frozen=True, eq=False)
class Filled:
    """A slot and what sounds in it."""

    slot: Slot
    filling: Filling
    material: Material

    def audio(self) -> Audio:
        """What sounds in the slot, in the tempo of the material."""
        return self.material.over(self.slot.beats)


def _joined(parts: Sequence[Audio], before: Audio, fade: int) -> Audio:
    """The parts one after another; each end crossfades into the start of the next by what led into that."""
    fade = min(fade, before.shape[1], parts[0].shape[1])
    if not fade:
        return np.concatenate(parts, axis=1)
    rise = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
    out = []
    for index, part in enumerate(parts):
        if index < len(parts) - 1:
            part = part.copy()
            part[:, -fade:] = part[:, -fade:] * (1 - rise) + before[:, -fade:] * rise
        out.append(part)
    return np.concatenate(out, axis=1)


def warm() -> None:
    """Import what `fitted` needs for real stretches: seconds that a change of tempo should not wait for."""
    fitted(np.zeros((1, 4096), np.float32), 4000)


def fitted(audio: Audio, frames: int) -> Audio:
    """`audio` in exactly `frames` frames, at its own pitch. Takes long for real stretches: call it in a thread."""
    have = audio.shape[1]
    if have == frames or not have or not frames:
        return _cut(audio, frames)
    ratio = have / frames
    if abs(ratio - 1.0) > RESAMPLED:
        import librosa

        return _cut(librosa.effects.time_stretch(audio, rate=ratio).astype(np.float32), frames)
    from engine.audio import resample

    return resample(audio, have, frames, frames) if abs(have - frames) > 2 else _cut(audio, frames)


def _cut(audio: Audio, frames: int) -> Audio:
    if audio.shape[1] >= frames:
        return audio[:, :frames]
    return np.pad(audio, ((0, 0), (0, frames - audio.shape[1])))


def laid_out(
    spans: Iterable[tuple[float, float, Audio]],
    start_beat: float,
    end_beat: float,
    tempo_map: TempoMap,
    rate: int,
    channels: int,
) -> tuple[Audio, int]:
    """Spans of audio ``(first beat, beat after the last, audio)`` as they sound from `start_beat` to `end_beat`.

    Returns the audio and the project frame of its first sample. A later span covers an earlier one; what no span covers
    is silent; audio made in another tempo is stretched into its place.
    """
    first, last = round(tempo_map.time_at(start_beat) * rate), round(tempo_map.time_at(end_beat) * rate)
    out = np.zeros((channels, max(0, last - first)), dtype=np.float32)
    for begin, end, audio in spans:
        if end <= start_beat or begin >= end_beat:
            continue
        at, stop = (round(tempo_map.time_at(beat) * rate) - first for beat in (begin, end))
        part = fitted(_as_channels(audio, channels), stop - at)
        low, high = max(0, at), min(out.shape[1], stop)
        out[:, low:high] = part[:, low - at : high - at]
    return out, first


def _as_channels(audio: Audio, channels: int) -> Audio:
    if audio.shape[0] == channels:
        return audio
    return np.repeat(audio.mean(axis=0, keepdims=True), channels, axis=0)
