"""A real Ardour 7 for tests, without screen or sound card: sessions by its own Lua, rolling on a jackd dummy server.

Everything runs in a network namespace that holds loopback only, since Ardour's OSC listens on all interfaces, and with
a `/dev/shm` of its own, in which JACK's metadata is switched off: jackd 1.9.21 now and then drops Ardour over it.
`house()` makes the namespace, `Session.make` a session with a song in it, `rolling()` starts Ardour on it, `editor()`
Ardour with its windows, on a screen in memory.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support import daemon, jack

T = TypeVar("T")

LIBRARY = Path("/usr/lib/ardour7")
OSC_PORT, CLOCK_PORT = 3819, "ardour:MIDI Clock out"
SUPERCLOCKS_PER_S = 282_240_000
"""Ardour's unit of time in session files."""
READY_S, SAVED_S, TRIES = 30.0, 90.0, 3
AT_ONCE = ("nice", "-n", "-15")
"""Before a command that keeps time: a busy machine must not make Ardour's clock, or JACK's, slip."""
E2E = Path(__file__).parents[1] / "e2e"
_CLONE_NEWNET = 0x40000000
_CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<Ardour><Config><Option name="send-midi-clock" value="1"/><Option name="try-autostart-engine" value="1"/></Config>
<ControlProtocols><Protocol name="Open Sound Control (OSC)" active="1"/></ControlProtocols></Ardour>
"""


def why_not() -> str:
    """Why no Ardour can be driven here; empty if one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a network namespace of its own needs Linux and root"
    if not _program("hardour") or shutil.which("ardour7-lua") is None:
        return "Ardour 7 is not installed (Debian: ardour)"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed" if missing else jack.why_not()


def _program(name: str) -> str:
    """The path of ``ardour`` or ``hardour``; empty if it is not there."""
    return next((str(path) for path in LIBRARY.glob(f"{name}-[0-9]*")), "")


