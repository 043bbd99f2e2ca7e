"""Rules for fields that name something: a task, a file, a web address, a key. See `protocol.task_fields`."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from protocol.errors import BadArgument
from protocol.key import Key
from protocol.task_fields import Door, Refused, Rule, plain_text

WEB_ADDRESS_CHARS = 2048
WEB_ADDRESS = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#][^\s]*$"
"""What JSON Schema can say of `is_web_address`: it passes whatever that passes, and a little more."""

_HEX = "[0-9A-Fa-f]"
UUID_PATTERN = f"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"
_UUID = re.compile(UUID_PATTERN)
_UUID_V4 = f"^{_HEX}{{8}}-{_HEX}{{4}}-4{_HEX}{{3}}-[89ABab]{_HEX}{{3}}-{_HEX}{{12}}$"
_KEY_SCALE = "^[A-G][#b♯♭]? (major|minor)$"


@dataclass(frozen=True)
class UuidV4(Rule):
    """A UUID of version 4 in the usual 8-4-4-4-12 form, kept as given: a client matches answers by it."""

    kind = "UUID v4"

    @property
    def allowed(self) -> str:
        return "a UUID of version 4, such as 9f1c2b7e-3a54-4d0e-8b6f-0c2d4e5f6a7b"

    def check(self, value: object, _door: Door, /) -> str:
        text = plain_text(value)
        if not is_uuid(text) or uuid.UUID(text).version != 4:
            raise Refused("format")
        return text

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid", "pattern": _UUID_V4}


@dataclass(frozen=True)
class Address(Rule):
    """An absolute http(s) address."""

    kind = "URI"

    @property
    def allowed(self) -> str:
        return "an http:// or https:// address"

    def check(self, value: object, _door: Door, /) -> str:
        text = plain_text(value)
        if not is_web_address(text):
            raise Refused("format")
        return text

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uri", "pattern": WEB_ADDRESS, "maxLength": WEB_ADDRESS_CHARS}


@dataclass(frozen=True)
class Name(Rule):
    """A short plain name, as of an engine; lower-cased."""

    kind = "text"

    @property
    def allowed(self) -> str:
        return "a name of 1 to 32 letters, digits, '-' or '_'"

    def check(self, value: object, _door: Door, /) -> str:
        text = plain_text(value)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
            raise Refused("format")
        return text.lower()

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,32}$"}


@dataclass(frozen=True)
class FileName(Rule):
    """The name of a thing on disk, without its folder: it can be no path, nor lead up one; kept as given."""

    kind = "text"

    @property
    def allowed(self) -> str:
        return "a name of 1 to 64 letters, digits, '.', '-' or '_', beginning with a letter or digit (not a path)"

    def check(self, value: object, _door: Door, /) -> str:
        text = plain_text(value)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
            raise Refused("format")
        return text

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}


@dataclass(frozen=True)
class KeyScale(Rule):
    """A key: on HTTP one of the specification's 70 spellings, from a DAW any that `Key.parse` knows; made canonical."""

    kind = "text"

    @property
    def allowed(self) -> str:
        return "a key such as C major, F# minor or Bb major"

    def check(self, value: object, door: Door, /) -> str:
        text = plain_text(value)
        if door is Door.HTTP and not re.fullmatch(_KEY_SCALE, text):
            raise Refused("format")
        try:
            return str(Key.parse(text))
        except BadArgument as error:
            raise Refused("format") from error

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": _KEY_SCALE}


def is_uuid(text: str) -> bool:
    """True for a UUID of any version in the 8-4-4-4-12 form."""
    return _UUID.fullmatch(text) is not None


def is_web_address(text: str) -> bool:
    """True for an absolute http(s) address with a host and, if any, a possible port."""
    if len(text) > WEB_ADDRESS_CHARS or any(char.isspace() or not char.isprintable() for char in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # unbalanced brackets, a port that is no number
        return False
