"""Numeric and string properties of tracks, items and takes, read and written by REAPER's names for them.

Errors: DoesNotExist for a name that REAPER's documentation does not list, NotModelled for one that the double lacks.
"""

from __future__ import annotations

from typing import Any

from tests.support.reascript.errors import BadCall, DoesNotExist, NotModelled

KNOWN_ELSEWHERE = {
    "I_RECMON", "I_RECMODE", "I_RECINPUT", "I_AUTOMODE", "I_HEIGHTOVERRIDE", "I_TCPH", "I_WNDH", "I_FOLDERCOMPACT",
    "B_HEIGHTLOCK", "B_SHOWINMIXER", "B_SHOWINTCP", "B_FREEMODE", "I_NUMFIXEDLANES", "C_LANESETTINGS", "C_LANEPLAYS",
    "C_LANECOLLAPSED", "D_DUALPANL", "D_DUALPANR", "B_FIXEDLANE_HIDDEN", "F_FREEMODE_Y", "F_FREEMODE_H", "I_LASTY",
    "I_LASTH", "I_SPACER", "B_AUTO_RECARM", "B_RECMON_IN_EFFECT", "I_PERFFLAGS", "I_MIDIHWOUT", "D_PANLAW",
    "C_MAINSEND_OFFS", "C_MAINSEND_NCH", "P_NOTES", "P_ICON", "P_MCP_LAYOUT", "P_TCP_LAYOUT", "P_RAZOREDITS_EXT",
    "P_LANENAME", "B_SOLO_DEFEAT", "I_VUMODE", "I_STRETCHFLAGS", "F_STRETCHFADESIZE", "I_TAKEFX_NCH", "P_TRACK",
    "P_ITEM", "P_SOURCE",
}  # fmt: skip
"""Documented by REAPER, not modelled."""


def number(kind: str, values: dict[str, float], name: str) -> float:
    if name not in values:
        raise _missing(kind, name)
    return values[name]


def set_number(kind: str, values: dict[str, float], name: str, value: float) -> bool:
    if name not in values:
        raise _missing(kind, name)
    values[name] = value
    return True


def string(kind: str, record: Any, name: str, value: str, is_set: bool, plain: tuple[str, ...]) -> tuple[bool, str]:
    """`P_NAME`, `GUID`, `P_EXT:key` and the record's `strings` of the names in `plain`. False: nothing stored."""
    if name == "P_NAME" and hasattr(record, "name"):
        if is_set:
            record.name = value
        return True, record.name
    if name == "GUID":
        if is_set:
            record.guid = value
        return True, record.guid
    if name.startswith("P_EXT:"):
        return _stored(record.ext, name.removeprefix("P_EXT:"), value, is_set)
    if name in plain:
        if is_set:
            record.strings[name] = value
        return True, record.strings.get(name, "")
    raise _missing(kind, name)


def _stored(ext: dict[str, str], key: str, value: str, is_set: bool) -> tuple[bool, str]:
    """Extension data; the empty string deletes it."""
    if not key:
        raise BadCall("P_EXT: needs a name behind the colon")
    if is_set and value:
        ext[key] = value
    elif is_set:
        ext.pop(key, None)
        return True, ""
    return key in ext, ext.get(key, "")


def _missing(kind: str, name: str) -> Exception:
    base = name.partition(":")[0]
    if base in KNOWN_ELSEWHERE:
        return NotModelled(f"{kind} {name}")
    return DoesNotExist(f"a {kind} has no {name}")
