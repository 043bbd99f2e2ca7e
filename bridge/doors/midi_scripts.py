"""REAPER's scripts as a pedal reaches them: by the ids that REAPER gave them, read from its list of actions.

REAPER hears a script's id over OSC and runs it. The id is made by REAPER when a script is loaded and stands in
``reaper-kb.ini``, which is only read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from bridge.reaper.resource_folders import actions_of
from protocol.errors import StembridgeError

_MAIN_SECTION = re.compile(r"SCR \d+ 0 (RS[0-9A-Za-z_]+) (.*)")


class ScriptNotLoaded(StembridgeError):
    """REAPER does not know a script, so that nothing can ask it to run it."""

    code = "script_not_loaded"


def script_ids(resources: Iterable[Path], script: str) -> list[str]:
    """The ids (``_RS...``) of the script with that file name in the main section of these REAPERs, each once."""
    ids: dict[str, None] = {}
    for resource in resources:
        for line in actions_of(resource).splitlines():
            found = _MAIN_SECTION.match(line)
            if found is not None and re.split(r"[/\\\"]", found[2].rstrip("\"'` "))[-1].strip("'` ") == script:
                ids[f"_{found[1]}"] = None
    return list(ids)


def ring_script(ring: Callable[[str], bool], resources: Iterable[Path], script: str) -> None:
    """Have REAPER run the script; `ring` is `ReaperSurface.ring`. Raises `ScriptNotLoaded`.

    Each REAPER has its own ids, and one that hears another's does nothing.
    """
    rung = [ring(id_) for id_ in script_ids(resources, script)]
    if not any(rung):
        name = script.removesuffix(".lua")
        raise ScriptNotLoaded(
            f"REAPER does not know the action {name}: install the actions (stembridge reaper install), then run "
            "'Script: Stembridge_Connection check.lua' once from REAPER's action list, which adds them all."
        )
