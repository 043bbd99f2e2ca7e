"""A REAPER with the scripts, an action that posts a request and starts the watcher, and the daemon in the test's hands.

What places the takes is a stand-in that says what it was given: placing has tests of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.support.played_daemon import PlayedDaemon
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project
from tests.support.reascript.window import Window

SCRIPTS = Path(__file__).parents[2] / "reaper_scripts" / "Stembridge"
WATCHER = "Stembridge_Watch jobs.lua"
PLACE = """
return function(app)
  local function told(key) return app.reaper.GetExtState("test", key) end
  return { place = function(answer)
    app.reaper.SetExtState("test", "placed", told("placed") .. answer.id .. " ", false)
    if told("place") == "error" then error("the track is made of glass") end
    if told("place") == "refuse" then return nil, "The track was deleted; the takes are in\\n" .. answer.folder end
    return "Placed on Guitar.", nil, told("place") == "important"
  end }
end
"""
POST = """
local here = debug.getinfo(1, "S").source:match("^@(.*[/\\\\])")
local app = dofile(here .. "lib/stembridge.lua")(reaper, gfx, here)
app.run(function()
  local box = assert(app.mailbox.open())
  local origin = { verb = "repaint", title = "bars 9-12", project_file = "/songs/A.rpp" }
  assert(box.post({ kind = "request", verb = "repaint", origin = origin }))
  app.watch.launch()
end)
"""


class Stage:
    """A REAPER with an action that posts a request and starts the watcher, and the daemon in the test's hands."""

    def __init__(self, tmp_path: Path, lua: str, version: str = "7.28/linux-x86_64") -> None:
        self.reaper = Reaper(tmp_path / "REAPER", lua=lua, version=version)
        self.reaper.open(Project(Path("/songs/A.rpp")))
        self.root = self.reaper.resource / "Scripts" / "Stembridge"
        shutil.copytree(SCRIPTS, self.root)
        (self.root / "lib" / "place.lua").write_text(PLACE)
        (self.root / "Post.lua").write_text(POST)
        self.daemon = PlayedDaemon(self.reaper.resource / "Stembridge" / "mailbox")

    def post(self) -> None:
        self.reaper.run(self.root / "Post.lua")

    def taken(self) -> dict[str, Any]:
        """A request that the daemon has taken and queued."""
        self.post()
        request = self.daemon.take()
        self.answer(request, "queued", position=1)
        return request

    def answer(self, request: dict[str, Any], state: str, **fields: Any) -> None:
        self.daemon.answer(request, state, **fields)
        self.wait(0.2)

    def wait(self, seconds: float) -> None:
        self.reaper.pump(round(seconds * 30) or 1)

    def sleep(self, seconds: float) -> None:
        """Time passes in a few long cycles."""
        self.reaper.pump(8, seconds / 8)

    @property
    def window(self) -> Window:
        (window,) = self.reaper.windows
        return window

    @property
    def text(self) -> str:
        """All that the window shows; lines are wrapped, so words are joined by single spaces."""
        return " ".join(" ".join(self.window.strings).split())

    @property
    def is_watching(self) -> bool:
        return [script.path.name for script in self.reaper.running] == [WATCHER]

    @property
    def placed(self) -> list[str]:
        return self.reaper.ext_state.get("test", "placed").split()

    def let_place(self, how: str) -> None:
        self.reaper.ext_state.set("test", "place", how)
