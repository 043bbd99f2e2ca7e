"""REAPER's resource folder is found where each system has it, and never guessed where there are several."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.reaper.resource_folders import NoReaper, Place, chosen, find


def reaper_in(folder: Path, *, program: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "reaper.ini").write_text("[REAPER]\n")
    if program:
        (folder / program).touch()
    return folder


@pytest.mark.parametrize(
    ("system", "below_home"),
    [
        ("win32", "AppData/Roaming/REAPER"),
        ("darwin", "Library/Application Support/REAPER"),
        ("linux", ".config/REAPER"),
        ("linux", ".var/app/fm.reaper.Reaper/config/REAPER"),
    ],
)
def test_the_usual_place_of_each_system_is_found(tmp_path: Path, system: str, below_home: str) -> None:
    folder = reaper_in(tmp_path / below_home)
    assert chosen(None, Place(system, tmp_path, {})) == folder


def test_roaming_folders_and_config_homes_that_were_moved_are_followed(tmp_path: Path) -> None:
    roaming, config = reaper_in(tmp_path / "Roaming ü" / "REAPER"), reaper_in(tmp_path / "cfg" / "REAPER")
    assert find(Place("win32", tmp_path, {"APPDATA": str(roaming.parent)})) == (roaming,)
    assert find(Place("linux", tmp_path, {"XDG_CONFIG_HOME": str(config.parent)})) == (config,)


def test_a_folder_without_reapers_ini_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / ".config" / "REAPER").mkdir(parents=True)
    with pytest.raises(NoReaper, match="Start REAPER once"):
        chosen(None, Place("linux", tmp_path, {}))


def test_a_portable_install_is_found_by_its_program_beside_the_ini(tmp_path: Path) -> None:
    portable = reaper_in(tmp_path / "opt" / "REAPER", program="reaper")
    reaper_in(tmp_path / "Documents" / "REAPER")  # an ini file without a program: a backup
    assert find(Place("linux", tmp_path, {})) == (portable,)


def test_of_several_none_is_chosen_and_all_are_listed(tmp_path: Path) -> None:
    own = reaper_in(tmp_path / ".config" / "REAPER")
    portable = reaper_in(tmp_path / "Desktop" / "REAPER", program="reaper")
    place = Place("linux", tmp_path, {})
    with pytest.raises(NoReaper, match="--resource-path") as told:
        chosen(None, place)
    assert str(own) in told.value.sentence
    assert str(portable) in told.value.sentence
    assert chosen(portable, place) == portable


@pytest.mark.parametrize("named", ["", "reaper.ini", "reaper.exe", "REAPER.app"])
def test_the_folder_its_ini_file_or_its_program_may_be_named(tmp_path: Path, named: str) -> None:
    folder = reaper_in(tmp_path / "REAPER (x64)", program="reaper.exe")
    (folder / "REAPER.app").mkdir()
    assert chosen(folder / named, Place("win32", tmp_path, {})) == folder


def test_a_folder_that_is_named_wrongly_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = Place("linux", tmp_path, {})
    with pytest.raises(NoReaper, match="There is no folder"):
        chosen(tmp_path / "absent", place)
    with pytest.raises(NoReaper, match=r"holds no reaper\.ini"):
        chosen(tmp_path, place)
