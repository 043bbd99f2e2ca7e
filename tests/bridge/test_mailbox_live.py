"""Live extension through the mailbox: what the director is asked, what the script is told, and how a run ends."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bridge.doors import mailbox_live
from protocol.errors import BadArgument
from protocol.events import LiveChanged, LivePlaced
from protocol.live import Filling, LiveCounts, LiveState, LiveStatus, PlacedPhrase, Slot
from protocol.session import Session
from protocol.transport import Playhead
from tests.support.mailbox import OTHER_INSTANCE, Json, Script, until
from tests.support.mailbox_door import RATE, Studio, studio

CLIENT = "mailbox:1f2e3d4c"


def files_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@dataclass
class Director:
    """A live desk that does what a test says: it remembers what it was asked, and ends when it is told to."""

    emit: Callable[[Any], None]
    refuses: BadArgument | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: list[Mapping[str, Any]] = field(default_factory=list)
    told: Callable[[], Session] = Session
    head: Callable[[float], Playhead | None] = lambda now: None
    status: LiveStatus | None = None

    async def start(
        self, options: Mapping[str, Any], session: Session, client: str, *, told: Any = None, head: Any = None
    ) -> LiveStatus:
        if self.refuses:
            raise self.refuses
        assert client == CLIENT
        self.options, self.told, self.head = options, told, head
        self.say(LiveStatus(options["id"], LiveState.RUNNING, 1, 0.0, 0.0, math.nan, 0, math.nan, LiveCounts()))
        assert self.status is not None
        return self.status

    def change(self, options: Mapping[str, Any]) -> LiveStatus:
        self.changes.append(options)
        assert self.status is not None
        return self.status

    async def stop(self, sentence: str = "") -> LiveStatus:
        assert self.status is not None
        self.say(replace(self.status, state=LiveState.ENDED, sentence=sentence))
        return self.status

    def panic(self) -> None:
        raise NotImplementedError

    def say(self, status: LiveStatus) -> None:
        self.status = status
        self.emit(LiveChanged(status, (CLIENT,)))

    def place(self, number: int, filling: Filling = Filling.PHRASE) -> None:
        slot = Slot(number, 4.0 * number, 4.0 * number + 4.0, number + 1)
        placed = PlacedPhrase(self.options["id"], slot, filling, "", "/song/loop.flac", 2.0 * number, 2 * RATE, RATE)
        self.emit(LivePlaced(placed, (CLIENT,)))

    @property
    def is_on(self) -> bool:
        return self.status is not None and self.status.state is not LiveState.ENDED


@dataclass
class Booth:
    house: Studio
    director: Director

    @property
    def script(self) -> Script:
        return self.house.script

    def start(self, **changes: Any) -> str:
        asked: Json = {"kind": "live", "action": "start", "verb": "extend", "live": {"phrase_bars": 1}}
        asked |= {"position": 1.5, "playing": True, "settings": {"prompt": "calmer"}}
        asked |= {"origin": {"project_name": "A.rpp", "tracks": ["{GUID}"]}}
        return self.house.post(**asked | changes)

    async def started(self, **changes: Any) -> str:
        run = self.start(**changes)
        await self.house.state(run, "running")
        return run

    def ask(self, action: str, run: str, script: Script | None = None, **more: Any) -> str:
        return self.house.post(script, kind="live", action=action, run=run, source=None, **more)

    def beat(self, run: str, serial: int, position: float, **more: Any) -> None:
        file = self.script.root / "live" / f"{self.script.instance}.json"
        said = {"run": run, "serial": serial, "at": time.monotonic(), "position": position, "playing": True, **more}
        file.with_suffix(".tmp").write_text(json.dumps(said))
        file.with_suffix(".tmp").replace(file)


@asynccontextmanager
async def booth(folder: Path) -> AsyncIterator[Booth]:
    async with studio(folder) as house:
        director = Director(house.core.emit)
        house.core.live = director
        yield Booth(house, director)


async def test_a_start_gives_the_director_the_audio_in_the_project_and_the_musicians_wishes(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started(live={"phrase_bars": 2, "join_frame": RATE})
        options = made.director.options
        assert [Path(options["file"])] == files_of(made.house.song / "Media" / "stembridge" / "sources")
        assert (options["id"], options["at"], options["join"], options["out"]) == (run, 0.0, 1.0, "files")
        assert (options["phrase_bars"], options["prompt"]) == (2, "calmer")
        told = made.director.told()
        assert told.project is not None
        assert told.project.value.sample_rate == RATE
        assert told.tempo_map()[1]
        await until(lambda: not files_of(made.script.root / "audio"))


async def test_how_the_run_stands_is_in_its_answer_until_it_ends(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started()
        assert made.director.status is not None
        made.director.say(replace(made.director.status, lead_bars=7.96, counts=LiveCounts(phrases=3, loops=1)))
        live = await until(lambda: (a := made.script.answer(run)) and a["live"]["phrases"] and a["live"])
        assert (live["lead_bars"], live["loops"], live["waiting"]) == (8.0, 1, False)
        made.ask("stop", run)
        answer = await made.house.state(run, "done")
        assert answer["live"]["phrases"] == 3
        assert not made.director.is_on


async def test_each_place_becomes_an_answer_of_its_own_that_is_placed_like_a_take(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started()
        made.director.place(1)
        made.director.place(2, Filling.LOOP)
        first, second = [await made.house.state(f"{run}-{n:04d}", "done") for n in (1, 2)]
        (take,) = first["takes"]
        assert (take["file"], take["start_frame"], take["frames"]) == ("/song/loop.flac", 2 * RATE, 2 * RATE)
        assert take["sample_rate"] == RATE
        assert (first["kind"], first["verb"]) == ("request", "extend")
        assert first["origin"] == {
            "project_name": "A.rpp", "tracks": ["{GUID}"], "live": {"run": run, "slot": 1, "bar": 2, "loop": False},
        }  # fmt: skip
        assert second["origin"]["live"]["loop"]
        assert first["asked"]["checks"] == {"start_qn": 4.0, "end_qn": 8.0, "start_bar": 2, "start_beat": 0.0}
        assert first["asked"]["regions"] == [{"start_frame": 2 * RATE, "end_frame": 4 * RATE}]
        for number in (1, 2):
            made.script.claim(f"{run}-{number:04d}")
            made.script.finish(f"{run}-{number:04d}")
        made.ask("stop", run)
        await made.house.state(run, "done")


async def test_the_heartbeats_say_where_reaper_plays_and_in_what_tempo(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started()
        head = made.director.head(time.monotonic())
        assert head is not None
        assert head.playing
        made.beat("another", 1, 500.0)
        made.beat(run, 1, 100.0)

        def beat() -> float:
            head = made.director.head(time.monotonic())
            assert head is not None
            return head.beat

        await until(lambda: 200.0 <= beat() < 220.0)
        tempo = [{"time": 0.0, "bpm": 60.0, "num": 3, "den": 4, "linear": False}]
        made.beat(run, 2, 100.0, playing=False, tempo=tempo)
        await until(lambda: beat() == 100.0)
        assert made.director.told().tempo_map()[0].bpm_at(0.0) == 60.0
        made.beat(run, 3, 100.0, playing=False)
        await until(lambda: beat() == 200.0)  # changed back
        made.ask("stop", run)
        await made.house.state(run, "done")
        await until(lambda: not list((made.script.root / "live").iterdir()))


async def test_settings_that_changed_hold_and_those_that_are_gone_are_taken_back(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started(settings={"prompt": "calmer", "strength": 0.5})
        told = made.ask("set", run, settings={"prompt": "louder"}, key="Em")
        await made.house.state(told, "done")
        assert made.director.changes == [{"strength": "", "prompt": "louder"}]
        key = made.director.told().key
        assert key is not None
        assert str(key.value) == "E minor"
        made.ask("stop", run)
        await made.house.state(run, "done")
        late = made.ask("set", run, settings={})
        refused = await made.house.state(late, "refused")
        assert refused["error"]["code"] == "live_ended"


async def test_only_its_own_reaper_ends_a_run(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started()
        other = Script(made.script.root, OTHER_INSTANCE)
        await made.house.state(made.ask("stop", run, other), "done", other)
        assert made.director.is_on
        made.house.post(kind="cancel", job="all", source=None)
        await made.house.state(run, "done")


async def test_a_run_of_somebody_else_is_not_ended_by_a_start_and_an_own_one_is(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        elsewhere = LiveStatus("x", LiveState.RUNNING, 1, 0.0, 0.0, math.nan, 0, math.nan, LiveCounts())
        made.director.status = elsewhere
        refused = await made.house.state(made.start(), "refused")
        assert "stembridge live stop" in refused["error"]["sentence"]
        assert made.director.status is elsewhere
        made.director.status = None
        first = await made.started()
        second = await made.started()  # its script crashed and was started again
        await made.house.state(first, "done")
        assert made.director.options["id"] == second


async def test_what_the_director_refuses_is_said_and_leaves_nothing_on(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        made.director.refuses = BadArgument("phrase_bars must be 1 to 64 bars, not 900.")
        answer = await made.house.state(made.start(live={"phrase_bars": 900}), "refused")
        assert "not 900" in answer["error"]["sentence"]
        made.director.refuses = None
        await made.started()


async def test_a_reaper_that_is_gone_ends_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_live, "GONE_S", 0.1)
    async with booth(tmp_path) as made:
        run = await made.started()
        answer = await made.house.state(run, "done")
        assert "Nothing was heard from REAPER" in answer["live"]["sentence"]


async def test_after_a_kill_the_run_is_said_to_be_over(tmp_path: Path) -> None:
    async with booth(tmp_path) as made:
        run = await made.started()
        kept: Json = json.loads(made.script.answer_file(run).read_text())
        taken = made.script.request_file(run, "taken")
        await until(taken.exists)
        request = taken.read_bytes()
        await made.director.stop()
        await made.house.state(run, "done")
    made.script.answer_file(run).write_text(json.dumps(kept))  # as it lay there when the daemon was killed
    taken.write_bytes(request)
    async with booth(tmp_path) as again:
        answer = await again.house.state(run, "failed")
        assert answer["error"]["code"] == "live_ended"
        assert "run the action again" in answer["error"]["sentence"]
        assert not again.director.is_on
