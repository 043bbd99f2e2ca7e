"""What a take measures, in numbers that tell a good take from a bad one, and the score by which takes are ranked.

Every number stands beside the song's own, measured the same way around the region (`engine.measures.reference`): a
change is only a seam, an onset only off the grid, a note only wrong, if the song itself does not do the same. The
takes of a job share one reference; a take costs what its own length costs.

The measures hold numbers, strings, booleans and None only (None: not measurable; ``reason`` then says why), rounded,
and are the same on every run.

``length``   frames, expected, exact
``seam``     per edge (``start``, ``end``; None where nothing is joined): ``change_db``, the change of sound across the
             edge (mean over mel bands), its ``percentile`` among the song's own changes at the same place in the bar,
             and of those the ``song_median_db`` and ``song_high_db`` (the 90th percentile)
``click``    ``start_db``, ``end_db``: the break in the waveform at the very join over what surrounds it;
             ``start_song_db``, ``end_song_db``: the 90th percentile of the song's own, where it does the same
``level``    ``lufs``, ``context_lufs``, ``difference_lu`` (take minus surroundings), ``peak_dbfs``, ``gain_db`` (what
             the splice applied), ``scored`` (whether it should match: not a stem, and not shorter than 0.4 s)
``grid``     ``onsets``, ``lines``, ``median_ms`` (late is positive), ``spread_ms``, ``near`` (share within 20 ms of a
             line), the song's as ``song_...``, and ``shift_ms``: how much later than the song's own onsets
``key``      ``key``, ``told`` (else estimated: none was told, or the song is not in it), ``agreement`` (1 in key and in
             tune, 0 as by chance), ``song_agreement``, ``in_tune``, ``tuning_cents`` against the song,
             ``fits_transposed`` (semitones), ``tonal`` (share of the energy that is in notes), ``song_tonal``
``novelty``  ``original``, ``neighbour``: likeness to what was there and to the bars beside it (1: a copy), and
             ``song``: the likeness of these two to each other
``grid`` and ``key`` hold their subscore as ``lock``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.api import GenerationRequest
from engine.loudness import loudness_lufs, peak_dbfs
from engine.measures.grid import MIN_ONSETS, SIXTEENTHS, GridLock, grid_lock, wrapped
from engine.measures.key import Pitches, estimate_key, key_agreement, pitches, tuning
from engine.measures.mel import mono
from engine.measures.novelty import fingerprint, similarity
from engine.measures.onsets import onset_times
from engine.measures.reference import (
    EDGE_S,
    EdgeReference,
    Reference,
    beats_between,
    lines_between,
    reference_for,
    told_key,
)
from engine.measures.seam import MARGIN_S, change_db, click_db, percentile_of
from engine.measures.words import clean_up_to_db, summary
from protocol.key import Key
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

WEIGHTS: Mapping[str, float] = {"seam": 30, "click": 10, "level": 15, "grid": 25, "key": 20}
"""What each part counts for in the score."""

_UNPITCHED = frozenset({TrackClass.DRUMS, TrackClass.PERCUSSION, TrackClass.FX})
_SHORTEST_LEVEL_S = 0.4
_SHORTEST_KEY_S = 0.3
_EARLY_S = 0.01
"""An onset this little before the region is the region's first."""

__all__ = ["WEIGHTS", "Reference", "measure", "reference_for", "score", "subscores", "summary"]


def measure(
    audio: Audio,
    *,
    region: tuple[int, int],
    rate: int,
    request: GenerationRequest,
    spliced_gain_db: float,
    track: TrackClass | None = None,
) -> dict[str, Any]:
    """Measure one take as it will be delivered.

    `audio` is float32 ``(channels, frames)``, the region after splicing; `region` is in source frames at `rate`;
    `spliced_gain_db` is the gain that the splice applied (reported). `track` is the track class of a stem: drums,
    percussion and fx have no key. Returns what the module describes, ready for JSON.

    Raises what `request.source.read` raises.
    """
    reference = reference_for(request, region)
    signal = mono(audio)
    measures = {
        "length": _length(audio, region),
        "seam": _seam(audio, reference, rate),
        "click": _click(audio, reference, rate),
        "level": _level(audio, reference, rate, spliced_gain_db),
        "grid": _grid(signal, reference, request, region),
        "key": _no_key("this track has no pitch") if track in _UNPITCHED else _key(signal, reference, request, region),
        "novelty": _novelty(signal, reference, rate),
    }
    return {name: {key: _plain(value) for key, value in part.items()} for name, part in measures.items()}


def score(measures: Mapping[str, Any]) -> float:
    """How good a take is, 0 to 100, from what `measure` returned.

    The mean of `subscores` under `WEIGHTS`; parts that could not be measured are left out and the other weights scaled
    up. A take of the wrong length scores 0, and so does one of which nothing could be measured.
    """
    if not measures["length"]["exact"]:
        return 0.0
    parts = {name: value for name, value in subscores(measures).items() if value is not None}
    if not parts:
        return 0.0
    total = sum(WEIGHTS[name] * value for name, value in parts.items())
    return round(100.0 * total / sum(WEIGHTS[name] for name in parts), 2)


