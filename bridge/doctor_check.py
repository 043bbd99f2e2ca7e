"""What a look at one thing found: the value that `stembridge doctor` prints a table of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, how it is, what was seen, and what to do (empty when ok)."""

    name: str
    status: Status
    detail: str
    advice: str = ""
