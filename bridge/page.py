"""The page of takes: one HTML file that shows and plays what came back, beside the song it came back to.

Promises: the page asks the network for nothing; it changes no stem; every time axis in a group is the same, so that
takes line up with the original and with the bar lines; previews that let one hear the seams lie in a folder next to it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile
import soxr

from bridge import page_plots as plots
from engine.measures.words import summary
from protocol.errors import SourceUnreadable
from protocol.music import Region, TempoMap
from protocol.vocabulary import Verb

CONTEXT_S = 4.0
"""Seconds of the song shown and played before and after a region."""

_COLUMNS = 1000
_MOST_LABELS = 10


@dataclass(frozen=True)
class Song:
    """The song as float32 ``(channels, frames)`` at `rate` Hz; its first sample lies at `start_s` of project time."""

    audio: plots.Audio
    rate: int
    start_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + int(self.audio.shape[1]) / self.rate

    def window(self, start_s: float, end_s: float, rate: int, channels: int) -> plots.Audio:
        """The song between two project times at another rate and channel count; zeros where there is no song."""
        first, last = (round((time_s - self.start_s) * self.rate) for time_s in (start_s, end_s))
        inside = self.audio[:, max(0, first) : max(0, last)]
        padded = np.pad(inside, ((0, 0), (max(0, -first), 0)))[:, : last - first]
        padded = np.pad(padded, ((0, 0), (0, last - first - padded.shape[1])))
        if padded.shape[0] != channels:
            padded = np.repeat(padded.mean(axis=0, keepdims=True), channels, axis=0)
        if rate != self.rate:
            padded = np.ascontiguousarray(soxr.resample(padded.T, self.rate, rate).T)
        return np.asarray(padded, dtype=np.float32)


@dataclass(frozen=True)
class TakeView:
    """One take of a manifest with its audio."""

    number: int
    file: Path
    region: Region
    score: float
    rank: int
    measures: Mapping[str, Any]
    track: str | None
    audio: plots.Audio
    rate: int


@dataclass(frozen=True)
class JobView:
    """The takes of one manifest that share one region."""

    verb: Verb
    region: Region
    takes: tuple[TakeView, ...]
    axis: Region
    """The span that is shown and played: the region and what there is of the song within `CONTEXT_S` around it."""


@dataclass(frozen=True)
class _Sheet:
    """What every part of one page needs: the song, its bars, the page's own file and the folder of its previews."""

    song: Song
    tempo_map: TempoMap | None
    out: Path
    previews: Path


def write_page(
    manifests: Sequence[Path],
    song: Path,
    out: Path,
    tempo_map: TempoMap | None,
    title: str,
    *,
    song_start_s: float = 0.0,
    key: str | None = None,
) -> Path:
    """Write the page to `out` (its previews to ``<out's name>_files/``) and return `out`.

    Without a `tempo_map` (no DAW has told a tempo) the axes are in seconds and there are no bar lines.

    Raises `SourceUnreadable` if the song, a take or a manifest cannot be read.
    """
    audio, rate = _read(song)
    whole = Song(audio, rate, song_start_s)
    jobs = [job for manifest in manifests for job in read_manifest(manifest, whole)]
    previews = out.with_name(f"{out.stem}_files")
    previews.mkdir(parents=True, exist_ok=True)
    sheet = _Sheet(whole, tempo_map, out, previews)
    sections = [_overview(sheet, song, jobs)]
    sections += [_job_section(sheet, job, f"job{index}") for index, job in enumerate(jobs, 1)]
    part = out.with_name(out.name + ".part")
    part.write_text(_document(title, _facts(whole, tempo_map, key), sections), encoding="utf-8")
    part.replace(out)
    return out


