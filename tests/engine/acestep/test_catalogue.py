"""The catalogue: what follows from a checkpoint's kind, and that knowing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.acestep.catalogue import CATALOGUE, DEFAULT, Kind, by_repo, kind_of, traits
from protocol.vocabulary import Verb


def test_the_default_offers_everything() -> None:
    assert CATALOGUE[DEFAULT].traits.verbs == frozenset(Verb)


def test_only_base_was_trained_for_single_tracks() -> None:
    able = {name for name, entry in CATALOGUE.items() if entry.traits.verbs >= {Verb.LEGO, Verb.EXTRACT, Verb.COMPLETE}}
    assert able == {"xl-base", "base"}


def test_turbo_has_its_own_steps_and_no_guidance() -> None:
    turbo = traits(Kind.TURBO)
    assert (turbo.steps, turbo.shift, turbo.guidance, turbo.is_turbo) == (8, 3.0, 1.0, True)
    assert turbo.verbs == {Verb.GENERATE, Verb.COVER, Verb.REPAINT, Verb.EXTEND, Verb.PREPEND}


def test_base_defaults_are_those_of_the_official_code() -> None:
    base = traits(Kind.BASE)
    assert (base.steps, base.shift, base.guidance, base.is_turbo) == (50, 1.0, 7.0, False)
    assert "disputed" in base.note


@pytest.mark.parametrize("kind", Kind)
def test_without_an_audio_tokenizer_there_is_no_cover(kind: Kind) -> None:
    assert traits(kind).verbs - traits(kind, has_audio_tokenizer=False).verbs == {Verb.COVER}


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"is_turbo": True, "model_version": "base"}, Kind.TURBO),
        ({"is_turbo": False, "model_version": "turbo"}, Kind.TURBO),
        ({"model_version": "sft"}, Kind.SFT),
        ({"is_turbo": False, "model_version": "base"}, Kind.BASE),
        ({"model_version": None}, Kind.BASE),
        ({}, Kind.BASE),
    ],
)
def test_a_transformers_config_tells_its_kind(config: dict[str, object], kind: Kind) -> None:
    assert kind_of(config) is kind


def test_a_repository_is_known_in_any_case() -> None:
    assert by_repo("ace-step/ACESTEP-v15-xl-base-diffusers") is CATALOGUE["xl-base"]
    assert by_repo("ACE-Step/acestep-v15-xl-base") is None  # the model's own layout, which cannot be loaded


def test_nothing_heavy_is_imported() -> None:
    modules = "engine.acestep.catalogue, engine.acestep.checkpoints, engine.acestep.hub, bridge.models_command"
    heavy = "torch numpy diffusers transformers safetensors huggingface_hub"
    script = f"import sys, {modules}; print([name for name in '{heavy}'.split() if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
