"""`make bench`: measure the running daemon from outside and the embedded engine, and write docs/benchmarks.md.

Every figure comes with what it is compared with, measured in the same run on the same machine. `--quick` makes a short
run for a look; the page is written only by a full one.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

from tests.bench import control, http, live, live_audio, midi_clock, musician, separation, sketch
from tests.bench.table import Table

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"

INTRO = """# Benchmarks

Written by `make bench`; do not edit. Each table says what its figures are compared with, measured in the same run.
These are shared virtual machines: read ratios before absolute times.

{machine}
"""


def machine() -> str:
    """The machine and the versions, one list."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "librosa", "mir_eval", "python-osc")
    )
    return "\n".join(
        [
            "- command: `make bench`",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- machine: {model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, no GPU used",
            f"- Python {platform.python_version()}, {libraries}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="short; prints only")
    parser.add_argument("--only", help="names of the parts to run, with commas")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[bool], list[Table]]] = {
        "control": control.run,
        "http": http.run,
        "sketch": sketch.run,
        "musician": musician.run,
        "separation": separation.run,
        "midi": midi_clock.run,
        "live": live.run,
        "live_audio": live_audio.run,
    }
    wanted = arguments.only.split(",") if arguments.only else list(parts)
    tables = [table for name in wanted for table in parts[name](arguments.quick)]
    page = INTRO.format(machine=machine()) + "\n" + "\n".join(table.markdown() for table in tables)
    print(page)
    if not arguments.quick and not arguments.only:
        PAGE.write_text(page, encoding="utf-8")
        print(f"written: {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
