"""What the parts of the task API hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.api_errors import ApiError

Item = dict[str, Any]
"""One entry of ``data``, ready for JSON."""


@dataclass(frozen=True)
class Media:
    """An audio file that is kept under a UUID: uploaded, fetched, or a result. Times are seconds since the epoch."""

    uuid: str
    file: Path
    mime: str
    size: int
    kind: str
    """``upload`` or ``result``."""
    created: float
    expires: float | None = None

    @property
    def name(self) -> str:
        """How its URL ends: the UUID and the file's ending."""
        return f"{self.uuid}{self.file.suffix}"


@dataclass(frozen=True)
class Answer:
    """What one task of an array is answered: results, problems, or both."""

    data: tuple[Item, ...] = ()
    errors: tuple[ApiError, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """``{"data": [...]}``, ``{"errors": [...]}``, or both."""
        body: dict[str, Any] = {}
        if self.data or not self.errors:
            body["data"] = list(self.data)
        if self.errors:
            body["errors"] = [error.as_json() for error in self.errors]
        return body
