"""The installed daemon as a process of its own, and a DAW's side of the wire, for tests from outside.

The client here is built on python-osc and a plain socket only, so that it shares no code with the door it tests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

ROOT = Path(__file__).parents[2]
READY_S, REPLY_S, JOB_S = 60.0, 30.0, 60.0


@dataclass
class Message:
    """One OSC message that came back."""

    address: str
    args: list[Any]


class Client:
    """A DAW: sends from one UDP port and hears what comes back to it."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.target = (host, port)
        self.heard: list[Message] = []

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def send(self, address: str, *args: Any) -> None:
        builder = OscMessageBuilder(address=address)
        for arg in args:
            builder.add_arg(arg, "d" if isinstance(arg, float) else None)
        self.socket.sendto(builder.build().dgram, self.target)

    def receive(self, timeout_s: float = REPLY_S) -> Message:
        self.socket.settimeout(timeout_s)
        message = OscMessage(self.socket.recv(65536))
        heard = Message(message.address, list(message.params))
        self.heard.append(heard)
        return heard

    def wait_for(self, wanted: Callable[[Message], bool], timeout_s: float = REPLY_S) -> Message:
        """The next message that is wanted; the others are kept in `heard`."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self.receive(left)
            except TimeoutError:
                break
            if wanted(message):
                return message
        raise AssertionError(f"not heard within {timeout_s} s; heard: {self.heard}")

    def ask(self, address: str, *args: Any, timeout_s: float = REPLY_S) -> Message:
        """Send and wait for the ack or error; anything else is kept in `heard`."""
        self.send(address, *args)
        return self.wait_for(lambda m: m.address in ("/stembridge/ack", "/stembridge/error"), timeout_s)

    def tell(self, address: str, *args: Any) -> None:
        """Send what must be acknowledged."""
        reply = self.ask(address, *args)
        assert reply.address == "/stembridge/ack", (address, args, reply)

    def finish(self, job_id: str, timeout_s: float = JOB_S) -> Message:
        """Wait until the job is done, failed or cancelled."""

        def final(message: Message) -> bool:
            if message.address == "/stembridge/job/done":
                return bool(message.args[0] == job_id)
            if message.address == "/stembridge/job/state":
                return bool(message.args[0] == job_id and message.args[1] in ("failed", "cancelled"))
            return False

        return self.wait_for(final, timeout_s)

    def close(self) -> None:
        self.socket.close()


@dataclass
class Daemon:
    """A running `stembridge serve`."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    log: list[str] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.ready["osc_port"])

    @property
    def url(self) -> str:
        """Of the HTTP door, where it is open."""
        return f"http://127.0.0.1:{self.ready['http_port']}"

    def client(self) -> Client:
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def workers(self) -> list[psutil.Process]:
        """The engine processes (children of the daemon)."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if "engine.worker" in " ".join(child.cmdline())]

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self.process.kill()
        self.process.wait(20)

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def command(
    data_dir: Path, *extra: str, osc_port: int = 0, http_port: int | str = "off", engine: str = "sketch"
) -> list[str]:
    return [
        *(sys.executable, "-m", "bridge.cli", "serve", "--ready-json", "--osc-port", str(osc_port)),
        *("--http-port", str(http_port), "--midi-port", "off", "--reaper-port", "off", "--zeroconf", "off"),
        *("--engine", engine, "--data-dir", str(data_dir), *extra),
    ]


def start(data_dir: Path, *extra: str, prefix: Sequence[str] = (), **options: Any) -> Daemon:
    """Start the daemon and wait for its ready line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(
        [*prefix, *command(data_dir, *extra, **options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    stderr = process.stderr
    threading.Thread(target=lambda: log.extend(stderr), daemon=True).start()
    watchdog = threading.Timer(READY_S, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        process.wait(10)
        raise AssertionError("the daemon did not become ready:\n" + "".join(log))
    return Daemon(process, json.loads(line), log)


@contextmanager
def running(data_dir: Path, *extra: str, **options: Any) -> Iterator[Daemon]:
    """A daemon for the length of a with-block; ended without mercy if it does not end by itself."""
    daemon = start(data_dir, *extra, **options)
    try:
        yield daemon
    finally:
        stop(daemon)


def stop(daemon: Daemon) -> None:
    """End a daemon however it is, and close what belongs to it."""
    try:
        daemon.terminate()
    except subprocess.TimeoutExpired:
        daemon.kill()
    for client in daemon.clients:
        client.close()
    for stream in (daemon.process.stdout, daemon.process.stderr):
        if stream is not None:
            stream.close()
