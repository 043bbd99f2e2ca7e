"""What the song itself measures around a region: the yardstick of all takes of a job.

It reads at most `CONTEXT_S` seconds of the song and the region's own audio, however long the song is, and is computed
once for a region (`reference_for` keeps the last few).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest, Source
from engine.loudness import loudness_lufs
from engine.measures.chords import ChordReference, beats_of, chord_reference, hear
from engine.measures.grid import SIXTEENTHS, TRIPLETS, GridLock, grid_lines, grid_lock
from engine.measures.key import KeyAgreement, estimate_key, key_agreement, pitches, tuning
from engine.measures.masking import MaskingReference, masking_reference
from engine.measures.mel import Mono, mono, silence_power
from engine.measures.noise import SongFloor, song_floor
from engine.measures.novelty import Fingerprint, fingerprint, longest_copy, similarity
from engine.measures.onsets import onset_times
from engine.measures.seam import MARGIN_S, change_db, click_db, same_places
from protocol.errors import BadArgument
from protocol.key import Key
from protocol.vocabulary import Verb

if TYPE_CHECKING:
    from engine.api import Audio

Floats = NDArray[np.float64]

CONTEXT_S = 48.0
"""Song read around the region, both sides together."""
EDGE_S = 0.5
"""Original audio kept at either edge, to measure the joins and the first and last onsets."""
_LOUDNESS_S = 12.0
_ENOUGH_S = 6.0
"""With less song than this around the region, what the region held before serves as reference too."""
_LONGEST_ORIGINAL_S = 90.0
_FEWEST_PLACES = 6
_IN_KEY = 0.1
"""A song whose agreement with a key is below this is not in that key."""
_KEPT = 4
_SHORTEST_HARMONY_S = 0.5

MIXED_ON = frozenset({Verb.COMPLETE, Verb.LEGO})
"""Verbs whose stems sound together with the song."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the song: source frames ``start .. start + audio.shape[1]``."""

    start: int
    audio: Audio

    @property
    def stop(self) -> int:
        return self.start + int(self.audio.shape[1])


@dataclass(frozen=True)
class _Song:
    """What was heard of the song: its pieces, their mono mixes, all their onsets (project seconds), its silence."""

    pieces: list[Piece]
    mixes: list[Mono]
    onsets_s: Floats
    silence: float


@dataclass(frozen=True)
class EdgeReference:
    """The song's own changes and clicks where it does what it does at this edge."""

    changes_db: Floats
    clicks_db: Floats
    against: str
    """``bar``: the same place in other bars; ``count``: in other counts; ``onset``: the song's onsets."""


@dataclass(frozen=True)
class KeyReference:
    """The key that takes are held against, and how well the song keeps to it."""

    key: Key
    told: bool
    """True if the request named the key, False if it was estimated from the song."""
    tuning: float
    tonal: float
    own: KeyAgreement


@dataclass(frozen=True)
class Reference:
    """The song around one region. Everything that the song cannot tell is None."""

    before: Audio
    """The last `EDGE_S` before the region; empty where the song has not begun or the edge is not to be joined."""
    after: Audio
    silence: float
    start: EdgeReference | None = None
    end: EdgeReference | None = None
    lufs: float | None = None
    grid: GridLock | None = None
    per_quarter: int = SIXTEENTHS
    onsets_per_s: float = 0.0
    key: KeyReference | None = None
    original: Fingerprint | None = None
    """Fingerprint of what the region held before."""
    neighbour: Fingerprint | None = None
    """Fingerprint of the stretch of the same length before the region (or after it, at the song's beginning)."""
    own_similarity: float | None = None
    stretches: tuple[Fingerprint, ...] = ()
    """Fingerprints of all that was read of the song, in which copies are looked for."""
    own_copy: float = 0.0
    """How much of what the region held is itself an excerpt of the song around it."""
    chords: ChordReference | None = None
    masking: MaskingReference | None = None
    """Only for stems that are mixed onto the song."""
    floor: SongFloor | None = None
    """Only for what replaces the song."""


_kept: OrderedDict[Hashable, Reference] = OrderedDict()
_lock = threading.Lock()


def reference_for(request: GenerationRequest, region: tuple[int, int]) -> Reference:
    """The `Reference` of a region of `request`, computed once for the same song, region, grid and key."""
    source = request.source
    key: Hashable = (
        *(source and source.sha256, request.rate, region, request.verb, request.source_start_s),
        *(request.tempo_map, request.tempo_known, request.key),
    )
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    made = make_reference(request, region)
    with _lock:
        _kept[key] = made
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return made


