"""The arguments of `stembridge midi`; apart from the command, so that `--help` imports little."""

from __future__ import annotations

from typing import Any

EXAMPLES = (
    "  stembridge midi ports                   what there is, and what [midi] port means by it\n"
    "  stembridge midi watch                   the tempo and place of every MIDI clock\n"
    "  stembridge midi learn --port 'UM-ONE'   press a pedal: prints the lines for the configuration\n"
)


def add_arguments(parser: Any, add_where: Any) -> None:
    """The actions and their options; `add_where` adds --config and --data-dir."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, summary in (
        ("ports", "list the MIDI inputs"),
        ("learn", "print the configuration's lines for the next note, controller or program"),
        ("watch", "print what MIDI clocks say until Ctrl-C"),
    ):
        part = actions.add_parser(action, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_where(part)
        if action != "ports":
            part.add_argument(
                "--port", metavar="NAME", help="as in [midi] port; not told: that one, or all inputs if it is off"
            )
            part.add_argument("--seconds", type=float, metavar="S", help="end after so long")
