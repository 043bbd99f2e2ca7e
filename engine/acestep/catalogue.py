"""The ACE-Step v1.5 checkpoints that are known by name, and what follows from a checkpoint's kind. No torch, no I/O.

A checkpoint's *kind* (base, sft, turbo) decides its defaults and what it was trained for. Two defaults of base are in
dispute between the model's own sources:

- **shift**: 1.0 in the official generation parameters, its training registry and acestep.cpp; 3.0 in the official API
  text, the card of XL base and diffusers. 1.0 is taken: it is what the official code runs and trains with, and 50 steps
  need no warping towards noise. A task overrides it (``modularScheduler.shift``).
- **guidance**: 7.0 in the official code and in diffusers; 1.0 (off) in acestep.cpp, for `lego` too. 7.0 is taken, since
  two of the three agree. A task overrides it (``CFGScale``).

Turbo's are not disputed: 8 steps, shift 3, no guidance. Nothing is known of sft but that it is no distillation: it gets
base's numbers. None of these has been heard by us with the real weights.

Sizes are calculated from the modules' parameters in bfloat16 (for XL they agree with a download measured by others); a
pull tells the true ones. Licences are as reported by third parties: the repository's card is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from protocol.vocabulary import Verb

DEFAULT = "xl-base"
"""The checkpoint that serves when none is named."""


class Kind(StrEnum):
    """How a checkpoint was trained."""

    BASE = "base"
    SFT = "sft"
    TURBO = "turbo"


@dataclass(frozen=True)
class Traits:
    """What a checkpoint does unless told otherwise, and what it can do at all.

    `shift` warps the times of the steps (see `engine.acestep.schedule.shifted`); `guidance` is the scale of
    classifier-free guidance, 1.0 is none. `note` says what is unsettled.
    """

    steps: int
    shift: float
    guidance: float
    is_turbo: bool
    verbs: frozenset[Verb]
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the catalogue. `size_bytes` is what a pull brings, calculated."""

    name: str
    repo_id: str
    kind: Kind
    title: str
    licence: str
    size_bytes: int

    @property
    def traits(self) -> Traits:
        """As published: turbo comes without the audio tokenizer. What is installed is judged by its files."""
        return traits(self.kind, has_audio_tokenizer=self.kind is not Kind.TURBO)


_EVERYWHERE = frozenset({Verb.GENERATE, Verb.COVER, Verb.REPAINT, Verb.EXTEND, Verb.PREPEND})
_BASE_ONLY = frozenset({Verb.EXTRACT, Verb.LEGO, Verb.COMPLETE})


def traits(kind: Kind, *, has_audio_tokenizer: bool = True) -> Traits:
    """What follows from a kind. Without an audio tokenizer there is no `cover`: it is made from the source's tokens."""
    verbs = _EVERYWHERE | _BASE_ONLY if kind is Kind.BASE else _EVERYWHERE
    if not has_audio_tokenizer:
        verbs -= {Verb.COVER}
    if kind is Kind.TURBO:
        return Traits(8, 3.0, 1.0, True, verbs, "distilled: guidance is built in")
    note = "shift (1 or 3) and guidance (7 or 1) are disputed between the model's own sources"
    if kind is Kind.SFT:
        note = f"defaults taken over from base; {note}"
    return Traits(50, 1.0, 7.0, False, verbs, note)


def kind_of(transformer_config: Mapping[str, object]) -> Kind:
    """The kind that ``transformer/config.json`` tells; base if it tells nothing."""
    version = str(transformer_config.get("model_version") or "").lower()
    if transformer_config.get("is_turbo") or "turbo" in version:
        return Kind.TURBO
    return Kind.SFT if "sft" in version else Kind.BASE


_LICENCE = "MIT as reported; check the card"
_TURBO_LICENCE = "MIT or Apache-2.0, reports differ; check the card"

CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "xl-base",
            "ACE-Step/acestep-v15-xl-base-diffusers",
            Kind.BASE,
            "everything: the default",
            _LICENCE,
            11_500_000_000,
        ),
        Entry(
            "xl-sft",
            "ACE-Step/acestep-v15-xl-sft-diffusers",
            Kind.SFT,
            "generate, cover, repaint; tuned further",
            _LICENCE,
            11_500_000_000,
        ),
        Entry(
            "xl-turbo",
            "ACE-Step/acestep-v15-xl-turbo-diffusers",
            Kind.TURBO,
            "fast drafts: generate, repaint",
            _TURBO_LICENCE,
            11_100_000_000,
        ),
        Entry(
            "base",
            "Runware/acestep-v15-base-diffusers",
            Kind.BASE,
            "everything, smaller (2B); converted by Runware",
            _LICENCE,
            6_300_000_000,
        ),
        Entry(
            "turbo",
            "Runware/acestep-v15-turbo-diffusers",
            Kind.TURBO,
            "fast drafts, smaller (2B); converted by Runware",
            _LICENCE,
            5_900_000_000,
        ),
    )
}
"""By name, in the order in which they are listed."""


def by_repo(repo_id: str) -> Entry | None:
    """The entry of a Hugging Face repository, if it has one (repository names ignore case)."""
    return next((entry for entry in CATALOGUE.values() if entry.repo_id.lower() == repo_id.lower()), None)
