"""The ReaPack index is that of the files: headers by ReaPack's rules, the same bytes each time, stale when they are."""

from __future__ import annotations

import hashlib
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import __version__
from bridge.reaper.payload import payload, scripts_folder, version_of
from bridge.reaper.reapack import header, index, lint, main, sources, stale

PACKAGE, LIB = "Stembridge/Stembridge.lua", "Stembridge/lib/stembridge.lua"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the scripts with an index of its own."""
    copy = tmp_path / "reaper_scripts"
    shutil.copytree(scripts_folder(), copy)
    (copy / "index.xml").write_text(index(copy), encoding="utf-8")
    return copy


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


# --- ours -------------------------------------------------------------------------------------------------------------
def test_the_scripts_and_the_daemon_that_come_together_have_one_version() -> None:
    assert version_of(payload()) == __version__


def test_our_headers_are_right_and_our_index_is_up_to_date() -> None:
    assert lint(scripts_folder()) == []
    assert stale(scripts_folder()) == []


def test_reapack_installs_the_very_files_that_the_installer_installs() -> None:
    tags = header((scripts_folder() / PACKAGE).read_text(encoding="utf-8"))
    listed = {
        f"Scripts/Stembridge/{s.file}" if s.kind != "data" else f"OSC/{s.file}" for s in sources(scripts_folder(), tags)
    }
    assert listed == set(payload())


def test_every_file_has_its_fingerprint_and_an_address_that_pins_the_commit(folder: Path) -> None:
    root = ET.fromstring(index(folder, "https://example.org/o/stembridge/raw", "0123abc"))
    assert (root.get("name"), root.get("version"), root.get("commit")) == ("Stembridge", "1", "0123abc")
    found = {part.get("file"): part for part in root.iter("source")}
    assert len(found) == len(list(root.iter("source"))) == len(payload())
    check = found["Stembridge_Connection check.lua"]
    content = (folder / "Stembridge" / "Stembridge_Connection check.lua").read_bytes()
    assert check.get("hash") == "1220" + hashlib.sha256(content).hexdigest()
    assert check.get("main") == "main"
    assert check.text == (
        "https://example.org/o/stembridge/raw/0123abc/reaper_scripts/Stembridge/Stembridge_Connection%20check.lua"
    )
    assert found["lib/stembridge.lua"].get("main") is None
    pattern = found["Stembridge.ReaperOSC"]
    assert pattern.get("type") == "data"
    assert (pattern.text or "").endswith("/0123abc/reaper_scripts/Stembridge.ReaperOSC")


def test_the_same_files_give_the_same_index_and_an_unknown_address_is_said_to_be_unknown(folder: Path) -> None:
    assert index(folder) == index(folder)
    assert "not known yet" in index(folder)
    assert "not known yet" not in index(folder, "https://example.org/raw", "0123abc")


def test_line_ends_of_a_windows_checkout_change_nothing(folder: Path) -> None:
    file = folder / LIB
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert lint(folder) == []
    assert stale(folder) == []


# --- stale ------------------------------------------------------------------------------------------------------------
def _change(folder: Path) -> None:
    edit(folder / LIB, "-- @noindex", "-- @noindex\n-- changed")


def _bump(folder: Path) -> None:
    edit(folder / PACKAGE, "@version 0.1.0", "@version 0.3.0")
    edit(folder / LIB, '"0.1.0"', '"0.3.0"')


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_change, "lib/stembridge.lua has changed since"),
        (_bump, "another version"),
        (
            lambda f: (f / "Stembridge" / "lib" / "new.lua").write_text("-- @noindex\n"),
            "lib/new.lua is not in index.xml",
        ),
        (
            lambda f: (f / "Stembridge" / "lib" / "json.lua").unlink(),
            "lib/json.lua is in index.xml, but no longer there",
        ),
        (lambda f: (f / "index.xml").unlink(), "cannot be read"),
        (lambda f: (f / "index.xml").write_text("<index"), "cannot be read"),
        (lambda f: edit(f / "index.xml", "/COMMIT/", "/main/"), "pins no commit"),
        (lambda f: edit(f / "index.xml", 'main="main"', ""), "has changed since"),
    ],
)
def test_an_index_that_is_not_that_of_the_files_is_found(
    folder: Path, change: Callable[[Path], object], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--folder", str(folder)]) == 0
    change(folder)
    assert main(["check", "--folder", str(folder)]) == 1
    assert problem in capsys.readouterr().out
    assert main(["index", "--folder", str(folder), "--base-url", "https://example.org/raw", "--commit", "0a1b"]) == 0
    assert main(["check", "--folder", str(folder)]) == 0


# --- headers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        (PACKAGE, "-- @version 0.1.0\n", "", "@version is missing"),
        (PACKAGE, "@version 0.1.0", "@version v2", "must begin with a digit"),
        (PACKAGE, "@version 0.1.0", "@version 0.65536", "65535"),
        (PACKAGE, "@version 0.1.0", "@version 0.2.1", "lib/stembridge.lua says 0.1.0"),
        (PACKAGE, "-- @version 0.1.0", "-- @version 0.1.0\n--   1.0", "must be one line"),
        (PACKAGE, "-- @metapackage\n", "", "@metapackage is missing"),
        (PACKAGE, "-- @metapackage", "-- @metapackage true", "has a value"),
        (PACKAGE, "@author", "@autor", "knows no tag @autor"),
        (PACKAGE, "--   [nomain] lib/*.lua\n", "", "is in no line of @provides"),
        (PACKAGE, "[nomain] lib/*.lua", "[nomain] libs/*.lua", "matches no file"),
        (PACKAGE, "[nomain] lib", "[hidden] lib", "is not `[main|nomain|data] files`"),
        (PACKAGE, "[nomain] lib/*.lua", "[nomain] lib/*.lua\n--   [nomain] lib/json.lua", "provided twice"),
        (PACKAGE, "-- @provides", "-- @provides\n\n", "@provides is missing or empty"),
        (LIB, "-- @noindex\n", "", "lacks `-- @noindex`"),
        (LIB, "-- @noindex", "\n-- @noindex", "lacks `-- @noindex`"),
    ],
)
def test_a_header_that_reapack_would_refuse_or_misread_is_found(
    folder: Path, file: str, old: str, new: str, problem: str
) -> None:
    edit(folder / file, old, new)
    assert any(problem in line for line in lint(folder)), lint(folder)


def test_without_the_package_file_there_is_no_package(folder: Path) -> None:
    (folder / PACKAGE).unlink()
    assert lint(folder) == ["there is no package file Stembridge/Stembridge.lua"]


def test_indented_lines_go_on_a_tag_and_the_header_ends_at_the_code() -> None:
    tags = header(
        "-- @about\n--   # A\n--\n--   b\n-- @noindex\n-- a comment\n--   of its own\nlocal x\n-- @version 9\n"
    )
    assert tags == {"about": "# A\n\nb", "noindex": ""}
