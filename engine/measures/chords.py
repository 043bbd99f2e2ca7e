"""Chord agreement: do the notes of each beat lie in the chord that belongs there?

A stem, or a cover, is held against the chord that the song has at that very beat. What replaces the song, or goes on
after it, may choose other chords: it is asked, beat by beat, whether its notes make a chord *of this song*, one that
the song around it uses or a plain triad of its key. Either way a beat reads 1 if all its notes are in the chord and 0
as by chance; the mean over the twelve transpositions of any take is nothing. Whether it is in tune is the key's
question: a note between two semitones belongs to both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest
from engine.harmony import Chord, Quality
from engine.hearing.chords import recognise, spans
from engine.hearing.chroma import BeatChroma, beat_chroma
from engine.measures.key import Pitches
from engine.measures.mel import Mono
from protocol.key import Key
from protocol.vocabulary import Verb

Floats = NDArray[np.float64]

AROUND_S = 4.0
"""Song on either side of a region whose chords are told: what the page shows."""
_RECOGNISED_BEATS = 16
"""Beats of the song on either side that help to recognise a take's chords."""
_USED_BEATS = 2
"""A chord that the song has for fewer beats may be a mistake of ours."""
_SHORTEST_S = 0.05
_CLEAR = 0.2
"""A song that agrees with its own chords less than this keeps to none that can be told."""
_TRIADS = {Quality.MAJOR, Quality.MINOR}


@dataclass(frozen=True)
class Beats:
    """Stretches of harmony: `lines_s` ``(k + 1,)`` in project seconds; `downbeats` ``(k,)`` begin a bar."""

    lines_s: Floats
    downbeats: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.downbeats)


@dataclass(frozen=True)
class Harmony:
    """What sounds over some `beats`, and the chord of each (None: none is heard)."""

    beats: Beats
    chroma: BeatChroma
    chords: list[Chord | None]

    def part(self, start_s: float, stop_s: float) -> Harmony:
        """The beats between two of its lines."""
        first, last = np.searchsorted(self.beats.lines_s, (start_s - 1e-6, stop_s - 1e-6))
        last = min(int(last), len(self.beats))
        notes = self.chroma
        chroma = BeatChroma(notes.chroma[first:last], notes.bass[first:last], notes.weight[first:last], notes.tuning)
        beats = Beats(self.beats.lines_s[first : last + 1], self.beats.downbeats[first:last])
        return Harmony(beats, chroma, self.chords[first:last])

    def chord_at(self, time_s: float) -> Chord | None:
        """The chord at a project time, None outside."""
        index = int(np.searchsorted(self.beats.lines_s, time_s, side="right")) - 1
        return self.chords[index] if 0 <= index < len(self.chords) else None


@dataclass(frozen=True)
class Shares:
    """Notes per beat: `chroma` ``(k, 12)``, rows of sum 1, and the `strength` ``(k,)`` of what has pitch."""

    chroma: Floats
    strength: Floats


@dataclass(frozen=True)
class ChordReference:
    """The song's chords around a region. `vocabulary` is None where each beat has its chord given by the song."""

    song: Harmony
    vocabulary: tuple[Chord, ...] | None
    agreement: float
    """How well the song agrees with its own chords, measured in the same way."""
    tuning: float
    tonal: float


def keeps_chords(verb: Verb) -> bool:
    """Whether the song's own chord of each beat binds a take of this verb."""
    return verb.makes_stems or verb is Verb.COVER


def beats_of(request: GenerationRequest, start: int, stop: int, *cuts: int) -> Beats:
    """The counts between two source frames, cut at both and at `cuts`; of compound meters the dotted ones, since
    an eighth is too short to hear a chord in."""
    tempo_map = request.tempo_map
    start_s, stop_s = request.time_of(start), request.time_of(stop)
    counts: dict[float, bool] = {}
    for line in tempo_map.grid(start_s - _SHORTEST_S, stop_s + _SHORTEST_S):
        signature = tempo_map.signature_at(line.time_s + 1e-6)
        every = 1 if signature.denominator < 8 else 3 if signature.numerator % 3 == 0 else 2
        if (line.count - 1) % every == 0:
            counts[line.time_s] = line.is_bar_line
    edges = {request.time_of(frame) for frame in (start, *cuts, stop)}
    times = {edge: any(bar for time_s, bar in counts.items() if abs(time_s - edge) < _SHORTEST_S) for edge in edges}
    for time_s, bar in counts.items():
        if start_s < time_s < stop_s and all(abs(time_s - edge) >= _SHORTEST_S for edge in edges):
            times[time_s] = bar
    lines = sorted(times)
    return Beats(np.array(lines), np.array([times[time_s] for time_s in lines[:-1]], dtype=bool))


def hear(signal: Mono, rate: int, start_s: float, beats: Beats, key: Key | None) -> Harmony:
    """The chords of `signal`, which begins at project time `start_s`."""
    chroma = beat_chroma(signal, rate, beats.lines_s - start_s)
    return Harmony(beats, chroma, recognise(chroma, key, beats.downbeats))


