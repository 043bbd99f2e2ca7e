"""Safetensors files without torch, of any size."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path


def write_safetensors(file: Path, sizes: Mapping[str, int], seed: int = 0) -> Path:
    """Write tensors of bytes (name -> how many), their content drawn from `seed`."""
    header = header_of(sizes)
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        source = random.Random(seed)
        for size in sizes.values():
            opened.write(source.randbytes(size))
    return file


def header_of(sizes: Mapping[str, int]) -> bytes:
    """The JSON header."""
    table, at = {}, 0
    for name, size in sizes.items():
        table[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    return json.dumps(table).encode()
