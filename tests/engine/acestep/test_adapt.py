"""Adapters merged into the transformer, and its matrices in 8 bits."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.acestep.checkpoints import Checkpoint, find
from engine.acestep.devices import Tier
from engine.acestep.model import Model, load
from protocol.errors import EngineCannot, EngineMissing

CPU = torch.device("cpu")
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
RANK = 4
Q, OUT, MLP = "layers.0.self_attn.to_q", "layers.1.cross_attn.to_out.0", "layers.2.mlp.down_proj"
OFFICIAL = {Q: "layers.0.self_attn.q_proj", OUT: "layers.1.cross_attn.o_proj", MLP: MLP}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Checkpoint:
    return find(str(tiny_base), None)


def loaded(checkpoint: Checkpoint, **options: Any) -> Model:
    return load(checkpoint, **{"device": CPU, "dtype": torch.float32, "tier": Tier.RESIDENT} | options)


def adapter(weights: dict[str, Tensor], seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Random A and B for three layers."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for name in (Q, OUT, MLP):
        outputs, inputs = weights[f"{name}.weight"].shape
        a, b = torch.randn(RANK, inputs, generator=generator), torch.randn(outputs, RANK, generator=generator)
        pairs[name] = (a, b)
    return pairs


def written(
    file: Path, pairs: dict[str, tuple[Tensor, Tensor]], prefix: str = "transformer.", **metadata: str
) -> tuple[Path, float]:
    tensors = {f"{prefix}{name}.lora_A.weight": a.contiguous() for name, (a, _) in pairs.items()}
    tensors |= {f"{prefix}{name}.lora_B.weight": b.contiguous() for name, (_, b) in pairs.items()}
    save_file(tensors, file, metadata={"format": "pt", **metadata})
    return file, 1.0


def merged(checkpoint: Checkpoint, *loras: tuple[Path, float]) -> dict[str, Tensor]:
    return dict(loaded(checkpoint, lora=loras).transformer.state_dict())


def expected(weights: dict[str, Tensor], *parts: tuple[dict[str, tuple[Tensor, Tensor]], float]) -> dict[str, Tensor]:
    weights = {name: tensor.double() for name, tensor in weights.items()}
    for pairs, strength in parts:
        for name, (a, b) in pairs.items():
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + strength * b.double() @ a.double()
    return weights


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name].double(), tensor, rtol=1e-5, atol=1e-5)


@pytest.fixture
def weights(tiny_base: Path) -> dict[str, Tensor]:
    return load_file(tiny_base / WEIGHTS)


def test_a_lora_is_added_with_its_scale_and_nothing_else_changes(
    base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    pairs = adapter(weights)
    file, _ = written(tmp_path / "warm.safetensors", pairs)
    got = merged(base, (file, 0.5))
    assert_close(got, expected(weights, (pairs, 0.5)))
    unchanged = set(weights) - {f"{name}.weight" for name in pairs}
    assert all(torch.equal(got[name], weights[name]) for name in unchanged)
    with pytest.raises(AssertionError):
        assert_close(got, expected(weights, (pairs, 0.49)))  # the comparison can tell


def test_a_lora_of_the_official_training_fits_too(base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path) -> None:
    pairs = adapter(weights)
    renamed = {OFFICIAL[name]: pair for name, pair in pairs.items()}
    lora = written(tmp_path / "official.safetensors", renamed, "base_model.model.")
    assert_close(merged(base, lora), expected(weights, (pairs, 1.0)))


def test_alpha_beside_the_file_counts(base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path) -> None:
    """PEFT keeps it in adapter_config.json; without it every such LoRA would have the wrong strength."""
    pairs = adapter(weights)
    renamed = {OFFICIAL[name]: pair for name, pair in pairs.items()}
    written(tmp_path / "adapter_model.safetensors", renamed, "base_model.model.")
    config = {"r": RANK, "lora_alpha": 8, "alpha_pattern": {"o_proj": 2}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    wanted = expected(weights, ({name: pairs[name] for name in (Q, MLP)}, 2.0), ({OUT: pairs[OUT]}, 0.5))
    assert_close(merged(base, (tmp_path, 1.0)), wanted)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "use_rslora": True}))
    assert_close(merged(base, (tmp_path, 1.0)), expected(weights, (pairs, 8 / RANK**0.5)))


def test_alpha_in_the_header_counts(base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path) -> None:
    pairs = adapter(weights)
    settings = json.dumps({"transformer.r": RANK, "transformer.lora_alpha": 12})
    lora = written(tmp_path / "x.safetensors", pairs, lora_adapter_metadata=settings)
    assert_close(merged(base, lora), expected(weights, (pairs, 3.0)))


def test_two_loras_add_up_and_both_are_recorded(base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path) -> None:
    first, second = adapter(weights, 1), adapter(weights, 2)
    loras = ((written(tmp_path / "a.safetensors", first)[0], 1.0), (written(tmp_path / "b.safetensors", second)[0], -2))
    model = loaded(base, lora=loras)
    assert_close(dict(model.transformer.state_dict()), expected(weights, (first, 1.0), (second, -2.0)))
    assert [(each.path.name, each.scale) for each in model.loras] == [("a.safetensors", 1.0), ("b.safetensors", -2)]
    assert len({each.identity for each in model.loras}) == 2


def test_merging_leaves_the_checkpoints_file_alone(
    base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    """Loaded weights may be the mapped file itself."""
    file = base.folder / WEIGHTS
    before = hashlib.sha256(file.read_bytes()).digest()
    merged(base, written(tmp_path / "x.safetensors", adapter(weights)))
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert torch.equal(merged(base)[f"{Q}.weight"], weights[f"{Q}.weight"])


@pytest.mark.parametrize("problem", ["shape", "layer", "half", "no linear"])
def test_a_lora_for_another_model_is_refused(
    base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path, problem: str
) -> None:
    pairs = adapter(weights)
    a, b = pairs[MLP]
    if problem == "shape":
        pairs[MLP] = (torch.ones(RANK, 2048), b)
    else:
        del pairs[MLP]
        pairs[{"layer": "layers.31.mlp.down_proj", "no linear": "proj_in_conv", "half": MLP}[problem]] = (a, b)
    file, scale = written(tmp_path / "x.safetensors", pairs)
    if problem == "half":
        tensors = load_file(file)
        del tensors[f"transformer.{MLP}.lora_B.weight"]
        save_file(tensors, file)
    with pytest.raises(EngineCannot, match=r"x\.safetensors was made for another model.*trained on"):
        loaded(base, lora=((file, scale),))


def test_kinds_that_cannot_be_merged_are_refused(base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path) -> None:
    file, scale = written(tmp_path / "x.safetensors", adapter(weights))
    save_file(load_file(file) | {f"transformer.{Q}.dora_scale": torch.ones(1)}, file)
    with pytest.raises(EngineCannot, match="is no LoRA that can be used"):
        loaded(base, lora=((file, scale),))
    written(tmp_path / "adapter_model.safetensors", adapter(weights))
    for text in ("{", "[]"):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(EngineCannot, match="settings"):
            loaded(base, lora=((tmp_path, 1.0),))
    (tmp_path / "adapter_config.json").write_text('{"use_dora": true}')
    with pytest.raises(EngineCannot, match="DoRA"):
        loaded(base, lora=((tmp_path, 1.0),))


def test_a_lora_that_is_not_there_is_told_before_anything_is_loaded(base: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="no LoRA"):
        loaded(base, lora=((tmp_path / "none.safetensors", 1.0),), step=lambda *_: pytest.fail("loaded"))


def test_merging_equals_diffusers_own_way_through_peft(
    base: Checkpoint, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="peft is not installed: merging does not need it, only this comparison does")
    from diffusers.loaders import AceStepLoraLoaderMixin

    settings = {"r": RANK, "lora_alpha": 2 * RANK, "target_modules": [Q, OUT, MLP]}
    header = json.dumps({f"transformer.{name}": value for name, value in settings.items()})
    file, _ = written(tmp_path / "x.safetensors", adapter(weights), lora_adapter_metadata=header)
    theirs = loaded(base).transformer
    state, metadata = AceStepLoraLoaderMixin.lora_state_dict(str(file), return_lora_metadata=True)
    theirs.load_lora_adapter(state, metadata=metadata, prefix="transformer", adapter_name="x")
    theirs.set_adapters(["x"], [0.5])
    ours, plain = loaded(base, lora=((file, 0.5),)).transformer, loaded(base).transformer
    for name in (Q, OUT, MLP):
        inputs = plain.get_submodule(name).in_features
        x = torch.randn(2, 5, inputs, generator=torch.Generator().manual_seed(0))
        wanted = theirs.get_submodule(name)(x)
        torch.testing.assert_close(ours.get_submodule(name)(x), wanted, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(plain.get_submodule(name)(x), wanted, rtol=1e-2)


# --- 8 bits -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tier", [Tier.INT8, Tier.FP8])
def test_without_torchao_8_bits_are_refused_with_the_command(
    base: Checkpoint, monkeypatch: pytest.MonkeyPatch, tier: Tier
) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)  # what import finds where it is not installed
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(EngineMissing, match="pip install torchao"):
        loaded(base, tier=tier)


@pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="torchao is not installed (pip install torchao)"
)
@pytest.mark.parametrize(("tier", "loss"), [(Tier.INT8, 0.02), (Tier.FP8, 0.08)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_8_bit_matrices_differ_a_little_and_take_less(
    base: Checkpoint, tier: Tier, loss: float, dtype: torch.dtype
) -> None:
    exact, stored = (loaded(base, tier=each, dtype=dtype).transformer for each in (Tier.RESIDENT, tier))
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    for name in ("layers.0.self_attn.to_q", "layers.1.mlp.up_proj", "layers.3.cross_attn.to_out.0"):
        ours, theirs = stored.get_submodule(name), exact.get_submodule(name)
        with torch.inference_mode():
            got, wanted = ours(x).float(), theirs(x).float()
        error = float((got - wanted).norm() / wanted.norm())
        assert 1e-4 < error < loss
        assert type(ours.weight) is not type(theirs.weight)
    assert torch.equal(stored.time_embed.linear_1.weight, exact.time_embed.linear_1.weight)
    assert torch.equal(stored.condition_embedder.weight, exact.condition_embedder.weight)
