"""The forward pass of ACE-Step's diffusion transformer, over the stock module's weights.

The stock `AceStepTransformer1DModel.forward` computes in every step, for every branch of the guidance, things that do
not change during a job. This one computes each of them once and gives the same numbers (float32: relative error < 1e-5,
tested against the stock forward):

- the keys and values of the cross-attention: once per prompt (`condition`);
- the cross-attention of the empty prompt: all its keys are equal, so the softmax is uniform whatever the query, and the
  output is one constant vector per layer (`null`): that branch skips the norm, the query, the attention and the output;
- the time embedding and its modulation: once per job (`times`); `t - r` is 0 in sampling, so that half is a constant;
- the rotary tables and masks: once per length (`attention`);
- the first layer's self-attention: once for all branches, which only differ from the first cross-attention on.

Not hoisted: the context's share of the input projection. It is linear and could be, but the whole projection is 0.02 %
of a step. Linear layers are called as modules and their weights are never read, so that LoRA and quantised ones work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from engine.acestep.attention import attend, flex_fits, rope, rotate, sliding_mask
from engine.acestep.devices import is_out_of_memory

Place = Callable[[nn.Module], AbstractContextManager[None]]

KEY_BUCKET = 256
"""Compiled graphs have static shapes: prompts are padded (and masked) to a multiple of this many tokens, so that most
prompts share one graph. Cross-attention is 2 % of a step, a recompilation costs a minute: hence coarse."""

_MAX_GRAPHS = 64  # shapes; PyTorch's own limit is 8, beyond which it runs new ones uncompiled

_log = logging.getLogger(__name__)


def _resident(_layer: nn.Module) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Conditioning:
    """One prompt as the layers hear it. Either keys and values, or (empty prompt) what the cross-attention adds.

    keys, values: (layers, tokens, kv_heads, head_dim); mask: (1, tokens), -inf where a token is padding, or None.
    constants: (layers, 1, hidden).
    """

    keys: Tensor | None = None
    values: Tensor | None = None
    mask: Tensor | None = None
    constants: Tensor | None = None


@dataclass(frozen=True)
class TimeTable:
    """What the network knows of the time. embedding: (evaluations, hidden); modulation: (evaluations, 6, hidden)."""

    embedding: Tensor
    modulation: Tensor


class Denoiser:
    """Velocities from noisy latents. Everything but the layers must be resident on the device; see `place`."""

    def __init__(self, transformer: Any, *, place: Place | None = None, compile: bool = False) -> None:
        """`transformer`: an `AceStepTransformer1DModel` in eval mode, of any float dtype.

        `place(layer)` is entered around every layer's work (it brings a streamed layer to the device); with it nothing
        is compiled, because a graph needs its weights where they were. `compile`: torch.compile of the layer stack.
        """
        self._net = transformer
        self._place: Place = place or _resident
        self._compiled: Callable[..., Tensor] | None = None
        self._bucket = 1
        if compile and place is None:
            mode = "reduce-overhead" if self._device.type == "cuda" else "default"
            self._compiled = torch.compile(_stack, dynamic=False, mode=mode)
            self._bucket = KEY_BUCKET

    @property
    def is_compiled(self) -> bool:
        """True unless nothing is compiled, or the compiler has failed."""
        return self._compiled is not None

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self._net.proj_in_conv.parameters()).device
        return device

    @torch.no_grad()
    def condition(self, hidden: Tensor) -> Conditioning:
        """Project a prompt, (1, tokens, encoder width) of the condition encoder, to every layer's keys and values."""
        prompt = self._net.condition_embedder(hidden.to(self._device, self._net.dtype))
        padding = -prompt.shape[1] % self._bucket
        prompt = F.pad(prompt, (0, 0, 0, padding))
        keys, values = [], []
        for layer in self._net.layers:
            attn = layer.cross_attn
            with self._place(layer):
                keys.append(_normed(attn.norm_k, attn.to_k(prompt).unflatten(-1, (attn.kv_heads, -1))))
                values.append(attn.to_v(prompt).unflatten(-1, (attn.kv_heads, -1)))
        mask = None
        if self._bucket > 1:
            mask = torch.zeros(1, prompt.shape[1], dtype=prompt.dtype, device=prompt.device)
            mask[:, hidden.shape[1] :] = float("-inf")
        return Conditioning(keys=torch.cat(keys), values=torch.cat(values), mask=mask)

    @torch.no_grad()
    def null(self, embedding: Tensor) -> Conditioning:
        """The empty prompt, from its embedding (1, 1, encoder width), which the stock model repeats to no effect."""
        prompt = self._net.condition_embedder(embedding.to(self._device, self._net.dtype))
        constants = []
        for layer in self._net.layers:
            attn = layer.cross_attn
            with self._place(layer):
                value = attn.to_v(prompt).unflatten(-1, (attn.kv_heads, -1))
                per_head = value.repeat_interleave(attn.heads // attn.kv_heads, dim=2)
                constants.append(attn.to_out[0](per_head.flatten(2)))
        return Conditioning(constants=torch.cat(constants))

    @torch.no_grad()
    def times(self, times: Sequence[float]) -> TimeTable:
        """Embed the times (1 noise ... 0 clean) at which a job asks the network. The sinusoids are float32."""
        t = torch.tensor(list(times), dtype=torch.float32, device=self._device)
        embedding, modulation = self._embed(self._net.time_embed, t)
        embedding_r, modulation_r = self._embed(self._net.time_embed_r, torch.zeros_like(t[:1]))
        return TimeTable(embedding + embedding_r, modulation + modulation_r)

    def _embed(self, embed: Any, t: Tensor) -> tuple[Tensor, Tensor]:
        waves = embed.time_sinusoid(t * embed.scale).to(self._net.dtype)
        embedding = embed.linear_2(embed.act1(embed.linear_1(waves)))
        return embedding, embed.time_proj(embed.act2(embedding)).unflatten(1, (6, -1))

    @torch.no_grad()
    def velocity(
        self, x: Tensor, context: Tensor, table: TimeTable, index: int, branches: Sequence[Conditioning]
    ) -> list[Tensor]:
        """The velocity at time number `index` of the table, one float32 (B, T, D) per branch, from one joint pass.

        x: (B, T, D) noisy latents, T a multiple of the patch size, else ValueError. context: (B or 1, T, 2 D) source
        latents and mask. The branches, of any token counts, do not influence each other.
        """
        net, (batch, frames, _) = self._net, x.shape
        if frames % net.patch_size:
            raise ValueError(
                f"{frames} latent frames do not divide into patches of {net.patch_size}: plan an even window"
            )
        patches = torch.cat((context.expand(batch, -1, -1), x), dim=-1).to(net.dtype)
        hidden = net.proj_in_conv(patches.transpose(1, 2)).transpose(1, 2)
        order = sorted(range(len(branches)), key=lambda i: branches[i].constants is not None)  # prompts before nulls
        hidden = self._layers(hidden, table.modulation[index : index + 1], [branches[i] for i in order])
        shift, scale = (net.scale_shift_table + table.embedding[index]).chunk(2, dim=1)
        hidden = torch.addcmul(shift, _normed(net.norm_out, hidden), 1 + scale)
        velocities = net.proj_out_conv(hidden.transpose(1, 2)).transpose(1, 2).float().split(batch)
        return [velocities[order.index(i)] for i in range(len(branches))]

    def _layers(self, hidden: Tensor, modulation: Tensor, branches: Sequence[Conditioning]) -> Tensor:
        net, config, attn = self._net, self._net.config, self._net.layers[0].self_attn
        tokens, device, dtype = hidden.shape[1], hidden.device, hidden.dtype
        flex = self._compiled is not None and flex_fits(device, attn.head_dim)
        arguments = (
            net.layers,
            hidden,
            modulation,
            rope(tokens, attn.head_dim, net.rope_theta, device, dtype),
            tuple(kind == "sliding_attention" for kind in net.layer_types),
            sliding_mask(tokens, config.sliding_window, attn.heads // attn.kv_heads, device, dtype, flex=flex),
            tuple((b.keys, b.values, b.mask) for b in branches if b.keys is not None and b.values is not None),
            tuple(b.constants for b in branches if b.constants is not None),
        )
        if self._compiled is not None:
            try:
                return self._run_compiled(self._compiled, arguments)
            except Exception as problem:  # whatever a compiler may raise: the job goes on without it
                if is_out_of_memory(problem):
                    raise
                _log.warning("The model could not be compiled and runs uncompiled, which is slower: %s", problem)
                self._compiled = None
                return self._layers(hidden, modulation, branches)
        return _stack(*arguments, place=self._place)

    def _run_compiled(self, compiled: Callable[..., Tensor], arguments: tuple[Any, ...]) -> Tensor:
        if arguments[1].device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # the last output has been used
        with torch._dynamo.config.patch(recompile_limit=_MAX_GRAPHS):
            return compiled(*arguments)


def _stack(
    layers: Any,
    hidden: Tensor,
    modulation: Tensor,
    rotary: tuple[Tensor, Tensor],
    sliding: tuple[bool, ...],
    mask: Any,
    prompts: tuple[tuple[Tensor, Tensor, Tensor | None], ...],
    constants: tuple[Tensor, ...],
    place: Place = _resident,
) -> Tensor:
    """All layers: (B, N, hidden) in, (B * branches, N, hidden) out, the branches with a prompt first."""
    batch = hidden.shape[0]
    for index, layer in enumerate(layers):
        with place(layer):
            shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (layer.scale_shift_table + modulation).chunk(6, dim=1)
            normed = torch.addcmul(shift, _normed(layer.self_attn_norm, hidden), 1 + scale)
            hidden = torch.addcmul(
                hidden, _self_attention(layer.self_attn, normed, rotary, mask if sliding[index] else None), gate
            )
            if index == 0:
                hidden = hidden.repeat(len(prompts) + len(constants), 1, 1)
            _add_cross_attention(layer, hidden, batch, [(k[index], v[index], m) for k, v, m in prompts])
            for branch, constant in enumerate(constants, start=len(prompts)):
                hidden[branch * batch : (branch + 1) * batch] += constant[index]
            normed = torch.addcmul(mlp_shift, _normed(layer.mlp_norm, hidden), 1 + mlp_scale)
            hidden = torch.addcmul(hidden, layer.mlp(normed), mlp_gate)
    return hidden


def _self_attention(attn: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor], mask: Any) -> Tensor:
    query = _normed(attn.norm_q, attn.to_q(hidden).unflatten(-1, (attn.heads, -1)))
    key = _normed(attn.norm_k, attn.to_k(hidden).unflatten(-1, (attn.kv_heads, -1)))
    value = attn.to_v(hidden).unflatten(-1, (attn.kv_heads, -1))
    out: Tensor = attn.to_out[0](attend(rotate(query, rotary), rotate(key, rotary), value, mask))
    return out


def _add_cross_attention(
    layer: Any, hidden: Tensor, batch: int, prompts: Sequence[tuple[Tensor, Tensor, Tensor | None]]
) -> None:
    """Add to the first rows of `hidden`, in place, what each prompt tells them: `batch` rows per prompt."""
    if not prompts:
        return
    attn, rows = layer.cross_attn, hidden[: batch * len(prompts)]
    query = _normed(attn.norm_q, attn.to_q(_normed(layer.cross_attn_norm, rows)).unflatten(-1, (attn.heads, -1)))
    heard = [  # all rows of a prompt have the same keys, so they are one long row of queries
        attend(part.flatten(0, 1)[None], key[None], value[None], mask)
        for part, (key, value, mask) in zip(query.chunk(len(prompts)), prompts, strict=True)
    ]
    rows += attn.to_out[0](torch.cat(heard).view(rows.shape[0], rows.shape[1], -1))


def _normed(norm: Any, x: Tensor) -> Tensor:
    """RMS norm in one kernel where the device has one (the stock module's own code takes several)."""
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)
