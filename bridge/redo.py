"""Before a stem is made again from its recipe: what to ask for, of which source, and what might make it differ.

Promises: the plan asks for exactly the take's region, seed and track, of the same checkpoint, and only of the very
source and reference files it was made from, wherever these have moved with their project; another file of the same name
is refused. What the engine had made in one pass with other regions is asked for with them. Rendering itself goes
through the engine's own process like any other job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from bridge.broadcast_wave import data_sha256, read_recipe
from bridge.delivery import STEMS_FOLDER
from engine.api import CheckpointOffer
from engine.audio import content_hash
from protocol.errors import BadArgument, SourceChanged, SourceMissing, SourceUnreadable
from protocol.job import JobRequest, ProjectRef, Recipe, SourceRef
from protocol.task import final, with_checkpoint, with_seed
from protocol.vocabulary import TrackClass


@dataclass(frozen=True)
class RedoPlan:
    """How to make a stem again. `request` is ready to run; it has one variation."""

    original: Path
    recipe: Recipe
    request: JobRequest
    source: Path | None
    """Where the source lies now; None for verbs that need none."""
    source_sha256: str | None
    warnings: tuple[str, ...]
    """Whole sentences: what is not as it was, so that the audio may differ."""
    region: int = 0
    """Which of the request's regions is the stem's; there are others only if they were made in one pass with it."""

    @property
    def track(self) -> TrackClass | None:
        """Which of the request's tracks is the stem's."""
        return self.recipe.track


def plan_redo(
    file: Path,
    cache_dir: Path,
    *,
    versions: Mapping[str, str] | None = None,
    engine_version: str | None = None,
    checkpoints: Mapping[str, CheckpointOffer] | None = None,
) -> RedoPlan:
    """What makes the stem `file` again, bit for bit if nothing differs.

    `versions` are the present libraries' (see `engine.render.library_versions`), `engine_version` the present engine's,
    `checkpoints` those that are installed; what is given is compared with the recipe. Raises `SourceMissing` if the
    stem, its source or its reference is not there, `SourceUnreadable` if `file` holds no recipe that we know,
    `SourceChanged` if one is another file by now.
    """
    plan = _plan(file, cache_dir)
    task, warnings = plan.request.task, list(_differences(plan.recipe, versions or {}, engine_version))
    warnings += _other_weights(plan.recipe, checkpoints or {})
    if isinstance(name := plan.recipe.engine_notes.get("checkpoint"), str):
        try:
            task = with_checkpoint(task, name)
        except BadArgument as error:
            warnings.append(f"{error.sentence} The configured one is used instead, and the audio may differ.")
    return replace(plan, request=plan.request.model_copy(update={"task": task}), warnings=tuple(warnings))


def plan_commit(file: Path, cache_dir: Path) -> RedoPlan:
    """What makes the take of the stem `file`, a draft say, once more and for good.

    The same region, seed, track and source, at final quality, on the checkpoint that is configured; all else as it was
    asked for. Raises what `plan_redo` raises.
    """
    plan = _plan(file, cache_dir)
    return replace(plan, request=plan.request.model_copy(update={"task": final(plan.request.task)}))


def _plan(file: Path, cache_dir: Path) -> RedoPlan:
    stem = Path(file).expanduser().resolve()
    recipe = read_recipe(stem)
    request = recipe.request
    project = _present_project(stem, request.project)

    def find(wanted: SourceRef | None, sha256: str | None, what: str) -> Path | None:
        if wanted is None or sha256 is None:
            return None
        places = list(dict.fromkeys(_places(stem, wanted.file, request.project, project)))
        return _the_very_file(stem, places, sha256, what, cache_dir)

    source = find(request.source, recipe.source_sha256, "source")
    reference = find(request.reference, recipe.reference_sha256, "reference")
    together = _made_with(stem, recipe)
    return RedoPlan(
        original=stem,
        recipe=recipe,
        request=_one_take(recipe, project, source, reference, together),
        source=source,
        source_sha256=recipe.source_sha256,
        warnings=(),
        region=together.index(recipe.region),
    )


def compare(original: Path, redone: Path) -> bool:
    """True if both files hold the same samples in the same format, bit for bit."""
    return data_sha256(original) == data_sha256(redone)


def _made_with(stem: Path, recipe: Recipe) -> list[int]:
    """The job's regions that went into one pass with the take's, in order; the take's own at least."""
    noted = recipe.engine_notes.get("regions_together", [])
    together = [recipe.region, *(noted if isinstance(noted, list) else [noted])]
    for region in together:
        if not isinstance(region, int) or not 0 <= region < len(recipe.request.regions):
            raise SourceUnreadable(f"The recipe of {stem} is damaged: it names region {region} of a job without it.")
    return sorted(set(together))


