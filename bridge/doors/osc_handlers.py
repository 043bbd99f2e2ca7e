"""What each of our addresses does: one small function per kind of message, and the table that says which.

Session messages are folded at once, in the order in which they came. Requests that wait for the journal are coroutines;
they work on the session as it was when their message came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.desk import Desk, Receipt
from bridge.doors.osc_subscriptions import Sender, Subscribers, client_of, state_message, story_of
from bridge.pairing import Pairing, canonical
from protocol import PROTOCOL_VERSION
from protocol.address_space import DEFAULT_JOBS, DEFAULT_TTL_S, PREFIX
from protocol.address_types import Command
from protocol.errors import BadArgument
from protocol.job import Job
from protocol.live import LiveState
from protocol.live_messages import status_messages
from protocol.session import Session
from protocol.session_messages import fold
from protocol.vocabulary import Verb


@dataclass(frozen=True)
class Call:
    """One message that is being answered. `reply` sends to its sender: an outgoing name and its values."""

    desk: Desk
    subscribers: Subscribers
    command: Command
    sender: Sender
    session: Session
    now: float
    reply: Callable[..., None]
    asked_by: str = ""
    """Who asks, if not the sender of a datagram."""
    pairing: Pairing | None = None
    """Who is served, for doors that have clients elsewhere: these tell the sender's address as it is."""
    reply_at: Callable[[Sender], Callable[..., None]] | None = None
    """Gives what `reply` is, for another port of the sender; None where clients have no ports."""

    @property
    def client(self) -> str:
        return self.asked_by or client_of(self.sender)

    def acknowledge(self) -> None:
        self.reply("ack", self.command.path)

    def to_port(self, port: int | None) -> Call:
        """The same call, answered at another port of its sender."""
        if port is None or self.reply_at is None:
            return self
        sender = (self.sender[0], port, *self.sender[2:])
        return replace(self, sender=sender, reply=self.reply_at(sender))


Handler = Callable[[Call], None]
QueuedHandler = Callable[[Call], Awaitable[None]]


# --- at once ----------------------------------------------------------------------------------------------------------
def _ping(call: Call) -> None:
    call.reply("pong", call.desk.version, call.desk.engine_name, PROTOCOL_VERSION, *call.command.values)


def _subscribe(call: Call) -> None:
    options = call.command.options
    full = options.get("types", "basic") == "full"
    hearing = call.to_port(options.get("port"))
    call.subscribers.add(hearing.sender, full, options.get("ttl", DEFAULT_TTL_S))
    call.acknowledge()
    _say_session(hearing)


def _unsubscribe(call: Call) -> None:
    call.subscribers.remove(call.to_port(call.command.options.get("port")).sender)
    call.acknowledge()


def _session(call: Call) -> None:
    _say_session(call)
    call.acknowledge()


def _say_session(call: Call) -> None:
    for row in call.session.describe(call.now):
        call.reply("session/state", *row)


def _project(call: Call) -> None:
    folder, rate = _two(call.command.values, None)
    call.desk.open_project(folder, rate, call.client)
    call.acknowledge()


def _source(call: Call) -> None:
    file, start_s = _two(call.command.values, 0.0)
    call.desk.set_source(file, start_s, call.client)
    call.acknowledge()


def _two(values: tuple[Any, ...], default: object) -> tuple[Any, Any]:
    return values[0], values[1] if len(values) > 1 else default


def _tell(call: Call) -> None:
    call.desk.tell(fold(call.session, call.command, call.client, call.now))
    call.acknowledge()


# --- who is served ----------------------------------------------------------------------------------------------------
def _pair(call: Call) -> None:
    call.acknowledge()  # whoever is not served yet was dealt with by the door


def _unpair(call: Call) -> None:
    """Acknowledged first: afterwards nothing reaches who is unpaired."""
    pairing, here = _served_by(call)
    (address,) = call.command.values or (call.sender[0],)
    if not here and (address == "all" or canonical(address) != canonical(call.sender[0])):
        raise BadArgument("From elsewhere on the network only the sender itself can be unpaired.")
    if here and not call.command.values:
        raise BadArgument("Say which address shall be unpaired, or all; /stembridge/lan tells who is paired.")
    if address != "all":
        pairing.find(address)
    call.acknowledge()
    pairing.unpair(address)


def _lan(call: Call) -> None:
    pairing, here = _served_by(call)
    if not here:
        raise BadArgument("Pairing is looked at on the daemon's own machine only: `stembridge pair` there.")
    if call.command.values and call.command.values[0]:
        pairing.renew_pin()
    for name, values in pairing.messages():
        call.reply(name, *values)
    call.acknowledge()


