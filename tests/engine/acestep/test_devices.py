"""Device, number format and memory tier: what is picked, and what the user is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.devices import (
    LOSSLESS,
    LOSSY,
    PartBytes,
    Tier,
    choose_device,
    choose_tier,
    default_dtype,
    free_bytes,
    is_out_of_memory,
    memory_advice,
    needs,
    next_tier,
    pick_tier,
)
from protocol.errors import EngineCannot, OutOfMemory

CPU = torch.device("cpu")
XL = PartBytes(
    text_encoder=1_192_000_000,
    condition_encoder=1_216_700_000,
    audio_tokens=420_000_000,
    vae=674_800_000,
    shell=190_000_000,
    layers=8_148_000_000,
    layer=254_600_000,
    itemsize=2,
)
"""facts/acestep.md §3, bfloat16."""

GB = 10**9
sizes = st.integers(min_value=0, max_value=10**11)
parts = st.builds(PartBytes, sizes, sizes, sizes, sizes, sizes, sizes, sizes, st.sampled_from([2, 4]))


@pytest.mark.parametrize("wanted", ["tpu", "cuda:x", "cuda:-1", "mps:1", "cpu:0", "auto:1", "", "CUDA"])
def test_a_device_that_is_none_is_refused_with_the_choice(wanted: str) -> None:
    with pytest.raises(EngineCannot, match="Choose auto, cuda, cuda:1, mps or cpu"):
        choose_device(wanted)


def test_a_device_that_is_not_there_is_refused_with_what_to_do() -> None:
    missing = [
        name
        for name, is_there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if not is_there
    ]
    for name in missing:
        with pytest.raises(EngineCannot, match=f"'{name}'.*[Cc]hoose auto or cpu"):
            choose_device(name)
    with pytest.raises(EngineCannot, match="cuda:99"):
        choose_device("cuda:99")


def test_auto_takes_the_best_device_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best
    assert choose_device("cpu") == CPU


def test_the_cpu_computes_in_float32() -> None:
    assert default_dtype(CPU) is torch.float32


def test_no_device_is_ever_given_float16() -> None:
    assert default_dtype(choose_device("auto")) in (torch.bfloat16, torch.float32)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says how much main memory is free")
def test_free_memory_of_the_cpu_is_what_the_system_says() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 10**7 < free < 10**14


def test_xl_fits_where_the_facts_say_it_does() -> None:
    """≥ 20 GB resident; 16 to 20 offload; below 12 GB only marginal (official GPU_COMPATIBILITY.md)."""
    demand = needs(XL, frames=700, batch=1)
    assert pick_tier(20 * GB, demand).tier is Tier.RESIDENT
    assert pick_tier(12 * GB, demand).tier is Tier.OFFLOAD
    assert pick_tier(8 * GB, demand).tier is Tier.SEQUENTIAL
    assert demand[Tier.INT8] < 8 * GB
    assert demand[Tier.RESIDENT] == pytest.approx(11.84e9 + 1.2e9 + 0.5e9, rel=0.01)


def test_a_longer_window_and_more_items_need_more() -> None:
    short, long, many = needs(XL, 700, 1), needs(XL, 15000, 1), needs(XL, 1500, 4)
    assert all(short[tier] < many[tier] < long[tier] for tier in Tier)
    assert long[Tier.RESIDENT] - many[Tier.RESIDENT] == 6 * GB


@given(parts, st.integers(0, 15000), st.integers(1, 8))
def test_each_tier_needs_no_more_than_the_one_before_it(parts: PartBytes, frames: int, batch: int) -> None:
    demand = needs(parts, frames, batch)
    assert demand.keys() == set(Tier)
    assert demand[Tier.RESIDENT] >= demand[Tier.OFFLOAD] >= demand[Tier.INT8] == demand[Tier.FP8] > 0


@given(parts, st.integers(0, 15000), sizes)
def test_the_best_lossless_tier_that_fits_is_picked(parts: PartBytes, frames: int, free: int) -> None:
    demand = needs(parts, frames, 1)
    fitting = [tier for tier in LOSSLESS if demand[tier] <= free]
    if not fitting:
        with pytest.raises(OutOfMemory, match=r"Close .* name a tier"):
            pick_tier(free, demand)
    else:
        choice = pick_tier(free, demand)
        assert choice.tier is fitting[0]
        assert choice.sentence.startswith(f"Memory: {choice.tier}")


def test_streaming_says_that_int8_exists_where_that_would_fit() -> None:
    sentence = pick_tier(8 * GB, needs(XL, 700, 1)).sentence
    assert "slow" in sentence
    assert 'memory = "int8"' in sentence
    assert "int8" not in pick_tier(4 * GB, needs(XL, 700, 1)).sentence


def test_unknown_free_memory_gets_the_best_tier_and_says_so() -> None:
    choice = pick_tier(None, needs(XL, 700, 1))
    assert choice.tier is Tier.RESIDENT
    assert "not known" in choice.sentence


def test_the_cpu_never_streams_from_itself() -> None:
    tiny = PartBytes(1, 1, 1, 1, 1, 1, 1, 4)
    assert choose_tier("auto", CPU, tiny, 700, 1).tier is Tier.RESIDENT
    vast = PartBytes(10**15, 1, 1, 1, 1, 1, 1, 4)
    if free_bytes(CPU) is not None:
        with pytest.raises(OutOfMemory, match="resident"):
            choose_tier("auto", CPU, vast, 700, 1)
    assert choose_tier("resident", CPU, vast, 700, 1).tier is Tier.RESIDENT


@pytest.mark.parametrize("tier", Tier)
def test_a_named_tier_is_taken_and_a_lossy_one_says_so(tier: Tier) -> None:
    choice = choose_tier(str(tier), CPU, XL, 700, 1)
    assert choice.tier is tier
    assert ("changes the audio" in choice.sentence) == (tier in LOSSY)


def test_a_tier_that_is_none_is_refused_with_the_choice() -> None:
    with pytest.raises(EngineCannot, match="Choose auto, resident, offload, sequential, int8, fp8"):
        choose_tier("int4", CPU, XL, 700, 1)


def test_running_out_of_memory_leads_through_the_lossless_tiers_and_never_into_a_lossy_one() -> None:
    assert [next_tier(tier) for tier in Tier] == [Tier.OFFLOAD, Tier.SEQUENTIAL, None, None, None]


@pytest.mark.parametrize("tier", Tier)
def test_running_out_of_memory_tells_what_comes_next(tier: Tier) -> None:
    advice = memory_advice(tier)
    after = next_tier(tier)
    assert f"'{after}'" in advice if after else "shorter region" in advice
    assert ("sequential" in advice) == (tier in (*LOSSY, Tier.OFFLOAD, Tier.SEQUENTIAL))


def test_out_of_memory_is_recognised_whoever_says_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_importing_devices_imports_no_torch() -> None:
    code = "import sys, engine.acestep.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
