"""The DAW's side of the conversation: requests that must be acknowledged, and jobs heard to their ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.doors.osc_client import OscClient
from protocol.address_space import PREFIX
from protocol.errors import StembridgeError

Value = str | int | float
_REPLY_S = 5.0
_SILENCE_S = 60.0
"""A running job reports at every step; a minute without a word is not slowness."""
_REASON_S = 1.0
"""How long after a job's failure its reason may arrive."""


class Refused(StembridgeError):
    """The daemon answered with an error; the sentence is the daemon's own."""

    code = "refused"


class NoAnswer(StembridgeError):
    """The daemon did not answer in time."""

    code = "no_answer"


@dataclass(frozen=True)
class Heard:
    """One message from the daemon, its address without the prefix."""

    address: str
    args: tuple[object, ...]


@dataclass
class Outcome:
    """How the jobs ended: manifests of those done, sentences for those that were not, by job id."""

    manifests: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Daw:
    """A client with a port of its own; use it as a context manager."""

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = OscClient(port, host, clock=clock)
        self._clock = clock
        self._later: deque[Heard] = deque()

    def __enter__(self) -> Daw:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def tell(self, address: str, *args: Value, reply: str = "/ack", reply_s: float = _REPLY_S) -> tuple[object, ...]:
        """Send one message and wait for its `reply`, whose arguments are returned; what else is heard is kept.

        Raises `Refused` or `NoAnswer`.
        """
        self._client.send(PREFIX + address, *args)
        deadline = self._clock() + reply_s
        while (heard := self._receive(deadline - self._clock())) is not None:
            if heard.address == "/error" and PREFIX + address in heard.args[2:3]:
                raise Refused(str(heard.args[1]))
            if heard.address == reply:
                return heard.args
            self._later.append(heard)
        raise NoAnswer(f"No answer to {PREFIX + address} within {reply_s:g} s. Is something else on the daemon's port?")

    def ask(self, verb: str, **settings: Value) -> str:
        """Request a job; its id."""
        return str(self.tell(f"/{verb}", *(part for pair in settings.items() for part in pair))[0])

    def follow(self, jobs: Iterable[str], show: Callable[[str, float], None]) -> Outcome:
        """Hear the jobs to their ends; `show` gets every (id, fraction). `NoAnswer` after a minute of silence."""
        open_jobs, outcome = set(jobs), Outcome()
        while open_jobs:
            heard = self._later.popleft() if self._later else self._receive(_SILENCE_S)
            if heard is None:
                raise NoAnswer("The daemon fell silent while a job was running; its log says more.")
            _note(heard, open_jobs, outcome, show)
        self._hear_reasons(outcome)
        return outcome

    def _hear_reasons(self, outcome: Outcome) -> None:
        """A job's failure is told first, its reason after it."""
        deadline = self._clock() + _REASON_S
        while "" in outcome.failures.values():
            heard = self._later.popleft() if self._later else self._receive(deadline - self._clock())
            if heard is None:
                break
            _note(heard, set(), outcome, lambda *_: None)
        outcome.failures.update({job: "It failed." for job, reason in outcome.failures.items() if not reason})

    def _receive(self, timeout_s: float) -> Heard | None:
        message = self._client.receive(timeout_s)
        return None if message is None else Heard(message.address.removeprefix(PREFIX), tuple(message.args))


def _note(heard: Heard, open_jobs: set[str], outcome: Outcome, show: Callable[[str, float], None]) -> None:
    """Account for one event."""
    match heard.address, heard.args:
        case "/job/progress", (str(job), float(fraction), *_) if job in open_jobs:
            show(job, fraction)
        case "/job/done", (str(job), _, str(manifest), *_) if job in open_jobs:
            show(job, 1.0)
            outcome.manifests[job] = Path(manifest)
            open_jobs.discard(job)
        case "/error", (_, str(sentence), _, str(job), *_):
            outcome.failures[job] = sentence
            open_jobs.discard(job)
        case "/job/state", (str(job), "failed" | "cancelled" as state, *_) if job in open_jobs:
            outcome.failures.setdefault(job, "" if state == "failed" else "It was cancelled.")
            open_jobs.discard(job)
