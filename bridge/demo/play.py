"""The demo: a real daemon, a DAW played by this script over real OSC/UDP, and a page to look at and listen to.

Promises: everything it writes lies in a new folder below `--out`; exit code 0 means that every take came back with
exactly the samples that were asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bridge.demo.daw import Daw, Outcome
from bridge.demo.process import running_daemon
from bridge.demo.song import render_demo_song
from bridge.discovery import DiscoveryUnavailable, Found, discover
from bridge.page import measure_lines, write_page
from protocol.errors import BadArgument, SourceMissing, SourceUnreadable, StembridgeError
from protocol.job import JobRequest
from protocol.music import Region, TempoMap, TimeSignature
from protocol.vocabulary import Verb

PROMPT = "warm electric piano, laid-back drums"
ADDED_TRACKS, ADDED_PROMPT = "guitar,strings,percussion", "fingerpicked acoustic guitar, soft strings, shaker"
EXTEND_BARS = 4
VARIATIONS = 2
_DISCOVER_S = 6.0
_UNTOLD_REGION_S = 8.0
"""Length of the region, in the middle of the song, where neither a region nor a tempo was given."""


@dataclass(frozen=True)
class Plan:
    """What the DAW will say: a project folder with a song, and what is known about it (None: not told)."""

    folder: Path
    song: Path
    rate: int
    frames: int
    bpm: float | None
    key: str | None
    region: Region

    @property
    def tempo_map(self) -> TempoMap | None:
        return TempoMap.constant(self.bpm, TimeSignature()) if self.bpm else None

    @property
    def end_s(self) -> float:
        return self.frames / self.rate


def main(args: argparse.Namespace) -> int:
    """Run the demo with the options of `bridge.demo.arguments`; 0 if everything was exact, else 1."""
    console = Console(highlight=False)
    try:
        return run_demo(args, console)
    except StembridgeError as error:
        console.print(f"[bold red]Stopped:[/] {_plain(error.sentence)}", soft_wrap=True)
        return 1


def run_demo(args: argparse.Namespace, console: Console) -> int:
    """The demo's steps in order."""
    plan = make_project(args)
    console.print(
        f"Project   {_plain(plan.folder)}\nSong      {_plain(plan.song.name)}, {_song_words(plan)}", soft_wrap=True
    )
    with running_daemon(plan.folder / "daemon-data", args.engine) as ready:
        console.print(f"Daemon    process {ready['pid']}, engine {ready['engine']}, version {ready['version']}")
        host, port = _find(int(ready["osc_port"]), console)
        with Daw(host, port) as daw, _bars(console) as bars:
            outcome = _play(daw, plan, bars)
    exact = _report(outcome, plan, console)
    if outcome.manifests:
        page = _page(outcome, plan)
        console.print(f"\nLook and listen: [bold]{_plain(page)}[/]", soft_wrap=True)
        if console.is_terminal and not args.no_open:
            webbrowser.open(page.as_uri())
    return 0 if exact and not outcome.failures else 1


# --- the project ------------------------------------------------------------------------------------------------------
def make_project(args: argparse.Namespace) -> Plan:
    """A new project folder with the demo song in it, or a copy of the user's file."""
    if args.audio is None:
        return _own_song(args)
    if not args.audio.is_file():
        raise SourceMissing(f"There is no file {args.audio}. Give the path of a song with --audio.")
    try:
        info = soundfile.info(args.audio)
    except (OSError, soundfile.LibsndfileError) as error:
        raise SourceUnreadable(
            f"{args.audio} is not audio that can be read (WAV, FLAC, OGG, MP3, AIFF): {error}"
        ) from error
    region = _region(args, info.frames / info.samplerate, args.bpm)
    folder = free_folder(args.out, args.audio.stem)
    song = Path(shutil.copy2(args.audio, folder / args.audio.name))
    return Plan(folder.resolve(), song.resolve(), info.samplerate, info.frames, args.bpm, args.key, region)


def _own_song(args: argparse.Namespace) -> Plan:
    song = render_demo_song()
    suggested = song.suggested_region
    region = Region(
        suggested.start_s if args.start is None else args.start, suggested.end_s if args.end is None else args.end
    )
    folder = free_folder(args.out, "demo-song")
    file = folder / "demo-song.wav"
    soundfile.write(file, song.audio.T, song.rate, subtype="PCM_24")
    return Plan(folder.resolve(), file.resolve(), song.rate, song.frames, song.bpm, song.key, region)


def _region(args: argparse.Namespace, duration_s: float, bpm: float | None) -> Region:
    """The region told, else four bars from the bar line before the middle, else eight seconds from the middle."""
    if (args.start is None) != (args.end is None):
        raise BadArgument("Give both --start and --end, or neither.")
    if args.start is not None:
        return Region(args.start, args.end)
    if bpm is None:
        return Region(duration_s / 2, min(duration_s, duration_s / 2 + _UNTOLD_REGION_S))
    tempo_map = TempoMap.constant(bpm)
    return Region.from_bars(tempo_map, tempo_map.bar_at(duration_s / 2)[0], 4)


def free_folder(parent: Path, name: str) -> Path:
    """Make and return ``parent/name``, or ``name-2``, ``name-3``, ... if that exists: no earlier run is touched."""
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


