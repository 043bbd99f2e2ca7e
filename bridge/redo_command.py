"""`stembridge redo FILE`: make a stem again from the recipe inside it and compare the two, bit for bit.

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
from rich.progress import BarColumn, Progress, TextColumn

from bridge.broadcast_wave import read_recipe
from bridge.config import Config
from bridge.daemon import engine_supervisor
from bridge.delivery import Delivery, deliver
from bridge.redo import RedoPlan, compare, plan_redo
from engine import registry
from engine.render import library_versions
from protocol import job as jobs
from protocol.errors import EngineMissing

IDENTICAL, DIFFERENT = 0, 1


def redo(config: Config, file: Path) -> int:
    """Redo `file`; 0 if the new audio is the same bit for bit, 1 if it differs. Raises `StembridgeError`."""
    console = Console(stderr=not sys.stdout.isatty())
    stem = file.expanduser().absolute()
    plan = plan_redo(
        stem,
        config.data_dir / "cache",
        versions=library_versions(),
        engine_version=_engine_version(read_recipe(stem).engine, config),
    )
    for warning in plan.warnings:
        console.print(f"[yellow]{warning}[/yellow]")
    delivery = asyncio.run(_render(config, plan, console))
    made = Path(delivery.takes[0].file)
    same = compare(plan.original, made)
    print(f"{made}")
    print("identical: the same audio, bit for bit" if same else "different: the audio is not the same")
    return IDENTICAL if same else DIFFERENT


def _engine_version(name: str, config: Config) -> str | None:
    try:
        return registry.capabilities(name, config.engine.plugins).version
    except EngineMissing:
        return None  # the run itself says what is missing


async def _render(config: Config, plan: RedoPlan, console: Console) -> Delivery:
    job = jobs.Job(id=f"redo-{jobs.new_job_id()}", request=plan.request, created=time.time())
    spool = config.data_dir / "redo-spool"
    supervisor = engine_supervisor(config, spool)
    try:
        with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bars:
            bar = bars.add_task(f"redo {plan.original.name}", total=1.0)
            rendered = await supervisor.run(job, lambda step: bars.update(bar, completed=step.fraction))
        return await asyncio.to_thread(deliver, job, rendered)
    finally:
        await supervisor.stop()
        shutil.rmtree(spool / job.id, ignore_errors=True)
