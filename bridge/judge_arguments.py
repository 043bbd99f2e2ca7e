"""What `stembridge judge` can be told; apart from what it does, so that `--help` imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from protocol.vocabulary import TrackClass, Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `bridge.judge_command.main` reads."""
    parser.add_argument("what", nargs="+", metavar="FILE|JOB", help="audio files; or a job: its folder, manifest or id")
    parser.add_argument("--against", type=Path, metavar="SONG", help="the song that the files are takes of")
    parser.add_argument("--at", type=float, metavar="SECONDS", help="project time at which the files begin")
    parser.add_argument("--song-at", type=float, metavar="SECONDS", help="project time of the song's first sample")
    parser.add_argument("--bpm", type=float, metavar="N", help="tempo; without one the grid is not measured")
    parser.add_argument("--signature", metavar="N/D", help="time signature (default 4/4)")
    parser.add_argument("--key", metavar="KEY", help='the song\'s key, such as "A minor" (default: heard)')
    tracks, verbs = [str(track) for track in TrackClass], [str(verb) for verb in Verb if verb.needs_source]
    parser.add_argument("--track", choices=tracks, metavar="CLASS", help="the files are stems of that class, added")
    parser.add_argument("--verb", choices=verbs, metavar="VERB", help=f"{', '.join(verbs)} (default repaint: replaces)")
    parser.add_argument("--threshold", type=float, metavar="N", help="exit with 1 if even the best scores less")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    parser.add_argument("--out", type=Path, metavar="FILE", help="for a job: where its page goes")
