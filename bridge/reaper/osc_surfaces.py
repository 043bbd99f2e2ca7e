"""Which OSC surfaces REAPER has, as its ini file tells; and whether one of them is ours.

REAPER's ini files are read, never written: REAPER writes them itself when it likes, over anything that others put in.

Source: the line ``csurf_N=OSC "name" flags listen "host" port packet sleep "pattern"`` as csurf_osc.cpp of Cockos' SDK
packs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bridge.reaper.resource_folders import INI

_OURS = ("stembridge", "stembridge.reaperosc")
_LINE = re.compile(r"^csurf_\d+=OSC[ \t]+(.*)$", re.MULTILINE)
_TOKEN = re.compile(r""""([^"]*)"|'([^']*)'|`([^`]*)`|(\S+)""")
_RECEIVES, _SENDS = 1, 2
_HERE = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class OscSurface:
    """One OSC surface of REAPER's preferences; a port of 0: not set."""

    receives: bool
    sends: bool
    listen_port: int
    device_host: str
    device_port: int
    pattern: str

    @property
    def is_ours(self) -> bool:
        """It uses our pattern file."""
        return self.pattern.lower() in _OURS

    @property
    def is_local_port(self) -> bool:
        """Mode "Local port": REAPER answers to whoever spoke last."""
        return self.receives and self.sends and self.listen_port > 0 and self.device_port == 0


def osc_surfaces(resource: Path) -> tuple[OscSurface, ...]:
    """The OSC surfaces that REAPER had when it last wrote its ini file; none if that cannot be read."""
    try:
        text = (resource / INI).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    found = (_unpacked(packed) for packed in _LINE.findall(text))
    return tuple(surface for surface in found if surface is not None)


def _unpacked(packed: str) -> OscSurface | None:
    values = ["".join(groups) for groups in _TOKEN.findall(packed)]
    try:
        _, flags, listen, host, port, _, _, pattern = values[:8]
        bits, listen_port, device_port = int(flags), int(listen), int(port)
    except ValueError:
        return None
    return OscSurface(bool(bits & _RECEIVES), bool(bits & _SENDS), listen_port, host, device_port, pattern)


@dataclass(frozen=True)
class Finding:
    """Whether REAPER and the daemon can hear each other over OSC, in words."""

    works: bool
    words: str


def judged(surfaces: tuple[OscSurface, ...], port: int | str, daemon_port: int) -> Finding:
    """What the surfaces mean for a daemon that listens on `daemon_port` and speaks to REAPER on `port` (or ``off``)."""
    ours = [surface for surface in surfaces if surface.is_ours]
    findings = [_judged(surface, port, daemon_port) for surface in ours]
    if not findings:
        return Finding(False, "REAPER has no OSC surface with the pattern config Stembridge")
    return next((finding for finding in findings if finding.works), findings[0])


def _judged(surface: OscSurface, port: int | str, daemon_port: int) -> Finding:
    listens = surface.receives and surface.listen_port == port
    if surface.is_local_port:
        if listens:
            return Finding(True, f"REAPER's OSC surface is set up: local port {port}")
        if port == "off":
            return Finding(False, "REAPER's OSC surface waits to be spoken to, but osc_port is off in [reaper]")
        return Finding(False, f"REAPER's OSC surface has local port {surface.listen_port}; the daemon speaks to {port}")
    if surface.sends and surface.device_host in _HERE and surface.device_port == daemon_port:
        rest = "" if listens else f"; takes do not announce themselves, as REAPER does not listen on port {port}"
        return Finding(True, f"REAPER's OSC surface sends to the daemon's port {daemon_port}{rest}")
    where = f"{surface.device_host}:{surface.device_port}" if surface.sends else "nobody"
    return Finding(False, f"REAPER's OSC surface sends to {where}; the daemon is at 127.0.0.1:{daemon_port}")
