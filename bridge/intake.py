"""From what a DAW has told and what it now asks to a whole `JobRequest`: the one place where defaults are filled in.

Everything a job needs is settled here, when the message comes: nothing is looked up later, so that what the user does
afterwards (another region, another project) does not change a job that waits.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.api import Capabilities
from engine.audio import AudioInfo
from protocol.errors import BadArgument, MissingContext
from protocol.job import JobRequest, ProjectRef, SourceRef
from protocol.music import Region, TempoMap
from protocol.session import Session
from protocol.task import Task, draw_seed, task_from_settings, with_seed
from protocol.vocabulary import TrackClass, Verb

DEFAULT_EXTENSION_BARS, MAX_EXTENSION_BARS = 4, 512
MAX_DURATION_S = 600.0
"""The model's longest song (facts: 15,000 latent frames)."""

PLACE_OPTIONS = ("bars", "seconds", "at", "tracks", "track")
"""Options of a verb that say where and what; all others are task settings."""

Probe = Callable[[Path], AudioInfo]


def make_request(
    verb: Verb,
    options: Mapping[str, object],
    session: Session,
    capabilities: Capabilities,
    probe: Probe,
    reference: SourceRef | None = None,
) -> JobRequest:
    """The request that `verb` with `options` means in `session`; `reference` is a file that may be read already.

    Raises `EngineCannot` for a verb the engine does not offer, `MissingContext` naming the message that would supply
    what is missing, `BadArgument` and `TaskInvalid` for impossible values, and what `probe` raises.
    """
    checkpoint = options.get("checkpoint", session.settings.get("checkpoint"))
    capabilities.require(verb, checkpoint=str(checkpoint) if checkpoint else None)
    project = _project(session)
    if reference is not None:
        probe(Path(reference.file))  # what cannot be read is said now, not when the job runs
    source = _source(session) if verb.needs_source else None
    if source is None and project.sample_rate is None and session.source is not None:
        project = project.model_copy(update={"sample_rate": probe(Path(session.source.value.file)).rate})
    tempo_map, tempo_known = session.tempo_map()
    asked = task_from_settings({**session.settings, **{k: v for k, v in options.items() if k not in PLACE_OPTIONS}})
    # Drawn here and journalled with the job: a retry after a crash gives the same audio.
    task = asked if asked.seed is not None else with_seed(asked, draw_seed(secrets.randbits))
    capabilities.judge(task)
    place = {name: options[name] for name in PLACE_OPTIONS if name in options}
    regions = _regions(verb, place, session, project, source, task, tempo_map if tempo_known else None, probe)
    for region in regions:
        if region.duration_s > MAX_DURATION_S:
            raise BadArgument(
                f"The region is {region.duration_s:.1f} s long; choose one of at most {MAX_DURATION_S:.0f} s."
            )
    return JobRequest(
        verb=verb,
        task=task,
        engine=capabilities.name,
        project=project,
        source=source,
        tempo_map=tempo_map,
        tempo_known=tempo_known,
        key=str(session.key.value) if session.key and session.key.value else None,
        regions=regions,
        tracks=_tracks(verb, place, capabilities, task.checkpoint),
        reference=reference,
        seed_drawn=asked.seed is None,
    )


def _project(session: Session) -> ProjectRef:
    if session.project is None:
        raise MissingContext("No project is open: send /stembridge/project FOLDER first, so that stems have a place.")
    return session.project.value


def _source(session: Session) -> SourceRef:
    if session.source is None:
        raise MissingContext("There is no source audio yet: send /stembridge/source FILE [START_SECONDS] first.")
    return session.source.value


