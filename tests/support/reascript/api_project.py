"""Projects and their tabs: paths, settings, time selection, cursor, playback, project extension state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.reascript.errors import BadCall, DoesNotExist
from tests.support.reascript.model import Project
from tests.support.reascript.registry import reascript


@reascript("EnumProjects")
def enum_projects(host: Any, index: int) -> tuple[Project | None, str]:
    """-1 is the active tab. The path is empty while the project was never saved."""
    if index == -1:
        project = host.active_or_none
    elif index >= 0:
        project = host.projects[index] if index < len(host.projects) else None
    else:
        raise BadCall(f"EnumProjects({index:#x}) is not modelled")
    return project, str(project.path or "") if project else ""


@reascript("SelectProjectInstance")
def select_project(host: Any, project: Project) -> None:
    host.active_or_none = project


@reascript("GetProjectPathEx")
def project_path(host: Any, project: Project) -> str:
    """The effective recording path; the default recording folder for an unsaved project. No trailing separator."""
    if project.path is None:
        return str(host.default_recordings)
    return str(project.path.parent / project.strings["RECORD_PATH"]).rstrip("/\\")


@reascript("GetProjectPath")
def active_project_path(host: Any) -> str:
    return project_path(host, host.active)


@reascript("GetProjectName")
def project_name(_host: Any, project: Project) -> str:
    return project.path.name if project.path else ""


@reascript("IsProjectDirty")
def is_dirty(_host: Any, project: Project) -> int:
    return int(project.dirty)


@reascript("Main_SaveProject")
def save_project(host: Any, project: Project, save_as: bool) -> None:
    """Asks for the file where there is none yet (`answers.saves`), then writes the .rpp."""
    if save_as or project.path is None:
        chosen = host.answers.take("saves", "save project")
        if chosen is None:
            return
        project.path = Path(chosen)
    from tests.support.reascript.rpp import dump

    project.path.parent.mkdir(parents=True, exist_ok=True)
    project.path.write_text(dump(project), encoding="utf-8", errors="surrogateescape")
    project.dirty = False


@reascript("GetProjectLength")
def project_length(_host: Any, project: Project) -> float:
    """Seconds to the end of the last item, marker or region."""
    items = [item.end for track in project.tracks for item in track.items]
    marks = [mark.end if mark.is_region else mark.start for mark in project.markers]
    return max(items + marks, default=0.0)


@reascript("GetSetProjectInfo")
def project_info(_host: Any, project: Project, name: str, value: float, is_set: bool) -> float:
    if name not in project.values:
        raise DoesNotExist(f"a project has no {name} (or the double lacks it)")
    if is_set:
        project.values[name] = value
    return project.values[name]


@reascript("GetSetProjectInfo_String")
def project_info_string(host: Any, project: Project, name: str, value: str, is_set: bool) -> tuple[bool, str]:
    if name in DERIVED:
        if is_set:
            raise BadCall(f"{name} is read-only")
        return True, DERIVED[name](host, project)
    if name not in project.strings:
        raise DoesNotExist(f"a project has no {name} (or the double lacks it)")
    if is_set:
        project.strings[name] = value
        return True, value
    return project.strings[name] != "", project.strings[name]  # that an empty one is told as true is not documented


def _render_targets(host: Any, project: Project) -> str:
    """The files that a render would write now, joined by semicolons."""
    from tests.support.reascript.api_render import targets

    return ";".join(map(str, targets(host, project)))


DERIVED: dict[str, Any] = {"PROJECT_NAME": project_name, "RENDER_TARGETS": _render_targets}
"""Strings that are computed: name -> function of (host, project)."""


@reascript("GetSet_LoopTimeRange2")
def loop_time_range(
    _host: Any, project: Project, is_set: bool, is_loop: bool, start: float, end: float, _seek: bool
) -> tuple[float, float]:
    if is_set:
        ordered = (min(start, end), max(start, end))
        if is_loop:
            project.loop = ordered
        else:
            project.time_selection = ordered
    return project.loop if is_loop else project.time_selection


@reascript("GetSet_LoopTimeRange")
def loop_time_range_active(
    host: Any, is_set: bool, is_loop: bool, start: float, end: float, seek: bool
) -> tuple[float, float]:
    return loop_time_range(host, host.active, is_set, is_loop, start, end, seek)


@reascript("GetSet_ArrangeView2")
def arrange_view(
    _host: Any, project: Project, is_set: bool, left: int, right: int, start: float, end: float
) -> tuple[float, float]:
    if (left, right) != (0, 0):
        raise BadCall("GetSet_ArrangeView2 is modelled for screen_x_start and screen_x_end 0 only")
    if is_set:
        project.view = (start, end)
    return project.view


@reascript("GetCursorPositionEx")
def cursor(_host: Any, project: Project) -> float:
    return project.cursor


@reascript("GetCursorPosition")
def cursor_active(host: Any) -> float:
    return host.active.cursor


@reascript("SetEditCurPos2")
def set_cursor(_host: Any, project: Project, position: float, _move_view: bool, seek: bool) -> None:
    project.cursor = max(position, 0.0)
    if seek and project.playing:
        project.play_position = project.cursor


@reascript("SetEditCurPos")
def set_cursor_active(host: Any, position: float, move_view: bool, seek: bool) -> None:
    set_cursor(host, host.active, position, move_view, seek)


@reascript("GetPlayStateEx")
def play_state(_host: Any, project: Project) -> int:
    return project.playing


@reascript("GetPlayState")
def play_state_active(host: Any) -> int:
    return host.active.playing


@reascript("GetPlayPositionEx")
def play_position(_host: Any, project: Project) -> float:
    """What is heard; where nothing plays, the cursor."""
    return project.play_position if project.playing else project.cursor


@reascript("Master_GetPlayRate")
def play_rate(_host: Any, project: Project) -> float:
    return project.play_rate


@reascript("GetPlayPosition2Ex")
def next_position(host: Any, project: Project) -> float:
    return play_position(host, project)


@reascript("GetPlayPosition")
def play_position_active(host: Any) -> float:
    return play_position(host, host.active)


@reascript("SetProjExtState")
def set_ext_state(_host: Any, project: Project, section: str, key: str, value: str) -> int:
    """No key: all of the section is deleted; no value: the key is."""
    if not section:
        raise BadCall("SetProjExtState needs an extension name")
    stored = project.ext_state.setdefault(section.lower(), {})
    if not key:
        stored.clear()
    elif not value:
        stored.pop(key.lower(), None)
    else:
        stored[key.lower()] = value
    if not stored:
        del project.ext_state[section.lower()]
    project.dirty = True
    return len(stored)


@reascript("GetProjExtState")
def get_ext_state(_host: Any, project: Project, section: str, key: str) -> tuple[int, str]:
    """1 and the value, or 0 and nothing."""
    stored = project.ext_state.get(section.lower(), {})
    return int(key.lower() in stored), stored.get(key.lower(), "")


@reascript("EnumProjExtState")
def enum_ext_state(_host: Any, project: Project, section: str, index: int) -> tuple[bool, str | None, str | None]:
    stored = list(project.ext_state.get(section.lower(), {}).items())
    return (True, *stored[index]) if 0 <= index < len(stored) else (False, None, None)
