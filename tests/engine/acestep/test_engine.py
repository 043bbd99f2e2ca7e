"""The whole engine on a tiny checkpoint: every verb, through the real files, the real render and the real splice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from protocol.errors import Cancelled, EngineCannot, EngineError, EngineMissing, OutOfMemory, SourceError
from protocol.job import RenderedTake
from protocol.task import AdvancedFeatures, TaskSettings
from protocol.vocabulary import TrackClass, Verb
from tests.support.acestep_jobs import STEPS, Studio, engine, notes, samples, song
from tests.support.audio import save

DRUMS, BASS = TrackClass.DRUMS, TrackClass.BASS


@pytest.fixture
def studio(tmp_path: Path, tiny_base: Path) -> Studio:
    return Studio(tmp_path, engine(tiny_base))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Studio:
    """One studio for tests that leave it as it was."""
    return Studio(tmp_path_factory.mktemp("studio"), engine(tiny_base))


ALL = [
    (Verb.REPAINT, (4.0, 6.0), ()),
    (Verb.EXTEND, (14.0, 16.0), ()),
    (Verb.PREPEND, (-2.0, 0.0), ()),
    (Verb.COVER, (4.0, 6.0), ()),
    (Verb.EXTRACT, (4.0, 6.0), (BASS,)),
    (Verb.LEGO, (4.0, 6.0), (DRUMS,)),
    (Verb.COMPLETE, (4.0, 6.0), (DRUMS,)),
    (Verb.GENERATE, (0.0, 2.0), ()),
]


@pytest.mark.parametrize(("verb", "span", "tracks"), ALL, ids=[str(verb) for verb, _, _ in ALL])
def test_every_verb_gives_exactly_the_region_with_its_recipe(shared: Studio, verb: Verb, span: Any, tracks: Any):
    (take,) = shared.render(shared.request(verb, span, tracks=tracks, strength=0.0))
    audio = samples(take)
    assert audio.shape == (2, 2 * shared.rate)
    assert take.start_frame == round(span[0] * shared.rate)
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() > 1e-3
    told = notes(take)
    assert (told["steps"], told["solver"], told["device"], told["dtype"]) == (STEPS, "euler", "cpu", "float32")
    assert take.track == (tracks[0] if tracks else None)
    assert {"torch", "diffusers", "transformers"} <= take.versions.keys()


@pytest.mark.parametrize("rate", [44_100, 22_050, 96_000])
def test_a_repaint_has_the_region_to_the_sample_and_meets_the_original_at_any_rate(
    tmp_path: Path, tiny_base: Path, rate: int
):
    studio = Studio(tmp_path, engine(tiny_base), rate=rate)
    (take,) = studio.render(studio.request(Verb.REPAINT, (3.3337, 5.1111)))
    first, after = round(3.3337 * rate), round(5.1111 * rate)
    audio = samples(take)
    assert (take.start_frame, audio.shape) == (first, (2, after - first))
    assert np.array_equal(audio[:, 0], studio.audio[:, first])
    assert np.array_equal(audio[:, -1], studio.audio[:, after - 1])
    assert not np.array_equal(audio, studio.audio[:, first:after])


def test_a_mono_source_gives_mono_takes(tmp_path: Path, tiny_base: Path):
    studio = Studio(tmp_path, engine(tiny_base), channels=1)
    (take,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert samples(take).shape == (1, 2 * studio.rate)


def test_a_song_shorter_than_the_model_needs_is_looped_and_says_so(tmp_path: Path, tiny_base: Path):
    studio = Studio(tmp_path, engine(tiny_base), seconds=4.0)
    (take,) = studio.render(studio.request(Verb.REPAINT, (1.0, 2.0)))
    assert notes(take)["window"]["loop"] == [0, 100]
    assert samples(take).shape == (2, studio.rate)


def test_the_same_recipe_gives_the_same_bits_whatever_ran_before(tmp_path: Path, tiny_base: Path):
    fresh, used = (Studio(folder, engine(tiny_base)) for folder in _folders(tmp_path, "fresh", "used"))
    used.render(used.request(Verb.GENERATE, (0.0, 3.0), seed=99))
    used.render(used.request(Verb.REPAINT, (6.0, 8.0), seed=98))
    (one,) = fresh.render(fresh.request(Verb.REPAINT, (4.0, 6.0)))
    (other,) = used.render(used.request(Verb.REPAINT, (4.0, 6.0)))
    (again,) = used.render(used.request(Verb.REPAINT, (4.0, 6.0)))
    assert np.array_equal(samples(one), samples(other))
    assert np.array_equal(samples(one), samples(again))
    assert not np.array_equal(samples(one), samples(*used.render(used.request(Verb.REPAINT, (4.0, 6.0), seed=8))))


def test_a_variation_is_the_same_alone_and_among_others(shared: Studio):
    takes = shared.render(shared.request(Verb.REPAINT, (4.0, 6.0), number_results=3))
    by_seed = {take.seed: take for take in takes}
    assert sorted(by_seed) == [7, 8, 9]
    (alone,) = shared.render(shared.request(Verb.REPAINT, (4.0, 6.0), seed=9))
    assert np.array_equal(samples(alone), samples(by_seed[9]))
    assert not np.array_equal(samples(by_seed[7]), samples(by_seed[8]))


def test_variations_may_go_through_the_network_together_and_differ_by_rounding_only(tmp_path: Path, tiny_base: Path):
    together = Studio(tmp_path, engine(tiny_base, items_per_pass=4))
    takes = together.render(together.request(Verb.REPAINT, (4.0, 6.0), number_results=4))
    apart = engine(tiny_base)
    together.engine = apart
    single = together.render(together.request(Verb.REPAINT, (4.0, 6.0), number_results=4))
    for one, other in zip(sorted(takes, key=_seed), sorted(single, key=_seed), strict=True):
        assert np.abs(samples(one) - samples(other)).max() < 1e-4 * np.abs(samples(other)).max()


def test_the_second_repaint_of_a_track_encodes_nothing(studio: Studio):
    first = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))[0]
    second = studio.render(studio.request(Verb.REPAINT, (5.0, 7.0), seed=3))[0]
    assert notes(first)["encoded_frames"] > 0
    assert notes(second)["encoded_frames"] == 0


def test_a_repaint_of_our_own_take_reuses_its_latents(studio: Studio):
    (take,) = studio.render(studio.request(Verb.GENERATE, (0.0, 12.0)))
    save(studio.file, samples(take), studio.rate, subtype="FLOAT")
    (repainted,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert notes(repainted)["encoded_frames"] == 0


def test_several_stems_share_one_encoding_and_each_is_its_own(studio: Studio):
    takes = studio.render(studio.request(Verb.COMPLETE, (4.0, 6.0), tracks=(DRUMS, BASS), number_results=2))
    assert [(take.seed, take.track) for take in takes] == [(7, DRUMS), (7, BASS), (8, DRUMS), (8, BASS)]
    assert len({samples(take).tobytes() for take in takes}) == 4
    assert {notes(take)["encoded_frames"] for take in takes} == {notes(takes[0])["encoded_frames"]}


def test_regions_near_each_other_are_made_in_one_pass(studio: Studio):
    takes = studio.render(studio.request(Verb.REPAINT, (3.0, 4.0), (6.0, 7.5)))
    assert [take.region for take in takes] == [0, 1]
    assert [notes(take)["regions_together"] for take in takes] == [[0, 1], [0, 1]]
    assert [samples(take).shape[1] for take in takes] == [studio.rate, round(1.5 * studio.rate)]


@pytest.fixture(scope="module")
def plain(shared: Studio) -> Any:
    """The take that every other one is compared with."""
    return _audio(shared)


def test_the_prompt_is_heard_and_so_is_the_negative_one(shared: Studio, plain: Any):
    assert _differs(plain, _audio(shared, positive_prompt="solo flute, dry"))
    assert _differs(plain, _audio(shared, negative_prompt="distortion"))
    assert _differs(plain, _audio(shared, settings=TaskSettings(lyrics="[verse]\nsoft notes in the morning")))


@pytest.mark.parametrize(
    "change",
    [
        {"cfg_scale": 3.0},
        {"strength": 1.0},
        {"strength": 0.0},
        {"steps": 6},
        {"settings": TaskSettings(guidance_type="cfg")},
        {"settings": TaskSettings(cfg_interval_start=0.6)},
        {"settings": TaskSettings(cfg_interval_end=0.6)},
        {"settings": TaskSettings(bpm=180)},
        {"settings": TaskSettings(key_scale="F# major")},
        {"settings": TaskSettings(time_signature=3)},
        {"advanced_features": AdvancedFeatures(modular_scheduler={"solver": "heun"})},
        {"advanced_features": AdvancedFeatures(modular_scheduler={"solver": "sde"})},
        {"advanced_features": AdvancedFeatures(modular_scheduler={"shift": 3.0})},
        {"advanced_features": AdvancedFeatures(modular_scheduler={"sigmas": [1.0, 0.5, 0.1]})},
        {"context_bars": 1.0},
    ],
    ids=str,
)
def test_every_parameter_is_obeyed(shared: Studio, plain: Any, change: dict[str, Any]):
    assert _differs(plain, _audio(shared, **change))


def test_what_differs_differs_because_of_the_parameter(shared: Studio, plain: Any):
    """The negative control of the test above."""
    assert not _differs(plain, _audio(shared))


def test_the_cfg_interval_lies_where_the_official_code_has_it(shared: Studio):
    """Guidance from 0.9 to 1 is the first, noisiest step only: the stock pipeline has it the other way round."""
    (take,) = shared.render(shared.request(Verb.REPAINT, (4.0, 6.0), settings=TaskSettings(cfg_interval_start=0.9)))
    assert notes(take)["sigmas"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert _differs(samples(take), _audio(shared, cfg_scale=1.0))
    late = TaskSettings(cfg_interval_start=0.0, cfg_interval_end=0.9)
    assert _differs(samples(take), _audio(shared, settings=late))


def test_cover_hears_its_source_for_a_part_of_the_steps_and_its_strength_is_how_much_is_kept(shared: Studio):
    def cover(**task: Any) -> RenderedTake:
        return shared.render(shared.request(Verb.COVER, (4.0, 6.0), **task))[0]

    half = cover(settings=TaskSettings(cover_conditioning_scale=0.5), strength=0.0)
    assert notes(half)["source_steps"] == STEPS // 2
    assert _differs(samples(half), samples(cover(strength=0.0)))
    assert notes(cover(strength=0.0))["start_t"] == 1.0
    kept = cover(strength=0.75)
    assert (notes(kept)["start_t"], notes(kept)["steps"]) == (0.25, 1)


def test_a_reference_recording_changes_the_timbre(shared: Studio):
    reference = save(shared.folder / "reference.wav", song(5.0, 32_000, 1, seed=5), 32_000)
    request = shared.request(Verb.COVER, (4.0, 6.0), reference=reference)
    (take,) = shared.render(request)
    assert take.reference_sha256
    assert _differs(samples(take), samples(*shared.render(shared.request(Verb.COVER, (4.0, 6.0)))))


@pytest.mark.parametrize(("channels", "level", "words"), [(6, 1.0, "channels"), (2, 0.0, "silent")])
def test_a_reference_that_cannot_be_heard_is_refused_in_words(shared: Studio, channels: int, level: float, words: str):
    reference = save(shared.folder / f"{words}.wav", song(3.0, 48_000, channels) * level, 48_000)
    with pytest.raises(SourceError, match=words):
        shared.render(shared.request(Verb.COVER, (4.0, 6.0), reference=reference))


def test_broken_weights_are_not_blamed_on_the_musician(tmp_path: Path, tiny_base: Path):
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_base, damaged)
    file = damaged / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["layers.0.mlp.up_proj.weight"].fill_(float("nan"))
    save_file(tensors, file)
    studio = Studio(tmp_path, engine(damaged))
    with pytest.raises(EngineError, match="stembridge models verify damaged"):
        studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))


def test_a_long_prompt_never_costs_the_metadata_and_the_cut_is_told(shared: Studio):
    (take,) = shared.render(shared.request(Verb.REPAINT, (4.0, 6.0), positive_prompt="very warm bass " * 200))
    assert "positivePrompt" in notes(take)["shortened"]


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.LEGO, Verb.EXTRACT, Verb.COVER])
def test_a_turbo_checkpoint_refuses_what_it_was_not_trained_for(tmp_path: Path, tiny_turbo: Path, verb: Verb):
    studio = Studio(tmp_path, engine(tiny_turbo))
    with pytest.raises(EngineCannot, match="xl-base"):
        studio.render(studio.request(verb, (4.0, 6.0), tracks=(DRUMS,) if verb.makes_stems else ()))


def test_a_turbo_checkpoint_has_its_own_steps_and_refuses_guidance(tmp_path: Path, tiny_turbo: Path):
    studio = Studio(tmp_path, engine(tiny_turbo))
    (take,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), steps=None))
    assert (notes(take)["steps"], notes(take)["guidance"]["scale"]) == (8, 1.0)
    with pytest.raises(EngineCannot, match="CFGScale"):
        studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), cfg_scale=7.0))


def test_what_a_scheduler_does_not_know_is_refused_by_name(shared: Studio):
    odd = AdvancedFeatures(modular_scheduler={"solvr": "heun"})
    with pytest.raises(EngineCannot, match="solver"):
        _audio(shared, advanced_features=odd)


def test_parameters_without_meaning_for_a_verb_are_named_in_the_recipe(shared: Studio):
    (take,) = shared.render(
        shared.request(Verb.GENERATE, (0.0, 2.0), strength=0.9, cfg_scale=1.0, negative_prompt="hum")
    )
    assert [line.split(":")[0] for line in notes(take)["not_used"]] == ["negativePrompt", "strength"]


def test_a_missing_checkpoint_names_the_command_that_brings_it(tmp_path: Path):
    with pytest.raises(EngineMissing, match="stembridge models pull xl-base"):
        engine(Path("xl-base"), models_dir=str(tmp_path)).capabilities()


# --- drafts -----------------------------------------------------------------------------------------------------------
def test_a_draft_uses_turbo_where_it_is_installed_and_fewer_steps_elsewhere(
    tmp_path: Path, tiny_base: Path, tiny_turbo: Path
):
    models = tmp_path / "models"
    models.mkdir()
    alone = Studio(tmp_path, engine(tiny_base, models_dir=str(models)))
    (take,) = alone.render(alone.request(Verb.REPAINT, (4.0, 6.0), quality="draft", steps=None))
    assert (notes(take)["checkpoint"], notes(take)["steps"]) == (tiny_base.name, 20)
    (models / "xl-turbo").symlink_to(tiny_turbo)
    (take,) = alone.render(alone.request(Verb.REPAINT, (4.0, 6.0), quality="draft", steps=None))
    assert (notes(take)["checkpoint"], notes(take)["steps"]) == ("xl-turbo", 8)
    (take,) = alone.render(alone.request(Verb.REPAINT, (4.0, 6.0)))
    assert notes(take)["checkpoint"] == tiny_base.name


# --- cancel, resume, memory -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
def test_a_cancelled_job_resumes_from_its_last_latent_with_the_same_bits(studio: Studio, solver: str):
    scheduler = AdvancedFeatures(modular_scheduler={"solver": solver})
    request = studio.request(Verb.REPAINT, (4.0, 6.0), steps=8, number_results=2, advanced_features=scheduler)

    def after(step: str) -> bool:
        return bool(studio.progress) and studio.progress[-1].stage.startswith(step)

    with pytest.raises(Cancelled):
        studio.render(request, lambda: after("step 5 of 8, take 2"))
    kept = list((studio.folder / "cache" / "resume").iterdir())
    assert kept
    studio.progress.clear()
    resumed = studio.render(request)
    stages = [step.stage for step in studio.progress if step.stage.startswith("step")]
    assert not any(stage.startswith("step 2 of 8") for stage in stages)
    assert not list((studio.folder / "cache" / "resume").iterdir())
    whole = studio.render(request)
    for one, other in zip(resumed, whole, strict=True):
        assert np.array_equal(samples(one), samples(other))


def test_what_was_denoised_is_not_lost_when_the_job_is_cancelled_while_it_is_decoded(studio: Studio):
    request = studio.request(Verb.REPAINT, (4.0, 6.0), steps=8, number_results=2)

    def decoding() -> bool:
        return bool(studio.progress) and studio.progress[-1].stage == "decoding"

    with pytest.raises(Cancelled):
        studio.render(request, decoding)
    studio.progress.clear()
    studio.render(request)
    assert not any(step.stage.startswith("step 2 of 8") for step in studio.progress)


def test_a_pass_that_is_done_is_not_made_again_when_a_later_one_is_cancelled(tmp_path: Path, tiny_base: Path):
    studio = Studio(tmp_path, engine(tiny_base), seconds=90.0)
    request = studio.request(Verb.REPAINT, (4.0, 5.0), (80.0, 81.0), steps=8)

    def in_the_second() -> bool:
        return bool(studio.progress) and studio.progress[-1].fraction > 0.7

    with pytest.raises(Cancelled):
        studio.render(request, in_the_second)
    studio.progress.clear()
    takes = studio.render(request)
    assert ["regions_together" in notes(take) for take in takes] == [False, False]
    assert sum(step.stage.startswith("step 2 of 8") for step in studio.progress) == 0


def test_out_of_memory_goes_on_from_the_last_step(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    expected = samples(*studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), steps=8)))
    studio.progress.clear()
    _run_out_of_memory(monkeypatch, times=1, after=5)
    (take,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), steps=8))
    assert sum(step.stage.startswith("step 2 of 8") for step in studio.progress) == 1
    assert np.array_equal(samples(take), expected)


def test_regions_made_together_are_the_same_when_only_they_are_asked_for(tmp_path: Path, tiny_base: Path):
    """What `redo` does with one of them, whatever other regions the job had, each with a context of its own."""
    studio = Studio(tmp_path, engine(tiny_base), seconds=50.0)
    near, odd, far = (7.4, 7.9), (9.0, 9.8), (41.7, 41.9)
    together = studio.render(studio.request(Verb.REPAINT, near, odd, far, context_bars=1.0))
    assert notes(together[0])["regions_together"] == [0, 1]
    again = studio.render(studio.request(Verb.REPAINT, near, odd, context_bars=1.0))
    for one, other in zip(together[:2], again, strict=True):
        assert np.array_equal(samples(one), samples(other))


def test_a_take_tells_whether_its_source_was_encoded_or_is_a_take_of_ours(studio: Studio):
    (take,) = studio.render(studio.request(Verb.GENERATE, (0.0, 12.0)))
    assert "source_latents" not in notes(take)
    (plain,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert notes(plain)["source_latents"] == "encoded"
    save(studio.file, samples(take), studio.rate, subtype="FLOAT")
    (repainted,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert notes(repainted)["source_latents"].startswith("take ")


def test_progress_moves_forward_at_every_step_and_tells_the_time_left(studio: Studio):
    studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), steps=8))
    fractions = [step.fraction for step in studio.progress]
    assert fractions == sorted(fractions)
    stages = [step.stage for step in studio.progress]
    assert {f"step {number} of 8" for number in range(1, 9)} <= set(stages)
    assert any(step.seconds_left >= 0 for step in studio.progress if step.stage.startswith("step 5"))


def test_out_of_memory_falls_to_the_next_tier_once_and_says_so(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    expected = samples(*studio.render(studio.request(Verb.REPAINT, (4.0, 6.0))))
    _run_out_of_memory(monkeypatch, times=1)
    (take,) = studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert notes(take)["memory"] == "offload"
    assert any("out of memory" in step.stage for step in studio.progress)
    assert np.array_equal(samples(take), expected)


def test_out_of_memory_twice_is_an_error_with_advice_and_the_next_job_runs(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    _run_out_of_memory(monkeypatch, times=2)
    with pytest.raises(OutOfMemory, match="ran out of memory as 'offload'"):
        studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))
    assert studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))


@pytest.mark.parametrize("memory", ["offload", "sequential"])
def test_a_memory_tier_changes_no_bit(tmp_path: Path, tiny_base: Path, memory: str):
    one, other = (
        Studio(folder, engine(tiny_base, memory=tier))
        for folder, tier in zip(_folders(tmp_path, "one", "other"), ("resident", memory), strict=True)
    )
    takes = [studio.render(studio.request(Verb.REPAINT, (4.0, 6.0)))[0] for studio in (one, other)]
    assert notes(takes[1])["memory"] == memory
    assert np.array_equal(samples(takes[0]), samples(takes[1]))


def _run_out_of_memory(monkeypatch: pytest.MonkeyPatch, times: int, after: int = 0) -> None:
    """The allocator fails in the middle of denoising: there is no GPU here whose memory could be filled."""
    from engine.acestep.denoiser import Denoiser

    real, left, made = Denoiser.velocity, [times], [0]

    def velocity(self: Any, *arguments: Any) -> Any:
        made[0] += 1
        if left[0] and made[0] > after:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *arguments)

    monkeypatch.setattr(Denoiser, "velocity", velocity)


def _audio(studio: Studio, **task: Any) -> Any:
    return samples(*studio.render(studio.request(Verb.REPAINT, (4.0, 6.0), **task)))


def _differs(one: Any, other: Any) -> bool:
    """Takes that are made alike are equal bit for bit, so any difference means that something was heard."""
    return not np.array_equal(one, other)


def _seed(take: RenderedTake) -> int:
    return take.seed


def _folders(parent: Path, *names: str) -> list[Path]:
    for name in names:
        (parent / name).mkdir()
    return [parent / name for name in names]
