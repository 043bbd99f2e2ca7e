"""The tickets of a mailbox by themselves: who hears of a job, which ticket is forgotten, what the log is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from bridge.doors.mailbox_answers import Answers, Ticket
from bridge.doors.mailbox_files import MailboxFiles
from bridge.doors.mailbox_trouble import REMIND_S, Trouble
from protocol.events import JobChanged, JobProgressed
from protocol.job import Progress
from protocol.mailbox import Address, client_of
from protocol.mailbox_answer import Answer
from protocol.vocabulary import JobState
from tests.support.jobs import job
from tests.support.mailbox import INSTANCE, OTHER_INSTANCE, until

ADDRESS = Address(INSTANCE, "a")


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    files = MailboxFiles(tmp_path)
    files.prepare()
    return Answers(files, lambda _: None, lambda: 0.0, lambda: 0.0)


def ticket(state: str = "queued") -> Ticket:
    return Ticket(ADDRESS, Answer(id=ADDRESS.id, instance=ADDRESS.instance, state=state))


@pytest.mark.parametrize("asker", [INSTANCE, OTHER_INSTANCE])
def test_a_job_of_another_under_the_same_id_is_not_told_of(answers: Answers, asker: str) -> None:
    waiting = ticket()
    answers.open(waiting)
    asked = job("a", state=JobState.RUNNING, clients=(client_of(asker),))
    answers.hear(JobChanged(asked))
    answers.hear(JobProgressed(asked, Progress(fraction=0.5, seconds_left=9.0, stage="denoising")))
    told = (waiting.job, waiting.answer.state, waiting.answer.fraction)
    assert told == ((asked, "running", 0.5) if asker == INSTANCE else (None, "queued", 0.0))


async def test_forgetting_what_was_fetched_spares_a_request_that_came_under_its_id_meanwhile(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, looked, go_on = MailboxFiles.forget_fetched, threading.Event(), threading.Event()

    def slow(files: MailboxFiles, addresses: Collection[Address]) -> list[Address]:
        fetched = forget(files, addresses)
        looked.set()
        assert go_on.wait(30)
        return fetched

    monkeypatch.setattr(MailboxFiles, "forget_fetched", slow)
    answers.resume(ticket("done"))
    ticking = asyncio.create_task(answers.tick())
    await until(looked.is_set)
    again = ticket()
    answers.open(again)
    go_on.set()
    await ticking
    assert answers.tickets == {ADDRESS: again}


def test_trouble_is_told_when_it_begins_once_a_minute_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stembridge.mailbox")
    now = 0.0
    trouble, full = Trouble(tmp_path, "waits", lambda: now), OSError(28, "No space left on device")

    def told(times: int, *, well: bool = False) -> int:
        caplog.clear()
        for _ in range(times):
            trouble.met("a.json", full)
            if well:
                trouble.over()
        return len(caplog.records)

    assert (told(100), told(100)) == (1, 0)
    now = REMIND_S
    assert told(100) == 1
    trouble.met("a.json", OSError(13, "Permission denied"))  # another reason is news
    trouble.over()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert told(100, well=True) == 0  # comes and goes
    now = 2 * REMIND_S
    assert told(100, well=True) == 2
