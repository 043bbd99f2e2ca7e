from __future__ import annotations

import json
import struct
import threading
from pathlib import Path

import pytest
import soundfile

from bridge.broadcast_wave import data_sha256, read_layout, read_recipe
from bridge.delivery import Delivery, deliver, delivered
from bridge.project import open_project
from protocol.errors import (
    BadArgument,
    EngineError,
    OutsideProject,
    ProjectError,
)
from protocol.job import ProjectRef
from protocol.music import Region
from protocol.vocabulary import TrackClass, Verb
from tests.support.deliveries import RATE, job_folder, make_job, names, render, tree

USERS_FILES = {"the song.wav": b"RIFF of the user", "notes.txt": "Gesänge".encode(), "Media/kick.wav": b"kick"}


@pytest.fixture
def project(tmp_path: Path) -> ProjectRef:
    folder = tmp_path / "Gesänge ü" / "My Song"
    for name, content in USERS_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return open_project(str(folder), RATE)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def manifest_of(delivery: Delivery) -> dict[str, object]:
    return json.loads(delivery.manifest.read_text(encoding="utf-8"))


# --- what lies there afterwards ---------------------------------------------------------------------------------------
def test_stems_get_names_a_person_can_read_and_the_users_files_stay(project: ProjectRef, spool: Path) -> None:
    job = make_job(project, regions=[Region(32.0, 40.0)])
    delivery = deliver(job, render(job, spool))
    assert names(job_folder(job)) == [
        "manifest.json",
        "repaint_bars-17-20_take-1.wav",
        "repaint_bars-17-20_take-2.wav",
    ]
    assert delivery.manifest == job_folder(job) / "manifest.json"
    after = tree(Path(project.folder))
    assert {name: after[str(Path(name))] for name in USERS_FILES} == USERS_FILES


def test_regions_and_tracks_show_in_the_names_and_takes_are_numbered_in_that_order(
    project: ProjectRef, spool: Path
) -> None:
    tracks = (TrackClass.DRUMS, TrackClass.BASS)
    job = make_job(project, verb=Verb.COMPLETE, tracks=tracks, regions=[Region(0, 2), Region(3.0, 3.5)])
    delivery = deliver(job, list(reversed(render(job, spool))))
    by_number = sorted(delivery.takes, key=lambda take: take.number)
    assert [take.number for take in by_number] == list(range(1, 9))
    assert [(Path(take.file).name, take.variation) for take in by_number if take.track == "drums"] == [
        ("complete_bar-1_drums_take-1.wav", 1),
        ("complete_bar-1_drums_take-2.wav", 2),
        ("complete_3.00s-3.50s_drums_take-1.wav", 1),
        ("complete_3.00s-3.50s_drums_take-2.wav", 2),
    ]
    assert len({take.file for take in delivery.takes}) == 8
    assert [take.rank for take in delivery.takes] == [1] * 4 + [2] * 4


def test_two_regions_with_one_label_keep_a_file_each_even_with_equal_audio(project: ProjectRef, spool: Path) -> None:
    job = make_job(project, variations=1, regions=[Region(1.0001, 1.0011), Region(1.0021, 1.0031)])
    first, second = render(job, spool)
    assert first.frames == second.frames
    delivery = deliver(job, [first, second.model_copy(update={"file": first.file})])
    assert [Path(take.file).name for take in delivery.takes] == [
        "repaint_1.00s-1.00s_take-1.wav",
        "repaint_1.00s-1.00s_take-1-2.wav",
    ]
    assert [read_recipe(Path(take.file)).region for take in delivery.takes] == [0, 1]


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_the_delivered_audio_is_the_engines_bit_for_bit(project: ProjectRef, spool: Path, subtype: str) -> None:
    job = make_job(project)
    rendered = render(job, spool, subtype=subtype)
    delivery = deliver(job, rendered)
    by_variation = {take.variation: take for take in delivery.takes}
    for made in rendered:
        assert data_sha256(Path(by_variation[made.variation].file)) == data_sha256(Path(made.file))
        assert soundfile.info(by_variation[made.variation].file).subtype == subtype


def test_the_manifest_has_the_contracts_fields_and_takes_come_best_first(project: ProjectRef, spool: Path) -> None:
    job = make_job(project)
    delivery = deliver(job, render(job, spool))
    manifest = manifest_of(delivery)
    assert manifest["protocol"] == 1
    assert manifest["job"]["id"] == job.id
    assert manifest["job"]["verb"] == "repaint"
    assert [take["file"] for take in manifest["takes"]] == [Path(take.file).name for take in delivery.takes]
    first = manifest["takes"][0]
    contract = {
        "file",
        "start_s",
        "start_frame",
        "frames",
        "sample_rate",
        "track",
        "seed",
        "score",
        "measures",
        "recipe",
    }
    assert contract <= set(first)
    assert (first["rank"], first["score"], first["seed"]) == (1, 52.0, 8)
    assert (first["start_s"], first["start_frame"], first["frames"]) == (4.0, 192_000, 24_000)
    assert "reply_to" not in delivery.manifest.read_text(encoding="utf-8")


