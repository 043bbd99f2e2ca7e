"""The actions Cancel and Connection check, and the offer to place what an earlier session left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.reascript.model import Project
from tests.support.watching import WATCHER, Stage

CANCEL = "Stembridge_Cancel.lua"
CHECK = "Stembridge_Connection check.lua"
HELLO = {"version": "0.1.0", "engine": "sketch", "osc": "heard", "osc_port": 9241, "engines": None}


@pytest.fixture(params=["5.3", "5.4"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(tmp_path, request.param)
    yield stage
    stage.reaper.check()


def run_and_read_the_box(stage: Stage, action: str, seconds: float = 0.1) -> str:
    """The action, and the one message box that it ends with."""
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / action)
    stage.wait(seconds)
    return stage.reaper.shown.pop()


def test_cancel_with_nothing_open_says_so(stage: Stage) -> None:
    assert "No Stembridge job of this REAPER is running." in run_and_read_the_box(stage, CANCEL)
    assert stage.daemon.requests() == []
    assert stage.reaper.undo_names() == []


def test_a_job_that_is_done_and_not_yet_placed_is_not_cancelled(stage: Stage) -> None:
    stage.post()
    request = stage.daemon.take()
    taken = stage.daemon.folder / "taken" / f"{request['instance']}.{request['id']}.json"
    kept = taken.read_bytes()
    stage.daemon.answer(request, "done")
    taken.write_bytes(kept)
    assert "No Stembridge job of this REAPER is running." in run_and_read_the_box(stage, CANCEL)


def test_cancel_takes_back_what_nobody_took(stage: Stage) -> None:
    stage.post()
    stage.post()
    assert "2 requests were taken back" in run_and_read_the_box(stage, CANCEL)
    assert stage.daemon.requests() == []
    stage.wait(3)
    assert stage.reaper.running == []


@pytest.mark.parametrize("answered", [True, False])
def test_cancel_has_the_daemon_cancel_all_of_this_reaper(stage: Stage, answered: bool) -> None:
    stage.post()
    request = stage.daemon.take()
    if answered:
        stage.answer(request, "running")
    stage.post()
    stage.reaper.run(stage.root / CANCEL)
    (cancel,) = stage.daemon.requests()
    assert (cancel["kind"], cancel["job"], cancel["instance"]) == ("cancel", "all", request["instance"])
    assert stage.reaper.shown == []


def test_cancel_brings_the_watcher_back_so_that_the_result_is_seen(stage: Stage) -> None:
    request = stage.taken()
    stage.window.close_by_user()
    stage.wait(0.1)
    assert stage.reaper.running == []
    stage.reaper.run(stage.root / CANCEL)
    stage.daemon.answer(stage.daemon.take(), "done")
    stage.answer(request, "cancelled", error={"code": "cancelled", "sentence": "Cancelled by you."})
    assert stage.window.shows("Cancelled by you.")


def test_a_cancel_that_is_refused_is_told(stage: Stage) -> None:
    stage.taken()
    stage.reaper.run(stage.root / CANCEL)
    stage.answer(stage.daemon.take(), "refused", error={"code": "unknown", "sentence": "That job is over."})
    assert stage.window.shows("That job is over.")


def hello(stage: Stage, state: str = "done", **fields: Any) -> None:
    request = stage.daemon.take()
    assert request["kind"] == "hello"
    stage.daemon.answer(request, state, **{"hello": HELLO} | fields)


def test_the_check_tells_versions_engine_mailbox_project_and_osc(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage)
    stage.wait(0.1)
    (text,) = stage.reaper.shown
    for part in ("Scripts: 0.1.0", "Stembridge: 0.1.0", "Engine: sketch", "mailbox version 1", "OSC: heard",
                 str(stage.daemon.folder), "Project: saved, A.rpp", "REAPER: 7.28"):  # fmt: skip
        assert part in text
    assert stage.daemon.unclaimed() == []
    assert (stage.reaper.running, stage.reaper.windows, stage.reaper.undo_names()) == ([], [], [])


@pytest.mark.parametrize(("version", "is_old"), [("6.29/x64", True), ("6.37", False), ("7.0/macOS-arm64", False)])
def test_the_check_says_that_reaper_is_too_old(stage: Stage, version: str, is_old: bool) -> None:
    stage.reaper.version = version
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage)
    stage.wait(0.1)
    line = next(line for line in stage.reaper.shown[0].splitlines() if line.startswith("REAPER:"))
    assert line.startswith(f"REAPER: {version}")
    assert ("update to 6.37 or newer" in line) == is_old


def test_the_check_puts_every_action_into_the_action_list(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage)
    stage.wait(0.1)
    actions = sorted(stage.root.glob("Stembridge_*.lua"))
    kept = (stage.reaper.resource / "reaper-kb.ini").read_text()
    assert len(actions) > 10
    assert [action.name for action in actions if action.name not in kept] == []
    assert f"Action list: {len(actions)} Stembridge actions" in stage.reaper.shown[0]


def test_the_check_says_the_clicks_that_connect_osc(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage, hello=HELLO | {"osc": "silent", "osc_port": 9377})
    stage.wait(0.1)
    assert "Local listen port: 9377" in stage.reaper.shown[0]
    assert "Pattern config: Stembridge" in stage.reaper.shown[0]


def test_the_check_says_that_the_project_is_not_saved(stage: Stage) -> None:
    stage.reaper.open(Project())
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage, hello=HELLO | {"osc": "off", "osc_port": None})
    stage.wait(0.1)
    assert "Project: not saved yet." in stage.reaper.shown[0]
    assert "OSC: off" in stage.reaper.shown[0]


def test_the_check_starts_the_daemon_and_waits_for_it(stage: Stage) -> None:
    stage.daemon.install("stembridge serve")
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    stage.wait(3.5)
    assert list(map(str, stage.reaper.executed)) == ["stembridge serve"]
    assert stage.window.shows("Stembridge is being started.")
    stage.wait(10)
    hello(stage)
    stage.wait(0.1)
    assert "Engine: sketch" in stage.reaper.shown[0]
    assert stage.reaper.windows == []


def test_the_check_pressed_twice_tells_once(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    stage.wait(0.1)
    stage.reaper.run(stage.root / CHECK)
    hello(stage)
    stage.wait(0.1)
    assert len(stage.reaper.shown) == 1
    assert stage.daemon.requests() == []


def test_an_answer_that_came_too_late_for_its_check_is_put_away_by_the_next_one(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    late = stage.daemon.take()
    stage.reaper.run(stage.root / CHECK)
    stage.daemon.answer(late, "done", hello=HELLO)
    hello(stage)
    stage.wait(0.1)
    assert len(stage.daemon.unclaimed()) == 1
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    hello(stage)
    stage.wait(0.1)
    assert stage.daemon.unclaimed() == []


def test_the_check_gives_up_after_half_a_minute_and_takes_its_request_back(stage: Stage) -> None:
    stage.daemon.install("stembridge serve")
    text = run_and_read_the_box(stage, CHECK, 34)
    assert "no answer" in text
    assert "stembridge serve" in text
    assert (stage.daemon.requests(), stage.reaper.running) == ([], [])


def test_the_check_without_an_installed_daemon_says_how_to_install_it(stage: Stage) -> None:
    text = run_and_read_the_box(stage, CHECK, 3.5)
    assert "stembridge reaper install" in text
    assert "Scripts: 0.1.0" in text


def test_the_check_tells_a_mismatch_of_versions(stage: Stage) -> None:
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    sentence = "The scripts are too old: run stembridge reaper install."
    error = {"code": "version_mismatch", "sentence": sentence}
    hello(stage, "refused", protocol=2, error=error)
    stage.wait(0.1)
    assert sentence in stage.reaper.shown[0]


def test_the_watcher_leaves_the_check_its_answer(stage: Stage) -> None:
    stage.taken()
    stage.reaper.answers.boxes = [1]
    stage.reaper.run(stage.root / CHECK)
    stage.wait(0.3)
    assert stage.window.strings.count("Cancel") == 1
    hello(stage)
    stage.reaper.pump(1, 0.2)
    assert "Engine: sketch" in stage.reaper.shown[0]


def left_by_an_earlier_session(stage: Stage, count: int, project_file: str = "/songs/A.rpp") -> list[str]:
    ids = [f"20261122-10000{n}-abcdef" for n in range(count)]
    for id in ids:
        request = {"id": id, "instance": "0ddba115", "kind": "request", "verb": "repaint"}
        origin = {"title": "bars 1-4", "project_file": project_file}
        stage.daemon.answer(request, "done", origin=origin, updated=time.time() - 60)
    return ids


def test_what_an_earlier_session_left_is_offered_and_placed(stage: Stage) -> None:
    ids = left_by_an_earlier_session(stage, 2)
    stage.reaper.run(stage.root / WATCHER)
    stage.wait(0.1)
    assert stage.window.shows("2 results of an earlier session can be placed.")
    stage.window.click("Place")
    stage.wait(0.5)
    assert stage.placed == ids
    assert stage.daemon.unclaimed() == []
    stage.wait(5)
    assert stage.reaper.running == []


def test_what_was_declined_is_not_offered_again(stage: Stage) -> None:
    left_by_an_earlier_session(stage, 1)
    stage.reaper.run(stage.root / WATCHER)
    stage.wait(0.1)
    stage.window.click("Close")
    assert stage.reaper.running == []
    stage.taken()
    assert not stage.window.shows("1 result of an earlier session can be placed.")
    assert (stage.placed, len(stage.daemon.unclaimed())) == ([], 2)


def test_results_for_a_project_that_is_not_open_here_are_left_alone(stage: Stage) -> None:
    left_by_an_earlier_session(stage, 1, "/songs/Another.rpp")
    stage.reaper.run(stage.root / WATCHER)
    stage.wait(0.1)
    assert stage.window.shows("No jobs are open.")
    stage.wait(3)
    assert len(stage.daemon.unclaimed()) == 1
