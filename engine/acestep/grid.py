"""Which latent frames a job works on: pure arithmetic from regions to windows, exact at every rate.

A latent frame is 1/25 s, so frame k begins at project frame ``k * rate / 25``, a fraction that is never rounded before
it has to be. A window is what the network hears and denoises at once: the job's regions, and context around them. It is
even in start and length (the network's patches are 2 frames), and its length is a multiple of `BUCKET`, so that a
compiled network meets few shapes. Promises: the same window for the same arguments; every region is covered; nothing
from beyond the source is in it but the regions themselves and what rounding adds, and both are `masked`.

Short material is looped: users of the model report that it performs poorly on little context (facts/acestep.md, 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from protocol.errors import EngineCannot

MODEL_RATE = 48_000
"""Hz at which the model hears and sounds."""

LATENT_RATE = 25
"""Latent frames per second."""

HOP = MODEL_RATE // LATENT_RATE
"""Samples at `MODEL_RATE` per latent frame: 1,920."""

BUCKET = 50
"""Window lengths are multiples of 2 s, longer ones of more (see `bucketed`)."""

MIN_WINDOW_S = 10.0
"""The shortest duration that the model was made for (constants.py of ACE-Step 1.5)."""

STEMS_WINDOW_S = 60.0
"""The least for verbs that make stems, unless the user says how much context: given less than a minute, they do poorly
(users of the model, who loop short material to 2 minutes for that)."""

LIMIT_FRAMES = 15_000
"""The longest: 600 s."""

JOINT_WINDOW_S = 60.0
"""Regions share a pass while their common window is at most this long; beyond, separate windows cost less."""

Span = tuple[int, int]
"""First, and the one after the last."""


# --- positions --------------------------------------------------------------------------------------------------------
def latent_span(region: Span, rate: int) -> Span:
    """The latent frames that contain the project frames `region`, rounded outward."""
    return region[0] * LATENT_RATE // rate, -(-region[1] * LATENT_RATE // rate)


def project_position(latent: int, rate: int) -> Fraction:
    """The project frame (a fraction) at which a latent frame begins."""
    return Fraction(latent * rate, LATENT_RATE)


def project_span(latents: Span, rate: int) -> Span:
    """The project frames that begin in these latent frames; spans that meet in latents meet here."""
    return math.ceil(project_position(latents[0], rate)), math.ceil(project_position(latents[1], rate))


def aligned(latent: int, rate: int) -> int:
    """The nearest latent frame, at or before `latent`, that begins on a whole project frame."""
    every = LATENT_RATE // math.gcd(rate, LATENT_RATE)
    return latent // every * every


# --- windows ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class LatentWindow:
    """Latent frames ``start .. start + frames`` of a source of `source_frames` latent frames (its last may be partial).

    `regions` are relative to the window. `loop`: the span of the source that repeats, its period, where the source is
    too short; None if nothing is looped.
    """

    start: int
    frames: int
    regions: tuple[Span, ...]
    source_frames: int
    loop: Span | None = None

    @property
    def duration_s(self) -> float:
        """What the model is told of the length."""
        return self.frames / LATENT_RATE

    def index(self) -> NDArray[np.int64]:
        """For each frame of the window the source's latent frame that it takes; -1 where there is no source."""
        frames = np.arange(self.start, self.start + self.frames, dtype=np.int64)
        index = np.where((frames >= 0) & (frames < self.source_frames), frames, -1)
        if self.loop is not None:
            period = self.loop[1] - self.loop[0]
            before, after = self._looped_sides()
            copied = ((frames < 0) & before) | ((frames >= self.source_frames) & after)
            index[copied] = self.loop[0] + (frames[copied] - self.loop[0]) % period
        return index

    def masked(self) -> tuple[Span, ...]:
        """What the model has to invent, as spans of the window: the regions, their copies, and all without a source.

        A copy of the region would let the model copy the original from it; silence beyond the source would tell it that
        the music ends there. Both are generated along and thrown away.
        """
        index = self.index()
        mask = index < 0
        for first, last in self.regions:
            mask[first:last] = True
            mask |= (index >= self.start + first) & (index < self.start + last)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
        return tuple((int(first), int(last)) for first, last in edges.reshape(-1, 2))

    def _looped_sides(self) -> tuple[bool, bool]:
        """Copies go on where the source ends, unless a region lies there."""
        first = self.start + min(region[0] for region in self.regions)
        last = self.start + max(region[1] for region in self.regions)
        return first >= 0, last <= self.source_frames


