"""Live extension from outside: the unmodified scripts in the double, the real daemon and sketch engine, real time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support import daemon as daemons
from tests.support.reascript.model import Item, Project
from tests.support.reascript.projects import song_project
from tests.support.studio import Studio, another, sound, studio

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RATE = 44100
ACTION = "Start or stop live extension"
END_S, PHRASE_S = 16.0, 4.0
"""The guitar ends at bar 9; a phrase is two bars at 120 BPM."""


class Playing:
    """A project whose play cursor runs as fast as real time while it plays, as REAPER's does."""

    def __init__(self, desk: Studio, folder: Path) -> None:
        self.desk = desk
        self.project = desk.reaper.open(song_project(folder / "Song", rate=RATE, seconds=END_S))
        self.project.tracks[0].values["I_SELECTED"] = 1.0
        self.project.ext_state["stembridge"] = {"bars": "2"}
        self.last = desk.reaper.clock()

    def play(self, position_s: float) -> None:
        self.project.play_position, self.project.playing = position_s, 1

    def stop(self) -> None:
        self.project.playing, self.project.cursor = 0, self.project.play_position

    def _move(self) -> None:
        now = self.desk.reaper.clock()
        if self.project.playing:
            self.project.play_position += now - self.last
        self.last = now

    def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        def seen() -> object:
            self._move()
            return condition()

        self.desk.reaper.pump_until(seen, timeout_s)

    def seconds(self, count: float) -> None:
        end = self.desk.reaper.clock() + count
        self.until(lambda: self.desk.reaper.clock() >= end, count + 30)

    @property
    def new(self) -> list[Item]:
        """What was placed, in order of time."""
        return sorted(self.project.tracks[0].items[1:], key=lambda item: item.position)

    @property
    def words(self) -> str:
        reaper = self.desk.reaper
        return " ".join([*reaper.shown, *(text for window in reaper.windows for text in window.strings)])

    @property
    def is_live(self) -> bool:
        return any(script.path.name == f"Stembridge_{ACTION}.lua" for script in self.desk.reaper.running)

    def toggle(self) -> None:
        self.desk.begin(ACTION)

    def finish(self) -> None:
        """Close the window, until no script runs."""
        for window in self.desk.reaper.windows:
            window.close_by_user()
        self.until(lambda: not self.desk.reaper.running)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = studio(tmp_path_factory.mktemp("house"))
    made.start_daemon()
    yield made
    made.stop()


@pytest.fixture
def stage(house: Studio, tmp_path: Path) -> Iterator[Playing]:
    made = Playing(another(house), tmp_path)
    yield made
    made.desk.reaper.check()


def samples_of(project: Project, item: Item) -> np.ndarray:
    source = item.takes[0].source
    assert source is not None
    found, rate = soundfile.read(source.path, dtype="float32", always_2d=True)
    assert rate == project.rate
    return np.ascontiguousarray(found.T)


def test_it_goes_on_on_bar_lines_to_the_sample_and_waits_while_reaper_stands(stage: Playing) -> None:
    stage.project.cursor = 15.0
    stage.toggle()
    stage.until(lambda: len(stage.new) >= 2 and "The transport stands" in stage.words)
    stage.seconds(2.0)
    assert len(stage.new) <= 3  # so far ahead and no further
    stage.play(15.0)
    stage.until(lambda: len(stage.new) >= 4)
    stage.stop()
    stage.until(lambda: "The transport stands" in stage.words)
    assert [(item.position, item.length) for item in stage.new] == [
        (END_S + n * PHRASE_S, PHRASE_S) for n in range(len(stage.new))
    ]
    heard = sound(stage.project, END_S + 3 * PHRASE_S)
    for item in stage.new[:2]:
        first = round(item.position * RATE)
        made = samples_of(stage.project, item)
        assert np.array_equal(heard[:, first : first + round(PHRASE_S * RATE)], made)
        assert np.abs(made).max() > 0.01
    assert stage.project.undo_names == ["Stembridge: live extension"] * len(stage.new)
    stage.toggle()
    stage.until(lambda: not stage.is_live and "Ended" in stage.words)
    stage.until(lambda: stage.desk.files() == [])
    stage.finish()


def test_playing_past_what_is_there_goes_on_at_the_next_bar_line_and_a_deleted_track_ends_it(stage: Playing) -> None:
    stage.project.cursor = 10.0
    stage.toggle()
    stage.until(lambda: "bars ready" in stage.words)
    stage.play(45.4)
    stage.until(lambda: any(item.position > 40.0 for item in stage.new))
    there_s = stage.project.play_position
    first = next(item for item in stage.new if item.position > 40.0)
    assert first.position in (46.0, 48.0)  # the next bar line, or the one after it where this machine was slow
    assert there_s < first.position + 0.1
    stage.desk.reaper.delete_track(stage.project.tracks[0])
    stage.until(lambda: not stage.is_live and "Ended" in stage.words)
    stage.until(lambda: not list((stage.desk.mailbox / "taken").iterdir()))
    stage.finish()


def test_a_daemon_killed_midway_is_told_in_a_sentence_and_what_was_placed_stays(tmp_path: Path) -> None:
    desk = studio(tmp_path)
    daemon = desk.start_daemon()
    stage = Playing(desk, tmp_path)
    stage.project.cursor = 15.0
    stage.toggle()
    stage.until(lambda: stage.new)
    daemon.kill()
    daemons.stop(daemon)  # closes its pipes
    desk.start_daemon()
    stage.until(lambda: "run the action again" in stage.words)
    stage.until(lambda: not stage.is_live)
    assert stage.new[0].position == END_S
    stage.finish()
    desk.stop()
    desk.reaper.check()
