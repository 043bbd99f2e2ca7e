"""A checkpoint at work: its model and the parts of the procedure that hold weights, on one device, in one tier."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.acestep import devices
from engine.acestep import model as models
from engine.acestep.checkpoints import Checkpoint
from engine.acestep.codec import Codec
from engine.acestep.conditioning import TextConditions
from engine.acestep.denoiser import Denoiser
from engine.acestep.devices import Tier
from engine.acestep.options import Options
from engine.acestep.weight_files import fingerprint, read_header
from engine.api import Source
from engine.audio import resample

log = logging.getLogger("stembridge.acestep")

Loading = Callable[[float, str], None]
"""(fraction, what is being done); may raise `Cancelled`."""


class Runtime:
    """A loaded checkpoint. `release` it before loading another: two do not fit."""

    def __init__(self, model: models.Model, *, compile: bool) -> None:
        self.model = model
        self.device = model.device
        self.tier = model.placement.tier
        placement = model.placement
        streams = self.tier is Tier.SEQUENTIAL
        self.is_compiled = compile and not streams
        self.codec = Codec(model.vae, model.device, self.place)
        self.denoiser = Denoiser(
            model.transformer, place=placement.layer if streams else None, compile=self.is_compiled
        )
        self.texts = TextConditions(model, model.device, model.dtype, self.place)
        self.vae_identity = _folder_identity(model.checkpoint.folder / "vae")
        self._timbres: dict[str, Tensor] = {}

    @classmethod
    def load(cls, checkpoint: Checkpoint, options: Options, tier: Tier, step: Loading) -> Runtime:
        """Load `checkpoint` in `tier`; raises what `model.load` and `devices.choose_device` raise."""
        device = devices.choose_device(options.device)
        model = models.load(
            checkpoint,
            device=device,
            dtype=devices.default_dtype(device),
            tier=tier,
            lora=options.lora,
            step=step,
        )
        wants_compile = options.compile == "on" or (options.compile == "auto" and device.type == "cuda")
        return cls(model, compile=wants_compile)

    def place(self, *modules: nn.Module) -> AbstractContextManager[Any]:
        """Have modules on the device inside a with-block."""
        return self.model.placement.use(*modules)

    @property
    def identity(self) -> dict[str, Any]:
        """What of the model determines the audio."""
        return {
            "checkpoint": self.model.checkpoint.identity,
            "device": self.device.type,
            "dtype": str(self.model.dtype),
            "lossy": self.tier if self.tier in devices.LOSSY else None,
            "lora": [[lora.identity, lora.scale] for lora in self.model.loras],
            "compiled": self.is_compiled,
            "torch": torch.__version__,
        }

    def notes(self) -> dict[str, Any]:
        """For the recipe."""
        notes: dict[str, Any] = {
            "checkpoint": self.model.checkpoint.name,
            "checkpoint_identity": self.model.checkpoint.identity,
            "device": _device_name(self.device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "memory": str(self.tier),
            "compiled": self.is_compiled,
        }
        if self.model.loras:
            loras = self.model.loras
            notes["lora"] = [{"file": each.path.name, "identity": each.identity, "scale": each.scale} for each in loras]
        return notes

    def timbre(self, reference: Source) -> Tensor:
        """The timbre of a reference recording, ``(1, 750, D)``, kept for the next job that names the same."""
        if reference.sha256 not in self._timbres:
            self._timbres.clear()
            audio = resample(reference.read(0, reference.frames), reference.rate, self.codec.rate)
            stereo = torch.from_numpy(audio[:2]).expand(2, -1)
            self._timbres[reference.sha256] = self.texts.timbre(self.codec, stereo)
        return self._timbres[reference.sha256]

    def release(self) -> None:
        """Give the memory back; nothing of this object can be used afterwards."""
        self.model.release()


def _folder_identity(folder: Path) -> str:
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(fingerprint(file, read_header(file)))
    return digest.hexdigest()[:16]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
