"""What the double of REAPER holds: projects, tracks, items, takes, markers. Plain records; no Lua, no files, no rules.

Numeric and string properties go by the names that REAPER's own documentation gives them (`D_POSITION`, `P_NAME`), times
are seconds of project time. A record whose `alive` is False was deleted (or undone away): a script that uses a pointer
to it has a bug.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path


def new_guid() -> str:
    return "{" + str(uuid.uuid4()).upper() + "}"


@dataclass(eq=False)
class Source:
    """A media source: a file on disk. `rate` 0 and `frames` 0 for MIDI, whose length is in quarter notes."""

    path: Path
    kind: str = "WAVE"
    frames: int = 0
    rate: int = 0
    channels: int = 2
    quarter_notes: float = 0.0
    peaks: bool = False
    alive: bool = True

    @property
    def length_s(self) -> float:
        return self.frames / self.rate if self.rate else 0.0


def _take_values() -> dict[str, float]:
    return {"D_STARTOFFS": 0.0, "D_VOL": 1.0, "D_PAN": 0.0, "D_PANLAW": -1.0, "D_PLAYRATE": 1.0, "D_PITCH": 0.0,
            "B_PPITCH": 1.0, "I_CHANMODE": 0.0, "I_PITCHMODE": -1.0, "I_CUSTOMCOLOR": 0.0}  # fmt: skip


@dataclass(eq=False)
class Take:
    source: Source | None = None
    name: str = ""
    guid: str = field(default_factory=new_guid)
    values: dict[str, float] = field(default_factory=_take_values)
    ext: dict[str, str] = field(default_factory=dict)
    fx: list[Fx] = field(default_factory=list)
    item: Item | None = None
    alive: bool = True

    @property
    def is_midi(self) -> bool:
        return self.source is not None and self.source.kind == "MIDI"


def _item_values() -> dict[str, float]:
    return {"D_POSITION": 0.0, "D_LENGTH": 0.0, "D_SNAPOFFSET": 0.0, "D_VOL": 1.0, "B_MUTE": 0.0, "B_LOOPSRC": 1.0,
            "B_ALLTAKESPLAY": 0.0, "B_UISEL": 0.0, "C_BEATATTACHMODE": -1.0, "C_AUTOSTRETCH": 0.0, "C_LOCK": 0.0,
            "D_FADEINLEN": 0.01, "D_FADEOUTLEN": 0.01, "D_FADEINLEN_AUTO": -1.0, "D_FADEOUTLEN_AUTO": -1.0,
            "D_FADEINDIR": 0.0, "D_FADEOUTDIR": 0.0, "C_FADEINSHAPE": 0.0, "C_FADEOUTSHAPE": 0.0, "I_GROUPID": 0.0,
            "I_CUSTOMCOLOR": 0.0, "I_FIXEDLANE": 0.0}  # fmt: skip


@dataclass(eq=False)
class Item:
    """The defaults are those of a user who never changed them: 10 ms fades and a looped source."""

    takes: list[Take] = field(default_factory=list)
    active: int = 0
    guid: str = field(default_factory=new_guid)
    values: dict[str, float] = field(default_factory=_item_values)
    strings: dict[str, str] = field(default_factory=dict)
    ext: dict[str, str] = field(default_factory=dict)
    track: Track | None = None
    alive: bool = True

    @property
    def position(self) -> float:
        return self.values["D_POSITION"]

    @property
    def length(self) -> float:
        return self.values["D_LENGTH"]

    @property
    def end(self) -> float:
        return self.position + self.length


@dataclass(eq=False)
class Fx:
    """An effect that multiplies by `gain`: enough to hear whether audio went through it."""

    name: str
    gain: float = 1.0
    enabled: bool = True
    offline: bool = False
    is_instrument: bool = False
    """An instrument: plays a tone of its own where the track has MIDI, and lets no audio through."""


def _track_values() -> dict[str, float]:
    return {"B_MUTE": 0.0, "B_PHASE": 0.0, "I_SOLO": 0.0, "I_FXEN": 1.0, "I_RECARM": 0.0, "I_FOLDERDEPTH": 0.0,
            "I_SELECTED": 0.0, "I_CUSTOMCOLOR": 0.0, "D_VOL": 1.0, "D_PAN": 0.0, "D_WIDTH": 1.0, "I_PANMODE": -1.0,
            "D_PLAY_OFFSET": 0.0, "I_PLAY_OFFSET_FLAG": 1.0, "C_BEATATTACHMODE": -1.0, "I_FREEMODE": 0.0,
            "B_MAINSEND": 1.0, "I_NCHAN": 2.0}  # fmt: skip


@dataclass(eq=False)
class Track:
    name: str = ""
    items: list[Item] = field(default_factory=list)
    guid: str = field(default_factory=new_guid)
    values: dict[str, float] = field(default_factory=_track_values)
    strings: dict[str, str] = field(default_factory=dict)
    ext: dict[str, str] = field(default_factory=dict)
    fx: list[Fx] = field(default_factory=list)
    envelopes: int = 0
    """How many active envelopes there are."""
    project: Project | None = None
    alive: bool = True


@dataclass(eq=False)
class TempoMarker:
    """`numerator` 0: no change of the time signature. `bpm` counts quarter notes."""

    time: float
    bpm: float
    numerator: int = 0
    denominator: int = 0
    linear: bool = False


@dataclass(eq=False)
class Marker:
    number: int
    is_region: bool
    start: float
    end: float
    name: str = ""
    color: int = 0


def _project_values() -> dict[str, float]:
    return {"PROJECT_SRATE": 44100.0, "PROJECT_SRATE_USE": 1.0, "RENDER_SETTINGS": 0.0, "RENDER_BOUNDSFLAG": 1.0,
            "RENDER_CHANNELS": 2.0, "RENDER_SRATE": 0.0, "RENDER_STARTPOS": 0.0, "RENDER_ENDPOS": 0.0,
            "RENDER_TAILFLAG": 18.0, "RENDER_TAILMS": 1000.0, "RENDER_ADDTOPROJ": 1.0, "RENDER_DITHER": 0.0,
            "RENDER_NORMALIZE": 1.0, "RENDER_NORMALIZE_TARGET": 0.1, "RENDER_FADEIN": 0.0,
            "RENDER_FADEOUT": 0.0}  # fmt: skip


def _project_strings() -> dict[str, str]:
    return {"RENDER_FILE": "Renders", "RENDER_PATTERN": "$project", "RENDER_FORMAT": "l3pm",
            "RENDER_FORMAT2": "", "RECORD_PATH": "Media"}  # fmt: skip


@dataclass(eq=False)
class Project:
    """One tab. `path` is the .rpp, None while it was never saved. Render settings start as somebody left them."""

    path: Path | None = None
    tracks: list[Track] = field(default_factory=list)
    master: Track = field(default_factory=lambda: Track("MASTER"))
    bpm: float = 120.0
    numerator: int = 4
    denominator: int = 4
    tempo: list[TempoMarker] = field(default_factory=list)
    markers: list[Marker] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=_project_values)
    strings: dict[str, str] = field(default_factory=_project_strings)
    ext_state: dict[str, dict[str, str]] = field(default_factory=dict)
    time_selection: tuple[float, float] = (0.0, 0.0)
    loop: tuple[float, float] = (0.0, 0.0)
    cursor: float = 0.0
    view: tuple[float, float] = (0.0, 60.0)
    """What the arrange view shows."""
    playing: int = 0
    """Bits of GetPlayState: 1 play, 2 pause, 4 record."""
    play_position: float = 0.0
    play_rate: float = 1.0
    time_offset: float = 0.0
    ripple: int = 0
    """0 off, 1 per track, 2 all tracks: what a user's edit does; the API's setters do not ripple."""
    dirty: bool = False
    undo_names: list[str] = field(default_factory=list)
    """Of the steps that can be undone, oldest first."""
    alive: bool = True

    @property
    def rate(self) -> int:
        """Hz: the project's own, or that of the device."""
        return int(self.values["PROJECT_SRATE"]) if self.values["PROJECT_SRATE_USE"] else 48000
