"""The source audio as a task names it: a kept file's UUID, a web address, or the audio itself in base64.

Inline audio may be tens of megabytes of text. It is told apart by its ends, never read or copied here; whether all of
it is base64, and audio, shows where it is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from protocol.errors import BadArgument
from protocol.task_fields import Door, Refused, Rule
from protocol.task_names import UUID_PATTERN, WEB_ADDRESS, WEB_ADDRESS_CHARS, is_uuid, is_web_address

_SHORTEST_DATA = 64
"""Characters of base64: 48 bytes, about a WAV header. Anything shorter is a mistyped name, not audio."""
_LONGEST_HEAD = 128
_QUANTUM = 4

_HEAD = "[Dd][Aa][Tt][Aa]:([A-Za-z0-9.+-]{1,40}/[A-Za-z0-9.+-]{1,40})?(;[A-Za-z0-9=._-]{1,30})?;[Bb][Aa][Ss][Ee]64,"
_START = "[A-Za-z0-9+/]{64}"
_END = "[A-Za-z0-9+/]{2}([A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)"

_DATA_HEAD = re.compile(_HEAD)
_DATA_START, _DATA_END = re.compile(_START), re.compile(_END)


@dataclass(frozen=True)
class AudioInput:
    """What `text` names. Inline audio (kind ``data``) is the base64 in `text` from `start` on; `mime` is what its data
    URI claims, which nobody checked."""

    kind: Literal["uuid", "url", "data"]
    text: str
    start: int = 0
    mime: str | None = None

    @property
    def encoded_chars(self) -> int:
        """How many characters of base64 there are."""
        return len(self.text) - self.start

    def pieces(self, chars: int) -> Iterator[str]:
        """The base64 in pieces of `chars` characters, a multiple of 4, so that each decodes by itself."""
        if chars < 1 or chars % _QUANTUM:
            raise ValueError("base64 is cut at multiples of 4 characters")
        for begin in range(self.start, len(self.text), chars):
            yield self.text[begin : begin + chars]


@dataclass(frozen=True)
class AudioSource(Rule):
    """A UUID, an http(s) address, a data URI or plain base64."""

    kind = "audio"

    @property
    def allowed(self) -> str:
        return "the UUID of a file, an http:// or https:// address, a data URI in base64, or base64"

    def check(self, value: object, _door: Door, /) -> str:
        if not isinstance(value, str):
            raise Refused("type")
        try:
            audio_input(value)
        except BadArgument as error:
            raise Refused("format") from error
        return value

    def json_schema(self) -> dict[str, Any]:
        inline = {"allOf": [{"pattern": f"^({_HEAD})?{_START}"}, {"pattern": f"{_END}$"}]}
        address = {"pattern": WEB_ADDRESS, "maxLength": WEB_ADDRESS_CHARS}
        return {"type": "string", "anyOf": [{"pattern": f"^{UUID_PATTERN}$"}, address, inline]}


def audio_input(text: str) -> AudioInput:
    """What `text` names, in a few microseconds however long it is; raises `BadArgument` if it can name no audio."""
    if is_uuid(text):
        return AudioInput("uuid", text)
    if is_web_address(text):
        return AudioInput("url", text)
    head = _DATA_HEAD.match(text[:_LONGEST_HEAD])
    start = head.end() if head else 0
    if (
        text.isascii()
        and len(text) - start >= _SHORTEST_DATA
        and _DATA_START.match(text, start)
        and _DATA_END.fullmatch(text[-_QUANTUM:])
    ):
        return AudioInput("data", text, start, (head.group(1) or "").lower() or None if head else None)
    raise BadArgument(f"This can name no audio; it must be {AudioSource().allowed}.")
