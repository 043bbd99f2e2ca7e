"""Live extension for REAPER: a request that stays open while the director runs, and an answer for each phrase.

The script only says where REAPER plays (``live/<instance>.json``); when a phrase is made, and what fills a bar whose
phrase is late, the daemon's one schedule decides as for every other transport. Promises: each place that is filled
becomes an answer of its own, with its exact frames, as if it had been asked for, so that it is placed like every take;
a run ends with its script, and at the latest a minute after REAPER fell silent; while no run is on nothing is polled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bridge.desk import Desk
from bridge.doors.mailbox_answers import Answers, Ticket
from bridge.doors.mailbox_files import MailboxFiles
from protocol.errors import BadArgument, JobConflict, StembridgeError
from protocol.events import Event, LiveChanged, LivePlaced
from protocol.job import Failure, Job
from protocol.key import Key
from protocol.live import Filling, LiveState, PlacedPhrase
from protocol.mailbox import Address, TempoPart, tempo_map_of
from protocol.mailbox_answer import Answer, AnsweredTake, LiveWords
from protocol.mailbox_live import HANGS_S, Follower, Heartbeat, LiveChange, LiveStart, read_heartbeat
from protocol.music import TempoMap
from protocol.session import Session
from protocol.transport import Playhead
from protocol.vocabulary import JobState, Verb

log = logging.getLogger("stembridge.mailbox")

POLL_S = 0.2
GONE_S = 60.0
"""A run whose REAPER was silent for so long is ended."""
HANDOFF_S = 0.75
"""So long before it is due a phrase must be there: the script looks ten times a second, and REAPER reads ahead."""

_GONE = "Nothing was heard from REAPER for a minute, so live extension ended. Run the action again to go on."
_CUT_OFF = (
    "Stembridge ended in the middle and was started again, so live extension stopped. What was placed stays: run the "
    "action again to go on from there."
)


class LiveEnded(StembridgeError):
    """The live run is over."""

    code = "live_ended"


def cut_off(answer: Answer) -> Answer:
    """The last word on a run of a daemon that died."""
    return answer.with_(state="failed", error=Failure.of(LiveEnded(_CUT_OFF)), live=None)


@dataclass(eq=False)
class _Run:
    """A run of this mailbox. `told` is the session after what its script said last, over the daemon's own."""

    request: LiveStart
    ticket: Ticket
    told: Session
    follower: Follower
    tempo: tuple[TempoPart, ...]
    tempo_map: TempoMap
    settings: frozenset[str]
    base: Session | None = None
    session: Session | None = None
    listening: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.ticket.address.id

    @property
    def instance(self) -> str:
        return self.ticket.address.instance

    def session_over(self, base: Session) -> Session:
        """What the daemon knows by now, with this run's project, tempo map, key and source."""
        if self.session is None or base is not self.base:
            session = base
            for name in ("project", "tempo", "key", "source"):
                known = getattr(self.told, name)
                session = session.told(name, known.value, known.source, known.at)
            self.base, self.session = base, session
        return self.session

    def tell(self, name: str, value: object, at: float) -> None:
        self.told = self.told.told(name, value, f"reaper-script:{self.instance}", at)
        self.session = None

    def hear(self, beat: Heartbeat, at: float) -> None:
        """Take up a tempo map that was changed in REAPER, or changed back."""
        tempo = beat.tempo or self.request.tempo
        if tempo != self.tempo:
            tempo_map = tempo_map_of(tempo)
            self.tempo, self.tempo_map = tempo, tempo_map
            self.tell("tempo", tempo_map, at)

    def head(self, now: float) -> Playhead:
        return self.follower.head(now, self.tempo_map, f"reaper-script:{self.instance}")


