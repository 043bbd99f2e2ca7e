"""REAPER's own OSC surface: which of its addresses tell the session something, and what exactly.

REAPER streams tempo, position, play state and loop points with no script running, as 32-bit floats. Such news is less
precise than what a script tells through our own addresses, so it never replaces an exact value that it can stand for;
it replaces one that differs. All other addresses of REAPER's default surface are known and ignored. Nothing here raises
to REAPER and nothing is answered: it listens to the same port as its mixer feedback.

REAPER knows no key. The name of the region at the position may hold one (``Chorus key=Am``); it counts while nobody
else has told a key, and ends with the region.

LOOP points come one by one, in either order, each only when it changed. `Session.native_loop` keeps both as last heard.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.errors import BadArgument, MissingContext
from protocol.float32 import may_be
from protocol.key import Key
from protocol.music import MAX_BPM, MIN_BPM, Region, TempoMap
from protocol.session import Session

SOURCE = "reaper"
"""Who told it, in the session."""

MAX_TIME_S = 1e7
"""Later positions are no project time (115 days)."""

_SINGLE_EPSILON = 2.0**-23

Fold = Callable[[Session, Any, float], Session]
"""Session, the number or text told, now (seconds of the daemon's clock) -> the session after it."""


@dataclass(frozen=True)
class NativeAddress:
    """One of REAPER's addresses; `trigger`: it may come without an argument, which then counts as 1; `text`: its
    argument is a text, otherwise a number."""

    path: str
    argument: str
    meaning: str
    fold: Fold
    trigger: bool = False
    text: bool = False


def fold_native(session: Session, path: str, args: Sequence[object], at: float) -> Session:
    """The session after REAPER said `path args`; unchanged for what says nothing, is malformed or out of range."""
    address = NATIVE.get(path)
    if address is None:
        return session
    value = args[0] if args else (1 if address.trigger else None)
    if address.text:
        return address.fold(session, value, at) if isinstance(value, str) else session
    if isinstance(value, bool):
        value = int(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > MAX_TIME_S:
        return session
    return address.fold(session, value, at)


def is_native(path: str) -> bool:
    """True for every address of REAPER's default surface."""
    return path[1:].partition("/")[0] in _FAMILIES


# --- tempo and transport ----------------------------------------------------------------------------------------------
def _tempo(session: Session, bpm: float, at: float) -> Session:
    if not MIN_BPM <= bpm <= MAX_BPM or (session.tempo and _has_tempo(session.tempo.value, bpm)):
        return session
    return session.told("tempo", float(bpm), SOURCE, at)


def _has_tempo(told: float | TempoMap, bpm: float) -> bool:
    """True if `bpm` is news of the tempo told; from a map, REAPER reports the tempo at its cursor, wherever that is."""
    if not isinstance(told, TempoMap):
        return may_be(told, bpm)
    if any(may_be(point.bpm, bpm) for point in told.points):
        return True
    ramps = zip(told.points, told.points[1:], strict=False)
    return any(a.linear and min(a.bpm, b.bpm) <= bpm <= max(a.bpm, b.bpm) for a, b in ramps)


def _position(session: Session, time_s: float, at: float) -> Session:
    return session.told("position_s", float(time_s), SOURCE, at)


def _playing(session: Session, flag: float, at: float) -> Session:
    return session.told("playing", bool(flag), SOURCE, at)


def _started(session: Session, flag: float, at: float) -> Session:
    return session.told("playing", True, SOURCE, at) if flag else session


def _halted(session: Session, flag: float, at: float) -> Session:
    # 0 says only that REAPER is not stopped or not paused; /play says whether it plays.
    return session.told("playing", False, SOURCE, at) if flag else session


# --- loop points ------------------------------------------------------------------------------------------------------
def _loop_start(session: Session, time_s: float, at: float) -> Session:
    told = _told_regions(session)
    session = replace(session, native_loop=(time_s, session.native_loop[1]))
    return session if any(may_be(r.start_s, time_s) for r in told) else _with_loop(session, told, at)


def _loop_end(session: Session, time_s: float, at: float) -> Session:
    told = _told_regions(session)
    session = replace(session, native_loop=(session.native_loop[0], time_s))
    return session if any(may_be(r.end_s, time_s) for r in told) else _with_loop(session, told, at)


def _with_loop(session: Session, told: Sequence[Region], at: float) -> Session:
    """The session after a loop point moved away from the regions told.

    While the points are no span (one not heard yet, or the start moved first, past the old end) the region stays, and
    the next point decides. An empty loop takes a region back only if REAPER's loop had told it.
    """
    start_s, end_s = session.native_loop
    is_half = None in session.native_loop
    if is_half and len(told) == 1:  # a point that REAPER did not send has not changed since the region was told
        start_s = told[0].start_s if start_s is None else start_s
        end_s = told[0].end_s if end_s is None else end_s
    if start_s is None or end_s is None:
        return session
    if start_s == end_s:
        return _emptied(session, at)
    if start_s > end_s:
        return session
    try:
        region = Region(_exact(session, told, start_s), _exact(session, told, end_s))
    except BadArgument:
        return session
    return replace(
        session.told("regions", (region,), SOURCE, at), before_half_loop=session.regions if is_half else None
    )


def _emptied(session: Session, at: float) -> Session:
    if session.before_half_loop is not None:  # the loop was empty all along, only half of it had come
        return replace(session, regions=session.before_half_loop, before_half_loop=None)
    is_ours = session.regions is not None and session.regions.source == SOURCE
    return session.told("regions", (), SOURCE, at) if is_ours else session


def _told_regions(session: Session) -> tuple[Region, ...]:
    try:
        return session.resolve_regions(session.rate)
    except (MissingContext, BadArgument):
        return ()


def _exact(session: Session, told: Sequence[Region], heard_s: float) -> float:
    """The exact time that a loop point stands for: an edge already told, a count of the grid, else the point itself."""
    edges = (edge for region in told for edge in (region.start_s, region.end_s))
    tempo_map, known = session.tempo_map()
    reach_s = abs(heard_s) * _SINGLE_EPSILON + 1e-6
    nearest = (line.time_s for line in tempo_map.grid(heard_s - reach_s, heard_s + reach_s)) if known else ()
    return next((time_s for time_s in (*edges, *nearest) if may_be(time_s, heard_s)), float(heard_s))


# --- the region at the position ---------------------------------------------------------------------------------------
_SIGN_WORDS, _MODE_WORDS = "sharp|flat|natural", "minor|major|min|maj|moll|mol|dur|aeolian|ionian"
_MODES_UNKNOWN = "dorian|phrygian|lydian|mixolydian|locrian|harmonic|melodic"
"""Taken into the token, so that it names no key that we know: ``key=C dorian`` is not C major."""
_KEY_TOKEN = re.compile(
    rf"""(?<!\w)key\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'
    |(?P<bare>[^\s"',;|)\]}}>!/]+(?:\s+(?:{_SIGN_WORDS})\b)?(?:\s+(?:{_MODE_WORDS}|{_MODES_UNKNOWN})\b)?))""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,  # as the patterns of Lua
)


def key_named_in(name: str) -> Key | None:
    """The key that a region's or marker's name tells by a token: ``key=Am``, ``key="Bb major"``, ``KEY=f# minor``.

    The first token that names a key counts; None if there is none.
    """
    for token in _KEY_TOKEN.finditer(name):
        try:
            return Key.parse(next(text for text in token.groups() if text is not None))
        except BadArgument:
            continue
    return None


def _region_name(session: Session, name: str, at: float) -> Session:
    known, key = session.key, key_named_in(name)
    if known is None or known.value is None:
        return session if key is None else session.told("key", key, SOURCE, at)
    return session.told("key", key, SOURCE, at) if known.source == SOURCE else session


_TABLE = (
    NativeAddress("/tempo/raw", "BPM", "the tempo", _tempo),
    NativeAddress("/loop/start/time", "seconds", "start of the region (the loop points)", _loop_start),
    NativeAddress("/loop/end/time", "seconds", "end of the region (the loop points)", _loop_end),
    NativeAddress("/time", "seconds", "the position", _position),
    NativeAddress("/play", "0 or 1", "playing, or not", _playing, trigger=True),
    NativeAddress("/stop", "0 or 1", "1: not playing", _halted, trigger=True),
    NativeAddress("/pause", "0 or 1", "1: not playing", _halted, trigger=True),
    NativeAddress("/record", "0 or 1", "1: playing", _started, trigger=True),
    NativeAddress(
        "/lastregion/name", "text", 'the key, if the region is named such as "Chorus key=Am"', _region_name, text=True
    ),
)

NATIVE = {address.path: address for address in _TABLE}
"""REAPER's addresses that tell the session something."""

# Cockos' default pattern file (Default.ReaperOSC): the first parts of its addresses.
# fmt: off
_FAMILIES = frozenset((
    "action", "anysolo", "autorecarm", "beat", "bymarker", "click", "device", "editloop", "forward", "frames",
    "fx", "fxeq", "fxinst", "fxinstparam", "fxparam", "fxpreset", "lastmarker", "lastregion", "loop",
    "marker", "marker_id", "master", "midiaction", "midilistaction", "pause", "play", "playrate", "reaper",
    "record", "region", "region_id", "repeat", "replace", "rewind", "samples", "scroll", "scrub", "soloreset",
    "stop", "tempo", "time", "track", "vkb_midi", "zoom",
))
# fmt: on
