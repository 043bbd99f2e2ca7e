"""Who answers a model: its own weights or nobody, unless the daemon was started with another engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.api.models import Models, stand_in
from bridge.core import Core
from engine import registry
from engine.api import Capabilities, CheckpointOffer
from engine.audio import probe
from protocol.air import CHECKPOINT_OF
from protocol.api_errors import ApiRefused
from protocol.errors import EngineMissing
from protocol.vocabulary import Verb
from tests.support.api import XL_BASE, serving
from tests.support.queues import running

WEIGHTS = Capabilities(
    "acestep", "1", frozenset(Verb), checkpoints={"xl-base": CheckpointOffer(frozenset(Verb), "identity")}
)


def offer(name: str) -> Capabilities:
    return WEIGHTS if name == "acestep" else registry.capabilities(name)


def bare(name: str) -> Capabilities:
    if name == "acestep":
        raise EngineMissing("The engine 'acestep' needs torch.")
    return registry.capabilities(name)


@pytest.mark.parametrize("configured", ["auto", "acestep"])
async def test_a_model_is_answered_by_its_weights(tmp_path: Path, configured: str) -> None:
    async with running(tmp_path, start=False) as bench:
        core = Core(queue=bench.queue, engine_name="acestep", capabilities=offer, probe=probe)
        served = await Models(configured, core).serve(XL_BASE)
        assert (served.engine, served.checkpoint, served.warning) == ("acestep", "xl-base", None)


@pytest.mark.parametrize("configured", ["auto", "acestep"])
@pytest.mark.parametrize(("air", "name"), [(air, name) for air, name in CHECKPOINT_OF.items() if name != "xl-base"])
async def test_weights_that_are_not_there_are_named_with_what_installs_them(
    tmp_path: Path, configured: str, air: str, name: str
) -> None:
    async with running(tmp_path, start=False) as bench:
        for capabilities in (offer, bare):
            core = Core(queue=bench.queue, engine_name="sketch", capabilities=capabilities, probe=probe)
            with pytest.raises(ApiRefused) as refused:
                await Models(configured, core).serve(air)
            (error,) = refused.value.errors
            assert (error.code, error.status, error.parameter) == ("modelNotFound", 404, "model")
            assert f"`stembridge models pull {name}`" in error.message
            assert "--engine sketch" in error.message


async def test_the_sketch_engine_answers_for_all_where_it_was_asked_for_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, start=False) as bench:
        core = Core(queue=bench.queue, engine_name="sketch", capabilities=bare, probe=probe)
        for air in CHECKPOINT_OF:
            served = await Models("sketch", core).serve(air)
            assert (served.engine, served.checkpoint) == ("sketch", None)
            assert served.warning is not None
            assert "sketch" in served.warning
            assert air in served.warning


async def test_a_model_that_nobody_knows_is_not_found_even_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        with pytest.raises(ApiRefused, match="There is no model"):
            await Models("noise", api.core).serve("runware:other@1")


def test_the_models_own_engine_needs_no_warning() -> None:
    assert stand_in("acestep", XL_BASE) is None
