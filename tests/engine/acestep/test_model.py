"""Loading a checkpoint: exactly what its files hold, or an error that names the file."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.acestep.checkpoints import Checkpoint, find
from engine.acestep.denoiser import Denoiser
from engine.acestep.devices import Tier
from engine.acestep.model import Model, check, load, part_bytes
from protocol.errors import Cancelled, EngineError, EngineMissing

CPU = torch.device("cpu")
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model.safetensors", "model.safetensors"
PARTS = {
    "text_encoder": "text_encoder",
    "condition_encoder": "condition_encoder",
    "transformer": "transformer",
    "vae": "vae",
    "audio_tokenizer": "audio_tokenizer",
    "audio_token_detokenizer": "audio_detokenizer",
}


def loaded(checkpoint: Checkpoint, **options: Any) -> Model:
    return load(checkpoint, **{"device": CPU, "dtype": torch.float32, "tier": Tier.RESIDENT} | options)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Checkpoint:
    return find(str(tiny_base), None)


@pytest.fixture
def copied(tiny_base: Path, tmp_path: Path) -> Checkpoint:
    """A checkpoint to be changed, known to be whole until then."""
    return find(str(shutil.copytree(tiny_base, tmp_path / "copied")), None)


def contents(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


# --- what is loaded ---------------------------------------------------------------------------------------------------
def test_every_weight_is_the_checkpoints(base: Checkpoint, stock: Any) -> None:
    model = loaded(base)
    for name, ours in PARTS.items():
        expected, got = contents(getattr(stock, name)), contents(getattr(model, ours))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected), name
    text = "# Caption\nwarm bass"
    assert model.tokenizer(text).input_ids == stock.tokenizer(text).input_ids
    assert (model.checkpoint, model.device, model.dtype, model.loras) == (base, CPU, torch.float32, ())


def test_networks_are_in_the_format_asked_for_and_the_vae_in_float32(base: Checkpoint) -> None:
    model = loaded(base, dtype=torch.bfloat16)
    for name in PARTS.values():
        module = getattr(model, name)
        dtypes = {parameter.dtype for parameter in module.parameters()}
        assert dtypes == {torch.float32 if name == "vae" else torch.bfloat16}
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert model.condition_encoder.silence_latent.dtype is torch.bfloat16
    assert model.audio_tokenizer is not None
    assert {each.dtype for each in model.audio_tokenizer.buffers() if not each.is_floating_point()} == {torch.int64}


def test_turbo_has_no_audio_tokenizer(tiny_turbo: Path) -> None:
    model = loaded(find(str(tiny_turbo), None))
    assert model.audio_tokenizer is None
    assert model.audio_detokenizer is None
    model.release()


def test_components_that_the_index_leaves_out_are_left_out(copied: Checkpoint) -> None:
    for nothing in ([None, None], None, "none"):
        edit("model_index.json", lambda c, nothing=nothing: c.update(audio_tokenizer=nothing))(copied.folder)
        assert loaded(copied).audio_tokenizer is None


def test_a_sharded_checkpoint_is_the_same(copied: Checkpoint, stock: Any) -> None:
    shard(copied.folder / "transformer")
    got = contents(loaded(copied).transformer)
    assert all(torch.equal(value, got[key]) for key, value in contents(stock.transformer).items())


def test_the_text_encoders_head_may_lie_in_the_file(copied: Checkpoint, stock: Any) -> None:
    """Converted checkpoints hold the whole language model: names below `model.`, and a head."""
    file = copied.folder / "text_encoder" / TRANSFORMERS
    tensors = {f"model.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(tensors | {"lm_head.weight": torch.zeros(3, 2)}, file, metadata={"format": "pt"})
    got = contents(loaded(copied).text_encoder)
    assert all(torch.equal(value, got[key]) for key, value in contents(stock.text_encoder).items())


def test_the_estimate_of_sizes_is_what_is_loaded(base: Checkpoint, tiny_turbo: Path) -> None:
    sizes, model = part_bytes(base, torch.bfloat16), loaded(base, dtype=torch.bfloat16)

    def held(*modules: nn.Module | None) -> int:
        state = [tensor for module in modules if module is not None for tensor in module.state_dict().values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in state)

    assert sizes.text_encoder == held(model.text_encoder)
    assert sizes.condition_encoder == held(model.condition_encoder)
    assert sizes.audio_tokens == held(model.audio_tokenizer, model.audio_detokenizer)
    assert sizes.vae == held(model.vae)
    assert sizes.layers == held(*model.transformer.layers)
    assert sizes.layer == max(held(layer) for layer in model.transformer.layers)
    assert sizes.shell + sizes.layers == held(model.transformer)
    assert part_bytes(find(str(tiny_turbo), None), torch.float32).audio_tokens == 0


def test_attention_is_pytorchs_own_whatever_the_environment_says(base: Checkpoint) -> None:
    model = loaded(base)
    backends = {
        str(part.processor._attention_backend)
        for part in (*model.transformer.modules(), *model.condition_encoder.modules())
        if hasattr(part, "processor")
    }
    assert backends == {"AttentionBackendName.NATIVE"}
    assert model.text_encoder.config._attn_implementation == "sdpa"


# --- how it is loaded -------------------------------------------------------------------------------------------------
def test_progress_names_each_component_and_ends_at_one(base: Checkpoint) -> None:
    told: list[tuple[float, str]] = []
    loaded(base, step=lambda fraction, what: told.append((fraction, what)))
    assert [what for _, what in told] == [*(f"loading {name}" for name in PARTS), "model loaded"]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(set(fractions))
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_loading_can_be_cancelled_between_components(base: Checkpoint) -> None:
    def step(_fraction: float, what: str) -> None:
        if what == "loading vae":
            raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        loaded(base, step=step)


def test_loading_says_nothing_and_leaves_the_libraries_as_they_were(
    base: Checkpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    def state() -> tuple[Any, ...]:
        libraries = (diffusers_logging, transformers_logging)
        shown = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
        return (*shown, list(warnings.filters))

    before = state()
    loaded(base)
    assert state() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tier", [Tier.OFFLOAD, Tier.SEQUENTIAL])
def test_every_lossless_tier_computes_the_same(base: Checkpoint, tier: Tier) -> None:
    assert torch.equal(velocity(loaded(base, tier=tier).transformer), velocity(loaded(base).transformer))


def test_each_tier_keeps_on_the_device_what_it_says(base: Checkpoint) -> None:
    """On `meta`, which stands for a GPU here."""

    def here(tier: Tier) -> set[str]:
        model = loaded(base, tier=tier, device=torch.device("meta"))
        modules = {name: getattr(model, name) for name in PARTS.values()} | {"layers": model.transformer.layers}
        return {name for name, module in modules.items() if all(each.is_meta for each in contents(module).values())}

    assert here(Tier.RESIDENT) == {*PARTS.values(), "layers"}
    assert here(Tier.OFFLOAD) == {"transformer", "layers", "vae"}
    assert here(Tier.SEQUENTIAL) == set()
    streamed = loaded(base, tier=Tier.SEQUENTIAL, device=torch.device("meta")).transformer
    assert streamed.proj_in_conv.weight.is_meta
    assert streamed.scale_shift_table.is_meta
    assert not any(each.is_meta for each in streamed.layers.parameters())


def test_the_denoiser_finds_every_streamed_layer_on_the_device(base: Checkpoint) -> None:
    """On `meta`: mixing devices is an error there too, as the second half shows."""
    model = loaded(base, tier=Tier.SEQUENTIAL, device=torch.device("meta"))
    before = list(model.transformer.parameters())
    x, context, hidden = (torch.empty(1, *shape, device="meta") for shape in ((50, 8), (50, 16), (9, 24)))

    def velocities(denoiser: Denoiser) -> list[torch.Tensor]:
        branches = [denoiser.condition(hidden), denoiser.null(hidden[:, :1])]
        return denoiser.velocity(x, context, denoiser.times([1.0]), 0, branches)

    assert all(each.is_meta for each in velocities(Denoiser(model.transformer, place=model.placement.layer)))
    assert all(a is b for a, b in zip(before, model.transformer.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="device"):
        velocities(Denoiser(model.transformer))


def test_a_released_model_holds_nothing(base: Checkpoint) -> None:
    model = loaded(base)
    model.release()
    assert not any(contents(getattr(model, name)) for name in PARTS.values())


# --- what is refused --------------------------------------------------------------------------------------------------
def shard(folder: Path) -> None:
    tensors = load_file(folder / DIFFUSERS)
    (folder / DIFFUSERS).unlink()
    names = sorted(tensors)
    places = {}
    for index, part in enumerate((names[::2], names[1::2]), 1):
        shard_name = f"diffusion_pytorch_model-0000{index}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard_name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, shard_name)
    index_file = folder / f"{DIFFUSERS}.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


def truncate(file: str) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) - 100])
        return file

    return damage


def remove(file: str) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        (folder / file).unlink()
        return file

    return damage


def replace(file: str, text: str) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        (folder / file).write_text(text)
        return file

    return damage


def lose_a_shard(folder: Path) -> str:
    shard(folder / "transformer")
    name = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
    (folder / name).unlink()
    return name


@pytest.mark.parametrize(
    "damage",
    [
        truncate(f"transformer/{DIFFUSERS}"),
        truncate(f"vae/{DIFFUSERS}"),
        truncate(f"text_encoder/{TRANSFORMERS}"),
        remove(f"condition_encoder/{DIFFUSERS}"),
        remove(f"text_encoder/{TRANSFORMERS}"),
        remove("audio_tokenizer/config.json"),
        remove("tokenizer/tokenizer.json"),
        replace("transformer/config.json", "{not json"),
        replace("text_encoder/config.json", "[]"),
        replace(f"vae/{DIFFUSERS}", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        lose_a_shard,
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named_with_the_command(
    copied: Checkpoint, damage: Callable[[Path], str]
) -> None:
    """Even if it was whole when the checkpoint was found: an engine loads again after it was idle."""
    file = damage(copied.folder)
    with pytest.raises(EngineMissing) as caught:
        loaded(copied)
    assert str(copied.folder / file) in str(caught.value)
    assert "stembridge models verify" in str(caught.value)


def edit(file: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], str]:
    """Change a safetensors or JSON file's table, and tell its name."""

    def damage(folder: Path) -> str:
        if file.endswith(".json"):
            values = json.loads((folder / file).read_text())
            change(values)
            (folder / file).write_text(json.dumps(values))
        else:
            tensors = load_file(folder / file)
            change(tensors)
            save_file(tensors, folder / file, metadata={"format": "pt"})
        return str(Path(file).parent) if Path(file).parent.name else file

    return damage


