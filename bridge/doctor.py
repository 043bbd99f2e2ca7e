"""`stembridge doctor`: looks at everything the daemon will need, and says what to do about what is missing.

A *fail* is what keeps the daemon from doing its main job; a *warn* costs a convenience. Checks change nothing: ports
are bound and freed again, files written to test a folder are removed. Devices and torch are only looked at if they are
installed.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bridge import __version__
from bridge.config import Config, default_config_file
from bridge.demo.daw import Daw, NoAnswer
from bridge.discovery import Advertiser, DiscoveryUnavailable, discover, parse_interfaces
from bridge.doctor_check import Check
from bridge.doctor_http import check_http
from bridge.doctor_lan import check_lan
from bridge.doctor_midi import check_midi
from bridge.reaper.resource_folders import Place
from bridge.reaper.state import known_resources, osc_finding, problems_of
from protocol.errors import StembridgeError

_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "librosa", "pyloudnorm", "python-osc", "zeroconf", "pydantic")
_LOW_SPACE_BYTES = 2_000_000_000
_DISCOVER_S = 6.0


def main(config: Config, project: Path | None = None) -> int:
    """Run all checks and print them; 0 unless one failed, then 1."""
    checks = run_checks(config, project)
    print_checks(checks, Console(highlight=False))
    return 1 if any(check.status == "fail" for check in checks) else 0


def run_checks(config: Config, project: Path | None = None) -> list[Check]:
    """All checks in the order of importance. None raises: one that breaks becomes a finding itself."""
    steps: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("Python", lambda: [check_python()]),
        ("packages", lambda: [check_packages()]),
        ("configuration", lambda: [check_config(config)]),
        ("data folder", lambda: [check_folder("data folder", config.data_dir, "Choose another with --data-dir.")]),
        ("OSC port", lambda: [check_osc_port(config.osc.host, config.osc.port)]),
        ("HTTP port", lambda: [check_http(config.http)]),
        ("network", lambda: [check_lan(config.lan)]),
        ("zeroconf", lambda: [asyncio.run(check_zeroconf(config.discovery.interfaces))]),
        ("engine", lambda: [check_engine(config)]),
        ("acestep", lambda: [check_acestep(config)]),
        ("sketch", lambda: [check_soundfont(config), check_separator(config)]),
        ("REAPER", lambda: check_reaper(config, Place.here())),
        ("audio formats", lambda: [check_formats()]),
        ("GPU", lambda: [check_gpu()]),
        ("MIDI", lambda: [check_midi(config.midi)]),
        ("audio devices", lambda: [check_audio_devices()]),
        ("clock", lambda: [check_clock()]),
    ]
    if project is not None:
        folder = project.expanduser()
        steps.insert(4, ("project folder", lambda: [check_project(folder)]))
    return [check for name, step in steps for check in _guarded(name, step)]


def print_checks(checks: Iterable[Check], console: Console) -> None:
    """A table with the advice below each finding; readable without colour and without a terminal."""
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        advice = f"\n-> {check.advice}" if check.advice else ""
        colour = colours[check.status]
        table.add_row(f"[{colour}]{check.status:<4}[/]", check.name, f"{check.detail}{advice}".replace("[", r"\["))
    console.print(table)


def _guarded(name: str, step: Callable[[], Iterable[Check]]) -> Iterable[Check]:
    try:
        return list(step())
    except Exception as error:
        return [Check(name, "warn", f"could not be checked: {type(error).__name__}: {error}", "Please report this.")]


# --- the program itself -----------------------------------------------------------------------------------------------
def check_python() -> Check:
    """Python's version and the system."""
    detail = f"Stembridge {__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}"
    return Check("Python", "ok", detail)


def check_packages() -> Check:
    """The libraries that the daemon and its embedded engine are made of."""
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(found))


def check_config(config: Config) -> Check:
    """Where the configuration came from."""
    if config.source is not None:
        return Check("configuration", "ok", str(config.source))
    return Check("configuration", "ok", f"defaults ({default_config_file()} would be read if it existed)")


def check_engine(config: Config) -> Check:
    """Which engine would serve, and why."""
    from engine import registry  # the registry may import engines of the user's own

    asked = config.engine.name
    try:
        chosen = registry.capabilities(asked, config.engine.plugins, config.engine_options)
    except StembridgeError as error:
        return Check("engine", "fail", error.sentence, "Set engine to auto or sketch.")
    why = "the best that can run here" if asked == "auto" else "as configured"
    verbs = ", ".join(sorted(chosen.verbs)) or "no verbs"
    return Check("engine", "ok", f"{chosen.name} {chosen.version} ({why}): {verbs}")


