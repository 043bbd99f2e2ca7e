"""One live run: asks for phrases as the schedule says, hears how they went, and lays what was made on the bar lines.

The schedule (bridge/live/schedule.py) decides; this carries out. A phrase is a job like any other: `extend` at its
place, with what was really played before it as its source, ahead of all that waits. Everything runs on the loop; audio
is read, stretched and written in threads.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.desk import Desk
from bridge.live.bar_lines import SAME_BEATS
from bridge.live.context import heard, held, level
from bridge.live.files import keep_audio, read_audio
from bridge.live.material import FADE_S, SAME, Filled, Material, fitted, leading_to
from bridge.live.phrases import Played, options_for, session_for
from bridge.live.schedule import Ask, Fill, Forget, Schedule, Withdraw
from protocol.errors import StembridgeError
from protocol.events import Event, JobChanged, JobProgressed, LiveChanged, LivePlaced
from protocol.job import Job, SourceRef, new_job_id
from protocol.live import LiveSettings, LiveState, LiveStatus, PlacedPhrase, Slot
from protocol.music import TempoMap
from protocol.session import Session
from protocol.transport import MIDI, Playhead
from protocol.vocabulary import JobState, Verb

if TYPE_CHECKING:
    from bridge.live.internal_clock import InternalClock
    from bridge.live.output import LiveOutput
    from engine.api import Audio

log = logging.getLogger("stembridge.live")

TICK_S = 0.05
SAID_EVERY_S = 0.5
QUEUED_S = 1.0  # a phrase whose job has waited so long waits for another one, which is told
SAME_FRAMES = 2
"""Lengths that differ by no more come from rounding."""
BEHIND_BEATS = 256.0
"""What lies so far behind the playhead is not kept in memory; it is read again where the playhead goes back to it."""


@dataclass(frozen=True)
class _Asked:
    """A phrase on its way; `before` is the end of what it hears, once that is known."""

    ask: Ask
    job: str
    before: Audio | None = None


class LiveRun:
    """A run from its start to its end. `tick` it often; `hear` every event of the desk.

    `head` gives the playhead at a moment of `clock`, `told` the session that phrases are asked with; `base` is what is
    looped until there is a phrase; `settings` are the run's own task settings; `output` plays what was placed (None:
    files only); `internal` is the transport if it is our own.
    """

    def __init__(
        self,
        run_id: str,
        desk: Desk,
        played: Played,
        base: Material,
        schedule: Schedule,
        settings: Mapping[str, object],
        head: Callable[[float], Playhead | None],
        clock: Callable[[], float],
        client: str,
        told: Callable[[], Session],
        output: LiveOutput | None = None,
        internal: InternalClock | None = None,
    ) -> None:
        self.id, self._desk, self._played, self._schedule = run_id, desk, played, schedule
        self._settings, self._head, self._clock, self._client = dict(settings), head, clock, client
        self._told, self._output, self._internal = told, output, internal
        self._materials: dict[int, Material] = {base.phrase: base}
        self._filled: list[Filled] = []
        self._near: list[Filled] = []
        self._asked: dict[int, _Asked] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._state = LiveState.WAITING
        self._sentence = ""
        self._said_at = -math.inf
        self._said: tuple[object, ...] = ()
        self._play_told = told().playing
        self._at_beat = -math.inf
        self._source_db: float | None = None
        self._queued_at = math.inf

    # --- what a musician does -----------------------------------------------------------------------------------------
    def change(self, settings: Mapping[str, object], live: LiveSettings) -> None:
        """Other settings from the next phrase on; a setting of "" is taken back."""
        merged = {**self._settings, **settings}
        self._settings = {name: value for name, value in merged.items() if value != ""}
        self._schedule.settings = live
        self.say()

    @property
    def settings(self) -> LiveSettings:
        return self._schedule.settings

    def panic(self) -> None:
        """Silence at once; nothing more is asked for."""
        if self._output is not None:
            self._output.silence()
        self._do(self._schedule.panic())

    async def end(self, sentence: str = "") -> None:
        """End the run: what is on its way is taken back, what is made stays."""
        asked = list(self._asked.values())
        self._asked.clear()  # what is being asked for at this moment is taken back as soon as it was
        try:
            if self._output is not None:
                await asyncio.to_thread(self._output.close)
        except Exception:
            log.exception("live run %s: its audio out did not close", self.id)
        for each in asked:
            await self._cancel(each.job)
        if self._work:
            await asyncio.wait(self._work)
        self._state, self._sentence = LiveState.ENDED, sentence
        self.say()

    # --- as time goes by ----------------------------------------------------------------------------------------------
    def tick(self) -> None:
        """Look at the playhead, and do what is due."""
        now = self._clock()
        tempo_map = self._tempo_map()
        if self._internal is not None:
            self._drive(self._internal, tempo_map, now)
        head = self._head(now)
        self._state = LiveState.RUNNING if head is not None and head.playing else LiveState.WAITING
        self._do(self._schedule.step(now, head, tempo_map))
        if head is not None:
            self._keep_near(head.beat)
            if self._output is not None:
                self._output.follow(head)
        self._say_if_due(now)

    def _tempo_map(self) -> TempoMap:
        return self._told().tempo_map()[0]

    def _drive(self, internal: InternalClock, tempo_map: TempoMap, now: float) -> None:
        """Our own transport keeps to the tempo map, and does what /stembridge/play and stop say."""
        head, playing = internal.head(now), self._told().playing
        bpm = tempo_map.bpm_at(tempo_map.time_at(head.beat))
        if bpm != head.bpm:
            internal.set_bpm(bpm)
        if playing is None or playing is self._play_told or playing.source.startswith(MIDI):
            return
        self._play_told = playing  # each order counts, also one that says again what held before the run
        if playing.value and not head.playing:
            internal.play()
        elif not playing.value:
            internal.stop()

    def _do(self, actions: list[Ask | Withdraw | Fill | Forget]) -> None:
        for action in actions:
            match action:
                case Ask():
                    self._asked[action.phrase] = _Asked(action, new_job_id())
                    self._spawn(self._guarded(action.phrase, self._make(action)))
                case Withdraw(phrase=phrase, why=why):
                    self._withdraw(phrase, why)
                case Fill():
                    self._fill(action)
                case Forget(from_beat=beat):
                    self._filled = [f for f in self._filled if f.slot.start_beat <= beat - SAME_BEATS]
        if any(isinstance(action, Fill | Forget) for action in actions):
            self._place(self._near_of(self._filled))

    def _fill(self, fill: Fill) -> None:
        material = self._materials[fill.phrase]
        filled = Filled(fill.slot, fill.filling, material)
        self._filled.append(filled)
        tempo_map = self._tempo_map()
        start_s, end_s = (tempo_map.time_at(beat) for beat in (fill.slot.start_beat, fill.slot.end_beat))
        frames = round(end_s * material.rate) - round(start_s * material.rate)
        placed = PlacedPhrase(
            self.id, fill.slot, fill.filling, material.job, material.file, start_s, frames, material.rate
        )
        if abs(material.beats - fill.slot.beats) <= SAME and abs(material.frames - frames) <= SAME_FRAMES:
            self._desk.emit(LivePlaced(placed, (self._client,)))
        else:
            self._spawn(self._write_fitted(filled, placed))
        self.say()

    async def _write_fitted(self, filled: Filled, placed: PlacedPhrase) -> None:
        """What is repeated, cut, or of another tempo goes into a file of its own: whoever places it only places it."""

        def written() -> Path:
            audio, rate = fitted(filled.audio(), placed.frames), filled.material.rate
            return keep_audio(audio, rate, self._played.project, f"live-{self.id}")

        try:
            placed = replace(placed, file=str(await asyncio.to_thread(written)))
        except Exception as error:
            log.warning("live run %s: slot %d holds its phrase as it was made: %s", self.id, placed.slot.number, error)
        self._desk.emit(LivePlaced(placed, (self._client,)))

    def _near_of(self, filled: list[Filled]) -> list[Filled]:
        return [each for each in filled if each.slot.end_beat >= self._at_beat - BEHIND_BEATS]

    def _keep_near(self, beat: float) -> None:
        """What lies far behind rests on the disk; what the playhead came back to sounds again."""
        self._at_beat = beat
        near = self._near_of(self._filled)
        if near != self._near:
            self._place(near)
            used = {0, *sorted(self._materials)[-2:], *(filled.material.phrase for filled in near)}
            for number in self._materials.keys() - used:
                self._materials[number].rest()

    def _place(self, near: list[Filled]) -> None:
        self._near = near
        if self._output is not None:
            self._output.place_soon(near)

    # --- phrases ------------------------------------------------------------------------------------------------------
    async def _make(self, ask: Ask) -> None:
        """Write what the phrase hears, and ask for it. If it was withdrawn meanwhile, it is not asked for."""
        told, leading = self._told(), leading_to(ask.slot.start_beat, ask.after, self._filled)
        tempo_map, rate = told.tempo_map()[0], self._played.rate
        context, start_s = await asyncio.to_thread(self._context, ask.slot, leading, tempo_map)
        file = await asyncio.to_thread(keep_audio, context, rate, self._played.project, f"live-{self.id}")
        asked = self._asked.get(ask.phrase)
        if asked is None:
            return
        self._asked[ask.phrase] = replace(asked, before=context[:, -round(FADE_S * rate) :])
        source = SourceRef(file=str(file), start_s=start_s)
        session = session_for(told, self._played, source, f"live:{self.id}", self._clock())
        options = options_for(ask.slot, self._settings, self._schedule.settings.qualities[ask.quality], tempo_map)
        await self._desk.request(Verb.EXTEND, options, session, asked.job, self._client)
        if ask.phrase not in self._asked:
            await self._cancel(asked.job)

    def _context(self, slot: Slot, leading: list[Filled], tempo_map: TempoMap) -> tuple[Audio, float]:
        """What was played in the bars before a slot, and the project time at which it begins."""
        played, bars, join = self._played, self._schedule.settings.context_bars, self._schedule.join_line
        before = partial(
            heard, source=(played.start_beat, played.end_beat, played.audio), base=self._materials[0],
            join_beat=join, tempo_map=tempo_map, channels=played.channels,
        )  # fmt: skip
        if self._source_db is None:
            self._source_db = level(before(join, bars, [])[0])
        audio, first = before(slot.start_beat, bars, leading)
        return held(audio, self._source_db), first / played.rate

    def _withdraw(self, phrase: int, why: str) -> None:
        asked = self._asked.pop(phrase, None)
        if asked is not None:
            log.info("phrase %d is not wanted any more: %s", phrase, why)
            self._spawn(self._cancel(asked.job))

    async def _cancel(self, job_id: str) -> None:
        with suppress(StembridgeError):  # it has ended already
            await self._desk.cancel(job_id, self._client)

    # --- what becomes of them -----------------------------------------------------------------------------------------
    def hear(self, event: Event) -> None:
        """An event of the desk; those of this run's jobs are acted on."""
        if not isinstance(event, JobChanged | JobProgressed):
            return
        phrase = next((phrase for phrase, asked in self._asked.items() if asked.job == event.job.id), None)
        if phrase is None:
            return
        self._queued_at = self._clock() if event.job.state is JobState.QUEUED else math.inf
        if isinstance(event, JobProgressed):
            self._schedule.progressed(phrase, event.progress.fraction, self._clock())
        elif event.job.state is JobState.DONE:
            self._spawn(self._guarded(phrase, self._take(phrase, event.job)))
        elif event.job.state.is_final:
            self._failed(phrase, event.job.failure.sentence if event.job.failure else "A phrase was cancelled.")

    async def _take(self, phrase: int, job: Job) -> None:
        """Read what was made."""
        take = min(job.takes, key=lambda take: take.rank)
        audio = await asyncio.to_thread(read_audio, Path(take.file), take.sample_rate)
        asked = self._asked.pop(phrase, None)
        if asked is None or asked.before is None:
            return
        self._materials[phrase] = Material(
            phrase, audio, asked.ask.slot.beats, take.sample_rate, asked.before, job.id, take.file, asked.ask.after
        )
        self._sentence = ""
        self._do(self._schedule.made(phrase, self._clock()))

    async def _guarded(self, phrase: int, work: Coroutine[Any, Any, None]) -> None:
        """Whatever goes wrong with a phrase, the schedule hears of it: else it would wait for that phrase for ever."""
        try:
            await work
        except (StembridgeError, OSError) as error:
            self._failed(phrase, str(error))
        except Exception:
            log.exception("live run %s: a mistake of our own", self.id)
            self._failed(phrase, "A phrase failed inside Stembridge; its log says more.")

    def _failed(self, phrase: int, sentence: str) -> None:
        if self._asked.pop(phrase, None) is None:
            return
        self._sentence = sentence
        log.warning("live run %s: phrase %d failed: %s", self.id, phrase, sentence)
        self._schedule.failed(phrase, self._clock())
        self.say()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("live run %s: a mistake of our own", self.id, exc_info=task.exception())

    # --- telling ------------------------------------------------------------------------------------------------------
    @property
    def status(self) -> LiveStatus:
        """Where the run stands now."""
        schedule, now = self._schedule, self._clock()
        head = self._head(now)
        tempo_map = self._tempo_map()
        bar = tempo_map.bar_at(tempo_map.time_at(head.beat))[0] if head is not None else 0
        counts, phase_s = schedule.counts, math.nan
        if self._output is not None:
            counts, phase_s = self._output.counted(counts), self._output.phase_s
        device = self._output.sentence if self._output is not None else ""
        sentence = device or self._sentence or self._why_waiting(head)
        return LiveStatus(
            self.id, self._state, bar, schedule.lead_bars, schedule.lead_s, schedule.margin_s, schedule.quality,
            phase_s, counts, self._output is not None, sentence,
        )  # fmt: skip

    def _why_waiting(self, head: Playhead | None) -> str:
        if self._state is not LiveState.WAITING:
            waits = bool(self._asked) and self._clock() - self._queued_at > QUEUED_S
            return "The next phrase waits for another job to end: let it, or cancel that one." if waits else ""
        if head is None:
            return (
                "Nothing has said where the DAW plays: stop it and start it again while it sends MIDI clock, stream "
                "its position, or start with clock internal."
            )
        return "The transport stands: start playback."

    def _say_if_due(self, now: float) -> None:
        status = self.status
        essence = (status.state, status.counts, status.quality, status.sentence)
        running = status.state is LiveState.RUNNING
        if essence != self._said or (running and now - self._said_at >= SAID_EVERY_S):
            self.say()

    def say(self) -> None:
        """Tell where the run stands."""
        status = self.status
        self._said = (status.state, status.counts, status.quality, status.sentence)
        self._said_at = self._clock()
        self._desk.emit(LiveChanged(status, (self._client,)))
