"""An engine's take, back to exactly the region, so that it meets the original at both edges.

Promises: the result has exactly as many frames as the region, all finite; where the source exists at an edge, the very
first (last) sample of the result *is* the source's, bit for bit; nothing outside the region is needed or touched; one
constant gain, never a normalisation. Splicing the original itself gives the original back.

The four ways an edge is joined (`Join`)
---------------------------------------
ORIGINAL   The source goes on across the edge: crossfade between source and take, `JOIN_S` long, inside the region.
FILE_EDGE  The region reaches the very first or last sample of the source: the same, but `FILE_EDGE_S` short, because
           there is nothing beyond to blend with, only the file's own first (last) sample to keep.
CONTINUED  The region begins just after the source's last sample (or ends just before its first). There is no source
           inside to fade from, and a lead-in from the engine would lie on samples that already play; so the source is
           continued for `CONTINUE_S` by linear prediction from its last samples, and the take is crossfaded with that.
           No step, no dip, and the length does not move.
SILENCE    Nothing meets the edge: a raised-cosine fade, very short at a beginning (an attack may lie there).

No fade is longer than a quarter of the region.

Crossfade law: equal power, divided by what the correlation rho of the two signals adds: gains ``cos, sin`` over
``sqrt(1 + rho sin 2t)``. For rho = 0 that is the equal-power, for rho = 1 an equal-gain fade, so the level holds for
any material (M. Fink, M. Holters, U. Zölzer, "Signal-matched power-complementary cross-fading", DAFx-16).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.api import EngineTake, Window
from engine.loudness import SILENT_DB, can_be_weighted, level_db, match_gain_db, peak
from protocol.errors import EngineError

if TYPE_CHECKING:
    from engine.api import Audio

JOIN_S = 0.020
FILE_EDGE_S = 0.005
CONTINUE_S = 0.010
FADE_IN_S = 0.002
FADE_OUT_S = 0.005

_HISTORY_S = 0.100
_TOUCH_FRAMES = 1
"""Where region and source are rounded to samples apart, a frame may lie between them; they still meet."""

_PREDICTION_ORDERS = (128, 32, 8, 2)
"""The best that gives a usable prediction is taken."""

_NOISE_FLOOR = 1e-6
"""Noise assumed under the material, -60 dB. What was resampled from a lower rate holds nothing above some frequency;
without any noise the equations for its predictor are singular, and the prediction explodes."""

_LEAST_CORRELATION = -0.3
"""Signals of opposite phase cancel; more make-up gain than this would swell whatever differs between them."""

_GAP_DB = 30.0
"""An original so far below its surroundings is a gap to be filled, not a level to be matched."""

Samples = NDArray[np.float64]


class Join(StrEnum):
    """How an edge of the region was joined; the module explains them."""

    ORIGINAL = "original"
    FILE_EDGE = "file_edge"
    CONTINUED = "continued"
    SILENCE = "silence"


@dataclass(frozen=True)
class Spliced:
    """`audio` is exactly the region. `fade_frames` and `joins` are for its start and end; `gain_db` is on the take."""

    audio: Audio
    gain_db: float
    fade_frames: tuple[int, int]
    joins: tuple[Join, Join]


@dataclass(frozen=True)
class _Edge:
    """One edge, seen in the direction that leads into the region (time is reversed for its end)."""

    join: Join
    fade: int
    source: Samples
    """``(channels, fade)``: what to fade from; empty if nothing."""


def splice(take: EngineTake, window: Window, region: tuple[int, int], *, ceiling: float | None = None) -> Spliced:
    """`take` cut to `region` (source frames), matched in level and joined to the source in `window`.

    `ceiling`: the largest sample magnitude that the file to be written holds (1.0 for integers); the take's gain is
    lowered to keep it. (In a crossfade the sum of two loud signals may still exceed it for some samples: turning the
    whole take down for that would be the greater damage; the writer clips and counts them.)
    Raises `EngineError` if the take does not cover the region or is not finite.
    """
    body = exact_region(take, region, window.audio.shape[0]).astype(np.float64)
    start = _edge(window, region, at_start=True)
    end = _edge(window, region, at_start=False)
    gain_db = _gain_db(body, window, region)
    loudest = peak(body)
    if ceiling is not None and loudest > 0.0:
        gain_db = min(gain_db, 20.0 * math.log10(ceiling / loudest))
    return Spliced(_joined(body, gain_db, start, end), gain_db, (start.fade, end.fade), (start.join, end.join))


def exact_region(take: EngineTake, region: tuple[int, int], channels: int | None = None) -> Audio:
    """The take's samples in `region`, ``(channels, frames)``; one channel is repeated, several are averaged to one.

    Raises `EngineError` if it does not cover the region, is not finite, or has another number of channels.
    """
    first, after = region[0] - take.start, region[1] - take.start
    if take.audio.ndim != 2 or first < 0 or after > take.audio.shape[1]:
        raise EngineError(
            f"The engine returned audio that does not cover the region (take of seed {take.seed}). Ask again with "
            "another seed, and please report it."
        )
    audio = take.audio[:, first:after]
    if not np.isfinite(audio).all():
        raise EngineError(
            f"The engine returned broken samples (seed {take.seed}). Ask again with another seed or a lower guidance."
        )
    if channels is None or audio.shape[0] == channels:
        return np.array(audio, dtype=np.float32)
    if audio.shape[0] == 1:
        return np.repeat(audio, channels, axis=0).astype(np.float32)
    if channels == 1:
        return np.asarray(audio.mean(axis=0, keepdims=True), dtype=np.float32)
    raise EngineError(
        f"The engine returned {audio.shape[0]} channels for a source of {channels}. Render the source to stereo."
    )


# --- level ------------------------------------------------------------------------------------------------------------
def _gain_db(body: Samples, window: Window, region: tuple[int, int]) -> float:
    """What brings the take to the original's own level in the region, or else to that of its surroundings.

    The original counts if at least half of the region has it, and it is no gap; then the same span of both is compared.
    """
    first, last = _existing(window)
    inside = (max(first, region[0]), min(last, region[1]))
    around = [_cut(window, span) for span in ((first, min(last, region[0])), (max(first, region[1]), last))]
    around = [audio for audio in around if audio.shape[1] > 0]
    if 2 * (inside[1] - inside[0]) >= region[1] - region[0]:
        original = _cut(window, inside)
        if not around or _rms_db(original) > max(SILENT_DB, max(map(_rms_db, around)) - _GAP_DB):
            return match_gain_db(body[:, inside[0] - region[0] : inside[1] - region[0]], [original], window.rate)
    long_enough = [audio for audio in around if can_be_weighted(audio, window.rate)]
    return match_gain_db(body, long_enough or around, window.rate)


def _rms_db(audio: Audio) -> float:
    return level_db(audio, 0, weighted=False)


def _existing(window: Window) -> tuple[int, int]:
    """The source frames that the window holds."""
    return max(window.exists[0], window.start), min(window.exists[1], window.stop)


def _cut(window: Window, span: tuple[int, int]) -> Audio:
    return window.audio[:, span[0] - window.start : max(span[0], span[1]) - window.start]


# --- edges ------------------------------------------------------------------------------------------------------------
def _joined(body: Samples, gain_db: float, start: _Edge, end: _Edge) -> Audio:
    mixed = body * 10.0 ** (gain_db / 20.0)
    for edge, view in ((start, mixed), (end, mixed[:, ::-1])):
        head = view[:, : edge.fade]
        if edge.join is Join.SILENCE:
            head *= 0.5 - 0.5 * np.cos(np.pi * np.arange(edge.fade) / edge.fade)
        else:
            head[:] = crossfade(edge.source, head)
    return np.asarray(mixed, dtype=np.float32)


def crossfade(source: Samples, take: Samples) -> Samples:
    """From `source` to `take`, both ``(channels, n)``: sample 0 is the source's, exactly; the level holds."""
    power = math.sqrt(float(np.sum(source * source)) * float(np.sum(take * take)))
    rho = max(_LEAST_CORRELATION, min(1.0, float(np.sum(source * take)) / power)) if power > 0.0 else 0.0
    angle = 0.5 * np.pi * np.arange(take.shape[1]) / take.shape[1]
    mixed = (np.cos(angle) * source + np.sin(angle) * take) / np.sqrt(1.0 + rho * np.sin(2.0 * angle))
    mixed[:, 0] = source[:, 0]
    return np.asarray(mixed)


