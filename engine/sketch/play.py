"""The band at work: added parts for a song (complete, lego), a cover of it, or a song of its own (generate).

A take's notes depend on lead sheet, style and seed; its sound on the voices, ours or a soundfont's, beside that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.api import EngineTake, GenerationRequest, IsCancelled, ReportProgress
from engine.loudness import loudness_lufs
from engine.measures.key import estimate_key, pitches, tuning
from engine.measures.reference import told_key
from engine.sketch.analysis import check
from engine.sketch.arranger.arrange import arrange
from engine.sketch.assemble import LEAD_S
from engine.sketch.band import band_for
from engine.sketch.chance import chance_for
from engine.sketch.compose import compose, key_for, tempo_for
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.midi_file import midi_file
from engine.sketch.mix import SKETCH_LUFS, amplified, limited, mixed, stem_gain_db
from engine.sketch.score import Part, on_tick
from engine.sketch.song import SongAnalysis
from engine.sketch.song_analysis import analyse_song
from engine.sketch.sound import Sound
from engine.sketch.style import Style, parse_style
from protocol.job import Progress
from protocol.key import Key
from protocol.music import TempoMap
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    from engine.api import Audio

OWN_GROOVE_BELOW = 0.25
"""A cover whose strength is below this keeps the song's harmony and form but not its groove."""


def style_of(request: GenerationRequest) -> Style:
    """What the task's prompts say."""
    return parse_style(request.task.positive_prompt, request.task.negative_prompt)


def stems(
    request: GenerationRequest, sound: Sound, progress: ReportProgress, cancelled: IsCancelled
) -> list[EngineTake]:
    """One take for each seed and track, to be added to the song. Raises `Cancelled`, and what reading raises."""
    song, style = analyse_song(request, _first_half(progress), cancelled), style_of(request)
    sheet = _sheet(song, request)
    takes: list[EngineTake] = []
    count = len(request.seeds) * len(request.tracks)
    for seed in request.seeds:
        for part in arrange(sheet, style, request.tracks, seed, cancelled):
            check(cancelled)
            gain_db = stem_gain_db(part.track, song.lufs)
            played = sound.play(part, sheet.tempo_map, request, request.region, cancelled)
            audio = limited(amplified(played, gain_db), request.rate)
            notes = {**_told(sheet, style, sound), **_heard(song), **_part_told(part), "gain_db": gain_db}
            takes.append(_take(request, seed, audio, [part], sheet, notes, part.track))
            progress(Progress(fraction=0.5 + 0.5 * len(takes) / count, stage="playing"))
    return takes


def covers(
    request: GenerationRequest, sound: Sound, progress: ReportProgress, cancelled: IsCancelled
) -> list[EngineTake]:
    """The region's harmony and form, played by another band, at the region's loudness. Raises as `stems` does."""
    song, style = analyse_song(request, _first_half(progress), cancelled), style_of(request)
    sheet = _sheet(song, request)
    if request.task.strength < OWN_GROOVE_BELOW:
        sheet = replace(sheet, accents=None)
    assert request.window is not None
    first = request.region[0] - request.window.start
    lufs = loudness_lufs(request.window.audio[:, first : first + request.region[1] - request.region[0]], request.rate)
    level = SKETCH_LUFS if lufs is None else lufs
    return [
        _ensemble(request, seed, sheet, style, sound, level, _heard(song), progress, cancelled)
        for seed in request.seeds
    ]


def sketches(
    request: GenerationRequest, sound: Sound, progress: ReportProgress, cancelled: IsCancelled
) -> list[EngineTake]:
    """A song from prompt, tempo, key and length alone, one for each seed. Raises `Cancelled`."""
    style = style_of(request)
    tempo_map, told = _tempo(request, style), _key_told(request)
    is_told = request.tempo_known or request.task.settings.bpm is not None
    takes = []
    for seed in request.seeds:
        chance = chance_for(seed, "song")
        key = key_for(style, told, chance)
        start, end = _beats(request, tempo_map)
        sheet = compose(style, key, tempo_map, start, end, chance)
        notes = {"key_told": told is not None, "bpm_told": is_told}
        takes.append(_ensemble(request, seed, sheet, style, sound, SKETCH_LUFS, notes, progress, cancelled))
    return takes


def fills(
    request: GenerationRequest, sound: Sound, progress: ReportProgress, cancelled: IsCancelled
) -> list[EngineTake]:
    """Music for a region whose song is too short to be rearranged, with a lead and a tail for the crossfades.

    In the told key, else in the one of what lies around the region. Nothing of what the region holds is heard.
    """
    style = style_of(request)
    tempo_map = _tempo(request, style)
    lead = round(LEAD_S * request.rate)
    span = (request.region[0] - lead, request.region[1] + lead)
    begin, stop = (tempo_map.beat_at(request.time_of(frame)) for frame in span)
    told = _key_told(request) or _key_around(request)
    takes = []
    for seed in request.seeds:
        chance = chance_for(seed, "fill")
        sheet = compose(style, key_for(style, told, chance), tempo_map, begin, stop, chance)
        notes = {"filled": "The song offers too little material to be rearranged: the band plays."}
        takes.append(_ensemble(request, seed, sheet, style, sound, SKETCH_LUFS, notes, progress, cancelled, span))
    return takes


