"""One mailbox, watched: what comes is served in order, what vanishes is waited for, what is old is swept.

The system's events are only a bell: they can be lost, and network folders have none. What counts is the look, every two
seconds and whenever the bell rings. A folder that goes away (a disk, a share) is looked for until it is back; what was
to be written meanwhile is written then. One daemon serves a mailbox at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from watchfiles import awatch

from bridge.desk import Desk
from bridge.doors.mailbox_answers import Answers
from bridge.doors.mailbox_files import REQUESTS, MailboxFiles
from bridge.doors.mailbox_live import LiveBooth
from bridge.doors.mailbox_requests import Clerk, Surface
from bridge.doors.mailbox_trouble import Trouble
from protocol.events import Event
from protocol.mailbox import Address

log = logging.getLogger("stembridge.mailbox")

LOOK_S = 2.0
SWEEP_S = 3600.0
LOCK = ".daemon.lock"
BUSY_S = 300.0
_QUICK_MS, _CALM_MS = 15, 50
"""Steps of the bell: a file is told of after one or two. While somebody works, about as soon as REAPER's 30 Hz would
show; the first request after a pause waits a little, because 15 ms cost 0.3 % of a core all day."""


class Mailbox:
    """The mailbox at `root`; `start` it on the loop, `stop_taking`, then `close` it."""

    def __init__(
        self,
        root: Path,
        desk: Desk,
        surface: Surface | None,
        surface_port: int | None,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._files = MailboxFiles(root)
        self._clock, self._now = clock, now
        self.answers = Answers(self._files, surface.ring if surface else lambda _: None, clock, now)
        self.live = LiveBooth(desk, self._files, self.answers, clock, now)
        self._clerk = Clerk(desk, self._files, self.answers, self.live, surface, surface_port, clock, now)
        self._lock = FileLock(root / LOCK, timeout=0, thread_local=False)
        self._wake = asyncio.Event()
        self._identity: tuple[int, ...] | None = None
        self._line: asyncio.Queue[Address] = asyncio.Queue()
        self._seen: set[Address] = set()
        """Waits in the line, is being served, or could not be, by a mistake of ours."""
        self._in_line: set[Address] = set()
        self._next_sweep = float("-inf")
        self._said = ""
        self._trouble = Trouble(root, "waits, because the mailbox cannot be used", clock)
        self._looking: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._bell: asyncio.Task[None] | None = None
        self._still = asyncio.Event()
        self._busy_until = float("-inf")
        self._step_ms = _CALM_MS

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look_forever(), name=f"mailbox {self._files.root}")
        self._serving = asyncio.create_task(self._serve_forever(), name=f"requests of {self._files.root}")

    async def stop_taking(self, patience_s: float) -> None:
        """Take no request more; the one that is being served is finished, for at most so long."""
        await ended(self._looking)
        await self._silence()
        while not self._line.empty():
            self._in_line.discard(self._line.get_nowait())
            self._line.task_done()
        if self._in_line:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._line.join()
        await ended(self._serving)

    def hear(self, event: Event) -> None:
        """Take up what the core tells."""
        self.answers.hear(event)
        self.live.hear(event)

    async def close(self, patience_s: float) -> None:
        """Write what is still to be said, give the mailbox free."""
        await self.live.close()
        await self.answers.close(patience_s)
        with suppress(OSError):
            self._lock.release()

    # --- looking ------------------------------------------------------------------------------------------------------
    async def _look_forever(self) -> None:
        while True:
            try:
                await self._look()
            except OSError as error:
                self._say(f"cannot be used: {error}")
            except Exception:
                log.exception("the mailbox %s goes on after a mistake of its own", self._files.root)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> None:
        identity = await asyncio.to_thread(self._files.prepare)
        if identity != self._identity:
            self._identity = None  # until all is ready
            await self._begin(identity)
        if self._identity is None:
            return
        listed = await asyncio.to_thread(self._files.waiting)
        self._seen &= {*listed, *self._in_line}
        for address in listed:
            if address not in self._seen:
                self._seen.add(address)
                self._in_line.add(address)
                self._line.put_nowait(address)
        if listed or self.answers.unfinished():
            self._busy_until = self._clock() + BUSY_S
        await self._keep_pace()
        await self.answers.tick()
        if self._clock() >= self._next_sweep:
            self._next_sweep = self._clock() + SWEEP_S
            in_work = {*self.answers.unfinished(), *self._in_line}
            await asyncio.to_thread(self._files.sweep, self._now(), in_work)

    async def _begin(self, identity: tuple[int, ...] | None) -> None:
        """The folder appeared, vanished, or is another one than before."""
        await self._silence()
        if identity is None:
            self._say("is not there; waiting for it")
            return
        if not await asyncio.to_thread(self._own):
            self._say("is served by another Stembridge; waiting for it to end")
            return
        if await asyncio.to_thread(self._files.is_open_to_all):
            log.warning(
                "Any user of this computer may write into the mailbox %s, and so ask for jobs: take that right away "
                "(chmod o-w).",
                self._files.root,
            )
        self._listen()
        for address in await asyncio.to_thread(self._files.taken):
            try:
                await self._clerk.recover(address)
            except PermissionError as error:  # of this one file; the others are not to wait for it
                log.warning("the request %s cannot be taken up again: %s", address.file_name, error)
        self._identity = identity
        self._say("is watched")

    def _own(self) -> bool:
        """Hold the lock of this very folder; a file system without locks is trusted to have one daemon."""
        try:
            self._lock.release(force=True)
            if (self._files.root / LOCK).is_symlink():  # opening it would make a file elsewhere
                return False
            self._lock.acquire()
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            log.info("the mailbox %s cannot be locked: %s", self._files.root, error)
        return True

    async def _keep_pace(self) -> None:
        """Listen closely while somebody works, and else at little cost."""
        step_ms = _QUICK_MS if self._clock() < self._busy_until else _CALM_MS
        if step_ms != self._step_ms:
            self._step_ms = step_ms
            await self._silence()
            self._listen()
            self._wake.set()  # what came in between was not heard

    def _listen(self) -> None:
        self._still = asyncio.Event()
        self._bell = asyncio.create_task(
            self._ring_for_changes(self._still, self._step_ms), name=f"changes of {self._files.root}"
        )

    async def _silence(self) -> None:
        """End the bell; its thread looks at the event, a task's cancellation would not reach it."""
        self._still.set()
        if self._bell is not None:
            await asyncio.wait({self._bell})
            self._bell = None

    async def _ring_for_changes(self, still: asyncio.Event, step_ms: int) -> None:
        """Wake the look whenever the system tells of a change; without such events the look comes by itself."""
        try:
            async for _ in awatch(
                self._files.root / REQUESTS,
                stop_event=still,
                step=step_ms,
                debounce=4 * step_ms,
                recursive=False,
            ):
                self._wake.set()
        except (OSError, RuntimeError) as error:  # no such events here, or too many watched already
            log.info("no events from %s, looking every %g s instead: %s", self._files.root, LOOK_S, error)

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            log.info("the mailbox %s %s", self._files.root, what)

    # --- serving ------------------------------------------------------------------------------------------------------
    async def _serve_forever(self) -> None:
        while True:
            address = await self._line.get()
            try:
                await self._clerk.serve(address)
                self._trouble.over()
                self._seen.discard(address)
            except OSError as error:
                self._trouble.met(address.file_name, error)
                self._seen.discard(address)
            except Exception:
                log.exception("could not serve %s", address.file_name)
            finally:
                self._in_line.discard(address)
                self._line.task_done()


async def ended(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, if there is one, and wait until it has ended. That the caller itself is cancelled is not lost."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
