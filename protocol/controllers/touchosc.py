"""A layout for TouchOSC (the 2021 app): a ``.tosc`` file, which is XML in zlib. Pure, and the same bytes every time.

Buttons and faders are plain OSC messages that can be edited in the app. A script on the root subscribes, renews that,
and writes what the daemon tells into labels and faders; it leaves a fader alone while a finger is on it.

Format: as files saved by the app have it, version 3, which newer apps read too; there is no published description.
Scripting: https://hexler.net/touchosc/manual/script
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol.controllers import surface
from protocol.controllers.surface import Button, Fader

NAME: Final = "stembridge.tosc"
WIDTH, HEIGHT = 1024, 768
_VERSION, _CONNECTION_1 = "3", "00001"
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/stembridge/touchosc")
_HORIZONTAL = 1
_CENTRED, _LEFT = 2, 1

Colour = tuple[float, float, float, float]
_GROUND: Colour = (0.07, 0.08, 0.10, 1.0)
_BLUE: Colour = (0.30, 0.55, 0.85, 1.0)
_GREEN: Colour = (0.25, 0.65, 0.45, 1.0)
_RED: Colour = (0.85, 0.25, 0.25, 1.0)
_GREY: Colour = (0.45, 0.48, 0.52, 1.0)
_WHITE: Colour = (1.0, 1.0, 1.0, 1.0)
_NONE: Colour = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Frame:
    """In points, from the top left corner."""

    x: int
    y: int
    w: int
    h: int


def render() -> bytes:
    """The file."""
    return zlib.compress(xml().encode(), 9)


def xml() -> str:
    """What is in the file."""
    children = "".join([*_displays(), *_verbs(), *_faders(), *_jobs(), *_live()])
    properties = _looks("stembridge", _Frame(0, 0, WIDTH, HEIGHT), _GROUND) + _text("script", script())
    root = _node("stembridge", "GROUP", properties, _value("touch", "false"), children=children)
    return f"<?xml version='1.0' encoding='UTF-8'?><lexml version='{_VERSION}'>{root}</lexml>"


# --- what stands where ------------------------------------------------------------------------------------------------
def _displays() -> list[str]:
    shown, width = [], WIDTH // len(surface.DISPLAYS)
    for index, display in enumerate(surface.DISPLAYS):
        x = index * width
        shown.append(_label(f"{display.name}_title", _Frame(x + 8, 8, width - 16, 24), display.label, 14, _GREY))
        shown.append(_label(display.name, _Frame(x + 8, 32, width - 16, 40), "-", 22))
    return shown


def _verbs() -> list[str]:
    return [
        *_row(surface.VERBS, 88, 72, _BLUE, 18),
        _label("add_title", _Frame(8, 172, 300, 22), "Add one instrument", 14, _GREY, _LEFT),
        *_row(surface.ADD, 194, 52, _GREEN, 11),
        _label("take_out_title", _Frame(8, 252, 300, 22), "Take one instrument out of the mix", 14, _GREY, _LEFT),
        *_row(surface.TAKE_OUT, 274, 52, _GREY, 11),
    ]


def _faders() -> list[str]:
    shown = []
    for index, fader in enumerate(surface.FADERS):
        y = 344 + index * 58
        shown.append(_label(f"{fader.name}_title", _Frame(8, y, 130, 48), fader.label, 18, _WHITE, _LEFT))
        shown.append(_fader(fader, _Frame(146, y, 634, 48)))
        shown.append(_label(f"{fader.name}_value", _Frame(788, y, 120, 48), fader.shown, 20))
        if fader.may_be_unset:
            shown += _press(fader.unset, _Frame(916, y, 100, 48), _GREY, 16)
    return shown


def _jobs() -> list[str]:
    return [
        _label("job", _Frame(8, 584, 420, 40), "no job yet", 18, _WHITE, _LEFT),
        _bar("progress", _Frame(436, 584, 472, 40)),
        *_press(surface.CANCEL, _Frame(916, 584, 100, 40), _RED, 14),
        _label("message", _Frame(8, 628, 1008, 36), "", 16, _GREY, _LEFT),
    ]


def _live() -> list[str]:
    return [
        _label("live", _Frame(8, 684, 572, 72), "no live run yet", 18, _GREY, _LEFT),
        *_row(surface.LIVE, 684, 72, _BLUE, 20, left=588),
    ]


def _row(buttons: Sequence[Button], y: int, height: int, colour: Colour, size: int, left: int = 0) -> list[str]:
    width = (WIDTH - left) // len(buttons)
    shown = []
    for index, button in enumerate(buttons):
        frame = _Frame(left + index * width + 4, y, width - 8, height)
        shown += _press(button, frame, _RED if button.warns else colour, size)
    return shown


# --- controls ---------------------------------------------------------------------------------------------------------
def _press(button: Button, frame: _Frame, colour: Colour, size: int) -> list[str]:
    """A momentary button, and its caption, which lets touches through."""
    properties = _looks(button.name, frame, colour, is_touched=True) + _whole("buttonType", 0)
    properties += _flag("press", True) + _flag("release", True) + _flag("valuePosition", False)
    arguments = "".join(_partial("CONSTANT", "STRING", arg) for arg in button.args)
    message = _osc(button.path, "RISE", arguments)
    control = _node(button.name, "BUTTON", properties, _value("x", "0") + _value("touch", "false"), message)
    return [control, _label(f"{button.name}_caption", frame, button.label, size)]


def _fader(fader: Fader, frame: _Frame) -> str:
    properties = _looks(fader.name, frame, _BLUE, is_touched=True, orientation=_HORIZONTAL) + _bar_looks(True)
    conversion = "INTEGER" if fader.whole else "FLOAT"
    message = _osc(fader.path, "ANY", _partial("VALUE", conversion, "x", fader.low, fader.high))
    start = (fader.start - fader.low) / (fader.high - fader.low)
    return _node(fader.name, "FADER", properties, _value("x", f"{start:g}") + _value("touch", "false"), message)


def _bar(name: str, frame: _Frame) -> str:
    properties = _looks(name, frame, _GREEN, orientation=_HORIZONTAL) + _bar_looks(False)
    return _node(name, "FADER", properties, _value("x", "0") + _value("touch", "false"))


def _bar_looks(cursor: bool) -> str:
    return (
        _flag("bar", True)
        + _whole("barDisplay", 0)
        + _flag("cursor", cursor)
        + _whole("cursorDisplay", 0)
        + _flag("grid", False)
        + _whole("response", 0)
        + _whole("responseFactor", 100)
    )


def _label(name: str, frame: _Frame, text: str, size: int, colour: Colour = _WHITE, align: int = _CENTRED) -> str:
    properties = _looks(name, frame, _NONE, background=False) + _whole("font", 0) + _whole("textSize", size)
    properties += _whole("textAlignH", align) + _whole("textAlignV", 2) + _colour("textColor", colour)
    properties += _flag("textClip", True) + _whole("textLength", 0)
    return _node(name, "LABEL", properties, _value("text", text) + _value("touch", "false"))


def _looks(
    name: str,
    frame: _Frame,
    colour: Colour,
    *,
    background: bool = True,
    is_touched: bool = False,
    orientation: int = 0,
) -> str:
    """The properties that every control has."""
    place = f"<x>{frame.x}</x><y>{frame.y}</y><w>{frame.w}</w><h>{frame.h}</h>"
    return (
        _text("name", name)
        + _property("r", "frame", place)
        + _colour("color", colour)
        + _flag("background", background)
        + _flag("outline", is_touched)
        + _whole("outlineStyle", 0)
        + _property("f", "cornerRadius", "3")
        + _flag("interactive", is_touched)
        + _flag("grabFocus", is_touched)
        + _flag("locked", False)
        + _flag("visible", True)
        + _whole("orientation", orientation)
        + _whole("pointerPriority", 0)
        + _whole("shape", 1)
    )


# --- XML --------------------------------------------------------------------------------------------------------------
def _node(name: str, kind: str, properties: str, values: str, messages: str = "", children: str = "") -> str:
    inside = f"<properties>{properties}</properties><values>{values}</values>"
    inside += f"<messages>{messages}</messages>" if messages else ""
    inside += f"<children>{children}</children>" if children else ""
    return f"<node ID='{uuid.uuid5(_IDS, name)}' type='{kind}'>{inside}</node>"


def _osc(path: str, condition: str, arguments: str) -> str:
    flags = "<enabled>1</enabled><send>1</send><receive>0</receive><feedback>0</feedback>"
    trigger = f"<triggers><trigger><var>{_quoted('x')}</var><condition>{condition}</condition></trigger></triggers>"
    where = f"<path>{_partial('CONSTANT', 'STRING', path)}</path>"
    what = f"<arguments>{arguments}</arguments>"
    return f"<osc>{flags}<connections>{_CONNECTION_1}</connections>{trigger}{where}{what}</osc>"


def _partial(kind: str, conversion: str, value: str, low: float = 0.0, high: float = 1.0) -> str:
    span = f"<scaleMin>{low:g}</scaleMin><scaleMax>{high:g}</scaleMax>"
    what = f"<type>{kind}</type><conversion>{conversion}</conversion><value>{_quoted(value)}</value>"
    return f"<partial>{what}{span}</partial>"


def _value(key: str, default: str) -> str:
    locks = "<locked>0</locked><lockedDefaultCurrent>0</lockedDefaultCurrent>"
    start = f"<default>{_quoted(default)}</default><defaultPull>0</defaultPull>"
    return f"<value><key>{_quoted(key)}</key>{locks}{start}</value>"


def _property(kind: str, key: str, value: str) -> str:
    return f"<property type='{kind}'><key>{_quoted(key)}</key><value>{value}</value></property>"


def _text(key: str, value: str) -> str:
    return _property("s", key, _quoted(value))


def _whole(key: str, value: int) -> str:
    return _property("i", key, str(value))


def _flag(key: str, value: bool) -> str:
    return _property("b", key, str(int(value)))


def _colour(key: str, colour: Colour) -> str:
    red, green, blue, alpha = (f"{part:g}" for part in colour)
    return _property("c", key, f"<r>{red}</r><g>{green}</g><b>{blue}</b><a>{alpha}</a>")


def _quoted(text: str) -> str:
    assert "]]>" not in text
    return f"<![CDATA[{text}]]>"


# --- the script -------------------------------------------------------------------------------------------------------
def script() -> str:
    """Lua 5.1, for the root."""
    rows = (
        f"  ['set/{fader.name}'] = {{name = '{fader.name}', low = {fader.low:g}, high = {fader.high:g}}},"
        for fader in surface.FADERS
    )
    return _SCRIPT.format(
        faders="\n".join(rows),
        unset=surface.UNSET,
        subscribe=surface.SUBSCRIBE,
        ttl=surface.TTL_S,
        renewed_ms=1000 * surface.RENEWED_S,
        port=surface.RECEIVE_PORT,
        state=surface.STATE,
        job=surface.JOB,
        progress=surface.PROGRESS,
        done=surface.DONE,
        error=surface.ERROR,
        live=surface.LIVE_STATE,
    )


_SCRIPT = """\
local RECEIVE_PORT = {port} -- as in the app's connection
local faders = {{
{faders}
}}
local due = 0

