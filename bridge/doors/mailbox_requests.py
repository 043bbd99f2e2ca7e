"""One request of a mailbox, from its file to its first answer: read, checked, told to the desk, answered, moved aside.

The order makes a kill at any moment harmless: the job is journalled before its answer is written, the answer lies there
before the request is moved aside, and only then its audio goes. A request that is met again is the same job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from bridge.desk import Desk
from bridge.doors.mailbox_answers import Answers, Ticket
from bridge.doors.mailbox_files import MailboxFiles
from bridge.doors.mailbox_live import LiveBooth, cut_off
from bridge.doors.mailbox_source import keep, planned
from protocol.errors import SourceMissing, StembridgeError, UnknownJob
from protocol.job import ProjectRef, SourceRef
from protocol.mailbox import (
    Address,
    Cancel,
    Hello,
    Request,
    disagreements,
    read,
    require_covered,
    require_fresh,
)
from protocol.mailbox_answer import Answer, Greeting
from protocol.mailbox_live import LiveChange, LiveStart, parse_all
from protocol.session import Session

log = logging.getLogger("stembridge.mailbox")

_HEARD_S = 75.0
"""REAPER's surface is asked for everything after a minute of silence; one that lives has answered by then."""
_LISTEN_S, _LISTEN_STEP_S = 0.5, 0.05


class Internal(StembridgeError):
    """Something went wrong on our side."""

    code = "internal"


class Surface(Protocol):
    """REAPER's own OSC surface (bridge.doors.reaper_surface)."""

    @property
    def last_heard(self) -> float | None: ...

    def refresh(self) -> None: ...

    def ring(self, action: str) -> bool: ...


