"""Names to engines: what `auto`, `sketch`, `acestep` or a plugin's name stands for, and how it is loaded.

Resolving a name imports nothing. Loading imports the engine's module, so that module must be cheap to import: heavy
libraries belong inside functions.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from engine.api import Capabilities, Engine
from protocol.errors import BadArgument, EngineError, EngineMissing

BUILT_IN: Mapping[str, str] = {"sketch": "engine.sketch:SketchEngine"}
LATER: Mapping[str, str] = {
    "acestep": "The engine 'acestep' (ACE-Step v1.5) arrives with a later version of Stembridge. Use the engine "
    "'sketch', which needs no model and no GPU."
}
"""Engines that are known by name but not part of this version, and what to tell who asks for one."""

BEST_FIRST = ("acestep", "sketch")
"""The order in which `auto` tries."""

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class EngineSpec:
    """An engine's name, as users see it, and where its class is: ``package.module:Class``."""

    name: str
    target: str


def resolve(name: str, extra: Mapping[str, str] | None = None) -> EngineSpec:
    """The engine behind `name`; `extra` adds engines by name (``{"mine": "package.module:Class"}``).

    Raises `EngineMissing` for a name that nobody knows or that this version does not have, `BadArgument` if `extra`
    redefines an engine of ours or its target is not of that form.
    """
    extra = extra or {}
    if name == "auto":
        return _best(extra)
    if name in extra:
        return _plugin(name, extra[name])
    if name in LATER:
        raise EngineMissing(LATER[name])
    if name not in BUILT_IN:
        raise EngineMissing(f"There is no engine {name[:80]!r}. Known here: {', '.join(names(extra))}.")
    return EngineSpec(name, BUILT_IN[name])


def names(extra: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Every name that `resolve` answers with an engine, `auto` first."""
    return ("auto", *BUILT_IN, *(extra or {}))


def load(spec: EngineSpec) -> Engine:
    """The engine itself, made without arguments.

    Raises `EngineMissing` if it cannot be imported and `EngineError` if it cannot be made; both name the cause.
    """
    module_name, _, class_name = spec.target.partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise EngineMissing(
            f"The engine '{spec.name}' ({spec.target}) cannot be loaded: {error}. Install what is missing, or choose "
            "another engine."
        ) from error
    try:
        return cast(Engine, kind())
    except Exception as error:
        raise EngineError(f"The engine '{spec.name}' cannot be started: {type(error).__name__}: {error}.") from error


def capabilities(name: str, extra: Mapping[str, str] | None = None) -> Capabilities:
    """What the engine behind `name` offers, without preparing it, under the name that `resolve` knows it by.

    Raises what `resolve` and `load` raise.
    """
    spec = resolve(name, extra)
    return replace(load(spec).capabilities(), name=spec.name)


def _plugin(name: str, target: str) -> EngineSpec:
    if name in BUILT_IN or name in LATER:
        raise BadArgument(f"The engine name {name!r} is taken; give your own engine ({target}) another name.")
    if not _TARGET.fullmatch(target):
        raise BadArgument(f"The engine {name!r} must be given as 'package.module:Class', not {target[:120]!r}.")
    return EngineSpec(name, target)


def _best(extra: Mapping[str, str]) -> EngineSpec:
    for name in BEST_FIRST:
        try:
            return resolve(name, extra)
        except EngineMissing:
            continue
    raise EngineMissing("No engine can run here.")
