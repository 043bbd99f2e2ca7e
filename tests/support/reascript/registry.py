"""Which ReaScript functions the double models: one Python function per name, found by a decorator.

A modelled function receives the host, then the arguments of the official signature: pointers as the records of
`tests.support.reascript.model` (checked to be alive), a project of 0 or nil as the active project, strings as `str`. It
returns what the signature lists: nothing, one value, or a tuple for several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

MODELLED: dict[str, Callable[..., Any]] = {}
"""By the function's official name."""


def reascript(name: str) -> Callable[[F], F]:
    """Model the ReaScript function `name`."""

    def register(function: F) -> F:
        if name in MODELLED:
            raise ValueError(f"{name} is modelled twice")
        MODELLED[name] = function
        return function

    return register
