"""Taking a mix apart by masks: drums, bass, the centre, and what is left. No model that knows what instruments are.

Every moment and frequency of the mix is shared out between four parts, by what signal processing can tell without
having learnt any instrument: strokes against tones (`masks.percussive_share`), kick and bass by what they repeat
and hold in the low end (`low_end`), the middle of the stereo image against its sides (`masks.centre_share`).
`WHAT_IT_IS` says in plain words what each part is, and is not.

Promises: the four parts add up to the mix; each is as long as the mix; the result depends neither on which tracks are
asked for together nor on how the work is cut into blocks; memory beyond the results is that of a block of
`_BLOCK_S` and of the low end's spectrogram; `Cancelled` within a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from engine.api import IsCancelled
from engine.sketch import low_end
from engine.sketch.analysis import check
from engine.sketch.masks import Complex, Float, Spectra, centre_share, percussive_share, piece
from protocol.errors import EngineCannot
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

_REST = frozenset({TrackClass.KEYBOARD, TrackClass.GUITAR, TrackClass.STRINGS, TrackClass.SYNTH})
"""Classes under which the remainder may be asked for."""

TRACKS = frozenset({TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS}) | _REST

_LEFT = (
    "What is left without drums, bass and the centre of the stereo image: all other instruments together, not the {} "
    "alone."
)
WHAT_IT_IS: Mapping[TrackClass, str] = MappingProxyType(
    {
        TrackClass.DRUMS: "The strokes in the mix and the sound that keeps returning in its low end: mostly the drums, "
        "with the attacks of other instruments.",
        TrackClass.BASS: "The tones of the lowest line up to 500 Hz, without its brightest overtones.",
        TrackClass.VOCALS: "The tones in the middle of the stereo image: the voice if one sings there, and whatever "
        "else stands in the middle.",
        **{track: _LEFT.format(track.value) for track in sorted(_REST)},
    }
)

_BLOCK_S = 20.0
_LONG_S, _SHORT_S = 0.186, 0.046
"""Windows: long ones resolve notes in the low end, short ones strokes above it."""
_TONE_S, _STROKE_HZ = 0.2, 1000.0
_STROKES_FROM_HZ = 120.0
_CENTRE_HZ = (150.0, 8000.0)
_SHARPNESS = 1.5
_STEREO_DB = -50.0
"""A mix whose sides are that far below its middle is mono."""


def separate(
    audio: Audio,
    rate: int,
    tracks: Sequence[TrackClass],
    cancelled: IsCancelled,
    *,
    report: Callable[[float], None] = lambda _: None,
) -> dict[TrackClass, Audio]:
    """The parts of `audio` ``(channels, frames)`` asked for, each of its shape. `report` hears the share done, 0 to 1.

    Drums, bass, vocals and any one class of the remainder add up to `audio`. Raises `EngineCannot` for other tracks,
    for two names of the remainder, for vocals of what is not stereo; `Cancelled`.
    """
    check_tracks(tracks)
    stereo = _has_sides(audio)
    if TrackClass.VOCALS in tracks and not stereo:
        what = "is mono" if len(audio) <= 2 else f"has {len(audio)} channels and not two"
        raise EngineCannot(
            f"This mix {what}: its centre, where voices usually stand, cannot be told from the rest by masks. Ask for "
            "drums, bass or keyboard (all that is left), or install the [separate] extra for a model that knows voices."
        )
    work = _Work.on(audio, rate, stereo, cancelled, lambda share: report(0.3 * share))
    parts = {track: np.empty_like(audio, dtype=np.float32) for track in dict.fromkeys(tracks)}
    done = 0
    for start, stop, split in work.blocks(cancelled):
        for track, part in parts.items():
            part[:, start:stop] = split[TrackClass.KEYBOARD if track in _REST else track]
        done += stop - start
        report(0.3 + 0.7 * done / audio.shape[1])
    return parts


def check_tracks(tracks: Sequence[TrackClass]) -> None:
    """Raise `EngineCannot` for tracks that masks cannot take from any mix, with what to do instead."""
    unknown = sorted(set(tracks) - TRACKS)
    if unknown:
        raise EngineCannot(
            f"Masks cannot extract {', '.join(unknown)}: only a model that has learnt that sound could. "
            f"They can extract {', '.join(sorted(TRACKS))}."
        )
    rest = sorted(set(tracks) & _REST)
    if len(rest) > 1:
        raise EngineCannot(
            f"Masks cannot tell {', '.join(rest)} from each other: all that is left without drums, bass and centre is "
            "one part. Ask for one of them."
        )


def _has_sides(audio: Audio) -> bool:
    if audio.shape[0] != 2:
        return False
    middle = float(np.sum((audio[0] + audio[1]) ** 2, dtype=np.float64))
    sides = float(np.sum((audio[0] - audio[1]) ** 2, dtype=np.float64))
    return sides >= middle * 10 ** (_STEREO_DB / 10)


@dataclass(frozen=True)
class _Work:
    """All that is known of the whole mix before its blocks are split."""

    audio: Audio
    rate: int
    stereo: bool
    long: Spectra
    short: Spectra
    first: int
    """The frame (of `long`) at which `low` begins."""
    low: low_end.Shares

    @classmethod
    def on(
        cls, audio: Audio, rate: int, stereo: bool, cancelled: IsCancelled, report: Callable[[float], None]
    ) -> _Work:
        long, short = Spectra.of(_LONG_S, 8, rate), Spectra.of(_SHORT_S, 4, rate)
        first, after = long.touching(0, audio.shape[1])
        bins = int(low_end.HIGHEST_HZ * long.size / rate)
        magnitude = np.empty((bins, after - first), np.float32)
        quick = Spectra(2 * (long.size // 16), long.hop)
        attack = np.empty((max(2, int(300.0 * quick.size / rate) + 1), after - first), np.float32)
        step = max(1, round(_BLOCK_S * rate / long.hop))
        for frame in range(first, after, step):
            check(cancelled)
            frames = (frame, min(frame + step, after))
            here = slice(frames[0] - first, frames[1] - first)
            magnitude[:, here] = _level(long.analysed(audio, frames)[:, :bins])
            attack[:, here] = _level(quick.analysed(audio, frames)[:, : len(attack)])
            report(0.5 * here.stop / (after - first))
        strokes = _strokes(attack)
        low = low_end.explain(magnitude, strokes, rate / long.size, long.hop / rate, cancelled)
        return cls(audio, rate, stereo, long, short, first, low)

    def blocks(self, cancelled: IsCancelled) -> Iterator[tuple[int, int, dict[TrackClass, Float]]]:
        """Start, stop, and the four parts of these samples (the remainder as keyboard)."""
        frames = self.audio.shape[1]
        step = max(1, round(_BLOCK_S * self.rate))
        for start in range(0, frames, step):
            check(cancelled)
            stop = min(start + step, frames)
            yield start, stop, self._split(start, stop)

    def _split(self, start: int, stop: int) -> dict[TrackClass, Float]:
        reach = self.short.hop * (self._along_time // 2 + 1) + self.short.size
        begin, end = start - reach, stop + reach
        kick, bass = self._low_parts(begin, end)
        upper = piece(self.audio, begin, end) - kick - bass
        frames = self.short.touching(start, stop)
        strokes, centre = self._upper_parts(upper, begin, frames)
        inner = slice(reach, reach + stop - start)
        drums = kick[:, inner] + self.short.sounding(strokes, frames, start, stop)
        middle = self.short.sounding(centre, frames, start, stop)
        rest = self.audio[:, start:stop] - drums - bass[:, inner] - middle
        return {
            TrackClass.DRUMS: drums,
            TrackClass.BASS: bass[:, inner],
            TrackClass.VOCALS: middle,
            TrackClass.KEYBOARD: rest,
        }

    def _low_parts(self, begin: int, end: int) -> tuple[Float, Float]:
        first, after = self.long.touching(begin, end)
        spectrum = self.long.analysed(self.audio, (first, after))
        kick, bass = np.zeros_like(spectrum), np.zeros_like(spectrum)
        known = (max(first, self.first), min(after, self.first + self.low.kick.shape[1]))
        bins = self.low.kick.shape[0]
        here, there = (slice(known[0] - zero, known[1] - zero) for zero in (first, self.first))
        for part, share in ((kick, self.low.kick), (bass, self.low.bass)):
            part[:, :bins, here] = spectrum[:, :bins, here] * share[:, there]
        return (
            self.long.sounding(kick, (first, after), begin, end),
            self.long.sounding(bass, (first, after), begin, end),
        )

    def _upper_parts(self, upper: Float, begin: int, frames: tuple[int, int]) -> tuple[Complex, Complex]:
        """Spectra of strokes and centre in `frames`, of what is neither kick nor bass; `upper` starts at `begin`."""
        around = self._along_time // 2
        wide = (frames[0] - around, frames[1] + around)
        spectrum = self.short.analysed(upper, wide, begin)
        hz = self.short.hz(self.rate)
        along_frequency = 2 * round(_STROKE_HZ * self.short.size / self.rate / 2) + 1
        bias = np.where(hz < 1500.0, np.float32(2.0), np.float32(1.0))
        share = percussive_share(_level(spectrum), self._along_time, along_frequency, bias)
        share[hz < _STROKES_FROM_HZ] = 0.0
        inner = slice(around, around + frames[1] - frames[0])
        spectrum, share = spectrum[:, :, inner], share[:, inner]
        strokes = spectrum * share
        tones = spectrum - strokes
        if not self.stereo:
            return strokes, np.zeros_like(strokes)
        within = ((hz >= _CENTRE_HZ[0]) & (hz <= _CENTRE_HZ[1])).astype(np.float32)
        return strokes, tones * (centre_share(tones, _SHARPNESS) * within[:, None])

    @property
    def _along_time(self) -> int:
        return 2 * round(_TONE_S * self.rate / self.short.hop / 2) + 1


def _level(spectrum: Complex) -> Float:
    """Magnitude of all channels together ``(bins, frames)``."""
    return np.asarray(np.sqrt(np.sum(spectrum.real**2 + spectrum.imag**2, axis=0)), dtype=np.float32)


def _strokes(attack: Float) -> Float:
    """How much louder each frame's low end is than the one before, in ``(bins, frames)`` magnitudes."""
    loudness = np.log1p(10.0 * attack / max(float(attack.max(initial=0.0)), 1e-9))
    rises = np.maximum(np.diff(loudness, axis=1, prepend=0.0), 0.0).sum(axis=0)
    return np.asarray(np.maximum(rises - np.median(rises), 0.0), dtype=np.float32)
