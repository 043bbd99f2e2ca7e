"""The tables of tasks and results: what was journalled reads back equal, and a UUID is never free again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.api.database import Database
from bridge.api.store import Part, ResultState, StoredResult, StoredTask, TaskState, TaskStore
from protocol.job import JobRequest, ProjectRef
from protocol.music import Region, TempoMap, TimeSignature
from protocol.task import Task, TaskSettings
from protocol.vocabulary import Verb
from tests.support.api import new_uuid


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "api.sqlite3")
    yield database
    database.close()


@pytest.fixture
async def store(database: Database) -> TaskStore:
    store = TaskStore(database)
    await store.open()
    await store.open()
    return store


def stored(uuid: str | None = None, *, received: float = 1.5, count: int = 2) -> StoredTask:
    task = Task(
        task_uuid=uuid or new_uuid(), number_results=count, settings=TaskSettings(bpm=97), positive_prompt="tape"
    )
    request = JobRequest(
        verb=Verb.PREPEND,
        task=task,
        engine="test",
        project=ProjectRef(folder="/w", media_folder="/w"),
        source=None,
        tempo_map=TempoMap.constant(97.53, TimeSignature(6, 8)),
        regions=(Region(-1 / 3, 0.1),),
    )
    results = tuple(
        StoredResult(number, new_uuid(), (Part(f"{task.task_uuid}.{number + 1}", request),), outcome={})
        for number in range(count)
    )
    sent = {"taskUUID": task.task_uuid, "positivePrompt": "tape", "advancedFeatures": {"a": [1, None, "ü"]}}
    return StoredTask(task, sent, received, "http:127.0.0.1", "http://x", TaskState.RUNNING, "media", None, results)


async def test_a_task_reads_back_as_it_was_journalled(store: TaskStore) -> None:
    task = stored()
    assert await store.add(task)
    assert await store.get(task.uuid) == task
    assert await store.get(task.uuid.upper()) == task
    assert await store.get(new_uuid()) is None


async def test_a_uuid_is_taken_once_in_any_case_until_for_ever(store: TaskStore) -> None:
    task = stored()
    assert await store.add(task)
    for uuid in (task.uuid, task.uuid.upper()):
        assert not await store.add(stored(uuid, received=9.0))
    assert await store.get(task.uuid) == task
    await store.end_task(task.uuid, 100.0)
    await store.forget(task.uuid)
    assert await store.get(task.uuid) is None
    assert await store.state(task.uuid.upper()) is TaskState.EXPIRED
    assert not await store.add(stored(task.uuid))


async def test_what_was_taken_back_was_never_there(store: TaskStore) -> None:
    task = stored()
    await store.add(task)
    await store.drop(task.uuid)
    assert await store.state(task.uuid) is None
    assert await store.add(task)
    assert await store.get(task.uuid) == task


async def test_a_task_is_unfinished_until_all_of_it_has_ended_and_been_told(store: TaskStore) -> None:
    task, later = stored(), stored(received=2.0)
    await store.add(later)
    await store.add(task)
    assert await store.unfinished() == [task, later]
    for result in task.results:
        done = replace(result, state=ResultState.DONE, outcome={"seed": 7}, ended=3.0)
        await store.end_result(task.uuid, done)
    await store.end_task(task.uuid, 60.0)
    assert [each.uuid for each in await store.unfinished()] == [task.uuid, later.uuid]
    for result in task.results:
        await store.told(task.uuid, result.number)
    assert await store.unfinished() == [later]
    kept = await store.get(task.uuid)
    assert kept is not None
    assert (kept.state, kept.expires) == (TaskState.ENDED, 60.0)
    assert [(each.state, each.outcome, each.ended, each.is_told) for each in kept.results] == [
        (ResultState.DONE, {"seed": 7}, 3.0, True)
    ] * 2
    assert await store.expired(59.9) == []
    assert [each.uuid for each in await store.expired(60.0)] == [task.uuid]


async def test_the_jobs_of_a_task_may_come_later(store: TaskStore) -> None:
    task = stored()
    waiting = replace(
        task, state=TaskState.FETCHING, source=None, results=tuple(replace(each, parts=()) for each in task.results)
    )
    await store.add(waiting)
    assert await store.get(task.uuid) == waiting
    await store.plan(task.uuid, "media", task.results)
    assert await store.get(task.uuid) == task


async def test_a_row_that_this_version_cannot_read_does_not_keep_the_others_from_going_on(
    store: TaskStore, database: Database
) -> None:
    broken, good = stored(), stored(received=2.0)
    await store.add(broken)
    await store.add(good)

    def spoil(db: sqlite3.Connection) -> None:
        db.execute("UPDATE tasks SET task = '{\"duration\": -1}' WHERE uuid = ?", (broken.uuid,))

    await database.run(spoil)
    assert await store.unfinished() == [good]
