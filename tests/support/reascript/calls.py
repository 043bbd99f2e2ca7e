"""Values on their way between Lua and the model: arguments checked against the signature, results given its types.

Lua strings are bytes; here they come as latin-1 text from lupa and are handed to the model as UTF-8 `str` with
surrogate escapes, so that any file name survives. Records go to Lua as opaque pointers.
"""

from __future__ import annotations

import math
from typing import Any

from tests.support.reascript.errors import BadCall, DeadPointer
from tests.support.reascript.model import Item, Project, Source, Take, Track
from tests.support.reascript.signatures import Signature, Type

POINTERS: dict[type, str] = {
    Project: "ReaProject",
    Track: "MediaTrack",
    Item: "MediaItem",
    Take: "MediaItem_Take",
    Source: "PCM_source",
}
"""The C type that Lua sees. Classes of other modules say it by an attribute `reascript_type`."""

VALUES = {"integer", "INT64", "number", "string", "boolean", "function", "table", "userdata", "reaper.array"}

UNCHECKED = {"new_array"}
"""Lua built-ins whose arguments the list cannot describe (`new_array(size)` and `new_array(table, size)`)."""

NIL_IS_FINE = {("SetCursorContext", 2), ("SetOnlyTrackSelected", 1)}
"""Pointer arguments (counted from 1) that may be nil."""


class Pointer:
    """A record as Lua sees it: a userdata that can be compared, printed and used as a key, and nothing else."""

    __slots__ = ("record",)

    def __init__(self, record: Any) -> None:
        self.record = record

    @property
    def type_name(self) -> str:
        return type_name(self.record)

    def __str__(self) -> str:
        return f"userdata: 0x{id(self.record):016x}"


def type_name(record: Any) -> str:
    return POINTERS.get(type(record)) or type(record).reascript_type


def text(value: str | bytes) -> str:
    """A Lua string as the model holds it."""
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    return raw.decode("utf-8", "surrogateescape")


def checked_arguments(signature: Signature, active: Project | None, given: tuple[Any, ...]) -> list[Any]:
    """Errors: BadCall for a wrong number or type, DeadPointer."""
    if signature.name in UNCHECKED:
        return list(given)
    if not signature.fewest <= len(given) <= len(signature.arguments):
        raise BadCall(f"{signature}: {len(signature.arguments)} arguments expected, {len(given)} given")
    arguments = []
    for number, (type_, value) in enumerate(zip(signature.arguments, given, strict=False), 1):
        if value is None and (signature.name, number) in NIL_IS_FINE:
            arguments.append(None)
            continue
        try:
            arguments.append(_argument(type_, value, active))
        except BadCall as error:
            raise BadCall(f"{signature}: argument {number}: {error}") from None
        except DeadPointer as error:
            raise DeadPointer(f"{signature}: argument {number}: {error}") from None
    return arguments


def _argument(type_: Type, value: Any, active: Project | None) -> Any:
    if value is None and type_.optional:
        return None
    if type_.name == "ReaProject":
        return _project(value, active)
    if type_.name == "userdata":
        if value is not None and not isinstance(value, Pointer):
            raise BadCall(f"a pointer expected, not {_shown(value)}")
        return value.record if value is not None else None
    if type_.name in VALUES or "|" in type_.name:
        return _value(type_.name.rpartition("|")[2], value)
    if not isinstance(value, Pointer) or value.type_name != type_.name:
        raise BadCall(f"{type_.name} expected, not {_shown(value)}")
    return _living(value.record)


def _project(value: Any, active: Project | None) -> Project:
    if value is None or (value == 0 and isinstance(value, int) and not isinstance(value, bool)):
        if active is None:
            raise BadCall("no project is open")
        return active
    if not isinstance(value, Pointer) or not isinstance(value.record, Project):
        raise BadCall(f"ReaProject, 0 or nil expected, not {_shown(value)}")
    return _living(value.record)


def _living(record: Any) -> Any:
    if not getattr(record, "alive", True):
        raise DeadPointer(f"this {type_name(record)} was deleted")
    return record


def _value(name: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "boolean" and isinstance(value, bool):
        return value
    if name == "string" and isinstance(value, str | bytes):
        if "\0" in (found := text(value)):
            raise BadCall("a string with a zero byte: REAPER cuts it there")
        return found
    if name == "number" and number:
        if math.isnan(value):
            raise BadCall("the number is not a number (nan)")
        return float(value)
    if name in ("integer", "INT64") and number:
        if value != value or value in (math.inf, -math.inf) or int(value) != value:
            raise BadCall(f"the number {value!r} has no integer representation")
        if name == "integer" and not -(2**31) <= value < 2**32:
            raise BadCall(f"{value} does not fit 32 bits")
        return int(value)
    if name == "function" and callable(value):
        return value
    if name in ("table", "reaper.array") and not (number or isinstance(value, bool | str | bytes | Pointer | None)):
        return value
    raise BadCall(f"{name} expected, not {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, Pointer):
        return f"a {value.type_name}"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", bytes: "string"}
    return f"a {kinds.get(type(value), 'table or function')} ({str(value)[:40]})"


def checked_results(signature: Signature, result: Any, wrap: Any) -> tuple[Any, ...]:
    """What a modelled function returned, with the signature's types. `wrap` makes a record's pointer.

    Raises TypeError where the double itself is wrong.
    """
    if signature.name in UNCHECKED:
        return (result,)
    values = result if isinstance(result, tuple) else () if not signature.returns and result is None else (result,)
    if len(values) > len(signature.returns) or any(not type_.optional for type_ in signature.returns[len(values) :]):
        raise TypeError(f"the double's {signature.name} returned {values!r}, not {signature}")
    pad = (None,) * (len(signature.returns) - len(values))
    return tuple(
        _result(signature, type_, value, wrap) for type_, value in zip(signature.returns, values + pad, strict=True)
    )


def _result(signature: Signature, type_: Type, value: Any, wrap: Any) -> Any:
    if value is None:
        if type_.name in ("integer", "number", "boolean") and not type_.optional:
            raise TypeError(f"the double's {signature.name} returned nil for a {type_}")
        return None
    if type_.name in ("integer", "INT64"):
        if int(value) != value:
            raise TypeError(f"the double's {signature.name} returned {value!r} for an integer")
        return int(value)
    if type_.name == "number":
        return float(value)
    if type_.name == "boolean":
        if not isinstance(value, bool):
            raise TypeError(f"the double's {signature.name} returned {value!r} for a boolean")
        return value
    if type_.name == "string":
        return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    if type_.name in VALUES:
        return value
    if type_name(value) != type_.name:
        raise TypeError(f"the double's {signature.name} returned a {type_name(value)} for a {type_}")
    return wrap(value)
