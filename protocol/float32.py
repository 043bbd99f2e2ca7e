"""What a 32-bit float of OSC says: some decimal that a person or a program meant, known to about seven digits.

Many controllers, and REAPER's own OSC surface, send nothing else. A tempo of 120.37 reads 120.37000274658203 when such
a float is widened to a double; what was meant is the shortest decimal that rounds to the same float. A `Single` is that
decimal, and remembers that it is no more precise than a 32-bit float.
"""

from __future__ import annotations

import math
import struct

_FEWEST_DIGITS, _ENOUGH_DIGITS = 6, 9
"""Six digits survive the way through any 32-bit float; nine always tell two of them apart (IEEE 754)."""

_SINGLE = struct.Struct(">f")


class Single(float):
    """A double that stands for the 32-bit float `as_single(value)`; arithmetic gives plain floats."""

    __slots__ = ()

    @classmethod
    def of(cls, value: float) -> Single:
        """The shortest decimal that rounds to the same 32-bit float as `value`; NaN and infinity stay what they are."""
        if not math.isfinite(value):
            return cls(value)
        wanted = as_single(value)
        for digits in range(_FEWEST_DIGITS, _ENOUGH_DIGITS):
            decimal = float(f"{wanted:.{digits}g}")
            if as_single(decimal) == wanted:
                return cls(decimal)
        return cls(f"{wanted:.{_ENOUGH_DIGITS}g}") if math.isfinite(wanted) else cls(wanted)


def as_single(value: float) -> float:
    """`value` rounded to the nearest 32-bit float, infinity beyond their range."""
    try:
        return float(_SINGLE.unpack(_SINGLE.pack(value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def may_be(exact: float, heard: float) -> bool:
    """True if `heard` can be news of the value `exact`: equal, or equal within what a 32-bit float can tell."""
    return exact == heard or (isinstance(heard, Single) and as_single(exact) == as_single(heard))
