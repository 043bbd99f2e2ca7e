"""Takes of an item: the active one, properties, effects."""

from __future__ import annotations

from typing import Any

from tests.support.reascript.actions import action
from tests.support.reascript.api_items import project_items
from tests.support.reascript.errors import BadCall
from tests.support.reascript.model import Item, Project, Take, Track
from tests.support.reascript.properties import number, set_number, string
from tests.support.reascript.registry import reascript


def _item(take: Take) -> Item:
    assert take.item is not None
    return take.item


@reascript("CountTakes")
def count_takes(_host: Any, item: Item) -> int:
    return len(item.takes)


@reascript("GetMediaItemNumTakes")
def num_takes(_host: Any, item: Item) -> int:
    return len(item.takes)


@reascript("GetTake")
def get_take(_host: Any, item: Item, index: int) -> Take | None:
    return item.takes[index] if 0 <= index < len(item.takes) else None


@reascript("GetMediaItemTake")
def get_item_take(_host: Any, item: Item, index: int) -> Take | None:
    """-1 is the active take."""
    return get_take(_host, item, item.active if index == -1 else index)


@reascript("GetActiveTake")
def active_take(host: Any, item: Item) -> Take | None:
    return get_take(host, item, item.active)


@reascript("SetActiveTake")
def set_active_take(_host: Any, take: Take) -> None:
    _item(take).active = _item(take).takes.index(take)


@reascript("AddTakeToMediaItem")
def add_take(_host: Any, item: Item) -> Take:
    """Behind the others, not active (unless it is the first), without a source."""
    take = Take(item=item)
    item.takes.append(take)
    return take


@reascript("GetMediaItemTake_Item")
def take_item(_host: Any, take: Take) -> Item | None:
    return take.item


@reascript("GetMediaItemTake_Track")
def take_track(_host: Any, take: Take) -> Track | None:
    return _item(take).track


@reascript("GetMediaItemTakeByGUID")
def take_by_guid(_host: Any, project: Project, guid: str) -> Take | None:
    takes = (take for item in project_items(project) for take in item.takes)
    return next((take for take in takes if take.guid == guid), None)


@reascript("GetTakeName")
def take_name(_host: Any, take: Take) -> str:
    return take.name


@reascript("TakeIsMIDI")
def is_midi(_host: Any, take: Take) -> bool:
    return take.is_midi


@reascript("GetMediaItemTakeInfo_Value")
def take_value(_host: Any, take: Take, name: str) -> float:
    if name == "IP_TAKENUMBER":
        return float(_item(take).takes.index(take))
    return number("take", take.values, name)


@reascript("SetMediaItemTakeInfo_Value")
def set_take_value(_host: Any, take: Take, name: str, value: float) -> bool:
    if name == "D_PLAYRATE" and value <= 0:
        raise BadCall(f"D_PLAYRATE {value}")
    return set_number("take", take.values, name, value)


@reascript("GetSetMediaItemTakeInfo_String")
def take_string(_host: Any, take: Take, name: str, value: str, is_set: bool) -> tuple[bool, str]:
    return string("take", take, name, value, is_set, ())


@reascript("TakeFX_GetCount")
def fx_count(_host: Any, take: Take) -> int:
    return len(take.fx)


@reascript("TakeFX_GetEnabled")
def fx_enabled(_host: Any, take: Take, index: int) -> bool:
    return 0 <= index < len(take.fx) and take.fx[index].enabled


@action(40129)
def delete_active_take(_host: Any, project: Project) -> None:
    """Take: Delete active take from items (the selected ones). The last take of an item stays."""
    for item in project_items(project):
        if item.values["B_UISEL"] and len(item.takes) > 1:
            item.takes.pop(item.active).alive = False
            item.active = min(item.active, len(item.takes) - 1)
