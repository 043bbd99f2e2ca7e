"""Live extension's script: hands over once, says where REAPER plays, and ends with its run; phrases are placed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.reaper.placing import ROOT, Stage, active_name, audio_of, spans
from tests.support.played_daemon import PlayedDaemon
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import TempoMarker
from tests.support.reascript.projects import add_audio, midi_project, song_file, song_project

ACTION = "Start or stop live extension"
PHRASE_S = 8.0
"""Four bars at 120 BPM."""
LIVE = {"waiting": False, "bar": 16, "lead_bars": 8.0, "lead_s": 16.0, "phrases": 0, "loops": 0, "failed": 0,
        "sentence": ""}  # fmt: skip


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


def heartbeat(daemon: PlayedDaemon) -> dict[str, Any]:
    (file,) = (daemon.folder / "live").glob("*.json")
    return dict(json.loads(file.read_bytes()))


def begun(stage: Stage, daemon: PlayedDaemon, **live: Any) -> dict[str, Any]:
    """Start it, and answer that it runs; the request."""
    stage.act(ACTION)
    seconds(stage, 1)
    request = daemon.take()
    daemon.answer(request, "running", live=LIVE | live)
    seconds(stage, 1)
    return request


def deliver(
    stage: Stage, daemon: PlayedDaemon, run: dict[str, Any], slot: int, start_s: float, *, loop: bool = False
) -> dict[str, Any]:
    """What the daemon says when a slot is filled; the take."""
    job = f"{run['id']}-{slot:04d}"
    take = stage.take(1, start_s, start_s + PHRASE_S, job=job)
    phrase = {"id": job, "instance": run["instance"], "kind": "request", "verb": "extend"}
    origin = run["origin"] | {"live": {"run": run["id"], "slot": slot, "bar": 21, "loop": loop}}
    daemon.answer(phrase, "done", takes=[take], asked={"verb": "extend"}, folder=str(stage.folder), origin=origin)
    seconds(stage, 1)
    return take


def test_it_hands_over_the_dry_end_of_the_track_once(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.project.ext_state["stembridge"] = {"bars": "2", "prompt": "calmer", "variations": "3", "key": "Am"}
    stage.act(ACTION)
    seconds(stage, 1)
    (request,) = daemon.requests()
    assert (request["kind"], request["action"], request["verb"]) == ("live", "start", "extend")
    assert request["live"] == {"phrase_bars": 2}
    assert request["settings"] == {"prompt": "calmer"}
    assert request["key"] == "Am"
    assert (request["position"], request["playing"]) == (30.0, True)
    assert request["regions"] == [{"start_frame": 8 * 44100, "end_frame": 40 * 44100}]
    assert request["source"]["through"] == "dry"
    assert request["source"]["start_frame"] == 8 * 44100
    assert request["origin"]["tracks"] == [stage.tracks[0].guid]
    heard, rate = soundfile.read(daemon.folder / "audio" / request["source"]["files"][0], dtype="float32")
    item = stage.tracks[0].items[0]
    assert item.takes[0].source is not None
    whole, _ = soundfile.read(item.takes[0].source.path, dtype="float32")
    assert rate == 44100
    assert np.array_equal(heard, whole[8 * 44100 : 40 * 44100])
    assert button(stage) == 1
    daemon.take()
    stage.project.play_position = 39.5
    seconds(stage, 2)
    assert daemon.requests() == []  # when a phrase is due is the daemon's business
    stage.act(ACTION)


def test_a_bar_that_was_cut_short_does_not_stop_it(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.project.tempo = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(19.0, 120.0, 4, 4)]
    stage.act(ACTION)
    seconds(stage, 1)
    (request,) = daemon.requests()
    assert request["regions"] == [{"start_frame": 8 * 44100, "end_frame": 40 * 44100}]
    assert [point["time"] for point in request["tempo"]] == [0.0, 19.0]
    stage.act(ACTION)


def test_it_says_where_reaper_plays_at_least_four_times_a_second(stage: Stage, daemon: PlayedDaemon) -> None:
    request = begun(stage, daemon)
    first = heartbeat(daemon)
    assert (first["run"], first["position"], first["playing"], first["rate"]) == (request["id"], 30.0, True, 1.0)
    seconds(stage, 2)
    later = heartbeat(daemon)
    assert later["serial"] - first["serial"] >= 8
    assert later["at"] - first["at"] == pytest.approx(2.0, abs=0.4)
    stage.act(ACTION)


@pytest.mark.parametrize("change", ["stop", "locate", "rate"])
def test_what_happens_to_the_transport_is_said_at_once(stage: Stage, daemon: PlayedDaemon, change: str) -> None:
    begun(stage, daemon)
    if change == "stop":
        stage.project.playing, stage.project.cursor = 0, 12.0
    elif change == "locate":
        stage.project.play_position = 12.0
    else:
        stage.project.play_rate = 1.25
    stage.reaper.pump(1)
    said = heartbeat(daemon)
    assert said["playing"] is (change != "stop")
    assert said["position"] == (30.0 if change == "rate" else 12.0)
    assert said["rate"] == (1.25 if change == "rate" else 1.0)
    seconds(stage, 3)
    assert is_live(stage)
    stage.act(ACTION)


def test_a_tempo_map_that_changed_is_in_the_heartbeat_while_it_differs(stage: Stage, daemon: PlayedDaemon) -> None:
    begun(stage, daemon)
    assert "tempo" not in heartbeat(daemon)
    stage.project.tempo.append(TempoMarker(40.0, 97.5, 4, 4))
    seconds(stage, 2)
    assert [(p["time"], p["bpm"]) for p in heartbeat(daemon)["tempo"]] == [(0.0, 120.0), (40.0, 97.5)]
    stage.project.tempo.pop()
    seconds(stage, 2)
    assert "tempo" not in heartbeat(daemon)
    stage.act(ACTION)


def test_a_prompt_or_key_that_changed_is_told_once(stage: Stage, daemon: PlayedDaemon) -> None:
    request = begun(stage, daemon)
    stage.project.ext_state["stembridge"] = {"prompt": "louder", "key": "Em"}
    seconds(stage, 3)
    (told,) = daemon.requests()
    assert (told["kind"], told["action"], told["run"]) == ("live", "set", request["id"])
    assert told["settings"] == {"prompt": "louder"}
    assert told["key"] == "Em"
    daemon.answer(daemon.take(), "done")
    seconds(stage, 1)
    assert daemon.unclaimed() == [f"{request['id']}.json"]
    stage.act(ACTION)


def test_each_phrase_lies_where_the_daemon_says_and_is_one_undo_step(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    take = deliver(stage, daemon, run, 1, 40.0)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0)]
    stage.tracks[1].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(40.0, 48.0), audio_of(take))
    stage.tracks[1].values["B_MUTE"] = 0.0
    deliver(stage, daemon, run, 2, 48.0)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0), (48.0, 56.0)]
    assert daemon.unclaimed() == [f"{run['id']}.json"]
    stage.act(ACTION)
    stage.undone(*["Stembridge: live extension"] * 2)


def test_the_phrases_of_a_run_do_not_count_as_the_end_of_the_run(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    deliver(stage, daemon, run, 1, 40.0)
    seconds(stage, 3)
    assert (daemon.folder / "answers" / run["instance"] / f"{run['id']}.json").exists()
    assert is_live(stage)
    stage.act(ACTION)


def test_a_loop_is_named_and_does_not_click_where_it_begins(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    deliver(stage, daemon, run, 1, 40.0)
    deliver(stage, daemon, run, 2, 48.0, loop=True)
    users, phrase, loop = stage.tracks[0].items
    assert active_name(loop).startswith("loop: ")
    assert (phrase.values["D_FADEOUTLEN"], loop.values["D_FADEINLEN"]) == (0.005, 0.005)
    assert (users.values["D_FADEOUTLEN"], phrase.values["D_FADEINLEN"]) == (0.0, 0.0)
    stage.act(ACTION)


def test_a_phrase_takes_the_place_of_what_an_earlier_one_left_there(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    deliver(stage, daemon, run, 1, 40.0)
    take = deliver(stage, daemon, run, 2, 44.0)  # playback went elsewhere and came back to other bar lines
    stage.tracks[1].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(44.0, 52.0), audio_of(take))
    assert len(stage.tracks) == 2
    stage.tracks[1].values["B_MUTE"] = 0.0
    stage.act(ACTION)


def test_what_the_user_put_there_meanwhile_stays_and_the_phrase_goes_below(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    add_audio(stage.tracks[0], song_file(stage.folder, "Recorded", 4.0, 44100), 42.0)
    deliver(stage, daemon, run, 1, 40.0)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (42.0, 46.0)]
    assert spans(stage.tracks[1]) == [(40.0, 48.0)]
    stage.act(ACTION)


def test_a_note_that_rings_on_into_the_first_phrase_stays(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    deliver(stage, daemon, run, 1, 39.5)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (39.5, 47.5)]
    stage.act(ACTION)


def test_the_window_says_how_it_stands(stage: Stage, daemon: PlayedDaemon) -> None:
    begun(stage, daemon, phrases=3, loops=1, sentence="The engine was late.")
    (window,) = stage.reaper.windows
    text = " ".join(window.strings)
    assert "Live extension" in text
    assert "8 bars ready, 3 phrases made, 1 repeated" in text
    assert "The engine was late." in text
    stage.act(ACTION)


def test_run_again_before_anybody_took_it_it_takes_its_request_back(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.act(ACTION)
    seconds(stage, 1)
    stage.act(ACTION)
    seconds(stage, 1)
    assert not is_live(stage)
    assert button(stage) == 0
    assert daemon.requests() == []
    assert [list((daemon.folder / name).iterdir()) for name in ("audio", "live")] == [[], []]


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


@pytest.mark.parametrize("reason", ["run again", "delete the track", "close the project", "the Stop button"])
def test_the_run_ends_with_its_script(stage: Stage, daemon: PlayedDaemon, reason: str) -> None:
    request = begun(stage, daemon)
    if reason == "run again":
        stage.act(ACTION)
    elif reason == "delete the track":
        stage.reaper.delete_track(stage.tracks[0])
    elif reason == "close the project":
        stage.reaper.open(song_project(stage.folder.parent / "Other", name="Other", seconds=1.0))
        stage.reaper.close(stage.project)
    else:
        stage.reaper.windows[0].click("Stop")
    seconds(stage, 1)
    told = [(told["kind"], told["action"], told["run"]) for told in daemon.requests()]
    assert told == [("live", "stop", request["id"])]
    daemon.answer(daemon.take(), "done")
    daemon.answer(request, "done", live=LIVE)
    seconds(stage, 8)
    assert not is_live(stage)
    assert button(stage) == 0
    assert daemon.unclaimed() == []
    assert list((daemon.folder / "live").iterdir()) == []


def test_cancel_ends_live_extension_too(stage: Stage, daemon: PlayedDaemon) -> None:
    begun(stage, daemon)
    stage.act("Cancel")
    seconds(stage, 1)
    assert [(told["kind"], told["job"]) for told in daemon.requests()] == [("cancel", "all")]
    stage.act(ACTION)


def test_when_the_daemon_ends_it_the_script_ends_and_the_window_says_why(stage: Stage, daemon: PlayedDaemon) -> None:
    request = begun(stage, daemon)
    daemon.answer(request, "failed", error={"code": "live_ended", "sentence": "Stembridge ended in the middle."})
    seconds(stage, 8)
    assert not is_live(stage)
    assert button(stage) == 0
    assert daemon.requests() == []
    assert "Stembridge ended in the middle." in news(stage.reaper)


def test_a_phrase_is_placed_though_the_window_was_closed(stage: Stage, daemon: PlayedDaemon) -> None:
    run = begun(stage, daemon)
    stage.reaper.windows[0].close_by_user()
    seconds(stage, 3)
    assert stage.reaper.windows == []
    deliver(stage, daemon, run, 1, 40.0)
    seconds(stage, 2)
    assert spans(stage.tracks[0]) == [(0.0, 40.0), (40.0, 48.0)]
    stage.act(ACTION)


def test_a_run_that_crashed_blocks_nothing(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.reaper.ext_state.set("Stembridge", "live", str(stage.reaper.clock() - 60.0))
    stage.act(ACTION)
    seconds(stage, 1)
    assert is_live(stage)
    assert len(daemon.requests()) == 1
    stage.act(ACTION)


def test_it_may_be_started_before_playback(stage: Stage, daemon: PlayedDaemon) -> None:
    stage.project.playing, stage.project.cursor = 0, 4.0
    begun(stage, daemon)
    assert (heartbeat(daemon)["playing"], heartbeat(daemon)["position"]) == (False, 4.0)
    stage.act(ACTION)


def test_what_it_needs_is_said_before_it_starts(stage: Stage) -> None:
    def told() -> str:
        stage.reaper.answers.boxes = [1]
        stage.act(ACTION)
        seconds(stage, 1)
        assert not is_live(stage)
        assert button(stage) == 0
        return stage.reaper.shown.pop()

    stage.tracks[0].values["I_SELECTED"] = 0.0
    assert told().startswith("Select the one track")
    stage.tracks[0].values["I_SELECTED"] = 1.0
    stage.tracks[0].items.clear()
    assert "The selected track has no audio" in told()
    add_audio(stage.tracks[0], song_file(stage.folder, "Again", 10.0, 44100), 0.0)
    stage.tracks[0].values["I_FREEMODE"] = 2.0
    assert "Live extension puts items onto the track itself" in told()


def test_a_midi_track_is_refused_in_words(reaper: Reaper, tmp_path: Path) -> None:
    project = midi_project(tmp_path / "Song")
    project.tracks[0].values["I_SELECTED"] = 1.0
    stage = Stage(reaper, project, tmp_path / "Song")
    reaper.answers.boxes = [1]
    stage.act(ACTION)
    assert "The selected track is played by an instrument" in reaper.shown.pop()
