"""A live run's life: with the real core and queue, an engine that the test is, and a transport that it moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.core import Core
from bridge.live.director import LiveDirector, NoLiveRun
from bridge.live.files import read_audio
from bridge.transport import Transport
from engine.api import Capabilities
from engine.audio import AudioInfo, probe
from protocol.errors import BadArgument, StembridgeError
from protocol.events import Event, JobChanged, LiveChanged, LivePlaced
from protocol.job import LIVE_PRIORITY, Job, Take
from protocol.live import LiveState, LiveStatus, PlacedPhrase
from protocol.music import Region, TimeSignature
from protocol.transport import Playhead
from protocol.vocabulary import JobState, TrackClass, Verb
from tests.support.audio import noise, save
from tests.support.midi import until
from tests.support.queues import Bench, Delivery, delivery, running

RATE, BPM = 8_000, 120.0
CLIENT = "test"


@dataclass
class Stage:
    """A project with two bars of source. `beat` is where the transport plays; `gate` closes the door to audio files."""

    folder: Path
    bench: Bench
    beat: float = 0.0
    playing: bool = True
    now: float = 100.0
    gate: threading.Event = field(default_factory=threading.Event)
    mistakes: int = 0
    waiting: int = 0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()
        offer = Capabilities("test", "1", frozenset(Verb), frozenset(TrackClass))
        self.core = Core(
            queue=self.bench.queue, engine_name="test", capabilities=lambda _: offer, probe=self.probe,
            clock=lambda: self.now,
        )  # fmt: skip
        remember = self.bench.emit
        self.bench.emit = lambda event: (remember(event), self.core.emit(event))[0]  # type: ignore[method-assign]
        self.core.listen(self.events.append)
        save(self.folder / "Song" / "loop.wav", noise(4 * RATE), RATE)
        self.core.open_project(str(self.folder / "Song"), RATE, CLIENT)
        self.core.set_source("loop.wav", 0.0, CLIENT)
        self.core.tell(self.core.session.told("tempo", BPM, CLIENT, self.now))
        transport = Transport(lambda: self.core.session)
        self.core.live = self.director = LiveDirector(self.core, transport, lambda: self.now)

    def probe(self, path: Path) -> AudioInfo:
        self.waiting += not self.gate.is_set()
        assert self.gate.wait(20.0)
        if self.mistakes:
            self.mistakes -= 1
            raise RuntimeError("a library has a bad day")
        return probe(path)

    def head(self, at: float) -> Playhead:
        return Playhead(at, self.beat, BPM, self.playing, CLIENT)

    async def start(self, **options: Any) -> LiveStatus:
        live = {"phrase_bars": 2, "lead_bars": 2, "context_bars": 2, **options}
        return await self.director.start(live, self.core.session, CLIENT, head=self.head)

    async def begun(self, number: int) -> str:
        """The id of the engine's job with that number, from 0."""
        await until(lambda: len(self.bench.runner.order) > number)
        job = self.bench.runner.order[number]
        await self.bench.begun(job)
        return job

    async def make(self, number: int) -> str:
        job = await self.begun(number)
        self.bench.runner.finish(job, self.bench.folder)
        return job

    def placed(self) -> list[PlacedPhrase]:
        return [event.placed for event in self.events if isinstance(event, LivePlaced)]

    @property
    def jobs(self) -> dict[str, JobState]:
        return {event.job.id: event.job.state for event in self.events if isinstance(event, JobChanged)}

    @property
    def status(self) -> LiveStatus:
        status = self.director.status
        assert status is not None
        return status

    def states(self, state: JobState) -> int:
        return list(self.jobs.values()).count(state)


def deliver(one: Job, rendered: Any) -> Delivery:
    """Stems as long as asked for, as files."""
    made = delivery(one, rendered)
    frames = round(one.request.regions[0].duration_s * RATE)

    def written(take: Take) -> Take:
        file = Path(one.request.project.folder) / f"{one.id}.wav"
        save(file, noise(frames, seed=len(one.id)), RATE)
        return take.model_copy(update={"file": str(file), "sample_rate": RATE, "frames": frames})

    return Delivery(tuple(written(take) for take in made.takes), made.manifest)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running(tmp_path / "queue", deliver=deliver) as bench:
        stage = Stage(tmp_path, bench)
        try:
            yield stage
        finally:
            stage.gate.set()
            await stage.director.close()


async def at_the_gate(stage: Stage) -> None:
    """A run whose second phrase is just being asked for."""
    await stage.start()
    await stage.make(0)
    await until(stage.placed)  # before the playhead is there, or that phrase would be given up
    stage.gate.clear()
    stage.beat = 9.0
    await until(lambda: stage.waiting == 1)


