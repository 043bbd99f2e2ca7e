"""The command line of `stembridge demo`, apart from the demo itself so that `--help` starts at once."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to `parser`."""
    parser.add_argument("--audio", type=Path, metavar="FILE", help="use this song (WAV, FLAC, OGG, MP3, AIFF)")
    parser.add_argument("--bpm", type=float, metavar="N", help="its tempo; without it the engine estimates the beats")
    parser.add_argument("--key", metavar="KEY", help='its key, such as "A minor" or F#m')
    parser.add_argument("--start", type=float, metavar="S", help="where the region to repaint starts, in seconds")
    parser.add_argument("--end", type=float, metavar="S", help="where it ends, in seconds")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="folder for the demo's projects"
    )
    parser.add_argument("--engine", default="auto", metavar="NAME", help="engine to ask (default: auto)")
    parser.add_argument("--no-open", action="store_true", help="do not open the page in the browser at the end")
