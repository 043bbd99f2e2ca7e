"""The audio of a live run: what was made, loops of it, what was played; float32 ``(channels, frames)``.

A phrase lasts so many beats, whatever the tempo becomes later: its place is said in beats, and `fitted` gives its
audio for a span of other length or tempo.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.live.bar_lines import SAME_BEATS
from bridge.live.files import read_audio
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


class Material:
    """One phrase: `audio` lasts `beats`; `before` is what led into it where it was made.

    `phrase` is its number in the run, 0 the last bars of the source; `file` holds it (to 24 bits), `job` made it.
    `follows` is the phrase that it was made to go on from; -1: none.
    """

    def __init__(
        self,
        phrase: int,
        audio: Audio,
        beats: float,
        rate: int,
        before: Audio,
        job: str,
        file: str,
        follows: int = -1,
    ) -> None:
        self.phrase, self.beats, self.rate = phrase, beats, rate
        self.before = before.copy()  # a view would keep all that it was cut from
        self.job, self.file, self.follows, self.frames = job, file, follows, int(audio.shape[1])
        self._audio: Audio | None = audio

    @property
    def audio(self) -> Audio:
        """Float32 ``(channels, frames)``; after a rest it is read from its file, which takes a while."""
        audio = self._audio
        if audio is None:
            audio = self._audio = read_audio(Path(self.file), self.rate, 0, self.frames)
        return audio

    def rest(self) -> None:
        """Take no room in memory until `audio` is wanted again."""
        self._audio = None

    @property
    def bpm(self) -> float:
        """The tempo that it was made in."""
        return self.beats * 60.0 * self.rate / self.frames

    def over(self, beats: float) -> Audio:
        """As many beats of it, in its own tempo: itself, cut, or repeated with a crossfade at each joint."""
        if abs(beats - self.beats) <= SAME:
            return self.audio
        frames = round(self.frames * beats / self.beats)
        repeats = -(-frames // self.frames)
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


def leading_to(beat: float, after: int, filled: Sequence[Filled]) -> list[Filled]:
    """What leads up to `beat`, the nearest first: by its place; over a locate, by what was made to go on from what.

    `after` is the phrase whose end is continued there.
    """
    left, found = list(filled), list[Filled]()
    while True:
        before = [each for each in left if abs(each.slot.end_beat - beat) <= SAME_BEATS]
        before = before or [each for each in left if each.material.phrase == after]
        if not before:
            return found
        nearest = before[-1]
        found.append(nearest)
        left.remove(nearest)
        beat, after = nearest.slot.start_beat, nearest.material.follows


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
        low, high = max(0, at), min(out.shape[1], stop)
        if high > low:  # only what is seen of it: to stretch a whole source takes long
            share = audio.shape[1] / (stop - at)
            seen = audio[:, round((low - at) * share) : round((high - at) * share)]
            out[:, low:high] = fitted(_as_channels(seen, channels), high - low)
    return out, first


def _as_channels(audio: Audio, channels: int) -> Audio:
    if audio.shape[0] == channels:
        return audio
    return np.repeat(audio.mean(axis=0, keepdims=True), channels, axis=0)
