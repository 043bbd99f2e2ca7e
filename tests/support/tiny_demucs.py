"""Demucs models of a few kilobytes with random weights, laid out as the package publishes its own.

For each name a folder with ``NAME.yaml`` (signatures, segment, who has a say in which source) and one safetensors file
for each model, its class and arguments in the file's head. `pickled` writes the package's older format beside it, for
comparing with what the package itself makes of the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOUR = ("drums", "bass", "other", "vocals")
SIX = (*FOUR, "guitar", "piano")
SEGMENT_S = 1


def write(
    folder: Path, name: str = "htdemucs", sources: Sequence[str] = FOUR, models: int = 1, weights: Any = None
) -> tuple[Path, ...]:
    """The weight files; `weights` as in the YAML file, a row for each model."""
    import yaml
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    signatures = [f"tiny{name.replace('_', '')}{index}" for index in range(models)]
    bag = {"models": signatures, **({"weights": weights} if weights else {})}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(bag), encoding="utf-8")
    files = []
    for index, signature in enumerate(signatures):
        files.append(folder / f"{signature}.safetensors")
        model, args = _built(sources, seed=index)
        head = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(args)}
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, files[-1], metadata=head)
    return tuple(files)


def pickled(folder: Path, signature: str = "htdemucs", sources: Sequence[str] = FOUR, seed: int = 0) -> None:
    """The same weights as the first of `write`, as a ``.th`` file that ``demucs --repo`` reads."""
    import torch
    from demucs.htdemucs import HTDemucs

    folder.mkdir(parents=True, exist_ok=True)
    model, args = _built(sources, seed)
    package = {"klass": HTDemucs, "args": (), "kwargs": args, "state": model.state_dict()}
    torch.save(package, folder / f"{signature}.th")


def _built(sources: Sequence[str], seed: int) -> tuple[Any, dict[str, Any]]:
    import torch
    from demucs.htdemucs import HTDemucs

    args = {
        "sources": list(sources),
        "channels": 4,
        "nfft": 2048,
        "depth": 4,
        "dconv_comp": 2,
        "norm_groups": 1,
        "t_layers": 1,
        "t_heads": 2,
        "bottom_channels": 16,
        "segment": SEGMENT_S,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HTDemucs(**args).eval(), args
