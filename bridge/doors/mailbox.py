"""The mailbox door: REAPER's scripts leave requests as files in a folder, and find the answers there.

Which folders: those of the configuration (`[reaper] mailboxes`), and those that `stembridge reaper install` noted in
``reaper.json`` of the data folder; never one that is guessed. A mailbox is a way in for whoever may write its folder:
such a request may name no more than one that comes over OSC (the projects that are opened, within the configuration's
`roots`, and `media_roots`), and a folder that any user of the computer may write is warned of in the log.

Promises: a request that was answered survives kill -9 and is done once; each ends in an answer; requests of one mailbox
are served in their order, and none holds up another mailbox or the loop; without a mailbox nothing is watched.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from bridge.desk import Desk
from bridge.doors.mailbox_requests import Surface
from bridge.doors.mailbox_watch import LOOK_S, Mailbox, ended
from protocol.errors import StembridgeError
from protocol.events import Event, JobChanged

log = logging.getLogger("stembridge.mailbox")

REGISTRY = "reaper.json"
"""In the data folder: ``{"mailboxes": ["..."]}``, written by `stembridge reaper install`."""
_PATIENCE_S = 5.0


class MailboxDoor:
    """All mailboxes of the daemon. `start` once the queue runs; `stop_taking` before it stops, `close` after it.

    `surface` is REAPER's own OSC surface on `surface_port`, None if it is off. `clock` gives monotonic seconds, `now`
    those since the epoch.
    """

    def __init__(
        self,
        desk: Desk,
        mailboxes: Sequence[Path],
        registry: Path,
        *,
        surface: Surface | None = None,
        surface_port: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._desk, self._registry = desk, registry
        self._configured = _plain(mailboxes)
        self._new_mailbox: Callable[[Path], Mailbox] = lambda root: Mailbox(
            root, desk, surface, surface_port, clock, now
        )
        self._mailboxes: dict[Path, Mailbox] = {}
        self._registered: tuple[Path, ...] = ()
        self._read_stamp: tuple[int, int] | None = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._minding: asyncio.Task[None] | None = None
        self._placing: asyncio.Task[None] | None = None
        self._place_again = False

    def start(self) -> None:
        """Begin to watch; folders that are slow or away hold nothing up."""
        self._stop_listening = self._desk.listen(self._hear)
        self._minding = asyncio.create_task(self._mind_forever(), name="mailboxes")

    async def stop_taking(self) -> None:
        """Take no request more: what comes now waits in its folder for the next daemon."""
        await ended(self._minding)
        await asyncio.gather(*(mailbox.stop_taking(_PATIENCE_S) for mailbox in self._mailboxes.values()))

    async def close(self) -> None:
        """Write the last answers."""
        await ended(self._placing)
        await asyncio.gather(*(mailbox.close(_PATIENCE_S) for mailbox in self._mailboxes.values()))
        self._stop_listening()
        self._mailboxes.clear()

    # --- which mailboxes ----------------------------------------------------------------------------------------------
    async def _mind_forever(self) -> None:
        while True:
            try:
                await self._mind()
            except Exception:
                log.exception("the mailboxes go on after a mistake of their own")
            await asyncio.sleep(LOOK_S)

    async def _mind(self) -> None:
        """Begin with mailboxes that are new, end with those that are no longer registered."""
        self._read_registry()
        wanted = dict.fromkeys((*self._configured, *self._registered))
        for root in [root for root in self._mailboxes if root not in wanted]:
            await self._mailboxes[root].stop_taking(_PATIENCE_S)
            await self._mailboxes[root].close(_PATIENCE_S)
            del self._mailboxes[root]
        for root in wanted:
            if root not in self._mailboxes:
                self._mailboxes[root] = mailbox = self._new_mailbox(root)
                mailbox.start()

    def _read_registry(self) -> None:
        try:
            status = self._registry.stat()
        except OSError:
            self._read_stamp, self._registered = None, ()
            return
        stamp = status.st_mtime_ns, status.st_size
        if stamp == self._read_stamp:
            return
        self._read_stamp = stamp
        try:
            named = json.loads(self._registry.read_text(encoding="utf-8"))["mailboxes"]
            self._registered = _plain(path for path in map(Path, named) if path.is_absolute())
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): run `stembridge reaper install` again.", self._registry, error)

    # --- events -------------------------------------------------------------------------------------------------------
    def _hear(self, event: Event) -> None:
        for mailbox in self._mailboxes.values():
            mailbox.hear(event)
        if isinstance(event, JobChanged) and self._mailboxes:
            self._place_again = True
            if self._placing is None or self._placing.done():
                self._placing = asyncio.create_task(self._tell_places())

    async def _tell_places(self) -> None:
        """Tell those that wait how many are before them now."""
        while self._place_again:
            self._place_again = False
            for mailbox in tuple(self._mailboxes.values()):
                for ticket in [t for t in mailbox.answers.tickets.values() if t.is_queued and not t.held]:
                    with suppress(StembridgeError):  # the journal cannot be read; the job's next event tells more
                        receipt = await self._desk.find(ticket.address.id)
                        if receipt is not None and ticket.is_queued:
                            mailbox.answers.say(ticket, ticket.answer.with_(position=receipt.position))


def _plain(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Without the spellings of a path that mean the same folder."""
    return tuple(Path(os.path.normpath(folder)) for folder in folders)
