"""What the user has selected reaches the daemon to the sample, or the user hears what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.lua_modules import ask, select, select_time
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project
from tests.support.reascript.projects import add_audio, add_track, song_project

CAPTURE = """
local capture, sentence = app.selection.capture("%s")
if not capture then return nil, sentence end
local function guids(list, of)
  local found = app.json.array({})
  for i, value in ipairs(list) do found[i] = of(value) end
  return found
end
capture.proj = nil
capture.tracks = guids(capture.tracks, app.tracks.name)
capture.items = guids(capture.items, function(item)
  return reaper.GetMediaItemInfo_Value(item, "D_POSITION")
end)
return capture, nil
"""


def capture(reaper: Reaper, verb: str = "repaint") -> dict[str, Any]:
    found, sentence = ask(reaper, CAPTURE % verb)
    assert sentence is None
    return dict(found)


def refusal(reaper: Reaper, verb: str = "repaint") -> str:
    found, sentence = ask(reaper, CAPTURE % verb)
    assert found is None
    return str(sentence)


def opened(reaper: Reaper, tmp_path: Path, **changes: Any) -> Project:
    return reaper.open(song_project(tmp_path / "song", **changes))


def test_a_time_selection_is_snapped_to_the_sample_of_the_project(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path)
    select(project, 0)
    select_time(project, 16.0 + 0.4 / 44100, 24.0 + 0.6 / 44100)
    found = capture(reaper)
    assert (found["start_frame"], found["end_frame"], found["rate"]) == (705600, 1058401, 44100)
    assert (found["start_s"], found["end_s"]) == (705600 / 44100, 1058401 / 44100)
    assert (found["how"], found["tracks"], found["items"]) == ("time", ["Guitar"], [0.0])
    assert found["file"] == str(project.path)
    assert found["media"] == str(tmp_path / "song" / "Media")


def test_the_rate_is_the_projects_own_else_the_devices(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path)
    project.values["PROJECT_SRATE"] = 96000.0
    assert ask(reaper, "return app.selection.rate((reaper.EnumProjects(-1)))") == [96000]
    project.values["PROJECT_SRATE_USE"] = 0.0
    reaper.audio_device["SRATE"] = "88200"
    assert ask(reaper, "return app.selection.rate((reaper.EnumProjects(-1)))") == [88200]


def test_a_time_selection_comes_before_razor_edits_and_these_before_items(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, tracks=("Guitar", "Bass"))
    select(project, 0)
    select_time(project, 2.0, 4.0)
    project.tracks[1].strings["P_RAZOREDITS"] = '6.0 8.0 ""'
    project.tracks[0].items[0].values["B_UISEL"] = 1.0
    assert (capture(reaper)["how"], capture(reaper)["tracks"]) == ("time", ["Guitar"])
    select_time(project, 0.0, 0.0)
    razor = capture(reaper)
    assert (razor["how"], razor["tracks"], razor["start_s"], razor["end_s"]) == ("razor", ["Bass"], 6.0, 8.0)
    project.tracks[1].strings["P_RAZOREDITS"] = ""
    items = capture(reaper)
    assert (items["how"], items["tracks"], items["start_s"], items["end_s"]) == ("items", ["Guitar"], 0.0, 48.0)


def test_razor_edits_of_several_tracks_are_one_stretch_and_those_of_envelopes_none(
    reaper: Reaper, tmp_path: Path
) -> None:
    project = opened(reaper, tmp_path, tracks=("Guitar", "Bass", "Keys"))
    project.tracks[0].strings["P_RAZOREDITS"] = '6.0 8.0 "" 30.0 31.0 "{0C3A2B8E-0000-4000-8000-000000000001}"'
    project.tracks[1].strings["P_RAZOREDITS"] = '7.5 9.25 ""'
    project.tracks[2].strings["P_RAZOREDITS"] = '1.0 2.0 "{0C3A2B8E-0000-4000-8000-000000000002}"'
    found = capture(reaper)
    assert (found["tracks"], found["start_s"], found["end_s"]) == (["Guitar", "Bass"], 6.0, 9.25)


def test_razor_edits_with_a_gap_are_refused_since_the_gap_was_not_selected(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path)
    project.tracks[0].strings["P_RAZOREDITS"] = '6.0 8.0 "" 12.0 14.0 ""'
    assert refusal(reaper).startswith("The razor edits do not cover one stretch of time.")


def test_without_a_selected_track_the_selected_items_inside_name_the_tracks(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, tracks=("Guitar", "Bass", "Keys"), seconds=10.0)
    for track in project.tracks[1:]:
        track.items[0].values["B_UISEL"] = 1.0
    project.tracks[2].items[0].values["D_POSITION"] = 20.0
    select_time(project, 2.0, 4.0)
    assert capture(reaper)["tracks"] == ["Bass"]


def test_without_track_and_item_the_razor_names_the_tracks(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, tracks=("Guitar", "Bass"))
    project.tracks[1].strings["P_RAZOREDITS"] = '6.0 8.0 ""'
    select_time(project, 2.0, 4.0)
    assert capture(reaper)["tracks"] == ["Bass"]


def test_selected_items_are_captured_as_their_whole_span(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, seconds=10.0)
    source = project.tracks[0].items[0].takes[0].source
    assert source is not None
    other = add_audio(project.tracks[0], source.path, 14.0, 2.0)
    other.track = project.tracks[0]
    for item in project.tracks[0].items:
        item.values["B_UISEL"] = 1.0
    found = capture(reaper)
    assert (found["start_frame"], found["end_frame"], found["items"]) == (0, 16 * 44100, [0.0, 14.0])


def test_a_selection_without_items_is_captured(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, seconds=10.0)
    select(project, 0)
    select_time(project, 20.0, 24.0)
    assert capture(reaper)["items"] == []


def test_items_that_only_touch_the_selection_are_not_in_it(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, seconds=10.0)
    select(project, 0)
    select_time(project, 10.0, 12.0)
    assert capture(reaper)["items"] == []


def test_nothing_selected_is_told_with_the_ways_to_select(reaper: Reaper, tmp_path: Path) -> None:
    opened(reaper, tmp_path)
    assert refusal(reaper).startswith("Nothing is selected. Make a time selection")


@pytest.mark.parametrize(("verb", "needs"), [("repaint", True), ("extend", True), ("prepend", True),
                                             ("complete", False), ("lego", False), ("extract", False)])  # fmt: skip
def test_only_what_joins_a_track_needs_one(reaper: Reaper, tmp_path: Path, verb: str, needs: bool) -> None:
    project = opened(reaper, tmp_path)
    select_time(project, 4.0, 8.0)
    if needs:
        assert refusal(reaper, verb).startswith("No track is selected. Select the track")
    else:
        assert capture(reaper, verb)["tracks"] == []


@pytest.mark.parametrize(
    ("end_s", "told"),
    [(4.04, "The selection is shorter than 0.05 s."), (604.1, "The selection is 600.1 s long. Select at most 600 s")],
)
def test_a_selection_too_short_or_too_long_is_told(reaper: Reaper, tmp_path: Path, end_s: float, told: str) -> None:
    project = opened(reaper, tmp_path)
    select(project, 0)
    select_time(project, 4.0, end_s)
    assert refusal(reaper).startswith(told)


@pytest.mark.parametrize("how", ["time", "razor", "items"])
def test_what_is_selected_before_the_start_of_the_project_is_left_out(reaper: Reaper, tmp_path: Path, how: str) -> None:
    project = opened(reaper, tmp_path)
    select(project, 0)
    item = project.tracks[0].items[0]
    if how == "time":
        select_time(project, -3.0, 2.0)
    elif how == "razor":
        project.tracks[0].strings["P_RAZOREDITS"] = '-3.0 2.0 ""'
    else:
        item.values.update(D_POSITION=-3.0, D_LENGTH=5.0, B_UISEL=1.0)
    found = capture(reaper)
    assert (found["how"], found["start_frame"], found["end_frame"], found["start_s"]) == (how, 0, 88200, 0.0)


def test_more_tracks_than_the_daemon_takes_are_told(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path)
    for number in range(64):
        add_track(project, f"Track {number}")
    select(project, *range(65))
    select_time(project, 4.0, 8.0)
    assert refusal(reaper, "complete").startswith("65 tracks are selected. Select at most 64")
    select(project, *range(64))
    assert len(capture(reaper, "complete")["tracks"]) == 64


def test_the_shortest_and_the_longest_selection_are_taken(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path)
    select(project, 0)
    for start_s, end_s in ((4.0, 4.05), (4.0, 604.0)):
        select_time(project, start_s, end_s)
        assert capture(reaper)["end_frame"] == round(end_s * 44100)


def test_an_unsaved_project_is_saved_when_the_user_agrees(reaper: Reaper, tmp_path: Path) -> None:
    project = opened(reaper, tmp_path, saved=False)
    select(project, 0)
    select_time(project, 4.0, 8.0)
    file = tmp_path / "song" / "New.rpp"
    reaper.answers.boxes, reaper.answers.saves = [6], [file]
    found = capture(reaper)
    assert (found["file"], found["media"]) == (str(file), str(tmp_path / "song" / "Media"))
    assert file.exists()


@pytest.mark.parametrize(("box", "saves"), [(7, []), (6, [None])], ids=["refused", "cancelled"])
def test_a_project_that_stays_unsaved_is_not_worked_on(
    reaper: Reaper, tmp_path: Path, box: int, saves: list[Path | None]
) -> None:
    project = opened(reaper, tmp_path, saved=False)
    select(project, 0)
    select_time(project, 4.0, 8.0)
    reaper.answers.boxes, reaper.answers.saves = [box], list(saves)
    assert refusal(reaper).startswith("The project must be saved first")
    assert reaper.answers.saves == []
