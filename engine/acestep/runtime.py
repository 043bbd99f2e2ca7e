"""A checkpoint at work: its model and the parts of the procedure that hold weights, on one device, in one tier."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from engine.acestep import devices
from engine.acestep import model as models
from engine.acestep.checkpoints import Checkpoint
from engine.acestep.codec import Codec
from engine.acestep.conditioning import TIMBRE_CROP_S, TIMBRE_CROPS, TextConditions
from engine.acestep.denoiser import Denoiser
from engine.acestep.devices import Tier
from engine.acestep.offer import VERSION
from engine.acestep.options import Options
from engine.acestep.weight_files import fingerprint, read_header
from engine.api import Source
from engine.audio import resample
from engine.availability import LIBRARIES
from engine.window import SILENCE_PEAK
from protocol.errors import SourceSilent, SourceUnreadable

if TYPE_CHECKING:
    from engine.api import Audio

log = logging.getLogger("stembridge.acestep")

STEREO = 2

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
        self.codec = Codec(model.vae, model.device, self.place)
        self.denoiser = Denoiser(
            model.transformer, place=placement.layer if streams else None, compile=compile and not streams
        )
        self.texts = TextConditions(model, model.device, model.dtype, self.place)
        self.vae_identity = "/".join(
            [
                _folder_identity(model.checkpoint.folder / "vae"),
                *(_device_name(model.device), torch.__version__, soxr.__version__),
            ]
        )
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
        # "auto" is off: what compiling gains on a GPU has not been measured, and its first minute is certain.
        return cls(model, compile=options.compile == "on")

    def place(self, *modules: nn.Module) -> AbstractContextManager[Any]:
        """Have modules on the device inside a with-block."""
        return self.model.placement.use(*modules)

    @property
    def is_compiled(self) -> bool:
        """True while the network runs compiled; a compiler that fails is done without."""
        return self.denoiser.is_compiled

    def in_time(self, told: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """`told` at the pace of the device: a GPU is handed steps faster than it makes them.

        Waits for the step before the last one, so that the device always has one to do.
        """
        if self.device.type != "cuda":
            return told
        queued: list[torch.cuda.Event] = []

        def in_time(done: int, total: int) -> None:
            queued.append(torch.cuda.current_stream(self.device).record_event())
            if len(queued) > 1:
                queued.pop(0).synchronize()
            told(done, total)

        return in_time

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
            "vae": self.vae_identity,
            "versions": [VERSION, *(metadata.version(name) for name in LIBRARIES)],
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
            heard = _crops(reference)
            if reference.channels > STEREO:
                raise SourceUnreadable(
                    f"The reference {reference.path.name} has {reference.channels} channels; ACE-Step hears stereo. "
                    "Render it to stereo and name that file."
                )
            if not np.abs(heard).max(initial=0.0) > SILENCE_PEAK:
                raise SourceSilent(f"The reference {reference.path.name} is silent: name one with sound in it.")
            audio = resample(heard, reference.rate, self.codec.rate)
            stereo = torch.from_numpy(audio).expand(STEREO, -1)
            self._timbres[reference.sha256] = self.texts.timbre(self.codec, stereo)
        return self._timbres[reference.sha256]

    def could_have_bytes(self) -> int | None:
        """What is free on the device, with what this runtime holds; None where nobody says, or it does not matter."""
        if self.device.type != "cuda":
            return None
        free = devices.free_bytes(self.device)
        return None if free is None else free + torch.cuda.memory_allocated(self.device)

    def release(self) -> None:
        """Give the memory back; nothing of this object can be used afterwards."""
        self.model.release()


def _crops(reference: Source) -> Audio:
    """What the timbre is read from, and no more of a long recording: its front, middle and back."""
    crop = TIMBRE_CROP_S * reference.rate
    if reference.frames <= TIMBRE_CROPS * crop:
        return reference.read(0, reference.frames)
    starts = (0, reference.frames // TIMBRE_CROPS, reference.frames - crop)
    return np.concatenate([reference.read(start, start + crop) for start in starts], axis=1)


def _folder_identity(folder: Path) -> str:
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(fingerprint(file, read_header(file)))
    return digest.hexdigest()[:16]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