def _edge(window: Window, region: tuple[int, int], *, at_start: bool) -> _Edge:
    """What there is to fade from at one edge of the region."""
    first, last = _existing(window)
    position = region[0] if at_start else region[1]
    history_frames = round(_HISTORY_S * window.rate)
    length = region[1] - region[0]
    empty = (position, position)
    near = min(max(position, first), last)
    touches = first < last and abs(position - near) <= _TOUCH_FRAMES
    before = (max(first, near - history_frames), near) if touches else empty
    after = (near, min(last, near + history_frames)) if touches else empty
    if at_start:
        outside, inside = _cut(window, before), _cut(window, after)
    else:
        outside, inside = _cut(window, after)[:, ::-1], _cut(window, before)[:, ::-1]
    join = _join_of(outside.shape[1] > 0, inside.shape[1] > 0)
    seconds = _FADES[join] if join is not Join.SILENCE else FADE_IN_S if at_start else FADE_OUT_S
    fade = max(1, min(round(seconds * window.rate), length // 4))
    known = np.concatenate([outside, inside[:, :fade]], axis=1).astype(np.float64)
    missing = fade - inside[:, :fade].shape[1]
    if missing and join is not Join.SILENCE:
        known = np.concatenate([known, continuation(known, missing)], axis=1)
    return _Edge(join, fade, known[:, -fade:])


_FADES = {Join.ORIGINAL: JOIN_S, Join.FILE_EDGE: FILE_EDGE_S, Join.CONTINUED: CONTINUE_S}


def _join_of(outside: bool, inside: bool) -> Join:
    if inside:
        return Join.ORIGINAL if outside else Join.FILE_EDGE
    return Join.CONTINUED if outside else Join.SILENCE


def continuation(known: Samples, frames: int) -> Samples:
    """`frames` more of `known` ``(channels, n)`` as linear prediction expects them (autocorrelation method).

    Never louder than the loudest known sample; the first one is off by no more than the material's own unpredictable
    part. Source: J. Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63 (1975).
    """
    return np.stack([_continued(channel, frames) for channel in known])


def _continued(known: Samples, frames: int) -> Samples:
    loudest = peak(known)
    tapered = known * np.hanning(len(known) + 2)[1:-1]
    for order in _PREDICTION_ORDERS:
        if 4 * order <= len(known) and tapered @ tapered > 0.0:
            predicted = _predicted(known, tapered, order, frames)
            if peak(predicted) <= loudest:  # what rises towards its end, such as a reversed attack, would rise on
                return predicted
    last = known[-1] if len(known) else 0.0
    return np.asarray(last * np.cos(0.5 * np.pi * np.arange(frames) / frames))


def _predicted(known: Samples, tapered: Samples, order: int, frames: int) -> Samples:
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter, lfiltic

    correlation = np.array([tapered[: len(tapered) - lag] @ tapered[lag:] for lag in range(order + 1)])
    correlation[0] *= 1.0 + _NOISE_FLOOR
    weights = solve_toeplitz(correlation[:-1], correlation[1:])
    denominator = np.concatenate([[1.0], -weights])
    state = lfiltic([1.0], denominator, known[: -order - 1 : -1])
    return np.asarray(lfilter([1.0], denominator, np.zeros(frames), zi=state)[0])
