"""A tiny ACE-Step checkpoint in the real on-disk format: real classes, real files, random weights.

``build(folder)`` writes what ``AceStepPipeline.save_pretrained`` writes: ``model_index.json``, one folder per module
with its ``config.json`` and safetensors, a tokenizer that the ``tokenizers`` library trained. Latents have 8 channels
instead of 64, everything else is narrow; the VAE's hop (1,920 samples at 48 kHz) and the patch size (2) are real.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

LATENT_DIM = 8
_TEXT_DIM, _CONDITION_DIM, _HIDDEN = 16, 24, 32
_ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
_SLIDING_WINDOW = 16

_CORPUS = [
    "# Instruction\nRepaint the mask area based on the given conditions:\n\n# Caption\nwarm analog bass, brushed drums",
    "# Metas\n- bpm: 120\n- timesignature: 4\n- keyscale: A minor\n- duration: 28 seconds\n<|endoftext|>\n",
    "# Languages\nen\n\n# Lyric\n[verse]\nSoft notes in the morning light\n[Instrumental]<|endoftext|>",
    "Complete the input track with DRUMS | BASS: Generate the STRINGS track based on the audio context:",
]


def build(folder: Path, *, turbo: bool = False, seed: int = 0) -> Path:
    """Write a checkpoint into `folder` (made if missing) and return it. Turbo ones have no audio tokenizer."""
    pipeline(turbo=turbo, seed=seed).save_pretrained(folder, safe_serialization=True)
    return folder


def pipeline(*, turbo: bool = False, seed: int = 0) -> Any:
    """The same checkpoint as a stock `diffusers.AceStepPipeline`, float32, on the CPU, its progress bar off."""
    import torch
    from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = _modules(turbo)
    pipe = AceStepPipeline(scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0), **modules)
    for module in modules.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _modules(turbo: bool) -> dict[str, Any]:
    import torch
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step.modeling_ace_step import (
        AceStepAudioTokenDetokenizer,
        AceStepAudioTokenizer,
        AceStepConditionEncoder,
    )

    transformer = AceStepTransformer1DModel(
        hidden_size=_HIDDEN,
        intermediate_size=48,
        num_hidden_layers=4,
        in_channels=3 * LATENT_DIM,
        audio_acoustic_hidden_dim=LATENT_DIM,
        patch_size=2,
        sliding_window=_SLIDING_WINDOW,
        encoder_hidden_size=_CONDITION_DIM,
        is_turbo=turbo,
        model_version="turbo" if turbo else "base",
        **_ATTENTION,
    )
    with torch.no_grad():  # random weights hardly hear what they are told
        for layer in transformer.layers:
            layer.cross_attn.to_out[0].weight.mul_(8.0)
    narrow = {"hidden_size": _CONDITION_DIM, "intermediate_size": 32, "sliding_window": _SLIDING_WINDOW, **_ATTENTION}
    condition_encoder = AceStepConditionEncoder(
        text_hidden_dim=_TEXT_DIM,
        timbre_hidden_dim=LATENT_DIM,
        num_lyric_encoder_hidden_layers=2,
        num_timbre_encoder_hidden_layers=2,
        **narrow,
    )
    condition_encoder.silence_latent.copy_(0.1 * torch.randn(1, 15000, LATENT_DIM))
    tokens = {"audio_acoustic_hidden_dim": LATENT_DIM, "pool_window_size": 5, **narrow}
    tokenizer = _tokenizer()
    return {
        "vae": _vae(),
        "text_encoder": _text_encoder(len(tokenizer)),
        "tokenizer": tokenizer,
        "transformer": transformer,
        "condition_encoder": condition_encoder,
        "audio_tokenizer": None if turbo else AceStepAudioTokenizer(fsq_dim=_CONDITION_DIM, **tokens),
        "audio_token_detokenizer": None if turbo else AceStepAudioTokenDetokenizer(**tokens),
    }


def _vae() -> Any:
    import torch
    from diffusers import AutoencoderOobleck

    with warnings.catch_warnings():  # diffusers still uses the older torch.nn.utils.weight_norm
        warnings.simplefilter("ignore", FutureWarning)
        vae = AutoencoderOobleck(
            encoder_hidden_size=2 * LATENT_DIM,
            downsampling_ratios=[2, 4, 4, 6, 10],
            channel_multiples=[1, 1, 1, 1, 1],
            decoder_channels=8,
            decoder_input_channels=LATENT_DIM,
            audio_channels=2,
            sampling_rate=48000,
        )
    with torch.no_grad():  # about as loud as music
        vae.decoder.conv2.weight_g.mul_(0.3)
    return vae


def _text_encoder(vocabulary: int) -> Any:
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=_TEXT_DIM,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=4096,
        )
    )


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=4096
    )
