"""Jobs and takes as the page shows them: plain values for JSON, in a person's words where there are any.

Pure: nothing is read from a disk. Times are seconds of project time unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.doors.page_audio import is_added, region_of
from bridge.measure_rows import measure_rows
from bridge.page_model import CONTEXT_S
from engine.measures.words import clean_up_to_db
from protocol.job import Job, JobRequest, Take
from protocol.music import Region, TempoMap
from protocol.session import Session
from protocol.task import SETTINGS
from protocol.vocabulary import JobState

Json = dict[str, Any]

MOST_LINES = 4000
"""Counts drawn over one take; a longer one shows its bars only."""


def job_summary(job: Job) -> Json:
    """One row of the list."""
    request = job.request
    best = max((take.score for take in job.takes), default=None)
    return {
        "id": job.id,
        "verb": str(job.verb),
        "state": str(job.state),
        "where": where(request),
        "prompt": request.task.positive_prompt or "",
        "engine": request.engine,
        "priority": job.priority,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "takes": len(job.takes),
        "score": best,
        "failure": job.failure.model_dump() if job.failure else None,
        "project": Path(request.project.folder).name,
        "client": job.reply_to[0].partition(":")[0] if job.reply_to else "",
    }


def job_detail(job: Job) -> Json:
    """All of a job, its takes best first."""
    request = job.request
    takes = sorted(job.takes, key=lambda take: (take.recipe.region, str(take.track or ""), take.rank, take.number))
    return {
        **job_summary(job),
        "asked": asked(request),
        "tempo_known": request.tempo_known,
        "key": request.key,
        "added": is_added(job.verb),
        "joins": job.verb.joins_source,
        "has_song": job.verb.needs_source and request.source is not None,
        "attempts": job.attempts,
        "audio": [take_row(job, take) for take in takes] if job.state is JobState.DONE else [],
    }


def where(request: JobRequest) -> str:
    """``bars 17–20``, or the seconds where no tempo was told; several regions are counted."""
    if len(request.regions) != 1:
        return f"{len(request.regions)} regions" if request.regions else ""
    return place(request.regions[0], request.tempo_map if request.tempo_known else None)


def place(region: Region, tempo_map: TempoMap | None) -> str:
    """One region in words."""
    if tempo_map is not None:
        label = region.label(tempo_map)
        if label.startswith("bar"):
            return label.replace("bars-", "bars ").replace("bar-", "bar ").replace("-", "\u2013")
    return f"{region.start_s:.2f}\u2013{region.end_s:.2f} s"


def asked(request: JobRequest) -> list[list[str]]:
    """What the task says beyond its defaults, as (setting, value)."""
    said = []
    for name, spec in SETTINGS.items():
        value = _value_of(request, spec.field)
        if value not in (None, "", spec.default) and name != "prompt":
            said.append([name, _short(value)])
    if request.tracks:
        said.append(["tracks", ", ".join(track.replace("_", " ") for track in request.tracks)])
    return said


def _value_of(request: JobRequest, field: str) -> object:
    value: Any = request.task.model_dump(by_alias=True)
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


# --- a take -----------------------------------------------------------------------------------------------------------
def take_row(job: Job, take: Take) -> Json:
    """One take with what it measures."""
    region, measures = region_of(take), take.measures
    rivals = [other for other in job.takes if (other.recipe.region, other.track) == (take.recipe.region, take.track)]
    return {
        "number": take.number,
        "name": take_name(take),
        "file": Path(take.file).name,
        "folder": str(Path(take.file).parent),
        "midi": Path(take.midi).name if take.midi else None,
        "start_s": region.start_s,
        "end_s": region.end_s,
        "where": place(region, job.request.tempo_map if job.request.tempo_known else None),
        "rate": take.sample_rate,
        "frames": take.frames,
        "seed": take.seed,
        "score": take.score,
        "best": take.rank == 1 and len(rivals) > 1,
        "engine": f"{take.recipe.engine} {take.recipe.engine_version}",
        "rows": [
            {"name": row.name, "words": row.words, "song": row.song, "subscore": row.subscore, "weight": row.weight}
            for row in measure_rows(measures)
        ],
        "edges": {edge: edge_of(measures, edge) for edge in ("start", "end")},
        "grid": _plain({name: measures.get("grid", {}).get(name) for name in ("median_ms", "spread_ms", "onsets")}),
        "chords": _plain(measures.get("chords", {}).get("spans") or []),
        "lines": grid_lines(job.request, region),
        "notes": notes(take),
    }


def take_name(take: Take) -> str:
    """``Take 2`` or, of a stem, ``Take 2, drums``."""
    return f"Take {take.variation}, {take.track.replace('_', ' ')}" if take.track else f"Take {take.number}"


def edge_of(measures: Mapping[str, Any], edge: str) -> Json | None:
    """How a take meets the song at its ``start`` or ``end``, and whether that is fine; None: there is no seam."""
    seam, click = measures.get("seam", {}).get(edge), measures.get("click", {})
    if not seam:
        return None
    level, usual = click.get(f"{edge}_db"), click.get(f"{edge}_song_db")
    clicks = level is not None and level > clean_up_to_db(usual if usual is not None else -math.inf)
    over_db = seam["change_db"] - seam["song_high_db"]
    found: Json = _plain(
        {
            "percentile": seam["percentile"],
            "change_db": seam["change_db"],
            "song_high_db": seam["song_high_db"],
            "click_db": level,
            "clicks": clicks,
            "fine": over_db <= 0 and not clicks,
        }
    )
    return found


def grid_lines(request: JobRequest, region: Region) -> list[list[float]]:
    """(time, bar, count) of the counts from `CONTEXT_S` before the region to as much after; none without a tempo."""
    if not request.tempo_known:
        return []
    found = request.tempo_map.grid(region.start_s - CONTEXT_S, region.end_s + CONTEXT_S)
    lines = [[round(line.time_s, 6), line.bar, line.count] for line in found]
    if len(lines) > MOST_LINES:
        lines = [line for line in lines if line[2] == 1]
    return lines[:MOST_LINES]


def notes(take: Take) -> list[str]:
    """What one should know about how a take was made."""
    told = take.recipe.engine_notes
    said = ["No tempo was told: the beats were estimated."] if told.get("grid") == "estimated" else []
    for name in ("filled", "separation", "warning", "warnings"):
        value = told.get(name)
        said += [text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)]
    return [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in said if text]


def _plain(value: Any) -> Any:
    """The same without numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- settings ---------------------------------------------------------------------------------------------------------
