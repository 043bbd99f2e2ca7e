"""How far a job is, told at every step, with the time left where it is known; and the place where it is cancelled."""

from __future__ import annotations

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
        self._eta = Eta()
        self._step_s: float | None = None

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

    def denoising(self, run: int, runs: int, done: int, total: int) -> None:
        """`done` of `total` steps of one of the pass's runs are made; the time left counts the runs to come."""
        self.check()
        left_s = self._eta.seconds_left(done, total)
        if left_s is not None and done < total:
            self._step_s = left_s / (total - done)
        to_come = (runs - run - 1) + runs * (self._passes - self._pass - 1)
        seconds_left = -1.0 if self._step_s is None else self._step_s * (total - done + total * to_come)
        which = f", take {run + 1} of {runs}" if runs > 1 else ""
        share = (run + done / total) / runs
        fraction = self._at(_ENCODED + (_DENOISED - _ENCODED) * share)
        self._tell(fraction, f"step {min(done + 1, total)} of {total}{which}", STEP_ALLOWANCE_S, seconds_left)

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
