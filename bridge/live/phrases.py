"""How a phrase is asked for: what a run goes on from, and the session and options of its jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from protocol.job import LIVE_PRIORITY, ProjectRef, SourceRef
from protocol.live import Slot
from protocol.music import TempoMap
from protocol.session import Session

if TYPE_CHECKING:
    from engine.api import Audio


@dataclass(frozen=True)
class Played:
    """What a run goes on from: audio that ends at `end_beat`, and the project it belongs to.

    `audio` is ``(channels, frames)`` at `rate`, in the tempo map in force at the start.
    """

    project: ProjectRef
    audio: Audio
    rate: int
    start_beat: float
    end_beat: float

    @property
    def channels(self) -> int:
        return int(self.audio.shape[0])


def session_for(told: Session, played: Played, source: SourceRef, who: str, now: float) -> Session:
    """The session as it was told, for this run's project and what the phrase hears, without its region."""
    project = played.project.model_copy(update={"sample_rate": played.rate})
    return replace(told.told("project", project, who, now).told("source", source, who, now), regions=None)


def options_for(
    slot: Slot, settings: Mapping[str, object], lowered: Iterable[tuple[str, object]], tempo_map: TempoMap
) -> dict[str, Any]:
    """The options of `extend` for a phrase in `slot`; `lowered` are the settings of its step of quality."""
    start_s, end_s = (tempo_map.time_at(beat) for beat in (slot.start_beat, slot.end_beat))
    place = {"at": start_s, "seconds": end_s - start_s, "priority": LIVE_PRIORITY}
    return {**settings, **dict(lowered), "variations": 1, **place}
