"""The score of a take: each measure as a number from 0 to 1, and their weighted mean.

Every subscore falls, or stays, as what it is about gets worse, and the song's own figure is what full marks are given
for: nobody has to be tighter, cleaner or newer than the song itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.measures.words import clean_up_to_db

WEIGHTS: Mapping[str, float] = {
    "seam": 25,
    "click": 10,
    "level": 12,
    "grid": 20,
    "key": 13,
    "chords": 10,
    "masking": 10,
    "noise": 15,
    "novelty": 10,
}
"""What each part counts for in the score, relative to one another. Nothing masks what replaces the song; a stem has
neither seam, click nor noise; the parts that there are share the whole."""


def score(measures: Mapping[str, Any]) -> float:
    """How good a take is, 0 to 100, from what `engine.report.measure` returned.

    The mean of `subscores` under `WEIGHTS`; parts that could not be measured are left out and the other weights scaled
    up. A take of the wrong length scores 0, and so does one of which nothing could be measured.
    """
    if not measures["length"]["exact"]:
        return 0.0
    parts = {name: value for name, value in subscores(measures).items() if value is not None}
    # A copy is new or not whatever else it is: novelty alone makes no score.
    if not parts.keys() - {"novelty"}:
        return 0.0
    total = sum(WEIGHTS[name] * value for name, value in parts.items())
    return round(100.0 * total / sum(WEIGHTS[name] for name in parts), 2)


def subscores(measures: Mapping[str, Any]) -> dict[str, float | None]:
    """Each part of the score, 0 to 1, or None where it was not measurable.

    * ``seam``, per edge, the worse one counting double: ``(1 - 0.1 p) x exp(-max(0, change - song_high) / 6 dB)`` with
      the percentile ``p`` from 0 to 1. Changes that the song makes itself cost next to nothing.
    * ``click``, the worse edge: 1 up to 6 dB, or 3 dB over the song's own; down to 0 in a straight line 24 dB above.
    * ``level``: 1 within 1 LU of the surroundings, 0 at 12 LU, straight between; left out for scraps. A stem that is
      mixed onto the song may be as soft as it likes (``hidden`` has that) and loses only above the song's own level.
    * ``grid``: ``exp(-max(0, |shift| - tolerance) / 25 ms) x steadiness``. The tolerance is 2 ms (8 ms for stems other
      than drums, percussion and bass), or the song's own spread if that is more; steadiness is how closely the onsets
      keep to their own median (`engine.measures.grid`), 0 at chance and 1 at the song's. Drums, percussion and bass may
      also keep to the grid itself. 0 without onsets where the song has many, for drums and for what replaces the song.
    * ``key``: the take's agreement over the song's (over 0.6 without a song), 0 to 1.
    * ``chords``: the take's agreement over 0.8 of the song's (over 0.5 without a song), 0 to 1: a melody has more
      passing notes than a band.
    * ``masking``: ``audible x room x (1 - max(0, bass_clash - song_bass_clash))`` with ``audible = (1 - hidden) / (1 -
      song_hidden)``, the loudness that the song leaves of the stem over what its own louder layer leaves of the softer,
      and ``room = (1 - covers) / (1 - song_covers)``, what the stem leaves of the song, each up to 1.
    * ``noise``: 1 up to 5 dB over the song's own floor, 0 at 20 dB, straight between.
    * ``novelty``: ``1 - max(0, copy_share - free_share) / (1 - free_share)``: 1 as long as no single excerpt makes up
      more of the take than a quarter, a bar, or what it does in the song itself; 0 where all of it is one.
    """
    return {
        "seam": _seam(measures["seam"]),
        "click": _click(measures["click"]),
        "level": _level(measures["level"]),
        "grid": measures["grid"].get("lock"),
        "key": measures["key"].get("lock"),
        "chords": measures.get("chords", {}).get("lock"),
        "masking": _masking(measures.get("masking", {})),
        "noise": _noise(measures.get("noise", {})),
        "novelty": _novelty(measures["novelty"]),
    }


def clip(value: float) -> float:
    """`value` within 0 and 1."""
    return min(1.0, max(0.0, value))


def _seam(seam: Mapping[str, Any]) -> float | None:
    values = []
    for edge in (seam["start"], seam["end"]):
        if edge is not None:
            over_db = max(0.0, edge["change_db"] - edge["song_high_db"])
            values.append((1.0 - 0.1 * edge["percentile"] / 100.0) * math.exp(-over_db / 6.0))
    return (2 * min(values) + max(values)) / 3 if values else None


def _click(click: Mapping[str, Any]) -> float | None:
    values = []
    for edge in ("start", "end"):
        if click[f"{edge}_db"] is not None:
            allowed = clean_up_to_db(click[f"{edge}_song_db"])
            values.append(clip(1.0 - (click[f"{edge}_db"] - allowed) / 24.0))
    return min(values) if values else None


def _level(level: Mapping[str, Any]) -> float | None:
    if not level["scored"]:
        return None
    louder_only = level.get("louder_only", False)
    if level["lufs"] is None and level["context_lufs"] is not None and not louder_only:
        return 0.0  # silence in the middle of a song
    difference = level["difference_lu"]
    if difference is None:
        return None
    off = max(0.0, difference) if louder_only else abs(difference)
    return clip(1.0 - (off - 1.0) / 11.0)


def _masking(masking: Mapping[str, Any]) -> float | None:
    if masking.get("hidden") is None:
        return None
    left = [clip((1.0 - masking[name]) / max(0.05, 1.0 - masking[f"song_{name}"])) for name in ("hidden", "covers")]
    return left[0] * left[1] * clip(1.0 - max(0.0, masking["bass_clash"] - masking["song_bass_clash"]))


def _noise(noise: Mapping[str, Any]) -> float | None:
    over_db = noise.get("over_db")
    return None if over_db is None else clip(1.0 - (over_db - 5.0) / 15.0)


def _novelty(novelty: Mapping[str, Any]) -> float | None:
    share = novelty.get("copy_share")
    if share is None or novelty["free_share"] == 1.0:
        return None
    return clip(1.0 - max(0.0, share - novelty["free_share"]) / max(0.05, 1.0 - novelty["free_share"]))
