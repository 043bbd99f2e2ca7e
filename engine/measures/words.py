"""The measures in words: what the terminal and the page show under a take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLEAN_DB, OVER_SONG_DB = 6.0, 3.0
"""A break at a join is no click up to `CLEAN_DB`, or `OVER_SONG_DB` over what the song does at such places."""


def clean_up_to_db(song_db: float) -> float:
    """The level of a break, in dB, up to which it is none to the ear, beside the song's own."""
    return max(CLEAN_DB, song_db + OVER_SONG_DB)


def summary(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `engine.report.measure` returned, as lines for people: (what, how it came out)."""
    length = measures["length"]
    exact = "exact" if length["exact"] else f"should be {length['expected']}"
    lines = [("length", f"{length['frames']} samples, {exact}")]
    lines += [("seam", _seam_words(measures["seam"])), ("click", _click_words(measures["click"]))]
    lines += [("level", _level_words(measures["level"])), ("grid", _grid_words(measures["grid"]))]
    lines += [("key", _key_words(measures["key"])), ("chords", _chord_words(measures.get("chords", {})))]
    lines += [("masking", _masking_words(measures.get("masking", {})))]
    lines += [("noise", _noise_words(measures.get("noise", {})))]
    lines += [("novelty", _novelty_words(measures["novelty"]))]
    return [(what, words) for what, words in lines if words]


def _seam_words(seam: Mapping[str, Any]) -> str:
    edges = [f"{name} {_ordinal(seam[name]['percentile'])}" for name in ("start", "end") if seam[name]]
    return f"{', '.join(edges)} percentile of the song's own changes" if edges else ""


def _click_words(click: Mapping[str, Any]) -> str:
    parts = []
    for edge in ("start", "end"):
        db = click[f"{edge}_db"]
        if db is not None:
            clean = db <= clean_up_to_db(click[f"{edge}_song_db"])
            parts.append(f"{edge} {'clean' if clean else 'audible'} ({db:+.0f} dB)")
    return ", ".join(parts)


def _level_words(level: Mapping[str, Any]) -> str:
    if level["difference_lu"] is not None:
        return f"{level['difference_lu']:+.1f} LU against its surroundings, peak {level['peak_dbfs']:.1f} dBFS"
    return f"{level['lufs']:.1f} LUFS, peak {level['peak_dbfs']:.1f} dBFS" if level["lufs"] is not None else "silent"


def _grid_words(grid: Mapping[str, Any]) -> str:
    if "reason" in grid or grid["median_ms"] is None:
        return f"not measured: {grid['reason']}" if grid["lock"] is None else grid["reason"]
    words = f"median {grid['median_ms']:+.1f} ms, spread {grid['spread_ms']:.1f} ms"
    if grid["song_median_ms"] is None:
        return words
    return f"{words}, song {grid['song_median_ms']:+.1f}/{grid['song_spread_ms']:.1f}"


def _key_words(key: Mapping[str, Any]) -> str:
    if key["key"] is None:
        return f"not measured: {key['reason']}"
    own = f", song {key['song_agreement']:.2f}" if key["song_agreement"] is not None else ""
    return f"{key['key']}{'' if key['told'] else ' (estimated)'}: {key['agreement']:.2f}{own}"


def _chord_words(chords: Mapping[str, Any]) -> str:
    if chords.get("agreement") is None:
        return f"not measured: {chords['reason']}" if chords else ""
    whose = "the song's own chords" if chords["against"] == "song" else "chords of this song"
    if chords["song_agreement"] is None:
        return f"{chords['agreement']:.2f} in chords of the key"
    return f"{chords['agreement']:.2f} in {whose}, song {chords['song_agreement']:.2f}"


def _masking_words(masking: Mapping[str, Any]) -> str:
    if masking.get("hidden") is None:
        return ""
    words = f"{masking['hidden']:.0%} hidden by the song, covers {masking['covers']:.0%} of it"
    words += f" (within the song {masking['song_hidden']:.0%} and {masking['song_covers']:.0%})"
    clash = masking["bass_clash"]
    return f"{words}, bass clashes in {clash:.0%} of the beats" if clash else words


def _noise_words(noise: Mapping[str, Any]) -> str:
    if noise.get("over_db") is None:
        return ""
    over = f"{noise['over_db']:.0f} dB" if noise["over_db"] >= 0.5 else "not"
    return f"floor {noise['floor_db']:.0f} dB, {over} over the song's"


def _novelty_words(novelty: Mapping[str, Any]) -> str:
    names = {"original": "what was there", "neighbour": "the bars beside it"}
    parts = [f"{novelty[key]:.2f} like {words}" for key, words in names.items() if novelty[key] is not None]
    copied = novelty.get("longest_copy_s")
    if copied:
        parts.append(f"{novelty['copy_share']:.0%} an excerpt of {copied:.1f} s")
    return ", ".join(parts)


def _ordinal(value: float) -> str:
    number = round(value)
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
