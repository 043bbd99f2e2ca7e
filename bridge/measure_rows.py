"""A take's measures as rows for the terminal and the page: what it measures, what the song does itself, what it counts.

Whatever `engine.report` measures appears here by itself: the words are `engine.report.summary`'s, the parts of the
score and their weights `engine.report.subscores` and `WEIGHTS`; the song's own values are those that stand in the
measures as ``song_...``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.measures.scoring import WEIGHTS, subscores
from engine.measures.words import summary

Measures = Mapping[str, Any]

_OF_THE_SONG = re.compile(r", song [^,]*| \(within the song [^)]*\)")


@dataclass(frozen=True)
class Row:
    """One measure. `song` is what the song itself does there ("" if there is nothing to compare with), `subscore` 0 to
    1 or None where it is not part of the score, `weight` what it counts for in the score, in percent of all parts that
    could be measured."""

    name: str
    words: str
    song: str = ""
    subscore: float | None = None
    weight: float | None = None


def measure_lines(measures: Measures) -> list[tuple[str, str]]:
    """A take's measures in words, as `engine.report.summary` puts them; empty for an engine that measures otherwise."""
    try:
        return summary(measures)
    except (KeyError, TypeError):
        return []


def measure_rows(measures: Measures) -> list[Row]:
    """Every measure in the order of the report; empty for an engine that measures otherwise."""
    lines, parts = measure_lines(measures), parts_of_score(measures)
    total = sum(WEIGHTS.get(name, 0.0) for name, value in parts.items() if value is not None)
    rows = []
    for name, words in lines:
        song = _song_words(name, measures.get(name))
        if song:
            words = _OF_THE_SONG.sub("", words)  # it stands in its own column
        value = parts.get(name)
        weight = 100.0 * WEIGHTS.get(name, 0.0) / total if value is not None and total else None
        rows.append(Row(name, words, song, value, weight))
    return rows


def parts_of_score(measures: Measures) -> dict[str, float | None]:
    """`engine.report.subscores`; empty for an engine that measures otherwise."""
    try:
        return subscores(measures)
    except (KeyError, TypeError):
        return {}


def _song_words(name: str, part: Any) -> str:
    if not isinstance(part, Mapping):
        return ""
    if name in _SONG_WORDS:
        return _SONG_WORDS[name](part)
    own = {key: part[key] for key in part if key.startswith("song") and _is_number(part[key])}
    return ", ".join(f"{key.removeprefix('song').strip('_').replace('_', ' ')} {own[key]:.2f}".strip() for key in own)


def _seam(part: Mapping[str, Any]) -> str:
    highs = [part[edge]["song_high_db"] for edge in ("start", "end") if part.get(edge)]
    return f"changes up to {max(highs):.1f} dB" if highs else ""


def _click(part: Mapping[str, Any]) -> str:
    songs = [part[key] for key in ("start_song_db", "end_song_db") if _is_number(part.get(key))]
    return f"{max(songs):+.0f} dB" if songs else ""


def _level(part: Mapping[str, Any]) -> str:
    return f"{part['context_lufs']:.1f} LUFS" if _is_number(part.get("context_lufs")) else ""


def _grid(part: Mapping[str, Any]) -> str:
    if not _is_number(part.get("song_median_ms")):
        return ""
    return f"median {part['song_median_ms']:+.1f} ms, spread {part['song_spread_ms']:.1f} ms"


def _agreement(part: Mapping[str, Any]) -> str:
    return f"{part['song_agreement']:.2f}" if _is_number(part.get("song_agreement")) else ""


def _masking(part: Mapping[str, Any]) -> str:
    if not _is_number(part.get("song_hidden")):
        return ""
    words = f"{part['song_hidden']:.0%} hidden, covers {part['song_covers']:.0%}"
    clash = part.get("song_bass_clash")
    return f"{words}, bass foreign to {clash:.0%} of the beats" if clash else words


def _noise(part: Mapping[str, Any]) -> str:
    return f"{part['song_floor_db']:.0f} dB" if _is_number(part.get("song_floor_db")) else ""


def _novelty(part: Mapping[str, Any]) -> str:
    own = f"{part['song']:.2f} like each other" if _is_number(part.get("song")) else ""
    copied = f"{part['song_copy_share']:.0%} an excerpt" if _is_number(part.get("song_copy_share")) else ""
    return ", ".join(words for words in (own, copied) if words)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SONG_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "seam": _seam,
    "click": _click,
    "level": _level,
    "grid": _grid,
    "key": _agreement,
    "chords": _agreement,
    "masking": _masking,
    "noise": _noise,
    "novelty": _novelty,
}
"""Where the bare numbers would say too little."""
