"""The folder where the engine leaves takes until they are delivered: one folder per job, cleared behind it.

Clearing goes on in the background, so that the next job need not wait for it; only the same job, tried again, does.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path


class Spool:
    """The spool at `folder`, used on one event loop; the disk is touched in threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clearing: dict[str, asyncio.Task[None]] = {}

    async def empty(self) -> None:
        """Remove what an earlier daemon left; no engine works while a daemon starts."""
        await asyncio.to_thread(_empty, self._folder)

    async def ready_for(self, job_id: str) -> None:
        """Wait until nothing of an earlier attempt at this job is left."""
        if (task := self._clearing.get(job_id)) is not None:
            await asyncio.wait({task})

    def clear(self, job_id: str) -> None:
        """Begin to remove a job's folder."""
        work = asyncio.to_thread(shutil.rmtree, self._folder / job_id, ignore_errors=True)
        task = asyncio.create_task(work, name=f"clear the spool of {job_id}")
        self._clearing[job_id] = task
        task.add_done_callback(lambda ended: self._forget(job_id, ended))

    def _forget(self, job_id: str, ended: asyncio.Task[None]) -> None:
        if self._clearing.get(job_id) is ended:
            del self._clearing[job_id]

    async def close(self) -> None:
        """Wait for what is being removed."""
        if self._clearing:
            await asyncio.wait(set(self._clearing.values()))


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
