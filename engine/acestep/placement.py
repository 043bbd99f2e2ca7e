"""Bringing weights to the device for as long as they are used.

There is one rule: `use` and `layer` bring along whatever of a module is not on the device yet, and afterwards put back
exactly that, the very tensors that were there before (nothing is copied back). So what is kept on the device (`keep`)
is never touched, an inner use inside an outer one costs nothing, and a module is whole again after an error.
Not for several threads at once.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.acestep.devices import Tier


@dataclass(frozen=True)
class _Slot:
    """One place in a module where a tensor lies."""

    holder: dict[str, Any]
    name: str
    original: Tensor


@dataclass(frozen=True)
class _Ahead:
    """A layer whose copy is on its way: the event says when it is there."""

    layer: nn.Module
    copies: list[Tensor]
    arrived: torch.cuda.Event


class Placement:
    """Which modules lie on `device` under `tier`, and how the others get there."""

    def __init__(self, device: torch.device, tier: Tier) -> None:
        self.device = torch.empty(0, device=device).device  # "mps" is not equal to a tensor's "mps:0"
        self.tier = tier
        self._next: dict[nn.Module, nn.Module | None] = {}
        self._streamed: set[nn.Module] = set()
        self._ahead: _Ahead | None = None
        self._side: torch.cuda.Stream | None = None

    # --- at load ------------------------------------------------------------------------------------------------------
    def keep(self, *modules: nn.Module) -> None:
        """Move modules to the device for good."""
        for module in modules:
            module.to(self.device)

    def stream(self, network: nn.Module, layers: nn.ModuleList) -> None:
        """Keep `network` on the device except for its `layers`, which `layer` will bring one by one, in this order."""
        self._streamed = set(layers.modules())
        for slot in self._absent(set(network.modules()) - self._streamed):
            slot.holder[slot.name] = _like(slot.original, slot.original.to(self.device))
        self._next = dict(zip(layers, [*layers[1:], None], strict=True))
        if self.device.type == "cuda":
            _pin(self._streamed)

    # --- at work ------------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def use(self, *modules: nn.Module) -> Iterator[None]:
        """Have `modules` on the device inside, but for layers that are streamed (see `stream`)."""
        parts = {part for module in modules for part in module.modules()} - self._streamed
        slots = self._absent(parts)
        with _swapped(slots, self._copies(slots)):
            yield

    @contextlib.contextmanager
    def layer(self, module: nn.Module) -> Iterator[None]:
        """Have a streamed layer, or a part of one, on the device inside; on CUDA the next one is under way then."""
        if module not in self._streamed:
            yield
            return
        slots = self._absent(module.modules())
        try:
            with _swapped(slots, self._arrived(module, slots)):
                self._send(self._next.get(module))
                yield
        except BaseException:
            self._drop_ahead()
            raise

    def release(self, *modules: nn.Module) -> None:
        """Forget the weights of `modules`, which can never be used again, and give memory back to the system."""
        self._drop_ahead()
        for module in modules:
            for part in module.modules():
                part._parameters.update(dict.fromkeys(part._parameters))
                part._buffers.update(dict.fromkeys(part._buffers))
        self._next, self._streamed = {}, set()
        if self.device.type == "cuda" and "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # captured graphs hold memory of their own
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    # --- inside -------------------------------------------------------------------------------------------------------
    def _absent(self, parts: Iterable[nn.Module]) -> list[_Slot]:
        return [slot for part in parts for slot in _own(part) if slot.original.device != self.device]

    def _copies(self, slots: list[_Slot]) -> list[Tensor]:
        """One copy per tensor, however many places share it. The host never writes to what is being copied."""
        on_device: dict[int, Tensor] = {}
        for slot in slots:
            if id(slot.original) not in on_device:
                copy = slot.original.to(self.device, non_blocking=self.device.type == "cuda")
                on_device[id(slot.original)] = _like(slot.original, copy)
        return [on_device[id(slot.original)] for slot in slots]

    def _send(self, module: nn.Module | None) -> None:
        """Start copying a layer beside the work that is already queued.

        Its memory comes from the working stream, as the memory of all that works, and the copy waits for what was
        queued there before: whatever used that memory last is done by then.
        """
        slots = self._absent(module.modules()) if module is not None and self.device.type == "cuda" else []
        if module is None or not slots:
            return
        working = torch.cuda.current_stream(self.device)
        self._side = self._side or torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        originals = list({id(slot.original): slot.original for slot in slots}.values())
        copies = {id(each): torch.empty_like(each, device=self.device) for each in originals}
        self._side.wait_stream(working)
        with torch.cuda.stream(self._side):
            for each in originals:
                copies[id(each)].copy_(each, non_blocking=True)
            arrived = self._side.record_event()
        self._ahead = _Ahead(module, [_like(slot.original, copies[id(slot.original)]) for slot in slots], arrived)

    def _arrived(self, module: nn.Module, slots: list[_Slot]) -> list[Tensor]:
        ahead = self._ahead
        self._drop_ahead()
        return ahead.copies if ahead is not None and ahead.layer is module else self._copies(slots)

    def _drop_ahead(self) -> None:
        """Let go of the copy that is on its way, once it has arrived: what is queued from now on waits for that."""
        if self._ahead is not None:
            torch.cuda.current_stream(self.device).wait_event(self._ahead.arrived)
            self._ahead = None


def _own(module: nn.Module) -> list[_Slot]:
    holders = (module._parameters, module._buffers)
    return [_Slot(holder, name, each) for holder in holders for name, each in holder.items() if each is not None]


def _like(original: Tensor, copy: Tensor) -> Tensor:
    return nn.Parameter(copy, requires_grad=False) if isinstance(original, nn.Parameter) else copy


def _pin(modules: Iterable[nn.Module]) -> None:
    """Lock the weights into main memory, from where they travel faster and beside other work."""
    for slot in (slot for module in modules for slot in _own(module)):
        try:
            slot.original.data = slot.original.data.pin_memory()
        except RuntimeError:  # the system allows no more of it: the rest travels more slowly
            return


@contextlib.contextmanager
def _swapped(slots: list[_Slot], copies: list[Tensor]) -> Iterator[None]:
    for slot, copy in zip(slots, copies, strict=True):
        slot.holder[slot.name] = copy
    try:
        yield
    finally:
        for slot in slots:
            slot.holder[slot.name] = slot.original
