"""The embedded engine, taking its time: a plugin (``tests.support.patient:Patient``) that tests can interrupt."""

from __future__ import annotations

import threading

from engine.api import EngineTake, GenerationRequest, IsCancelled, ReportProgress
from engine.sketch import SketchEngine
from protocol.errors import Cancelled
from protocol.job import Progress

STEPS, STEP_S = 100, 0.02


class Patient(SketchEngine):
    """Makes what sketch makes, after two seconds of small steps at each of which it can be cancelled."""

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        for step in range(STEPS):
            if cancelled():
                raise Cancelled("The job was cancelled.")
            progress(Progress(fraction=0.9 * step / STEPS, stage="patience"))
            threading.Event().wait(STEP_S)
        return super().generate(request, lambda _: None, cancelled)
