"""What is installed: every file of `reaper_scripts/` and where it goes below REAPER's resource folder.

`reaper_scripts/` lies beside the package `bridge`, in a checkout as in an installed wheel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import bridge
from protocol.errors import StembridgeError

SCRIPTS, PATTERN = "Scripts/Stembridge", "OSC/Stembridge.ReaperOSC"
CHECK = "Stembridge_Connection check.lua"
"""The one action that the user loads by hand; it loads the others."""
PACKAGE = "Stembridge.lua"
"""Only ReaPack's: the description of the package, no action."""


class ScriptsMissing(StembridgeError):
    """This installation of Stembridge does not hold the REAPER scripts."""

    code = "cannot_start"


def scripts_folder() -> Path:
    """`reaper_scripts/` of this installation."""
    return Path(bridge.__file__).parents[1] / "reaper_scripts"


def payload(folder: Path | None = None) -> Mapping[str, bytes]:
    """Contents by path below the resource folder (with ``/``), in order. Raises `ScriptsMissing`."""
    folder = folder or scripts_folder()
    pattern, scripts = folder / "Stembridge.ReaperOSC", folder / "Stembridge"
    if not pattern.is_file() or not (scripts / CHECK).is_file():
        raise ScriptsMissing(
            f"The REAPER scripts are not in {folder}: install Stembridge again (pip install stembridge)."
        )
    files = [file for file in sorted(scripts.rglob("*.lua")) if file != scripts / PACKAGE]
    contents = {f"{SCRIPTS}/{file.relative_to(scripts).as_posix()}": file.read_bytes() for file in files}
    return {**contents, PATTERN: pattern.read_bytes()}


def version_of(contents: Mapping[str, bytes]) -> str:
    """The version that the scripts give themselves (``VERSION = "..."`` in lib/stembridge.lua); empty if none."""
    told = re.search(rb'VERSION\s*=\s*"([^"]+)"', contents.get(f"{SCRIPTS}/lib/stembridge.lua", b""))
    return told[1].decode("ascii", "replace") if told else ""
