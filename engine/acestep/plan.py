"""Every parameter of a task, settled for one checkpoint: what will be done, and what cannot be used and why.

A parameter is obeyed, refused in words (`EngineCannot`), or, where the verb or the checkpoint gives it no meaning,
named in `Plan.not_used`, which goes into the recipe. Source of ranges and meanings: the task's specification; of the
model's side: the facts on ACE-Step v1.5 (docs/models.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.acestep.catalogue import Traits
from engine.acestep.guidance import Guidance
from engine.acestep.prompt import Metadata
from engine.acestep.schedule import Modular, Schedule, parse_modular, shifted, truncated
from engine.api import GenerationRequest
from protocol.errors import EngineCannot
from protocol.task import GuidanceType, Task
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.acestep.checkpoints import Checkpoint

DRAFT_STEPS = 20
"""Steps of a draft on a checkpoint that is not distilled (turbo brings its own 8)."""

BLEND_FRAMES = 25
"""The widest blend of latents around a region, in frames (1 s), at strength 1; it shrinks with the strength."""

_VOCAL = frozenset({TrackClass.VOCALS, TrackClass.BACKING_VOCALS})


@dataclass(frozen=True)
class Plan:
    """How one pass is denoised. Steps and times as in `engine.acestep.schedule`: t is 1 for noise, 0 for clean."""

    verb: Verb
    schedule: Schedule
    guidance: Guidance
    start_t: float = 1.0
    """Where a cover begins: 1 is pure noise, less keeps that much of the source."""
    injected_steps: int = 0
    """After so many first steps, everything outside the regions is set back to the noised source."""
    blend_frames: int = 0
    """Latent frames over which the result fades into the source outside the regions."""
    source_steps: int = 0
    """For how many steps a cover hears its source; then the network is told to generate freely."""
    caption: str = ""
    negative: str | None = None
    lyrics: str | None = None
    language: str = "en"
    not_used: tuple[str, ...] = ()

    def notes(self) -> dict[str, Any]:
        """For the recipe: the numbers behind the sound, as JSON."""
        kind, scale, interval = str(self.guidance.kind), self.guidance.scale, [self.guidance.start, self.guidance.end]
        notes: dict[str, Any] = {
            "steps": self.schedule.steps,
            "solver": self.schedule.solver,
            "sigmas": list(self.schedule.sigmas),
            "guidance": {"type": kind, "scale": scale, "interval": interval},
        }
        if self.guidance.kind is GuidanceType.APG:
            apg = {name: getattr(self.guidance, name) for name in ("threshold", "momentum", "eta")}
            notes["guidance"].update(apg)
        if self.verb.joins_source:
            notes["injected_steps"], notes["blend_frames"] = self.injected_steps, self.blend_frames
        if self.verb is Verb.COVER:
            notes["start_t"], notes["source_steps"] = self.start_t, self.source_steps
        if self.not_used:
            notes["not_used"] = list(self.not_used)
        return notes


def settle(request: GenerationRequest, checkpoint: Checkpoint, *, is_draft: bool) -> Plan:
    """The plan of `request` on `checkpoint`. Raises `EngineCannot` naming what cannot be done and what can."""
    task, traits = request.task, checkpoint.traits
    modular = parse_modular(task.advanced_features.modular_scheduler)
    schedule = _schedule(task, traits, modular, is_draft)
    guidance = _guidance(task, traits, modular, checkpoint.name, is_draft)
    plan = Plan(
        verb=request.verb,
        schedule=schedule,
        guidance=guidance,
        caption=task.positive_prompt,
        negative=task.negative_prompt if guidance.scale > 1.0 else None,
        lyrics=task.settings.lyrics,
        language=task.settings.vocal_language,
        not_used=tuple(_not_used(request, guidance, modular, is_draft=is_draft, traits=traits)),
    )
    if request.verb.joins_source:
        injected = round(task.strength * schedule.steps)
        return replace(plan, injected_steps=injected, blend_frames=round(task.strength * BLEND_FRAMES))
    if request.verb is Verb.COVER:
        shortened = truncated(schedule, 1.0 - task.strength)
        heard = math.floor(shortened.steps * task.settings.cover_conditioning_scale)
        return replace(plan, schedule=shortened, start_t=shortened.sigmas[0], source_steps=heard)
    return plan


def metadata(request: GenerationRequest, window_s: float) -> Metadata:
    """What the model is told about the music, in its own few words; the tempo map stays the law (a hint only).

    The tempo is the region's mean, because a model that takes one whole number cannot be told a ramp.
    """
    settings = request.task.settings
    start_s, end_s = (request.time_of(frame) for frame in request.region)
    bpm: float | None = settings.bpm
    signature: int | None = settings.time_signature
    if request.tempo_known:
        beats = request.tempo_map.beat_at(end_s) - request.tempo_map.beat_at(start_s)
        bpm = bpm if bpm is not None else 60.0 * beats / (end_s - start_s)
        signature = signature if signature is not None else request.tempo_map.signature_at(start_s).numerator
    return Metadata(
        bpm=None if bpm is None else round(bpm),
        time_signature=signature,
        key=settings.key_scale or request.key,
        duration_s=window_s,
    )


def is_instrumental(plan: Plan, track: TrackClass | None) -> bool:
    """True if the model is told that nobody sings."""
    return not plan.lyrics and track not in _VOCAL and plan.verb is not Verb.EXTRACT


def _schedule(task: Task, traits: Traits, modular: Modular, is_draft: bool) -> Schedule:
    if modular.sigmas is not None:
        return Schedule(modular.sigmas, modular.solver)
    steps = task.steps
    if is_draft:
        steps = traits.steps if traits.is_turbo else min(steps or traits.steps, DRAFT_STEPS)
    shift = modular.shift if modular.shift is not None else traits.shift
    return Schedule(shifted(steps or traits.steps, shift), modular.solver)


def _guidance(task: Task, traits: Traits, modular: Modular, name: str, is_draft: bool) -> Guidance:
    scale = task.cfg_scale if task.cfg_scale is not None else traits.guidance
    if traits.is_turbo:
        if task.cfg_scale is not None and task.cfg_scale > 1.0 and not is_draft:
            raise EngineCannot(
                f"The checkpoint {name} has its guidance built in and takes no CFGScale above 1 (it is "
                f"{task.cfg_scale:g}). Leave guidance unset, or choose the checkpoint xl-base."
            )
        scale = 1.0
    settings = task.settings
    given = {
        "threshold": modular.apg_threshold,
        "momentum": modular.apg_momentum,
        "eta": modular.apg_eta,
    }
    return Guidance(
        kind=settings.guidance_type,
        scale=scale,
        start=settings.cfg_interval_start,
        end=settings.cfg_interval_end,
        **{key: value for key, value in given.items() if value is not None},
    )


def _not_used(
    request: GenerationRequest, guidance: Guidance, modular: Modular, *, is_draft: bool, traits: Traits
) -> Iterator[str]:
    task, verb = request.task, request.verb
    is_off = guidance.scale <= 1.0
    if task.negative_prompt and is_off:
        yield "negativePrompt: guidance is off"
    by_hand = (modular.apg_threshold, modular.apg_momentum, modular.apg_eta)
    if any(value is not None for value in by_hand) and (is_off or guidance.kind is not GuidanceType.APG):
        yield f"modularScheduler's apg values: guidance is {'off' if is_off else guidance.kind}"
    if task.steps and modular.sigmas is not None:
        yield "steps: modularScheduler.sigmas says every time itself"
    elif is_draft and task.steps and traits.is_turbo:
        yield "steps: the draft checkpoint has its own"
    elif is_draft and task.steps and task.steps > DRAFT_STEPS:
        yield f"steps: a draft makes {DRAFT_STEPS}"
    if is_off and (task.settings.cfg_interval_start, task.settings.cfg_interval_end) != (0.0, 1.0):
        yield "cfgIntervalStart, cfgIntervalEnd: guidance is off"
    if is_draft and traits.is_turbo and task.cfg_scale:
        yield "CFGScale: the draft checkpoint has its guidance built in"
    if task.settings.cover_conditioning_scale != 1.0 and verb is not Verb.COVER:
        yield f"coverConditioningScale: {verb} is no cover"
    if task.strength != Task.model_fields["strength"].default and not (verb.joins_source or verb is Verb.COVER):
        yield f"strength: {verb} keeps nothing of the source in its result"
