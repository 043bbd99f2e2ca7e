"""Our forward pass against the stock transformer's, with the same weights, in float32."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.acestep.denoiser import Conditioning, Denoiser

EXACT = 1e-5  # relative error to the stock forward in float32
D, E = 8, 24  # of the tiny checkpoint; its window is 16 tokens: dense up to 64 tokens (128 frames), blocks beyond


@pytest.fixture(scope="session")
def net(stock: Any) -> Any:
    return stock.transformer


@pytest.fixture(scope="session")
def null(stock: Any) -> Tensor:
    return stock.condition_encoder.null_condition_emb.detach()


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _stock(net: Any, x: Tensor, context: Tensor, t: float, hidden: Tensor) -> Tensor:
    batch = x.shape[0]
    time = torch.full((batch,), t, dtype=x.dtype)
    with torch.no_grad():
        return net(x, time, time, hidden.expand(batch, -1, -1), context.expand(batch, -1, -1), return_dict=False)[0]


def _error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def _one(net: Any, frames: int = 40, tokens: int = 9, **options: Any) -> Tensor:
    """One velocity of one prompt, for tests that vary the network."""
    denoiser = Denoiser(net, **options)
    x, context = _noise(1, 1, frames, D), _noise(2, 1, frames, 2 * D)
    return denoiser.velocity(x, context, denoiser.times([0.7]), 0, [denoiser.condition(_noise(3, 1, tokens, E))])[0]


def _one_stock(net: Any, frames: int = 40, tokens: int = 9) -> Tensor:
    return _stock(net, _noise(1, 1, frames, D), _noise(2, 1, frames, 2 * D), 0.7, _noise(3, 1, tokens, E))


@given(
    frames=st.integers(1, 150).map(lambda n: 2 * n),
    batch=st.integers(1, 4),
    shared_context=st.booleans(),
    branches=st.lists(st.one_of(st.none(), st.integers(1, 300)), min_size=1, max_size=2),  # None: the empty prompt
    t=st.floats(0.001, 1.0),
)
@settings(deadline=None, max_examples=40)
def test_velocities_equal_the_stock_forward(
    net: Any, null: Tensor, frames: int, batch: int, shared_context: bool, branches: list[int | None], t: float
) -> None:
    denoiser = Denoiser(net)
    x, context = _noise(1, batch, frames, D), _noise(2, 1 if shared_context else batch, frames, 2 * D)
    prompts = [null.expand(1, 50, E) if tokens is None else _noise(tokens, 1, tokens, E) for tokens in branches]
    heard = [
        denoiser.null(null) if tokens is None else denoiser.condition(prompt)
        for tokens, prompt in zip(branches, prompts, strict=True)
    ]
    velocities = denoiser.velocity(x, context, denoiser.times([0.5, t]), 1, heard)
    for velocity, prompt in zip(velocities, prompts, strict=True):
        assert velocity.dtype == torch.float32
        assert velocity.shape == x.shape
        assert _error(velocity, _stock(net, x, context, t, prompt)) < EXACT


@pytest.mark.parametrize("frames", [20, 100, 200], ids=["no mask", "dense mask", "blocks"])
@pytest.mark.parametrize("change", ["prompt", "null", "time", "far context"])
def test_the_comparison_sees_small_errors(net: Any, null: Tensor, frames: int, change: str) -> None:
    denoiser = Denoiser(net)
    x, context = _noise(1, 1, frames, D), _noise(2, 1, frames, 2 * D)
    hidden, empty, t = _noise(3, 1, 5, E), denoiser.null(null), 0.7
    wrong_hidden, wrong_t, wrong_context = hidden, t, context.clone()
    if change == "prompt":
        wrong_hidden = hidden * torch.tensor([1, 1, 1, 1, 1.01])[:, None]
    elif change == "null":
        assert empty.constants is not None
        empty = Conditioning(constants=empty.constants * 1.01)
    elif change == "time":
        wrong_t = t + 0.0005
    else:
        wrong_context[:, -2:] *= 1.1
    heard = [denoiser.condition(wrong_hidden), empty]
    ours = denoiser.velocity(x, wrong_context, denoiser.times([wrong_t]), 0, heard)
    theirs = [_stock(net, x, context, t, prompt) for prompt in (hidden, null.expand(1, 5, E))]
    assert max(_error(*pair) for pair in zip(ours, theirs, strict=True)) > 2 * EXACT


def test_it_runs_in_inference_mode_and_leaves_nothing_behind_that_does_not_run_outside(net: Any) -> None:
    with torch.inference_mode():
        inside = [_one(net, frames) for frames in (42, 202)]  # lengths whose tables no other test has cached
    outside = [_one(net, frames) for frames in (42, 202)]
    assert all(torch.equal(*pair) for pair in zip(inside, outside, strict=True))
    assert not any(velocity.is_inference() for velocity in outside)


def test_an_odd_number_of_frames_is_refused(net: Any) -> None:
    with pytest.raises(ValueError, match="even window"):
        _one(net, frames=41)


def test_steps_repeat_nothing_that_is_fixed_for_the_job(net: Any, null: Tensor) -> None:
    calls: Counter[str] = Counter()
    counted = {name: module for name, module in net.named_modules() if name.endswith(("to_k", "to_v", "linear_1"))}
    counted["condition_embedder"] = net.condition_embedder
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name])) for name, module in counted.items()
    ]
    try:
        denoiser = Denoiser(net)
        heard = [denoiser.condition(_noise(0, 1, 7, E)), denoiser.null(null)]
        table = denoiser.times([1.0, 0.6, 0.2])
        layers = range(len(net.layers))
        assert calls == {
            "condition_embedder": 2,
            "time_embed.linear_1": 1,
            "time_embed_r.linear_1": 1,
            **{
                f"layers.{i}.cross_attn.{name}": 2 if name == "to_v" else 1 for i in layers for name in ("to_k", "to_v")
            },
        }
        calls.clear()
        for step in range(3):
            denoiser.velocity(_noise(step, 1, 40, D), _noise(9, 1, 40, 2 * D), table, step, heard)
        assert calls == {f"layers.{i}.self_attn.{name}": 3 for i in layers for name in ("to_k", "to_v")}
    finally:
        for hook in hooks:
            hook.remove()


def test_the_empty_prompt_asks_no_cross_attention_and_the_first_layer_runs_once_for_all(net: Any, null: Tensor) -> None:
    rows: dict[str, int] = {}
    watched = {f"{i}.{part}": net.layers[i].get_submodule(part) for i in (0, 1) for part in ("self_attn.to_q", "mlp")}
    watched |= {f"{i}.cross": net.layers[i].cross_attn.to_q for i in (0, 1)}
    hooks = [
        module.register_forward_hook(lambda _m, given, _o, name=name: rows.update({name: given[0].shape[0]}))
        for name, module in watched.items()
    ]
    try:
        denoiser = Denoiser(net)
        heard = [denoiser.null(null), denoiser.condition(_noise(0, 1, 7, E))]
        denoiser.velocity(_noise(0, 3, 40, D), _noise(1, 1, 40, 2 * D), denoiser.times([1.0]), 0, heard)
    finally:
        for hook in hooks:
            hook.remove()
    assert rows == {"0.self_attn.to_q": 3, "0.mlp": 6, "1.self_attn.to_q": 6, "1.mlp": 6, "0.cross": 3, "1.cross": 3}


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.slow
def test_ten_minutes_run_without_a_tensor_of_tokens_by_tokens_and_equal_the_stock_forward(net: Any) -> None:
    frames = 15000
    with _Largest() as ours:
        velocity = _one(net, frames)
    with _Largest() as theirs:
        expected = _one_stock(net, frames)
    assert theirs.numel >= (frames // 2) ** 2  # the measure sees such a tensor where there is one
    assert ours.numel < (frames // 2) ** 2 / 50
    assert _error(velocity, expected) < EXACT


def test_a_bfloat16_network_takes_and_gives_float32_and_stays_near(net: Any) -> None:
    half = copy.deepcopy(net)
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    velocity = _one(half, frames=200)
    assert velocity.dtype == torch.float32
    assert 1e-4 < _error(velocity, _one(net, frames=200)) < 0.03


def test_times_are_not_rounded_to_the_dtype_of_the_network(net: Any) -> None:
    half = copy.deepcopy(net)
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    assert torch.tensor(0.9801).bfloat16() == torch.tensor(0.9805).bfloat16()
    table = Denoiser(half).times([0.9801, 0.9805])
    assert not torch.equal(table.embedding[0], table.embedding[1])


class _Wrapped(nn.Module):
    """A layer that hides its weight, as adapters and quantised layers do."""

    def __init__(self, hidden: nn.Linear) -> None:
        super().__init__()
        self._forward: Callable[[Tensor], Tensor] = hidden.forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x)


def test_linear_layers_may_be_replaced_by_anything_callable(net: Any, null: Tensor) -> None:
    wrapped = copy.deepcopy(net)
    for name, module in list(wrapped.named_modules()):
        if isinstance(module, nn.Linear):
            wrapped.set_submodule(name, _Wrapped(module))
    assert not any(isinstance(module, nn.Linear) for module in wrapped.modules())
    assert torch.equal(_one(wrapped), _one(net))
    ours, theirs = Denoiser(wrapped).null(null).constants, Denoiser(net).null(null).constants
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours, theirs)


def test_layers_are_used_only_while_they_are_placed(net: Any, null: Tensor) -> None:
    streamed = copy.deepcopy(net)
    kept = {id(layer): copy.deepcopy(layer.state_dict()) for layer in streamed.layers}

    def spoil(layer: nn.Module) -> None:
        for parameter in layer.parameters():
            parameter.data.fill_(float("nan"))

    @contextmanager
    def place(layer: nn.Module) -> Iterator[None]:
        layer.load_state_dict(kept[id(layer)])
        yield
        spoil(layer)

    for layer in streamed.layers:
        spoil(layer)
    assert torch.isnan(_one(streamed)).all()
    assert torch.equal(_one(streamed, place=place), _one(net))
    assert torch.equal(_one(streamed, place=place, compile=True), _one(net))
    constants = Denoiser(streamed, place=place).null(null).constants
    assert constants is not None
    assert torch.isfinite(constants).all()


def _job(denoiser: Denoiser, null: Tensor, seed: int, tokens: int, times: Sequence[float], frames: int) -> list[Tensor]:
    x, context = _noise(seed, 2, frames, D), _noise(seed + 1, 1, frames, 2 * D)
    heard = [denoiser.condition(_noise(seed + 2, 1, tokens, E)), denoiser.null(null)]
    table = denoiser.times(times)
    return [v for step in range(len(times)) for v in denoiser.velocity(x, context, table, step, heard)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_jobs_give_the_same_numbers_and_share_one_graph_per_shape(net: Any, null: Tensor) -> None:
    small = copy.deepcopy(net)
    small.layers, small.layer_types = small.layers[:2], small.layer_types[:2]  # one of each kind
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    graphs.clear()
    jobs = [(0, 5, (1.0, 0.4)), (10, 90, (0.9, 0.6, 0.1)), (20, 256, (0.8, 0.3))]
    for count, frames in enumerate((60, 200), start=1):
        for seed, tokens, times in jobs:  # a new Denoiser, prompt, context, schedule and token count every time
            denoiser = Denoiser(small, compile=True)
            compiled = _job(denoiser, null, seed, tokens, times, frames)
            eager = _job(Denoiser(small), null, seed, tokens, times, frames)
            assert max(_error(*pair) for pair in zip(compiled, eager, strict=True)) < 1e-4
            assert graphs["unique_graphs"] == count


def test_a_failing_compiler_costs_a_warning_and_not_the_job(
    net: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = torch.compile

    def broken(function: Any, **options: Any) -> Any:
        options.pop("mode")
        return real(function, backend=_no_compiler, **options)

    monkeypatch.setattr(torch, "compile", broken)
    torch._dynamo.reset()
    with caplog.at_level(logging.WARNING):
        velocity = _one(net, compile=True)
    assert "runs uncompiled" in caplog.text
    assert _error(velocity, _one_stock(net)) < EXACT


def _no_compiler(_graph: Any, _inputs: Any) -> Any:
    raise RuntimeError("no C compiler found")


def test_running_out_of_memory_is_not_taken_for_a_failing_compiler(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "compile", lambda *_a, **_k: full)
    with pytest.raises(torch.OutOfMemoryError):
        _one(net, compile=True)