def make_reference(request: GenerationRequest, region: tuple[int, int]) -> Reference:
    """Measure the song around `region` (source frames)."""
    if request.source is None:
        nothing = np.zeros((1, 0), dtype=np.float32)
        return Reference(nothing, nothing, 1e-12)
    rate = request.rate
    before, original, after = _read_around(request.source, region, rate)
    song = _heard(request, before, original, after)
    per_quarter, grid = _grid(request, song)
    edge, margin, joins = round(EDGE_S * rate), MARGIN_S * rate, request.verb.joins_source
    meets_before = joins and before.stop == region[0] and before.audio.shape[1] >= margin
    meets_after = joins and after.start == region[1] and after.audio.shape[1] >= margin
    fingerprints = _fingerprints(before, original, after, region, rate)
    stretches, own_copy = _copies(request.verb, before, original, after, rate)
    key = _key(request, song)
    chords, masking = _harmony(request, before, original, after, region, key)
    return Reference(
        before=before.audio[:, before.audio.shape[1] - edge if meets_before else before.audio.shape[1] :].copy(),
        after=after.audio[:, : edge if meets_after else 0].copy(),
        silence=song.silence,
        start=_edge(request, song, region[0], end=False) if meets_before else None,
        end=_edge(request, song, region[1], end=True) if meets_after else None,
        lufs=_surrounding_lufs(before, original, after, rate),
        grid=grid,
        per_quarter=per_quarter,
        onsets_per_s=song.onsets_s.size * rate / max(1, sum(mix.size for mix in song.mixes)),
        key=key,
        original=fingerprints[0],
        neighbour=fingerprints[1],
        own_similarity=similarity(*fingerprints),
        stretches=stretches,
        own_copy=own_copy,
        chords=chords,
        masking=masking,
        floor=song_floor([mono(piece.audio) for piece in (before, original, after)], rate) if joins else None,
    )


def _heard(request: GenerationRequest, before: Piece, original: Piece, after: Piece) -> _Song:
    """The pieces that serve as reference: what surrounds the region, with what it held if that is too little."""
    rate = request.rate
    pieces = [piece for piece in (before, after) if piece.audio.shape[1] >= rate]
    if sum(piece.audio.shape[1] for piece in pieces) < _ENOUGH_S * rate:
        whole = [before, original, *([after] if original.stop == after.start else [])]
        pieces = [Piece(before.start, np.concatenate([piece.audio for piece in whole], axis=1))]
    mixes = [mono(piece.audio) for piece in pieces]
    onsets = [onset_times(mix, rate) + request.time_of(piece.start) for mix, piece in zip(mixes, pieces, strict=True)]
    return _Song(pieces, mixes, np.concatenate(onsets), silence_power(np.concatenate(mixes), rate))


