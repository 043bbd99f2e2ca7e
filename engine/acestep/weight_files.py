"""Files of weights, looked at without loading them: the header of a safetensors file, its fingerprint, its checksum.

Format (https://github.com/huggingface/safetensors): eight bytes little-endian length N, N bytes of JSON naming each
tensor's dtype, shape and byte span, then the tensors. Spans must follow each other without gaps and end with the file,
so a file that was cut short or grew is known from its header alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 100_000_000
"""The format's own cap."""

_SAMPLES, _SAMPLE_BYTES = 64, 512
_HASH_BLOCK = 8 * 2**20

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip


class Damaged(Exception):
    """A file is not what it must be; the text completes "FILE ..."."""


@dataclass(frozen=True)
class Header:
    """The header of a whole safetensors file: tensor names, the JSON's bytes and where the tensors' bytes begin."""

    tensors: frozenset[str]
    raw: bytes
    data_start: int
    file_bytes: int


def read_header(file: Path) -> Header:
    """Read and check the header against the file's size. Raises `Damaged`, and `OSError` if it cannot be read."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise Damaged(f"is no safetensors file, or only its beginning ({size:,} bytes)")
        raw = opened.read(length)
    try:
        table = json.loads(raw)
        spans = {name: _span(entry) for name, entry in table.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged("has a header that cannot be read") from error
    at = 0
    for name, (first, after) in sorted(spans.items(), key=lambda item: item[1]):
        if first != at:
            raise Damaged(f"has a header that contradicts itself (tensor {name[:80]})")
        at = after
    expected = 8 + length + at
    if expected != size:
        raise Damaged(f"has {size:,} bytes where its header says {expected:,}")
    return Header(frozenset(spans), raw, 8 + length, size)


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    first, after = entry["data_offsets"]
    bits = _BITS.get(str(entry["dtype"]))
    if bits is not None and (after - first) * 8 != math.prod(entry["shape"]) * bits:
        raise ValueError("a tensor's span is not its shape's size")
    return int(first), int(after)


def fingerprint(file: Path, header: Header) -> bytes:
    """A digest of the header and of 64 short samples spread over the tensors: a few milliseconds at any size.

    Weights that were trained on differ everywhere a little, so samples tell them apart; a single changed byte they do
    not see. That is what checksums are for.
    """
    digest = hashlib.sha256(header.raw)
    span = header.file_bytes - header.data_start
    with file.open("rb") as opened:
        for index in range(_SAMPLES):
            opened.seek(header.data_start + max(0, span - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            digest.update(opened.read(_SAMPLE_BYTES))
    return digest.digest()


def checksum_matches(file: Path, checksum: str, step: Callable[[int], None] | None = None) -> bool:
    """Is this the content that the hub's `checksum` names? 64 hex digits: SHA-256; 40: git's blob SHA-1.

    `step` is told the bytes read since it was last called.
    """
    if len(checksum) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(_HASH_BLOCK):
            digest.update(block)
            if step is not None:
                step(len(block))
    return digest.hexdigest() == checksum.lower()
