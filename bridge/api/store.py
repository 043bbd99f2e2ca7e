"""What the task API remembers of each task: the request as it was sent, how it was planned, and what came of it.

A task is journalled here before its jobs are given to the queue, with everything that is needed to give them again: so
the next daemon goes on wherever this one was killed. Of a task that has expired its UUID stays, since a UUID that was
used once must not mean another task later.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.api.database import Database
from protocol.job import JobRequest
from protocol.task import Task

log = logging.getLogger("stembridge.api")

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS tasks (
    uuid     TEXT PRIMARY KEY COLLATE NOCASE,
    received REAL NOT NULL,
    state    TEXT NOT NULL,
    client   TEXT NOT NULL,
    base_url TEXT NOT NULL,
    request  TEXT NOT NULL,
    task     TEXT NOT NULL,
    source   TEXT,
    expires  REAL
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS results (
    task_uuid  TEXT NOT NULL COLLATE NOCASE,
    number     INTEGER NOT NULL,
    audio_uuid TEXT NOT NULL,
    parts      TEXT NOT NULL,
    state      TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '{}',
    ended      REAL,
    told       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task_uuid, number)
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state)",
    "CREATE INDEX IF NOT EXISTS tasks_by_expiry ON tasks (expires)",
)


class TaskState(StrEnum):
    """The life of a task. `fetching`: its audio is still on its way, so its jobs are not known yet."""

    FETCHING = "fetching"
    RUNNING = "running"
    ENDED = "ended"
    EXPIRED = "expired"


class ResultState(StrEnum):
    """The life of one result."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Part:
    """One job of a result: its id and its request, whole."""

    job_id: str
    request: JobRequest


@dataclass(frozen=True)
class StoredResult:
    """One result of a task. `number` counts from 0; `outcome` is JSON: facts of what was made, or the problem."""

    number: int
    audio_uuid: str
    parts: tuple[Part, ...] = ()
    state: ResultState = ResultState.OPEN
    outcome: Mapping[str, Any] | None = None
    ended: float | None = None
    is_told: bool = False
    """True once webhook and upload are in the outbox."""


@dataclass(frozen=True)
class StoredTask:
    """A task as it was accepted. Times are seconds since the epoch; `source` is the UUID of the audio it works on."""

    task: Task
    request: Mapping[str, Any]
    received: float
    client: str
    base_url: str
    state: TaskState
    source: str | None = None
    expires: float | None = None
    results: tuple[StoredResult, ...] = ()

    @property
    def uuid(self) -> str:
        return self.task.task_uuid


