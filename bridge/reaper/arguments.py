"""What `stembridge reaper` can be told; apart from what it does, so that `--help` imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = (
    "  stembridge reaper install                                copy the scripts, make the mailbox\n"
    "  stembridge reaper install --resource-path D:\\REAPER      a portable install\n"
    "  stembridge reaper status\n"
    "  stembridge reaper uninstall\n"
    "REAPER's own ini files are read, never written.\n"
)


def add_arguments(parser: Any, add_where: Callable[[Any], None], port: Callable[[str], int]) -> None:
    """Declare what `bridge.reaper.command.main` reads; `add_where` adds the options that every command has."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, summary in (
        ("install", "copy the scripts into REAPER's resource folder, or bring them up to date"),
        ("uninstall", "remove what was installed and not changed since"),
        ("status", "say what is installed, and what remains to be done"),
    ):
        part = actions.add_parser(action, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_where(part)
        part.add_argument(
            "--resource-path", type=Path, metavar="DIR", help="REAPER's resource folder, or that of a portable install"
        )
        if action == "uninstall":
            continue
        part.add_argument(
            "--osc-port", type=port, metavar="N", help="local port of REAPER's OSC surface (default 9241)"
        )
        if action == "install":
            part.add_argument(
                "--mailbox", type=Path, metavar="DIR", help="where requests and answers lie, if elsewhere"
            )


def flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that these arguments stand for."""
    return {"reaper.osc_port": getattr(arguments, "osc_port", None)}
