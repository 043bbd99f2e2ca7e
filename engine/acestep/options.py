"""What the configuration says about the engine (section ``[acestep]``), as it reaches the engine's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from protocol.errors import EngineError


@dataclass(frozen=True)
class Options:
    """See ``bridge/config.py`` for the reason of each default; values were validated there."""

    checkpoint: str = "xl-base"
    """A name of the catalogue, a local folder in diffusers layout, or a Hugging Face repository."""
    models_dir: Path | None = None
    """Where checkpoints are; None: the Hugging Face cache."""
    device: str = "auto"
    memory: str = "auto"
    compile: str = "auto"
    items_per_pass: int = 1
    """How many variations go through the network together; with more than one, a take's last bits depend on it."""
    lora: tuple[tuple[str, float], ...] = field(default=())
    """Paths and scales of adapters laid over the transformer."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """From the JSON that the daemon passes on; raises `EngineError` for a name that is none of these."""
        unknown = sorted(values.keys() - {item.name for item in fields(cls)})
        if unknown:
            raise EngineError(f"The engine 'acestep' has no option {', '.join(unknown)}. Update both parts together.")
        known = dict(values)
        if known.get("models_dir") is not None:
            known["models_dir"] = Path(known["models_dir"])
        if "lora" in known:
            known["lora"] = tuple((str(entry["path"]), float(entry.get("scale", 1.0))) for entry in known["lora"])
        return cls(**known)
