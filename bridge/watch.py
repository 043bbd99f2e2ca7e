"""What the steps of an engine tell: whether it is overdue, and how long it still takes.

Pure arithmetic: times are handed in (seconds, any epoch), nothing is read, waited for or ended here.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import Cancelled, EngineError, EngineStalled
from protocol.job import Progress


@dataclass(frozen=True)
class SupervisorSettings:
    """Deadlines in seconds; the reasons for the defaults are in bridge/config.py."""

    start_s: float = 60.0
    """From the process's start to its hello (a cold disk can take long to import numpy)."""
    prepare_s: float = 900.0
    """For loading a model, while heartbeats arrive."""
    heartbeat_s: float = 20.0
    """Silence of a working process that means it is dead."""
    stall_s: float = 120.0
    """No change of progress that means it hangs, unless a step asked for more."""
    cancel_grace_s: float = 10.0
    """From cancel to kill."""
    exit_grace_s: float = 2.0
    """From the request to end to kill."""
    idle_release_s: float = 300.0


class Watch:
    """When a piece of work is overdue."""

    def __init__(self, settings: SupervisorSettings, now_s: float, *, starting: bool) -> None:
        self._settings = settings
        self._silent_at = now_s + (settings.start_s if starting else settings.heartbeat_s)
        self._stalled_at = now_s + settings.prepare_s + (settings.start_s if starting else 0.0)
        self._unanswered_at = float("inf")
        self._starting = starting
        self._last_step: tuple[float, str] | None = None

    def hello(self, now_s: float) -> None:
        """The process is there; it beats only while it works, so nothing is due but an answer."""
        self._starting = False
        self.alive(now_s)

    def alive(self, now_s: float) -> None:
        """Anything was heard."""
        if not self._starting:
            self._silent_at = now_s + self._settings.heartbeat_s

    def started(self, now_s: float, allowance_s: float) -> None:
        """Work began; its first step may take `allowance_s`."""
        self._stalled_at = now_s + allowance_s

    def stepped(self, progress: Progress, allowance_s: float | None, now_s: float) -> None:
        """Progress came; only a change of it counts."""
        step = (progress.fraction, progress.stage)
        if step != self._last_step or allowance_s is not None:
            self._last_step = step
            self._stalled_at = now_s + max(self._settings.stall_s, allowance_s or 0.0)

    def cancelled(self, now_s: float) -> None:
        """Cancel was sent."""
        self._unanswered_at = min(self._unanswered_at, now_s + self._settings.cancel_grace_s)

    def slept(self, by_s: float) -> None:
        """Nobody could speak or listen for so long: the computer slept, or this process did.

        What would be overdue now gets a heartbeat's time more, to be heard first.
        """
        by_s += self._settings.heartbeat_s
        self._silent_at += by_s
        self._stalled_at += by_s
        self._unanswered_at += by_s

    @property
    def due_s(self) -> float:
        """The next time at which `verdict` can be anything but None."""
        return min(self._silent_at, self._stalled_at, self._unanswered_at)

    def verdict(self, now_s: float) -> EngineError | Cancelled | None:
        """What is overdue, as the error to end the work with."""
        if now_s >= self._unanswered_at:
            return Cancelled("The job was cancelled; the engine did not answer in time and was ended.")
        if now_s >= self._silent_at and self._starting:
            return EngineStalled(
                f"The engine did not start within {self._settings.start_s:g} s and was ended. Try again; "
                "'stembridge doctor' shows what is wrong if it stays so."
            )
        if now_s >= self._silent_at:
            return EngineStalled(
                f"The engine gave no sign of life for {self._settings.heartbeat_s:g} s and was ended. "
                "Retry the job; a new engine process takes it."
            )
        if now_s >= self._stalled_at:
            return EngineStalled(
                "The engine made no progress for too long and was ended. Retry the job; if it happens again, try a "
                "shorter region or fewer variations."
            )
        return None


class Pace:
    """Estimates the seconds left from the speed since the first step, where the engine does not know them."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def estimated(self, progress: Progress, now_s: float) -> Progress:
        """`progress`, with `seconds_left` filled in as soon as a speed can be measured."""
        if self._first is None:
            self._first = now_s, progress.fraction
        since_s, done = now_s - self._first[0], progress.fraction - self._first[1]
        if progress.seconds_left >= 0 or since_s <= 0 or done <= 0:
            return progress
        return progress.model_copy(update={"seconds_left": (1.0 - progress.fraction) * since_s / done})
