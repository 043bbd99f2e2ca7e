"""Writes docs/controllers/ from the address table; ``--check`` only says whether it is up to date."""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from protocol.controllers import open_stage_control, touchosc

FOLDER = Path(__file__).parents[2] / "docs" / "controllers"


def files() -> Mapping[str, bytes]:
    """The generated files by name."""
    return {touchosc.NAME: touchosc.render(), open_stage_control.NAME: open_stage_control.render()}


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(prog="python -m protocol.controllers", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    old = [name for name, data in files().items() if not _holds(folder / name, data)]
    for name in old:
        if check:
            sys.stderr.write(f"{folder / name} is out of date: run python -m protocol.controllers.\n")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files()[name])
    return int(check and bool(old))


def _holds(path: Path, data: bytes) -> bool:
    """Compared unpacked: another zlib packs the same layout into other bytes."""
    unpacked = zlib.decompress if path.suffix == ".tosc" else bytes
    try:
        return unpacked(path.read_bytes()) == unpacked(data)
    except (OSError, zlib.error):
        return False


if __name__ == "__main__":
    sys.exit(main())
