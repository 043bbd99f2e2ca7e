"""JSON with audio in it, read and written without holding up the loop.

A request may carry tens of megabytes of base64 in one string. ``json.loads`` would hold the interpreter for as long as
it looks at them, and the OSC door with it, whichever thread it runs in. So long strings are cut out before and put back
after: what is left is small. The same way out: an answer's long strings are sent in pieces, never escaped or copied.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

LONG_CHARS = 32 * 1024
"""Strings from this length on are cut out; nothing that the task has a field for is as long, but audio."""
MOST_BESIDES = 1 << 20
"""Bytes a request may have beside its long strings: twenty tasks with every text at its longest."""
MOST_VALUES = 20_000
"""Values a larger request may have in all: what is read makes an object of each, and megabytes of those stop everything
else for a second."""
QUICK_BYTES = 16 * 1024
"""JSON up to this size is read on the loop: that takes less than a millisecond."""
_PIECE = 1 << 18
_TOO_DEEP = "The JSON is nested too deeply."


class NotJson(Exception):
    """The text is no JSON, or more of it than a request may have; the message is a sentence."""


def loads(raw: bytes | bytearray) -> Any:
    """The value of UTF-8 JSON. Raises `NotJson`. Takes long for megabytes, so call it in a thread for those."""
    if len(raw) <= LONG_CHARS:
        return _loads(raw)
    token = secrets.token_hex(8)
    kept, long = _without_long_strings(raw, token)
    value = _loads(kept)
    try:
        return _with_strings(value, long) if long else value
    except RecursionError:  # what reads JSON goes deeper than what is written here
        raise NotJson(_TOO_DEEP) from None


def _loads(raw: bytes | bytearray) -> Any:
    try:
        value = json.loads(str(raw, "utf-8"), parse_constant=_no_number)
        if b"\\u" in raw:  # half a surrogate pair cannot be written anywhere
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise NotJson("The text is not UTF-8, or has half a surrogate pair in it.") from None
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except ValueError as error:
        raise NotJson(f"This is not JSON: {error}.") from None
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _without_long_strings(raw: bytes | bytearray, token: str) -> tuple[bytearray, dict[str, str]]:
    """`raw` with a short name in the place of each long string, and the strings by those names."""
    kept = bytearray()
    long: dict[str, str] = {}
    start = 0  # of what is not yet in `kept`
    between = 0  # strings
    values = 1
    position = raw.find(b'"')
    while position >= 0:
        values += _values_begun(raw, between, position)
        _check_size(len(kept) + position - start, values)
        end = _end_of_string(raw, position + 1)
        if end < 0:
            break  # unfinished: what reads the rest says so
        if end - position > LONG_CHARS and (text := _plain(raw, position + 1, end)) is not None:
            name = f"{token}{len(long)}"
            long[name] = text
            kept += raw[start : position + 1] + name.encode()
            start = end
        _check_size(len(kept) + end - start, values)
        between = end + 1
        position = raw.find(b'"', between)
    _check_size(len(kept) + len(raw) - start, values + _values_begun(raw, between, len(raw)))
    kept += raw[start:]
    return kept, long


def _values_begun(raw: bytes | bytearray, start: int, end: int) -> int:
    """How many values begin in a stretch without strings, about."""
    return sum(raw.count(mark, start, end) for mark in (b",", b"[", b"{"))


def _check_size(besides: int, values: int = 0) -> None:
    if besides > MOST_BESIDES + LONG_CHARS:
        raise NotJson(f"A request may have {MOST_BESIDES >> 20} MiB beside its audio, and this one has more.")
    if values > MOST_VALUES:
        raise NotJson(f"A request may have {MOST_VALUES} values, and this one has more.")


def _end_of_string(raw: bytes | bytearray, position: int) -> int:
    """Where the quote is that ends the string whose first character is at `position`; -1 if nowhere."""
    end = raw.find(b'"', position)
    while end >= 0:
        before = end
        while before > position and raw[before - 1] == 0x5C:
            before -= 1
            _check_size(end - before)
        if (end - before) % 2 == 0:
            return end
        _check_size(end - position)  # audio has no quotes in it
        end = raw.find(b'"', end + 1)
    return -1


def _plain(raw: bytes | bytearray, start: int, end: int) -> str | None:
    """An ASCII string that holds no escape but ``\\/`` (some encoders write every slash so); None: let JSON read it."""
    try:
        if raw.find(b"\\", start, end) < 0:
            with memoryview(raw) as view:
                return str(view[start:end], "ascii")
        pieces = []
        while start < end:
            stop = min(start + _PIECE, end)
            if raw[stop - 1] == 0x5C:  # not between the two characters of an escape
                stop += 1
            piece = bytes(raw[start:stop]).replace(b"\\/", b"/")
            if b"\\" in piece:
                return None
            pieces.append(piece)
            start = stop
        return str(b"".join(pieces), "ascii")
    except UnicodeError:
        return None


def _with_strings(value: Any, long: dict[str, str]) -> Any:
    if isinstance(value, str):
        return long.get(value, value)
    if isinstance(value, list):
        return [_with_strings(item, long) for item in value]
    if isinstance(value, dict):
        return {long.get(key, key): _with_strings(item, long) for key, item in value.items()}
    return value


def chars(value: Any) -> int:
    """How many characters its strings have."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(chars, inner))


# --- out --------------------------------------------------------------------------------------------------------------
def dump_pieces(value: Any) -> tuple[int, Iterator[bytes]]:
    """The bytes of `value` as JSON: how many, and they themselves in pieces of at most a quarter of a megabyte, or one
    where it holds no long string. Made as they are taken."""
    long: dict[str, str] = {}
    token = secrets.token_hex(8)
    text = json.dumps(_cut(value, long, token))
    if not long:
        return len(text), iter((text.encode(),))
    size = len(text) + sum(len(string) - len(name) for name, string in long.items())
    return size, _pieces(text, long)


def _cut(value: Any, long: dict[str, str], token: str) -> Any:
    if isinstance(value, str) and len(value) > LONG_CHARS and value.isascii() and '"' not in value:
        if "\\" in value or "\n" in value:
            return value
        name = f"{token}{len(long)}"
        long[name] = value
        return name
    if isinstance(value, dict):
        return {key: _cut(item, long, token) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item, long, token) for item in value]
    return value


def _pieces(text: str, long: dict[str, str]) -> Iterator[bytes]:
    for name, string in long.items():  # in the order in which they stand in the text
        before, _, text = text.partition(name)
        yield before.encode()
        for start in range(0, len(string), _PIECE):
            yield string[start : start + _PIECE].encode("ascii")
    yield text.encode()
