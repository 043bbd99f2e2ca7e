"""Names to engines: what `auto`, `sketch`, `acestep` or a plugin's name stands for, and how it is loaded.

Resolving a name imports no engine; `engine.availability` says whether ours can run here. Loading imports the engine's
module, so that module must be cheap to import: heavy libraries belong inside functions.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from engine.api import Capabilities, Engine
from engine.availability import why_not
from protocol.errors import BadArgument, EngineError, EngineMissing, StembridgeError

BUILT_IN: Mapping[str, str] = {"sketch": "engine.sketch:SketchEngine", "acestep": "engine.acestep:AceStepEngine"}

BEST_FIRST = ("acestep", "sketch")
"""The order in which `auto` tries."""

Options = Mapping[str, Mapping[str, Any]]
"""What the configuration says to engines, by their names; JSON values only, since they travel to another process."""

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class EngineSpec:
    """An engine's name, as users see it, where its class is (``package.module:Class``), and the options it gets."""

    name: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


def resolve(name: str, extra: Mapping[str, str] | None = None, options: Options | None = None) -> EngineSpec:
    """The engine behind `name`; `extra` adds engines by name (``{"mine": "package.module:Class"}``).

    Raises `EngineMissing` for a name that nobody knows or an engine that lacks something here, saying what; raises
    `BadArgument` if `extra` redefines an engine of ours or its target is not of that form.
    """
    extra, own = extra or {}, (options or {}).get(name, {})
    if name == "auto":
        return _best(extra, options)
    if name in extra:
        return replace(_plugin(name, extra[name]), options=own)
    if name not in BUILT_IN:
        raise EngineMissing(f"There is no engine {name[:80]!r}. Known here: {', '.join(names(extra))}.")
    if lack := why_not(name, own):
        raise EngineMissing(lack)
    return EngineSpec(name, BUILT_IN[name], own)


def names(extra: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Every name that `resolve` knows, `auto` first; an engine of ours may still lack something here."""
    return ("auto", *BUILT_IN, *(extra or {}))


def load(spec: EngineSpec) -> Engine:
    """The engine itself, made without arguments and then, if it has a `configure`, given its options.

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
        engine = cast(Engine, kind())
        if configure := getattr(engine, "configure", None):
            configure(spec.options)
        return engine
    except StembridgeError:
        raise
    except Exception as error:
        raise EngineError(f"The engine '{spec.name}' cannot be started: {type(error).__name__}: {error}.") from error


def capabilities(name: str, extra: Mapping[str, str] | None = None, options: Options | None = None) -> Capabilities:
    """What the engine behind `name` offers, without preparing it, under the name that `resolve` knows it by.

    Raises what `resolve` and `load` raise.
    """
    spec = resolve(name, extra, options)
    return replace(load(spec).capabilities(), name=spec.name)


def _plugin(name: str, target: str) -> EngineSpec:
    if name in BUILT_IN:
        raise BadArgument(f"The engine name {name!r} is taken; give your own engine ({target}) another name.")
    if not _TARGET.fullmatch(target):
        raise BadArgument(f"The engine {name!r} must be given as 'package.module:Class', not {target[:120]!r}.")
    return EngineSpec(name, target)


def _best(extra: Mapping[str, str], options: Options | None) -> EngineSpec:
    for name in BEST_FIRST:
        try:
            return resolve(name, extra, options)
        except EngineMissing:
            continue
    raise EngineMissing("No engine can run here.")
