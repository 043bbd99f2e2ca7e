"""A checkpoint in memory: its components, loaded by the libraries that define them, checked, and placed on the device.

The libraries take much in silence: weights that a file lacks are drawn at random, weights that no layer asks for are
dropped, components of different models are put side by side. Promise: a `Model` computes with exactly what the
checkpoint's files hold, and its components belong together; anything else is an error that names the file.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from engine.acestep.adapt import merge, quantise
from engine.acestep.catalogue import CATALOGUE
from engine.acestep.checkpoints import Checkpoint, Inspection, find_lora, inspect
from engine.acestep.devices import LOSSY, PartBytes, Tier, is_out_of_memory
from engine.acestep.placement import Placement
from engine.acestep.weight_files import Header
from protocol.errors import EngineError, EngineMissing

if TYPE_CHECKING:
    from diffusers import AceStepTransformer1DModel
    from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck
    from diffusers.pipelines.ace_step import modeling_ace_step as ace_step
    from transformers import PreTrainedTokenizerBase, Qwen3Model

Step = Callable[[float, str], None]
"""Told the fraction of the bytes loaded and what comes next; may raise `Cancelled`."""

_CLASSES = {
    "text_encoder": "Qwen3Model",
    "condition_encoder": "AceStepConditionEncoder",
    "transformer": "AceStepTransformer1DModel",
    "vae": "AutoencoderOobleck",
    "audio_tokenizer": "AceStepAudioTokenizer",
    "audio_token_detokenizer": "AceStepAudioTokenDetokenizer",
}
"""The components with weights, in the order of loading, and the classes that we know how to use."""

_HARMLESS = ("lm_head.weight",)
"""What a file may hold beyond its model: the text encoder's head, where the whole language model was copied."""

_RATIOS = [2, 4, 4, 6, 10]
"""The VAE's strides: 1,920 samples per latent frame, and the reach that the codec's margins are made for."""

_TIMBRE_FRAMES = 750


@dataclass(frozen=True)
class AppliedLora:
    """An adapter that was merged in, for the recipe."""

    path: Path
    identity: str
    scale: float


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint. Networks are in `dtype`, the VAE in float32; where they lie is `placement`'s business."""

    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    text_encoder: Qwen3Model
    condition_encoder: ace_step.AceStepConditionEncoder
    transformer: AceStepTransformer1DModel
    vae: AutoencoderOobleck
    audio_tokenizer: ace_step.AceStepAudioTokenizer | None
    audio_detokenizer: ace_step.AceStepAudioTokenDetokenizer | None
    device: torch.device
    dtype: torch.dtype
    placement: Placement
    loras: tuple[AppliedLora, ...] = ()

    def release(self) -> None:
        """Give all memory back, on the device too, even while somebody still holds a component. The model is gone."""
        self.placement.release(*(part for part in vars(self).values() if isinstance(part, nn.Module)))


def part_bytes(checkpoint: Checkpoint, dtype: torch.dtype) -> PartBytes:
    """What the parts will take in `dtype` (the VAE in float32), from the headers of the files.

    Raises `EngineMissing` as `load` does.
    """
    numbers: dict[str, int] = dict.fromkeys(_CLASSES, 0)
    layers: dict[str, int] = {}
    for file, header in _whole(checkpoint).headers.items():
        component = file.parent.name
        for name, size in _sizes(header).items():
            if component == "transformer" and name.startswith("layers."):
                layer = name.split(".")[1]
                layers[layer] = layers.get(layer, 0) + size
            elif component in numbers:
                numbers[component] += size
    width = dtype.itemsize
    return PartBytes(
        text_encoder=numbers["text_encoder"] * width,
        condition_encoder=numbers["condition_encoder"] * width,
        audio_tokens=(numbers["audio_tokenizer"] + numbers["audio_token_detokenizer"]) * width,
        vae=numbers["vae"] * torch.float32.itemsize,
        shell=numbers["transformer"] * width,
        layers=sum(layers.values()) * width,
        layer=max(layers.values(), default=0) * width,
        itemsize=width,
    )


def _sizes(header: Header) -> dict[str, int]:
    table = json.loads(header.raw)
    return {name: torch.Size(table[name]["shape"]).numel() for name in header.tensors}


