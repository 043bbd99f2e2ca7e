"""Weights come to the device and go back. The `meta` device stands for a GPU: tensors really move to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.acestep.devices import Tier
from engine.acestep.placement import Placement

META = torch.device("meta")
CPU = torch.device("cpu")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(3)])
        self.register_buffer("silence", torch.ones(2))
        self.requires_grad_(False).eval()


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def is_on(module: nn.Module, device: torch.device) -> bool:
    return all(each.device == device for each in tensors(module))


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


def test_a_used_module_is_on_the_device_inside_and_the_same_tensors_as_before_after() -> None:
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    before = tensors(module)
    with placement.use(module):
        assert is_on(module, META)
        assert not any(a is b for a, b in zip(before, tensors(module), strict=True))
        assert all(isinstance(each, nn.Parameter) and not each.requires_grad for each in module.parameters())
    assert same(before, tensors(module))
    assert is_on(module, CPU)


def test_a_module_is_whole_again_after_an_error() -> None:
    module, placement = Network(), Placement(META, Tier.SEQUENTIAL)
    before = tensors(module)
    with pytest.raises(KeyboardInterrupt), placement.use(module):
        raise KeyboardInterrupt
    assert same(before, tensors(module))
    placement.stream(module, module.layers)
    before = tensors(module)
    with pytest.raises(ValueError, match="x"), placement.layer(module.layers[1]):
        raise ValueError("x")
    assert same(before, tensors(module))


def test_nested_uses_bring_each_tensor_once_and_the_outer_one_takes_it_back() -> None:
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    before = tensors(module)
    with placement.use(module.head):
        head = tensors(module.head)
        with placement.use(module, module.head):
            assert is_on(module, META)
            assert same(head, tensors(module.head))
        assert is_on(module.head, META)
        assert is_on(module.layers, CPU)
        with placement.use(module.head):
            pass
        assert same(head, tensors(module.head))
    assert same(before, tensors(module))


def test_what_is_kept_stays() -> None:
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    placement.keep(module)
    before = tensors(module)
    with placement.use(module), placement.layer(module.layers[0]):
        assert same(before, tensors(module))
    assert same(before, tensors(module))
    assert is_on(module, META)


def test_a_tensor_shared_by_two_modules_is_shared_on_the_device() -> None:
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    module.layers[0][0].weight = module.head.weight
    with placement.use(module):
        assert module.layers[0][0].weight is module.head.weight
    assert module.layers[0][0].weight is module.head.weight
    assert is_on(module, CPU)


def test_streaming_keeps_the_shell_on_the_device_and_brings_one_layer_at_a_time() -> None:
    module, placement = Network(), Placement(META, Tier.SEQUENTIAL)
    placement.stream(module, module.layers)
    assert is_on(module.head, META)
    assert module.silence.device == META
    assert is_on(module.layers, CPU)
    before = tensors(module)
    for _ in range(2):
        for index, layer in enumerate(module.layers):
            with placement.layer(layer):
                assert [is_on(each, META) for each in module.layers] == [at == index for at in range(3)]
    with placement.layer(module.layers[2]), placement.layer(module.layers[2]):
        assert is_on(module.layers[2], META)
    with placement.layer(module.layers[1][0]):  # a part of one
        assert is_on(module.layers[1][0], META)
        assert is_on(module.layers[1][1], CPU)
    assert same(before, tensors(module))


def test_using_a_streamed_network_does_not_bring_its_layers() -> None:
    module, placement = Network(), Placement(META, Tier.SEQUENTIAL)
    placement.stream(module, module.layers)
    with placement.use(module):
        assert is_on(module.layers, CPU)


def test_a_module_changed_between_two_uses_is_used_as_it_is_now() -> None:
    """The codec folds weight norm after loading: what lies where must not be remembered from before."""
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    with placement.use(module):
        pass
    module.head = nn.Linear(4, 2)
    before = tensors(module)
    with placement.use(module):
        assert is_on(module, META)
    assert same(before, tensors(module))


def test_on_the_cpu_nothing_moves_and_nothing_changes() -> None:
    module, placement = Network(), Placement(CPU, Tier.SEQUENTIAL)
    before = tensors(module)
    placement.keep(module)
    placement.stream(module, module.layers)
    with placement.use(module), placement.layer(module.layers[0]):
        assert same(before, tensors(module))
    placement.release()
    assert same(before, tensors(module))


def test_moving_works_in_inference_mode_and_leaves_no_inference_tensors() -> None:
    module, placement = Network(), Placement(META, Tier.OFFLOAD)
    with torch.inference_mode(), placement.use(module):
        assert is_on(module, META)
    assert not any(each.is_inference() for each in tensors(module))


def test_release_frees_the_weights_even_of_modules_that_are_still_held() -> None:
    module, placement = Network(), Placement(META, Tier.SEQUENTIAL)
    placement.stream(module, module.layers)
    placement.release(module)
    assert tensors(module) == []
    with placement.layer(module.layers[0]), placement.use(module):
        assert tensors(module) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm GPU")
def test_streamed_layers_compute_on_the_gpu_what_resident_ones_do() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(2048, 2048) for _ in range(12)]).requires_grad_(False)
    network = nn.Sequential(nn.Linear(2048, 2048), layers).requires_grad_(False)
    resident = nn.ModuleList([nn.Linear(2048, 2048) for _ in range(12)]).requires_grad_(False)
    resident.load_state_dict(layers.state_dict())
    resident.to("cuda")
    placement = Placement(torch.device("cuda"), Tier.SEQUENTIAL)
    placement.stream(network, layers)
    assert all(each.is_pinned() for each in layers.parameters())
    x = torch.randn(512, 2048, device="cuda")
    baseline = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    streamed, expected = x, x
    for _ in range(20):
        for layer, other in zip(layers, resident, strict=True):
            with placement.layer(layer):
                streamed = torch.tanh(layer(streamed))
            expected = torch.tanh(other(expected))
    assert torch.equal(streamed, expected)
    assert torch.cuda.max_memory_allocated() - baseline < 5 * 2048 * 2048 * 4
    assert is_on(layers, CPU)
    with pytest.raises(ValueError, match="x"), placement.layer(layers[3]):
        raise ValueError("x")
    placement.release(network)
    assert is_on(resident, torch.device("cuda", 0))
