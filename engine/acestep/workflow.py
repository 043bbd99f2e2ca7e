"""What each verb gives the network, and what becomes of what comes back.

The network sees source latents, a mask and noise, and cross-attends to what it was told. Per verb (source: the official
task table, docs/models.md; the mask is 1 where audio is to be made):

============================  =========================  =================  ========================================
verb                          source latents             mask               instruction
============================  =========================  =================  ========================================
generate                      silence                    1                  fill the mask
cover                         5 Hz tokens of the source  1                  generate semantic tokens
repaint, extend, prepend      source, silence inside     1 in the regions   repaint the mask area
extract                       source                     1                  extract the TRACK track
lego                          source                     1 in the regions   generate the TRACK track
complete, one track           source                     1                  complete the input track with TRACK
complete, several tracks      as lego, one run per track, so that each becomes a stem of its own
============================  =========================  =================  ========================================

Repaint keeps its surroundings by three means, none of which the network is asked for: after each of the first steps
everything outside the regions is set back to the noised source; the final latents fade into the source's; and only the
regions are decoded, for `engine.splice` to join. All takes of a pass share one encoding of the source, one set of keys
and values per prompt, and the tables of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.acestep import prompt
from engine.acestep.conditioning import cover_latents
from engine.acestep.grid import LatentWindow, Span
from engine.acestep.plan import Plan, is_instrumental, metadata
from engine.acestep.sampler import AfterStep, blend, crossfade_weights, inject, noise, noised
from engine.acestep.source_latents import SourceLatents
from engine.acestep.steps import Steps
from engine.api import GenerationRequest
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.acestep.denoiser import Conditioning
    from engine.acestep.runtime import Runtime

_ALONE = (None,)


@dataclass(frozen=True, eq=False)
class Scene:
    """What all takes of a pass have in common; latents ``(1, T, D)``, float32, on the device."""

    source: Tensor
    """Silence where there is no source."""
    silence: Tensor
    mask: Tensor
    """``(1, T, 1)``, 1 where audio is to be made."""
    context: Tensor
    """``(1, T, 2 D)``: what the network sees beside the noise."""
    free: Tensor
    """The same for free generation, which a cover turns to at its end."""
    encoded_frames: int
    origin: str | None
    """Where the source's latents come from (see `SourceLatents.origin`); None without a source."""


@dataclass(frozen=True, eq=False)
class Told:
    """What the network is told for one track: with the prompt, and without (or with the negative prompt)."""

    with_prompt: Conditioning | None
    without: Conditioning | None
    free: Conditioning | None
    """For the end of a cover."""
    words: tuple[str, ...]
    """The texts themselves, which determine the audio."""
    cuts: tuple[str, ...]
    """What had to be shortened, in words."""

    def forgotten(self) -> Told:
        """The same without what lies on the device: at full size hundreds of megabytes per prompt."""
        return replace(self, with_prompt=None, without=None, free=None)


def lay_out(request: GenerationRequest, plan: Plan, window: LatentWindow, runtime: Runtime, steps: Steps) -> Scene:
    """Encode what the window needs of the source and lay it out for the verb. Cancelled at every piece."""
    silence = runtime.texts.silence(window.frames).to(torch.float32)
    source, latents = silence, None
    if request.source is not None:
        latents = SourceLatents(request.source, runtime.codec, request.cache_dir, runtime.vae_identity)
        index = window.index()
        taken = latents.take(index, steps.encoding).to(silence.device)[None]
        exists = torch.from_numpy(index >= 0).to(silence.device)[None, :, None]
        source = torch.where(exists, taken, silence)
    everywhere = torch.ones(1, window.frames, 1, device=silence.device)
    mask = _mask(window.masked(), everywhere) if _has_regions(plan.verb, request.tracks) else everywhere
    seen = source
    if plan.verb.joins_source:
        seen = torch.where(mask > 0, silence, source)
    elif plan.verb is Verb.COVER:
        seen = cover_latents(runtime.model, source, runtime.place).to(torch.float32)
    width = silence.shape[-1]
    return Scene(
        source=source,
        silence=silence,
        mask=mask,
        context=torch.cat([seen, mask.expand(-1, -1, width)], dim=-1),
        free=torch.cat([silence, everywhere.expand(-1, -1, width)], dim=-1),
        encoded_frames=0 if latents is None else latents.encoded_frames,
        origin=None if latents is None else latents.origin,
    )


def _has_regions(verb: Verb, tracks: Sequence[TrackClass]) -> bool:
    return verb.joins_source or verb is Verb.LEGO or (verb is Verb.COMPLETE and len(tracks) > 1)


