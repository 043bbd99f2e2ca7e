"""Who hears what: the sender of a verb hears that job, a subscriber hears everything until its time is up.

A client that is both hears each event once. Events of a job wait while its sender has not been answered yet, so that
the acknowledgment always comes first. Progress is thinned to ten messages a second per client and job, changes of the
session to twenty a second, the last of each always sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from protocol.errors import Busy
from protocol.events import (
    Event,
    JobChanged,
    JobProgressed,
    LiveChanged,
    LivePlaced,
    RequestRefused,
    SessionChanged,
    TakeDelivered,
)
from protocol.job import Job
from protocol.live_messages import Message, placed_message, status_messages
from protocol.vocabulary import JobState

MAX_SUBSCRIBERS = 64
PROGRESS_INTERVAL_S = 0.1
SESSION_INTERVAL_S = 0.05
_CLIENT = "osc:"

Sender = tuple[Any, ...]
"""A socket address: host, port, and for IPv6 two numbers more."""

Send = Callable[[Sender, str, Sequence[object]], None]


def client_of(sender: Sender) -> str:
    """How a sender is named in sessions and journals: ``osc:127.0.0.1:9000``."""
    return f"{_CLIENT}{sender[0]}:{sender[1]}"


def sender_of(client: str) -> Sender | None:
    """The inverse of `client_of`; None if the client came through another door."""
    host, _, port = client.removeprefix(_CLIENT).rpartition(":")
    return (host, int(port)) if client.startswith(_CLIENT) and host and port.isdecimal() else None


@dataclass(frozen=True)
class Subscription:
    """Until `expires` (seconds of the clock) this sender hears all events."""

    sender: Sender
    full: bool
    expires: float


class Subscribers:
    """The subscriptions, by sender. Expiry is looked at when something is to be sent; there is no timer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_sender: dict[Sender, Subscription] = {}

    def add(self, sender: Sender, full: bool, ttl_s: float) -> None:
        """Subscribe, or go on; raises `Busy` when there are too many."""
        self.current()
        if sender[:2] not in self._by_sender and len(self._by_sender) >= MAX_SUBSCRIBERS:
            raise Busy(f"{MAX_SUBSCRIBERS} clients have subscribed already: unsubscribe one, or try again in a minute.")
        self._by_sender[sender[:2]] = Subscription(sender, full, self._clock() + ttl_s)

    def remove(self, sender: Sender) -> None:
        self._by_sender.pop(sender[:2], None)

    def current(self) -> tuple[Subscription, ...]:
        """Those whose time is not up."""
        now = self._clock()
        self._by_sender = {key: held for key, held in self._by_sender.items() if held.expires > now}
        return tuple(self._by_sender.values())

    def wants_full_types(self, sender: Sender) -> bool:
        held = self._by_sender.get(sender[:2])
        return held is not None and held.full and held.expires > self._clock()


