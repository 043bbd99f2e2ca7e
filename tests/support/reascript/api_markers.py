"""Markers and regions. An index counts both, in the order of time."""

from __future__ import annotations

from typing import Any

from tests.support.reascript.model import Marker, Project
from tests.support.reascript.registry import reascript


def ordered(project: Project) -> list[Marker]:
    return sorted(project.markers, key=lambda mark: (mark.start, mark.is_region, mark.number))


@reascript("CountProjectMarkers")
def count(_host: Any, project: Project) -> tuple[int, int, int]:
    regions = sum(mark.is_region for mark in project.markers)
    return len(project.markers), len(project.markers) - regions, regions


@reascript("EnumProjectMarkers3")
def enum(_host: Any, project: Project, index: int) -> tuple[int, bool, float, float, str, int, int]:
    """The next index first, 0 behind the last. A marker's end is 0."""
    marks = ordered(project)
    if not 0 <= index < len(marks):
        return 0, False, 0.0, 0.0, "", 0, 0
    mark = marks[index]
    return (
        index + 1,
        mark.is_region,
        mark.start,
        mark.end if mark.is_region else 0.0,
        mark.name,
        mark.number,
        mark.color,
    )


@reascript("EnumProjectMarkers2")
def enum2(host: Any, project: Project, index: int) -> tuple[int, bool, float, float, str, int]:
    return enum(host, project, index)[:6]


@reascript("EnumProjectMarkers")
def enum_active(host: Any, index: int) -> tuple[int, bool, float, float, str, int]:
    return enum(host, host.active, index)[:6]


@reascript("AddProjectMarker2")
def add(
    _host: Any, project: Project, is_region: bool, start: float, end: float, name: str, wanted: int, color: int
) -> int:
    """The number: the wanted one if it is free, else the next."""
    taken = {mark.number for mark in project.markers if mark.is_region == is_region}
    number = wanted if wanted >= 0 and wanted not in taken else max(taken, default=0) + 1
    project.markers.append(Marker(number, is_region, start, end if is_region else start, name, color))
    return number


@reascript("AddProjectMarker")
def add_plain(host: Any, project: Project, is_region: bool, start: float, end: float, name: str, wanted: int) -> int:
    return add(host, project, is_region, start, end, name, wanted, 0)


@reascript("DeleteProjectMarker")
def delete(_host: Any, project: Project, number: int, is_region: bool) -> bool:
    before = len(project.markers)
    project.markers[:] = [m for m in project.markers if (m.number, m.is_region) != (number, is_region)]
    return len(project.markers) < before


@reascript("GetLastMarkerAndCurRegion")
def last_and_current(_host: Any, project: Project, time: float) -> tuple[int, int]:
    """Indices of the last marker at or before `time` and of the region around it; -1 for none."""
    marker = region = -1
    for index, mark in enumerate(ordered(project)):
        if mark.is_region and mark.start <= time < mark.end:
            region = index
        elif not mark.is_region and mark.start <= time:
            marker = index
    return marker, region
