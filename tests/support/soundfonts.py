"""A tiny but real soundfont, written byte by byte: one looped sine, a melodic preset and a drum kit that play it.

After the SoundFont 2.01 technical specification (Creative Technology, 1998). The file holds three sections: INFO, the
sample, and the hydra (presets, instruments and the sample's header).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATE = 32_000
PERIOD = 64
"""Samples of one period: the sample sounds 500 Hz, which is given as the root key B4 and a correction in cents."""
ROOT_KEY, CORRECTION = 71, -21
ORGAN_PROGRAM = 16
_LOOPED, _SAMPLE_MODES, _SAMPLE_ID, _INSTRUMENT, _RELEASE = 1, 54, 53, 41, 38
_PRESETS = ((ORGAN_PROGRAM, 0, "Sine"), (0, 128, "Kit"))


def write_soundfont(path: Path, presets: Sequence[tuple[int, int, str]] = _PRESETS, *, level: float = 0.5) -> Path:
    """Write the file: `presets` are (program, bank, name), all of the same instrument."""
    sample = np.round(32_767 * level * np.cos(2.0 * np.pi * np.arange(PERIOD * 20) / PERIOD)).astype("<i2")
    info = _chunk("ifil", struct.pack("<HH", 2, 1)) + _chunk("isng", _text("EMU8000")) + _chunk("INAM", _text("Tiny"))
    data = _chunk("smpl", sample.tobytes() + bytes(2 * 46))  # the specification wants 46 zeros after a sample
    body = _list("INFO", info) + _list("sdta", data) + _list("pdta", _hydra(presets, len(sample)))
    path.write_bytes(_chunk("RIFF", b"sfbk" + body))
    return path


def _hydra(presets: Sequence[tuple[int, int, str]], frames: int) -> bytes:
    headers = b"".join(
        _name(name) + struct.pack("<HHHIII", program, bank, index, 0, 0, 0)
        for index, (program, bank, name) in enumerate(presets)
    )
    headers += _name("EOP") + struct.pack("<HHHIII", 0, 0, len(presets), 0, 0, 0)
    bags = b"".join(struct.pack("<HH", index, 0) for index in range(len(presets) + 1))
    generators = struct.pack("<HH", _INSTRUMENT, 0) * len(presets) + bytes(4)
    zone = ((_RELEASE, -4000), (_SAMPLE_MODES, _LOOPED), (_SAMPLE_ID, 0))  # 0.1 s, in timecents
    instrument_generators = b"".join(struct.pack("<Hh", *generator) for generator in zone) + bytes(4)
    header = _name("Sine") + struct.pack(
        "<IIIIIBbHH", 0, frames, PERIOD, frames - PERIOD, RATE, ROOT_KEY, CORRECTION, 0, 1
    )
    return b"".join(
        (
            _chunk("phdr", headers),
            _chunk("pbag", bags),
            _chunk("pmod", bytes(10)),
            _chunk("pgen", generators),
            _chunk("inst", _name("Sine") + struct.pack("<H", 0) + _name("EOI") + struct.pack("<H", 1)),
            _chunk("ibag", struct.pack("<HHHH", 0, 0, len(zone), 0)),
            _chunk("imod", bytes(10)),
            _chunk("igen", instrument_generators),
            _chunk("shdr", header + _name("EOS") + bytes(26)),
        )
    )


def _chunk(name: str, data: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _list(name: str, data: bytes) -> bytes:
    return _chunk("LIST", name.encode() + data)


def _text(text: str) -> bytes:
    return text.encode() + bytes(2 - len(text) % 2)


def _name(text: str) -> bytes:
    return text.encode().ljust(20, b"\0")
