"""A session for Open Stage Control: a JSON file. Pure, and the same text every time.

Buttons and faders are plain widgets that can be edited in the app. A script widget subscribes and renews that; one per
event writes what the daemon tells into texts and faders. Messages go to the server's default target (its ``--send``).

Format and scripting: https://openstagecontrol.ammd.net/docs/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from protocol.controllers import surface
from protocol.controllers.surface import Button, Fader

NAME: Final = "open-stage-control.json"
_VERSION = "1.30.0"
_GREEN, _RED, _GREY = "#2e9e6b", "#d64545", "#8a939c"

Widget = dict[str, Any]


def render() -> bytes:
    """The file."""
    return (json.dumps(session(), indent=2, ensure_ascii=False) + "\n").encode()


def session() -> Widget:
    """What is in the file."""
    rows = [
        _row("displays", 12, _displays()),
        _row("verbs", 11, [_press(button) for button in surface.VERBS]),
        _row("add", 9, [_text("add_title", "Add one"), *(_press(button, _GREEN) for button in surface.ADD)]),
        _row("take_out", 9, [_text("out_title", "Take out"), *(_press(button, _GREY) for button in surface.TAKE_OUT)]),
        _panel("faders", "vertical", 33, [_fader_row(fader) for fader in surface.FADERS]),
        _row("jobs", 8, [_text("job", "no job yet"), _bar(), _press(surface.CANCEL)]),
        _row("messages", 6, [_text("message", "", colorText=_GREY)]),
        _row("live_row", 12, [_text("live", "no live run yet"), *(_press(button) for button in surface.LIVE)]),
        *_scripts(),
    ]
    root = {"type": "root", "id": "root", "layout": "vertical", "colorBg": "#12151a", "padding": 4, "widgets": rows}
    return {"createdWith": "Open Stage Control", "version": _VERSION, "type": "session", "content": root}


# --- widgets ----------------------------------------------------------------------------------------------------------
def _row(name: str, percent: int, widgets: Sequence[Widget]) -> Widget:
    return _panel(name, "horizontal", percent, widgets)


def _panel(name: str, layout: str, percent: int, widgets: Sequence[Widget]) -> Widget:
    looks = {"layout": layout, "height": f"{percent}%", "scroll": False, "alphaStroke": 0, "padding": 3}
    return {"type": "panel", "id": name, "bypass": True, **looks, "innerPadding": False, "widgets": list(widgets)}


def _displays() -> list[Widget]:
    return [
        _panel(f"{shown.name}_panel", "vertical", 100, [_title(shown.name, shown.label), _text(shown.name, "–")])
        | {"expand": True}
        for shown in surface.DISPLAYS
    ]


def _title(name: str, label: str) -> Widget:
    return _text(f"{name}_title", label, colorText=_GREY) | {"expand": False, "height": "40%"}


def _text(name: str, text: str, **looks: Any) -> Widget:
    return {"type": "text", "id": name, "default": text, "bypass": True, "expand": True, "wrap": "soft", **looks}


def _press(button: Button, colour: str = "auto") -> Widget:
    """Without arguments a momentary button, which sends the address alone; else one that sends what `on` says."""
    widget: Widget = {"type": "button", "id": button.name, "label": button.label, "wrap": "soft", "expand": True}
    widget |= {"address": button.path, "mode": "tap" if button.args else "momentary", "alphaFillOff": 0.25}
    widget["colorWidget"] = _RED if button.warns else colour
    if button.args:
        *before, last = button.args
        widget |= {"preArgs": before, "on": last, "typeTags": "s" * len(button.args)}
    return widget


def _fader_row(fader: Fader) -> Widget:
    value = _text(f"{fader.name}_value", fader.shown) | {"expand": False, "width": "12%"}
    unset = [_press(fader.unset) | {"expand": False, "width": "10%"}] if fader.may_be_unset else []
    title = _text(f"{fader.name}_title", fader.label) | {"expand": False, "width": "14%"}
    row = _row(f"{fader.name}_row", 25, [title, _fader(fader), value, *unset])
    return row | {"expand": True, "height": "auto"}


def _fader(fader: Fader) -> Widget:
    number = int if fader.whole else float
    widget: Widget = {"type": "fader", "id": fader.name, "horizontal": True, "design": "compact", "expand": True}
    widget |= {"address": fader.path, "typeTags": "i" if fader.whole else "f", "decimals": fader.decimals}
    widget |= {"range": {"min": number(fader.low), "max": number(fader.high)}, "default": number(fader.start)}
    return widget | ({"steps": int(fader.high - fader.low) + 1} if fader.whole else {})


def _bar() -> Widget:
    looks = {"horizontal": True, "design": "compact", "expand": True, "colorWidget": _GREEN}
    return {"type": "fader", "id": "progress", "interaction": False, "bypass": True, **looks}


# --- scripts ----------------------------------------------------------------------------------------------------------
def _scripts() -> list[Widget]:
    faders = json.dumps([fader.name for fader in surface.FADERS])
    unset = json.dumps(surface.UNSET)
    displays = json.dumps([shown.name for shown in surface.DISPLAYS])
    return [
        _script("subscription", "", onCreate=_SUBSCRIBE),
        _script("hear_session", surface.STATE, onValue=_SESSION.format(faders=faders, displays=displays, unset=unset)),
        _script("hear_job", surface.JOB, onValue=_JOB),
        _script("hear_progress", surface.PROGRESS, onValue=_PROGRESS),
        _script("hear_done", surface.DONE, onValue=_DONE),
        _script("hear_error", surface.ERROR, onValue=_ERROR),
        _script("hear_live", surface.LIVE_STATE, onValue=_LIVE),
    ]


def _script(name: str, path: str, **scripts: str) -> Widget:
    return {"type": "script", "id": name, **({"address": path, "bypass": True} if path else {}), **scripts}


_SUBSCRIBE = f"""\
function subscribe() {{ send('{surface.SUBSCRIBE}', 'ttl', {surface.TTL_S}) }}
subscribe()
setInterval(subscribe, {1000 * surface.RENEWED_S})
"""

_SESSION = """\
var [name, text] = value
var setting = name.replace('set/', '')
if (name !== setting && {faders}.includes(setting)) {{
  set(setting + '_value', text === '' ? {unset} : text, {{send: false}})
  if (text !== '') set(setting, Number(text), {{send: false}})
}} else if ({displays}.includes(name)) {{
  set(name, text, {{send: false}})
}}
"""

_JOB = """\
var [id, state, verb] = value
set('job', verb + ': ' + state, {send: false})
if (state !== 'running') set('progress', 0, {send: false})
if (state === 'queued') set('message', '', {send: false})
"""

_PROGRESS = """\
var [id, fraction, left] = value
set('progress', fraction, {send: false})
if (left >= 0) set('message', Math.ceil(left) + ' s left', {send: false})
"""

_DONE = """\
set('progress', 1, {send: false})
set('message', value[1] + (value[1] === 1 ? ' take' : ' takes'), {send: false})
"""

_ERROR = """\
set('message', value[1], {send: false})
"""

_LIVE = """\
var [run, state, bar, lead] = value
set('live', state + ', bar ' + bar + ', ' + lead.toFixed(1) + ' bars ahead ' + value[9], {send: false})
"""
