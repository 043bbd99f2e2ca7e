"""A page for every job, if the user wants it, by a process of its own that the daemon does not wait for."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
import soundfile

from bridge.delivery import deliver
from bridge.demo.song import render_demo_song
from bridge.project import open_project
from bridge.reports import ReportWriter
from protocol.events import JobChanged
from protocol.job import Job
from protocol.vocabulary import JobState
from tests.support.deliveries import RATE, make_job, render


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A repaint that lies delivered in its project."""
    (tmp_path / "song").mkdir()
    song = render_demo_song()
    soundfile.write(tmp_path / "song" / "song.wav", song.audio.T, song.rate)
    project = open_project(str(tmp_path / "song"), RATE)
    made = make_job(project, source=tmp_path / "song" / "song.wav", variations=1)
    delivery = deliver(made, render(made, tmp_path / "spool"))
    return made.model_copy(update={"state": JobState.DONE, "manifest": str(delivery.manifest)})


async def written(writer: ReportWriter, jobs: list[Job]) -> None:
    """Let it write what these jobs ask for, to the last."""
    for job in jobs:
        writer.hear(JobChanged(job))
    writer.start()
    await asyncio.wait_for(writer.idle(), 60)
    await writer.stop()


@pytest.mark.slow
async def test_a_finished_job_gets_its_page_beside_its_stems(job: Job, tmp_path: Path) -> None:
    await written(ReportWriter(tmp_path / "data"), [job])
    page = Path(str(job.manifest)).with_name("report.html")
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


async def test_what_is_not_done_gets_none(job: Job, tmp_path: Path) -> None:
    running = job.model_copy(update={"state": JobState.RUNNING, "manifest": None})
    await written(ReportWriter(tmp_path / "data"), [running])
    assert not Path(str(job.manifest)).with_name("report.html").exists()


@pytest.mark.slow
async def test_a_page_that_cannot_be_written_is_a_line_in_the_log_and_the_next_is_written(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = job.model_copy(update={"manifest": str(tmp_path / "nowhere" / "manifest.json")})
    with caplog.at_level(logging.WARNING, "stembridge.reports"):
        await written(ReportWriter(tmp_path / "data"), [lost, job])
    assert "no page for" in caplog.text
    assert Path(str(job.manifest)).with_name("report.html").exists()


async def test_stopping_does_not_wait_for_a_page(job: Job, tmp_path: Path) -> None:
    writer = ReportWriter(tmp_path / "data")
    writer.hear(JobChanged(job))
    writer.start()
    await asyncio.wait_for(writer.stop(), 5)
    assert not Path(str(job.manifest)).with_name("report.html").exists()
