"""What is done to the transformer's weights before use: LoRA adapters merged in, matrices stored in 8 bits.

Adapters are merged (weight + scale * alpha / rank * B A, summed in float32), so the network has no extra parts: every
layer stays a plain `nn.Linear`, can be streamed, compiled and quantised, and costs nothing per step. It takes no peft,
nor diffusers' loader, which ignores the alpha of PEFT's ``adapter_config.json`` and passes over tensors that fit
nowhere; here an adapter that does not fit is refused.
"""

from __future__ import annotations

import importlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from engine.acestep.checkpoints import Lora
from engine.acestep.devices import Tier
from protocol.errors import EngineCannot, EngineMissing

_TENSOR = re.compile(r"(?P<layer>.+)\.lora_(?P<half>[AB])\.(\w+\.)?weight")
_PREFIX = re.compile(r"^(base_model\.model\.|transformer\.|decoder\.|diffusion_model\.)+")
_RENAMED = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out.0"}
"""The model's own names of its projections (as official training writes them), and diffusers'."""


# --- LoRA -------------------------------------------------------------------------------------------------------------
def merge(transformer: nn.Module, loras: Sequence[tuple[Lora, float]]) -> None:
    """Merge adapters, each with its scale, into the transformer's weights (arXiv 2106.09685).

    Raises `EngineCannot` for one that was made for another network or is of a kind that cannot be merged (DoRA, LoKr).
    """
    layers = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    parts: dict[str, list[tuple[float, Tensor, Tensor]]] = {}
    for lora, scale in loras:
        for name, strength, a, b in _products(lora, layers):
            parts.setdefault(name, []).append((scale * strength, a, b))
    for name, products in parts.items():
        weight = layers[name].weight
        total = weight.data.float()
        for strength, a, b in products:
            total = total + strength * (b @ a)
        weight.data = total.to(weight.dtype)  # a new tensor: the old one may be the checkpoint's mapped file


def _products(lora: Lora, layers: dict[str, nn.Linear]) -> list[tuple[str, float, Tensor, Tensor]]:
    """For each layer that is changed: its name, the strength (alpha / rank), A and B (float32)."""
    with safe_open(lora.path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    settings = _settings(lora.path, metadata)
    if settings.get("use_dora"):
        raise EngineCannot(f"{lora.path} is a DoRA, which cannot be merged. Use a plain LoRA.")
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise EngineCannot(f"{lora.path} is no LoRA that can be used: its tensor {name[:80]!r} is unknown.")
        halves.setdefault(_PREFIX.sub("", match["layer"]), {})[match["half"]] = tensor.float()
    return [_product(lora, name, pair, settings, layers) for name, pair in halves.items()]


def _product(
    lora: Lora, name: str, pair: dict[str, Tensor], settings: dict[str, Any], layers: dict[str, nn.Linear]
) -> tuple[str, float, Tensor, Tensor]:
    head, _, last = name.rpartition(".")
    target = f"{head}.{_RENAMED[last]}" if last in _RENAMED else name
    fits = target in layers and pair.keys() == {"A", "B"}
    if not fits or (pair["B"].shape[0], pair["A"].shape[1]) != layers[target].weight.shape:
        raise EngineCannot(
            f"The LoRA {lora.path} was made for another model: its {name[:80]!r} does not fit this checkpoint. Choose "
            "the checkpoint that it was trained on, or remove it from the configuration ([acestep] lora)."
        )
    rank = pair["A"].shape[0]
    alpha = _of_layer(settings.get("alpha_pattern") or {}, name, settings.get("lora_alpha"))
    alpha = float(rank if alpha is None else alpha)
    strength = alpha / (rank**0.5 if settings.get("use_rslora") else rank)
    return target, strength, pair["A"], pair["B"]


def _settings(file: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """PEFT's settings: in ``adapter_config.json`` beside the file, or in the header as diffusers writes them."""
    beside = file.with_name("adapter_config.json")
    try:
        if file.name == "adapter_model.safetensors" and beside.is_file():
            return _object(json.loads(beside.read_bytes()))
        inside = _object(json.loads(metadata.get("lora_adapter_metadata", "{}")))
        return {name.removeprefix("transformer."): value for name, value in inside.items()}
    except (OSError, ValueError) as error:
        raise EngineCannot(f"The settings of the LoRA {file} cannot be read ({error}). Copy it again.") from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("they are no JSON object")
    return value


def _of_layer(patterns: dict[str, Any], name: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the layer's name or an end of it."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


# --- 8 bits -----------------------------------------------------------------------------------------------------------
_QUANTISERS = {Tier.INT8: "Int8WeightOnlyConfig", Tier.FP8: "Float8WeightOnlyConfig"}


def quantise(layers: nn.Module, tier: Tier, device: torch.device) -> None:
    """Store the matrices of the transformer's `layers` in 8 bits, one scale per row. The arithmetic stays as it was.

    Each goes to `device` first: on a CPU, XL takes minutes. Lossy. Raises `EngineMissing` if torchao is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao warns of its own past
        try:
            torchao = importlib.import_module("torchao.quantization")
        except ImportError as error:
            raise EngineMissing(
                f"The memory tier '{tier}' needs torchao, which is not installed. Run `pip install torchao`, or choose "
                'memory = "auto" in [acestep].'
            ) from error
        config = getattr(torchao, _QUANTISERS[tier])()
        torchao.quantize_(layers, config, filter_fn=lambda module, _: isinstance(module, nn.Linear), device=device)
