"""The journal: every job that was ever acknowledged, in one SQLite file that survives kill -9 and power cuts.

A job is one row: its record as JSON (`Job.model_dump_json`) and, beside it, the columns that order and find jobs. What
a method has returned is on the disk (WAL, synchronous=FULL). A file that is damaged is moved aside, never deleted; one
from a newer version or of another program is refused. All methods block on the disk: the queue calls them from a
thread of their own.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from protocol.errors import StembridgeError, UnknownJob
from protocol.job import Job
from protocol.vocabulary import JobState

log = logging.getLogger("stembridge.store")

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x53544247  # "STBG"
_BUSY_S = 5.0
"""How long to wait for another process that has the file open (a backup)."""
_PRUNE_EVERY = 256

_SCHEMA = f"""
CREATE TABLE jobs (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    state    TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created  REAL NOT NULL,
    attempts INTEGER NOT NULL,
    record   TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, priority DESC, created, number);
CREATE TABLE askers (
    client TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    PRIMARY KEY (client, number)
) WITHOUT ROWID;
CREATE INDEX askers_by_job ON askers (number);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class JournalError(StembridgeError):
    """The job journal cannot be opened, read or written."""

    code = "journal_error"


class Store:
    """The journal at `path`, which is made if it is not there. Use from one thread at a time; `close` it.

    Raises `JournalError` if the file is of a newer version or another program's, or the folder cannot be written.
    `keep_finished` is how many jobs that are done, failed or cancelled are remembered; older ones are forgotten.
    """

    def __init__(self, path: Path, *, keep_finished: int = 10_000, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keep_finished = keep_finished
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._opened(now)
            self._prune()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(
                f"The job journal {path} cannot be opened: {error}. Check the folder's rights."
            ) from error

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------------------------------
    def add(self, job: Job) -> tuple[Job, bool]:
        """Journal a new job; if its id is known, nothing changes and the known job comes back with False."""
        with self._writing():
            known = self._one("SELECT record FROM jobs WHERE id = ?", job.id)
            if known is not None:
                return known, False
            row = (job.id, job.state, job.priority, job.created, job.attempts, job.model_dump_json())
            number = self._db.execute(
                "INSERT INTO jobs (id, state, priority, created, attempts, record) VALUES (?, ?, ?, ?, ?, ?)", row
            ).lastrowid
            self._note_askers(number, job.reply_to)
        if number is not None and number % _PRUNE_EVERY == 0:
            try:
                self._prune()
            except JournalError as error:  # the job itself is journalled
                log.warning("old jobs could not be forgotten: %s", error)
        return job, True

    def put(self, job: Job) -> None:
        """Journal a known job's new record. Raises `UnknownJob`."""
        with self._writing():
            found = self._db.execute("SELECT number FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if found is None:
                raise UnknownJob(f"There is no job {job.id}.")
            row = (job.state, job.priority, job.created, job.attempts, job.model_dump_json(), found[0])
            self._db.execute(
                "UPDATE jobs SET state = ?, priority = ?, created = ?, attempts = ?, record = ? WHERE number = ?", row
            )
            self._note_askers(found[0], job.reply_to)

    # --- reading ------------------------------------------------------------------------------------------------------
    def get(self, job_id: str) -> Job | None:
        """The job with that id."""
        with self._asking():
            return self._one("SELECT record FROM jobs WHERE id = ?", job_id)

    def newest(self, count: int) -> list[Job]:
        """The last `count` jobs that came, newest first."""
        with self._asking():
            return self._many("SELECT record FROM jobs ORDER BY number DESC LIMIT ?", max(0, count))

    def open_jobs(self) -> list[Job]:
        """All queued and running jobs in the queue's order: highest priority first, then oldest first."""
        with self._asking():
            return self._many(
                "SELECT record FROM jobs WHERE state IN (?, ?) ORDER BY priority DESC, created, number",
                JobState.QUEUED,
                JobState.RUNNING,
            )

    def last_for(self, reply_to: str) -> Job | None:
        """The newest job that this client asked for."""
        with self._asking():
            return self._one(
                "SELECT record FROM jobs WHERE number = (SELECT max(number) FROM askers WHERE client = ?)", reply_to
            )

    # --- inside -------------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(
                f"The job journal {self._path} cannot be used: {error}. Check the disk's space and the folder's rights."
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, on the disk when the block is left, undone if it raises."""
        with self._asking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _note_askers(self, number: int | None, clients: Sequence[str]) -> None:
        rows = [(client, number) for client in clients]
        self._db.executemany("INSERT OR IGNORE INTO askers (client, number) VALUES (?, ?)", rows)

    def _one(self, query: str, *values: object) -> Job | None:
        return next(iter(self._many(query, *values)), None)

    def _many(self, query: str, *values: object) -> list[Job]:
        return _records(self._db.execute(query, values), self._path)

    def _prune(self) -> None:
        """Forget the oldest finished jobs beyond `keep_finished`."""
        with self._writing():
            self._db.execute(
                "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE state IN (?, ?, ?) "
                "ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (JobState.DONE, JobState.FAILED, JobState.CANCELLED, self._keep_finished),
            )

    def _opened(self, now: Callable[[], float]) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # no rights, no space, locked: the file itself may be fine
                raise
            aside = _move_aside(self._path, now())
            log.warning("The job journal was damaged (%s). It was kept as %s, and a new one begun.", error, aside)
            return _open(self._path)


def read_newest(path: Path, count: int) -> list[Job]:
    """The last `count` jobs in the journal at `path`, newest first, without changing it, while a daemon may use it.

    Raises `JournalError` if it cannot be read.
    """
    return _looked_up(path, "SELECT record FROM jobs ORDER BY number DESC LIMIT ?", max(0, count))


def read_job(path: Path, job_id: str) -> Job | None:
    """The job of that id in the journal at `path`, as `read_newest` reads it; None if there is none."""
    return next(iter(_looked_up(path, "SELECT record FROM jobs WHERE id = ?", job_id)), None)


def _looked_up(path: Path, query: str, value: object) -> list[Job]:
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        with contextlib.closing(db):
            rows = db.execute(query, (value,)).fetchall()
    except sqlite3.Error as error:
        raise JournalError(f"The job journal {path} cannot be read: {error}.") from error
    return _records(rows, path)


def _records(rows: Iterable[tuple[str]], path: Path) -> list[Job]:
    jobs = []
    for (record,) in rows:
        try:
            jobs.append(Job.model_validate_json(record))
        except ValidationError:
            log.exception("a record in %s cannot be read and is passed over: %.200s", path, record)
    return jobs


def _open(path: Path) -> sqlite3.Connection:
    """A connection to a checked journal; raises `sqlite3.DatabaseError` for a damaged one."""
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file; refuse what is not ours; find damage."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION_ID:
        raise JournalError(f"{path} is another program's database. Choose another --data-dir.")
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"The job journal {path} was written by a newer Stembridge (format {version}; this one reads up to "
            f"{SCHEMA_VERSION}). Update Stembridge, or choose another --data-dir."
        )
    if not tables:
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    (health,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise sqlite3.DatabaseError(health)


def _move_aside(path: Path, now_s: float) -> Path:
    """Rename a damaged journal (and its log files) to a dated name that is free."""
    moment = datetime.fromtimestamp(now_s, UTC)
    base = f"{path.name}.damaged-{moment:%Y%m%d-%H%M%S}"
    aside, number = path.with_name(base), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{base}-{number}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
