"""The VAE in pieces is the VAE in whole: every span, every length, both directions, and only with enough margin."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch import Tensor, nn

from engine.acestep import codec as codec_module
from engine.acestep.codec import DECODER_MARGIN, ENCODER_MARGIN, Codec, fold_weight_norm
from protocol.errors import Cancelled

CPU = torch.device("cpu")
HOP = 1920


def loaded(folder: Path) -> Any:
    with warnings.catch_warnings():  # diffusers still uses the older torch.nn.utils.weight_norm
        warnings.simplefilter("ignore", FutureWarning)
        return AutoencoderOobleck.from_pretrained(folder, subfolder="vae")


@pytest.fixture(scope="module")
def codec(tiny_base: Path) -> Codec:
    return Codec(loaded(tiny_base), CPU)


def noise(*shape: int, seed: int = 0, level: float = 1.0) -> Tensor:
    return level * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def whole_encode(vae: Any, audio: Tensor) -> Tensor:
    with torch.inference_mode():
        return vae.encode(audio[None]).latent_dist.mode()[0].T


def whole_decode(vae: Any, latents: Tensor) -> Tensor:
    with torch.inference_mode():
        return vae.decode(latents.T[None]).sample[0]


def test_the_geometry_is_the_checkpoints(codec: Codec) -> None:
    assert (codec.rate, codec.hop, codec.dim) == (48_000, 1920, 8)


def test_folding_the_weight_norm_changes_no_bit(tiny_base: Path) -> None:
    audio, latents = noise(2, 30 * HOP, level=0.2), noise(20, 8)
    stock, folded = loaded(tiny_base), fold_weight_norm(loaded(tiny_base))
    assert torch.equal(whole_encode(stock, audio), whole_encode(folded, audio))
    assert torch.equal(whole_decode(stock, latents), whole_decode(folded, latents))
    assert any(name.endswith("weight_g") for name, _ in stock.named_parameters())
    assert not any(name.endswith("weight_g") for name, _ in folded.named_parameters())
    assert fold_weight_norm(folded) is folded, "a second time does nothing"


@pytest.mark.parametrize("piece", [1, 3, 10, 200])
@pytest.mark.parametrize("frames", [1, 2, 9, 31, 64])
def test_encoding_in_pieces_equals_the_mode_of_the_whole(
    codec: Codec, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, frames: int, piece: int
) -> None:
    monkeypatch.setattr(codec_module, "PIECE", piece)
    audio = noise(2, frames * HOP, seed=frames, level=0.2)
    assert error(codec.encode(audio), whole_encode(loaded(tiny_base), audio)) < 1e-5


@pytest.mark.parametrize("piece", [1, 7, 200])
@pytest.mark.parametrize("span", [(0, 60), (0, 1), (59, 60), (0, 25), (30, 60), (11, 43), (20, 21), (20, 20)])
def test_a_decoded_span_equals_that_span_of_the_whole(
    codec: Codec, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, span: tuple[int, int], piece: int
) -> None:
    monkeypatch.setattr(codec_module, "PIECE", piece)
    latents = noise(60, 8, seed=1)
    whole = whole_decode(loaded(tiny_base), latents)
    found, wanted = codec.decode(latents, *span), whole[:, span[0] * HOP : span[1] * HOP]
    assert found.shape == wanted.shape
    assert found.numel() == 0 or float((found - wanted).abs().max() / whole.abs().max()) < 1e-5


@pytest.mark.parametrize("margin", [0, 4])
def test_with_less_margin_the_pieces_differ(
    codec: Codec, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, margin: int
) -> None:
    monkeypatch.setattr(codec_module, "PIECE", 20)
    monkeypatch.setattr(codec_module, "ENCODER_MARGIN", margin)
    monkeypatch.setattr(codec_module, "DECODER_MARGIN", margin)
    audio, latents = noise(2, 60 * HOP, level=0.2), noise(60, 8)
    assert error(codec.encode(audio), whole_encode(loaded(tiny_base), audio)) > 1e-4
    assert error(codec.decode(latents, 0, 60), whole_decode(loaded(tiny_base), latents)) > 1e-4


def test_bf16_weights_are_used_in_float32(tiny_base: Path) -> None:
    stock = loaded(tiny_base).to(torch.bfloat16)
    reference = loaded(tiny_base).to(torch.bfloat16).to(torch.float32)
    audio = noise(2, 20 * HOP, level=0.2)
    found = Codec(stock, CPU).encode(audio)
    assert found.dtype == torch.float32
    assert error(found, whole_encode(reference, audio)) < 1e-5


def test_step_hears_every_piece_and_can_cancel_before_any_work(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "PIECE", 10)
    heard: list[float] = []
    codec.decode(noise(40, 8), 5, 35, heard.append)
    assert heard == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])

    def cancel(done: float) -> None:
        raise Cancelled("The job was cancelled.")

    monkeypatch.setattr(codec._vae, "encode", None)
    with pytest.raises(Cancelled):
        codec.encode(noise(2, 10 * HOP), cancel)


def test_no_piece_is_longer_than_the_bound(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """So memory does not depend on the length."""
    monkeypatch.setattr(codec_module, "PIECE", 20)
    seen: list[int] = []

    def spy(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[-1])

    handles = [m.register_forward_pre_hook(spy) for m in (codec._vae.encoder, codec._vae.decoder)]
    codec.encode(noise(2, 90 * HOP, level=0.1))
    assert len(seen) == 5
    assert max(seen) <= (20 + 2 * ENCODER_MARGIN) * HOP
    seen.clear()
    codec.decode(noise(300, 8), 100, 145)
    assert len(seen) == 3
    assert max(seen) <= 20 + 2 * DECODER_MARGIN
    for handle in handles:
        handle.remove()


def test_a_placement_surrounds_the_work(tiny_base: Path) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def place(module: nn.Module) -> Iterator[None]:
        events.append("in")
        yield
        events.append("out")

    placed = Codec(loaded(tiny_base), CPU, place)
    placed.encode(noise(2, HOP), lambda done: events.append(f"{done:g}"))
    assert events == ["in", "0", "1", "out"]


def test_what_does_not_fit_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="1920"):
        codec.encode(noise(2, 1000))
    for span in ((-1, 3), (3, 11), (5, 4)):
        with pytest.raises(ValueError, match="latent frames"):
            codec.decode(noise(10, 8), *span)


@pytest.mark.slow
def test_the_margins_suffice_at_full_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real geometry (128 channels, x1 2 4 8 16, strides 2 4 4 6 10), and 4 frames do not."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        vae = AutoencoderOobleck(downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48_000)
    codec = Codec(vae, CPU)
    monkeypatch.setattr(codec_module, "PIECE", 6)
    audio, latents = noise(2, 24 * HOP, level=0.2), noise(24, 64)
    encoded, decoded = whole_encode(vae, audio), whole_decode(vae, latents)
    cut = slice(10 * HOP, 14 * HOP)
    assert error(codec.encode(audio), encoded) < 1e-5
    assert error(codec.decode(latents, 10, 14), decoded[:, cut]) < 1e-5
    monkeypatch.setattr(codec_module, "ENCODER_MARGIN", 4)
    monkeypatch.setattr(codec_module, "DECODER_MARGIN", 4)
    assert error(codec.encode(audio), encoded) > 1e-4
    assert error(codec.decode(latents, 10, 14), decoded[:, cut]) > 1e-4
