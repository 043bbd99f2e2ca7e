"""A JACK server without a sound card, for tests: jackd's dummy driver under a name of its own.

`with jack.server("player") as server:` starts one, waits until clients can join, points this process and its children
to it by the environment (libjack, PortAudio, rtmidi and Ardour all read it), and takes it down. The name carries the
process id, so that tests running side by side do not meet.

PortAudio aborts its process if the server goes away under it: what uses sounddevice runs in a child that ends first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

READY_S, STOP_S = 10.0, 5.0
TRIES = 3


@dataclass(frozen=True)
class Server:
    """A running server; `env` is the environment of a client, `inside` the command that leads to where it runs."""

    name: str
    rate: int
    period: int
    process: subprocess.Popen[bytes]
    env: dict[str, str]
    log: Path
    inside: tuple[str, ...] = ()

    def tool(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of JACK's command line tools against this server."""
        return subprocess.run(
            [*self.inside, *command], env=self.env, capture_output=True, text=True, timeout=20, check=False
        )

    def ports(self) -> list[str]:
        """The full names of all ports, ``client:port``."""
        listed = self.tool("jack_lsp")
        return listed.stdout.splitlines() if listed.returncode == 0 else []

    def connections(self) -> dict[str, list[str]]:
        """What every port is connected to."""
        found: dict[str, list[str]] = {}
        for line in self.tool("jack_lsp", "-c").stdout.splitlines():
            if line.startswith(" "):
                found[next(reversed(found))].append(line.strip())
            else:
                found[line.strip()] = []
        return found

    def connect(self, source: str, target: str) -> None:
        done = self.tool("jack_connect", source, target)
        assert done.returncode == 0 or target in self.connections().get(source, []), done.stderr

    def disconnect(self, source: str, target: str) -> None:
        done = self.tool("jack_disconnect", source, target)
        assert done.returncode == 0 or target not in self.connections().get(source, []), done.stderr

    def wait_for_port(self, part: str, timeout_s: float = READY_S) -> str:
        """The first port whose name holds `part`, as soon as there is one."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for port in self.ports():
                if part in port:
                    return port
            time.sleep(0.05)
        raise AssertionError(f"no JACK port like {part!r} within {timeout_s} s; there are {self.ports()}")


def why_not() -> str:
    """Why no server can run here; empty if one can."""
    missing = [tool for tool in ("jackd", "jack_lsp", "jack_connect") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed (Debian: jackd2)" if missing else ""


@contextmanager
def server(
    name: str,
    rate: int = 48_000,
    period: int = 256,
    channels: int = 2,
    inside: Sequence[str] = (),
    sync: bool = False,
) -> Iterator[Server]:
    """A dummy server; skips the test, with the reason, where there can be none.

    `inside`: a command that puts what follows it into a network or mount namespace (``ip netns exec NAME``).
    `sync`: wait for slow clients instead of leaving out their block, so that a busy machine loses no sample.
    """
    if reason := why_not():
        pytest.skip(reason)
    told = {"JACK_DEFAULT_SERVER": f"{name}-{os.getpid()}", "JACK_NO_START_SERVER": "1"}
    with tempfile.TemporaryDirectory(prefix="jackd-") as folder, pytest.MonkeyPatch.context() as patch:
        for key, value in told.items():
            patch.setenv(key, value)
        command = [*inside, "jackd", "-r", *(["-S"] if sync else []), "-t", "10000", "-n", told["JACK_DEFAULT_SERVER"]]
        command += ["-d", "dummy", "-r", str(rate), "-p", str(period), "-C", str(channels), "-P", str(channels)]
        running = _start(command, Path(folder) / "log", rate, period, tuple(inside))
        try:
            yield running
        finally:
            _stop(running.process)


def _start(command: list[str], log: Path, rate: int, period: int, inside: tuple[str, ...]) -> Server:
    """Start jackd and wait until a client can join; on a busy machine jackd itself fails to start now and then."""
    env = dict(os.environ)
    for _ in range(TRIES):
        with log.open("ab") as file:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        running = Server(env["JACK_DEFAULT_SERVER"], rate, period, process, env, log, inside)
        deadline = time.monotonic() + READY_S
        while process.poll() is None and time.monotonic() < deadline:
            if running.ports():
                return running
            time.sleep(0.05)
        _stop(process)
    raise AssertionError(f"jackd did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
