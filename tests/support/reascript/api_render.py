"""The render with the most recent settings (action 42230): real WAV files of what `audio` hears.

Modelled of the settings: source 0 and 2 (master) and 3 (stems of the selected tracks, also of a selected master),
bounds 0, 1 and 2, channels, rate, tail, normalisation (to a peak, whatever it says) with fades, the file added to the
project, folder, pattern with $track, $tracknumber and $project, a second format. What a script forgets to set is heard
in the file. A target that is there already, and nothing to render, open a dialog in REAPER and are faults here. That 2
alone gives the master mix was found by people who tried every value in REAPER 7.79; its help says "stems only".

`behaviour(host)` makes renders late, empty, failing or a frame too long.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import soundfile

from tests.support.reascript import audio
from tests.support.reascript.actions import action
from tests.support.reascript.api_project import DERIVED
from tests.support.reascript.api_sources import source_of
from tests.support.reascript.audio import Audio
from tests.support.reascript.errors import BadCall, LuaError, NotModelled, UnexpectedDialog
from tests.support.reascript.model import Item, Project, Take, Track

RENDER = 42230
"""File: Render project, using the most recent render settings, auto-close render dialog."""

_TAIL_BIT = {0: 1, 1: 2, 2: 4}
"""RENDER_BOUNDSFLAG -> the bit of RENDER_TAILFLAG that asks for a tail with such bounds."""

_SUBTYPES = {8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "FLOAT", 64: "DOUBLE"}


@dataclass
class Behaviour:
    """How a host's renders go wrong. `after_cycles`: the files are whole only then, and the play state is 1 until."""

    after_cycles: int = 0
    is_partial: bool = False
    """With `after_cycles`: a file without a sample is there from the start."""
    writes_nothing: bool = False
    error: str = ""
    """Raised in the middle as a Lua error."""
    extra_frames: int = 0
    rendered: list[Path] = field(default_factory=list)
    """All files written."""


@dataclass(eq=False)
class Render:
    """A render with the settings and the sound of its start. A late one stands among the host's running scripts."""

    host: Any
    project: Project
    files: list[tuple[Path, str, Audio]]
    rate: int
    adds: bool
    cycles_left: int = 0
    playing: int = 0

    path = Path("(a render)")
    options = 0
    ended = False

    def step(self) -> None:
        """A cycle of REAPER has passed."""
        self.cycles_left -= 1
        if self.cycles_left <= 0:
            self.terminate()

    def terminate(self) -> None:
        self.ended = True
        self.host.running.remove(self)
        self.project.playing = self.playing
        self.write()

    def write(self) -> None:
        for path, subtype, sound in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound.T, self.rate, format="WAV", subtype=subtype)
            behaviour(self.host).rendered.append(path)
            if self.adds:
                _add_to_project(self.project, path)


_behaviours: WeakKeyDictionary[Any, Behaviour] = WeakKeyDictionary()


def behaviour(host: Any) -> Behaviour:
    """The host's own; change its fields."""
    return _behaviours.setdefault(host, Behaviour())


@action(RENDER)
def render(host: Any, project: Project) -> None:
    how = behaviour(host)
    rate = int(project.values["RENDER_SRATE"]) or project.rate
    start, end = _frames(project, rate)
    outputs = _outputs(host, project)
    if not outputs:
        raise UnexpectedDialog("Render: no track is selected, there are no stems to render.")
    for path, _, _ in outputs:
        if path.exists():
            raise UnexpectedDialog(f"Render: {path.name} exists already; REAPER asks whether to overwrite it.")
    if how.error:
        raise LuaError(how.error)
    if how.writes_nothing:
        return
    files = [
        (path, subtype, _finished(project, rate, _heard(project, track, rate, start, end + how.extra_frames)))
        for path, track, subtype in outputs
    ]
    adds = bool(int(project.values["RENDER_ADDTOPROJ"]) & 1)
    job = Render(host, project, files, rate, adds, how.after_cycles, project.playing)
    if not how.after_cycles:
        job.write()
        return
    project.playing |= 1
    host.running.append(job)
    for path, subtype, _ in files if how.is_partial else []:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros((0, 2), np.float32), rate, format="WAV", subtype=subtype)


def targets(host: Any, project: Project) -> list[Path]:
    """RENDER_TARGETS: the files that a render would write now."""
    return [path for path, _, _ in _outputs(host, project)]


DERIVED["RENDER_TARGETS"] = lambda host, project: ";".join(map(str, targets(host, project)))


def bounds(project: Project) -> tuple[float, float]:
    """Seconds, by RENDER_BOUNDSFLAG."""
    flag = int(project.values["RENDER_BOUNDSFLAG"])
    if flag == 0:
        return project.values["RENDER_STARTPOS"], project.values["RENDER_ENDPOS"]
    if flag == 1:
        return 0.0, audio.end_s(project)
    if flag == 2:
        return project.time_selection
    raise NotModelled(f"RENDER_BOUNDSFLAG {flag}")


