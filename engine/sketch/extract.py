"""Extract: a track out of the mix, by a model that has learnt instruments where one is installed, else by masks.

Separation knows no chance: every seed of a job gets the same audio, and the recipe says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.api import EngineTake, GenerationRequest, IsCancelled, ReportProgress
from engine.sketch import neural_separation, separate
from engine.window import make_window
from protocol.job import Progress
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

CONTEXT_S = 20.0
"""Seconds on either side that are heard with the region: what repeats and holds is told by comparison."""
LEARNT = "What the model has learnt to call {}."


def extracted(
    request: GenerationRequest, options: Mapping[str, Any], progress: ReportProgress, cancelled: IsCancelled
) -> list[EngineTake]:
    """One take for each seed and track, with the window's surroundings as lead and tail.

    Raises `EngineCannot` for tracks that nothing here can extract, `EngineMissing` if the options insist on a model
    that is not there, `EngineError` for damaged weights, `Cancelled`.
    """
    source = request.source
    assert source is not None
    around = round(CONTEXT_S * request.rate)
    window = make_window(source, request.region, around, around)
    ready = neural_separation.offer(options)
    learnt = [track for track in request.tracks if ready and (track in ready.tracks or _insists(options))]
    masked = [track for track in request.tracks if track not in learnt]
    parts: dict[TrackClass, Audio] = {}
    separate.check_tracks(masked)
    if learnt:
        parts |= neural_separation.separate(window.audio, window.rate, learnt, options, progress, cancelled)
    if masked:
        report = partial(_told, progress)
        parts |= separate.separate(window.audio, window.rate, masked, cancelled, report=report)
    return [
        EngineTake(audio=parts[track], start=window.start, seed=seed, track=track, notes=_notes(track, learnt, ready))
        for seed in request.seeds
        for track in request.tracks
    ]


def _insists(options: Mapping[str, Any]) -> bool:
    return options.get("separator") == "demucs"


def _told(progress: ReportProgress, fraction: float) -> None:
    progress(Progress(fraction=min(1.0, fraction), stage="separating"))


def _notes(track: TrackClass, learnt: list[TrackClass], ready: neural_separation.Offer | None) -> dict[str, Any]:
    if ready and track in learnt:
        return {"separator": f"demucs {ready.model}", "extracted": LEARNT.format(track)}
    return {"separator": "masks", "extracted": separate.WHAT_IT_IS[track]}