def _served_by(call: Call) -> tuple[Pairing, bool]:
    """The pairing, and whether this machine asks."""
    if call.pairing is None:
        raise BadArgument(f"{call.command.path} does not come this way: send it by OSC.")
    return call.pairing, call.pairing.is_here(call.sender[0])


# --- through the journal ----------------------------------------------------------------------------------------------
async def _request(call: Call) -> None:
    options = dict(call.command.options)
    job_id = options.pop("id", None)
    verb = Verb(call.command.path.removeprefix(f"{PREFIX}/"))
    receipt = await call.desk.request(verb, options, call.session, job_id, call.client)
    _acknowledge_job(call, receipt)
    if not receipt.is_new:
        _tell_story(call, receipt.job)


async def _retry(call: Call) -> None:
    receipt = await call.desk.retry(call.command.values[0], call.client)
    _acknowledge_job(call, receipt)
    if receipt.job.state.is_final:  # it needs no retry
        _tell_story(call, receipt.job)


def _acknowledge_job(call: Call, receipt: Receipt) -> None:
    job = receipt.job
    call.reply("ack", job.id, job.verb, job.request.engine, receipt.position)


def _tell_story(call: Call, job: Job) -> None:
    """Tell again what has happened to a job: perhaps it is asked because an answer was lost."""
    for name, values in story_of(job):
        call.reply(name, *values)


async def _cancel(call: Call) -> None:
    (target,) = call.command.values
    jobs = await call.desk.cancel(target, call.client)
    for job in jobs:
        call.reply("ack", job.id, "cancel", job.request.engine, 0)
    if not jobs:
        call.reply("ack", target, "cancel", call.desk.engine_name, 0)


async def _jobs(call: Call) -> None:
    count = call.command.values[0] if call.command.values else DEFAULT_JOBS
    for job in await call.desk.jobs(count):
        name, values = state_message(job)
        call.reply(name, *values)
    call.acknowledge()


# --- live -------------------------------------------------------------------------------------------------------------
async def _live_start(call: Call) -> None:
    status = await call.desk.live.start(call.command.options, call.session, call.client)
    call.reply("ack", status.run, "live", call.desk.engine_name)


async def _live_toggle(call: Call) -> None:
    status = call.desk.live.status
    is_on = status is not None and status.state is not LiveState.ENDED
    await (_live_stop if is_on else _live_start)(call)


async def _live_stop(call: Call) -> None:
    status = await call.desk.live.stop()
    call.reply("ack", status.run, "live/stop", call.desk.engine_name)


def _live_set(call: Call) -> None:
    call.desk.live.change(call.command.options)
    call.acknowledge()


def _live_panic(call: Call) -> None:
    call.desk.live.panic()
    call.acknowledge()


def _live_status(call: Call) -> None:
    status = call.desk.live.status
    for name, values in status_messages(status) if status is not None else ():
        call.reply(name, *values)
    call.acknowledge()


_AT_ONCE: Mapping[str, Handler] = {
    f"{PREFIX}/ping": _ping,
    f"{PREFIX}/subscribe": _subscribe,
    f"{PREFIX}/unsubscribe": _unsubscribe,
    f"{PREFIX}/pair": _pair,
    f"{PREFIX}/unpair": _unpair,
    f"{PREFIX}/lan": _lan,
    f"{PREFIX}/session": _session,
    f"{PREFIX}/project": _project,
    f"{PREFIX}/source": _source,
    f"{PREFIX}/live/set": _live_set,
    f"{PREFIX}/live/panic": _live_panic,
    f"{PREFIX}/live/status": _live_status,
}

_QUEUED: Mapping[str, QueuedHandler] = {
    **{f"{PREFIX}/{verb}": _request for verb in Verb},
    f"{PREFIX}/cancel": _cancel,
    f"{PREFIX}/retry": _retry,
    f"{PREFIX}/jobs": _jobs,
    f"{PREFIX}/live/start": _live_start,
    f"{PREFIX}/live/stop": _live_stop,
    f"{PREFIX}/live/toggle": _live_toggle,
}


def handler_for(command: Command) -> Handler:
    """What answers a command that is no job request at once: a handler of its own, or the fold into the session."""
    return _AT_ONCE.get(command.path, _tell)


def queued_handler_for(command: Command) -> QueuedHandler | None:
    """What answers the command in its sender's line, or None if it is answered at once."""
    return _QUEUED.get(command.path)