def plan(
    regions: Sequence[Span],
    rate: int,
    source_frames: int,
    context: tuple[int, int],
    *,
    least_s: float = MIN_WINDOW_S,
    limit_frames: int = LIMIT_FRAMES,
) -> LatentWindow:
    """The window for `regions` of a source of `source_frames`, with `context` before and after; all in project frames.

    A region that reaches an end of the source gets no context beyond that end, so an extension ends with its window and
    a prelude begins with it. Context grows into existing source up to the bucket and `least_s`; it shrinks where the
    limit leaves no room for it. Without a source (0 frames) the window is the regions, rounded up. Raises
    `EngineCannot` beyond the limit.
    """
    spans = [latent_span(region, rate) for region in regions]
    source = latent_span((0, source_frames), rate)[1]
    region = min(span[0] for span in spans), max(span[1] for span in spans)
    inner = (_even_down(region[0]), _even_up(region[1]))
    outer = (min(inner[0], 0), max(inner[1], _even_up(source))) if source else inner
    length = inner[1] - inner[0]
    if length > limit_frames:
        raise EngineCannot(
            f"ACE-Step works on at most {limit_frames / LATENT_RATE:g} s at once, and this needs "
            f"{length / LATENT_RATE:.1f} s. Select a shorter region, or fewer at once."
        )
    before, after = (_even_up(latent_span((0, max(0, frames)), rate)[1]) for frames in context)
    before = 0 if not source or region[0] <= 0 else before
    after = 0 if not source or region[1] >= source else after
    needed = max(math.ceil(least_s * LATENT_RATE), length + before + after)
    frames = min(bucketed(needed), _even_down(limit_frames))
    if before + after == 0:  # room that only rounding makes: before what goes on past the end, else behind
        before, after = (1, 0) if region[0] >= 0 and region[1] > source > 0 else (0, 1)
    ideal = inner[0] - (frames - length) * before // (before + after)
    start = _start(ideal, frames, inner, outer)
    is_short = source > 0 and outer[1] - outer[0] < min(needed, frames)
    period = max(1, round(Fraction(source_frames * LATENT_RATE, rate)))
    relative = tuple((span[0] - start, span[1] - start) for span in spans)
    return LatentWindow(start, frames, relative, source, (0, period) if is_short else None)


def bucketed(frames: int) -> int:
    """The shape for a window of `frames`: up to 20 s in steps of 2 s, then of 4 s, from 40 s on of 8 s, and so on.

    About 30 shapes up to the limit, so that a compiled network soon has met them all; at most a fifth is added.
    """
    step = BUCKET
    while frames > 10 * step:
        step *= 2
    return -(-frames // step) * step


def groups(regions: Sequence[Span], rate: int, contexts: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Which of a job's regions share a pass, as indices, in order of time. All in project frames.

    Regions go together while their context windows overlap or touch and the joint window is at most `JOINT_WINDOW_S`.
    What is together stays so when the same regions are asked for without the others.
    """
    order = sorted(range(len(regions)), key=lambda index: regions[index])
    grouped: list[list[int]] = []
    start = stop = 0
    for index in order:
        first, after = regions[index][0] - contexts[index][0], regions[index][1] + contexts[index][1]
        if grouped and first <= stop and max(stop, after) - start <= JOINT_WINDOW_S * rate:
            grouped[-1].append(index)
            stop = max(stop, after)
        else:
            grouped.append([index])
            start, stop = first, after
    return grouped


def _start(ideal: int, frames: int, inner: Span, outer: Span) -> int:
    """The even start nearest `ideal` of a window that holds `inner` and stays in `outer`, or holds that if shorter."""
    if frames <= outer[1] - outer[0]:
        lowest, highest = max(outer[0], inner[1] - frames), min(inner[0], outer[1] - frames)
    else:
        lowest, highest = outer[1] - frames, outer[0]
    return _even_down(min(max(ideal, lowest), highest))  # all four bounds are even


def _even_down(frame: int) -> int:
    return frame - frame % 2


def _even_up(frame: int) -> int:
    return frame + frame % 2