def read_manifest(manifest: Path, song: Song) -> list[JobView]:
    """The takes of a ``manifest.json``, grouped by region, the best take of each first."""
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["takes"]
        verb = Verb(entries[0]["recipe"]["request"]["verb"] if entries else Verb.REPAINT)
        takes = [_read_take(entry, number, manifest.parent) for number, entry in enumerate(entries, 1)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceUnreadable(f"{manifest} is not a manifest of takes that can be read: {error!r}.") from error
    groups: dict[Region, list[TakeView]] = {}
    for take in takes:
        groups.setdefault(take.region, []).append(take)
    return [
        JobView(
            verb,
            region,
            tuple(sorted(group, key=lambda take: (take.rank, take.number))),
            _around(region, song),
        )
        for region, group in groups.items()
    ]


def _around(region: Region, song: Song) -> Region:
    start_s = max(region.start_s - CONTEXT_S, min(song.start_s, region.start_s))
    return Region(start_s, min(region.end_s + CONTEXT_S, max(song.end_s, region.end_s)))


def _read_take(entry: Mapping[str, Any], number: int, folder: Path) -> TakeView:
    file = folder / entry["file"]
    audio, rate = _read(file)
    first = int(entry["start_frame"])
    return TakeView(
        number=int(entry.get("number", number)),
        file=file,
        region=Region.from_frames(first, first + audio.shape[1], rate),
        score=float(entry.get("score", 0.0)),
        rank=int(entry.get("rank", number)),
        measures=entry.get("measures", {}),
        track=entry.get("track"),
        audio=audio,
        rate=rate,
    )


def _read(file: Path) -> tuple[plots.Audio, int]:
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise SourceUnreadable(f"{file} cannot be read as audio: {error}") from error
    return np.ascontiguousarray(samples.T), int(rate)


# --- what one can hear ------------------------------------------------------------------------------------------------
def in_song(song: Song, take: TakeView, job: JobView) -> plots.Audio:
    """The take where it belongs, over the job's axis: in place of the region, or added to it where the verb adds."""
    window = song.window(job.axis.start_s, job.axis.end_s, take.rate, take.audio.shape[0]).copy()
    first = round((take.region.start_s - job.axis.start_s) * take.rate)
    part = window[:, first : first + take.audio.shape[1]]
    sound = take.audio[:, : part.shape[1]]
    part[:] = sound if job.verb.joins_source else part + sound
    return window


def _player(group: str, label: str, spoken: str, file: Path, start_s: float, out: Path) -> str:
    return (
        f'<span class="player" data-group="{group}" data-start="{start_s:.6f}">'
        f'<audio preload="none" src="{_address(file, out)}"></audio>'
        f'<button type="button" aria-pressed="false" aria-label="{escape(spoken)}">{escape(label)}</button></span>'
    )


def _preview(audio: plots.Audio, rate: int, file: Path) -> Path:
    soundfile.write(file, np.clip(audio, -1.0, 1.0).T, rate, format="FLAC", subtype="PCM_24")
    return file


def _address(file: Path, out: Path) -> str:
    """A relative address that a browser resolves from the page; an absolute one across drives."""
    try:
        relative = os.path.relpath(file.resolve(), out.resolve().parent)
    except ValueError:  # another drive on Windows
        return escape(file.resolve().as_uri())
    return escape(quote(Path(relative).as_posix()))


# --- what one can see -------------------------------------------------------------------------------------------------
def _overview(sheet: _Sheet, file: Path, jobs: Sequence[JobView]) -> str:
    song, tempo_map = sheet.song, sheet.tempo_map
    end_s = max([song.end_s, *(job.region.end_s for job in jobs)])
    start_s = min([song.start_s, *(job.region.start_s for job in jobs)])
    axis = Region(start_s, end_s)
    low, high = plots.envelope(song.window(axis.start_s, axis.end_s, song.rate, song.audio.shape[0]), _COLUMNS)
    shades = "".join(_shade(job.region, axis) for job in jobs)
    seams = "".join(_seam(time_s, axis) for job in jobs for time_s in (job.region.start_s, job.region.end_s))
    wave = f'<path class="w-original" d="{plots.wave_path(low, high)}"/>'
    picture = _svg(shades + _bar_lines(axis, tempo_map) + wave + seams, "Waveform of the whole song")
    player = _player("song", "Song", "Play the whole song", file, song.start_s, sheet.out)
    label = f'<h3>{escape(file.stem)}</h3><div class="players">{player}</div>'
    regions = ", ".join(_place(job, tempo_map) for job in jobs)
    plot = f'<div class="plot song">{picture}</div>'
    return (
        f'<section><div class="head"><h2>The song</h2><p class="hint">Shaded: {escape(regions)}.</p></div>'
        f'<div class="card">{_axis_row(axis, tempo_map)}'
        f"{_row(label, axis, plot)}</div></section>"
    )


def _job_section(sheet: _Sheet, job: JobView, group: str) -> str:
    rows = [_axis_row(job.axis, sheet.tempo_map)]
    if job.region.start_s < sheet.song.end_s and job.region.end_s > sheet.song.start_s:
        rows.append(_original_row(sheet, job, group))
    for place, take in enumerate(job.takes):
        rows.append(_take_row(sheet, job, group, take, best=place == 0 and len(job.takes) > 1))
    return (
        f'<section><div class="head"><h2>{escape(_place(job, sheet.tempo_map).capitalize())}</h2>'
        f'<p class="hint">{job.region.duration_s:.3f} s, with the song around it. '
        f"Dashed: the seams.</p></div>"
        f'<div class="card">{"".join(rows)}</div></section>'
    )


def _original_row(sheet: _Sheet, job: JobView, group: str) -> str:
    rate = job.takes[0].rate
    audio = sheet.song.window(job.axis.start_s, job.axis.end_s, rate, job.takes[0].audio.shape[0])
    file = _preview(audio, rate, sheet.previews / f"{group}_original.flac")
    player = _player(group, "In the song", "Play the original", file, job.axis.start_s, sheet.out)
    label = f'<h3>Original</h3><div class="players">{player}</div>'
    return _row(label, job.axis, _wave_plot(audio, job, sheet.tempo_map, "w-original", "Waveform of the original"))


def _take_row(sheet: _Sheet, job: JobView, group: str, take: TakeView, *, best: bool) -> str:
    audio = in_song(sheet.song, take, job)
    name = f"Take {take.number}" + (f", {take.track}" if take.track else "")
    file = _preview(audio, take.rate, sheet.previews / f"{group}_take-{take.number}_in-the-song.flac")
    players = _player(group, "In the song", f"Play {name} in the song", file, job.axis.start_s, sheet.out)
    players += _player(group, "Alone", f"Play {name} alone", take.file, take.region.start_s, sheet.out)
    chip = f'<span class="chip{" best" if best else ""}">score {take.score:.0f}{", best" if best else ""}</span>'
    label = (
        f'<h3>{escape(name)} {chip}</h3><div class="players">{players}</div>'
        f'<p class="file"><a href="{_address(take.file, sheet.out)}">{escape(take.file.name)}</a></p>'
    )
    wave = _wave_plot(audio, job, sheet.tempo_map, "w-take", f"Waveform of {name} in the song")
    image = plots.png_data_uri(plots.spectrogram(audio, take.rate))
    spectrum = (
        f'<div class="plot spectrum"><img alt="Spectrogram of {escape(name)} in the song" src="{image}">'
        f"{_svg(_bar_lines(job.axis, sheet.tempo_map) + _seams(job))}</div>"
    )
    return _row(label, job.axis, wave + spectrum, _measures(take))


def _wave_plot(audio: plots.Audio, job: JobView, tempo_map: TempoMap | None, kind: str, spoken: str) -> str:
    low, high = plots.envelope(audio, _COLUMNS)
    first, last = (round(_x(time_s, job.axis)) for time_s in (job.region.start_s, job.region.end_s))
    parts = ((0, first, "w-context"), (first, last, kind), (last, _COLUMNS, "w-context"))
    waves = "".join(f'<path class="{css}" d="{plots.wave_path(low[a:b], high[a:b], a)}"/>' for a, b, css in parts)
    inner = _shade(job.region, job.axis) + _bar_lines(job.axis, tempo_map) + waves + _seams(job)
    return f'<div class="plot wave">{_svg(inner, spoken)}</div>'


def _row(label: str, axis: Region, pictures: str, below: str = "") -> str:
    return (
        f'<div class="row"><div class="label">{label}</div><div><div class="plots" data-from="{axis.start_s:.6f}" '
        f'data-to="{axis.end_s:.6f}">{pictures}<div class="playhead"></div></div>{below}</div></div>'
    )


def _measures(take: TakeView) -> str:
    lines = measure_lines(take.measures) or [("length", f"{take.audio.shape[1]} samples")]
    items = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(words)}</dd></div>" for what, words in lines)
    return f'<dl class="measures">{items}</dl>'