def load(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    tier: Tier,
    lora: tuple[tuple[str | Path, float], ...] = (),
    step: Step = lambda _fraction, _what: None,
) -> Model:
    """Load a checkpoint and put it where `tier` wants it.

    `lora` are paths and scales of adapters for the transformer. Raises `EngineMissing` for a missing or damaged file
    or library, `EngineError` for files that hold something else than they should, `EngineCannot` for an unfit LoRA,
    PyTorch's own error when memory runs out (`devices.is_out_of_memory`), and what `step` raises; then everything is
    given back. Main memory holds at most one component more than what stays there.
    """
    adapters = [(find_lora(path), scale) for path, scale in lora]
    found = _whole(checkpoint)
    classes = _known_classes(checkpoint)
    _check_fit(checkpoint, classes)
    placement = Placement(device, tier)
    total = sum(header.file_bytes for header in found.headers.values()) or 1
    parts: dict[str, Any] = {}
    done = 0
    try:
        for name in classes:
            step(done / total, f"loading {name}")
            parts[name] = _component(checkpoint, name, torch.float32 if name == "vae" else dtype)
            if name == "transformer":
                merge(parts[name], adapters)
                if tier in LOSSY:
                    quantise(parts[name].layers, tier, device)
            _place(placement, name, parts[name])
            done += sum(header.file_bytes for file, header in found.headers.items() if file.parent.name == name)
        tokenizer = _tokenizer(checkpoint, parts["text_encoder"])
        step(1.0, "model loaded")
    except BaseException:
        placement.release(*parts.values())  # else the error's traceback would hold it
        raise
    return Model(
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        text_encoder=parts["text_encoder"],
        condition_encoder=parts["condition_encoder"],
        transformer=parts["transformer"],
        vae=parts["vae"],
        audio_tokenizer=parts.get("audio_tokenizer"),
        audio_detokenizer=parts.get("audio_token_detokenizer"),
        device=placement.device,
        dtype=dtype,
        placement=placement,
        loras=tuple(AppliedLora(each.path, each.identity, scale) for each, scale in adapters),
    )


def _place(placement: Placement, name: str, part: Any) -> None:
    if placement.tier is Tier.RESIDENT or (name in ("transformer", "vae") and placement.tier is not Tier.SEQUENTIAL):
        placement.keep(part)
    elif name == "transformer":
        placement.stream(part, part.layers)


# --- what the files say -----------------------------------------------------------------------------------------------
def _repair(checkpoint: Checkpoint) -> str:
    if checkpoint.name in CATALOGUE or "/" in checkpoint.name:
        return (
            f"`stembridge models verify {checkpoint.name}` looks at all of its files, `stembridge models pull "
            f"{checkpoint.name}` fetches what is wrong again."
        )
    return (
        f"`stembridge models verify {checkpoint.folder}` looks at all of its files; copy the folder again from where "
        "it came from."
    )


def _whole(checkpoint: Checkpoint) -> Inspection:
    found = inspect(checkpoint.folder)
    for file, problem in found.problems:
        raise EngineMissing(f"The checkpoint {checkpoint.name} cannot be used: {file} {problem}. {_repair(checkpoint)}")
    return found


def _unfit(checkpoint: Checkpoint, file: Path, problem: str) -> EngineError:
    return EngineError(f"The checkpoint {checkpoint.name} cannot be used: {file} {problem}. {_repair(checkpoint)}")


def _json(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_bytes())
    return values


def _known_classes(checkpoint: Checkpoint) -> list[str]:
    """The components that there are. Some checkpoints have no audio tokenizer."""
    index_file = checkpoint.folder / "model_index.json"
    index = _json(index_file)
    present = []
    for name, known in _CLASSES.items():
        kind = _class_in(index.get(name))
        if kind is None:
            continue
        if kind != known:
            raise _unfit(
                checkpoint, index_file, f"makes its {name} a {kind}, where {known} is the one that can be used"
            )
        present.append(name)
    return present


def _class_in(entry: object) -> str | None:
    """The class in an entry ``[library, class]``; None for ``[null, null]``, by which a component is left out."""
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def _check_fit(checkpoint: Checkpoint, present: list[str]) -> None:
    """Do the components speak of the same latents and the same hidden states? Read from their configs."""
    config = {name: _json(checkpoint.folder / name / "config.json") for name in present}
    text, condition, transformer, vae = (
        config[name] for name in ("text_encoder", "condition_encoder", "transformer", "vae")
    )
    dim = vae.get("decoder_input_channels")
    equal = [
        ("text_encoder", "model_type", text.get("model_type"), "qwen3"),
        ("vae", "downsampling_ratios", vae.get("downsampling_ratios"), _RATIOS),
        ("vae", "sampling_rate", vae.get("sampling_rate"), 48000),
        ("vae", "audio_channels", vae.get("audio_channels"), 2),
        ("condition_encoder", "text_hidden_dim", condition.get("text_hidden_dim"), text.get("hidden_size")),
        ("condition_encoder", "timbre_hidden_dim", condition.get("timbre_hidden_dim"), dim),
        ("transformer", "patch_size", transformer.get("patch_size"), 2),
        ("transformer", "audio_acoustic_hidden_dim", transformer.get("audio_acoustic_hidden_dim"), dim),
        ("transformer", "in_channels", transformer.get("in_channels"), 3 * dim if isinstance(dim, int) else None),
        (
            "transformer",
            "encoder_hidden_size",
            transformer.get("encoder_hidden_size") or transformer.get("hidden_size"),
            condition.get("hidden_size"),
        ),
    ]
    for name, key, value, wanted in equal:
        if value != wanted or value is None:
            problem = f"says {key} = {value}, where the rest of the checkpoint needs {wanted}"
            raise _unfit(checkpoint, checkpoint.folder / name / "config.json", problem)


