"""What a take measures, in numbers that tell a good take from a bad one, and the score by which takes are ranked.

Every number stands beside the song's own, measured the same way around the region (`engine.measures.reference`): a
change is only a seam, an onset only off the grid, a note only wrong, if the song itself does not do the same. The
takes of a job share one reference; a take costs what its own length costs.

The measures hold numbers, strings, booleans, lists of these and None only (None: not measurable; ``reason`` then says
why), rounded, and are the same on every run.

``length``   frames, expected, exact
``seam``     per edge (``start``, ``end``; None where nothing is joined): ``change_db``, the change of sound across the
             edge (mean over mel bands), its ``percentile`` among the song's own changes at the same place in the bar,
             and of those the ``song_median_db`` and ``song_high_db`` (the 90th percentile)
``click``    ``start_db``, ``end_db``: the break in the waveform at the very join over what surrounds it;
             ``start_song_db``, ``end_song_db``: the 90th percentile of the song's own, where it does the same
``level``    ``lufs``, ``context_lufs``, ``difference_lu`` (take minus surroundings), ``peak_dbfs``, ``gain_db`` (what
             the splice applied), ``scored`` (whether it counts: it is joined to the song or mixed onto it, and not
             shorter than 0.4 s), ``louder_only`` (a stem need not match the song, but shall not drown it)
``grid``     ``onsets``, ``lines``, ``median_ms`` (late is positive), ``spread_ms``, ``near`` (share within 20 ms of a
             line), the song's as ``song_...``, and ``shift_ms``: how much later than the song's own onsets
``key``      ``key``, ``told`` (else estimated: none was told, or the song is not in it), ``agreement`` (1 in key and in
             tune, 0 as by chance), ``song_agreement``, ``in_tune``, ``tuning_cents`` against the song,
             ``fits_transposed`` (semitones), ``tonal`` (share of the energy that is in notes), ``song_tonal``
``chords``   ``agreement`` (1: in each beat only notes of its chord, 0 as by chance), ``song_agreement``, ``against``
             (``song``: the song's own chord of each beat; ``vocabulary``: any chord that is one of this song),
             ``per_beat`` ([start_s, agreement] for each beat, None where it has no pitch) and ``spans`` ([start_s,
             end_s, name] from 4 s before the region to 4 s after: the take's own chords, under a stem the song's)
``masking``  of stems that are mixed onto the song: ``hidden`` (share of the stem's loudness that the song masks),
             ``covers`` (share of the song's that the stem masks), ``bass_clash`` (share of the beats in which the two
             basses clash); ``song_hidden`` and ``song_covers``: what the song's softer layer loses to its louder one
             and the louder to it; ``song_bass_clash``: beats in which its own bass is foreign to its chord
``noise``    of what replaces the song: ``floor_db``, what sounds between its notes, below the song's loud moments,
             ``song_floor_db``, and ``over_db``, the mean over the bands by which the take's floor is the higher
``novelty``  ``original``, ``neighbour``: likeness to what was there and to the bars beside it (1: a copy), ``song``:
             the likeness of these two to each other; ``longest_copy_s``: the longest stretch that is one continuous
             excerpt of the song, ``copy_share``: how much of the take is that excerpt, also in loops of it,
             ``song_copy_share``: the same for what the region held, within the rest of the song, and ``free_share``:
             how much may be (a quarter, a bar, or what the song does itself)
``grid``, ``key`` and ``chords`` hold their subscore as ``lock``; `engine.measures.scoring` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.api import GenerationRequest
from engine.loudness import loudness_lufs, peak_dbfs
from engine.measures import music
from engine.measures.mel import mono
from engine.measures.reference import MIXED_ON, EdgeReference, Reference, reference_for
from engine.measures.scoring import WEIGHTS, score, subscores
from engine.measures.seam import MARGIN_S, change_db, click_db, percentile_of
from engine.measures.words import summary
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

_SHORTEST_LEVEL_S = 0.4

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
    take = music.as_take(mono(audio), region, request, reference, track)
    measures = {
        "length": _length(audio, region),
        "seam": _seam(audio, reference, rate),
        "click": _click(audio, reference, rate),
        "level": _level(audio, reference, rate, spliced_gain_db, mixed_on=request.verb in MIXED_ON),
        "grid": music.grid(take),
        "key": music.key(take),
        "chords": music.chords(take),
        "masking": music.masking(take),
        "noise": music.hiss(take),
        "novelty": music.novelty(take),
    }
    return {name: {key: _plain(value) for key, value in part.items()} for name, part in measures.items()}


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


def _level(audio: Audio, reference: Reference, rate: int, gain_db: float, *, mixed_on: bool) -> dict[str, Any]:
    lufs = loudness_lufs(audio, rate)
    long_enough = audio.shape[1] >= _SHORTEST_LEVEL_S * rate
    known = lufs is not None and reference.lufs is not None
    found: dict[str, Any] = {
        "lufs": lufs,
        "context_lufs": reference.lufs,
        "difference_lu": lufs - reference.lufs if lufs is not None and reference.lufs is not None else None,
        "peak_dbfs": peak_dbfs(audio),
        "gain_db": float(gain_db),
        "scored": long_enough and (mixed_on or reference.start is not None or reference.end is not None),
        "louder_only": mixed_on,
    }
    if not known:
        found["reason"] = "the take is silent or too short" if lufs is None else "there is no song around it to compare"
    return found


def _plain(value: Any) -> Any:
    """JSON-ready: rounded floats, no NaN or infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if math.isfinite(value) else None
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
