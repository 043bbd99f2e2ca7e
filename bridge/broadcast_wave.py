"""Broadcast WAV: stems that any DAW can put back where they belong, and that carry their own recipe.

Chunks of a stem, in this order: ``fmt`` (first, where simple readers look for it), ``fact`` for float samples, ``bext``
(EBU Tech 3285, version 1: the time reference that "spot to original position" reads), ``iXML`` (the same place once
more for readers that prefer it), ``stbr`` (our own: the recipe as UTF-8 JSON) and ``data`` last, so that all the
metadata comes before hours of audio. A reader that does not know a chunk skips it. There is no ``PEAK`` chunk: its
time stamp would make the same audio two different files.

Samples are copied as bytes, never decoded; nothing here needs numpy.
Sources: Microsoft RIFF, EBU Tech 3285 (bext), EBU Tech 3306 (RF64), EBU R 98 (coding history), ixml.info.
"""

from __future__ import annotations

import hashlib
import json
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree  # only builds documents here; nothing is parsed

from pydantic import ValidationError

from protocol import PROTOCOL_VERSION
from protocol.errors import ProjectError, SourceMissing, SourceUnreadable
from protocol.job import Recipe

RECIPE_CHUNK = b"stbr"
MANIFEST_LIMIT = 256 << 20
_RECIPE_LIMIT = 16 << 20
_METADATA_LIMIT = 1 << 20
_MAX_CHUNKS = 1000
_BLOCK = 1 << 18
_UNKNOWN_SIZE = 0xFFFFFFFF
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


# --- reading ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Chunk:
    """Where a chunk's payload lies in the file; `size` is in bytes and ends at the file's end at the latest."""

    id: bytes
    offset: int
    size: int


@dataclass(frozen=True)
class WaveLayout:
    """What a WAV file says of itself. `format` is the whole ``fmt`` payload; `data` holds whole frames only."""

    format: bytes
    data: Chunk
    chunks: tuple[Chunk, ...]

    @property
    def format_tag(self) -> int:
        """1 PCM, 3 float; for the extensible form the tag that its sub-format begins with."""
        tag: int = struct.unpack_from("<H", self.format)[0]
        return int(struct.unpack_from("<H", self.format, 24)[0]) if tag == _EXTENSIBLE else tag

    @property
    def channels(self) -> int:
        return int(struct.unpack_from("<H", self.format, 2)[0])

    @property
    def sample_rate(self) -> int:
        return int(struct.unpack_from("<I", self.format, 4)[0])

    @property
    def frame_bytes(self) -> int:
        return int(struct.unpack_from("<H", self.format, 12)[0])

    @property
    def bits(self) -> int:
        return int(struct.unpack_from("<H", self.format, 14)[0])

    @property
    def frames(self) -> int:
        return self.data.size // self.frame_bytes


def read_layout(file: BinaryIO, name: str) -> WaveLayout:
    """Find the chunks of an open WAV file (RIFF, RF64 or BW64); `name` is for the sentence of an error.

    A header that was never completed (sizes 0 or 0xFFFFFFFF, as streaming writers leave them) means "up to the end of
    the file". Raises `SourceUnreadable` if this is not WAV audio.
    """
    chunks = tuple(_chunks(file, name))
    form = next((chunk for chunk in chunks if chunk.id == b"fmt "), None)
    data = next((chunk for chunk in chunks if chunk.id == b"data"), None)
    if form is None or data is None:
        raise SourceUnreadable(f"{name} is a WAV file without {'a format' if form is None else 'audio'} in it.")
    layout = WaveLayout(_payload(file, form, _METADATA_LIMIT, name), data, chunks)
    too_short = len(layout.format) < (26 if layout.format[:2] == b"\xfe\xff" else 16)
    if too_short or layout.frame_bytes == 0 or layout.channels == 0 or layout.sample_rate == 0:
        raise SourceUnreadable(f"{name} is a WAV file with a damaged header.")
    whole = Chunk(data.id, data.offset, data.size - data.size % layout.frame_bytes)
    return WaveLayout(layout.format, whole, chunks)


def _chunks(file: BinaryIO, name: str) -> Iterator[Chunk]:
    end = file.seek(0, 2)
    file.seek(0)
    header = file.read(12)
    if len(header) < 12 or header[:4] not in (b"RIFF", b"RF64", b"BW64") or header[8:] != b"WAVE":
        raise SourceUnreadable(f"{name} is not a WAV file.")
    unfinished = struct.unpack_from("<I", header, 4)[0] in (0, _UNKNOWN_SIZE)
    size_64 = None
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or not all(32 <= character < 127 for character in head[:4]):
            return  # the end, or bytes after it that are no chunk
        chunk_id, size = struct.unpack("<4sI", head)
        if chunk_id == b"ds64" and len(sizes := file.read(16)) == 16:
            size_64 = struct.unpack("<8xQ", sizes)[0]
        if chunk_id == b"data":
            if size == _UNKNOWN_SIZE and size_64:
                size = size_64
            elif size == _UNKNOWN_SIZE or (size == 0 and unfinished):
                size = end - position - 8
        chunk = Chunk(chunk_id, position + 8, min(size, end - position - 8))
        yield chunk
        position = chunk.offset + size + (size & 1)
    raise SourceUnreadable(f"{name} has more than {_MAX_CHUNKS} chunks; it is not audio we can read.")


