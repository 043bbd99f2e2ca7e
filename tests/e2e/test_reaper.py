"""From outside: the unmodified REAPER scripts in the double, the real daemon and engine, real files between them.

Each promise is checked in the project file as two independent parsers read it, and in the samples that the project
plays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.reascript.model import Marker
from tests.support.reascript.projects import song_project
from tests.support.reascript.rpp_reading import read
from tests.support.studio import Studio, another, dump, select, sound, studio

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = studio(tmp_path_factory.mktemp("house"))
    made.start_daemon()
    yield made
    made.stop()


@pytest.fixture(params=["5.4", "5.3"])
def desk(request: pytest.FixtureRequest, house: Studio) -> Iterator[Studio]:
    made = another(house, lua=request.param)
    yield made
    made.reaper.check()


def bar_times() -> list[float]:
    """Bar lines of the fixture: 120 BPM up to bar 9 (16 s), 97.5 BPM from there."""
    first = [2.0 * bar for bar in range(8)]
    return first + [16.0 + bar * 4 * 60 / 97.5 for bar in range(12)]


def test_a_repaint_of_bars_9_to_13_over_a_tempo_change_at_44100_is_exact_and_one_undo_restores_every_byte(
    desk: Studio, tmp_path: Path
) -> None:
    project = desk.reaper.open(song_project(tmp_path / "Gesänge ü", rate=44100, tempo="change"))
    bars = bar_times()
    start_s, end_s = bars[7], bars[12]  # from bar 8 at 120 BPM through bar 12 at 97.5: the change lies inside
    first, after = round(start_s * 44100), round(end_s * 44100)
    select(project, start_s, end_s, project.tracks[0])
    before, heard = dump(project), sound(project, 40.0)

    desk.act("Repaint selection")

    placed = dump(project)
    (item,) = [i for i in read(placed).tracks[0].items if len(i.takes) > 1]
    assert item.position_s == first / 44100
    assert item.length_s == (after - first) / 44100
    assert item.takes[0].file == read(before).tracks[0].items[0].takes[0].file  # the original stays take 1
    new = sound(project, 40.0)
    assert np.array_equal(new[:, :first], heard[:, :first])
    assert np.array_equal(new[:, after:], heard[:, after:])
    take, rate = soundfile.read(project.path.parent / item.takes[-1].file, dtype="float32", always_2d=True)
    assert rate == 44100
    assert len(take) == after - first
    assert np.array_equal(new[:, first:after], take.T)
    assert np.abs(take.T - heard[:, first:after]).max() > 0.02  # made anew
    assert desk.files() == []

    assert desk.reaper.undo(project).startswith("Stembridge: repaint")
    assert dump(project) == before


@pytest.mark.parametrize("desk", ["5.4"], indirect=True)
def test_the_recipe_says_the_tempo_map_and_the_key_that_reaper_has(desk: Studio, tmp_path: Path) -> None:
    project = desk.reaper.open(song_project(tmp_path / "Song", rate=44100, tempo="change"))
    project.markers.append(Marker(1, True, 12.0, 24.0, "Verse key=F#m"))
    select(project, 16.0, 20.0, project.tracks[0])
    desk.act("Repaint selection")
    (manifest,) = project.path.parent.rglob("manifest.json")
    request = json.loads(manifest.read_text(encoding="utf-8"))["job"]["request"]
    assert request["key"] == "F# minor"
    assert [(p["time_s"], p["bpm"]) for p in request["tempo_map"]["points"]] == [(0.0, 120.0), (16.0, 97.5)]
    assert request["project"]["sample_rate"] == 44100


def test_complete_gives_named_child_tracks_and_an_extension_lies_exactly_behind(desk: Studio, tmp_path: Path) -> None:
    project = desk.reaper.open(song_project(tmp_path / "Song", rate=44100))
    select(project, 8.0, 16.0, project.tracks[0])
    desk.reaper.answers.user_inputs = [["drums, bass", ""]]
    heard = sound(project, 40.0)
    desk.act("Complete selection with")
    view = read(dump(project))
    names = [track.name for track in view.tracks]
    where = names.index("Drums")
    assert names[where : where + 2] == ["Drums", "Bass"]
    assert {(i.position_s, i.length_s) for t in view.tracks[where : where + 2] for i in t.items} == {(8.0, 8.0)}
    changed = np.abs(sound(project, 40.0) - heard).max(axis=0) > 0
    assert not changed[: 8 * 44100].any()
    assert not changed[16 * 44100 :].any()
    assert changed[8 * 44100 : 16 * 44100].any()
    assert desk.reaper.undo(project)
    assert np.array_equal(sound(project, 40.0), heard)
