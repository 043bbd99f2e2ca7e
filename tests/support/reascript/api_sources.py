"""PCM sources: files as REAPER sees them, their peaks, and the source of a take."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import soundfile

from tests.support.reascript.errors import BadCall
from tests.support.reascript.model import Source, Take
from tests.support.reascript.registry import reascript

PEAK_STEPS = 3
"""Calls of PCM_Source_BuildPeaks in mode 1 until the peaks are there."""

_building: WeakKeyDictionary[Source, int] = WeakKeyDictionary()
"""How many steps of a source's peaks are left."""


def source_of(path: Path) -> Source | None:
    """The source that REAPER would make of a file; None if there is none, or it is no audio."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return None
    return Source(path, kind(info.format), info.frames, info.samplerate, info.channels)


def kind(container: str) -> str:
    """REAPER's name of a type, from libsndfile's."""
    return {"WAV": "WAVE", "WAVEX": "WAVE", "RF64": "WAVE", "OGG": "VORBIS", "MP3": "MP3"}.get(container, container)


@reascript("PCM_Source_CreateFromFile")
def create_from_file(host: Any, path: str) -> Source | None:
    return source_of(Path(path))


@reascript("PCM_Source_Destroy")
def destroy(host: Any, source: Source) -> None:
    """Only for sources that no take holds."""
    held = any(
        take.source is source
        for project in host.projects
        for track in project.tracks
        for item in track.items
        for take in item.takes
    )
    if held:
        raise BadCall("PCM_Source_Destroy of a source that a take plays: REAPER crashes on that later.")
    source.alive = False


@reascript("PCM_Source_BuildPeaks")
def build_peaks(host: Any, source: Source, mode: int) -> int:
    """Mode 0 asks (and begins), 1 does a step and tells what is left, 2 ends it. Without mode 2 there are no peaks."""
    if mode == 0:
        if source.peaks:
            return 0
        _building[source] = PEAK_STEPS
        return PEAK_STEPS
    if source.peaks:
        return 0
    if source not in _building:
        raise BadCall("PCM_Source_BuildPeaks: mode 0 comes first.")
    if mode == 1:
        _building[source] = max(0, _building[source] - 1)
        return _building[source]
    if _building.pop(source) == 0:
        source.peaks = True
    return 0


@reascript("GetMediaSourceLength")
def length(host: Any, source: Source) -> tuple[float, bool]:
    """Seconds, or quarter notes and True (MIDI)."""
    return (source.quarter_notes, True) if source.kind == "MIDI" else (source.length_s, False)


@reascript("GetMediaSourceFileName")
def file_name(host: Any, source: Source) -> str:
    return "" if source.kind == "MIDI" else str(source.path)


@reascript("GetMediaSourceType")
def source_type(host: Any, source: Source) -> str:
    return source.kind


@reascript("GetMediaSourceSampleRate")
def sample_rate(host: Any, source: Source) -> int:
    return source.rate


@reascript("GetMediaSourceNumChannels")
def channels(host: Any, source: Source) -> int:
    return source.channels


@reascript("GetMediaSourceParent")
def parent(host: Any, source: Source) -> Source | None:
    """None: sections are not modelled."""
    return None


@reascript("PCM_Source_GetSectionInfo")
def section_info(host: Any, source: Source) -> tuple[bool, float, float, bool]:
    """No source is a section."""
    return False, 0.0, 0.0, False


@reascript("GetMediaItemTake_Source")
def take_source(host: Any, take: Take) -> Source | None:
    return take.source


@reascript("SetMediaItemTake_Source")
def set_take_source(host: Any, take: Take, source: Source) -> bool:
    """The take owns the source from now on; a source cannot belong to two takes."""
    owners = [
        one
        for project in host.projects
        for track in project.tracks
        for item in track.items
        for one in item.takes
        if one.source is source and one is not take
    ]
    if owners:
        raise BadCall("SetMediaItemTake_Source: another take owns this source; make a new one for each take.")
    take.source = source
    return True