def _payload(file: BinaryIO, chunk: Chunk, limit: int, name: str) -> bytes:
    if chunk.size > limit:
        raise SourceUnreadable(f"{name} has a chunk {chunk.id!r} of {chunk.size} bytes; at most {limit} are read.")
    file.seek(chunk.offset)
    return file.read(chunk.size)


def _blocks(file: BinaryIO, chunk: Chunk, name: str) -> Iterator[bytes]:
    file.seek(chunk.offset)
    left = chunk.size
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise SourceUnreadable(f"{name} became shorter while it was read.")
        left -= len(block)
        yield block


def probe(path: Path) -> WaveLayout:
    """The layout of a WAV file. Raises `SourceMissing` or `SourceUnreadable`."""
    with _opened(path) as file:
        return read_layout(file, path.name)


def data_sha256(path: Path) -> str:
    """SHA-256 (hex) of the format and the samples alone: equal for equal audio, whatever else the files say.

    Raises `SourceMissing` or `SourceUnreadable`.
    """
    with _opened(path) as file:
        layout = read_layout(file, path.name)
        digest = hashlib.sha256(layout.format)
        for block in _blocks(file, layout.data, path.name):
            digest.update(block)
    return digest.hexdigest()


def _opened(path: Path) -> BinaryIO:
    if not path.exists():
        raise SourceMissing(f"There is no file {path}.")
    if not path.is_file():  # a pipe would block for ever, a device could do anything
        raise SourceUnreadable(f"{path} is not a file.")
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceUnreadable(f"{path} cannot be read ({error.strerror}).") from error


# --- the recipe -------------------------------------------------------------------------------------------------------
def read_recipe(path: Path) -> Recipe:
    """The recipe inside a stem, or from the manifest beside it if a program dropped our chunk when saving the file.

    Raises `SourceMissing` if there is no such file, and `SourceUnreadable` if it is not WAV, holds no recipe, or holds
    one of a newer protocol.
    """
    with _opened(path) as file:
        layout = read_layout(file, path.name)
        chunk = next((chunk for chunk in layout.chunks if chunk.id == RECIPE_CHUNK), None)
        text = _payload(file, chunk, _RECIPE_LIMIT, path.name) if chunk else None
    found = _json(text) if text is not None else None
    if found is None:
        found = _from_manifests(path)
    if found is None:
        raise SourceUnreadable(
            f"{path} is not a stem made by Stembridge: it holds no recipe, and no manifest.json beside it names it."
        )
    return _checked_recipe(found, path)


def _checked_recipe(found: dict[str, Any], path: Path) -> Recipe:
    protocol = found.get("protocol")
    if isinstance(protocol, int) and protocol > PROTOCOL_VERSION:
        raise SourceUnreadable(
            f"{path} was made by a newer Stembridge (protocol {protocol}; this one knows {PROTOCOL_VERSION}): update "
            "Stembridge to use its recipe."
        )
    try:
        return Recipe.model_validate(found)
    except (ValidationError, ProjectError, ValueError) as error:
        raise SourceUnreadable(f"The recipe of {path} is damaged: {str(error).splitlines()[0]}.") from error


def _from_manifests(path: Path) -> dict[str, Any] | None:
    for manifest in sorted(path.parent.glob("manifest*.json")):
        content = load_manifest(manifest)
        for take in content.get("takes", []) if content else []:
            if isinstance(take, dict) and take.get("file") == path.name and isinstance(take.get("recipe"), dict):
                recipe: dict[str, Any] = take["recipe"]
                return recipe
    return None


def load_manifest(path: Path) -> dict[str, Any] | None:
    """The content of a manifest, or None if there is none or it is not one."""
    try:
        if not path.is_file() or path.stat().st_size > MANIFEST_LIMIT:
            return None
        content = _json(path.read_bytes())
    except OSError:
        return None
    return content if content is not None and isinstance(content.get("takes"), list) else None


