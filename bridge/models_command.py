"""`stembridge models`: which checkpoints there are, fetching one, where it lies, whether it is whole.

Each function is one sub-command and returns the exit code: 0 done, 1 something is wrong and was told. `list`, `path`
and `verify` need nothing that Stembridge does not bring; `pull` needs huggingface_hub and says so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.acestep import checkpoints, hub
from engine.acestep.catalogue import CATALOGUE, DEFAULT, Entry, Traits
from engine.acestep.checkpoints import Checkpoint
from engine.availability import missing_libraries
from protocol.errors import EngineError, EngineMissing
from protocol.vocabulary import Verb

OK, WRONG = 0, 1


@dataclass(frozen=True)
class _Row:
    name: str
    entry: Entry | None
    checkpoint: Checkpoint | None
    folder: Path | None
    problem: str | None = None

    @property
    def traits(self) -> Traits:
        described = self.checkpoint or self.entry
        assert described is not None
        return described.traits

    @property
    def size_bytes(self) -> int:
        """On the disk, or as the catalogue expects it."""
        if self.entry is not None and self.checkpoint is None:
            return self.entry.size_bytes
        files = (file for file in self.folder.rglob("*") if file.is_file()) if self.folder else ()
        return sum(file.stat().st_size for file in files)


def list_models(models_dir: Path | None, *, as_json: bool) -> int:
    """Print the catalogue and what else is installed: a table, or one JSON object per line."""
    rows = list(_rows(models_dir))
    if as_json:
        for row in rows:
            _say(json.dumps(_as_json(row)))
        return OK
    table = Table("name", "installed", "size", "what for", "licence", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*_as_cells(row))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table)
    where = models_dir or f"{checkpoints.hub_cache()} (the Hugging Face cache)"
    console.print(f"\n* the default. In {where}.", soft_wrap=True)
    return OK


def pull(name: str, models_dir: Path | None, *, offline: bool) -> int:
    """Fetch a checkpoint, or what is missing of it. Raises what `engine.acestep.hub.pull` raises."""
    checkpoint = hub.pull(name, models_dir, _say, offline=offline)
    _say(f"{checkpoint.name} is complete (identity {checkpoint.identity}): {checkpoint.folder}")
    return OK


def path(name: str, models_dir: Path | None) -> int:
    """Print the folder of an installed checkpoint, nothing else, for scripts. Raises `EngineMissing`."""
    _say(str(checkpoints.find(name, models_dir).folder))
    return OK


def verify(name: str, models_dir: Path | None) -> int:
    """Read a checkpoint to its last byte and print every problem; 1 if there is one. Raises `EngineMissing`."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", total=None)
        result = checkpoints.verify(
            name,
            models_dir,
            lambda file, done, total: bar.update(shown, description=file, completed=done, total=total),
        )
    problems = [*result.problems] or _misfits(name, models_dir)
    for problem in problems:
        _say(problem)
    if problems:
        return WRONG
    _say(f"{result.name} is complete: {result.folder}")
    if result.compared:
        _say(f"{result.compared} files have the content they were published with.")
    if result.unknown:
        _say(
            f"For {len(result.unknown)} files only the structure was checked: this folder keeps no record of their "
            "checksums, as one copied by hand."
        )
    return OK


def _misfits(name: str, models_dir: Path | None) -> list[str]:
    """Whether files that are whole also belong together; only where the engine's libraries are installed."""
    if missing_libraries():
        return []
    logging.disable(
        logging.WARNING
    )  # what libraries grumble about while they are imported is not about this checkpoint
    try:
        from engine.acestep.model import check

        check(checkpoints.find(name, models_dir))
    except EngineError as error:
        return [error.sentence]
    finally:
        logging.disable(logging.NOTSET)
    return []


def _rows(models_dir: Path | None) -> Iterator[_Row]:
    for entry in CATALOGUE.values():
        folder, checkpoint, problem = checkpoints.locate(entry.name, models_dir).folder, None, None
        try:
            checkpoint = checkpoints.find(entry.name, models_dir)
        except EngineMissing as error:
            problem = error.sentence if folder is not None else None
        yield _Row(entry.name, entry, checkpoint, folder, problem)
    for checkpoint in checkpoints.installed(models_dir):
        if checkpoint.name not in CATALOGUE:
            yield _Row(checkpoint.name, None, checkpoint, checkpoint.folder)


def _as_cells(row: _Row) -> tuple[str, ...]:
    state = "yes" if row.checkpoint else "incomplete" if row.folder else "no"
    title = row.entry.title if row.entry else ", ".join(_verbs(row.traits))
    name = f"{row.name} *" if row.name == DEFAULT else row.name
    licence = row.entry.licence if row.entry else "see where it came from"
    return name, state, f"{row.size_bytes / 1e9:.1f} GB", title, licence


def _as_json(row: _Row) -> dict[str, object]:
    return {
        "name": row.name,
        "default": row.name == DEFAULT,
        "installed": row.checkpoint is not None,
        "problem": row.problem,
        "folder": str(row.folder) if row.folder else None,
        "identity": row.checkpoint.identity if row.checkpoint else None,
        "repo_id": row.entry.repo_id if row.entry else None,
        "licence": row.entry.licence if row.entry else None,
        "size_bytes": row.size_bytes,
        "verbs": _verbs(row.traits),
        "steps": row.traits.steps,
        "shift": row.traits.shift,
        "guidance": row.traits.guidance,
    }


def _verbs(traits: Traits) -> list[str]:
    return [str(verb) for verb in Verb if verb in traits.verbs]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
