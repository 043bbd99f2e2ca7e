"""Install, upgrade and uninstall: done twice is done once, nothing of the user's is lost, nothing of ours is left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.mailbox_watch import LOCK
from bridge.reaper.install import (
    DAEMON_LOCK,
    MAILBOX_FOLDERS,
    MANIFEST,
    NotInstalled,
    Outcome,
    install,
    mailbox_of,
    read_manifest,
    uninstall,
    waiting,
)

SCRIPT, LIB, PATTERN = "Scripts/Stembridge/Stembridge_X.lua", "Scripts/Stembridge/lib/x.lua", "OSC/Stembridge.ReaperOSC"
FIRST = {SCRIPT: b"first", LIB: b"lib", PATTERN: b"pattern"}
START = b'{"protocol": 1}\n'


@pytest.fixture
def resource(tmp_path: Path) -> Path:
    """A resource folder in use, with an ini file, a script and a pattern file of the user's."""
    folder = tmp_path / "REAPER ü"
    for name, text in (("reaper.ini", "[REAPER]\n"), ("Scripts/mine.lua", "-- mine"), ("OSC/Mine.ReaperOSC", "#")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file's content, and every folder, below `folder`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def put(resource: Path, contents: dict[str, bytes] = FIRST, mailbox: Path | None = None) -> Outcome:
    return install(resource, contents, "1.0", mailbox, START)


def test_the_files_the_mailbox_and_the_start_file_are_there_afterwards(resource: Path) -> None:
    outcome = put(resource)
    assert set(outcome.written) == set(FIRST)
    assert all((resource / name).read_bytes() == content for name, content in FIRST.items())
    mailbox = resource / "Stembridge" / "mailbox"
    assert mailbox_of(resource) == mailbox
    assert all((mailbox / part).is_dir() for part in MAILBOX_FOLDERS)
    assert (mailbox / "start.json").read_bytes() == START
    manifest = read_manifest(resource)
    assert manifest is not None
    assert (manifest.version, set(manifest.files)) == ("1.0", set(FIRST))


def test_installing_twice_changes_nothing(resource: Path) -> None:
    put(resource)
    before = everything(resource)
    assert put(resource) == Outcome()
    assert everything(resource) == before


@pytest.mark.parametrize("times", [1, 2])
def test_uninstall_leaves_everything_as_it_was_before(resource: Path, times: int) -> None:
    before = everything(resource)
    for _ in range(times):
        put(resource)
    outcome = uninstall(resource)
    assert set(outcome.removed) == set(FIRST)
    assert everything(resource) == before


def test_folders_that_were_there_before_stay_even_if_empty(resource: Path) -> None:
    (resource / "Scripts" / "Stembridge").mkdir()
    put(resource)
    uninstall(resource)
    assert (resource / "Scripts" / "Stembridge").is_dir()
    assert not (resource / "Stembridge").exists()


def test_an_upgrade_replaces_what_is_ours_and_removes_what_is_gone(resource: Path) -> None:
    put(resource)
    outcome = put(resource, {SCRIPT: b"second", PATTERN: b"pattern"})
    assert (outcome.written, outcome.removed, outcome.aside) == ([SCRIPT], [LIB], [])
    assert (resource / SCRIPT).read_bytes() == b"second"
    assert not (resource / "Scripts" / "Stembridge" / "lib").exists()


def test_a_file_that_the_user_changed_is_kept_aside_each_time(resource: Path) -> None:
    put(resource)
    for number, name in enumerate(("Stembridge_X.lua.yours", "Stembridge_X.lua-2.yours")):
        (resource / SCRIPT).write_bytes(b"mine %d" % number)
        outcome = put(resource)
        assert outcome.aside == [resource / "Scripts" / "Stembridge" / name]
        assert outcome.aside[0].read_bytes() == b"mine %d" % number
        assert (resource / SCRIPT).read_bytes() == b"first"


def test_a_file_that_was_there_before_us_is_kept_aside(resource: Path) -> None:
    (resource / PATTERN).write_bytes(b"written by hand")
    assert put(resource).aside == [resource / "OSC" / "Stembridge.ReaperOSC.yours"]


def test_changed_files_of_an_older_version_and_of_an_uninstall_stay(resource: Path) -> None:
    put(resource)
    (resource / LIB).write_bytes(b"mine")
    assert put(resource, {SCRIPT: b"first"}).left == [resource / LIB]
    (resource / SCRIPT).write_bytes(b"mine too")
    assert uninstall(resource).left == [resource / SCRIPT]
    assert (resource / LIB).read_bytes() == b"mine"
    assert (resource / SCRIPT).read_bytes() == b"mine too"


def test_a_mailbox_elsewhere_is_told_to_the_scripts_and_kept_by_an_upgrade(resource: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mail"
    put(resource, mailbox=elsewhere)
    assert (resource / "Stembridge" / "mailbox.txt").read_text() == f"{elsewhere}\n"
    put(resource)
    assert mailbox_of(resource) == elsewhere
    assert not (resource / "Stembridge" / "mailbox").exists()
    uninstall(resource)
    assert not elsewhere.exists()
    assert not (resource / "Stembridge").exists()


def test_a_mailbox_that_moves_leaves_nothing_behind_but_what_waits(resource: Path, tmp_path: Path) -> None:
    put(resource)
    old = resource / "Stembridge" / "mailbox"
    (old / "requests" / "x.json").touch()
    assert put(resource, mailbox=tmp_path / "mail").left == [old]
    (old / "requests" / "x.json").unlink()
    put(resource, mailbox=old)
    assert not (tmp_path / "mail").exists()
    assert put(resource, mailbox=tmp_path / "mail").left == []
    assert not old.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_mailbox_that_is_only_named_in_another_way_stays(resource: Path, tmp_path: Path) -> None:
    put(resource, mailbox=tmp_path / "mail")
    (tmp_path / "post").symlink_to(tmp_path / "mail")
    assert put(resource, mailbox=tmp_path / "post").left == []
    assert (tmp_path / "mail" / "start.json").is_file()


@pytest.mark.parametrize("name", ["requests/i.1.json", "taken/i.1.json", "answers/1f2e3d4c/1.json", "audio/1.1.wav"])
def test_a_mailbox_in_which_something_waits_stays_whole(resource: Path, name: str) -> None:
    put(resource)
    mailbox = mailbox_of(resource)
    (mailbox / name).parent.mkdir(exist_ok=True)
    (mailbox / name).touch()
    before = everything(mailbox)
    assert waiting(mailbox) == 1
    assert uninstall(resource).left == [mailbox]
    assert everything(mailbox) == before
    assert read_manifest(resource) is None


def test_what_the_daemon_leaves_in_a_mailbox_keeps_nobody_from_removing_it(resource: Path) -> None:
    assert DAEMON_LOCK == LOCK
    before = everything(resource)
    put(resource)
    (mailbox_of(resource) / DAEMON_LOCK).touch()
    (mailbox_of(resource) / "answers" / "1f2e3d4c").mkdir()
    assert uninstall(resource).left == []
    assert everything(resource) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_the_checkout_that_we_run_from_is_left_alone(resource: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = resource.parent / "reaper_scripts"
    (checkout / "Stembridge" / "lib").mkdir(parents=True)
    for name in (SCRIPT, LIB):
        (checkout / name.removeprefix("Scripts/")).write_bytes(FIRST[name])
    (resource / "Scripts" / "Stembridge").symlink_to(checkout / "Stembridge")
    monkeypatch.setattr("bridge.reaper.install.scripts_folder", lambda: checkout)
    before = everything(checkout)
    assert put(resource).written == [PATTERN]
    uninstall(resource)
    assert everything(checkout) == before
    assert (resource / "Scripts" / "Stembridge").is_symlink()


def test_a_mailbox_that_another_reaper_uses_stays(resource: Path, tmp_path: Path) -> None:
    put(resource, mailbox=tmp_path / "mail")
    uninstall(resource, keep_mailbox=True)
    assert (tmp_path / "mail" / "start.json").is_file()


def test_where_nothing_is_installed_there_is_nothing_to_remove(resource: Path) -> None:
    with pytest.raises(NotInstalled, match="nothing to remove"):
        uninstall(resource)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(resource: Path) -> None:
    (resource / "Scripts" / "Stembridge").write_text("a file where the folder should be")
    with pytest.raises(NotInstalled, match="cannot be changed"):
        put(resource)


def test_a_manifest_that_somebody_edited_removes_nothing_outside(resource: Path) -> None:
    put(resource)
    outside = resource.parent / "outside.txt"
    outside.write_text("x")
    manifest = json.loads((resource / MANIFEST).read_text())
    hashed = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    manifest["files"] |= {"Scripts/../../outside.txt": hashed, str(outside): hashed, "reaper.ini": hashed}
    (resource / MANIFEST).write_text(json.dumps(manifest))
    uninstall(resource)
    assert outside.exists()
    assert (resource / "reaper.ini").exists()


@given(st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
    lambda value: json.dumps(value).encode()))  # fmt: skip
def test_a_manifest_that_is_none_is_read_as_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    resource = tmp_path_factory.getbasetemp() / "damaged"
    (resource / "Stembridge").mkdir(parents=True, exist_ok=True)
    (resource / MANIFEST).write_bytes(content)
    assert read_manifest(resource) is None
