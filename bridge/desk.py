"""The desk: what every door talks to. It holds the session, takes requests and passes events on.

Doors (OSC, later MIDI, mailbox, HTTP) depend on this narrow face, not on the queue, the store or the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.api import Capabilities
from engine.audio import AudioInfo
from protocol.events import Event
from protocol.job import NORMAL_PRIORITY, Job, JobRequest, ProjectRef
from protocol.live import LiveStatus
from protocol.session import Session
from protocol.transport import Playhead
from protocol.vocabulary import Verb


@dataclass(frozen=True)
class Receipt:
    """A request was journalled (or was known already): `position` is its place in the queue, 0 while running."""

    job: Job
    position: int
    is_new: bool


class LiveDesk(Protocol):
    """Live extension as a door sees it: one run at a time. Errors are `StembridgeError`."""

    async def start(
        self,
        options: Mapping[str, object],
        session: Session,
        client: str,
        *,
        told: Callable[[], Session] | None = None,
        head: Callable[[float], Playhead | None] | None = None,
    ) -> LiveStatus:
        """Start a run with the options of ``/stembridge/live/start``.

        `told` gives the session that each phrase is asked with (None: the daemon's, as it is then), `head` the playhead
        at a moment of the daemon's clock (None: that of the daemon's transport).
        """
        ...

    def change(self, options: Mapping[str, object]) -> LiveStatus:
        """Other settings from the next phrase on."""
        ...

    async def stop(self, sentence: str = "") -> LiveStatus:
        """End the run; `sentence` says why, if a person should know."""
        ...

    def panic(self) -> None:
        """Silence at once, and end the run."""
        ...

    @property
    def status(self) -> LiveStatus | None:
        """Of the run that is on, else of the last one; None: there was none."""
        ...


class Desk(Protocol):
    """The core as a door sees it. Every method may raise a `StembridgeError`, which the door turns into its dialect."""

    @property
    def session(self) -> Session:
        """What the DAW has told so far."""
        ...

    @property
    def engine_name(self) -> str:
        """The engine that serves requests which name none."""
        ...

    @property
    def version(self) -> str:
        """The daemon's version."""
        ...

    @property
    def live(self) -> LiveDesk:
        """Live extension."""
        ...

    def emit(self, event: Event) -> None:
        """Tell every door."""
        ...

    def tell(self, session: Session) -> None:
        """Replace the session by a later fold of it; subscribers hear which fields changed."""
        ...

    def open_project(self, name: str, sample_rate: int | None, source: str) -> None:
        """Open the project at a folder or .rpp file and make it the session's project."""
        ...

    def set_source(self, name: str, start_s: float, source: str) -> None:
        """Make a file inside an opened project the session's source audio."""
        ...

    async def admit_project(self, name: str, sample_rate: int | None, media: str | None) -> ProjectRef:
        """Open a project off the loop, without telling the session; `media` is the folder that the DAW records to."""
        ...

    async def admit_source(self, name: str, project: ProjectRef) -> AudioInfo:
        """A readable file inside `project`, another opened one or the media roots; the session is not told."""
        ...

    async def request(
        self, verb: Verb, settings: Mapping[str, object], session: Session, job_id: str | None, reply_to: str
    ) -> Receipt:
        """Validate, journal and queue a request made from `session` (as it was when the message came)."""
        ...

    async def offer(self, engine: str) -> Capabilities:
        """What an engine offers; raises `EngineMissing` for one that cannot run here."""
        ...

    async def submit(self, request: JobRequest, job_id: str, reply_to: str, priority: int = NORMAL_PRIORITY) -> Receipt:
        """Journal and queue a request that is whole already; the same id with the same request is the same job."""
        ...

    async def cancel(self, target: str, reply_to: str) -> Sequence[Job]:
        """Cancel a job by id, the `last` one that this client asked for, or `all` open ones; the jobs concerned."""
        ...

    async def retry(self, job_id: str, reply_to: str) -> Receipt:
        """Queue a failed or cancelled job again under its own id."""
        ...

    async def jobs(self, count: int) -> Sequence[Job]:
        """The newest jobs, newest first."""
        ...

    async def find(self, job_id: str) -> Receipt | None:
        """The job with that id and its place in the queue now, if there is one."""
        ...

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` for every event from now on; call what is returned to stop."""
        ...
