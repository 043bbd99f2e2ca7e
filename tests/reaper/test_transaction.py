"""A change is whole or not at all, and one undo step; the user's view of the project is as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reaper.placing import ROOT, Stage
from tests.support.reascript.host import Reaper
from tests.support.reascript.projects import add_audio, song_file, song_project
from tests.support.reascript.rpp import dump

SCRIPT = """
local app = dofile("{root}/lib/stembridge.lua")(reaper, gfx, "{root}/")
app.run(function()
  local proj = reaper.EnumProjects(0)
  local track = reaper.GetTrack(proj, 0)
  local function result(ok, problem)
    local text = type(problem) == "table" and problem.sentence or tostring(problem)
    reaper.SetExtState("test", "ok", tostring(ok), false)
    reaper.SetExtState("test", "problem", text:gsub("\\n", " "), false)
  end
{body}
end)
"""

CHANGES_ALL = """
  result(app.transaction.run(proj, "Stembridge: all", function()
    reaper.GetSetMediaTrackInfo_String(track, "P_NAME", "Renamed", true)
    for i = 0, reaper.CountTracks(proj) - 1 do reaper.SetTrackSelected(reaper.GetTrack(proj, i), i == 0) end
    reaper.SetEditCurPos2(proj, 40, true, false)
    reaper.GetSet_LoopTimeRange2(proj, true, false, 1, 2, false)
    reaper.GetSet_ArrangeView2(proj, true, 0, 0, 30, 45)
    %s
  end))
"""


@pytest.fixture
def stage(reaper: Reaper, tmp_path: Path) -> Stage:
    project = song_project(tmp_path / "Song", tracks=("Guitar", "Bass"), seconds=8.0)
    project.tracks[1].values["I_SELECTED"] = 1.0
    project.cursor, project.time_selection = 3.25, (1.5, 2.5)
    return Stage(reaper, project, tmp_path / "Song")


def run(stage: Stage, body: str) -> tuple[str, str]:
    script = stage.reaper.resource / "Change.lua"
    script.write_text(SCRIPT.format(root=ROOT.as_posix(), body=body))
    stage.reaper.run(script)
    return stage.reaper.ext_state.get("test", "ok"), stage.reaper.ext_state.get("test", "problem")


def test_selection_cursor_and_time_selection_are_as_before(stage: Stage) -> None:
    assert run(stage, CHANGES_ALL % "") == ("true", "nil")
    assert [bool(track.values["I_SELECTED"]) for track in stage.tracks] == [False, True]
    assert (stage.project.cursor, stage.project.time_selection) == (3.25, (1.5, 2.5))
    assert stage.tracks[0].name == "Renamed"
    stage.undone("Stembridge: all")


def test_after_an_error_all_is_as_before_and_no_step_is_left(stage: Stage) -> None:
    ok, problem = run(stage, CHANGES_ALL % 'error("in the middle")')
    assert ok == "false"
    assert "in the middle" in problem
    assert "stack traceback" in problem
    assert (stage.project.cursor, stage.project.time_selection) == (3.25, (1.5, 2.5))
    stage.undone()


def test_a_failure_undoes_no_step_of_the_users(stage: Stage) -> None:
    run(stage, CHANGES_ALL % "")
    after = dump(stage.project)
    run(stage, 'result(app.transaction.run(proj, "Stembridge: all", function() app.transaction.fail("No.") end))')
    assert stage.reaper.ext_state.get("test", "problem") == "No."
    assert dump(stage.project) == after
    stage.undone("Stembridge: all")


def test_a_take_that_reaper_cannot_read_leaves_nothing_half_placed(stage: Stage) -> None:
    takes = [stage.take(1, 2.0, 4.0), stage.take(2, 2.0, 4.0)]
    Path(takes[1]["file"]).write_text("no audio")
    sentence = stage.refused(stage.answer(takes))
    assert sentence.startswith(f"REAPER cannot read {takes[1]['file']}.\nThe project is as before; the takes are in\n")
    assert Path(takes[0]["file"]).is_file()
    stage.undone()


def test_a_take_that_is_gone_is_named_before_anything_changes(stage: Stage) -> None:
    takes = [stage.take(1, 2.0, 4.0), stage.take(2, 2.0, 4.0)]
    Path(takes[1]["file"]).unlink()
    assert takes[1]["file"] in stage.refused(stage.answer(takes))
    stage.undone()


@pytest.mark.parametrize(
    "function",
    ["SplitMediaItem", "AddTakeToMediaItem", "SetMediaItemTake_Source", "PCM_Source_BuildPeaks", "SetActiveTake"],
)
def test_whatever_fails_in_reaper_the_project_is_as_before(stage: Stage, function: str) -> None:
    stage.reaper.failing[function] = "the disk is full"
    sentence = stage.refused(stage.answer([stage.take(1, 2.0, 4.0)]))
    assert f"{function}: the disk is full" in sentence
    assert "The project is as before" in sentence
    assert "traceback" not in sentence
    assert str(ROOT) not in sentence
    stage.undone()
    del stage.reaper.failing[function]
    stage.place(stage.answer([stage.take(1, 2.0, 4.0)]))
    stage.undone("Stembridge: repaint bars 9-12")


def test_tracks_that_were_made_before_the_failure_go_again(stage: Stage, tmp_path: Path) -> None:
    takes = [stage.take(1, 2.0, 4.0, track="drums"), stage.take(2, 2.0, 4.0, track="bass")]
    Path(takes[1]["file"]).write_text("no audio")
    assert "REAPER cannot read" in stage.refused(stage.answer(takes, place="children", verb="complete"))
    stage.undone()


def test_the_selection_survives_new_tracks_and_pieces(stage: Stage, tmp_path: Path) -> None:
    item = add_audio(stage.tracks[1], song_file(tmp_path / "Song", "More", 4.0, 44100, 2), 20.0, B_UISEL=1.0)
    takes = [stage.take(1, 2.0, 4.0, track="drums")]
    stage.place(stage.answer(takes, place="children", verb="lego"))
    assert [track.name for track in stage.tracks if track.values["I_SELECTED"]] == ["Bass"]
    assert [one for track in stage.tracks for one in track.items if one.values["B_UISEL"]] == [item]
