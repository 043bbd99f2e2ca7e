"""The page for people: its files, what it asks about jobs and settings, its takes as a browser plays and draws them.

Promises: only the page's own files and takes of journalled jobs are served, nothing by a path that a request names; no
file is read on the event loop; what was measured or drawn once is remembered, as far as it is still looked at. Who may
ask at all is decided before (bridge/doors/http_guard.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from aiohttp import web

from bridge import web as files
from bridge.desk import Desk
from bridge.doors import page_jobs, page_onsets
from bridge.doors.page_audio import Stretch, View, envelope, wav_bytes, wav_part
from bridge.doors.page_socket import PageSockets
from bridge.pairing import Pairing
from protocol.errors import StembridgeError
from protocol.job import Job, Take

DEFAULT_COUNT, MAX_COUNT = 50, 200
COLUMNS = 1200
"""Of a waveform: more than a phone has, enough for a desk."""
_REMEMBERED = 64
_PIECE_BYTES = 192 * 1024
_ABOUT = ("engine", "version", "protocol", "osc_port", "http_port")


class Page:
    """The page's routes. `describe` is the daemon's ready line; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        desk: Desk,
        *,
        pairing: Pairing,
        describe: Callable[[], dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self._desk, self._pairing, self._describe = desk, pairing, describe
        self._sockets = PageSockets(desk, pairing, clock)
        self._assets = files.assets()
        self._remembered = _Remembered(_REMEMBERED)
        self._measuring = asyncio.Semaphore(1)

    def routes(self) -> list[web.AbstractRouteDef]:
        """What is served below ``/page``; `index` belongs at ``/``."""
        take = "/page/jobs/{id}/takes/{take:[0-9]{1,4}}"
        return [
            web.get("/page/socket", self._sockets.serve),
            web.get("/page/about", self._about),
            web.get("/page/settings", self._settings),
            web.get("/page/jobs", self._jobs),
            web.get("/page/jobs/{id}", self._job),
            web.get(f"{take}/audio", self._audio),
            web.get(f"{take}/peaks", self._peaks),
            web.get(f"{take}/onsets", self._onsets),
            web.get("/page/static/{name:.+}", self._static),
        ]

    async def index(self, _request: web.Request) -> web.Response:
        """The page itself, and what it may load: nothing but our own files."""
        nonce = secrets.token_urlsafe(16)  # wavesurfer puts one style element into its shadow root
        text = await asyncio.to_thread(files.INDEX.read_text, encoding="utf-8")
        policy = (
            "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; media-src 'self' blob:; "
            f"style-src 'self' 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return web.Response(
            text=text.replace("{{nonce}}", nonce),
            content_type="text/html",
            headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"},
        )

    async def close(self) -> None:
        """Say goodbye to every open page."""
        await self._sockets.close()
        self._remembered.forget()

    # --- plain answers ------------------------------------------------------------------------------------------------
    async def _static(self, request: web.Request) -> web.StreamResponse:
        found = self._assets.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text="There is no such file on this page.")
        path, mime = found
        return web.FileResponse(path, headers={"Content-Type": mime, "Cache-Control": "no-cache"})

    async def _about(self, request: web.Request) -> web.Response:
        told = self._describe()
        is_here = self._pairing.is_here(request.remote or "")
        return _json({**{name: told.get(name) for name in _ABOUT}, "here": is_here})

    async def _settings(self, _request: web.Request) -> web.Response:
        return _json(page_jobs.settings(self._desk.session))

    async def _jobs(self, request: web.Request) -> web.Response:
        text = request.query.get("count", str(DEFAULT_COUNT))
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= MAX_COUNT):
            raise web.HTTPBadRequest(text=f"count is a whole number from 1 to {MAX_COUNT}.")
        return _json(page_jobs.newest_first(await self._desk.jobs(int(text))))

    async def _job(self, request: web.Request) -> web.Response:
        job = await self._job_of(request)
        return await _json_from_thread(lambda: page_jobs.job_detail(job))

    # --- takes --------------------------------------------------------------------------------------------------------
    async def _audio(self, request: web.Request) -> web.StreamResponse:
        job, take = await self._take_of(request)
        try:
            view = View(request.query.get("view", View.ALONE))
        except ValueError:
            raise web.HTTPBadRequest(text=f"view is one of {', '.join(View)}.") from None
        stretch = Stretch(job, take, view)
        try:
            await asyncio.to_thread(stretch.__enter__)
        except StembridgeError as error:
            raise web.HTTPNotFound(text=error.sentence) from error
        try:
            return await _as_wav(request, stretch)
        finally:
            await asyncio.to_thread(stretch.__exit__)

    async def _peaks(self, request: web.Request) -> web.Response:
        job, take = await self._take_of(request)

        async def draw() -> dict[str, Any]:
            return await asyncio.to_thread(_waves, job, take)

        try:
            return _json(await self._remembered.get(("peaks", job.id, job.ended, take.number), draw))
        except StembridgeError as error:
            raise web.HTTPNotFound(text=error.sentence) from error

    async def _onsets(self, request: web.Request) -> web.Response:
        job, take = await self._take_of(request)

        async def measure() -> page_onsets.Onsets:
            async with self._measuring:
                return await page_onsets.measure(job, take.number)

        return _json(await self._remembered.get(("onsets", job.id, job.ended, take.number), measure))

    async def _job_of(self, request: web.Request) -> Job:
        receipt = await self._desk.find(request.match_info["id"])
        if receipt is None:
            raise web.HTTPNotFound(text="There is no such job: the journal keeps the newest ten thousand.")
        return receipt.job

    async def _take_of(self, request: web.Request) -> tuple[Job, Take]:
        job, number = await self._job_of(request), int(request.match_info["take"])
        take = next((take for take in job.takes if take.number == number), None)
        if take is None:
            raise web.HTTPNotFound(text=f"The job has no take {number}.")
        return job, take


