"""A regular pulse through attacks: the beats that meet the most of them at the most even distances.

Dynamic programming as Ellis describes it ("Beat Tracking by Dynamic Programming", Journal of New Music Research 2007)
and as librosa's `beat_track` has it. It finds the very same beats, but librosa's compiles itself anew in every process:
for five to ten seconds in which no job could be cancelled.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WINDOW_S, _WINDOW_HOP_S = 9.0, 2.0
_USUAL_BPM, _HIGHEST_BPM = 120.0, 320.0
_TIGHTNESS = 100.0
"""What a distance twice the period costs, in units of the attacks' standard deviation, is this times log(2) squared."""
_WIDTH = 32.0
"""An attack counts within about a 32nd of a period."""
_FIRST, _LAST = 0.01, 0.5
"""Of the strongest attack, from where beats begin; of the usual score of a beat, up to where they go on."""


def likely_period(onsets: Floats, frames_per_s: float) -> int:
    """The likeliest distance of two beats in frames, by autocorrelation of ``onsets (frames,)`` in windows of nine
    seconds, two seconds apart, where 120 BPM is likelier than an octave more or less."""
    window, hop = (round(seconds * frames_per_s) for seconds in (_WINDOW_S, _WINDOW_HOP_S))
    padded = np.pad(onsets, window // 2)
    padded = np.pad(padded, (0, max(0, window - len(padded))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    size = scipy.fft.next_fast_len(2 * window - 1, real=True)
    alike = scipy.fft.irfft(np.square(np.abs(scipy.fft.rfft(windows, size, axis=1))), size, axis=1)[:, :window]
    alike = (alike / np.maximum(np.abs(alike).max(axis=1, keepdims=True), 1e-12)).mean(axis=0)
    lags = np.arange(1, window)
    bpm = 60.0 * frames_per_s / lags
    likely = np.log1p(1e6 * np.maximum(alike[1:], 0.0)) - 0.5 * np.log2(bpm / _USUAL_BPM) ** 2
    return int(lags[np.where(bpm < _HIGHEST_BPM, likely, -np.inf).argmax()])


def track_beats(onsets: Floats, period: int) -> NDArray[np.int64]:
    """The frames of the beats, about `period` frames apart, from the strength of attacks ``onsets (frames,)``."""
    if len(onsets) < 2 or onsets.max() <= 0.0:
        return np.zeros(0, np.int64)
    attacks = _widened(onsets, period)
    score, before = _best_paths(attacks, period)
    frame = _last_beat(score)
    path = []
    while frame >= 0:
        path.append(frame)
        frame = int(before[frame])
    beats = np.array(path[::-1], np.int64)
    loud = np.flatnonzero(attacks > 0.0)
    return np.asarray(beats[(beats >= loud[0]) & (beats <= loud[-1])])


def _widened(onsets: Floats, period: int) -> Floats:
    """Each attack as a bell, in standard deviations; the very first frame follows none, so it is no attack."""
    level = onsets / max(float(onsets.std(ddof=1)), 1e-12)
    level[0] = 0.0
    bell = np.exp(-0.5 * (np.arange(-period, period + 1) * _WIDTH / period) ** 2)
    return np.convolve(level, bell)[period : period + len(onsets)]


def _best_paths(attacks: Floats, period: int) -> tuple[Floats, NDArray[np.int64]]:
    """The score of the best beats that end at each frame, and the beat before it on these; -1 for none."""
    longest, shortest = 2 * period, max(1, round(period / 2))
    cost = _TIGHTNESS * np.log(np.arange(longest, shortest - 1, -1) / period) ** 2
    padded = np.concatenate([np.full(longest, -np.inf), attacks])
    before = np.full(len(attacks), -1, np.int64)
    threshold, has_begun = _FIRST * float(attacks.max()), False
    for frame in range(len(attacks)):
        scores = padded[frame : frame + len(cost)] - cost
        nearest = len(cost) - 1 - int(scores[::-1].argmax())
        has_begun = has_begun or bool(attacks[frame] >= threshold)
        if frame >= shortest:
            padded[frame + longest] += scores[nearest]
            before[frame] = frame - longest + nearest if has_begun else -1
    return padded[longest:], before


def _last_beat(score: Floats) -> int:
    """The last frame whose score is a peak and not far below that of other peaks."""
    around = np.pad(score, 1, mode="edge")
    peaks = np.flatnonzero((score > around[:-2]) & (score >= around[2:]))
    high = peaks[score[peaks] >= _LAST * np.median(score[peaks])] if len(peaks) else peaks
    return int(high[-1]) if len(high) else len(score) - 1
