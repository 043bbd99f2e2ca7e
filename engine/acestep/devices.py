"""Where the network runs and how much of it lies there: device, number format, memory tier.

A tier says which weights stay on the device. The lossless ones (`LOSSLESS`, best first) give the same audio and differ
in speed; the lossy ones (`LOSSY`) store the transformer's matrices in 8 bits, which changes the audio, so they serve
only when named: they are never picked and never fallen into. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import EngineCannot, OutOfMemory

if TYPE_CHECKING:
    import torch


class Tier(StrEnum):
    """How the device's memory is shared out."""

    RESIDENT = "resident"
    """Everything stays on the device."""
    OFFLOAD = "offload"
    """Transformer and VAE stay; text encoder, condition encoder and audio tokenizer leave after use."""
    SEQUENTIAL = "sequential"
    """The transformer's layers pass through the device one by one; all else leaves after use."""
    INT8 = "int8"
    """As `OFFLOAD`, the transformer's matrices in 8-bit integers (torchao, weights only). Lossy."""
    FP8 = "fp8"
    """As `OFFLOAD`, the transformer's matrices in 8-bit floats (torchao, weights only). Lossy."""


LOSSLESS = (Tier.RESIDENT, Tier.OFFLOAD, Tier.SEQUENTIAL)
LOSSY = (Tier.INT8, Tier.FP8)

GB = 10**9
WORKING_BYTES_PER_MINUTE = 1.0 * GB
"""What denoising 60 s takes per item with guidance, at XL's width (official gpu_config.py, facts/acestep.md §3)."""
VAE_WORKING_BYTES = 1.2 * GB
"""What the VAE takes for one piece (codec.PIECE and its margins) at full width, float32."""
MARGIN_BYTES = 0.5 * GB
"""For what the allocator wastes (same source)."""
_FRAMES_PER_MINUTE = 60 * 25
_LAYERS_IN_FLIGHT = 2  # one at work, one on its way


# --- the device -------------------------------------------------------------------------------------------------------
def choose_device(wanted: str) -> torch.device:
    """The device for ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``; ``auto``: the best there is.

    AMD's ROCm answers to ``cuda``. Raises `EngineCannot` for a device that is not there or not known.
    """
    import torch

    kind, _, index = wanted.partition(":")
    if kind not in ("auto", "cuda", "mps", "cpu") or (index and not (kind == "cuda" and index.isdecimal())):
        raise EngineCannot(f"There is no device {wanted[:40]!r}. Choose auto, cuda, cuda:1, mps or cpu.")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        kind = "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if has_mps:
            return torch.device("mps", 0)
        raise EngineCannot("The device 'mps' is not there: it needs a Mac with Apple silicon. Choose auto or cpu.")
    if not has_cuda:
        raise EngineCannot(_no_cuda(wanted))
    if int(index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise EngineCannot(f"The device {wanted!r} is not there: this machine's GPUs are cuda:0 to cuda:{last}.")
    return torch.device("cuda", int(index) if index else torch.cuda.current_device())


def _no_cuda(wanted: str) -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"The device {wanted!r} cannot be used: this PyTorch ({torch.__version__}) was built without GPU support. "
            "Install a build for your GPU (https://pytorch.org/get-started/locally), or choose auto or cpu."
        )
    return (
        f"The device {wanted!r} cannot be used: PyTorch sees no GPU. Check that its driver runs (nvidia-smi tells), "
        "or choose auto or cpu."
    )


def default_dtype(device: torch.device) -> torch.dtype:
    """The number format of the networks (never of the VAE, which is float32 everywhere).

    bfloat16 where the device computes in it: XL overflows in float16 (facts/perf.md §2k), so an older GPU gets float32.
    Apple's GPUs do from macOS 14 on; the CPU gets float32, the reference.
    """
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "mps":
        try:
            torch.ones(2, 2, dtype=torch.bfloat16, device=device).mm(torch.ones(2, 2, dtype=torch.bfloat16).to(device))
        except (TypeError, RuntimeError):
            return torch.float32
        return torch.bfloat16
    return torch.float32


