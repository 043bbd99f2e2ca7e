"""A REAPER that runs ReaScripts: its tabs, its scripts, its dialogs, and what a test may ask and do.

Promises: scripts are the unmodified files; whatever REAPER would not forgive, or is outside the official list,
fails the test even if the script catches it; nothing here draws, plays or waits for a person.
"""

from __future__ import annotations

import copy
import importlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.reascript.calls import Pointer, text
from tests.support.reascript.commands import Commands
from tests.support.reascript.errors import (
    DoesNotExist,
    Fault,
    ScriptError,
    ScriptFault,
    Unbalanced,
    UnexpectedDialog,
)
from tests.support.reascript.extstate import ExtState
from tests.support.reascript.files import FileCache
from tests.support.reascript.model import Project
from tests.support.reascript.scripts import Script
from tests.support.reascript.signatures import EXTENSION_PREFIXES, SINCE, signatures
from tests.support.reascript.undo import History
from tests.support.reascript.window import Window

MODULES = ("api_project", "api_markers", "api_tracks", "api_items", "api_takes", "api_ui", "api_files",
           "api_tempo", "api_sources", "api_render", "api_accessor", "rpp")  # fmt: skip
"""Modules that model functions and actions; read when the first host is made."""

REAL_WAIT_S = 0.01
"""Between two cycles of `pump_until`, where real processes work."""


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Answers:
    """What the user will do with the next dialogs, in order. A dialog that finds its list empty fails the test."""

    user_inputs: list[Any] = field(default_factory=list)
    """Of GetUserInputs: a list of strings, the joined string, or None for Cancel."""
    boxes: list[int] = field(default_factory=list)
    """Of message boxes: 1 OK, 2 Cancel, 3 Abort, 4 Retry, 5 Ignore, 6 Yes, 7 No."""
    saves: list[Path | None] = field(default_factory=list)
    """Of the save dialog: the .rpp, or None for Cancel."""

    def take(self, kind: str, shown: str) -> Any:
        waiting = getattr(self, kind)
        if not waiting:
            raise UnexpectedDialog(f"a dialog for which the test gives no answer in answers.{kind}: {shown}")
        return waiting.pop(0)


