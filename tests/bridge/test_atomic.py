from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from bridge import atomic
from protocol.errors import DiskFull, ProjectError, ProjectGone, ProjectReadOnly


def write(folder: Path, name: str, content: bytes) -> Path:
    with atomic.temporary_file(folder) as temporary:
        atomic.write_synced(temporary, lambda file: file.write(content))
        atomic.publish(temporary, folder / name)
    return folder / name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["hard links", "no hard links"])
def any_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no hard links":

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


@pytest.mark.usefixtures("any_file_system")
def test_a_published_file_is_whole_and_its_temporary_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "take.wav", b"audio")
    assert path.read_bytes() == b"audio"
    assert names(tmp_path) == ["take.wav"]


@pytest.mark.usefixtures("any_file_system")
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_a_taken_name_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    final = tmp_path / "take.wav"
    if kind == "file":
        final.write_bytes(b"the user's")
    elif kind == "folder":
        final.mkdir()
    else:
        final.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write(tmp_path, "take.wav", b"ours")
    assert names(tmp_path) == ["take.wav"]
    if kind == "file":
        assert final.read_bytes() == b"the user's"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("any_file_system")
def test_of_many_writers_of_one_name_exactly_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def one(number: int) -> None:
        start.wait(10)
        try:
            write(tmp_path, "take.wav", bytes([number]) * 1000)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(won) == 1
    assert (tmp_path / "take.wav").read_bytes() == bytes(won) * 1000
    assert names(tmp_path) == ["take.wav"]


def test_a_link_whose_answer_was_lost_counts_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link_and_lose(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_and_lose)
    assert write(tmp_path, "take.wav", b"audio").read_bytes() == b"audio"


def test_a_failed_write_leaves_no_file_at_all(tmp_path: Path) -> None:
    def half(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), atomic.temporary_file(tmp_path) as temporary:
        atomic.write_synced(temporary, half)
    assert names(tmp_path) == []


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    ours = tmp_path / ".stembridge-0123456789abcdef.part"
    kept = ["take.wav", ".hidden.part", "stembridge-0123456789abcdef.part", ".stembridge-0123456789abcdef.part.bak"]
    for name in [ours.name, *kept]:
        (tmp_path / name).write_bytes(b"x")
    a_folder = tmp_path / ".stembridge-aaaaaaaaaaaaaaaa.part"
    a_folder.mkdir()
    a_link = tmp_path / ".stembridge-bbbbbbbbbbbbbbbb.part"
    a_link.symlink_to(tmp_path / "take.wav")
    atomic.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*kept, a_folder.name, a_link.name])


def test_taking_back_spares_a_file_that_took_the_name_later(tmp_path: Path) -> None:
    ours = tmp_path / "take.wav"
    ours.write_bytes(b"ours")
    made = atomic.identity(ours)
    ours.rename(tmp_path / "moved by the user.wav")  # still ours by identity, but no longer at the name
    ours.write_bytes(b"the user's")
    atomic.remove_if_same(ours, made)
    assert ours.read_bytes() == b"the user's"
    ours.unlink()
    atomic.remove_if_same(ours, made)  # gone: nothing to do


def test_a_folder_with_something_in_it_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "user.txt").touch()
    (tmp_path / "empty").mkdir()
    atomic.remove_empty_folder(tmp_path / "full")
    atomic.remove_empty_folder(tmp_path / "empty")
    assert names(tmp_path) == ["full"]


def test_free_names_count_on_before_the_suffix() -> None:
    names = atomic.free_names("a.b_take-1.wav")
    assert [next(names) for _ in range(3)] == ["a.b_take-1.wav", "a.b_take-1-2.wav", "a.b_take-1-3.wav"]


class WindowsError(OSError):
    winerror: int | None = None


def windows_error(number: int, code: int, name: str = "") -> OSError:
    error = WindowsError(number, "as Windows says it", name)
    error.winerror = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (OSError(errno.ENOSPC, "No space left"), DiskFull, "free some space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), DiskFull, "free some space"),
        (OSError(errno.EFBIG, "File too large"), DiskFull, "shorter region"),
        (windows_error(errno.EINVAL, 112), DiskFull, "free some space"),
        (OSError(errno.EROFS, "Read-only file system"), ProjectReadOnly, "permissions"),
        (PermissionError(errno.EACCES, "Permission denied"), ProjectReadOnly, "permissions"),
        (FileNotFoundError(errno.ENOENT, "No such file"), ProjectGone, "no longer there"),
        (OSError(errno.ESTALE, "Stale file handle"), ProjectGone, "no longer there"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), ProjectError, "too long"),
        (windows_error(errno.EINVAL, 206), ProjectError, "too long"),
        (windows_error(errno.ENOENT, 3, "C:\\" + "x" * 260), ProjectError, "too long"),
        (windows_error(errno.ENOENT, 3, "C:\\short"), ProjectGone, "no longer there"),
        (OSError(errno.EIO, "Input/output error"), ProjectError, "check that disk"),
    ],
)
def test_each_failure_of_a_disk_is_told_in_words(error: OSError, kind: type[ProjectError], word: str) -> None:
    told = atomic.in_words(error, Path("folder"))
    assert type(told) is kind
    assert word in str(told)
    assert "folder" in str(told)
