"""One running script: a Lua of its own, its deferred functions, its exit functions, its gfx window.

Promises: a deferred function never runs at once but in a later cycle; a script ends when nothing is deferred any more,
then its exit functions run and its window closes; every error and every fault of a script surfaces as a ScriptError.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.reascript.calls import Pointer, checked_arguments, checked_results, text
from tests.support.reascript.errors import BadCall, Fault, LuaError, NotModelled, ScriptError, ScriptFault, Unbalanced
from tests.support.reascript.registry import MODELLED, reascript
from tests.support.reascript.signatures import signatures
from tests.support.reascript.window import Window, gfx_call, gfx_get, gfx_is_function, gfx_set

if TYPE_CHECKING:
    from tests.support.reascript.host import Reaper

MOST_DEFERRED = 1024

PRELUDE = Path(__file__).with_name("prelude.lua")


def _no_attributes(_object: Any, name: Any, _is_setting: bool) -> Any:
    raise AttributeError(f"attempt to index a pointer (field {name!r})")


class Script:
    """A script of the host, from its start to its end."""

    def __init__(self, host: Reaper, path: Path) -> None:
        self.host = host
        self.path = path
        self.deferred: list[Callable[[], Any]] = []
        self.exits: list[Callable[[], Any]] = []
        self.has_deferred = False
        self.options = 0
        self.ended = False
        self._window = Window(self)
        module = importlib.import_module("lupa.lua" + host.lua.replace(".", ""))
        self.runtime: Any = module.LuaRuntime(
            encoding="latin-1",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
        )
        functions = {
            "call": self._call,
            "find": self._find,
            "key_of": lambda value: id(value.record) if isinstance(value, Pointer) else None,
            "fault": host.traced,
            "gfx_call": lambda name, *given: self._guarded(lambda: gfx_call(self._window, name, given)),
            "gfx_get": lambda name: self._guarded(lambda: (gfx_get(self._window, name),)),
            "gfx_set": lambda name, value: self._guarded(lambda: gfx_set(self._window, name, value)),
            "gfx_is_function": gfx_is_function,
        }
        load = self.runtime.eval("function(code) return load(code, '=prelude.lua') end")
        self._lua: Any = load(PRELUDE.read_bytes())(self.runtime.table_from(functions))

    def __repr__(self) -> str:
        return f"<script {self.path.name}, {len(self.deferred)} deferred>"

    def start(self) -> None:
        """Run the file. Errors: ScriptError.

        One that neither defers nor records an undo step gets one from REAPER, whether it changed anything or not.
        """
        project = self.host.active
        history = self.host.history(project)
        before, last = history.snapshot(), history.done[-1:]
        self._slice([lambda: self._lua.run(os.fsencode(self.path))])
        if project.alive and not self.has_deferred and history.done[-1:] == last:
            history.record_script(self.path.name, before)

    def step(self) -> None:
        """Run what was deferred until now. Errors: ScriptError."""
        functions, self.deferred = self.deferred, []
        self._slice([lambda function=function: self._lua.protect(function) for function in functions])

    def terminate(self) -> None:
        """End it as the task control or a second start does."""
        self.deferred = []
        self._end()

    def _slice(self, steps: list[Callable[[], Any]]) -> None:
        """A piece of the script's life, after which everything must be balanced."""
        self.host.stack.append(self)
        opened = self.host.open_blocks()
        try:
            for step in steps:
                if not self.ended:
                    self._succeed(step())
            self._balanced("at the end of a cycle", opened)
        except BaseException:
            self.deferred = []
            raise
        finally:
            self.host.stack.pop()
            if not self.deferred:
                self._end()

    def _balanced(self, when: str, opened: Any) -> None:
        try:
            self.host.check_balance(when, opened)
        except Unbalanced as error:
            raise ScriptError(f"{self.path.name}: {error}") from error

    def _succeed(self, result: Any) -> None:
        if result is True or result[0] is True:
            return
        message = text(result[1])
        fault = self.host.take_fault()
        raise ScriptError(f"{self.path.name}: {message}") from fault

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self in self.host.running:
            self.host.running.remove(self)
        self.host.stack.append(self)
        opened = self.host.open_blocks()
        try:
            for function in self.exits:
                self._succeed(self._lua.protect(function))
            self._balanced("after the exit functions", opened)
        finally:
            self.host.stack.pop()
            self._window.close()
            self.exits = []
            self._lua = self.runtime = None  # its Lua holds our functions: a circle that nobody else would break

    def _find(self, name: Any) -> tuple[Any, ...]:
        return self._guarded(lambda: (self.host.exists(name if isinstance(name, str) else str(name)),))

    def _call(self, name: str, *given: Any) -> tuple[Any, ...]:
        return self._guarded(lambda: self._modelled(name, given))

    def _modelled(self, name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
        host, signature = self.host, signatures()[name]
        if name not in MODELLED:
            raise NotModelled(f"{signature}: an official function that the double does not model")
        arguments = checked_arguments(signature, host.active_or_none, given)
        if name in host.failing:
            raise LuaError(f"{name}: {host.failing[name]}")
        host.calls.append(name)
        return checked_results(signature, MODELLED[name](host, *arguments), host.pointer)

    def _guarded(self, work: Callable[[], tuple[Any, ...] | None]) -> tuple[Any, ...]:
        """(True, results...), or (False or None, message): no Python exception passes through Lua as it is."""
        try:
            return (True, *(work() or ()))
        except LuaError as error:
            return None, str(error).encode("utf-8", "surrogateescape")
        except Exception as error:
            self.host.faults.append(Fault(error))
            kind = "" if isinstance(error, ScriptFault) else "the double itself failed: "
            message = f"{kind}{type(error).__name__}: {error}"
            return False, message.encode("utf-8", "surrogateescape")


@reascript("defer")
def defer(host: Any, function: Callable[[], Any]) -> bool:
    script = host.current
    if script.ended:
        raise BadCall("defer in an exit function: the script has ended")
    if len(script.deferred) >= MOST_DEFERRED:
        raise BadCall(f"more than {MOST_DEFERRED} functions are deferred")
    script.deferred.append(function)
    script.has_deferred = True
    return True


@reascript("runloop")
def runloop(host: Any, function: Callable[[], Any]) -> bool:
    return defer(host, function)


@reascript("atexit")
def atexit(host: Any, function: Callable[[], Any]) -> bool:
    host.current.exits.append(function)
    return True


@reascript("set_action_options")
def set_action_options(host: Any, flag: int) -> None:
    if flag & ~15:
        raise BadCall(f"set_action_options knows the flags 1, 2, 4 and 8, not {flag}")
    host.current.options = flag & 3
    if flag & 12:
        host.toggles[host.command_of(host.current.path)] = int(bool(flag & 4))


@reascript("get_action_context")
def get_action_context(host: Any) -> tuple[bool, str, int, int, int, int, float, str]:
    """Started from the action list: no MIDI or OSC value."""
    path = host.current.path
    return False, os.fsdecode(path), 0, host.command_of(path), -1, -1, -1.0, ""
