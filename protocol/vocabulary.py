"""The closed word lists of the project: verbs, track classes, job states. Source: DESIGN.md, "Vocabulary"."""

from __future__ import annotations

from enum import StrEnum


class Verb(StrEnum):
    """What a musician can ask for."""

    REPAINT = "repaint"
    EXTEND = "extend"
    PREPEND = "prepend"
    COMPLETE = "complete"
    LEGO = "lego"
    EXTRACT = "extract"
    COVER = "cover"
    GENERATE = "generate"

    @property
    def makes_stems(self) -> bool:
        """True if every take belongs to one track class."""
        return self in (Verb.COMPLETE, Verb.LEGO, Verb.EXTRACT)

    @property
    def needs_source(self) -> bool:
        """True if the verb works on audio that exists (all but `generate`)."""
        return self is not Verb.GENERATE

    @property
    def joins_source(self) -> bool:
        """True if the result must meet the original audio at its edges."""
        return self in (Verb.REPAINT, Verb.EXTEND, Verb.PREPEND)


class TrackClass(StrEnum):
    """The twelve track classes of ACE-Step v1.5."""

    WOODWINDS = "woodwinds"
    BRASS = "brass"
    FX = "fx"
    SYNTH = "synth"
    STRINGS = "strings"
    PERCUSSION = "percussion"
    KEYBOARD = "keyboard"
    GUITAR = "guitar"
    BASS = "bass"
    DRUMS = "drums"
    BACKING_VOCALS = "backing_vocals"
    VOCALS = "vocals"


class JobState(StrEnum):
    """The life of a job. `queued` and `running` are open; the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
