"""What a mailbox's scripts are told: one ticket per request, its answer replaced on the disk as the job goes on.

Promises: progress is written at most four times a second for each job; while a job makes none, its answer is written
again every few seconds, so that a script can tell a long wait from a dead daemon; the answer that ends a request is
always written, and again and again until the disk takes it; a script that does not fetch it within three seconds is
rung for once; and when the script is done with it, the request is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bridge.doors.mailbox_files import MailboxFiles
from bridge.doors.mailbox_trouble import Trouble
from protocol.events import Event, JobChanged, JobProgressed
from protocol.job import Job
from protocol.mailbox import Address, client_of
from protocol.mailbox_answer import Answer
from protocol.vocabulary import JobState

log = logging.getLogger("stembridge.mailbox")

PROGRESS_INTERVAL_S = 0.25
RING_AFTER_S = 3.0
SIGN_OF_LIFE_S = 5.0
"""Scripts take a daemon for dead whose open answers have not changed for 20 s (lib/jobs.lua)."""


@dataclass(eq=False)
class Ticket:
    """One request that is being answered: what is to be said of it now, and whether that is on the disk."""

    address: Address
    answer: Answer
    doorbell: str = ""
    audio: tuple[str, ...] = ()
    """Files of the mailbox that are not needed once the request is answered."""
    job: Job | None = None
    """The job as events tell it, which may be newer than what a request comes back with."""
    held: bool = True
    """While true nothing is written: the request is not journalled yet."""
    unwritten: bool = True
    written_at: float = float("-inf")
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    writer: asyncio.Task[None] | None = None

    @property
    def client(self) -> str:
        return client_of(self.address.instance)

    @property
    def is_queued(self) -> bool:
        return self.job is not None and self.job.state is JobState.QUEUED and not self.answer.is_final

    @property
    def is_told(self) -> bool:
        """Its last word is on the disk."""
        return self.answer.is_final and not (self.held or self.unwritten or self.writer)


class Answers:
    """The tickets of one mailbox. `ring` calls the script that shows answers; `now` is in seconds since the epoch."""

    def __init__(
        self, files: MailboxFiles, ring: Callable[[str], object], clock: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._files, self._ring, self._clock, self._now = files, ring, clock, now
        self.tickets: dict[Address, Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = Trouble(files.root, "could not be answered and is kept", clock)

    def of_job(self, job_id: str) -> list[Ticket]:
        """The tickets of a job that can still change."""
        return [t for t in self.tickets.values() if t.address.id == job_id and not t.answer.is_final]

    def unfinished(self) -> list[Address]:
        """The requests whose last word is still to be said."""
        return [t.address for t in self.tickets.values() if t.unwritten or not t.answer.is_final]

    def open(self, ticket: Ticket) -> None:
        """From now on the ticket hears of its job; nothing is written before `release`."""
        self.tickets[ticket.address] = ticket

    def hear(self, event: Event) -> None:
        """Take up what the core tells."""
        if isinstance(event, JobChanged | JobProgressed):
            for ticket in self.of_job(event.job.id):
                if ticket.client not in event.job.reply_to:
                    continue
                ticket.job = event.job
                if isinstance(event, JobProgressed):
                    self.say(ticket, ticket.answer.going_on(event.progress), hurry=False)
                else:
                    self.say(ticket, ticket.answer.about(event.job, ticket.answer.position))

    def say(self, ticket: Ticket, answer: Answer, *, hurry: bool = True) -> None:
        """Let the script know, at once or as soon as its progress is due."""
        if answer == ticket.answer:
            return
        ticket.answer, ticket.unwritten = answer, True
        if hurry:
            ticket.hurry.set()
        if not ticket.held and ticket.writer is None:
            ticket.writer = self._spawn(self._write_on(ticket))

    def drop(self, ticket: Ticket) -> None:
        """Nothing is to be said of it."""
        if self.tickets.get(ticket.address) is ticket:
            del self.tickets[ticket.address]

    async def release(self, ticket: Ticket) -> None:
        """Write the first answer now; raises `OSError` if the disk does not take it (it is tried again later)."""
        ticket.held = False
        await self._write(ticket)
        if ticket.unwritten and ticket.writer is None:  # more was said meanwhile
            ticket.writer = self._spawn(self._write_on(ticket))

    def resume(self, ticket: Ticket) -> None:
        """Take up a ticket of an earlier daemon whose answer lies there as it is."""
        ticket.held = ticket.unwritten = False
        self.tickets[ticket.address] = ticket
        if ticket.answer.is_final:
            self._spawn(self._ring_later(ticket))

    async def tick(self) -> None:
        """Try again what the disk did not take, give signs of life, forget what the scripts are done with."""
        for ticket in list(self.tickets.values()):
            if ticket.held or ticket.writer is not None:
                continue
            if not ticket.answer.is_final and self._clock() - ticket.written_at > SIGN_OF_LIFE_S:
                ticket.unwritten = True
            if ticket.unwritten:
                ticket.writer = self._spawn(self._write_on(ticket))
        told = {ticket.address: ticket for ticket in self.tickets.values() if ticket.is_told}
        for address in await asyncio.to_thread(self._files.forget_fetched, told) if told else ():
            self.drop(told[address])

    async def close(self, patience_s: float) -> None:
        """Write what is still to be said, for at most so long."""
        writers = [ticket.writer for ticket in self.tickets.values() if ticket.writer is not None]
        for ticket in self.tickets.values():
            ticket.hurry.set()
        if writers:
            await asyncio.wait(writers, timeout=patience_s)
        left = tuple(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    # --- inside -------------------------------------------------------------------------------------------------------
    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write_on(self, ticket: Ticket) -> None:
        """Write until all is said."""
        try:
            while ticket.unwritten:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ticket.written_at + PROGRESS_INTERVAL_S - self._clock()):
                        await ticket.hurry.wait()
                await self._write(ticket)
        except OSError as error:
            self._trouble.met(ticket.address.file_name, error)
        except Exception:
            log.exception("the answer to %s could not be written", ticket.address.file_name)
        finally:
            ticket.writer = None

    async def _write(self, ticket: Ticket) -> None:
        async with ticket.writing:
            if not ticket.unwritten:
                return
            ticket.hurry.clear()
            said = ticket.answer = ticket.answer.with_(serial=ticket.answer.serial + 1, updated=self._now())
            await asyncio.to_thread(self._files.write, said)
            ticket.unwritten = ticket.answer is not said
            ticket.written_at = self._clock()
            self._trouble.over()
        if said.is_final:
            self._spawn(self._ring_later(ticket))

    async def _ring_later(self, ticket: Ticket) -> None:
        if not ticket.doorbell or ticket.answer.kind != "request":
            return
        await asyncio.sleep(RING_AFTER_S)
        try:
            if isinstance(await asyncio.to_thread(self._files.shown, ticket.address), Answer):
                self._ring(ticket.doorbell)
        except OSError as error:
            log.info("cannot see whether %s was fetched: %s", ticket.address.file_name, error)