class Clerk:
    """Serves the requests of one mailbox. `surface` is None where REAPER's OSC surface is off."""

    def __init__(
        self,
        desk: Desk,
        files: MailboxFiles,
        answers: Answers,
        live: LiveBooth,
        surface: Surface | None,
        surface_port: int | None,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._desk, self._files, self._answers, self._live = desk, files, answers, live
        self._surface, self._surface_port = surface, surface_port
        self._clock, self._now = clock, now

    async def serve(self, address: Address) -> None:
        """Answer the request at `address`, if it is there. Raises `OSError` if the disk does not take part."""
        content = await asyncio.to_thread(self._files.read_request, address)
        if content is None:  # withdrawn, or the folder vanished
            return
        is_shown = await asyncio.to_thread(self._files.shown, address) != "gone"
        ticket = self._answers.tickets.get(address)  # of an earlier try, which the disk did not take
        if ticket is not None and ticket.is_told and not is_shown:  # the script was done with it, and asks once more
            self._answers.drop(ticket)
            ticket = None
        if ticket is None:
            if is_shown:  # answered before a kill
                await asyncio.to_thread(self._files.take, address)
                await self.recover(address)
                return
            ticket = Ticket(address, self._first_answer(address, {}))
            self._answers.open(ticket)
            if self._surface is not None:
                self._surface.refresh()
            await self._decide(ticket, content)
        await self._answers.release(ticket)
        if not await asyncio.to_thread(self._files.take, address):
            await self._withdrawn(ticket)
        await asyncio.to_thread(self._files.remove_audio, ticket.audio)

    async def recover(self, address: Address) -> None:
        """Take up a request that an earlier daemon had answered: its script may wait, its job may have gone on."""
        if address in self._answers.tickets:
            return
        shown = await asyncio.to_thread(self._files.shown, address)
        content = await asyncio.to_thread(self._files.read_taken, address)
        raw = _readable(content)
        await asyncio.to_thread(self._files.remove_audio, self._leftover_audio(raw, address))
        known = shown if isinstance(shown, Answer) else self._first_answer(address, raw)
        ticket = Ticket(address, known, _doorbell(raw))
        if shown == "claimed" or known.is_final:
            ticket.answer = known if known.is_final else known.with_(state="done")
            self._answers.resume(ticket)
            return
        self._answers.open(ticket)  # before the journal is asked, so that no event is missed
        try:
            receipt = await self._desk.find(address.id)
        except BaseException:
            self._answers.drop(ticket)
            raise
        if shown == "gone" and (receipt is None or receipt.job.state.is_final):
            self._answers.drop(ticket)  # the script is done with it
            await asyncio.to_thread(self._files.forget, address)
            return
        if known.kind == "live":
            ticket.answer = cut_off(known)
        elif receipt is None or ticket.client not in receipt.job.reply_to:
            ticket.answer = known.refused(UnknownJob("Stembridge has no record of this request any more: ask again."))
        else:
            ticket.job = ticket.job or receipt.job
            ticket.answer = ticket.answer.about(ticket.job, receipt.position)
        await self._answers.release(ticket)

    def _leftover_audio(self, raw: Mapping[str, Any], address: Address) -> tuple[str, ...]:
        """What a kill between answer and removal left."""
        try:
            message = parse_all(raw, address, self._desk.version)
        except StembridgeError:
            return ()
        return _audio_of(message) if isinstance(message, Request) else ()

    def _first_answer(self, address: Address, raw: Mapping[str, Any]) -> Answer:
        return Answer.to(address, raw, version=self._desk.version, engine=self._desk.engine_name)

    async def _decide(self, ticket: Ticket, content: bytes) -> None:
        """Do what is asked and note the answer."""
        try:
            raw = read(content)
            ticket.answer, ticket.doorbell = self._first_answer(ticket.address, raw), _doorbell(raw)
            message = parse_all(raw, ticket.address, self._desk.version)
            match message:
                case LiveStart():
                    ticket.audio = _audio_of(message)
                    require_fresh(message, self._now())
                    await self._live.start(ticket, message, await self._told(ticket, message))
                case LiveChange():
                    require_fresh(message, self._now())
                    await self._live.change(message)
                    ticket.answer = ticket.answer.with_(state="done")
                case Request():
                    ticket.audio = _audio_of(message)
                    await self._request(ticket, message)
                case Cancel():
                    require_fresh(message, self._now())
                    await self._cancel(ticket, message)
                case Hello():
                    require_fresh(message, self._now())
                    await self._greet(ticket, message)
        except StembridgeError as error:
            log.info("refused %s: %s", ticket.address.file_name, error)
            ticket.answer = ticket.answer.refused(error)
        except Exception as error:
            log.exception("could not take %s", ticket.address.file_name)
            sentence = f"Something went wrong inside Stembridge ({type(error).__name__}); its log says more."
            ticket.answer = ticket.answer.refused(Internal(sentence))

    # --- the kinds ----------------------------------------------------------------------------------------------------
    async def _request(self, ticket: Ticket, request: Request) -> None:
        receipt = await self._desk.find(request.id)
        if receipt is None or request.client not in receipt.job.reply_to:  # else it was journalled before a kill
            require_fresh(request, self._now())
            session = await self._told(ticket, request)
            receipt = await self._desk.request(request.verb, request.wanted, session, request.id, request.client)
        ticket.job = ticket.job or receipt.job
        ticket.answer = ticket.answer.about(ticket.job, receipt.position)

    async def _told(self, ticket: Ticket, request: Request) -> Session:
        """The session after the request, its audio in the project; what is odd becomes warnings."""
        named = request.project
        project = await self._desk.admit_project(named.file, named.sample_rate, named.media)
        source, warnings = await self._source(request, project)
        session = request.told_to(self._desk.session, project, source, self._clock())
        self._desk.tell(session)
        ticket.answer = ticket.answer.warned([*disagreements(request), *warnings])
        return session

    async def _source(self, request: Request, project: ProjectRef) -> tuple[SourceRef | None, tuple[str, ...]]:
        """The audio that the request is about, in the project, and what is odd about it."""
        source, rate = request.source, request.project.sample_rate
        if source is None:
            return None, ()
        start_s = source.start_frame / rate
        if source.file is not None:
            info = await self._desk.admit_source(source.file, project)
            if info.rate == rate:
                require_covered(request, source.start_frame, info.frames)
            return SourceRef(file=str(info.path), start_s=start_s), ()
        paths = [await asyncio.to_thread(self._audio, name) for name in source.files]
        assert source.frames is not None  # `parse` has seen to it
        mix = await asyncio.to_thread(planned, paths, rate, source.frames)
        require_covered(request, source.start_frame, mix.frames)
        file = await asyncio.to_thread(keep, mix, project)
        return SourceRef(file=str(file), start_s=start_s), mix.warnings

    def _audio(self, name: str) -> Path:
        path = self._files.audio_file(name)
        if path is None:
            raise SourceMissing(
                f"The audio {name} is not in the mailbox: look whether REAPER could render to "
                f"{self._files.root} (its disk may be full), then ask again."
            )
        return path

    async def _cancel(self, ticket: Ticket, cancel: Cancel) -> None:
        is_live = self._live.is_on(cancel.job, cancel.instance)
        if is_live:
            await self._live.end(cancel.job)
        if cancel.job == "all":
            for own in [t for t in self._answers.tickets.values() if t.address.instance == cancel.instance]:
                if own.job is not None and not own.answer.is_final:
                    try:
                        await self._desk.cancel(own.job.id, cancel.client)
                    except StembridgeError as error:  # it has just ended, or its takes are being written
                        log.info("not cancelled: %s", error)
        elif not is_live:
            known = await self._desk.find(cancel.job)
            if known is None or cancel.client not in known.job.reply_to:
                raise UnknownJob(f"This REAPER has asked for no job {cancel.job!r}, so there is none to cancel.")
            await self._desk.cancel(cancel.job, cancel.client)
        ticket.answer = ticket.answer.with_(state="done")

    async def _greet(self, ticket: Ticket, hello: Hello) -> None:
        answer, named = ticket.answer, hello.project
        if named.file:
            try:
                await self._desk.admit_project(named.file, named.sample_rate, named.media)
            except StembridgeError as error:
                answer = answer.warned([error.sentence])
        greeting = Greeting(
            version=self._desk.version,
            engine=self._desk.engine_name,
            osc=await self._osc(),
            osc_port=self._surface_port,
        )
        ticket.answer = answer.with_(state="done", hello=greeting)

    async def _osc(self) -> Literal["heard", "silent", "off"]:
        """Whether REAPER's surface was heard; it was asked a moment ago and gets as long to answer."""
        if self._surface is None:
            return "off"
        deadline = self._clock() + _LISTEN_S
        while (heard := self._surface.last_heard) is None or self._clock() - heard > _HEARD_S:
            if self._clock() > deadline:
                return "silent"
            await asyncio.sleep(_LISTEN_STEP_S)
        return "heard"

    async def _withdrawn(self, ticket: Ticket) -> None:
        """The script took its request back while it was being read: end its job, or its live run."""
        await self._live.end(ticket.address.id)
        if ticket.job is not None and not ticket.answer.is_final:
            try:
                await self._desk.cancel(ticket.job.id, ticket.client)
            except StembridgeError as error:
                log.info("withdrawn too late: %s", error)


def _audio_of(request: Request) -> tuple[str, ...]:
    return request.source.files if request.source else ()


def _readable(content: bytes | None) -> dict[str, Any]:
    try:
        return read(content) if content is not None else {}
    except StembridgeError:
        return {}


def _doorbell(raw: Mapping[str, Any]) -> str:
    named = raw.get("doorbell")
    return named if isinstance(named, str) else ""
