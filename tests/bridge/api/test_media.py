"""bridge/api/media.py: what comes in is audio or goes away, and what is kept is whole."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bridge.api import media as module
from bridge.api.database import Database
from bridge.api.media import ROOM_BYTES, MediaStore
from protocol.api_errors import ApiRefused
from protocol.audio_input import AudioInput, audio_input
from protocol.errors import DiskFull
from tests.support.audio import noise, save
from tests.support.deliveries import mounted, names

MAX_BYTES = 1 << 20
HOUR_S = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "api.sqlite3")
    yield database
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def store(folder: Path, database: Database, clock: Clock) -> MediaStore:
    return MediaStore(folder, database, max_bytes=MAX_BYTES, now=clock, keep_s=HOUR_S)


def song(tmp_path: Path, name: str = "song.wav", frames: int = 10_000) -> bytes:
    path = tmp_path / name
    soundfile.write(path, noise(frames).T, 44_100)
    return path.read_bytes()


def inline(content: bytes) -> AudioInput:
    return audio_input("data:audio/x-anything;base64," + base64.b64encode(content).decode())


async def pieces(content: bytes, size: int = 4096) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def error_of(refused: pytest.ExceptionInfo[ApiRefused]) -> tuple[str, int, str | None]:
    (error,) = refused.value.errors
    return error.code, error.status, error.parameter


# --- in ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "mime"),
    [("a.wav", "audio/wav"), ("a.flac", "audio/flac"), ("a.ogg", "audio/ogg"), ("a.mp3", "audio/mpeg")],
)
async def test_uploads_are_kept_byte_for_byte_as_what_they_really_are(
    tmp_path: Path, store: MediaStore, clock: Clock, name: str, mime: str
) -> None:
    content = song(tmp_path, name)
    for media in (await store.put_base64(inline(content)), await store.put_stream(pieces(content))):
        assert media.file.read_bytes() == content
        assert (media.mime, media.file.suffix, media.size) == (mime, Path(name).suffix, len(content))
        assert (media.kind, media.created, media.expires) == ("upload", clock.now, clock.now + HOUR_S)
        assert await store.get(media.uuid) == media == await store.get(media.uuid.upper())
        info = await store.info(media.uuid)
        assert (info.rate, info.channels, info.path) == (44_100, 2, media.file)


async def test_base64_of_any_length_is_decoded_in_pieces_to_the_byte(
    tmp_path: Path, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE_CHARS", 4096)
    for extra in range(3):
        content = song(tmp_path, frames=10_000 + extra) + b"\0" * extra
        assert (await store.put_base64(inline(content))).file.read_bytes() == content


@pytest.mark.parametrize("content", [b"RIFF" * 100, bytes(5000), os.urandom(5000), b"<html>" * 50], ids=len)
async def test_what_is_no_audio_is_refused_and_removed(store: MediaStore, folder: Path, content: bytes) -> None:
    for put in (store.put_base64(inline(content)), store.put_stream(pieces(content))):
        with pytest.raises(ApiRefused, match="The audio cannot be used: it is not audio") as refused:
            await put
        assert error_of(refused) == ("invalidAudio", 400, "inputs.audio")
        assert ".stembridge" not in str(refused.value)
    assert names(folder) == []


async def test_an_empty_upload_is_refused(store: MediaStore, folder: Path) -> None:
    with pytest.raises(ApiRefused) as refused:
        await store.put_stream(pieces(b""))
    assert error_of(refused)[0] == "invalidAudio"
    assert names(folder) == []


async def test_a_file_that_was_cut_off_on_its_way_is_refused(tmp_path: Path, store: MediaStore, folder: Path) -> None:
    with pytest.raises(ApiRefused, match="cut short"):
        await store.put_stream(pieces(song(tmp_path)[:-5000]))
    assert names(folder) == []


async def test_bad_base64_is_refused_with_its_place(tmp_path: Path, store: MediaStore, folder: Path) -> None:
    good = inline(song(tmp_path)).text
    for bad in (good[:3000] + "!" + good[3001:], good[:3000] + "====" + good[3004:], good[:3000] + "é" + good[3001:]):
        with pytest.raises(ApiRefused, match="not base64") as refused:
            await store.put_base64(AudioInput("data", bad, good.index(",") + 1))
        assert error_of(refused) == ("invalidAudio", 400, "inputs.audio")
    assert names(folder) == []


async def test_what_is_too_large_is_refused_while_it_comes(tmp_path: Path, store: MediaStore, folder: Path) -> None:
    content = song(tmp_path, frames=10 * MAX_BYTES // 4)
    given = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal given
        async for piece in pieces(content):
            given += len(piece)
            yield piece

    for put in (store.put_stream(counted()), store.put_base64(inline(content))):
        with pytest.raises(ApiRefused, match="max_media_mb") as refused:
            await put
        assert error_of(refused) == ("invalidRequestSize", 413, "inputs.audio")
    assert given <= MAX_BYTES + 4096
    assert names(folder) == []


async def test_the_largest_that_is_allowed_comes_in(tmp_path: Path, folder: Path, database: Database) -> None:
    content = song(tmp_path)
    exact = MediaStore(folder, database, max_bytes=len(content), now=Clock())
    less = MediaStore(folder, database, max_bytes=len(content) - 1, now=Clock())
    for put in (lambda store: store.put_base64(inline(content)), lambda store: store.put_stream(pieces(content))):
        assert (await put(exact)).expires is None
        with pytest.raises(ApiRefused):
            await put(less)


async def test_hours_of_silence_in_a_small_file_are_refused(tmp_path: Path, store: MediaStore, folder: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
        for _ in range(61):
            file.write(np.zeros(60 * 8000, np.int16))
    assert path.stat().st_size < MAX_BYTES
    with pytest.raises(ApiRefused, match="3600 s are the most"):
        await store.put_stream(pieces(path.read_bytes()))
    assert names(folder) == []


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path, store: MediaStore, folder: Path) -> None:
    begun, content = asyncio.Event(), song(tmp_path)

    async def hanging() -> AsyncIterator[bytes]:
        yield content[:4096]
        begun.set()
        await asyncio.Event().wait()

    async def failing() -> AsyncIterator[bytes]:
        yield content[:4096]
        raise ConnectionResetError

    task = asyncio.create_task(store.put_stream(hanging()))
    await begun.wait()
    assert len(names(folder)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionResetError):
        await store.put_stream(failing())
    assert names(folder) == []


async def test_a_full_disk_is_said(tmp_path: Path, database: Database, folder: Path) -> None:
    with mounted(folder, "64k"):
        store = MediaStore(folder, database, max_bytes=MAX_BYTES, now=Clock(), free_bytes=lambda _: 1 << 40)
        with pytest.raises(DiskFull):
            await store.put_stream(pieces(song(tmp_path, frames=100_000)))
        assert names(folder) == []


async def test_uploads_leave_room_on_the_disk_for_the_journal(tmp_path: Path, database: Database, folder: Path) -> None:
    content = song(tmp_path, frames=1_000_000)
    free = [ROOM_BYTES + 2_000_000]

    def left(_folder: Path) -> int:
        free[0] -= 1_000_000  # others write too
        return free[0]

    store = MediaStore(folder, database, max_bytes=len(content), now=Clock(), free_bytes=left)
    with pytest.raises(DiskFull, match="make room"):
        await store.put_stream(pieces(content))
    free[0] = ROOM_BYTES + 2_000_000
    with pytest.raises(DiskFull, match="make room"):
        await store.put_base64(inline(content))
    assert names(folder) == []


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(999, 1, 1), (768_001, 1, 1), (96_000, 8, 3000)])
async def test_what_would_be_gigabytes_once_decoded_is_refused(
    store: MediaStore, folder: Path, rate: int, channels: int, seconds: int
) -> None:
    """By its header already, which in a FLAC may be all that there is."""
    with pytest.raises(ApiRefused, match="at its usual rate"):
        await store.put_stream(pieces(_flac_header(rate, channels, rate * seconds)))
    assert names(folder) == []


def _flac_header(rate: int, channels: int, frames: int) -> bytes:
    if not 1000 <= rate <= 655_350:  # no FLAC has it
        samples = bytes(2 * channels * min(frames, 100_000))
        form = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, channels, rate, rate * 2, 2, 16, b"data", len(samples))
        return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(samples), b"WAVE") + form + samples
    stream = struct.pack(">HH6x", 4096, 4096) + (rate << 44 | (channels - 1) << 41 | 15 << 36 | frames).to_bytes(
        8, "big"
    )
    return b"fLaC" + b"\x80\x00\x00\x22" + stream + bytes(16)


# --- results, time, away ----------------------------------------------------------------------------------------------
UUID = "588a3bc6-2470-4cf8-956b-595d366bc84f"


async def test_a_result_is_moved_in_under_its_uuid_as_often_as_asked(
    tmp_path: Path, store: MediaStore, folder: Path, clock: Clock
) -> None:
    for level in (0.1, 0.2):
        made = save(tmp_path / f"{UUID}.flac", noise(1000, level=level), 48_000, subtype="PCM_24")
        content = made.read_bytes()
        media = await store.put_file(made, UUID, "audio/flac", clock.now + 60)
        assert (media.kind, media.name, media.mime) == ("result", f"{UUID}.flac", "audio/flac")
        assert media.file.read_bytes() == content
        assert await store.put_file(media.file, UUID, "audio/flac", clock.now + 60) == media
        assert await store.get(UUID) == media
    assert names(folder) == [f"{UUID}.flac"]


async def test_what_is_past_its_time_is_gone_for_readers_and_named_for_the_sweep(
    tmp_path: Path, store: MediaStore, clock: Clock
) -> None:
    short = await store.put_file(save(tmp_path / "a.wav", noise(100), 48_000), UUID, "audio/wav", clock.now + 60)
    lasting = await store.put_stream(pieces(song(tmp_path)))
    clock.now += 59.9
    assert await store.get(UUID) == short
    assert await store.expired() == []
    clock.now += 0.2
    assert await store.get(UUID) is None
    assert await store.expired() == [short]
    assert await store.delete(UUID) is True
    assert not short.file.exists()
    assert await store.expired() == []
    assert await store.get(lasting.uuid) == lasting


async def test_deleting_twice_and_asking_for_nothing(tmp_path: Path, store: MediaStore) -> None:
    media = await store.put_stream(pieces(song(tmp_path)))
    assert [await store.delete(media.uuid), await store.delete(media.uuid)] == [True, False]
    assert await store.get("../../etc/passwd") is None
    with pytest.raises(ApiRefused, match="upload it again") as refused:
        await store.info(media.uuid)
    assert error_of(refused) == ("mediaNotFound", 404, "inputs.audio")


async def test_a_file_that_cannot_be_removed_now_is_hidden_and_removed_later(
    tmp_path: Path, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = await store.put_stream(pieces(song(tmp_path)))

    def held_open(_path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "used by another process")  # as Windows says

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", held_open)
        assert await store.delete(media.uuid) is True
    assert media.file.exists()
    assert await store.get(media.uuid) is None
    (left,) = await store.expired()
    assert await store.delete(left.uuid) is True
    assert not media.file.exists()


async def test_after_a_restart_what_was_kept_is_there_and_what_a_kill_left_is_not(
    tmp_path: Path, store: MediaStore, folder: Path
) -> None:
    await store.tidy()  # nothing to do yet
    kept = await store.put_stream(pieces(song(tmp_path)))
    lost = await store.put_stream(pieces(song(tmp_path)))
    lost.file.unlink()
    (folder / f".stembridge-{'0' * 16}.part").write_bytes(b"half")
    (folder / f"{UUID}.wav").write_bytes(b"no row")
    (folder / "notes.txt").write_text("the user's own")
    await store.tidy()
    assert names(folder) == sorted([kept.name, "notes.txt"])
    assert await store.get(kept.uuid) == kept
    assert await store.get(lost.uuid) is None
