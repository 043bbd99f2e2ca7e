"""Tracks: order, selection, folders, properties, effects, envelopes.

Folders follow I_FOLDERDEPTH (1 opens, negative closes that many); I_SELECTED and the selection are one thing.
"""

from __future__ import annotations

from typing import Any

from tests.support.reascript.errors import BadCall
from tests.support.reascript.model import Project, Track
from tests.support.reascript.properties import number, set_number, string
from tests.support.reascript.registry import reascript

STRINGS = ("P_RAZOREDITS", "P_ICON", "P_NOTES", "P_LANENAME:0")


def _at(tracks: list[Track], index: int) -> Track | None:
    return tracks[index] if 0 <= index < len(tracks) else None


def _selected(project: Project, with_master: bool) -> list[Track]:
    tracks = [project.master, *project.tracks] if with_master else project.tracks
    return [track for track in tracks if track.values["I_SELECTED"]]


@reascript("CountTracks")
def count_tracks(_host: Any, project: Project) -> int:
    return len(project.tracks)


@reascript("GetNumTracks")
def num_tracks(host: Any) -> int:
    return len(host.active.tracks)


@reascript("GetTrack")
def get_track(_host: Any, project: Project, index: int) -> Track | None:
    return _at(project.tracks, index)


@reascript("GetMasterTrack")
def master_track(_host: Any, project: Project) -> Track:
    return project.master


@reascript("GetTrackGUID")
def track_guid(_host: Any, track: Track) -> str:
    return track.guid


@reascript("GetTrackName")
def track_name(_host: Any, track: Track) -> tuple[bool, str]:
    """`Track N` where it has no name, `MASTER` for the master."""
    if track is _project(track).master:
        return True, "MASTER"
    return True, track.name or f"Track {_project(track).tracks.index(track) + 1}"


def _project(track: Track) -> Project:
    assert track.project is not None
    return track.project


@reascript("CountSelectedTracks2")
def count_selected2(_host: Any, project: Project, with_master: bool) -> int:
    return len(_selected(project, with_master))


@reascript("CountSelectedTracks")
def count_selected(_host: Any, project: Project) -> int:
    return len(_selected(project, False))


@reascript("GetSelectedTrack2")
def get_selected2(_host: Any, project: Project, index: int, with_master: bool) -> Track | None:
    return _at(_selected(project, with_master), index)


@reascript("GetSelectedTrack")
def get_selected(_host: Any, project: Project, index: int) -> Track | None:
    return _at(_selected(project, False), index)


@reascript("IsTrackSelected")
def is_selected(_host: Any, track: Track) -> bool:
    return bool(track.values["I_SELECTED"])


@reascript("SetTrackSelected")
def set_selected(_host: Any, track: Track, selected: bool) -> None:
    track.values["I_SELECTED"] = float(selected)


@reascript("SetOnlyTrackSelected")
def set_only_selected(host: Any, track: Track | None) -> None:
    project = _project(track) if track else host.active
    for other in (project.master, *project.tracks):
        other.values["I_SELECTED"] = float(other is track)


def depths(project: Project) -> list[int]:
    """How many folders each track is in."""
    depth, found = 0, []
    for track in project.tracks:
        found.append(depth)
        depth = max(depth + int(track.values["I_FOLDERDEPTH"]), 0)
    return found


@reascript("GetParentTrack")
def parent_track(_host: Any, track: Track) -> Track | None:
    project = _project(track)
    if track is project.master:
        return None
    levels = depths(project)
    index = project.tracks.index(track)
    for other in range(index - 1, -1, -1):
        if levels[other] < levels[index]:
            return project.tracks[other]
    return None


@reascript("GetTrackDepth")
def track_depth(_host: Any, track: Track) -> int:
    project = _project(track)
    return 0 if track is project.master else depths(project)[project.tracks.index(track)]