class Reaper:
    """`resource` is its resource folder, `lua` "5.3" or "5.4". `clock` gives time_precise's seconds."""

    def __init__(
        self,
        resource: Path,
        *,
        lua: str = "5.4",
        version: str = "7.28/linux-x86_64",
        clock: Callable[[], float] | None = None,
    ) -> None:
        _load_modules()
        self.resource = Path(resource)
        self.resource.mkdir(parents=True, exist_ok=True)
        self.lua = lua
        self.version = version
        self.os = _operating_system(version)
        self.clock = clock or Clock()
        self.default_recordings = self.resource / "Default recordings"
        self.split_crossfade_s = 0.0
        """A user's preference: splits overlap by this much and get fades."""
        self.project_relative_paths = True

        self.projects: list[Project] = []
        self.active_or_none: Project | None = None
        self.running: list[Script] = []
        self.stack: list[Script] = []
        self.windows: list[Window] = []
        self.focus = "arrange"
        self.context = 1
        """Of the main window: 0 tracks, 1 items, 2 envelopes."""
        self.envelopes: dict[tuple[int, int], Any] = {}
        self.answers = Answers()
        self.shown: list[str] = []
        """Texts of message boxes."""
        self.inputs_shown: list[tuple[str, list[str], list[str]]] = []
        """Of GetUserInputs: title, captions, values that stood in the fields."""
        self.console = ""
        self.executed: list[Any] = []
        """Command lines of ExecProcess (str with `timeout_ms`)."""
        self.exec: Callable[[str], Any] | None = None
        """What really starts a command line; OSError means that REAPER could not."""
        self.calls: list[str] = []
        """Names of the functions called, in order."""
        self.failing: dict[str, str] = {}
        """Function name -> message: it raises this Lua error, which a script may catch."""
        self.faults: list[Fault] = []
        self.ui_refresh = 0
        self.toggles: dict[int, int] = {}
        self.audio_device: dict[str, str] = {"MODE": "Dummy", "SRATE": "48000", "BSIZE": "512"}
        self.ext_state = ExtState(self.resource / "reaper-extstate.ini")
        self.commands = Commands(self.resource / "reaper-kb.ini")
        self.files = FileCache()
        self._pointers: dict[int, Pointer] = {}
        self._histories: dict[int, History] = {}
        self._render_settings: dict[int, dict[str, Any]] = {}

    # --- the user ---

    @property
    def active(self) -> Project:
        if self.active_or_none is None:
            raise LookupError("no project is open: call open(Project())")
        return self.active_or_none

    @active.setter
    def active(self, project: Project) -> None:
        """The user clicks on another tab."""
        if project not in self.projects:
            raise ValueError("that project is not open")
        self.active_or_none = project

    def open(self, project: Project) -> Project:
        """Open the project in a new tab, which becomes the active one. Its records learn whose they are."""
        adopt(project)
        self.projects.append(project)
        self.active_or_none = project
        self._histories[id(project)] = History(project)
        self._render_settings[id(project)] = _render_settings(project)
        return project

    def close(self, project: Project) -> None:
        """Close the tab: everything in it is gone."""
        index = self.projects.index(project)
        self.projects.remove(project)
        project.alive = False
        for track in project.tracks:
            _bury(track)
        if self.active_or_none is project:
            self.active_or_none = self.projects[max(index - 1, 0)] if self.projects else None

    def reopen(self, project: Project) -> Project:
        """Close the tab and open the project again as it is: the same file and GUIDs, other pointers, no undo."""
        again = copy.deepcopy(project)
        again.undo_names.clear()
        self.close(project)
        return self.open(again)

    def delete_track(self, track: Any) -> None:
        """The user deletes a track."""
        track.project.tracks.remove(track)
        _bury(track)

    def undo(self, project: Project | None = None) -> str | None:
        """Undoes the last step; its name, None if there is none."""
        return self.history(project or self.active).undo()

    def redo(self, project: Project | None = None) -> str | None:
        return self.history(project or self.active).redo()

    def undo_names(self, project: Project | None = None) -> list[str]:
        """Of the steps that can be undone, oldest first."""
        return list((project or self.active).undo_names)

    def run(self, path: Path | str) -> Script | None:
        """Run an action's file now; None where that only ended a running one. Errors: ScriptError with Lua's trace."""
        path = Path(path)
        self.commands.add(path, commit=False)
        script = self._start(path)
        self.raise_faults()
        return script

    def action(self, named_command: str | int) -> None:
        """What OSC `/action/str` or a keyboard shortcut does. Unknown names do nothing, as in REAPER."""
        command = named_command if isinstance(named_command, int) else self.commands.lookup(named_command)
        if command:
            self.command(command, self.active)
        self.raise_faults()

    def pump(self, cycles: int = 1, seconds: float = 1 / 30) -> None:
        """Let the deferred functions of all scripts run. Errors: ScriptError, after the cycle was finished."""
        for _ in range(cycles):
            if isinstance(self.clock, Clock):
                self.clock.advance(seconds)
            first: ScriptError | None = None
            for script in list(self.running):
                if script.ended:
                    continue
                try:
                    script.step()
                except ScriptError as error:
                    first = first or error
            if first is not None:
                raise first
            self.raise_faults()

    def pump_until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Pump in real time, while real processes work, until `condition()` is true; what it returned.

        Errors: TimeoutError that says what runs and what the windows show.
        """
        last = began = time.monotonic()
        while not (result := condition()):
            if last - began > timeout_s:
                shown = [window.strings for window in self.windows]
                raise TimeoutError(f"after {timeout_s} s: running {self.running}, windows {shown}, boxes {self.shown}")
            time.sleep(REAL_WAIT_S)
            last, before = time.monotonic(), last
            self.pump(1, last - before)
        return result

    def check(self) -> None:
        """Raise if a script left something behind: an open block, an audio accessor, a changed render setting."""
        from tests.support.reascript.api_accessor import open_accessors

        self.raise_faults()
        self.check_balance("at the end")
        if unasked := [name for name, waiting in vars(self.answers).items() if waiting]:
            raise UnexpectedDialog(f"the test has answers to dialogs that never came: {unasked}")
        if left := open_accessors(self):
            raise Unbalanced(f"audio accessors that were not destroyed: {len(left)}")
        for project in self.projects:
            then, now = self._render_settings[id(project)], _render_settings(project)
            changed = {key: (then.get(key), now.get(key)) for key in then | now if then.get(key) != now.get(key)}
            if changed:
                raise Unbalanced(f"render settings were not put back (before, now): {changed}")

    # --- for the modelled functions ---

    @property
    def current(self) -> Script:
        """The script that is calling."""
        return self.stack[-1]

    @property
    def runtime(self) -> Any:
        """The Lua of the script that is calling (for tables)."""
        return self.current.runtime

    def history(self, project: Project) -> History:
        return self._histories[id(project)]

    def pointer(self, record: Any) -> Pointer:
        """The record as Lua sees it, the same one every time."""
        known = self._pointers.get(id(record))
        if known is None:
            known = self._pointers[id(record)] = Pointer(record)
        return known

    def exists(self, name: str) -> bool:
        """Whether `reaper.<name>` is a function here; False reads as nil. Errors: DoesNotExist."""
        if name in signatures():
            return self.version_number >= SINCE.get(name, 0.0)
        if name.startswith(EXTENSION_PREFIXES):
            return False
        raise DoesNotExist(f"reaper.{name}: there is no such function in REAPER")

    @property
    def version_number(self) -> float:
        return float(re.match(r"\d+(\.\d+)?", self.version).group())  # type: ignore[union-attr]

    def command_of(self, path: Path) -> int:
        return self.commands.add(path, commit=False)

    def command(self, command: int, project: Project) -> None:
        """Run an action: a registered script, or one of REAPER's own that is modelled."""
        path = self.commands.path(command)
        if path is not None:
            self._start(path)
            return
        from tests.support.reascript.actions import run_action

        run_action(self, command, project)

    def open_blocks(self) -> tuple[list[Project], int]:
        """The projects with an open undo block, and how often the drawing is held."""
        return [project for project in self.projects if self.history(project).began is not None], self.ui_refresh

    def check_balance(self, when: str, before: tuple[list[Project], int] = ([], 0)) -> None:
        """Everything must be as `before`; what is not is put right, so that it is told once."""
        blocks, held = self.open_blocks()
        self.ui_refresh = before[1]
        left = [project for project in blocks if project not in before[0]]
        for project in left:
            self.history(project).began = None
        if left:
            raise Unbalanced(f"an undo block is still open {when}")
        if held != before[1]:
            raise Unbalanced(f"PreventUIRefresh stands at {held}, not {before[1]}, {when}")

    def traced(self, trace: str) -> None:
        """Lua's traceback of the last fault; a fault of the prelude's own has no Python error."""
        trace = text(trace)
        if self.faults and not self.faults[-1].trace:
            self.faults[-1].trace = trace
        else:
            self.faults.append(Fault(ScriptFault(trace.partition("\n")[0]), trace))

    def take_fault(self) -> Exception | None:
        """The first fault, because of which a script ended; all are forgotten."""
        first = self.faults[0].error if self.faults else None
        self.faults.clear()
        return first

    def raise_faults(self) -> None:
        """Errors: ScriptError for a fault that a script caught."""
        if self.faults and not self.stack:
            fault = self.faults[0]
            self.faults.clear()
            raise ScriptError(f"{type(fault.error).__name__}: {fault.error}\n{fault.trace}") from fault.error

    def _start(self, path: Path) -> Script | None:
        """None where starting a running script only ended it."""
        for script in [script for script in self.running if script.path == path]:
            if not script.options & 1:
                raise UnexpectedDialog(f"REAPER asks whether to end {path.name}, which runs, or to start a second one")
            script.terminate()
            if not script.options & 2:
                return None
        script = Script(self, path)
        self.running.append(script)
        script.start()
        return script


def _operating_system(version: str) -> str:
    """What GetOS says, by the end of a version such as 7.28/x64, 7.28/macOS-arm64 or 7.28/linux-x86_64."""
    system = version.partition("/")[2]
    return "Other" if system.startswith("linux") else {"x64": "Win64", "": "Win32"}.get(system, system)


def adopt(project: Project) -> None:
    """Set the parents of all tracks, items and takes."""
    for track in (project.master, *project.tracks):
        track.project = project
        for item in track.items:
            item.track = track
            for take in item.takes:
                take.item = item


def _bury(track: Any) -> None:
    track.alive = False
    for item in track.items:
        item.alive = False
        for take in item.takes:
            take.alive = False


def _render_settings(project: Project) -> dict[str, Any]:
    return {key: value for key, value in (project.values | project.strings).items() if key.startswith("RENDER_")}


def _load_modules() -> None:
    for module in MODULES:
        name = f"{__package__}.{module}"
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise


__all__ = ["Answers", "Clock", "Reaper", "ScriptError", "adopt"]
