"""What other servers still have to be told or given: webhooks and uploads, journalled until they arrived.

A message that `put` took is on the disk and is tried until its target took it (any 2xx), said that it is gone (410),
or ten tries over three quarters of an hour failed; a daemon that was killed goes on where it was, so a target may hear
the same message twice and tells by ``webhook-id``. One target hears one message at a time; targets never wait for each
other. Webhooks follow the Standard Webhooks convention (https://www.standardwebhooks.com): the headers ``webhook-id``,
``webhook-timestamp`` and, with a secret, ``webhook-signature``.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from bridge.api.database import ApiStoreError, Database
from bridge.api.signature import signature, signing_key
from bridge.api.values import Item
from bridge.web_guard import WebFailed, WebRefused

if TYPE_CHECKING:  # aiohttp is imported only where the HTTP door is open
    from bridge.web_client import SafeClient

log = logging.getLogger("stembridge.outbox")

Kind = Literal["webhook", "upload"]

TRIES = 10
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3600.0
_AT_ONCE = 16
_GONE = 410
_PIECE_BYTES = 262_144

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS outbox (
    number   INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    task     TEXT NOT NULL,
    idx      INTEGER NOT NULL,
    url      TEXT NOT NULL,
    mime     TEXT NOT NULL,
    file     TEXT,
    body     BLOB,
    state    TEXT NOT NULL,
    tries    INTEGER NOT NULL,
    due      REAL NOT NULL,
    tried    REAL,
    status   INTEGER,
    problem  TEXT
)""",
    "CREATE INDEX IF NOT EXISTS outbox_by_task ON outbox (task)",
    "CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (number) WHERE state = 'pending'",
)


class Timer(Protocol):
    """What `loop.call_later` gives back."""

    def cancel(self) -> None:
        """Not to be called any more."""
        ...


@dataclass(frozen=True)
class _Waiting:
    id: str
    target: str
    due: float


@dataclass(frozen=True)
class _Message:
    """A row as it is sent."""

    id: str
    kind: Kind
    url: str
    mime: str
    file: Path | None
    body: bytearray
    tries: int


@dataclass(frozen=True)
class _Outcome:
    state: Literal["delivered", "failed", "pending"]
    status: int | None
    problem: str | None


