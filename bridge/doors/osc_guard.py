"""Reads datagrams that anyone may have sent: OSC messages and bundles come out, or `BadPacket`, in linear time.

python-osc decodes the arguments, but only after this module has measured the datagram: sizes, depth, number of elements
and arguments, type tags, padding and addresses. Three single packets stop an event loop that hands datagrams to
python-osc as they come: a bundle element of negative size (no end), a time tag in the future (it sleeps) and an address
full of wildcards (a pattern that backtracks). Here sizes must be positive and lie inside, time tags are only reported
and patterns are refused.

Types: all of OSC 1.1 and the usual others. ``S`` (symbol) is read as text, ``c`` as a text of one character, ``I`` as
infinity, ``t`` and ``h`` as integers; arrays are read as their elements, in order. A 32-bit float is read as a
`protocol.float32.Single`, the decimal that was meant.

Source: the OSC 1.0 specification, https://opensoundcontrol.stanford.edu/spec-1_0.html
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

from pythonosc.osc_message import OscMessage, ParseError
from pythonosc.parsing import ntp, osc_types

from protocol.errors import BadPacket
from protocol.float32 import Single

MAX_DATAGRAM = 48 * 1024
"""Prompt, negative prompt and lyrics at their longest, in any script, fit into one."""
MAX_DEPTH = 4
MAX_ELEMENTS = 64
MAX_ARGUMENTS = 1024
"""A tempo map has five per point."""

_BUNDLE = b"#bundle\0"
_BUNDLE_HEADER = 16
_IMMEDIATELY = 1
_ADDRESS = re.compile(rb"/[!-~]{0,254}|#reply")
_PATTERN = re.compile(rb"[#*,?\[\]{}]|//")
_SIZES = {"i": 4, "f": 4, "c": 4, "r": 4, "m": 4, "h": 8, "d": 8, "t": 8, "T": 0, "F": 0, "N": 0, "I": 0}
_READ_AS = str.maketrans({"S": "s", "c": "i", "I": "N", "t": "h", "[": None, "]": None})
"""What python-osc does not know, or reads in a way that depends on the system, as a type of equal size that it does."""


@dataclass(frozen=True)
class TimedMessage:
    """A message; `due` is when it takes effect, in seconds since the Unix epoch, or None: now."""

    address: str
    args: tuple[object, ...]
    due: float | None = None


def decode(datagram: bytes, max_bytes: int = MAX_DATAGRAM) -> list[TimedMessage]:
    """The messages of a datagram, in order; raises `BadPacket` for all that is not OSC or goes beyond the caps."""
    if len(datagram) > max_bytes:
        raise BadPacket(
            f"A packet of {len(datagram)} bytes is too large: at most {max_bytes} are read. Send long texts singly, "
            "with /stembridge/set/prompt and its like."
        )
    messages: list[TimedMessage] = []
    # Elements to be read, the next one last: (first byte, byte after the last, depth, due).
    waiting: list[tuple[int, int, int, float | None]] = [(0, len(datagram), 0, None)]
    elements = 0
    while waiting:
        start, end, depth, due = waiting.pop()
        if datagram.startswith(_BUNDLE, start, end):
            inner = _elements(datagram, start, end, depth, due)
            elements += len(inner)
            if elements > MAX_ELEMENTS:
                raise BadPacket(f"A bundle holds more than {MAX_ELEMENTS} elements.")
            waiting.extend(reversed(inner))
        else:
            messages.append(_message(datagram[start:end], due))
    return messages


def _elements(
    datagram: bytes, start: int, end: int, depth: int, due: float | None
) -> list[tuple[int, int, int, float | None]]:
    """The places of a bundle's elements, one level deeper, due no earlier than the bundle around them."""
    if depth == MAX_DEPTH:
        raise BadPacket(f"Bundles are nested deeper than {MAX_DEPTH}.")
    if end - start < _BUNDLE_HEADER:
        raise BadPacket("A bundle ends within its header.")
    due = _later(due, _due(datagram[start + 8 : start + _BUNDLE_HEADER]))
    places: list[tuple[int, int, int, float | None]] = []
    at = start + _BUNDLE_HEADER
    while at < end:
        if end - at < 4:
            raise BadPacket("A bundle ends within the size of an element.")
        (size,) = struct.unpack_from(">i", datagram, at)
        at += 4
        if size <= 0 or size % 4 or size > end - at:
            raise BadPacket(f"A bundle element claims {size} bytes where {end - at} are left.")
        places.append((at, at + size, depth + 1, due))
        if len(places) > MAX_ELEMENTS:
            raise BadPacket(f"A bundle holds more than {MAX_ELEMENTS} elements.")
        at += size
    return places


