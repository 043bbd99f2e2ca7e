"""`stembridge reaper` as it is typed: what it leaves, what it says, and that the daemon and the doctor know of it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import doctor
from bridge.cli import main
from bridge.config import load
from bridge.doors.mailbox import REGISTRY
from bridge.reaper.command import main as reaper_command
from bridge.reaper.payload import CHECK, ScriptsMissing, payload, scripts_folder, version_of
from bridge.reaper.registered import NAME, register, registered
from bridge.reaper.resource_folders import NoReaper, Place

OURS = '[REAPER]\ncsurf_0=OSC "Stembridge" 3 9241 "" 0 1024 10 "Stembridge"\n'


@pytest.fixture
def resource(tmp_path: Path) -> Path:
    folder = tmp_path / "My REAPER ü"
    folder.mkdir()
    (folder / "reaper.ini").write_text("[REAPER]\n")
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "my stembridge.toml"
    file.write_text('[discovery]\ninterfaces = "off"\n[osc]\nport = 9250\n')
    return file


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(resource: Path, data_dir: Path, config_file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(action: str, *more: str, told: Path = resource) -> tuple[int, str]:
        where = ("--resource-path", str(told), "--data-dir", str(data_dir), "--config", str(config_file))
        code = main(["reaper", action, *where, *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_install_says_what_remains_with_the_one_number_and_registers_the_mailbox(
    run: Run, resource: Path, data_dir: Path
) -> None:
    code, said = run("install")
    assert code == 0
    for part in (CHECK, "mode: Local port", "local listen port: 9241", "pattern config: Stembridge", "not touched"):
        assert part in said
    assert (resource / "Scripts" / "Stembridge" / CHECK).is_file()
    mailbox = resource / "Stembridge" / "mailbox"
    assert json.loads((data_dir / NAME).read_text(encoding="utf-8"))["mailboxes"] == [str(mailbox)]
    assert NAME == REGISTRY


def test_the_scripts_start_the_daemon_that_the_command_was_told_of(
    run: Run, resource: Path, data_dir: Path, config_file: Path
) -> None:
    run("install")
    start = json.loads((resource / "Stembridge" / "mailbox" / "start.json").read_text(encoding="utf-8"))
    assert start["osc_port"] == 9250
    serve = [*("-P", "-m", "bridge.cli", "serve", "--config", str(config_file)), "--data-dir", str(data_dir)]
    assert shlex.split(start["command"]) == [sys.executable, *serve]


def test_a_surface_that_is_there_needs_no_click(run: Run, resource: Path) -> None:
    (resource / "reaper.ini").write_text(OURS)
    assert "the OSC surface is there" in run("install")[1]
    assert (resource / "reaper.ini").read_text() == OURS
    assert run("status") == (0, run("status")[1])
    assert "is set up: local port 9241" in run("status")[1]


def test_another_port_is_told_to_both_sides(run: Run, config_file: Path) -> None:
    said = run("install", "--osc-port", "8123")[1]
    assert "local listen port: 8123" in said
    assert f"In {config_file}:\n     [reaper]\n     osc_port = 8123" in said


def test_status_names_each_problem_and_install_mends_it(run: Run, resource: Path) -> None:
    assert run("status")[0] == 1
    run("install")
    assert run("status")[0] == 0
    (resource / "Scripts" / "Stembridge" / CHECK).unlink()
    (resource / "OSC" / "Stembridge.ReaperOSC").write_text("old")
    code, said = run("status")
    assert code == 1
    assert "1 file missing" in said
    assert "1 file of another version or changed, such as OSC/Stembridge.ReaperOSC" in said
    assert f'-> stembridge reaper install --resource-path "{resource}"' in said
    assert "is kept as" in run("install")[1]
    assert run("status")[0] == 0


def test_uninstall_takes_away_what_install_left_and_says_what_waits(run: Run, resource: Path, data_dir: Path) -> None:
    run("install")
    waiting = resource / "Stembridge" / "mailbox" / "requests" / "1f2e3d4c.1.json"
    waiting.touch()
    code, said = run("uninstall")
    assert code == 0
    assert "stays: it holds 1 file of" in said
    assert waiting.exists()
    assert registered(data_dir) == {}
    code, said = run("uninstall")
    assert code == 1
    assert "nothing to remove" in said


@pytest.mark.parametrize("is_named", [True, False])
def test_uninstall_of_a_reaper_that_has_vanished_ends_what_the_daemon_knows_of_it(
    run: Run, resource: Path, data_dir: Path, config_file: Path, tmp_path: Path, is_named: bool
) -> None:
    mailbox = tmp_path / "mail"
    run("install", "--mailbox", str(mailbox))
    resource.rename(tmp_path / "elsewhere")
    if is_named:
        assert run("uninstall")[0] == 0
    else:
        arguments = argparse.Namespace(action="uninstall", resource_path=None)
        config = load(config_file, {"folders.data_dir": data_dir})
        assert reaper_command(arguments, config, Place("linux", tmp_path, {})) == 0
    assert registered(data_dir) == {}
    assert json.loads((data_dir / NAME).read_text(encoding="utf-8"))["mailboxes"] == []
    assert not mailbox.exists()
    assert run("uninstall")[0] == 1


def test_a_reaper_that_is_away_is_kept_when_another_is_uninstalled(
    run: Run, resource: Path, data_dir: Path, config_file: Path, tmp_path: Path
) -> None:
    second, away = tmp_path / "second", tmp_path / "portable"
    for folder in (second, away):
        folder.mkdir()
        (folder / "reaper.ini").touch()
    for folder in (resource, second, away):
        run("install", told=folder)
    away.rename(tmp_path / "unplugged")
    arguments = argparse.Namespace(action="uninstall", resource_path=None)
    config = load(config_file, {"folders.data_dir": data_dir})
    with pytest.raises(NoReaper):  # which of the two that are there?
        reaper_command(arguments, config, Place("linux", tmp_path, {}))
    run("uninstall", told=second)
    assert reaper_command(arguments, config, Place("linux", tmp_path, {})) == 0
    assert list(registered(data_dir)) == [away]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux only")
@pytest.mark.parametrize("which", ["--resource-path", "--mailbox"])
def test_a_folder_whose_name_is_no_text_is_refused_in_a_sentence_and_left_alone(
    run: Run, resource: Path, tmp_path: Path, which: str
) -> None:
    odd = tmp_path / os.fsdecode(b"REAPER\xff")
    odd.mkdir()
    (odd / "reaper.ini").touch()
    code, said = run("install", told=odd) if which == "--resource-path" else run("install", which, str(odd))
    assert code == 1
    assert "REAPER\ufffd is not UTF-8 text" in said
    assert [path.name for path in odd.iterdir()] == ["reaper.ini"]
    assert [path.name for path in resource.iterdir()] == ["reaper.ini"]


def test_a_mailbox_that_two_reapers_share_stays_for_the_other(
    run: Run, resource: Path, data_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "portable"
    other.mkdir()
    (other / "reaper.ini").touch()
    shared = tmp_path / "mail"
    for folder in (resource, other):
        run("install", "--mailbox", str(shared), told=folder)
    assert json.loads((data_dir / NAME).read_text(encoding="utf-8"))["mailboxes"] == [str(shared)]
    run("uninstall")
    assert (shared / "start.json").is_file()
    assert registered(data_dir) == {other: shared}
    run("uninstall", told=other)
    assert not shared.exists()


def test_scripts_that_reapack_installed_are_not_installed_a_second_time(run: Run, resource: Path) -> None:
    run("install")
    by_reapack = resource / "Scripts" / "Stembridge" / "Stembridge"
    (by_reapack / "lib").mkdir(parents=True)
    (by_reapack / "lib" / "stembridge.lua").write_text("-- ReaPack's")
    said = run("install")[1]
    assert f"ReaPack's: {by_reapack}" in said
    assert "Load ReaScript" not in said  # ReaPack has put it into the action list
    assert not (resource / "Scripts" / "Stembridge" / CHECK).exists()
    assert (resource / "OSC" / "Stembridge.ReaperOSC").is_file()
    assert run("status")[0] == 0


def test_what_was_clicked_once_is_not_asked_for_again(run: Run, resource: Path) -> None:
    assert "Load ReaScript" in run("install")[1]
    line = f'SCR 4 0 RS0123456789abcdef "Custom: {CHECK}" "Stembridge/{CHECK}"\n'
    (resource / "reaper-kb.ini").write_text(line)
    said = run("install")[1]
    assert "Load ReaScript" not in said
    assert f"run 'Script: {CHECK}'" in said
    assert (resource / "reaper-kb.ini").read_text() == line


@pytest.mark.parametrize("start", [None, "{", '{"command": 7}', '{"command": "\\"/gone/python\\" -m bridge.cli"}'])
def test_status_says_that_the_daemon_could_not_be_started(run: Run, resource: Path, start: str | None) -> None:
    run("install")
    file = resource / "Stembridge" / "mailbox" / "start.json"
    file.unlink()
    if start is not None:
        file.write_text(start)
    code, said = run("status")
    assert code == 1
    assert "the actions cannot start the daemon" in said
    run("install")
    assert run("status")[0] == 0


def test_uninstall_needs_not_be_told_of_the_only_reaper_that_has_it(
    run: Run, resource: Path, data_dir: Path, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("install")
    arguments = argparse.Namespace(action="uninstall", resource_path=None)
    config = load(config_file, {"folders.data_dir": data_dir})
    other = resource.parent / ".config" / "REAPER"
    other.mkdir(parents=True)
    (other / "reaper.ini").touch()
    assert reaper_command(arguments, config, Place("linux", resource.parent, {})) == 0
    assert str(resource) in capsys.readouterr().out
    assert not (resource / "Scripts").exists()


def test_a_mailbox_that_moves_away_is_left_to_the_other_reaper(
    run: Run, resource: Path, data_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "portable"
    other.mkdir()
    (other / "reaper.ini").touch()
    run("install")
    mailbox = resource / "Stembridge" / "mailbox"
    run("install", "--mailbox", str(mailbox), told=other)
    run("install", "--mailbox", str(tmp_path / "mail"))
    assert (mailbox / "start.json").is_file()
    run("install", "--mailbox", str(tmp_path / "mail"), told=other)
    assert not mailbox.exists()


def test_reapers_that_are_absent_or_wrong_are_an_error_in_words(run: Run, tmp_path: Path) -> None:
    code, said = run("install", told=tmp_path)
    assert code == 1
    assert "holds no reaper.ini" in said


def test_the_doctor_looks_at_every_reaper(run: Run, resource: Path, data_dir: Path, config_file: Path) -> None:
    config = load(config_file, {"folders.data_dir": data_dir})
    nowhere = Place("linux", resource / "no home", {})
    (check,) = doctor.check_reaper(config, nowhere)
    assert (check.status, check.detail[:10]) == ("ok", "none found")
    run("install")
    (check,) = doctor.check_reaper(config, nowhere)
    assert (check.status, check.name) == ("ok", "REAPER")
    assert str(resource) in check.detail
    (resource / "Scripts" / "Stembridge" / CHECK).unlink()
    (check,) = doctor.check_reaper(config, nowhere)
    assert check.status == "warn"
    assert str(resource) in check.advice


@pytest.mark.parametrize("content", [b"", b"[]", b'{"resources": 7}', b"\xff", b'{"resources": {"a": 1}}'])
def test_a_registry_that_is_damaged_is_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert registered(tmp_path) == {}
    register(tmp_path, tmp_path / "R", tmp_path / "mail")
    assert registered(tmp_path) == {tmp_path / "R": tmp_path / "mail"}


def test_an_installation_without_scripts_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScriptsMissing, match="install Stembridge again"):
        payload(tmp_path)


def test_all_scripts_are_in_the_payload_but_not_reapacks_description() -> None:
    names = {name.removeprefix("Scripts/Stembridge/") for name in payload()}
    there = {file.relative_to(scripts_folder() / "Stembridge").as_posix() for file in scripts_folder().rglob("*.lua")}
    assert names == there - {"Stembridge.lua"} | {"OSC/Stembridge.ReaperOSC"}
    assert version_of(payload())
