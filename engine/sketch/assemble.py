"""The path made audible: excerpts of the song, each on its exact frame, joined so that nobody hears the joins.

Every excerpt keeps its attacks on the grid lines of the region: the crossfade into it is over shortly before its first
line, or before an attack that either side has a little early. Where in the 60 ms before that the crossfade lies is
decided by the attacks there, none of which is to be cut, doubled or swallowed, and by correlation; its gains allow for
the latter, so that neither tones that agree nor tones that do not swell or dip. Where slots differ in length (a tempo
ramp, a live drummer) excerpts are stretched between their attacks (`engine.sketch.timescale`).

Promise: reads only the excerpts and their short leads and tails, at full rate and in all channels, and never a frame of
the region.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from engine.api import IsCancelled, Source
from engine.measures.onsets import onset_times
from engine.sketch import timescale
from engine.sketch.analysis import Doubles, Float, check
from engine.sketch.material import Material
from engine.sketch.path import Path
from engine.sketch.transients import around

if TYPE_CHECKING:
    from engine.api import Audio

LEAD_S = 0.05
"""Audio beyond the region on both sides, for the crossfades of the splice."""
ATTACK_S = 0.004
"""A crossfade is over this long before the line: attacks in played and programmed music come up to 3 ms early."""
SEARCH_S = 0.06
LONG_FADE_S, SHORT_FADE_S = 0.024, 0.01
HARD_FADE_S = 0.002
"""Where an excerpt has no lead (the song begins there, or the region ends there)."""
_HEARD_BEFORE_S, _HEARD_AFTER_S = 0.02, 0.012
"""What is listened to beyond the room for a join to find the attacks there."""
_DAMAGE = 0.7
"""What an attack that is cut, doubled or lost counts for against the correlation of the two signals."""
LEEWAY_S = 0.005
"""How far a piece inside a slot may leave its place to meet the waveform before it."""
MAX_GAIN_DB = 3.0
_GAIN_PULL = 0.3


@dataclass(frozen=True)
class Piece:
    """From frame `start` on, source frame ``start + offset`` sounds at the gain of excerpt `run`.

    `free`: it begins inside a slot, where no attack has to be met, and may move by `LEEWAY_S`.
    """

    start: int
    offset: int
    run: int
    free: bool = False


FindAttacks = Callable[[int, int], Doubles]
"""Gives the attacks of source frames ``start .. stop``, as source frames."""


def _no_attacks(_start: int, _stop: int) -> Doubles:
    return np.zeros(0)


def pieces(material: Material, path: Path, rate: int, attacks: FindAttacks = _no_attacks) -> list[Piece]:
    """The pieces of a path, in order; `start` counts source frames like the region does."""
    lines = material.grid.lines
    begins = path.run_starts
    out: list[Piece] = []
    for run, (first, stop) in enumerate(zip(begins, [*begins[1:], len(path.sources)], strict=True)):
        count = stop - first + 1
        own = lines[path.sources[first] : path.sources[first] + count]
        target = lines[path.targets[first] : path.targets[first] + count]
        stretched = timescale.needs_stretching(own, target, rate)
        found = attacks(round(own[0]), round(own[-1])) if stretched else np.zeros(0)
        placed = timescale.placed(own, target, found, rate, closed=stop == len(path.sources))
        out += [Piece(piece.start, piece.offset, run, piece.free) for piece in placed]
    edge = material.region[0] + material.grid.slack_s * rate
    opening = [piece for piece in out if piece.start <= edge][-1]
    inside = (piece for piece in out if edge < piece.start < material.region[1])
    return [replace(opening, start=material.region[0]), *inside]


def gains_db(material: Material, path: Path) -> Doubles:
    """One gain per run: level steps at the joins are taken out as far as a few dB allow.

    Least squares over the chain context, run, ..., run, context with the contexts held at 0 dB and a pull to 0 dB.
    """
    slots, before, after = material.slots, material.before, material.after
    begins = path.run_starts
    runs = len(begins)
    steps = np.zeros(runs + 1)
    steps[0] = _step_db(before.level_db, before.known, material.first, int(path.sources[0]))
    steps[-1] = -_step_db(after.level_db, after.known, material.last, int(path.sources[-1]))
    for index, begin in enumerate(begins[1:], start=1):
        old, new = int(path.sources[begin - 1]), int(path.sources[begin])
        both = [
            _step_db(slots.level_db, slots.known, old + 1, new),
            _step_db(slots.level_db, slots.known, old, new - 1),
        ]
        steps[index] = sum(both) / 2
    rows = np.diff(np.eye(runs + 2), axis=0)[:, 1:-1]
    solved = np.linalg.solve(rows.T @ rows + _GAIN_PULL * np.eye(runs), rows.T @ steps)
    # Rounded, so that the last bits of another machine's linear algebra do not reach the audio.
    return np.clip(np.round(solved, 2), -MAX_GAIN_DB, MAX_GAIN_DB)


def _step_db(level_db: Doubles, known: np.ndarray, here: int, there: int) -> float:
    """How many dB `there` must be raised to sit where `here` is; 0 if either is not known, bounded at 6."""
    if not (known[here] and known[there]):
        return 0.0
    return float(np.clip(level_db[here] - level_db[there], -6.0, 6.0))


# --- reading ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Allowed:
    """The source without the region."""

    source: Source
    region: tuple[int, int]

    def around(self, frame: int) -> tuple[int, int]:
        """The allowed stretch that holds source frame `frame`."""
        begin, end = (min(max(edge, 0), self.source.frames) for edge in self.region)
        return (end, self.source.frames) if frame >= end or begin == 0 else (0, begin)

    def read(self, start: int, stop: int, bounds: tuple[int, int]) -> Audio:
        """Frames ``start .. stop``, zero where they leave `bounds`."""
        audio = np.zeros((self.source.channels, stop - start), np.float32)
        low, high = (min(max(edge, bounds[0]), bounds[1]) for edge in (start, stop))
        if high > low:
            audio[:, low - start : high - start] = self.source.read(low, high)
        return audio

    def attacks(self, start: int, stop: int) -> Doubles:
        """The attacks of an excerpt, as source frames."""
        margin = round(0.1 * self.source.rate)
        audio = self.read(start - margin, stop + margin, self.around((start + stop) // 2))
        return onset_times(audio.mean(axis=0), self.source.rate) * self.source.rate + start - margin


# --- joining ----------------------------------------------------------------------------------------------------------
def assemble(
    source: Source, material: Material, path: Path, cancelled: IsCancelled
) -> tuple[Audio, int, list[Piece], Doubles]:
    """The region's audio ``(channels, frames)`` with a lead and a tail where the excerpts have them, and its start.

    Also returns the pieces and the gain of each run in dB. Raises `Cancelled`, and what `source.read` raises.
    """
    rate, end = source.rate, material.region[1]
    allowed = _Allowed(source, material.region)
    laid, gains = pieces(material, path, rate, allowed.attacks), gains_db(material, path)
    finished: list[Audio] = []
    out, start, take_start = np.zeros((source.channels, 0), np.float32), 0, 0
    stops = [piece.start for piece in laid[1:]] + [end]
    for index, (piece, stop) in enumerate(zip(laid, stops, strict=True)):
        check(cancelled)
        # A frame well inside what the piece plays tells on which side of the region it was taken.
        bounds = allowed.around((piece.start + stop) // 2 + piece.offset)
        stop = _tail(piece, end, bounds, rate) if stop == end else stop + round(_HEARD_AFTER_S * rate)
        reach = SEARCH_S + LONG_FADE_S + ATTACK_S if index else LEAD_S
        lead = min(round(reach * rate), max(0, piece.start + piece.offset - bounds[0]))
        leeway = round(LEEWAY_S * rate) if piece.free and index else 0
        audio = allowed.read(piece.start + piece.offset - lead - leeway, stop + piece.offset + leeway, bounds)
        audio *= np.float32(10.0 ** (gains[piece.run] / 20.0))
        if index == 0:
            out, start = audio, piece.start - lead
            take_start = start
            continue
        if leeway:
            shift = _in_phase(out, piece.start - start, audio, lead, leeway, rate)
            audio = audio[:, shift : audio.shape[1] - 2 * leeway + shift]
        both = join(out, piece.start - start, audio, lead, (piece.start - laid[index - 1].start) // 2, rate)
        # The next join reaches back no further than to this piece's start.
        finished.append(both[:, : piece.start - start])
        out, start = both[:, piece.start - start :], piece.start
    return np.concatenate([*finished, out], axis=1), take_start, laid, gains


def _tail(piece: Piece, end: int, bounds: tuple[int, int], rate: int) -> int:
    """Where the last piece stops: a tail beyond the region, as far as its excerpt goes on."""
    return max(end, min(end + round(LEAD_S * rate), bounds[1] - piece.offset))


def _in_phase(out: Audio, at: int, audio: Audio, lead: int, leeway: int, rate: int) -> int:
    """By how much to cut into `audio`, which has `leeway` to spare on both sides, for the best phase; 0..2 leeway.

    The middle stands for the piece's own place.
    """
    length = min(round(LONG_FADE_S * rate), lead, at)
    if length < leeway:
        return leeway
    old = out[:, at - length : at].mean(axis=0)
    new = audio[:, lead - length : lead + 2 * leeway].mean(axis=0)
    power = np.convolve(new**2, np.ones(length), "valid")
    likeness = np.correlate(new, old, "valid") / np.sqrt(np.maximum(power, 1e-9))
    return int(np.argmax(likeness))


def join(out: Audio, at: int, audio: Audio, lead: int, room: int, rate: int) -> Audio:
    """`out` up to frame `at`, and from there `audio`, whose first `lead` frames come before `at`.

    The crossfade lies where the two agree best, at most `room` frames before `at`, and is over before the attack.
    """
    attack, hard = round(ATTACK_S * rate), round(HARD_FADE_S * rate)
    usable = min(lead, room, at, round((SEARCH_S + LONG_FADE_S + ATTACK_S) * rate))
    if usable < attack + round(SHORT_FADE_S * rate):
        begin, length, agreement = at - usable, max(usable, hard), 0.0
        length = min(length, out.shape[1] - begin, audio.shape[1] - lead + usable)
    else:
        begin, length, agreement = _best_place(out, at, audio, lead, usable, rate)
    theta = (np.arange(length) + 0.5) / max(length, 1) * np.pi / 2
    fade_out, fade_in = np.cos(theta), np.sin(theta)
    # Equal power holds for unrelated signals; where they agree the sum would swell by 1 + 2 r sin cos.
    level = np.sqrt(1.0 + 2.0 * agreement * fade_out * fade_in)
    from_new = lead - (at - begin)
    mixed = out[:, begin : begin + length] * (fade_out / level) + audio[:, from_new : from_new + length] * (
        fade_in / level
    )
    return np.concatenate([out[:, :begin], mixed.astype(np.float32), audio[:, from_new + length :]], axis=1)


def _best_place(out: Audio, at: int, audio: Audio, lead: int, usable: int, rate: int) -> tuple[int, int, float]:
    """Where the crossfade begins, how long it is, and how well the two signals correlate there."""
    reach = min(usable + round(_HEARD_BEFORE_S * rate), at, lead)
    after = round(_HEARD_AFTER_S * rate)
    old, new = (
        signal.mean(axis=0) for signal in (out[:, at - reach : at + after], audio[:, lead - reach : lead + after])
    )
    heard = around(old, new, reach, rate)
    old, new = old[reach - usable : reach], new[reach - usable : reach]
    shortest = round(SHORT_FADE_S * rate)
    latest = max(shortest, usable - round(ATTACK_S * rate) + round(heard.limit_ms * rate / 1000))
    best = (-np.inf, at - usable, shortest, 0.0)
    for fade_s, bonus in ((LONG_FADE_S, 0.1), (SHORT_FADE_S, 0.0)):
        length = round(fade_s * rate)
        firsts = np.arange(latest - length, -1, -max(1, rate // 1000))
        if not len(firsts):
            continue
        agreement = _agreement(old, new, firsts, length)
        lateness = (latest - length - firsts) / (SEARCH_S * rate)
        damage = heard.damage((firsts - usable) * 1000 / rate, fade_s * 1000)
        score = agreement + bonus - 0.3 * lateness - _DAMAGE * damage
        k = int(np.argmax(score))
        if score[k] > best[0]:
            best = (float(score[k]), at - usable + int(firsts[k]), length, float(agreement[k]))
    _, begin, length, agreement_there = best
    return begin, length, min(max(agreement_there, -0.5), 1.0)


def _agreement(old: Float, new: Float, firsts: np.ndarray, length: int) -> Doubles:
    """Normalised correlation of the two signals over windows of `length` beginning at each of `firsts`."""

    def windowed(product: Float) -> Doubles:
        sums = np.concatenate([[0.0], np.cumsum(product, dtype=np.float64)])
        return np.asarray(sums[firsts + length] - sums[firsts])

    power = np.maximum(windowed(old * old), 0.0) * np.maximum(windowed(new * new), 0.0)
    return np.asarray(windowed(old * new) / (np.sqrt(power) + 1e-9))