def _waves(job: Job, take: Take) -> dict[str, Any]:
    """Both layers of a picture on one axis: the song, if there is one, and the take in its place."""
    with Stretch(job, take, View.ALONE) as alone:
        span, first = alone.span, take.start_frame - alone.first
        front = envelope(alone, COLUMNS).as_json()
        columns = len(front["low"])
        inside = slice(first * columns // alone.frames, -(-(first + take.frames) * columns // alone.frames))
        has_song = alone.has_song
    behind = None
    if has_song:
        with Stretch(job, take, View.ORIGINAL) as song:
            behind = envelope(song, COLUMNS).as_json()
    axis = {"start_s": span.start_s, "end_s": span.end_s, "columns": columns, "song": behind}
    return {**axis, "take": {"first": inside.start, **{name: row[inside] for name, row in front.items()}}}


async def _as_wav(request: web.Request, stretch: Stretch) -> web.StreamResponse:
    """The stretch, or the range of it that was asked for, read and sent in pieces."""
    size = wav_bytes(stretch)
    try:
        wanted = request.http_range
        start, stop, _ = wanted.indices(size)
        if start >= stop:
            raise ValueError
    except ValueError:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"}) from None
    is_part = wanted != slice(None, None, 1)
    response = web.StreamResponse(status=206 if is_part else 200)
    response.content_type = "audio/wav"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private, max-age=60"
    if is_part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response.content_length = stop - start
    await response.prepare(request)
    try:
        while start < stop and request.method != "HEAD":
            piece = await asyncio.to_thread(wav_part, stretch, start, min(stop, start + _PIECE_BYTES))
            await response.write(piece)
            start += len(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # players ask for more than they need, and hang up
    return response


class _Remembered:
    """The last few things that were worked out, each worked out once however many ask meanwhile."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, asyncio.Future[Any]] = OrderedDict()

    async def get(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        known = self._known.get(key)
        if known is None or (known.done() and (known.cancelled() or known.exception() is not None)):
            known = self._known[key] = asyncio.ensure_future(work())
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return await asyncio.shield(known)  # whoever asked first may hang up

    def forget(self) -> None:
        for known in self._known.values():
            known.cancel()
        self._known.clear()


def _json(value: object) -> web.Response:
    return web.json_response(value, headers={"Cache-Control": "no-store"})


async def _json_from_thread(make: Callable[[], object]) -> web.Response:
    """For what takes longer than the loop may."""
    return await asyncio.to_thread(lambda: _json(make()))
