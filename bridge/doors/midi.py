"""The MIDI door: MIDI clock in, and what was learnt of pedals and pads.

Promises: ticks are stamped and counted in the driver's own thread, so that a busy loop costs no accuracy; actions are
handed over on the loop, in their order; no message, missing port or missing MIDI system ends the door or the daemon: it
warns once and goes on looking; a port that went away is opened again when it comes back; with MIDI off nothing is
imported, and a door that hears nothing looks for its ports every two seconds and does nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.doors.midi_jack import JackPort
from bridge.doors.midi_learn import Action, Event, Learner
from bridge.doors.midi_messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, is_whole
from bridge.doors.midi_ports import Deliver, Found, NamedPorts, Source, VirtualPort
from bridge.doors.midi_tcp import TcpPort
from bridge.midi_config import MidiConfig, PortKind
from protocol.midi_clock import ClockReading, ClockState, MidiClock

log = logging.getLogger("stembridge.midi")

LOOK_S = 2.0
"""Ports are looked for so often."""

REPORT_S = 0.1
QUIET_S = 5.0
"""A clock from which nothing came for so long has said all that it will, `LOST` with it."""

MAX_WAITING = 1024
"""Notes and controllers that wait for a busy loop; the oldest are dropped."""

_FIRST_LOOK_S, _PATIENCE_S = 3.0, 5.0
_RANK = {ClockState.RUNNING: 3, ClockState.STARTING: 2, ClockState.STOPPED: 1, ClockState.LOST: 0}


@dataclass(frozen=True)
class PortState:
    """One port as `status` and `doctor` tell it. `name` is empty while the `wish` is not fulfilled."""

    wish: str
    name: str
    problem: str
    heard_s: float | None
    """Seconds since anything came; None: never."""
    reading: ClockReading | None
    """None: no clock was heard."""


@dataclass
class _Heard:
    """What came from one port. The driver's thread writes, the loop reads and keeps what it told."""

    name: str
    clock: MidiClock = field(default_factory=MidiClock)
    at: float | None = None
    clock_at: float | None = None
    awaits_tick: bool = False
    told: tuple[ClockState, int] | None = None
    told_at: float = float("-inf")


def make_sources(
    config: MidiConfig, deliver: Deliver, clock: Callable[[], float], api: int | None = None
) -> list[Source]:
    """What serves the configured ports; nothing is opened yet."""
    named = [wish for wish in config.wishes if wish.kind is PortKind.NAMED]
    sources: list[Source] = [NamedPorts(named, deliver, clock, api)] if named else []
    for wish in config.wishes:
        if wish.kind is PortKind.VIRTUAL:
            sources.append(VirtualPort(wish, deliver, clock, api))
        elif wish.kind is PortKind.JACK:
            sources.append(JackPort(wish, deliver, clock))
        elif wish.kind is PortKind.TCP:
            sources.append(TcpPort(wish, deliver, clock))
    return sources


def look_once(config: MidiConfig) -> list[Found]:
    """What becomes of each configured port here and now; all are closed again, and nothing is logged."""
    sources = make_sources(config, lambda _port, _message, _at: None, time.monotonic)
    found: list[Found] = []
    for source in sources:
        source.look()
        found += source.found
        source.close()
    return found


