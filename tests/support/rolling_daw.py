"""A DAW that plays: it streams its position 30 times a second from a thread, as REAPER's OSC surface does."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from tests.support.daemon import Client

_EVERY_S = 1 / 30


class RollingDaw:
    """Plays from `start_s` of the project as soon as it is entered; `locate`, `stop` and `play` it meanwhile."""

    def __init__(self, port: int, start_s: float) -> None:
        self._client = Client(port)
        self._lock = threading.Lock()
        self._offset_s = start_s - time.monotonic()
        self._stood_at: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._stream, daemon=True)

    @property
    def position_s(self) -> float:
        with self._lock:
            return self._stood_at if self._stood_at is not None else self._offset_s + time.monotonic()

    def locate(self, time_s: float) -> None:
        with self._lock:
            self._offset_s = time_s - time.monotonic()
            if self._stood_at is not None:
                self._stood_at = time_s

    def stop(self) -> None:
        at = self.position_s
        with self._lock:
            self._stood_at = at
        self._client.send("/stembridge/stop")

    def play(self) -> None:
        with self._lock:
            assert self._stood_at is not None
            self._offset_s, self._stood_at = self._stood_at - time.monotonic(), None
        self._client.send("/stembridge/play")

    def _stream(self) -> None:
        while not self._ended.wait(_EVERY_S):
            if self._stood_at is None:
                self._client.send("/stembridge/position", self.position_s)

    def __enter__(self) -> RollingDaw:
        self._client.send("/stembridge/position", self.position_s)
        self._client.send("/stembridge/play")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._client.socket.close()