def _tracks(
    verb: Verb, place: Mapping[str, object], capabilities: Capabilities, checkpoint: str | None
) -> tuple[TrackClass, ...]:
    text = place.get("tracks", place.get("track"))
    if not verb.makes_stems:
        if text is not None:
            raise BadArgument(f"/stembridge/{verb} takes no track; complete, lego and extract do.")
        return ()
    if text is None:
        raise MissingContext(f"Say which track classes, for example /stembridge/{verb} tracks drums,bass.")
    names = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in str(text).split(",") if name.strip()]
    known = {str(track): track for track in TrackClass}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise BadArgument(f"Unknown track class {', '.join(unknown) or repr(text)}; known are {', '.join(known)}.")
    tracks = tuple(dict.fromkeys(known[name] for name in names))
    capabilities.require(verb, tracks, checkpoint)
    return tracks


# --- where ------------------------------------------------------------------------------------------------------------
def _regions(
    verb: Verb,
    place: Mapping[str, object],
    session: Session,
    project: ProjectRef,
    source: SourceRef | None,
    task: Task,
    tempo_map: TempoMap | None,
    probe: Probe,
) -> tuple[Region, ...]:
    info = probe(Path(source.file)) if source else None
    rate = project.sample_rate or (info.rate if info else None)
    elsewhere = (
        verb in (Verb.EXTEND, Verb.PREPEND) and "at" in place
    )  # where it joins was said: the region is not asked
    told = session.resolve_regions(rate) if session.regions is not None and not elsewhere else ()
    span = Region(source.start_s, source.start_s + info.frames / info.rate) if source and info and info.frames else None
    if verb in (Verb.EXTEND, Verb.PREPEND):
        return (_beside(verb, place, told, span, tempo_map),)
    for name in ("bars", "seconds", "at"):
        if name in place:
            raise BadArgument(f"/stembridge/{verb} works on the region; '{name}' belongs to extend and prepend.")
    if told:
        return told
    if verb is Verb.GENERATE:
        start_s = session.position_s.value if session.position_s else 0.0
        return (Region(start_s, start_s + task.duration),)
    if verb is Verb.REPAINT or span is None:
        raise MissingContext("There is no region yet: send /stembridge/region START END (seconds) first.")
    return (span,)


def _beside(
    verb: Verb, place: Mapping[str, object], told: tuple[Region, ...], span: Region | None, tempo_map: TempoMap | None
) -> Region:
    """The region right after (extend) or right before (prepend) the told one, else after or before the source."""
    after = verb is Verb.EXTEND
    edge_s = _number(place, "at")
    if edge_s is None:
        anchor = told[-1 if after else 0] if told else span
        if anchor is None:
            raise MissingContext(f"Nothing to {verb}: send /stembridge/source FILE or /stembridge/region first.")
        edge_s = anchor.end_s if after else anchor.start_s
    other_s = _far_edge(edge_s, 1 if after else -1, place, tempo_map)
    return Region(min(edge_s, other_s), max(edge_s, other_s))


def _far_edge(edge_s: float, direction: int, place: Mapping[str, object], tempo_map: TempoMap | None) -> float:
    """Where so many `seconds` or `bars` from `edge_s` end."""
    seconds, bars = _number(place, "seconds"), _number(place, "bars")
    if seconds is not None:
        if bars is not None:
            raise BadArgument("Say either bars or seconds, not both.")
        if not 0 < seconds <= MAX_DURATION_S:
            raise BadArgument(f"seconds must be above 0 and up to {MAX_DURATION_S:.0f}, not {seconds:g}.")
        return edge_s + direction * seconds
    bars = DEFAULT_EXTENSION_BARS if bars is None else bars
    if not 0 < bars <= MAX_EXTENSION_BARS:
        raise BadArgument(f"bars must be above 0 and up to {MAX_EXTENSION_BARS}, not {bars:g}.")
    if tempo_map is None:
        raise MissingContext("Bars need a tempo: send /stembridge/tempo BPM first, or say the length in seconds.")
    return tempo_map.bars_from(edge_s, direction * bars)


def _number(place: Mapping[str, object], name: str) -> float | None:
    value = place.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadArgument(f"{name} must be a number, not {value!r}.")
    return float(value)