class Outbox:
    """Turns the core's events into messages to those who want them.

    `rows` gives the session's fields as ``session/state`` values; `later` calls a function after so many seconds.
    """

    def __init__(
        self,
        send: Send,
        subscribers: Subscribers,
        clock: Callable[[], float],
        rows: Callable[[], Sequence[Sequence[object]]],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._send, self._subscribers, self._clock = send, subscribers, clock
        self._rows, self._later = rows, later
        self._held: dict[Sender, list[Message]] = {}
        self._last_progress: dict[tuple[Sender, str], float] = {}
        self._changed: set[str] = set()
        self._next_session_at = 0.0
        self._flush_waits = False

    def take(self, event: Event) -> None:
        """Pass one event on."""
        if isinstance(event, SessionChanged):
            self._session_changed(event.fields)
            return
        if isinstance(event, LiveChanged | LivePlaced):
            self._live(event)
            return
        if isinstance(event, RequestRefused):
            for sender in self._recipients(()):
                self._deliver(sender, "error", (event.code, event.sentence, event.address))
            return
        messages = messages_for(event)
        for sender in self._recipients(event.job.reply_to):
            if isinstance(event, JobProgressed) and not self._is_time_for(sender, event):
                continue
            for name, values in messages:
                self._deliver(sender, name, values)
        if isinstance(event, JobChanged) and event.job.state.is_final:
            self._last_progress = {key: at for key, at in self._last_progress.items() if key[1] != event.job.id}

    def _live(self, event: LiveChanged | LivePlaced) -> None:
        messages = status_messages(event.status) if isinstance(event, LiveChanged) else [placed_message(event.placed)]
        for sender in self._recipients(event.reply_to):
            for name, values in messages:
                self._deliver(sender, name, values)

    @contextmanager
    def held(self, sender: Sender) -> Iterator[None]:
        """While inside, job events to this sender wait; they follow on leaving."""
        waiting = self._held.setdefault(sender[:2], [])
        try:
            yield
        finally:
            self._held.pop(sender[:2], None)
            for name, values in waiting:
                self._send(sender, name, values)

    def _deliver(self, sender: Sender, name: str, values: Sequence[object]) -> None:
        waiting = self._held.get(sender[:2])
        if waiting is None:
            self._send(sender, name, values)
        else:
            waiting.append((name, values))

    def _recipients(self, reply_to: Sequence[str]) -> list[Sender]:
        asked = (sender_of(client) for client in reply_to)
        found = {sender[:2]: sender for sender in asked if sender is not None}
        return list((found | {s.sender[:2]: s.sender for s in self._subscribers.current()}).values())

    def _is_time_for(self, sender: Sender, event: JobProgressed) -> bool:
        key, now = (sender[:2], event.job.id), self._clock()
        last = self._last_progress.get(key)
        if last is not None and now - last < PROGRESS_INTERVAL_S and event.progress.fraction < 1.0:
            return False
        self._last_progress[key] = now
        return True

    # --- the session --------------------------------------------------------------------------------------------------
    def _session_changed(self, names: Sequence[str]) -> None:
        if not self._subscribers.current():
            return
        self._changed.update(names)
        wait_s = self._next_session_at - self._clock()
        if wait_s <= 0:
            self._flush_session()
        elif not self._flush_waits:
            self._flush_waits = True
            self._later(wait_s, self._flush_session)

    def _flush_session(self) -> None:
        self._flush_waits = False
        names, self._changed = self._changed, set()
        self._next_session_at = self._clock() + SESSION_INTERVAL_S
        rows = [row for row in self._rows() if row[0] in names]
        for subscription in self._subscribers.current():
            for row in rows:
                self._send(subscription.sender, "session/state", row)


def state_message(job: Job) -> Message:
    return "job/state", (job.id, job.state, job.verb)


def story_of(job: Job) -> list[Message]:
    """What a client that missed it all needs to know of a job: its takes, its state and how it ended."""
    takes = [message for take in job.takes for message in messages_for(TakeDelivered(job, take))]
    return takes + messages_for(JobChanged(job))


def messages_for(event: JobChanged | JobProgressed | TakeDelivered) -> list[Message]:
    """What is said about an event of a job, in order."""
    job = event.job
    if isinstance(event, JobProgressed):
        return [("job/progress", (job.id, event.progress.fraction, event.progress.seconds_left))]
    if isinstance(event, TakeDelivered):
        take = event.take
        rest = (take.start_s, take.frames, take.sample_rate, take.score)
        return [("job/take", (job.id, take.number, take.file, *rest))]
    messages = [state_message(job)]
    if job.state is JobState.DONE:
        messages.append(("job/done", (job.id, len(job.takes), job.manifest or "")))
    if job.state is JobState.FAILED and job.failure:
        failure = job.failure
        messages.append(("error", (failure.code, failure.sentence, f"/stembridge/{job.verb}", job.id)))
    return messages
