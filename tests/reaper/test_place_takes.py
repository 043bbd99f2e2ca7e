"""Takes onto items: exactly there, as takes of what is there, nothing else changed, one undo step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.reaper.placing import JOB, Stage, audio_of, made_by, spans
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Item, Project, TempoMarker
from tests.support.reascript.projects import (
    add_audio,
    crossfaded_project,
    effect,
    looped_project,
    midi_project,
    song_file,
    song_project,
)
from tests.support.reascript.rpp import dump
from tests.support.reascript.rpp_reading import ReadItem, read

STEP = "Stembridge: repaint bars 9-12"
RAMPED_END_S = 25.846153846153847
"""Four bars of 97.5 BPM after 16 s: between two samples."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Gesänge ü"


def repainted(stage: Stage, start_s: float, end_s: float, **origin: Any) -> list[dict[str, Any]]:
    """Place two takes over this time, the second of which ranks best."""
    takes = [stage.take(1, start_s, end_s, rank=2), stage.take(2, start_s, end_s, rank=1)]
    stage.place(stage.answer(takes, **origin))
    return takes


def track_read(stage: Stage, index: int = 0) -> tuple[ReadItem, ...]:
    """The items of a track as two parsers read them in the saved project."""
    return read(dump(stage.project)).tracks[index].items


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_repaint_is_exact_to_the_sample_and_outside_all_is_as_before(reaper: Reaper, folder: Path, rate: int) -> None:
    stage = Stage(reaper, song_project(folder, rate, tracks=("Guitar", "Bass"), tempo="change"), folder)
    takes = repainted(stage, 16.0, RAMPED_END_S)
    left, middle, right = track_read(stage)
    frames = takes[0]["frames"]
    assert middle.position_s == takes[0]["start_frame"] / rate
    assert middle.length_s == frames / rate
    assert right.position_s == (takes[0]["start_frame"] + frames) / rate
    assert (left.position_s, left.end_s, right.end_s) == (0.0, 16.0, 48.0)
    stage.keeps_outside(16.0, RAMPED_END_S)
    stage.project.tracks[1].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(16.0, RAMPED_END_S), audio_of(takes[1]))
    stage.project.tracks[1].values["B_MUTE"] = 0.0
    stage.undone(STEP)


def test_the_original_stays_take_one_and_the_best_take_is_heard(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    repainted(stage, 16.0, 24.0)
    _, middle, _ = track_read(stage)
    assert [take.name for take in middle.takes] == [
        "Guitar-1.wav", "repaint: calmer (seed 8)", "repaint: calmer (seed 7)"]  # fmt: skip
    assert middle.active == 1
    assert middle.takes[0].offset_s == 16.0
    assert [take.offset_s for take in middle.takes[1:]] == [0.0, 0.0]
    stage.tracks[0].items[1].active = 0
    assert np.array_equal(stage.heard(), stage.heard_before)


def test_a_take_remembers_how_it_was_made(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    takes = repainted(stage, 16.0, 24.0)
    item = stage.tracks[0].items[1]
    made = made_by(item.takes[1])
    assert made["v"] == 1
    assert made["job"] == JOB
    assert made["take"]["seed"] == 8
    assert made["take"] == {key: value for key, value in takes[1].items() if value is not None}
    assert made["asked"]["settings"]["prompt"] == "calmer"
    assert made["source"]["start_frame"] == 0
    assert read(dump(stage.project)).tracks[0].items[1].ext["stembridge_job"] == JOB
    assert all(take.source is not None and take.source.peaks for take in item.takes[1:])


def test_pieces_and_gaps_play_one_take_without_a_seam(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, seconds=18.0)
    add_audio(project.tracks[0], song_file(folder, "Later", 10.0, 44100, 1), 20.0, 6.0)
    stage = Stage(reaper, project, folder)
    takes = repainted(stage, 16.0, 32.0)
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 18.0), (18.0, 20.0), (20.0, 26.0), (26.0, 32.0)]
    assert [len(item.takes) for item in stage.tracks[0].items] == [1, 3, 2, 3, 2]
    assert np.array_equal(stage.inside(16.0, 32.0), audio_of(takes[1]))
    stage.keeps_outside(16.0, 32.0)
    stage.undone(STEP)


