"""Lua written in a test, run as the file that it would be."""

from __future__ import annotations

from pathlib import Path

from tests.support.reascript.host import Reaper
from tests.support.reascript.scripts import Script


def run_lua(reaper: Reaper, code: str, name: str = "test.lua") -> Script:
    """Run `code` as an action. Errors: ScriptError."""
    path: Path = reaper.resource / "Scripts" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
    script = reaper.run(path)
    assert script is not None
    return script