# --- the conversation -------------------------------------------------------------------------------------------------
def _find(port: int, console: Console) -> tuple[str, int]:
    """Where the daemon is, by zeroconf; by its ready line if the network does not show it."""

    def ours(found: Found) -> bool:
        return found.is_stembridge and found.port == port

    try:
        found = next(filter(ours, asyncio.run(discover(_DISCOVER_S, "lo", until=ours))), None)
        problem = f"not seen within {_DISCOVER_S:g} s"
    except DiscoveryUnavailable as error:
        found, problem = None, error.sentence
    if found is None:
        console.print(f"Zeroconf  {_plain(problem)}; using the port of its ready line, {port}", soft_wrap=True)
        return "127.0.0.1", port
    console.print(f'Zeroconf  "{_plain(found.name)}" at {found.host}:{found.port}', soft_wrap=True)
    return found.host, found.port


def _play(daw: Daw, plan: Plan, bars: Callable[[str, float], None]) -> Outcome:
    """Say what a DAW would say, request the jobs and hear them to their ends."""
    daw.tell("/subscribe", "ttl", 600)
    daw.tell("/project", str(plan.folder), plan.rate)
    daw.tell("/source", str(plan.song), 0.0)
    if plan.bpm is not None:
        daw.tell("/tempo", plan.bpm)
        daw.tell("/timesig", 4, 4)
    if plan.key:
        daw.tell("/key", plan.key)
    daw.tell("/region", plan.region.start_s, plan.region.end_s)
    repaint = daw.ask("repaint", variations=VARIATIONS, prompt=PROMPT)
    length: dict[str, int | float] = {"bars": EXTEND_BARS} if plan.bpm else {"seconds": _UNTOLD_REGION_S}
    extend = daw.ask("extend", at=plan.end_s, **length)
    complete = daw.ask("complete", tracks=ADDED_TRACKS, prompt=ADDED_PROMPT)
    names = {repaint: "repaint", extend: "extend", complete: "complete"}
    for name in names.values():
        bars(name, 0.0)
    outcome = daw.follow(names, lambda job, fraction: bars(names[job], fraction))
    return Outcome(outcome.manifests, {names.get(job, job): reason for job, reason in outcome.failures.items()})


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A function that shows how far a job is: as a bar in a terminal, else as a line at every quarter."""
    if console.is_terminal:
        columns = (TextColumn("{task.description:<9}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            tasks: dict[str, Any] = {}

            def draw(name: str, fraction: float) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=1.0)
                progress.update(tasks[name], completed=fraction)

            yield draw
        return
    quarters: dict[str, int] = {}

    def say(name: str, fraction: float) -> None:
        quarter = int(fraction * 4 + 1e-6)
        if quarter > quarters.get(name, -1):
            quarters[name] = quarter
            console.print(f"{name:<9} {25 * quarter:3d} %")

    yield say


# --- the result -------------------------------------------------------------------------------------------------------
def _report(outcome: Outcome, plan: Plan, console: Console) -> bool:
    """Print what came back; True if every take has exactly the samples that were asked for."""
    exact = True
    for manifest in outcome.manifests.values():
        content = json.loads(manifest.read_text(encoding="utf-8"))
        for take in content["takes"]:
            request = JobRequest.model_validate(take["recipe"]["request"])
            region = request.regions[take["region"]] if request.verb is Verb.EXTEND else plan.region
            expected = _frames(region, plan.rate)
            got = soundfile.info(manifest.parent / take["file"])
            is_exact = got.frames == take["frames"] == expected and got.samplerate == plan.rate
            exact = exact and is_exact
            _print_take(manifest.parent / take["file"], take, got.frames, expected, is_exact, console)
    for name, sentence in outcome.failures.items():
        console.print(f"\n[bold red]{_plain(name)} failed:[/] {_plain(sentence)}", soft_wrap=True)
    return exact


def _print_take(file: Path, take: Mapping[str, Any], got: int, expected: int, is_exact: bool, console: Console) -> None:
    verdict = f"expected {expected}, got {got}"
    rows: Sequence[tuple[str, str]] = [
        ("samples", f"{verdict}: exact" if is_exact else f"[bold red]{verdict}: NOT EXACT[/]"),
        *((what, _plain(words)) for what, words in measure_lines(take["measures"]) if what != "length"),
    ]
    table = Table.grid(padding=(0, 2))
    for what, words in rows:
        table.add_row(f"  {what}", words)
    console.print(f"\n[bold]{_plain(file)}[/]  score {take['score']:.0f}", soft_wrap=True)
    console.print(table)


def _page(outcome: Outcome, plan: Plan) -> Path:
    return write_page(
        list(outcome.manifests.values()),
        plan.song,
        plan.folder / "takes.html",
        plan.tempo_map,
        f"Stembridge: {plan.song.stem}",
        key=plan.key,
    )


def _frames(region: Region, rate: int) -> int:
    start, end = region.frames(rate)
    return end - start


def _song_words(plan: Plan) -> str:
    told = [f"{plan.bpm:g} BPM" if plan.bpm else "tempo not told", plan.key or "key not told"]
    return f"{plan.end_s:.1f} s, {', '.join(told)}, region {plan.region.start_s:.3f} s to {plan.region.end_s:.3f} s"


def _plain(text: object) -> str:
    """`text` with nothing in it that rich takes for markup."""
    return str(text).replace("[", r"\[")