def test_an_empty_track_gets_one_item(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, seconds=10.0), folder)
    takes = repainted(stage, 16.0, 24.0)
    _, new = track_read(stage)
    assert (new.position_s, new.length_s, new.loops, new.timebase) == (16.0, 8.0, False, 2)
    assert (new.fade_in_s, new.fade_out_s, new.auto_fade_in_s, new.auto_fade_out_s) == (0.0, 0.0, -1.0, -1.0)
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[1]))
    stage.undone(STEP)


def test_the_split_preferences_of_the_user_leave_no_trace(reaper: Reaper, folder: Path) -> None:
    reaper.split_crossfade_s = 0.02
    stage = Stage(reaper, song_project(folder), folder)
    takes = repainted(stage, 16.0, 24.0)
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 24.0), (24.0, 48.0)]
    for item in track_read(stage):
        assert (item.fade_in_s, item.fade_out_s, item.auto_fade_in_s, item.auto_fade_out_s) == (0.0, 0.0, -1.0, -1.0)
    stage.keeps_outside(16.0, 24.0)
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[1]))
    stage.undone(STEP)


def test_outer_fades_loop_and_timebase_of_the_item_stay(reaper: Reaper, folder: Path) -> None:
    project = looped_project(folder)
    item = project.tracks[0].items[0]
    item.values.update(D_FADEINLEN=0.5, D_FADEOUTLEN=1.5, C_BEATATTACHMODE=1.0, D_FADEOUTLEN_AUTO=-1.0)
    stage = Stage(reaper, project, folder)
    takes = repainted(stage, 15.0, 25.0)
    left, middle, right = track_read(stage)
    assert (left.fade_in_s, left.fade_out_s) == (0.5, 0.0)
    assert (middle.fade_in_s, middle.fade_out_s) == (0.0, 0.0)
    assert (right.fade_in_s, right.fade_out_s) == (0.0, 1.5)
    assert all(part.loops and part.timebase == 1 for part in (left, middle, right))
    stage.keeps_outside(15.0, 25.0)
    assert np.array_equal(stage.inside(15.0, 25.0), audio_of(takes[1]))
    stage.tracks[0].items[1].active = 0
    assert np.array_equal(stage.heard(), stage.heard_before)


def test_the_items_volume_does_not_turn_the_take_down_twice(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder)
    project.tracks[0].items[0].values["D_VOL"] = 0.5
    stage = Stage(reaper, project, folder)
    takes = repainted(stage, 16.0, 24.0)
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[1]))
    stage.keeps_outside(16.0, 24.0)


def test_an_edge_in_a_fade_is_told(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder)
    project.tracks[0].items[0].values["D_FADEOUTLEN"] = 30.0
    stage = Stage(reaper, project, folder)
    message = stage.place(stage.answer([stage.take(1, 20.0, 24.0)]))
    assert message == 'Repaint: 1 take on "Guitar", bars 9-12. An edge lies in a fade, which is shorter now.'


def test_edges_within_half_a_sample_split_nothing_off(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, seconds=24.0)
    project.tracks[0].items[0].values["D_POSITION"] = 0.3 / 44100
    stage = Stage(reaper, project, folder)
    stage.place(stage.answer([stage.take(1, 0.0, 24.0)]))
    assert len(stage.tracks[0].items) == 1


@pytest.mark.parametrize("ripple", [1, 2])
def test_no_other_item_moves_in_a_ripple_mode(reaper: Reaper, folder: Path, ripple: int) -> None:
    project = song_project(folder, tracks=("Guitar", "Bass"), seconds=20.0)
    for track in project.tracks:
        add_audio(track, song_file(folder, track.name, 10.0, 44100, 2), 30.0)
    project.ripple = ripple
    stage = Stage(reaper, project, folder)
    repainted(stage, 10.0, 24.0)
    assert spans(stage.tracks[0]) == [(0.0, 10.0), (10.0, 20.0), (20.0, 24.0), (30.0, 40.0)]
    assert spans(stage.tracks[1]) == [(0.0, 20.0), (30.0, 40.0)]
    stage.undone(STEP)