def _axis_row(axis: Region, tempo_map: TempoMap | None) -> str:
    marks = _second_marks(axis) if tempo_map is None else _bar_marks(axis, tempo_map)
    labels = []
    for number, (time_s, text) in enumerate(marks):
        percent = _x(time_s, axis) / _COLUMNS * 100
        css = " ".join(name for name, on in (("odd", number % 2), ("first", percent < 1)) if on)
        labels.append(f'<span class="{css}" style="left:{percent:.2f}%">{text}</span>')
    unit = "Seconds" if tempo_map is None else "Bar"
    return (
        f'<div class="row axisrow" aria-hidden="true"><div class="label">{unit}</div>'
        f'<div class="plots"><div class="axis">{"".join(labels)}</div></div></div>'
    )


def _bar_marks(axis: Region, tempo_map: TempoMap) -> list[tuple[float, str]]:
    bars = [line for line in tempo_map.grid(axis.start_s, axis.end_s) if line.is_bar_line]
    step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 10**9) if len(bars) / step <= _MOST_LABELS)
    return [(line.time_s, str(line.bar)) for line in bars if (line.bar - 1) % step == 0]


def _second_marks(axis: Region) -> list[tuple[float, str]]:
    step = next(step for step in (1, 2, 5, 10, 30, 60, 300, 10**9) if axis.duration_s / step <= _MOST_LABELS)
    first, last = math.ceil(axis.start_s / step), math.floor(axis.end_s / step)
    return [(float(number * step), str(number * step)) for number in range(first, last + 1)]


