"""Asks the scripts' own Lua modules from a test, inside the double of REAPER, and reads what they wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project

SCRIPTS = Path(__file__).parents[2] / "reaper_scripts" / "Stembridge"

LUAS = ("5.3", "5.4")
"""REAPER 5 and 6 bring Lua 5.3, REAPER 7 brings 5.4."""


def action(name: str) -> Path:
    """The file of an action, such as "Repaint selection"."""
    return SCRIPTS / f"Stembridge_{name}.lua"


def ask(reaper: Reaper, body: str) -> list[Any]:
    """What a Lua function body returns, run as a script with `app` and `reaper`; tables must be fit for JSON.

    A result of nil is None. A body that defers calls `give(...)` when it has its result, and this pumps until then.
    """
    script, answer = reaper.resource / "ask.lua", reaper.resource / "ask.json"
    answer.unlink(missing_ok=True)
    script.write_text(
        f"""
local app = dofile({json.dumps(str(SCRIPTS / "lib" / "stembridge.lua"))})(reaper, gfx, {json.dumps(f"{SCRIPTS}/")})
local function give(...)
  local results, count = {{ ... }}, select("#", ...)
  local parts = {{}}
  for i = 1, count do parts[i] = app.json.encode(results[i]) end
  local file = assert(io.open({json.dumps(str(answer))}, "wb"))
  file:write("[" .. table.concat(parts, ",") .. "]")
  file:close()
end
app.defer(function() end) -- else REAPER makes an undo point of its own
local results = table.pack((function() {body} end)())
if results.n > 0 then give(table.unpack(results, 1, results.n)) end
""",
        encoding="utf-8",
    )
    reaper.run(script)
    for _ in range(1000):
        if answer.exists():
            break
        reaper.pump()
    reaper.pump()
    found: list[Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def mailbox(reaper: Reaper) -> Path:
    return reaper.resource / "Stembridge" / "mailbox"


def requests(reaper: Reaper) -> list[dict[str, Any]]:
    """What was posted, oldest first."""
    return [json.loads(path.read_bytes()) for path in sorted((mailbox(reaper) / "requests").glob("*.json"))]


def select_time(project: Project, start_s: float, end_s: float) -> None:
    project.time_selection = (start_s, end_s)


def select(project: Project, *indices: int) -> None:
    """The user selects exactly these tracks."""
    for index, track in enumerate(project.tracks):
        track.values["I_SELECTED"] = float(index in indices)
