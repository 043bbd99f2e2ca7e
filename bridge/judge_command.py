"""`stembridge judge`: how good a take is, beside what the song does itself; and the page of a job that was made.

With `--against SONG` any audio files are measured as takes of that song and ranked. Without it, a job that was made is
looked at: its ranking as it was measured then, and an HTML page beside its manifest. It needs no daemon and changes no
audio.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.config import Config
from bridge.job_report import find_manifest, ranked_takes, write_report
from bridge.judge_place import Placed, Told, place_of
from bridge.measure_rows import measure_rows
from engine.judge import Judgement, judge
from engine.measures.scoring import WEIGHTS
from protocol.errors import BadArgument, SourceMissing, StembridgeError
from protocol.key import Key
from protocol.music import Region, TempoMap, TimeSignature
from protocol.vocabulary import TrackClass, Verb

GOOD, TOO_LOW, CANNOT = 0, 1, 2

_ONLY_FOR_FILES = ("at", "song_at", "bpm", "signature", "key", "track", "verb")
_WIDTH = 110


def main(arguments: argparse.Namespace, config: Config) -> int:
    """Judge; 0, or 1 if a threshold was given and nothing reaches it, or 2 if something cannot be judged."""
    try:
        if arguments.threshold is not None and not 0 <= arguments.threshold <= 100:
            raise BadArgument(f"The threshold is {arguments.threshold:g}; a score is a number from 0 to 100.")
        if arguments.against is None:
            return _job(arguments, config)
        return _files(arguments, config)
    except StembridgeError as error:
        Console(stderr=True, soft_wrap=True).print(Text(f"stembridge: {error.sentence}"))
        return CANNOT


# --- files ------------------------------------------------------------------------------------------------------------
def _files(arguments: argparse.Namespace, config: Config) -> int:
    if arguments.out is not None:
        raise BadArgument("--out says where the page of a job goes; files that are judged get no page.")
    song, cache_dir = arguments.against.expanduser().absolute(), config.data_dir / "cache"
    if not song.exists():
        raise SourceMissing(f"There is no file {song}: say with --against where the song lies.")
    told = _told(arguments)
    judged = []
    for name in arguments.what:
        file = Path(name).expanduser().absolute()
        placed = place_of(file, song, told, cache_dir)
        judged.append((placed, judge(file, song, placed.place, cache_dir)))
    judged.sort(key=lambda pair: -pair[1].score)
    if arguments.json:
        _print_json({"song": str(song), "weights": dict(WEIGHTS), "files": [_as_json(*pair) for pair in judged]})
    else:
        _print_files(judged, song)
    return _verdict(arguments.threshold, judged[0][1].score)


def _told(arguments: argparse.Namespace) -> Told:
    for option, time_s in (("--at", arguments.at), ("--song-at", arguments.song_at)):
        if time_s is not None and not math.isfinite(time_s):
            raise BadArgument(f"{option} is {time_s:g}; it must be a number of seconds.")
    if arguments.signature is not None and arguments.bpm is None:
        raise BadArgument("A signature alone makes no grid: say the tempo too, with --bpm.")
    return Told(
        at_s=arguments.at,
        song_at_s=arguments.song_at,
        bpm=arguments.bpm,
        signature=_signature(arguments.signature) if arguments.signature else None,
        key=str(Key.parse(arguments.key)) if arguments.key else None,
        track=TrackClass(arguments.track) if arguments.track else None,
        verb=Verb(arguments.verb) if arguments.verb else None,
    )


def _signature(text: str) -> TimeSignature:
    numerator, _, denominator = text.partition("/")
    if not (numerator.isdecimal() and denominator.isdecimal()):
        raise BadArgument(f"The time signature is {text[:20]!r}; it must look like 4/4 or 6/8.")
    return TimeSignature(int(numerator), int(denominator))


def _verdict(threshold: float | None, best: float) -> int:
    return TOO_LOW if threshold is not None and best < threshold else GOOD


def _as_json(placed: Placed, found: Judgement) -> dict[str, Any]:
    place = placed.place
    return {
        "file": str(found.file),
        "score": found.score,
        "subscores": dict(found.subscores),
        "verb": place.verb,
        "track": place.track,
        "start_s": found.region.start_s,
        "end_s": found.region.end_s,
        "song_start_s": place.song_start_s,
        "placed": placed.known_from,
        "tempo_known": place.tempo_map is not None,
        "remarks": [*placed.remarks, *found.remarks],
        "measures": dict(found.measures),
    }


def _print_files(judged: Sequence[tuple[Placed, Judgement]], song: Path) -> None:
    console = _console()
    if len(judged) > 1:
        ranking = Table("rank", "score", "file", box=None, pad_edge=False)
        for rank, (_, found) in enumerate(judged, 1):
            ranking.add_row(str(rank), f"{found.score:.1f}", Text(found.file.name))
        console.print(ranking)
    for placed, found in judged:
        place, region = placed.place, found.region
        what = f"{place.verb} {place.track}" if place.track else str(place.verb)
        bars = f", {label}" if (label := _bars(region, place.tempo_map)) else ""
        console.print(Text.assemble("\n", (found.file.name, "bold"), f"  score {found.score:.1f}"))
        console.print(
            Text(f"{what} of {song.name}, {region.start_s:.3f} to {region.end_s:.3f} s{bars} ({placed.known_from})")
        )
        for remark in (*placed.remarks, *found.remarks):
            console.print(Text(remark, style="yellow"))
        console.print(_measures_table(found.measures))


def _bars(region: Region, tempo_map: TempoMap | None) -> str:
    """``bars-5-6``; nothing where no bars are known, or the region begins or ends between two."""
    label = region.label(tempo_map) if tempo_map is not None else ""
    return label if label.startswith("bar") else ""


def _measures_table(measures: Any) -> Table:
    table = Table("measure", "take", "song", box=None, pad_edge=False)
    table.add_column("of 1", justify="right", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    for row in measure_rows(measures):
        value = "" if row.subscore is None else f"{row.subscore:.2f}"
        weight = "" if row.weight is None else f"{row.weight:.0f} %"
        table.add_row(row.name, Text(row.words), Text(row.song), value, weight)
    return table


# --- a job ------------------------------------------------------------------------------------------------------------
def _job(arguments: argparse.Namespace, config: Config) -> int:
    told = [f"--{name.replace('_', '-')}" for name in _ONLY_FOR_FILES if getattr(arguments, name) is not None]
    if told:
        raise BadArgument(f"{told[0]} says something about a file: say which song it belongs to with --against SONG.")
    if len(arguments.what) != 1:
        raise BadArgument("Name one job, or say with --against SONG which song the files are takes of.")
    manifest = find_manifest(arguments.what[0], config.data_dir / "journal.sqlite3")
    takes = ranked_takes(manifest)
    page = write_report(manifest, config.data_dir / "cache", arguments.out)
    if arguments.json:
        _print_json({"manifest": str(manifest), "page": str(page.path), "remarks": list(page.remarks), "takes": takes})
    else:
        _print_job(takes, page.path, page.remarks)
    return _verdict(arguments.threshold, max(float(take["score"]) for take in takes))


def _print_job(takes: Sequence[dict[str, Any]], page: Path, remarks: Sequence[str]) -> None:
    console = _console()
    several = len({(take.get("region"), take.get("track")) for take in takes}) > 1
    parts = [name for name in WEIGHTS if any(take["subscores"].get(name) is not None for take in takes)]
    table = Table("rank", "score", *(["of"] if several else []), *parts, "file", box=None, pad_edge=False)
    for take in takes:
        of = [str(take.get("track") or f"region {take.get('region', 0) + 1}")] if several else []
        values = [take["subscores"].get(name) for name in parts]
        table.add_row(
            str(take.get("rank", 1)),
            f"{take['score']:.1f}",
            *of,
            *("" if value is None else f"{value:.2f}" for value in values),
            Text(str(take["file"])),
        )
    console.print(table)
    for remark in remarks:
        console.print(Text(remark, style="yellow"))
    console.print(Text(str(page)), soft_wrap=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def _print_json(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
