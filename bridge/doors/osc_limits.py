"""What keeps one sender from costing the others: a line of waiting calls per sender, complaints at a steady rate."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress

from protocol.errors import Busy

MAX_WAITING = 256
_MOST_KEYS = 256


class Lines:
    """Calls that wait for the journal, one line per sender: what a client asked first is done first.

    A slow call (a source on a sleeping disk) keeps only its own sender waiting.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[Callable[[], Awaitable[None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # strong references: the loop keeps only weak ones
        self._waiting = 0

    def put(self, key: Hashable, call: Callable[[], Awaitable[None]]) -> None:
        """Queue `call`, which must not raise, in the line of `key`; raises `Busy` if too many wait already."""
        if self._waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests are waiting already: try again in a moment.")
        self._waiting += 1
        line = self._lines.get(key)
        if line is not None:
            line.append(call)
            return
        self._lines[key] = deque([call])
        task = asyncio.get_running_loop().create_task(self._work_off(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, key: Hashable) -> None:
        line = self._lines[key]
        try:
            while line:
                call = line.popleft()
                try:
                    await call()
                finally:
                    self._waiting -= 1
        finally:
            self._waiting -= len(line)
            del self._lines[key]

    async def close(self, patience_s: float) -> None:
        """Let what waits finish, for at most so long; then cancel it."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience_s)
        for task in late:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class OncePer:
    """Says yes at most once per interval and key."""

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._last: OrderedDict[Hashable, float] = OrderedDict()

    def __call__(self, key: Hashable) -> bool:
        now = self._clock()
        last = self._last.get(key)
        if last is not None and now - last < self._interval_s:
            return False
        self._last[key] = now
        self._last.move_to_end(key)
        while len(self._last) > _MOST_KEYS:
            self._last.popitem(last=False)
        return True


class Allowance:
    """Says yes at most so many times a second per key, with bursts of a second's worth (a token bucket)."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second, self._clock = per_second, clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __call__(self, key: Hashable) -> bool:
        now = self._clock()
        tokens, at = self._left.pop(key, (self._per_second, now))
        tokens = min(self._per_second, tokens + (now - at) * self._per_second)
        allowed = tokens >= 1.0
        self._left[key] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._left) > _MOST_KEYS:
            self._left.popitem(last=False)
        return allowed
