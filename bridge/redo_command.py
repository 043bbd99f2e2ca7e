"""`stembridge redo FILE`: make a stem again from the recipe inside it, and compare the two bit for bit.

With `--commit` its take is made at final quality instead: the draft that was chosen, for good.

It needs no daemon: the engine runs in a process of its own, as it does for jobs, and the new stem lies beside the old
one's folder as a job of its own; nothing is overwritten.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from bridge.broadcast_wave import read_recipe
from bridge.config import Config
from bridge.daemon import engine_capabilities, engine_spec, engine_supervisor
from bridge.delivery import Delivery, deliver
from bridge.redo import RedoPlan, compare, otherwise_made, plan_commit, plan_redo
from engine.api import Capabilities
from engine.render import library_versions
from protocol import job as jobs
from protocol.errors import EngineMissing
from protocol.job import Take

IDENTICAL, DIFFERENT = 0, 1


def redo(config: Config, file: Path) -> int:
    """Redo `file`; 0 if the new audio is the same bit for bit, 1 if it differs. Raises `StembridgeError`."""
    stem = file.expanduser().absolute()
    offer = _offer(read_recipe(stem).request.engine, config)
    plan = plan_redo(
        stem,
        config.data_dir / "cache",
        versions=library_versions(offer.libraries if offer else ()),
        engine_version=offer.version if offer else None,
        checkpoints=offer.checkpoints if offer else {},
    )
    made = _make(config, plan, "redo")
    same = compare(plan.original, Path(made.file))
    print(made.file)
    print("identical: the same audio, bit for bit" if same else "different: the audio is not the same")
    if not same:
        for sentence in otherwise_made(plan.recipe.engine_notes, made.recipe.engine_notes):
            print(sentence)
    return IDENTICAL if same else DIFFERENT


def commit(config: Config, file: Path) -> int:
    """Make the take of `file` at final quality; always 0. Raises `StembridgeError`."""
    print(_make(config, plan_commit(file.expanduser().absolute(), config.data_dir / "cache"), "commit").file)
    return 0


def _offer(name: str, config: Config) -> Capabilities | None:
    try:
        return engine_capabilities(config, name)
    except EngineMissing:
        return None  # the run itself says what is missing


def _make(config: Config, plan: RedoPlan, what: str) -> Take:
    """The new stem."""
    console = Console(stderr=not sys.stdout.isatty())
    for warning in plan.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    delivery = asyncio.run(_render(config, plan, console, what))
    return delivery.takes[0]


async def _render(config: Config, plan: RedoPlan, console: Console, what: str) -> Delivery:
    job = jobs.Job(id=f"{what}-{jobs.new_job_id()}", request=plan.request, created=time.time())
    spool = config.data_dir / "redo-spool"
    supervisor = engine_supervisor(config, engine_spec(config, plan.request.engine), spool)
    try:
        with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bars:
            bar = bars.add_task(escape(f"{what} {plan.original.name}"), total=1.0)
            rendered = await supervisor.run(job, lambda step: bars.update(bar, completed=step.fraction))
        wanted = [take for take in rendered if (take.region, take.track) == (plan.region, plan.track)]
        return await asyncio.to_thread(deliver, job, wanted)
    finally:
        await supervisor.stop()
        shutil.rmtree(spool / job.id, ignore_errors=True)