def subscores(measures: Mapping[str, Any]) -> dict[str, float | None]:
    """Each part of the score, 0 to 1, or None where it was not measurable.

    * ``seam``, per edge, the worse one counting double: ``(1 - 0.1 p) x exp(-max(0, change - song_high) / 6 dB)`` with
      the percentile ``p`` from 0 to 1. Changes that the song makes itself cost next to nothing.
    * ``click``, the worse edge: 1 up to 6 dB, or 3 dB over the song's own; down to 0 in a straight line 24 dB above.
    * ``level``: 1 within 1 LU of the surroundings, 0 at 12 LU, straight between; left out for stems and scraps.
    * ``grid``: ``exp(-max(0, |shift| - tolerance) / 25 ms) x steadiness``. The tolerance is 2 ms, or the song's own
      spread if that is more; steadiness is how closely the onsets keep to their own median (`engine.measures.grid`),
      0 at chance and 1 at the song's. 0 for a take without onsets where the song has many.
    * ``key``: the take's agreement over the song's (over 0.6 without a song), 0 to 1.
    """
    return {
        "seam": _seam_score(measures["seam"]),
        "click": _click_score(measures["click"]),
        "level": _level_score(measures["level"]),
        "grid": measures["grid"].get("lock"),
        "key": measures["key"].get("lock"),
    }


# --- parts ------------------------------------------------------------------------------------------------------------
def _length(audio: Audio, region: tuple[int, int]) -> dict[str, Any]:
    frames, expected = int(audio.shape[1]), region[1] - region[0]
    return {"frames": frames, "expected": expected, "exact": frames == expected}


def _with_edges(audio: Audio, reference: Reference) -> tuple[Audio, int, int]:
    """The take between the original audio at its edges, and the frames at which it begins and ends there."""
    around = [_like(reference.before, audio), audio, _like(reference.after, audio)]
    start = around[0].shape[1]
    return np.concatenate(around, axis=1), start, start + audio.shape[1]


def _like(original: Audio, take: Audio) -> Audio:
    """`original` with as many channels as `take`."""
    if original.shape[0] == take.shape[0]:
        return original
    return np.repeat(original.mean(axis=0, keepdims=True), take.shape[0], axis=0)


def _seam(audio: Audio, reference: Reference, rate: int) -> dict[str, Any]:
    joined, start, end = _with_edges(audio, reference)
    signal = mono(joined)
    margin = round(MARGIN_S * rate)
    padded = np.pad(signal, margin)  # a short take at the song's end leaves less than the margin
    return {
        "start": _seam_at(padded, start + margin, reference.start, reference.silence, rate, end=False),
        "end": _seam_at(padded, end + margin, reference.end, reference.silence, rate, end=True),
    }


def _seam_at(
    signal: np.ndarray[Any, Any], at: int, own: EdgeReference | None, silence: float, rate: int, *, end: bool
) -> dict[str, Any] | None:
    if own is None:
        return None
    change = float(change_db(signal, np.array([at]), rate, silence, end=end)[0])
    return {
        "change_db": change,
        "percentile": percentile_of(change, own.changes_db),
        "song_median_db": float(np.median(own.changes_db)),
        "song_high_db": float(np.percentile(own.changes_db, 90)),
        "against": own.against,
        "places": int(own.changes_db.size),
    }


def _click(audio: Audio, reference: Reference, rate: int) -> dict[str, Any]:
    joined, start, end = _with_edges(audio, reference)
    found: dict[str, Any] = {}
    for name, at, own in (("start", start, reference.start), ("end", end, reference.end)):
        measurable = own is not None and audio.shape[1] >= 2
        found[f"{name}_db"] = click_db(joined, at, rate) if measurable else None
        found[f"{name}_song_db"] = float(np.percentile(own.clicks_db, 90)) if own else None
    return found


def _level(audio: Audio, reference: Reference, rate: int, gain_db: float) -> dict[str, Any]:
    lufs = loudness_lufs(audio, rate)
    long_enough = audio.shape[1] >= _SHORTEST_LEVEL_S * rate
    known = lufs is not None and reference.lufs is not None
    found: dict[str, Any] = {
        "lufs": lufs,
        "context_lufs": reference.lufs,
        "difference_lu": lufs - reference.lufs if lufs is not None and reference.lufs is not None else None,
        "peak_dbfs": peak_dbfs(audio),
        "gain_db": float(gain_db),
        "scored": long_enough and (reference.start is not None or reference.end is not None),
    }
    if not known:
        found["reason"] = "the take is silent or too short" if lufs is None else "there is no song around it to compare"
    return found


