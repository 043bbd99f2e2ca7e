"""An excerpt in another tempo: laid out in pieces of its own sound, whose attacks keep their place and shape.

Between two grids the time in an excerpt is a broken line: every line of its own grid falls on a line of the region's,
and what lies between is moved in proportion. Only the sound between attacks is stretched: each attack, with what rings
after it, is a piece that begins where the broken line puts it and plays at the song's own speed; the few milliseconds
by which two pieces then overlap or miss each other are taken up in the crossfade before the next attack, where the
sound has died away most. Between attacks that are far apart, and in music without any, further pieces may move a little
to meet the waveform in phase, as in WSOLA (Verhelst and Roelands, "An overlap-add technique based on waveform
similarity for high quality time-scale modification of speech", ICASSP 1993), so that a tone keeps its pitch. No
transient is smeared or heard twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.sketch.analysis import Doubles

DRIFT_S = 0.0005
"""Two excerpts of one tempo, and the rounding of lines, differ by less; nothing is moved for it."""
STEP_S, MIN_PIECE_S = 0.004, 0.05
"""How far one piece may be moved against the one before it, where there is room; how short pieces may become."""
APART_S = 0.06
"""Attacks closer than this to one that is placed are left to it."""
NEAR_S = 0.03
"""An attack this close to a line is one on the line, as it was played."""
CLOSING_S = 0.03
"""The last piece begins this much before the last line: what comes after it in the song must not sound before it."""


@dataclass(frozen=True)
class Placed:
    """From frame `start` on, source frame ``start + offset`` sounds. `free`: no attack has to be met there, so that
    the piece may move a little."""

    start: int
    offset: int
    free: bool = False


def needs_stretching(source_lines: Doubles, target_lines: Doubles, rate: int) -> bool:
    """Whether the grids differ by more than rounding (lines in frames, as many of each)."""
    offsets = source_lines - target_lines
    return bool(np.abs(offsets - offsets[0]).max() > DRIFT_S * rate)


def placed(
    source_lines: Doubles, target_lines: Doubles, attacks: Doubles, rate: int, *, closed: bool = True
) -> list[Placed]:
    """The pieces of one excerpt, in order of time.

    `source_lines` ``(n + 1,)`` are the excerpt's lines and `target_lines` those on which they shall fall; `attacks` are
    its attacks, in source frames. The first line and every attack (but one that follows another within `APART_S`) lies
    where it belongs to `DRIFT_S`, an attack near a line with that line; if `closed`, so does the sound at the last line
    (another excerpt that begins there would only lack the room for its crossfade).
    """
    if not needs_stretching(source_lines, target_lines, rate):
        return [Placed(round(target_lines[0]), round(source_lines[0] - target_lines[0]))]
    anchors = _anchors(source_lines, attacks, rate)
    begins = np.interp(anchors, source_lines, target_lines)
    begins[-1] = max(begins[-1] - CLOSING_S * rate, (begins[-1] + begins[-2]) / 2)
    offsets = anchors - np.interp(anchors, source_lines, target_lines)
    out = [Placed(round(begins[0]), round(offsets[0]))]
    for k in range(1, len(anchors)):
        out += _between(begins[k - 1], begins[k], offsets[k - 1], offsets[k], rate)
        if k == len(anchors) - 1 and not closed:
            break
        if out[-1].free or abs(offsets[k] - out[-1].offset) > DRIFT_S * rate:
            out.append(Placed(round(begins[k]), round(offsets[k])))
    return out


def _anchors(lines: Doubles, attacks: Doubles, rate: int) -> Doubles:
    """Where in the excerpt a place has to be kept: the first line and the last, and attacks, or the lines near them."""
    inside = attacks[(attacks > lines[0]) & (attacks < lines[-1])]
    nearest = lines[np.abs(lines[None, :] - inside[:, None]).argmin(axis=1)] if len(inside) else inside
    kept = [float(lines[0])]
    for place in np.unique(np.where(np.abs(nearest - inside) < NEAR_S * rate, nearest, inside)):
        if place - kept[-1] >= APART_S * rate and lines[-1] - place >= APART_S * rate:
            kept.append(float(place))
    return np.array([*kept, float(lines[-1])])


def _between(begin: float, stop: float, offset: float, next_offset: float, rate: int) -> Iterator[Placed]:
    """Further pieces between two attacks, so that none is moved by much more than `STEP_S`."""
    steps = int(np.ceil(abs(next_offset - offset) / (STEP_S * rate)))
    count = max(1, min(steps, int((stop - begin) / (MIN_PIECE_S * rate))))
    for part in range(1, count):
        share = part / count
        yield Placed(round(begin + (stop - begin) * share), round(offset + (next_offset - offset) * share), free=True)
