"""Before a stem is made again from its recipe: what to ask for, of which source, and what might make it differ.

Promises: the plan asks for exactly the take's region, seed and track, and only of the very source file it was made
from, wherever that has moved with its project; another file of the same name is refused. Rendering itself goes through
the engine's own process like any other job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from bridge.broadcast_wave import data_sha256, read_recipe
from bridge.delivery import STEMS_FOLDER
from engine.audio import content_hash
from protocol.errors import SourceChanged, SourceMissing, SourceUnreadable
from protocol.job import JobRequest, ProjectRef, Recipe
from protocol.task import with_seed


@dataclass(frozen=True)
class RedoPlan:
    """How to make a stem again. `request` is ready to run; it has one region, at most one track and one variation."""

    original: Path
    recipe: Recipe
    request: JobRequest
    source: Path | None
    """Where the source lies now; None for verbs that need none."""
    source_sha256: str | None
    warnings: tuple[str, ...]
    """Whole sentences: what is not as it was, so that the audio may differ."""


def plan_redo(
    file: Path, cache_dir: Path, *, versions: Mapping[str, str] | None = None, engine_version: str | None = None
) -> RedoPlan:
    """What makes the stem `file` again, bit for bit if nothing differs.

    `versions` are the present libraries' (see `engine.render.library_versions`), `engine_version` the present engine's;
    what is given is compared with the recipe. Raises `SourceMissing` if the stem or its source is not there,
    `SourceUnreadable` if `file` holds no recipe that we know, `SourceChanged` if the source is another file by now.
    """
    stem = Path(file).expanduser().resolve()
    recipe = read_recipe(stem)
    project = _present_project(stem, recipe.request.project)
    source = _find_source(stem, recipe, project, cache_dir)
    return RedoPlan(
        original=stem,
        recipe=recipe,
        request=_one_take(stem, recipe, project, source),
        source=source,
        source_sha256=recipe.source_sha256,
        warnings=tuple(_differences(recipe, versions or {}, engine_version)),
    )


def compare(original: Path, redone: Path) -> bool:
    """True if both files hold the same samples in the same format, bit for bit."""
    return data_sha256(original) == data_sha256(redone)


def _one_take(stem: Path, recipe: Recipe, project: ProjectRef, source: Path | None) -> JobRequest:
    request = recipe.request
    if not 0 <= recipe.region < len(request.regions):
        raise SourceUnreadable(f"The recipe of {stem} is damaged: it names region {recipe.region} of a job without it.")
    task = with_seed(request.task, recipe.seed).model_copy(update={"number_results": 1})
    found = request.source.model_copy(update={"file": str(source)}) if request.source and source else request.source
    return request.model_copy(
        update={
            "task": task,
            "engine": recipe.engine,
            "project": project.model_copy(update={"sample_rate": recipe.sample_rate}),
            "source": found,
            "regions": (request.regions[recipe.region],),
            "tracks": (recipe.track,) if recipe.track else (),
        }
    )


# --- a project may have moved -----------------------------------------------------------------------------------------
def _present_project(stem: Path, recorded: ProjectRef) -> ProjectRef:
    """The stem's project where it is now: as recorded, else found from ``<media>/stembridge/<job>/<stem>``."""
    if Path(recorded.folder).is_dir() and stem.is_relative_to(recorded.folder):
        return recorded
    if stem.parent.parent.name != STEMS_FOLDER:
        return recorded
    media = stem.parent.parent.parent
    below = _relative(recorded.media_folder, recorded.folder) or PurePath()
    depth = len(below.parts)
    if depth and media.parts[-depth:] == below.parts:
        return recorded.model_copy(update={"folder": str(media.parents[depth - 1]), "media_folder": str(media)})
    return recorded.model_copy(update={"folder": str(media), "media_folder": str(media)})


def _relative(path: str, folder: str) -> PurePath | None:
    """`path` relative to `folder`, both as some system wrote them; None if it does not lie in there."""
    kind = PureWindowsPath if PureWindowsPath(folder).drive else PurePath
    try:
        return PurePath(*kind(path).relative_to(folder).parts)
    except ValueError:
        return None


def _find_source(stem: Path, recipe: Recipe, project: ProjectRef, cache_dir: Path) -> Path | None:
    request = recipe.request
    if request.source is None or recipe.source_sha256 is None:
        return None
    places = list(dict.fromkeys(_places(stem, request.source.file, request.project, project)))
    present = [place for place in places if place.is_file()]
    for place in present:
        if content_hash(place, cache_dir) == recipe.source_sha256:
            return place
    if present:
        raise SourceChanged(
            f"The source {present[0]} is no longer the file that {stem.name} was made from: put the earlier version "
            "back (its SHA-256 begins with " + recipe.source_sha256[:12] + "), then redo."
        )
    raise SourceMissing(
        f"The source of {stem.name} was not found; it was looked for at {', '.join(map(str, places))}: put it back at "
        "one of these places, then redo."
    )


def _places(stem: Path, recorded: str, then: ProjectRef, now: ProjectRef) -> Iterator[Path]:
    """Where the source may lie: where it was, at the same place in the moved project, in it, or beside the stem."""
    if Path(recorded).is_absolute():  # not so where another system wrote the recipe
        yield Path(recorded)
    below = _relative(recorded, then.folder)
    if below is not None:
        yield Path(now.folder) / below
    name = PureWindowsPath(recorded).name if PureWindowsPath(recorded).drive else PurePath(recorded).name
    for folder in (Path(now.folder), Path(now.media_folder), stem.parent):
        yield folder / name


# --- what might differ ------------------------------------------------------------------------------------------------
def _differences(recipe: Recipe, versions: Mapping[str, str], engine_version: str | None) -> Iterator[str]:
    if engine_version is not None and engine_version != recipe.engine_version:
        yield (
            f"The engine {recipe.engine} was version {recipe.engine_version} and is {engine_version}: the audio may "
            "differ."
        )
    for name, was in recipe.versions.items():
        now = versions.get(name)
        if versions and now != was:
            yield f"{name} was version {was} and is {now or 'not there'}: the audio may differ."
