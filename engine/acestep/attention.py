"""The attention of the diffusion transformer, in the form that is fastest for a given length.

The stock model builds one additive mask of tokens x tokens and hands it to every sliding layer: exact, but the cost and
the memory grow with the square of the length (7,500 tokens for a ten-minute song). Here a sliding layer costs what its
window costs. Promise: the numbers of `AceStepAttnProcessor2_0` to float32 rounding, at every length.

Grouped-query attention (32 query heads over 8 key heads) is computed by folding the query heads of a group into the
query length: attention treats queries independently, so this is exact, needs no copies of the keys, and runs on every
fused kernel of every device (not all of CUDA's take PyTorch's `enable_gqa`, above all with a mask, and on this CPU it
is 0-20 % slower).

Measured here (2 cores, float32, 32/8 heads of 128, window 128, 2 rows; dense mask against blocks, milliseconds): 350
tokens 32/37, 500 tokens 60/55, 750 tokens 136/77, 1,500 tokens 446/163; in bfloat16 the same crossing. Hence the
threshold `DENSE_WINDOWS`: a dense mask up to 4 windows (512 tokens, 41 s), blocks beyond.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name every PyTorch reader knows)
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

DENSE_WINDOWS = 4
"""Up to this many sliding windows of length a dense mask is faster than blocks (see the module's docstring)."""

_FLEX_BLOCK = 128


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # cached: it must not be bound to the mode of whoever asks first
def rope(tokens: int, head_dim: int, theta: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each (tokens, 1, head_dim); the angle is computed in float32."""
    positions: Any = torch.arange(tokens, dtype=torch.float32, device=device)  # diffusers annotates it too narrowly
    cos, sin = get_1d_rotary_pos_embed(head_dim, positions, theta, use_real=True, repeat_interleave_real=False)
    return cos.to(dtype)[:, None], sin.to(dtype)[:, None]


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Apply `rope` to (batch, tokens, heads, head_dim), pairing dimension d with d + head_dim / 2 (Qwen3's layout)."""
    cos, sin = tables
    low, high = x.chunk(2, dim=-1)
    turned = torch.cat((-high, low), dim=-1)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def sliding_mask(
    tokens: int, window: int, group: int, device: torch.device, dtype: torch.dtype, *, flex: bool = False
) -> Tensor | BlockMask | None:
    """What `attend` needs to let token i hear token j only if |i - j| <= window; `group`: query heads per key head.

    None: all hear all. A (group * tokens, tokens) tensor: added to the scores. A tensor of (blocks, 1, group * window,
    3 * window): each block of `window` queries hears itself and its two neighbours. A `BlockMask`: only if `flex`.
    """
    if tokens - 1 <= window:
        return None
    if tokens <= DENSE_WINDOWS * window:
        index = torch.arange(tokens, device=device)
        heard = (index[:, None] - index).abs() <= window
    elif flex:
        return _flex_mask(tokens, window, device)
    else:
        first = torch.arange(0, tokens, window, device=device)[:, None, None, None]
        query = first + torch.arange(window, device=device)[:, None]
        key = first - window + torch.arange(3 * window, device=device)
        heard = ((query - key).abs() <= window) & (key >= 0) & (key < tokens)
    additive = torch.zeros(heard.shape, dtype=dtype, device=device).masked_fill(~heard, float("-inf"))
    return additive.repeat(*[1] * (heard.ndim - 2), group, 1)


def _flex_mask(tokens: int, window: int, device: torch.device) -> BlockMask:
    """The band as FlexAttention's block list, made without a tokens x tokens tensor."""

    def near(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= window

    blocks = torch.arange(-(-tokens // _FLEX_BLOCK), device=device)
    reach = (window + _FLEX_BLOCK - 1) // _FLEX_BLOCK  # block p and block q hold tokens at most `window` apart
    near_blocks = (blocks[:, None] - blocks).abs() <= reach
    counts = near_blocks.sum(-1, dtype=torch.int32)
    indices = near_blocks.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    return BlockMask.from_kv_blocks(
        counts[None, None],
        indices[None, None],
        BLOCK_SIZE=_FLEX_BLOCK,
        mask_mod=near,
        seq_lengths=(tokens, tokens),
    )


def flex_fits(device: torch.device, head_dim: int) -> bool:
    """Whether FlexAttention is worth using: compiled on CUDA, with a head width its kernel takes.

    Not run on a GPU by its authors (there was none); on the CPU its numbers and its block list are tested.
    """
    return device.type == "cuda" and head_dim >= 16 and head_dim & (head_dim - 1) == 0


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | BlockMask | None) -> Tensor:
    """Attention of (B, N, heads, D) to (B, M, kv_heads, D): (B, N, heads * D). Scores are scaled by 1 / sqrt(D).

    mask: from `sliding_mask`, or (1, M) to add to the scores of every query.
    """
    if isinstance(mask, BlockMask):
        q, k, v = (t.transpose(1, 2) for t in (query, key, value))
        out = flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
        assert isinstance(out, Tensor)
        return out.transpose(1, 2).flatten(2)
    if mask is not None and mask.ndim == 4:
        return _attend_blocks(query, key, value, mask)
    batch, tokens, heads, width = query.shape
    kv_heads = key.shape[2]
    folded = query.transpose(1, 2).reshape(batch, kv_heads, heads // kv_heads * tokens, width)
    out = F.scaled_dot_product_attention(folded, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask)
    return out.reshape(batch, heads, tokens, width).transpose(1, 2).flatten(2)


def _attend_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Sliding attention in blocks of one window. Rows go to the head axis, so that one mask serves them all."""
    batch, tokens, heads, width = query.shape
    kv_heads = key.shape[2]
    blocks, span = mask.shape[0], mask.shape[-1]
    window = span // 3
    group = heads // kv_heads
    rest = blocks * window - tokens

    def neighbourhoods(t: Tensor) -> Tensor:  # (B, N, kv_heads, D) -> (blocks, B * kv_heads, 3 * window, D)
        padded = F.pad(t, (0, 0, 0, 0, window, window + rest))
        return padded.unfold(1, span, window).permute(1, 0, 2, 4, 3).reshape(blocks, batch * kv_heads, span, width)

    q = F.pad(query, (0, 0, 0, 0, 0, rest)).view(batch, blocks, window, kv_heads, group, width)
    q = q.permute(1, 0, 3, 4, 2, 5).reshape(blocks, batch * kv_heads, group * window, width)
    out = F.scaled_dot_product_attention(q, neighbourhoods(key), neighbourhoods(value), attn_mask=mask)
    out = out.view(blocks, batch, kv_heads, group, window, width).permute(1, 0, 4, 2, 3, 5)
    return out.reshape(batch, blocks * window, heads * width)[:, :tokens]
