"""The audio that the daemon hears is exactly what was asked for, and writing it leaves the project as it was."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.lua_modules import ask, mailbox, select
from tests.support.reascript import audio
from tests.support.reascript.api_accessor import open_accessors
from tests.support.reascript.api_render import behaviour, targets
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project
from tests.support.reascript.projects import effect, folder_project, fx_project, song_project

ID = "20261123-075200-3f9a2c"
WRITE = """
local proj = reaper.EnumProjects(-1)
local tracks = {}
for _, index in ipairs(app.json.decode("%s")) do tracks[#tracks + 1] = reaper.GetTrack(proj, index) end
local capture = { proj = proj, rate = app.selection.rate(proj), tracks = tracks }
app.source.write(capture, app.mailbox.open(), "%s", %d, %d, "%s", function(source, sentence)
  give(source, sentence)
end)
"""


def written(reaper: Reaper, mode: str, start: int, end: int, tracks: tuple[int, ...] = (0,)) -> tuple[Any, Any]:
    found = ask(reaper, WRITE % (json.dumps(tracks), ID, start, end, mode))
    return found[0], found[1] if len(found) > 1 else None


def heard(reaper: Reaper, source: dict[str, Any]) -> list[np.ndarray]:
    """The files, checked to have the format and the length that was told."""
    found = []
    for name in source["files"]:
        path = mailbox(reaper) / "audio" / name
        info = soundfile.info(path)
        assert (info.subtype, info.channels, info.samplerate) == ("FLOAT", 2, reaper.active.rate)
        assert info.frames == source["frames"]
        found.append(soundfile.read(path, dtype="float32", always_2d=True)[0].T)
    return found


def audio_files(reaper: Reaper) -> list[str]:
    return sorted(path.name for path in (mailbox(reaper) / "audio").iterdir())


def selected(project: Project) -> list[float]:
    return [track.values["I_SELECTED"] for track in (project.master, *project.tracks)]


# --- the window -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "end", "context_s", "window"),
    [
        (705600, 1058400, 30, (0, 48 * 44100)),
        (705600, 1058401, 2.5, (705600 - 110250, 1058401 + 110250)),
        (705600, 1058400, 0, (705600, 1058400)),
        (44100 * 60, 44100 * 64, 30, (44100 * 30, 44100 * 64)),
    ],
)
def test_the_window_is_the_region_with_context_inside_the_project(
    reaper: Reaper, tmp_path: Path, start: int, end: int, context_s: float, window: tuple[int, int]
) -> None:
    reaper.open(song_project(tmp_path / "song"))
    body = f"""
    local capture = {{ proj = reaper.EnumProjects(-1), rate = 44100, start_frame = {start}, end_frame = {end} }}
    return app.source.window(capture, {context_s})
    """
    assert tuple(ask(reaper, body)) == window


# --- through the effects ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_a_render_is_the_selected_track_as_heard_to_the_sample(reaper: Reaper, tmp_path: Path, rate: int) -> None:
    project = reaper.open(fx_project(tmp_path / "song", rate))
    project.tracks[0].values["D_VOL"] = 0.5
    source, sentence = written(reaper, "fx", 12345, 5 * rate + 1)
    assert sentence is None
    assert source == {"files": [f"{ID}.1.wav"], "start_frame": 12345, "frames": 5 * rate + 1 - 12345, "through": "fx"}
    (samples,) = heard(reaper, source)
    np.testing.assert_array_equal(samples, audio.stem(project, project.tracks[0], rate, 12345, 5 * rate + 1))
    assert np.any(samples)


def test_several_tracks_are_several_stems_in_order(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass", "Keys")))
    source, _ = written(reaper, "fx", 0, 44100, (0, 2))
    assert source["files"] == [f"{ID}.1.wav", f"{ID}.2.wav"]
    for samples, index in zip(heard(reaper, source), (0, 2), strict=True):
        np.testing.assert_array_equal(samples, audio.stem(project, project.tracks[index], 44100, 0, 44100))


def test_the_source_that_reapers_help_calls_stems_only_is_the_master_mix(reaper: Reaper, tmp_path: Path) -> None:
    project = song_project(tmp_path / "song", tracks=("Guitar", "Bass"))
    project.strings["RENDER_FORMAT"] = "evaw"
    reaper.open(project)
    select(project, 0, 1)
    files: dict[float, int] = {}
    for settings in (3.0, 2.0, 0.0):
        project.values["RENDER_SETTINGS"] = settings
        files[settings] = len(targets(reaper, project))
    assert files == {3.0: 2, 2.0: 1, 0.0: 1}


def test_a_folder_and_its_own_tracks_are_heard_once(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(folder_project(tmp_path / "song"))
    source, _ = written(reaper, "fx", 0, 44100, (0, 1, 2))
    (samples,) = heard(reaper, source)
    np.testing.assert_array_equal(samples, audio.stem(project, project.tracks[0], 44100, 0, 44100))


def test_a_child_that_does_not_feed_its_folder_is_heard_beside_it(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(folder_project(tmp_path / "song"))
    project.tracks[1].values["B_MAINSEND"] = 0.0
    source, _ = written(reaper, "fx", 0, 44100, (0, 1, 2))
    assert len(source["files"]) == 2


def test_without_tracks_the_master_mix_is_heard(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass")))
    select(project, 1)
    source, _ = written(reaper, "fx", 0, 44100, ())
    (samples,) = heard(reaper, source)
    np.testing.assert_array_equal(samples, audio.master_mix(project, 44100, 0, 44100))


@pytest.mark.parametrize("case", ["whole", "raises", "writes nothing", "late", "late and partial"])
def test_every_render_setting_and_the_track_selection_are_put_back_and_no_undo_point_is_made(
    reaper: Reaper, tmp_path: Path, case: str
) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass", "Keys")))
    select(project, 1, 2)
    project.master.values["I_SELECTED"] = 1.0
    before = selected(project)
    how = behaviour(reaper)
    how.error = "out of disk space" if case == "raises" else ""
    how.writes_nothing = case == "writes nothing"
    how.after_cycles = 20 if case.startswith("late") else 0
    how.is_partial = case == "late and partial"
    source, sentence = written(reaper, "fx", 0, 44100)
    if case in ("raises", "writes nothing"):
        assert source is None
        assert sentence.startswith(
            "The selected tracks could not be rendered (" if case == "raises" else "REAPER wrote"
        )
        assert audio_files(reaper) == []
    else:
        assert audio_files(reaper) == source["files"]
        assert heard(reaper, source)
    reaper.check()
    assert selected(project) == before
    assert reaper.undo_names() == []
    assert "SetTrackSelected" in reaper.calls


@pytest.mark.parametrize("name", ["SetTrackSelected", "Main_OnCommandEx"])
def test_a_failure_at_any_step_is_told_and_the_settings_are_put_back(reaper: Reaper, tmp_path: Path, name: str) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass")))
    select(project, 1)
    reaper.failing[name] = "no such luck"
    source, sentence = written(reaper, "fx", 0, 44100)
    assert source is None
    assert "no such luck" in sentence
    reaper.check()
    assert selected(project) == [0.0, 0.0, 1.0]


def test_a_script_that_is_ended_while_the_render_runs_puts_the_settings_back(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass")))
    select(project, 1)
    project.master.values["I_SELECTED"] = 1.0
    behaviour(reaper).after_cycles, behaviour(reaper).is_partial = 50, True
    script = reaper.resource / "endless.lua"
    (mailbox(reaper) / "audio").mkdir(parents=True)
    ask(reaper, "return 1")  # leaves ask.lua, which brings `app`
    text = (reaper.resource / "ask.lua").read_text(encoding="utf-8")
    script.write_text(text.replace("return 1", WRITE % ("[0]", ID, 0, 44100, "fx")), encoding="utf-8")
    running = reaper.run(script)
    reaper.pump(3)
    assert project.values["RENDER_NORMALIZE"] == 0.0
    assert selected(project) == [0.0, 1.0, 0.0]  # a selected master would become a stem
    running.terminate()
    reaper.check()
    assert selected(project) == [1.0, 0.0, 1.0]
    assert audio_files(reaper) == []


def test_settings_that_were_empty_are_empty_again(reaper: Reaper, tmp_path: Path) -> None:
    project = song_project(tmp_path / "song")
    project.strings.update(RENDER_FILE="", RENDER_PATTERN="")
    reaper.open(project)
    _, sentence = written(reaper, "fx", 0, 44100)
    assert sentence is None
    assert (project.strings["RENDER_FILE"], project.strings["RENDER_PATTERN"]) == ("", "")


def test_a_render_that_rounds_its_end_is_taken_as_it_is(reaper: Reaper, tmp_path: Path) -> None:
    reaper.open(song_project(tmp_path / "song"))
    behaviour(reaper).extra_frames = 1
    source, sentence = written(reaper, "fx", 0, 44100)
    assert sentence is None
    assert soundfile.info(mailbox(reaper) / "audio" / source["files"][0]).frames == 44101


def test_a_project_folder_with_any_letters_is_rendered(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "Gesänge ü 歌", name="Träume"))
    source, _ = written(reaper, "fx", 0, 44100)
    np.testing.assert_array_equal(heard(reaper, source)[0], audio.stem(project, project.tracks[0], 44100, 0, 44100))
    assert str(project.path) in ask(reaper, "local _, file = reaper.EnumProjects(-1) return file")


def test_a_closed_project_ends_the_wait_for_its_render(reaper: Reaper, tmp_path: Path) -> None:
    reaper.open(song_project(tmp_path / "other", name="Other"))
    project = reaper.open(song_project(tmp_path / "song"))
    behaviour(reaper).after_cycles = 10**6
    ask(reaper, "give(1) " + WRITE % ("[0]", ID, 0, 44100, "fx"))
    reaper.close(project)
    reaper.pump(5)
    found = json.loads((reaper.resource / "ask.json").read_text())
    assert found[1].startswith("The project was closed")


# --- dry --------------------------------------------------------------------------------------------------------------
def test_dry_is_the_track_before_its_effects_to_the_sample(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(fx_project(tmp_path / "song"))
    project.tracks[0].values.update(D_VOL=0.25, B_MUTE=1.0)
    project.playing = 1
    source, sentence = written(reaper, "dry", 12345, 5 * 44100 + 7)
    assert sentence is None
    assert source == {"files": [f"{ID}.1.wav"], "start_frame": 12345, "frames": 208162, "through": "dry"}
    (samples,) = heard(reaper, source)
    np.testing.assert_array_equal(samples, audio.dry(project.tracks[0], 44100, 12345, 5 * 44100 + 7))
    assert np.any(samples)
    assert project.playing == 1
    assert "Main_OnCommandEx" not in reaper.calls


def test_dry_tracks_are_summed_and_silence_is_silence(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song", tracks=("Guitar", "Bass"), seconds=2.0))
    project.tracks[0].items[0].values["D_POSITION"] = 1.5
    source, _ = written(reaper, "dry", 0, 5 * 44100, (0, 1))
    (samples,) = heard(reaper, source)
    parts = [audio.dry(track, 44100, 0, 5 * 44100) for track in project.tracks]
    np.testing.assert_allclose(samples, parts[0] + parts[1], atol=1e-7)
    assert not np.any(samples[:, 4 * 44100 :])


def slow_clock(reaper: Reaper) -> None:
    ticks = count()
    reaper.clock = lambda: next(ticks) * 0.02


def test_a_long_stretch_is_read_over_several_cycles(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song"))
    slow_clock(reaper)
    source, _ = written(reaper, "dry", 0, 4 * 44100)
    assert reaper.calls.count("defer") > 3
    np.testing.assert_array_equal(heard(reaper, source)[0], audio.dry(project.tracks[0], 44100, 0, 4 * 44100))


@pytest.mark.parametrize("trouble", ["track deleted", "project closed", "raises"])
def test_trouble_while_reading_is_told_and_leaves_no_file_and_no_accessor(
    reaper: Reaper, tmp_path: Path, trouble: str
) -> None:
    reaper.open(song_project(tmp_path / "other", name="Other"))
    project = reaper.open(song_project(tmp_path / "song"))
    slow_clock(reaper)
    ask(reaper, "give(1) " + WRITE % ("[0]", ID, 0, 8 * 44100, "dry"))
    assert len(open_accessors(reaper)) == 1
    if trouble == "track deleted":
        reaper.delete_track(project.tracks[0])
    elif trouble == "project closed":
        reaper.close(project)
    else:
        reaper.failing["GetAudioAccessorSamples"] = "disk error"
    reaper.pump(3)
    source, sentence = json.loads((reaper.resource / "ask.json").read_text())
    assert source is None
    assert sentence.startswith("The audio of the selected tracks could not be read")
    assert audio_files(reaper) == []


def test_a_script_that_is_ended_while_reading_leaves_no_accessor(reaper: Reaper, tmp_path: Path) -> None:
    reaper.open(song_project(tmp_path / "song"))
    slow_clock(reaper)
    ask(reaper, "give(1) " + WRITE % ("[0]", ID, 0, 8 * 44100, "dry"))
    (running,) = reaper.running
    assert open_accessors(reaper)
    running.terminate()
    assert open_accessors(reaper) == []
    assert audio_files(reaper) == []


def test_an_effect_that_is_added_changes_only_the_render(reaper: Reaper, tmp_path: Path) -> None:
    project = reaper.open(song_project(tmp_path / "song"))
    project.tracks[0].fx.append(effect(0.5))
    source, _ = written(reaper, "fx", 0, 4410)
    rendered = heard(reaper, source)[0]
    for name in source["files"]:
        (mailbox(reaper) / "audio" / name).unlink()
    source, _ = written(reaper, "dry", 0, 4410)
    np.testing.assert_allclose(rendered, heard(reaper, source)[0] * 0.5, atol=1e-7)
