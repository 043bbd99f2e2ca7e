"""The configuration's `[midi]` section: which ports are heard, and what notes, controllers and programs do.

    [midi]
    port = "UM-ONE, virtual:Stembridge"

    [[midi.learn]]
    on = "cc 64"
    do = "repaint"

A mistake is found when the configuration is read, not when the pedal is pressed on stage.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    from bridge.doors.midi_learn import Mapping

OFF = "off"
DEFAULT_NAME = "Stembridge"
ALLOWED = "off, part of a port's name, virtual, jack, or tcp:127.0.0.1:PORT; several with commas"


class PortKind(StrEnum):
    """How a port is come by."""

    NAMED = "name"
    VIRTUAL = "virtual"
    JACK = "jack"
    TCP = "tcp"


@dataclass(frozen=True)
class PortWish:
    """One port (or, by a glob, several) that shall be heard; `text` is as it was configured."""

    kind: PortKind
    text: str
    name: str = ""
    """A name pattern (of JACK: of the ports to be connected, may be empty); for virtual ports the name itself."""
    host: str = ""
    port: int = 0


class LearnConfig(BaseModel):
    """One `[[midi.learn]]` table: `on` what, from which `channel` (1 to 16) and `port`, and what then happens.

    Exactly one of: `do` a word (`repaint`, `cancel`, `keep`, ...), `send` an address with its arguments, `value` a
    setting that follows a controller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: str
    channel: int | None = Field(default=None, ge=1, le=16)
    port: str | None = Field(default=None, min_length=1)
    do: str | None = None
    send: tuple[str | int | float, ...] | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _understood(self) -> LearnConfig:
        self.mapping()
        return self

    def mapping(self) -> Mapping:
        """What the door works with; raises `ValueError` with a sentence if this entry can mean nothing."""
        from bridge.doors.midi_learn import mapping_of  # the address table, for those only who have learnt something

        return mapping_of(self)


class MidiConfig(BaseModel):
    """`[midi]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    port: Annotated[str, Field(max_length=1000)] = OFF
    learn: tuple[LearnConfig, ...] = Field(default=(), max_length=256)

    @field_validator("port")
    @classmethod
    def _understood(cls, value: str) -> str:
        list(_wishes(value))
        return value

    @property
    def wishes(self) -> tuple[PortWish, ...]:
        """The ports that shall be heard; none if MIDI is off."""
        return tuple(_wishes(self.port))

    @field_validator("learn", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError("each mapping is a table of its own: [[midi.learn]], with two brackets")
        return value


def _wishes(text: str) -> Iterator[PortWish]:
    """Raises `ValueError`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(ALLOWED)
    if OFF in (part.casefold() for part in parts):
        if len(parts) > 1:
            raise ValueError("off stands alone")
        return
    yield from {(wish.kind, wish.name.casefold(), wish.port): wish for wish in map(_wish, parts)}.values()


def _wish(part: str) -> PortWish:
    kind, colon, rest = (piece.strip() for piece in part.partition(":"))
    match kind.casefold():
        case "virtual" if rest or not colon:
            return PortWish(PortKind.VIRTUAL, part, rest or DEFAULT_NAME)
        case "jack":
            return PortWish(PortKind.JACK, part, rest)
        case "tcp":
            return _tcp(part, rest)
    return PortWish(PortKind.NAMED, part, part)


def _tcp(part: str, rest: str) -> PortWish:
    found = re.fullmatch(r"(localhost|[0-9.]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", rest)
    if found is None or int(found[2]) > 65535:
        raise ValueError(f"{part}: it is written tcp:127.0.0.1:PORT")
    host = "127.0.0.1" if found[1] == "localhost" else found[1].strip("[]")
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"{part}: MIDI over TCP asks nobody for a password, so it stays on this machine (127.0.0.1)")
    return PortWish(PortKind.TCP, part, host=host, port=int(found[2]))
