"""From what a musician asked to a live run: its source, where it joins, what sounds first, its clock and audio out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.desk import Desk
from bridge.live.files import keep_audio, read_audio
from bridge.live.internal_clock import InternalClock
from bridge.live.listening import Listener
from bridge.live.material import FADE_S, Filled, Material, laid_out
from bridge.live.output import LiveOutput
from bridge.live.phrases import Played
from bridge.live.run import LiveRun
from bridge.live.schedule import Schedule
from bridge.live.speed import Speed
from protocol.errors import BadArgument, MissingContext
from protocol.job import ProjectRef
from protocol.live import Filling, LiveOut, LiveSettings, Slot
from protocol.music import TempoMap
from protocol.session import Session
from protocol.task import parse_setting
from protocol.transport import Playhead

if TYPE_CHECKING:
    from bridge.live.audio_device import Device

OF_THE_RUN = ("phrase_bars", "lead_bars", "context_bars", "handoff_s")
OF_THE_START = ("file", "at", "join", "input", "out", "device", "offset_ms", "clock", "id")
HEARD_BARS = 64
"""So much of the source's end is kept in memory, for all that a run may want to hear of it."""

LINE_BEATS = 0.5
"""A source that ends so near after a bar line ends there: what follows is a tail that rings on."""

_COUNTED_IN_S = 0.2
"""Our own transport starts so long after the stream, so that its first block is not late."""


@dataclass(frozen=True)
class Start:
    """One request to start a run. `told` gives the session that phrases are asked with, `head` the DAW's playhead."""

    run_id: str
    options: Mapping[str, Any]
    session: Session
    told: Callable[[], Session]
    head: Callable[[float], Playhead | None]
    client: str

    @property
    def live(self) -> LiveSettings:
        return LiveSettings(**{name: self.options[name] for name in OF_THE_RUN if name in self.options})

    @property
    def out(self) -> LiveOut:
        return LiveOut(self.options.get("out", LiveOut.FILES))

    @property
    def is_internal(self) -> bool:
        return self.options.get("clock") == "internal"

    @property
    def project(self) -> ProjectRef:
        if self.session.project is None:
            raise MissingContext(
                "No project is open: send /stembridge/project FOLDER first, so that phrases have a place."
            )
        return self.session.project.value

    def tempo_map(self) -> TempoMap:
        """The tempo map in force. Raises `MissingContext` if no tempo was told."""
        # While an input is listened to, the tempo may become another.
        tempo_map, known = (self.told() if "input" in self.options else self.session).tempo_map()
        if not known:
            raise MissingContext(
                "Live extension keeps to bar lines, and no tempo is known: send /stembridge/tempo BPM or MIDI clock "
                "first."
            )
        return tempo_map


def task_settings(options: Mapping[str, object]) -> dict[str, object]:
    """The task's settings among the options, checked; "" takes one back. Raises `BadArgument`, `TaskInvalid`."""
    names = [name for name in options if name not in OF_THE_RUN and name not in OF_THE_START]
    return {name: "" if options[name] == "" else parse_setting(name, options[name]) for name in names}


async def prepared(start: Start, desk: Desk, listener: Listener | None, clock: Callable[[], float]) -> LiveRun:
    """The run, not yet ticking. Raises `StembridgeError` for what is missing or cannot be."""
    tempo_map, project = start.tempo_map(), start.project
    settings = {name: value for name, value in task_settings(start.options).items() if value != ""}
    if "input" in start.options:
        assert listener is not None
        played = await asyncio.to_thread(listener.played, project, tempo_map, start.head)
        join_beat = next_line(tempo_map, _beat_now(start, clock))
    else:
        played = await _from_file(start, desk, project, tempo_map)
        join_beat = _join(start, played, tempo_map)
    base = await asyncio.to_thread(_base, start, played, project, tempo_map, join_beat)
    device = await asyncio.to_thread(_device, start)
    internal = InternalClock(played.rate if device is None else device.rate, clock) if start.is_internal else None
    head = internal.head if internal is not None else start.head
    output = None if device is None else await _output(start, device, played, head, internal, clock)
    if internal is not None:
        await asyncio.to_thread(_lead_in, internal, output, base, join_beat, tempo_map)
    schedule = Schedule(start.live, Speed(), join_beat=join_beat)
    return LiveRun(
        start.run_id, desk, played, base, schedule, settings, head, clock, start.client, start.told, output, internal
    )  # fmt: skip


# --- the source -------------------------------------------------------------------------------------------------------
async def _from_file(start: Start, desk: Desk, project: ProjectRef, tempo_map: TempoMap) -> Played:
    if "file" in start.options:
        name, start_s = str(start.options["file"]), float(start.options.get("at", 0.0))
    elif start.session.source is not None:
        name, start_s = start.session.source.value.file, start.session.source.value.start_s
    else:
        raise MissingContext(
            "There is nothing to go on from: send /stembridge/source FILE first, or start with file FILE or input NAME."
        )
    info = await desk.admit_source(name, project)
    rate = project.sample_rate or info.rate
    frames = round(info.frames * rate / info.rate)
    end_s = start_s + frames / rate
    first = max(0, round((tempo_map.bars_from(end_s, -HEARD_BARS) - start_s) * rate))
    audio = await asyncio.to_thread(read_audio, Path(info.path), rate, first, frames)
    return Played(project, audio, rate, tempo_map.beat_at(start_s + first / rate), tempo_map.beat_at(end_s))


