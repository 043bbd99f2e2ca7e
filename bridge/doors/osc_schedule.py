"""Messages that wait for their time tag, in the order of their times and, where those are equal, of their arrival.

One timer for all of them: timers of their own would fall due in any order where their times are equal, and the messages
of a bundle always share one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None: ...


class Schedule:
    """`wall` is the time of time tags; `call_later(seconds, call)` starts a timer on the loop."""

    def __init__(self, wall: Callable[[], float], call_later: Callable[[float, Callable[[], None]], Timer]) -> None:
        self._wall, self._call_later = wall, call_later
        self._waiting: list[tuple[float, int, Callable[[], Any]]] = []
        self._numbers = count()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, due: float, call: Callable[[], Any]) -> None:
        """Call `call`, which must not raise, at `due`."""
        heapq.heappush(self._waiting, (due, next(self._numbers), call))
        self._arm()

    def close(self) -> None:
        """Forget all that waits."""
        self._waiting.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            due = self._waiting[0][0]
            self._timer = self._call_later(max(0.0, due - self._wall()), lambda: self._fall_due(due))

    def _fall_due(self, due: float) -> None:
        # The timer decides, not the wall clock: that may have been set back meanwhile.
        self._timer = None
        while self._waiting and self._waiting[0][0] <= due:
            heapq.heappop(self._waiting)[2]()
        self._arm()
