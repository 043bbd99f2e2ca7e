"""Jobs to test the queue and the engine's process with."""

from __future__ import annotations

from pathlib import Path

from protocol.job import Job, JobRequest, ProjectRef
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import JobState, Verb


def job(
    job_id: str = "job-1",
    *,
    prompt: str = "",
    engine: str = "auto",
    priority: int = 0,
    created: float = 1000.0,
    state: JobState = JobState.QUEUED,
    attempts: int = 0,
    clients: tuple[str, ...] = ("osc:127.0.0.1:9000",),
    folder: Path = Path("song"),
) -> Job:
    """A repaint of one second at a tempo that is no whole number; `prompt` speaks to the engines of tests."""
    request = JobRequest(
        verb=Verb.REPAINT,
        task=Task(positive_prompt=prompt, seed=7),
        engine=engine,
        project=ProjectRef(folder=str(folder), media_folder=str(folder)),
        source=None,
        tempo_map=TempoMap.constant(97.53),
        regions=(Region(1.0, 2.0),),
    )
    return Job(
        id=job_id,
        request=request,
        state=state,
        priority=priority,
        attempts=attempts,
        created=created,
        reply_to=clients,
    )