def _ensemble(
    request: GenerationRequest,
    seed: int,
    sheet: LeadSheet,
    style: Style,
    sound: Sound,
    lufs: float,
    notes: dict[str, Any],
    progress: ReportProgress,
    cancelled: IsCancelled,
    span: tuple[int, int] | None = None,
) -> EngineTake:
    """All parts of a band as one take."""
    begin, end = span or request.region
    parts = arrange(sheet, style, band_for(style, chance_for(seed, "band")), seed, cancelled)
    played = []
    done = request.seeds.index(seed)
    for index, part in enumerate(parts):
        check(cancelled)
        played.append((part.track, sound.play(part, sheet.tempo_map, request, (begin, end), cancelled)))
        fraction = 0.5 + 0.5 * (done + (index + 1) / len(parts)) / len(request.seeds)
        progress(Progress(fraction=fraction, stage="playing"))
    audio = mixed(played, request.rate, lufs, cancelled)
    told = {**_told(sheet, style, sound), **notes, "band": [f"{part.track}: {part.instrument}" for part in parts]}
    return replace(_take(request, seed, audio, parts, sheet, told), start=begin)


def _take(
    request: GenerationRequest,
    seed: int,
    audio: Audio,
    parts: Sequence[Part],
    sheet: LeadSheet,
    notes: dict[str, Any],
    track: TrackClass | None = None,
) -> EngineTake:
    start, end = _beats(request, sheet.tempo_map)
    midi = midi_file(parts, sheet.tempo_map, start, end, sheet.key)
    return EngineTake(audio=audio, start=request.region[0], seed=seed, track=track, notes=notes, midi=midi)


def _first_half(progress: ReportProgress) -> ReportProgress:
    """Tells how far listening is, after which there is as much to do again."""
    return lambda step: progress(step.model_copy(update={"fraction": 0.5 * step.fraction}))


# --- where and in which key -------------------------------------------------------------------------------------------
def _beats(request: GenerationRequest, tempo_map: TempoMap) -> tuple[float, float]:
    """The region's edges in beats: ticks where they are meant to be, which sample rounding hides."""

    def edge(frame: int) -> float:
        beat = tempo_map.beat_at(request.time_of(frame))
        tick = on_tick(beat)
        return tick if abs(request.frame_of(tempo_map.time_at(tick)) - frame) <= 1.0 else beat

    return edge(request.region[0]), edge(request.region[1])


def _sheet(song: SongAnalysis, request: GenerationRequest) -> LeadSheet:
    return song.lead_sheet(*_beats(request, song.tempo_map))


def _key_around(request: GenerationRequest) -> Key | None:
    """The key of what the window holds outside the region; None if no note is heard there."""
    if request.window is None:
        return None
    audio, edges = request.window.audio, [frame - request.window.start for frame in request.region]
    around = np.concatenate([audio[:, : max(0, edges[0])], audio[:, max(0, edges[1]) :]], axis=1).mean(axis=0)
    found = pitches(around, request.rate)
    return estimate_key(found, tuning(found)) if found.weight.size else None


def _key_told(request: GenerationRequest) -> Key | None:
    """The session's key, else the task's."""
    hint = request.task.settings.key_scale
    return told_key(request) or (Key.parse(hint) if hint else None)


def _tempo(request: GenerationRequest, style: Style) -> TempoMap:
    """The session's tempo map, else one of the task's hints and the words."""
    settings = request.task.settings
    return request.tempo_map if request.tempo_known else tempo_for(style, settings.bpm, settings.time_signature)


# --- what the recipe tells --------------------------------------------------------------------------------------------
def _told(sheet: LeadSheet, style: Style, sound: Sound) -> dict[str, Any]:
    flats = sheet.key.signature < 0
    return {
        "key": str(sheet.key),
        "bpm": round(sheet.tempo_map.bpm_at(sheet.tempo_map.time_at(sheet.start)), 4),
        "style": list(style.words),
        "chords": [
            [round(span.start, 4), span.chord.name(flats=flats) if span.chord else "N"] for span in sheet.chords
        ],
        "voices": sound.identity,
    }


def _heard(song: SongAnalysis) -> dict[str, Any]:
    return {"grid": song.grid_name, "key_told": song.key_told, "tonal": song.tonal}


def _part_told(part: Part) -> dict[str, Any]:
    return {"instrument": part.instrument.value, "notes_played": len(part.notes)}
