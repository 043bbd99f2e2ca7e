"""ACE-Step checkpoints of any size with random weights: speed and memory do not depend on what the weights are.

`XL` is the published geometry, parameter for parameter (tests/bench/test_acestep_bench.py counts them). `REDUCED` fits
a CPU and keeps XL's proportions: the MLP is 3.8 times as wide as the network, a fourth of the heads have keys, half of
the layers slide. Files are written as a real checkpoint's (`write`); where they would be too large, the same modules
are made on the device (`modules`), for the stock pipeline (`stock`) and for ours (`engine`) alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from engine.acestep import AceStepEngine

SEED = 0


@dataclass(frozen=True)
class Geometry:
    """Sizes by the names of the modules' own configurations; `condition` and `text` are for the two encoders."""

    name: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    latent_dim: int
    decoder_channels: int
    vae_multiples: tuple[int, ...]
    condition: dict[str, int]
    text: dict[str, int]
    sliding_window: int = 128
    steps: int = 10
    """Of a job in the benchmark."""
    dtype: str = "float32"
    """Of the networks; the stock pipeline's VAE is in it too, ours never."""


XL = Geometry(
    name="XL",
    hidden=2560,
    ffn=9728,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    latent_dim=64,
    decoder_channels=128,
    vae_multiples=(1, 2, 4, 8, 16),
    condition={
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_lyric_encoder_hidden_layers": 8,
        "num_timbre_encoder_hidden_layers": 4,
    },
    text={
        "vocab_size": 151_669,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    steps=50,
    dtype="bfloat16",
)

_SMALL = {"num_attention_heads": 4, "num_key_value_heads": 2}

REDUCED = Geometry(
    name="reduced",
    hidden=512,
    ffn=1944,
    layers=4,
    heads=8,
    kv_heads=2,
    head_dim=64,
    latent_dim=2,
    decoder_channels=4,
    vae_multiples=(1, 2, 4, 8, 16),
    condition={
        "hidden_size": 256,
        "intermediate_size": 768,
        "head_dim": 64,
        "num_lyric_encoder_hidden_layers": 2,
        "num_timbre_encoder_hidden_layers": 2,
        **_SMALL,
    },
    text={"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "head_dim": 32, **_SMALL},
)

TINY = Geometry(
    name="tiny",
    hidden=32,
    ffn=48,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    latent_dim=4,
    decoder_channels=4,
    vae_multiples=(1, 1, 1, 1, 1),
    condition={
        "hidden_size": 24,
        "intermediate_size": 32,
        "head_dim": 8,
        "num_lyric_encoder_hidden_layers": 1,
        "num_timbre_encoder_hidden_layers": 1,
        **_SMALL,
    },
    text={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8, **_SMALL},
    sliding_window=16,
    steps=2,
)

GEOMETRIES = {geometry.name.lower(): geometry for geometry in (TINY, REDUCED, XL)}


def modules(geometry: Geometry, device: torch.device | str) -> dict[str, Any]:
    """The components of a pipeline, made on `device` in the geometry's dtype, always with the same weights there."""
    import torch

    tokenizer = _tokenizer()
    made: dict[str, Any] = {}
    with torch.random.fork_rng(), torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' Oobleck uses the older weight_norm
        torch.manual_seed(SEED)
        for name, make in _makers(geometry, len(tokenizer)).items():
            module = torch.nn.Module.to(make(), getattr(torch, geometry.dtype))  # the library's own `to` warns
            made[name] = module.eval().requires_grad_(False)
        silence = made["condition_encoder"].silence_latent
        silence.copy_(0.1 * torch.randn(silence.shape))  # zeros are refused, because they make the model drone
    return {**made, "tokenizer": tokenizer}


def transformer_parameters(geometry: Geometry) -> int:
    """How many numbers the transformer has."""
    return sum(part.numel() for part in modules(geometry, "meta")["transformer"].parameters())


def stock(geometry: Geometry, device: torch.device | str) -> Any:
    """A `diffusers.AceStepPipeline` of them."""
    from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    return AceStepPipeline(scheduler=scheduler, **modules(geometry, device))


def write(geometry: Geometry, folder: Path) -> Path:
    """The same as a checkpoint on disk, as a download would lie there."""
    stock(geometry, "cpu").save_pretrained(folder, safe_serialization=True)
    return folder


def engine(geometry: Geometry, device: torch.device | str, stand_in: Path) -> AceStepEngine:
    """Ours, holding the modules as if it had just loaded them from `stand_in`, the folder of any small checkpoint."""
    import torch

    from engine.acestep import AceStepEngine
    from engine.acestep.checkpoints import find
    from engine.acestep.devices import Tier
    from engine.acestep.model import Model
    from engine.acestep.placement import Placement
    from engine.acestep.runtime import Runtime

    made = AceStepEngine()
    made.configure({"checkpoint": str(stand_in), "device": str(device), "memory": Tier.RESIDENT})
    parts = modules(geometry, device)
    parts["audio_detokenizer"] = parts.pop("audio_token_detokenizer")
    torch.nn.Module.float(parts["vae"])
    placement = Placement(torch.device(device), Tier.RESIDENT)
    model = Model(
        checkpoint=find(str(stand_in), None),
        device=placement.device,
        dtype=parts["transformer"].dtype,
        placement=placement,
        **parts,
    )
    made._runtime = Runtime(model, compile=placement.device.type == "cuda")
    return made


def _makers(geometry: Geometry, vocabulary: int) -> dict[str, Any]:
    from diffusers import AceStepTransformer1DModel, AutoencoderOobleck
    from diffusers.pipelines.ace_step import modeling_ace_step as ace_step
    from transformers import Qwen3Config, Qwen3Model

    g, dim = geometry, geometry.latent_dim
    narrow = {key: value for key, value in g.condition.items() if not key.endswith("hidden_layers")}
    tokens = {**narrow, "audio_acoustic_hidden_dim": dim, "sliding_window": g.sliding_window}
    text = {"vocab_size": vocabulary, "max_position_embeddings": 4096, **g.text}
    return {
        "vae": lambda: AutoencoderOobleck(
            encoder_hidden_size=2 * dim,
            downsampling_ratios=[2, 4, 4, 6, 10],
            channel_multiples=list(g.vae_multiples),
            decoder_channels=g.decoder_channels,
            decoder_input_channels=dim,
            audio_channels=2,
            sampling_rate=48_000,
        ),
        "text_encoder": lambda: Qwen3Model(Qwen3Config(**text)),
        "transformer": lambda: AceStepTransformer1DModel(
            hidden_size=g.hidden,
            intermediate_size=g.ffn,
            num_hidden_layers=g.layers,
            num_attention_heads=g.heads,
            num_key_value_heads=g.kv_heads,
            head_dim=g.head_dim,
            in_channels=3 * dim,
            audio_acoustic_hidden_dim=dim,
            patch_size=2,
            sliding_window=g.sliding_window,
            encoder_hidden_size=g.condition["hidden_size"],
            is_turbo=False,
            model_version="base",
        ),
        "condition_encoder": lambda: ace_step.AceStepConditionEncoder(
            text_hidden_dim=g.text["hidden_size"],
            timbre_hidden_dim=dim,
            sliding_window=g.sliding_window,
            **g.condition,
        ),
        "audio_tokenizer": lambda: ace_step.AceStepAudioTokenizer(fsq_dim=g.condition["hidden_size"], **tokens),
        "audio_token_detokenizer": lambda: ace_step.AceStepAudioTokenDetokenizer(**tokens),
    }


def _tokenizer() -> Any:
    """Trained on the spot, with XL's special tokens; its vocabulary is small, which no figure depends on."""
    from tests.support import tiny_acestep

    return tiny_acestep.pipeline().tokenizer
