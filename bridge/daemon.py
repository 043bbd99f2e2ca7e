"""The composition root: builds the parts, starts them in order, stops them in reverse. Read it as the contents page.

startup:  lock the data folder -> journal -> engine supervisor -> core -> OSC door -> queue -> MIDI -> mailboxes
          -> HTTP door -> the network's interfaces -> zeroconf -> "ready"
shutdown: zeroconf -> the network's interfaces -> HTTP door -> mailboxes -> MIDI -> live run
          -> queue (a running job goes back to the journal) -> OSC door -> engine process -> journal -> lock
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from bridge import __version__
from bridge.config import Config
from bridge.core import Core
from bridge.delivery import deliver, delivered
from bridge.discovery import Advertiser, parse_interfaces
from bridge.doors.mailbox import REGISTRY, MailboxDoor
from bridge.doors.osc import OscDoor
from bridge.doors.reaper_surface import ReaperSurface
from bridge.lan import Lan
from bridge.live.director import LiveDirector
from bridge.midi_side import MidiSide
from bridge.pairing import FILE as PAIRED
from bridge.pairing import Pairing
from bridge.queue import JobQueue
from bridge.reports import ReportWriter
from bridge.store import Store
from bridge.supervisor import EngineSupervisor
from bridge.transport import Transport
from bridge.watch import SupervisorSettings
from engine import registry
from engine.api import Capabilities
from engine.audio import probe
from engine.availability import why_not
from protocol import PROTOCOL_VERSION
from protocol.errors import StembridgeError
from protocol.events import Event, SessionChanged

log = logging.getLogger("stembridge.daemon")

_INSISTS = 5
"""So many signals end the process at once."""

_OFFER_S = 60.0

SPOOL = "spool"
"""Folder in the data folder where the engine leaves takes before they are delivered."""


class CannotStart(StembridgeError):
    """The daemon cannot start: a port or the data folder is in use, or an engine is missing. Exit code 2."""

    code = "cannot_start"


class Daemon:
    """All parts of one running daemon, from entering the ``async with`` to leaving it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.osc_port = 0
        self.http_port: int | None = None
        self.engine = engine_spec(config, config.engine.name)
        self._stack = AsyncExitStack()
        self._background: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Daemon:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        data_dir = self.config.data_dir
        self._stack.enter_context(_sole_owner(data_dir))
        store = self._stack.enter_context(Store(data_dir / "journal.sqlite3"))
        supervisor = engine_supervisor(self.config, self.engine, data_dir / SPOOL)
        self._stack.push_async_callback(supervisor.stop)

        queue = JobQueue(store, supervisor, deliver, self._emit, spool_dir=data_dir / SPOOL, delivered=delivered)
        self.core = Core(
            queue=queue,
            engine_name=self.engine.name,
            capabilities=_fresh(partial(engine_capabilities, self.config)),
            probe=probe,
            roots=self.config.folders.roots,
            media_roots=self.config.folders.media_roots,
            on_project=lambda: self._spawn(_warm(supervisor)),
        )
        self.midi = MidiSide(self.config, self.core, self._spawn)
        midi = self.midi.door
        transport = Transport(lambda: self.core.session, midi.reading)
        self.core.listen(lambda event: transport.heard() if isinstance(event, SessionChanged) else None)
        self.core.live = live = LiveDirector(self.core, transport, time.monotonic)
        if self.config.judge.page:
            reports = ReportWriter(data_dir)
            self.core.listen(reports.hear)
            reports.start()
            self._stack.push_async_callback(reports.stop)
        self.lan = Lan(self.config.lan, self.config.osc.host)
        await self.lan.refresh()
        self.pairing = Pairing(data_dir / PAIRED, own_addresses=self.lan.own_addresses)
        self.pairing.reach = self.lan.reach
        self._stack.callback(self.pairing.close)
        door = OscDoor(self.core, self.config.osc.host, self.config.osc.port, pairing=self.pairing)
        try:
            self.osc_port = await door.start()
        except OSError as error:
            raise CannotStart(_port_in_words(self.config.osc.host, self.config.osc.port, error)) from error
        self._stack.push_async_callback(door.close)
        await door.listen_on(self.lan.osc_hosts)
        self.lan.follow(lambda: door.listen_on(self.lan.osc_hosts))
        mailboxes = self._mailboxes(door)
        self._stack.push_async_callback(mailboxes.close)
        await queue.start()  # after the door, so that clients of an earlier daemon hear what becomes of their jobs
        self._stack.push_async_callback(queue.stop)
        self._stack.push_async_callback(live.close)
        await midi.start()
        self._stack.push_async_callback(midi.stop)
        mailboxes.start()
        self._stack.push_async_callback(mailboxes.stop_taking)  # what comes now waits for the next daemon
        await self._open_http(door)
        self.lan.start(self.osc_port, self.http_port)
        self._stack.push_async_callback(self.lan.stop)
        self._say_what_is_not_there()
        self._stack.enter_context(_runtime_file(data_dir, self.describe()))

        advertiser = Advertiser(
            osc_port=self.osc_port,
            engine=self.engine.name,
            http_port=self.http_port,
            interfaces=parse_interfaces(self.config.discovery.interfaces),
            hosts=lambda: self.lan.advertised(door.address),
            also=(lambda: self.lan.addresses) if self.config.lan.enabled else None,
        )
        self._stack.push_async_callback(advertiser.stop)
        advertiser.start()

    def _mailboxes(self, door: OscDoor) -> MailboxDoor:
        """The mailboxes of REAPER's scripts, and REAPER's own OSC surface, spoken to from the OSC door's port."""
        reaper, registry = self.config.reaper, self.config.data_dir / REGISTRY
        if reaper.osc_port == "off":
            return MailboxDoor(self.core, reaper.mailboxes, registry)
        loop = asyncio.get_running_loop()
        surface = ReaperSurface(door.send_datagram, reaper.osc_port, time.monotonic, loop.call_later)
        door.on_native = surface.native_heard
        self.midi.ring = surface.ring
        surface.start()
        self._stack.callback(surface.stop)
        return MailboxDoor(self.core, reaper.mailboxes, registry, surface=surface, surface_port=reaper.osc_port)

    async def _open_http(self, door: OscDoor) -> None:
        """The HTTP door, closed before all others."""
        if self.config.http.port == "off":
            return
        from bridge.http_side import HttpSide  # with it come aiohttp and the task API

        http = HttpSide(
            self.config,
            self.core,
            self.pairing,
            osc_address=lambda: (door.address, self.osc_port),
            describe=self.describe,
        )
        self._stack.push_async_callback(http.close)
        await http.start(self.lan.addresses)
        self.lan.follow(lambda: http.listen_on(self.lan.addresses))
        self.http_port = http.port

    def _emit(self, event: Event) -> None:
        self.core.emit(event)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _say_what_is_not_there(self) -> None:
        if self.config.engine.name == "auto":
            log.info("engine auto: %s", self._why_this_engine())

    def _why_this_engine(self) -> str:
        """Which engine `auto` chose, and why not a better one."""
        better = registry.BEST_FIRST[: registry.BEST_FIRST.index(self.engine.name)]
        reasons = [why_not(name, self.config.engine_options.get(name, {})) for name in better]
        return " ".join([f"{self.engine.name}.", *filter(None, reasons)])

    def describe(self) -> dict[str, object]:
        """What the ready line says."""
        return {
            "event": "ready",
            "pid": os.getpid(),
            "osc_port": self.osc_port,
            "http_port": self.http_port,
            "engine": self.engine.name,
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
        }


