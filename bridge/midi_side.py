"""What MIDI means to the daemon: its clock goes into the session, its pedals do what was learnt."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.config import Config
from bridge.desk import Desk
from bridge.doors.actions import perform
from bridge.doors.midi import MidiDoor
from bridge.doors.midi_learn import Action
from bridge.doors.midi_scripts import ring_script
from bridge.reaper.resource_folders import Place
from bridge.reaper.state import known_resources
from protocol.clock_session import ClockFold
from protocol.errors import StembridgeError
from protocol.events import RequestRefused
from protocol.midi_clock import ClockReading

log = logging.getLogger("stembridge.midi")


class MidiSide:
    """The MIDI door of a daemon, and what comes of it. `spawn` runs a coroutine beside the loop's other work.

    `ring` has REAPER run a loaded script by its id (`ReaperSurface.ring`); None where its OSC surface is off.
    """

    def __init__(
        self,
        config: Config,
        desk: Desk,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._desk, self._spawn, self._clock = config, desk, spawn, clock
        self._fold = ClockFold()
        self.ring: Callable[[str], bool] | None = None
        self.door = MidiDoor(config.midi, on_clock=self._hear_clock, on_action=self._act, clock=clock)

    def _hear_clock(self, source: str, reading: ClockReading) -> None:
        best = self.door.reading(self._clock())
        if best is not None and best[0] != source:
            return  # a keyboard that sends ticks all day is no transport beside a DAW that plays
        self._desk.tell(self._fold.fold(self._desk.session, source, reading, self._clock()))

    def _act(self, action: Action) -> None:
        log.info("%s: %s", action.source, action.script or action.address)
        if action.script:
            self._spawn(self._ring(action))
        else:
            self._spawn(perform(self._desk, action.address, action.args, action.source, self._clock, self._complain))

    async def _ring(self, action: Action) -> None:
        if self.ring is None:
            self._complain("script_not_loaded", "REAPER's OSC surface is off ([reaper] osc_port).", action.script)
            return
        try:
            resources = await asyncio.to_thread(known_resources, self._config, Place.here())
            await asyncio.to_thread(ring_script, self.ring, resources, action.script)
        except (StembridgeError, OSError) as error:
            self._complain(getattr(error, "code", "script_not_loaded"), str(error), action.script)

    def _complain(self, code: str, sentence: str, what: str) -> None:
        log.warning("%s: %s", what, sentence)
        self._desk.emit(RequestRefused(code, sentence, what))
