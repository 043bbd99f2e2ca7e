"""What a row of the OSC address table is, and how one argument is checked (the table: protocol/address_space.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

_SHOWN = 60


class Kind(StrEnum):
    """What an argument is, whatever OSC type carries it."""

    TEXT = "text"
    INTEGER = "whole number"
    BIG = "large whole number"
    NUMBER = "number"
    FLAG = "0 or 1"
    ANY = "anything"


class Tail(StrEnum):
    """What may follow an address's arguments."""

    NOTHING = "nothing"
    REPEATED = "the arguments again, any number of times"
    OPTIONS = "name-value pairs"
    ANYTHING = "anything"


@dataclass(frozen=True)
class Arg:
    """One argument: for numbers the least and greatest value (`above`: `low` itself excluded), for text the choices."""

    name: str
    kind: Kind = Kind.NUMBER
    meaning: str = ""
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False
    unit: str = ""
    """In the words of OSCQuery's list: ``time.second``, ``time.bpm``, ... (github.com/Vidvox/OSCQueryProposal)."""

    @property
    def allowed(self) -> str:
        """In words that complete "it must be ..."."""
        if self.choices:
            return " or ".join(self.choices)
        if self.kind in (Kind.TEXT, Kind.FLAG, Kind.ANY):
            return str(self.kind)
        noun = f"a {Kind.INTEGER if self.kind is Kind.BIG else self.kind}"
        if self.low is None or self.high is None:
            return noun
        span = f"above {self.low:.16g}, up to" if self.above else f"from {self.low:.16g} to"
        return f"{noun} {span} {self.high:.16g}"

    def checked(self, value: object) -> Any:
        """The value in its normal form (str, int or float), or None if it is not allowed."""
        if self.kind is Kind.ANY:
            return value
        if self.kind is Kind.FLAG:
            return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None
        checked = _as_text(value) if self.kind is Kind.TEXT else self._as_number(value)
        return None if self.choices and checked not in self.choices else checked

    def _as_number(self, value: object) -> float | int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        whole = self.kind is not Kind.NUMBER
        if whole and value != int(value):
            return None
        if self.low is not None and (value < self.low or (self.above and value == self.low)):
            return None
        if self.high is not None and value > self.high:
            return None
        return int(value) if whole else float(value)


@dataclass(frozen=True)
class Address:
    """One row of the table. `path` is complete; `answer` says what comes back beside the ack."""

    path: str
    meaning: str
    args: tuple[Arg, ...] = ()
    tail: Tail = Tail.NOTHING
    options: tuple[Arg, ...] = ()
    settings: bool = False
    """True: every task setting is an option too."""
    answer: str = ""
    group: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Command:
    """A checked message: `values` in the order of the table (of repeated arguments all), `options` by name."""

    address: Address
    values: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def path(self) -> str:
        return self.address.path

    @property
    def job_id(self) -> str | None:
        """The id of the job that the message is about, if it names one: an error can tell it."""
        if "id" in self.options:
            return str(self.options["id"])
        return str(self.values[0]) if self.address.args and self.address.args[0].name == "id" else None


def _as_text(value: object) -> str | None:
    # A client that guesses types sends the id 42 as a number.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def shown(value: object) -> str:
    """A value as it stands in a sentence, cut short if it is long."""
    text = repr(float(value) if isinstance(value, float) else value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