def _svg(inner: str, spoken: str | None = None) -> str:
    role = f'role="img" aria-label="{escape(spoken)}"' if spoken else 'aria-hidden="true"'
    return f'<svg viewBox="0 0 {_COLUMNS} {plots.VIEW_HEIGHT}" preserveAspectRatio="none" {role}>{inner}</svg>'


def _x(time_s: float, axis: Region) -> float:
    return (time_s - axis.start_s) / axis.duration_s * _COLUMNS


def _shade(region: Region, axis: Region) -> str:
    left, right = _x(region.start_s, axis), _x(region.end_s, axis)
    return f'<rect class="shade" x="{left:.2f}" y="0" width="{right - left:.2f}" height="{plots.VIEW_HEIGHT}"/>'


def _bar_lines(axis: Region, tempo_map: TempoMap | None) -> str:
    if tempo_map is None:
        return ""
    bars = (line.time_s for line in tempo_map.grid(axis.start_s, axis.end_s) if line.is_bar_line)
    return "".join(_line("bar", _x(time_s, axis)) for time_s in bars)


def _seam(time_s: float, axis: Region) -> str:
    return _line("seam", _x(time_s, axis))


def _seams(job: JobView) -> str:
    return _seam(job.region.start_s, job.axis) + _seam(job.region.end_s, job.axis)


def _line(css: str, x: float) -> str:
    return (
        f'<line class="{css}" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{plots.VIEW_HEIGHT}" '
        'vector-effect="non-scaling-stroke"/>'
    )


# --- words ------------------------------------------------------------------------------------------------------------
def measure_lines(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A take's measures in words, as `engine.report.summary` puts them; empty for an engine that measures otherwise."""
    try:
        return summary(measures)
    except (KeyError, TypeError):
        return []


def _place(job: JobView, tempo_map: TempoMap | None) -> str:
    if tempo_map is None:
        return f"{job.verb.value} {job.region.start_s:.2f}\u2013{job.region.end_s:.2f} s"
    # A take starts on a whole frame, which can lie just before the bar line it means: half a frame brings it inside.
    nudge_s = 0.5 / job.takes[0].rate
    region = Region(job.region.start_s + nudge_s, job.region.end_s + nudge_s)
    label = region.label(tempo_map).replace("bars-", "bars ").replace("bar-", "bar ").replace("-", "\u2013")
    return f"{job.verb.value} {label}"


def _facts(song: Song, tempo_map: TempoMap | None, key: str | None) -> str:
    tempo, signature = "tempo not told", ""
    if tempo_map is not None:
        points = tempo_map.points
        tempo = f"{points[0].bpm:g} BPM" if len(points) == 1 else f"{len(points)} tempo points"
        signature = str(points[0].signature)
    channels = {1: "mono", 2: "stereo"}.get(song.audio.shape[0], f"{song.audio.shape[0]} channels")
    length = f"{song.end_s - song.start_s:.2f} s"
    rate = f"{song.rate / 1000:g} kHz"
    return ", ".join(part for part in (tempo, signature, key, length, rate, channels) if part)


def _document(title: str, facts: str, sections: Sequence[str]) -> str:
    assets = resources.files("bridge") / "page_assets"
    css, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style></head>\n<body><main>"
        f'<header><h1>{escape(title)}</h1><p class="facts">{escape(facts)}</p></header>\n'
        + "\n".join(sections)
        + "<footer>Click a picture to play from there; space plays and pauses the button in focus. "
        "Switching between players of one region goes on at the same place.</footer>"
        f"</main>\n<script>\n{script}</script></body></html>\n"
    )
