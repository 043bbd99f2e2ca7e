"""New tracks where they belong, folders as they were; the project and tracks that asked are found after any wait."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reaper.placing import Stage, audio_of, spans
from tests.support.reascript.api_tracks import depths
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Project, Track
from tests.support.reascript.projects import effect, folder_project, song_project
from tests.support.reascript.rpp import dump
from tests.support.reascript.rpp_reading import read

STEP = "Stembridge: complete bars 9-12"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Song"


def completed(stage: Stage, **origin: object) -> str:
    """Place two variations of drums and backing vocals; the message."""
    takes = [stage.take(number, 16.0, 24.0, track=track, variation=variation, rank=variation)
             for number, (variation, track) in enumerate(
                 [(1, "drums"), (1, "backing_vocals"), (2, "drums"), (2, "backing_vocals")], 1)]  # fmt: skip
    return stage.place(stage.answer(takes, place="children", verb="complete", **origin))


# --- folders ---
def test_classes_become_named_and_coloured_children_with_variations_as_takes(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, tracks=("Guitar", "Bass")), folder)
    assert completed(stage) == 'Complete: 4 takes on new tracks in "Guitar", bars 9-12.'
    tracks = read(dump(stage.project)).tracks
    assert [(track.name, track.depth) for track in tracks] == [
        ("Guitar", 1), ("Drums", 0), ("Backing vocals", -1), ("Bass", 0)]  # fmt: skip
    assert tracks[1].color != tracks[2].color
    assert all(track.color & 0x1000000 for track in tracks[1:3])
    for track in tracks[1:3]:
        (item,) = track.items
        assert (item.position_s, item.length_s, item.active, len(item.takes)) == (16.0, 8.0, 0, 2)
    stage.keeps_outside(16.0, 24.0)
    stage.undone(STEP)


def test_the_same_class_always_has_the_same_colour(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    completed(stage)
    completed(stage)
    drums = [track for track in stage.tracks if track.name == "Drums"]
    assert len(drums) == 2
    assert len({track.values["I_CUSTOMCOLOR"] for track in drums}) == 1


def test_children_of_a_neutral_track_sound_exactly_as_made(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    take = stage.take(1, 16.0, 24.0, track="drums")
    stage.place(stage.answer([take], place="children", verb="lego"))
    added = stage.inside(16.0, 24.0) - stage.heard_before[:, 16 * 44100 : 24 * 44100]
    assert np.allclose(added, audio_of(take), atol=1e-6)


def test_tracks_go_below_one_whose_effects_would_colour_them(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, tracks=("Guitar", "Bass"))
    project.tracks[0].fx.append(effect(0.5))
    stage = Stage(reaper, project, folder)
    assert completed(stage) == 'Complete: 4 takes on new tracks below "Guitar", bars 9-12.'
    assert [track.name for track in stage.tracks] == ["Guitar", "Drums", "Backing vocals", "Bass"]
    assert depths(stage.project) == [0, 0, 0, 0]
    stage.undone(STEP)


def test_without_a_track_new_ones_stand_at_the_end(reaper: Reaper, folder: Path) -> None:
    project = folder_project(folder)
    project.tracks[-1].values["I_FOLDERDEPTH"] = 1.0  # a folder that nobody closed
    stage = Stage(reaper, project, folder)
    before = depths(project)
    assert completed(stage, tracks=[]) == "Complete: 4 takes on new tracks at the end, bars 9-12."
    assert [track.name for track in stage.tracks[-2:]] == ["Drums", "Backing vocals"]
    assert depths(project) == [*before, 0, 0]
    stage.undone(STEP)


def test_below_a_folder_means_below_all_that_is_in_it(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, folder_project(folder), folder)
    take = stage.take(1, 16.0, 24.0)
    stage.place(stage.answer([take], place="new_track", mute_original=True))
    assert [track.name for track in stage.tracks] == ["Band", "Drums", "Bass", "Band repaint", "Voice"]
    assert depths(stage.project) == [0, 1, 1, 0, 0]
    stage.tracks[4].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))
    stage.tracks[4].values["B_MUTE"] = 0.0
    stage.keeps_outside(16.0, 24.0)
    stage.undone("Stembridge: repaint bars 9-12")


@st.composite
def folder_changes(draw: st.DrawFn) -> list[int]:
    """I_FOLDERDEPTH of each track; the last folders may be left open."""
    changes, depth = [], 0
    for _ in range(draw(st.integers(1, 8))):
        changes.append(draw(st.sampled_from([0, 1, *range(-depth, 0)])))
        depth += changes[-1]
    return changes


@pytest.fixture(scope="module", params=["5.3", "5.4"])
def many(request: pytest.FixtureRequest) -> Iterator[Reaper]:
    with tempfile.TemporaryDirectory() as folder:
        yield Reaper(Path(folder), lua=request.param)


@pytest.mark.parametrize("place", ["children", "new_track"])
@settings(max_examples=30)
@given(changes=folder_changes(), data=st.data())
def test_no_other_track_changes_its_depth(many: Reaper, place: str, changes: list[int], data: st.DataObject) -> None:
    asked = data.draw(st.integers(0, len(changes) - 1))
    project = Project(path=many.resource / "Song.rpp")
    project.tracks = [Track(f"T{index}", project=project) for index in range(len(changes))]
    for track, change in zip(project.tracks, changes, strict=True):
        track.values["I_FOLDERDEPTH"] = float(change)
    before = dict(zip([track.guid for track in project.tracks], depths(project), strict=True))
    stage = Stage(many, project, many.resource)
    try:
        takes = [stage.take(number, 0.0, 0.1, track=track) for number, track in enumerate(["drums", "bass"], 1)]
        guid = project.tracks[asked].guid
        stage.place(stage.answer(takes if place == "children" else takes[:1], place=place, tracks=[guid]))
        after = dict(zip([track.guid for track in project.tracks], depths(project), strict=True))
        assert {guid: after[guid] for guid in before} == before
        expected = before[guid] + (1 if place == "children" else 0)
        assert {after[new] for new in after.keys() - before.keys()} == {expected}
        stage.undone(stage.reaper.undo_names(project)[-1])
    finally:
        many.close(project)


# --- where it came from ---
def test_takes_go_to_the_project_that_asked_and_the_users_tab_stays(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, tracks=("Guitar", "Bass")), folder)
    other = reaper.open(song_project(folder.parent / "Other", name="Other"))
    untouched = dump(other)
    completed(stage)
    assert reaper.active is other
    assert dump(other) == untouched
    assert len(stage.tracks) == 4
    stage.undone(STEP)


def test_an_old_reaper_gets_new_tracks_in_the_right_tab_too(tmp_path: Path, folder: Path) -> None:
    reaper = Reaper(tmp_path / "REAPER6", lua="5.3", version="6.12/linux-x86_64")
    stage = Stage(reaper, song_project(folder), folder)
    other = reaper.open(song_project(folder.parent / "Other", name="Other"))
    completed(stage)
    assert reaper.active is other
    assert len(other.tracks) == 1
    assert len(stage.tracks) == 3
    stage.undone(STEP)
    reaper.check()


def test_reordered_tracks_are_found_again(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, tracks=("Guitar", "Bass")), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    stage.tracks.reverse()
    stage.place(answer)
    assert [len(track.items) for track in stage.tracks] == [1, 3]


def test_a_project_saved_under_another_name_is_known_by_its_tracks(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    stage.project.path = folder / "Song take 2.rpp"
    reaper.open(song_project(folder.parent / "Other", name="Other"))
    message = stage.place(answer)
    assert "The project was Song.rpp when this was asked, and is Song take 2.rpp now." in message
    assert len(stage.tracks[0].items) == 3


def test_another_version_of_a_closed_song_never_gets_its_takes(reaper: Reaper, folder: Path) -> None:
    """Versions of a song, and projects from one template, have tracks of the same GUIDs."""
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    version = reaper.open(song_project(folder, name="Song v2"))
    version.tracks[0].guid = stage.tracks[0].guid
    untouched = dump(version)
    reaper.close(stage.project)
    assert "The project Song.rpp is not open any more" in stage.refused(answer)
    assert dump(version) == untouched


@pytest.mark.parametrize("asks", [0, 1])
def test_of_two_tabs_of_one_file_the_one_that_asked_gets_the_takes(reaper: Reaper, folder: Path, asks: int) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    stage.reaper.open(copy.deepcopy(stage.project))
    tabs = list(reaper.projects)
    answer["origin"]["tab"] = str(reaper.pointer(tabs[asks]))
    stage.place(answer)
    assert [len(tab.tracks[0].items) for tab in tabs] == ([3, 1] if asks == 0 else [1, 3])


def test_a_project_that_was_closed_and_opened_again_gets_its_takes(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    stage.project = reaper.reopen(stage.project)
    assert stage.place(answer) == 'Repaint: 1 take on "Guitar", bars 9-12.'
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 24.0), (24.0, 48.0)]
    stage.undone("Stembridge: repaint bars 9-12")


def test_of_two_tabs_with_the_same_tracks_the_one_that_asked_gets_the_takes(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    twin = song_project(folder.parent / "Twin", name="Twin")
    twin.tracks[0].guid = stage.tracks[0].guid
    reaper.projects.insert(0, reaper.projects.pop(reaper.projects.index(reaper.open(twin))))
    stage.place(stage.answer([stage.take(1, 16.0, 24.0)]))
    assert (len(stage.tracks[0].items), len(twin.tracks[0].items)) == (3, 1)


@pytest.mark.parametrize("version", ["7.28/x64", "7.28/linux-x86_64"])
def test_on_windows_case_and_slashes_do_not_matter(tmp_path: Path, folder: Path, version: str) -> None:
    reaper = Reaper(tmp_path / "REAPER", version=version)
    stage = Stage(reaper, song_project(folder), folder)
    asked = str(stage.project.path).upper().replace("/", "\\")
    answer = stage.answer([stage.take(1, 16.0, 24.0)], project_file=asked, tracks=[])
    if reaper.os == "Win64":
        stage.place({**answer, "verb": "complete"})
        assert len(stage.tracks) == 2
    else:
        assert "is not open any more" in stage.refused(answer)


def test_a_closed_project_leaves_others_alone_and_names_the_folder(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    other = reaper.open(song_project(folder.parent / "Other", name="Other"))
    untouched = dump(other)
    reaper.close(stage.project)
    sentence = stage.refused(answer)
    assert sentence.startswith("The project Song.rpp is not open any more; the takes are in\n" + answer["folder"])
    assert dump(other) == untouched
    assert Path(answer["takes"][0]["file"]).is_file()


def test_a_deleted_track_leaves_the_project_alone_and_the_file_in_place(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, tracks=("Guitar", "Bass")), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)], track_names=["Guitar"])
    reaper.delete_track(stage.tracks[0])
    after_deletion = dump(stage.project)
    assert stage.refused(answer) == (
        f'The track "Guitar" was deleted while Stembridge worked; the takes are in\n{answer["folder"]}')  # fmt: skip
    assert dump(stage.project) == after_deletion
    assert reaper.undo_names(stage.project) == []
    assert Path(answer["takes"][0]["file"]).is_file()


def test_of_several_tracks_those_that_are_left_count(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder, tracks=("Guitar", "Bass")), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)], place="new_track", mute_original=True,
                          tracks=[track.guid for track in stage.tracks])  # fmt: skip
    reaper.delete_track(stage.tracks[1])
    stage.place(answer)
    assert [track.name for track in stage.tracks] == ["Guitar", "Guitar repaint"]


def test_the_play_offset_shifts_a_new_track_only_if_its_audio_was_read_before_it(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder)
    project.tracks[0].values.update(D_PLAY_OFFSET=0.05, I_PLAY_OFFSET_FLAG=0.0, I_CUSTOMCOLOR=0x1ABCDEF)
    stage = Stage(reaper, project, folder)
    stage.place(stage.answer([stage.take(1, 40.0, 50.0)], place="items", verb="extend"))
    dry = stage.tracks[1]
    assert (dry.values["D_PLAY_OFFSET"], dry.values["I_PLAY_OFFSET_FLAG"]) == (0.05, 0.0)
    assert dry.values["I_CUSTOMCOLOR"] == 0x1ABCDEF
    stage.place(stage.answer([stage.take(1, 16.0, 24.0)], place="new_track"))
    rendered = stage.tracks[1]
    assert rendered is not dry
    assert rendered.values["D_PLAY_OFFSET"] == 0.0
    assert spans(rendered) == [(16.0, 24.0)]


@pytest.mark.parametrize(("flag", "offset"), [(0, 0.05), (0, -0.25), (2, 4410), (1, 0.05)])
def test_what_is_muted_for_a_render_is_what_sounded_there_and_nothing_beside_it(
    reaper: Reaper, folder: Path, flag: int, offset: float
) -> None:
    project = song_project(folder)
    project.tracks[0].values.update(D_PLAY_OFFSET=offset, I_PLAY_OFFSET_FLAG=flag)
    stage = Stage(reaper, project, folder)
    take = stage.take(1, 16.0, 24.0)
    stage.place(stage.answer([take], place="new_track", mute_original=True))
    stage.keeps_outside(16.0, 24.0)
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(take))


def test_a_fade_that_is_cut_by_muting_is_told(reaper: Reaper, folder: Path) -> None:
    project = song_project(folder, seconds=20.0)
    project.tracks[0].items[0].values["D_FADEOUTLEN"] = 5.0
    stage = Stage(reaper, project, folder)
    told = stage.place(stage.answer([stage.take(1, 12.0, 18.0)], place="new_track", mute_original=True))
    assert told.endswith("An edge lies in a fade, which is shorter now.")


def test_a_twin_of_the_project_never_gets_the_takes(reaper: Reaper, folder: Path) -> None:
    stage = Stage(reaper, song_project(folder), folder)
    answer = stage.answer([stage.take(1, 16.0, 24.0)])
    twin = song_project(folder.parent / "Twin", name="Twin")
    twin.tracks[0].guid = stage.tracks[0].guid
    reaper.open(twin)
    untouched = dump(twin)
    reaper.delete_track(stage.tracks[0])
    assert "was deleted while Stembridge worked" in stage.refused(answer)
    assert dump(twin) == untouched
