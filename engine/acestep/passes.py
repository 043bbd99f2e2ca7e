"""One pass: regions that share a window, through the network, to takes. It can be cancelled at every step and resumed.

What was denoised before a cancel is kept under a key made of everything that determines the audio; the same request,
made again, goes on from there and gives the same bits as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.acestep import workflow
from engine.acestep.grid import LATENT_RATE, LatentWindow
from engine.acestep.plan import Plan
from engine.acestep.resume import Resume, key_of
from engine.acestep.sampler import SamplerState, sample
from engine.acestep.source_latents import needed_latents, remember_take, to_project
from engine.acestep.steps import Steps
from engine.api import EngineTake, GenerationRequest

if TYPE_CHECKING:
    from engine.acestep.runtime import Runtime
    from engine.api import Audio

STEREO = 2


@dataclass(frozen=True)
class Pass:
    """Requests (regions of one job) that share `window`; `numbers` are their places in the job."""

    requests: tuple[GenerationRequest, ...]
    numbers: tuple[int, ...]
    window: LatentWindow
    plan: Plan


@dataclass
class _Denoised:
    """The final latents of the runs so far, and what is kept for a resume."""

    latents: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)


def perform(work: Pass, runtime: Runtime, steps: Steps, *, items_per_pass: int) -> list[list[EngineTake]]:
    """The takes of each request of the pass, in the order seed, track. Raises `Cancelled` and what the parts raise."""
    with torch.inference_mode():
        scene = workflow.lay_out(work.requests[0], work.plan, work.window, runtime, steps)
        runs = list(_runs(work, scene, runtime, items_per_pass))
        cache_dir = work.requests[0].cache_dir
        resume = Resume(cache_dir / "resume") if cache_dir else None
        denoised = _denoise(runs, work, runtime, steps, resume)
        takes = _decoded(work, runs, denoised, runtime, steps)
        if resume is not None:
            for key in denoised.keys.values():
                resume.drop(key)
        return takes


def _runs(work: Pass, scene: workflow.Scene, runtime: Runtime, items_per_pass: int) -> Iterator[workflow.Run]:
    request = work.requests[0]
    times = runtime.denoiser.times(work.plan.schedule.evaluations)
    for track in workflow.tracks_of(request):
        told = workflow.tell(request, work.plan, work.window, track, runtime)
        for first in range(0, len(request.seeds), items_per_pass):
            seeds = request.seeds[first : first + items_per_pass]
            yield workflow.Run(work.plan, work.window, scene, told, track, seeds, runtime, times)


# --- denoising --------------------------------------------------------------------------------------------------------
def _denoise(
    runs: Sequence[workflow.Run], work: Pass, runtime: Runtime, steps: Steps, resume: Resume | None
) -> _Denoised:
    told = steps.denoiser(len(runs))
    done = _Denoised(keys={number: key_of(_identity(run, work, runtime)) for number, run in enumerate(runs)})

    def keep(number: int, state: SamplerState) -> None:
        """Cancelled in this run: its state, and the results of the runs before it."""
        if resume is not None:
            resume.save(done.keys[number], state)
            for earlier, latents in done.latents.items():
                resume.save(done.keys[earlier], SamplerState(runs[earlier].plan.schedule.steps, latents))
            resume.prune()

    for number, run in enumerate(runs):
        state = None if resume is None else resume.load(done.keys[number])
        x = sample(
            run.start(),
            run.plan.schedule,
            run.plan.guidance,
            run.evaluate,
            after_step=run.after_step(),
            noise_at=run.noise_at,
            state=state,
            on_step=partial(told, number),
            checkpoint=partial(keep, number),
        )
        done.latents[number] = x
    return done


def _identity(run: workflow.Run, work: Pass, runtime: Runtime) -> Mapping[str, Any]:
    """Everything that determines the latents of a run, for the key of what is kept of it."""
    request, window = work.requests[0], work.window
    return {
        "model": runtime.identity,
        "plan": run.plan.notes(),
        "guidance": asdict(run.plan.guidance),
        "words": list(run.told.words),
        "track": run.track,
        "tracks": list(request.tracks),
        "verb": request.verb,
        "seeds": list(run.seeds),
        "source": request.source.sha256 if request.source else None,
        "rate": request.rate,
        "reference": request.reference.sha256 if request.reference else None,
        "window": [window.start, window.frames, list(window.regions), window.loop],
    }


# --- decoding ---------------------------------------------------------------------------------------------------------
def _decoded(
    work: Pass, runs: Sequence[workflow.Run], denoised: _Denoised, runtime: Runtime, steps: Steps
) -> list[list[EngineTake]]:
    """Only the regions, in float32, at the project's rate."""
    items = [
        (seed, run, denoised.latents[number][place])
        for number, run in enumerate(runs)
        for place, seed in enumerate(run.seeds)
    ]
    seeds = list(work.requests[0].seeds)
    items.sort(key=lambda item: seeds.index(item[0]))  # stable: tracks stay in their order
    total = len(items) * len(work.requests)
    takes: list[list[EngineTake]] = []
    for place, request in enumerate(work.requests):
        takes.append([])
        for number, (seed, run, x) in enumerate(items):
            done = place * len(items) + number
            steps.decoding(done / total)
            takes[-1].append(_take(work, request, seed, run, x, runtime))
    return takes


def _take(
    work: Pass, request: GenerationRequest, seed: int, run: workflow.Run, x: Tensor, runtime: Runtime
) -> EngineTake:
    window, plan = work.window, work.plan
    latents = run.finished(x[None])[0]
    # A source that is looped or ends is not there beyond the window: what the resampler needs there is silence's.
    first, last = needed_latents(request.region, request.rate)
    within = max(first, window.start), min(last, window.start + window.frames)
    sound = runtime.codec.decode(latents, within[0] - window.start, within[1] - window.start)
    channels = request.source.channels if request.source is not None else STEREO
    audio = to_project(sound, within[0], request.rate, request.region, channels)
    notes = {
        **plan.notes(),
        **runtime.notes(),
        "window": {
            "start": window.start,
            "frames": window.frames,
            "per_second": LATENT_RATE,
            "loop": list(window.loop) if window.loop else None,
        },
        "encoded_frames": run.scene.encoded_frames,
    }
    if run.told.cuts:
        notes["shortened"] = list(run.told.cuts)
    if len(work.numbers) > 1:
        notes["regions_together"] = list(work.numbers)
    if request.verb.makes_stems and len(request.tracks) > 1 and plan.verb.value == "complete":
        notes["tracks_together"] = [str(track) for track in request.tracks]
    return EngineTake(
        audio=audio,
        start=request.region[0],
        seed=seed,
        track=run.track,
        notes=notes,
        on_written=_keeper(request, window, latents, runtime),
    )


def _keeper(
    request: GenerationRequest, window: LatentWindow, latents: Tensor, runtime: Runtime
) -> Callable[[Audio], None] | None:
    """Keeps the latents of a take that begins on a latent frame and is not spliced, for when it becomes a source."""
    cache_dir = request.cache_dir
    position = request.region[0] * LATENT_RATE
    if cache_dir is None or request.verb.joins_source or position % request.rate:
        return None
    first = position // request.rate - window.start
    own = latents[first:].cpu()
    return lambda written: remember_take(cache_dir, runtime.vae_identity, written, request.rate, own)
