"""What the API says of a task: items of ``data``, and errors; the one place where their shape is decided.

A result is the same item wherever it goes: in a held answer, pushed over a WebSocket, polled, or posted to a webhook.
Audio that is answered inline is read and encoded in pieces, in a thread, and only up to a size: base64 of minutes of
audio at once would hold up everything else in the process.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from bridge.api.media import MediaStore
from bridge.api.store import ResultState, StoredResult, StoredTask
from bridge.api.values import Answer, Item, Media
from protocol.api_errors import ApiError
from protocol.task import OutputType

MAX_INLINE_BYTES = 24 << 20
"""Of a file that is answered as base64: ten minutes of MP3, or 80 s of WAV. A larger one is given as a URL, since its
text is copied at least once in one piece, about half a millisecond per MiB in which nothing else runs."""
MAX_WEBHOOK_INLINE_BYTES = 16 << 20
_PIECE_BYTES = 3 << 16
"""A multiple of 3, so that each piece encodes by itself; a tenth of a millisecond."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_INLINE_FIELDS = ("audioBase64Data", "audioDataURI")


def media_url(base_url: str, name: str) -> str:
    """Where the door serves the kept file of that name (`Media.name`)."""
    return f"{base_url}/v1/media/{name}"


def uuid_in_url(url: str, base_url: str) -> str | None:
    """The UUID of the kept file that one of our own URLs names; None for all others."""
    try:
        parts, ours = urlsplit(url), urlsplit(base_url)
        is_same_port = (parts.scheme, parts.port) == (ours.scheme, ours.port)
    except ValueError:  # a port that is no number
        return None
    is_same_host = parts.hostname == ours.hostname or {parts.hostname, ours.hostname} <= _LOOPBACK
    start = media_url("", "")
    is_ours = is_same_port and is_same_host and parts.path.startswith(start)
    return PurePosixPath(parts.path[len(start) :]).stem if is_ours else None


def acknowledged(task: StoredTask) -> Item:
    """What an async task is answered at once."""
    return {"taskType": task.task.task_type, "taskUUID": task.uuid}


def processing(task: StoredTask, result: StoredResult, percent: int) -> Item:
    """A result that is not there yet, `percent` of the way."""
    return {**_head(task, result), "status": "processing", "progress": percent}


def errors_of(task: StoredTask, result: StoredResult) -> tuple[ApiError, ...]:
    """Why a result failed."""
    told = (result.outcome or {}).get("errors", ())
    return tuple(ApiError(**error).of(task.task.task_type, task.uuid) for error in told)


def failure(errors: Iterable[ApiError]) -> dict[str, Any]:
    """The outcome of a result that failed, as it is stored."""
    return {"errors": [asdict(error) for error in errors]}


def failed(task: StoredTask, result: StoredResult, errors: tuple[ApiError, ...]) -> Item:
    """A failed result among others, as polling shows it."""
    return {**_head(task, result), "status": "error", "error": errors[0].as_json()}


async def ended(
    media: MediaStore, task: StoredTask, result: StoredResult, base_url: str, *, most_inline: int = MAX_INLINE_BYTES
) -> Answer:
    """A result that has ended: one item, or its errors."""
    if result.state is ResultState.FAILED:
        return Answer(errors=errors_of(task, result))
    kept = await media.get(result.audio_uuid)
    try:
        if kept is None:
            raise FileNotFoundError(result.audio_uuid)
        return Answer((await _success(task, result, kept, base_url, most_inline),))
    except OSError:
        sentence = (
            f"The audio {result.audio_uuid} was made, but deleted since, or its time is over: send the task again with "
            f"a new taskUUID, and with seed {(result.outcome or {}).get('seed')} to get the same."
        )
        error = ApiError("mediaNotFound", sentence, status=404)
        return Answer(errors=(error.of(task.task.task_type, task.uuid),))


async def _success(task: StoredTask, result: StoredResult, kept: Media, base_url: str, most_inline: int) -> Item:
    outcome = result.outcome or {}
    item = {**_head(task, result), "status": "success", "audioUUID": result.audio_uuid}
    item |= {"seed": outcome["seed"], "engine": outcome["engine"]}
    warnings = [outcome["warning"]] if outcome.get("warning") else []
    kind = task.task.output_type
    if kind is not OutputType.URL and kept.size > most_inline:
        warnings.append(f"The audio of {kept.size >> 20} MiB is too large to be sent inline: fetch it from audioURL.")
        kind = OutputType.URL
    match kind:
        case OutputType.URL:
            item["audioURL"] = media_url(base_url, kept.name)
        case OutputType.BASE64_DATA:
            item["audioBase64Data"] = await asyncio.to_thread(_base64, kept.file, "")
        case OutputType.DATA_URI:
            item["audioDataURI"] = await asyncio.to_thread(_base64, kept.file, f"data:{kept.mime};base64,")
    if warnings:
        item["warning"] = " ".join(warnings)
    if task.task.include_cost:
        item |= {"cost": 0.0, "computeSeconds": outcome["computeSeconds"]}
    return item


def _head(task: StoredTask, result: StoredResult) -> Item:
    return {"taskType": task.task.task_type, "taskUUID": task.uuid, "resultIndex": result.number}


def _base64(file: Path, prefix: str) -> str:
    pieces = [prefix]
    with file.open("rb") as audio:
        while piece := audio.read(_PIECE_BYTES):
            pieces.append(base64.b64encode(piece).decode("ascii"))
    return "".join(pieces)


def body(answer: Answer) -> bytes:
    """The JSON of a webhook's call; blocks for what is inline, so call it in a thread."""
    data, inline = [], []
    for item in answer.data:
        data.append({name: "" if name in _INLINE_FIELDS else value for name, value in item.items()})
        inline += [(name, str(item[name])) for name in _INLINE_FIELDS if name in item]
    text = json.dumps(Answer(tuple(data), answer.errors).as_json())
    pieces = []
    for name, value in inline:  # base64 needs no escapes
        before, _, text = text.partition(f'"{name}": ""')
        pieces += [f'{before}"{name}": "'.encode(), value.encode("ascii"), b'"']
    return b"".join([*pieces, text.encode()])
