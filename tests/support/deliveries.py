"""Jobs with rendered takes in a spool folder, as the engine's process leaves them, and disks that misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from protocol.job import Job, JobRequest, ProjectRef, RenderedTake, SourceRef
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb

RATE = 48_000
BPM = 120.0  # a bar lasts 2 s
CREATED = 1_790_000_000.25


def project_ref(folder: Path, media: str = "") -> ProjectRef:
    return ProjectRef(folder=str(folder), media_folder=str(folder / media), sample_rate=RATE)


def make_job(
    project: ProjectRef,
    *,
    job_id: str = "20261122-223105-3f9a2c",
    verb: Verb = Verb.REPAINT,
    regions: Sequence[Region] = (Region(4.0, 4.5),),
    variations: int = 2,
    tracks: tuple[TrackClass, ...] = (),
    source: Path | None = None,
    seed: int = 7,
) -> Job:
    request = JobRequest(
        verb=verb,
        task=Task(seed=seed, number_results=variations, positive_prompt="bröck"),
        engine="sketch",
        project=project,
        source=SourceRef(file=str(source), start_s=0.5) if source else None,
        tempo_map=TempoMap.constant(BPM),
        key="A minor",
        regions=tuple(regions),
        tracks=tracks,
    )
    return Job(id=job_id, request=request, created=CREATED)


def render(
    job: Job, spool: Path, *, channels: int = 2, subtype: str = "FLOAT", source_sha256: str | None = None
) -> list[RenderedTake]:
    """Noise of each region's exact length for every variation and track; the last variation is the best."""
    spool.mkdir(parents=True, exist_ok=True)
    takes = []
    count = job.request.task.number_results
    for index, region in enumerate(job.request.regions):
        start, stop = region.frames(RATE)
        for variation in range(1, count + 1):
            for track in job.request.tracks or (None,):
                seed = (job.request.task.seed or 0) + variation - 1
                file = spool / f"{job.id}_{index}_{variation}_{track}.wav"
                noise = np.random.default_rng([seed, index, len(takes)]).uniform(-0.5, 0.5, (stop - start, channels))
                soundfile.write(file, noise.astype(np.float32), RATE, subtype=subtype)
                takes.append(
                    RenderedTake(
                        file=str(file),
                        region=index,
                        variation=variation,
                        start_frame=start,
                        frames=stop - start,
                        sample_rate=RATE,
                        channels=channels,
                        track=track,
                        seed=seed,
                        score=50.0 + variation,
                        rank=count + 1 - variation,
                        measures={"seam": {"start": 0.1}},
                        source_sha256=source_sha256,
                        engine="sketch",
                        engine_version="1",
                        engine_notes={"path": [1, 2, 3]},
                        versions={"numpy": np.__version__},
                    )
                )
    return takes


def job_folder(job: Job) -> Path:
    return Path(job.request.project.media_folder) / "stembridge" / job.id


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: file contents by relative name, None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A small file system of its own at `folder`; what is yielded remounts it (``ro``, ``rw``)."""
    folder.mkdir(exist_ok=True)
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a small disk here: {made.stderr.decode().strip()}")

    def remount(option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", str(folder)], check=True)