def test_the_recipe_inside_each_stem_is_the_takes_own(project: ProjectRef, spool: Path) -> None:
    job = make_job(project, source=Path(project.folder) / "the song.wav")
    for take in deliver(job, render(job, spool, source_sha256="ab" * 32)).takes:
        assert read_recipe(Path(take.file)) == take.recipe
        assert take.recipe.request == job.request
        assert (take.recipe.seed, take.recipe.source_sha256) == (take.seed, "ab" * 32)


def bext(path: Path) -> bytes:
    with path.open("rb") as file:
        chunk = next(chunk for chunk in read_layout(file, path.name).chunks if chunk.id == b"bext")
        file.seek(chunk.offset)
        return file.read(chunk.size)


@pytest.mark.parametrize(("start_s", "reference"), [(4.0, 192_000), (36_000.0, 36_000 * RATE), (-1.0, 0)])
def test_a_stem_can_be_spotted_to_its_original_position(
    project: ProjectRef, spool: Path, start_s: float, reference: int
) -> None:
    job = make_job(project, regions=[Region(start_s, start_s + 0.25)], variations=1)
    (take,) = deliver(job, render(job, spool)).takes
    content = bext(Path(take.file))
    low, high = struct.unpack_from("<II", content, 338)
    assert high * 2**32 + low == reference
    assert take.start_frame == round(start_s * RATE)
    assert (b"48000 samples before project time 0" in content[:256]) == (start_s < 0)


def test_stems_go_under_the_media_folder_which_is_made_if_the_daw_has_not_yet(project: ProjectRef, spool: Path) -> None:
    media = Path(project.folder) / "Audio" / "Takes"
    job = make_job(project.model_copy(update={"media_folder": str(media)}))
    assert deliver(job, render(job, spool)).manifest.parent == media / "stembridge" / job.id


# --- the same job again -----------------------------------------------------------------------------------------------
def test_delivering_twice_gives_the_same_delivery_and_touches_nothing(project: ProjectRef, spool: Path) -> None:
    job = make_job(project)
    assert delivered(job) is None
    rendered = render(job, spool)
    first = deliver(job, rendered)
    before = {path: path.stat() for path in job_folder(job).iterdir()}
    assert deliver(job.model_copy(update={"attempts": 2}), rendered) == first == delivered(job)
    assert {path: path.stat() for path in job_folder(job).iterdir()} == before


def test_two_deliveries_of_one_job_at_once_agree(project: ProjectRef, spool: Path) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    start = threading.Barrier(4)
    results: list[Delivery] = []

    def one() -> None:
        start.wait(10)
        results.append(deliver(job, rendered))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == 4
    assert all(result == results[0] for result in results)
    assert len(names(job_folder(job))) == 3


def test_a_stem_that_the_user_changed_is_kept_and_ours_gets_the_next_name(project: ProjectRef, spool: Path) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    edited = Path(deliver(job, rendered).takes[0].file)
    edited.write_bytes(b"edited in another program")
    assert delivered(job) is None
    again = deliver(job, rendered)
    assert edited.read_bytes() == b"edited in another program"
    assert [Path(take.file).name for take in again.takes] == [
        "repaint_4.00s-4.50s_take-2-2.wav",
        "repaint_4.00s-4.50s_take-1.wav",
    ]
    assert again.manifest.name == "manifest-2.json"
    assert delivered(job) == again


def test_one_id_used_for_two_requests_overwrites_nothing(project: ProjectRef, spool: Path) -> None:
    first_job, second_job = make_job(project, job_id="song", seed=1), make_job(project, job_id="song", seed=2)
    first = deliver(first_job, render(first_job, spool / "1"))
    before = tree(job_folder(first_job))
    second = deliver(second_job, render(second_job, spool / "2"))
    after = tree(job_folder(first_job))
    assert {name: after[name] for name in before} == before
    assert {take.file for take in first.takes}.isdisjoint(take.file for take in second.takes)
    assert (delivered(first_job), delivered(second_job)) == (first, second)


def test_a_link_to_a_whole_stem_does_not_count_as_the_stem(project: ProjectRef, spool: Path, tmp_path: Path) -> None:
    job = make_job(project, variations=1)
    rendered = render(job, spool)
    first = deliver(job, rendered)
    stem, moved = Path(first.takes[0].file), tmp_path / "elsewhere.wav"
    stem.rename(moved)
    stem.symlink_to(moved)
    again = deliver(job, rendered)
    assert Path(again.takes[0].file).name == "repaint_4.00s-4.50s_take-1-2.wav"
    assert stem.is_symlink()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_the_user_keeps_under_our_names_is_left_alone(project: ProjectRef, spool: Path, kind: str) -> None:
    job = make_job(project, variations=1)
    folder = job_folder(job)
    folder.mkdir(parents=True)
    for name in ("repaint_4.00s-4.50s_take-1.wav", "manifest.json"):
        if kind == "file":
            (folder / name).write_bytes(b"the user's")
        elif kind == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to(Path(project.folder) / "notes.txt")
    before = tree(Path(project.folder))
    delivery = deliver(job, render(job, spool))
    after = tree(Path(project.folder))
    assert {name: after[name] for name in before} == before
    assert Path(delivery.takes[0].file).name == "repaint_4.00s-4.50s_take-1-2.wav"
    assert delivery.manifest.name == "manifest-2.json"


