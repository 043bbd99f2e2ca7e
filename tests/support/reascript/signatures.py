"""The official ReaScript functions and their types, read from functions.tsv.

Promises: a call is checked against the signature before a modelled function sees it, and what the function returns has
the Lua types of the signature (integer and float are different types in Lua). Stricter than REAPER where REAPER's
behaviour is not known: no argument may be left out or added, a number is not a string, nil is not false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("functions.tsv")

EXTENSION_PREFIXES = (
    "BR_", "CF_", "FNG_", "ImGui_", "JB_", "JS_", "NF_", "NVK_", "ReaPack_", "SNM_", "SN_", "sm_", "ULT_", "Xen_",
)  # fmt: skip
"""Names of functions that only an extension brings: not there, so nil."""

SINCE: dict[str, float] = {
    "set_action_options": 7.03, "InsertTrackInProject": 7.0, "GetNumRegionsOrMarkers": 7.62, "GetRegionOrMarker": 7.62,
    "GetRegionOrMarkerInfo_Value": 7.62, "SetRegionOrMarkerInfo_Value": 7.62,
    "GetSetRegionOrMarkerInfo_String": 7.62, "AddRegionOrMarker": 7.62,
}  # fmt: skip
"""The version of REAPER that brought a function, where it is younger than REAPER 6."""


@dataclass(frozen=True)
class Type:
    name: str
    optional: bool = False

    def __str__(self) -> str:
        return self.name + ("?" if self.optional else "")


@dataclass(frozen=True)
class Signature:
    name: str
    tag: str
    """`core`, or `core-C`: known from the C header only."""
    arguments: tuple[Type, ...]
    returns: tuple[Type, ...]

    @property
    def fewest(self) -> int:
        """How many arguments must be given: optional ones may be left out at the end."""
        required = [index for index, type_ in enumerate(self.arguments) if not type_.optional]
        return required[-1] + 1 if required else 0

    def __str__(self) -> str:
        returns = ", ".join(map(str, self.returns))
        return f"{returns + ' = ' if returns else ''}reaper.{self.name}({', '.join(map(str, self.arguments))})"


@cache
def signatures() -> dict[str, Signature]:
    """All official functions by name."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, tag, arguments, returns = line.split("\t")
        found[name] = Signature(name, tag, _types(arguments), _types(returns))
    return found


def _types(cell: str) -> tuple[Type, ...]:
    return tuple(Type(word.rstrip("?"), word.endswith("?")) for word in cell.split(",") if word)


def table_from_list(lines: Iterable[str]) -> str:
    """The text of functions.tsv from lines of `name <TAB> tag <TAB> Lua signature` (facts/reascript_functions.txt).

    Keeps what is REAPER's own (tags `core` and `core-C`); of the arguments and returned values only the types. To
    make the file again: `python -m tests.support.reascript.signatures LIST > functions.tsv`.
    """
    rows = ["# name\ttag\targument types\treturn types ('?': may be left out or nil). Made by signatures.py"]
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        name, tag, text = line.rstrip("\n").split("\t")
        if tag == "ext" or name.startswith("reaper.array."):
            continue
        returns, arguments = re.fullmatch(r"(?:(.*) = )?reaper\.\w+\((.*)\)", text).groups()  # type: ignore[union-attr]
        rows.append("\t".join([name, tag, _cells(arguments), _cells(returns or "")]))
    return "\n".join(rows) + "\n"


def _cells(text: str) -> str:
    cells = []
    for part in filter(None, text.split(", ")):
        words = part.split()
        optional = words[0] == "optional"
        cells.append(words[1 if optional else 0] + ("?" if optional else ""))
    return ",".join(cells)


if __name__ == "__main__":
    import sys

    sys.stdout.write(table_from_list(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()))
