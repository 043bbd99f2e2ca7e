"""What a project sounds like: any range of frames of a take, an item, a track or the master, float32 ``(2, frames)``.

The rules, simple and exact: a take's frame lies at ``round((D_POSITION - D_STARTOFFS) * rate)`` plus its own number, so
that splitting an item moves nothing; fades are linear over whole frames; a pan turns down the other side and leaves its
own as it is; effects multiply. A muted track is silent, also in its stem; when anything is soloed, what is not (itself,
by a parent, by a child) is silent in the master mix. A file that is missing is silence. What is not modelled (stretched
or pitched takes, channel modes) raises NotModelled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.reascript.errors import NotModelled
from tests.support.reascript.model import Item, Project, Source, Take, Track

Audio = NDArray[np.float32]

TONE_HZ, TONE_LEVEL = 220.0, 0.25
"""What an instrument plays for as long as a MIDI item lasts, times its gain."""


def frame_at(time_s: float, rate: int) -> int:
    """The frame at which `time_s` lies; float noise far below a frame does not decide where a half goes."""
    return round(round(time_s * rate, 6))


# --- sources ----------------------------------------------------------------------------------------------------------
def source_audio(source: Source, rate: int) -> Audio:
    """The whole file at `rate`, mono on both sides."""
    if source.kind == "MIDI" or not source.path.is_file():
        return np.zeros((2, 0), np.float32)
    state = source.path.stat()
    return _read(source.path, state.st_mtime_ns, state.st_size, rate)


@lru_cache(maxsize=16)
def _read(path: Path, _changed: int, _size: int, rate: int) -> Audio:
    samples, own_rate = soundfile.read(path, dtype="float32", always_2d=True)
    if samples.shape[1] > 2:
        raise NotModelled(f"A source of {samples.shape[1]} channels.")
    if own_rate != rate:
        frames = round(len(samples) * rate / own_rate)
        samples = soxr.resample(samples, own_rate, rate)[:frames]
    stereo = samples.T if samples.shape[1] == 2 else np.repeat(samples.T, 2, axis=0)
    stereo = np.ascontiguousarray(stereo, dtype=np.float32)
    stereo.flags.writeable = False
    return stereo


# --- items ------------------------------------------------------------------------------------------------------------
def item_audio(item: Item, rate: int, start: int, end: int) -> Audio:
    """The project's frames ``start..end`` of this item alone: takes, volumes, fades, loop, mute."""
    out = np.zeros((2, end - start), np.float32)
    first, last = item_frames(item, rate)
    low, high = max(start, first), min(end, last)
    if item.values["B_MUTE"] or high <= low:
        return out
    part = np.zeros((2, high - low), np.float32)
    for take in _playing_takes(item):
        part += _take_audio(take, item, rate, low, high)
    part *= np.float32(item.values["D_VOL"]) * _fades(item, rate, low, high)
    out[:, low - start : high - start] = part
    return out


def item_frames(item: Item, rate: int) -> tuple[int, int]:
    """The first frame of an item and the one after its last."""
    return frame_at(item.position, rate), frame_at(item.end, rate)


def _playing_takes(item: Item) -> list[Take]:
    if item.values["B_ALLTAKESPLAY"]:
        return item.takes
    return item.takes[item.active : item.active + 1]


def _take_audio(take: Take, item: Item, rate: int, low: int, high: int) -> Audio:
    if take.values["D_PLAYRATE"] != 1 or take.values["D_PITCH"] != 0 or take.values["I_CHANMODE"] != 0:
        raise NotModelled("The sound of a take with another play rate, pitch or channel mode.")
    out = np.zeros((2, high - low), np.float32)
    if take.source is None or take.is_midi:
        return out
    audio = source_audio(take.source, rate)
    offset = frame_at(item.position - take.values["D_STARTOFFS"], rate)
    wanted = np.arange(low, high) - offset
    if item.values["B_LOOPSRC"] and audio.shape[1]:
        out[:] = audio[:, wanted % audio.shape[1]]
    else:
        there = (wanted >= 0) & (wanted < audio.shape[1])
        out[:, there] = audio[:, wanted[there]]
    gain = take.values["D_VOL"] * np.prod([fx.gain for fx in take.fx if fx.enabled and not fx.offline])
    return _panned(out * np.float32(gain), take.values["D_PAN"])


def _fades(item: Item, rate: int, low: int, high: int) -> NDArray[np.float32]:
    """Gain of each frame: the fade-in rises from 0, the fade-out is its complement, so that a crossfade sums to 1."""
    first, last = item_frames(item, rate)
    frames = np.arange(low, high)
    gain = np.ones(high - low)
    if fade_in := frame_at(_fade_s(item, "D_FADEINLEN"), rate):
        gain *= np.clip((frames - first) / fade_in, 0.0, 1.0)
    if fade_out := frame_at(_fade_s(item, "D_FADEOUTLEN"), rate):
        gain *= np.clip((last - frames) / fade_out, 0.0, 1.0)
    return gain.astype(np.float32)


