"""The actions, whole: one click posts a request that says all the daemon needs, to the sample, and where takes go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from protocol.job import checked_job_id
from protocol.mailbox import Address, Request, disagreements, parse
from tests.support.lua_modules import action, ask, mailbox, requests, select, select_time
from tests.support.reascript import audio
from tests.support.reascript.api_render import behaviour
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project, TempoMarker
from tests.support.reascript.projects import (
    RAMP_END_S,
    add_midi,
    add_track,
    crossfaded_project,
    folder_project,
    fx_project,
    instrument,
    midi_project,
    song_project,
)
from tests.support.reascript.rpp import dump

RATE = 44100
BAR_9, BAR_13 = 16 * RATE, 24 * RATE


def opened(reaper: Reaper, project: Project, *tracks: int, bars: tuple[float, float] = (16.0, 24.0)) -> Project:
    reaper.open(project)
    select(project, *tracks)
    select_time(project, *bars)
    return project


def test_a_second_action_leaves_a_render_that_is_not_done_alone(reaper: Reaper, tmp_path: Path) -> None:
    """The render has its own track selection and settings, which the second action would take for the user's."""
    project = opened(reaper, fx_project(tmp_path), 0)
    add_track(project, "Bass")
    before = dump(project)
    behaviour(reaper).after_cycles = 20
    reaper.answers.user_inputs = [["drums", ""]]
    reaper.run(action("Complete selection with"))
    reaper.answers.boxes = [1]
    reaper.run(action("Extend after selection"))
    assert "still rendering" in reaper.shown[-1]
    reaper.pump(40)
    assert [request["verb"] for request in requests(reaper)] == ["complete"]
    assert dump(project) == before
    reaper.run(action("Extend after selection"))
    reaper.pump(40)
    assert [request["verb"] for request in requests(reaper)] == ["complete", "extend"]


def test_an_action_pressed_again_while_it_renders_begins_anew(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, midi_project(tmp_path), 0)
    behaviour(reaper).after_cycles = 20
    reaper.run(action("Repaint selection"))
    reaper.pump(2)
    select_time(project, 24.0, 32.0)
    reaper.run(action("Repaint selection"))
    reaper.pump(60)
    (request,) = requests(reaper)
    assert request["regions"] == [{"start_frame": 24 * RATE, "end_frame": 32 * RATE}]


def posted(reaper: Reaper, name: str) -> dict[str, Any]:
    """The request of the action, which the daemon takes without a word."""
    reaper.run(action(name))
    (request,) = requests(reaper)
    message = parse(request, Address(request["instance"], request["id"]), "0.1.0")
    assert isinstance(message, Request)
    assert disagreements(message) == []
    return request


def refused(reaper: Reaper, name: str) -> str:
    reaper.answers.boxes = [1]
    reaper.run(action(name))
    assert requests(reaper) == []
    assert not list((mailbox(reaper) / "audio").iterdir())
    return reaper.shown[-1]


def source_audio(reaper: Reaper, request: dict[str, Any]) -> np.ndarray:
    parts = [
        soundfile.read(mailbox(reaper) / "audio" / name, dtype="float32", always_2d=True)[0].T
        for name in request["source"]["files"]
    ]
    assert all(part.shape[1] == request["source"]["frames"] for part in parts)
    return np.sum(parts, axis=0)