ZEROS = torch.zeros(1, 15000, 8)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (edit(f"transformer/{DIFFUSERS}", lambda t: t.pop("condition_embedder.bias")), "condition_embedder.bias"),
        (edit(f"text_encoder/{TRANSFORMERS}", lambda t: t.pop("embed_tokens.weight")), "embed_tokens.weight"),
        (edit(f"vae/{DIFFUSERS}", lambda t: t.pop("decoder.conv1.weight_g")), "weight_g"),
        (edit(f"condition_encoder/{DIFFUSERS}", lambda t: t.pop("null_condition_emb")), "null_condition_emb"),
        (edit(f"condition_encoder/{DIFFUSERS}", lambda t: t.pop("silence_latent")), "silence_latent"),
        (edit(f"condition_encoder/{DIFFUSERS}", lambda t: t.update(silence_latent=ZEROS)), "silence_latent"),
        (edit(f"transformer/{DIFFUSERS}", lambda t: t.update(strange=torch.ones(2))), "strange"),
        (edit(f"text_encoder/{TRANSFORMERS}", lambda t: t.update(strange=torch.ones(2))), "strange"),
        (edit(f"transformer/{DIFFUSERS}", lambda t: t.update({"norm_out.weight": torch.ones(3)})), "shape"),
        (edit(f"text_encoder/{TRANSFORMERS}", lambda t: t.update({"norm.weight": torch.ones(3)})), "cannot be loaded"),
        (edit("transformer/config.json", lambda c: c.update(num_hidden_layers=3)), "layers.3."),
        (edit("transformer/config.json", lambda c: c.update(num_hidden_layers=5)), "layers.4."),
        (edit("transformer/config.json", lambda c: c.update(intermediate_size=64)), "shape"),
        (edit("transformer/config.json", lambda c: c.update(encoder_hidden_size=2048)), "encoder_hidden_size = 2048"),
        (edit("transformer/config.json", lambda c: c.update(patch_size=1)), "patch_size = 1"),
        (edit("text_encoder/config.json", lambda c: c.update(hidden_size=32)), "text_hidden_dim = 16"),
        (edit("text_encoder/config.json", lambda c: c.update(model_type="bert")), "model_type = bert"),
        (edit("vae/config.json", lambda c: c.update(sampling_rate=44100)), "sampling_rate = 44100"),
        (edit("vae/config.json", lambda c: c.update(downsampling_ratios=[2, 4, 4, 8, 8])), "[2, 4, 4, 8, 8]"),
        (edit("vae/config.json", lambda c: c.update(decoder_input_channels=64)), "timbre_hidden_dim = 8"),
        (edit("vae/config.json", lambda c: c.pop("decoder_input_channels")), "None"),
        (edit("tokenizer/tokenizer.json", lambda c: c["model"].update(type="Mystery")), "cannot be loaded"),
        (edit("tokenizer/tokenizer.json", lambda c: c["model"]["vocab"].update(zz=400)), "401 tokens"),
        (edit("model_index.json", lambda c: c.update(vae=["diffusers", "AutoencoderKL"])), "AutoencoderKL"),
        (edit("model_index.json", lambda c: c.update(text_encoder=["transformers", "T5EncoderModel"])), "T5Encoder"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_by_name(
    copied: Checkpoint, damage: Callable[[Path], str], told: str
) -> None:
    """The libraries would fill many of these gaps with random numbers, or drop what does not fit, and go on."""
    damage(copied.folder)
    with pytest.raises(EngineError) as caught:
        loaded(copied)
    assert str(copied.folder) in str(caught.value)
    assert told in str(caught.value)
    assert "stembridge models verify" in str(caught.value)


def test_a_checkpoint_of_the_catalogue_is_repaired_by_pulling_it(copied: Checkpoint) -> None:
    remove("transformer/config.json")(copied.folder)
    for name in ("xl-base", "someone/their-model"):
        with pytest.raises(EngineMissing, match=f"`stembridge models pull {name}`"):
            loaded(Checkpoint(name, copied.folder, copied.traits, copied.identity))


def test_loading_changes_no_file(copied: Checkpoint) -> None:
    before = checksums(copied.folder)
    loaded(copied).release()
    assert checksums(copied.folder) == before


def checksums(folder: Path) -> dict[Path, str]:
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def velocity(transformer: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    config, dtype = transformer.config, transformer.dtype
    dim = config.audio_acoustic_hidden_dim
    t = torch.full((1,), 0.5, dtype=dtype)
    with torch.inference_mode():
        return transformer(
            hidden_states=torch.randn(1, 20, dim, generator=generator).to(dtype),
            timestep=t,
            timestep_r=t,
            encoder_hidden_states=torch.randn(1, 7, config.encoder_hidden_size, generator=generator).to(dtype),
            context_latents=torch.randn(1, 20, 2 * dim, generator=generator).to(dtype),
            return_dict=False,
        )[0]


# --- whole files that do not belong together --------------------------------------------------------------------------
def test_a_checkpoint_fits(tiny_base: Path, tiny_turbo: Path) -> None:
    check(find(str(tiny_base), None))
    check(find(str(tiny_turbo), None))


@pytest.mark.parametrize("name", ["transformer", "condition_encoder", "audio_tokenizer"])
def test_weights_of_another_component_are_found_out_without_loading_them(
    tmp_path: Path, tiny_base: Path, name: str
) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(tiny_base, folder)
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "vae" / weights, folder / name / weights)
    with pytest.raises(EngineError, match=name):
        check(find(str(folder), None))
