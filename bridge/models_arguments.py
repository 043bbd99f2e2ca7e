"""The arguments of `stembridge models`; apart from the command, so that `--help` imports little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXAMPLES = (
    "  stembridge models list\n"
    "  stembridge models pull xl-base        about 11.5 GB; goes on where it was interrupted\n"
    "  stembridge models path xl-base        the folder, for scripts\n"
    "  stembridge models verify xl-base      read it to the last byte, compare checksums\n"
)


def add_arguments(parser: Any, add_where: Any) -> None:
    """The actions and their options; `add_where` adds --config and --data-dir."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, summary in (
        ("list", "what there is, and what of it is installed"),
        ("pull", "fetch a checkpoint, or what is missing or damaged of it"),
        ("path", "print the folder of an installed checkpoint"),
        ("verify", "read an installed checkpoint to its last byte"),
    ):
        part = actions.add_parser(action, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_where(part)
        part.add_argument(
            "--models-dir", type=Path, metavar="DIR", help="where checkpoints are (default: the Hugging Face cache)"
        )
        if action == "list":
            part.add_argument("--json", action="store_true", help="one JSON object per line")
        else:
            part.add_argument("name", metavar="NAME", help="a name of the list, a repository (owner/name) or a folder")
        if action == "pull":
            part.add_argument("--offline", action="store_true", help="fetch nothing, whatever happens")