@dataclass(frozen=True)
class House:
    """A network namespace with loopback only and an own /dev/shm; `inside` is the command prefix that leads there."""

    folder: Path
    pid: int
    env: Mapping[str, str]

    @property
    def inside(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.pid), "-n", "-m")

    def run(self, *command: str | Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the house; its output as text."""
        return subprocess.run(
            [*self.inside, *map(str, command)],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def lua(self, script: Path, *arguments: str | Path, timeout_s: float = 90.0) -> str:
        """Run a script by `ardour7-lua`; what it printed."""
        done = self.run("ardour7-lua", script, *arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def reached(self, make: Callable[[], T]) -> T:
        """What `make` returns when it is called in the house's network: a socket made there stays there."""
        made: list[T] = []

        def work() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{self.pid}/ns/net").open() as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return made[0]

    def client(self, port: int) -> daemon.Client:
        """One end of OSC for a port in the house: the daemon's, or Ardour's."""
        return self.reached(lambda: daemon.Client(port))


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """A house for Ardour, jackd and the daemon; skips the test, with the reason, where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    setup = "; ".join(
        (
            "set -e",
            "ip link set lo up",
            "ip link set lo multicast on",
            "ip route add 224.0.0.0/4 dev lo",
            "mount -t tmpfs tmpfs /dev/shm",
            ": > /dev/shm/jack_db-0",
            "echo ready",
            "exec sleep infinity",
        )
    )
    keeper = subprocess.Popen(
        ["unshare", "-n", "-m", "sh", "-c", setup], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        if keeper.stdout.readline() != "ready\n":
            pytest.skip(f"no network namespace can be made here: {keeper.stderr.read().strip()}")
        yield House(folder, keeper.pid, _environment(folder))
    finally:
        keeper.kill()
        keeper.communicate()


def _environment(folder: Path) -> dict[str, str]:
    """What Ardour's own start script sets, with a home of its own."""
    config = folder / "home" / ".config" / "ardour7"
    config.mkdir(parents=True, exist_ok=True)
    (config / "config").write_text(_CONFIG, encoding="utf-8")
    return {
        **os.environ,
        "HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
        "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
        "LD_LIBRARY_PATH": str(LIBRARY),
        "ARDOUR_DLL_PATH": str(LIBRARY),
        "ARDOUR_DATA_PATH": "/usr/share/ardour7",
        "ARDOUR_CONFIG_PATH": "/etc/ardour7",
        "VAMP_PATH": str(LIBRARY / "vamp"),
    }


@dataclass(frozen=True)
class PlacedRegion:
    """A region in a playlist of a saved session. Positions are samples; `files` has one entry per channel."""

    name: str
    start: int
    position: int
    length: int
    layer: int
    fades: bool
    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Session:
    """An Ardour session on disk, read as plain XML."""

    folder: Path
    name: str
    rate: int

    @classmethod
    def make(cls, house: House, folder: Path, audio: NDArray[np.float32], rate: int, *options: str) -> Session:
        """A session made by Ardour's Lua, with `audio` (channels, frames) on its one track from sample 0.

        Only Ardour's editor can import, so the song enters the file as text. `options`: see ardour_session.lua.
        """
        session = cls(folder, folder.name, rate)
        house.lua(E2E / "ardour_session.lua", folder, session.name, str(rate), str(len(audio)), *options)
        soundfile.write(session.sounds / "song.wav", audio.T, rate, subtype="FLOAT")
        text = session.file.read_text(encoding="utf-8")
        of_region, sources = "", ""
        for channel in range(len(audio)):
            sources += f'<Source name="song.wav" type="audio" flags="" id="{9000 + channel}" channel="{channel}"/>'
            of_region += f' source-{channel}="{9000 + channel}" master-source-{channel}="{9000 + channel}"'
        length = audio.shape[1] * SUPERCLOCKS_PER_S // rate
        region = (
            f'<Region name="song" type="audio" id="9010" channels="{len(audio)}" opaque="1" layering-index="0" '
            f'start="a0" length="a{length}@a0" fade-in-active="0" fade-out-active="0"{of_region}/>'
        )
        playlist = 'frozen="0" combine-ops="0"'
        assert f"{playlist}/>" in text
        text = text.replace("<Sources/>", f"<Sources>{sources}</Sources>", 1)
        text = text.replace(f"{playlist}/>", f"{playlist}>{region}</Playlist>", 1)
        text = re.sub("<EngineHints[^>]*>", "", text)  # the editor would ask about the change of device
        # A session has its own say on control surfaces, against the user's configuration.
        text = text.replace('Control (OSC)" active="0"', 'Control (OSC)" active="1"')
        session.file.write_text(text, encoding="utf-8")
        return session

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.ardour"

    @property
    def sounds(self) -> Path:
        return self.folder / "interchange" / self.name / "audiofiles"

    def playlists(self) -> dict[str, list[PlacedRegion]]:
        """Every playlist's regions by its name."""
        root = ElementTree.parse(self.file).getroot()
        sources = {s.attrib["id"]: (s.attrib["name"], int(s.attrib["channel"])) for s in root.iter("Source")}
        return {
            playlist.attrib["name"]: [self._region(region, sources) for region in playlist.iter("Region")]
            for playlist in root.iter("Playlist")
        }

    def _region(self, region: ElementTree.Element, sources: Mapping[str, tuple[str, int]]) -> PlacedRegion:
        told = region.attrib
        length, position = told["length"].split("@")
        return PlacedRegion(
            told["name"],
            self._samples(told["start"]),
            self._samples(position),
            self._samples(length),
            int(told["layering-index"]),
            told["fade-in-active"] == "1" or told["fade-out-active"] == "1",
            tuple(sources[told[f"source-{channel}"]] for channel in range(int(told["channels"]))),
        )

    def _samples(self, told: str) -> int:
        kind, value = told[0], int(told[1:])
        assert kind == "a", f"not in audio time: {told}"
        samples, rest = divmod(value * self.rate, SUPERCLOCKS_PER_S)
        assert rest == 0, f"between two samples: {told}"
        return samples


@dataclass(frozen=True)
class Ardour:
    """A running Ardour."""

    process: subprocess.Popen[bytes]
    osc: daemon.Client
    session: Session

    def save(self, wanted: Callable[[str], bool]) -> None:
        """Have the session saved until its file says what is wanted."""
        deadline = time.monotonic() + SAVED_S
        while time.monotonic() < deadline:
            self.osc.send("/save_state")
            time.sleep(0.25)
            if wanted(self.session.file.read_text(encoding="utf-8")):
                return
        raise AssertionError("Ardour did not save what was asked for")


@contextmanager
def rolling(
    house: House, server: jack.Server, session: Session, env: Mapping[str, str] | None = None
) -> Iterator[Ardour]:
    """Ardour without windows on `session`, playing, with its MIDI clock port and its OSC open."""
    told = {"ARDOUR_BACKEND": "JACK", **(env or {})}
    with _running(house, server, session, [_program("hardour")], told) as ardour:
        yield ardour


@contextmanager
def editor(house: House, server: jack.Server, session: Session, script: Path, **options: object) -> Iterator[Ardour]:
    """Ardour with its editor, and `script` as its first action: ``/access_action LuaAction/script-1`` runs it.

    It asks nothing at the start: it has been here before, and JACK, which runs, is the only audio system it finds.
    Skips the test, with the reason, where there is no Xvfb.
    """
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (Debian: xvfb)")
    folder = house.folder / f"editor-{session.folder.parent.name}"
    (folder / "backends").mkdir(parents=True)
    for entry in LIBRARY.iterdir():
        if entry.name != "backends":
            (folder / entry.name).symlink_to(entry)
    shutil.copy(LIBRARY / "backends" / "libjack_audiobackend.so", folder / "backends")
    config = house.folder / "home" / ".config" / "ardour7"
    (config / ".a7").touch()
    told = [f"{name}={value}" for name, value in options.items()]
    house.lua(E2E / "ardour_action.lua", script, folder / "action", *told)
    action = base64.b64encode((folder / "action").read_bytes()).decode()
    (config / "ui_scripts").write_text(f'<UIScripts><ActionScript lua="Lua 5.3">{action}</ActionScript></UIScripts>')
    env = {"ARDOUR_DLL_PATH": str(folder), "GTK_PATH": f"/etc/ardour7:{LIBRARY}"}
    with (
        _screen(house) as display,
        _running(house, server, session, [_program("ardour"), "-n", "-d", "-a"], env | {"DISPLAY": display}) as ardour,
    ):
        yield ardour


@contextmanager
def _screen(house: House) -> Iterator[str]:
    """A screen in memory; its name."""
    command = [*house.inside, "Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield f":{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _running(
    house: House, server: jack.Server, session: Session, command: list[str], env: Mapping[str, str]
) -> Iterator[Ardour]:
    env = {**house.env, **{key: server.env[key] for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")}, **env}
    process = _start(house, server, [*house.inside, *AT_ONCE, *command, str(session.folder), session.name], env)
    osc = house.client(OSC_PORT)
    try:
        yield Ardour(process, osc, session)
    finally:
        osc.close()
        process.kill()  # what counts was saved; a friendly end takes seconds
        process.wait()


def _start(house: House, server: jack.Server, command: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """jackd drops Ardour at one start in some, even so; then another is tried."""
    log = house.folder / "ardour.log"
    for _ in range(TRIES):
        with log.open("ab") as output:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + READY_S
        while process.poll() is None and time.monotonic() < deadline:
            if CLOCK_PORT in server.ports() and f":{OSC_PORT:04X} " in house.run("cat", "/proc/net/udp").stdout:
                return process
            time.sleep(0.2)
        process.kill()
        process.wait()
    raise AssertionError(f"Ardour did not start:\n{log.read_text(errors='replace')[-4000:]}")
