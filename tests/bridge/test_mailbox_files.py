"""The files of a mailbox: whole answers, no link followed, only what is old and ours swept away."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from bridge.doors import mailbox_files
from bridge.doors.mailbox_files import AUDIO_S, CLAIMED_S, FOLDERS, TEMPORARY_S, UNCLAIMED_S, MailboxFiles
from protocol.mailbox import MAX_REQUEST_BYTES, Address
from protocol.mailbox_answer import Answer
from tests.support.mailbox import INSTANCE, OTHER_INSTANCE

NOW = time.time()
ADDRESS = Address(INSTANCE, "20261123-075200-3f9a2c")


@pytest.fixture
def files(tmp_path: Path) -> MailboxFiles:
    root = tmp_path / "Gesänge ü" / "mailbox"
    root.mkdir(parents=True)
    made = MailboxFiles(root)
    assert made.prepare()
    return made


def leave(path: Path, content: str = "{}", age_s: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def answer(state: str = "queued", **fields: object) -> Answer:
    return Answer(id=ADDRESS.id, instance=ADDRESS.instance, state=state, **fields)


def test_a_mailbox_is_made_whole_but_only_where_its_folder_is(tmp_path: Path) -> None:
    files = MailboxFiles(tmp_path / "not mounted" / "mailbox")
    assert files.prepare() is None
    assert list(tmp_path.iterdir()) == []
    files.root.mkdir(parents=True)
    first = files.prepare()
    assert first == files.prepare()
    assert sorted(p.name for p in files.root.iterdir()) == sorted(FOLDERS)


def test_another_folder_in_its_place_is_noticed(files: MailboxFiles) -> None:
    before = files.prepare()
    files.root.rename(files.root.with_name("old"))
    files.root.mkdir()
    assert files.prepare() != before


def test_requests_come_in_the_order_of_their_ids_whoever_asks(files: MailboxFiles) -> None:
    for instance, number in ((OTHER_INSTANCE, 1), (INSTANCE, 3), (OTHER_INSTANCE, 2), (INSTANCE, 0)):
        leave(files.root / "requests" / f"{instance}.20261123-00000{number}-000000.json")
    leave(files.root / "requests" / f"{INSTANCE}.a.json.tmp")
    leave(files.root / "requests" / "notes.txt")
    (files.root / "requests" / f"{INSTANCE}.folder.json").mkdir()
    assert [address.id[14] for address in files.waiting()] == ["0", "1", "2", "3"]


def test_links_are_neither_requests_nor_audio(files: MailboxFiles, tmp_path: Path) -> None:
    secret = leave(tmp_path / "secret.wav", "{}")
    (files.root / "requests" / ADDRESS.file_name).symlink_to(secret)
    (files.root / "audio" / "a.1.wav").symlink_to(secret)
    assert files.waiting() == []
    assert files.read_request(ADDRESS) is None
    assert files.audio_file("a.1.wav") is None


def test_no_more_of_a_request_is_read_than_is_allowed(files: MailboxFiles) -> None:
    leave(files.root / "requests" / ADDRESS.file_name, "x" * (2 * MAX_REQUEST_BYTES))
    content = files.read_request(ADDRESS)
    assert content is not None
    assert len(content) == MAX_REQUEST_BYTES + 1


@pytest.mark.skipif(os.name == "nt", reason="no pipes in folders there")
def test_a_pipe_does_not_hold_the_daemon(files: MailboxFiles) -> None:
    os.mkfifo(files.root / "requests" / ADDRESS.file_name)
    assert files.read_request(ADDRESS) is None
    assert files.waiting() == []


def test_a_request_is_taken_once_and_a_withdrawn_one_is_noticed(files: MailboxFiles) -> None:
    leave(files.root / "requests" / ADDRESS.file_name)
    assert files.take(ADDRESS)
    assert files.taken() == [ADDRESS]
    assert not files.take(ADDRESS)
    files.forget(ADDRESS)
    assert files.taken() == []


def test_an_answer_replaces_the_one_before_and_nothing_else_is_left(files: MailboxFiles) -> None:
    for said in (answer("queued"), answer("done", origin={"ü": 1})):
        files.write(said)
        assert files.shown(ADDRESS) == said
    folder = files.root / "answers" / INSTANCE
    assert [p.name for p in folder.iterdir()] == [f"{ADDRESS.id}.json"]


def test_a_final_answer_is_whole_on_the_disk_before_it_takes_its_name(
    files: MailboxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, on_the_disk, shown = answer("done"), [], []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        on_the_disk.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    def renamed(self: Path, target: Path) -> Path:
        shown.append(((self.stat().st_ino, len(done.to_json())) in on_the_disk, target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    files.write(done)
    assert shown == [(True, f"{ADDRESS.id}.json")]


def test_what_becomes_of_an_answer_is_seen(files: MailboxFiles) -> None:
    assert files.shown(ADDRESS) == "gone"
    files.write(answer("done"))
    final = files.root / "answers" / INSTANCE / f"{ADDRESS.id}.json"
    claimed = final.rename(final.with_name(f"{ADDRESS.id}.claimed.json"))
    assert files.shown(ADDRESS) == "claimed"
    claimed.unlink()
    assert files.shown(ADDRESS) == "gone"


def test_a_request_is_forgotten_when_its_answer_is_neither_there_nor_claimed(files: MailboxFiles) -> None:
    taken = leave(files.root / "taken" / ADDRESS.file_name)
    files.write(answer("done"))
    final = files.root / "answers" / INSTANCE / f"{ADDRESS.id}.json"
    assert files.forget_fetched([ADDRESS]) == []
    claimed = final.rename(final.with_name(f"{ADDRESS.id}.claimed.json"))
    assert files.forget_fetched([ADDRESS]) == []
    assert taken.is_file()
    claimed.unlink()
    assert files.forget_fetched([ADDRESS]) == [ADDRESS]
    assert not taken.exists()


def test_a_damaged_answer_counts_as_one_that_says_nothing_yet(files: MailboxFiles) -> None:
    leave(files.root / "answers" / INSTANCE / f"{ADDRESS.id}.json", '{"state": "do')
    shown = files.shown(ADDRESS)
    assert isinstance(shown, Answer)
    assert not shown.is_final


def test_an_answer_is_not_written_through_a_link(files: MailboxFiles, tmp_path: Path) -> None:
    outside = leave(tmp_path / "outside" / f"{ADDRESS.id}.json", "mine")
    (files.root / "answers" / INSTANCE).symlink_to(outside.parent)
    with pytest.raises(NotADirectoryError):
        files.write(answer())
    assert outside.read_text() == "mine"
    (files.root / "answers" / INSTANCE).unlink()
    folder = files.root / "answers" / INSTANCE
    folder.mkdir()
    (folder / f"{ADDRESS.id}.json.tmp").symlink_to(outside)
    files.write(answer())
    assert outside.read_text() == "mine"


def test_a_folder_that_is_a_link_is_no_part_of_a_mailbox(files: MailboxFiles, tmp_path: Path) -> None:
    (files.root / "answers").rmdir()
    (files.root / "answers").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        files.prepare()


def test_a_file_that_another_program_reads_is_replaced_a_moment_later(
    files: MailboxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([PermissionError("in use"), PermissionError("in use")])
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        for refusal in refusals:
            raise refusal
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(mailbox_files, "_IS_WINDOWS", True)
    files.write(answer("done"))
    assert files.shown(ADDRESS) == answer("done")


def test_who_may_write_is_looked_at(files: MailboxFiles) -> None:
    files.root.chmod(0o755)
    (files.root / "requests").chmod(0o755)
    assert not files.is_open_to_all()
    (files.root / "requests").chmod(0o777)
    assert files.is_open_to_all() is (os.name != "nt")


def test_only_what_nobody_will_ask_for_is_swept(files: MailboxFiles) -> None:
    root, older = files.root, 60.0
    in_work = Address(INSTANCE, "in-work")
    stays = [
        leave(root / "requests" / f"{INSTANCE}.a.json.tmp", age_s=TEMPORARY_S - older),
        leave(root / "requests" / ADDRESS.file_name, age_s=UNCLAIMED_S * 2),
        leave(root / "requests" / "notes.txt", age_s=UNCLAIMED_S * 2),
        leave(root / "audio" / f"{ADDRESS.id}.1.wav", age_s=UNCLAIMED_S),
        leave(root / "audio" / "in-work.1.wav", age_s=UNCLAIMED_S),
        leave(root / "audio" / "b.1.wav", age_s=AUDIO_S - older),
        leave(root / "answers" / INSTANCE / "c.json", age_s=UNCLAIMED_S - older),
        leave(root / "answers" / INSTANCE / "d.claimed.json", age_s=CLAIMED_S - older),
        leave(root / "answers" / INSTANCE / "in-work.json", age_s=UNCLAIMED_S * 2),
        leave(root / "taken" / f"{INSTANCE}.c.json", age_s=UNCLAIMED_S * 2),
        leave(root / "taken" / in_work.file_name, age_s=UNCLAIMED_S * 2),
        leave(root / "answers" / "mine" / "e.json", age_s=UNCLAIMED_S * 2),
    ]
    goes = [
        leave(root / "requests" / f"{INSTANCE}.z.json.tmp", age_s=TEMPORARY_S + older),
        leave(root / "audio" / "z.1.wav", age_s=AUDIO_S + older),
        leave(root / "answers" / OTHER_INSTANCE / "z.json", age_s=UNCLAIMED_S + older),
        leave(root / "answers" / OTHER_INSTANCE / "z.claimed.json", age_s=CLAIMED_S + older),
        leave(root / "answers" / OTHER_INSTANCE / "z.json.tmp", age_s=TEMPORARY_S + older),
        leave(root / "taken" / f"{INSTANCE}.z.json", age_s=0.0),
    ]
    files.sweep(NOW, [in_work])
    assert [path for path in stays if not path.exists()] == []
    assert [path for path in goes if path.exists()] == []
    os.utime(root / "answers" / OTHER_INSTANCE, (NOW - UNCLAIMED_S, NOW - UNCLAIMED_S))
    files.sweep(NOW, [in_work])
    assert not (root / "answers" / OTHER_INSTANCE).exists()
    assert stat.S_ISDIR((root / "answers" / INSTANCE).stat().st_mode)
