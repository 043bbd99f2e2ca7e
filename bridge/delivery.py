"""How stems get into the user's project: whole, beside everything that is there, and the manifest last.

Promises, each with a test:

* Nothing of the user's is overwritten or deleted. A name that is taken stays what it is; ours gets the next free one.
* A stem appears whole or not at all, and the manifest appears after all its stems. A failure takes back exactly what
  that call had made; a kill leaves whole stems without a manifest, and temporary files that the next try removes.
* Delivering the same job again gives the same delivery.
* The notes of a stem, where its engine plays notes, lie beside it as a MIDI file of the same name.
* Nothing is written outside the project folder, wherever links inside it lead.

Everything here may block on a disk: call it in a thread.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

from pydantic import ValidationError

from bridge import __version__, atomic
from bridge.broadcast_wave import Origin, data_sha256, load_manifest, probe, read_recipe, write_broadcast_wave
from protocol import PROTOCOL_VERSION
from protocol.errors import EngineError, OutsideProject, ProjectError, SourceError
from protocol.job import Job, Recipe, RenderedTake, Take, checked_job_id

STEMS_FOLDER = "stembridge"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Delivery:
    """Whole stems in the project folder, in rank order, and the manifest that was written after them."""

    takes: tuple[Take, ...]
    manifest: Path


@dataclass(frozen=True)
class _Stem:
    """One take on its way: where its audio waits, the name it should get, and what will be said of it."""

    take: Take
    """`take.file` is empty until it has its place."""
    region: int
    name: str
    spool: Path
    audio_sha256: str
    origin: Origin
    midi: bytes | None


_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_locks_guard = threading.Lock()


def _lock_for(folder: Path) -> threading.Lock:
    with _locks_guard:
        return _locks.setdefault(str(folder), threading.Lock())


def deliver(job: Job, rendered: Sequence[RenderedTake]) -> Delivery:
    """Put the rendered takes of `job` into its project as ``<media folder>/stembridge/<job id>/``, manifest last.

    If a manifest of this very job with all its stems whole is there already, that delivery is returned again. Raises
    `ProjectGone`, `ProjectReadOnly`, `DiskFull`, `OutsideProject` or `ProjectError`, after taking back all that this
    call had made, and `EngineError` if a spool file is not what `rendered` says.
    """
    project, folder = Path(job.request.project.folder), _planned_folder(job)
    stems = _stems(job, rendered)
    with _lock_for(folder):
        try:
            with ExitStack() as undo:
                make_folder(project, folder, undo)
                atomic.remove_leftovers(folder)
                delivery = _delivered_in(folder, job) or _deliver(folder, job, stems, undo)
                undo.pop_all()
        except OSError as error:
            raise atomic.in_words(error, project) from error
    return delivery


def delivered(job: Job) -> Delivery | None:
    """The delivery of `job` if one lies whole in its project: nothing needs rendering again after a crash."""
    return _delivered_in(_planned_folder(job), job)


def _planned_folder(job: Job) -> Path:
    return Path(job.request.project.media_folder) / STEMS_FOLDER / checked_job_id(job.id)


def make_folder(project: Path, folder: Path, undo: ExitStack) -> None:
    """Make `folder` below `project`, step by step, never through a link that leads outside, never `project` itself.

    `undo` learns which folders were made. Raises `OutsideProject`, `ProjectError`, and `OSError` if the disk refuses.
    """
    _require_inside(project, project)
    if not folder.is_relative_to(project):
        raise OutsideProject(f"The media folder {folder.parent.parent} lies outside the project folder {project}.")
    step = project
    for part in folder.relative_to(project).parts:
        parent, step = step, step / part
        try:
            step.mkdir()
            undo.callback(atomic.remove_empty_folder, step)
            atomic.sync_folder(parent)
        except FileExistsError:
            _require_inside(step, project)
        if not step.is_dir():
            raise ProjectError(f"{step} is a file, but the stems need a folder of that name: rename it, then retry.")


def _require_inside(step: Path, project: Path) -> None:
    try:
        inside = step.resolve().is_relative_to(project)
    except RuntimeError:  # links that lead in a circle
        inside = False
    if not inside:
        raise OutsideProject(
            f"{step} is a link that leads out of the project folder {project}: put a folder in its place, or open the "
            "project where it really is, then retry the job."
        )


def _deliver(folder: Path, job: Job, stems: Sequence[_Stem], undo: ExitStack) -> Delivery:
    placed = []
    for stem in stems:
        path = _place_stem(folder, stem, undo)
        notes = _place_midi(folder, stem.midi, path, undo) if stem.midi is not None else None
        placed.append((stem, stem.take.model_copy(update={"file": str(path), "midi": notes and str(notes)})))
    atomic.sync_folder(folder)
    by_rank = sorted(placed, key=lambda pair: (pair[1].rank, pair[1].number))
    text = json.dumps(_manifest(job, by_rank), indent=2, ensure_ascii=False) + "\n"
    manifest = _place(folder, _MANIFEST, lambda file: file.write(text.encode()), undo)
    atomic.sync_folder(folder)
    return Delivery(tuple(take for _, take in by_rank), manifest)


def _place_stem(folder: Path, stem: _Stem, undo: ExitStack) -> Path:
    """Write a stem, unless an attempt at the same job that was killed left it whole already."""
    for name in atomic.free_names(stem.name):
        if not os.path.lexists(folder / name):
            break
        if _is_same_stem(folder / name, stem):
            return folder / name
    recipe = stem.take.recipe.model_dump_json()
    fill = partial(write_broadcast_wave, stem.spool, origin=stem.origin, recipe_json=recipe)
    return _place(folder, stem.name, fill, undo)


def _place_midi(folder: Path, notes: bytes, stem: Path, undo: ExitStack) -> Path:
    """Write the notes beside `stem` under its name, unless they lie there already."""
    for name in atomic.free_names(f"{stem.stem}.mid"):
        if not os.path.lexists(folder / name):
            break
        if _is_plain_file(folder / name) and (folder / name).read_bytes() == notes:
            return folder / name
    return _place(folder, f"{stem.stem}.mid", lambda file: file.write(notes), undo)


def _place(folder: Path, wanted: str, fill: Callable[[BinaryIO], object], undo: ExitStack) -> Path:
    """Write one whole file under the first free name; `undo` learns how to take back this very file."""
    with atomic.temporary_file(folder) as temporary:
        atomic.write_synced(temporary, fill)
        made = atomic.identity(temporary)
        for name in atomic.free_names(wanted):
            final = folder / name
            undo.callback(atomic.remove_if_same, final, made)  # before the name exists: a signal may come in between
            try:
                atomic.publish(temporary, final)
            except FileExistsError:
                continue
            return final
    raise ProjectError(f"All names like {wanted} are taken in {folder}: clear that folder, then retry the job.")


def _is_same_stem(path: Path, stem: _Stem) -> bool:
    """True if a file is what we would write: the same samples made by the same recipe."""

    def essence(recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"engine_notes": {}})  # notes may tell how long things took

    if not _is_plain_file(path):
        return False
    try:
        return data_sha256(path) == stem.audio_sha256 and essence(read_recipe(path)) == essence(stem.take.recipe)
    except SourceError:
        return False


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


# --- what is said of the stems ----------------------------------------------------------------------------------------
def _stems(job: Job, rendered: Sequence[RenderedTake]) -> list[_Stem]:
    """The takes in order of region and variation, each checked against its spool file."""
    if not rendered:
        raise EngineError(f"The engine finished job {job.id} without a take: retry the job.")
    ordered = sorted(rendered, key=lambda take: (take.region, take.variation))
    return [_stem(job, number, take) for number, take in enumerate(ordered, start=1)]


def _stem(job: Job, number: int, made: RenderedTake) -> _Stem:
    request, spool = job.request, Path(made.file)
    try:
        region = request.regions[made.region]
        layout, audio_sha256 = probe(spool), data_sha256(spool)
        midi = Path(made.midi).read_bytes() if made.midi else None
    except (SourceError, OSError, IndexError) as error:
        raise EngineError(f"The audio of take {number} was lost before it was delivered: retry the job.") from error
    has, says = (layout.frames, layout.channels, layout.sample_rate), (made.frames, made.channels, made.sample_rate)
    if has != says:
        raise EngineError(
            f"The engine promised {says} frames, channels and Hz for take {number} and made {has}: retry the job."
        )
    where, track = region.label(request.tempo_map), made.track
    parts = [request.verb.value, where, *([track.value] if track else []), f"take-{made.variation}"]
    shared = made.model_dump(include=_SHARED_BY_TAKE)
    recipe = Recipe(request=request, **made.model_dump(include=_SHARED_BY_RECIPE))
    start_s = made.start_frame / made.sample_rate
    take = Take(number=number, file="", start_s=start_s, recipe=recipe, **shared)
    name = "_".join(parts) + ".wav"
    return _Stem(take, made.region, name, spool, audio_sha256, _origin(job, take, parts), midi)


_SHARED_BY_TAKE = set(Take.model_fields) & set(RenderedTake.model_fields) - {"file", "midi"}
_SHARED_BY_RECIPE = set(Recipe.model_fields) & set(RenderedTake.model_fields)


def _origin(job: Job, take: Take, parts: Sequence[str]) -> Origin:
    recipe = take.recipe
    engine = f"{recipe.engine} {recipe.engine_version}"
    description = f"{' '.join(parts)}, seed {take.seed}, engine {engine}"
    if take.start_frame < 0:
        description += f"; begins {-take.start_frame} samples before project time 0"
    return Origin(
        time_reference=max(0, take.start_frame),
        description=description,
        reference=f"{job.id[:27]}/{take.number}",
        created=datetime.fromtimestamp(job.created, UTC),
        made_by=f"Stembridge {__version__} {engine}",
        project=Path(job.request.project.folder).name,
        scene=" ".join(parts[:2]),
        take=str(take.variation),
        track=take.track.value if take.track else "",
    )


def _manifest(job: Job, placed: Sequence[tuple[_Stem, Take]]) -> dict[str, Any]:
    """The manifest's content: what was asked, and each take with its file's name relative to the manifest."""
    about = job.model_dump_json(include={"id", "created", "request"})
    takes = []
    for stem, take in placed:
        entry = {"file": Path(take.file).name, "midi": take.midi and Path(take.midi).name, "region": stem.region}
        told = json.loads(take.model_dump_json(exclude={"file", "midi"}))
        takes.append({**entry, "audio_sha256": stem.audio_sha256, **told})
    return {"protocol": PROTOCOL_VERSION, "job": {"verb": job.verb.value, **json.loads(about)}, "takes": takes}


def _delivered_in(folder: Path, job: Job) -> Delivery | None:
    """What a manifest of this very job in `folder` names, if all of it is there and unchanged."""
    asked = json.loads(job.request.model_dump_json())
    for name in atomic.free_names(_MANIFEST):
        if not os.path.lexists(folder / name):
            return None
        content = load_manifest(folder / name)
        about = content.get("job") if content else None
        if content is None or not isinstance(about, dict):
            continue
        if about.get("id") != job.id or about.get("request") != asked:
            continue
        takes = [_listed_take(folder, entry) for entry in content["takes"]]
        whole = tuple(take for take in takes if take is not None)
        if whole and len(whole) == len(takes):
            return Delivery(whole, folder / name)
    return None


def _listed_take(folder: Path, entry: Mapping[str, Any]) -> Take | None:
    try:
        name = entry["file"]
        path = folder / name
        if Path(name).name != name or not _is_plain_file(path) or data_sha256(path) != entry["audio_sha256"]:
            return None
        return Take.model_validate({**entry, "file": str(path), "midi": _listed_midi(folder, entry.get("midi"))})
    except (KeyError, TypeError, ValidationError, SourceError):
        return None


def _listed_midi(folder: Path, name: str | None) -> str | None:
    """The notes' file if it is still there; it is the user's to edit or to delete."""
    return str(folder / name) if name and Path(name).name == name and _is_plain_file(folder / name) else None
