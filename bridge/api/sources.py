"""Audio that clients name or send, as kept media: what a task works on, and what `mediaStorage` uploads.

A kept file's UUID and our own URL of it mean that file and are not fetched; other URLs go through the guarded client.
What came for one task that was then refused is forgotten again.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bridge.api import items
from bridge.api.media import MediaStore
from bridge.api.values import Media
from engine.audio import AudioInfo
from protocol.api_errors import ApiError, ApiRefused
from protocol.api_task import AudioInput, from_error
from protocol.errors import StembridgeError

if TYPE_CHECKING:  # aiohttp is imported only where the HTTP door is open
    from bridge.web_client import SafeClient

AUDIO = "inputs.audio"


@dataclass(frozen=True)
class Kept:
    """Audio that is kept. `is_new`: since it was asked for just now; `is_inline`: it came in the request itself."""

    media: Media
    info: AudioInfo
    is_new: bool = False
    is_inline: bool = False


class Sources:
    """Finds audio among the kept media, or brings it there."""

    def __init__(self, media: MediaStore, fetch: SafeClient) -> None:
        self._media = media
        self._fetch = fetch

    def is_elsewhere(self, audio: AudioInput, base_url: str) -> bool:
        """True if another server has to be asked for it."""
        return audio.kind == "url" and items.uuid_in_url(audio.text, base_url) is None

    async def find(self, audio: AudioInput, base_url: str, parameter: str = AUDIO) -> Kept:
        """Audio as kept media, fetched or decoded if it has to be; `parameter` is the field that names it.

        Raises `ApiRefused`.
        """
        try:
            return await self._find(audio, base_url)
        except ApiRefused as refused:
            raise ApiRefused(*(_about(error, parameter) for error in refused.errors)) from None
        except StembridgeError as error:
            raise ApiRefused(_about(from_error(error), parameter)) from error

    async def forget(self, kept: Kept | None) -> None:
        """What was kept for a task that was refused."""
        if kept is not None and kept.is_new:
            await self._media.delete(kept.media.uuid)

    async def _find(self, audio: AudioInput, base_url: str) -> Kept:
        uuid = audio.text if audio.kind == "uuid" else None
        if audio.kind == "url":
            uuid = items.uuid_in_url(audio.text, base_url)
        media = await self._brought(audio) if uuid is None else await self._media.get(uuid)
        if media is None:
            raise not_kept(uuid or "", AUDIO)
        info = await self._media.info(media.uuid)
        return Kept(media, info, is_new=uuid is None, is_inline=audio.kind == "data")

    async def _brought(self, audio: AudioInput) -> Media:
        if audio.kind == "data":
            return await self._media.put_base64(audio)
        fetched: Any = self._fetch.fetch(audio.text)
        async with aclosing(fetched) as pieces:
            return await self._media.put_stream(pieces)


def not_kept(uuid: str, parameter: str) -> ApiRefused:
    """There is no such file, or no longer."""
    sentence = f"There is no audio with the UUID {uuid} here (any more): upload it again."
    return ApiRefused(ApiError("mediaNotFound", sentence, parameter, "string", status=404))


def _about(error: ApiError, parameter: str) -> ApiError:
    """The error, said of the field that named the audio; what is about no field stays so."""
    return error if error.parameter is None else replace(error, parameter=parameter, type="string")
