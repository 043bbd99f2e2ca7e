"""A musician's desk for tests from outside: the double of REAPER, our unmodified scripts installed in it by the real
command, and the real daemon on the other side of the mailbox.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import daemon as daemons
from tests.support.daemon import ROOT, Daemon
from tests.support.reascript.audio import master_mix
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project, Track
from tests.support.reascript.rpp import dump

JOB_S = 90.0
CONFIG = """
[engine]
name = "sketch"
[engine.plugins]
patient = "tests.support.patient:Patient"
[osc]
port = 0
[reaper]
osc_port = "off"
[discovery]
interfaces = "off"
"""


@dataclass
class Studio:
    """REAPER's resource folder and the daemon's data folder; `daemon` is None while none runs."""

    resource: Path
    data: Path
    config: Path
    reaper: Reaper
    daemon: Daemon | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Processes that REAPER started by ExecProcess."""

    def start_daemon(self, engine: str = "sketch") -> Daemon:
        self.daemon = daemons.start(self.data, "--config", str(self.config), engine=engine)
        return self.daemon

    def may_start_programs(self) -> None:
        """From now on ExecProcess really starts what it is told."""

        def start(command: str) -> None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.started.append(subprocess.Popen(shlex.split(command), env=environment, cwd=ROOT))

        self.reaper.exec = start

    def stop(self) -> None:
        if self.daemon is not None:
            daemons.stop(self.daemon)
            self.daemon = None
        for process in self.started:
            process.terminate()
            process.wait(20)

    def begin(self, action: str) -> None:
        """Run an action as from the action list; the watcher goes on when this returns."""
        self.reaper.run(self.resource / "Scripts" / "Stembridge" / f"Stembridge_{action}.lua")

    def finish(self, timeout_s: float = JOB_S) -> None:
        """Until no script runs any more."""
        self.reaper.pump_until(lambda: not self.reaper.running, timeout_s)

    def act(self, action: str, timeout_s: float = JOB_S) -> None:
        self.begin(action)
        self.finish(timeout_s)

    @property
    def mailbox(self) -> Path:
        return self.resource / "Stembridge" / "mailbox"

    def files(self) -> list[Path]:
        """What lies in the mailbox apart from how to start the daemon."""
        return sorted(
            path
            for path in self.mailbox.rglob("*")
            if path.is_file() and path.name not in ("start.json", ".daemon.lock")
        )


def install(resource: Path, data: Path, *extra: str, command: str = "install") -> subprocess.CompletedProcess[str]:
    """`stembridge reaper install` as the user runs it."""
    resource.mkdir(parents=True, exist_ok=True)
    (resource / "reaper.ini").touch()
    arguments = ["reaper", command, "--resource-path", str(resource), "--data-dir", str(data), *extra]
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def another(made: Studio, lua: str = "5.4") -> Studio:
    """Another REAPER on the same installation and daemon, which stay `made`'s."""
    return Studio(made.resource, made.data, made.config, Reaper(resource=made.resource, lua=lua), made.daemon)


def studio(folder: Path, lua: str = "5.4", **options: Any) -> Studio:
    """Installed and ready, with no daemon yet."""
    resource, data, config = folder / "REAPER", folder / "data", folder / "stembridge.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = install(resource, data, "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    return Studio(resource, data, config, Reaper(resource=resource, lua=lua, **options))


def select(project: Project, start_s: float, end_s: float, *tracks: Track) -> None:
    """A time selection and selected tracks, as the user makes them."""
    project.time_selection = (start_s, end_s)
    for track in project.tracks:
        track.values["I_SELECTED"] = float(track in tracks)


def sound(project: Project, seconds: float) -> np.ndarray:
    """What the project plays from 0 to `seconds`: float32 ``(channels, frames)``."""
    return master_mix(project, project.rate, 0, round(seconds * project.rate))


__all__ = ["Studio", "another", "dump", "install", "select", "sound", "studio"]
