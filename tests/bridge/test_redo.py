from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import soundfile

from bridge.broadcast_wave import read_recipe
from bridge.delivery import deliver
from bridge.project import open_project
from bridge.redo import compare, plan_commit, plan_redo
from protocol.errors import SourceChanged, SourceMissing, SourceUnreadable
from protocol.job import SourceRef
from protocol.music import Region
from protocol.task import Quality, seeds
from protocol.vocabulary import TrackClass, Verb
from tests.support.deliveries import RATE, make_job, render


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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


def deliver_stems(
    song: Path,
    spool: Path,
    *,
    task: Mapping[str, object] | None = None,
    reference: Path | None = None,
    notes: Mapping[str, object] | None = None,
    **options: object,
) -> list[Path]:
    """Stems of a job on `song`, whose project keeps its media in ``Media``, by number."""
    folder = song.parents[1]
    project = open_project(str(folder), None).model_copy(update={"media_folder": str(folder / "Media")})
    job = make_job(project, source=song, **options)
    asked = {"task": job.request.task.model_copy(update=dict(task or {}))}
    if reference is not None:
        asked["reference"] = SourceRef(file=str(reference))
    job = job.model_copy(update={"request": job.request.model_copy(update=asked)})
    made = {"engine_notes": dict(notes or {}), "reference_sha256": reference and sha256(reference)}
    rendered = [take.model_copy(update=made) for take in render(job, spool, source_sha256=sha256(song))]
    takes = deliver(job, rendered).takes
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


# --- the model --------------------------------------------------------------------------------------------------------
def test_the_same_checkpoint_is_asked_for_whatever_is_configured_now(song: Path, cache: Path, tmp_path: Path) -> None:
    notes = {"checkpoint": "xl-turbo"}
    stem = deliver_stems(song, tmp_path / "spool", task={"quality": Quality.DRAFT}, notes=notes)[0]
    plan = plan_redo(stem, cache)
    assert (plan.request.task.checkpoint, plan.request.task.quality) == ("xl-turbo", "draft")
    assert plan.warnings == ()
    assert plan_redo(deliver_stems(song, tmp_path / "other", job_id="other")[0], cache).request.task.checkpoint is None


def test_a_recipe_cannot_name_a_path_as_its_checkpoint(song: Path, cache: Path, tmp_path: Path) -> None:
    stem = deliver_stems(song, tmp_path / "spool", notes={"checkpoint": "../../models/mine"})[0]
    plan = plan_redo(stem, cache)
    assert plan.request.task.checkpoint is None
    assert "not a path" in plan.warnings[0]
    assert "configured one is used instead" in plan.warnings[0]


def test_a_commit_is_the_same_take_at_final_quality_on_the_configured_checkpoint(
    song: Path, cache: Path, tmp_path: Path
) -> None:
    task = {"quality": Quality.DRAFT, "checkpoint": "xl-turbo", "steps": 30, "strength": 0.7}
    stem = deliver_stems(song, tmp_path / "spool", task=task, notes={"checkpoint": "xl-turbo"}, seed=41)[1]
    plan, again = plan_commit(stem, cache), plan_redo(stem, cache)
    asked = plan.request.task
    assert (asked.quality, asked.checkpoint) == ("final", None)
    assert (asked.steps, asked.cfg_scale, asked.strength) == (30, None, 0.7)
    assert seeds(asked) == (42,)
    assert plan.request.model_copy(update={"task": again.request.task}) == again.request
    assert plan.warnings == ()


def test_a_take_that_was_rolled_is_made_once_from_the_seed_that_was_kept(
    song: Path, cache: Path, tmp_path: Path
) -> None:
    notes = {"rolls": [{"seed": 7, "score": 61.0}, {"seed": 9, "score": 72.0}]}
    stem = deliver_stems(song, tmp_path / "spool", task={"min_score": 90.0, "rerolls": 5}, notes=notes)[0]
    for plan in (plan_redo(stem, cache), plan_commit(stem, cache)):
        assert plan.recipe.request.task.min_score == 90.0
        assert plan.request.task.min_score is None


# --- regions that were made together ----------------------------------------------------------------------------------
REGIONS = [Region(1.0, 1.5), Region(2.0, 2.5), Region(4.0, 4.5), Region(8.0, 8.5)]


def test_regions_made_in_one_pass_are_asked_for_together(song: Path, cache: Path, tmp_path: Path) -> None:
    stems = deliver_stems(song, tmp_path / "spool", regions=REGIONS, variations=1, notes={"regions_together": [1, 2]})
    for stem, region in zip(stems[1:3], (0, 1), strict=True):
        plan = plan_redo(stem, cache)
        assert plan.request.regions == (REGIONS[1], REGIONS[2])
        assert plan.request.regions[plan.region] == REGIONS[plan.recipe.region]
        assert plan.region == region


def test_tracks_made_together_are_asked_for_together(song: Path, cache: Path, tmp_path: Path) -> None:
    asked = {"verb": Verb.COMPLETE, "regions": REGIONS[:1], "tracks": (TrackClass.DRUMS, TrackClass.BASS)}
    stems = deliver_stems(song, tmp_path / "a", notes={"tracks_together": ["drums", "bass"]}, **asked)
    plan = plan_redo(stems[-1], cache)
    assert plan.request.tracks == (TrackClass.DRUMS, TrackClass.BASS)
    assert plan.recipe.track is TrackClass.BASS


@pytest.mark.parametrize("noted", [[0, 4], [-1], [0, "1"], "all", [[0]], {"a": 0}])
def test_regions_together_that_cannot_be_are_a_damaged_recipe(
    song: Path, cache: Path, tmp_path: Path, noted: object
) -> None:
    stem = deliver_stems(song, tmp_path / "spool", regions=REGIONS, notes={"regions_together": noted})[0]
    with pytest.raises(SourceUnreadable, match="damaged"):
        plan_redo(stem, cache)


# --- the reference ----------------------------------------------------------------------------------------------------
def test_the_reference_is_found_where_it_moved_with_the_project(song: Path, cache: Path, tmp_path: Path) -> None:
    voice = song.parent / "voice.wav"
    voice.write_bytes(b"a voice")
    stem = deliver_stems(song, tmp_path / "spool", reference=voice)[0]
    old, new = song.parents[1], tmp_path.resolve() / "Renamed"
    old.rename(new)
    plan = plan_redo(new / stem.relative_to(old), cache)
    assert plan.request.reference == SourceRef(file=str(new / "bounces" / "voice.wav"))
    assert plan.request.source is not None
    assert plan.request.source.file == str(new / "bounces" / "the song.wav")


def test_a_changed_or_missing_reference_is_refused(song: Path, cache: Path, tmp_path: Path) -> None:
    voice = song.parent / "voice.wav"
    voice.write_bytes(b"a voice")
    stem = deliver_stems(song, tmp_path / "spool", reference=voice)[0]
    voice.write_bytes(b"another voice")
    with pytest.raises(SourceChanged, match=r"The reference .*voice\.wav is no longer"):
        plan_redo(stem, cache)
    voice.unlink()
    with pytest.raises(SourceMissing, match="The reference of"):
        plan_commit(stem, cache)


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
