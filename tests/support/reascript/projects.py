"""Projects to run scripts on: saved to a folder with real audio files, in the kinds that users have.

`song_project` is the ordinary one; keyword arguments make it hard. `add_track`, `add_audio` and `add_midi` build more.
Times: at 120 BPM in 4/4 a bar lasts 2 s, so bar 9 starts at `BAR_9_S`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from bridge.demo.song import render_demo_song
from tests.support.reascript.api_sources import source_of
from tests.support.reascript.audio import Audio
from tests.support.reascript.model import Fx, Item, Project, Source, Take, TempoMarker, Track
from tests.support.reascript.rpp import dump

BAR_9_S = 16.0
RAMP_END_S = BAR_9_S + 16 * 60 / ((120 + 97.5) / 2)
"""Where a ramp from bar 9 to bar 13 ends: 16 quarter notes at the mean tempo."""

LAST_RENDER: dict[str, float] = {
    "RENDER_CHANNELS": 1.0, "RENDER_SRATE": 22050.0, "RENDER_TAILFLAG": 63.0, "RENDER_NORMALIZE": 1537.0,
    "RENDER_FADEIN": 0.05, "RENDER_FADEOUT": 0.05,
}  # fmt: skip
"""How the user rendered last, besides what the model says: a script that forgets one of them gets other audio."""

Tempo = Literal["steady", "change", "ramp", "meter"]


@lru_cache(maxsize=4)
def song(rate: int) -> Audio:
    """The demo song, float32 ``(2, frames)``: 73.8 s of music. Do not write into it."""
    return render_demo_song(rate).audio


def song_project(
    folder: Path,
    rate: int = 44100,
    *,
    name: str = "Song",
    tracks: Sequence[str] = ("Guitar",),
    tempo: Tempo = "steady",
    saved: bool = True,
    seconds: float = 48.0,
    source_rate: int | None = None,
) -> Project:
    """A project with one audio item per track from time 0: `seconds` of the demo song, each track another part of it.

    `tempo`: "steady" 120 BPM 4/4; "change" 97.5 BPM from bar 9; "ramp" from 120 at bar 9 to 97.5 at bar 13; "meter" 6/8
    from bar 9. The files (at `source_rate`, else `rate`) lie in `folder`/Media; `saved` writes the .rpp, else the
    project is an unsaved one whose files lie there all the same. Items have no fades and do not loop.
    Render settings are as somebody left them (`LAST_RENDER`).
    """
    project = Project(path=folder / f"{name}.rpp" if saved else None, tempo=tempo_markers(tempo))
    project.values.update(PROJECT_SRATE=float(rate), **LAST_RENDER)
    for index, track_name in enumerate(tracks):
        track = add_track(project, track_name)
        add_audio(track, song_file(folder, track_name, seconds, source_rate or rate, index), 0.0)
    if saved:
        save(project)
    return project


def save(project: Project) -> None:
    """Write the .rpp, as the user did before the test begins."""
    assert project.path is not None
    project.path.parent.mkdir(parents=True, exist_ok=True)
    project.path.write_text(dump(project), encoding="utf-8")
    project.dirty = False


def tempo_markers(kind: Tempo) -> list[TempoMarker]:
    first = TempoMarker(0.0, 120.0, 4, 4)
    return {
        "steady": [],
        "change": [first, TempoMarker(BAR_9_S, 97.5)],
        "ramp": [first, TempoMarker(BAR_9_S, 120.0, linear=True), TempoMarker(RAMP_END_S, 97.5)],
        "meter": [first, TempoMarker(BAR_9_S, 120.0, 6, 8)],
    }[kind]


def song_file(folder: Path, name: str, seconds: float, rate: int, part: int = 0) -> Path:
    """A float WAV of the demo song under `folder`/Media; `part` turns it round, so that tracks differ."""
    audio = song(rate)
    frames = round(seconds * rate)
    samples = np.roll(audio, -part * audio.shape[1] // 5, axis=1)[:, :frames] * np.float32(0.8**part)
    path = folder / "Media" / f"{_plain(name)}-{part + 1}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, subtype="FLOAT")
    return path


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(letter if letter.isalnum() else "_" for letter in letters) or "audio"


# --- parts of a project -----------------------------------------------------------------------------------------------
def add_track(project: Project, name: str, *, fx: Sequence[Fx] = (), depth: int = 0, **values: float) -> Track:
    """A track at the end. `depth`: I_FOLDERDEPTH; `values`: more of its properties."""
    track = Track(name, project=project, fx=list(fx))
    track.values.update(I_FOLDERDEPTH=float(depth), **values)
    project.tracks.append(track)
    return track


def add_audio(
    track: Track,
    path: Path,
    position_s: float,
    length_s: float | None = None,
    *,
    offset_s: float = 0.0,
    **values: float,
) -> Item:
    """An item that plays the file from `offset_s` on: no fades, no loop, if `values` do not say otherwise."""
    source = source_of(path)
    assert source is not None, f"{path} is no audio file"
    take = Take(source, path.name)
    take.values["D_STARTOFFS"] = offset_s
    return _add(track, take, position_s, source.length_s - offset_s if length_s is None else length_s, values)


def add_midi(track: Track, position_s: float, length_s: float, **values: float) -> Item:
    """A MIDI item; it sounds where the track has an instrument."""
    source = Source(Path(), "MIDI", channels=1, quarter_notes=length_s * 2)
    return _add(track, Take(source, "MIDI"), position_s, length_s, values)


def _add(track: Track, take: Take, position_s: float, length_s: float, values: dict[str, float]) -> Item:
    item = Item([take], track=track)
    take.item = item
    item.values.update(D_POSITION=position_s, D_LENGTH=length_s, B_LOOPSRC=0.0, D_FADEINLEN=0.0, D_FADEOUTLEN=0.0)
    item.values.update(values)
    track.items.append(item)
    return item


def instrument(gain: float = 1.0) -> Fx:
    return Fx("VSTi: ReaSynth (Cockos)", gain, is_instrument=True)


def effect(gain: float = 0.5) -> Fx:
    return Fx("VST: ReaComp (Cockos)", gain)


# --- whole hard cases -------------------------------------------------------------------------------------------------
def fx_project(folder: Path, rate: int = 44100, *, saved: bool = True) -> Project:
    """ "Guitar" runs through an effect that halves it."""
    project = song_project(folder, rate, saved=saved)
    project.tracks[0].fx.append(effect())
    return _resaved(project)


def midi_project(folder: Path, rate: int = 44100) -> Project:
    """ "Synth": a MIDI item over 48 s on an instrument, above an audio track."""
    project = song_project(folder, rate)
    synth = add_track(project, "Synth", fx=[instrument()])
    project.tracks = [synth, project.tracks[0]]
    add_midi(synth, 0.0, 48.0)
    return _resaved(project)


def crossfaded_project(folder: Path, rate: int = 44100) -> Project:
    """Two items on "Guitar" overlap from 19.5 s to 20.5 s and crossfade there."""
    project = song_project(folder, rate, seconds=20.5)
    first = project.tracks[0].items[0]
    other = song_file(folder, "Other", 20.0, rate, 1)
    first.values["D_FADEOUTLEN_AUTO"] = 1.0
    add_audio(project.tracks[0], other, 19.5, D_FADEINLEN_AUTO=1.0)
    return _resaved(project)


def looped_project(folder: Path, rate: int = 44100) -> Project:
    """A 2 s loop fills 48 s of "Guitar"."""
    project = song_project(folder, rate, seconds=2.0)
    project.tracks[0].items[0].values.update(D_LENGTH=48.0, B_LOOPSRC=1.0)
    return _resaved(project)


def folder_project(folder: Path, rate: int = 44100) -> Project:
    """Folder "Band" holds "Drums" and "Bass"; "Voice" stands below it."""
    project = song_project(folder, rate, tracks=("Drums", "Bass", "Voice"))
    band = add_track(project, "Band", depth=1)
    project.tracks = [band, *project.tracks[:-1]]
    project.tracks[2].values["I_FOLDERDEPTH"] = -1.0
    return _resaved(project)


def _resaved(project: Project) -> Project:
    if project.path:
        save(project)
    return project
