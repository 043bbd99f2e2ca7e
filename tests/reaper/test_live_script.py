"""Live extension: one phrase ahead of the play cursor, one at a time, and it ends by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.reaper.placing import ROOT, Stage, audio_of, spans
from tests.support.played_daemon import PlayedDaemon
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import TempoMarker
from tests.support.reascript.projects import add_audio, midi_project, song_file, song_project

ACTION = "Start or stop live extension"
PHRASE_S = 8.0
"""Four bars at 120 BPM."""


@pytest.fixture
def stage(reaper: Reaper, tmp_path: Path) -> Stage:
    """40 s of guitar, selected, playing; the play cursor stands at 30 s."""
    project = song_project(tmp_path / "Song", tracks=("Guitar", "Bass"), seconds=40.0)
    project.tracks[0].values["I_SELECTED"] = 1.0
    project.playing, project.play_position = 1, 30.0
    return Stage(reaper, project, tmp_path / "Song")


@pytest.fixture
def daemon(reaper: Reaper) -> PlayedDaemon:
    daemon = PlayedDaemon(reaper.resource / "Stembridge" / "mailbox")
    daemon.install()
    return daemon


def button(stage: Stage) -> int:
    return stage.reaper.toggles.get(stage.reaper.command_of(ROOT / f"Stembridge_{ACTION}.lua"), 0)


def seconds(stage: Stage, count: float) -> None:
    stage.reaper.pump(round(count * 10), 0.1)


def is_live(stage: Stage) -> bool:
    return any(script.path.name == f"Stembridge_{ACTION}.lua" for script in stage.reaper.running)


def news(reaper: Reaper) -> str:
    """What the window says, which the user then closes; no box may interrupt the music."""
    assert reaper.shown == []
    (window,) = reaper.windows
    text = " ".join(window.strings)
    window.close_by_user()
    reaper.pump(4)
    return text


def deliver(stage: Stage, daemon: PlayedDaemon) -> dict[str, Any]:
    """Take the one request and answer it with a phrase; the take."""
    request = daemon.take()
    end_s = request["regions"][0]["end_frame"] / stage.rate
    take = stage.take(1, end_s, end_s + PHRASE_S, job=request["id"])
    daemon.answer(request, "done", takes=[take], asked={"verb": "extend"}, folder=str(stage.folder))
    seconds(stage, 1)
    return take


def test_it_asks_for_the_next_bars_from_the_dry_end_of_the_track(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    (request,) = daemon.requests()
    assert request["verb"] == "extend"
    assert request["options"] == {"bars": 4, "priority": 10}
    assert request["settings"] == {"quality": "draft", "variations": 1}
    assert request["regions"] == [{"start_frame": 8 * 44100, "end_frame": 40 * 44100}]
    assert request["source"]["through"] == "dry"
    assert request["source"]["start_frame"] == 8 * 44100
    assert request["origin"]["live"] is True
    assert request["origin"]["tracks"] == [stage.tracks[0].guid]
    heard, rate = soundfile.read(daemon.folder / "audio" / request["source"]["files"][0], dtype="float32")
    item = stage.tracks[0].items[0]
    assert item.takes[0].source is not None
    whole, _ = soundfile.read(item.takes[0].source.path, dtype="float32")
    assert rate == 44100
    assert np.array_equal(heard, whole[8 * 44100 : 40 * 44100])
    assert button(stage) == 1
    stage.act(ACTION)


def test_a_bar_that_was_cut_short_does_not_stop_it(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.project.tempo = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(19.0, 120.0, 4, 4)]
    stage.act(ACTION)
    seconds(stage, 1)
    (request,) = daemon.requests()
    assert request["regions"] == [{"start_frame": 8 * 44100, "end_frame": 40 * 44100}]
    stage.act(ACTION)


def test_each_phrase_lies_right_at_the_end_and_is_one_undo_step(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    take = deliver(stage, daemon)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0)]
    stage.tracks[1].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(40.0, 48.0), audio_of(take))
    stage.tracks[1].values["B_MUTE"] = 0.0
    stage.project.play_position = 39.0
    seconds(stage, 1)
    deliver(stage, daemon)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0), (48.0, 56.0)]
    stage.act(ACTION)
    stage.undone(*["Stembridge: live extension"] * 2)


def test_it_asks_for_one_phrase_at_a_time_and_only_when_it_is_needed(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.project.play_position = 10.0
    stage.act(ACTION)
    seconds(stage, 3)
    assert daemon.requests() == []
    stage.project.play_position = 24.5
    seconds(stage, 3)
    assert len(daemon.requests()) == 1
    deliver(stage, daemon)
    seconds(stage, 3)
    assert daemon.requests() == []
    stage.act(ACTION)


def test_run_again_it_stops_and_takes_its_request_back(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    stage.act(ACTION)
    seconds(stage, 1)
    assert not is_live(stage)
    assert button(stage) == 0
    assert daemon.requests() == []
    assert list((daemon.folder / "audio").iterdir()) == []


def test_in_an_old_reaper_the_second_start_stops_the_first(tmp_path: Path) -> None:
    reaper = Reaper(tmp_path / "REAPER", lua="5.3", version="6.12/linux-x86_64")
    project = song_project(tmp_path / "Song", seconds=40.0)
    project.tracks[0].values["I_SELECTED"] = 1.0
    project.playing, project.play_position = 1, 10.0
    stage = Stage(reaper, project, tmp_path / "Song")
    stage.act(ACTION)
    seconds(stage, 1)
    twin = tmp_path / "Second instance.lua"  # what REAPER starts if the user answers "New instance"
    twin.write_text(
        f'dofile("{(ROOT / "lib" / "stembridge.lua").as_posix()}")(reaper, gfx, "{ROOT.as_posix()}/").actions.live()'
    )
    reaper.run(twin)
    seconds(stage, 1)
    assert not is_live(stage)
    assert button(stage) == 0
    reaper.check()


@pytest.mark.parametrize("reason", ["stop", "delete the track", "close the project"])
def test_it_ends_with_playback_track_or_project(stage: Stage, daemon: PlayedDaemon, reason: str) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    request = daemon.take()
    daemon.answer(request, "running")
    if reason == "stop":
        stage.project.playing = 0
    elif reason == "delete the track":
        stage.reaper.delete_track(stage.tracks[0])
    else:
        stage.reaper.open(song_project(stage.folder.parent / "Other", name="Other", seconds=1.0))
        stage.reaper.close(stage.project)
    seconds(stage, 1)
    assert not is_live(stage)
    assert button(stage) == 0
    assert [told["job"] for told in daemon.requests() if told["kind"] == "cancel"] == [request["id"]]


def test_a_run_that_crashed_blocks_nothing(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.reaper.ext_state.set("Stembridge", "live", str(stage.reaper.clock() - 60.0))
    stage.act(ACTION)
    seconds(stage, 1)
    assert is_live(stage)
    assert len(daemon.requests()) == 1
    stage.act(ACTION)


def test_a_phrase_that_was_not_made_ends_it_with_a_sentence(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    daemon.answer(daemon.take(), "failed", error={"code": "engine", "sentence": "The engine gave up."})
    seconds(stage, 8)
    assert "Live extension stopped: its last phrase was not placed on the track." in news(stage.reaper)
    assert not is_live(stage)
    assert button(stage) == 0


def test_what_it_needs_is_said_before_it_starts(stage: Stage) -> None:
    def told() -> str:
        stage.reaper.answers.boxes = [1]
        stage.act(ACTION)
        seconds(stage, 1)
        assert not is_live(stage)
        assert button(stage) == 0
        return stage.reaper.shown.pop()

    def told_while_playing() -> str:
        stage.act(ACTION)
        seconds(stage, 1)
        assert not is_live(stage)
        assert button(stage) == 0
        return news(stage.reaper)

    stage.project.playing = 0
    assert told().startswith("Start playback first")
    stage.project.playing = 1
    stage.tracks[0].values["I_SELECTED"] = 0.0
    assert told().startswith("Select the one track")
    stage.tracks[0].values["I_SELECTED"] = 1.0
    stage.tracks[0].items.clear()
    stage.reaper.answers.boxes = []
    assert "The selected track has no audio" in told_while_playing()
    add_audio(stage.tracks[0], song_file(stage.folder, "Again", 10.0, 44100), 0.0)
    stage.tracks[0].values["I_FREEMODE"] = 2.0
    assert "Live extension puts items onto the track itself" in told_while_playing()


def test_a_midi_track_is_refused_in_words(reaper: Reaper, tmp_path: Path) -> None:
    project = midi_project(tmp_path / "Song")
    project.tracks[0].values["I_SELECTED"] = 1.0
    project.playing, project.play_position = 1, 40.0
    stage = Stage(reaper, project, tmp_path / "Song")
    stage.act(ACTION)
    seconds(stage, 1)
    assert "The selected track is played by an instrument" in news(reaper)


def test_a_phrase_that_lies_there_is_not_cancelled_by_stopping(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    request = daemon.take()
    stage.place({**stage.answer([stage.take(1, 40.0, 48.0, job=request["id"])], job=request["id"], verb="extend"),
                 "origin": request["origin"]})  # fmt: skip
    stage.act(ACTION)
    assert daemon.requests() == []
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0)]
