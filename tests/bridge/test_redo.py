from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from bridge.broadcast_wave import read_recipe
from bridge.delivery import deliver
from bridge.project import open_project
from bridge.redo import compare, plan_redo
from protocol.errors import SourceChanged, SourceMissing, SourceUnreadable
from protocol.music import Region
from protocol.task import seeds
from protocol.vocabulary import TrackClass, Verb
from tests.support.deliveries import RATE, make_job, render


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "Projects" / "My Song"
    (folder / "Media").mkdir(parents=True)
    path = folder / "bounces" / "the song.wav"
    path.parent.mkdir()
    path.write_bytes(b"the song's bytes")
    return path


def deliver_stems(song: Path, spool: Path, **options: object) -> list[Path]:
    """Stems of a job on `song`, whose project keeps its media in ``Media``, by number."""
    folder = song.parents[1]
    project = open_project(str(folder), None).model_copy(update={"media_folder": str(folder / "Media")})
    job = make_job(project, source=song, **options)
    sha256 = hashlib.sha256(song.read_bytes()).hexdigest()
    takes = deliver(job, render(job, spool, source_sha256=sha256)).takes
    return [Path(take.file) for take in sorted(takes, key=lambda take: take.number)]


def test_the_plan_asks_for_exactly_that_region_seed_and_track(song: Path, cache: Path, tmp_path: Path) -> None:
    regions, tracks = [Region(2.0, 2.5), Region(4.0, 4.5)], (TrackClass.DRUMS, TrackClass.BASS)
    stem = deliver_stems(song, tmp_path / "spool", verb=Verb.COMPLETE, regions=regions, tracks=tracks, seed=41)[-1]
    assert stem.name == "complete_4.00s-4.50s_bass_take-2.wav"
    plan = plan_redo(stem, cache)
    assert plan.request.regions == (Region(4.0, 4.5),)
    assert plan.request.tracks == (TrackClass.BASS,)
    assert seeds(plan.request.task) == (42,)
    assert plan.request.project.sample_rate == RATE
    assert plan.recipe == read_recipe(stem)
    assert plan.source == song
    assert plan.request.source is not None
    assert (plan.request.source.file, plan.request.source.start_s) == (str(song), 0.5)
    assert plan.request.tempo_map == plan.recipe.request.tempo_map
    assert plan.warnings == ()


def test_a_project_that_moved_is_found_from_its_stem(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    old, new = song.parents[1], tmp_path.resolve() / "other disk" / "Renamed"
    new.parent.mkdir()
    old.rename(new)
    plan = plan_redo(new / stem.relative_to(old), cache)
    assert plan.source == new / "bounces" / "the song.wav"
    assert (plan.request.project.folder, plan.request.project.media_folder) == (str(new), str(new / "Media"))


def test_a_source_beside_a_stem_that_travelled_alone_is_found(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    desk = tmp_path.resolve() / "desk"
    desk.mkdir()
    for file in (stem, song):
        shutil.copy(file, desk)
    shutil.rmtree(song.parents[1])
    assert plan_redo(desk / stem.name, cache).source == desk / song.name


def test_a_changed_source_is_refused_unless_the_right_one_lies_elsewhere(
    song: Path, cache: Path, tmp_path: Path
) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    original = song.read_bytes()
    song.write_bytes(b"another mix")
    with pytest.raises(SourceChanged, match="earlier version"):
        plan_redo(stem, cache)
    (song.parents[1] / song.name).write_bytes(original)
    assert plan_redo(stem, cache).source == song.parents[1] / song.name


def test_a_missing_source_is_told_with_the_places_that_were_searched(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    song.unlink()
    with pytest.raises(SourceMissing, match=r"Media.*put it back"):
        plan_redo(stem, cache)


def test_a_recipe_written_on_windows_finds_its_source_in_the_copied_project(
    song: Path, cache: Path, tmp_path: Path
) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    recipe = json.loads(read_recipe(stem).model_dump_json())
    recipe["request"]["project"].update(folder="C:\\Songs\\My Song", media_folder="C:\\Songs\\My Song\\Media")
    recipe["request"]["source"]["file"] = "C:\\Songs\\My Song\\bounces\\the song.wav"
    samples, rate = soundfile.read(stem, dtype="float32")
    soundfile.write(stem, samples, rate, subtype="FLOAT")  # drops our chunk: the manifest is read instead
    manifest = stem.parent / "manifest.json"
    manifest.write_text(json.dumps({"takes": [{"file": stem.name, "recipe": recipe}]}), encoding="utf-8")
    plan = plan_redo(stem, cache)
    assert plan.source == song
    assert plan.request.project.folder == str(song.parents[1])


def test_other_versions_are_named_and_equal_ones_are_not(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    was = read_recipe(stem).versions
    assert plan_redo(stem, cache, versions=was, engine_version="1").warnings == ()
    warnings = plan_redo(stem, cache, versions={"numpy": "99.0"}, engine_version="2").warnings
    assert len(warnings) == 2
    assert "version 1 and is 2" in warnings[0]
    assert f"numpy was version {was['numpy']} and is 99.0" in warnings[1]


def test_a_recipe_that_names_no_region_of_its_job_is_refused(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool")[0]
    damaged = stem.read_bytes().replace(b'"region":0', b'"region":9')
    stem.write_bytes(damaged)
    with pytest.raises(SourceUnreadable, match="region 9"):
        plan_redo(stem, cache)


def test_comparing_looks_at_every_sample_and_at_nothing_else(song: Path, tmp_path: Path) -> None:
    stem, other_take = deliver_stems(song, tmp_path / "spool")
    assert not compare(stem, other_take)
    resaved = tmp_path / "resaved.wav"
    samples, rate = soundfile.read(stem, dtype="float32")
    soundfile.write(resaved, samples, rate, subtype="FLOAT")
    assert compare(stem, resaved)
    samples[-1, -1] += 1e-7
    soundfile.write(resaved, samples, rate, subtype="FLOAT")
    assert not compare(stem, resaved)
    soundfile.write(resaved, samples, rate, subtype="PCM_24")
    assert not compare(stem, resaved)