class MidiDoor:
    """All MIDI ports of the daemon.

    `on_clock(source, reading)` is called on the loop when a clock's state or place changes, else at most ten times a
    second while it ticks; `source` is ``midi:`` and the port's name. `on_action` is called on the loop for what was
    learnt. `on_event` too, for every note, controller and program, if it is given. `clock` gives monotonic seconds and
    may be called from any thread; `api` is RtMidi's number of a MIDI system, None the system's own.
    """

    def __init__(
        self,
        config: MidiConfig,
        *,
        on_clock: Callable[[str, ClockReading], None] = lambda _source, _reading: None,
        on_action: Callable[[Action], None] = lambda _action: None,
        on_event: Callable[[str, Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        api: int | None = None,
    ) -> None:
        self._config, self._clock, self._api = config, clock, api
        self._on_clock, self._on_action, self._on_event = on_clock, on_action, on_event
        self._learner = Learner([entry.mapping() for entry in config.learn])
        self._sources: list[Source] = []
        self._ports: dict[str, _Heard] = {}  # replaced, not changed: other threads look at it
        self._adding = threading.Lock()
        self._waiting: deque[tuple[str, Event, float]] = deque(maxlen=MAX_WAITING)
        self._is_woken = False
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._asked: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()
        self._told_found: dict[str, Found] = {}

    async def start(self) -> None:
        """Open what is there, and keep looking for what is not. Raises nothing."""
        if not self._config.wishes:
            return
        self._loop = asyncio.get_running_loop()
        self._sources = make_sources(self._config, self._deliver, self._clock, self._api)
        self._thread = threading.Thread(target=self._look_forever, name="MIDI ports", daemon=True)
        self._thread.start()
        with suppress(TimeoutError):  # a driver that takes longer is waited for by its own thread alone
            await asyncio.wait_for(self.look(), _FIRST_LOOK_S)

    async def stop(self) -> None:
        """Close the ports; nothing is called any more."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._asked.put(None)
        await asyncio.to_thread(thread.join, _PATIENCE_S)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._loop = None

    async def look(self) -> None:
        """Look for the ports now; returns when that is done."""
        if self._thread is not None:
            done = asyncio.get_running_loop().create_future()
            self._asked.put(done)
            await done

    def reading(self, now: float) -> tuple[str, ClockReading] | None:
        """The best clock at `now`, with its source: one that runs before others, then the surest. From any thread."""
        heard = [port for port in self._ports.values() if port.clock_at is not None]
        readings = [(f"midi:{port.name}", port.clock.reading(now)) for port in heard]
        return max(readings, key=lambda told: (_RANK[told[1].state], told[1].confidence), default=None)

    def describe(self) -> list[PortState]:
        """Every wish with its ports, as they are now."""
        now, states = self._clock(), []
        for found in (found for source in self._sources for found in source.found):
            names = {name for name in self._ports if any(_belongs(name, opened) for opened in found.names)}
            for name in sorted(names | set(found.names)) or [""]:
                states.append(self._describe_one(found, name, now))
        return states

    def _describe_one(self, found: Found, name: str, now: float) -> PortState:
        heard = self._ports.get(name)
        if heard is None or heard.at is None:
            return PortState(found.wish, name, found.problem, None, None)
        reading = heard.clock.reading(now) if heard.clock_at is not None else None
        return PortState(found.wish, name, found.problem, max(0.0, now - heard.at), reading)

    # --- the ports' thread --------------------------------------------------------------------------------------------
    def _look_forever(self) -> None:
        while True:
            try:
                asked = self._asked.get(timeout=LOOK_S)
                if asked is None:
                    break
            except queue.Empty:
                asked = None
            for source in self._sources:
                try:
                    source.look()
                except Exception:
                    log.exception("looking for MIDI ports goes on after a mistake of its own")
            self._on_loop(self._tell_found, asked)
        for source in self._sources:
            try:
                source.close()
            except Exception:
                log.exception("a MIDI port could not be closed")

    def _tell_found(self, asked: asyncio.Future[None] | None) -> None:
        """Log what came, went and is missing, each once."""
        for found in (found for source in self._sources for found in source.found):
            before = self._told_found.get(found.wish)
            self._told_found[found.wish] = found
            was_open = before.names if before is not None else ()
            for name in found.names:
                if name not in was_open:
                    log.info("hearing MIDI port %s", name)
            for name in was_open:
                if name not in found.names:
                    log.warning("MIDI port %s went away; it is looked for", name)
            if found.problem and (before is None or not before.problem):
                log.warning("MIDI port '%s' in [midi]: %s. It is looked for.", found.wish, found.problem.rstrip("."))
        if asked is not None and not asked.done():
            asked.set_result(None)

    # --- the drivers' threads -----------------------------------------------------------------------------------------
    def _deliver(self, port: str, message: bytes, at: float) -> None:
        """Take a message. Called in the thread of its port; raises nothing."""
        try:
            if is_whole(message):
                self._take(self._ports.get(port) or self._new_port(port), message, at)
        except Exception:
            log.exception("a MIDI message from %s could not be taken", port)

    def _new_port(self, name: str) -> _Heard:
        with self._adding:
            heard = self._ports.get(name) or _Heard(name)
            self._ports = {**self._ports, name: heard}
            return heard

    def _take(self, heard: _Heard, message: bytes, at: float) -> None:
        heard.at = at
        status = message[0]
        if status == CLOCK:
            heard.clock.tick(at)
            heard.clock_at = at
            if heard.awaits_tick or self._watch is None:
                heard.awaits_tick = False
                self._wake()
        elif status in (START, CONTINUE, STOP, SONG_POSITION):
            _tell_clock(heard.clock, message, at)
            heard.clock_at = at
            heard.awaits_tick = status in (START, CONTINUE)
            self._wake()
        elif (event := Event.of(message)) is not None and self._is_wanted(heard.name, event):
            self._waiting.append((heard.name, event, at))
            self._wake()

    def _is_wanted(self, port: str, event: Event) -> bool:
        return self._on_event is not None or any(known.hears(port, event) for known in self._learner.mappings)

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._on_loop(self._serve)

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the daemon has ended
                loop.call_soon_threadsafe(call, *args)

    # --- the loop -----------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        """Act on all that waits, and tell clocks whose state changed."""
        self._is_woken = False  # first: what comes from now on wakes again
        if self._thread is None:
            return
        for _ in range(len(self._waiting)):
            port, event, at = self._waiting.popleft()
            if self._on_event is not None:
                _call(self._on_event, port, event)
            for action in self._learner.hear(port, event, at):
                _call(self._on_action, action)
        self._tell_clocks()

    def _tell_clocks(self) -> None:
        now, goes_on = self._clock(), False
        for heard in self._ports.values():
            if heard.clock_at is None:
                continue
            reading = heard.clock.reading(now)
            state = reading.state, reading.epoch
            ticked = heard.clock_at > heard.told_at and now - heard.told_at >= REPORT_S
            if state != heard.told or ticked:
                heard.told, heard.told_at = state, now
                _call(self._on_clock, f"midi:{heard.name}", reading)
            goes_on = goes_on or now - heard.clock_at < QUIET_S
        if goes_on and self._watch is None and self._loop is not None:
            self._watch = self._loop.call_later(REPORT_S, self._watch_on)

    def _watch_on(self) -> None:
        self._watch = None
        self._tell_clocks()


def _tell_clock(clock: MidiClock, message: bytes, at: float) -> None:
    status = message[0]
    if status == START:
        clock.start(at)
    elif status == CONTINUE:
        clock.continue_(at)
    elif status == STOP:
        clock.stop(at)
    elif status == SONG_POSITION:
        clock.song_position(message[1] | message[2] << 7, at)


def _belongs(name: str, opened: str) -> bool:
    """A TCP port's further senders are numbered."""
    return name == opened or (opened.startswith("tcp:") and name.startswith(f"{opened} ("))


def _call(callback: Callable[..., None], *args: object) -> None:
    try:
        callback(*args)
    except Exception:
        log.exception("what a MIDI message asked for could not be done")