def _due(timetag: bytes) -> float | None:
    if int.from_bytes(timetag, "big") <= _IMMEDIATELY:
        return None
    return float(ntp.ntp_to_system_time(timetag))


def _later(a: float | None, b: float | None) -> float | None:
    return max((due for due in (a, b) if due is not None), default=None)


# --- one message ------------------------------------------------------------------------------------------------------
def _message(datagram: bytes, due: float | None) -> TimedMessage:
    if not datagram or len(datagram) % 4:
        raise BadPacket(f"A message of {len(datagram)} bytes is not OSC: its length must be a multiple of 4.")
    address, at = _padded(datagram, 0, "address")
    if not _ADDRESS.fullmatch(address) or (address[:1] == b"/" and _PATTERN.search(address)):
        raise BadPacket(f"{_shown(address)} is not an address: '/' and plain characters, no pattern, at most 255.")
    if at == len(datagram):  # older senders leave the type tags out when there are no arguments
        return TimedMessage(address.decode("ascii"), (), due)
    tags, at = _tags(datagram, at)
    _measure(datagram, at, tags)
    return TimedMessage(address.decode("ascii"), _arguments(datagram[at:], tags), due)


def _tags(datagram: bytes, at: int) -> tuple[str, int]:
    """The type tags without their comma, known, few enough and with balanced brackets; and where the data begin."""
    raw, at = _padded(datagram, at, "type tags")
    tags = raw.decode("latin-1")
    if not tags.startswith(","):
        raise BadPacket("A message has no type tags.")
    tags = tags[1:]
    if len(tags) > MAX_ARGUMENTS:
        raise BadPacket(f"A message has more than {MAX_ARGUMENTS} arguments.")
    depth = 0
    for tag in tags:
        depth += (tag == "[") - (tag == "]")
        if depth < 0 or (tag not in _SIZES and tag not in "sSb[]"):
            raise BadPacket(f"The type tags {_shown(raw)} are not OSC.")
    if depth:
        raise BadPacket(f"The type tags {_shown(raw)} leave an array open.")
    return tags, at


def _measure(datagram: bytes, at: int, tags: str) -> None:
    """Raises `BadPacket` unless the arguments of these types fill the datagram exactly."""
    for tag in tags:
        if tag in "sS":
            _, at = _padded(datagram, at, "text")
        elif tag == "b":
            size = struct.unpack_from(">i", datagram, at)[0] if at + 4 <= len(datagram) else -1
            if size < 0:
                raise BadPacket("A blob has no size.")
            at += 4 + (size + 3) // 4 * 4
        else:
            at += _SIZES.get(tag, 0)
        if at > len(datagram):
            raise BadPacket("A message ends within its arguments.")
    if at != len(datagram):
        raise BadPacket(f"A message goes on for {len(datagram) - at} bytes after its arguments.")


def _padded(datagram: bytes, at: int, what: str) -> tuple[bytes, int]:
    """A string that ends with zeros to a multiple of four bytes, and where the next thing begins."""
    stop = datagram.find(b"\0", at)
    after = stop + 4 - (stop - at) % 4
    if stop < 0 or after > len(datagram):
        raise BadPacket(f"A message's {what} has no end.")
    return datagram[at:stop], after


def _arguments(data: bytes, tags: str) -> tuple[object, ...]:
    """The arguments' values: python-osc's reading, with the types that it does not know put right."""
    plain = osc_types.write_string("/") + osc_types.write_string("," + tags.translate(_READ_AS)) + data
    try:
        values = OscMessage(plain).params
    except (ParseError, UnicodeDecodeError, ValueError, OverflowError, IndexError, struct.error) as error:
        raise BadPacket(f"A message's arguments cannot be read: {error}.") from error
    given = tags.replace("[", "").replace("]", "")
    return tuple(_meant(tag, value) for tag, value in zip(given, values, strict=True))


def _meant(tag: str, value: object) -> object:
    if tag == "f" and isinstance(value, float):
        return Single.of(value)
    if tag == "c" and isinstance(value, int):
        if not 0 <= value < 0x80:
            raise BadPacket(f"{value} is not an ASCII character.")
        return chr(value)
    return math.inf if tag == "I" else value


def _shown(raw: bytes) -> str:
    return ascii(raw[:40].decode("latin-1"))
