"""The mailbox door on a real core, queue and journal, with an engine that does what a test says."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.core import Core
from bridge.doors.mailbox import MailboxDoor
from engine.api import Capabilities
from engine.audio import probe
from protocol.job import Job, Progress
from protocol.vocabulary import JobState, TrackClass, Verb
from tests.support import queues
from tests.support.audio import noise
from tests.support.mailbox import Json, Script, request, until
from tests.support.queues import Bench, Scripted

OFFER = Capabilities("sketch", "1", frozenset(Verb), frozenset(TrackClass))
RATE = 44_100
FRAMES = 2 * RATE


@dataclass
class Surface:
    """REAPER's OSC surface: remembers what was asked of it; `answers` if REAPER is there."""

    answers: bool = False
    last_heard: float | None = None
    rung: list[str] = field(default_factory=list)
    refreshed: int = 0

    def ring(self, action: str) -> bool:
        self.rung.append(action)
        return True

    def refresh(self) -> None:
        self.refreshed += 1
        if self.answers:
            self.last_heard = time.monotonic()


@dataclass
class Studio:
    """A project, a mailbox with a REAPER on it, and the daemon's parts behind it."""

    folder: Path
    bench: Bench
    core: Core
    door: MailboxDoor
    script: Script
    surface: Surface | None

    @property
    def runner(self) -> Scripted:
        return self.bench.runner

    @property
    def song(self) -> Path:
        return self.folder / "Gesänge ü"

    def asked(self, **changes: Any) -> Json:
        """A repaint of the second half second of two seconds of audio."""
        rpp = self.song / "A.rpp"
        made = request(
            project={"file": str(rpp), "media": str(self.song / "Media"), "sample_rate": RATE},
            regions=[{"start_frame": RATE // 2, "end_frame": RATE}],
            checks={"start_qn": 1.0, "end_qn": 2.0, "start_bar": 1, "start_beat": 1.0},
        )
        made["source"]["frames"] = FRAMES
        return {**made, **changes}

    def post(self, script: Script | None = None, seed: int = 1, **changes: Any) -> str:
        """Leave audio and a request as a script does; its id."""
        script = script or self.script
        content = self.asked(**changes)
        for name in (content.get("source") or {}).get("files", ()):
            if name.startswith(f"{content['id']}."):
                script.audio(content["id"], noise(FRAMES, seed=seed).T, RATE)
        return script.post(content)

    async def begun(self, request_id: str) -> str:
        await self.bench.begun(request_id)
        return request_id

    async def state(self, request_id: str, state: str, script: Script | None = None) -> Json:
        """Wait until a request's answer is in this state."""
        script = script or self.script
        return await until(lambda: (a := script.answer(request_id)) and a["state"] == state and a)

    async def finished(self, request_id: str, takes: int = 1) -> Json:
        await self.begun(request_id)
        self.runner.finish(request_id, self.bench.folder, takes)
        return await self.state(request_id, "done")

    def progress(self, fraction: float) -> None:
        self.runner.on_progress(Progress(fraction=fraction, seconds_left=9.0, stage="denoising"))

    async def job(self, request_id: str) -> Job | None:
        found = await self.core.find(request_id)
        return found and found.job

    async def jobs(self) -> list[tuple[str, JobState]]:
        return [(job.id, job.state) for job in reversed(await self.core.jobs(99))]


@asynccontextmanager
async def studio(
    folder: Path,
    *,
    surface: Surface | None = None,
    mailboxes: Sequence[Path] | None = None,
    roots: Sequence[Path] = (),
    start: bool = True,
) -> AsyncIterator[Studio]:
    """All of it in `folder`; what lies there stays for the next one."""
    song, root = folder / "Gesänge ü", folder / "mailbox"
    (song / "Media").mkdir(parents=True, exist_ok=True)
    (song / "A.rpp").write_text("<REAPER_PROJECT 0.1\n  SAMPLERATE 48000 1 0\n>\n")
    root.mkdir(exist_ok=True)
    async with queues.running(folder / "queue") as bench:
        core = Core(queue=bench.queue, engine_name="sketch", capabilities=lambda _: OFFER, probe=probe, roots=roots)
        remember = bench.emit

        def emit(event: Any) -> None:
            remember(event)
            core.emit(event)

        bench.emit = emit  # type: ignore[method-assign]
        door = MailboxDoor(
            core,
            [root] if mailboxes is None else mailboxes,
            folder / "reaper.json",
            surface=surface,
            surface_port=9241 if surface else None,
        )
        made = Studio(folder, bench, core, door, Script(root), surface)
        if start:
            door.start()
            if mailboxes is None:
                await until((root / "requests").is_dir)
        try:
            yield made
        finally:
            await door.stop_taking()
            await bench.queue.stop()
            await door.close()
