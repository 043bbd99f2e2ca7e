"""Sliding attention in its three forms against the plain definition: softmax over the tokens within the window."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.ace_step_transformer import _ace_step_rotary_freqs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from engine.acestep.attention import DENSE_WINDOWS, attend, flex_fits, rope, rotate, sliding_mask

CPU, F32 = torch.device("cpu"), torch.float32


def _inputs(batch: int, tokens: int, kv_heads: int, group: int, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(tokens)
    query = torch.randn(batch, tokens, kv_heads * group, width, generator=made)
    key, value = torch.randn(2, batch, tokens, kv_heads, width, generator=made)
    return query, key, value


def _definition(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """In float64, head by head, with no library attention."""
    query, key, value = query.double(), key.double(), value.double()
    group, index = query.shape[2] // key.shape[2], torch.arange(key.shape[1])
    heads = []
    for head in range(query.shape[2]):
        scores = query[:, :, head] @ key[:, :, head // group].mT * query.shape[-1] ** -0.5
        if window is not None:
            scores = scores.masked_fill((index[:, None] - index).abs() > window, float("-inf"))
        heads.append(scores.softmax(-1) @ value[:, :, head // group])
    return torch.cat(heads, dim=-1)


@given(batch=st.integers(1, 3), tokens=st.integers(1, 90), window=st.integers(1, 12), group=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_a_token_hears_exactly_its_window_whatever_the_length(batch: int, tokens: int, window: int, group: int) -> None:
    query, key, value = _inputs(batch, tokens, 2, group)
    out = attend(query, key, value, sliding_mask(tokens, window, group, CPU, F32))
    torch.testing.assert_close(out.double(), _definition(query, key, value, window), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [9, 20, 60], ids=["just masked", "dense", "blocks"])
def test_the_comparison_sees_a_window_that_is_one_token_off(tokens: int) -> None:
    query, key, value = _inputs(1, tokens, 2, 2)
    out = attend(query, key, value, sliding_mask(tokens, 7, 2, CPU, F32)).double()
    assert (out - _definition(query, key, value, 7)).abs().max() < 1e-5
    assert (out - _definition(query, key, value, 8)).abs().max() > 1e-3


def test_the_form_follows_the_length() -> None:
    window = 128
    assert sliding_mask(window + 1, window, 4, CPU, F32) is None
    dense = sliding_mask(DENSE_WINDOWS * window, window, 4, CPU, F32)
    assert isinstance(dense, Tensor)
    assert dense.ndim == 2
    blocks = sliding_mask(DENSE_WINDOWS * window + 1, window, 4, CPU, F32)
    assert isinstance(blocks, Tensor)
    assert blocks.shape == (5, 1, 4 * window, 3 * window)


@pytest.mark.parametrize("tokens", [1, 5, 300])
def test_grouped_queries_without_a_mask_hear_all_keys(tokens: int) -> None:
    query, key, value = _inputs(2, tokens, 2, 4)
    out = attend(query, key, value, None)
    torch.testing.assert_close(out.double(), _definition(query, key, value, None), rtol=1e-5, atol=1e-5)


def test_masked_keys_are_not_heard() -> None:
    query, key, value = _inputs(2, 12, 2, 2)
    mask = torch.zeros(1, 12)
    mask[:, 9:] = float("-inf")
    out = attend(query, key, value, mask)
    torch.testing.assert_close(out, attend(query, key[:, :9], value[:, :9], None), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_equals_the_stock_one_at_far_positions(dtype: torch.dtype) -> None:
    tokens, width, theta = 7500, 16, 1e6
    x = torch.randn(1, tokens, 2, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    tables = _ace_step_rotary_freqs(tokens, width, theta, CPU, dtype)
    stock = apply_rotary_emb(x, tables, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
    assert torch.equal(rotate(x, rope(tokens, width, theta, CPU, dtype)), stock)


# FlexAttention serves only compiled graphs on CUDA, which no test machine has; this checks what can be checked without.
@pytest.mark.parametrize(("tokens", "window"), [(129, 16), (513, 128), (1000, 128), (1024, 200), (2049, 128)])
def test_the_flex_block_list_equals_the_one_pytorch_derives_from_the_rule(tokens: int, window: int) -> None:
    ours = sliding_mask(tokens, window, 4, CPU, F32, flex=True)
    assert isinstance(ours, BlockMask)
    rule = create_block_mask(lambda b, h, i, j: (i - j).abs() <= window, None, None, tokens, tokens, device="cpu")
    assert torch.equal(ours.to_dense(), rule.to_dense())
    assert ours.shape == rule.shape


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_flex_attention_equals_the_definition() -> None:
    tokens, window = 600, 64
    query, key, value = _inputs(1, tokens, 2, 2, width=16)
    mask = sliding_mask(tokens, window, 2, CPU, F32, flex=True)
    with torch.no_grad():
        out = torch.compile(attend, dynamic=False)(query, key, value, mask)
    torch.testing.assert_close(out.double(), _definition(query, key, value, window), rtol=1e-5, atol=1e-5)


def test_flex_is_for_cuda_and_the_head_widths_its_kernel_takes() -> None:
    assert flex_fits(torch.device("cuda"), 128)
    assert not flex_fits(torch.device("cuda"), 8)
    assert not flex_fits(torch.device("cuda"), 96)
    assert not flex_fits(CPU, 128)
