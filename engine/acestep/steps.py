"""How far a job is, told at every step, with the time left where it is known; and the place where it is cancelled."""

from __future__ import annotations

from collections.abc import Callable

from engine.acestep.sampler import Eta
from engine.api import IsCancelled, ReportProgress
from engine.wire import LongStep
from protocol.errors import Cancelled
from protocol.job import Progress

_LOADED, _ENCODED, _DENOISED = 0.05, 0.10, 0.95
"""Where on the bar loading, encoding and denoising end; decoding has the rest."""

LOADING_ALLOWANCE_S = 900.0
"""A part of the model may take so long to read from a slow disk."""

STEP_ALLOWANCE_S = 600.0
"""A step of a long window without a GPU, or the first one, which compiles, may take so long."""


class Steps:
    """Maps the phases of a job's passes onto one bar. Every method raises `Cancelled` once the job is unwanted."""

    def __init__(self, progress: ReportProgress, cancelled: IsCancelled, passes: int) -> None:
        self._progress, self._cancelled, self._passes = progress, cancelled, passes
        self._pass = 0
        self._eta: Eta | None = None

    def check(self) -> None:
        """Raise `Cancelled` if nobody wants the job any more."""
        if self._cancelled():
            raise Cancelled("The job was cancelled.")

    def loading(self, fraction: float, what: str) -> None:
        """`what` is being done, before the first pass."""
        self.check()
        self._tell(_LOADED * fraction, what, LOADING_ALLOWANCE_S)

    def begin(self, number: int) -> None:
        """Pass `number`, from 0, begins."""
        self._pass = number
        self.check()

    def encoding(self, fraction: float) -> None:
        """Of the pass's source."""
        self.check()
        self._tell(self._at(_ENCODED * fraction), "encoding the surroundings", STEP_ALLOWANCE_S)

    def denoiser(self, runs: int) -> Callable[[int, int, int], None]:
        """What to call at each step of each of so many runs: (run, steps done, steps in all)."""
        self._eta = Eta()
        eta = self._eta

        def told(run: int, done: int, total: int) -> None:
            self.check()
            left = eta.seconds_left(done, total)
            seconds_left = -1.0 if left is None else left + (runs - run - 1) * left * total / max(1, total - done)
            if left is not None and done == total:
                seconds_left = 0.0 if run + 1 == runs else -1.0
            share = (run + done / total) / runs
            which = f", take {run + 1} of {runs}" if runs > 1 else ""
            stage = f"step {min(done + 1, total)} of {total}{which}"
            fraction = self._at(_ENCODED + (_DENOISED - _ENCODED) * share)
            self._tell(fraction, stage, STEP_ALLOWANCE_S, seconds_left if self._passes == 1 else -1.0)

        return told

    def decoding(self, fraction: float) -> None:
        """Of the pass's takes."""
        self.check()
        self._tell(self._at(_DENOISED + (1.0 - _DENOISED) * fraction), "decoding", STEP_ALLOWANCE_S)

    def _at(self, within: float) -> float:
        return _LOADED + (1.0 - _LOADED) * (self._pass + within) / self._passes

    def _tell(self, fraction: float, stage: str, allowance_s: float, seconds_left: float = -1.0) -> None:
        told: Progress = LongStep(
            fraction=min(1.0, fraction), seconds_left=seconds_left, stage=stage, allowance_s=allowance_s
        )
        self._progress(told)
