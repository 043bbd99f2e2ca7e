"""The double's project as the text of an .RPP file: what REAPER would save, for two independent parsers to read.

Promises: everything of the model that a user could lose is in it, so that two equal texts mean two equal projects; the
same state gives the same text; numbers keep all their digits. What has no field of its own in an .RPP (or none that we
know) stands in lines `DOUBLE name value`. Not in it: the dirty mark, playback, peaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.reascript.model import Fx, Item, Project, Take, TempoMarker, Track

_GUID = re.compile(r"\{[0-9A-Fa-f-]{36}\}")
_KEY = re.compile(r"(?!(?:nan|inf|infinity)$)[A-Za-z_][\w.:-]*", re.IGNORECASE | re.ASCII)
"""Words that stand without quotes: they cannot be taken for numbers."""

_INDENT = "  "


def dump(project: Project) -> str:
    """The project as REAPER would write it, ending in a line break."""
    return "\n".join(_project(project)) + "\n"


# --- words and lines --------------------------------------------------------------------------------------------------
def quoted(text: str) -> str:
    """A string in the quotes that it leaves free; where it leaves none, its backticks become apostrophes, as in REAPER.

    Errors: ValueError for a line break.
    """
    if "\n" in text or "\r" in text:
        raise ValueError(f"a line of an .RPP cannot hold a line break: {text!r}")
    for quote in ('"', "'", "`"):
        if quote not in text:
            return f"{quote}{text}{quote}"
    return "`" + text.replace("`", "'") + "`"


def _word(value: str | float) -> str:
    if isinstance(value, str):
        return value if _GUID.fullmatch(value) else quoted(value)
    return number(value)


def _key(text: str) -> str:
    return text if _KEY.fullmatch(text) else quoted(text)


def number(value: float) -> str:
    """All digits of a double, without an exponent."""
    if value == int(value):
        return str(int(value))
    return format(Decimal(repr(float(value))), "f")


def _line(key: str, *words: str | float) -> str:
    return " ".join([key, *map(_word, words)])


def _block(head: str, lines: Iterator[str] | list[str]) -> Iterator[str]:
    yield f"<{head}"
    yield from (_INDENT + line for line in lines)
    yield ">"


def _pairs(head: str, pairs: Mapping[str, str]) -> Iterator[str]:
    if pairs:
        yield from _block(head, [_line(_key(key), pairs[key]) for key in sorted(pairs)])


class _Values:
    """Takes a record's values one by one, so that what no line has taken can be told."""

    def __init__(self, *values: Mapping[str, Any]) -> None:
        self._left = {key: value for mapping in values for key, value in mapping.items()}

    def __call__(self, *names: str) -> list[Any]:
        return [self._left.pop(name) for name in names]

    def rest(self) -> Iterator[str]:
        for name in sorted(self._left):
            yield _line(f"DOUBLE {name}", self._left[name])


# --- the project ------------------------------------------------------------------------------------------------------
def _project(project: Project) -> Iterator[str]:
    yield from _block('REAPER_PROJECT 0.1 "7.28/linux-x86_64" 0', _project_lines(project))


def _project_lines(project: Project) -> Iterator[str]:
    take = _Values(project.values, project.strings)
    yield _line("RIPPLE", project.ripple)
    yield _line("RECORD_PATH", *take("RECORD_PATH"), "")
    yield _line("CURSOR", project.cursor)
    yield _line("PROJOFFS", project.time_offset, 0, 0)
    yield _line("SAMPLERATE", *take("PROJECT_SRATE", "PROJECT_SRATE_USE"), 0)
    yield from _render(take)
    yield _line("TEMPO", project.bpm, project.numerator, project.denominator)
    yield _line("SELECTION", *project.time_selection)
    yield _line("SELECTION2", *project.loop)
    yield from take.rest()
    yield from _master(project.master)
    if project.tempo:
        yield from _block("TEMPOENVEX", [_line("ACT", 1, -1), *map(_tempo_point, project.tempo)])
    for mark in project.markers:
        yield _line("MARKER", mark.number, mark.start, mark.name, int(mark.is_region), mark.color)
        if mark.is_region:
            yield _line("MARKER", mark.number, mark.end, "", 1)
    for track in project.tracks:
        yield from _block(_line("TRACK", track.guid), _track_lines(track, project))
    if any(project.ext_state.values()):
        sections = sorted(name for name, pairs in project.ext_state.items() if pairs)
        yield from _block(
            "EXTSTATE", [line for name in sections for line in _pairs(_key(name), project.ext_state[name])]
        )


