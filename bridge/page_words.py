"""What the page says of takes in words and tables: ranking, measures beside the song's own, how a take was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from bridge.measure_rows import Row, measure_rows
from bridge.page_model import JobView, Song, TakeView
from protocol.music import Region, TempoMap

_CHANNELS = {1: "mono", 2: "stereo"}


def measures_table(take: TakeView, *, is_open: bool) -> str:
    """All measures of a take; folded unless `is_open`."""
    rows = measure_rows(take.measures) or [Row("length", f"{take.audio.shape[1]} samples")]
    has_song = any(row.song for row in rows)
    heads = ["Measure", "Take", *(["Song"] if has_song else []), "Subscore"]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(_measure_row(row, has_song=has_song) for row in rows)
    return (
        f'<details class="measures"{" open" if is_open else ""}><summary>Measures</summary>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def _measure_row(row: Row, *, has_song: bool) -> str:
    song = f'<td data-head="Song">{escape(row.song)}</td>' if has_song else ""
    value = "" if row.subscore is None else _bar(row.subscore, f"{100 * row.subscore:.0f}", _weight_words(row))
    return (
        f'<tr><th scope="row">{escape(row.name.capitalize())}</th><td data-head="Take">{escape(row.words)}</td>{song}'
        f'<td class="value" data-head="Subscore">{value}</td></tr>'
    )


def _weight_words(row: Row) -> str:
    return "" if row.weight is None else f"counts {row.weight:.0f} % of the score"


def _bar(share: float, number: str, title: str = "") -> str:
    tip = f' title="{escape(title)}"' if title else ""
    return (
        f'<span class="score"{tip}><span class="track" aria-hidden="true">'
        f'<span style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></span></span>{number}</span>'
    )


def ranking(job: JobView, anchors: Mapping[int, str]) -> str:
    """The takes of a region, best first; nothing if there is only one. `anchors` leads from a number to its row."""
    if len(job.takes) < 2:
        return ""
    rows = []
    for take in sorted(job.takes, key=lambda take: (str(take.track), take.rank, take.number)):
        best = ' class="best"' if job.is_best(take) else ""
        rows.append(
            f'<tr{best}><td>{take.rank}</td><th scope="row"><a href="#{anchors[take.number]}">{escape(take.name)}</a>'
            f'</th><td class="value">{_bar(take.score / 100.0, f"{take.score:.1f}")}</td></tr>'
        )
    head = '<tr><th scope="col">Rank</th><th scope="col">Take</th><th scope="col">Score</th></tr>'
    return f'<table class="ranking"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


# --- how it was made --------------------------------------------------------------------------------------------------
def made_words(take: TakeView) -> str:
    """Engine, version and seed, and the instrument where an arranger played one."""
    played = take.notes.get("instrument")
    parts = [take.engine, f"seed {take.seed}" if take.seed is not None else ""]
    parts += [played.replace("_", " ")] if isinstance(played, str) else []
    return ", ".join(part for part in parts if part)


def common_warnings(job: JobView) -> list[str]:
    """What is true of all takes of a region alike."""
    first, *others = ([*warnings_of(take)] for take in job.takes)
    return [warning for warning in first if all(warning in other for other in others)]


def warnings_of(take: TakeView) -> Iterator[str]:
    """What one should know about how a take was made, as whole sentences."""
    notes = take.notes
    if notes.get("grid") == "estimated":
        yield "No tempo was told: the beats were estimated."
    if notes.get("key_told") is False:
        yield "No key was told: it was estimated." if "grid" in notes else "No key was told: the engine chose one."
    rolls = notes.get("rolls")
    if isinstance(rolls, list) and len(rolls) > 1:
        tries = ", ".join(f"seed {roll['seed']} scored {roll['score']:.0f}" for roll in rolls)
        yield f"The best of {len(rolls)} tries: {tries}."
    if notes.get("clipped_samples"):
        yield f"{notes['clipped_samples']} samples were clipped to 24 bits."
    for name in ("filled", "separation", "warning"):
        if isinstance(notes.get(name), str):
            yield _sentence(notes[name])
    for warning in _texts(notes.get("warnings")):
        yield _sentence(warning)


def _texts(value: Any) -> list[str]:
    many = value if isinstance(value, list | tuple) else [value]
    return [text for text in many if isinstance(text, str)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


# --- where and what ---------------------------------------------------------------------------------------------------
def place(job: JobView, tempo_map: TempoMap | None) -> str:
    """``repaint bars 17–20``, or the seconds where no tempo was told."""
    if tempo_map is None:
        return f"{job.verb.value} {job.region.start_s:.2f}\u2013{job.region.end_s:.2f} s"
    # A take starts on a whole frame, which can lie just before the bar line it means: half a frame brings it inside.
    nudge_s = 0.5 / job.takes[0].rate
    region = Region(job.region.start_s + nudge_s, job.region.end_s + nudge_s)
    label = region.label(tempo_map).replace("bars-", "bars ").replace("bar-", "bar ").replace("-", "\u2013")
    return f"{job.verb.value} {label}"


def facts(song: Song, tempo_map: TempoMap | None, key: str | None) -> str:
    """Tempo, signature, key, length and format of the song, as far as they are known."""
    tempo, signature = "tempo not told", ""
    if tempo_map is not None:
        points = tempo_map.points
        tempo = f"{points[0].bpm:g} BPM" if len(points) == 1 else f"{len(points)} tempo points"
        signature = str(points[0].signature)
    parts = [tempo, signature, key]
    if song:
        channels = _CHANNELS.get(song.audio.shape[0], f"{song.audio.shape[0]} channels")
        parts += [f"{song.end_s - song.start_s:.2f} s", f"{song.rate / 1000:g} kHz", channels]
    return ", ".join(part for part in parts if part)
