"""Ours beside the stock `AceStepPipeline`, same weights: equal where both mean the same; where not, who is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.acestep import passes, workflow
from engine.acestep.checkpoints import find
from engine.acestep.devices import Tier
from engine.acestep.engine import _passes
from engine.acestep.options import Options
from engine.acestep.runtime import Runtime
from engine.acestep.sampler import noise, sample
from engine.acestep.steps import Steps
from engine.api import GenerationRequest, Source
from engine.window import make_window
from protocol.music import TempoMap
from protocol.task import Task, TaskSettings
from protocol.vocabulary import TrackClass, Verb
from tests.support.acestep_jobs import Studio, engine, notes, options, samples, song
from tests.support.audio import ArraySource, save

RATE, SECONDS, STEPS = 48_000, 12, 6
REGION = (4 * RATE, 8 * RATE)
CAPTION = "warm analog bass"


@pytest.fixture(scope="module")
def runtime(tiny_base: Path) -> Runtime:
    return Runtime.load(find(str(tiny_base), None), Options.of(options(tiny_base)), Tier.RESIDENT, lambda *_: None)


def _request(verb: Verb, source: Source | None, tracks: tuple[TrackClass, ...] = (), **task: Any) -> GenerationRequest:
    region = REGION if verb in (Verb.REPAINT, Verb.LEGO) else (0, SECONDS * RATE)
    return GenerationRequest(
        verb=verb,
        task=Task(positive_prompt=CAPTION, strength=0.0, steps=STEPS, cfg_scale=7.0, seed=7, context_bars=4, **task),
        seeds=(7,),
        region=region,
        rate=RATE,
        tempo_map=TempoMap.constant(120.0),
        tempo_known=True,
        key="A minor",
        tracks=tracks,
        source=source,
        window=make_window(source, region, region[0], SECONDS * RATE - region[1]) if source else None,
    )


def _ours(request: GenerationRequest, runtime: Runtime) -> tuple[torch.Tensor, workflow.Scene, workflow.Run]:
    """The final latents (1, T, D) of the only run of a request, before they are blended."""
    (work,) = _passes([request], runtime.model.checkpoint, is_draft=False)
    steps = Steps(lambda _progress: None, lambda: False, 1)
    with torch.inference_mode():
        scene = workflow.lay_out(request, work.plan, work.window, runtime, steps)
        (run,) = passes._runs(work, scene, runtime, 1)
        x = sample(run.start(), run.plan.schedule, run.plan.guidance, run.evaluate, after_step=run.after_step())
    return x, scene, run


def _stock(pipe: Any, latents: torch.Tensor | None, **arguments: Any) -> torch.Tensor:
    """The stock pipeline's final latents from the same noise; its VAE's random sample replaced by `latents`."""
    source = None
    if latents is not None:
        source = torch.zeros(2, latents.shape[1] * 1920)
        fixed = SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda: latents.mT.clone()))
        pipe.vae.encode = lambda _audio: fixed
    try:
        result = pipe(
            CAPTION,
            lyrics="[Instrumental]" if arguments.get("task_type") != "extract" else "",
            vocal_language="unknown" if arguments.get("task_type") != "extract" else "en",
            audio_duration=float(SECONDS),
            num_inference_steps=STEPS,
            guidance_scale=7.0,
            shift=1.0,
            latents=noise(7, SECONDS * 25, 8),
            output_type="latent",
            bpm=120,
            keyscale="A minor",
            timesignature="4",
            src_audio=source,
            **arguments,
        )
    finally:
        pipe.vae.__dict__.pop("encode", None)
    return torch.as_tensor(result.audios)


SAME = [
    (Verb.GENERATE, (), {"task_type": "text2music"}),
    (Verb.REPAINT, (), {"task_type": "repaint", "repainting_start": 4.0, "repainting_end": 8.0}),
    (
        Verb.LEGO,
        (TrackClass.BACKING_VOCALS,),
        {"task_type": "lego", "track_name": "backing_vocals", "repainting_start": 4.0, "repainting_end": 8.0},
    ),
    (Verb.COMPLETE, (TrackClass.DRUMS,), {"task_type": "complete", "complete_track_classes": ["drums"]}),
    (Verb.EXTRACT, (TrackClass.BASS,), {"task_type": "extract", "track_name": "bass"}),
    (Verb.COVER, (), {"task_type": "cover"}),
]


def _source() -> ArraySource:
    return ArraySource(song(SECONDS, RATE), RATE)


def _telling(verb: Verb, tracks: tuple[TrackClass, ...]) -> dict[str, Any]:
    """What the stock pipeline is given for lyrics, where ours says the same of its own."""
    return {"lyrics": "", "vocal_language": "en"} if TrackClass.BACKING_VOCALS in tracks else {}


@pytest.mark.parametrize(("verb", "tracks", "arguments"), SAME, ids=[str(verb) for verb, _, _ in SAME])
def test_the_latents_are_the_stock_pipelines_where_both_mean_the_same(
    runtime: Runtime, stock: Any, verb: Verb, tracks: tuple[TrackClass, ...], arguments: dict[str, Any]
):
    request = _request(verb, _source() if verb.needs_source else None, tracks)
    ours, scene, _ = _ours(request, runtime)
    theirs = _with_words(stock, scene.source if verb.needs_source else None, arguments, _telling(verb, tracks))
    assert _error(ours, theirs) < 1e-4
    other = _with_words(stock, scene.source if verb.needs_source else None, arguments, {"lyrics": "other words"})
    assert _error(ours, other) > 1e-4, "a difference would not be seen"


def _with_words(
    pipe: Any, latents: torch.Tensor | None, arguments: dict[str, Any], words: dict[str, str]
) -> torch.Tensor:
    call: Callable[..., Any] = pipe.__call__

    class Worded:
        vae = pipe.vae

        def __call__(self, caption: str, **given: Any) -> Any:
            return call(caption, **{**given, **words})

    return _stock(Worded(), latents, **arguments)


def _error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


# --- where the stock pipeline is wrong --------------------------------------------------------------------------------
def test_a_window_says_its_true_duration_where_stock_says_60_seconds(runtime: Runtime, stock: Any):
    _, _, run = _ours(_request(Verb.REPAINT, _source()), runtime)
    assert "- duration: 12 seconds" in run.told.words[0]
    assert "- duration: 60 seconds" in stock._format_prompt(CAPTION)[0]  # its default, whatever the source


def test_guidance_intervals_are_the_official_ones_and_stocks_reversed(runtime: Runtime, stock: Any):
    settings = TaskSettings(cfg_interval_start=0.6, cfg_interval_end=1.0)
    ours, _, _ = _ours(_request(Verb.GENERATE, None, settings=settings), runtime)
    arguments = {"task_type": "text2music"}
    same = _stock(stock, None, cfg_interval_start=0.6, cfg_interval_end=1.0, **arguments)
    mirrored = _stock(stock, None, cfg_interval_start=0.0, cfg_interval_end=0.4, **arguments)
    assert _error(ours, mirrored) < 1e-4 < _error(ours, same)


def test_the_same_seed_gives_the_same_audio_where_stock_draws_from_the_global_generator(
    tmp_path: Path, tiny_base: Path, stock: Any
):
    source = torch.from_numpy(song(SECONDS, RATE))

    def theirs() -> Any:
        generator = torch.Generator().manual_seed(7)
        return stock(
            CAPTION,
            task_type="repaint",
            src_audio=source,
            repainting_start=4.0,
            repainting_end=8.0,
            num_inference_steps=2,
            audio_duration=0.0,
            generator=generator,
        ).audios

    assert not torch.equal(theirs(), theirs())
    studio = Studio(tmp_path, engine(tiny_base), seconds=float(SECONDS))
    one, other = (samples(*studio.render(studio.request(Verb.REPAINT, (4.0, 8.0)))) for _ in range(2))
    assert np.array_equal(one, other)


def test_levels_follow_the_song_where_stock_scales_everything_to_minus_1_dbfs(
    tmp_path: Path, tiny_base: Path, stock: Any
):
    levels = {"stock": [], "ours": []}
    studio = Studio(tmp_path, engine(tiny_base), seconds=float(SECONDS))
    for gain in (1.0, 0.5):
        loud = studio.audio * np.float32(gain)
        theirs = stock(
            CAPTION,
            task_type="repaint",
            src_audio=torch.from_numpy(loud),
            repainting_start=4.0,
            repainting_end=8.0,
            num_inference_steps=2,
            audio_duration=0.0,
        ).audios
        levels["stock"].append(float(theirs.abs().max()))
        save(studio.file, loud, RATE, subtype="FLOAT")
        (take,) = studio.render(studio.request(Verb.REPAINT, (4.0, 8.0)))
        levels["ours"].append(
            float(np.sqrt(np.mean(samples(take) ** 2) / np.mean(loud[:, REGION[0] : REGION[1]] ** 2)))
        )
    assert levels["stock"] == pytest.approx([10 ** (-1 / 20)] * 2, rel=1e-4)
    assert levels["ours"][0] == pytest.approx(levels["ours"][1], rel=1e-3)  # half as loud a song, half as loud a take
    assert 0.3 < levels["ours"][0] < 3.0  # loudness is matched, which is not the same as power


@pytest.mark.parametrize("seconds", [1.12, 4.36, 8.72])
def test_lengths_that_crash_the_stock_pipeline_are_made_exactly(
    tmp_path: Path, tiny_base: Path, stock: Any, seconds: float
):
    source = torch.from_numpy(song(seconds, RATE))
    with pytest.raises(RuntimeError, match=r"[Ss]ize"):
        stock(CAPTION, task_type="complete", src_audio=source, num_inference_steps=1, audio_duration=0.0)
    studio = Studio(tmp_path, engine(tiny_base), seconds=seconds)
    (take,) = studio.render(studio.request(Verb.COMPLETE, (0.0, seconds), tracks=(TrackClass.DRUMS,), steps=1))
    assert samples(take).shape == (2, round(seconds * RATE))


def test_no_sample_is_lost_where_stock_drops_up_to_1919(tmp_path: Path, tiny_base: Path, stock: Any):
    frames = 12 * RATE - 1
    source = torch.from_numpy(song(SECONDS, RATE)[:, :frames])
    theirs = stock(CAPTION, task_type="complete", src_audio=source, num_inference_steps=1, audio_duration=0.0).audios
    assert theirs.shape[-1] == frames // 1920 * 1920 < frames
    studio = Studio(tmp_path, engine(tiny_base), seconds=frames / RATE)
    (take,) = studio.render(studio.request(Verb.COMPLETE, (0.0, frames / RATE), tracks=(TrackClass.DRUMS,), steps=1))
    assert samples(take).shape == (2, frames)


def test_audio_before_the_start_is_made_where_stock_clamps_the_region(tmp_path: Path, tiny_base: Path):
    studio = Studio(tmp_path, engine(tiny_base), seconds=float(SECONDS))
    (take,) = studio.render(studio.request(Verb.PREPEND, (-3.0, 0.0)))
    assert (take.start_frame, take.frames) == (-3 * RATE, 3 * RATE)
    assert notes(take)["window"]["start"] <= -75
