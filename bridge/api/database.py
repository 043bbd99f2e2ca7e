"""The task API's own SQLite file: which tasks came, which media are kept, what still has to be told to whom.

Jobs are journalled by the queue (bridge/store.py); here stands what only the API knows of them. What `run` has returned
is on the disk (WAL, synchronous=FULL). Each part makes its own tables with `CREATE TABLE IF NOT EXISTS`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from protocol.errors import StembridgeError

T = TypeVar("T")

SCHEMA_VERSION = 1
_BUSY_S = 5.0


class ApiStoreError(StembridgeError):
    """The task API's file cannot be opened, read or written."""

    code = "journal_error"


class Database:
    """The file at `path`, made if it is not there, used from one thread of its own. `close` it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="api store")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._thread.submit(_open, path).result()
        except (OSError, sqlite3.Error) as error:
            self._thread.shutdown()
            raise ApiStoreError(
                f"{path} cannot be opened: {error}. Check the folder's rights, or move it away."
            ) from error

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with the connection in one transaction, in the store's thread; undone if it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                value = work(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise ApiStoreError(
                f"{self._path} cannot be used: {error}. Check the disk's space, or move it away."
            ) from error
        return value

    def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer Stembridge (format {version})")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        db.close()
        raise
    db.row_factory = sqlite3.Row
    return db
