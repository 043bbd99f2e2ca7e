"""One pass: regions that share a window, through the network, to takes. It can be cancelled at every step and resumed.

What was denoised before a cancel is kept under a key made of everything that determines the audio; the same request,
made again, goes on from there and gives the same bits as if nothing had happened. Long runs are kept now and then while
they go, for engines that are ended in the middle of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.acestep import workflow
from engine.acestep.grid import LATENT_RATE, LatentWindow
from engine.acestep.plan import Plan
from engine.acestep.resume import Resume, key_of
from engine.acestep.runtime import STEREO
from engine.acestep.sampler import SamplerState, sample
from engine.acestep.source_latents import needed_latents, remember_take, to_project
from engine.acestep.steps import Steps
from engine.api import EngineTake, GenerationRequest
from protocol.errors import EngineError
from protocol.vocabulary import Verb

if TYPE_CHECKING:
    from engine.acestep.runtime import Runtime
    from engine.api import Audio

KEPT_EVERY_S = 20.0
"""How often the state of a run is kept while it goes; a run that is shorter is only kept when it is cancelled."""


@dataclass(frozen=True)
class Pass:
    """Requests (regions of one job) that share `window`; `numbers` are their places in the job."""

    requests: tuple[GenerationRequest, ...]
    numbers: tuple[int, ...]
    window: LatentWindow
    plan: Plan


@dataclass
class Kept:
    """What of a job lies on disk for a resume; dropped when the whole job is done."""

    resume: Resume | None
    keys: list[str] = field(default_factory=list)
    finished: dict[str, SamplerState] = field(default_factory=dict)
    """Runs that are done; written only if the job is cut short."""
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, request: GenerationRequest) -> Kept:
        return cls(Resume(request.cache_dir / "resume") if request.cache_dir else None)

    def load(self, key: str) -> SamplerState | None:
        self.keys.append(key)
        return None if self.resume is None else self.resume.load(key)

    def save(self, key: str, state: SamplerState) -> None:
        if self.resume is not None:
            self.resume.save(key, state)
            self.resume.prune()

    def save_finished(self) -> None:
        """The job is cut short, cancelled or out of memory: what is done need not be done again."""
        for key, state in self.finished.items():
            self.save(key, state)

    def drop(self) -> None:
        """The job is done."""
        if self.resume is not None:
            for key in self.keys:
                self.resume.drop(key)


@dataclass(frozen=True, eq=False)
class _Result:
    """The final latents of one run, and what its takes need of it."""

    run: workflow.Run
    latents: Tensor
    """``(seeds, T, D)``."""


def perform(work: Pass, runtime: Runtime, steps: Steps, kept: Kept, *, items_per_pass: int) -> list[list[EngineTake]]:
    """The takes of each request of the pass, in the order seed, track. Raises `Cancelled` and what the parts raise."""
    with torch.inference_mode(), _exact():
        scene = workflow.lay_out(work.requests[0], work.plan, work.window, runtime, steps)
        runs = _run_count(work, items_per_pass)
        results: list[_Result] = []
        for number, run in enumerate(_runs(work, scene, runtime, items_per_pass)):
            key = key_of(_identity(run, work, runtime))
            results.append(_denoised(run, number, runs, key, steps, kept, runtime))
            if not torch.isfinite(results[-1].latents).all():
                raise EngineError(_broken(runtime.model.checkpoint.name))
            kept.finished[key] = SamplerState(work.plan.schedule.steps, results[-1].latents)
        return _decoded(work, results, runtime, steps)


def _broken(checkpoint: str) -> str:
    return (
        "The network returned broken numbers. If a lower guidance does not help, the weights may be damaged: "
        f"`stembridge models verify {checkpoint}` looks at every byte."
    )


def _exact() -> AbstractContextManager[None]:
    """No TF32 where float32 is computed, nothing that is tuned by the clock."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _run_count(work: Pass, items_per_pass: int) -> int:
    request = work.requests[0]
    return len(workflow.tracks_of(request)) * -(-len(request.seeds) // items_per_pass)


def _runs(work: Pass, scene: workflow.Scene, runtime: Runtime, items_per_pass: int) -> Iterator[workflow.Run]:
    """Track after track, so that the prompts of only one lie on the device."""
    request = work.requests[0]
    times = runtime.denoiser.times(work.plan.schedule.evaluations)
    for track in workflow.tracks_of(request):
        told = workflow.tell(request, work.plan, work.window, track, runtime)
        for first in range(0, len(request.seeds), items_per_pass):
            seeds = request.seeds[first : first + items_per_pass]
            yield workflow.Run(work.plan, work.window, scene, told, track, seeds, runtime, times)
        del told


# --- denoising --------------------------------------------------------------------------------------------------------
def _denoised(
    run: workflow.Run, number: int, runs: int, key: str, steps: Steps, kept: Kept, runtime: Runtime
) -> _Result:
    saved_at = kept.clock()

    def keep_now_and_then(state: SamplerState) -> None:
        nonlocal saved_at
        if kept.clock() - saved_at >= KEPT_EVERY_S:
            kept.save(key, state)
            saved_at = kept.clock()

    latents = sample(
        run.start(),
        run.plan.schedule,
        run.plan.guidance,
        run.evaluate,
        after_step=run.after_step(),
        noise_at=run.noise_at,
        state=kept.load(key),
        on_step=runtime.in_time(partial(steps.denoising, number, runs)),
        on_state=keep_now_and_then,
        checkpoint=partial(kept.save, key),
    )
    return _Result(replace(run, told=run.told.forgotten()), latents)


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
        "source_latents": run.scene.origin,
        "rate": request.rate,
        "reference": request.reference.sha256 if request.reference else None,
        "window": [window.start, window.frames, list(window.regions), window.loop],
    }


