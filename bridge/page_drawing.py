"""Pictures of takes as HTML and SVG on one time axis: waveforms, bar lines, seams, chords, the labels of the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bridge import page_plots as plots
from bridge.page_model import ChordSpans, JobView, Song
from protocol.music import Region, TempoMap

_COLUMNS = 1000
_MOST_LABELS = 10


def wave_plot(
    audio: plots.Audio,
    job: JobView,
    tempo_map: TempoMap | None,
    kind: str,
    spoken: str,
    behind: plots.Audio | None = None,
) -> str:
    """`audio` over the job's axis, the region in the colour of `kind` (a CSS class), the rest in the song's.

    With `behind`, that is drawn in the song's colour and `audio` over it, in the region only.
    """
    low, high = plots.envelope(audio, _COLUMNS)
    first, last = (round(_x(time_s, job.axis)) for time_s in (job.region.start_s, job.region.end_s))
    parts = [(first, last, kind)] if behind is not None else []
    parts = parts or [(0, first, "w-context"), (first, last, kind), (last, _COLUMNS, "w-context")]
    waves = "".join(f'<path class="{css}" d="{plots.wave_path(low[a:b], high[a:b], a)}"/>' for a, b, css in parts)
    if behind is not None:
        waves = f'<path class="w-context" d="{plots.wave_path(*plots.envelope(behind, _COLUMNS))}"/>{waves}'
    inner = _shade(job.region, job.axis) + bar_lines(job.axis, tempo_map) + waves + _seams(job)
    return f'<div class="plot wave">{_svg(inner, spoken)}</div>'


def spectrum_plot(audio: plots.Audio, rate: int, job: JobView, tempo_map: TempoMap | None, spoken: str) -> str:
    """The spectrogram of `audio` over the job's axis."""
    image = plots.png_data_uri(plots.spectrogram(audio, rate))
    return (
        f'<div class="plot spectrum"><img alt="{escape(spoken)}" src="{image}">'
        f"{_svg(bar_lines(job.axis, tempo_map) + _seams(job))}</div>"
    )


def song_plot(song: Song, axis: Region, jobs: Sequence[JobView], tempo_map: TempoMap | None) -> str:
    """The whole song with the regions in it."""
    low, high = plots.envelope(song.window(axis.start_s, axis.end_s, song.rate, song.audio.shape[0]), _COLUMNS)
    shades = "".join(_shade(job.region, axis) for job in jobs)
    seams = "".join(_seam(time_s, axis) for job in jobs for time_s in (job.region.start_s, job.region.end_s))
    wave = f'<path class="w-original" d="{plots.wave_path(low, high)}"/>'
    picture = _svg(shades + bar_lines(axis, tempo_map) + wave + seams, "Waveform of the whole song")
    return f'<div class="plot song">{picture}</div>'


def chord_row(spans: ChordSpans, axis: Region) -> str:
    """The chords as labelled boxes over the axis; nothing if there are none on it."""
    boxes = []
    for start_s, end_s, name in spans:
        left, right = (min(100.0, max(0.0, _x(time_s, axis) / _COLUMNS * 100)) for time_s in (start_s, end_s))
        if right > left:
            boxes.append(
                f'<li style="left:{left:.3f}%;width:{right - left:.3f}%" title="{escape(name)}">{escape(name)}</li>'
            )
    return f'<ol class="chords" aria-label="Chords">{"".join(boxes)}</ol>' if boxes else ""


def axis_row(axis: Region, tempo_map: TempoMap | None) -> str:
    """The row above a group of pictures that says where the bars, or the seconds, are."""
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


def bar_lines(axis: Region, tempo_map: TempoMap | None) -> str:
    """A line at every bar line on the axis; none without a tempo."""
    if tempo_map is None:
        return ""
    bars = (line.time_s for line in tempo_map.grid(axis.start_s, axis.end_s) if line.is_bar_line)
    return "".join(_line("bar", _x(time_s, axis)) for time_s in bars)


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


def _seam(time_s: float, axis: Region) -> str:
    return _line("seam", _x(time_s, axis))


def _seams(job: JobView) -> str:
    return _seam(job.region.start_s, job.axis) + _seam(job.region.end_s, job.axis)


def _line(css: str, x: float) -> str:
    return (
        f'<line class="{css}" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{plots.VIEW_HEIGHT}" '
        'vector-effect="non-scaling-stroke"/>'
    )