async def test_a_phrase_withdrawn_while_it_is_being_asked_for_leaves_no_job_behind(stage: Stage) -> None:
    await at_the_gate(stage)
    stage.beat = 15.0
    stage.core.tell(stage.core.session.told("timesig", TimeSignature(3, 4), CLIENT, stage.now))
    await until(lambda: stage.waiting == 2)  # another one is asked for, for the new bars
    stage.gate.set()
    await until(lambda: stage.states(JobState.CANCELLED) == 1)
    await until(lambda: stage.states(JobState.RUNNING) == 1)
    assert stage.states(JobState.QUEUED) <= 1


async def test_a_run_that_is_stopped_while_a_phrase_is_being_asked_for_leaves_no_job_behind(stage: Stage) -> None:
    await at_the_gate(stage)
    stopping = asyncio.create_task(stage.director.stop())
    await asyncio.sleep(0)
    stage.gate.set()
    assert (await stopping).state is LiveState.ENDED
    await until(lambda: sorted(stage.jobs.values()) == [JobState.CANCELLED, JobState.DONE])


async def test_a_mistake_in_asking_for_a_phrase_costs_that_phrase_and_not_the_run(stage: Stage) -> None:
    await at_the_gate(stage)
    stage.mistakes = 1
    stage.gate.set()
    await stage.begun(1)
    assert stage.status.counts.failed == 1


async def test_a_run_can_be_stopped_while_it_is_still_being_prepared(stage: Stage) -> None:
    stage.gate.clear()
    starting = asyncio.create_task(stage.start())
    await until(lambda: stage.waiting)
    stopped = asyncio.create_task(stage.director.stop("Enough."))
    stage.gate.set()
    with pytest.raises(NoLiveRun):
        await starting
    assert (await stopped).state is LiveState.ENDED
    told = [event.status for event in stage.events if isinstance(event, LiveChanged)]
    assert (told[-1].state, told[-1].sentence) == (LiveState.ENDED, "Enough.")
    assert (await stage.start()).state is LiveState.RUNNING


async def test_our_own_transport_stops_also_if_the_last_order_before_the_run_was_stop(stage: Stage) -> None:
    stop = ("playing", False, CLIENT, stage.now)
    stage.core.tell(stage.core.session.told(*stop))
    assert (await stage.start(clock="internal")).state is LiveState.RUNNING
    stage.core.tell(stage.core.session.told(*stop))
    await until(lambda: stage.status.state is LiveState.WAITING)


async def test_what_lies_far_behind_takes_no_memory_and_is_there_when_one_goes_back_to_it(stage: Stage) -> None:
    await stage.start(phrase_bars=32, lead_bars=1)
    for number in range(3):  # 128 beats each
        await stage.make(number)
        await until(lambda count=number + 1: len(stage.placed()) == count)
        stage.beat = stage.placed()[-1].slot.end_beat - 1.0
    run = stage.director._run
    assert run is not None
    stage.beat = stage.placed()[0].slot.end_beat + 300.0
    await until(lambda: run._materials[1]._audio is None)
    stage.beat = 10.0
    await until(lambda: len(run._near) >= 3)
    first = run._near[0]
    assert np.array_equal(first.audio(), read_audio(Path(stage.placed()[0].file), RATE))
    assert [placed.slot.number for placed in stage.placed()][:3] == [1, 2, 3]


async def test_a_phrase_is_asked_for_at_its_own_place_before_all_that_waits(stage: Stage) -> None:
    stage.core.tell(stage.core.session.told("regions", (Region(0.5, 1.0),), CLIENT, stage.now))
    await stage.start(prompt="solo")
    stage.director.change({"prompt": ""})
    await stage.make(0)
    await until(stage.placed)
    job = (await stage.core.jobs(1))[0]
    assert job.request.regions == (Region(4.0, 8.0),)
    assert (job.priority, job.request.project.sample_rate) == (LIVE_PRIORITY, RATE)
    stage.beat = 9.0
    second = await stage.begun(1)
    asked = await stage.core.find(second)
    assert asked is not None
    assert asked.job.request.task.positive_prompt == ""


async def test_a_start_that_fails_leaves_no_run_that_seems_to_wait(stage: Stage) -> None:
    with pytest.raises(StembridgeError):
        await stage.start(file="gone.wav")
    assert stage.director.status is None


async def test_that_a_phrase_waits_for_another_job_is_said(stage: Stage) -> None:
    await stage.core.request(Verb.EXTEND, {"bars": 1}, stage.core.session, "another", CLIENT)
    await stage.begun(0)
    await stage.start()
    await until(lambda: JobState.QUEUED in stage.jobs.values())
    assert stage.status.sentence == ""
    stage.now += 2.0
    assert "another job" in stage.status.sentence
    await stage.make(0)
    await stage.make(1)
    await until(lambda: stage.status.counts.phrases == 1)
    assert stage.status.sentence == ""


async def test_a_join_before_the_source_begins_is_refused(stage: Stage) -> None:
    with pytest.raises(BadArgument, match="source begins at 0 s"):
        await stage.start(join=-1.0)