def _master(master: Track) -> Iterator[str]:
    take = _Values(master.values, master.strings)
    volume, pan, width = take("D_VOL", "D_PAN", "D_WIDTH")
    yield _line("MASTER_VOLUME", volume, pan, -1, -1, width)
    yield _line("MASTER_NCH", *take("I_NCHAN"))
    yield _line("MASTERMUTESOLO", *take("B_MUTE", "I_SOLO"))
    yield from (line.replace("DOUBLE ", "DOUBLE MASTER.", 1) for line in take.rest())
    yield from _effects("MASTERFXLIST", master.fx)
    yield from _pairs("MASTER_EXT", master.ext)


def _render(take: _Values) -> Iterator[str]:
    yield _line("RENDER_FILE", *take("RENDER_FILE"))
    yield _line("RENDER_PATTERN", *take("RENDER_PATTERN"))
    yield _line("RENDER_FMT", 0, *take("RENDER_CHANNELS", "RENDER_SRATE"))
    yield _line(
        "RENDER_RANGE",
        *take("RENDER_BOUNDSFLAG", "RENDER_STARTPOS", "RENDER_ENDPOS", "RENDER_TAILFLAG", "RENDER_TAILMS"),
    )
    yield _line("RENDER_ADDTOPROJ", *take("RENDER_ADDTOPROJ"))
    yield _line("RENDER_STEMS", *take("RENDER_SETTINGS"))
    yield _line("RENDER_DITHER", *take("RENDER_DITHER"))
    yield _line("RENDER_NORMALIZE", *take("RENDER_NORMALIZE", "RENDER_NORMALIZE_TARGET"))
    yield _line("RENDER_FADES", *take("RENDER_FADEIN", "RENDER_FADEOUT"))
    for head, name in (("RENDER_CFG", "RENDER_FORMAT"), ("RENDER_CFG2", "RENDER_FORMAT2")):
        (form,) = take(name)
        yield from _block(head, [form] if form else [])


def _tempo_point(marker: TempoMarker) -> str:
    """Shape 1 is square, 0 linear; the signature is 65536 * denominator + numerator, 0 for none."""
    signature = 65536 * marker.denominator + marker.numerator if marker.numerator else 0
    return _line("PT", marker.time, marker.bpm, 0 if marker.linear else 1, signature, 0, 1, 0)


# --- tracks -----------------------------------------------------------------------------------------------------------
def _track_lines(track: Track, project: Project) -> Iterator[str]:
    take = _Values(track.values, track.strings)
    yield _line("NAME", track.name)
    yield _line("PEAKCOL", *take("I_CUSTOMCOLOR"))
    yield _line("BEAT", *take("C_BEATATTACHMODE"))
    volume, pan, width = take("D_VOL", "D_PAN", "D_WIDTH")
    yield _line("VOLPAN", volume, pan, -1, -1, width)
    yield _line("MUTESOLO", *take("B_MUTE", "I_SOLO"), 0)
    yield _line("IPHASE", *take("B_PHASE"))
    yield _line("PLAYOFFS", *take("D_PLAY_OFFSET", "I_PLAY_OFFSET_FLAG"))
    (depth,) = take("I_FOLDERDEPTH")
    yield _line("ISBUS", 1 if depth > 0 else 2 if depth < 0 else 0, depth)
    yield _line("SEL", *take("I_SELECTED"))
    yield _line("REC", *take("I_RECARM"))
    yield _line("FREEMODE", *take("I_FREEMODE"))
    yield _line("NCHAN", *take("I_NCHAN"))
    yield _line("FX", *take("I_FXEN"))
    yield _line("TRACKID", track.guid)
    yield _line("PANMODE", *take("I_PANMODE"))
    yield _line("MAINSEND", *take("B_MAINSEND"), 0)
    yield from take.rest()
    for _ in range(track.envelopes):
        yield from _block("VOLENV2", [_line("ACT", 1, -1), _line("PT", 0, 1, 0)])
    yield from _effects("FXCHAIN", track.fx)
    yield from _pairs("EXT", track.ext)
    for item in track.items:
        yield from _block("ITEM", _item_lines(item, project))


