"""Can a stem be heard in the song, does it leave the song room, and do the two basses clash?

In each frame and critical band a sound raises the other's threshold: what is left of a loudness beside a masker is
taken from the power law of loudness (Stevens' exponent 0.3; the partial loudness of Moore, Glasberg and Baer, "A model
for the prediction of thresholds, loudness and partial loudness", JAES 45, 1997, with one exponent for all levels). No
threshold is crossed anywhere, so that a decibel more always tells.

The yardstick is the song's own two layers, what is sustained and what is struck: how much the softer one loses to the
louder, and the louder to the softer, is what this music does all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from engine.measures.bass import DETUNED, BassNotes, bass_notes, clashes, strong
from engine.measures.chords import Beats, Harmony
from engine.measures.mel import Mono

Floats = NDArray[np.float64]

_WINDOW_S = 0.093
_LOW_HZ, _HIGH_HZ = 40.0, 16_000.0
_LOUDNESS_EXPONENT = 0.3
_QUIET_DB = -60.0
"""Below the loudest frame of the song: what is quieter is not heard in it."""
_SUSTAINED_S = 0.4
"""What stays in a band for half of this is sustained; the rest is struck."""


@dataclass(frozen=True)
class Losses:
    """Shares of loudness, 0 to 1: of the first sound hidden by the second, and of the second covered by the first."""

    hidden: float
    covers: float


def band_power(signal: Mono, rate: int) -> Floats:
    """Power per frame and ERB-wide band ``(frames, bands)``, as the ear's filters pass it on to their neighbours.

    Frames are 93 ms long, half overlapping. Bands lie one ERB number apart from 40 Hz up (Glasberg and Moore,
    "Derivation of auditory filter shapes from notched-noise data", Hearing Research 47, 1990); the filters are theirs,
    roex(p).
    """
    window = int(2 ** round(np.log2(rate * _WINDOW_S)))
    padded = np.pad(signal, (0, max(0, window - signal.size)))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2]
    power = np.square(np.abs(scipy.fft.rfft(views * np.hanning(window).astype(np.float32), axis=1)))
    return np.asarray(power @ _bands(rate, window), dtype=np.float64)


@lru_cache(maxsize=4)
def _bands(rate: int, window: int) -> NDArray[np.float32]:
    """``(bins, bands)``: the band of each bin, smeared over its neighbours."""
    hertz = np.arange(window // 2 + 1) * rate / window
    number = 21.4 * np.log10(1 + 0.00437 * hertz)
    first = 21.4 * np.log10(1 + 0.00437 * _LOW_HZ)
    last = 21.4 * np.log10(1 + 0.00437 * min(_HIGH_HZ, rate / 2))
    away = 4.0 * np.abs(number[:, None] - np.arange(first + 0.5, last, 1.0))  # p g of roex(p): 4 for each ERB
    filters = (1.0 + away) * np.exp(-away) / 2.0  # a tone's power over all bands is about its own
    filters[hertz < _LOW_HZ / 2] = 0.0
    return filters.astype(np.float32)


def quiet_power(song: Floats) -> float:
    """The power of a band below which nothing is heard beside `song` (frames, bands)."""
    return max(1e-12, float(song.sum(axis=1).max(initial=0.0)) * 10 ** (_QUIET_DB / 10))


def losses(stem: Floats, song: Floats, quiet: float) -> Losses | None:
    """What `stem` and `song` (frames, bands) lose to each other; a silent stem is hidden; None for a silent song."""
    frames = min(len(stem), len(song))
    stem, song = stem[:frames], song[:frames]
    together, own, others = (_loudness(power + quiet) for power in (stem + song, stem, song))
    nothing = quiet**_LOUDNESS_EXPONENT
    alone, alone_song = float((own - nothing).sum()), float((others - nothing).sum())
    if alone_song <= 0.0:
        return None
    if alone <= 1e-3 * alone_song:
        return Losses(1.0, 0.0)
    return Losses(1.0 - float((together - others).sum()) / alone, 1.0 - float((together - own).sum()) / alone_song)


def _loudness(power: Floats) -> Floats:
    return np.asarray(power**_LOUDNESS_EXPONENT)


def own_losses(song: Floats, rate: int) -> Losses | None:
    """What the softer layer of `song` (frames, bands) loses to the louder, and the louder to the softer."""
    hop = int(2 ** round(np.log2(rate * _WINDOW_S))) // 2
    frames = max(3, round(_SUSTAINED_S * rate / hop)) | 1
    sustained = np.minimum(song, median_filter(song, size=(frames, 1), mode="nearest"))
    layers = sorted((sustained, song - sustained), key=lambda power: float(_loudness(power).sum()))
    return losses(layers[0], layers[1], quiet_power(song))


@dataclass(frozen=True)
class MaskingReference:
    """The song under a stem: its `power` ``(frames, bands)`` and `bass` over the region, and what it does to itself."""

    power: Floats
    quiet: float
    own: Losses
    beats: Beats
    bass: BassNotes
    loudest: float
    """Amplitude of the song's strongest bass note."""
    own_clash: float
    """Share of the beats in which the song's own bass is not a tone of its chord."""


