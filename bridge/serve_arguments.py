"""The arguments of `stembridge serve`, and what it says when it listens; apart from the daemon: `--help` is quick."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from bridge.argument_types import port, port_or_off

EXAMPLES = (
    "  stembridge serve\n"
    "  stembridge serve --osc-port 0 --ready-json        a free port, told on stdout\n"
    "  stembridge serve --engine sketch --zeroconf off   the embedded engine, unannounced\n"
    "  stembridge serve --http-port off                  OSC only\n"
)


def add_arguments(parser: Any, add_where: Any) -> None:
    """The flags, each of which wins over the configuration; `add_where` adds --config and --data-dir."""
    add_where(parser)
    parser.add_argument("--host", metavar="ADDR", help="address to listen on (default 127.0.0.1: this machine only)")
    parser.add_argument("--osc-port", type=port, metavar="N", help="UDP port for OSC (default 9240; 0: any free one)")
    parser.add_argument(
        "--http-port", type=port_or_off, metavar="N|off", help="HTTP port: page, task API, OSCQuery (default 9242)"
    )
    parser.add_argument("--midi-port", metavar="NAME|off", help="MIDI port to hear: part of its name, virtual, jack")
    parser.add_argument(
        "--reaper-port", type=port_or_off, metavar="N|off", help="port of REAPER's OSC surface (default 9241)"
    )
    parser.add_argument("--engine", metavar="NAME", help="auto, sketch, acestep, or one named in the configuration")
    parser.add_argument("--zeroconf", metavar="lo|all|off|ADDR,...", help="where to advertise (default lo)")
    parser.add_argument(
        "--ready-json", action="store_true", help="print one JSON line on stdout when everything listens"
    )


def flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags by the names of the settings they stand for."""
    return {
        "osc.host": arguments.host,
        "osc.port": arguments.osc_port,
        "http.port": arguments.http_port,
        "midi.port": arguments.midi_port,
        "reaper.osc_port": arguments.reaper_port,
        "engine.name": arguments.engine,
        "discovery.interfaces": arguments.zeroconf,
    }


def ready_words(description: Mapping[str, object], host: str, *, as_json: bool) -> str:
    """What is printed once everything listens: a line for programs, or where a person finds it."""
    if as_json:
        return json.dumps(description)
    where = f"{host}:{description['osc_port']} (engine: {description['engine']})"
    page = f" Its page: http://127.0.0.1:{description['http_port']}/" if description["http_port"] else ""
    return f"Stembridge {description['version']} listens for OSC on {where}.{page} Ctrl-C ends it."
