"""The VAE between 48 kHz audio and latents: any span of it, exactly, without ever touching the whole.

Oobleck is convolutional, so a latent frame depends on 6.34 frames of audio to each side and a decoded sample on 8.34
latent frames (facts/perf.md, found analytically and by perturbation). With `ENCODER_MARGIN` and `DECODER_MARGIN` frames
of real neighbours, a piece equals the same piece of the whole; at the true ends the network's own zero padding applies,
as it does in the whole. Promises: latents are the distribution's mode, hence no random numbers; always float32 (bf16
would cost audible noise: 42 dB); memory independent of length; `step` is called before and after every piece.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck
from torch import Tensor, nn
from torch.nn.utils import remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

ENCODER_MARGIN = 7
"""Latent frames of audio on each side beyond which the encoder hears nothing."""

DECODER_MARGIN = 9
"""Latent frames on each side beyond which the decoder hears nothing."""

PIECE = 200
"""Latent frames (8 s) worked on at once, besides the margins: about 1 GB at full width."""

Step = Callable[[float], None]
"""Called with the fraction done; may raise `Cancelled`."""

Place = Callable[[nn.Module], contextlib.AbstractContextManager[None]]
"""Has a module on the device inside the context (see devices.Placement.use)."""


class Codec:
    """A loaded `AutoencoderOobleck` as a pair of functions on spans.

    The VAE is changed in place: cast to float32, and its weight norm folded into plain weights, which changes no bit of
    its output and makes it 1.5 times as fast.
    """

    def __init__(self, vae: AutoencoderOobleck, device: torch.device, place: Place | None = None) -> None:
        self._device = device
        self._place = place
        nn.Module.to(vae, None if place else device, torch.float32)  # diffusers' own `to` hides its signature
        self._vae = fold_weight_norm(vae.eval())
        self.rate = int(vae.config["sampling_rate"])
        """Hz, 48,000."""
        self.hop = int(vae.hop_length)
        """Audio samples per latent frame, 1,920."""
        self.dim = int(vae.config["decoder_input_channels"])
        """Channels of a latent frame."""

    def encode(self, audio: Tensor, step: Step | None = None) -> Tensor:
        """Latents ``(n, dim)`` (float32, CPU) of `audio` ``(2, n * hop)``: what encoding the whole gives.

        Raises `ValueError` for audio that is no whole number of latent frames long; raises what `step` raises.
        """
        frames, rest = divmod(audio.shape[-1], self.hop)
        if rest or audio.ndim != 2:
            raise ValueError(f"audio of shape {tuple(audio.shape)} is not (channels, n * {self.hop})")
        latents = torch.empty(frames, self.dim)
        with self._working():
            for first, last in _pieces(0, frames, step):
                start, stop = max(0, first - ENCODER_MARGIN), min(frames, last + ENCODER_MARGIN)
                heard = audio[None, :, start * self.hop : stop * self.hop].to(self._device, torch.float32)
                mode = self._vae.encode(heard).latent_dist.mode()[0].T
                latents[first:last] = mode[first - start : last - start].cpu()
        return latents

    def decode(self, latents: Tensor, first: int, last: int, step: Step | None = None) -> Tensor:
        """Audio ``(2, (last - first) * hop)`` (float32, CPU) of frames ``first..last`` of `latents` ``(T, dim)``.

        It equals that span of the whole decode, and costs only that span and its margins. Raises `ValueError` for a
        span outside `latents`; raises what `step` raises.
        """
        frames = latents.shape[0]
        if not 0 <= first <= last <= frames:
            raise ValueError(f"latent frames {first}..{last} do not lie in {frames}")
        audio = torch.empty(int(self._vae.config["audio_channels"]), (last - first) * self.hop)
        with self._working():
            for begin, end in _pieces(first, last, step):
                start, stop = max(0, begin - DECODER_MARGIN), min(frames, end + DECODER_MARGIN)
                known = latents[None, start:stop].mT.to(self._device, torch.float32)
                sound = self._vae.decode(known).sample[0]
                kept = sound[:, (begin - start) * self.hop : (end - start) * self.hop]
                audio[:, (begin - first) * self.hop : (end - first) * self.hop] = kept.cpu()
        return audio

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        placed = self._place(self._vae) if self._place is not None else contextlib.nullcontext()
        # TF32, which cuDNN uses unless told otherwise, would keep 3 digits of the 7; autotuning may differ per run.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), placed, exact:
            yield


def fold_weight_norm(vae: AutoencoderOobleck) -> AutoencoderOobleck:
    """`vae` itself, its weight-normalised convolutions turned into plain ones of the very same weights."""
    for module in vae.modules():
        if any(isinstance(hook, WeightNorm) for hook in module._forward_pre_hooks.values()):
            remove_weight_norm(module)
    return vae.requires_grad_(False)


def _pieces(first: int, last: int, step: Step | None) -> Iterator[tuple[int, int]]:
    """``first..last`` in pieces of about equal length, none longer than `PIECE`."""
    if step is not None:
        step(0.0)
    count = math.ceil((last - first) / PIECE)
    for index in range(count):
        yield first + (last - first) * index // count, first + (last - first) * (index + 1) // count
        if step is not None:
            step((index + 1) / count)