def _tracks_made_with(recipe: Recipe) -> tuple[TrackClass, ...]:
    """The take's track, or all of the job's where the engine notes that it would have come out otherwise alone."""
    if recipe.track is None:
        return ()
    return recipe.request.tracks if recipe.engine_notes.get("tracks_together") else (recipe.track,)


def _one_take(
    recipe: Recipe, project: ProjectRef, source: Path | None, reference: Path | None, regions: Sequence[int]
) -> JobRequest:
    request = recipe.request
    # The recipe's seed is the one of the try that was kept: nothing is to be rolled again.
    task = with_seed(request.task, recipe.seed).model_copy(update={"number_results": 1, "min_score": None})
    return request.model_copy(
        update={
            "task": task,
            "project": project.model_copy(update={"sample_rate": recipe.sample_rate}),
            "source": _moved(request.source, source),
            "reference": _moved(request.reference, reference),
            "regions": tuple(request.regions[region] for region in regions),
            "tracks": _tracks_made_with(recipe),
        }
    )


def _moved(recorded: SourceRef | None, found: Path | None) -> SourceRef | None:
    return recorded.model_copy(update={"file": str(found)}) if recorded and found else recorded


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


def _the_very_file(stem: Path, places: Sequence[Path], sha256: str, what: str, cache_dir: Path) -> Path:
    """The file with that hash at one of `places`; `what` it is to the stem, for the sentence if there is none."""
    present = [place for place in places if place.is_file()]
    for place in present:
        if content_hash(place, cache_dir) == sha256:
            return place
    if present:
        raise SourceChanged(
            f"The {what} {present[0]} is no longer the file that {stem.name} was made from: put the earlier version "
            f"back (its SHA-256 begins with {sha256[:12]}), then redo."
        )
    raise SourceMissing(
        f"The {what} of {stem.name} was not found; it was looked for at {', '.join(map(str, places))}: put it back at "
        "one of these places, then redo."
    )


def _places(stem: Path, recorded: str, then: ProjectRef, now: ProjectRef) -> Iterator[Path]:
    """Where such a file may lie: where it was, at the same place in the moved project, in it, or beside the stem."""
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
            yield f"{name} was version {was} and is {now or 'not used here'}: the audio may differ."


def _other_weights(recipe: Recipe, checkpoints: Mapping[str, CheckpointOffer]) -> Iterator[str]:
    name, was = (recipe.engine_notes.get(note) for note in ("checkpoint", "checkpoint_identity"))
    present = checkpoints.get(str(name))
    if present is not None and was is not None and present.identity != was:
        yield f"The checkpoint {name} has other weights now ({present.identity}, not {was}): the audio may differ."


_CIRCUMSTANCES = (
    "checkpoint",
    "lora",
    "device",
    "dtype",
    "memory",
    "compiled",
    "items_per_pass",
    "source_latents",
    "voices",
    "separator",
)
"""What an engine may note of how it worked that can change a take's bits."""


def otherwise_made(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Why a stem that was made again may differ: what its engine noted then and notes now."""
    for name in _CIRCUMSTANCES:
        if was.get(name) != now.get(name):
            yield f"{name} was {_told(was.get(name))} and is {_told(now.get(name))}."


def _told(value: Any) -> str:
    return "not noted" if value is None else str(value)
