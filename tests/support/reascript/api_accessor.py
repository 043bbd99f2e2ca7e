"""Audio accessors and `reaper.array`: how a script reads samples.

A track's accessor hears its items before effects, fader, pan, mute and playback offset. Accessors must be destroyed:
`open_accessors` tells which are not.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tests.support.reascript import audio
from tests.support.reascript.errors import BadCall, Fault
from tests.support.reascript.model import Track
from tests.support.reascript.registry import reascript

MOST_VALUES = 4_194_304
"""The most numbers that a reaper.array holds, as the documentation says."""


@dataclass(eq=False)
class Accessor:
    """Reads one track, until it is destroyed."""

    track: Track
    alive: bool = True

    reascript_type = "AudioAccessor"


_open: WeakKeyDictionary[Any, list[Accessor]] = WeakKeyDictionary()


def open_accessors(host: Any) -> list[Accessor]:
    """Those that the host's scripts made and did not destroy."""
    return [accessor for accessor in _open.get(host, []) if accessor.alive]


@reascript("CreateTrackAudioAccessor")
def create(host: Any, track: Track) -> Accessor:
    accessor = Accessor(track)
    _open.setdefault(host, []).append(accessor)
    return accessor


@reascript("DestroyAudioAccessor")
def destroy(host: Any, accessor: Accessor) -> None:
    accessor.alive = False


@reascript("GetAudioAccessorStartTime")
def start_time(host: Any, accessor: Accessor) -> float:
    return 0.0


@reascript("GetAudioAccessorEndTime")
def end_time(host: Any, accessor: Accessor) -> float:
    return max((item.end for item in accessor.track.items), default=0.0)


@reascript("GetAudioAccessorSamples")
def samples(host: Any, accessor: Accessor, rate: int, channels: int, start_s: float, frames: int, buffer: Any) -> int:
    """1 and interleaved samples, 0 and zeros where the track has no item, -1 if the track is gone."""
    if not isinstance(buffer, Array):
        raise BadCall("GetAudioAccessorSamples: the buffer must be a reaper.array")
    if not accessor.track.alive:
        return -1
    if channels not in (1, 2) or rate < 1 or frames < 0 or frames * channels > len(buffer.values):
        raise BadCall(f"GetAudioAccessorSamples: {frames} frames of {channels} channels at {rate} Hz into {buffer!r}")
    start = audio.frame_at(start_s, rate)
    heard = audio.dry(accessor.track, rate, start, start + frames)
    block = heard if channels == 2 else heard.mean(axis=0, keepdims=True)
    buffer.values[: frames * channels] = block.T.reshape(-1)
    spans = [audio.item_frames(item, rate) for item in accessor.track.items if not item.values["B_MUTE"]]
    return int(any(first < start + frames and last > start for first, last in spans))


@reascript("new_array")
def new_array(host: Any, *given: Any) -> Any:
    """`new_array(size)`, `new_array(table)` or `new_array(table, size)`."""
    if not given or isinstance(given[0], bool | str | bytes | None) or len(given) > 2:
        raise BadCall("new_array takes a size, a table, or a table and a size")
    if isinstance(given[0], int | float):
        if len(given) > 1:
            raise BadCall("new_array(size) takes nothing else")
        size, initial = _whole("the size", given[0]), []
    else:
        initial = [float(given[0][index]) for index in range(1, len(given[0]) + 1)]
        size = _whole("the size", given[1]) if len(given) > 1 else len(initial)
    if not 1 <= size <= MOST_VALUES:
        raise BadCall(f"new_array: the size must be 1 to {MOST_VALUES}, not {size}")
    array = Array(host, size, initial[:size])
    return importlib.import_module("lupa.lua" + host.lua.replace(".", "")).as_itemgetter(array)


class Array:
    """A reaper.array as Lua sees it: doubles by index from 1, and methods that are called with a dot."""

    def __init__(self, host: Any, size: int, initial: list[float]) -> None:
        self._host = host
        self.values = np.zeros(size)
        self.values[: len(initial)] = initial
        self._size = size
        self._methods = {
            "table": self.table,
            "clear": self.clear,
            "get_alloc": self.get_alloc,
            "resize": self.resize,
        }

    def __repr__(self) -> str:
        return f"a reaper.array of {self._size}"

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._methods:
                self._fault(f"a reaper.array has no (modelled) method {key!r}")
            return self._methods[key]
        return float(self.values[self._index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fault(f"a reaper.array holds numbers, not {value!r}")
        self.values[self._index(key)] = value

    def table(self, offset: Any = 1, size: Any = None) -> Any:
        """The values from `offset` (from 1) as a Lua table."""
        first = self._index(offset)
        count = self._size - first if size is None else self._count(size, first)
        return self._host.runtime.table_from(self.values[first : first + count].tolist())

    def clear(self, value: Any = 0.0, offset: Any = 1, size: Any = None) -> None:
        first = self._index(offset)
        count = self._size - first if size is None else self._count(size, first)
        self.values[first : first + count] = value

    def get_alloc(self) -> int:
        """How many values there is room for."""
        return len(self.values)

    def resize(self, size: Any) -> None:
        """Use fewer (or again more) of the values that were allocated."""
        if not 0 <= int(size) <= len(self.values):
            self._fault(f"{self!r} cannot be resized to {size}: {len(self.values)} were allocated")
        self._size = int(size)

    def _index(self, key: Any) -> int:
        if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key) or not 1 <= key <= self._size:
            self._fault(f"{self!r} has no index {key!r}")
        return int(key) - 1

    def _count(self, size: Any, first: int) -> int:
        if int(size) != size or not 0 <= size <= self._size - first:
            self._fault(f"{self!r} has no {size} values from {first + 1}")
        return int(size)

    def _fault(self, message: str) -> None:
        """Recorded, so that a script which catches it does not hide it."""
        error = BadCall(message)
        self._host.faults.append(Fault(error, "in a reaper.array"))
        raise error


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise BadCall(f"new_array: {name} must be a whole number, not {value!r}")
    return int(value)
