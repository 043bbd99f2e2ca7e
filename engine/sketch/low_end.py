"""Who plays what below 500 Hz: the kick, the bass, or neither.

There, kick and bass lie on top of each other, and medians cannot tell them apart: a kick rings like a note and a bass
note is plucked like a drum. So the spectrogram is explained as a sum (non-negative matrix factorisation, Kullback-
Leibler updates of Lee and Seung, 2001): a kick that always sounds alike, struck now and then (its template spans
`_KICK_S`, after Smaragdis' deconvolutive form, ICA 2004), over tones, each a note's partials with a common balance,
which hold. Low tones are the bass, higher ones belong to others. Everything is learnt from the song itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from engine.api import IsCancelled
from engine.sketch.analysis import Doubles, check
from engine.sketch.masks import NOTHING, Float

HIGHEST_HZ = 500.0
_BASS_NOTES, _OTHER_NOTES = (23.0, 50.0), (48.0, 76.0)
_STEP = 0.5
"""Semitones between the notes tried, so that a song need not be tuned to 440 Hz."""
_PARTIALS = (1.0, 0.5, 0.3, 0.2, 0.15, 0.1)
_LOUDEST_PARTIAL = np.float32(2.0)
"""Relative to the first; without a limit, in a song without a bass, bass notes would stand for higher instruments."""
_KICK_S = 0.33
_HOLD_S = 0.2
_HOLD = np.float32(0.3)
"""How strongly a tone is pulled, at each round, towards its mean over `_HOLD_S`."""
_ROUNDS = 25
_FREE_ROUNDS = 3
"""Last rounds in which tones are no longer pulled."""
_TINY = np.float32(1e-9)


@dataclass(frozen=True)
class Shares:
    """Of each bin ``(bins, frames)`` up to `HIGHEST_HZ`, what belongs to the kick and to the bass."""

    kick: Float
    bass: Float


def explain(magnitude: Float, strokes: Float, hz_per_bin: float, hop_s: float, cancelled: IsCancelled) -> Shares:
    """`magnitude` ``(bins, frames)`` with Hann windows of ``1 / hz_per_bin`` seconds; `strokes` ``(frames,)`` says how
    strongly something begins in the low end at each frame. Raises `Cancelled`.
    """
    level = np.float32(magnitude.mean())
    if level <= 0.0:
        silent = np.zeros_like(magnitude)
        return Shares(silent, silent)
    seen = magnitude / level
    kick = _Kick.first_guess(seen.shape[0], strokes, hz_per_bin, hop_s)
    tones = [_Tones.first_guess(notes, seen.shape, hz_per_bin) for notes in (_BASS_NOTES, _OTHER_NOTES)]
    hold = max(1, round(_HOLD_S / hop_s))
    for turn in range(_ROUNDS):
        check(cancelled)
        for group in tones:
            group.learn(seen, kick.heard + sum(t.heard for t in tones), hold if turn < _ROUNDS - _FREE_ROUNDS else 0)
        kick.learn(seen, sum(t.heard for t in tones))
    powers = [heard * heard for heard in (kick.heard, *(group.heard for group in tones))]
    total = sum(powers) + NOTHING
    return Shares(powers[0] / total, powers[1] / total)


class _Tones:
    """Notes of a range: ``heard = combs.T @ strength``, a comb being a note's partials in the common `balance`."""

    def __init__(self, lobes: Float, strength: Float) -> None:
        self.lobes, self.strength = lobes, strength  # (notes, partials, bins), (notes, frames)
        self.balance = np.array(_PARTIALS, np.float32)
        self._sound()

    @classmethod
    def first_guess(cls, notes: tuple[float, float], shape: tuple[int, int], hz_per_bin: float) -> _Tones:
        midi = np.arange(notes[0], notes[1] + _STEP / 2, _STEP)
        partials = 440.0 * 2 ** ((midi[:, None] - 69) / 12) * np.arange(1, len(_PARTIALS) + 1)
        lobes = _main_lobe(np.arange(shape[0]) - partials[:, :, None] / hz_per_bin)
        lobes[partials > shape[0] * hz_per_bin] = 0.0
        return cls(lobes, np.full((len(midi), shape[1]), 1.0 / len(midi), np.float32))

    def _sound(self) -> None:
        self.combs = np.einsum("npb,p->nb", self.lobes, self.balance)
        self.heard = self.combs.T @ self.strength

    def learn(self, seen: Float, explained: Float, hold: int) -> None:
        rest = explained - self.heard
        self.strength *= (self.combs @ (seen / (explained + _TINY))) / (self.combs.sum(axis=1) + _TINY)[:, None]
        if hold:
            steady = np.maximum(uniform_filter1d(self.strength, hold, axis=1), _TINY)
            self.strength = self.strength ** (1 - _HOLD) * steady**_HOLD
        self.heard = self.combs.T @ self.strength
        ratio = seen / (rest + self.heard + _TINY)
        wanted = np.einsum("npb,nb->p", self.lobes, self.strength @ ratio.T)
        there = np.einsum("npb,n->p", self.lobes, self.strength.sum(axis=1))
        self.balance *= wanted / (there + _TINY)
        self.balance = np.minimum(self.balance / max(self.balance[0], _TINY), _LOUDEST_PARTIAL)
        self._sound()


class _Kick:
    """One sound `template` ``(bins, lags)``, struck with `strength` ``(frames,)``."""

    def __init__(self, template: Float, strength: Float) -> None:
        self.template, self.strength = template, strength
        self.heard = template @ self._lagged()

    @classmethod
    def first_guess(cls, bins: int, strokes: Float, hz_per_bin: float, hop_s: float) -> _Kick:
        lags = max(2, round(_KICK_S / hop_s))
        pitch = np.exp(-(((np.arange(bins) * hz_per_bin - 60.0) / 60.0) ** 2) / 2)
        dying = np.exp(-np.arange(lags) * hop_s / 0.12)
        strength = strokes / max(float(strokes.max(initial=0.0)), 1e-9) + 1e-3
        return cls((pitch[:, None] * dying + 1e-3).astype(np.float32), strength.astype(np.float32))

    def _lagged(self) -> Float:
        """``(lags, frames)``: the strength so many frames ago."""
        lags = self.template.shape[1]
        padded = np.concatenate([np.zeros(lags - 1, np.float32), self.strength])
        return np.lib.stride_tricks.sliding_window_view(padded, len(self.strength))[::-1]

    def learn(self, seen: Float, tones: Float) -> None:
        lags, frames = self.template.shape[1], len(self.strength)
        pull = self.template.T @ (seen / (self.heard + tones + _TINY))
        wanted = sum(np.pad(pull[lag, lag:], (0, min(lag, frames))) for lag in range(lags))
        self.strength = self.strength * wanted / (self.template.sum() + _TINY)
        lagged = self._lagged()
        ratio = seen / (self.template @ lagged + tones + _TINY)
        self.template = self.template * (ratio @ lagged.T) / (self.strength.sum() + _TINY)
        # Once struck, it only dies away: what swells again is not the kick.
        self.template[:, 3:] = np.minimum.accumulate(self.template[:, 3:], axis=1)
        self.heard = self.template @ lagged


def _main_lobe(bins: Doubles) -> Float:
    """A Hann window's response so many `bins` beside a sinusoid, 1 on it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        response = np.where(np.abs(np.abs(bins) - 1) < 1e-6, 0.5, np.sinc(bins) / (1 - bins**2))
    return np.asarray(np.abs(response), dtype=np.float32)
