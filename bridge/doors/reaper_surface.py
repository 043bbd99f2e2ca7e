"""REAPER's OSC surface in "local port" mode, from our side: being found by it, asking for a full resend, the doorbell.

REAPER then sends to whoever last sent to it, from the port that it listens on, and resends nothing that has not
changed. So the daemon speaks first, from the socket on which it hears, and asks for everything by an action. While
nothing has been heard for a while it asks again: REAPER may have been started, or another program may have taken the
feed. A port where nobody listens costs one lost datagram. Only the types i, f and s are sent: any other makes REAPER
drop the message.

Source: csurf_osc.cpp and osc.cpp of Cockos' SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from bridge.doors.osc_messages import datagram

REFRESH_ALL_SURFACES = 41743
"""REAPER's action "Control surface: refresh all surfaces"; it clears their caches, so that all is sent again."""
HOST = "127.0.0.1"
LOOK_S, SILENT_S, REFRESH_S = 10.0, 60.0, 5.0
"""Looked at so often; asked again after so long a silence; never asked more often than this."""

_SCRIPT = re.compile(r"_RS[0-9A-Za-z_]{1,128}")
"""What REAPER names a loaded script by: nothing but scripts that the user has loaded can be rung."""


class ReaperSurface:
    """`send` sends a datagram from the OSC door's own socket; `port` is the one that REAPER listens on.

    `clock` is monotonic seconds; `call_later(seconds, call)` starts a timer on the loop.
    """

    def __init__(
        self,
        send: Callable[[bytes, tuple[str, int]], None],
        port: int,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._send, self._port, self._clock, self._call_later = send, port, clock, call_later
        self._last_refresh: float | None = None
        self._last_heard: float | None = None
        self._run = 0  # a timer of an earlier run finds another number and ends

    @property
    def last_heard(self) -> float | None:
        """When REAPER's surface last said anything, by the clock; None: never."""
        return self._last_heard

    def start(self) -> None:
        """Ask at once, and keep looking."""
        self._run += 1
        self.refresh()
        self._look_later(self._run)

    def stop(self) -> None:
        """Ask no more by itself."""
        self._run += 1

    def refresh(self) -> None:
        """Ask REAPER to send everything again, unless it was asked a moment ago."""
        now = self._clock()
        if self._last_refresh is None or now - self._last_refresh >= REFRESH_S:
            self._last_refresh = now
            self._say("/action", ("i", REFRESH_ALL_SURFACES))

    def ring(self, action: str) -> bool:
        """Run the loaded script `action` (``_RS`` and its id); False if that is no script's name and nothing was sent.

        Nothing says whether REAPER heard it.
        """
        if not _SCRIPT.fullmatch(action):
            return False
        self._say("/action/str", ("s", action))
        return True

    def native_heard(self) -> None:
        """The door took one of REAPER's own messages."""
        self._last_heard = self._clock()

    def _look_later(self, run: int) -> None:
        self._call_later(LOOK_S, lambda: self._look(run))

    def _look(self, run: int) -> None:
        if run != self._run:
            return
        if self._last_heard is None or self._clock() - self._last_heard >= SILENT_S:
            self.refresh()
        self._look_later(run)

    def _say(self, path: str, argument: tuple[str, int | str]) -> None:
        with suppress(OSError):  # no way there from this socket: then there is no REAPER to be heard either
            self._send(datagram(path, [argument]), (HOST, self._port))
