"""The scripts' side of the mailbox: what they write, find and leave alone, and how they start the daemon."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.job import checked_job_id
from tests.support.played_daemon import PlayedDaemon
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project

SCRIPTS = Path(__file__).parents[2] / "reaper_scripts" / "Stembridge"
LOADER = """
local here = debug.getinfo(1, "S").source:match("^@(.*[/\\\\])")
local app = dofile(here .. "lib/stembridge.lua")(reaper, gfx, here)
app.run(function() local box = assert(app.mailbox.open())
"""


class Desk:
    """A REAPER with the scripts in its (not plain ASCII) resource folder, and somebody who runs small ones."""

    def __init__(self, tmp_path: Path, lua: str) -> None:
        self.reaper = Reaper(tmp_path / "REAPER Gesänge ü", lua=lua)
        self.root = self.reaper.resource / "Scripts" / "Stembridge"
        shutil.copytree(SCRIPTS, self.root)
        self.folder = self.reaper.resource / "Stembridge" / "mailbox"
        self.daemon = PlayedDaemon(self.folder)
        self.project = self.reaper.open(Project(tmp_path / "Söngs" / "A.rpp"))

    def run(self, body: str) -> Any:
        """The body's value as JSON; `app` and `box` (the mailbox) are there."""
        script = self.root / "Test.lua"
        tell = f"reaper.SetExtState('test', 'result', app.json.encode((function() {body} end)()), false) end)"
        script.write_text(LOADER + tell, encoding="utf-8")
        self.reaper.ext_state.set("test", "result", "null")
        self.reaper.run(script)
        self.reaper.pump()
        return json.loads(self.reaper.ext_state.get("test", "result"))


@pytest.fixture(params=["5.3", "5.4"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(tmp_path, request.param)
    yield desk
    desk.reaper.check()


def test_a_request_carries_what_the_contract_asks_for(desk: Desk) -> None:
    id = desk.run("return box.post({ kind = 'request', verb = 'repaint', regions = app.json.array({}) })")
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", checked_job_id(id))
    (file,) = (desk.folder / "requests").iterdir()
    request = json.loads(file.read_bytes())
    assert file.name == f"{request['instance']}.{id}.json"
    assert re.fullmatch("[0-9a-f]{8}", request["instance"])
    assert abs(request["created"] - time.time()) < 60
    assert request["reaper"] == "7.28/linux-x86_64"
    expected = {"protocol": 1, "id": id, "kind": "request", "scripts": "0.1.0", "verb": "repaint", "regions": []}
    assert request.items() >= expected.items()
    assert desk.reaper.commands.path(desk.reaper.commands.lookup(request["doorbell"])) == (
        desk.root / "Stembridge_Watch jobs.lua"
    )


def test_the_instance_is_drawn_once_per_reaper(desk: Desk, tmp_path: Path) -> None:
    first = desk.run("return box.instance")
    assert desk.run("return box.instance") == first
    again = Reaper(desk.reaper.resource, lua=desk.reaper.lua)
    again.open(Project())
    again.run(desk.root / "Test.lua")
    assert json.loads(again.ext_state.get("test", "result")) not in (first, None)


def test_ids_differ_and_sort_in_the_order_in_which_they_were_drawn_also_within_a_second(desk: Desk) -> None:
    ids = desk.run("local ids = {} for i = 1, 50 do ids[i] = box.new_id() end return ids")
    assert len(set(ids)) == 50
    assert ids == sorted(ids)
    assert desk.run("return box.new_id()") > ids[-1]  # another script of the same REAPER


def test_waiting_taken_and_withdrawn(desk: Desk) -> None:
    post = "return box.post({ id = ID, kind = 'request', source = { files = { ID .. '.1.wav' } } })"
    ids = [desk.run(f"local ID = box.new_id() {post}") for _ in range(2)]
    audio = [desk.folder / "audio" / f"{id}.1.wav" for id in ids]
    for file in audio:
        file.write_bytes(b"RIFF")

    def listed(call: str) -> Any:
        return desk.run(f"local l = {{}} for i, w in ipairs(box.{call}()) do l[i] = w.id end return app.json.array(l)")

    assert listed("waiting") == sorted(ids)
    taken = desk.daemon.take()["id"]
    (other,) = set(ids) - {taken}
    assert listed("waiting") == [other]
    assert listed("taken") == [taken]
    assert desk.run(f"return {{ box.withdraw('{taken}'), box.withdraw('{other}'), box.withdraw('{other}') }}") == [
        False, True, False,
    ]  # fmt: skip
    assert [file.exists() for file in audio] == [id == taken for id in ids]


def test_an_answer_is_claimed_once_and_only_by_its_reaper(desk: Desk) -> None:
    id = desk.run("return box.post({ kind = 'request' })")
    request = desk.daemon.take()
    desk.daemon.answer(request, "done", warnings=["ü"])
    desk.daemon.answer(request | {"instance": "00000000"}, "done")
    (answer,) = desk.run("return box.answers()")
    assert (answer["id"], answer["warnings"]) == (id, ["ü"])
    claims = desk.run(f"local a = box.claim('{id}') return {{ a.id, box.claim('{id}') == nil, #box.answers() }}")
    assert claims == [id, True, 0]
    assert desk.daemon.unclaimed() == [f"{id}.claimed.json", f"{id}.json"]
    desk.run(f"box.finish('{id}')")
    assert desk.daemon.unclaimed() == [f"{id}.json"]


def test_files_that_are_not_answers_are_left_alone(desk: Desk) -> None:
    folder = desk.folder / "answers" / desk.run("return box.instance")
    for name, text in (("half.json", '{"id": "ha'), ("other.json", '{"id": "x"}'), ("n.json", "3"), ("a.json.tmp", "")):
        (folder / name).write_text(text)
    assert desk.run("return box.answers()") == {}
    assert len(list(folder.iterdir())) == 4


def test_results_of_others_are_found_after_half_a_minute(desk: Desk) -> None:
    desk.run("return box.post({ kind = 'request' })")
    request = desk.daemon.take()
    for instance, state, age_s in (("aaaaaaaa", "done", 35), ("bbbbbbbb", "done", 20), ("cccccccc", "failed", 99)):
        desk.daemon.answer(request | {"instance": instance}, state, updated=time.time() - age_s)
    desk.daemon.answer(request, "done", updated=time.time() - 99)
    found = desk.run("return box.others()")
    assert [other["instance"] for other in found] == ["aaaaaaaa"]


@pytest.mark.parametrize("written", ["{}\n", "\ufeff{}\r\nmore\r\n", "  {}  "])
def test_the_mailbox_is_where_the_installer_says(desk: Desk, tmp_path: Path, written: str) -> None:
    chosen = tmp_path / "mail box"
    desk.folder.parent.mkdir(exist_ok=True)
    (desk.folder.parent / "mailbox.txt").write_text(written.format(chosen), encoding="utf-8", newline="")
    assert desk.run("return box.folder") == str(chosen)
    assert (chosen / "requests").is_dir()


def test_a_mailbox_that_cannot_be_written_is_told_with_what_to_do(desk: Desk) -> None:
    desk.folder.mkdir(parents=True)
    (desk.folder / "requests").write_text("a file where the folder should be")
    sentence = desk.run("local id, sentence = box.post({ kind = 'hello' }) return sentence")
    assert str(desk.folder) in sentence
    assert "stembridge reaper install --mailbox" in sentence


def test_writing_never_replaces_a_file(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "kept.txt"
    file.write_text("first")
    assert desk.run(f"return app.files.write_new('{file}', 'second') == nil")
    assert desk.run(f"return app.files.rename('{file}', '{file}') == nil")
    assert file.read_text() == "first"
    assert list(tmp_path.glob("*.tmp")) == []


def test_windows_paths_keep_their_separators(desk: Desk) -> None:
    got = desk.run(
        r"local f = app.files return { f.join('C:\\Songs', 'A', 'a.rpp'), f.join('C:\\', 'A'), "
        r"f.join('/a/', 'b', 'c'), f.base('C:\\Songs\\a.wav'), f.dir('C:\\Songs\\a.wav'), f.base('a'), f.dir('a') }"
    )
    assert got == ["C:\\Songs\\A\\a.rpp", "C:\\A", "/a/b/c", "a.wav", "C:\\Songs", "a", ""]


def test_the_daemon_is_started_without_waiting_and_not_twice_in_half_a_minute(desk: Desk) -> None:
    desk.daemon.install()
    assert desk.run("return { app.daemon.start(), app.daemon.start() }") == [True, True]
    assert list(map(str, desk.reaper.executed)) == ['"/opt/stembridge/bin/stembridge" serve']
    assert desk.reaper.executed[0].timeout_ms == -1
    desk.reaper.pump(1, seconds=31)
    assert desk.run("return (app.daemon.start())") is True
    assert len(desk.reaper.executed) == 2


@pytest.mark.parametrize("start", [None, "{", "3", '{"command": ""}', '{"command": 7}'])
def test_without_a_start_command_the_user_is_told_how(desk: Desk, start: str | None) -> None:
    desk.folder.mkdir(parents=True)
    if start is not None:
        (desk.folder / "start.json").write_text(start)
    ok, sentence = desk.run("return { app.daemon.start() }")
    assert not ok
    assert "stembridge serve" in sentence
    assert "stembridge reaper install" in sentence
    assert desk.reaper.executed == []


def test_an_error_of_a_script_is_one_readable_box(desk: Desk) -> None:
    desk.reaper.answers.boxes = [1]
    desk.run("error('the sky fell')")
    (shown,) = desk.reaper.shown
    assert "Test.lua:" in shown
    assert "the sky fell" in shown
    assert "stembridge reaper install" in shown
    assert str(desk.root) not in shown
    assert desk.reaper.console == ""


def test_an_error_in_a_deferred_function_is_told_likewise(desk: Desk) -> None:
    desk.reaper.answers.boxes = [1]
    desk.run("app.defer(function() local x = nil; x.y = 1 end)")
    desk.reaper.pump(3)
    assert len(desk.reaper.shown) == 1
    assert desk.reaper.running == []


def test_every_module_is_loaded_once_and_no_global_is_written(desk: Desk) -> None:
    assert desk.run("return app.json == app.json and app.mailbox == box and rawget(_G, 'json') == nil") is True