def _read_around(source: Source, region: tuple[int, int], rate: int) -> tuple[Piece, Piece, Piece]:
    """Before, original and after; each may be empty. A side that is short leaves its share to the other."""
    start, stop = (min(max(0, edge), source.frames) for edge in region)
    budget = round(CONTEXT_S * rate)
    left = min(start, max(budget // 2, budget - (source.frames - stop)))
    right = min(source.frames - stop, budget - left)
    middle = min(stop, start + round(_LONGEST_ORIGINAL_S * rate))
    spans = ((start - left, start), (start, middle), (stop, stop + right))
    before, original, after = (Piece(first, source.read(first, last)) for first, last in spans)
    return before, original, after


def beats_between(request: GenerationRequest, start: int, stop: int) -> Floats:
    """Project times of the quarter notes between two source frames (under the default tempo if none is known)."""
    tempo_map = request.tempo_map
    first, last = (tempo_map.beat_at(request.time_of(frame)) for frame in (start, stop))
    return np.array([tempo_map.time_at(beat) for beat in np.arange(np.ceil(first + 1e-3), last)])


def lines_between(request: GenerationRequest, start: int, stop: int, per_quarter: int) -> Floats:
    """Project times of the grid lines around two source frames."""
    return grid_lines(request.tempo_map, request.time_of(start), request.time_of(stop), per_quarter)


def _grid(request: GenerationRequest, song: _Song) -> tuple[int, GridLock | None]:
    """Whether the song keeps to sixteenths or to triplets, and how closely."""
    if not request.tempo_known:
        return SIXTEENTHS, None
    span = song.pieces[0].start, song.pieces[-1].stop
    straight, triplet = (
        grid_lock(song.onsets_s, lines_between(request, *span, per_quarter)) for per_quarter in (SIXTEENTHS, TRIPLETS)
    )
    if straight and triplet and triplet.together - triplet.chance > straight.together - straight.chance + 0.15:
        return TRIPLETS, triplet
    return SIXTEENTHS, straight


def _edge(request: GenerationRequest, song: _Song, edge: int, *, end: bool) -> EdgeReference | None:
    against, places = _places(request, song, edge)
    changes: list[Floats] = []
    clicks: list[float] = []
    for piece, mix, frames in zip(song.pieces, song.mixes, places, strict=True):
        if frames.size:
            changes.append(change_db(mix, frames, request.rate, song.silence, end=end))
        for join in np.round(frames).astype(int):  # the song rounds its own events to a frame as it likes
            clicks.append(max(click_db(piece.audio, int(join) + near, request.rate) for near in (-1, 0, 1)))
    return EdgeReference(np.concatenate(changes), np.array(clicks), against) if changes else None


def _places(request: GenerationRequest, song: _Song, edge: int) -> tuple[str, list[Floats]]:
    """Where to compare an edge with the song: frames into each piece, with a margin on either side."""
    margin = MARGIN_S * request.rate

    def inside(times: Floats, piece: Piece) -> Floats:
        frames = np.array([request.frame_of(time_s) - piece.start for time_s in times], dtype=np.float64)
        return np.asarray(frames[(frames >= margin) & (frames <= piece.audio.shape[1] - margin)])

    if request.tempo_known:
        for against, every_count in (("bar", False), ("count", True)):
            places = []
            for piece in song.pieces:
                span = (request.time_of(piece.start), request.time_of(piece.stop))
                times = same_places(request.tempo_map, request.time_of(edge), span, every_count=every_count)
                places.append(inside(np.array(times), piece))
            if sum(frames.size for frames in places) >= _FEWEST_PLACES:
                return against, places
    return "onset", [inside(song.onsets_s, piece) for piece in song.pieces]


def _surrounding_lufs(before: Piece, original: Piece, after: Piece, rate: int) -> float | None:
    near = round(_LOUDNESS_S * rate)
    around = np.concatenate([before.audio[:, -near:], after.audio[:, :near]], axis=1)
    if around.shape[1] < rate:
        around = np.concatenate([around, original.audio], axis=1)
    return loudness_lufs(around, rate)


def _key(request: GenerationRequest, song: _Song) -> KeyReference | None:
    piece, mix = max(zip(song.pieces, song.mixes, strict=True), key=lambda pair: pair[1].size)
    found = pitches(mix, request.rate).shifted(request.time_of(piece.start))
    if not found.weight.size:
        return None
    tuned = tuning(found)
    beats = beats_between(request, piece.start, piece.stop)
    told = told_key(request)
    for key in (told, estimate_key(found, tuned)):
        own = key_agreement(found, key, tuned, beats) if key else None
        # A song that is not in the key it is said to be in is held against the key it is in.
        if key and own and own.agreement >= _IN_KEY:
            return KeyReference(key, key is told, tuned, found.tonal, own)
    return None


def told_key(request: GenerationRequest) -> Key | None:
    """The request's key, or None if it names none that we can read."""
    try:
        return Key.parse(request.key) if request.key else None
    except BadArgument:
        return None


def _fingerprints(
    before: Piece, original: Piece, after: Piece, region: tuple[int, int], rate: int
) -> tuple[Fingerprint | None, Fingerprint | None]:
    """Of what the region held and of its neighbour, None where these are not as long as the region."""
    length = min(region[1] - region[0], round(_LONGEST_ORIGINAL_S * rate))
    beside = before.audio[:, -length:] if before.audio.shape[1] >= length else after.audio[:, :length]
    first, second = (
        fingerprint(mono(audio), rate) if audio.shape[1] == length else None for audio in (original.audio, beside)
    )
    return first, second


def _copies(
    verb: Verb, before: Piece, original: Piece, after: Piece, rate: int
) -> tuple[tuple[Fingerprint, ...], float]:
    """In what copies are looked for, and how much of what the region held is a copy of the rest."""
    if verb is Verb.EXTRACT:  # a copy by its nature
        return (), 0.0
    parts = [fingerprint(mono(piece.audio), rate) for piece in (before, original, after)]
    copy = longest_copy(parts[1], (parts[0], parts[2]))
    joined = [np.concatenate([audio.audio for audio in (before, original)], axis=1), after.audio]
    if original.stop == after.start:
        joined = [np.concatenate(joined, axis=1)]
    return tuple(fingerprint(mono(audio), rate) for audio in joined), copy.share if copy else 0.0


def _harmony(
    request: GenerationRequest,
    before: Piece,
    original: Piece,
    after: Piece,
    region: tuple[int, int],
    key: KeyReference | None,
) -> tuple[ChordReference | None, MaskingReference | None]:
    """The song's chords over the unbroken stretch around the region, and what it is as a bed for stems."""
    pieces = [piece.audio for piece in (before, original, after) if piece is not after or original.stop == after.start]
    signal, rate = mono(np.concatenate(pieces, axis=1)), request.rate
    start, stop = before.start, before.start + signal.size
    if signal.size < _SHORTEST_HARMONY_S * rate:
        return None, None
    inside = [frame for frame in region if start < frame < stop]
    start_s = request.time_of(start)
    song = hear(signal, rate, start_s, beats_of(request, start, stop, *inside), key.key if key else None)
    found = pitches(signal, rate).shifted(start_s)
    tuned = key.tuning if key else tuning(found)
    chords = chord_reference(request.verb, song, found, tuned, key.key if key else None)
    if request.verb not in MIXED_ON or original.start != region[0] or not original.audio.shape[1]:
        return chords, None
    return chords, masking_reference(signal, rate, song, beats_of(request, original.start, original.stop), tuned)
