"""What goes wrong on stage: tabs switched, tracks deleted, daemons absent or killed, projects that were never saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import daemon as daemons
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project
from tests.support.reascript.projects import song_project
from tests.support.studio import Studio, another, dump, select, sound, studio

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RATE = 44100


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = studio(tmp_path_factory.mktemp("house"))
    made.start_daemon()
    yield made
    made.stop()


@pytest.fixture
def desk(house: Studio) -> Iterator[Studio]:
    """A REAPER beside a daemon that runs."""
    made = another(house)
    yield made
    made.reaper.check()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Studio]:
    """A REAPER of its own, with no daemon yet."""
    made = studio(tmp_path)
    yield made
    made.stop()
    made.reaper.check()


def opened(desk: Studio, folder: Path, name: str = "Song") -> Project:
    project = desk.reaper.open(song_project(folder / name, rate=RATE))
    select(project, 8.0, 12.0, project.tracks[0])
    return project


def takes(project: Project) -> int:
    return sum(len(item.takes) for track in project.tracks for item in track.items)


def generated(project: Project) -> int:
    """Takes that Stembridge made."""
    return sum("stembridge" in take.ext for track in project.tracks for item in track.items for take in item.takes)


def words(reaper: Reaper) -> str:
    """All that boxes and windows say."""
    return " ".join([*reaper.shown, *(text for window in reaper.windows for text in window.strings)])


def test_the_take_arrives_in_the_tab_that_asked_though_the_user_switched(desk: Studio, tmp_path: Path) -> None:
    asked, other = opened(desk, tmp_path, "Asked"), desk.reaper.open(song_project(tmp_path / "Other", rate=RATE))
    desk.reaper.active = asked
    untouched = dump(other)
    desk.begin("Repaint selection")
    desk.reaper.active = other
    desk.finish()
    assert generated(asked) == 1
    assert dump(other) == untouched
    assert desk.reaper.active is other


def test_a_deleted_track_is_said_and_the_file_is_kept(desk: Studio, tmp_path: Path) -> None:
    project = opened(desk, tmp_path)
    desk.begin("Repaint selection")
    gone = project.tracks[0]
    desk.reaper.delete_track(gone)
    left = dump(project)
    desk.reaper.pump_until(lambda: "deleted" in words(desk.reaper), 60)
    assert dump(project) == left
    (kept,) = project.path.parent.rglob("repaint_*.wav")
    assert str(kept.parent) in words(desk.reaper) or kept.parent.name in words(desk.reaper)
    desk.reaper.windows[0].close_by_user()
    desk.finish()


def test_an_absent_daemon_is_started_and_does_the_job(alone: Studio, tmp_path: Path) -> None:
    alone.may_start_programs()
    project = opened(alone, tmp_path)
    alone.act("Repaint selection")
    assert len(alone.started) == 1
    assert generated(project) == 1


def test_without_a_daemon_that_can_be_started_the_user_is_told_how_and_nothing_is_left(
    alone: Studio, tmp_path: Path
) -> None:
    (alone.mailbox / "start.json").unlink()
    project = opened(alone, tmp_path)
    before = dump(project)
    alone.begin("Repaint selection")
    alone.reaper.pump(cycles=40, seconds=1.0)
    assert "stembridge" in words(alone.reaper)
    assert dump(project) == before
    assert alone.files() == []


def test_a_daemon_killed_midway_and_started_again_still_delivers(alone: Studio, tmp_path: Path) -> None:
    project = opened(alone, tmp_path)
    daemon = alone.start_daemon(engine="patient")
    alone.begin("Repaint selection")
    alone.reaper.pump_until(lambda: "atience" in words(alone.reaper), 60)
    daemon.kill()
    daemons.stop(daemon)  # closes its pipes
    alone.start_daemon(engine="patient")
    alone.finish()
    assert generated(project) == 1
    assert alone.files() == []


def test_two_jobs_at_once_both_arrive_each_in_its_place(desk: Studio, tmp_path: Path) -> None:
    project = opened(desk, tmp_path)
    heard = sound(project, 40.0)
    desk.begin("Repaint selection")
    select(project, 20.0, 24.0, project.tracks[0])
    desk.begin("Repaint selection")
    desk.finish()
    assert generated(project) == 2
    changed = np.abs(sound(project, 40.0) - heard).max(axis=0) > 0
    spans = [(8, 12), (20, 24)]
    for start_s, end_s in spans:
        assert changed[start_s * RATE : end_s * RATE].any()
        changed[start_s * RATE : end_s * RATE] = False
    assert not changed.any()


def test_two_reapers_on_one_mailbox_do_not_get_each_others_answers(desk: Studio, tmp_path: Path) -> None:
    mine = opened(desk, tmp_path, "Mine")
    other = Reaper(resource=desk.resource, lua="5.4")
    theirs = other.open(song_project(tmp_path / "Theirs", rate=RATE))
    select(theirs, 4.0, 8.0, theirs.tracks[0])
    desk.begin("Repaint selection")
    other.run(desk.resource / "Scripts" / "Stembridge" / "Stembridge_Repaint selection.lua")
    other.pump_until(lambda: not other.running, 60)
    desk.finish()
    assert generated(mine) == generated(theirs) == 1
    other.check()


def test_an_unsaved_project_is_saved_first_or_the_user_is_told(desk: Studio, tmp_path: Path) -> None:
    project = opened(desk, tmp_path)
    project.path = None
    desk.reaper.answers.boxes = [7, 1]  # no, not now; and OK to what it then says
    before = dump(project)
    desk.begin("Repaint selection")
    assert "ave" in words(desk.reaper)
    assert dump(project) == before
    desk.finish()


@pytest.mark.parametrize("ripple", [1, 2])
def test_ripple_editing_moves_nothing(desk: Studio, tmp_path: Path, ripple: int) -> None:
    project = opened(desk, tmp_path)
    project.ripple = ripple
    heard = sound(project, 40.0)
    desk.act("Repaint selection")
    new = sound(project, 40.0)
    assert np.array_equal(new[:, : 8 * RATE], heard[:, : 8 * RATE])
    assert np.array_equal(new[:, 12 * RATE :], heard[:, 12 * RATE :])


def test_cancel_ends_the_job_and_changes_nothing(alone: Studio, tmp_path: Path) -> None:
    alone.start_daemon(engine="patient")
    project = opened(alone, tmp_path)
    before = dump(project)
    alone.begin("Repaint selection")
    alone.reaper.pump_until(lambda: "atience" in words(alone.reaper), 60)
    alone.begin("Cancel")
    alone.reaper.pump_until(lambda: "ancelled" in words(alone.reaper), 30)
    for window in alone.reaper.windows:
        window.close_by_user()
    alone.finish()
    assert dump(project) == before
    assert list(project.path.parent.rglob("repaint_*.wav")) == []
