"""The double of REAPER is strict: what REAPER would not forgive, or does not have, fails the test of a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reaper.lua_files import run_lua
from tests.support.reascript.errors import (
    BadCall,
    DeadPointer,
    DoesNotExist,
    NotModelled,
    ScriptError,
    Unbalanced,
    UnexpectedDialog,
)
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Item, Project, Take, Track
from tests.support.reascript.signatures import signatures, table_from_list


@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Reaper:
    host = Reaper(tmp_path / "REAPER", lua=request.param)
    item = Item(takes=[Take()])
    item.values["D_LENGTH"] = 8.0
    host.open(Project(tracks=[Track("Drums", items=[item]), Track("Bass")]))
    return host


def fault(reaper: Reaper, code: str) -> tuple[BaseException | None, str]:
    """What is wrong with the script, and the message."""
    with pytest.raises(ScriptError) as raised:
        run_lua(reaper, code)
    return raised.value.__cause__, str(raised.value)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("reaper.GetTracks(0)", DoesNotExist, "reaper.GetTracks: there is no such function"),
        ("reaper.Track_GetPeakInfo(reaper.GetTrack(0, 0), 0)", NotModelled, "Track_GetPeakInfo"),
        ("reaper.CountTracks()", BadCall, "integer = reaper.CountTracks(ReaProject): 1 arguments expected, 0 given"),
        ("reaper.CountTracks(0, 0)", BadCall, "1 arguments expected, 2 given"),
        ("reaper.GetTrack(0, '1')", BadCall, "argument 2: integer expected, not a string"),
        ("reaper.GetTrack(0, 0.5)", BadCall, "no integer representation"),
        ("reaper.GetTrack(1, 0)", BadCall, "ReaProject, 0 or nil expected"),
        ("reaper.SetTrackSelected(reaper.GetTrack(0, 0), 1)", BadCall, "boolean expected"),
        ("reaper.SetTrackSelected(reaper.GetTrack(0, 0), nil)", BadCall, "boolean expected, not nil"),
        ("reaper.GetTrackGUID(reaper.GetTrack(0, 9))", BadCall, "MediaTrack expected, not nil"),
        ("reaper.GetTrackGUID(reaper.GetMediaItem(0, 0))", BadCall, "MediaTrack expected, not a MediaItem"),
        ("reaper.SetEditCurPos2(0, 0/0, false, false)", BadCall, "nan"),
        ("reaper.SetExtState('a', 'b', 'c\\0d', false)", BadCall, "zero byte"),
        ("reaper.defer(nil)", BadCall, "function expected"),
        ("reaper.GetMediaTrackInfo_Value(reaper.GetTrack(0, 0), 'D_VOLUME')", DoesNotExist, "D_VOLUME"),
        ("reaper.GetMediaTrackInfo_Value(reaper.GetTrack(0, 0), 'I_RECMON')", NotModelled, "I_RECMON"),
        ("reaper.Main_OnCommand(40001, 0)", NotModelled, "the action 40001"),
        ("reaper.APIExists('set_action_options')", BadCall, "ask `if reaper.set_action_options then`"),
        ("reaper.MB('sure?', 'title', 4)", UnexpectedDialog, "title: sure?"),
        ("reaper.ExecProcess('stembridge serve', 0)", BadCall, "stops REAPER"),
        ("gfx.drawstring('x')", DoesNotExist, "gfx.drawstring"),
        ("gfx.rect(1, 2, 3)", BadCall, "4 to 5 arguments"),
        ("gfx.colour = 1", DoesNotExist, "gfx.colour"),
    ],
)
def test_a_call_that_the_official_list_does_not_allow_fails(
    reaper: Reaper, code: str, kind: type[Exception], words: str
) -> None:
    cause, message = fault(reaper, f"local a = 1\n{code}")
    assert isinstance(cause, kind)
    assert words in message
    assert "test.lua:2:" in message  # Lua's traceback


def test_a_fault_that_the_script_catches_fails_all_the_same(reaper: Reaper) -> None:
    cause, message = fault(reaper, "pcall(reaper.CountTracks)\nlocal ok = pcall(function() reaper.Foo() end)")
    assert isinstance(cause, BadCall)
    assert "CountTracks" in message


def test_an_error_of_the_scripts_own_surfaces_with_its_traceback(reaper: Reaper) -> None:
    _, message = fault(reaper, "local function inner()\n  local t = nil\n  t.x = 1\nend\ninner()")
    assert "test.lua:3: attempt to index" in message
    assert "test.lua:5: in main chunk" in message


def test_a_syntax_error_surfaces(reaper: Reaper) -> None:
    assert "test.lua:1:" in fault(reaper, "local = 1")[1]


def test_a_script_may_catch_an_error_that_the_test_plans(reaper: Reaper) -> None:
    reaper.failing["CountTracks"] = "out of memory"
    run_lua(reaper, "local ok, e = pcall(reaper.CountTracks, 0)\nassert(not ok and e:find('out of memory'))")
    assert "out of memory" in fault(reaper, "reaper.CountTracks(0)")[1]


@pytest.mark.parametrize("code", ["x = 1", "function go() end", "reaper.x = 1", "_G['x'] = 1"])
def test_no_global_may_be_written(reaper: Reaper, code: str) -> None:
    assert "written" in fault(reaper, code)[1].replace("must not write", "written")


def test_an_extensions_function_is_nil_and_so_is_one_of_a_newer_reaper(reaper: Reaper, tmp_path: Path) -> None:
    run_lua(reaper, "assert(reaper.JS_Dialog_BrowseForFolder == nil and not reaper.APIExists('BR_EnvAlloc'))")
    run_lua(reaper, "assert(reaper.set_action_options and reaper.APIExists('InsertTrackInProject'))")
    old = Reaper(tmp_path / "old", lua="5.3", version="6.83/x64")
    old.open(Project())
    run_lua(old, "assert(not reaper.set_action_options and not reaper.APIExists('InsertTrackInProject'))")


def test_a_pointer_is_one_userdata_that_equals_itself_and_serves_as_a_key(reaper: Reaper) -> None:
    run_lua(
        reaper,
        """
        local track = reaper.GetTrack(0, 0)
        local seen = { [track] = true }
        local again = reaper.GetMediaItemTrack(reaper.GetTrackMediaItem(reaper.GetTrack(nil, 0), 0))
        assert(type(track) == "userdata" and track == again and rawequal(track, again) and seen[again])
        assert(track ~= reaper.GetTrack(0, 1) and not seen[reaper.GetTrack(0, 1)])
        assert(reaper.GetTrack(0, 2) == nil and tostring(track):find("^userdata: 0x%x+$"))
        assert(not pcall(function() return track.name end))
        """,
    )


def test_a_pointer_to_what_was_deleted_raises_and_validates_as_false(reaper: Reaper) -> None:
    deleted = """
        local track, item = reaper.GetTrack(0, 0), reaper.GetMediaItem(0, 0)
        assert(reaper.ValidatePtr2(0, item, "MediaItem*") and reaper.ValidatePtr2(0, track, "MediaTrack*"))
        assert(not reaper.ValidatePtr2(0, item, "MediaTrack*"))
        reaper.DeleteTrack(track)
        assert(not reaper.ValidatePtr2(0, item, "MediaItem*") and not reaper.ValidatePtr2(0, track, "MediaTrack*"))
    """
    run_lua(reaper, deleted)
    reaper.undo()
    cause, message = fault(reaper, deleted + "reaper.GetTrackGUID(track)")
    assert isinstance(cause, DeadPointer)
    assert "this MediaTrack was deleted" in message


def test_a_pointer_is_not_valid_in_another_project_and_a_closed_tab_is_dead(reaper: Reaper) -> None:
    first = reaper.active
    second = reaper.open(Project())
    script = run_lua(
        reaper,
        """
        local first, second = reaper.EnumProjects(0), reaper.EnumProjects(1)
        assert(reaper.EnumProjects(-1) == second and reaper.EnumProjects(2) == nil)
        local track = reaper.GetTrack(first, 0)
        assert(reaper.ValidatePtr2(first, track, "MediaTrack*") and not reaper.ValidatePtr2(0, track, "MediaTrack*"))
        reaper.defer(function()
          assert(not reaper.ValidatePtr2(0, first, "ReaProject*") and reaper.ValidatePtr2(0, second, "ReaProject*"))
          reaper.CountTracks(first)
        end)
        """,
    )
    assert reaper.running == [script]
    reaper.close(first)
    with pytest.raises(ScriptError, match="this ReaProject was deleted"):
        reaper.pump()
    assert (reaper.projects, reaper.running) == ([second], [])


def test_integers_floats_strings_and_nil_keep_their_lua_types(reaper: Reaper) -> None:
    run_lua(
        reaper,
        r"""
        assert(math.type(reaper.CountTracks(0)) == "integer")
        assert(math.type(reaper.GetMediaItemInfo_Value(reaper.GetMediaItem(0, 0), "D_LENGTH")) == "float")
        assert(select("#", reaper.UpdateArrange()) == 0 and select("#", reaper.GetTrack(0, 9)) == 1)
        local name = "Ges\xC3\xA4nge \xFF"
        local _, stored = reaper.GetSetMediaTrackInfo_String(reaper.GetTrack(0, 0), "P_NAME", name, true)
        assert(stored == name)
        assert(reaper.ReverseNamedCommandLookup(40001) == nil)
        """,
    )
    assert reaper.active.tracks[0].name == "Gesänge \udcff"


def test_a_script_sees_its_own_file_and_may_load_others(reaper: Reaper) -> None:
    folder = reaper.resource / "Scripts" / "Gesänge ü"
    folder.mkdir(parents=True)
    (folder / "part.lua").write_text("return ...", encoding="utf-8")
    code = """
        local here = debug.getinfo(1, "S").source:match("^@(.*[/\\\\])")
        assert(dofile(here .. "part.lua") == nil)
        local _, file = reaper.get_action_context()
        assert(file == here .. "whole.lua")
        assert(string.pack("<f", 1):len() == 4 and _VERSION == "Lua %s")
    """
    run_lua(reaper, code % reaper.lua, "Gesänge ü/whole.lua")


def test_a_missing_model_is_told_from_a_function_that_cannot_be() -> None:
    assert len(signatures()) > 700
    assert str(signatures()["TimeMap2_timeToBeats"]) == (
        "number, integer?, integer?, number?, integer? = reaper.TimeMap2_timeToBeats(ReaProject, number)"
    )


def test_the_table_of_functions_is_made_from_the_list() -> None:
    lines = [
        "# comment",
        "EnumProjects\tcore\tReaProject rv, optional string projfn = reaper.EnumProjects(integer idx)",
        "JS_Byte\text\tinteger rv = reaper.JS_Byte(userdata pointer, integer offset)",
        "new_array\tcore\treaper.array arr = reaper.new_array(optional table table, optional integer size)",
        "reaper.array.resize\tcore\tarr.resize(integer size)",
        "UpdateArrange\tcore\treaper.UpdateArrange()",
    ]
    assert table_from_list(lines).splitlines()[1:] == [
        "EnumProjects\tcore\tinteger\tReaProject,string?",
        "new_array\tcore\ttable?,integer?\treaper.array",
        "UpdateArrange\tcore\t\t",
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("reaper.PreventUIRefresh(1)", "PreventUIRefresh stands at 1"),
        ("reaper.PreventUIRefresh(-1)", "let go more often"),
        ("reaper.Undo_BeginBlock2(0)", "an undo block is still open at the end of a cycle"),
        ("reaper.Undo_BeginBlock2(0) reaper.defer(function() reaper.Undo_EndBlock2(0, 'x', -1) end)", "still open"),
        ("reaper.Undo_BeginBlock2(0) reaper.Undo_BeginBlock2(0)", "inside another one"),
        ("reaper.Undo_EndBlock2(0, 'x', -1)", "none began"),
        ("reaper.Undo_BeginBlock2(0) reaper.Undo_EndBlock2(0, 'x', 0)", "use -1"),
    ],
)
def test_undo_blocks_and_held_drawing_must_balance(reaper: Reaper, code: str, words: str) -> None:
    cause, message = fault(reaper, code)
    assert isinstance(cause, Unbalanced | BadCall)
    assert words in message


def test_the_check_at_the_end_finds_changed_render_settings_and_forgotten_accessors(reaper: Reaper) -> None:
    reaper.check()
    run_lua(reaper, "reaper.GetSetProjectInfo(0, 'RENDER_CHANNELS', 1, true)")
    with pytest.raises(Unbalanced, match=r"RENDER_CHANNELS.*2\.0, 1\.0"):
        reaper.check()
    run_lua(reaper, "reaper.GetSetProjectInfo(0, 'RENDER_CHANNELS', 2, true)")
    reaper.check()
    run_lua(reaper, "reaper.CreateTrackAudioAccessor(reaper.GetTrack(0, 0))")
    with pytest.raises(Unbalanced, match="accessors"):
        reaper.check()