def test_a_manifest_that_names_files_elsewhere_is_not_believed(project: ProjectRef, spool: Path) -> None:
    job = make_job(project, variations=1)
    delivery = deliver(job, render(job, spool))
    outside = Path(project.folder) / "elsewhere.wav"
    Path(delivery.takes[0].file).rename(outside)
    content = manifest_of(delivery)
    content["takes"][0]["file"] = f"../../{outside.name}"
    delivery.manifest.write_text(json.dumps(content), encoding="utf-8")
    assert delivered(job) is None


# --- confinement ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("link", [".", "stembridge", "stembridge/JOB"])
def test_no_link_leads_stems_out_of_the_project(tmp_path: Path, spool: Path, link: str) -> None:
    folder, outside = tmp_path / "Song", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    job = make_job(open_project(str(folder), RATE))
    rendered = render(job, spool)
    if link == ".":
        folder.rmdir()
        folder.symlink_to(outside)
    else:
        place = folder / link.replace("JOB", job.id)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(outside)
    with pytest.raises(OutsideProject, match="leads out"):
        deliver(job, rendered)
    assert names(outside) == []


def test_a_dangling_link_is_not_followed_either(project: ProjectRef, spool: Path, tmp_path: Path) -> None:
    (Path(project.folder) / "stembridge").symlink_to(tmp_path / "not yet there")
    job = make_job(project)
    with pytest.raises(OutsideProject):
        deliver(job, render(job, spool))
    assert not (tmp_path / "not yet there").exists()


def test_links_that_lead_in_a_circle_are_told(project: ProjectRef, spool: Path) -> None:
    (Path(project.folder) / "stembridge").symlink_to(Path(project.folder) / "stembridge")
    job = make_job(project)
    with pytest.raises(ProjectError, match="stembridge is a"):
        deliver(job, render(job, spool))


def test_a_link_inside_the_project_is_the_users_choice(project: ProjectRef, spool: Path) -> None:
    (Path(project.folder) / "Stems of today").mkdir()
    (Path(project.folder) / "stembridge").symlink_to(Path(project.folder) / "Stems of today")
    job = make_job(project)
    deliver(job, render(job, spool))
    assert names(Path(project.folder) / "Stems of today") == [job.id]


def test_a_file_where_our_folder_should_be_is_told_and_kept(project: ProjectRef, spool: Path) -> None:
    (Path(project.folder) / "stembridge").write_bytes(b"the user's")
    job = make_job(project)
    with pytest.raises(ProjectError, match="rename it"):
        deliver(job, render(job, spool))
    assert (Path(project.folder) / "stembridge").read_bytes() == b"the user's"


def test_a_media_folder_outside_its_project_is_refused(project: ProjectRef, spool: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    job = make_job(project.model_copy(update={"media_folder": str(tmp_path / "outside")}))
    with pytest.raises(OutsideProject):
        deliver(job, render(job, spool))
    assert names(tmp_path / "outside") == []


@pytest.mark.parametrize("job_id", ["..", "../x", "/x", "a/b", "a\\b", "NUL", "com1.wav", "", "x.", "ü", ".hidden"])
def test_an_id_that_is_no_folder_name_never_reaches_the_disk(project: ProjectRef, spool: Path, job_id: str) -> None:
    job = make_job(project, job_id="harmless")
    rendered = render(job, spool)
    before = tree(Path(project.folder).parent)
    with pytest.raises(BadArgument):
        deliver(job.model_copy(update={"id": job_id}), rendered)
    assert tree(Path(project.folder).parent) == before


# --- what the engine hands over ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("changes", [{"frames": 23_999}, {"channels": 1}, {"sample_rate": 44_100}, {"region": 4}])
def test_audio_that_is_not_what_the_engine_promised_is_refused(
    project: ProjectRef, spool: Path, changes: dict[str, int]
) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    with pytest.raises(EngineError, match="retry"):
        deliver(job, [rendered[0], rendered[1].model_copy(update=changes)])
    assert not job_folder(job).exists()


def test_a_lost_spool_file_or_no_take_at_all_is_the_engines_fault(project: ProjectRef, spool: Path) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    Path(rendered[1].file).unlink()
    with pytest.raises(EngineError, match="take 2 was lost"):
        deliver(job, rendered)
    with pytest.raises(EngineError, match="without a take"):
        deliver(job, [])
    assert not job_folder(job).exists()
