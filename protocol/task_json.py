"""The rule for a field that holds any JSON object: bounds that keep it harmless, and JSON text where a DAW sends it.

OSC has no objects, so at the DAW's doors the object may come as its JSON text; what is wrong with that text is answered
with the place of the mistake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.task_fields import SHOWN_DIGITS, Door, Refused, Rule, plain_number, plain_text

_DEEPEST, _LARGEST = 16, 1000


@dataclass(frozen=True)
class JsonObject(Rule):
    """Any JSON object, within bounds: so many levels, so many values, finite numbers. From a DAW also as JSON text."""

    kind = "object"

    @property
    def allowed(self) -> str:
        return f"a JSON object of at most {_DEEPEST} levels and {_LARGEST} values, with finite numbers"

    def check(self, value: object, door: Door, /) -> dict[str, Any]:
        if door is Door.DAW and isinstance(value, str):
            value = _parsed(plain_text(value))
        if not isinstance(value, Mapping):
            raise Refused("type")
        copy, _ = _bounded(value, _DEEPEST, _LARGEST)
        return dict(copy)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise Refused(
            "format", f"Its JSON breaks at line {error.lineno}, column {error.colno}: {what.rstrip(':')}."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise Refused("length") from error


def _bounded(value: object, levels: int, room: int) -> tuple[Any, int]:
    """A plain copy of a JSON value and how many more values there is room for; raises `Refused`."""
    room -= 1
    if room < 0:
        raise Refused("length")
    if value is None or isinstance(value, bool):
        return value, room
    if isinstance(value, str):
        return plain_text(value), room
    if isinstance(value, int | float):
        if isinstance(value, int) and abs(value) >= 10**SHOWN_DIGITS:
            raise Refused("range")
        return plain_number(value), room
    if not isinstance(value, Mapping | Sequence) or isinstance(value, bytes | bytearray | memoryview):
        raise Refused("type")
    if levels <= 0:
        raise Refused("length")
    return _bounded_container(value, levels - 1, room)


def _bounded_container(value: Mapping[Any, object] | Sequence[object], levels: int, room: int) -> tuple[Any, int]:
    if not isinstance(value, Mapping):
        items = []
        for item in value:
            copy, room = _bounded(item, levels, room)
            items.append(copy)
        return items, room
    members = {}
    for name, item in value.items():
        copy, room = _bounded(item, levels, room)
        members[plain_text(name)] = copy
    return members, room
