"""The double's windows, dialogs, stored values and folders behave as a user's REAPER does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reaper.lua_files import run_lua
from tests.support.reascript.errors import BadCall, ScriptError, UnexpectedDialog
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project

WINDOW = """
    gfx.init("Jobs", 200, 80)
    local pressed = 0
    local function loop()
      local key = gfx.getchar()
      if key == -1 or key == 27 then return end
      gfx.set(0.9, 0.8, 0.7)
      gfx.setfont(1, "Arial", 20)
      gfx.x, gfx.y = 10, 30
      gfx.drawstr("Cancel")
      local width, height = gfx.measurestr("Cancel")
      assert(gfx.x == 10 + width and gfx.texth == height)
      gfx.rect(10, 60, 100, 5, 1)
      gfx.update()
      local inside = gfx.mouse_x >= 10 and gfx.mouse_x < 10 + width and gfx.mouse_y >= 30 and gfx.mouse_y < 30 + height
      if gfx.mouse_cap & 1 == 1 and inside then pressed = pressed + 1 end
      reaper.SetExtState("test", "pressed", tostring(pressed), false)
      reaper.defer(loop)
    end
    loop()
"""


@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Reaper:
    host = Reaper(tmp_path / "REAPER", lua=request.param)
    host.open(Project())
    return host


def test_a_test_finds_a_button_by_its_text_and_clicks_it(reaper: Reaper) -> None:
    run_lua(reaper, WINDOW)
    (window,) = reaper.windows
    button = window.find("Cancel")
    assert (window.title, window.strings, window.rects) == ("Jobs", ["Cancel"], [(10.0, 60.0, 100.0, 5.0)])
    assert (button.x, button.y, button.height, button.color) == (10.0, 30.0, 20.0, (0.9, 0.8, 0.7))
    reaper.pump(3)
    assert reaper.ext_state.get("test", "pressed") == "0"
    window.click("Cancel")
    assert reaper.ext_state.get("test", "pressed") == "1"
    window.click_at(180.0, 5.0)
    assert reaper.ext_state.get("test", "pressed") == "1"
    with pytest.raises(AssertionError, match=r"'Stop' is not drawn.*Cancel"):
        window.click("Stop")


def test_a_window_takes_the_focus_until_it_is_given_back(reaper: Reaper) -> None:
    run_lua(reaper, WINDOW)
    assert reaper.focus == "gfx"
    run_lua(reaper, "assert(reaper.GetCursorContext() == -1) reaper.SetCursorContext(1, nil)", "b.lua")
    assert reaper.focus == "arrange"


@pytest.mark.parametrize("how", ["escape", "user", "end"])
def test_a_window_is_gone_when_the_user_closes_it_or_its_script_ends(reaper: Reaper, how: str) -> None:
    script = run_lua(reaper, WINDOW)
    (window,) = reaper.windows
    if how == "escape":
        window.press(27)
    elif how == "user":
        window.close_by_user()
    else:
        script.terminate()
    reaper.pump()
    assert (reaper.windows, reaper.running, window.is_open, reaper.focus) == ([], [], False, "arrange")


def test_dialogs_are_answered_by_the_test_in_order(reaper: Reaper) -> None:
    reaper.answers.boxes = [6]
    reaper.answers.user_inputs = [["Am", "calm, slow"], None]
    run_lua(
        reaper,
        r"""
        assert(reaper.MB("Save it now?", "Stembridge", 4) == 6)
        local ok, values = reaper.GetUserInputs("Song", 2, "Key,Prompt,extrawidth=200,separator=\n", "C\nbright")
        assert(ok and values == "Am\ncalm, slow")
        local again, kept = reaper.GetUserInputs("Song", 2, "Key,Prompt", "C,bright")
        assert(not again and kept == "C,bright")
        """,
    )
    assert reaper.shown == ["Save it now?"]
    assert reaper.inputs_shown[0] == ("Song", ["Key", "Prompt"], ["C", "bright"])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ("don't,7", ["don't,7", ""]),
        ('"a,b",7', ['"a,b"', "7"]),
        ("(a,7", ["(a,7", ""]),
        ("a (b),7", ["a (b)", "7"]),
    ],
)
def test_a_dialog_sees_no_separator_inside_quotes_and_brackets(reaper: Reaper, values: str, shown: list[str]) -> None:
    reaper.answers.user_inputs = [None]
    run_lua(reaper, f"reaper.GetUserInputs('Song', 2, 'Key,Seed', [[{values}]])")
    assert reaper.inputs_shown[0][2] == shown


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("reaper.GetUserInputs('Song', 1, 'Key', '')", UnexpectedDialog),
        ("reaper.Main_SaveProject(0, false)", UnexpectedDialog),
        ("reaper.MB('x', 'y', 0)", BadCall),  # the planned answer is no button of it
        ("reaper.GetUserInputs('Song', 2, 'Key', '')", BadCall),
        ("reaper.GetUserInputs('Song', 17, 'Key', '')", BadCall),
    ],
)
def test_a_dialog_that_nobody_expects_or_that_cannot_be_fails(reaper: Reaper, code: str, kind: type[Exception]) -> None:
    reaper.answers.boxes = [6]
    with pytest.raises(ScriptError) as raised:
        run_lua(reaper, code)
    assert isinstance(raised.value.__cause__, kind)


def test_stored_values_have_names_without_case_and_one_line_and_some_outlive_reaper(reaper: Reaper) -> None:
    run_lua(
        reaper,
        r"""
        reaper.SetExtState("Stembridge", "Window", " ü 1 = 2 ; ", true)
        reaper.SetExtState("Stembridge", "instance", "abc", false)
        reaper.SetExtState("Stembridge", "lines", "one\ntwo", false)
        assert(reaper.GetExtState("STEMBRIDGE", "window") == " ü 1 = 2 ; ")
        assert(reaper.GetExtState("stembridge", "lines") == "one")
        assert(reaper.HasExtState("stembridge", "instance") and not reaper.HasExtState("stembridge", "x"))
        reaper.SetExtState("stembridge", "gone", "1", true)
        reaper.DeleteExtState("stembridge", "gone", true)
        """,
    )
    again = Reaper(reaper.resource, lua=reaper.lua)
    again.open(Project())
    run_lua(
        again,
        """
        assert(reaper.GetExtState("Stembridge", "Window") == " ü 1 = 2 ; ")
        assert(reaper.GetExtState("Stembridge", "instance") == "" and not reaper.HasExtState("Stembridge", "gone"))
        """,
    )


def test_a_new_file_is_not_seen_until_the_listing_is_flushed(reaper: Reaper, tmp_path: Path) -> None:
    folder = tmp_path / "Gesänge ü"
    run_lua(
        reaper,
        f"""
        local folder = "{folder}"
        assert(reaper.RecursiveCreateDirectory(folder, 0) == 1 and reaper.RecursiveCreateDirectory(folder, 0) == 0)
        assert(reaper.EnumerateFiles(folder, 0) == nil)
        assert(not reaper.file_exists(folder .. "/a.json"))
        io.open(folder .. "/a.json", "w"):close()
        assert(reaper.file_exists(folder .. "/a.json") and not reaper.file_exists(folder))
        assert(reaper.EnumerateFiles(folder, 0) == nil)
        reaper.EnumerateFiles(folder, -1)
        assert(reaper.EnumerateFiles(folder, 0) == "a.json" and reaper.EnumerateFiles(folder, 1) == nil)
        assert(reaper.EnumerateSubdirectories(folder, 0) == nil)
        assert(reaper.EnumerateFiles(folder .. "/none", 0) == nil)
        """,
    )


def test_facts_about_the_program_are_those_of_the_system(tmp_path: Path) -> None:
    for version, system, red in [
        ("7.28/linux-x86_64", "Other", 0xFF0000),
        ("7.28/x64", "Win64", 0x0000FF),
        ("7.28/macOS-arm64", "macOS-arm64", 0xFF0000),
    ]:
        reaper = Reaper(tmp_path / system, version=version)
        reaper.open(Project())
        run_lua(
            reaper,
            f"""
            assert(reaper.GetAppVersion() == "{version}" and reaper.GetOS() == "{system}")
            assert(reaper.ColorToNative(255, 0, 0) == {red} and select("#", reaper.ColorFromNative({red})) == 3)
            assert(reaper.ColorFromNative({red}) == 255)
            assert(reaper.format_timestr_pos(1.5, "", 4) == "66150")
            """,
        )
