"""The core with a real queue and real folders: what a request may name, and that it names what the session meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.core import Core
from engine.api import Capabilities
from engine.audio import probe
from protocol.errors import OutsideProject, SourceMissing, SourceUnreadable
from protocol.job import Job, SourceRef
from protocol.music import Region
from protocol.session import Session
from protocol.vocabulary import Verb
from tests.support.audio import noise, save
from tests.support.queues import Bench, running

OFFER = Capabilities("test", "1", frozenset(Verb))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path / "queue", start=False) as bench:
        yield bench


@pytest.fixture
def core(bench: Bench, tmp_path: Path) -> Core:
    """Two projects opened, `Song` last; each has a ``voice.wav``, one of one second and one of two."""
    core = Core(queue=bench.queue, engine_name="test", capabilities=lambda _: OFFER, probe=probe)
    for seconds, name in ((1, "Other"), (2, "Song")):
        save(tmp_path / name / "voice.wav", noise(48_000 * seconds), 48_000)
        core.open_project(str(tmp_path / name), None, "test")
    core.set_source("voice.wav", 0.0, "test")
    core.tell(core.session.told("regions", (Region(0.5, 1.0),), "test", 0.0))
    return core


async def ask(core: Core, session: Session | None = None, **options: object) -> Job:
    return (await core.request(Verb.REPAINT, options, session or core.session, None, "test")).job


async def test_a_reference_is_found_in_the_project_like_a_source(core: Core, tmp_path: Path) -> None:
    made = await ask(core, reference="voice.wav")
    assert made.request.reference == SourceRef(file=str((tmp_path / "Song" / "voice.wav").resolve()))
    by_path = await ask(core, reference=str(tmp_path / "Other" / "voice.wav"))
    assert by_path.request.reference == SourceRef(file=str((tmp_path / "Other" / "voice.wav").resolve()))
    assert (await ask(core, reference="")).request.reference is None
    assert (await ask(core)).request.reference is None


async def test_a_relative_reference_means_the_project_of_the_moment_the_verb_came(core: Core, tmp_path: Path) -> None:
    then = core.session
    core.open_project(str(tmp_path / "Other"), None, "test")
    assert (await ask(core, then, reference="voice.wav")).request.reference == SourceRef(
        file=str((tmp_path / "Song" / "voice.wav").resolve())
    )


async def test_a_reference_outside_the_projects_or_unreadable_is_refused_at_once(core: Core, tmp_path: Path) -> None:
    save(tmp_path / "secret.wav", noise(480), 48_000)
    (tmp_path / "Song" / "text.wav").write_text("no audio")
    for name, error in (
        (str(tmp_path / "secret.wav"), OutsideProject),
        ("../secret.wav", OutsideProject),
        ("gone.wav", SourceMissing),
        ("text.wav", SourceUnreadable),
    ):
        with pytest.raises(error):
            await ask(core, reference=name)
    assert await core.jobs(10) == []
