"""The double changes projects as REAPER does, and undo takes back exactly what a block changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reaper.lua_files import run_lua
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Item, Project, Take, Track
from tests.support.reascript.rpp import dump


@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Reaper:
    host = Reaper(tmp_path / "REAPER", lua=request.param)
    item = Item(takes=[Take(name="first")])
    item.values["D_LENGTH"] = 8.0
    item.takes[0].values["D_PLAYRATE"] = 2.0
    host.open(Project(tracks=[Track("Drums", items=[item]), Track("Bass")]))
    return host


IN_A_BLOCK = "reaper.Undo_BeginBlock2(0) {} reaper.Undo_EndBlock2(0, 'change', -1) reaper.defer(function() end)"

CHANGES = [
    "reaper.DeleteTrack(reaper.GetTrack(0, 0))",
    "reaper.InsertTrackAtIndex(0, false)",
    "reaper.SplitMediaItem(reaper.GetMediaItem(0, 0), 3)",
    "reaper.AddTakeToMediaItem(reaper.GetMediaItem(0, 0))",
    "reaper.DeleteTrackMediaItem(reaper.GetTrack(0, 0), reaper.GetMediaItem(0, 0))",
    "reaper.MoveMediaItemToTrack(reaper.GetMediaItem(0, 0), reaper.GetTrack(0, 1))",
    "reaper.SetMediaItemInfo_Value(reaper.GetMediaItem(0, 0), 'D_VOL', 0.5)",
    "reaper.GetSetMediaItemTakeInfo_String(reaper.GetTake(reaper.GetMediaItem(0, 0), 0), 'P_EXT:a', 'b', true)",
    "reaper.AddProjectMarker2(0, true, 1, 2, 'key=Am', -1, 0)",
    "reaper.SetProjExtState(0, 'Stembridge', 'key', 'Am')",
]


@pytest.mark.parametrize("change", CHANGES)
def test_undo_brings_every_byte_back_and_redo_the_change(reaper: Reaper, change: str) -> None:
    project = reaper.active
    before, tracks, item = dump(project), list(project.tracks), project.tracks[0].items[0]
    run_lua(reaper, IN_A_BLOCK.format(change))
    after = dump(project)
    assert after != before
    assert (project.undo_names, project.dirty) == (["change"], True)

    assert reaper.undo(project) == "change"
    assert dump(project) == before
    assert project.tracks == tracks
    assert all(record.alive for record in (*tracks, item, *item.takes))
    assert reaper.redo(project) == "change"
    assert dump(project) == after
    assert reaper.undo(project) == "change"
    assert reaper.undo(project) is None


def test_a_block_that_changes_nothing_makes_no_step_and_looking_around_is_no_change(reaper: Reaper) -> None:
    looking = "reaper.SetEditCurPos2(0, 4, false, false) reaper.GetSet_LoopTimeRange2(0, true, false, 1, 2, false)"
    run_lua(reaper, IN_A_BLOCK.format(looking))
    assert reaper.active.undo_names == []
    assert (reaper.active.cursor, reaper.active.time_selection) == (4.0, (1.0, 2.0))


def test_what_undo_takes_away_is_dead(reaper: Reaper) -> None:
    run_lua(reaper, IN_A_BLOCK.format("reaper.AddTakeToMediaItem(reaper.AddMediaItemToTrack(reaper.GetTrack(0, 1)))"))
    item = reaper.active.tracks[1].items[0]
    reaper.undo()
    assert not item.alive
    assert not item.takes[0].alive


def test_scripts_can_ask_for_undo_themselves(reaper: Reaper) -> None:
    count = reaper.history(reaper.active).changes
    run_lua(
        reaper,
        IN_A_BLOCK.format("reaper.DeleteTrack(reaper.GetTrack(0, 1))")
        + """
        assert(reaper.Undo_CanUndo2(0) == "change" and reaper.Undo_CanRedo2(0) == nil)
        assert(reaper.Undo_DoUndo2(0) == 1 and reaper.CountTracks(0) == 2 and reaper.Undo_CanRedo2(0) == "change")
        assert(reaper.Undo_DoUndo2(0) == 0)
        """,
    )
    assert reaper.history(reaper.active).changes == count + 2


def test_a_split_shares_time_and_source_position_between_two_items(reaper: Reaper) -> None:
    run_lua(reaper, "assert(reaper.SplitMediaItem(reaper.GetMediaItem(0, 0), 8) == nil)")
    run_lua(reaper, "assert(reaper.SplitMediaItem(reaper.GetMediaItem(0, 0), 3))")
    left, right = reaper.active.tracks[0].items
    assert (left.position, left.length, right.position, right.length) == (0.0, 3.0, 3.0, 5.0)
    assert right.takes[0].values["D_STARTOFFS"] == 6.0  # at playback rate 2
    assert left.values["D_FADEINLEN"] == right.values["D_FADEOUTLEN"] == 0.01  # the outer fades stay
    assert left.values["D_FADEOUTLEN"] == right.values["D_FADEINLEN"] == 0.0
    assert len({left.guid, right.guid, left.takes[0].guid, right.takes[0].guid}) == 4


def test_a_split_with_the_crossfade_preference_overlaps_and_fades(reaper: Reaper) -> None:
    reaper.split_crossfade_s = 0.02
    run_lua(reaper, "reaper.SplitMediaItem(reaper.GetMediaItem(0, 0), 3)")
    left, right = reaper.active.tracks[0].items
    assert left.end == pytest.approx(3.01)
    assert right.position == pytest.approx(2.99)
    assert right.end == pytest.approx(8.0)
    assert left.values["D_FADEOUTLEN_AUTO"] == right.values["D_FADEINLEN_AUTO"] == pytest.approx(0.02)


def test_items_are_listed_by_time_and_takes_by_age(reaper: Reaper) -> None:
    run_lua(
        reaper,
        """
        local track = reaper.GetTrack(0, 0)
        local first, late = reaper.GetTrackMediaItem(track, 0), reaper.AddMediaItemToTrack(track)
        reaper.SetMediaItemInfo_Value(late, "D_POSITION", 9)
        assert(reaper.GetTrackMediaItem(track, 1) == late)
        reaper.SetMediaItemInfo_Value(first, "D_POSITION", 10)
        assert(reaper.GetTrackMediaItem(track, 0) == late)
        assert(reaper.GetMediaItemInfo_Value(first, "IP_ITEMNUMBER") == 1)
        local take = reaper.AddTakeToMediaItem(first)
        assert(reaper.CountTakes(first) == 2 and reaper.GetTake(first, 1) == take)
        assert(reaper.GetActiveTake(first) ~= take)
        reaper.SetActiveTake(take)
        assert(reaper.GetActiveTake(first) == take and reaper.GetMediaItemInfo_Value(first, "I_CURTAKE") == 1)
        reaper.SetMediaItemSelected(first, true)
        reaper.Main_OnCommand(40129, 0)
        assert(reaper.CountTakes(first) == 1 and not reaper.ValidatePtr2(0, take, "MediaItem_Take*"))
        """,
    )


def test_folders_give_parents_and_depths(reaper: Reaper) -> None:
    drums, bass = reaper.active.tracks
    reaper.open(Project(tracks=[Track("folder"), Track("child"), drums, Track("after")]))
    for track, depth in zip(reaper.active.tracks, (1.0, 1.0, -2.0, 0.0), strict=True):
        track.values["I_FOLDERDEPTH"] = depth
    run_lua(
        reaper,
        """
        local function parent(i) return reaper.GetParentTrack(reaper.GetTrack(0, i)) end
        assert(parent(0) == nil and parent(1) == reaper.GetTrack(0, 0) and parent(2) == reaper.GetTrack(0, 1))
        assert(parent(3) == nil and reaper.GetTrackDepth(reaper.GetTrack(0, 2)) == 2)
        assert(reaper.GetMediaTrackInfo_Value(reaper.GetTrack(0, 2), "IP_TRACKNUMBER") == 3)
        assert(reaper.GetMediaTrackInfo_Value(reaper.GetMasterTrack(0), "IP_TRACKNUMBER") == -1)
        """,
    )
    assert bass.alive


def test_an_unsaved_project_has_a_recording_path_and_saving_it_asks_for_a_file(reaper: Reaper, tmp_path: Path) -> None:
    run_lua(reaper, "assert(select(2, reaper.EnumProjects(-1)) == '' and reaper.GetProjectPathEx(0) ~= '')")
    target = tmp_path / "Gesänge ü" / "Lied.rpp"
    reaper.answers.saves = [None, target]
    save = "reaper.Main_SaveProject(0, false)"
    run_lua(reaper, save + " assert(reaper.GetProjectName(0) == '')")
    run_lua(reaper, save + " assert(reaper.GetProjectName(0) == 'Lied.rpp' and reaper.IsProjectDirty(0) == 0)")
    run_lua(reaper, f"assert(reaper.GetProjectPathEx(0) == '{target.parent}/Media')")
    assert target.read_text(encoding="utf-8") == dump(reaper.active)


def test_regions_and_project_state_are_stored_by_name_without_case(reaper: Reaper) -> None:
    run_lua(
        reaper,
        """
        assert(reaper.AddProjectMarker2(0, true, 4, 8, "Verse key=Am", -1, 0) == 1)
        assert(reaper.AddProjectMarker2(0, false, 2, 0, "start", 7, 0) == 7)
        local next, is_region, from, to, name, number = reaper.EnumProjectMarkers3(0, 1)
        assert(next == 2 and is_region and from == 4 and to == 8 and name == "Verse key=Am" and number == 1)
        assert(reaper.EnumProjectMarkers3(0, 2) == 0 and select(3, reaper.CountProjectMarkers(0)) == 1)
        local marker, region = reaper.GetLastMarkerAndCurRegion(0, 5)
        assert(marker == 0 and region == 1)
        assert(reaper.SetProjExtState(0, "Stembridge", "Key", "Am\\nF") == 1)
        local found, value = reaper.GetProjExtState(0, "STEMBRIDGE", "key")
        assert(found == 1 and value == "Am\\nF" and reaper.GetProjExtState(0, "other", "key") == 0)
        assert(reaper.SetProjExtState(0, "Stembridge", "key", "") == 0)
        """,
    )
    assert reaper.active.ext_state == {}
