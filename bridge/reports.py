"""The page of every job that is done, written by a process of its own, so that the daemon stays light and answers.

Promise: a page that cannot be written, or takes too long, costs nothing but a line in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from protocol.events import Event, JobChanged
from protocol.vocabulary import JobState

log = logging.getLogger("stembridge.reports")

_DEADLINE_S = 180.0
_MOST_WAITING = 64


class ReportWriter:
    """Hears the events of the daemon (`hear`) and runs `stembridge judge` for each finished job, one at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._manifests: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write; in a running loop."""
        self._work = asyncio.create_task(self._write_forever())

    async def stop(self) -> None:
        """End at once; a page that is being written is not finished."""
        if self._work:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def idle(self) -> None:
        """Return when nothing waits to be written."""
        await self._manifests.join()

    def hear(self, event: Event) -> None:
        """Note a job that is done."""
        if isinstance(event, JobChanged) and event.job.state is JobState.DONE and event.job.manifest:
            try:
                self._manifests.put_nowait(event.job.manifest)
            except asyncio.QueueFull:
                log.warning("no page for job %s: too many wait to be written", event.job.id)

    async def _write_forever(self) -> None:
        while True:
            manifest = await self._manifests.get()
            try:
                await self._write(manifest)
            except OSError as error:
                log.warning("no page for %s: %s", manifest, error)
            finally:
                self._manifests.task_done()

    async def _write(self, manifest: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge.cli", "judge", manifest, "--data-dir", str(self._data_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_DEADLINE_S):
                _, told = await process.communicate()
            if process.returncode:
                log.warning("no page for %s: %s", manifest, told.decode(errors="replace").strip()[-500:])
        except TimeoutError:
            log.warning("no page for %s: it took more than %d s", manifest, _DEADLINE_S)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