@reascript("GetMediaTrackInfo_Value")
def track_value(_host: Any, track: Track, name: str) -> float:
    project = _project(track)
    if name == "IP_TRACKNUMBER":
        return -1.0 if track is project.master else project.tracks.index(track) + 1.0
    if name in ("P_PARTRACK", "P_PROJECT"):
        raise BadCall(f"{name} is a pointer: use GetParentTrack, or keep the project")
    return number("track", track.values, name)


@reascript("SetMediaTrackInfo_Value")
def set_track_value(_host: Any, track: Track, name: str, value: float) -> bool:
    if name == "IP_TRACKNUMBER":
        raise BadCall("IP_TRACKNUMBER is read-only")
    return set_number("track", track.values, name, value)


@reascript("GetSetMediaTrackInfo_String")
def track_string(_host: Any, track: Track, name: str, value: str, is_set: bool) -> tuple[bool, str]:
    return string("track", track, name, value, is_set, STRINGS)


@reascript("GetTrackColor")
def track_color(_host: Any, track: Track) -> int:
    return int(track.values["I_CUSTOMCOLOR"])


@reascript("SetTrackColor")
def set_track_color(_host: Any, track: Track, color: int) -> None:
    track.values["I_CUSTOMCOLOR"] = float(color | 0x1000000)


@reascript("InsertTrackInProject")
def insert_track(_host: Any, project: Project, index: int, _flags: int) -> None:
    """Behind the last track if there are fewer. It takes no folder's end from its neighbours."""
    track = Track(project=project)
    project.tracks.insert(min(max(index, 0), len(project.tracks)), track)


@reascript("InsertTrackAtIndex")
def insert_track_active(host: Any, index: int, _defaults: bool) -> None:
    insert_track(host, host.active, index, 0)


@reascript("DeleteTrack")
def delete_track(host: Any, track: Track) -> None:
    if track is _project(track).master:
        raise BadCall("the master track cannot be deleted")
    host.delete_track(track)


@reascript("GetTrackNumSends")
def num_sends(_host: Any, _track: Track, _category: int) -> int:
    """Routing is not modelled."""
    return 0


@reascript("TrackList_AdjustWindows")
def adjust_windows(_host: Any, _minor: bool) -> None:
    pass


@reascript("TrackFX_GetCount")
def fx_count(_host: Any, track: Track) -> int:
    return len(track.fx)


@reascript("TrackFX_GetEnabled")
def fx_enabled(_host: Any, track: Track, index: int) -> bool:
    return 0 <= index < len(track.fx) and track.fx[index].enabled


@reascript("TrackFX_GetOffline")
def fx_offline(_host: Any, track: Track, index: int) -> bool:
    return 0 <= index < len(track.fx) and track.fx[index].offline


@reascript("TrackFX_GetFXName")
def fx_name(_host: Any, track: Track, index: int) -> tuple[bool, str]:
    return (True, track.fx[index].name) if 0 <= index < len(track.fx) else (False, "")


@reascript("TrackFX_GetInstrument")
def fx_instrument(_host: Any, track: Track) -> int:
    """The index of the first instrument, -1 without one."""
    return next((index for index, fx in enumerate(track.fx) if fx.is_instrument), -1)


class Envelope:
    """An active envelope of a track: that it is there is all that the model knows."""

    reascript_type = "TrackEnvelope"

    def __init__(self, track: Track, index: int) -> None:
        self.track = track
        self.index = index

    @property
    def alive(self) -> bool:
        return self.track.alive and self.index < self.track.envelopes


@reascript("CountTrackEnvelopes")
def count_envelopes(_host: Any, track: Track) -> int:
    return track.envelopes


@reascript("GetTrackEnvelope")
def get_envelope(host: Any, track: Track, index: int) -> Envelope | None:
    if not 0 <= index < track.envelopes:
        return None
    return host.envelopes.setdefault((id(track), index), Envelope(track, index))


@reascript("GetSetEnvelopeInfo_String")
def envelope_string(_host: Any, _envelope: Envelope, name: str, _value: str, is_set: bool) -> tuple[bool, str]:
    if is_set or name != "ACTIVE":
        raise BadCall(f"of an envelope only ACTIVE is modelled, to read: not {name}")
    return True, "1"
