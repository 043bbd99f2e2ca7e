"""How it stands with each REAPER of this machine: what is installed, what is missing, whether OSC is set up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bridge.config import Config
from bridge.reaper.files import fingerprint, fingerprint_of
from bridge.reaper.install import START, mailbox_of, read_manifest
from bridge.reaper.osc_surfaces import Finding, judged, osc_surfaces
from bridge.reaper.payload import PATTERN, payload
from bridge.reaper.registered import registered
from bridge.reaper.resource_folders import Place, find
from bridge.reaper.start import started_program


def known_resources(config: Config, place: Place) -> tuple[Path, ...]:
    """The resource folders found, and those that Stembridge was installed into, if they are still there."""
    installed = (folder for folder in registered(config.data_dir.absolute()) if folder.is_dir())
    return tuple(dict.fromkeys((*find(place), *installed)))


def reapack_copy(resource: Path) -> Path | None:
    """Where ReaPack has installed the scripts, if it has: then a second copy would double every action."""
    return next((lib.parent.parent for lib in resource.glob("Scripts/*/Stembridge/lib/stembridge.lua")), None)


def wanted(resource: Path) -> Mapping[str, bytes]:
    """What `install` puts into this resource folder: all, or without the scripts where ReaPack minds them."""
    contents = payload()
    return contents if reapack_copy(resource) is None else {PATTERN: contents[PATTERN]}


def problems_of(resource: Path, config: Config) -> Iterator[str]:
    """What keeps REAPER's actions from working with this daemon; `install` mends each of them."""
    if read_manifest(resource) is None:
        yield "Stembridge's actions are not installed"
        return
    contents = wanted(resource)
    there = {name: fingerprint_of(resource / name) for name in contents}
    missing = [name for name, found in there.items() if found is None]
    other = [name for name, found in there.items() if found not in (None, fingerprint(contents[name]))]
    if missing:
        yield f"{counted(len(missing), 'file')} missing, such as {missing[0]}"
    if other:
        yield f"{counted(len(other), 'file')} of another version or changed, such as {other[0]}"
    mailbox = mailbox_of(resource)
    if registered(config.data_dir.absolute()).get(resource) != mailbox:
        yield f"the daemon does not know the mailbox {mailbox}"
    program = started_program(mailbox / START)
    if program is None:
        yield f"the actions cannot start the daemon: {mailbox / START} is missing or damaged"
    elif not program.is_file():
        yield f"the actions cannot start the daemon: there is no {program} any more"


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def osc_finding(resource: Path, config: Config) -> Finding:
    """Whether this REAPER's OSC surface and the daemon fit together."""
    return judged(osc_surfaces(resource), config.reaper.osc_port, config.osc.port)
