"""The mailbox over time: kills and restarts, folders that vanish, lost events, slow disks, many mailboxes, none."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from bridge.doors import mailbox, mailbox_answers, mailbox_requests, mailbox_watch
from bridge.doors.mailbox import REGISTRY
from bridge.doors.mailbox_files import MailboxFiles
from protocol.vocabulary import JobState
from tests.support.mailbox import OTHER_INSTANCE, Script, until
from tests.support.mailbox_door import Studio, Surface, studio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other fast, so that no test waits for them."""
    for module in (mailbox, mailbox_watch):
        monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(mailbox_answers, "RING_AFTER_S", 0.05)


def done_with(desk: Studio, request_id: str) -> None:
    desk.script.claim(request_id)
    desk.script.finish(request_id)


# --- the script's side ------------------------------------------------------------------------------------------------
async def test_what_the_script_is_done_with_is_forgotten(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.finished(asked)
        desk.script.claim(asked)
        claimed = desk.script.request_file(asked, "taken")
        assert claimed.is_file()
        desk.script.finish(asked)
        await until(lambda: not claimed.exists())


async def test_an_answer_that_nobody_fetches_rings_once_and_one_that_is_fetched_does_not(tmp_path: Path) -> None:
    surface = Surface()
    async with studio(tmp_path, surface=surface) as desk:
        fetched, left = desk.post(doorbell="_RSfetched"), desk.post(doorbell="_RSleft")
        await desk.finished(fetched)
        desk.script.claim(fetched)
        await desk.finished(left)
        await until(lambda: surface.rung)
        refused = desk.post(doorbell="_RSrefused", verb="remix")
        await desk.state(refused, "refused")
        await until(lambda: len(surface.rung) == 2)
        assert surface.rung == ["_RSleft", "_RSrefused"]
        assert surface.refreshed == 3


async def test_only_requests_ring_a_check_or_a_cancel_does_not(tmp_path: Path) -> None:
    surface = Surface()
    async with studio(tmp_path, surface=surface) as desk:
        for kind in ("hello", "cancel"):
            asked = desk.post(kind=kind, job="all", source=None, doorbell=f"_RS{kind}")
            assert (await desk.state(asked, "done"))["kind"] == kind
        await desk.state(desk.post(doorbell="_RSrequest", verb="remix"), "refused")
        (opened,) = desk.door._mailboxes.values()
        await until(lambda: surface.rung and not opened.answers._tasks)
        assert surface.rung == ["_RSrequest"]


async def test_progress_is_written_a_few_times_a_second_and_the_end_at_once(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = await desk.begun(desk.post())
        before = (await desk.state(asked, "running"))["serial"]
        for step in range(1000):
            desk.progress(step / 1000)
            await asyncio.sleep(0)
        done = await desk.finished(asked)
        assert done["serial"] - before <= 4


async def test_what_is_said_while_an_answer_is_being_written_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, go_on = MailboxFiles.write, threading.Event(), threading.Event()

    def slow(files: MailboxFiles, answer: Any) -> None:
        if answer.fraction == 0.5:
            begun.set()
            go_on.wait(30)
        write(files, answer)

    monkeypatch.setattr(MailboxFiles, "write", slow)
    async with studio(tmp_path) as desk:
        asked = await desk.begun(desk.post())
        await desk.state(asked, "running")
        desk.progress(0.5)
        await until(begun.is_set)
        desk.runner.finish(asked, desk.bench.folder, 1)
        (opened,) = desk.door._mailboxes.values()
        await until(lambda: all(ticket.answer.is_final for ticket in opened.answers.tickets.values()))
        go_on.set()
        await desk.state(asked, "done")


async def test_a_job_that_makes_no_progress_gives_signs_of_life_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox_answers, "SIGN_OF_LIFE_S", 0.02)
    async with studio(tmp_path) as desk:
        running, waiting = await desk.begun(desk.post()), desk.post()

        def serial(asked: str) -> int:
            answer = desk.script.answer(asked)
            return answer["serial"] if answer else 0

        first = serial(running)
        await until(lambda: serial(running) > first + 2)
        await until(lambda: serial(waiting) > 2)
        done = (await desk.finished(running))["serial"]
        later = serial(waiting)
        await until(lambda: serial(waiting) > later + 2)
        assert serial(running) == done  # the last word is said once


async def test_a_request_that_is_withdrawn_while_it_is_read_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = MailboxFiles.write

    def withdrawn(self: MailboxFiles, answer: Any) -> None:
        desk.script.request_file(answer.id).unlink(missing_ok=True)
        write(self, answer)

    monkeypatch.setattr(MailboxFiles, "write", withdrawn)
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.state(asked, "cancelled")
        assert await desk.jobs() == [(asked, JobState.CANCELLED)]


# --- kills and restarts -----------------------------------------------------------------------------------------------
async def test_a_job_that_ended_while_no_door_was_open_is_answered_by_the_next(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = await desk.begun(desk.post())
        before = await desk.state(asked, "running")
    assert desk.script.state(asked) == "queued"  # given back to the journal as the daemon ended
    async with studio(tmp_path, start=False) as desk:
        await desk.begun(asked)
        desk.runner.finish(asked, desk.bench.folder)
        await desk.bench.until(asked, JobState.DONE)
        desk.door.start()
        done = await desk.state(asked, "done")
        assert (len(done["takes"]), done["origin"]) == (1, before["origin"])
        assert done["serial"] > before["serial"]


async def test_a_request_is_done_once_whenever_the_daemon_dies(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.finished(asked)
        taken, waiting = desk.script.request_file(asked, "taken"), desk.script.request_file(asked)
        content = taken.read_bytes()
    # killed after the answer was written, before the request was moved aside
    taken.rename(waiting)
    async with studio(tmp_path) as desk:
        await until(lambda: not waiting.exists() and taken.exists())
        assert await desk.jobs() == [(asked, JobState.DONE)]
    # killed after the job was journalled, before its first answer; the audio is gone by then or not
    desk.script.answer_file(asked).unlink()
    taken.unlink()
    waiting.write_bytes(content)
    async with studio(tmp_path) as desk:
        assert len((await desk.state(asked, "done"))["takes"]) == 1
        assert await desk.jobs() == [(asked, JobState.DONE)]
        assert desk.runner.order == []


async def test_audio_that_a_kill_left_behind_is_removed(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.finished(asked)
    left = desk.script.folder("audio") / f"{asked}.1.wav"
    left.write_bytes(b"audio")
    async with studio(tmp_path):
        await until(lambda: not left.exists())


async def test_what_the_script_was_done_with_before_a_restart_is_not_answered_again(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.finished(asked)
        claimed_only = desk.post()
        await desk.finished(claimed_only)
    done_with(desk, asked)
    desk.script.claim(claimed_only)
    async with studio(tmp_path) as desk:
        await until(lambda: not desk.script.request_file(asked, "taken").exists())
        assert desk.script.answer(asked) is None
        assert desk.script.answer(claimed_only) is None
        assert desk.script.request_file(claimed_only, "taken").exists()
        desk.script.finish(claimed_only)
        await until(lambda: not desk.script.request_file(claimed_only, "taken").exists())


async def test_an_id_that_is_used_once_more_is_answered_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MailboxFiles, "forget_fetched", lambda *_: [])  # the daemon does not look in between
    async with studio(tmp_path) as desk:
        for _ in range(2):
            refused = desk.post(id="again", verb="remix")
            await desk.state(refused, "refused")
            await until(lambda: not desk.script.request_file("again").exists())
            done_with(desk, "again")


async def test_a_job_that_no_journal_knows_is_answered_all_the_same(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = await desk.begun(desk.post())
        await desk.state(asked, "running")
    for file in (tmp_path / "queue").glob("jobs.sqlite3*"):
        file.unlink()
    async with studio(tmp_path) as desk:
        assert (await desk.state(asked, "refused"))["error"]["code"] == "unknown_job"


async def test_requests_that_come_while_the_daemon_is_away_are_taken_in_their_order(tmp_path: Path) -> None:
    async with studio(tmp_path):
        pass
    async with studio(tmp_path, start=False) as desk:
        later, first, between = (desk.asked(id=f"20261123-00000{n}-abcdef", source=None) for n in (3, 1, 2))
        for content in (later, first, between):
            desk.script.post({**content, "verb": "generate"})
        desk.door.start()
        await desk.state(later["id"], "queued")
        assert [job for job, _ in await desk.jobs()] == [first["id"], between["id"], later["id"]]


async def test_what_comes_while_the_daemon_stops_waits_for_the_next(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        await desk.door.stop_taking()
        asked = desk.post()
    assert desk.script.answer(asked) is None
    assert desk.script.request_file(asked).is_file()
    async with studio(tmp_path) as desk:
        await desk.begun(asked)


# --- folders and events -----------------------------------------------------------------------------------------------
async def test_lost_events_cost_a_moment_not_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_here(*_: object, **__: object) -> Any:
        raise OSError("inotify watch limit reached")
        yield

    monkeypatch.setattr(mailbox_watch, "awatch", none_here)
    async with studio(tmp_path) as desk:
        await desk.begun(desk.post())


async def test_a_folder_that_vanishes_is_waited_for_and_its_last_answer_is_written_then(tmp_path: Path) -> None:
    async with studio(tmp_path) as desk:
        asked = await desk.begun(desk.post())
        await desk.state(asked, "running")
        away = desk.script.root.rename(tmp_path / "unplugged")
        desk.runner.finish(asked, desk.bench.folder)
        await desk.bench.until(asked, JobState.DONE)
        away.rename(desk.script.root)
        assert len((await desk.state(asked, "done"))["takes"]) == 1
        await desk.begun(desk.post())


async def test_a_disk_that_refuses_an_answer_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, refusals = MailboxFiles.write, iter(range(3))

    def full(self: MailboxFiles, answer: Any) -> None:
        for _ in refusals:
            raise OSError(28, "No space left on device")
        write(self, answer)

    monkeypatch.setattr(MailboxFiles, "write", full)
    async with studio(tmp_path) as desk:
        asked = desk.post()
        await desk.begun(asked)
        await desk.state(asked, "running")
        await until(lambda: not desk.script.request_file(asked).exists())
        assert len(await desk.jobs()) == 1


async def test_a_full_disk_is_told_in_the_log_once_and_once_more_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stembridge.mailbox")
    write, refused, full = MailboxFiles.write, [], threading.Event()

    def refusing(self: MailboxFiles, answer: Any) -> None:
        if full.is_set():
            refused.append(answer.id)
            raise OSError(28, "No space left on device")
        write(self, answer)

    monkeypatch.setattr(MailboxFiles, "write", refusing)
    async with studio(tmp_path) as desk:
        full.set()
        asked = [desk.post(), desk.post()]
        await until(lambda: min(map(refused.count, asked)) > 5)
        full.clear()
        for each in asked:
            await until(lambda each=each: desk.script.answer(each))
        said = [record.getMessage() for record in caplog.records]
        assert sum("No space left" in line for line in said) == 2  # the request waits; its answer is kept
        await until(lambda: caplog.text.count("can be used again") == 2)


async def test_a_long_file_holds_up_neither_the_loop_nor_another_mailbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, go_on, began = mailbox_requests.keep, threading.Event(), threading.Event()

    def slow(*args: Any) -> Path:
        if not began.is_set():
            began.set()
            assert go_on.wait(30)
        return keep(*args)

    monkeypatch.setattr(mailbox_requests, "keep", slow)
    second = tmp_path / "second"
    second.mkdir()
    async with studio(tmp_path, mailboxes=[tmp_path / "mailbox", second]) as desk:
        other = Script(second, OTHER_INSTANCE)
        await until(lambda: (second / "requests").is_dir() and (tmp_path / "mailbox" / "requests").is_dir())
        long = desk.post()
        await until(began.is_set)
        short = desk.post(other)
        await desk.state(short, "running", other)
        assert desk.script.answer(long) is None
        go_on.set()
        await desk.state(long, "queued")


async def test_one_daemon_serves_a_mailbox_at_a_time(tmp_path: Path) -> None:
    async with studio(tmp_path) as first:
        await first.begun(first.post())
        async with studio(tmp_path / "b", mailboxes=[first.script.root]) as second:
            second.script = first.script
            await first.state(first.post(), "queued")
            assert await second.jobs() == []
            await first.door.stop_taking()
            await first.door.close()
            asked = second.post()
            await second.begun(asked)


async def test_a_mailbox_that_everybody_may_write_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stembridge.mailbox")
    (tmp_path / "mailbox").mkdir()
    (tmp_path / "mailbox").chmod(0o777)
    async with studio(tmp_path):
        await until(lambda: "chmod o-w" in caplog.text)


# --- which mailboxes --------------------------------------------------------------------------------------------------
async def test_registered_mailboxes_come_and_go_while_the_daemon_runs(tmp_path: Path) -> None:
    box, registry = tmp_path / "mailbox", tmp_path / REGISTRY
    async with studio(tmp_path, mailboxes=[]) as desk:
        registry.write_text(json.dumps({"mailboxes": [str(box)]}), encoding="utf-8")
        await until((box / "requests").is_dir)
        asked = await desk.begun(desk.post())
        registry.write_text("{ damaged", encoding="utf-8")
        await desk.state(asked, "running")
        registry.write_text(json.dumps({"mailboxes": []}), encoding="utf-8")
        await until(lambda: not desk.door._mailboxes)
        await desk.door._mind()
        late = desk.post()
        await desk.door._mind()
        assert desk.script.answer(late) is None


async def test_without_a_mailbox_nothing_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[object] = []
    monkeypatch.setattr(mailbox_watch, "awatch", lambda *paths, **_: watched.append(paths))
    async with studio(tmp_path, mailboxes=[]) as desk:
        await desk.door._mind()
        assert (watched, [task.get_name() for task in asyncio.all_tasks() if "mailbox" in task.get_name()]) == (
            [],
            ["mailboxes"],
        )
    assert not (tmp_path / "mailbox" / "requests").exists()
