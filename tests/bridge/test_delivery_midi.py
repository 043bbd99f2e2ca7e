"""The notes beside a stem: whole, under the stem's own name, and the user's to edit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.delivery import deliver, delivered
from bridge.project import open_project
from protocol.errors import EngineError
from protocol.job import Job, ProjectRef, RenderedTake
from protocol.vocabulary import TrackClass, Verb
from tests.support.deliveries import RATE, job_folder, make_job, names, render


@pytest.fixture
def project(tmp_path: Path) -> ProjectRef:
    (tmp_path / "song").mkdir()
    return open_project(str(tmp_path / "song"), RATE)


@pytest.fixture
def job(project: ProjectRef) -> Job:
    return make_job(project, verb=Verb.COMPLETE, variations=1, tracks=(TrackClass.BASS, TrackClass.VOCALS))


def with_notes(job: Job, spool: Path) -> list[RenderedTake]:
    """The bass has notes, the voice has none."""
    bass, voice = render(job, spool)
    file = spool / "bass.mid"
    file.write_bytes(b"MThd notes")
    return [bass.model_copy(update={"midi": str(file)}), voice]


def test_the_notes_lie_beside_their_stem_under_its_name_and_the_manifest_names_them(job: Job, tmp_path: Path) -> None:
    delivery = deliver(job, with_notes(job, tmp_path / "spool"))
    assert len([name for name in names(job_folder(job)) if name.endswith(".mid")]) == 1
    by_track = {take.track: take for take in delivery.takes}
    notes = by_track[TrackClass.BASS].midi
    assert notes is not None
    assert Path(notes).read_bytes() == b"MThd notes"
    assert Path(notes).with_suffix(".wav") == Path(by_track[TrackClass.BASS].file)
    assert by_track[TrackClass.VOCALS].midi is None
    entries = json.loads(delivery.manifest.read_text())["takes"]
    assert {entry["track"]: entry["midi"] for entry in entries} == {"bass": Path(notes).name, "vocals": None}


def test_notes_follow_the_name_their_stem_got_when_the_usual_one_was_taken(job: Job, tmp_path: Path) -> None:
    first = deliver(job, with_notes(job, tmp_path / "spool"))
    stem = next(Path(take.file) for take in first.takes if take.track is TrackClass.BASS)
    stem.write_bytes(b"the user's own work")
    again = deliver(job, with_notes(job, tmp_path / "spool"))
    take = next(take for take in again.takes if take.track is TrackClass.BASS)
    assert Path(take.file) != stem
    assert take.midi is not None
    assert Path(take.midi).stem == Path(take.file).stem
    assert stem.with_suffix(".mid").read_bytes() == b"MThd notes"


def test_delivering_twice_writes_the_notes_once(job: Job, tmp_path: Path) -> None:
    first = deliver(job, with_notes(job, tmp_path / "spool"))
    before = names(job_folder(job))
    assert deliver(job, with_notes(job, tmp_path / "spool")) == first
    assert names(job_folder(job)) == before


def test_notes_that_the_user_edited_stay_and_count_as_delivered_and_deleted_ones_do_not_come_back(
    job: Job, tmp_path: Path
) -> None:
    first = deliver(job, with_notes(job, tmp_path / "spool"))
    notes = next(Path(take.midi) for take in first.takes if take.midi)
    notes.write_bytes(b"MThd better notes")
    assert delivered(job) == first
    assert deliver(job, with_notes(job, tmp_path / "spool")) == first
    assert notes.read_bytes() == b"MThd better notes"
    notes.unlink()
    there = delivered(job)
    assert there is not None
    assert all(take.midi is None for take in there.takes)


def test_what_a_manifest_names_elsewhere_is_not_taken_for_notes(job: Job, tmp_path: Path) -> None:
    delivery = deliver(job, with_notes(job, tmp_path / "spool"))
    content = json.loads(delivery.manifest.read_text())
    (tmp_path / "song" / "mine.mid").write_bytes(b"MThd")
    for entry in content["takes"]:
        entry["midi"] = "../../mine.mid"
    delivery.manifest.write_text(json.dumps(content))
    found = delivered(job)
    assert found is not None
    assert [take.midi for take in found.takes] == [None, None]


def test_notes_lost_from_the_spool_are_the_engines_fault(job: Job, tmp_path: Path) -> None:
    takes = with_notes(job, tmp_path / "spool")
    Path(str(takes[0].midi)).unlink()
    with pytest.raises(EngineError, match="lost before it was delivered"):
        deliver(job, takes)
