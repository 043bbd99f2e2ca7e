"""MIDI as plain bytes over TCP, as `mido.sockets` sends it: for programs without a MIDI system, and for the tests.

Nobody is asked who they are, so it listens on the loopback alone (bridge/midi_config.py sees to that). It takes four
senders at a time, keeps three bytes of each, and each has its own clock. Whatever is sent ends at worst its connection.
"""

from __future__ import annotations

import selectors
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import EADDRINUSE

from bridge.doors.midi_messages import Splitter
from bridge.doors.midi_ports import Deliver, Found
from bridge.midi_config import PortWish

MAX_SENDERS = 4
_CHUNK = 4096


class TcpPort:
    """Listens where the wish says; port 0 takes a free one, `port` tells which. Time stamps are taken on arrival."""

    def __init__(self, wish: PortWish, deliver: Deliver, clock: Callable[[], float]) -> None:
        self._wish, self._deliver, self._clock = wish, deliver, clock
        self._thread: threading.Thread | None = None
        self._waker: socket.socket | None = None
        self.port = 0
        self.found: tuple[Found, ...] = (Found(wish.text),)

    def look(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self.close()
        try:
            listening = _listen(self._wish.host, self._wish.port)
        except OSError as error:
            why = "it is in use, perhaps by a running Stembridge" if error.errno == EADDRINUSE else str(error)
            problem = f"TCP port {self._wish.port} of {self._wish.host} cannot be listened on: {why}"
            self.found = (Found(self._wish.text, problem=problem),)
            return
        self.port = int(listening.getsockname()[1])
        self._waker, woken = socket.socketpair()
        name = f"tcp:{self._wish.host}:{self.port}"
        serve = _Serving(name, listening, woken, self._deliver, self._clock)
        self._thread = threading.Thread(target=serve.run, name=name, daemon=True)
        self._thread.start()
        self.found = (Found(self._wish.text, (name,)),)

    def close(self) -> None:
        if self._waker is not None:
            self._waker.close()
            self._waker = None
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        self.found = (Found(self._wish.text),)


class _Serving:
    """What the thread does until its waker closes."""

    def __init__(
        self, name: str, listening: socket.socket, woken: socket.socket, deliver: Deliver, clock: Callable[[], float]
    ) -> None:
        self._name, self._listening, self._woken = name, listening, woken
        self._deliver, self._clock = deliver, clock
        self._selector = selectors.DefaultSelector()
        self._senders: dict[socket.socket, tuple[str, Splitter]] = {}

    def run(self) -> None:
        try:
            for each in (self._listening, self._woken):
                self._selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listening:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._read(key.fileobj)
        finally:
            for each in (*self._senders, self._listening, self._woken):
                each.close()
            self._selector.close()

    def _accept(self) -> None:
        try:
            sender, _ = self._listening.accept()
        except OSError:  # it is gone again
            return
        taken = {name for name, _ in self._senders.values()}
        names = (self._name if number == 1 else f"{self._name} ({number})" for number in range(1, MAX_SENDERS + 1))
        name = next((name for name in names if name not in taken), None)
        if name is None:
            sender.close()
            return
        sender.setblocking(False)
        self._senders[sender] = name, Splitter()
        self._selector.register(sender, selectors.EVENT_READ)

    def _read(self, sender: socket.socket) -> None:
        name, splitter = self._senders[sender]
        try:
            chunk = sender.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        at = self._clock()
        for message in splitter.feed(chunk):
            self._deliver(name, message, at)
        if not chunk:
            self._selector.unregister(sender)
            del self._senders[sender]
            with suppress(OSError):
                sender.close()


def _listen(host: str, port: int) -> socket.socket:
    """Raises `OSError`."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # at once again after a restart; on Windows this would let two programs share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(MAX_SENDERS)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
