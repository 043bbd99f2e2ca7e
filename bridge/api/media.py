"""Audio files that the task API keeps under a UUID: what clients upload or name by an address, and results.

Promises, each with a test:

* What is kept can be read as audio; anything else is refused and leaves nothing behind.
* A file is whole and on the disk before its row is, and its row before `put_...` returns. After a kill, `tidy` removes
  what has no row.
* Nothing is larger than `max_bytes`, and nothing takes the disk's last `ROOM_BYTES`, told while it still comes in.
* What is past its time is gone for readers at once; a file that the system does not let go of (Windows, while it is
  being read) goes at the next sweep.
* The event loop only waits: decoding, writing and reading headers happen in threads, a piece at a time.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
import re
import shutil
import sqlite3
import uuid as uuids
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from bridge import atomic
from bridge.api.database import Database
from bridge.api.values import Media
from engine.audio import AudioInfo, probe
from protocol.api_errors import ApiError, ApiRefused
from protocol.audio_input import AudioInput
from protocol.errors import DiskFull, SourceError
from protocol.music import MAX_RATE, MIN_RATE

log = logging.getLogger("stembridge.api")

MAX_SECONDS = 3600
"""Longest audio that is taken in: an hour of silence is a small FLAC, but gigabytes once an engine decodes it."""

MAX_CHANNELS = 8

MAX_SAMPLES = 1 << 31
"""Over all channels: an hour in stereo at 192 kHz, and more. Silence of more than that fits into a FLAC of a few MB."""

ROOM_BYTES = 512 << 20
"""So much stays free on the disk, whoever sends audio: the journal is on it, without which a DAW is not served."""

P = ParamSpec("P")
T = TypeVar("T")

_TABLE = """CREATE TABLE IF NOT EXISTS media (
    uuid TEXT PRIMARY KEY, file TEXT NOT NULL, mime TEXT NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
    created REAL NOT NULL, expires REAL)"""

_TYPES = {
    "WAV": (".wav", "audio/wav"),
    "WAVEX": (".wav", "audio/wav"),
    "RF64": (".wav", "audio/wav"),
    "FLAC": (".flac", "audio/flac"),
    "OGG": (".ogg", "audio/ogg"),
    "MP3": (".mp3", "audio/mpeg"),
    "AIFF": (".aiff", "audio/aiff"),
}
"""libsndfile's name of a format -> the file's ending, and its media type; what it really is, not what was claimed."""

_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\w+")
_PARAMETER = "inputs.audio"
_PIECE_CHARS = 1 << 16
_PIECE_BYTES = 1 << 20
_PIECES_AT_ONCE = 32


class MediaStore:
    """The files in `folder`, made when it is needed, and their rows in `database`.

    `now` is seconds since the epoch; uploads are kept for `keep_s` seconds (None: until they are deleted); `free_bytes`
    tells how much room there is on the disk of a folder.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        max_bytes: int,
        now: Callable[[], float],
        keep_s: float | None = None,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._free_bytes = free_bytes
        self._folder = folder
        self._database = database
        self._max_bytes = max_bytes
        self._now = now
        self._keep_s = keep_s

    # --- in ---------------------------------------------------------------------------------------------------------
    async def put_base64(self, given: AudioInput) -> Media:
        """Keep inline audio (kind ``data``) as an upload. Raises `ApiRefused` and `ProjectError`."""
        if given.encoded_chars * 3 // 4 - given.text[-2:].count("=") > self._max_bytes:
            raise self._too_large()
        return await self._keep(lambda file: self._in_thread(self._decode, given, file))

    async def put_stream(self, chunks: AsyncIterator[bytes]) -> Media:
        """Keep what `chunks` give, one after the other, as an upload. Raises what they raise, and as `put_base64`."""

        async def fill(file: BinaryIO) -> None:
            size = 0
            held: list[bytes] = []  # what comes is often a few KiB: not a thread for each
            held_bytes = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise self._too_large()
                held.append(chunk)
                held_bytes += len(chunk)
                if held_bytes >= _PIECE_BYTES:
                    await self._in_thread(self._write, file, held)
                    held, held_bytes = [], 0
            await self._in_thread(self._write, file, held)

        return await self._keep(fill)

    async def put_file(self, path: Path, uuid: str, mime: str, expires: float | None) -> Media:
        """Keep a finished result: `path`, on the same disk, is moved here. The same UUID again replaces the first.

        A file that lies here already, from a try that was killed before its row was written, is taken as it is.
        """
        file, size = await self._in_thread(self._move, path, uuid)
        return await self._enter(Media(uuid.lower(), file, mime, size, "result", self._now(), expires))

    def _move(self, path: Path, uuid: str) -> tuple[Path, int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{uuid.lower()}{path.suffix}"
        if path != file:
            path.replace(file)
            atomic.sync_folder(self._folder)
        return file, file.stat().st_size

    async def _keep(self, fill: Callable[[BinaryIO], Awaitable[object]]) -> Media:
        """What `fill` writes, once it has proved to be audio, under a new UUID."""
        with_file = ExitStack()
        try:
            temporary, file = await self._in_thread(self._begin, with_file)
            await fill(file)
            media = await self._in_thread(self._finish, temporary, file)
        finally:
            await self._in_thread(with_file.close)
        return await self._enter(media)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            raise atomic.in_words(error, self._folder) from error

    def _begin(self, with_file: ExitStack) -> tuple[Path, BinaryIO]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_room()
        temporary = with_file.enter_context(atomic.temporary_file(self._folder))
        return temporary, with_file.enter_context(temporary.open("xb"))

    def _write(self, file: BinaryIO, pieces: list[bytes]) -> None:
        self._check_room()
        file.writelines(pieces)

    def _decode(self, given: AudioInput, file: BinaryIO) -> None:
        for number, piece in enumerate(given.pieces(_PIECE_CHARS)):
            if number % _PIECES_AT_ONCE == 0:
                self._check_room()
            try:
                file.write(binascii.a2b_base64(piece, strict_mode=True))
            except ValueError as error:
                place = given.start + number * _PIECE_CHARS
                raise _no_audio(f"It is not base64 ({error}), somewhere after character {place}.") from error

    def _check_room(self) -> None:
        if self._free_bytes(self._folder) < ROOM_BYTES:
            raise DiskFull(
                f"Less than {ROOM_BYTES >> 20} MiB are free on the disk of {self._folder}: make room there, or delete "
                "what was uploaded."
            )

    def _finish(self, temporary: Path, file: BinaryIO) -> Media:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        info = _probed(temporary)
        suffix, mime = _TYPES.get(info.format, (f".{info.format.lower()}", "application/octet-stream"))
        uuid = str(uuids.uuid4())
        final = self._folder / f"{uuid}{suffix}"
        size = temporary.stat().st_size
        temporary.replace(final)
        atomic.sync_folder(self._folder)
        now = self._now()
        return Media(uuid, final, mime, size, "upload", now, None if self._keep_s is None else now + self._keep_s)

    async def _enter(self, media: Media) -> Media:
        row = (media.uuid, media.file.name, media.mime, media.size, media.kind, media.created, media.expires)

        def work(db: sqlite3.Connection) -> None:
            db.execute(_TABLE)
            db.execute("INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        await self._database.run(work)
        return media

    def _too_large(self) -> ApiRefused:
        sentence = (
            f"The audio is larger than {self._max_bytes / 2**20:.4g} MiB: send it as FLAC or MP3, or a shorter part "
            "([http] max_media_mb in the configuration allows more)."
        )
        return ApiRefused(ApiError("invalidRequestSize", sentence, _PARAMETER, "string", status=413))

    # --- out ----------------------------------------------------------------------------------------------------------
    async def get(self, uuid: str) -> Media | None:
        """The file kept under `uuid`, or None if there is none or its time is over."""
        found = await self._select("uuid = ? AND (expires IS NULL OR expires > ?)", uuid.lower(), self._now())
        return found[0] if found else None

    async def info(self, uuid: str) -> AudioInfo:
        """What the audio kept under `uuid` says of itself. Raises `ApiRefused` if there is none, or it is none."""
        media = await self.get(uuid)
        if media is None:
            sentence = f"There is no audio with the UUID {uuid} here (any more): upload it again."
            raise ApiRefused(ApiError("mediaNotFound", sentence, _PARAMETER, "string", status=404))
        return await asyncio.to_thread(_probed, media.file)

    async def expired(self) -> list[Media]:
        """What is past its time and still there."""
        return await self._select("expires <= ?", self._now())

    async def _select(self, condition: str, *values: object) -> list[Media]:
        def work(db: sqlite3.Connection) -> list[sqlite3.Row]:
            db.execute(_TABLE)
            return db.execute(f"SELECT * FROM media WHERE {condition} ORDER BY created", values).fetchall()  # noqa: S608

        return [
            Media(row["uuid"], self._folder / row["file"], *(row[name] for name in _PLAIN))
            for row in await self._database.run(work)
        ]

    # --- away ---------------------------------------------------------------------------------------------------------
    async def delete(self, uuid: str) -> bool:
        """Forget the file kept under `uuid`; False if there was none.

        Nobody gets it any more when this returns. If the system does not remove it now, it stays among the `expired`.
        """
        found = await self._select("uuid = ?", uuid.lower())
        if not found:
            return False
        is_gone = await asyncio.to_thread(_remove, found[0].file)
        change = "DELETE FROM media WHERE uuid = ?" if is_gone else "UPDATE media SET expires = 0 WHERE uuid = ?"
        await self._database.run(lambda db: db.execute(change, (uuid.lower(),)) and None)
        return True

    async def tidy(self) -> None:
        """Remove files without a row and rows without a file, as a kill leaves them. Before anything is put in."""
        kept = {media.file.name: media.uuid for media in await self._select("1")}
        there = await asyncio.to_thread(self._remove_strays, set(kept))
        gone = [(uuid,) for name, uuid in kept.items() if name not in there]
        await self._database.run(lambda db: db.executemany("DELETE FROM media WHERE uuid = ?", gone) and None)

    def _remove_strays(self, kept: set[str]) -> set[str]:
        """What of `kept` is in the folder, after everything else that this module named was removed."""
        if not self._folder.is_dir():
            return set()
        atomic.remove_leftovers(self._folder)
        names = {entry.name for entry in self._folder.iterdir()}
        for name in names - kept:
            if _OURS.fullmatch(name):
                _remove(self._folder / name)
        return names & kept


_PLAIN = ("mime", "size", "kind", "created", "expires")


def _probed(path: Path) -> AudioInfo:
    try:
        info = probe(path)
    except SourceError as error:
        raise _no_audio(str(error).replace(str(path), "it").replace(path.name, "it")) from error
    if info.frames > MAX_SECONDS * info.rate or info.channels > MAX_CHANNELS:
        raise _no_audio(
            f"It has {info.channels} channels and lasts {info.frames / info.rate:.0f} s; {MAX_CHANNELS} channels and "
            f"{MAX_SECONDS} s are the most. Send the part that is needed."
        )
    if not MIN_RATE <= info.rate <= MAX_RATE or info.frames * info.channels > MAX_SAMPLES:
        raise _no_audio(
            f"It has {info.channels} channels of {info.frames} samples at {info.rate} Hz; {MIN_RATE} to {MAX_RATE} Hz "
            f"and {MAX_SAMPLES} samples in all are what can be used. Send the part that is needed, at its usual rate."
        )
    return info


def _no_audio(reason: str) -> ApiRefused:
    return ApiRefused(ApiError("invalidAudio", f"The audio cannot be used: {reason}", _PARAMETER, "string"))


def _remove(path: Path) -> bool:
    """False if the file is still there, because somebody has it open."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.info("%s cannot be removed now: %s", path, error)
        return False
    return True
