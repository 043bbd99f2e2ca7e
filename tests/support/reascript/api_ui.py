"""What REAPER shows and asks, actions and their states, extended state, and facts about the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.reascript.actions import action
from tests.support.reascript.calls import type_name
from tests.support.reascript.errors import BadCall, NotModelled, Unbalanced
from tests.support.reascript.model import Project, new_guid
from tests.support.reascript.registry import reascript
from tests.support.reascript.signatures import signatures

LUA_ONLY = {"defer", "runloop", "atexit", "get_action_context", "gmem_attach", "gmem_read", "gmem_write", "new_array",
            "set_action_options"}  # fmt: skip
"""Parts of ReaScript's Lua that are not in REAPER's C API: whether APIExists knows them is not documented."""

SCREEN = (0, 0, 1920, 1080)
TASK_BAR = 40
"""Pixels."""


@reascript("APIExists")
def api_exists(host: Any, name: str) -> bool:
    if name in LUA_ONLY:
        raise BadCall(f"APIExists may say no of the Lua built-in {name}: ask `if reaper.{name} then`")
    return name in signatures() and host.exists(name)


@reascript("ValidatePtr2")
def validate_pointer(_host: Any, project: Project, record: Any, wanted: str) -> bool:
    """Whether it is alive, of that type, and in that project."""
    if not wanted.endswith("*"):
        raise BadCall(f"the type {wanted!r} must end in an asterisk, as in MediaTrack*")
    if record is None or type_name(record) != wanted[:-1] or not getattr(record, "alive", True):
        return False
    owner = _owner(record)
    return owner in (None, project) or record is owner


@reascript("ValidatePtr")
def validate_pointer_active(host: Any, record: Any, wanted: str) -> bool:
    return validate_pointer(host, host.active, record, wanted)


def _owner(record: Any) -> Project | None:
    """The project of a track, item or take; None of what is in no project."""
    for name in ("item", "track", "project"):
        record = getattr(record, name, record)
    return record if isinstance(record, Project) and type_name(record) == "ReaProject" else None


@reascript("PreventUIRefresh")
def prevent_refresh(host: Any, count: int) -> None:
    if host.ui_refresh + count < 0:
        raise Unbalanced("PreventUIRefresh is let go more often than it was held")
    host.ui_refresh += count


@reascript("UpdateArrange")
def update_arrange(_host: Any) -> None:
    """A redraw."""


@reascript("UpdateTimeline")
def update_timeline(_host: Any) -> None:
    """A redraw."""


@reascript("RefreshToolbar2")
def refresh_toolbar(_host: Any, _section: int, _command: int) -> None:
    """A redraw."""


@reascript("MB")
def message_box(host: Any, message: str, title: str, kind: int) -> int:
    """The test's answer must be a button that the box has."""
    buttons = {0: (1,), 1: (1, 2), 2: (3, 4, 5), 3: (6, 7, 2), 4: (6, 7), 5: (4, 2)}
    if kind not in buttons:
        raise BadCall(f"MB has no type {kind}")
    host.shown.append(message)
    answer = host.answers.take("boxes", f"{title}: {message}")
    if answer not in buttons[kind]:
        raise BadCall(f"the test presses {answer}, but a box of type {kind} has {buttons[kind]}")
    return answer


@reascript("ShowMessageBox")
def show_message_box(host: Any, message: str, title: str, kind: int) -> int:
    return message_box(host, message, title, kind)


@reascript("ShowConsoleMsg")
def show_console(host: Any, message: str) -> None:
    host.console += message


@reascript("GetUserInputs")
def user_inputs(host: Any, title: str, count: int, captions: str, values: str) -> tuple[bool, str]:
    """At most 16 fields. Captions may end in `extrawidth=N` and `separator=X`, which joins the values.

    Inside quotes and brackets of the values shown, REAPER sees no separator, closed or not.
    """
    if not 1 <= count <= 16:
        raise BadCall(f"GetUserInputs with {count} fields: 1 to 16 are possible")
    separator, names = ",", captions.split(",")
    while len(names) > count and names[-1].startswith(("separator=", "extrawidth=")):
        option, _, value = names.pop().partition("=")
        separator = value if option == "separator" else separator
    if len(names) != count or len(separator) != 1:
        raise BadCall(f"GetUserInputs: {count} fields, but the captions {names} (separator {separator!r})")
    shown = _fields(values, separator)
    host.inputs_shown.append((title, names, shown + [""] * (count - len(shown))))
    answer = host.answers.take("user_inputs", f"{title}: {names}, which show {shown}")
    if answer is None:
        return False, values
    joined = answer if isinstance(answer, str) else separator.join(answer)
    if joined.count(separator) != count - 1:
        raise BadCall(f"the test answers {answer!r} to {count} fields: {names}")
    return True, joined


def _fields(values: str, separator: str) -> list[str]:
    fields, quote, depth = [""], "", 0
    for char in values:
        if char == separator and not quote and not depth:
            fields.append("")
            continue
        if quote or char in "\"'":
            quote = "" if char == quote else quote or char
        elif char in "()":
            depth = max(0, depth + (1 if char == "(" else -1))
        fields[-1] += char
    return fields


