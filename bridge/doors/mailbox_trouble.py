"""What a mailbox's disk refuses, told in the log when it begins, once a minute while it lasts, and when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("stembridge.mailbox")

REMIND_S = 60.0


class Trouble:
    """The refusals of one kind of work on the mailbox at `root`; `clock` gives monotonic seconds."""

    def __init__(self, root: Path, what: str, clock: Callable[[], float]) -> None:
        self._root, self._what, self._clock = root, what, clock
        self._told_at: dict[str, float] = {}
        self._is_open = False

    def met(self, file_name: str, error: OSError) -> None:
        """The disk refused; the same reason is not told again within a minute, even if it went well in between."""
        reason, now = error.strerror or type(error).__name__, self._clock()
        if now - self._told_at.get(reason, float("-inf")) >= REMIND_S:
            self._told_at[reason] = now
            self._is_open = True
            log.warning("the mailbox %s: %s %s (%s); trying on", self._root, file_name, self._what, error)

    def over(self) -> None:
        """It went well."""
        if self._is_open:
            self._is_open = False
            log.info("the mailbox %s can be used again", self._root)