def _join(start: Start, played: Played, tempo_map: TempoMap) -> float:
    if "join" not in start.options:
        return end_line(tempo_map, played.end_beat)
    join_beat = tempo_map.beat_at(float(start.options["join"]))
    if join_beat <= played.start_beat:
        raise BadArgument(
            f"join is {start.options['join']:g} s, where nothing was played that could be gone on from: the source "
            f"begins at {tempo_map.time_at(played.start_beat):g} s. Join after that."
        )
    return join_beat


def end_line(tempo_map: TempoMap, end_beat: float) -> float:
    """The beat of the bar line where audio that ends at `end_beat` ends musically: one that is near, else the next."""
    bar, into = tempo_map.bar_at(tempo_map.time_at(end_beat))
    return tempo_map.beat_at(tempo_map.bar_start(bar if into <= LINE_BEATS else bar + 1))


def last_line(tempo_map: TempoMap, beat: float) -> float:
    """The beat of the last bar line at or before `beat`."""
    return tempo_map.beat_at(tempo_map.bar_start(tempo_map.bar_at(tempo_map.time_at(beat))[0]))


def next_line(tempo_map: TempoMap, beat: float) -> float:
    """The beat of the first bar line at or after `beat`."""
    bar, into = tempo_map.bar_at(tempo_map.time_at(beat))
    return tempo_map.beat_at(tempo_map.bar_start(bar + 1)) if into else beat


def _beat_now(start: Start, clock: Callable[[], float]) -> float:
    head = start.head(clock())
    if head is None:
        raise MissingContext("Nothing has said where the DAW plays: an input can only be followed by its transport.")
    return head.beat


# --- what sounds until the first phrase is there ----------------------------------------------------------------------
def _base(start: Start, played: Played, project: ProjectRef, tempo_map: TempoMap, join_beat: float) -> Material:
    """The source's last bars up to the join, as many as a phrase has (or as there are): looped until one is there."""
    last_beat = min(played.end_beat, next_line(tempo_map, join_beat))
    end_beat = last_line(tempo_map, last_beat)
    if end_beat <= played.start_beat:  # less than a bar
        end_beat = last_beat
    wanted = tempo_map.beat_at(tempo_map.bars_from(tempo_map.time_at(end_beat), -start.live.phrase_bars))
    start_beat = max(wanted, played.start_beat)
    span = [(played.start_beat, played.end_beat, played.audio)]
    audio, _ = laid_out(span, start_beat, end_beat, tempo_map, played.rate, played.channels)
    if not audio.shape[1]:
        raise BadArgument("The source holds no audio to go on from: choose a longer one.")
    fade_beats = FADE_S * tempo_map.bpm_at(tempo_map.time_at(start_beat)) / 60.0
    before, _ = laid_out(span, start_beat - fade_beats, start_beat, tempo_map, played.rate, played.channels)
    file = keep_audio(audio, played.rate, project, f"live-{start.run_id}")
    return Material(0, audio, end_beat - start_beat, played.rate, before, "", str(file))


# --- clock and audio out ----------------------------------------------------------------------------------------------
def _device(start: Start) -> Device | None:
    """The audio out; None if the run only makes files. Raises `AudioUnavailable`."""
    if not start.out.plays:
        return None
    from bridge.live.audio_device import find

    wanted = start.options.get("device")
    return find(None if wanted in (None, "", "default") else str(wanted), playing=True)


async def _output(
    start: Start,
    device: Device,
    played: Played,
    head: Callable[[float], Playhead | None],
    internal: InternalClock | None,
    clock: Callable[[], float],
) -> LiveOutput:
    offset_s = float(start.options.get("offset_ms", 0.0)) / 1000.0
    channels = max(1, min(device.outputs, max(2, played.channels)))

    def heard(at: float) -> Playhead | None:
        """The playhead of what shall sound at `at`: later by the offset, so that it sounds earlier."""
        return head(at + offset_s)

    return await asyncio.to_thread(
        LiveOutput.open, device, channels, heard if offset_s else head, lambda: start.told().tempo_map()[0],
        internal, clock,
    )  # fmt: skip


def _lead_in(
    internal: InternalClock,
    output: LiveOutput | None,
    base: Material,
    join_beat: float,
    tempo_map: TempoMap,
) -> None:
    """Our own transport begins with the source's last bars, which no DAW plays."""
    begin = join_beat - base.beats
    if output is not None:
        bar, _ = tempo_map.bar_at(tempo_map.time_at(begin))
        output.lead_in(Filled(Slot(0, begin, join_beat, bar), Filling.PHRASE, base))
    bpm = tempo_map.bpm_at(tempo_map.time_at(begin))
    internal.play(begin - _COUNTED_IN_S * bpm / 60.0, bpm)