def check_acestep(config: Config) -> Check:
    """Whether the model could run here, whichever engine serves."""
    from engine.availability import why_not

    wanted = config.acestep
    lack = why_not("acestep", config.engine_options["acestep"])
    if lack is None:
        return Check("acestep", "ok", f"checkpoint {wanted.checkpoint}, device {wanted.device}: all there")
    if config.engine.name == "acestep":
        return Check("acestep", "fail", lack, "Or set the engine to auto, which then serves sketch.")
    return Check("acestep", "warn", lack, "Until then auto serves sketch, which needs none of this.")


# --- REAPER -----------------------------------------------------------------------------------------------------------
def check_reaper(config: Config, place: Place) -> list[Check]:
    """Whether each REAPER of this machine has the actions, and streams to the daemon."""
    resources = known_resources(config, place)
    if not resources:
        return [Check("REAPER", "ok", "none found; a portable one: stembridge reaper install --resource-path FOLDER")]
    return [_check_one_reaper(resource, config) for resource in resources]


def _check_one_reaper(resource: Path, config: Config) -> Check:
    problems = list(problems_of(resource, config))
    if problems:
        mends = f'stembridge reaper install --resource-path "{resource}"'
        return Check("REAPER", "warn", f"{resource}: {problems[0]}", mends)
    return Check("REAPER", "ok", f"{resource}: all actions there. {osc_finding(resource, config).words}.")


# --- folders ----------------------------------------------------------------------------------------------------------
def check_soundfont(config: Config) -> Check:
    """What the embedded engine plays added parts with."""
    font = config.sketch.soundfont
    if font is None:
        return Check("voices", "ok", "the engine's own; a soundfont can be named in [sketch]")
    if not font.is_file():
        return Check("voices", "fail", f"there is no soundfont {font}", "Correct or remove `soundfont` in [sketch].")
    if importlib.util.find_spec("tinysoundfont") is None:
        return Check("voices", "fail", "tinysoundfont is not installed", "pip install 'stembridge[soundfont]'.")
    return Check("voices", "ok", f"soundfont {font}")


def check_separator(config: Config) -> Check:
    """What the embedded engine extracts with."""
    from engine.sketch import SketchEngine, neural_separation

    options = SketchEngine.separator_options(config.engine_options["sketch"])
    lack = "" if config.sketch.separator == "masks" else neural_separation.lacks(options)
    if config.sketch.separator == "masks" or (lack and config.sketch.separator == "auto"):
        return Check("extract", "ok", f"by masks. {lack}".strip())
    if lack:
        return Check("extract", "fail", lack, "Or set `separator` to auto in [sketch].")
    return Check("extract", "ok", f"by demucs, model {config.sketch.separator_model}")


def check_folder(name: str, folder: Path, advice: str) -> Check:
    """Can files be made in `folder` (or, if it does not exist yet, in the nearest folder above), and is there room?"""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return Check(name, "fail", f"{place} is a file, not a folder", advice)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check(name, "fail", f"{place} is not writable: {error.strerror}", advice)
    free = shutil.disk_usage(place).free
    detail = f"{folder}, {free / 1e9:.1f} GB free" + ("" if place == folder else " (made on the first start)")
    if free < _LOW_SPACE_BYTES:
        return Check(name, "warn", detail, "Free some space: a minute of stereo stems at 48 kHz takes 17 to 23 MB.")
    return Check(name, "ok", detail)


def check_project(folder: Path) -> Check:
    """May stems be written into this project?"""
    place = folder.parent if folder.suffix.lower() == ".rpp" else folder
    if not place.is_dir():
        return Check("project folder", "fail", f"{place} does not exist", "Save the project in the DAW first.")
    return check_folder("project folder", place, "Change the folder's rights, or save the project somewhere else.")


# --- the network ------------------------------------------------------------------------------------------------------
def check_osc_port(host: str, port: int) -> Check:
    """Is the OSC port free, or held by a running Stembridge?"""
    where = f"{host}:{port}/udp"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return _who_holds(host, port, where)
            return Check(
                "OSC port", "fail", f"{where}: {error.strerror}", "Set osc.host to an address of this machine."
            )
    return Check("OSC port", "ok", f"{where} is free" if port else "any free port")


def _who_holds(host: str, port: int, where: str) -> Check:
    try:
        with Daw("127.0.0.1" if host == "0.0.0.0" else host, port) as daw:  # noqa: S104 - compared, not bound
            pong = daw.tell("/ping", reply="/pong", reply_s=2.0)
    except NoAnswer:
        advice = "End that program, or choose another port with --osc-port."
        return Check("OSC port", "fail", f"{where} is taken by another program", advice)
    return Check("OSC port", "ok", f"a running Stembridge {pong[0] if pong else ''} answers on {where}")


