"""One engine process and the wire to it: started, spoken to, heard, ended, with nothing left behind.

It knows no jobs and no deadlines (bridge/supervisor.py does). Promises: lines are capped and validated before anyone
sees them; what the process writes to stderr ends up in a rotating log without the event loop waiting for a disk; once
`gone` is done, process, pipes and log thread are closed, and on POSIX what the process itself had started is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from engine import wire

log = logging.getLogger("stembridge.engine")

LOG_BYTES, LOG_FILES = 2**20, 3
_LOG_LINE_BYTES = 8192
_PIPES_S = 2.0
"""How long after the process's end its pipes may stay open (a grandchild can hold them)."""

OnSignal = Callable[[wire.Signal], None]


class WorkerLink(asyncio.SubprocessProtocol):
    """A running worker. Use `start`; every method belongs to the event loop's thread.

    `gone` is done when the process has ended and everything is closed; its result says how, in words.
    """

    def __init__(self, on_signal: OnSignal) -> None:
        self._on_signal = on_signal
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._unread = bytearray()
        self._complaint = ""
        self.is_ending = False
        """True once the process was told to end, was killed or has exited: no work for it any more."""
        self._still_open = {"process", "log"}
        self._deadlines: list[asyncio.TimerHandle] = []
        self.gone: asyncio.Future[str] = self._loop.create_future()

    @classmethod
    async def start(
        cls,
        setup: wire.WorkerSetup,
        log_file: Path,
        on_signal: OnSignal,
        environment: Mapping[str, str] | None = None,
    ) -> WorkerLink:
        """Start ``python -m engine.worker``; raises `OSError` if the system refuses."""
        link = cls(on_signal)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        try:
            await link._loop.subprocess_exec(
                lambda: link,
                # -P: a folder we happen to be in must not supply modules; -X utf8: logs and names are UTF-8 everywhere
                *(sys.executable, "-P", "-X", "utf8", "-m", "engine.worker", setup.model_dump_json()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=writing,
                env={**os.environ, **(environment or {})},
                **_own_group(),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        threading.Thread(target=link._keep_log, args=(reading, log_file), name="engine-log", daemon=True).start()
        return link

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_pid())

    def send(self, command: wire.Command) -> None:
        """Write a command; silently nothing once the process is going away (`gone` tells)."""
        self.is_ending |= isinstance(command, wire.Exit)
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if pipe is not None and not pipe.is_closing():
            cast(asyncio.WriteTransport, pipe).write(command.line())

    def kill(self) -> None:
        """End the process now, and on POSIX all it has started."""
        self.is_ending = True
        if self._transport is None or self._transport.get_returncode() is not None:
            return
        if sys.platform == "win32":
            self._transport.kill()
        else:  # not the transport's own way, which reaps the process behind the back of asyncio's child watcher
            _kill_group(self.pid)

    async def ended_within(self, timeout_s: float) -> bool:
        """Wait for `gone`; False if it took longer."""
        await asyncio.wait({self.gone}, timeout=timeout_s)
        return self.gone.done()

    # --- called by asyncio --------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        if self._complaint:
            return
        self._unread += data
        if b"\n" in data:
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                self._hear(bytes(line))
        if len(self._unread) > wire.MAX_LINE_BYTES:
            self._refuse(f"sent a line of more than {wire.MAX_LINE_BYTES} bytes")

    def pipe_connection_lost(self, fd: int, _exc: Exception | None) -> None:
        if fd == 1:  # normally the process is just ending; one that only closed the wire is of no use any more
            self._deadlines.append(self._loop.call_later(_PIPES_S, self.kill))

    def process_exited(self) -> None:
        self.is_ending = True
        _kill_group(self.pid)  # what it had started; the number is not reused while it has members
        self._deadlines.append(self._loop.call_later(_PIPES_S, self._stop_waiting_for_pipes))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._closed("process")

    # --- inside -------------------------------------------------------------------------------------------------------
    def _hear(self, line: bytes) -> None:
        if self._complaint or not line.strip():
            return
        try:
            heard = wire.parse_signal(line)
        except ValueError as error:
            self._refuse("sent something that is not a signal")
            log.error("engine process %d: %r: %s", self.pid, line[:200], error)
            return
        self._on_signal(heard)

    def _refuse(self, complaint: str) -> None:
        """A process that talks nonsense is ended; nothing more that it says counts."""
        self._complaint = complaint
        self._unread.clear()
        log.error("engine process %d %s; it is ended", self.pid, complaint)
        self.kill()

    def _stop_waiting_for_pipes(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._closed("log")

    def _closed(self, part: str) -> None:
        """The process with its pipes, or the log, is finished; when both are, the link is gone."""
        self._still_open.discard(part)
        if self._still_open or self.gone.done() or self._transport is None:
            return
        for deadline in self._deadlines:
            deadline.cancel()
        how = self._complaint or describe_exit(self._transport.get_returncode())
        self._transport.close()
        self.gone.set_result(how)

    def _keep_log(self, reading: int, log_file: Path) -> None:
        """Body of the log thread: copy lines to the rotating file until every writer has closed the pipe."""
        handler = logging.handlers.RotatingFileHandler(
            log_file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", delay=True
        )
        handler.setFormatter(logging.Formatter(f"%(asctime)s [{self.pid}] %(message)s"))
        with os.fdopen(reading, "rb") as stream, contextlib.closing(handler):
            while line := stream.readline(_LOG_LINE_BYTES):
                handler.handle(logging.makeLogRecord({"msg": line.decode("utf-8", "replace").rstrip()}))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._closed, "log")


def describe_exit(code: int | None) -> str:
    """How a process ended, in words: ``exit code 3``, ``signal SIGSEGV``."""
    if code is None:
        return "it vanished"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _own_group() -> dict[str, Any]:
    """Popen options that keep the terminal's Ctrl-C from the worker and make it the head of its own group."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _kill_group(pid: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left (macOS says it the second way)
            os.killpg(pid, signal.SIGKILL)