# --- decoding ---------------------------------------------------------------------------------------------------------
def _decoded(work: Pass, results: Sequence[_Result], runtime: Runtime, steps: Steps) -> list[list[EngineTake]]:
    """Only the regions, in float32, at the project's rate."""
    items = [(seed, result, place) for result in results for place, seed in enumerate(result.run.seeds)]
    seeds = list(work.requests[0].seeds)
    items.sort(key=lambda item: seeds.index(item[0]))  # stable: tracks stay in their order
    total = len(items) * len(work.requests)
    takes: list[list[EngineTake]] = []
    for request in work.requests:
        takes.append([])
        for seed, result, place in items:
            done = sum(map(len, takes))
            step = partial(_part_of, steps.decoding, done, total)
            takes[-1].append(_take(work, request, seed, result.run, result.latents[place], runtime, step))
    return takes


def _part_of(step: Callable[[float], None], done: int, total: int, fraction: float) -> None:
    step((done + fraction) / total)


def _take(
    work: Pass,
    request: GenerationRequest,
    seed: int,
    run: workflow.Run,
    x: Tensor,
    runtime: Runtime,
    step: Callable[[float], None],
) -> EngineTake:
    window = work.window
    latents = run.finished(x[None])[0]
    # A source that is looped or ends is not there beyond the window: what the resampler needs there is silence's.
    first, last = needed_latents(request.region, request.rate)
    within = max(first, window.start), min(last, window.start + window.frames)
    sound = runtime.codec.decode(latents, within[0] - window.start, within[1] - window.start, step)
    channels = request.source.channels if request.source is not None else STEREO
    return EngineTake(
        audio=to_project(sound, within[0], request.rate, request.region, channels),
        start=request.region[0],
        seed=seed,
        track=run.track,
        notes=_notes(work, request, run, runtime),
        on_written=_keeper(request, window, latents, runtime),
    )


def _notes(work: Pass, request: GenerationRequest, run: workflow.Run, runtime: Runtime) -> dict[str, Any]:
    """What the recipe says of how a take came about; JSON only."""
    window = work.window
    notes = {
        **work.plan.notes(),
        **runtime.notes(),
        "window": {
            "start": window.start,
            "frames": window.frames,
            "per_second": LATENT_RATE,
            "loop": list(window.loop) if window.loop else None,
        },
        "items_per_pass": len(run.seeds),
        "encoded_frames": run.scene.encoded_frames,
    }
    if run.scene.origin is not None:
        notes["source_latents"] = run.scene.origin
    if run.told.cuts:
        notes["shortened"] = list(run.told.cuts)
    if len(work.numbers) > 1:
        notes["regions_together"] = list(work.numbers)
    if request.verb is Verb.COMPLETE and len(request.tracks) > 1:
        notes["tracks_together"] = [str(track) for track in request.tracks]
    return notes


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