def _json(text: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


# --- writing ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Origin:
    """What the ``bext`` and ``iXML`` chunks say about a stem.

    `time_reference` counts samples from project time 0 and cannot be negative. `created` is the job's time, not the
    time of writing, so that the same recipe gives the same file.
    """

    time_reference: int
    description: str
    reference: str
    created: datetime
    made_by: str
    """Program and engine with versions, for the coding history."""
    project: str = ""
    scene: str = ""
    take: str = ""
    track: str = ""


def write_broadcast_wave(spool_wav: Path, out: BinaryIO, origin: Origin, recipe_json: str) -> None:
    """Write the audio of `spool_wav` (PCM or float WAV, any channel count) to `out` as Broadcast WAV.

    Raises `ProjectError` if the file would not fit into WAV's 4 GiB, `SourceUnreadable` / `SourceMissing` if the spool
    file is not whole, `OSError` if `out` cannot be written.
    """
    with _opened(spool_wav) as spool:
        layout = read_layout(spool, spool_wav.name)
        chunks = [(b"fmt ", layout.format)]
        if layout.format_tag != _PCM:
            chunks.append((b"fact", struct.pack("<I", min(layout.frames, _UNKNOWN_SIZE))))
        chunks.append((b"bext", _bext(layout, origin)))
        chunks.append((b"iXML", ixml(layout, origin).encode()))
        chunks.append((RECIPE_CHUNK, recipe_json.encode()))
        _check_room(chunks, layout.data.size)
        size = 4 + sum(8 + len(payload) + len(payload) % 2 for _, payload in chunks) + 8 + layout.data.size
        out.write(struct.pack("<4sI4s", b"RIFF", size + layout.data.size % 2, b"WAVE"))
        for chunk_id, payload in chunks:
            out.write(struct.pack("<4sI", chunk_id, len(payload)) + payload + bytes(len(payload) % 2))
        out.write(struct.pack("<4sI", b"data", layout.data.size))
        for block in _blocks(spool, layout.data, spool_wav.name):
            out.write(block)
        out.write(bytes(layout.data.size % 2))


def _check_room(chunks: list[tuple[bytes, bytes]], data_bytes: int) -> None:
    total = 12 + sum(9 + len(payload) for _, payload in chunks) + 9 + data_bytes
    if total >= _UNKNOWN_SIZE:
        raise ProjectError(
            f"This stem would be {total / 2**30:.1f} GiB and a WAV file holds 4 GiB: choose a shorter region, fewer "
            "channels or 24-bit stems."
        )


def _bext(layout: WaveLayout, origin: Origin) -> bytes:
    """The broadcast extension chunk: 602 bytes and the coding history."""
    modes = {1: "mono", 2: "stereo"}
    history = (
        f"A=PCM,F={layout.sample_rate},W={layout.bits},M={modes.get(layout.channels, 'multi')},"
        f"T={_ascii(origin.made_by).replace(',', ';')}\r\n"
    )
    fixed = struct.pack(
        "<256s32s32s10s8sIIH64s190s",
        _ascii(origin.description).encode(),
        b"Stembridge",
        _ascii(origin.reference).encode(),
        f"{origin.created:%Y-%m-%d}".encode(),
        f"{origin.created:%H:%M:%S}".encode(),
        origin.time_reference & 0xFFFFFFFF,
        origin.time_reference >> 32,
        1,
        b"",
        b"",
    )
    return fixed + history.encode()


def ixml(layout: WaveLayout, origin: Origin) -> str:
    """The iXML document: project, take, place in time and the tracks."""
    root = ElementTree.Element("BWFXML")
    rate = str(layout.sample_rate)
    values = {"IXML_VERSION": "2.10", "PROJECT": origin.project, "SCENE": origin.scene, "TAKE": origin.take}
    for tag, text in {**values, "NOTE": origin.description}.items():
        ElementTree.SubElement(root, tag).text = _xml_text(text)
    speed = ElementTree.SubElement(root, "SPEED")
    for tag, text in {
        "FILE_SAMPLE_RATE": rate,
        "AUDIO_BIT_DEPTH": str(layout.bits),
        "DIGITIZER_SAMPLE_RATE": rate,
        "TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI": str(origin.time_reference >> 32),
        "TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO": str(origin.time_reference & 0xFFFFFFFF),
        "TIMESTAMP_SAMPLE_RATE": rate,
    }.items():
        ElementTree.SubElement(speed, tag).text = text
    tracks = ElementTree.SubElement(root, "TRACK_LIST")
    ElementTree.SubElement(tracks, "TRACK_COUNT").text = str(layout.channels)
    for channel in range(1, layout.channels + 1):
        track = ElementTree.SubElement(tracks, "TRACK")
        ElementTree.SubElement(track, "CHANNEL_INDEX").text = str(channel)
        ElementTree.SubElement(track, "INTERLEAVE_INDEX").text = str(channel)
        ElementTree.SubElement(track, "NAME").text = _xml_text(origin.track or origin.scene)
    ElementTree.SubElement(root, "USER").text = f"Made by {_xml_text(origin.made_by)}; recipe in chunk stbr"
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _ascii(text: str) -> str:
    """The nearest ASCII: the bext chunk knows nothing else. Accents go, the rest becomes ``?``."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in plain)


def _xml_text(text: str) -> str:
    """`text` without the characters that XML 1.0 forbids."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
