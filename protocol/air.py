"""The AIR ids by which the task API names a model, and the checkpoint that each of them is here.

The ids are those that published clients of the API know; the checkpoints' names are `engine.acestep.catalogue`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MODEL = "runware:ace-step@v1.5-xl-base"
"""ACE-Step v1.5 XL Base, the model of the integration specification."""

CHECKPOINT_OF: Mapping[str, str] = MappingProxyType(
    {f"runware:ace-step@v1.5-{name}": name for name in ("xl-base", "xl-sft", "xl-turbo", "base", "turbo")}
)
"""``{AIR id: checkpoint}`` of every model that a task may name; `MODEL` first."""