local function show(name, text)
  local control = self.children[name]
  if control then control.values.text = text end
end

local function turn(fader, text)
  show(fader.name .. '_value', text == '' and '{unset}' or text)
  local control, number = self.children[fader.name], tonumber(text)
  if control and number and not control.values.touch then
    control.values.x = (number - fader.low) / (fader.high - fader.low)
  end
end

local told = {{}}

told['{state}'] = function(name, value)
  local fader = faders[name]
  if fader then turn(fader, value) else show(name, value == '' and '-' or value) end
end

told['{job}'] = function(id, state, verb)
  show('job', verb .. ': ' .. state)
  if state ~= 'running' then self.children.progress.values.x = 0 end
  if state == 'queued' then show('message', '') end
end

told['{progress}'] = function(id, fraction, seconds_left)
  self.children.progress.values.x = fraction
  if seconds_left >= 0 then show('message', string.format('%d s left', math.ceil(seconds_left))) end
end

told['{done}'] = function(id, takes)
  self.children.progress.values.x = 1
  show('message', takes .. (takes == 1 and ' take' or ' takes'))
end

told['{error}'] = function(code, sentence)
  show('message', sentence)
end

told['{live}'] = function(run, state, bar, lead_bars, lead_s, phrases, loops, failed, quality, sentence)
  show('live', string.format('%s, bar %d, %.1f bars ahead %s', state, bar, lead_bars, sentence))
end

function onReceiveOSC(message)
  local tell, arguments, values = told[message[1]], message[2], {{}}
  if not tell then return false end
  for i = 1, #arguments do values[i] = arguments[i].value end
  tell(unpack(values))
  return true
end

function update()
  if getMillis() >= due then
    due = getMillis() + {renewed_ms}
    sendOSC('{subscribe}', 'ttl', {ttl}, 'port', RECEIVE_PORT)
  end
end
"""