def check(checkpoint: Checkpoint) -> None:
    """Compare the weights that the files name, and their shapes, with what the configs make of them; loads none.

    Raises `EngineError` for the first component that does not fit: it would fail when it is loaded.
    """
    present, headers = _known_classes(checkpoint), _whole(checkpoint).headers
    _check_fit(checkpoint, present)
    for name in present:
        held: dict[str, list[int]] = {}
        for file, header in headers.items():
            if file.parent.name == name:
                table = json.loads(header.raw)
                held |= {key.removeprefix("model."): table[key]["shape"] for key in header.tensors}
        wanted = {key: list(value.shape) for key, value in _empty(checkpoint, name).state_dict().items()}
        lost = sorted(key for key, shape in wanted.items() if held.get(key) != shape)
        extra = sorted(key for key in held.keys() - wanted.keys() if key not in _HARMLESS)
        if lost or extra:
            what = f"lacks the weights {_some(lost)}" if lost else f"holds foreign weights {_some(extra)}"
            raise _unfit(checkpoint, checkpoint.folder / name, what)


def _empty(checkpoint: Checkpoint, name: str) -> nn.Module:
    """A component as its config describes it, without memory for its weights."""
    folder = checkpoint.folder / name
    kind = _class(name)
    with _quiet(), torch.device("meta"):
        try:
            made = kind.from_config(kind.load_config(folder, local_files_only=True)) if name != "text_encoder" else None
            module: nn.Module = made if made is not None else kind(kind.config_class.from_pretrained(folder))
        except Exception as error:
            raise _unfit(checkpoint, folder / "config.json", f"cannot be used: {_first_line(error)}") from error
    return module


# --- loading ----------------------------------------------------------------------------------------------------------
def _component(checkpoint: Checkpoint, name: str, dtype: torch.dtype) -> Any:
    """One component on the CPU, in `dtype`, for inference, with every weight from its file."""
    folder = checkpoint.folder / name
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    with _quiet():
        try:
            if name == "text_encoder":
                options |= {"dtype": dtype, "attn_implementation": "sdpa"}
            else:
                options |= {"torch_dtype": dtype, "low_cpu_mem_usage": True}
            module, info = _class(name).from_pretrained(folder, **options)
        except Exception as error:  # the libraries raise whatever their parsers raise
            if is_out_of_memory(error):
                raise
            raise _unfit(checkpoint, folder, f"cannot be loaded: {_first_line(error)}") from error
    lost = sorted(info["missing_keys"])
    extra = sorted(key for key in info["unexpected_keys"] if key not in _HARMLESS)
    if lost:
        raise _unfit(checkpoint, folder, f"lacks the weights {_some(lost)}")
    if extra:
        raise _unfit(checkpoint, folder, f"holds weights that its config knows nothing of: {_some(extra)}")
    _use_native_attention(module)
    if name == "condition_encoder":
        _check_silence(checkpoint, folder, module.silence_latent)
    return module.eval().requires_grad_(False)


def _class(name: str) -> Any:
    import diffusers
    import transformers

    return getattr(transformers if name == "text_encoder" else diffusers, _CLASSES[name])


def _tokenizer(checkpoint: Checkpoint, text_encoder: Any) -> Any:
    from transformers import AutoTokenizer

    folder = checkpoint.folder / "tokenizer"
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise _unfit(checkpoint, folder, f"cannot be loaded: {_first_line(error)}") from error
    if len(tokenizer) > text_encoder.config.vocab_size:
        problem = f"knows {len(tokenizer)} tokens, the text encoder {text_encoder.config.vocab_size}"
        raise _unfit(checkpoint, folder, problem)
    return tokenizer


def _check_silence(checkpoint: Checkpoint, folder: Path, silence: torch.Tensor) -> None:
    """The class holds zeros until a checkpoint brings the encoded silence; zeros make the model drone."""
    if silence.ndim != 3 or silence.shape[1] < _TIMBRE_FRAMES or not silence.any() or not silence.isfinite().all():
        raise _unfit(checkpoint, folder, "holds no encoded silence (silence_latent), without which the model drones")


def _use_native_attention(module: nn.Module) -> None:
    """PyTorch's own attention, whatever DIFFUSERS_ATTN_BACKEND says: others round differently."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    for part in module.modules():
        processor: Any = getattr(part, "processor", None)
        if hasattr(processor, "_attention_backend"):
            processor._attention_backend = AttentionBackendName.NATIVE


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, reports and known warnings from the libraries inside: what matters is checked and raised."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    hub_was_quiet = are_progress_bars_disabled()
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity(library.CRITICAL)
            library.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers' Oobleck uses the older weight_norm
            yield
    finally:
        for library, verbosity, had_bar in before:
            library.set_verbosity(verbosity)
            if had_bar:
                library.enable_progress_bar()
        if hub_was_quiet:
            disable_progress_bars()


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else 'no reason given'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