def free_bytes(device: torch.device) -> int | None:
    """What could be allocated on `device` now; None where nobody says."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


# --- the tier ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PartBytes:
    """What a checkpoint's parts take in the number format they will have (see `model.part_bytes`).

    `layers` are all layers of the transformer, `layer` the largest of them, `shell` is the transformer without them;
    `itemsize` the bytes per number in the layers.
    """

    text_encoder: int
    condition_encoder: int
    audio_tokens: int
    vae: int
    shell: int
    layers: int
    layer: int
    itemsize: int


@dataclass(frozen=True)
class Choice:
    """A tier, and the sentence that tells the user why."""

    tier: Tier
    sentence: str


def needs(parts: PartBytes, frames: int, batch: int) -> dict[Tier, int]:
    """Bytes that each tier needs at its fullest, for a window of `frames` latent frames and `batch` items in a pass.

    An estimate from above: activations are counted at XL's width, with guidance.
    """
    denoising = WORKING_BYTES_PER_MINUTE * batch * frames / _FRAMES_PER_MINUTE
    working = max(denoising, VAE_WORKING_BYTES)
    visitor = max(parts.text_encoder, parts.condition_encoder, parts.audio_tokens)
    guests = parts.text_encoder + parts.condition_encoder + parts.audio_tokens
    transformer, quantised = parts.shell + parts.layers, parts.shell + parts.layers / parts.itemsize
    streamed = max(_LAYERS_IN_FLIGHT * parts.layer + denoising, parts.vae + VAE_WORKING_BYTES, visitor)
    peaks = {
        Tier.RESIDENT: transformer + parts.vae + guests + working,
        Tier.OFFLOAD: transformer + parts.vae + max(working, visitor),
        Tier.SEQUENTIAL: parts.shell + streamed,
        Tier.INT8: quantised + parts.vae + max(working, visitor),
        Tier.FP8: quantised + parts.vae + max(working, visitor),
    }
    return {tier: int(peak + MARGIN_BYTES) for tier, peak in peaks.items()}


def pick_tier(free: int | None, needs: Mapping[Tier, int]) -> Choice:
    """The best lossless tier in `needs` that fits into `free` bytes; unknown `free`: the first.

    Raises `OutOfMemory` if none fits.
    """
    offered = [tier for tier in LOSSLESS if tier in needs]
    if free is None:
        return Choice(offered[0], f"Memory: {offered[0]}; how much is free is not known here.")
    tier = next((tier for tier in offered if needs[tier] <= free), None)
    if tier is None:
        least = offered[-1]
        raise OutOfMemory(
            f"The model needs about {_gb(needs[least])} of memory even as '{least}', and {_gb(free)} are free. Close "
            "what else uses it, choose a smaller checkpoint, or name a tier in the configuration ([acestep] memory) to "
            "try all the same."
        )
    sentence = f"Memory: {tier}, which needs about {_gb(needs[tier])} of the {_gb(free)} that are free"
    if tier is not offered[0]:
        sentence += f" ({offered[0]} would need {_gb(needs[offered[0]])})"
    if tier is Tier.SEQUENTIAL:
        sentence += ". The layers are streamed from main memory at every step, which is slow"
        if needs.get(Tier.INT8, free + 1) <= free:
            sentence += (
                f'; memory = "int8" in [acestep] needs {_gb(needs[Tier.INT8])} instead, at a small loss of quality'
            )
    return Choice(tier, sentence + ".")


def choose_tier(wanted: str, device: torch.device, parts: PartBytes, frames: int, batch: int) -> Choice:
    """The tier for ``auto`` (`pick_tier`), or the one that is named, whatever it needs.

    Raises `EngineCannot` for a name that is none, `OutOfMemory` if ``auto`` finds none that fits.
    """
    if wanted == "auto":
        demand = needs(parts, frames, batch)
        if device.type == "cpu":  # everything lies in main memory anyway
            demand = {Tier.RESIDENT: demand[Tier.RESIDENT]}
        return pick_tier(free_bytes(device), demand)
    try:
        tier = Tier(wanted)
    except ValueError:
        raise EngineCannot(f"There is no memory tier {wanted[:40]!r}. Choose auto, {', '.join(Tier)}.") from None
    loss = ", which changes the audio a little" if tier in LOSSY else ""
    return Choice(tier, f"Memory: {tier}, as configured{loss}.")


def next_tier(tier: Tier) -> Tier | None:
    """What to try after `tier` ran out of memory, with the same audio as result; None: nothing (`memory_advice`)."""
    return {Tier.RESIDENT: Tier.OFFLOAD, Tier.OFFLOAD: Tier.SEQUENTIAL}.get(tier)


def memory_advice(tier: Tier) -> str:
    """What to tell the user when `tier` ran out of memory."""
    after = next_tier(tier)
    if after is not None:
        return f"The device ran out of memory as '{tier}'; trying again as '{after}', which is slower."
    advice = "Choose a shorter region or less context, fewer variations in a pass, or a smaller checkpoint."
    if tier in LOSSY:
        advice = f'{advice} Or memory = "sequential" in [acestep], which needs least and is slow.'
    return f"The device ran out of memory as '{tier}'. {advice}"


def is_out_of_memory(error: BaseException) -> bool:
    """Does an error say that memory ran out? Each device has its own way of saying so."""
    import torch

    told = "out of memory" in str(error) or "can't allocate memory" in str(error)  # MPS, the CPU's allocator
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (isinstance(error, RuntimeError) and told)


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB"
