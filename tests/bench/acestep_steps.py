"""One step of the network with guidance, stock against ours, and each of our exact optimisations alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.bench import geometry
from tests.bench.acestep_jobs import Setting

PROMPT_TOKENS = 400
FRAMES_PER_S = 25
GPU_WINDOWS_S = (28, 48, 60)

VARIANTS = ("our forward, nothing saved", "keys, values and null constant", "local attention", "all")


@dataclass(frozen=True)
class Step:
    """Seconds of one step by variant name (and "stock"), and the largest error relative to stock's largest value."""

    window_s: int
    seconds: dict[str, float]
    errors: dict[str, float]


def measure(setting: Setting, windows_s: Sequence[int]) -> list[Step]:
    """The steps for windows of so many seconds, short ones more often; on CUDA also compiled."""
    import torch

    setting.apply()
    pipe = geometry.stock(geometry.GEOMETRIES[setting.geometry], setting.device)
    with torch.inference_mode():
        return [_measure(setting, pipe, window_s) for window_s in windows_s]


def decode_rate(setting: Setting, seconds: int) -> float:
    """Seconds that our VAE decoder takes for a second of audio."""
    import torch

    from engine.acestep.codec import Codec

    sizes = geometry.GEOMETRIES[setting.geometry]
    codec = Codec(geometry.modules(sizes, setting.device)["vae"], torch.device(setting.device))
    latents = torch.randn(seconds * FRAMES_PER_S, sizes.latent_dim)
    return min(_timed(setting, lambda: codec.decode(latents, 0, len(latents)))[0] for _ in range(3)) / seconds


def _measure(setting: Setting, pipe: Any, window_s: int) -> Step:
    import torch

    from engine.acestep.denoiser import Denoiser

    net = pipe.transformer
    device, dim, frames = net.device, net.config.audio_acoustic_hidden_dim, window_s * FRAMES_PER_S
    generator = torch.Generator().manual_seed(window_s)

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=generator).to(device)

    x, context, now = draw(1, frames, dim), draw(1, frames, 2 * dim), 0.6
    null = pipe.condition_encoder.null_condition_emb
    hidden = draw(1, PROMPT_TOKENS, null.shape[-1]).to(net.dtype)
    ours = Denoiser(net)
    told, table = [ours.condition(hidden), ours.null(null)], ours.times([now])

    def stock() -> Any:
        t = torch.full((2,), now, device=device, dtype=net.dtype)
        velocity = net(
            hidden_states=torch.cat([x, x]).to(net.dtype),
            timestep=t,
            timestep_r=t,
            encoder_hidden_states=torch.cat([hidden, null.expand_as(hidden)]),
            context_latents=torch.cat([context, context]).to(net.dtype),
            return_dict=False,
        )[0]
        return velocity.chunk(2)

    def anew() -> Any:
        branches = [ours.condition(hidden), ours.condition(null.expand_as(hidden))]
        return ours.velocity(x, context, ours.times([now]), 0, branches)

    def saved(denoiser: Denoiser = ours) -> Any:
        return denoiser.velocity(x, context, table, 0, told)

    works: dict[str, tuple[Callable[[], Any], bool]] = {
        "stock": (stock, False),
        VARIANTS[0]: (anew, True),
        VARIANTS[1]: (saved, True),
        VARIANTS[2]: (anew, False),
        VARIANTS[3]: (saved, False),
    }
    if device.type == "cuda":
        compiled = Denoiser(net, compile=True)
        padded = [compiled.condition(hidden), compiled.null(null)]
        works["compiled"] = (lambda: compiled.velocity(x, context, table, 0, padded), False)
    return _compared(setting, works, window_s)


def _compared(setting: Setting, works: dict[str, tuple[Callable[[], Any], bool]], window_s: int) -> Step:
    repeats = max(2, 180 // window_s)
    seconds: dict[str, float] = {}
    errors: dict[str, float] = {}
    expected: Any = None
    for repeat in range(repeats + 1):  # the first round warms up; in turns, so that a noisy moment meets all
        for name, (work, is_dense) in works.items():
            with _dense() if is_dense else contextlib.nullcontext():
                taken, made = _timed(setting, work)
            if repeat == 0:
                expected = expected or [part.float() for part in made]
                difference = max((part.float() - whole).abs().max() for part, whole in zip(made, expected, strict=True))
                errors[name] = float(difference / max(whole.abs().max() for whole in expected))
            else:
                seconds[name] = min(taken, seconds.get(name, taken))
    return Step(window_s, seconds, errors)


@contextlib.contextmanager
def _dense() -> Iterator[None]:
    """Inside, our sliding layers get the mask of tokens x tokens, at every length, made once."""
    from engine.acestep import denoiser

    before = denoiser.sliding_mask
    vars(denoiser)["sliding_mask"] = _dense_mask
    try:
        yield
    finally:
        vars(denoiser)["sliding_mask"] = before


@lru_cache(maxsize=1)
def _dense_mask(*arguments: Any, flex: bool) -> Any:
    from engine.acestep import attention

    before = attention.DENSE_WINDOWS
    attention.DENSE_WINDOWS = 10**9
    try:
        return attention.sliding_mask.__wrapped__(*arguments)
    finally:
        attention.DENSE_WINDOWS = before


def _timed(setting: Setting, work: Callable[[], Any]) -> tuple[float, Any]:
    import torch

    wait = torch.cuda.synchronize if setting.device == "cuda" else lambda: None
    wait()
    began = setting.clock()
    made = work()
    wait()
    return setting.clock() - began, made
