"""The task API over HTTP: requests read, answers written, files served.

Bodies may be tens of megabytes of audio in either direction: they are read and written in pieces, so that the loop and
the OSC door are not held up (see `bridge.doors.http_json`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from aiohttp import hdrs, web

from bridge import __version__
from bridge.api.values import Answer, Media
from bridge.doors.http_guard import JSON, Guard, HttpRefused, missing_key, status_headers, wrong_key
from bridge.doors.http_json import QUICK_BYTES, chars, dump_pieces
from bridge.doors.http_tasks import TaskRunner, caller_of, merged
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import Authentication, from_error
from protocol.errors import StembridgeError

_IDLE_S = 30.0
"""A request's body may pause so long."""
_SENT_AT_ONCE = 1 << 18
_MAX_DOCUMENTS = 8
MOST_HELD_BYTES = 512_000_000
"""In memory, of the bodies of all requests that are being read or answered together."""
_SMALL_BYTES = 1 << 20
"""So much of a request is taken however much the others hold."""


class MediaFiles(Protocol):
    """What the door needs of `bridge.api.media.MediaStore`."""

    async def get(self, uuid: str, /) -> Media | None: ...

    async def put_stream(self, chunks: AsyncIterator[bytes], /) -> Media: ...


class TaskRequests:
    """The handlers of ``/v1`` and what lies below it."""

    def __init__(self, runner: TaskRunner, media: MediaFiles, guard: Guard, max_bytes: int) -> None:
        self._runner, self._media, self._guard, self._max_bytes = runner, media, guard, max_bytes
        self._documents: dict[str, bytes] = {}
        self.held_bytes = 0
        """Of the bodies that are being read or answered."""

    async def post(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1``: an array of tasks, or one."""
        is_known = self._guard.has_key(request)
        _check_type(request)
        with self._holding() as hold:
            return await self._performed(request, await _read(request, self._max_bytes, hold), is_known)

    async def _performed(self, request: web.Request, raw: bytearray, is_known: bool) -> web.StreamResponse:
        tasks = await self._runner.read(raw)
        size = len(raw)
        raw.clear()
        parsed = await self._runner.parse(tasks, size)
        if not is_known:
            first = parsed[0]
            if not isinstance(first, Authentication):
                raise HttpRefused(missing_key())
            if not self._guard.knows_key(first.api_key):
                raise HttpRefused(wrong_key())
        caller = caller_of(request)
        answers = await asyncio.gather(
            *(self._runner.perform(task, data, caller) for task, data in zip(parsed, tasks, strict=True))
        )
        return await _answer(request, merged(answers))

    @contextmanager
    def _holding(self) -> Iterator[Callable[[int], None]]:
        """Call what it gives with every piece's size before taking it; raises `HttpRefused` when all hold too much."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if mine + size > _SMALL_BYTES and self.held_bytes + size > MOST_HELD_BYTES:
                message = "Requests of hundreds of MB are at work: try again in a moment, or send audio to /v1/media."
                raise HttpRefused(ApiError("serviceUnavailable", message, status=503))
            mine += size
            self.held_bytes += size

        try:
            yield hold
        finally:
            self.held_bytes -= mine

    async def media(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/media/UUID.ENDING``: a kept file, in parts if asked (Range). Its UUID is key enough."""
        media = await self._media.get(request.match_info["name"].partition(".")[0])
        if media is None or media.name != request.match_info["name"]:
            message = "There is no such file here (any more): results are kept for their ttl, or for [http] keep_days."
            raise HttpRefused(ApiError("mediaNotFound", message, status=404))
        headers = {hdrs.CONTENT_TYPE: media.mime, hdrs.CONTENT_DISPOSITION: "inline", hdrs.CACHE_CONTROL: "private"}
        return web.FileResponse(media.file, headers=headers)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/media``: an audio file as the raw body, of any size up to [http] max_media_mb."""
        if not self._guard.has_key(request):
            raise HttpRefused(missing_key())
        try:
            media = await self._media.put_stream(_chunks(request))
        except ApiRefused as refused:
            return await _answer(request, _no_upload(refused.errors))
        except StembridgeError as error:
            return await _answer(request, _no_upload((from_error(error),)))
        url = f"{caller_of(request).base_url}/v1/media/{media.name}"
        return await _answer(request, Answer(({"taskType": "mediaStorage", "mediaUUID": media.uuid, "mediaURL": url},)))

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/openapi.json``."""
        from protocol.openapi import document

        base = caller_of(request).base_url
        return await self._document(base, lambda: document(__version__, base))

    async def task_schema(self, _request: web.Request) -> web.StreamResponse:
        """``GET /v1/schema/audioInference.json``."""
        from protocol.task_schema import task_schema

        return await self._document("schema", task_schema)

    async def _document(self, name: str, make: Callable[[], Any]) -> web.Response:
        def written() -> bytes:
            return b"".join(dump_pieces(make())[1])

        if name not in self._documents:
            if len(self._documents) >= _MAX_DOCUMENTS:  # a name for each Host that somebody thought of
                self._documents.clear()
            self._documents[name] = await asyncio.to_thread(written)
        return web.Response(body=self._documents[name], content_type=JSON)


def _no_upload(errors: Iterable[ApiError]) -> Answer:
    """The refusals of a raw body, which no parameter holds."""
    return Answer(errors=tuple(replace(error, parameter=None, type=None) for error in errors))


def _check_type(request: web.Request) -> None:
    """Only JSON, and only as it is: other types are what a foreign page may send without asking."""
    if request.content_type != JSON:
        message = f"Send the tasks as {JSON} (the Content-Type is {request.content_type[:60]})."
        raise HttpRefused(ApiError("invalidContentType", message, status=415))
    _check_encoding(request)


def _check_encoding(request: web.Request) -> None:
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        message = "Compressed requests are not read: leave Content-Encoding out."
        raise HttpRefused(ApiError("invalidContentEncoding", message, status=415))


async def _read(request: web.Request, max_bytes: int, hold: Callable[[int], None]) -> bytearray:
    """The body; raises what becomes 413, 408 or 503."""
    if (request.content_length or 0) > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_bytes, request.content_length or 0)
    body = bytearray()
    try:
        async for chunk in _chunks(request):
            hold(len(chunk))
            body += chunk
            if len(body) > max_bytes:
                raise web.HTTPRequestEntityTooLarge(max_bytes, len(body))
    except BaseException:
        body.clear()  # the error, which aiohttp keeps in a circle, holds on to this frame
        raise
    return body


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    _check_encoding(request)
    while True:
        try:
            async with asyncio.timeout(_IDLE_S):
                chunk = await request.content.readany()
        except TimeoutError:
            message = f"Nothing more of the request came for {_IDLE_S:g} s."
            raise HttpRefused(ApiError("requestTimeout", message, status=408)) from None
        if not chunk:
            return
        yield chunk


async def _answer(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Results make it 200, with the problems of other tasks beside them; problems alone the status of the first."""
    status = 200 if answer.data or not answer.errors else answer.errors[0].status
    told = answer.as_json()
    size, pieces = await asyncio.to_thread(dump_pieces, told) if chars(told) > QUICK_BYTES else dump_pieces(told)
    headers = status_headers(status)
    if size <= _SENT_AT_ONCE:
        return web.Response(body=b"".join(pieces), status=status, headers=headers, content_type=JSON)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type, response.content_length = JSON, size
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response
