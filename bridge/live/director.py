"""The director of live extension: starts, changes and ends the daemon's one live run (see bridge/live/run.py)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
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
        self._starting, self._closing = asyncio.Lock(), asyncio.Lock()
        self._client = ""
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
            async with self._closing:  # a run that ends has its audio out until it has ended
                pass
            if self._going is not None:
                name = self._last.run if self._last is not None else ""
                raise JobConflict(
                    f"Live run {name} is on already: end it with /stembridge/live/stop first, or change it with "
                    "/stembridge/live/set."
                )
            start = self._request(options, session, client, told, head)
            if "input" in options:
                return await self._listen_first(start)
            making = prepared(start, self._desk, None, self._clock)
            self._begin(await self._while_starting(start, making, _ended))
            return self._status_now()

    async def _while_starting(
        self, start: Start, making: Coroutine[Any, Any, Any], drop: Callable[[Any], Coroutine[Any, Any, Any]]
    ) -> Any:
        """What is made; the run counts as on meanwhile. Raises `NoLiveRun` if it is ended before it has begun."""
        before, self._last = self._last, _status(start.run_id, LiveState.WAITING, "It is being prepared.")
        self._client = start.client
        self._going = going = asyncio.create_task(_kept_or_dropped(making, drop), name="live start")
        try:
            await asyncio.wait([going])
        except asyncio.CancelledError:
            self._last = before
            raise
        finally:
            going.cancel()
            is_wanted = self._going is going
            self._going = None if is_wanted else self._going
        if is_wanted and going.exception() is not None:
            self._last = before
        elif not is_wanted:
            if not going.cancelled() and going.exception() is None:
                await drop(going.result())
            raise NoLiveRun("The run was ended before it began.")
        return going.result()

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
        self._tick(run)
        self._last = run.status
        self._going = asyncio.create_task(self._tick_forever(run), name="live run")

    async def _tick_forever(self, run: LiveRun) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick(run)

    def _tick(self, run: LiveRun) -> None:
        try:
            run.tick()
        except Exception:
            log.exception("live run %s goes on after a mistake of our own", run.id)

    async def _end(self, sentence: str) -> None:
        going, run, last, stop_listening = self._going, self._run, self._last, self._stop_listening
        if going is None:
            return
        self._going = self._run = None
        self._stop_listening = lambda: None
        async with self._closing:
            if going is not None:
                going.cancel()
                await asyncio.wait([going])
            stop_listening()
            if run is not None:
                await run.end(sentence)
                self._last = run.status
            elif last is not None:  # it listened, or was being prepared
                self._say(replace(last, state=LiveState.ENDED, sentence=sentence), self._client)

    # --- an input -----------------------------------------------------------------------------------------------------
    async def _listen_first(self, start: Start) -> LiveStatus:
        from bridge.live.listening import KEPT_S, Listener

        tempo_map = start.tempo_map()  # what is missing is said now
        if tempo_map.bar_start(1 + start.live.phrase_bars) > KEPT_S:
            raise BadArgument(f"An input is remembered for {KEPT_S:g} s, and a phrase lasts longer: take fewer bars.")
        _ = start.project
        name = str(start.options["input"])
        opening = asyncio.to_thread(lambda: Listener(name, clock=self._clock).start())
        listener = await self._while_starting(start, opening, _closed)
        self._say_listening(start, 0)
        self._going = asyncio.create_task(self._listen(start, listener), name="live listening")
        return self._status_now()

    async def _listen(self, start: Start, listener: Any) -> None:
        """Until enough was heard; then the run begins in this one's place."""
        try:
            bars = await self._enough(start, listener)
            log.info("live run %s goes on from %d bars that were heard", start.run_id, bars)
            self._begin(await _kept_or_dropped(prepared(start, self._desk, listener, self._clock), _ended))
        except StembridgeError as error:
            log.warning("live run %s cannot begin: %s", start.run_id, error)
            self._not_begun(start, error.sentence)
        except Exception:
            log.exception("live run %s cannot begin", start.run_id)
            self._not_begun(start, "Something went wrong inside Stembridge; its log says more.")
        finally:
            await _closed(listener)

    def _not_begun(self, start: Start, sentence: str) -> None:
        if self._going is asyncio.current_task():
            self._going = None
        self._say(_status(start.run_id, LiveState.ENDED, sentence), start.client)

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


async def _kept_or_dropped(making: Coroutine[Any, Any, Any], drop: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """What is made. If nobody waits for it any more, it is dropped once it is there: it may hold a device."""
    task = asyncio.create_task(making)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await drop(task.result())
        raise


async def _ended(run: LiveRun) -> None:
    await run.end("The run was ended before it began.")


async def _closed(listener: Any) -> None:
    await asyncio.to_thread(listener.close)
