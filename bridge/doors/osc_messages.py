"""OSC messages on their way out. The types of what the daemon sends stand in the address table.

Some clients give up on a message with a type beyond i, f and s, so these are all that is sent unless a client asked for
more: then numbers are doubles and large integers 64-bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pythonosc.parsing import osc_types

from protocol.address_space import OUTGOING, PREFIX
from protocol.address_types import Arg, Kind
from protocol.float32 import as_single

Typed = tuple[str, Any]
"""An OSC type tag and a value of that type."""

_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)


def reply_datagram(name: str, values: Sequence[object], full: bool = False) -> bytes:
    """The message ``/stembridge/NAME values...`` with the types of the address table, or the nearest basic ones."""
    address = OUTGOING[f"{PREFIX}/{name}"]
    typed = [_as_told(arg, value, full) for arg, value in zip(address.args, values, strict=False)]
    typed += [_guessed(value, full) for value in values[len(address.args) :]]
    return datagram(address.path, typed)


def request_datagram(path: str, values: Sequence[object]) -> bytes:
    """A message to the daemon: doubles for floats, so that nothing is rounded on the way."""
    return datagram(path, [_guessed(value, full=True) for value in values])


def datagram(path: str, typed: Iterable[Typed]) -> bytes:
    """One OSC message."""
    pairs = list(typed)
    tags = "," + "".join(tag for tag, _ in pairs)
    data = b"".join(_WRITERS[tag](value) for tag, value in pairs)
    return bytes(osc_types.write_string(path) + osc_types.write_string(tags) + data)


def _as_told(arg: Arg, value: Any, full: bool) -> Typed:
    match arg.kind:
        case Kind.NUMBER:
            return ("d", float(value)) if full else ("f", as_single(value))
        case Kind.BIG:
            return ("h", int(value)) if full else ("s", str(value))
        case Kind.INTEGER:
            return _guessed(int(value), full)
        case _:
            return "s", str(value)


def _guessed(value: object, full: bool) -> Typed:
    match value:
        case bool():
            return ("T" if value else "F", value) if full else ("i", int(value))
        case int() if value in _INT32:
            return "i", value
        case int() if full and value in _INT64:
            return "h", value
        case float():
            return ("d", value) if full else ("f", as_single(value))
        case bytes() if full and value:
            return "b", value
        case None:
            return "s", ""
        case _:
            return "s", str(value)


def _write_text(text: str) -> Any:
    # File names may hold bytes that are no text, and a zero would end the string early.
    plain = text.replace("\0", "").encode("utf-8", "backslashreplace").decode("utf-8")
    return osc_types.write_string(plain)


def _write_nothing(_: object) -> bytes:
    return b""


_WRITERS: Mapping[str, Callable[[Any], Any]] = {
    "i": osc_types.write_int,
    "h": osc_types.write_int64,
    "f": osc_types.write_float,
    "d": osc_types.write_double,
    "s": _write_text,
    "b": osc_types.write_blob,
    "T": _write_nothing,
    "F": _write_nothing,
}