def test_a_selected_item_stays_selected_in_all_its_pieces(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, tracks=("Guitar", "Bass"))
    project.tracks[0].items[0].values["B_UISEL"] = 1.0
    stage = Stage(reaper, project, folder)
    repainted(stage, 16.0, 24.0)
    assert [item.is_selected for item in track_read(stage)] == [True, True, True]
    assert not track_read(stage, 1)[0].is_selected


def test_a_take_at_another_rate_lasts_as_long_as_it_was_made(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, 44100), folder)
    take = stage.take(1, 16.0, 24.0)
    samples, _ = soundfile.read(take["file"], always_2d=True)
    soundfile.write(take["file"], np.repeat(samples, 2, axis=0), 88200, subtype="FLOAT")
    take.update(start_frame=16 * 88200, frames=8 * 88200, sample_rate=88200)
    stage.place(stage.answer([take]))
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 24.0), (24.0, 48.0)]


def muted(project: Project) -> Project:
    project.tracks[0].items[0].values["B_MUTE"] = 1.0
    return project


def all_takes_play(project: Project) -> Project:
    project.tracks[0].items[0].values["B_ALLTAKESPLAY"] = 1.0
    return project


def lanes(project: Project) -> Project:
    project.tracks[0].values["I_FREEMODE"] = 2.0
    return project


def empty_item(project: Project) -> Project:
    project.tracks[0].items[0].takes.clear()
    return project


OBSTACLES = {
    "MIDI": (midi_project, "there is MIDI"),
    "overlap": (crossfaded_project, "items overlap there"),
    "muted": (lambda folder: muted(song_project(folder)), "an item there is muted"),
    "all takes": (lambda folder: all_takes_play(song_project(folder)), "an item there plays all its takes"),
    "lanes": (lambda folder: lanes(song_project(folder)), "the track has fixed lanes"),
    "text": (lambda folder: empty_item(song_project(folder)), "an item there holds no audio"),
}


@pytest.mark.parametrize("kind", OBSTACLES)
def test_where_a_take_cannot_go_on_the_item_it_goes_on_a_new_track_below(
    reaper: Reaper, folder: Path, kind: str
) -> None:
    make, why = OBSTACLES[kind]
    stage = Stage(reaper, make(folder), folder)
    name = stage.tracks[0].name
    take = stage.take(1, 16.0, 24.0)
    message = stage.place(stage.answer([take]))
    assert message == f'Repaint: 1 take on a new track below "{name}", bars 9-12. Not onto the item: {why}.'
    assert stage.tracks[1].name == f"{name} repaint"
    assert spans(stage.tracks[1]) == [(16.0, 24.0)]
    for other in stage.tracks[2:]:
        other.values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))
    for other in stage.tracks[2:]:
        other.values["B_MUTE"] = 0.0
    stage.keeps_outside(16.0, 24.0)
    stage.undone(STEP)


def test_what_was_rendered_through_effects_goes_beside_them(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, tracks=("Guitar", "Bass", "Voice"))
    project.tracks[0].fx.append(effect(0.5))
    stage = Stage(reaper, project, folder)
    take = stage.take(1, 16.0, 24.0)
    both = [stage.tracks[0].guid, stage.tracks[1].guid]
    stage.place(stage.answer([take], place="new_track", mute_original=True, tracks=both))
    assert [track.name for track in stage.tracks] == ["Guitar", "Bass", "Bass repaint", "Voice"]
    stage.tracks[3].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))
    stage.tracks[3].values["B_MUTE"] = 0.0
    stage.keeps_outside(16.0, 24.0)
    stage.undone(STEP)