def settings(session: Session) -> list[Json]:
    """Every setting with its range in words, what fills it now and who told that."""
    rows = []
    for name, spec in SETTINGS.items():
        known = session.told_settings.get(name)
        is_set = known is not None and known.value is not None
        rows.append(
            {
                "name": name,
                "type": spec.type,
                "meaning": spec.meaning,
                "allowed": spec.allowed,
                "choices": [str(choice) for choice in getattr(spec.rule, "values", ())],
                "low": getattr(spec.rule, "low", None),
                "high": getattr(spec.rule, "high", None),
                "step": getattr(spec.rule, "step", None) or None,
                "longest": getattr(spec.rule, "longest", None),
                "default": "" if spec.default is None else str(spec.default),
                "value": known.text if known is not None and is_set else None,
                "source": known.source if known is not None and is_set else None,
            }
        )
    return rows


def newest_first(jobs: Sequence[Job]) -> list[Json]:
    """The list as the page has it: open jobs carry their place in the queue (0: running)."""
    queued = sorted((job for job in jobs if job.state is JobState.QUEUED), key=lambda job: (-job.priority, job.created))
    place_of = {job.id: number for number, job in enumerate(queued, 1)}
    return [{**job_summary(job), "position": place_of.get(job.id, 0)} for job in jobs]
