"""Our own session messages, folded into the session: one small function per address. Pure.

`/stembridge/project` and `/stembridge/source` are not here: they look at the file system, and so are the desk's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from protocol.address_space import PREFIX
from protocol.address_types import Command
from protocol.key import Key
from protocol.music import Region, TempoMap, TimeSignature, merge
from protocol.session import BarsRegion, FramesRegion, Session
from protocol.task import parse_setting

_SET, _KEY = f"{PREFIX}/set/", f"{PREFIX}/key"


def fold(session: Session, command: Command, source: str, at: float) -> Session:
    """The session after `source` sent `command` at `at` (seconds of the daemon's clock).

    Raises `BadArgument` for values that mean nothing together: a region that ends before it starts, an unknown key.
    """
    if command.path.startswith(_SET):
        name, value = command.path[len(_SET) :], command.values[0]
        checked = None if value in ("", None) else parse_setting(name, value)
        return session.told_setting(name, checked, source, at)
    if command.path == _KEY:
        text = str(command.values[0]).strip()
        return session.told("key", Key.parse(text) if text else None, source, at)
    field, read = _READERS[command.path]
    value = read(*command.values)
    return session if value is None else session.told(field, value, source, at)


def _regions(*edges: float) -> tuple[Region, ...]:
    return merge(Region(start_s, end_s) for start_s, end_s in zip(edges[::2], edges[1::2], strict=True))


def _playing(pressed: bool = True) -> bool | None:
    return True if pressed else None


def _stopped(pressed: bool = True) -> bool | None:
    return False if pressed else None


_READERS: Mapping[str, tuple[str, Callable[..., Any]]] = MappingProxyType(
    {
        f"{PREFIX}/tempo": ("tempo", lambda bpm: bpm),
        f"{PREFIX}/tempo/map": ("tempo", lambda *flat: TempoMap.from_flat(flat)),
        f"{PREFIX}/timesig": ("timesig", TimeSignature),
        f"{PREFIX}/region": ("regions", lambda start_s, end_s: (Region(start_s, end_s),)),
        f"{PREFIX}/region/samples": ("regions", lambda start, end: (FramesRegion(start, end),)),
        f"{PREFIX}/region/bars": ("regions", lambda first, count: (BarsRegion(first, count),)),
        f"{PREFIX}/regions": ("regions", _regions),
        f"{PREFIX}/position": ("position_s", lambda time_s: time_s),
        f"{PREFIX}/play": ("playing", _playing),
        f"{PREFIX}/stop": ("playing", _stopped),
    }
)