class LiveBooth:
    """Live extension of one mailbox: at most one run, as the daemon has. `clock` is monotonic, `now` of the epoch."""

    def __init__(
        self,
        desk: Desk,
        files: MailboxFiles,
        answers: Answers,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._desk, self._files, self._answers = desk, files, answers
        self._clock, self._now = clock, now
        self._run: _Run | None = None
        self._work: set[asyncio.Task[None]] = set()

    # --- what is asked ------------------------------------------------------------------------------------------------
    async def start(self, ticket: Ticket, request: LiveStart, session: Session) -> None:
        """Begin the run that goes on from the session's source. Raises what `LiveDesk.start` raises."""
        await self._make_room(ticket.address.instance)
        assert session.source is not None  # `protocol.mailbox.parse` has seen to it
        now = self._clock()
        follower = Follower(request.position or 0.0, bool(request.playing), now)
        settings = dict(request.settings)
        self._run = run = _Run(
            request, ticket, session, follower, request.tempo, request.tempo_map(), frozenset(settings)
        )
        source, live = session.source.value, request.live.model_dump(exclude={"join_frame"}, exclude_none=True)
        options = {"id": run.id, "file": source.file, "at": source.start_s, "out": "files", "handoff_s": HANDOFF_S}
        if request.live.join_frame is not None:
            options["join"] = request.live.join_frame / request.project.sample_rate
        ticket.answer = ticket.answer.with_(state="running")
        try:
            await self._desk.live.start(
                {**settings, **live, **options},
                session,
                ticket.client,
                told=lambda: run.session_over(self._desk.session),
                head=run.head,
            )
        except BaseException:
            self._run = None
            raise
        if self._run is run:  # it has not ended already
            run.listening = self._spawn(self._listen(run))

    async def _make_room(self, instance: str) -> None:
        """End the run of a script that crashed; raises `JobConflict` for one that somebody else uses."""
        run, status = self._run, self._desk.live.status
        if status is None or status.state is LiveState.ENDED:
            return
        is_ours = run is not None and run.id == status.run
        if run is not None and is_ours:
            silent = self._clock() - run.follower.heard_at > HANGS_S
            if silent or run.instance == instance:
                await self.end(run.id)
                return
        where = "in another REAPER" if is_ours else "outside this REAPER"
        raise JobConflict(
            f"Live extension is on already, started {where}: end it there, or run `stembridge live stop`, then run the "
            "action again."
        )

    async def change(self, message: LiveChange) -> None:
        """Do what the script asks of its run. Raises `LiveEnded` if what shall be changed is over."""
        run = self._run if self._run is not None and self._run.id == message.run else None
        if run is None or run.instance != message.instance:
            if message.action == "set":
                raise LiveEnded("Live extension has ended: run the action again to start it.")
            return
        match message.action:
            case "stop":
                await self.end(run.id)
            case "panic":
                self._desk.live.panic()
            case "set":
                self._set(run, message)

    def _set(self, run: _Run, message: LiveChange) -> None:
        key = Key.parse(message.key) if message.key and message.key.strip() else None
        taken_back = dict.fromkeys(run.settings - message.settings.keys(), "")
        self._desk.live.change({**taken_back, **message.settings})
        run.settings = frozenset(message.settings)
        run.tell("key", key, self._clock())

    def is_on(self, run_id: str, instance: str) -> bool:
        """True for a run of this instance that has not ended; "all" means whichever there is."""
        return self._run is not None and self._run.instance == instance and run_id in ("all", self._run.id)

    async def end(self, run_id: str, sentence: str = "") -> None:
        """End the run, if it is the one that is on; "all" means whichever there is."""
        if self._run is not None and run_id in ("all", self._run.id):
            with suppress(StembridgeError):  # it has just ended
                await self._desk.live.stop(sentence)

    async def close(self) -> None:
        """Say what is still to be said of a run; one that is on ends, since nobody hears its REAPER any more."""
        await self.end("all", "Stembridge does not serve this REAPER any more.")
        if self._work:
            await asyncio.wait(tuple(self._work))

    # --- where REAPER plays -------------------------------------------------------------------------------------------
    async def _listen(self, run: _Run) -> None:
        looked = self._clock()
        try:
            while True:
                await asyncio.sleep(POLL_S)
                looked = await self._look(run, looked)
                if self._clock() - run.follower.heard_at > GONE_S:
                    self._spawn(self.end(run.id, _GONE))
                    return
        finally:
            await asyncio.to_thread(self._files.remove_heartbeat, run.instance)

    async def _look(self, run: _Run, looked: float) -> float:
        """Read the heartbeat; when that was."""
        try:
            found = await asyncio.to_thread(self._files.heartbeat, run.instance)
        except OSError:  # it is just being replaced, or the mailbox is away
            found = None
        seen = self._clock()
        beat = read_heartbeat(found[0], run.id) if found is not None else None
        if (
            found is not None
            and beat is not None
            and run.follower.heard(beat, found[1] - self._now() + seen, looked, seen)
        ):
            try:
                run.hear(beat, seen)
            except BadArgument as error:
                log.warning("REAPER's tempo map cannot be followed: %s", error)
        return seen

    # --- what is told -------------------------------------------------------------------------------------------------
    def hear(self, event: Event) -> None:
        """Take up what the director tells of this mailbox's run."""
        run = self._run
        if run is None:
            return
        if isinstance(event, LiveChanged) and event.status.run == run.id:
            words = LiveWords.of(event.status)
            has_ended = event.status.state is LiveState.ENDED
            state = {"state": "done"} if has_ended else {}
            self._answers.say(run.ticket, run.ticket.answer.with_(live=words, **state), hurry=has_ended)
            if has_ended:
                self._run = None
                if run.listening is not None:
                    run.listening.cancel()
        elif isinstance(event, LivePlaced) and event.placed.run == run.id:
            self._spawn(self._place(run, event.placed))

    async def _place(self, run: _Run, placed: PlacedPhrase) -> None:
        """Leave the phrase, or the loop, as an answer that the watcher places."""
        receipt = await self._desk.find(placed.job) if placed.job else None
        answer = phrase_answer(run.ticket.answer, run.request, run.tempo, placed, receipt.job if receipt else None)
        ticket = Ticket(Address(answer.instance, answer.id), answer, run.ticket.doorbell)
        self._answers.open(ticket)
        try:
            await self._answers.release(ticket)
        except OSError as error:  # the look tries again
            log.warning("%s could not be written yet: %s", ticket.address.file_name, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("live extension goes on after a mistake of our own", exc_info=task.exception())


# --- a phrase as an answer --------------------------------------------------------------------------------------------
def phrase_answer(
    run: Answer, request: LiveStart, tempo: tuple[TempoPart, ...], placed: PlacedPhrase, job: Job | None
) -> Answer:
    """The answer that an `extend` of just this slot would have got; `run` is the run's, `job` made the phrase.

    Its `origin` says in ``live`` which slot of which run it is, and whether it is a loop.
    """
    slot, rate = placed.slot, request.project.sample_rate
    start = round(placed.start_s * rate)
    end = round((placed.start_s + placed.frames / placed.sample_rate) * rate)
    asked: dict[str, Any] = {
        **{name: run.asked[name] for name in ("project", "key", "settings") if name in run.asked},
        "verb": Verb.EXTEND.value,
        "tempo": [part.model_dump() for part in tempo],
        "regions": [{"start_frame": start, "end_frame": end}],
        "checks": {"start_qn": slot.start_beat, "end_qn": slot.end_beat, "start_bar": slot.bar, "start_beat": 0.0},
        "options": {"at": placed.start_s, "seconds": placed.frames / placed.sample_rate},
    }
    made = job.takes[0] if job is not None and job.takes else None
    take = AnsweredTake(
        number=1,
        variation=1,
        rank=1,
        file=placed.file,
        midi=None,
        start_frame=round(placed.start_s * placed.sample_rate),
        frames=placed.frames,
        sample_rate=placed.sample_rate,
        track=None,
        seed=made.seed if made else None,
        score=made.score if made else 0.0,
        region=0,
    )
    origin = run.origin if isinstance(run.origin, dict) else {}
    live = {"run": run.id, "slot": slot.number, "bar": slot.bar, "loop": placed.filling is Filling.LOOP}
    answer = Answer(
        id=f"{run.id}-{slot.number:04d}",
        instance=run.instance,
        verb=Verb.EXTEND.value,
        engine=run.engine,
        version=run.version,
        asked=asked,
        origin={**origin, "live": live},
    )
    if job is not None:
        answer = answer.about(job, 0)
    return answer.with_(state=JobState.DONE.value, takes=(take,), fraction=1.0, seconds_left=0.0, error=None)
