"""The director of live extension: starts, changes and ends the daemon's one live run (see bridge/live/run.py)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bridge.desk import Desk
from bridge.live.prepare import OF_THE_RUN, Start, prepared, task_settings
from bridge.live.run import TICK_S, LiveRun
from bridge.transport import Transport
from protocol.errors import BadArgument, JobConflict, StembridgeError
from protocol.events import LiveChanged
from protocol.job import checked_job_id, new_job_id
from protocol.live import LiveCounts, LiveState, LiveStatus
from protocol.session import Session
from protocol.transport import Playhead

log = logging.getLogger("stembridge.live")


class NoLiveRun(StembridgeError):
    """There is no live run."""

    code = "no_live_run"


class LiveDirector:
    """The live part of the daemon's desk. `transport` is the DAW's; `clock` monotonic seconds."""

    def __init__(self, desk: Desk, transport: Transport, clock: Callable[[], float]) -> None:
        self._desk, self._transport, self._clock = desk, transport, clock
        self._run: LiveRun | None = None
        self._last: LiveStatus | None = None
        self._going: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._stop_listening: Callable[[], None] = lambda: None
        self._ending: set[asyncio.Task[Any]] = set()

    # --- what a musician does -----------------------------------------------------------------------------------------
    async def start(
        self,
        options: Mapping[str, object],
        session: Session,
        client: str,
        *,
        told: Callable[[], Session] | None = None,
        head: Callable[[float], Playhead | None] | None = None,
    ) -> LiveStatus:
        """Start a run. Raises `JobConflict` while one is on, `MissingContext`, `BadArgument`, and what audio raises.

        With an input it waits, while the transport plays, until as many bars were heard as a phrase has.
        """
        async with self._starting:
            if self._going is not None:
                name = self._last.run if self._last is not None else ""
                raise JobConflict(
                    f"Live run {name} is on already: end it with /stembridge/live/stop first, or change it with "
                    "/stembridge/live/set."
                )
            start = self._request(options, session, client, told, head)
            if "input" in options:
                return await self._listen_first(start)
            self._begin(await prepared(start, self._desk, None, self._clock))
            return self._status_now()

    def _request(
        self,
        options: Mapping[str, object],
        session: Session,
        client: str,
        told: Callable[[], Session] | None,
        head: Callable[[float], Playhead | None] | None,
    ) -> Start:
        if "input" in options and ("file" in options or options.get("clock") == "internal"):
            raise BadArgument("An input goes with the DAW's transport, not with a file or clock internal.")
        run_id = checked_job_id(str(options["id"])) if "id" in options else new_job_id()
        desk = self._desk
        return Start(
            run_id, options, session, told or (lambda: desk.session), head or self._transport.head, client
        )  # fmt: skip

    def change(self, options: Mapping[str, object]) -> LiveStatus:
        """Change what holds from the next phrase on. Raises `NoLiveRun`, `BadArgument`, `TaskInvalid`."""
        run = self._run
        if run is None:
            raise NoLiveRun("No live run is on: start one with /stembridge/live/start.")
        told: dict[str, Any] = {name: options[name] for name in OF_THE_RUN if name in options}
        run.change(task_settings(options), replace(run.settings, **told))
        return run.status

    async def stop(self, sentence: str = "") -> LiveStatus:
        """End the run. Raises `NoLiveRun`."""
        if self._going is None:
            raise NoLiveRun("No live run is on, so there is none to end.")
        await self._end(sentence)
        return self._status_now()

    def panic(self) -> None:
        """Silence at once; the run ends. Without a run nothing happens: nothing sounds."""
        if self._run is not None:
            self._run.panic()
        if self._going is not None:
            task = asyncio.create_task(self._end("Ended by panic."))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    @property
    def status(self) -> LiveStatus | None:
        """Of the run that is on, else of the last one; None: there was none."""
        return self._run.status if self._run is not None else self._last

    def _status_now(self) -> LiveStatus:
        status = self.status
        assert status is not None
        return status

    async def close(self) -> None:
        """The daemon ends."""
        if self._going is not None:
            await self._end("The daemon ended.")

    # --- a run's life -------------------------------------------------------------------------------------------------
    def _begin(self, run: LiveRun) -> None:
        self._run = run
        self._stop_listening = self._desk.listen(run.hear)
        run.tick()
        self._last = run.status
        self._going = asyncio.create_task(self._tick_forever(run), name="live run")

    async def _tick_forever(self, run: LiveRun) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                run.tick()
            except Exception:
                log.exception("live run %s goes on after a mistake of our own", run.id)

    async def _end(self, sentence: str) -> None:
        going, run = self._going, self._run
        self._going = self._run = None
        if going is not None:
            going.cancel()
            with suppress(asyncio.CancelledError):
                await going
        self._stop_listening()
        if run is not None:
            await run.end(sentence)
            self._last = run.status

    # --- an input -----------------------------------------------------------------------------------------------------
    async def _listen_first(self, start: Start) -> LiveStatus:
        from bridge.live.listening import Listener

        start.tempo_map()  # what is missing is said now
        _ = start.project
        name = str(start.options["input"])
        listener = await asyncio.to_thread(lambda: Listener(name, clock=self._clock).start())
        self._say_listening(start, 0)
        self._going = asyncio.create_task(self._listen(start, listener), name="live listening")
        return self._status_now()

    async def _listen(self, start: Start, listener: Any) -> None:
        """Until enough was heard; then the run begins in this one's place."""
        try:
            bars = await self._enough(start, listener)
            log.info("live run %s goes on from %d bars that were heard", start.run_id, bars)
            run = await prepared(start, self._desk, listener, self._clock)
        except StembridgeError as error:
            log.warning("live run %s cannot begin: %s", start.run_id, error)
            self._going = None
            self._say(_status(start.run_id, LiveState.ENDED, error.sentence), start.client)
            return
        finally:
            await asyncio.to_thread(listener.close)
        self._begin(run)

    async def _enough(self, start: Start, listener: Any) -> int:
        wanted, told = start.live.phrase_bars, -1
        while True:
            tempo_map, head = start.tempo_map(), start.head(self._clock())
            listener.follow(head)
            bars = int(listener.bars(tempo_map, head))
            if bars >= wanted:
                return bars
            if bars != told:
                told = bars
                self._say_listening(start, bars)
            await asyncio.sleep(TICK_S)

    def _say_listening(self, start: Start, bars: int) -> None:
        left = start.live.phrase_bars - bars
        sentence = f"Listening to {start.options['input']}: {left} more bar{'s' * (left > 1)} while the DAW plays."
        self._say(_status(start.run_id, LiveState.WAITING, sentence), start.client)

    def _say(self, status: LiveStatus, client: str) -> None:
        self._last = status
        self._desk.emit(LiveChanged(status, (client,)))


def _status(run_id: str, state: LiveState, sentence: str) -> LiveStatus:
    """Of a run that has not begun to play."""
    return LiveStatus(run_id, state, 0, 0.0, 0.0, math.nan, 0, math.nan, LiveCounts(), False, sentence)
