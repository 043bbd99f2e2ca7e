"""Errors as the task API answers them: ``{"errors": [{code, message, parameter, type, taskType, taskUUID}]}``.

Codes are those that published clients of the API sort by: ``invalid...``, ``missing...``, ``unsupported...``,
``unknownParameter`` and ``incompatibleParameters`` are mistakes in a request, ``conflictTaskUUID`` is a UUID that was
used before, ``...NotFound`` names what is not there, ``rateLimitExceeded``, ``invalidApiKey`` and the like speak for
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class ApiError:
    """One problem of one task. `type` is what `parameter` should have been (``integer``, ``string``, ...)."""

    code: str
    message: str
    parameter: str | None = None
    type: str | None = None
    task_type: str | None = None
    task_uuid: str | None = None
    status: int = 400
    """The HTTP status of an answer that holds nothing but this."""

    def of(self, task_type: str | None, task_uuid: str | None) -> ApiError:
        """The same error, said of that task."""
        return replace(self, task_type=task_type, task_uuid=task_uuid)

    def as_json(self) -> dict[str, Any]:
        """As it stands in ``errors``; what is not known is left out."""
        fields = {
            "code": self.code,
            "message": self.message,
            "parameter": self.parameter,
            "type": self.type,
            "taskType": self.task_type,
            "taskUUID": self.task_uuid,
        }
        return {name: value for name, value in fields.items() if value is not None}


class ApiRefused(Exception):
    """A task was refused; `errors` is everything that is wrong with it, never empty."""

    def __init__(self, *errors: ApiError) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = errors
