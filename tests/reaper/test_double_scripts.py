"""The double runs scripts as REAPER does: later, one after the other, until nothing is deferred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reaper.lua_files import run_lua
from tests.support.reascript.errors import NotModelled, ScriptError, UnexpectedDialog
from tests.support.reascript.host import Clock, Reaper
from tests.support.reascript.model import Project

COUNT = """
    local cycles = 0
    local function loop()
      cycles = cycles + 1
      reaper.SetExtState("test", "cycles", tostring(cycles), false)
      if cycles < 3 then reaper.defer(loop) end
    end
    reaper.atexit(function() reaper.SetExtState("test", "ended", "yes", false) end)
    reaper.defer(loop)
"""


@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Reaper:
    host = Reaper(tmp_path / "REAPER", lua=request.param)
    host.open(Project())
    return host


def state(reaper: Reaper, key: str) -> str:
    return reaper.ext_state.get("test", key)


def test_a_deferred_function_runs_in_the_next_cycle_and_the_script_ends_when_none_is_left(reaper: Reaper) -> None:
    script = run_lua(reaper, COUNT)
    assert state(reaper, "cycles") == ""
    reaper.pump()
    assert (state(reaper, "cycles"), state(reaper, "ended"), reaper.running) == ("1", "", [script])
    reaper.pump(2)
    assert (state(reaper, "cycles"), state(reaper, "ended"), reaper.running) == ("3", "yes", [])
    reaper.pump()
    assert state(reaper, "cycles") == "3"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("local function loop() reaper.defer(loop()) end loop()", "stack overflow"),
        ("for _ = 1, 1025 do reaper.defer(function() end) end", "more than 1024"),
        ("reaper.atexit(function() reaper.defer(function() end) end)", "in an exit function"),
        ("reaper.defer(function() error('broken') end)", "broken"),
        ("reaper.set_action_options(64)", "knows the flags"),
    ],
)
def test_what_cannot_be_deferred_fails_and_the_script_is_over(reaper: Reaper, code: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        reaper.pump(run_lua(reaper, code) and 1)
    assert reaper.running == []


def test_an_error_in_one_script_does_not_stop_the_others(reaper: Reaper) -> None:
    run_lua(reaper, "reaper.defer(function() error('broken') end)", "broken.lua")
    run_lua(reaper, COUNT, "count.lua")
    with pytest.raises(ScriptError, match=r"broken\.lua"):
        reaper.pump()
    assert state(reaper, "cycles") == "1"


def test_the_clock_stands_until_it_is_pumped(tmp_path: Path) -> None:
    clock = Clock(5.0)
    reaper = Reaper(tmp_path, clock=clock)
    reaper.open(Project())
    run_lua(reaper, "assert(reaper.time_precise() == 5 and reaper.time_precise() == 5)")
    reaper.pump(3, seconds=0.5)
    run_lua(reaper, "assert(reaper.time_precise() == 6.5)")


def test_waiting_in_real_time_says_what_it_waited_for(reaper: Reaper) -> None:
    run_lua(reaper, COUNT)
    assert reaper.pump_until(lambda: state(reaper, "ended")) == "yes"
    with pytest.raises(TimeoutError, match=r"running \[\]"):
        reaper.pump_until(lambda: False, timeout_s=0.03)


def test_a_script_that_neither_defers_nor_makes_an_undo_step_gets_one_from_reaper(reaper: Reaper) -> None:
    run_lua(reaper, "local a = 1", "plain.lua")
    run_lua(reaper, "reaper.defer(function() end)", "polite.lua")
    reaper.pump()
    block = "reaper.Undo_BeginBlock2(0) reaper.InsertTrackAtIndex(0, false) reaper.Undo_EndBlock2(0, 'its own', -1)"
    run_lua(reaper, block, "careful.lua")
    assert reaper.active.undo_names == ["ReaScript: plain.lua", "its own"]


FOREVER = """
    {options}
    reaper.atexit(function() reaper.SetExtState("test", "ended", reaper.GetExtState("test", "ended") .. "x", false) end)
    local function loop() reaper.defer(loop) end
    loop()