def _fresh(
    look: Callable[[str], Capabilities], clock: Callable[[], float] = time.monotonic
) -> Callable[..., Capabilities]:
    """`look`, asked again after `_OFFER_S`: looking at a checkpoint's files takes longer than all else on the way to an
    ack, and a checkpoint may be fetched while the daemon runs. Refusals are not kept: they may be mended at once."""
    seen: dict[str, tuple[float, Capabilities]] = {}

    def offer(name: str) -> Capabilities:
        known = seen.get(name)
        if known is None or clock() - known[0] > _OFFER_S:
            seen[name] = known = (clock(), look(name))
        return known[1]

    return offer


def engine_spec(config: Config, name: str) -> registry.EngineSpec:
    """The engine behind a name as this configuration has it; raises what `registry.resolve` raises."""
    return registry.resolve(name, config.engine.plugins, config.engine_options)


def engine_capabilities(config: Config, name: str) -> Capabilities:
    """What that engine offers; raises what `registry.capabilities` raises."""
    return registry.capabilities(name, config.engine.plugins, config.engine_options)


def engine_supervisor(config: Config, engine: registry.EngineSpec, spool_dir: Path) -> EngineSupervisor:
    """The supervisor of `engine`, and of others as jobs name them, rendering into `spool_dir`."""
    wanted, data_dir = config.engine, config.data_dir
    return EngineSupervisor(
        engine,
        cache_dir=data_dir / "cache",
        spool_dir=spool_dir,
        log_file=data_dir / "logs" / "engine.log",
        settings=SupervisorSettings(
            start_s=wanted.start_s,
            heartbeat_s=wanted.heartbeat_s,
            stall_s=wanted.stall_s,
            cancel_grace_s=wanted.cancel_grace_s,
            idle_release_s=wanted.idle_release_s,
        ),
        resolve=partial(engine_spec, config),
    )