class Outbox:
    """Sends what was `put`. `start` it, and `stop` it before the database and the client are closed.

    `secret` signs webhooks: ``whsec_`` and the key in base64, or any other text, whose UTF-8 is the key; empty: no
    signature. `now` is the time of day in seconds since the epoch, `call_later` the loop's unless another is passed.
    Raises `SecretInvalid`.
    """

    def __init__(
        self,
        database: Database,
        client: SafeClient,
        *,
        secret: str = "",
        now: Callable[[], float] = time.time,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        self._database = database
        self._client = client
        self._key = signing_key(secret)
        self._now = now
        self._call_later = call_later
        self._waiting: dict[str, _Waiting] = {}
        self._trying: dict[str, asyncio.Task[None]] = {}
        self._busy: set[str] = set()
        self._timer: Timer | None = None
        self._running = False

    async def start(self) -> None:
        """Take up what an earlier daemon left."""

        def pending(db: sqlite3.Connection) -> list[sqlite3.Row]:
            for statement in _SCHEMA:
                db.execute(statement)
            return db.execute("SELECT id, url, due FROM outbox WHERE state = 'pending' ORDER BY number").fetchall()

        for row in await self._database.run(pending):
            self._waiting[row["id"]] = _Waiting(row["id"], _target(row["url"]), row["due"])
        self._running = True
        self._send_what_is_due()

    async def stop(self) -> None:
        """Drop what is under way; it stays pending and the next daemon sends it."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._trying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()

    async def put(
        self,
        kind: Kind,
        task_uuid: str,
        idx: int,
        url: str,
        *,
        body: bytes | None = None,
        file: Path | None = None,
        mime: str = "application/json",
    ) -> None:
        """Journal a message and send it: `body` for a webhook, `file` for an upload.

        The same kind, task and index again is the same message, and nothing happens.
        """
        url = url.encode(errors="replace").decode()  # JSON can hold what no text in a file can
        waiting = _Waiting(f"{kind}_{task_uuid}_{idx}", _target(url), self._now())

        def insert(db: sqlite3.Connection) -> bool:
            row = (waiting.id, kind, task_uuid, idx, url, mime, None if file is None else str(file), len(body or b""))
            made = db.execute(
                "INSERT INTO outbox (id, kind, task, idx, url, mime, file, body, state, tries, due) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, zeroblob(?), 'pending', 0, ?) ON CONFLICT DO NOTHING",
                (*row, waiting.due),
            )
            if made.rowcount and made.lastrowid is not None and body:
                _write_body(db, made.lastrowid, body)
            return bool(made.rowcount)

        if await self._database.run(insert) and self._running:
            self._waiting[waiting.id] = waiting
            self._send_what_is_due()

    async def deliveries(self, task_uuid: str) -> list[Item]:
        """What became of a task's webhooks and uploads, oldest first.

        ``kind``, ``resultIndex``, ``url``, ``state`` (``pending``, ``delivered``, ``failed``), ``attempts``, and where
        known ``status`` (HTTP), ``message``, ``lastAttempt`` and ``nextAttempt`` (ISO 8601, UTC).
        """
        query = "SELECT * FROM outbox WHERE task = ? ORDER BY number"
        return [
            _as_item(row) for row in await self._database.run(lambda db: db.execute(query, (task_uuid,)).fetchall())
        ]

    async def forget(self, task_uuid: str) -> None:
        """Drop all that is known of a task's messages, sent or not."""

        def delete(db: sqlite3.Connection) -> list[str]:
            rows = db.execute("DELETE FROM outbox WHERE task = ? RETURNING id", (task_uuid,)).fetchall()
            return [row["id"] for row in rows]

        for identity in await self._database.run(delete):
            self._waiting.pop(identity, None)
            if identity in self._trying:
                self._trying[identity].cancel()

    # --- sending ------------------------------------------------------------------------------------------------------
    def _send_what_is_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._running:
            return
        now = self._now()
        for one in sorted(self._waiting.values(), key=lambda waiting: waiting.due):
            if len(self._trying) >= _AT_ONCE:
                return
            if one.target in self._busy:
                continue
            if now < one.due <= now + _LONGEST_PAUSE_S:  # later than that: the clock was set back
                call_later = self._call_later or asyncio.get_running_loop().call_later
                self._timer = call_later(one.due - now, self._send_what_is_due)
                return
            self._busy.add(one.target)
            del self._waiting[one.id]
            self._trying[one.id] = asyncio.create_task(self._try(one))

    async def _try(self, waiting: _Waiting) -> None:
        again: _Waiting | None = None
        try:
            message = await self._load(waiting.id)
            if message is not None:
                outcome = await self._send(message)
                again = await self._record(waiting, message, outcome)
        except ApiStoreError as error:
            log.warning("a webhook or an upload has to wait: %s", error)
            again = _Waiting(waiting.id, waiting.target, self._now() + _FIRST_PAUSE_S)
        finally:
            del self._trying[waiting.id]
            self._busy.discard(waiting.target)
            if again is not None:
                self._waiting[again.id] = again
            self._send_what_is_due()

    async def _send(self, message: _Message) -> _Outcome:
        try:
            if message.kind == "upload":
                assert message.file is not None
                status = await self._client.put(message.url, message.file, message.mime)
            else:
                headers = await asyncio.to_thread(self._headers, message)
                status = await self._client.post(message.url, message.body, headers)
        except WebRefused as error:
            return _Outcome("failed", None, error.sentence)
        except WebFailed as error:
            return _Outcome(_after(message.tries), None, error.sentence)
        except OSError as error:
            return _Outcome("failed", None, f"The file cannot be read ({error.strerror}): ask for the result again.")
        if 200 <= status < 300:
            return _Outcome("delivered", status, None)
        if status == _GONE:
            return _Outcome("failed", status, "The target said that it is gone for good (410).")
        return _Outcome(_after(message.tries), status, f"The target answered {status}.")

    def _headers(self, message: _Message) -> dict[str, str]:
        stamp = str(int(self._now()))
        headers = {"Content-Type": message.mime, "webhook-id": message.id, "webhook-timestamp": stamp}
        if self._key:
            headers["webhook-signature"] = signature(self._key, message.id, stamp, message.body)
        return headers

    # --- the journal --------------------------------------------------------------------------------------------------
    async def _load(self, identity: str) -> _Message | None:
        def read(db: sqlite3.Connection) -> _Message | None:
            columns = "number, id, kind, url, mime, file, tries"
            row = db.execute(f"SELECT {columns} FROM outbox WHERE id = ?", (identity,)).fetchone()  # noqa: S608
            if row is None:
                return None
            file = None if row["file"] is None else Path(row["file"])
            body = _read_body(db, row["number"])
            return _Message(row["id"], row["kind"], row["url"], row["mime"], file, body, row["tries"])

        return await self._database.run(read)

    async def _record(self, waiting: _Waiting, message: _Message, outcome: _Outcome) -> _Waiting | None:
        tries, now = message.tries + 1, self._now()
        due = now + min(_FIRST_PAUSE_S * 2.0**message.tries, _LONGEST_PAUSE_S)
        is_pending = outcome.state == "pending"  # else nobody needs the body any more
        update = (
            "UPDATE outbox SET state = ?, tries = ?, due = ?, tried = ?, status = ?, problem = ?, "
            "body = iif(?, body, NULL) WHERE id = ?"
        )
        values = (outcome.state, tries, due, now, outcome.status, outcome.problem, is_pending, message.id)
        found = await self._database.run(lambda db: db.execute(update, values).rowcount)
        if outcome.state == "failed":
            log.warning("%s to %s given up at try %d: %s", message.kind, waiting.target, tries, outcome.problem)
        return _Waiting(waiting.id, waiting.target, due) if found and is_pending else None


def _after(tries: int) -> Literal["pending", "failed"]:
    return "pending" if tries + 1 < TRIES else "failed"


def _target(url: str) -> str:
    """Whom a URL speaks to: scheme, host and port."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL at all: whoever sends it will say so
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


# --- bodies: in pieces, since a copy of many megabytes would hold up every thread -------------------------------------
def _write_body(db: sqlite3.Connection, number: int, body: bytes) -> None:
    view = memoryview(body)
    with db.blobopen("outbox", "body", number) as blob:
        for start in range(0, len(view), _PIECE_BYTES):
            blob.write(view[start : start + _PIECE_BYTES])


def _read_body(db: sqlite3.Connection, number: int) -> bytearray:
    with db.blobopen("outbox", "body", number, readonly=True) as blob:
        body = bytearray(len(blob))
        for start in range(0, len(body), _PIECE_BYTES):
            piece = blob.read(_PIECE_BYTES)
            body[start : start + len(piece)] = piece
    return body


def _as_item(row: sqlite3.Row) -> Item:
    item = {
        "kind": row["kind"],
        "resultIndex": row["idx"],
        "url": row["url"],
        "state": row["state"],
        "attempts": row["tries"],
        "status": row["status"],
        "message": row["problem"],
        "lastAttempt": _iso(row["tried"]),
        "nextAttempt": _iso(row["due"]) if row["state"] == "pending" else None,
    }
    return {name: value for name, value in item.items() if value is not None}


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
