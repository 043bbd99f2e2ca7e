"""What a take does as music, beside what the song does: its grid, key, chords, masking and novelty.

Each function gives one part of what `engine.report.measure` returns and describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.api import GenerationRequest
from engine.measures.chords import (
    Beats,
    Shares,
    against_any,
    against_given,
    beats_of,
    hear_take,
    note_shares,
    overall,
    told_spans,
    triads,
)
from engine.measures.grid import MIN_ONSETS, SIXTEENTHS, GridLock, grid_lock, wrapped
from engine.measures.key import Pitches, estimate_key, key_agreement, pitches, tuning
from engine.measures.masking import band_power, bass_clash, losses
from engine.measures.mel import Mono, mono
from engine.measures.noise import noise
from engine.measures.novelty import fingerprint, longest_copy, similarity
from engine.measures.onsets import onset_times
from engine.measures.reference import EDGE_S, MIXED_ON, Reference, beats_between, lines_between, told_key
from engine.measures.scoring import clip
from protocol.key import Key
from protocol.vocabulary import TrackClass

Floats = NDArray[np.float64]

_UNPITCHED = frozenset({TrackClass.DRUMS, TrackClass.PERCUSSION, TrackClass.FX})
_BEATING = frozenset({TrackClass.DRUMS, TrackClass.PERCUSSION})
_TIGHT = _BEATING | {TrackClass.BASS}
_TIGHT_MS, _SOFT_MS = 2.0, 8.0
"""Offset from the song that costs nothing. The onset of a soft attack is told late, by some milliseconds."""
_NO_PITCH = "this track has no pitch"
_SHORTEST_KEY_S = 0.3
_FREE_SHARE = 0.25
"""As much of a take, or a bar, may be one excerpt of the song: a new arrangement of it is made of several."""
_EARLY_S = 0.01
"""An onset this little before the region is the region's first."""


@dataclass(frozen=True)
class Take:
    """A take's mono mix over `region` (source frames), what was asked for, and the song around it. `found` are its
    pitches in project seconds, None for a track class that has none."""

    signal: Mono
    region: tuple[int, int]
    request: GenerationRequest
    reference: Reference
    track: TrackClass | None
    found: Pitches | None

    @property
    def span_s(self) -> tuple[float, float]:
        """Its start and end in project seconds."""
        return self.request.time_of(self.region[0]), self.request.time_of(self.region[1])


def as_take(
    signal: Mono,
    region: tuple[int, int],
    request: GenerationRequest,
    reference: Reference,
    track: TrackClass | None,
) -> Take:
    """The take, with its pitches found once for all measures."""
    found = None if track in _UNPITCHED else pitches(signal, request.rate).shifted(request.time_of(region[0]))
    return Take(signal, region, request, reference, track, found)


def grid(take: Take) -> dict[str, Any]:
    """Onsets against the lines of the tempo map."""
    reference, request, track = take.reference, take.request, take.track
    if not request.tempo_known:
        return {"lock": None, "reason": "no tempo is known"}
    song = reference.grid
    if request.source is not None and song is None:
        return {"lock": None, "reason": "the song around it has too few onsets to compare"}
    onsets = _onsets(take)
    own = grid_lock(onsets, lines_between(request, *take.region, reference.per_quarter))
    found: dict[str, Any] = {
        "onsets": int(onsets.size),
        "lines": "sixteenths" if reference.per_quarter == SIXTEENTHS else "triplets",
        **_offsets(own),
        **{f"song_{name}": value for name, value in _offsets(song).items()},
        "shift_ms": None,
        "lock": None,
    }
    if song and song.together < song.chance + 0.15:
        return found | {"reason": "the song's own onsets do not lie on this grid: check tempo and position"}
    if own is None:
        expected = reference.onsets_per_s * (take.region[1] - take.region[0]) / request.rate
        moves = track is None or track in _BEATING  # a pad need not move as the band does
        many = moves and expected >= 2 * MIN_ONSETS
        reason = f"{onsets.size} onsets where the song has about {expected:.0f}" if many else "too few onsets to tell"
        return found | {"lock": 0.0 if many else None, "reason": reason}
    shift = float(wrapped(own.median_ms - (song.median_ms if song else 0.0), own.spacing_ms))
    steady = (own.together - own.chance) / max(0.1, (song.together if song else 1.0) - own.chance)
    tight = track is None or track in _TIGHT
    tolerance_ms = max(_TIGHT_MS if tight else _SOFT_MS, song.spread_ms if song else 0.0)
    off = min(abs(shift), abs(own.median_ms)) if track in _TIGHT else abs(shift)
    lock = math.exp(-max(0.0, off - tolerance_ms) / 25.0) * clip(steady)
    return found | {"shift_ms": shift, "lock": lock}


