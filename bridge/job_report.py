"""The report of a job that was made: its manifest found, its takes ranked, its page written beside it.

Promises: nothing is measured again; nothing of the user's is overwritten. A page of ours is replaced by the new one,
anything else of that name stays and ours gets the next free name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge import atomic
from bridge.broadcast_wave import load_manifest
from bridge.measure_rows import parts_of_score
from bridge.page import MARK, previews_of, write_page
from bridge.redo import plan_redo
from bridge.store import read_job
from protocol.errors import BadArgument, ProjectError, SourceError, SourceUnreadable, UnknownJob
from protocol.job import JobRequest

_MANIFEST, _PAGE = "manifest.json", "report.html"
_PREVIEW = re.compile(r"job\d+_.+\.flac")
_MARK_WITHIN = 1024
"""Bytes at a page's beginning in which its mark stands."""


@dataclass(frozen=True)
class Report:
    """A page that was written, and sentences on what it lacks."""

    path: Path
    remarks: tuple[str, ...]


# --- which job --------------------------------------------------------------------------------------------------------
def find_manifest(what: str, journal: Path) -> Path:
    """The manifest that `what` means: a manifest itself, the folder of a job, or a job's id in the journal.

    Raises `UnknownJob`, or `SourceUnreadable` if what lies there is no manifest.
    """
    path = Path(what).expanduser().absolute()
    if path.is_dir():
        found = next((name for name in sorted(path.glob("manifest*.json")) if load_manifest(name)), None)
        if found is None:
            raise SourceUnreadable(f"{path} is not the folder of a job: it holds no {_MANIFEST}.")
        return found
    if path.is_file():
        if load_manifest(path) is None:
            raise SourceUnreadable(
                f"{path} is not the manifest of a job. To judge an audio file, say which song it belongs to with "
                "--against SONG."
            )
        return path
    return _in_journal(what, journal)


def _in_journal(job_id: str, journal: Path) -> Path:
    job = read_job(journal, job_id) if journal.exists() else None
    if job is None:
        raise UnknownJob(
            f"There is no file and no job {job_id[:80]}. `stembridge jobs` lists the jobs; a job's folder lies in its "
            "project under stembridge/."
        )
    if job.manifest is None:
        raise UnknownJob(f"The job {job_id} is {job.state} and has no takes yet.")
    if load_manifest(Path(job.manifest)) is None:
        raise UnknownJob(f"The takes of job {job_id} are no longer at {job.manifest}: name their folder instead.")
    return Path(job.manifest)


def ranked_takes(manifest: Path) -> list[dict[str, Any]]:
    """The takes of a manifest with their `subscores`, by region, track and rank. Raises `SourceUnreadable`."""
    takes = _content(manifest)["takes"]
    if not takes or not all(isinstance(take, dict) and isinstance(take.get("score"), int | float) for take in takes):
        raise SourceUnreadable(f"{manifest} names no takes that were measured.")
    ranked = sorted(takes, key=lambda take: (take.get("region", 0), str(take.get("track")), take.get("rank", 1)))
    return [{**take, "subscores": parts_of_score(take.get("measures", {}))} for take in ranked]


def _content(manifest: Path) -> dict[str, Any]:
    content = load_manifest(manifest)
    if content is None:
        raise SourceUnreadable(f"{manifest} is not the manifest of a job.")
    return content


# --- its page ---------------------------------------------------------------------------------------------------------
def write_report(manifest: Path, cache_dir: Path, out: Path | None = None) -> Report:
    """Write the job's page to `out`, or as ``report.html`` beside the manifest.

    Raises `SourceUnreadable` if a take cannot be read, `ProjectError` if the page cannot be written.
    """
    content = _content(manifest)
    request = _request(content, manifest)
    there, gone = _takes_there(content, manifest)
    song, remarks = _song(there[0], request, cache_dir)
    if gone:
        remarks.append(f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} no longer in the folder.")
    page = _free(out.expanduser().absolute() if out is not None else manifest.with_name(_PAGE))
    told = content.get("job", {})
    title = f"{str(request.verb).capitalize()}: {Path(request.project.folder).name or told.get('id', '')}"
    try:
        write_page(
            [manifest],
            song,
            page,
            request.tempo_map if request.tempo_known else None,
            title,
            song_start_s=request.source.start_s if request.source else 0.0,
            key=request.key,
            remarks=remarks,
        )
    except OSError as error:
        raise atomic.in_words(error, page.parent) from error
    return Report(page, tuple(remarks))


def _request(content: Mapping[str, Any], manifest: Path) -> JobRequest:
    try:
        return JobRequest.model_validate(content["job"]["request"])
    except (KeyError, TypeError, ValidationError, BadArgument) as error:
        raise SourceUnreadable(f"{manifest} does not say what was asked: it is not the manifest of a job.") from error


def _takes_there(content: Mapping[str, Any], manifest: Path) -> tuple[list[Path], list[str]]:
    """The takes that lie beside the manifest, and the names of those that were taken away."""
    files = [manifest.parent / take["file"] for take in content["takes"]]
    there = [file for file in files if file.exists()]
    if not there:
        raise SourceUnreadable(f"None of the takes that {manifest} names is still in its folder: put them back.")
    return there, [file.name for file in files if not file.exists()]


def _song(take: Path, request: JobRequest, cache_dir: Path) -> tuple[Path | None, list[str]]:
    """The song the takes were made from, where it lies now; None, and why, if it is gone or was changed."""
    if request.source is None or not request.verb.needs_source:
        return None, []
    try:
        return plan_redo(take, cache_dir).source, []
    except SourceError as error:
        return None, [f"The takes are shown without their song. {error.sentence}"]


def _free(wanted: Path) -> Path:
    """`wanted`, or the next free name, with room for its previews: what is there already is ours, or nothing is."""
    for name in atomic.free_names(wanted.name):
        page = wanted.with_name(name)
        if (_is_ours(page) or not os.path.lexists(page)) and _holds_only_previews(previews_of(page)):
            return page
    raise ProjectError(f"All names like {wanted} are taken: clear that folder, or choose another file with --out.")


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return MARK.encode() in file.read(_MARK_WITHIN)
    except OSError:
        return False


def _holds_only_previews(folder: Path) -> bool:
    if not os.path.lexists(folder):
        return True
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and all(_PREVIEW.fullmatch(entry.name) for entry in folder.iterdir())
    )