def masking_reference(song: Mono, rate: int, harmony: Harmony, region: Beats, tuned: float) -> MaskingReference | None:
    """The yardstick from `song`, which begins with the beats of `harmony`, for stems over `region`, which is in it."""
    start_s, first_s, last_s = harmony.beats.lines_s[0], *region.lines_s[[0, -1]]
    power = band_power(song, rate)
    own = own_losses(power, rate)
    if own is None:
        return None
    under = song[round((first_s - start_s) * rate) : round((last_s - start_s) * rate)]
    notes = bass_notes(song, rate, harmony.beats.lines_s - start_s)
    bass = bass_notes(under, rate, region.lines_s - first_s)
    loudest = float(notes.level.max(initial=0.0))
    heard = strong(notes, loudest) & notes.held & _on_a_semitone(notes, tuned)
    foreign = heard & ~_in_chord(notes, harmony, harmony.beats, tuned)
    # A note below that is foreign to the chord is a drum, or a passing note: neither is what a bass must agree with.
    real = bass.held & _on_a_semitone(bass, tuned) & _in_chord(bass, harmony, region, tuned)
    return MaskingReference(
        power=band_power(under, rate),
        quiet=quiet_power(power),
        own=own,
        beats=region,
        bass=BassNotes(np.where(real, bass.pitch, np.nan), bass.level, bass.held),
        loudest=loudest,
        own_clash=float(foreign.mean()),
    )


def bass_clash(stem: Mono, rate: int, song: MaskingReference) -> float:
    """Share of the region's beats in which the stem and the song both have a strong bass note and these clash."""
    notes = bass_notes(stem, rate, song.beats.lines_s - song.beats.lines_s[0])
    both = strong(notes, song.loudest) & strong(song.bass, song.loudest)
    return float(np.mean(both & clashes(notes.pitch, song.bass.pitch)))


def _in_chord(notes: BassNotes, harmony: Harmony, beats: Beats, tuned: float) -> NDArray[np.bool_]:
    """Which notes are tones of the chord of their beat, or have no chord to be foreign to."""
    classes = np.nan_to_num(np.round(notes.pitch - tuned)).astype(int) % 12
    chords = [harmony.chord_at(time_s) for time_s in (beats.lines_s[:-1] + beats.lines_s[1:]) / 2]
    return np.array([not chord or tone in chord.pitch_classes for tone, chord in zip(classes, chords, strict=True)])


def _on_a_semitone(notes: BassNotes, tuned: float) -> NDArray[np.bool_]:
    """A bass that is not in tune with its own song is a drum, or two notes at once."""
    off = notes.pitch - tuned
    return np.abs(np.nan_to_num(off - np.round(off), nan=1.0)) < DETUNED