def _offsets(lock: GridLock | None) -> dict[str, float | None]:
    names = ("median_ms", "spread_ms", "near")
    return {name: getattr(lock, name) if lock else None for name in names}


def _onsets(take: Take) -> Floats:
    """The take's onsets in project seconds, those at its very edges heard against what surrounds it."""
    signal, rate = take.signal, take.request.rate
    pad = round(EDGE_S * rate)
    before, after = mono(take.reference.before), mono(take.reference.after)
    padded = np.concatenate(
        [np.zeros(pad - before.size, np.float32), before, signal, after, np.zeros(pad - after.size, np.float32)]
    )
    times = onset_times(padded, rate) - pad / rate
    inside = (times >= -_EARLY_S) & (times < signal.size / rate - _EARLY_S)
    return np.asarray(times[inside] + take.span_s[0])


def _unknown(reason: str) -> dict[str, Any]:
    return {"lock": None, "reason": reason}


def key(take: Take) -> dict[str, Any]:
    """Notes against the key."""
    request, found, song = take.request, take.found, take.reference.key
    if found is None:
        return {"key": None, **_unknown(_NO_PITCH)}
    if request.source is not None and song is None:
        return {"key": None, **_unknown("the song around it keeps to no key")}
    if take.signal.size < _SHORTEST_KEY_S * request.rate:
        return {"key": None, **_unknown("too short to tell")}
    tuned = song.tuning if song else tuning(found)
    held_against = song.key if song else _key_of(found, request, tuned)
    if held_against is None:
        return {"key": None, **_unknown("no note is heard and no key is told")}
    own = key_agreement(found, held_against, tuned, beats_between(request, *take.region))
    agreement = own.agreement * _pitched(found, song.tonal if song else None) if own else 0.0
    return {
        "key": str(held_against),
        "told": song.told if song else told_key(request) is not None,
        "agreement": agreement,
        "song_agreement": song.own.agreement if song else None,
        "in_tune": own.in_tune if own else None,
        "tuning_cents": own.tuning_cents if own else None,
        "fits_transposed": own.fits_transposed if own else None,
        "tonal": found.tonal,
        "song_tonal": song.tonal if song else None,
        "lock": clip(agreement / (song.own.agreement if song else 0.6)),
    }


def _key_of(found: Pitches, request: GenerationRequest, tuned: float) -> Key | None:
    return told_key(request) or (estimate_key(found, tuned) if found.weight.size else None)


def _pitched(found: Pitches, song_tonal: float | None) -> float:
    """1, or less for a noise: its stray peaks have a pitch too, but far less of it is in them than in the song."""
    return min(1.0, found.tonal / (0.1 if song_tonal is None else max(1e-6, 0.25 * song_tonal)))