def _grid(
    signal: np.ndarray[Any, Any], reference: Reference, request: GenerationRequest, region: tuple[int, int]
) -> dict[str, Any]:
    if not request.tempo_known:
        return {"lock": None, "reason": "no tempo is known"}
    song = reference.grid
    if request.source is not None and song is None:
        return {"lock": None, "reason": "the song around it has too few onsets to compare"}
    onsets = _onsets(signal, reference, request, region)
    own = grid_lock(onsets, lines_between(request, *region, reference.per_quarter))
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
        expected = reference.onsets_per_s * (region[1] - region[0]) / request.rate
        many = expected >= 2 * MIN_ONSETS
        reason = f"{onsets.size} onsets where the song has about {expected:.0f}" if many else "too few onsets to tell"
        return found | {"lock": 0.0 if many else None, "reason": reason}
    shift = float(wrapped(own.median_ms - (song.median_ms if song else 0.0), own.spacing_ms))
    steady = (own.together - own.chance) / max(0.1, (song.together if song else 1.0) - own.chance)
    tolerance_ms = max(2.0, song.spread_ms if song else 0.0)
    lock = math.exp(-max(0.0, abs(shift) - tolerance_ms) / 25.0) * _clip(steady)
    return found | {"shift_ms": shift, "lock": lock}


def _offsets(lock: GridLock | None) -> dict[str, float | None]:
    names = ("median_ms", "spread_ms", "near")
    return {name: getattr(lock, name) if lock else None for name in names}


def _onsets(
    signal: np.ndarray[Any, Any], reference: Reference, request: GenerationRequest, region: tuple[int, int]
) -> np.ndarray[Any, Any]:
    """The take's onsets in project seconds, those at its very edges heard against what surrounds it."""
    rate, pad = request.rate, round(EDGE_S * request.rate)
    before, after = mono(reference.before), mono(reference.after)
    padded = np.concatenate(
        [np.zeros(pad - before.size, np.float32), before, signal, after, np.zeros(pad - after.size, np.float32)]
    )
    times = onset_times(padded, rate) - pad / rate
    inside = (times >= -_EARLY_S) & (times < signal.size / rate - _EARLY_S)
    return np.asarray(times[inside] + request.time_of(region[0]))


def _no_key(reason: str) -> dict[str, Any]:
    return {"key": None, "lock": None, "reason": reason}


def _key(
    signal: np.ndarray[Any, Any], reference: Reference, request: GenerationRequest, region: tuple[int, int]
) -> dict[str, Any]:
    song = reference.key
    if request.source is not None and song is None:
        return _no_key("the song around it keeps to no key")
    if signal.size < _SHORTEST_KEY_S * request.rate:
        return _no_key("too short to tell")
    found = pitches(signal, request.rate).shifted(request.time_of(region[0]))
    tuned = song.tuning if song else tuning(found)
    key = song.key if song else _key_of(found, request, tuned)
    if key is None:
        return _no_key("no note is heard and no key is told")
    own = key_agreement(found, key, tuned, beats_between(request, *region))
    # Stray peaks of a noise have a pitch too: what is far less tonal than the song agrees with nothing.
    heard = min(1.0, found.tonal / (0.25 * song.tonal if song else 0.1))
    agreement = own.agreement * heard if own else 0.0
    return {
        "key": str(key),
        "told": song.told if song else told_key(request) is not None,
        "agreement": agreement,
        "song_agreement": song.own.agreement if song else None,
        "in_tune": own.in_tune if own else None,
        "tuning_cents": own.tuning_cents if own else None,
        "fits_transposed": own.fits_transposed if own else None,
        "tonal": found.tonal,
        "song_tonal": song.tonal if song else None,
        "lock": _clip(agreement / (song.own.agreement if song else 0.6)),
    }


def _key_of(found: Pitches, request: GenerationRequest, tuned: float) -> Key | None:
    return told_key(request) or (estimate_key(found, tuned) if found.weight.size else None)


def _novelty(signal: np.ndarray[Any, Any], reference: Reference, rate: int) -> dict[str, Any]:
    own = fingerprint(signal, rate)
    return {
        "original": similarity(own, reference.original),
        "neighbour": similarity(own, reference.neighbour),
        "song": reference.own_similarity,
    }


# --- scores -----------------------------------------------------------------------------------------------------------
def _seam_score(seam: Mapping[str, Any]) -> float | None:
    values = []
    for edge in (seam["start"], seam["end"]):
        if edge is not None:
            over_db = max(0.0, edge["change_db"] - edge["song_high_db"])
            values.append((1.0 - 0.1 * edge["percentile"] / 100.0) * math.exp(-over_db / 6.0))
    return (2 * min(values) + max(values)) / 3 if values else None


def _click_score(click: Mapping[str, Any]) -> float | None:
    values = []
    for edge in ("start", "end"):
        if click[f"{edge}_db"] is not None:
            allowed = clean_up_to_db(click[f"{edge}_song_db"])
            values.append(_clip(1.0 - (click[f"{edge}_db"] - allowed) / 24.0))
    return min(values) if values else None


def _level_score(level: Mapping[str, Any]) -> float | None:
    if not level["scored"]:
        return None
    if level["lufs"] is None and level["context_lufs"] is not None:
        return 0.0  # silence in the middle of a song
    difference = level["difference_lu"]
    return None if difference is None else _clip(1.0 - (abs(difference) - 1.0) / 11.0)


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _plain(value: Any) -> Any:
    """JSON-ready: rounded floats, no NaN or infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if math.isfinite(value) else None
    return value
