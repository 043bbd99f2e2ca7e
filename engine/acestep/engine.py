"""ACE-Step as an `engine.api.Engine`: which checkpoint serves a job, how its regions become passes, and what happens
when the memory runs out. Torch and the model are loaded by `prepare` or by the first job, not with this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from engine.acestep.offer import capabilities, checkpoint_for, default_checkpoint
from engine.acestep.options import Options
from engine.api import Capabilities, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import EngineCannot, MissingContext, OutOfMemory

if TYPE_CHECKING:
    from engine.acestep.checkpoints import Checkpoint
    from engine.acestep.devices import Choice, Tier
    from engine.acestep.passes import Pass
    from engine.acestep.runtime import Runtime
    from engine.acestep.steps import Steps

log = logging.getLogger("stembridge.acestep")

Made = TypeVar("Made")

_PREPARED_FRAMES = 28 * 25
"""The window for which memory is planned before a job says its own: 8 s with 10 s on each side."""


class AceStepEngine:
    """Holds one loaded checkpoint; a take depends on its request, its seed and the configuration alone."""

    def __init__(self) -> None:
        self._options = Options()
        self._runtime: Runtime | None = None

    def configure(self, options: Mapping[str, Any]) -> None:
        """Take over the section ``[acestep]`` of the configuration; before anything else is asked."""
        self._options = Options.of(options)

    def capabilities(self) -> Capabilities:
        """What the configured checkpoint offers, and which others there are. Raises `EngineMissing`."""
        return capabilities(self._options)

    def prepare(self) -> None:
        """Load the configured checkpoint. Raises `EngineMissing`, `EngineError`, `OutOfMemory`."""
        checkpoint = default_checkpoint(self._options)
        choice = self._choice(checkpoint, _PREPARED_FRAMES)
        self._loaded(checkpoint, choice.tier, lambda _fraction, what: log.info("%s", what))

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        """The takes of one region, in the order seed, track."""
        return self.generate_regions([request], progress, cancelled)[0]

    def generate_regions(
        self, requests: Sequence[GenerationRequest], progress: ReportProgress, cancelled: IsCancelled
    ) -> list[list[EngineTake]]:
        """The takes of each region of a job; regions that share a window go through the network together."""
        from engine.acestep.steps import Steps

        checkpoint, is_draft = checkpoint_for(requests[0].task, requests[0].verb, self._options)
        passes = _passes(requests, checkpoint, is_draft)
        steps = Steps(progress, cancelled, len(passes))
        frames = max(each.window.frames for each in passes)
        choice = self._choice(checkpoint, frames)
        log.info("%s, checkpoint %s", choice.sentence, checkpoint.name)
        made = self._with_memory(checkpoint, choice.tier, steps, lambda runtime: self._perform(passes, runtime, steps))
        takes: list[list[EngineTake]] = [[] for _ in requests]
        for each, of_pass in zip(passes, made, strict=True):
            for number, of_region in zip(each.numbers, of_pass, strict=True):
                takes[number] = of_region
        return takes

    def _perform(self, passes: Sequence[Pass], runtime: Runtime, steps: Steps) -> list[list[list[EngineTake]]]:
        from engine.acestep.passes import Kept, perform

        made, kept = [], Kept.of(passes[0].requests[0])
        try:
            for number, each in enumerate(passes):
                steps.begin(number)
                made.append(perform(each, runtime, steps, kept, items_per_pass=self._options.items_per_pass))
        except BaseException:
            kept.save_finished()
            raise
        kept.drop()
        return made

    # --- memory -------------------------------------------------------------------------------------------------------
    def _with_memory(self, checkpoint: Checkpoint, tier: Tier, steps: Steps, work: Callable[[Runtime], Made]) -> Made:
        """Do `work`; if the memory runs out, once more in the next tier that gives the same audio, and say so."""
        from engine.acestep.devices import is_out_of_memory, memory_advice, next_tier

        def attempt(in_tier: Tier) -> Made | None:
            try:
                return work(self._loaded(checkpoint, in_tier, steps.loading))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("%s (%s)", memory_advice(in_tier), error)
            self._release()  # not while the error still holds the frames that hold the memory
            return None

        made, following = attempt(tier), next_tier(tier)
        if made is None and following is not None:
            steps.loading(0.0, f"out of memory as '{tier}': again as '{following}', which is slower")
            tier, made = following, attempt(following)
        if made is None:
            raise OutOfMemory(
                f"The device ran out of memory as '{tier}'. Choose a shorter region or less context, fewer variations, "
                "or a smaller checkpoint; `memory` under [acestep] in the configuration can name what needs least."
            )
        return made

    def _choice(self, checkpoint: Checkpoint, frames: int) -> Choice:
        """The tier for a window of so many latent frames; the one that is loaded stays while it fits."""
        from engine.acestep import devices
        from engine.acestep.model import part_bytes

        device = devices.choose_device(self._options.device)
        if device.type == "cpu" and self._options.device == "auto":
            raise EngineCannot(
                "PyTorch sees no GPU here, and on the CPU this takes minutes where a GPU takes seconds. Install a "
                'PyTorch for your GPU, use the engine sketch, or set device = "cpu" under [acestep] to insist.'
            )
        parts = part_bytes(checkpoint, devices.default_dtype(device))
        items = self._options.items_per_pass
        held = self._runtime
        if held is not None and held.model.checkpoint == checkpoint:
            free, needed = held.could_have_bytes(), devices.needs(parts, frames, items)[held.tier]
            if free is None or needed <= free or self._options.memory != "auto":
                return devices.Choice(held.tier, f"Memory: {held.tier}, as loaded.")
        self._release()
        return devices.choose_tier(self._options.memory, device, parts, frames, items)

    def _loaded(self, checkpoint: Checkpoint, tier: Tier, step: Callable[[float, str], None]) -> Runtime:
        """The checkpoint in that tier, loaded if it is not."""
        from engine.acestep.runtime import Runtime

        held = self._runtime
        if held is None or held.model.checkpoint != checkpoint or held.tier is not tier:
            self._release()
            held = self._runtime = Runtime.load(checkpoint, self._options, tier, step)
        return held

    def _release(self) -> None:
        if self._runtime is not None:
            self._runtime.release()
            self._runtime = None


def _passes(requests: Sequence[GenerationRequest], checkpoint: Checkpoint, is_draft: bool) -> list[Pass]:
    """The requests of a job, laid into windows. Raises `EngineCannot` for what cannot be done."""
    from engine.acestep import grid
    from engine.acestep.passes import Pass
    from engine.acestep.plan import settle

    first = requests[0]
    if first.verb.needs_source and first.source is None:
        raise MissingContext(f"{first.verb.capitalize()} needs the song: send its file with /stembridge/source.")
    plan = settle(first, checkpoint, is_draft=is_draft)
    regions = [request.region for request in requests]
    contexts = [_context(request) for request in requests]
    alone = [[number] for number in range(len(regions))]
    together = alone if first.source is None else grid.groups(regions, first.rate, contexts)
    wants_minute = first.verb.makes_stems and first.task.context_bars is None
    passes = []
    for numbers in together:
        members = tuple(requests[number] for number in numbers)
        window = grid.plan(
            [member.region for member in members],
            first.rate,
            first.source.frames if first.source is not None else 0,
            (max(contexts[number][0] for number in numbers), max(contexts[number][1] for number in numbers)),
            least_s=grid.STEMS_WINDOW_S if wants_minute else grid.MIN_WINDOW_S,
        )
        passes.append(Pass(members, tuple(numbers), window, plan))
    return passes


def _context(request: GenerationRequest) -> tuple[int, int]:
    """Frames of context before and after the region that were asked for."""
    if request.window is None:
        return 0, 0
    return request.region[0] - request.window.start, request.window.stop - request.region[1]