def chords(take: Take) -> dict[str, Any]:
    """Notes against chords, and the chords by name."""
    request, found, song, told = take.request, take.found, take.reference.chords, _told_or_heard(take)
    if found is None or take.signal.size < _SHORTEST_KEY_S * request.rate:
        return {"spans": [], **_unknown(_NO_PITCH if found is None else "too short to tell")}
    if song and request.verb.makes_stems:
        heard = song.song
    else:
        heard = hear_take(take.signal, request, take.region, song.song if song else None, told)
    spans = told_spans(heard, take.span_s, told)
    beats = beats_of(request, *take.region)
    shares = note_shares(found, song.tuning if song else tuning(found), beats)
    per_beat = _per_beat(take, shares, beats, told)
    if isinstance(per_beat, str):
        return {"spans": spans, **_unknown(per_beat)}
    own = overall(shares, per_beat)
    agreement = own * _pitched(found, song.tonal if song else None) if own is not None else 0.0
    return {
        "agreement": agreement,
        "song_agreement": song.agreement if song else None,
        "against": "song" if song and song.vocabulary is None else "vocabulary",
        "per_beat": [list(pair) for pair in zip(beats.lines_s[:-1], per_beat, strict=True)],
        "spans": spans,
        "lock": clip(agreement / (0.8 * song.agreement if song else 0.5)),
    }


def _per_beat(take: Take, shares: Shares, beats: Beats, told: Key | None) -> Floats | str:
    """How well each beat agrees with the chord, or the chords, it is held against; else why it cannot be."""
    song = take.reference.chords
    if song is None and take.request.source is not None:
        return "the song around it has no chords that can be told"
    if song and song.vocabulary is None:
        given = [song.song.chord_at(time_s) for time_s in (beats.lines_s[:-1] + beats.lines_s[1:]) / 2]
        return against_given(shares, given) if any(given) else "the song has no chords there"
    vocabulary = song.vocabulary if song else told and triads(told)
    return against_any(shares, vocabulary) if vocabulary else "no key is told"


def _told_or_heard(take: Take) -> Key | None:
    return take.reference.key.key if take.reference.key else told_key(take.request)


def masking(take: Take) -> dict[str, Any]:
    """A stem beside the song that it is mixed onto."""
    if take.request.verb not in MIXED_ON:
        return {"hidden": None, "reason": "it is not mixed onto the song"}
    song, rate = take.reference.masking, take.request.rate
    lost = losses(band_power(take.signal, rate), song.power, song.quiet) if song else None
    if song is None or lost is None:
        return {"hidden": None, "reason": "there is no song under it"}
    return {
        "hidden": lost.hidden,
        "covers": lost.covers,
        "bass_clash": bass_clash(take.signal, rate, song) if take.found is not None else 0.0,
        "song_hidden": song.own.hidden,
        "song_covers": song.own.covers,
        "song_bass_clash": song.own_clash,
    }


def hiss(take: Take) -> dict[str, Any]:
    """What sounds between the notes of what replaces the song."""
    song = take.reference.floor
    found = noise(take.signal, take.request.rate, song) if song else None
    if song is None or found is None:
        return {
            "over_db": None,
            "reason": "it is silent or too short to tell" if song else "there is no song that it replaces",
        }
    return {"floor_db": found.level_db, "song_floor_db": song.level_db, "over_db": found.over_db}


def novelty(take: Take) -> dict[str, Any]:
    """Likeness to the song's own audio."""
    reference = take.reference
    own = fingerprint(take.signal, take.request.rate)
    copy = longest_copy(own, reference.stretches)
    start_s, stop_s = take.span_s
    bar = (take.request.tempo_map.bars_from(start_s, 1) - start_s) / (stop_s - start_s)
    return {
        "original": similarity(own, reference.original),
        "neighbour": similarity(own, reference.neighbour),
        "song": reference.own_similarity,
        "longest_copy_s": copy.length_s if copy else None,
        "copy_share": copy.share if copy else None,
        "song_copy_share": reference.own_copy if copy else None,
        "free_share": min(1.0, max(_FREE_SHARE, bar, reference.own_copy)) if copy else None,
    }