class TaskStore:
    """The tables of tasks and results. Whatever a method has returned is on the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        """Make the tables that are not there yet."""

        def make(db: sqlite3.Connection) -> None:
            for statement in _SCHEMA:
                db.execute(statement)

        await self._database.run(make)

    async def add(self, task: StoredTask) -> bool:
        """Journal a new task with its results; False, and nothing changed, if its UUID was used before."""

        def insert(db: sqlite3.Connection) -> bool:
            row = (
                *(task.uuid, task.received, task.state, task.client, task.base_url),
                *(json.dumps(task.request), task.task.model_dump_json(), task.source, task.expires),
            )
            if not db.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount:
                return False
            _insert_results(db, task.uuid, task.results)
            return True

        return await self._database.run(insert)

    async def plan(self, uuid: str, source: str, results: Sequence[StoredResult]) -> None:
        """The audio of a task in state `fetching` has come: what its jobs are."""

        def update(db: sqlite3.Connection) -> None:
            db.execute("UPDATE tasks SET state = ?, source = ? WHERE uuid = ?", (TaskState.RUNNING, source, uuid))
            rows = [(_parts_json(result.parts), uuid, result.number) for result in results]
            db.executemany("UPDATE results SET parts = ? WHERE task_uuid = ? AND number = ?", rows)

        await self._database.run(update)

    async def end_result(self, uuid: str, result: StoredResult) -> None:
        """Journal what came of a result."""

        def update(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE results SET state = ?, outcome = ?, ended = ?, told = ? WHERE task_uuid = ? AND number = ?",
                (result.state, json.dumps(result.outcome or {}), result.ended, result.is_told, uuid, result.number),
            )

        await self._database.run(update)

    async def told(self, uuid: str, number: int) -> None:
        """Whoever was to be told of a result will be: the outbox has it."""

        def update(db: sqlite3.Connection) -> None:
            db.execute("UPDATE results SET told = 1 WHERE task_uuid = ? AND number = ?", (uuid, number))

        await self._database.run(update)

    async def end_task(self, uuid: str, expires: float | None) -> None:
        """All results of a task have ended."""

        def update(db: sqlite3.Connection) -> None:
            db.execute("UPDATE tasks SET state = ?, expires = ? WHERE uuid = ?", (TaskState.ENDED, expires, uuid))

        await self._database.run(update)

    async def forget(self, uuid: str) -> None:
        """A task has expired: nothing stays of it but its UUID."""

        def update(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE tasks SET state = ?, client = '', base_url = '', request = '{}', task = '{}', source = NULL, "
                "expires = NULL WHERE uuid = ?",
                (TaskState.EXPIRED, uuid),
            )
            db.execute("DELETE FROM results WHERE task_uuid = ?", (uuid,))

        await self._database.run(update)

    async def drop(self, uuid: str) -> None:
        """Take back a task that nobody was told had been accepted."""

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM tasks WHERE uuid = ?", (uuid,))
            db.execute("DELETE FROM results WHERE task_uuid = ?", (uuid,))

        await self._database.run(delete)

    # --- reading ------------------------------------------------------------------------------------------------------
    async def state(self, uuid: str) -> TaskState | None:
        """The state of the task with that UUID, in whatever case it is written; None if it was never used."""

        def find(db: sqlite3.Connection) -> TaskState | None:
            row = db.execute("SELECT state FROM tasks WHERE uuid = ?", (uuid,)).fetchone()
            return TaskState(row["state"]) if row else None

        return await self._database.run(find)

    async def get(self, uuid: str) -> StoredTask | None:
        """The task with that UUID, if it is known and has not expired."""
        found = await self._tasks("uuid = ? AND state != ?", uuid, TaskState.EXPIRED)
        return found[0] if found else None

    async def unfinished(self) -> list[StoredTask]:
        """Tasks with results that are open, or that not everyone was told of, oldest first."""
        return await self._tasks(
            "state IN (?, ?) OR EXISTS (SELECT 1 FROM results WHERE task_uuid = uuid AND NOT told)",
            TaskState.FETCHING,
            TaskState.RUNNING,
        )

    async def expired(self, now: float) -> list[StoredTask]:
        """Ended tasks whose time is over."""
        return await self._tasks("state = ? AND expires <= ?", TaskState.ENDED, now)

    async def _tasks(self, where: str, *values: object) -> list[StoredTask]:
        def find(db: sqlite3.Connection) -> list[StoredTask]:
            rows = db.execute(f"SELECT * FROM tasks WHERE {where} ORDER BY received", values).fetchall()  # noqa: S608
            return [task for task in (_read(db, row) for row in rows) if task is not None]

        return await self._database.run(find)


def _read(db: sqlite3.Connection, row: sqlite3.Row) -> StoredTask | None:
    """The task of a row; None for one that this version cannot read, which must not keep the others from going on."""
    try:
        return _task(row, _results(db, row["uuid"]))
    except (ValueError, TypeError):
        log.exception("task %s cannot be read and is passed over", row["uuid"])
        return None


def _insert_results(db: sqlite3.Connection, uuid: str, results: Iterable[StoredResult]) -> None:
    rows = [(uuid, result.number, result.audio_uuid, _parts_json(result.parts), result.state) for result in results]
    db.executemany("INSERT INTO results (task_uuid, number, audio_uuid, parts, state) VALUES (?, ?, ?, ?, ?)", rows)


def _parts_json(parts: Sequence[Part]) -> str:
    return json.dumps([[part.job_id, part.request.model_dump_json()] for part in parts])


def _results(db: sqlite3.Connection, uuid: str) -> tuple[StoredResult, ...]:
    rows = db.execute("SELECT * FROM results WHERE task_uuid = ? ORDER BY number", (uuid,)).fetchall()
    return tuple(
        StoredResult(
            number=row["number"],
            audio_uuid=row["audio_uuid"],
            parts=tuple(Part(job, JobRequest.model_validate_json(text)) for job, text in json.loads(row["parts"])),
            state=ResultState(row["state"]),
            outcome=json.loads(row["outcome"]),
            ended=row["ended"],
            is_told=bool(row["told"]),
        )
        for row in rows
    )


def _task(row: sqlite3.Row, results: tuple[StoredResult, ...]) -> StoredTask:
    return StoredTask(
        task=Task.model_validate_json(row["task"]),
        request=json.loads(row["request"]),
        received=row["received"],
        client=row["client"],
        base_url=row["base_url"],
        state=TaskState(row["state"]),
        source=row["source"],
        expires=row["expires"],
        results=results,
    )
