"""What a script did that REAPER would not forgive, or that our house does not allow."""

from __future__ import annotations

from dataclasses import dataclass


class ScriptFault(Exception):
    """A bug in a script. Recorded by the host, so that a script which catches it does not hide it."""


class NotModelled(ScriptFault):
    """An official function, property or action that the double does not model yet."""


class DoesNotExist(ScriptFault):
    """REAPER has no such function or property."""


class BadCall(ScriptFault):
    """A wrong number of arguments, or one of a wrong type or value."""


class DeadPointer(ScriptFault):
    """A pointer to something that was deleted."""


class Unbalanced(ScriptFault):
    """An undo block or a PreventUIRefresh that was not closed, closed twice, or opened inside another."""


class UnexpectedDialog(ScriptFault):
    """A dialog for which the test has no answer: in REAPER, everything would now wait for the user."""


class LuaError(Exception):
    """A Lua error that a real function would raise, asked for by a test (`Reaper.failing`). Scripts may catch it."""


@dataclass
class Fault:
    """What the host remembers until the script's slice is over."""

    error: Exception
    trace: str = ""


class ScriptError(Exception):
    """A script ended with an error, or had a fault that it caught. The message holds Lua's traceback."""
