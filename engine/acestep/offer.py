"""What the engine can say of itself without loading anything: which checkpoint serves a job, and what that offers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from engine.acestep.catalogue import CATALOGUE
from engine.acestep.checkpoints import Checkpoint, find, installed
from engine.acestep.options import Options
from engine.acestep.schedule import parse_modular
from engine.api import Capabilities, CheckpointOffer
from engine.availability import LIBRARIES
from protocol.errors import EngineCannot, EngineMissing
from protocol.task import Quality, Task
from protocol.vocabulary import TrackClass, Verb

log = logging.getLogger("stembridge.acestep")

NAME, VERSION = "acestep", "1"
DRAFTS = ("xl-turbo", "turbo")
"""The checkpoints that draft, where they are installed; the one of the configured checkpoint's size first."""


def default_checkpoint(options: Options) -> Checkpoint:
    """The configured checkpoint; raises `EngineMissing` naming the command that brings it."""
    return find(options.checkpoint, options.models_dir)


def capabilities(options: Options) -> Capabilities:
    """What the configured checkpoint offers. Raises `EngineMissing` if it is not there."""
    checkpoint = default_checkpoint(options)
    return Capabilities(
        name=NAME,
        version=VERSION,
        verbs=checkpoint.traits.verbs,
        tracks=frozenset(TrackClass),
        description=f"ACE-Step v1.5, checkpoint {checkpoint.name}: a diffusion transformer that hears what surrounds "
        "the region, and your words. Needs its weights; a GPU is advised.",
        why_not=_why_not(checkpoint),
        libraries=LIBRARIES,
        judge=_judge,
        checkpoints={
            each.name: CheckpointOffer(each.traits.verbs, each.identity)
            for each in (*installed(options.models_dir), checkpoint)
        },
    )


def _judge(task: Task) -> None:
    parse_modular(task.advanced_features.modular_scheduler)


def checkpoint_for(task: Task, verb: Verb, options: Options) -> tuple[Checkpoint, bool]:
    """The checkpoint that serves a task, and whether it is a draft.

    A draft goes to one of `DRAFTS` where that is installed and knows the verb, else to the configured checkpoint with
    fewer steps. Raises `EngineMissing`, or `EngineCannot` for a verb that the checkpoint was not trained for.
    """
    is_draft = task.quality is Quality.DRAFT
    chosen = _named(task.checkpoint, options)
    if is_draft and not task.checkpoint:
        chosen = _draft_checkpoint(verb, chosen, options) or chosen
    if verb not in chosen.traits.verbs:
        raise EngineCannot(_why_not(chosen)[verb])
    return chosen, is_draft


def _named(name: str | None, options: Options) -> Checkpoint:
    """The checkpoint of a task: the configured one, which a recipe may name too, or one of those that belong here.

    A name that came in a message must not find its way to a folder that merely happens to be called so.
    """
    configured = default_checkpoint(options)
    if name is None or name in (configured.name, Path(options.checkpoint).name):
        return configured
    if name in CATALOGUE or (options.models_dir is not None and (options.models_dir / name).is_dir()):
        return find(name, options.models_dir)
    raise EngineMissing(
        f"There is no checkpoint {name[:80]!r} here. Known: {', '.join(CATALOGUE)} and what is in the models folder; "
        "`stembridge models list` shows them."
    )


def _draft_checkpoint(verb: Verb, configured: Checkpoint, options: Options) -> Checkpoint | None:
    order = DRAFTS if configured.name.startswith("xl") else DRAFTS[::-1]
    for name in order:
        try:
            draft = find(name, options.models_dir)
        except EngineMissing as missing:
            log.info("no draft on %s: %s", name, missing.sentence)
            continue
        if verb in draft.traits.verbs:
            return draft
    return None


def _why_not(checkpoint: Checkpoint) -> Mapping[Verb, str]:
    lacking = [verb for verb in Verb if verb not in checkpoint.traits.verbs]
    return {
        verb: f"The checkpoint {checkpoint.name} cannot {verb}: {_reason(verb)}. Choose the checkpoint "
        "xl-base ('checkpoint' in the configuration or as a setting)."
        for verb in lacking
    }


def _reason(verb: Verb) -> str:
    if verb is Verb.COVER:
        return "its files hold no audio tokenizer, which a cover needs"
    return f"it was not trained for {verb}; only base checkpoints were"