@reascript("SetCursorContext")
def set_cursor_context(host: Any, mode: int, _envelope: Any) -> None:
    """Gives the focus to the tracks (0), the items (1) or an envelope (2)."""
    if mode not in FOCUS:
        raise BadCall(f"SetCursorContext({mode})")
    host.focus = FOCUS[mode]
    host.context = mode


FOCUS = {0: "tracks", 1: "arrange", 2: "envelope"}


@reascript("GetCursorContext2")
def cursor_context2(host: Any, _want_last_valid: bool) -> int:
    """Of the main window, whichever window has the focus."""
    return host.context


@reascript("GetCursorContext")
def cursor_context(host: Any) -> int:
    """-1 while another window has the focus."""
    return host.context if host.focus in FOCUS.values() else -1


@reascript("GetSelectedEnvelope")
def selected_envelope(_host: Any, _project: Project) -> None:
    """None is ever selected here."""


@reascript("my_getViewport")
def viewport(
    _host: Any, _a: int, _b: int, _c: int, _d: int, _left: int, _top: int, _right: int, _bottom: int, work: bool
) -> tuple[int, int, int, int]:
    """The one screen: left, top, right, bottom; `work` without the task bar."""
    return SCREEN[0], SCREEN[1], SCREEN[2], SCREEN[3] - (TASK_BAR if work else 0)


@reascript("Main_OnCommandEx")
def on_command(host: Any, command: int, _flag: int, project: Project) -> None:
    host.command(command, project)


@reascript("Main_OnCommand")
def on_command_active(host: Any, command: int, _flag: int) -> None:
    host.command(command, host.active)


@reascript("NamedCommandLookup")
def named_command(host: Any, name: str) -> int:
    return host.commands.lookup(name)


@reascript("ReverseNamedCommandLookup")
def command_name(host: Any, command: int) -> str | None:
    return host.commands.name(command)


@reascript("AddRemoveReaScript")
def add_remove_script(host: Any, add: bool, section: int, path: str, commit: bool) -> int:
    """The command id, or 0 where there is no such file."""
    if section != 0:
        raise NotModelled(f"AddRemoveReaScript in section {section}")
    return host.commands.add(Path(path), commit=commit) if add else host.commands.remove(Path(path))


@reascript("SetToggleCommandState")
def set_toggle(host: Any, _section: int, command: int, state: int) -> bool:
    host.toggles[command] = state
    return True


@reascript("GetToggleCommandStateEx")
def get_toggle(host: Any, _section: int, command: int) -> int:
    """-1: it has no state."""
    return host.toggles.get(command, -1)


@reascript("GetToggleCommandState")
def get_toggle_main(host: Any, command: int) -> int:
    return host.toggles.get(command, -1)


@reascript("SetExtState")
def set_ext_state(host: Any, section: str, key: str, value: str, persist: bool) -> None:
    host.ext_state.set(section, key, value, persist)


@reascript("GetExtState")
def get_ext_state(host: Any, section: str, key: str) -> str:
    return host.ext_state.get(section, key)


@reascript("HasExtState")
def has_ext_state(host: Any, section: str, key: str) -> bool:
    return host.ext_state.has(section, key)


@reascript("DeleteExtState")
def delete_ext_state(host: Any, section: str, key: str, persist: bool) -> None:
    host.ext_state.delete(section, key, persist)


@reascript("GetAppVersion")
def app_version(host: Any) -> str:
    return host.version


@reascript("GetOS")
def operating_system(host: Any) -> str:
    return host.os


@reascript("time_precise")
def time_precise(host: Any) -> float:
    return host.clock()


@reascript("genGuid")
def gen_guid(_host: Any) -> str:
    return new_guid()


@reascript("GetAudioDeviceInfo")
def audio_device(host: Any, attribute: str) -> tuple[bool, str]:
    """False while no device is open."""
    return attribute in host.audio_device, host.audio_device.get(attribute, "")


@reascript("format_timestr_pos")
def format_position(host: Any, position: float, _buffer: str, mode: int) -> str:
    if mode != 4:
        raise NotModelled(f"format_timestr_pos with mode {mode}: only samples (4)")
    rate = host.active.rate if host.active.values["PROJECT_SRATE_USE"] else int(host.audio_device["SRATE"])
    return str(int(position * rate + 0.5))


@reascript("ColorToNative")
def color_to_native(host: Any, red: int, green: int, blue: int) -> int:
    """0xBBGGRR on Windows, 0xRRGGBB elsewhere."""
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise BadCall(f"ColorToNative({red}, {green}, {blue}): 0 to 255")
    low, high = (red, blue) if host.os.startswith("Win") else (blue, red)
    return low | green << 8 | high << 16


@reascript("ColorFromNative")
def color_from_native(host: Any, color: int) -> tuple[int, int, int]:
    low, green, high = color & 255, color >> 8 & 255, color >> 16 & 255
    return (low, green, high) if host.os.startswith("Win") else (high, green, low)


@action(40635)
def remove_time_selection(_host: Any, project: Project) -> None:
    """Time selection: Remove (unselect) time selection."""
    project.time_selection = (0.0, 0.0)
