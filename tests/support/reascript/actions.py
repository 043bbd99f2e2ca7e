"""REAPER's own actions by command id. A module that models one puts it into ACTIONS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.reascript.errors import NotModelled

ACTIONS: dict[int, Callable[[Any, Any], None]] = {}
"""Command id -> function of (host, project)."""


def action(command: int) -> Callable[[Callable[[Any, Any], None]], Callable[[Any, Any], None]]:
    """Model the action `command`."""

    def register(function: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        ACTIONS[command] = function
        return function

    return register


def run_action(host: Any, command: int, project: Any) -> None:
    """Errors: NotModelled."""
    if command not in ACTIONS:
        raise NotModelled(f"the action {command}: put it into ACTIONS if it exists")
    ACTIONS[command](host, project)