def _frames(project: Project, rate: int) -> tuple[int, int]:
    """The bounds and the tail, as the first frame and the one after the last."""
    values = project.values
    start, end = (audio.frame_at(time_s, rate) for time_s in bounds(project))
    if int(values["RENDER_TAILFLAG"]) & _TAIL_BIT[int(values["RENDER_BOUNDSFLAG"])]:
        end += audio.frame_at(values["RENDER_TAILMS"] / 1000, rate)
    if end <= start:
        raise UnexpectedDialog("Render: nothing to render between the bounds.")
    return start, end


# --- what is rendered -------------------------------------------------------------------------------------------------
def _outputs(host: Any, project: Project) -> list[tuple[Path, Track | None, str]]:
    """Every file: its path, its track (None: the master mix) and its sample format."""
    settings = int(project.values["RENDER_SETTINGS"])
    if settings not in (0, 2, 3):
        raise NotModelled(f"RENDER_SETTINGS {settings}")
    tracks: list[Track | None] = [None]
    if settings == 3:
        tracks = [None] if project.master.values["I_SELECTED"] else []
        tracks += [track for track in project.tracks if track.values["I_SELECTED"]]
    folder = _folder(host, project)
    formats = [project.strings["RENDER_FORMAT"], *filter(None, [project.strings["RENDER_FORMAT2"]])]
    outputs: list[tuple[Path, Track | None, str]] = []
    taken: set[str] = set()
    for track in tracks:
        name = _name(project, track)
        for form in formats:
            suffix, subtype = _format(form)
            stem, number = name, 0
            while f"{stem}{suffix}".lower() in taken:
                number += 1
                stem = f"{name}-{number:03d}"
            taken.add(f"{stem}{suffix}".lower())
            outputs.append((folder / f"{stem}{suffix}", track, subtype))
    return outputs


def _folder(host: Any, project: Project) -> Path:
    """RENDER_FILE, relative to the project's folder, or to the default recording folder of an unsaved one."""
    folder = Path(project.strings["RENDER_FILE"])
    if folder.is_absolute():
        return folder
    return (project.path.parent if project.path else host.default_recordings) / folder


def _name(project: Project, track: Track | None) -> str:
    number = project.tracks.index(track) + 1 if track is not None else 0
    words = {
        "$tracknumber": f"{number:02d}",
        "$track": (track.name if track is not None else "Master") or f"Track {number}",
        "$project": project.path.stem if project.path else "untitled",
    }
    pattern = project.strings["RENDER_PATTERN"]
    unknown = [word for word in re.findall(r"\$[a-z]+", pattern) if word not in words]
    if unknown or not pattern:
        raise NotModelled(f"RENDER_PATTERN {pattern!r}")
    found = re.sub(r"\$[a-z]+", lambda match: words[match[0]], pattern)
    return re.sub(r'[<>:"|?*\\/]', "_", found)


def _format(form: str) -> tuple[str, str]:
    """File name suffix and libsndfile's subtype of a WAV sink's settings: 4 letters, or base64 of them with a depth."""
    if form == "evaw":
        return ".wav", "PCM_24"
    try:
        raw = base64.b64decode(form, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:4] != b"evaw" or len(raw) < 5 or raw[4] not in _SUBTYPES:
        raise NotModelled(f"RENDER_FORMAT {form!r}: the double writes WAV only")
    return ".wav", _SUBTYPES[raw[4]]


def _heard(project: Project, track: Track | None, rate: int, start: int, end: int) -> Audio:
    channels = int(project.values["RENDER_CHANNELS"])
    if channels not in (1, 2):
        raise NotModelled(f"RENDER_CHANNELS {channels}")
    heard = (
        audio.master_mix(project, rate, start, end) if track is None else audio.stem(project, track, rate, start, end)
    )
    return heard if channels == 2 else heard.mean(axis=0, keepdims=True)


def _finished(project: Project, rate: int, heard: Audio) -> Audio:
    """RENDER_NORMALIZE: &1 a level (here: of the peak), &512 fade-in, &1024 fade-out."""
    values = project.values
    flags = int(values["RENDER_NORMALIZE"])
    if flags & ~(1 | 14 | 512 | 1024):
        raise NotModelled(f"RENDER_NORMALIZE {flags}")
    peak = float(np.max(np.abs(heard), initial=0.0))
    if flags & 1 and peak:
        heard = heard * np.float32(values["RENDER_NORMALIZE_TARGET"] / peak)
    frames, length = np.arange(heard.shape[1]), heard.shape[1]
    if flags & 512 and (rise := values["RENDER_FADEIN"] * rate):
        heard = heard * np.clip(frames / rise, 0, 1).astype(np.float32)
    if flags & 1024 and (fall := values["RENDER_FADEOUT"] * rate):
        heard = heard * np.clip((length - frames) / fall, 0, 1).astype(np.float32)
    return heard


def _add_to_project(project: Project, path: Path) -> None:
    source = source_of(path)
    if source is None:
        raise BadCall(f"the double rendered {path}, which cannot be read")
    track = Track(path.stem, project=project)
    take = Take(source, path.stem)
    item = Item([take], track=track)
    take.item = item
    item.values["D_POSITION"], item.values["D_LENGTH"] = bounds(project)[0], source.length_s
    track.items.append(item)
    project.tracks.append(track)
    project.dirty = True
