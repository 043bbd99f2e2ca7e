"""The real daemon as a process of its own, for the length of a with-block."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocol.errors import StembridgeError

_READY_S = 60.0
_END_S = 15.0


class DaemonDidNotStart(StembridgeError):
    """The daemon ended, or said nothing, before it was ready."""

    code = "cannot_start"


@contextmanager
def running_daemon(data_dir: Path, engine: str = "auto") -> Iterator[dict[str, Any]]:
    """Start `stembridge serve` on free ports and yield its ready line; it is ended cleanly afterwards.

    What it writes to stderr goes to ``daemon.stderr.txt`` in `data_dir`, and into the error if it does not start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    stderr_file = data_dir / "daemon.stderr.txt"
    command = [
        *(sys.executable, "-m", "bridge.cli", "serve", "--osc-port", "0", "--http-port", "off", "--midi-port", "off"),
        *("--data-dir", str(data_dir), "--zeroconf", "lo", "--reaper-port", "off", "--engine", engine, "--ready-json"),
    ]
    windows_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # so that CTRL_BREAK reaches the daemon alone
    with (
        stderr_file.open("wb") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, creationflags=windows_group
        ) as process,
    ):
        try:
            yield _ready_line(process, stderr_file)
        finally:
            _end(process)


def _ready_line(process: subprocess.Popen[bytes], stderr_file: Path) -> dict[str, Any]:
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_drain, args=(process, lines), daemon=True).start()
    try:
        line = lines.get(timeout=_READY_S)
    except queue.Empty:
        line = b""
    try:
        ready: dict[str, Any] = json.loads(line)
    except ValueError:
        said = stderr_file.read_text(encoding="utf-8", errors="replace").strip()
        raise DaemonDidNotStart(f"The daemon did not become ready. It said: {said or 'nothing'}") from None
    return ready


def _drain(process: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    """Every line of stdout into the queue, and an empty one at the end: a pipe that nobody reads would fill up."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(b"")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    if os.name == "nt":
        process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined, unused-ignore]
    else:
        process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
