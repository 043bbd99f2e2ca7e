"""The arguments of `stembridge live`; apart from the command, so that `--help` imports little."""

from __future__ import annotations

from typing import Any

from bridge.argument_types import count
from protocol.live import LiveOut

EXAMPLES = (
    "  stembridge live start --file ~/Song/loop.wav --out audio --clock internal   without a DAW\n"
    "  stembridge live start --out both prompt 'more percussion'    the session's source, the DAW's transport\n"
    "  stembridge live start --input 'USB Audio' --out audio        what was just played in\n"
    "  stembridge live set prompt calmer strength 0.3\n"
    "  stembridge live watch\n"
    "  stembridge live stop\n"
    "  stembridge live panic\n"
)


def add_arguments(parser: Any, add_where: Any) -> None:
    """The actions and their options; `add_where` adds --config and --data-dir."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, summary in (
        ("start", "start a run: the source is kept extended, ahead of the playhead"),
        ("set", "change settings from the next phrase on"),
        ("stop", "end the run; what is made stays"),
        ("panic", "silence at once"),
        ("status", "where the run stands"),
        ("watch", "print what happens until Ctrl-C"),
        ("devices", "list audio inputs and outputs"),
    ):
        part = actions.add_parser(action, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_where(part)
        if action in ("start", "set"):
            _add_settings(part)
        if action == "start":
            _add_start(part)


def _add_start(part: Any) -> None:
    part.add_argument("--file", metavar="FILE", help="a file in an opened project, instead of the session's source")
    part.add_argument("--at", type=float, metavar="SECONDS", help="project time at which that file begins (default 0)")
    part.add_argument("--join", type=float, metavar="SECONDS", help="project time at which the new music begins")
    part.add_argument("--input", metavar="NAME", help="go on from an audio input (part of its name, or default)")
    part.add_argument("--out", choices=tuple(LiveOut), help="where the music goes (default files)")
    part.add_argument("--device", metavar="NAME", help="the audio output (part of its name)")
    part.add_argument("--offset-ms", type=float, metavar="MS", help="play so much earlier (or later, below 0)")
    part.add_argument("--clock", choices=("daw", "internal"), help="whose transport (default daw)")
    part.add_argument("--id", metavar="ID", help="an id of your choice for the run")


def _add_settings(part: Any) -> None:
    part.add_argument("--phrase-bars", type=count, metavar="N", help="default 4")
    part.add_argument("--lead-bars", type=count, metavar="N", help="default 4")
    part.add_argument("--context-bars", type=count, metavar="N", help="default 8")
    part.add_argument("settings", nargs="*", metavar="NAME VALUE", help="settings: prompt, strength, ...")
