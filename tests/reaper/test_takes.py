"""Next take, Keep this take, Redo with a new seed: all pieces of one repaint together, one undo step, nothing of the
user's removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reaper.placing import JOB, Stage, active_name, audio_of, made_by, spans
from tests.support.reascript.host import Reaper
from tests.support.reascript.projects import add_audio, song_file, song_project
from tests.support.reascript.rpp import dump

AGAIN = "20261123-080000-aaaaaa"
NONE = "No take of Stembridge here."


@pytest.fixture
def stage(reaper: Reaper, tmp_path: Path) -> Stage:
    """18 s of guitar, a gap of 2 s, then more of it; bass below."""
    folder = tmp_path / "Song"
    project = song_project(folder, tracks=("Guitar", "Bass"), seconds=18.0)
    add_audio(project.tracks[0], song_file(folder, "Later", 10.0, 44100, 1), 20.0)
    return Stage(reaper, project, folder)


def repainted(stage: Stage, start_s: float = 16.0, end_s: float = 24.0) -> list[dict[str, Any]]:
    takes = [stage.take(1, start_s, end_s), stage.take(2, start_s, end_s)]
    stage.place(stage.answer(takes))
    return takes


def actives(stage: Stage) -> list[str]:
    return [active_name(item) for item in stage.tracks[0].items]


def requests(stage: Stage) -> list[dict[str, Any]]:
    files = sorted((stage.reaper.resource / "Stembridge" / "mailbox" / "requests").glob("*.json"))
    return [json.loads(file.read_bytes()) for file in files]


def deselect(stage: Stage) -> None:
    for track in stage.tracks:
        for item in track.items:
            item.values["B_UISEL"] = 0.0


# --- next ---
def test_next_take_walks_through_all_pieces_together_and_back_to_the_original(stage: Stage) -> None:
    takes = repainted(stage)
    stage.project.tracks[1].values["B_MUTE"] = 1.0
    stage.act("Next take")
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[1]))
    stage.act("Next take")
    assert actives(stage)[1] == "Guitar-1.wav"
    assert actives(stage)[3] == "Later-2.wav"
    stage.project.tracks[1].values["B_MUTE"] = 0.0
    assert np.array_equal(stage.heard(), stage.heard_before)
    stage.project.tracks[1].values["B_MUTE"] = 1.0
    stage.act("Next take")
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[0]))
    stage.project.tracks[1].values["B_MUTE"] = 0.0
    stage.undone("Stembridge: repaint bars 9-12", *["Stembridge: next take"] * 3)


def test_the_selected_item_decides_which_takes_change(stage: Stage) -> None:
    repainted(stage, 2.0, 4.0)
    stage.place(stage.answer([stage.take(number, 10.0, 12.0) for number in (1, 2)], job=AGAIN))
    first = next(item for item in stage.tracks[0].items if item.position == 2.0)
    first.values["B_UISEL"] = 1.0
    before = {item.guid: item.active for item in stage.tracks[0].items if item is not first}
    stage.act("Next take")
    assert active_name(first) == "repaint: calmer (seed 8)"
    assert {item.guid: item.active for item in stage.tracks[0].items if item is not first} == before
    assert [item for item in stage.tracks[0].items if item.values["B_UISEL"]] == [first]


def test_a_copy_elsewhere_keeps_its_own_take(stage: Stage) -> None:
    repainted(stage, 2.0, 4.0)
    original = next(item for item in stage.tracks[0].items if item.position == 2.0)
    copy = add_audio(stage.tracks[0], Path(stage.tracks[0].items[0].takes[0].source.path), 40.0, 2.0)  # type: ignore[union-attr]
    for take in original.takes[1:]:
        twin = type(take)(take.source, take.name, values=dict(take.values), ext=dict(take.ext), item=copy)
        copy.takes.append(twin)
    copy.active, copy.ext = 1, dict(original.ext)
    original.values["B_UISEL"] = 1.0
    stage.act("Next take")
    assert (active_name(original), active_name(copy)) == ("repaint: calmer (seed 8)", "repaint: calmer (seed 7)")


def test_on_a_track_of_its_own_only_made_takes_come_round(stage: Stage) -> None:
    takes = [stage.take(number, 16.0, 24.0, track="drums") for number in (1, 2)]
    stage.place(stage.answer(takes, place="children", verb="lego"))
    (item,) = stage.tracks[1].items
    seen = []
    for _ in range(3):
        stage.act("Next take")
        seen.append(item.active)
    assert seen == [1, 0, 1]
    assert item.values["B_MUTE"] == 0.0


@pytest.mark.parametrize("action", ["Next take", "Keep this take", "Redo with a new seed"])
def test_without_such_a_take_the_action_says_so(stage: Stage, action: str) -> None:
    stage.reaper.answers.boxes = [1]
    stage.act(action)
    assert stage.reaper.shown[-1].startswith(NONE)
    stage.undone()


# --- keep ---
def test_keep_removes_the_other_made_takes_and_nothing_else(stage: Stage) -> None:
    takes = repainted(stage)
    stage.act("Next take")
    stage.tracks[1].items[0].values["B_UISEL"] = 1.0
    stage.act("Keep this take")
    assert [[take.name for take in item.takes] for item in stage.tracks[0].items] == [
        ["Guitar-1.wav"], ["Guitar-1.wav", "repaint: calmer (seed 8)"], ["repaint: calmer (seed 8)"],
        ["Later-2.wav", "repaint: calmer (seed 8)"], ["Later-2.wav"]]  # fmt: skip
    stage.tracks[1].values["B_MUTE"] = 1.0
    assert np.array_equal(stage.inside(16.0, 24.0), audio_of(takes[1]))
    stage.tracks[1].values["B_MUTE"] = 0.0
    assert [item for track in stage.tracks for item in track.items if item.values["B_UISEL"]] == stage.tracks[1].items
    assert all(Path(take["file"]).is_file() for take in takes)
    stage.tracks[1].items[0].values["B_UISEL"] = 0.0
    assert stage.reaper.undo_names(stage.project)[-1] == "Stembridge: keep this take"


def test_keeping_the_original_gives_back_the_track_as_it_sounded(stage: Stage) -> None:
    repainted(stage)
    stage.act("Next take")
    stage.act("Next take")
    stage.act("Keep this take")
    assert spans(stage.tracks[0]) == [(0.0, 16.0), (16.0, 18.0), (20.0, 24.0), (24.0, 30.0)]
    assert all(len(item.takes) == 1 for item in stage.tracks[0].items)
    assert np.array_equal(stage.heard(), stage.heard_before)
    stage.undone("Stembridge: repaint bars 9-12", *["Stembridge: next take"] * 2, "Stembridge: keep this take")


def test_what_the_user_added_as_a_take_is_kept(stage: Stage) -> None:
    repainted(stage, 2.0, 4.0)
    item = stage.tracks[0].items[1]
    own = type(item.takes[0])(item.takes[0].source, "my own comp", item=item)
    item.takes.insert(1, own)
    item.active = 2
    stage.act("Keep this take")
    assert [take.name for take in item.takes] == ["Guitar-1.wav", "my own comp", "repaint: calmer (seed 7)"]
    assert active_name(item) == "repaint: calmer (seed 7)"


# --- redo ---
def test_redo_asks_the_same_with_a_seed_of_its_own(stage: Stage) -> None:
    repainted(stage)
    before = dump(stage.project)
    stage.act("Redo with a new seed")
    (request,) = requests(stage)
    assert request["verb"] == "repaint"
    assert request["id"] != JOB
    assert request["options"] == {}
    assert request["settings"] == {"prompt": "calmer", "variations": 2}
    assert request["source"] == {"file": str(stage.folder / "Media" / "source.wav"), "start_frame": 0}
    assert request["regions"] == [{"start_frame": 16 * 44100, "end_frame": 24 * 44100}]
    assert request["origin"]["again"]["root"] == JOB
    assert len(request["origin"]["items"]) == 3
    assert dump(stage.project) == before


def redone(stage: Stage, takes: list[dict[str, Any]]) -> None:
    """Run Redo, then place these takes as its answer."""
    stage.act("Redo with a new seed")
    request = requests(stage)[-1]
    answer = stage.answer(takes, job=request["id"])
    stage.place({**answer, "verb": request["verb"], "origin": request["origin"]})


def test_the_takes_of_a_redo_join_the_same_items_wherever_these_are(stage: Stage) -> None:
    repainted(stage)
    for item in stage.tracks[0].items:
        item.values["D_POSITION"] += 100.0
    again = stage.take(1, 16.0, 24.0, job=AGAIN, seed=99)
    redone(stage, [again])
    assert [len(item.takes) for item in stage.tracks[0].items] == [1, 4, 3, 4, 1]
    assert set(actives(stage)[1:4]) == {"repaint: calmer (seed 99)"}
    assert [item.takes[-1].values["D_STARTOFFS"] for item in stage.tracks[0].items[1:4]] == [0.0, 2.0, 4.0]
    assert made_by(stage.tracks[0].items[1].takes[-1])["root"] == JOB
    stage.act("Keep this take")
    assert [len(item.takes) for item in stage.tracks[0].items] == [1, 2, 1, 2, 1]


def test_a_redo_whose_items_are_gone_goes_where_the_first_answer_went(stage: Stage) -> None:
    repainted(stage)
    stage.act("Redo with a new seed")
    request = requests(stage)[-1]
    for _ in range(3):
        stage.reaper.undo(stage.project)
    take = stage.take(1, 16.0, 24.0, job=AGAIN)
    stage.place({**stage.answer([take], job=request["id"]), "origin": request["origin"]})
    assert [len(item.takes) for item in stage.tracks[0].items] == [1, 2, 1, 2, 1]


def test_a_redo_of_one_class_asks_for_that_class_alone(stage: Stage) -> None:
    takes = [stage.take(1, 16.0, 24.0, track="drums"), stage.take(2, 16.0, 24.0, track="bass")]
    answer = stage.answer(takes, place="children", verb="complete")
    answer["asked"]["options"] = {"tracks": "drums,bass"}
    stage.place(answer)
    deselect(stage)
    stage.tracks[2].items[0].values["B_UISEL"] = 1.0
    redone(stage, [stage.take(1, 16.0, 24.0, track="bass", job=AGAIN, seed=50)])
    assert requests(stage)[-1]["options"] == {"tracks": "bass"}
    assert [len(track.items[0].takes) for track in stage.tracks[1:3]] == [1, 2]
    assert active_name(stage.tracks[2].items[0]) == "complete: calmer (seed 50)"