def _mask(spans: Sequence[Span], everywhere: Tensor) -> Tensor:
    mask = torch.zeros_like(everywhere)
    for first, last in spans:
        mask[:, first:last] = 1.0
    return mask


# --- words ------------------------------------------------------------------------------------------------------------
def tracks_of(request: GenerationRequest) -> Sequence[TrackClass | None]:
    """One run per track for verbs that make stems, else one without."""
    return request.tracks if request.verb.makes_stems else _ALONE


def tell(
    request: GenerationRequest, plan: Plan, window: LatentWindow, track: TrackClass | None, runtime: Runtime
) -> Told:
    """Encode the prompts of one track and project them for every layer, once for all its takes and steps."""
    count = runtime.texts.count_tokens
    verb = Verb.LEGO if plan.verb is Verb.COMPLETE and len(request.tracks) > 1 else plan.verb
    facts = metadata(request, window.duration_s)
    lyrics, lyrics_cut = prompt.fitted_lyrics(count, plan.lyrics, plan.language, is_instrumental(plan, track))
    timbre = None if request.reference is None else runtime.timbre(request.reference)

    def text_of(asked: Verb, caption: str) -> tuple[str, bool]:
        return prompt.fitted(count, prompt.instruction(asked, track), caption, facts)

    def condition(text: str) -> Conditioning:
        return runtime.denoiser.condition(runtime.texts.encode(text, lyrics, timbre))

    text, caption_cut = text_of(verb, plan.caption)
    words, cuts = [text, lyrics], []
    without = free = None
    if plan.guidance.scale > 1.0:
        if plan.negative:
            negative, negative_cut = text_of(verb, plan.negative)
            words.append(negative)
            cuts += ["negativePrompt"] if negative_cut else []
            without = condition(negative)
        else:
            without = runtime.denoiser.null(runtime.texts.null)
    if plan.verb is Verb.COVER and plan.source_steps < plan.schedule.steps:
        freely, _ = text_of(Verb.GENERATE, plan.caption)
        words.append(freely)
        free = condition(freely)
    cuts += ["positivePrompt"] if caption_cut else []
    cuts += ["lyrics"] if lyrics_cut else []
    return Told(condition(text), without, free, tuple(words), tuple(cuts))


# --- one run ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Run:
    """Takes that go through the network together: one track, one or more seeds. Knows what a step needs."""

    plan: Plan
    window: LatentWindow
    scene: Scene
    told: Told
    track: TrackClass | None
    seeds: tuple[int, ...]
    runtime: Runtime
    times: Any
    """The denoiser's table for the schedule's evaluations."""

    def noise(self, draw: int = 0) -> Tensor:
        """``(len(seeds), T, D)``: the start's noise, or the fresh noise of a step of the SDE solver."""
        width = self.scene.source.shape[-1]
        drawn = [noise(seed, self.window.frames, width, self.window.start, draw=draw) for seed in self.seeds]
        return torch.cat(drawn).to(self.scene.source.device)

    def start(self) -> Tensor:
        """Pure noise, or a cover's noised source."""
        return noised(self.noise(), self.scene.source, self.plan.start_t) if self.plan.start_t < 1.0 else self.noise()

    def noise_at(self, step: int) -> Tensor:
        return self.noise(draw=step + 1)

    def evaluate(self, x: Tensor, index: int, is_guided: bool) -> tuple[Tensor, Tensor | None]:
        """The network's velocity with the prompt and, if guided, without: see `engine.acestep.sampler.Evaluate`."""
        step = self.plan.schedule.step_of(index)
        is_free = self.told.free is not None and step >= self.plan.source_steps
        context = self.scene.free if is_free else self.scene.context
        told = self.told.free if is_free else self.told.with_prompt
        branches = [each for each in (told, self.told.without if is_guided else None) if each is not None]
        velocities = self.runtime.denoiser.velocity(x, context, self.times, index, branches)
        return velocities[0], velocities[1] if len(velocities) > 1 else None

    def after_step(self) -> AfterStep | None:
        """Repaint's injection of the noised source outside the regions."""
        if not self.plan.verb.joins_source or self.plan.injected_steps == 0:
            return None
        return inject(self.noise(), self.scene.source, 1.0 - self.scene.mask, self.plan.injected_steps)

    def finished(self, x: Tensor) -> Tensor:
        """The final latents: repaint's fade into the source's outside the regions."""
        if not self.plan.verb.joins_source:
            return x
        weights = crossfade_weights(self.window.frames, self.window.masked(), self.plan.blend_frames)
        return blend(x, self.scene.source, weights.to(x.device))