"""


def test_starting_a_running_script_asks_the_user_ends_it_or_restarts_it_as_it_chose(reaper: Reaper) -> None:
    run_lua(reaper, FOREVER.format(options=""), "asks.lua")
    with pytest.raises(UnexpectedDialog, match=r"end asks\.lua"):
        reaper.run(reaper.resource / "Scripts" / "asks.lua")

    first = run_lua(reaper, FOREVER.format(options="reaper.set_action_options(1)"), "ends.lua")
    reaper.run(first.path)
    assert first not in reaper.running
    assert state(reaper, "ended") == "x"

    first = run_lua(reaper, FOREVER.format(options="reaper.set_action_options(1 | 2)"), "restarts.lua")
    second = reaper.run(first.path)
    assert first not in reaper.running
    assert second in reaper.running
    assert state(reaper, "ended") == "xx"


def test_a_registered_script_has_a_command_a_name_and_runs_by_both(reaper: Reaper) -> None:
    scripts = reaper.resource / "Scripts"
    run_lua(reaper, "reaper.SetExtState('test', 'runs', reaper.GetExtState('test', 'runs') .. 'x', false)", "bell.lua")
    run_lua(
        reaper,
        f"""
        assert(reaper.AddRemoveReaScript(true, 0, "{scripts}/none.lua", true) == 0)
        local command = reaper.AddRemoveReaScript(true, 0, "{scripts}/bell.lua", true)
        local name = reaper.ReverseNamedCommandLookup(command)
        assert(#name == 42 and name:find("^RS%x+$") and reaper.NamedCommandLookup("_" .. name) == command)
        assert(reaper.NamedCommandLookup(name) == 0)
        reaper.SetExtState("test", "name", "_" .. name, false)
        reaper.Main_OnCommand(command, 0)
        local _, _, section, own = reaper.get_action_context()
        assert(section == 0 and own ~= command and reaper.ReverseNamedCommandLookup(own):find("^RS"))
        """,
    )
    assert state(reaper, "runs") == "xx"
    reaper.action(state(reaper, "name"))
    reaper.action("_RS" + "0" * 40)  # as REAPER: nothing happens
    assert state(reaper, "runs") == "xxx"

    again = Reaper(reaper.resource, lua=reaper.lua)
    again.open(Project())
    again.action(state(reaper, "name"))
    assert state(again, "runs") == "x"  # the action list was kept, the state was not


def test_an_error_in_a_script_that_a_script_runs_fails_both(reaper: Reaper) -> None:
    run_lua(reaper, "if reaper.GetExtState('test', 'armed') ~= '' then error('inner') end", "inner.lua")
    command = reaper.command_of(reaper.resource / "Scripts" / "inner.lua")
    with pytest.raises(ScriptError, match="inner"):
        run_lua(reaper, f"reaper.SetExtState('test', 'armed', '1', false) reaper.Main_OnCommand({command}, 0)")


def test_a_script_may_run_another_inside_its_undo_block(reaper: Reaper) -> None:
    run_lua(reaper, "reaper.PreventUIRefresh(1) reaper.PreventUIRefresh(-1) reaper.defer(function() end)", "inner.lua")
    reaper.pump()
    command = reaper.command_of(reaper.resource / "Scripts" / "inner.lua")
    run_lua(
        reaper,
        f"""
        reaper.PreventUIRefresh(1)
        reaper.Undo_BeginBlock2(0)
        reaper.InsertTrackAtIndex(0, false)
        reaper.Main_OnCommand({command}, 0)
        reaper.Undo_EndBlock2(0, "outer", -1)
        reaper.PreventUIRefresh(-1)
        reaper.defer(function() end)
        """,
    )
    assert reaper.active.undo_names == ["outer"]
    reaper.check()


def test_an_action_of_reapers_own_runs_if_it_is_modelled(reaper: Reaper) -> None:
    reaper.active.time_selection = (1.0, 2.0)
    run_lua(reaper, "reaper.Main_OnCommandEx(40635, 0, 0)")
    assert reaper.active.time_selection == (0.0, 0.0)
    with pytest.raises(NotModelled):
        reaper.action(40000)


def test_a_command_line_is_remembered_and_really_started_only_if_the_test_says_so(reaper: Reaper) -> None:
    run_lua(reaper, "assert(reaper.ExecProcess('stembridge serve', -1) == '0\\n')")
    assert reaper.executed == ["stembridge serve"]
    assert reaper.executed[0].timeout_ms == -1

    def missing(command: str) -> None:
        raise FileNotFoundError(command)

    reaper.exec = missing
    run_lua(reaper, "assert(reaper.ExecProcess('nothing', -2) == nil)")
