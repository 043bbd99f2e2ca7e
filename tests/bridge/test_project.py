from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.project import open_project, resolve_source
from protocol.errors import (
    BadArgument,
    MissingContext,
    OutsideProject,
    ProjectError,
    ProjectGone,
    SourceMissing,
    SourceUnreadable,
    StembridgeError,
)
from protocol.job import ProjectRef

NFC, NFD = unicodedata.normalize("NFC", "Gesänge ü"), unicodedata.normalize("NFD", "Gesänge ü")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "Gesänge ü" / "My Song"
    made.mkdir(parents=True)
    return made


def rpp(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "song.rpp"
    text = "\r\n".join(['<REAPER_PROJECT 0.1 "7.78/win64" 1790000000', *(f"  {line}" for line in lines), ">", ""])
    path.write_bytes(text.encode(encoding))
    return path


# --- opening: folders -------------------------------------------------------------------------------------------------
def test_a_folder_with_spaces_and_umlauts_opens_as_itself(folder: Path) -> None:
    assert open_project(str(folder), 48_000) == ProjectRef(
        folder=str(folder), media_folder=str(folder), sample_rate=48_000
    )


@pytest.mark.parametrize(("on_disk", "told"), [(NFC, NFD), (NFD, NFC)])
def test_a_daw_may_spell_umlauts_either_way(tmp_path: Path, on_disk: str, told: str) -> None:
    (tmp_path / on_disk).mkdir()
    (tmp_path / on_disk / on_disk).touch()
    ref = open_project(str(tmp_path / told), None)
    assert Path(ref.folder).samefile(tmp_path / on_disk)
    assert resolve_source(told, [ref]).samefile(tmp_path / on_disk / on_disk)


def test_the_home_folder_may_be_written_as_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert open_project("~/My Song", None).folder == str(folder)


def test_links_to_a_project_are_resolved_once_when_it_opens(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert open_project(str(tmp_path / "link"), None).folder == str(folder)


@pytest.mark.parametrize("name", ["My Song", "./My Song", "../My Song", "~nobody-by-this-name/x"])
def test_a_relative_project_asks_for_the_full_path(name: str) -> None:
    with pytest.raises(ProjectError, match="full path"):
        open_project(name, None)


@pytest.mark.parametrize("name", ["", "\0", "/tmp\0/x", "/tmp/\udcff"])
def test_a_name_that_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(BadArgument):
        open_project(name, None)
    with pytest.raises(BadArgument):
        resolve_source(name, [])


def test_what_is_missing_not_a_folder_or_a_whole_disk_is_each_told(folder: Path) -> None:
    with pytest.raises(ProjectGone, match="no folder"):
        open_project(str(folder / "nowhere"), None)
    (folder / "song.wav").touch()
    with pytest.raises(ProjectError, match="not a folder"):
        open_project(str(folder / "song.wav"), None)
    with pytest.raises(ProjectError, match="whole disk"):
        open_project(folder.anchor, None)
    with pytest.raises(BadArgument, match="sample rate"):
        open_project(str(folder), 12)


def test_a_loop_of_links_and_an_endless_name_are_answered(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in (str(tmp_path / "a"), str(tmp_path / ("x" * 5000)), str(tmp_path) + "/x" * 5000):
        with pytest.raises(ProjectGone):
            open_project(name, None)


def test_with_roots_only_projects_below_them_open(folder: Path, tmp_path: Path) -> None:
    roots = [tmp_path / "Gesänge ü"]
    assert open_project(str(folder), None, roots).folder == str(folder)
    (tmp_path / "private").mkdir()
    (folder / "way out").symlink_to(tmp_path / "private")
    for name in ("private", "Gesänge ü/../private", "Gesänge ü/My Song/way out", "not even there"):
        with pytest.raises(OutsideProject, match="`roots`"):
            open_project(str(tmp_path / name), None, roots)


# --- opening: .rpp files ----------------------------------------------------------------------------------------------
def test_an_rpp_tells_its_media_folder_and_its_rate(folder: Path) -> None:
    project = rpp(folder, "RIPPLE 0 0", 'RECORD_PATH "Audio Files" ""', "SAMPLERATE 96000 1 0")
    assert open_project(str(project), None) == ProjectRef(
        folder=str(folder), media_folder=str(folder / "Audio Files"), sample_rate=96_000
    )
    assert open_project(str(project), 44_100).sample_rate == 44_100


@pytest.mark.parametrize(
    ("line", "media"),
    [
        ("RECORD_PATH Media Backup", "Media"),
        ('RECORD_PATH "Media" ""', "Media"),
        ("RECORD_PATH 'My \"best\" takes' ''", 'My "best" takes'),
        ('RECORD_PATH `it\'s "ours"` ``', 'it\'s "ours"'),
        ('RECORD_PATH "Audio\\Takes" ""', "Audio/Takes"),
        ('RECORD_PATH "unclosed', "unclosed"),
        ('RECORD_PATH "Gesänge" ""', "Gesänge"),
        ('RECORD_PATH "" "Backup"', ""),
        ("RECORD_PATH", ""),
        ('<NOTES\n RECORD_PATH "Wrong" ""\n >', ""),
        ('<METRONOME 6\n <ITEM\n RECORD_PATH "Wrong" ""\n >\n >\n RECORD_PATH "Right"', "Right"),
    ],
)
def test_record_path_is_read_in_every_way_reaper_quotes_it(folder: Path, line: str, media: str) -> None:
    assert open_project(str(rpp(folder, line)), None).media_folder == str(folder / media)


def test_an_old_project_that_is_not_utf8_is_read_too(folder: Path) -> None:
    project = rpp(folder, 'RECORD_PATH "Gesänge" ""', encoding="cp1252")
    assert open_project(str(project), None).media_folder == str(folder / "Gesänge")


@pytest.mark.parametrize("named", ["../outside", "/", "C:\\Takes", "C:Takes", "\\\\server\\share", "link", "song.rpp"])
def test_a_media_folder_outside_the_project_is_not_used_and_that_is_logged(
    folder: Path, tmp_path: Path, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "link").symlink_to(tmp_path)
    with caplog.at_level(logging.WARNING, logger="stembridge.project"):
        assert open_project(str(rpp(folder, f'RECORD_PATH "{named}" ""')), None).media_folder == str(folder)
    assert "records to" in caplog.text


@pytest.mark.parametrize("line", ["SAMPLERATE 96000 0 0", "SAMPLERATE x 1", "SAMPLERATE 1 1", "SAMPLERATE 48000", ""])
def test_a_rate_that_the_project_does_not_insist_on_is_left_open(folder: Path, line: str) -> None:
    assert open_project(str(rpp(folder, line)), None).sample_rate is None


def test_an_rpp_that_is_missing_or_a_pipe_is_told_at_once(folder: Path) -> None:
    with pytest.raises(ProjectGone, match="save the project"):
        open_project(str(folder / "unsaved.rpp"), None)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.rpp")
        with pytest.raises(ProjectError, match="not a file"):
            open_project(str(folder / "pipe.rpp"), None)


def test_a_folder_named_like_an_rpp_is_a_folder(folder: Path) -> None:
    (folder / "song.rpp").mkdir()
    assert open_project(str(folder / "song.rpp"), None).folder == str(folder / "song.rpp")


@given(content=st.binary(max_size=400))
def test_any_bytes_as_an_rpp_open_as_a_project_inside_itself(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp().resolve()
    (folder / "any.rpp").write_bytes(b"<REAPER_PROJECT\nRECORD_PATH " + content)
    ref = open_project(str(folder / "any.rpp"), None)
    assert Path(ref.media_folder).is_relative_to(folder)


# --- sources ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def project(folder: Path) -> ProjectRef:
    (folder / "song.wav").write_bytes(b"song")
    (folder / "Media").mkdir()
    (folder / "Media" / "kick.wav").write_bytes(b"kick")
    (folder.parent / "secret.wav").write_bytes(b"secret")
    return ProjectRef(folder=str(folder), media_folder=str(folder / "Media"))


def test_a_source_is_found_by_full_path_or_relative_to_project_and_media(project: ProjectRef, folder: Path) -> None:
    assert resolve_source(str(folder / "song.wav"), [project]) == folder / "song.wav"
    assert resolve_source("song.wav", [project]) == folder / "song.wav"
    assert resolve_source("kick.wav", [project]) == folder / "Media" / "kick.wav"
    assert resolve_source("Media/../song.wav", [project]) == folder / "song.wav"


def test_a_relative_source_means_the_project_opened_last(project: ProjectRef, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "song.wav").touch()
    second = open_project(str(tmp_path / "second"), None)
    assert resolve_source("song.wav", [project, second]) == Path(second.folder) / "song.wav"
    assert resolve_source("song.wav", [second, project]) == folder / "song.wav"
    assert resolve_source("kick.wav", [project, second]) == folder / "Media" / "kick.wav"


def test_nothing_outside_is_reached_by_dots_full_paths_or_links(project: ProjectRef, folder: Path) -> None:
    secret = folder.parent / "secret.wav"
    (folder / "link.wav").symlink_to(secret)
    (folder / "up").symlink_to(folder.parent)
    names = (
        "../secret.wav",
        str(secret),
        "link.wav",
        "up/secret.wav",
        str(folder / "Media" / ".." / ".." / "secret.wav"),
    )
    for name in names:
        with pytest.raises(OutsideProject, match="copy the file into the project"):
            resolve_source(name, [project])
    # The same answer for what does not exist: nobody learns what lies outside.
    with pytest.raises(OutsideProject, match="copy the file into the project"):
        resolve_source("../nothing.wav", [project])


def test_a_file_that_is_gone_from_a_project_of_any_name_is_missing_not_outside(
    project: ProjectRef, folder: Path
) -> None:
    gone = folder / "stembridge" / "sources" / "gone.wav"
    for name in (str(gone), unicodedata.normalize("NFD", str(gone)), "gone.wav"):
        with pytest.raises(SourceMissing, match="save it there first"):
            resolve_source(name, [project])


def test_a_folder_whose_name_begins_like_the_projects_is_outside(project: ProjectRef, folder: Path) -> None:
    sibling = folder.parent / (folder.name + " 2")
    sibling.mkdir()
    (sibling / "song.wav").touch()
    with pytest.raises(OutsideProject):
        resolve_source(str(sibling / "song.wav"), [project])


def test_media_roots_open_a_sample_library_and_nothing_beside_it(project: ProjectRef, tmp_path: Path) -> None:
    library = tmp_path.resolve() / "library"
    library.mkdir()
    (library / "loop.wav").touch()
    (tmp_path / "beside.wav").touch()
    assert resolve_source(str(library / "loop.wav"), [project], [library]) == library / "loop.wav"
    assert resolve_source(str(library / "loop.wav"), [], [library]) == library / "loop.wav"
    with pytest.raises(OutsideProject):
        resolve_source(str(tmp_path / "beside.wav"), [project], [library])


def test_missing_folders_pipes_and_devices_are_each_answered_without_opening_them(
    project: ProjectRef, folder: Path
) -> None:
    with pytest.raises(SourceMissing, match=r"nothing\.wav"):
        resolve_source("nothing.wav", [project])
    with pytest.raises(SourceUnreadable, match="not an audio file"):
        resolve_source("Media", [project])
    with pytest.raises(MissingContext, match="/stembridge/project"):
        resolve_source("song.wav", [])
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.wav")
        with pytest.raises(SourceUnreadable, match="not an audio file"):
            resolve_source("pipe.wav", [project])
        (folder / "zero.wav").symlink_to("/dev/zero")
        with pytest.raises(OutsideProject):
            resolve_source("zero.wav", [project])


_PARTS = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "~",
            "/",
            "\\",
            "song.wav",
            "secret.wav",
            "up",
            "Media",
            "kick.wav",
            "C:",
            "NUL",
            "CON.wav",
            "//",
        ]
    ),
    st.text(max_size=12),
)


@given(parts=st.lists(_PARTS, max_size=8), absolute=st.booleans(), separator=st.sampled_from(["/", "\\", "//"]))
def test_no_name_whatever_resolves_outside(
    parts: list[str], absolute: bool, separator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp().resolve() / "hypothesis"
    folder = base / "project"
    if not folder.exists():
        (folder / "Media").mkdir(parents=True)
        for file in (folder / "song.wav", folder / "Media" / "kick.wav", base / "secret.wav"):
            file.touch()
        (folder / "up").symlink_to(base)
    project = ProjectRef(folder=str(folder), media_folder=str(folder / "Media"))
    name = separator.join(parts)
    try:
        found = resolve_source(str(folder) + "/" + name if absolute else name, [project])
    except StembridgeError:
        return
    assert found.resolve() == found
    assert found.is_relative_to(folder)
    assert found.is_file()
