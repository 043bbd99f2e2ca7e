"""From `stembridge reaper install` to a daemon that REAPER started, heard over OSC and asked through the mailbox."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage
from watchfiles import watch

from tests.support.daemon import Client
from tests.support.osc import bundle, message, single

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="REAPER's way of starting programs is played by POSIX means"),
]

INSTANCE, HELLO = "1f2e3d4c", "20261123-075200-3f9a2c"


@dataclass
class Reaper:
    """A REAPER with its resource folder and an OSC surface in local port mode."""

    resource: Path
    surface: socket.socket

    @property
    def mailbox(self) -> Path:
        return self.resource / "Stembridge" / "mailbox"

    def start_daemon(self, working_folder: Path) -> subprocess.Popen[bytes]:
        """ExecProcess without waiting: no shell, another working folder, and nobody who reads what is printed."""
        start = json.loads((self.mailbox / "start.json").read_text(encoding="utf-8"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        daemon = subprocess.Popen(
            shlex.split(start["command"]),
            cwd=working_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for pipe in (daemon.stdout, daemon.stderr):
            assert pipe is not None
            pipe.close()
        return daemon

    def post(self, request: dict[str, Any]) -> None:
        path = self.mailbox / "requests" / f"{INSTANCE}.{request['id']}.json"
        path.with_suffix(".json.tmp").write_text(json.dumps(request), encoding="utf-8")
        path.with_suffix(".json.tmp").rename(path)

    def answer(self, request_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The answer once it is final."""
        path, deadline = self.mailbox / "answers" / INSTANCE / f"{request_id}.json", time.monotonic() + timeout_s
        for _ in watch(self.mailbox, rust_timeout=200, yield_on_timeout=True):
            if path.is_file():
                answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                if answer["state"] in ("done", "failed", "refused", "cancelled"):
                    return answer
            assert time.monotonic() < deadline, "no answer"
        raise AssertionError("the mailbox is gone")


@pytest.fixture
def reaper(tmp_path: Path) -> Iterator[Reaper]:
    resource = tmp_path / "REAPER ü"
    resource.mkdir()
    (resource / "reaper.ini").write_text("[REAPER]\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as surface:
        surface.bind(("127.0.0.1", 0))
        surface.settimeout(60)
        yield Reaper(resource, surface)


def stembridge(*words: str | Path) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *map(str, words)], capture_output=True, text=True, timeout=60, check=True
    )
    return told.stdout


def test_what_is_installed_starts_this_daemon_which_hears_reaper_and_takes_requests(
    reaper: Reaper, tmp_path: Path
) -> None:
    config, port = tmp_path / "my config.toml", reaper.surface.getsockname()[1]
    config.write_text(
        f'[osc]\nport = 0\n[discovery]\ninterfaces = "off"\n[engine]\nname = "sketch"\n[reaper]\nosc_port = {port}\n'
    )
    where = ("--resource-path", reaper.resource, "--config", config, "--data-dir", tmp_path / "my data")
    assert f"local listen port: {port}" in stembridge("reaper", "install", *where)
    elsewhere = tmp_path / "a project"
    (elsewhere / "bridge").mkdir(parents=True)
    (elsewhere / "bridge" / "__init__.py").write_text("raise SystemExit('a stranger by the same name')")

    daemon = reaper.start_daemon(elsewhere)
    try:
        packet, sender = reaper.surface.recvfrom(2048)  # the daemon is up and asks for everything
        asked = OscMessage(packet)
        assert (asked.address, asked.params) == ("/action", [41743])
        reaper.surface.sendto(
            bundle(single("/tempo/raw", 97.53), message("/lastregion/name", "Chorus key=Bbm"), single("/time", 8.0)),
            sender,
        )
        client = Client(sender[1])
        rows = {}
        while "key" not in rows:  # answered each time; the packet before it is on its way
            client.heard.clear()
            client.tell("/stembridge/session")
            rows = {m.args[0]: m.args[1:3] for m in client.heard if m.address == "/stembridge/session/state"}
        client.close()
        assert (rows["tempo"], rows["key"]) == (["97.53", "reaper"], ["Bb minor", "reaper"])

        assert reaper.start_daemon(elsewhere).wait(30) == 2  # REAPER may start it once more: the first goes on
        common = {"protocol": 1, "id": HELLO, "instance": INSTANCE, "created": int(time.time()), "scripts": "0.1.0"}
        reaper.post({**common, "kind": "hello", "reaper": "7.28/linux-x86_64", "doorbell": "_RS1234"})
        answer = reaper.answer(HELLO)
        assert answer["state"] == "done", answer
        assert (answer["hello"]["osc"], answer["hello"]["osc_port"]) == ("heard", port)
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    assert "stays" in stembridge("reaper", "uninstall", *where)  # the answer was not fetched
    assert not (reaper.resource / "Scripts").exists()
