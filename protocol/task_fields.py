"""What one field of a task may hold: small rules, each of which checks a value and says in words what it allows.

A rule stands in the annotation of its field (`Annotated[int, Whole(1, 300)]`), so that the model, the validator, the
DAW's settings and the documentation all read the same limits. Rules know nothing of other fields.

Types are strict: a boolean is no number, ``"3"`` is not 3, NaN and infinity are refused. But an int does where a float
is asked for, and a whole float (4.0) where an int is, since some OSC clients only send floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from protocol.float32 import Single, as_single

_SHOWN_CHARS, SHOWN_DIGITS = 40, 20


class Door(StrEnum):
    """Which way a task came in; `protocol.task` says in what the two differ."""

    HTTP = "http"
    """The public API: the specification to the letter."""
    DAW = "daw"
    """OSC, MIDI, the mailbox, the command line: a project's session stands behind the task."""


@dataclass(frozen=True)
class Mistake:
    """What is wrong with one member of an object: its name, its value, what would be allowed, and both in a sentence;
    `code` as in `Refused`, or ``unknown`` or ``conflict`` as in `protocol.task_check.Problem`."""

    key: str
    value: object
    allowed: str
    message: str
    code: str


class Refused(ValueError):
    """A value breaks its field's rule; `code` is one of ``type``, ``range``, ``step``, ``length``, ``choice``,
    ``format``. `detail` is a sentence on where in the value the mistake is, if there is more to say. `mistakes` are
    those of an object's members, if its rule knows them: they are the problems then, instead of the object itself."""

    def __init__(self, code: str, detail: str = "", mistakes: tuple[Mistake, ...] = ()) -> None:
        super().__init__(f"not allowed: {code}")
        self.code = code
        self.detail = detail
        self.mistakes = mistakes


@dataclass(frozen=True)
class Rule:
    """Base of all rules."""

    kind: ClassVar[str]
    """The type in a word or two, for tables."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words that complete "it must be ..."."""
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """The rule at `Door.HTTP` as JSON Schema 2020-12: it passes whatever the rule passes, and refuses the rest as
        far as a schema can. Always with a `type`."""
        raise NotImplementedError

    def check(self, value: object, _door: Door, /) -> Any:
        """The value in its normal form; raises `Refused`."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Guards the model's field with the wider of the doors' rules, so that no model holds an impossible value."""
        optional = type(None) in get_args(source)

        def guard(value: object) -> Any:
            return None if value is None and optional else self.check(value, Door.DAW)

        return core_schema.no_info_before_validator_function(guard, handler(source))


@dataclass(frozen=True)
class Whole(Rule):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    unit: str = ""

    kind = "whole number"

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}{self.unit and ' ' + self.unit}"

    def check(self, value: object, _door: Door, /) -> int:
        number = plain_number(value)
        if not self.low <= number <= self.high:
            raise Refused("range")
        if number != int(number):
            raise Refused("step")
        return int(number)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Number(Rule):
    """A number from `low` to `high`, in decimal steps if `step` is given; with `above_low`, `low` itself is excluded.

    Steps are judged on the shortest decimal form of the double (0.07 is a step of 0.01, 0.075 is none). A DAW's OSC
    client may send 32-bit floats, in which 0.7 reads 0.699999988: exactly that neighbour of a step counts as the step.
    """

    low: float
    high: float
    step: str = ""
    unit: str = ""
    above_low: bool = False

    kind = "number"

    @property
    def allowed(self) -> str:
        unit = self.unit and " " + self.unit
        span = f"above {self.low:g}, up to {self.high:g}" if self.above_low else f"from {self.low:g} to {self.high:g}"
        return f"a number {span}{unit}{self.step and f' in steps of {self.step}'}"

    def check(self, value: object, door: Door, /) -> float:
        number = plain_number(value)
        if not self.low <= number <= self.high or (self.above_low and number == self.low):
            raise Refused("range")
        is_fader = door is Door.DAW and isinstance(value, Single)
        number = float(number) + 0.0  # no negative zero
        return self._on_step(number, door, is_fader) if self.step else number

    def _on_step(self, number: float, door: Door, is_fader: bool) -> float:
        step, exact = Decimal(self.step), Decimal(str(number))
        nearest = float((exact / step).to_integral_value() * step)
        # What a controller sends as a 32-bit float is a fader's place: nobody can hit a hundredth with a finger.
        if nearest != number and not is_fader and not (door is Door.DAW and as_single(nearest) == number):
            raise Refused("step")
        return nearest

    def json_schema(self) -> dict[str, Any]:
        low = {"exclusiveMinimum" if self.above_low else "minimum": self.low}
        step = {"multipleOf": float(self.step)} if self.step else {}
        return {"type": "number", **low, "maximum": self.high, **step}


@dataclass(frozen=True)
class Text(Rule):
    """Text of `shortest` to `longest` characters (code points); with `or_empty`, also none at all."""

    shortest: int
    longest: int
    or_empty: bool = False

    kind = "text"

    @property
    def allowed(self) -> str:
        return f"text of {self.shortest} to {self.longest} characters{', or empty' if self.or_empty else ''}"

    def check(self, value: object, _door: Door, /) -> str:
        text = plain_text(value)
        if not (self.shortest <= len(text) <= self.longest or (self.or_empty and not text)):
            raise Refused("length")
        return text

    def json_schema(self) -> dict[str, Any]:
        lengths = {"minLength": self.shortest, "maxLength": self.longest}
        return {"type": "string", "anyOf": [lengths, {"const": ""}]} if self.or_empty else {"type": "string", **lengths}


@dataclass(frozen=True)
class Choice(Rule):
    """One of a few values. From a DAW, letter case does not matter."""

    values: tuple[str | int, ...]
    noun: str = ""

    kind = "choice"

    @property
    def allowed(self) -> str:
        if len(self.values) == 1:
            return f"{self.values[0]}"
        return f"{self.noun and self.noun + ', '}one of {', '.join(map(str, self.values))}"

    def check(self, value: object, door: Door, /) -> str | int:
        given = plain_text(value) if isinstance(self.values[0], str) else plain_number(value)
        for allowed in self.values:
            if given == allowed or (door is Door.DAW and str(given).lower() == str(allowed).lower()):
                return allowed
        raise Refused("choice")

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string" if isinstance(self.values[0], str) else "integer", "enum": list(self.values)}


@dataclass(frozen=True)
class Flag(Rule):
    """True or false, and nothing that merely resembles it."""

    kind = "boolean"

    @property
    def allowed(self) -> str:
        return "true or false"

    def check(self, value: object, _door: Door, /) -> bool:
        if not isinstance(value, bool):
            raise Refused("type")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Group(Rule):
    """An object whose members have rules of their own."""

    kind = "object"

    @property
    def allowed(self) -> str:
        return "an object"

    def check(self, value: object, _door: Door, /) -> Mapping[Any, object]:
        if not isinstance(value, Mapping):
            raise Refused("type")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}


def shown(value: object) -> str:
    """A value as errors show it: short whatever was sent, quoted if it is text, never its whole contents."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARS else value[: _SHOWN_CHARS - 3] + "..."
        return '"' + "".join(char if char.isprintable() else "?" for char in cut) + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**SHOWN_DIGITS:
        return f"a number of more than {SHOWN_DIGITS} digits"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def plain_number(value: object) -> int | float:
    """A finite number, as it is; raises `Refused`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("type")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("range")
    return value


def plain_text(value: object) -> str:
    """Text that can be written as UTF-8; raises `Refused`."""
    if not isinstance(value, str):
        raise Refused("type")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which no file and no message could hold
        raise Refused("format") from error
    return str(value)
