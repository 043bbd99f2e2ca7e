"""The controller layouts: what they send is understood, what they hear is sent, and the files are what is in docs/."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lupa import lua51

from protocol.address_space import OUTGOING, PREFIX, parse
from protocol.address_types import Command
from protocol.controllers import open_stage_control, surface, touchosc
from protocol.controllers.__main__ import FOLDER, files, main
from protocol.float32 import Single
from protocol.session import Session
from protocol.session_messages import fold
from protocol.vocabulary import Verb

EVERYWHERE = {
    **dict.fromkeys(("background", "grabFocus", "interactive", "locked", "outline", "visible"), "b"),
    **dict.fromkeys(("orientation", "outlineStyle", "pointerPriority", "shape"), "i"),
    "color": "c",
    "cornerRadius": "f",
    "frame": "r",
    "name": "s",
    "script": "s",
}
PROPERTIES = {
    "GROUP": {},
    "BUTTON": {"buttonType": "i", "press": "b", "release": "b", "valuePosition": "b"},
    "FADER": {
        **dict.fromkeys(("bar", "cursor", "grid"), "b"),
        **dict.fromkeys(("barDisplay", "cursorDisplay", "gridSteps", "response", "responseFactor"), "i"),
    },
    "LABEL": {
        **dict.fromkeys(("font", "textAlignH", "textAlignV", "textLength", "textSize"), "i"),
        "textClip": "b",
        "textColor": "c",
    },
}
"""The properties and their types, by control, that files have which the app itself saved (version 3)."""
VALUES = {"GROUP": {"touch"}, "BUTTON": {"touch", "x"}, "FADER": {"touch", "x"}, "LABEL": {"touch", "text"}}


def names(command: Command, at: Session | None = None) -> Session:
    """The session after a setting was sent; raises if its value is refused."""
    return fold(at or Session(), command, "controller", 0.0)


# --- the files --------------------------------------------------------------------------------------------------------
def test_the_files_in_docs_are_those_of_this_table() -> None:
    assert main(["--check"]) == 0
    assert {path.name for path in FOLDER.iterdir()} >= files().keys()


def test_a_check_writes_nothing_and_tells_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], tmp_path) == 1
    assert "run python -m protocol.controllers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / touchosc.NAME).write_bytes(b"no zlib")
    assert main(["--check"], tmp_path) == 1


def test_the_readme_names_every_file() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(name in text for name in files())


# --- the surface ------------------------------------------------------------------------------------------------------
def test_every_verb_can_be_asked_for_and_every_button_is_understood() -> None:
    commands = [parse(button.path, button.args) for button in surface.BUTTONS]
    assert {command.path for command in commands} >= {f"{PREFIX}/{verb}" for verb in Verb}
    for command in commands:
        if command.path.startswith(f"{PREFIX}/set/"):
            assert names(command).settings == {}


@pytest.mark.parametrize("fader", surface.FADERS, ids=lambda fader: fader.name)
def test_a_fader_sends_its_whole_range_and_nothing_that_is_refused(fader: surface.Fader) -> None:
    for step in range(101):
        value = fader.low + (fader.high - fader.low) * step / 100
        sent = round(value) if fader.whole else Single.of(struct.unpack(">f", struct.pack(">f", value))[0])
        held = names(parse(fader.path, (sent,))).settings[fader.name]
        assert abs(float(str(held)) - value) <= (0.5 if fader.whole else 0.5 * 10**-fader.decimals + 1e-6)


def test_what_is_shown_is_named_as_the_session_names_it() -> None:
    fields = {"tempo", "timesig", "key", "region", "position"}
    assert {display.name for display in surface.DISPLAYS} == fields


# --- TouchOSC ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def layout() -> ET.Element:
    root = ET.fromstring(zlib.decompress(touchosc.render()))
    assert (root.tag, root.get("version")) == ("lexml", "3")
    return root


def described(node: ET.Element) -> dict[str, str]:
    return {str(p.findtext("key")): str(p.findtext("value")) for p in node.findall("properties/property")}


def test_a_layout_has_the_structure_of_files_that_the_app_saves(layout: ET.Element) -> None:
    assert [node.get("type") for node in layout.findall("node")] == ["GROUP"]
    nodes = list(layout.iter("node"))
    assert len({node.get("ID") for node in nodes}) == len({described(node)["name"] for node in nodes}) == len(nodes)
    for node in nodes:
        kind = str(node.get("type"))
        allowed = EVERYWHERE | PROPERTIES[kind]
        shown = {str(p.findtext("key")): p.get("type") for p in node.findall("properties/property")}
        assert shown.items() <= allowed.items()
        assert {str(v.findtext("key")) for v in node.findall("values/value")} == VALUES[kind]
        assert [child.tag for child in node] == [
            tag for tag in ("properties", "values", "messages", "children") if node.find(tag) is not None
        ]


def test_nothing_lies_over_anything_that_is_touched_or_off_the_screen(layout: ET.Element) -> None:
    touched = []
    for node in layout.iter("node"):
        frame = node.find("properties/property[@type='r']/value")
        assert frame is not None
        x, y, w, h = (int(str(frame.findtext(side))) for side in "xywh")
        assert min(x, y) >= 0
        assert x + w <= touchosc.WIDTH
        assert y + h <= touchosc.HEIGHT
        if described(node)["interactive"] == "1":
            touched.append((x, y, w, h))
    assert len(touched) == len(surface.BUTTONS) + len(surface.FADERS)
    for index, (x, y, w, h) in enumerate(touched):
        assert min(w, h) >= 40, "a finger must hit it"
        for other in touched[index + 1 :]:
            assert x + w <= other[0] or other[0] + other[2] <= x or y + h <= other[1] or other[1] + other[3] <= y


def messages(layout: ET.Element) -> Iterator[tuple[str, list[Any], str]]:
    """What each control sends when it is pressed or moved to its end: path, arguments and when."""
    for osc in layout.iter("osc"):
        path = "".join(str(part.findtext("value")) for part in osc.findall("path/partial"))
        args: list[Any] = []
        for part in osc.findall("arguments/partial"):
            if part.findtext("type") == "CONSTANT":
                args.append(part.findtext("value") or "")
            else:
                number = float(str(part.findtext("scaleMax")))
                args.append(int(number) if part.findtext("conversion") == "INTEGER" else number)
        yield path, args, str(osc.findtext("triggers/trigger/condition"))


def test_what_the_touchosc_layout_sends_is_the_surfaces(layout: ET.Element) -> None:
    sent = list(messages(layout))
    buttons = [(path, tuple(args)) for path, args, when in sent if when == "RISE"]
    faders = [(path, args) for path, args, when in sent if when == "ANY"]
    assert sorted(buttons) == sorted((button.path, button.args) for button in surface.BUTTONS)
    assert sorted(faders) == sorted((fader.path, [fader.high]) for fader in surface.FADERS)


class TouchOsc:
    """What the app gives to a script: the controls, a clock and a way to send."""

    def __init__(self, layout: ET.Element) -> None:
        self.lua = lua51.LuaRuntime(unpack_returned_tuples=True)
        self.sent: list[tuple[Any, ...]] = []
        self.now_ms = 0
        controls = self.lua.table()
        for node in layout.iter("node"):
            controls[described(node)["name"]] = self.lua.table(values=self.lua.table(touch=False))
        self.controls = controls
        world = self.lua.globals()
        world.self = self.lua.table(children=controls)
        world.sendOSC = lambda *sent: self.sent.append(sent)
        world.getMillis = lambda: self.now_ms
        self.lua.execute(touchosc.script())

    def hear(self, name: str, *values: Any) -> bool:
        args = self.lua.table_from([self.lua.table(tag="?", value=value) for value in values])
        taken: bool = self.lua.globals().onReceiveOSC(self.lua.table(f"{PREFIX}/{name}", args), self.lua.table())
        return taken

    def shows(self, name: str) -> Any:
        return self.controls[name]["values"]["text"]

    def x_of(self, name: str) -> Any:
        return self.controls[name]["values"]["x"]


@pytest.fixture
def app(layout: ET.Element) -> TouchOsc:
    return TouchOsc(layout)


def test_the_script_subscribes_and_renews_it_in_time(app: TouchOsc) -> None:
    for _ in range(3600):
        app.lua.globals().update()
        app.now_ms += 17
    assert len(app.sent) == 4
    path, *args = app.sent[0]
    assert parse(path, args).options == {"ttl": surface.TTL_S, "port": surface.RECEIVE_PORT}
    assert surface.RENEWED_S * 2 < surface.TTL_S


def test_the_script_shows_what_the_daw_tells(app: TouchOsc) -> None:
    assert app.hear("session/state", "tempo", "97.53", "reaper", 0.0)
    assert app.shows("tempo") == "97.53"
    app.hear("session/state", "key", "", "reaper", 0.0)
    assert app.shows("key") == "-"
    assert app.hear("session/state", "source", "/a/file.wav", "reaper", 0.0)


def test_a_fader_follows_what_was_set_elsewhere_but_not_under_a_finger(app: TouchOsc) -> None:
    app.hear("session/state", "set/strength", "0.25", "osc", 0.0)
    assert (app.x_of("strength"), app.shows("strength_value")) == (0.25, "0.25")
    app.hear("session/state", "set/steps", "300", "osc", 0.0)
    assert app.x_of("steps") == 1.0
    app.controls["strength"]["values"]["touch"] = True
    app.hear("session/state", "set/strength", "0.9", "osc", 0.0)
    assert (app.x_of("strength"), app.shows("strength_value")) == (0.25, "0.9")
    app.hear("session/state", "set/steps", "", "osc", 0.0)
    assert (app.x_of("steps"), app.shows("steps_value")) == (1.0, surface.UNSET)


def test_the_script_tells_the_story_of_a_job(app: TouchOsc) -> None:
    app.hear("job/state", "a", "running", "repaint")
    app.hear("job/progress", "a", 0.5, 11.2)
    assert (app.shows("job"), app.x_of("progress"), app.shows("message")) == ("repaint: running", 0.5, "12 s left")
    app.hear("job/state", "a", "done", "repaint")
    app.hear("job/done", "a", 2, "/p/manifest.json")
    assert (app.shows("job"), app.x_of("progress"), app.shows("message")) == ("repaint: done", 1, "2 takes")
    app.hear("error", "bad_region", "There is no region: select one.", "/stembridge/repaint")
    assert app.shows("message") == "There is no region: select one."
    app.hear("live/state", "r", "running", 17, 3.5, 7.0, 4, 0, 0, 0, "All is well.")
    assert app.shows("live") == "running, bar 17, 3.5 bars ahead All is well."


def test_the_script_takes_whatever_the_daemon_sends(app: TouchOsc) -> None:
    for path, row in OUTGOING.items():
        values = [{"text": "x"}.get(str(arg.kind), 1) for arg in row.args]
        assert app.hear(path.removeprefix(f"{PREFIX}/"), *values) in (True, False)


# --- Open Stage Control -----------------------------------------------------------------------------------------------
def widgets(widget: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield widget
    for child in widget.get("widgets", []):
        yield from widgets(child)


@pytest.fixture(scope="module")
def session() -> list[dict[str, Any]]:
    whole = json.loads(open_stage_control.render())
    assert (whole["type"], whole["content"]["type"]) == ("session", "root")
    return list(widgets(whole["content"]))


def test_what_the_session_sends_is_the_surfaces(session: list[dict[str, Any]]) -> None:
    assert len({widget["id"] for widget in session}) == len(session)
    buttons = set()
    for widget in session:
        if widget["type"] == "button":
            args = (*widget["preArgs"], widget["on"]) if widget["mode"] == "tap" else ()
            assert widget.get("typeTags", "") == "s" * len(args)
            assert widget["label"] != "auto"  # which the app takes for: show the id
            buttons.add((widget["address"], args))
    assert buttons == {(button.path, button.args) for button in surface.BUTTONS}
    ranges = {w["address"]: w["range"] for w in session if w["type"] == "fader" and not w.get("bypass")}
    assert ranges == {fader.path: {"min": fader.low, "max": fader.high} for fader in surface.FADERS}


def test_what_the_session_listens_to_is_sent_and_what_it_writes_to_is_there(session: list[dict[str, Any]]) -> None:
    known = {widget["id"] for widget in session}
    scripts = [widget for widget in session if widget["type"] == "script"]
    assert {widget["address"] for widget in scripts if "address" in widget} <= OUTGOING.keys()
    assert {display.name for display in surface.DISPLAYS} <= known
    assert {f"{fader.name}_value" for fader in surface.FADERS} <= known
    assert {"job", "progress", "message", "live"} <= known


def test_only_what_shall_send_can_send(session: list[dict[str, Any]]) -> None:
    for widget in session:
        sends = widget["type"] == "button" or (widget["type"] == "fader" and widget["id"] != "progress")
        quiet = widget.get("bypass") or widget["type"] == "root" or "onCreate" in widget
        assert sends != bool(quiet), widget["id"]
