"""What a delivery leaves when the disk, the system or the process fails it, at every point."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bridge.broadcast_wave import data_sha256, read_recipe
from bridge.delivery import deliver, delivered
from bridge.project import open_project
from protocol.errors import DiskFull, ProjectGone, ProjectReadOnly
from protocol.job import ProjectRef, RenderedTake
from tests.support.deliveries import RATE, job_folder, make_job, mounted, names, render, tree


@pytest.fixture
def project(tmp_path: Path) -> ProjectRef:
    folder = tmp_path / "Gesänge ü" / "My Song"
    folder.mkdir(parents=True)
    (folder / "the song.wav").write_bytes(b"the user's")
    return open_project(str(folder), RATE)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


# --- every fault at every point ---------------------------------------------------------------------------------------
class Killed(BaseException):
    """The process ended here: no cleanup runs, since from now on every call to the system ends the same way."""


class Faults:
    """Fails the n-th call of one operation; `deadly`, it fails every call to the system from then on."""

    OPERATIONS = ("open", "fdopen", "write", "fsync", "link", "unlink", "mkdir", "rmdir", "rename")

    def __init__(self, operation: str, occurrence: int, deadly: bool) -> None:
        self.operation, self.left, self.deadly = operation, occurrence, deadly
        self.happened = self.dead = False

    def check(self, operation: str) -> None:
        if self.dead:
            raise Killed
        if operation != self.operation or self.happened:
            return
        self.left -= 1
        if self.left < 0:
            self.happened = True
            self.dead = self.deadly
            raise Killed if self.deadly else OSError(errno.ENOSPC, "No space left on device")

    def wrap(self, operation: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            self.check(operation)
            return real(*args, **kwargs)

        return call

    def fdopen(self, *args: object, **kwargs: object) -> object:
        self.check("fdopen")
        file = self.real_fdopen(*args, **kwargs)
        return _FaultyFile(file, self)

    real_fdopen = staticmethod(os.fdopen)


class _FaultyFile:
    def __init__(self, file: object, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def write(self, content: bytes) -> int:
        try:
            self.faults.check("write")
        except (OSError, Killed):
            self.file.write(content[: len(content) // 2])  # the first half got through
            self.file.flush()
            raise
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return self.file.fileno()

    def __enter__(self) -> _FaultyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@contextmanager
def injected(operation: str, occurrence: int, *, deadly: bool) -> Iterator[Faults]:
    faults = Faults(operation, occurrence, deadly)
    with pytest.MonkeyPatch.context() as patch:
        for name in Faults.OPERATIONS:
            if name == "fdopen":
                patch.setattr(os, name, faults.fdopen)
            elif name != "write":
                patch.setattr(os, name, faults.wrap(name, getattr(os, name)))
        yield faults


def assert_nothing_is_half(folder: Path, rendered: list[RenderedTake]) -> None:
    """Whatever has a final name is whole, and a manifest is there only if all its stems are."""
    whole = {data_sha256(Path(take.file)) for take in rendered}
    stems = list(folder.glob("*.wav")) if folder.exists() else []
    assert {data_sha256(path) for path in stems} <= whole
    for path in stems:
        read_recipe(path)
    if (folder / "manifest.json").exists():
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert {take["file"] for take in content["takes"]} == {path.name for path in stems}


@pytest.mark.skipif(os.name == "nt", reason="Windows renames in one step and has no folders to sync")
def test_everything_is_on_the_disk_before_a_name_vouches_for_it(
    project: ProjectRef, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    steps: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        steps.append(f"name {target.suffix}")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    deliver(job, rendered)
    new_folders = ["sync folder"] * 2
    stem, manifest = ["sync file", "name .wav"], ["sync file", "name .json"]
    assert steps == [*new_folders, *stem, *stem, "sync folder", *manifest, "sync folder"]


@pytest.mark.parametrize("deadly", [False, True], ids=["error", "kill"])
@pytest.mark.parametrize("operation", ["open", "write", "fsync", "link", "unlink", "mkdir"])
def test_a_fault_at_any_point_leaves_nothing_half_and_the_retry_succeeds(
    tmp_path: Path, operation: str, deadly: bool
) -> None:
    faulty_runs = 0
    for occurrence in range(200):
        folder = tmp_path / str(occurrence)
        (folder / "stembridge" / "job").mkdir(parents=True)
        (folder / "stembridge" / "job" / "my own.wav").write_bytes(b"the user's")
        project = open_project(str(folder), RATE)
        job = make_job(project, job_id="job" if operation != "mkdir" else "new")
        rendered = render(job, tmp_path / "spool")
        before = tree(folder)
        failure = Killed if deadly else DiskFull
        with injected(operation, occurrence, deadly=deadly) as faults, suppress(failure):
            deliver(job, rendered)
        if not faults.happened:
            break
        faulty_runs += 1
        after = tree(folder)
        assert {name: after[name] for name in before} == before
        (folder / "stembridge" / "job" / "my own.wav").unlink()
        assert_nothing_is_half(job_folder(job), rendered)
        if not deadly:
            extra = [name for name in set(after) - set(before) if after[name] is not None]
            # Only a temporary file that could not be removed may be left.
            assert extra == [] or (operation == "unlink" and all(name.endswith(".part") for name in extra))
        again = deliver(job, rendered)
        assert names(job_folder(job)) == sorted([again.manifest.name, *(Path(take.file).name for take in again.takes)])
        assert len(again.takes) == 2
        assert again.manifest.name == "manifest.json"
    assert faulty_runs >= (1 if operation == "mkdir" else 3)


def test_a_process_that_really_ends_in_the_middle_leaves_whole_stems_and_the_next_one_finishes(
    project: ProjectRef, spool: Path, tmp_path: Path
) -> None:
    job = make_job(project)
    rendered = render(job, spool)
    (tmp_path / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    (tmp_path / "takes.json").write_text(json.dumps([take.model_dump(mode="json") for take in rendered]))
    script = f"""