@pytest.mark.parametrize("verb", ["extend", "prepend"])
def test_new_bars_lie_exactly_beside_the_region(reaper: Reaper, folder: Path, verb: str) -> None:
    project = song_project(folder, seconds=10.0)
    project.tracks[0].items[0].values["D_POSITION"] = 20.0
    stage = Stage(reaper, project, folder)
    start, end = (30.0, 38.0) if verb == "extend" else (12.0, 20.0)
    take = stage.take(1, start, end)
    stage.place(stage.answer([take], place="items", verb=verb))
    assert spans(stage.tracks[0]) == sorted([(20.0, 30.0), (start, end)])
    assert np.array_equal(stage.inside(start, end), audio_of(take))
    stage.keeps_outside(start, end)
    stage.undone(f"Stembridge: {verb} bars 9-12")


def test_new_bars_go_on_a_track_below_where_something_lies_already(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    message = stage.place(stage.answer([stage.take(1, 40.0, 50.0)], place="items", verb="extend"))
    assert message == ('Extend: 1 take on a new track below "Guitar", bars 9-12. '
                       "Not onto the item: something lies there already.")  # fmt: skip
    assert spans(stage.tracks[0]) == [(0.0, 48.0)]
    assert stage.tracks[0].items[0].values["B_MUTE"] == 0.0
    assert spans(stage.tracks[1]) == [(40.0, 50.0)]


def test_items_that_the_user_moved_meanwhile_are_taken_as_they_are(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, seconds=20.0), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    item: Item = stage.tracks[0].items[0]
    item.values["D_POSITION"] = 22.0
    stage.place(answer)
    assert spans(stage.tracks[0]) == [(16.0, 22.0), (22.0, 24.0), (24.0, 42.0)]


def split_there(item: Item) -> None:
    """By the user, in the middle of the region; the right part is a new item with new GUIDs."""
    assert item.track is not None
    add_audio(item.track, item.takes[0].source.path, 20.0, item.end - 20.0, offset_s=20.0)  # type: ignore[union-attr]
    item.values["D_LENGTH"] = 20.0


def glued(item: Item) -> None:
    """One new item in place of the old one."""
    track = item.track
    assert track is not None
    track.items.remove(item)
    add_audio(track, item.takes[0].source.path, 0.0, 48.0)  # type: ignore[union-attr]


EDITS: dict[str, Callable[[Item], object]] = {
    "trimmed": lambda item: item.values.update(D_LENGTH=18.0),
    "deleted": lambda item: item.track.items.remove(item),  # type: ignore[union-attr]
    "split": split_there,
    "glued": glued,
}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_became_of_the_item_the_take_lies_where_it_was_asked(reaper: Reaper, folder: Path, edit: str) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    take = stage.take(1, 16.0, 24.0)
    answer = stage.answer([take])
    EDITS[edit](stage.tracks[0].items[0])
    stage.before, stage.heard_before = dump(stage.project), stage.heard()
    stage.place(answer)
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))
    stage.keeps_outside(16.0, 24.0)
    stage.undone(STEP)


def test_on_an_item_made_faster_meanwhile_the_take_keeps_its_own_speed_and_the_rest_its_place(
    reaper: Reaper, folder: Path
) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    stage.tracks[0].items[0].takes[0].values["D_PLAYRATE"] = 1.25
    stage.tracks[0].items[0].values["D_LENGTH"] = 38.0
    stage.place(answer)
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 24.0), (24.0, 38.0)]
    _, middle, right = stage.tracks[0].items
    assert [take.values["D_PLAYRATE"] for take in (*middle.takes, *right.takes)] == [1.25, 1.0, 1.25]
    assert [take.values["D_STARTOFFS"] for take in (*middle.takes, *right.takes)] == [20.0, 0.0, 30.0]


@pytest.mark.parametrize(("at_s", "told"), [(4.0, True), (20.0, True), (24.0, False)])
def test_a_tempo_that_changed_meanwhile_is_told_and_the_take_lies_at_the_time_that_was_asked(
    reaper: Reaper, folder: Path, at_s: float, told: bool
) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    take = stage.take(1, 16.0, 24.0)
    answer = stage.answer([take])
    stage.project.tempo = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(at_s, 97.5)]
    message = stage.place(answer)
    assert ("The tempo changed meanwhile" in message) is told
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))
