"""`stembridge jobs`: the journal as a table, whether a daemon runs or not."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bridge.store import read_newest
from protocol.job import Job


def print_jobs(journal: Path, count: int, *, as_json: bool) -> int:
    """Print the newest `count` jobs of `journal`, newest first; 0 always, an empty journal too."""
    jobs = read_newest(journal, count) if journal.exists() else []
    if as_json:
        for job in jobs:
            print(job.model_dump_json())
        return 0
    if not jobs:
        print(f"No jobs yet ({journal}).")
        return 0
    table = Table("when", "id", "verb", "where", "state", "took", "takes", "what", box=None, pad_edge=False)
    for job in jobs:
        table.add_row(*_row(job))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def _row(job: Job) -> tuple[str, ...]:
    request = job.request
    where = " ".join(region.label(request.tempo_map) for region in request.regions)
    took = f"{job.ended - job.started:.1f} s" if job.started and job.ended else ""
    what = job.failure.sentence if job.failure else (job.manifest or request.task.positive_prompt)
    when = datetime.fromtimestamp(job.created).astimezone()
    shown = f"{when:%H:%M:%S}" if time.time() - job.created < 43_200 else f"{when:%Y-%m-%d}"
    return shown, job.id, str(request.verb), where, str(job.state), took, str(len(job.takes) or ""), what