import json, os, pathlib
from bridge.delivery import deliver
from protocol.job import Job, RenderedTake
here = pathlib.Path({str(tmp_path)!r})
real = os.fsync
calls = []
def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) == 5:  # both folders and the first stem are done: the second stem's bytes are written
        os._exit(9)
    real(descriptor)
os.fsync = fsync
takes = json.loads((here / "takes.json").read_text())
deliver(Job.model_validate_json((here / "job.json").read_bytes()), [RenderedTake.model_validate(t) for t in takes])
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], timeout=60)
    assert ended.returncode == 9
    left = names(job_folder(job))
    assert "manifest.json" not in left
    assert_nothing_is_half(job_folder(job), rendered)
    kept = {path: path.stat() for path in job_folder(job).glob("*.wav")}
    delivery = deliver(job, rendered)
    assert len(names(job_folder(job))) == 3
    assert {path: path.stat() for path in kept} == kept
    assert delivered(job) == delivery


# --- hard times -------------------------------------------------------------------------------------------------------
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path, spool: Path) -> None:
    with mounted(tmp_path / "small disk", "512k"):
        folder = tmp_path / "small disk" / "Song"
        folder.mkdir()
        (folder / "song.wav").write_bytes(b"the user's" * 1000)
        job = make_job(open_project(str(folder), RATE))  # two takes of 192 kB fit, the third and the manifest do not
        rendered = render(job, spool)
        third = rendered[0].model_copy(update={"variation": 3})
        before = tree(folder)
        with pytest.raises(DiskFull, match="free some space"):
            deliver(job, [*rendered, third])
        assert tree(folder) == before
        assert len(deliver(job, rendered).takes) == 2


def test_a_limit_on_file_size_is_told_and_leaves_nothing(project: ProjectRef, spool: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits on file size are a matter of POSIX systems")
    job = make_job(project)
    rendered = render(job, spool)
    before = tree(Path(project.folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFull, match="shorter region"):
            deliver(job, rendered)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tree(Path(project.folder)) == before


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A project folder that does not allow writing; root ignores modes, so for root it is on a read-only disk."""
    if getattr(os, "geteuid", lambda: 1)() == 0:
        with mounted(folder, "1m") as remount:
            (folder / "Song").mkdir()
            remount("ro")
            yield folder / "Song"
    elif os.name == "nt":
        pytest.skip("folders have no read-only mode on Windows")
    else:
        (folder / "Song").mkdir(parents=True)
        (folder / "Song").chmod(0o555)
        try:
            yield folder / "Song"
        finally:
            (folder / "Song").chmod(0o755)


def test_a_read_only_project_is_told_to_be_one(tmp_path: Path, spool: Path) -> None:
    with read_only(tmp_path / "disk") as folder:
        job = make_job(open_project(str(folder), RATE))
        with pytest.raises(ProjectReadOnly, match="does not allow writing"):
            deliver(job, render(job, spool))
        assert names(folder) == []


def test_a_deleted_project_is_told_and_never_made_again(tmp_path: Path, spool: Path) -> None:
    folder = tmp_path / "Song"
    (folder / "Media").mkdir(parents=True)
    job = make_job(open_project(str(folder), RATE).model_copy(update={"media_folder": str(folder / "Media")}))
    rendered = render(job, spool)
    (folder / "Media").rmdir()
    folder.rmdir()
    with pytest.raises(ProjectGone, match=r"Song is no longer there"):
        deliver(job, rendered)
    assert not folder.exists()
    assert delivered(job) is None