def _effects(head: str, chain: list[Fx]) -> Iterator[str]:
    if chain:
        lines = [line for fx in chain for line in (_bypass(fx), *_effect(fx))]
        yield from _block(head, lines)


def _bypass(fx: Fx) -> str:
    return _line("BYPASS", int(not fx.enabled), int(fx.offline), 0)


def _effect(fx: Fx) -> Iterator[str]:
    yield from _block(_line("VST", fx.name), [_line("DOUBLE gain", fx.gain)])


# --- items ------------------------------------------------------------------------------------------------------------
def _item_lines(item: Item, project: Project) -> Iterator[str]:
    take = _Values(item.values, item.strings)
    yield _line("POSITION", *take("D_POSITION"))
    yield _line("SNAPOFFS", *take("D_SNAPOFFSET"))
    yield _line("LENGTH", *take("D_LENGTH"))
    yield _line("LOOP", *take("B_LOOPSRC"))
    yield _line("ALLTAKES", *take("B_ALLTAKESPLAY"))
    for way in ("IN", "OUT"):
        yield _line(
            f"FADE{way}", *take(f"C_FADE{way}SHAPE", f"D_FADE{way}LEN", f"D_FADE{way}LEN_AUTO", f"D_FADE{way}DIR")
        )
    yield _line("MUTE", *take("B_MUTE"), 0)
    yield _line("BEAT", *take("C_BEATATTACHMODE"))
    yield _line("AUTOSTRETCH", *take("C_AUTOSTRETCH"))
    yield _line("SEL", *take("B_UISEL"))
    yield _line("LOCK", *take("C_LOCK"))
    yield _line("GROUP", *take("I_GROUPID"))
    yield _line("COLOR", *take("I_CUSTOMCOLOR")) + " B"
    yield _line("LANE", *take("I_FIXEDLANE"))
    yield _line("IGUID", item.guid)
    (volume,) = take("D_VOL")
    yield from take.rest()
    yield from _pairs("EXT", item.ext)
    if not item.takes:
        yield _line("VOLPAN", volume, 0, 1, -1)
    for index, one in enumerate(item.takes):
        if index:
            yield "TAKE SEL" if index == item.active else "TAKE"
        yield from _take_lines(one, project, volume if index == 0 else None)


def _take_lines(one: Take, project: Project, item_volume: float | None) -> Iterator[str]:
    """Of the first take, whose line VOLPAN holds the item's volume too, or of a further one."""
    take = _Values(one.values)
    yield _line("NAME", one.name)
    volume, pan, law = take("D_VOL", "D_PAN", "D_PANLAW")
    if item_volume is not None:
        yield _line("VOLPAN", item_volume, pan, volume, law)
    else:
        yield _line("TAKEVOLPAN", pan, volume, law)
    yield _line("SOFFS", *take("D_STARTOFFS"))
    yield _line("PLAYRATE", *take("D_PLAYRATE", "B_PPITCH", "D_PITCH", "I_PITCHMODE"))
    yield _line("CHANMODE", *take("I_CHANMODE"))
    yield _line("TAKECOLOR", *take("I_CUSTOMCOLOR")) + " B"
    yield _line("GUID", one.guid)
    yield from take.rest()
    yield from _source(one, project)
    yield from _effects("TAKEFX", one.fx)
    yield from _pairs("TAKE_EXT", one.ext)


def _source(take: Take, project: Project) -> Iterator[str]:
    source = take.source
    if source is None:
        yield from _block("SOURCE EMPTY", [])
    elif source.kind == "MIDI":
        ticks = round(source.quarter_notes * 960)
        yield from _block("SOURCE MIDI", ["HASDATA 1 960 QN", f"E {ticks} b0 7b 00"])
    else:
        yield from _block(f"SOURCE {source.kind}", [_line("FILE", _relative(source.path, project))])


def _relative(path: Path, project: Project) -> str:
    """Relative where the file lies in the project's folder, as REAPER writes it by default."""
    if project.path is not None and path.is_relative_to(project.path.parent):
        return str(path.relative_to(project.path.parent))
    return str(path)