def _fade_s(item: Item, name: str) -> float:
    """An automatic fade (a crossfade's) replaces the item's own; -1: there is none."""
    auto = item.values[name + "_AUTO"]
    return auto if auto >= 0 else item.values[name]


def _panned(audio: Audio, pan: float) -> Audio:
    return audio * np.array([[min(1.0, 1.0 - pan)], [min(1.0, 1.0 + pan)]], np.float32)


# --- tracks -----------------------------------------------------------------------------------------------------------
def dry(track: Track, rate: int, start: int, end: int) -> Audio:
    """What the track's items play before its effects, fader and mute: what an audio accessor hears."""
    out = np.zeros((2, end - start), np.float32)
    for item in track.items:
        out += item_audio(item, rate, start, end)
    return out


def stem(project: Project, track: Track, rate: int, start: int, end: int) -> Audio:
    """The track's output after its effects and its fader, with the tracks of its folder; not the master's."""
    if is_muted(project, track):
        return np.zeros((2, end - start), np.float32)
    return _output(project, track, rate, start, end, heard=lambda one: not is_muted(project, one))


def master_mix(project: Project, rate: int, start: int, end: int) -> Audio:
    """All that is heard, through the master track's effects and fader."""
    soloed = [track for track in project.tracks if track.values["I_SOLO"]]

    def heard(track: Track) -> bool:
        family = {*parents(project, track), track}
        in_solo = not soloed or any(one in family or track in parents(project, one) for one in soloed)
        return in_solo and not is_muted(project, track)

    out = np.zeros((2, end - start), np.float32)
    for track in project.tracks:
        if not parents(project, track) and heard(track) and track.values["B_MAINSEND"]:
            out += _output(project, track, rate, start, end, heard)
    return _through_fader(project.master, _through_effects(project.master, out, rate, start, end))


def parents(project: Project, track: Track) -> list[Track]:
    """The folders that a track is in, the innermost last."""
    folders: list[Track] = []
    for one in project.tracks:
        if one is track:
            break
        depth = int(one.values["I_FOLDERDEPTH"])
        if depth > 0:
            folders.append(one)
        elif depth < 0:
            del folders[max(0, len(folders) + depth) :]
    return folders


def is_muted(project: Project, track: Track) -> bool:
    return any(one.values["B_MUTE"] for one in [*parents(project, track), track])


def end_s(project: Project) -> float:
    """Where the last item ends, in seconds."""
    return max((item.end for track in project.tracks for item in track.items), default=0.0)


def _output(project: Project, track: Track, rate: int, start: int, end: int, heard: Callable[[Track], bool]) -> Audio:
    delay = _play_offset(track, rate)
    audio = dry(track, rate, start - delay, end - delay)
    for child in project.tracks:
        if parents(project, child)[-1:] == [track] and child.values["B_MAINSEND"] and heard(child):
            audio = audio + _output(project, child, rate, start, end, heard)
    return _through_fader(track, _through_effects(track, audio, rate, start - delay, end - delay))


def _play_offset(track: Track, rate: int) -> int:
    """By how many frames the track's items play later."""
    flag, offset = int(track.values["I_PLAY_OFFSET_FLAG"]), track.values["D_PLAY_OFFSET"]
    if flag & 1:
        return 0
    return round(offset) if flag & 2 else frame_at(offset, rate)


def _through_effects(track: Track, audio: Audio, rate: int, start: int, end: int) -> Audio:
    for fx in track.fx if track.values["I_FXEN"] else []:
        if fx.enabled and not fx.offline:
            signal = _tones(track, rate, start, end) if fx.is_instrument else audio
            audio = signal * np.float32(fx.gain)
    return audio


def _tones(track: Track, rate: int, start: int, end: int) -> Audio:
    out = np.zeros((2, end - start), np.float32)
    for item in track.items:
        first, last = item_frames(item, rate)
        low, high = max(start, first), min(end, last)
        is_heard = not item.values["B_MUTE"] and any(take.is_midi for take in _playing_takes(item))
        if is_heard and high > low:
            phase = 2 * np.pi * TONE_HZ * (np.arange(low, high) - first) / rate
            out[:, low - start : high - start] += (TONE_LEVEL * np.sin(phase)).astype(np.float32)
    return out


def _through_fader(track: Track, audio: Audio) -> Audio:
    volume, pan, width = (track.values[name] for name in ("D_VOL", "D_PAN", "D_WIDTH"))
    if width != 1:
        middle, side = (audio[0] + audio[1]) / 2, (audio[0] - audio[1]) / 2 * np.float32(width)
        audio = np.stack([middle + side, middle - side])
    sign = -1.0 if track.values["B_PHASE"] else 1.0
    return _panned(audio * np.float32(volume * sign), pan)
