"""The null test: lay the take over the original at its place and subtract. What is left outside the region is damage.

Measured on the samples that the file holds, never assumed: a take that is a sample too long leaves something outside,
one that lies a sample off does not begin with the original's own sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.api import Window

if TYPE_CHECKING:
    from engine.api import Audio


def null_test(audio: Audio, region: tuple[int, int], window: Window) -> dict[str, Any]:
    """What replacing the source by `audio` ``(channels, frames)`` from ``region[0]`` on changes within `window`.

    ``outside_peak``: the largest sample of the difference outside the region, 0.0 if nothing changed.
    ``first``, ``last``: the take's first and last sample are the original's own, to the bit (None where it has none).
    ``inside_db``: the difference inside over the original, in dB; None without an original to subtract.
    """
    first, after = region[0] - window.start, region[1] - window.start
    pasted = np.pad(window.audio, ((0, 0), (0, max(0, first + audio.shape[1] - window.audio.shape[1]))))
    before = pasted.copy()
    pasted[:, first : first + audio.shape[1]] = audio
    difference = np.abs(pasted - before)
    outside = np.concatenate([difference[:, :first], difference[:, after:]], axis=1)
    exists = slice(max(first, window.exists[0] - window.start), min(after, window.exists[1] - window.start))
    was, left = before[:, exists].astype(np.float64), difference[:, exists].astype(np.float64)
    return {
        "outside_peak": float(outside.max(initial=0.0)),
        "first": _same(audio[:, 0], window, region[0]),
        "last": _same(audio[:, -1], window, region[1] - 1),
        "inside_db": _ratio_db(float(np.sum(left**2)), float(np.sum(was**2))),
    }


def _same(sample: NDArray[np.float32], window: Window, frame: int) -> bool | None:
    if not window.exists[0] <= frame < window.exists[1]:
        return None
    return bool(np.array_equal(sample, window.audio[:, frame - window.start]))


def _ratio_db(power: float, reference: float) -> float | None:
    return round(10.0 * float(np.log10(power / reference)), 3) if power > 0.0 and reference > 0.0 else None
