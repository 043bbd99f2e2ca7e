"""The double's project as a drawing (SVG): what REAPER's arrange view would show, for the documentation.

Positions, takes, colours and waveforms are those of the model; nothing is placed by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import soundfile

from tests.support.reascript.model import Item, Project, Take, Track
from tests.support.reascript.window import Window

PANEL, RULER, ROW, LANE = 150, 34, 46, 30
WIDTH = 980
_INK, _DIM, _PAPER, _LINE, _BACK = "#e8e8ea", "#9a9aa2", "#232327", "#3a3a41", "#1b1b1e"
_AUDIO = "#6f8fae"
_HALO = f'paint-order="stroke" stroke="{_BACK}" stroke-width="3" stroke-opacity="0.8"'


@dataclass(frozen=True)
class View:
    """The visible stretch of the project, in seconds."""

    start_s: float
    end_s: float

    def x(self, time_s: float) -> float:
        return PANEL + (time_s - self.start_s) / (self.end_s - self.start_s) * (WIDTH - PANEL)


def draw(project: Project, view: View, bars: list[tuple[int, float]], selection: tuple[float, float] | None) -> str:
    """The project between the times of `view`; `bars`: numbers and times of the bar lines; `selection`: shaded."""
    rows = [(track, _height(track)) for track in project.tracks]
    height = RULER + sum(size for _, size in rows) + 8
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="{_BACK}" rx="6"/>',
    ]
    for number, time_s in bars:
        if view.start_s <= time_s <= view.end_s:
            x = view.x(time_s)
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{RULER - 10}" y2="{height - 4}" stroke="{_LINE}"/>')
            out.append(f'<text x="{x + 3:.1f}" y="{RULER - 14}" font-size="11" fill="{_DIM}">{number}</text>')
    top, depth = float(RULER), 0
    for track, size in rows:
        out += _track(track, depth, top, size)
        out += [part for item in track.items for part in _item(item, view, top, size)]
        depth += int(track.values["I_FOLDERDEPTH"])
        top += size
    if selection:
        left, right = view.x(selection[0]), view.x(selection[1])
        out.append(
            f'<rect x="{left:.1f}" y="{RULER - 10}" width="{right - left:.1f}" height="{height - RULER + 6}" '
            'fill="#ffffff" opacity="0.08"/>'
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _height(track: Track) -> int:
    lanes = max((len(item.takes) for item in track.items), default=1)
    return ROW if lanes <= 1 else 16 + LANE * lanes


def _color(value: float, default: str) -> str:
    """A native colour of ours: 0x1000000 | 0xRRGGBB as the double's ColorToNative makes it."""
    return f"#{int(value) & 0xFFFFFF:06x}" if int(value) & 0x1000000 else default


def _track(track: Track, depth: int, top: float, size: int) -> list[str]:
    indent = 12 * depth
    name = escape(track.name or "(track)")
    return [
        f'<rect x="0" y="{top:.1f}" width="{WIDTH}" height="{size - 2}" fill="{_PAPER}" opacity="0.6"/>',
        f'<rect x="{indent}" y="{top:.1f}" width="5" height="{size - 2}" '
        f'fill="{_color(track.values["I_CUSTOMCOLOR"], _AUDIO)}"/>',
        f'<text x="{indent + 12}" y="{top + 20:.1f}" font-size="12" fill="{_INK}">{name}</text>',
    ]


def _item(item: Item, view: View, top: float, size: int) -> list[str]:
    left, right = view.x(max(item.position, view.start_s)), view.x(min(item.end, view.end_s))
    if right <= left:
        return []
    color = _color(item.track.values["I_CUSTOMCOLOR"] if item.track else 0.0, _AUDIO)
    opacity = "0.3" if item.values["B_MUTE"] else "1"
    out = [f'<g opacity="{opacity}">']
    height = (size - 6) / max(1, len(item.takes))
    for index, take in enumerate(item.takes):
        y = top + 2 + index * height
        shown = index == item.active or len(item.takes) == 1
        out.append(
            f'<rect x="{left + 0.5:.1f}" y="{y:.1f}" width="{right - left - 1:.1f}" height="{height - 2:.1f}" rx="2" '
            f'fill="{color}" fill-opacity="{0.34 if shown else 0.1}" stroke="{color}"/>'
        )
        out.append(_wave(item, take, view, y, height - 2, shown))
        label = escape(take.name[: max(0, int((right - left - 8) / 5.6))])
        out.append(f'<text x="{left + 4:.1f}" y="{y + 11:.1f}" font-size="10" fill="{_INK}" {_HALO}>{label}</text>')
    out.append("</g>")
    return out


def _wave(item: Item, take: Take, view: View, y: float, height: float, shown: bool) -> str:
    """One column per two pixels: the largest and the smallest sample."""
    source = take.source
    if source is None or source.kind == "MIDI":
        return ""
    audio, rate = soundfile.read(source.path, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)
    first, last = max(item.position, view.start_s), min(item.end, view.end_s)
    columns = max(2, int((view.x(last) - view.x(first)) / 2))
    edges = np.linspace(first, last, columns + 1) - item.position + take.values["D_STARTOFFS"]
    frames = np.round(edges * rate).astype(int)
    if item.values["B_LOOPSRC"] and len(mono):
        mono = np.tile(mono, int(frames[-1] // len(mono)) + 1)
    middle, reach = y + height / 2, height / 2 * 0.92
    points_up, points_down = [], []
    for column in range(columns):
        part = mono[max(0, frames[column]) : max(frames[column] + 1, frames[column + 1])]
        high, low = (float(part.max()), float(part.min())) if len(part) else (0.0, 0.0)
        x = view.x(first) + column * (view.x(last) - view.x(first)) / columns
        points_up.append(f"{x:.1f},{middle - reach * min(1.0, high):.1f}")
        points_down.append(f"{x:.1f},{middle - reach * max(-1.0, low):.1f}")
    opacity = 0.85 if shown else 0.35
    return f'<polygon points="{" ".join(points_up + points_down[::-1])}" fill="{_INK}" opacity="{opacity}"/>'


def draw_window(window: Window) -> str:
    """What a script's gfx window showed in its last frame, in a frame with its title."""
    width, height, bar = window.w, window.h, 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height + bar:.0f}" '
        f'width="{width:.0f}" font-family="sans-serif">',
        f'<rect width="{width:.0f}" height="{height + bar:.0f}" fill="{_LINE}" rx="5"/>',
        f'<text x="10" y="16" font-size="12" fill="{_INK}">{escape(window.title)}</text>',
    ]
    for (x, y, w, h), color in zip(window.rects, window.rect_colors, strict=True):
        out.append(f'<rect x="{x:.1f}" y="{y + bar:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{_rgb(color)}"/>')
    for one in window.drawn:
        out.append(
            f'<text x="{one.x:.1f}" y="{one.y + bar + one.height * 0.8:.1f}" font-size="{one.height * 0.82:.1f}" '
            f'textLength="{one.width:.1f}" lengthAdjust="spacingAndGlyphs" '
            f'fill="{_rgb(one.color)}">{escape(one.string)}</text>'
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _rgb(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