# --- starting and ending ----------------------------------------------------------------------------------------------
def serve(config: Config, on_ready: Callable[[dict[str, object]], None]) -> int:
    """Run until SIGTERM or Ctrl-C; 0 for a clean end, `CannotStart` if something is in the way."""

    async def main() -> None:
        stopped = asyncio.Event()
        _listen_for_signals(stopped)  # before the start and until the very end: a second Ctrl-C must not break the stop
        async with Daemon(config) as daemon:
            on_ready(daemon.describe())
            await stopped.wait()
            log.info("stopping")

    _start_logging(config.data_dir)
    asyncio.run(main())
    return 0


async def _warm(supervisor: EngineSupervisor) -> None:
    """Start the engine's process when a project is opened, so that the first request does not wait for imports."""
    try:
        await supervisor.prepare()
    except StembridgeError as error:
        log.info("the engine could not be prepared ahead: %s", error.sentence)


def _listen_for_signals(stopped: asyncio.Event) -> None:
    """Set `stopped` on SIGTERM, SIGINT and (Windows) SIGBREAK; loops on Windows have no handlers of their own."""
    loop = asyncio.get_running_loop()
    heard = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        heard += 1
        if heard >= _INSISTS:  # a stop that hangs, on a dead network share say; the journal has every job
            os._exit(130)
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stopped.set)

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)


@contextmanager
def _sole_owner(data_dir: Path) -> Iterator[None]:
    """One daemon per data folder: two would run each other's jobs."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"The data folder {data_dir} cannot be made: {error.strerror}. Choose another with --data-dir."
        ) from error
    lock = FileLock(data_dir / "daemon.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CannotStart(
            f"Another Stembridge already uses the data folder {data_dir}. End it, or choose another with --data-dir."
        ) from error
    except OSError as error:
        raise CannotStart(
            f"The data folder {data_dir} is not writable: {error.strerror}. Choose another with --data-dir."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _runtime_file(data_dir: Path, description: dict[str, object]) -> Iterator[None]:
    """Where the command line finds the running daemon's port."""
    file = data_dir / "daemon.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(description), encoding="utf-8")
    temporary.replace(file)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def _port_in_words(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE or getattr(error, "winerror", 0) == 10048:
        return (
            f"UDP port {port} on {host} is in use, perhaps by another Stembridge. End it, or choose another port with "
            "--osc-port (0 picks a free one)."
        )
    return f"UDP port {port} on {host} cannot be opened: {error}. Check --host and --osc-port."


def _start_logging(data_dir: Path) -> None:
    """Warnings to stderr, everything from INFO to a rotating file in the data folder."""
    root = logging.getLogger("stembridge")
    root.setLevel(logging.INFO)
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("stembridge: %(message)s"))
    root.addHandler(to_terminal)
    with suppress(OSError):
        (data_dir / "logs").mkdir(parents=True, exist_ok=True)
        to_file = logging.handlers.RotatingFileHandler(
            data_dir / "logs" / "daemon.log", maxBytes=2_000_000, backupCount=3, encoding="utf-8"
        )
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(to_file)