def hear_take(
    signal: Mono, request: GenerationRequest, region: tuple[int, int], song: Harmony | None, key: Key | None
) -> Harmony:
    """The chords of a take, recognised between those of the song on either side where it meets them."""
    beats = beats_of(request, *region)
    start_s, stop_s = beats.lines_s[[0, -1]]
    parts = [Harmony(beats, beat_chroma(signal, request.rate, beats.lines_s - start_s), [])]
    if song is not None:
        before, after = song.part(-np.inf, start_s), song.part(stop_s, np.inf)
        if len(before.beats) and abs(before.beats.lines_s[-1] - start_s) < 1e-6:
            parts.insert(0, before.part(before.beats.lines_s[-1 - _RECOGNISED_BEATS :][0], start_s))
        if len(after.beats) and abs(after.beats.lines_s[0] - stop_s) < 1e-6:
            parts.append(after.part(stop_s, after.beats.lines_s[: _RECOGNISED_BEATS + 1][-1]))
    heard = [part.chroma for part in parts]
    chroma = BeatChroma(
        np.concatenate([notes.chroma for notes in heard]),
        np.concatenate([notes.bass for notes in heard]),
        np.concatenate([notes.weight for notes in heard]),
    )
    lines = np.concatenate([parts[0].beats.lines_s[:1], *(part.beats.lines_s[1:] for part in parts)])
    whole = Beats(lines, np.concatenate([part.beats.downbeats for part in parts]))
    return Harmony(whole, chroma, recognise(chroma, key, whole.downbeats))


def note_shares(found: Pitches, tuned: float, beats: Beats) -> Shares:
    """The notes of each beat from peaks in project seconds, a peak between two semitones shared by both."""
    beat = np.searchsorted(beats.lines_s, found.time_s, side="right") - 1
    inside = (beat >= 0) & (beat < len(beats))
    beat, pitch, weight = beat[inside], found.pitch[inside] - tuned, found.weight[inside]
    lower = np.floor(pitch)
    chroma = np.zeros(len(beats) * 12)
    for note, share in ((lower, 1.0 - (pitch - lower)), (lower + 1, pitch - lower)):
        chroma += np.bincount(beat * 12 + note.astype(int) % 12, weight * share, minlength=len(beats) * 12)
    rows = chroma.reshape(-1, 12)
    return Shares(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-12), rows.sum(axis=1))


def chord_reference(verb: Verb, song: Harmony, found: Pitches, tuned: float, key: Key | None) -> ChordReference | None:
    """What takes are held against, from the song's own peaks `found`; None if no chord can be told in it."""
    if not any(song.chords):
        return None
    shares = note_shares(found, tuned, song.beats)
    vocabulary = None if keeps_chords(verb) else chords_of(song.chords, key)
    per_beat = against_given(shares, song.chords) if vocabulary is None else against_any(shares, vocabulary)
    own = overall(shares, per_beat)
    if own is None or own < _CLEAR:
        return None
    return ChordReference(song, vocabulary, own, tuned, found.tonal)


def chords_of(heard: Sequence[Chord | None], key: Key | None) -> tuple[Chord, ...]:
    """The chords of a song: those `heard` for more than a moment, and the major and minor triads of its key."""
    used = [chord for chord, beats in Counter(heard).items() if chord is not None and beats >= _USED_BEATS]
    return tuple(dict.fromkeys([*used, *(triads(key) if key else ())]))


def triads(key: Key) -> tuple[Chord, ...]:
    """The major and minor triads on the steps of the key's scale."""
    every = (Chord(root, quality) for root in key.scale for quality in _TRIADS)
    return tuple(sorted((c for c in every if set(c.pitch_classes) <= set(key.scale)), key=lambda c: c.root))


def against_given(shares: Shares, chords: Sequence[Chord | None]) -> Floats:
    """How well each beat agrees with its own chord ``(k,)``; NaN without one, or without pitch."""
    rows = zip(shares.chroma, chords, strict=True)
    return _heard(shares, np.array([_contrast(row, chord) if chord else np.nan for row, chord in rows]))


def against_any(shares: Shares, chords: Sequence[Chord]) -> Floats:
    """How well each beat agrees with that of `chords` which fits it best ``(k,)``; NaN without pitch.

    The best of many fits anything a little: chance is the mean of the same over all twelve transpositions.
    """
    best = np.array(
        [
            np.max([_contrast(np.roll(shares.chroma, semitones, axis=1), chord) for chord in chords], axis=0)
            for semitones in range(12)
        ]
    )
    chance = best.mean(axis=0)
    return _heard(shares, (best[0] - chance) / np.maximum(1.0 - chance, 1e-6))


def overall(shares: Shares, per_beat: Floats) -> float | None:
    """The mean over the beats, those with more pitch counting more; None if none can be measured."""
    used = np.isfinite(per_beat)
    return float(np.average(per_beat[used], weights=shares.strength[used])) if used.any() else None


def _heard(shares: Shares, per_beat: Floats) -> Floats:
    return np.where(shares.strength > 1e-3 * shares.strength.max(initial=0.0), per_beat, np.nan)


def _contrast(chroma: Floats, chord: Chord) -> Floats:
    """1 where all of ``chroma (..., 12)`` lies in the chord, 0 where as much as chance would put there."""
    chance = len(chord.pitch_classes) / 12
    return np.asarray((chroma[..., list(chord.pitch_classes)].sum(axis=-1) - chance) / (1.0 - chance))


def told_spans(harmony: Harmony, region_s: tuple[float, float], key: Key | None) -> list[list[float | str]]:
    """``[start_s, end_s, name]`` of the chords from `AROUND_S` before a region to as much after it, for drawing."""
    start_s, stop_s = region_s[0] - AROUND_S, region_s[1] + AROUND_S
    flats = key is not None and key.signature < 0
    return [
        [max(span.start, start_s), min(span.end, stop_s), span.chord.name(flats=flats)]
        for span in spans(harmony.beats.lines_s, harmony.chords)
        if span.chord is not None and span.end > start_s and span.start < stop_s
    ]
