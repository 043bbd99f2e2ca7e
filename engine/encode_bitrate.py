"""How libsndfile's one knob, `compression_level`, becomes a bitrate in kbps: by formula for MP3, by search for Vorbis.

Promises: the MP3 level given for a bitrate gives exactly that bitrate (read back from the frames in the tests, at every
rate); the Vorbis search encodes a long file twice as a rule, five times at most, and leaves the best try in place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from protocol.formats import OutputFormat, bitrate_range

DEFAULT_QUALITY = 0.6
"""Vorbis where no bitrate is asked for: transparent to most listeners, about 210 kbps for stereo at 48 kHz."""

_PASSES = 4
_NEAR = 0.02
"""How far the average of a whole file may be from the one asked before it is encoded again."""
_SEARCH_STEPS = 8
_SEARCH_NEAR = 0.005
_SAME_QUALITY = 0.002

_MPEG1_RATES = (32_000, 44_100, 48_000)
_MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""The constant bitrates of Layer III. Sources: ISO/IEC 11172-3 and 13818-3; MPEG 2.5 has those of MPEG 2."""


# --- MP3 --------------------------------------------------------------------------------------------------------------
def mp3_rates_kbps(rate: int, channels: int) -> tuple[int, ...]:
    """The constant bitrates that an MP3 of `rate` Hz can have and the tables allow, ascending."""
    low, high = bitrate_range(OutputFormat.MP3, rate, channels) or (0, 0)
    return tuple(kbps for kbps in (_MPEG1_KBPS if rate in _MPEG1_RATES else _MPEG2_KBPS) if low <= kbps <= high)


def mp3_level(kbps: int, rate: int) -> float:
    """The `compression_level` that makes libsndfile encode at `kbps`.

    It maps 0..1 linearly from the highest to the lowest bitrate of the rate and drops the fraction: half a kbps more
    than wanted is the safe middle. Source: libsndfile's documentation of SFC_SET_COMPRESSION_LEVEL, and measurement.
    """
    rates = mp3_rates_kbps(rate, 2)
    return max(0.0, (rates[-1] - kbps - 0.5) / (rates[-1] - rates[0]))


def mp3_bitrate_kbps(path: Path) -> float:
    """The bitrate that the headers of all frames of an MP3 state, averaged; raises `OSError` if they do not follow on.

    Sources: ISO/IEC 11172-3, 2.4.1.3, and the layout of MPEG 2.5.
    """
    content = path.read_bytes()
    at = frames = total = 0
    while at + 4 <= len(content):
        kbps, length = _frame(int.from_bytes(content[at : at + 4], "big"))
        if not length:
            break
        at, frames, total = at + length, frames + 1, total + kbps
        if frames % 256 == 0:
            time.sleep(0)  # other threads answer clients meanwhile
    if frames == 0 or at != len(content):
        raise OSError(f"its frames end at byte {at} of {len(content)}")
    return total / frames


_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Hz, by the header's two bits of version."""


def _frame(header: int) -> tuple[int, int]:
    """Bitrate in kbps and length in bytes of the Layer III frame with this header, or zeros if it is none."""
    version, layer, index, rate = (header >> 19) & 3, (header >> 17) & 3, (header >> 12) & 15, (header >> 10) & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or rate == 3 or not 0 < index < 15:
        return 0, 0
    kbps = (_MPEG1_KBPS if version == 3 else _MPEG2_KBPS)[index - 1]
    return kbps, (144 if version == 3 else 72) * kbps * 1000 // _RATES[version][rate] + (header >> 9 & 1)


# --- Vorbis -----------------------------------------------------------------------------------------------------------
def quality_for(
    asked: float, highest: float, *, whole: Callable[[float], float], excerpt: Callable[[float], float]
) -> float:
    """Encode at the quality whose average is nearest to `asked` kbps and not above `highest`; that average.

    `whole` and `excerpt` encode all and a part of the audio at a quality of 0..1 and give the kbps it took. The search
    is made on the excerpt; how far the whole is from it corrects the next try.
    """
    excerpt = cache(excerpt)
    aimed = aim = min(asked, highest / (1.0 + _NEAR / 2))
    tries: list[tuple[bool, float, float, float]] = []
    for _ in range(_PASSES):
        quality = _search(excerpt, aim)
        if any(abs(quality - earlier[2]) < _SAME_QUALITY for earlier in tries):
            break
        kbps = whole(quality)
        tries.append((kbps > highest, abs(kbps - asked), quality, kbps))
        at_an_end = kbps >= aimed if quality == 0.0 else quality == 1.0 and kbps <= aimed
        if at_an_end or (kbps <= highest and abs(kbps - aimed) <= _NEAR * aimed):
            break
        aim *= aimed / kbps
    best = min(tries)
    return best[3] if best is tries[-1] else whole(best[2])


def _search(kbps_at: Callable[[float], float], aim: float) -> float:
    """The quality at which `kbps_at`, which rises with it, gives `aim`: false position on the logarithm."""
    low, high = (0.0, kbps_at(0.0)), (1.0, kbps_at(1.0))
    if low[1] >= aim or high[1] <= aim:
        return 0.0 if low[1] >= aim else 1.0
    for step in range(_SEARCH_STEPS):
        part = math.log(aim / low[1]) / math.log(high[1] / low[1]) if step % 3 < 2 else 0.5
        middle = low[0] + part * (high[0] - low[0])
        kbps = kbps_at(middle)
        if abs(kbps - aim) <= _SEARCH_NEAR * aim:
            return middle
        low, high = ((middle, kbps), high) if kbps < aim else (low, (middle, kbps))
    return min(low, high, key=lambda end: abs(end[1] - aim))[0]  # libvorbis' bitrate jumps at some qualities
