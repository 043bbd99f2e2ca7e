"""The page of takes: one HTML file that shows and plays what came back, beside the song it came back to.

Promises: the page asks the network for nothing; it changes no stem; every time axis in a group is the same, so that
takes line up with the original and with the bar lines; previews that let one hear the seams, or all the stems of a take
together in the song, lie in a folder next to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from bridge import atomic
from bridge import page_drawing as drawing
from bridge import page_words as words
from bridge.measure_rows import measure_lines
from bridge.page_model import CONTEXT_S, JobView, Song, TakeView, in_song, read_audio, read_manifest
from bridge.page_plots import Audio
from protocol.music import Region, TempoMap

__all__ = ["CONTEXT_S", "MARK", "measure_lines", "write_page"]

MARK = '<meta name="generator" content="Stembridge">'
"""What tells a page of ours from any other file."""


@dataclass(frozen=True)
class _Sheet:
    """What every part of one page needs: the song, its bars, the page's own file and the folder of its previews."""

    song: Song
    tempo_map: TempoMap | None
    out: Path
    previews: Path


def write_page(
    manifests: Sequence[Path],
    song: Path | None,
    out: Path,
    tempo_map: TempoMap | None,
    title: str,
    *,
    song_start_s: float = 0.0,
    key: str | None = None,
    remarks: Sequence[str] = (),
) -> Path:
    """Write the page to `out` (its previews to ``<out's name>_files/``) and return `out`.

    Without a `tempo_map` (no DAW has told a tempo) the axes are in seconds and there are no bar lines; without a `song`
    the takes stand alone. `remarks` are sentences that the page begins with.

    Raises `SourceUnreadable` if the song, a take or a manifest cannot be read.
    """
    whole = Song.none() if song is None else Song(*read_audio(song), song_start_s)
    jobs = [job for manifest in manifests for job in read_manifest(manifest, whole)]
    previews = previews_of(out)
    previews.mkdir(parents=True, exist_ok=True)
    sheet = _Sheet(whole, tempo_map, out, previews)
    sections = [_overview(sheet, song, jobs)] if song is not None else []
    sections += [_job_section(sheet, job, f"job{index}") for index, job in enumerate(jobs, 1)]
    with atomic.temporary_file(out.parent) as part:
        part.write_text(_document(title, words.facts(whole, tempo_map, key), remarks, sections), encoding="utf-8")
        part.replace(out)
    return out


def previews_of(out: Path) -> Path:
    """The folder of a page's previews."""
    return out.with_name(f"{out.stem}_files")


# --- players ----------------------------------------------------------------------------------------------------------
def _player(group: str, label: str, spoken: str, file: Path, start_s: float, out: Path) -> str:
    return (
        f'<span class="player" data-group="{group}" data-start="{start_s:.6f}">'
        f'<audio preload="none" src="{_address(file, out)}"></audio>'
        f'<button type="button" aria-pressed="false" aria-label="{escape(spoken)}">{escape(label)}</button></span>'
    )


def _preview(audio: Audio, rate: int, file: Path) -> Path:
    soundfile.write(file, np.clip(audio, -1.0, 1.0).T, rate, format="FLAC", subtype="PCM_24")
    return file


def _address(file: Path, out: Path) -> str:
    """A relative address that a browser resolves from the page; an absolute one across drives."""
    try:
        relative = os.path.relpath(file.resolve(), out.resolve().parent)
    except ValueError:  # another drive on Windows
        return escape(file.resolve().as_uri())
    return escape(quote(Path(relative).as_posix()))


# --- sections ---------------------------------------------------------------------------------------------------------
def _overview(sheet: _Sheet, file: Path, jobs: Sequence[JobView]) -> str:
    song, tempo_map = sheet.song, sheet.tempo_map
    axis = Region(
        min([song.start_s, *(job.region.start_s for job in jobs)]),
        max([song.end_s, *(job.region.end_s for job in jobs)]),
    )
    player = _player("song", "Song", "Play the whole song", file, song.start_s, sheet.out)
    label = f'<h3>{escape(file.stem)}</h3><div class="players">{player}</div>'
    regions = ", ".join(words.place(job, tempo_map) for job in jobs)
    return (
        f'<section><div class="head"><h2>The song</h2><p class="hint">Shaded: {escape(regions)}.</p></div>'
        f'<div class="card">{drawing.axis_row(axis, tempo_map)}'
        f"{_row(label, axis, drawing.song_plot(song, axis, jobs, tempo_map))}</div></section>"
    )


def _job_section(sheet: _Sheet, job: JobView, group: str) -> str:
    rows = [drawing.axis_row(job.axis, sheet.tempo_map)]
    if job.region.start_s < sheet.song.end_s and job.region.end_s > sheet.song.start_s:
        rows.append(_original_row(sheet, job, group))
    for together in job.variations:
        if len(together) > 1 and job.is_added:
            rows.append(_together_row(sheet, job, group, together))
        rows += [_take_row(sheet, job, group, take) for take in together]
    dashed = "the seams" if job.verb.joins_source else "where it begins and ends"
    around = f", with the song around it. Dashed: {dashed}." if sheet.song else "."
    told = "".join(f'<p class="remark">{escape(warning)}</p>' for warning in words.common_warnings(job))
    anchors = {take.number: _anchor(group, take) for take in job.takes}
    return (
        f'<section><div class="head"><h2>{escape(words.place(job, sheet.tempo_map).capitalize())}</h2>'
        f'<p class="hint">{job.region.duration_s:.3f} s{around}</p></div>{told}'
        f'{words.ranking(job, anchors)}<div class="card">{"".join(rows)}</div></section>'
    )


