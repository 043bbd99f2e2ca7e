"""Items: order, selection, properties, splitting, moving. The API never ripples.

A track's items are in the order of their positions (of their making, where two begin together), as REAPER lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.support.reascript.errors import BadCall
from tests.support.reascript.model import Item, Project, Take, Track, new_guid
from tests.support.reascript.properties import number, set_number, string
from tests.support.reascript.registry import reascript

STRINGS = ("P_NOTES",)


def project_items(project: Project) -> list[Item]:
    return [item for track in project.tracks for item in track.items]


def sort_items(track: Track) -> None:
    track.items.sort(key=lambda item: item.position)


def _selected(project: Project) -> list[Item]:
    return [item for item in project_items(project) if item.values["B_UISEL"]]


def _at(items: list[Item], index: int) -> Item | None:
    return items[index] if 0 <= index < len(items) else None


@reascript("CountMediaItems")
def count_items(_host: Any, project: Project) -> int:
    return len(project_items(project))


@reascript("GetMediaItem")
def get_item(_host: Any, project: Project, index: int) -> Item | None:
    return _at(project_items(project), index)


@reascript("CountTrackMediaItems")
def count_track_items(_host: Any, track: Track) -> int:
    return len(track.items)


@reascript("GetTrackNumMediaItems")
def num_track_items(_host: Any, track: Track) -> int:
    return len(track.items)


@reascript("GetTrackMediaItem")
def get_track_item(_host: Any, track: Track, index: int) -> Item | None:
    return _at(track.items, index)


@reascript("CountSelectedMediaItems")
def count_selected(_host: Any, project: Project) -> int:
    return len(_selected(project))


@reascript("GetSelectedMediaItem")
def get_selected(_host: Any, project: Project, index: int) -> Item | None:
    return _at(_selected(project), index)


@reascript("IsMediaItemSelected")
def is_selected(_host: Any, item: Item) -> bool:
    return bool(item.values["B_UISEL"])


@reascript("SetMediaItemSelected")
def set_selected(_host: Any, item: Item, selected: bool) -> None:
    item.values["B_UISEL"] = float(selected)


@reascript("SelectAllMediaItems")
def select_all(_host: Any, project: Project, selected: bool) -> None:
    for item in project_items(project):
        item.values["B_UISEL"] = float(selected)


@reascript("GetMediaItemTrack")
def item_track(_host: Any, item: Item) -> Track | None:
    return item.track


@reascript("GetMediaItem_Track")
def item_track2(_host: Any, item: Item) -> Track | None:
    return item.track


@reascript("GetMediaItemInfo_Value")
def item_value(_host: Any, item: Item, name: str) -> float:
    if name == "IP_ITEMNUMBER":
        return float(_track(item).items.index(item))
    if name == "I_CURTAKE":
        return float(item.active)
    return number("item", item.values, name)


@reascript("SetMediaItemInfo_Value")
def set_item_value(_host: Any, item: Item, name: str, value: float) -> bool:
    if name in ("D_LENGTH", "D_FADEINLEN", "D_FADEOUTLEN") and value < 0:
        raise BadCall(f"{name} {value} is negative")
    if name == "I_CURTAKE":
        if not 0 <= value < max(len(item.takes), 1):
            raise BadCall(f"I_CURTAKE {value} of {len(item.takes)} takes")
        item.active = int(value)
        return True
    set_number("item", item.values, name, value)
    if name == "D_POSITION":
        sort_items(_track(item))
    return True


@reascript("SetMediaItemPosition")
def set_position(host: Any, item: Item, position: float, _refresh: bool) -> bool:
    return set_item_value(host, item, "D_POSITION", position)


@reascript("SetMediaItemLength")
def set_length(host: Any, item: Item, length: float, _refresh: bool) -> bool:
    return set_item_value(host, item, "D_LENGTH", length)


@reascript("GetSetMediaItemInfo_String")
def item_string(_host: Any, item: Item, name: str, value: str, is_set: bool) -> tuple[bool, str]:
    return string("item", item, name, value, is_set, STRINGS)


def _track(item: Item) -> Track:
    assert item.track is not None
    return item.track


@reascript("AddMediaItemToTrack")
def add_item(_host: Any, track: Track) -> Item:
    """At time 0, without length and takes, with the user's default fades."""
    item = Item(track=track)
    track.items.append(item)
    sort_items(track)
    return item


@reascript("DeleteTrackMediaItem")
def delete_item(_host: Any, track: Track, item: Item) -> bool:
    if item not in track.items:
        return False
    track.items.remove(item)
    item.alive = False
    for take in item.takes:
        take.alive = False
    return True


@reascript("MoveMediaItemToTrack")
def move_item(_host: Any, item: Item, track: Track) -> bool:
    _track(item).items.remove(item)
    track.items.append(item)
    item.track = track
    sort_items(track)
    return True


@reascript("UpdateItemInProject")
def update_item(_host: Any, item: Item) -> None:
    """A redraw."""


@reascript("SplitMediaItem")
def split_item(host: Any, item: Item, position: float) -> Item | None:
    """The right part, None where `position` is not inside. With the host's `split_crossfade_s` as some users have it:
    the parts overlap by that much around the position and get automatic fades of that length."""
    if not item.position < position < item.end:
        return None
    right = _copy(item)
    end, overlap = item.end, host.split_crossfade_s / 2
    cut_left, cut_right = min(position + overlap, end), max(position - overlap, item.position)
    for take in right.takes:
        take.values["D_STARTOFFS"] += (cut_right - item.position) * take.values["D_PLAYRATE"]
    right.values |= {"D_POSITION": cut_right, "D_LENGTH": end - cut_right, "D_SNAPOFFSET": 0.0}
    item.values["D_LENGTH"] = cut_left - item.position
    item.values["D_FADEOUTLEN"] = right.values["D_FADEINLEN"] = 0.0
    item.values["D_FADEOUTLEN_AUTO"] = right.values["D_FADEINLEN_AUTO"] = cut_left - cut_right if overlap else -1.0
    track = _track(item)
    track.items.insert(track.items.index(item) + 1, right)
    sort_items(track)
    return right


def _copy(item: Item) -> Item:
    """A second item with the same takes over the same files, all with GUIDs and sources of their own."""
    twin = replace(
        item, guid=new_guid(), values=dict(item.values), strings=dict(item.strings), ext=dict(item.ext), takes=[]
    )
    twin.takes = list(_copies(item.takes, twin))
    return twin


def _copies(takes: list[Take], item: Item) -> Iterator[Take]:
    for take in takes:
        yield replace(
            take,
            source=take.source and replace(take.source),
            guid=new_guid(),
            values=dict(take.values),
            ext=dict(take.ext),
            fx=list(take.fx),
            item=item,
        )