async def check_zeroconf(interfaces: str) -> Check:
    """Register a throw-away service and look for it, on the interfaces configured."""
    if interfaces == "off":
        return Check("zeroconf", "warn", "switched off", "Give controllers the port by hand, or set zeroconf to lo.")
    where = parse_interfaces(interfaces)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        door = Advertiser(name=f"Stembridge doctor {os.getpid()}", osc_port=port, engine="none", interfaces=where)
        door.start()
        try:
            name = await asyncio.wait_for(door.settled(), _DISCOVER_S)
            found = await discover(_DISCOVER_S, where, until=lambda service: service.name == name) if name else []
        except (DiscoveryUnavailable, TimeoutError) as error:
            return Check("zeroconf", "warn", f"on {interfaces}: {error or 'no answer'}", _multicast_advice())
        finally:
            await door.stop()
    others = [f"{service.name} ({service.host}:{service.port})" for service in found if service.name != name]
    if len(others) == len(found):
        return Check("zeroconf", "warn", f"a test service on {interfaces} was not seen", _multicast_advice())
    seen = f"; also seen: {', '.join(others)}" if others else ""
    return Check("zeroconf", "ok", f"a test service on {interfaces} was found{seen}")


def _multicast_advice() -> str:
    firewall = {
        "Windows": "allow Python through the firewall for private networks",
        "Darwin": "allow Python under Privacy & Security, Local Network",
    }.get(platform.system(), "let UDP port 5353 through the firewall")
    return f"Discovery needs multicast: {firewall}. Without it, give controllers the port by hand."


# --- devices ----------------------------------------------------------------------------------------------------------
def check_formats() -> Check:
    """Which audio files can be read."""
    import soundfile

    wanted = {"WAV": "WAV", "FLAC": "FLAC", "OGG": "OGG Vorbis", "MP3": "MP3", "AIFF": "AIFF"}
    available = soundfile.available_formats()
    missing = [written for name, written in wanted.items() if name not in available]
    readable = ", ".join(written for written in wanted.values() if written not in missing)
    if missing:
        advice = "Install a newer libsndfile (1.1 or later), or `pip install --force-reinstall soundfile`."
        return Check("audio formats", "warn", f"libsndfile cannot read {', '.join(missing)}", advice)
    return Check("audio formats", "ok", f"libsndfile {soundfile.__libsndfile_version__}: {readable}")


def check_gpu() -> Check:
    """A GPU that torch can use; only engines with model weights need one."""
    driver = _nvidia_driver()
    if importlib.util.find_spec("torch") is None:
        advice = "pip install 'stembridge[acestep]' to use it." if driver else ""
        return Check("GPU", "ok", f"{driver or 'none seen'}; torch is not installed (sketch needs neither)", advice)
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("GPU", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch {torch.__version__}")
    if torch.backends.mps.is_available():
        return Check("GPU", "ok", f"Apple GPU, torch {torch.__version__}")
    if driver:
        advice = "Install a CUDA build of torch that fits the driver (https://pytorch.org/get-started)."
        return Check("GPU", "warn", f"{driver}, but torch {torch.__version__} cannot use it", advice)
    return Check("GPU", "ok", f"none; torch {torch.__version__} runs on the CPU (sketch does not need it)")


def _nvidia_driver() -> str:
    """Name and driver version as `nvidia-smi` tells them; empty if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip().splitlines()[0] if told.stdout.strip() else ""


def check_audio_devices() -> Check:
    """Audio output, for live playing only."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except OSError:
        package = {
            "Linux": "apt install libportaudio2 (Debian, Ubuntu) or dnf install portaudio (Fedora)",
            "Darwin": "brew install portaudio",
        }.get(platform.system(), "pip install --force-reinstall sounddevice")
        return Check("audio devices", "warn", "PortAudio is missing (only live output needs it)", package)
    try:
        names = [device["name"] for device in sounddevice.query_devices() if device["max_output_channels"] > 0]
    except sounddevice.PortAudioError as error:
        return Check("audio devices", "warn", f"PortAudio: {error}", "Connect an interface, or start JACK or PipeWire.")
    if not names:
        return Check("audio devices", "warn", "no output device", "Connect one to play live; stems need none.")
    return Check(
        "audio devices", "ok", ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    )


def check_clock() -> Check:
    """The monotonic clock's resolution (progress, MIDI clock) and a system date that can be true (job ids)."""
    resolution = time.get_clock_info("monotonic").resolution
    year = time.gmtime().tm_year
    if year < 2025:
        advice = "Set the system's date: jobs are named and ordered by it."
        return Check("clock", "warn", f"the system says it is {year}", advice)
    if resolution > 0.02:
        return Check("clock", "warn", f"resolution {resolution * 1000:.0f} ms", "MIDI clock will be followed coarsely.")
    return Check("clock", "ok", f"resolution {resolution * 1e6:.3g} microseconds")