def _anchor(group: str, take: TakeView) -> str:
    return f"{group}-take-{take.number}"


def _original_row(sheet: _Sheet, job: JobView, group: str) -> str:
    take = job.takes[0]
    audio = _original(sheet, job, take)
    file = _preview(audio, take.rate, sheet.previews / f"{group}_original.flac")
    player = _player(group, "In the song", "Play the original", file, job.axis.start_s, sheet.out)
    label = f'<h3>Original</h3><div class="players">{player}</div>'
    song_chords = next((take.chords for take in job.takes if job.is_added and take.chords), ())
    chords = drawing.chord_row(song_chords, job.axis)
    wave = drawing.wave_plot(audio, job, sheet.tempo_map, "w-original", "Waveform of the original")
    return _row(label, job.axis, chords + wave)


def _original(sheet: _Sheet, job: JobView, take: TakeView) -> Audio:
    """The song over the job's axis, in the format of `take`."""
    return sheet.song.window(job.axis.start_s, job.axis.end_s, take.rate, take.audio.shape[0])


def _together_row(sheet: _Sheet, job: JobView, group: str, takes: Sequence[TakeView]) -> str:
    """All stems of one variation, in the song."""
    audio, first = in_song(sheet.song, takes, job), takes[0]
    name = f"All stems of take {first.variation}"
    file = _preview(audio, first.rate, sheet.previews / f"{group}_take-{first.variation}_all-stems.flac")
    player = _player(group, "In the song", f"Play {name.lower()} in the song", file, job.axis.start_s, sheet.out)
    label = f'<h3>{escape(name)}</h3><div class="players">{player}</div>'
    spoken = f"Waveform of {name.lower()} with the song behind"
    stems = in_song(Song.none(), takes, job)
    wave = drawing.wave_plot(stems, job, sheet.tempo_map, "w-take", spoken, behind=_original(sheet, job, first))
    return _row(label, job.axis, wave, css="together")


def _take_row(sheet: _Sheet, job: JobView, group: str, take: TakeView) -> str:
    best = job.is_best(take)
    audio = in_song(sheet.song, [take], job)
    start_s, players = job.axis.start_s, ""
    if sheet.song:
        file = _preview(audio, take.rate, sheet.previews / f"{group}_take-{take.number}_in-the-song.flac")
        players = _player(group, "In the song", f"Play {take.name} in the song", file, start_s, sheet.out)
    players += _player(group, "Alone", f"Play {take.name} alone", take.file, take.region.start_s, sheet.out)
    chip = f'<span class="chip{" best" if best else ""}">score {take.score:.0f}{", best" if best else ""}</span>'
    files = [take.file, *([take.midi] if take.midi else [])]
    links = "".join(f'<p class="file"><a href="{_address(f, sheet.out)}">{escape(f.name)}</a></p>' for f in files)
    made = f'<p class="file">{escape(words.made_words(take))}</p>'
    own = (warning for warning in words.warnings_of(take) if warning not in words.common_warnings(job))
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in own)
    label = f'<h3>{escape(take.name)} {chip}</h3><div class="players">{players}</div>{links}{made}' + (
        f'<ul class="warnings">{warnings}</ul>' if warnings else ""
    )
    where, behind = (" in the song" if sheet.song else ""), None
    if job.is_added and sheet.song:  # in the song a stem could not be told from it
        audio, where, behind = in_song(Song.none(), [take], job), "", _original(sheet, job, take)
    pictures = (
        drawing.chord_row(take.chords, job.axis)
        + drawing.wave_plot(audio, job, sheet.tempo_map, "w-take", f"Waveform of {take.name}{where}", behind=behind)
        + drawing.spectrum_plot(audio, take.rate, job, sheet.tempo_map, f"Spectrogram of {take.name}{where}")
    )
    below = words.measures_table(take, is_open=best or len(job.takes) == 1)
    return _row(label, job.axis, pictures, below, anchor=_anchor(group, take))


def _row(label: str, axis: Region, pictures: str, below: str = "", *, css: str = "", anchor: str = "") -> str:
    name = f' id="{anchor}"' if anchor else ""
    return (
        f'<div class="row {css}"{name}><div class="label">{label}</div><div><div class="plots" '
        f'data-from="{axis.start_s:.6f}" data-to="{axis.end_s:.6f}">{pictures}<div class="playhead"></div></div>'
        f"{below}</div></div>"
    )


def _document(title: str, facts: str, remarks: Sequence[str], sections: Sequence[str]) -> str:
    assets = resources.files("bridge") / "page_assets"
    css, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    told = "".join(f'<p class="remark">{escape(remark)}</p>' for remark in remarks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{MARK}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style></head>\n<body><main>"
        f'<header><h1>{escape(title)}</h1><p class="facts">{escape(facts)}</p>{told}</header>\n'
        + "\n".join(sections)
        + "<footer>Click a picture to play from there; space plays and pauses the button in focus, the arrow keys move "
        "by a second. Switching between players of one region goes on at the same place.</footer>"
        f"</main>\n<script>\n{script}</script></body></html>\n"
    )