# --- one request, whole -----------------------------------------------------------------------------------------------
def test_repaint_says_all_that_the_daemon_needs_and_changes_nothing(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song"), 0)
    project.cursor = 3.25
    project.ext_state["stembridge"] = {"key": "Am", "prompt": "calmer", "variations": "2", "seed": "7"}
    before = dump(project)
    found = posted(reaper, "Repaint selection")
    assert dump(project) == before
    reaper.pump()
    assert reaper.undo_names() == []
    assert checked_job_id(found["id"]) == found["id"]
    assert re.fullmatch(r"[0-9a-f]{8}", found["instance"])
    assert (found["protocol"], found["kind"], found["verb"]) == (1, "request", "repaint")
    assert found["project"] == {
        "file": str(project.path),
        "media": str(tmp_path / "song" / "Media"),
        "sample_rate": RATE,
    }
    assert found["regions"] == [{"start_frame": BAR_9, "end_frame": BAR_13}]
    assert found["source"] == {
        "files": [f"{found['id']}.1.wav"],
        "start_frame": 0,
        "frames": 48 * RATE,
        "through": "dry",
    }
    assert found["tempo"] == [{"time": 0.0, "bpm": 120.0, "num": 4, "den": 4, "linear": False}]
    assert found["checks"] == {"start_qn": 32.0, "end_qn": 48.0, "start_bar": 9, "start_beat": 0.0}
    assert (found["key"], found["position"], found["playing"]) == ("Am", 3.25, False)
    assert (found["options"], found["settings"]) == ({}, {"prompt": "calmer", "variations": 2, "seed": 7})
    track = project.tracks[0]
    assert found["origin"] == {
        "project_file": str(project.path), "project_name": "Song.rpp", "verb": "repaint", "tracks": [track.guid],
        "track_names": ["Guitar"], "items": [track.items[0].guid], "place": "takes", "mute_original": False,
        "title": "bars 9-12", "undo": "Stembridge: repaint bars 9-12", "prompt": "calmer",
        "tab": str(reaper.pointer(project)),
    }  # fmt: skip
    np.testing.assert_array_equal(source_audio(reaper, found), audio.dry(track, RATE, 0, 48 * RATE))


def test_while_it_plays_the_position_is_where_it_plays(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song"), 0)
    project.playing, project.play_position = 1, 12.125
    found = posted(reaper, "Repaint selection")
    assert (found["position"], found["playing"], project.playing) == (12.125, True, 1)


def test_context_is_heard_on_each_side_as_far_as_the_song_says(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song"), 0)
    project.ext_state["stembridge"] = {"context": "2"}
    source = posted(reaper, "Repaint selection")["source"]
    assert (source["start_frame"], source["frames"]) == (BAR_9 - 2 * RATE, 12 * RATE)


@pytest.mark.parametrize(("kind", "points"), [("change", [0.0, 16.0]), ("ramp", [0.0, 16.0, RAMP_END_S])])
def test_a_tempo_change_or_ramp_in_the_window_travels(
    reaper: Reaper, tmp_path: Path, kind: Any, points: list[float]
) -> None:
    opened(reaper, song_project(tmp_path / "song", tempo=kind), 0)
    found = posted(reaper, "Repaint selection")
    assert [point["time"] for point in found["tempo"]] == points
    assert [point["linear"] for point in found["tempo"]] == [kind == "ramp" and time == 16.0 for time in points]


# --- the other actions ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "verb"), [("Extend after selection", "extend"),
                                            ("Prepend before selection", "prepend")])  # fmt: skip
def test_extend_and_prepend_say_how_many_bars(reaper: Reaper, tmp_path: Path, name: str, verb: str) -> None:
    project = opened(reaper, song_project(tmp_path / "song", seconds=24.0), 0)
    if verb == "prepend":
        project.tracks[0].items[0].values.update(D_POSITION=16.0, D_LENGTH=8.0)
    project.ext_state["stembridge"] = {"bars": "8"}
    found = posted(reaper, name)
    assert (found["verb"], found["options"]) == (verb, {"bars": 8})
    assert found["regions"] == [{"start_frame": BAR_9, "end_frame": BAR_13}]
    assert (found["source"]["through"], found["origin"]["place"]) == ("dry", "items")


def test_extend_knows_the_tempo_where_its_bars_will_lie(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song", seconds=24.0), 0)
    project.tempo = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(26.0, 97.5), TempoMarker(40.0, 88.0)]
    assert [point["bpm"] for point in posted(reaper, "Extend after selection")["tempo"]] == [120.0, 97.5, 88.0]


def test_what_would_lie_on_other_items_goes_to_its_own_track_as_heard(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, fx_project(tmp_path / "song"), 0)
    found = posted(reaper, "Extend after selection")
    assert (found["source"]["through"], found["origin"]["place"]) == ("fx", "new_track")
    assert not found["origin"]["mute_original"]
    np.testing.assert_array_equal(
        source_audio(reaper, found), audio.stem(project, project.tracks[0], RATE, 0, 48 * RATE)
    )


def test_prepend_without_room_before_the_selection_is_told(reaper: Reaper, tmp_path: Path) -> None:
    opened(reaper, song_project(tmp_path / "song"), 0, bars=(6.0, 24.0))
    assert refused(reaper, "Prepend before selection").startswith("4 bars do not fit between the start of the project")


def test_repaint_with_prompt_asks_and_uses_what_was_typed(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song"), 0)
    project.ext_state["stembridge"] = {"prompt": "calmer"}
    reaper.answers.user_inputs = [["brushes, upright bass"]]
    found = posted(reaper, "Repaint selection with prompt")
    assert found["settings"] == {"prompt": "brushes, upright bass"}
    assert found["origin"]["prompt"] == "brushes, upright bass"


@pytest.mark.parametrize("name", ["Repaint selection with prompt", "Complete selection with"])
def test_cancel_in_a_dialog_sends_nothing(reaper: Reaper, tmp_path: Path, name: str) -> None:
    opened(reaper, song_project(tmp_path / "song"), 0)
    reaper.answers.user_inputs = [None]
    reaper.run(action(name))
    assert requests(reaper) == []
    assert reaper.shown == []


@pytest.mark.parametrize(
    ("name", "typed", "verb", "options"),
    [
        ("Complete selection with", ["Drums, Backing Vocals", "dry"], "complete", {"tracks": "drums,backing_vocals"}),
        ("Add one instrument (lego)", ["bass"], "lego", {"track": "bass"}),
        ("Extract one instrument", ["vocals"], "extract", {"track": "vocals"}),
    ],
)
def test_new_instruments_come_as_children_of_what_was_heard(
    reaper: Reaper, tmp_path: Path, name: str, typed: list[str], verb: str, options: dict[str, str]
) -> None:
    project = opened(reaper, fx_project(tmp_path / "song"), 0)
    reaper.answers.user_inputs = [typed]
    found = posted(reaper, name)
    assert (found["verb"], found["options"]) == (verb, options)
    assert (found["source"]["through"], found["origin"]["place"]) == ("fx", "children")
    np.testing.assert_array_equal(
        source_audio(reaper, found), audio.stem(project, project.tracks[0], RATE, 0, 48 * RATE)
    )


def test_without_a_track_complete_hears_the_master_mix(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, song_project(tmp_path / "song", tracks=("Guitar", "Bass")))
    reaper.answers.user_inputs = [["drums", ""]]
    found = posted(reaper, "Complete selection with")
    assert (found["origin"]["tracks"], found["origin"]["items"], found["origin"]["place"]) == ([], [], "children")
    np.testing.assert_array_equal(source_audio(reaper, found), audio.master_mix(project, RATE, 0, 48 * RATE))


# --- which way out and back -------------------------------------------------------------------------------------------
def way(reaper: Reaper) -> tuple[str, str, bool]:
    found = posted(reaper, "Repaint selection")
    return found["source"]["through"], found["origin"]["place"], found["origin"]["mute_original"]


def test_a_track_with_effects_gets_takes_made_from_its_dry_sound(reaper: Reaper, tmp_path: Path) -> None:
    opened(reaper, fx_project(tmp_path / "song"), 0)
    assert way(reaper) == ("dry", "takes", False)


def test_the_setting_fx_puts_what_was_heard_on_a_track_of_its_own(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, fx_project(tmp_path / "song"), 0)
    project.ext_state["stembridge"] = {"source": "fx"}
    assert way(reaper) == ("fx", "new_track", True)


def test_a_selection_without_items_gets_items_with_takes(reaper: Reaper, tmp_path: Path) -> None:
    opened(reaper, song_project(tmp_path / "song", seconds=10.0), 0)
    assert way(reaper) == ("dry", "takes", False)


@pytest.mark.parametrize("case", ["several tracks", "MIDI", "crossfade", "fixed lanes", "folder"])
def test_what_cannot_take_takes_is_heard_as_it_sounds_and_replaced_by_a_new_track(
    reaper: Reaper, tmp_path: Path, case: str
) -> None:
    folder = tmp_path / "song"
    if case == "several tracks":
        opened(reaper, song_project(folder, tracks=("Guitar", "Bass")), 0, 1)
    elif case == "MIDI":
        opened(reaper, midi_project(folder), 0)
    elif case == "crossfade":
        opened(reaper, crossfaded_project(folder), 0)
    elif case == "fixed lanes":
        opened(reaper, song_project(folder), 0).tracks[0].values["I_FREEMODE"] = 2.0
    else:
        opened(reaper, folder_project(folder), 0)
    assert way(reaper) == ("fx", "new_track", True)


def test_midi_in_the_context_is_heard_too(reaper: Reaper, tmp_path: Path) -> None:
    project = song_project(tmp_path / "song", seconds=24.0)
    project.tracks[0].fx.append(instrument())
    add_midi(project.tracks[0], 30.0, 4.0)
    opened(reaper, project, 0)
    assert way(reaper) == ("fx", "new_track", True)


def test_an_instrument_cannot_be_heard_dry(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, midi_project(tmp_path / "song"), 0)
    project.ext_state["stembridge"] = {"source": "dry"}
    assert refused(reaper, "Repaint selection").startswith('Track "Synth" is played by an instrument')


def test_a_muted_track_cannot_be_heard_through_its_effects(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, midi_project(tmp_path / "song"), 0)
    project.tracks[0].values["B_MUTE"] = 1.0
    assert refused(reaper, "Repaint selection").startswith('Track "Synth" is muted')


def test_a_track_without_a_name_is_named_by_its_number(reaper: Reaper, tmp_path: Path) -> None:
    project = song_project(tmp_path / "song")
    add_track(project, "")
    opened(reaper, project, 1)
    assert posted(reaper, "Repaint selection")["origin"]["track_names"] == ["Track 2"]


# --- paths, and asking again ------------------------------------------------------------------------------------------
def test_windows_paths_reach_the_daemon_as_they_are(reaper: Reaper) -> None:
    file = 'C:\\Users\\Jürgen\\Lieder "neu"\\Gesänge ü.rpp'
    body = """
    local proj = reaper.EnumProjects(-1)
    local capture = { proj = proj, file = [[%s]], media = [[C:\\Media]], rate = 44100, start_frame = 0,
      end_frame = 44100, start_s = 0.0, end_s = 1.0, tracks = {}, items = {} }
    return app.request.build("complete", capture, nil, {}, {}, {})
    """
    reaper.open(Project())
    (found,) = ask(reaper, body % file)
    assert found["project"] == {"file": file, "media": "C:\\Media", "sample_rate": 44100}
    assert "source" not in found


def test_asking_again_asks_the_same_but_for_the_changes(reaper: Reaper, tmp_path: Path) -> None:
    opened(reaper, song_project(tmp_path / "song"), 0)
    asked = posted(reaper, "Repaint selection")
    reaper.pump()
    body = """
    local asked = app.json.decode(app.files.read("%s"))
    asked.settings = { seed = 7, prompt = "calmer" }
    local kept = { asked = asked, take = {}, source = { file = "/songs/A/source.wav", start_frame = 12 } }
    return app.request.again(kept, { settings = { seed = false, variations = 2 }, origin = { place = "takes" } })
    """
    (path,) = (mailbox(reaper) / "requests").glob("*.json")
    (found,) = ask(reaper, body % path)
    same = ("verb", "project", "regions", "tempo", "checks", "key", "options")
    assert {name: found[name] for name in same} == {name: asked[name] for name in same}
    assert found["source"] == {"file": "/songs/A/source.wav", "start_frame": 12}
    assert found["settings"] == {"prompt": "calmer", "variations": 2}
    assert (found["origin"], found["position"], found["playing"]) == ({"place": "takes"}, 16.0, False)
    assert "id" not in found
